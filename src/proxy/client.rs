//! One server's session API over HTTP/1.1 and mutual TLS.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::{
    Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::CONTENT_TYPE,
    redirect,
};
use tokio::time::{Instant, timeout_at};

use super::{
    Failure,
    credentials::Credentials,
    explain::{self, HostNotFound},
    tls::{self, CertificateObserver, FileProblem, FileStamp},
    xrfkey,
};
use crate::target::{Server, VirtualProxy};

/// Most room that is made for a body before it comes, in bytes.
const MOST_AT_ONCE: u64 = 16 * 1024 * 1024;

/// What all requests have in common.
#[derive(Clone, Copy, Debug)]
pub struct ClientSettings {
    /// One request, from the connection to the end of the body.
    pub timeout: Duration,
    /// Largest body, in bytes.
    pub max_body_bytes: usize,
    /// How long an unused connection is kept: longer than the polling interval.
    pub keep_idle: Duration,
    /// Whether a failure may quote what the server said: it may name a user.
    pub quote_answers: bool,
}

/// Speaks to one server.
#[derive(Debug)]
pub struct ProxyClient {
    server: Arc<Server>,
    settings: ClientSettings,
    /// Keeps its connections.
    kept: reqwest::Client,
    /// Makes a new connection for each request.
    fresh: reqwest::Client,
    observer: CertificateObserver,
    client_certificate_expires: Timestamp,
    stamp: FileStamp,
}

impl ProxyClient {
    /// A client for one server; connects when it is first asked.
    ///
    /// # Errors
    /// Where the certificates of the server do not fit together.
    pub fn new(
        server: Arc<Server>,
        credentials: &Credentials,
        settings: ClientSettings,
    ) -> Result<Self, FileProblem> {
        let set = credentials.get(&server.tls.files).ok_or_else(|| FileProblem {
            path: server.tls.files.client_cert.clone(),
            message: "was not loaded".to_owned(),
            hint: "restart the program".to_owned(),
        })?;
        let (config, observer) =
            tls::client_config(&set.identity, set.roots.as_deref(), &server.tls)?;
        Ok(Self {
            kept: http_client(&server, config.clone(), settings, usize::MAX)?,
            fresh: http_client(&server, config, settings, 0)?,
            server,
            settings,
            observer,
            client_certificate_expires: set.identity.certificate().not_after,
            stamp: set.stamp.clone(),
        })
    }

    /// Takes renewed certificates into use.
    pub fn refresh(&mut self, credentials: &Credentials) {
        let Some(set) = credentials.get(&self.server.tls.files) else { return };
        if set.stamp == self.stamp {
            return;
        }
        match Self::new(Arc::clone(&self.server), credentials, self.settings) {
            Ok(renewed) => *self = renewed,
            Err(problem) => tracing::warn!("{problem}"),
        }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Until when our certificate is good.
    pub fn client_certificate_expires(&self) -> Timestamp {
        self.client_certificate_expires
    }

    /// Until when the server's certificate is good, once it has shown one.
    pub fn server_certificate_expires(&self) -> Option<Timestamp> {
        self.observer.certificate().map(|certificate| certificate.not_after)
    }

    /// Asks for the sessions of one virtual proxy; returns the answer's body.
    ///
    /// # Errors
    /// Whatever keeps the answer from being a whole body with status 200 before
    /// the deadline.
    pub async fn sessions(
        &self,
        virtual_proxy: &VirtualProxy,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Failure> {
        let asked = Instant::now();
        match timeout_at(deadline.of_request(asked), self.ask_twice(virtual_proxy)).await {
            Ok(result) => result,
            Err(_) if deadline.cuts(asked) => Err(explain::turn_came_late(asked.elapsed())),
            Err(_) => Err(explain::no_answer_in_time(asked.elapsed())),
        }
    }

    /// A server may close a kept connection in the moment in which we use it, and
    /// all that we keep at once. That says nothing about the server, so every
    /// request may be tried once more, on a new connection.
    async fn ask_twice(&self, virtual_proxy: &VirtualProxy) -> Result<Vec<u8>, Failure> {
        match self.ask(&self.kept, virtual_proxy).await {
            Err(RequestError::Transport(error)) if explain::connection_was_closed(&error) => {
                self.ask(&self.fresh, virtual_proxy).await
            }
            result => result,
        }
        .map_err(|error| match error {
            RequestError::Failure(failure) => failure,
            RequestError::Transport(error) => {
                explain::transport(&error, &self.server, &self.observer)
            }
        })
    }

    async fn ask(
        &self,
        http: &reqwest::Client,
        virtual_proxy: &VirtualProxy,
    ) -> Result<Vec<u8>, RequestError> {
        let key = xrfkey::fresh();
        let url = format!(
            "https://{}{}?Xrfkey={key}",
            self.server.proxy.authority(),
            virtual_proxy.session_path()
        );
        let response = http.get(url).header("X-Qlik-Xrfkey", key).send().await?;
        let status = response.status().as_u16();
        if status == 200 {
            return self.receive(response).await;
        }
        let location = response
            .headers()
            .get(reqwest::header::LOCATION)
            .map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned());
        let refusal = explain::Refusal {
            status,
            location,
            body: beginning(response).await,
            may_be_quoted: self.settings.quote_answers,
        };
        Err(explain::refusal(&self.server, virtual_proxy, &refusal).into())
    }

    async fn receive(&self, mut response: Response) -> Result<Vec<u8>, RequestError> {
        let limit = self.settings.max_body_bytes;
        let is_html = is_html(&response);
        let announced = response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(explain::body_too_large(limit).into());
        }
        // What a server announces is not yet there: little room is made for it.
        let mut body = Vec::with_capacity(announced.min(MOST_AT_ONCE) as usize);
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > limit {
                return Err(explain::body_too_large(limit).into());
            }
            body.extend_from_slice(&piece);
        }
        if is_html || body.trim_ascii_start().starts_with(b"<") {
            return Err(explain::login_page(&self.server, 200, None).into());
        }
        Ok(body)
    }
}

/// When a request ends at the latest: its own time is over, or the poll is.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// The end of the poll.
    pub poll_ends: Instant,
    /// What one request may take.
    pub request: Duration,
}

impl Deadline {
    /// The deadline of a request that begins at `asked`.
    fn of_request(&self, asked: Instant) -> Instant {
        self.poll_ends.min(asked + self.request)
    }

    /// Returns whether the poll's end leaves such a request less than its time.
    fn cuts(&self, asked: Instant) -> bool {
        asked + self.request > self.poll_ends
    }
}

/// The beginning of a body is enough to say what it is, where what is wrong is
/// the status.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() >= explain::BODY_START_BYTES {
            body.truncate(explain::BODY_START_BYTES);
            break;
        }
    }
    body
}

/// A failure that is understood, or what the HTTP client says.
enum RequestError {
    Failure(Failure),
    Transport(reqwest::Error),
}

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<reqwest::Error> for RequestError {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error)
    }
}

fn is_html(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().contains("html"))
}

fn http_client(
    server: &Server,
    config: rustls::ClientConfig,
    settings: ClientSettings,
    kept_connections: usize,
) -> Result<reqwest::Client, FileProblem> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(true)
        .http1_only()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("qlik-sessions/", env!("CARGO_PKG_VERSION")))
        // Before the time of the whole request is over, so that a server that
        // cannot be reached is told from one that does not answer.
        .connect_timeout(settings.timeout.mul_f64(0.9))
        .pool_idle_timeout(settings.keep_idle)
        .pool_max_idle_per_host(kept_connections)
        .tcp_keepalive(Duration::from_secs(30))
        .dns_resolver(SystemResolver)
        .build()
        .map_err(|error| FileProblem {
            path: server.tls.files.client_cert.clone(),
            message: format!("no HTTPS client could be made: {error}"),
            hint: "this is a defect of qlik-sessions, please report it".to_owned(),
        })
}

/// The operating system's resolver, with an error that can be told from others.
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let not_found = |error| HostNotFound { host: name.as_str().to_owned(), error };
            let addresses: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(not_found)?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
