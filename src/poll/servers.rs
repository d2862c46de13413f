//! The servers of a site, and how many requests each may have in flight.
//!
//! A server that cannot be reached is asked once in a poll, not once for each
//! of its virtual proxies: the others share its failure.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{
    config::Config,
    events::CertificateDates,
    proxy::{
        ClientSettings, Credentials, CredentialsError, Failure, ProxyClient, Receiver,
        no_turn_in_time,
    },
    target::{Server, VirtualProxy},
};

/// From how many days before its end on a certificate is warned of.
const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often it is.
const WARN_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// All servers.
pub struct Servers {
    credentials: Credentials,
    servers: Vec<PolledServer>,
}

/// One server.
pub struct PolledServer {
    client: ProxyClient,
    requests: Semaphore,
    /// Why it cannot be reached, in this poll.
    down: RefCell<Option<Failure>>,
    /// It could not be reached when it was last tried: one request goes first.
    suspect: Cell<bool>,
    probe: Mutex<()>,
    warned: Cell<Option<Timestamp>>,
}

impl Servers {
    /// Loads the certificates and makes a client for each server.
    ///
    /// # Errors
    /// All certificate files that cannot be used.
    pub fn new(config: &Config) -> Result<Self, CredentialsError> {
        let credentials = Credentials::load(config.certificate_files())?;
        let settings = ClientSettings {
            timeout: config.options.timeout,
            max_body_bytes: config.options.max_body_bytes,
            keep_idle: config.polling_interval * 3,
        };
        let mut servers: Vec<PolledServer> = Vec::new();
        let mut problems = Vec::new();
        for target in &config.targets {
            if servers.iter().any(|known| known.is(&target.server)) {
                continue;
            }
            match ProxyClient::new(Arc::clone(&target.server), &credentials, settings) {
                Ok(client) => {
                    servers.push(PolledServer::new(client, config.options.concurrency_per_server))
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(Self { credentials, servers })
        } else {
            Err(CredentialsError(problems))
        }
    }

    /// The place of a server.
    pub fn index_of(&self, server: &Server) -> usize {
        self.servers.iter().position(|known| known.is(server)).unwrap_or(0)
    }

    /// The server at a place.
    pub fn get(&self, index: usize) -> &PolledServer {
        &self.servers[index]
    }

    /// Takes renewed certificates into use; every server gets a new chance.
    pub fn begin_poll(&mut self) {
        self.credentials.refresh();
        for server in &mut self.servers {
            server.client.refresh(&self.credentials);
            server.down.replace(None);
        }
    }

    /// The earliest ends of all certificates.
    pub fn certificate_dates(&self) -> CertificateDates {
        self.servers
            .iter()
            .map(PolledServer::certificate_dates)
            .fold(CertificateDates::default(), CertificateDates::earliest)
    }

    /// Warns once a day of certificates that end soon.
    pub fn warn_of_expiry(&self, now: Timestamp) {
        for server in &self.servers {
            server.warn_of_expiry(now);
        }
    }
}

impl PolledServer {
    fn new(client: ProxyClient, requests: usize) -> Self {
        Self {
            client,
            requests: Semaphore::new(requests),
            down: RefCell::default(),
            suspect: Cell::new(false),
            probe: Mutex::default(),
            warned: Cell::new(None),
        }
    }

    fn is(&self, server: &Server) -> bool {
        let own = self.client.server();
        own.proxy == server.proxy && own.tls == server.tls
    }

    /// Asks for one virtual proxy's sessions when its turn comes.
    ///
    /// # Errors
    /// Why there is no answer; also that the turn did not come before `deadline`.
    pub async fn sessions(
        &self,
        virtual_proxy: &VirtualProxy,
        requests: &Semaphore,
        deadline: Instant,
        answer: &mut impl Receiver,
    ) -> Result<(), Failure> {
        match timeout_at(deadline, self.in_turn(virtual_proxy, requests, deadline, answer)).await {
            Ok(result) => result,
            Err(_) => Err(no_turn_in_time()),
        }
    }

    async fn in_turn(
        &self,
        virtual_proxy: &VirtualProxy,
        requests: &Semaphore,
        deadline: Instant,
        answer: &mut impl Receiver,
    ) -> Result<(), Failure> {
        let _own = self.requests.acquire().await;
        let probe = if self.suspect.get() { Some(self.probe.lock().await) } else { None };
        if let Some(failure) = self.down.borrow().clone() {
            return Err(failure);
        }
        // Somebody else may have found it up while this one waited.
        let _probe = probe.filter(|_| self.suspect.get());
        let _all = requests.acquire().await;
        let result = self.client.sessions(virtual_proxy, deadline, answer).await;
        let down = result.as_ref().err().filter(|failure| failure.whole_server).cloned();
        self.suspect.set(down.is_some());
        if down.is_some() {
            self.down.replace(down);
        }
        result
    }

    /// Until when our and the server's certificate are good.
    pub fn certificate_dates(&self) -> CertificateDates {
        CertificateDates {
            client: Some(self.client.client_certificate_expires()),
            server: self.client.server_certificate_expires(),
        }
    }

    fn warn_of_expiry(&self, now: Timestamp) {
        let is_over = |since: Timestamp, span: Duration| {
            since.saturating_add(span).is_ok_and(|end| end <= now)
        };
        if self.warned.get().is_some_and(|warned| !is_over(warned, WARN_AGAIN)) {
            return;
        }
        let CertificateDates { client, server } = self.certificate_dates();
        let files = self.client.server();
        for (whose, end) in [("our client certificate for", client), ("the certificate of", server)]
        {
            let Some(end) =
                end.filter(|end| end.saturating_sub(EXPIRY_WARNING).is_ok_and(|from| from <= now))
            else {
                continue;
            };
            self.warned.set(Some(now));
            let verb = if end <= now { "expired" } else { "expires" };
            tracing::warn!(
                "{whose} {} {verb} on {end:.0}; export a new one from the QMC (Certificates) before sessions can no longer be read",
                files.name
            );
        }
    }
}
