//! All targets asked once, for `who` and `check`: no events, and no state file is
//! written. Connections are kept from one time to the next.

use std::{cell::Cell, collections::HashMap, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    inquiries::{FailedInquiry, Inquiries},
    servers::{LastRequest, Servers, client_settings},
};
use crate::{
    config::Config,
    lifecycle::{StateFile, TargetId},
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
    pub answer: Result<Snapshot<'static>, Failure>,
}

/// Asks the targets of a configuration, as often as it is wanted.
pub struct Survey {
    config: Config,
    inquiries: Inquiries,
    servers: Servers,
    last_requests: HashMap<TargetId, Cell<LastRequest>>,
    rules: Rules,
    request: Duration,
    interval: Option<Duration>,
}

impl Survey {
    /// Loads the certificates. Nothing is asked yet. With an interval, asking all
    /// targets takes no longer than that, or than one request may.
    ///
    /// # Errors
    /// Where no certificates can be used.
    pub fn new(config: &Config, interval: Option<Duration>) -> Result<Self, CredentialsError> {
        let request = config.options.timeout;
        let settings = client_settings(config, request);
        let mut servers = Servers::new(config, settings)?;
        let known = config.options.state_file.as_deref().map(StateFile::inquiries_of);
        let known = known.unwrap_or_default();
        Ok(Self {
            inquiries: Inquiries::new(config, servers.credentials(), settings, known, false),
            servers,
            config: config.clone(),
            last_requests: HashMap::new(),
            rules: Rules::new(config, None),
            request,
            interval,
        })
    }

    /// The targets of the configuration and those that its repository services list
    /// now. A service that could not be asked is returned, too: of it, there are the
    /// targets of an older list, or none.
    pub async fn targets(&mut self) -> (Vec<Target>, Vec<FailedInquiry>) {
        self.servers.begin_poll();
        self.inquiries.refresh(self.servers.credentials());
        let failed = self.inquiries.ask_all(self.request).await;
        (self.inquiries.targets(&self.config, self.request).await, failed)
    }

    /// Asks these targets, in parallel; returns their answers in their order.
    pub async fn ask(&mut self, targets: Vec<Target>) -> Vec<Surveyed> {
        self.servers.set(targets.iter().map(|target| &target.server));
        for target in &targets {
            self.last_requests.entry(TargetId::from(target)).or_default();
        }
        let deadline =
            Deadline { poll_ends: Instant::now() + self.longest(&targets), request: self.request };
        let Self { servers, last_requests, rules, .. } = self;
        let asked = targets.into_iter().map(async |target| {
            let server = servers.index_of(&target.server);
            let last = &last_requests[&TargetId::from(&target)];
            let answer = servers.sessions(server, &target.virtual_proxy, last, deadline).await;
            let answer = answer
                .and_then(|mut body| Snapshot::read(&mut body, rules).map(Snapshot::into_owned));
            Surveyed { target, answer }
        });
        join_all(asked).await
    }

    /// How long asking so many targets may take, where they are asked only once.
    fn longest(&self, targets: &[Target]) -> Duration {
        let count = u32::try_from(targets.len().max(1)).unwrap_or(u32::MAX);
        self.interval.map_or(self.request * count, |interval| interval.max(self.request))
    }
}
