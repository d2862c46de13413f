//! The servers of a site, and how many requests each may have in flight.
//!
//! A server that cannot be reached is asked once in a poll, not once for each
//! of its virtual proxies: the others share its failure. Requests to
//! servers that did not answer last time may hold half of all permits, so that a
//! server that hangs keeps no healthy one from its turn.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout_at,
};

use crate::{
    config::{Config, UserIds},
    events::{CertificateDates, Time},
    proxy::{
        Category, ClientSettings, Credentials, CredentialsError, Deadline, Failure, ProxyClient,
        no_turn_in_time, tls::FileProblem,
    },
    target::{Server, VirtualProxy},
};

/// How many days before a certificate expires the warnings begin.
const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often the warning is repeated.
const WARN_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// All servers.
pub struct Servers {
    credentials: Credentials,
    settings: ClientSettings,
    /// Requests that may be in flight to one server.
    requests: usize,
    servers: Vec<PolledServer>,
    permits: Permits,
}

/// Requests that may be in flight in all.
struct Permits {
    all: Semaphore,
    /// The part of them for requests to servers that did not answer in time the last time.
    slow: Semaphore,
}

/// One server.
struct PolledServer {
    server: Arc<Server>,
    /// The client, or why its certificates cannot be used.
    client: Result<ProxyClient, FileProblem>,
    requests: Semaphore,
    /// Why it cannot be reached, in this poll.
    down: RefCell<Option<Failure>>,
    /// Whether it was never reached, or not at the last try: then one request goes first.
    suspect: Cell<bool>,
    /// Whether its last request got no answer in time.
    silent: Cell<bool>,
    probe: Mutex<()>,
    warned: Cell<Option<Timestamp>>,
}

/// What became of a target's last request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastRequest {
    /// There was none.
    #[default]
    None,
    /// An answer came, or a failure came soon.
    CameBack,
    /// There was no answer in time.
    TimedOut,
}

impl Servers {
    /// Loads the certificates and makes a client for each server. A server whose
    /// certificates cannot be used fails alone.
    ///
    /// # Errors
    /// All certificate files that cannot be used, where no server and no repository
    /// service has any that can.
    pub fn new(config: &Config, settings: ClientSettings) -> Result<Self, CredentialsError> {
        let (credentials, problems) = Credentials::load(config.certificate_files());
        let permits = config.options.concurrency;
        let permits =
            Permits { all: Semaphore::new(permits), slow: Semaphore::new((permits / 2).max(1)) };
        let requests = config.options.concurrency_per_server;
        let mut new = Self { credentials, settings, requests, servers: Vec::new(), permits };
        new.set(config.servers());
        let mut repositories = config.discovery.sources.iter();
        let is_usable = new.servers.iter().any(|server| server.client.is_ok())
            || repositories.any(|source| new.credentials.get(&source.tls.files).is_some());
        if !is_usable && !problems.0.is_empty() {
            return Err(problems);
        }
        for problem in &problems.0 {
            tracing::error!("{problem}");
        }
        Ok(new)
    }

    /// Replaces the servers by these; those that stay keep their connections.
    pub fn set<'a>(&mut self, wanted: impl Iterator<Item = &'a Arc<Server>>) {
        let mut before = std::mem::take(&mut self.servers);
        for server in wanted {
            if self.servers.iter().any(|known| known.is(server)) {
                continue;
            }
            let known = before.iter().position(|known| known.is(server));
            let polled = match known {
                Some(known) => {
                    PolledServer { server: Arc::clone(server), ..before.swap_remove(known) }
                }
                None => {
                    let client = client(server, &mut self.credentials, self.settings);
                    PolledServer::new(server, client, self.requests)
                }
            };
            self.servers.push(polled);
        }
    }

    /// The certificates, for the repository services.
    pub fn credentials(&mut self) -> &mut Credentials {
        &mut self.credentials
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// The place of a server.
    pub fn index_of(&self, server: &Server) -> usize {
        self.servers.iter().position(|known| known.is(server)).unwrap_or(0)
    }

    /// Takes renewed certificates into use; every server gets a new chance.
    pub fn begin_poll(&mut self) {
        self.credentials.refresh();
        for server in &mut self.servers {
            server.down.replace(None);
            match &mut server.client {
                Ok(client) => client.refresh(&self.credentials),
                // The files may be there now.
                Err(_) => {
                    server.client = client(&server.server, &mut self.credentials, self.settings);
                }
            }
        }
    }

    /// Asks for one virtual proxy's sessions when its turn comes; returns the body
    /// of the answer.
    ///
    /// # Errors
    /// Why there is no answer; also that the turn did not come before the poll's end.
    pub async fn sessions(
        &self,
        server: usize,
        virtual_proxy: &VirtualProxy,
        last: &Cell<LastRequest>,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Failure> {
        let server = &self.servers[server];
        let turn = server.in_turn(virtual_proxy, last, &self.permits, deadline);
        match timeout_at(deadline.poll_ends, turn).await {
            Ok(result) => result,
            Err(_) => Err(no_turn_in_time()),
        }
    }

    /// Until when the certificates of one server are good.
    pub fn certificate_dates_of(&self, server: usize) -> CertificateDates {
        self.servers[server].certificate_dates()
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
    fn new(
        server: &Arc<Server>,
        client: Result<ProxyClient, FileProblem>,
        requests: usize,
    ) -> Self {
        Self {
            server: Arc::clone(server),
            client,
            requests: Semaphore::new(requests),
            down: RefCell::default(),
            suspect: Cell::new(true),
            silent: Cell::new(false),
            probe: Mutex::default(),
            warned: Cell::new(None),
        }
    }

    fn is(&self, server: &Server) -> bool {
        self.server.proxy == server.proxy && self.server.tls == server.tls
    }

    async fn in_turn(
        &self,
        virtual_proxy: &VirtualProxy,
        last: &Cell<LastRequest>,
        permits: &Permits,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Failure> {
        let client = self.client.as_ref().map_err(unusable_certificates)?;
        let _own = self.requests.acquire().await;
        let probe = if self.suspect.get() { Some(self.probe.lock().await) } else { None };
        if let Some(failure) = self.down.borrow().clone() {
            return Err(failure);
        }
        // Another request may have reached it while this one waited.
        let _probe = probe.filter(|_| self.suspect.get());
        let is_slow = match last.get() {
            LastRequest::TimedOut => true,
            LastRequest::None => self.silent.get(),
            LastRequest::CameBack => self.silent.get() && self.suspect.get(),
        };
        let _slow = if is_slow { Some(permits.slow.acquire().await) } else { None };
        let _all = permits.all.acquire().await;
        let result = client.sessions(virtual_proxy, deadline).await;
        let timed_out = result.as_ref().is_err_and(|failure| failure.category == Category::Timeout);
        last.set(if timed_out { LastRequest::TimedOut } else { LastRequest::CameBack });
        self.silent.set(timed_out);
        let down = result.as_ref().err().filter(|failure| failure.whole_server).cloned();
        self.suspect.set(down.is_some());
        if down.is_some() {
            self.down.replace(down);
        }
        result
    }

    fn certificate_dates(&self) -> CertificateDates {
        let Ok(client) = &self.client else { return CertificateDates::default() };
        CertificateDates {
            client: Some(Time(client.client_certificate_expires())),
            server: client.server_certificate_expires().map(Time),
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
        for (whose, end) in [("our client certificate for", client), ("the certificate of", server)]
        {
            let Some(Time(end)) = end
                .filter(|end| end.0.saturating_sub(EXPIRY_WARNING).is_ok_and(|from| from <= now))
            else {
                continue;
            };
            self.warned.set(Some(now));
            let verb = if end <= now { "expired" } else { "expires" };
            tracing::warn!(
                "{whose} {} {verb} on {end:.0}; export a new one from the QMC (Certificates) before sessions can no longer be read",
                self.server.name
            );
        }
    }
}

fn client(
    server: &Arc<Server>,
    credentials: &mut Credentials,
    settings: ClientSettings,
) -> Result<ProxyClient, FileProblem> {
    credentials.require(&server.tls.files)?;
    ProxyClient::new(server, credentials, settings)
}

/// The failure of a server or repository service whose certificates cannot be used.
pub fn unusable_certificates(problem: &FileProblem) -> Failure {
    Failure::new(
        Category::CertificateError,
        format!("its certificates cannot be used: {}: {}", problem.path.display(), problem.message),
    )
    .hint(problem.hint.clone())
}

/// How the requests of a configuration are made, each in at most so much time.
pub fn client_settings(config: &Config, request: Duration) -> ClientSettings {
    ClientSettings {
        timeout: request,
        max_body_bytes: config.options.max_body_bytes,
        keep_idle: config.polling_interval * 3,
        quote_answers: config.options.user_ids == UserIds::Plain,
    }
}
