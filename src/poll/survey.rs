//! All targets asked once, for people: no events, no memory.

use std::cell::Cell;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::servers::{LastRequest, Servers, client_settings};
use crate::{
    config::Config,
    proxy::{CredentialsError, Deadline, Failure},
    snapshot::{Rules, Snapshot},
    target::Target,
};

/// What one target answered.
#[derive(Debug)]
pub struct Surveyed<'a> {
    /// The target.
    pub target: &'a Target,
    /// Its sessions, or why they are not known.
    pub answer: Result<Snapshot, Failure>,
}

/// Asks all targets of a configuration, in parallel; returns their answers in
/// their order.
///
/// # Errors
/// Where no certificates can be used.
pub async fn survey(config: &Config) -> Result<Vec<Surveyed<'_>>, CredentialsError> {
    let request = config.options.timeout;
    let servers = Servers::new(config, client_settings(config, request))?;
    let rules = Rules::new(config, None);
    // People wait for an answer, not for a tick: each target has its own time.
    let all = request * u32::try_from(config.targets.len().max(1)).unwrap_or(u32::MAX);
    let deadline = Deadline { poll_ends: Instant::now() + all, request };
    let asked = config.targets.iter().map(|target| async {
        let server = servers.index_of(&target.server);
        let last = Cell::new(LastRequest::None);
        let answer = servers.sessions(server, &target.virtual_proxy, &last, deadline).await;
        Surveyed { target, answer: answer.and_then(|body| Snapshot::read(body, &rules)) }
    });
    Ok(join_all(asked).await)
}
