//! All targets asked for people: no events, no state file. Connections are kept
//! from one time to the next.

use std::{cell::Cell, time::Duration};

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
pub struct Surveyed {
    /// The target.
    pub target: Target,
    /// Its sessions, or why they are not known.
    pub answer: Result<Snapshot, Failure>,
}

/// Asks all targets of a configuration, as often as it is wanted.
pub struct Survey {
    targets: Vec<(Target, Cell<LastRequest>)>,
    servers: Servers,
    rules: Rules,
    request: Duration,
    longest: Duration,
}

impl Survey {
    /// Loads the certificates. Nothing is asked yet. With an interval, asking all
    /// targets takes no longer than that, or than one request may.
    ///
    /// # Errors
    /// Where no certificates can be used.
    pub fn new(config: &Config, interval: Option<Duration>) -> Result<Self, CredentialsError> {
        let request = config.options.timeout;
        let targets = u32::try_from(config.targets.len().max(1)).unwrap_or(u32::MAX);
        Ok(Self {
            targets: config
                .targets
                .iter()
                .map(|target| (target.clone(), Cell::default()))
                .collect(),
            servers: Servers::new(config, client_settings(config, request))?,
            rules: Rules::new(config, None),
            request,
            // Who looks once waits for an answer, not for a tick.
            longest: interval.map_or(request * targets, |interval| interval.max(request)),
        })
    }

    /// Asks all targets, in parallel; returns their answers in their order.
    pub async fn ask(&mut self) -> Vec<Surveyed> {
        self.servers.begin_poll();
        let Self { targets, servers, rules, request, longest } = self;
        let deadline = Deadline { poll_ends: Instant::now() + *longest, request: *request };
        let asked = targets.iter().map(async |(target, last)| {
            let server = servers.index_of(&target.server);
            let answer = servers.sessions(server, &target.virtual_proxy, last, deadline).await;
            let answer = answer.and_then(|body| Snapshot::read(body, rules));
            Surveyed { target: target.clone(), answer }
        });
        join_all(asked).await
    }
}
