//! All targets asked once, for people: no events, no memory.

use futures_util::future::join_all;
use tokio::{sync::Semaphore, time::Instant};

use super::servers::Servers;
use crate::{
    config::Config,
    events::CertificateDates,
    proxy::{CredentialsError, Failure},
    snapshot::{Reader, Rules, Snapshot},
    target::Target,
};

/// What one target answered.
#[derive(Debug)]
pub struct Surveyed<'a> {
    /// The target.
    pub target: &'a Target,
    /// Its sessions, or why they are not known.
    pub answer: Result<Snapshot, Failure>,
    /// Until when its certificates are good.
    pub certificates: CertificateDates,
}

/// Asks all targets of a configuration, in parallel; answers in their order.
///
/// # Errors
/// Where certificates cannot be used.
pub async fn survey(config: &Config) -> Result<Vec<Surveyed<'_>>, CredentialsError> {
    let servers = Servers::new(config)?;
    let rules = Rules::new(config);
    let requests = Semaphore::new(config.options.concurrency);
    // People wait for an answer, not for a tick: each target has its own time.
    let deadline = Instant::now()
        + config.options.timeout * u32::try_from(config.targets.len().max(1)).unwrap_or(u32::MAX);
    let asked = config.targets.iter().map(|target| async {
        let server = servers.get(servers.index_of(&target.server));
        let mut reader = Reader::new(&rules);
        let answer = server.sessions(&target.virtual_proxy, &requests, deadline, &mut reader).await;
        Surveyed {
            target,
            answer: answer.and_then(|()| reader.finish()),
            certificates: server.certificate_dates(),
        }
    });
    Ok(join_all(asked).await)
}
