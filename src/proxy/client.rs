//! One server's session API over HTTP/1.1 and mutual TLS.

use std::{cell::Cell, net::SocketAddr, sync::Arc, time::Duration};

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
    credentials::{CertificateSet, Credentials},
    explain::{self, HostNotFound},
    tls::{self, FileProblem, FileStamp, Witness},
    xrfkey,
};
use crate::target::{Server, VirtualProxy};

/// What all requests have in common.
#[derive(Clone, Copy, Debug)]
pub struct ClientSettings {
    /// One request, from the connection to the end of the body.
    pub timeout: Duration,
    /// Largest body, in bytes.
    pub max_body_bytes: usize,
    /// How long an unused connection is kept: longer than the polling interval.
    pub keep_idle: Duration,
}

/// Takes the body of an answer as it comes.
pub trait Receiver {
    /// A body begins. What came before was of a connection that broke.
    fn begin(&mut self);
    /// The next piece of it.
    fn piece(&mut self, bytes: &[u8]);
}

/// Speaks to one server.
#[derive(Debug)]
pub struct ProxyClient {
    server: Arc<Server>,
    settings: ClientSettings,
    http: reqwest::Client,
    witness: Witness,
    client_certificate_expires: Timestamp,
    stamp: FileStamp,
    /// Some request was answered: a connection may be a kept one.
    answered: Cell<bool>,
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
        let (http, witness) = http_client(&server, set, settings)?;
        Ok(Self {
            server,
            settings,
            http,
            witness,
            client_certificate_expires: set.identity.certificate().not_after,
            stamp: set.stamp.clone(),
            answered: Cell::new(false),
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
        self.witness.certificate().map(|certificate| certificate.not_after)
    }

    /// Asks for the sessions of one virtual proxy.
    ///
    /// # Errors
    /// Whatever keeps the answer from being a whole body with status 200.
    pub async fn sessions(
        &self,
        virtual_proxy: &VirtualProxy,
        deadline: Instant,
        answer: &mut impl Receiver,
    ) -> Result<(), Failure> {
        let asked = Instant::now();
        let deadline = deadline.min(asked + self.settings.timeout);
        match timeout_at(deadline, self.ask_twice(virtual_proxy, answer)).await {
            Ok(Ok(())) => {
                self.answered.set(true);
                Ok(())
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(explain::no_answer_in_time(asked.elapsed())),
        }
    }

    /// A server may close a kept connection in the moment in which we use it.
    /// That says nothing about the server, so a second, fresh one is tried.
    async fn ask_twice(
        &self,
        virtual_proxy: &VirtualProxy,
        answer: &mut impl Receiver,
    ) -> Result<(), Failure> {
        match self.ask(virtual_proxy, answer).await {
            Err(Trouble::Transport(error))
                if self.answered.get() && explain::connection_was_closed(&error) =>
            {
                self.answered.set(false);
                self.ask(virtual_proxy, answer).await
            }
            result => result,
        }
        .map_err(|trouble| match trouble {
            Trouble::Failure(failure) => failure,
            Trouble::Transport(error) => explain::transport(&error, &self.server, &self.witness),
        })
    }

    async fn ask(
        &self,
        virtual_proxy: &VirtualProxy,
        answer: &mut impl Receiver,
    ) -> Result<(), Trouble> {
        let key = xrfkey::fresh();
        let url = format!(
            "https://{}{}?Xrfkey={key}",
            self.server.proxy.authority(),
            virtual_proxy.session_path()
        );
        let response = self.http.get(url).header("X-Qlik-Xrfkey", key).send().await?;
        let status = response.status().as_u16();
        if status == 200 {
            return self.receive(response, answer).await;
        }
        let location = response
            .headers()
            .get(reqwest::header::LOCATION)
            .map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned());
        let body = beginning(response).await;
        Err(explain::status(&self.server, virtual_proxy, status, location.as_deref(), &body).into())
    }

    async fn receive(
        &self,
        mut response: Response,
        answer: &mut impl Receiver,
    ) -> Result<(), Trouble> {
        let limit = self.settings.max_body_bytes as u64;
        let mut is_html = is_html(&response);
        if response.content_length().is_some_and(|announced| announced > limit) {
            return Err(explain::body_too_large(limit).into());
        }
        answer.begin();
        let (mut received, mut only_layout) = (0, true);
        while let Some(piece) = response.chunk().await? {
            received += piece.len() as u64;
            if received > limit {
                return Err(explain::body_too_large(limit).into());
            }
            if only_layout && let Some(first) = piece.trim_ascii_start().first() {
                only_layout = false;
                is_html |= *first == b'<';
            }
            answer.piece(&piece);
        }
        if is_html { Err(explain::login_page(&self.server, 200, None).into()) } else { Ok(()) }
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
enum Trouble {
    Failure(Failure),
    Transport(reqwest::Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<reqwest::Error> for Trouble {
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
    set: &CertificateSet,
    settings: ClientSettings,
) -> Result<(reqwest::Client, Witness), FileProblem> {
    let (config, witness) = tls::client_config(&set.identity, set.roots.as_deref(), &server.tls)?;
    let http = reqwest::Client::builder()
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
        .tcp_keepalive(Duration::from_secs(30))
        .dns_resolver(SystemResolver)
        .build()
        .map_err(|error| FileProblem {
            path: server.tls.files.client_cert.clone(),
            message: format!("no HTTPS client could be made: {error}"),
            hint: "this is a defect of qlik-sessions, please report it".to_owned(),
        })?;
    Ok((http, witness))
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
