//! One service over HTTP/1.1 and mutual TLS: what the session API and the
//! repository service have in common.

use std::{net::SocketAddr, time::Duration};

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
    endpoint::Endpoint,
    explain::{self, HostNotFound, Refusal},
    tls::{self, CertificateObserver, FileProblem, FileStamp},
    xrfkey,
};

/// Most bytes that are reserved for a body before it comes.
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

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    /// The path, percent-encoded.
    pub path: &'a str,
    /// The name of the Xrfkey in the query: services spell it differently.
    pub key_name: &'static str,
    /// For the header `X-Qlik-User`, where the service wants one.
    pub user: Option<&'a str>,
}

/// Why there is no whole body with status 200.
#[derive(Debug)]
pub enum NoBody {
    /// There is no answer, or it is no body that could be read.
    Failed(Failure),
    /// The service answers with another status: what that means depends on what was
    /// asked.
    Refused(Refusal),
}

impl NoBody {
    /// The failure; a refusal becomes one by `explain`.
    pub fn explained(self, explain: impl FnOnce(&Refusal) -> Failure) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Refused(refusal) => explain(&refusal),
        }
    }
}

/// Speaks to one service.
#[derive(Debug)]
pub struct HttpsClient {
    endpoint: Endpoint,
    settings: ClientSettings,
    /// Keeps its connections.
    kept: reqwest::Client,
    /// Makes a new connection for each request.
    fresh: reqwest::Client,
    observer: CertificateObserver,
    client_certificate_expires: Timestamp,
    stamp: FileStamp,
}

impl HttpsClient {
    /// A client for one service; connects when it is first asked.
    ///
    /// # Errors
    /// Where the certificates do not fit together.
    pub fn new(
        endpoint: Endpoint,
        credentials: &Credentials,
        settings: ClientSettings,
    ) -> Result<Self, FileProblem> {
        let files = &endpoint.tls.files;
        let set = credentials.get(files).ok_or_else(|| FileProblem {
            path: files.client_cert.clone(),
            message: "was not loaded".to_owned(),
            hint: "restart the program".to_owned(),
        })?;
        let (config, observer) =
            tls::client_config(&set.identity, set.roots.as_deref(), &endpoint.tls)?;
        Ok(Self {
            kept: http_client(&endpoint, config.clone(), settings, usize::MAX)?,
            fresh: http_client(&endpoint, config, settings, 0)?,
            endpoint,
            settings,
            observer,
            client_certificate_expires: set.identity.certificate().not_after,
            stamp: set.stamp.clone(),
        })
    }

    /// Takes renewed certificates into use.
    pub fn refresh(&mut self, credentials: &Credentials) {
        let Some(set) = credentials.get(&self.endpoint.tls.files) else { return };
        if set.stamp == self.stamp {
            return;
        }
        match Self::new(self.endpoint.clone(), credentials, self.settings) {
            Ok(renewed) => *self = renewed,
            Err(problem) => tracing::warn!("{problem}"),
        }
    }

    /// Where it asks.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Until when our certificate is good.
    pub fn client_certificate_expires(&self) -> Timestamp {
        self.client_certificate_expires
    }

    /// Until when the server's certificate is good, once it has shown one.
    pub fn server_certificate_expires(&self) -> Option<Timestamp> {
        self.observer.certificate().map(|certificate| certificate.not_after)
    }

    /// Asks; returns the answer's body.
    ///
    /// # Errors
    /// Whatever keeps the answer from being a whole body with status 200 before
    /// the deadline.
    pub async fn get(&self, get: Get<'_>, deadline: Deadline) -> Result<Vec<u8>, NoBody> {
        let asked = Instant::now();
        let service = self.endpoint.service;
        match timeout_at(deadline.of_request(asked), self.ask_twice(get)).await {
            Ok(result) => result,
            Err(_) if deadline.cuts(asked) => {
                Err(NoBody::Failed(explain::turn_came_late(asked.elapsed())))
            }
            Err(_) => Err(NoBody::Failed(explain::no_answer_in_time(asked.elapsed(), service))),
        }
    }

    /// A server may close a kept connection just when we use it, and even all of them at
    /// once. That is not a failure of the server, so every request may be tried once
    /// more, on a new connection.
    async fn ask_twice(&self, get: Get<'_>) -> Result<Vec<u8>, NoBody> {
        match self.ask(&self.kept, get).await {
            Err(RequestError::Transport(error)) if explain::connection_was_closed(&error) => {
                self.ask(&self.fresh, get).await
            }
            result => result,
        }
        .map_err(|error| match error {
            RequestError::NoBody(no_body) => no_body,
            RequestError::Transport(error) => {
                NoBody::Failed(explain::transport(&error, &self.endpoint, &self.observer))
            }
        })
    }

    async fn ask(&self, http: &reqwest::Client, get: Get<'_>) -> Result<Vec<u8>, RequestError> {
        let key = xrfkey::fresh();
        let Get { path, key_name, user } = get;
        let url = format!("https://{}{path}?{key_name}={key}", self.endpoint.address.authority());
        let mut request = http.get(url).header("X-Qlik-Xrfkey", key);
        if let Some(user) = user {
            request = request.header("X-Qlik-User", user);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        if status == 200 {
            return self.receive(response).await;
        }
        let location = response
            .headers()
            .get(reqwest::header::LOCATION)
            .map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned());
        Err(RequestError::NoBody(NoBody::Refused(Refusal {
            status,
            location,
            body: beginning(response).await,
            may_be_quoted: self.settings.quote_answers,
        })))
    }

    async fn receive(&self, mut response: Response) -> Result<Vec<u8>, RequestError> {
        let limit = self.settings.max_body_bytes;
        let service = self.endpoint.service;
        let is_html = is_html(&response);
        let announced = response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(explain::body_too_large(limit, service).into());
        }
        // A server may announce more than it sends, so only a little room is reserved.
        let mut body = Vec::with_capacity(announced.min(MOST_AT_ONCE) as usize);
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > limit {
                return Err(explain::body_too_large(limit, service).into());
            }
            body.extend_from_slice(&piece);
        }
        if is_html || body.trim_ascii_start().starts_with(b"<") {
            return Err(explain::login_page(&self.endpoint, 200, None).into());
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
    /// The deadline of one request that begins now and is alone.
    pub fn within(request: Duration) -> Self {
        Self { poll_ends: Instant::now() + request, request }
    }

    /// The deadline of a request that begins at `asked`.
    fn of_request(&self, asked: Instant) -> Instant {
        self.poll_ends.min(asked + self.request)
    }

    /// Returns whether the poll's end leaves such a request much less than its time. The
    /// few milliseconds from the start of the poll to its first requests do not matter.
    fn cuts(&self, asked: Instant) -> bool {
        asked + self.request.mul_f64(0.8) > self.poll_ends
    }
}

/// Reads the beginning of a body: where the status is an error, that is enough to say
/// what the body is.
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

/// A failure that is explained already, or the words of the HTTP client.
enum RequestError {
    NoBody(NoBody),
    Transport(reqwest::Error),
}

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> Self {
        Self::NoBody(NoBody::Failed(failure))
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
    endpoint: &Endpoint,
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
        // cannot be reached differs from one that does not answer.
        .connect_timeout(settings.timeout.mul_f64(0.9))
        .pool_idle_timeout(settings.keep_idle)
        .pool_max_idle_per_host(kept_connections)
        .tcp_keepalive(Duration::from_secs(30))
        .dns_resolver(SystemResolver)
        .build()
        .map_err(|error| FileProblem {
            path: endpoint.tls.files.client_cert.clone(),
            message: format!("no HTTPS client could be made: {error}"),
            hint: "this is a defect of qlik-sessions, please report it".to_owned(),
        })
}

/// The operating system's resolver, with an error of its own type.
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
