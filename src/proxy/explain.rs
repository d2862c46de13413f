//! Turns what libraries and servers say into words that an administrator can act on.

use std::{error::Error, io, time::Duration};

use super::{
    Category, Endpoint, Failure, Service,
    tls::{self, CertificateObserver},
};
use crate::target::VirtualProxy;

/// How much of an error's body is read.
pub const BODY_START_BYTES: usize = 4_096;
/// How much of it is shown, in bytes.
const SHOWN_BYTES: usize = 200;
const UNREACHABLE: &str = "is the server up, is its service still starting, and does a firewall let this machine through to the port? `qlik-sessions check` shows how far a connection comes";
const NO_TURN_HINT: &str = "other requests took the time: see which targets fail with `timeout`; raise `pollingInterval`, `sessionSource.concurrency` or `concurrencyPerServer` where there are simply many";
/// How a service refuses a request whose keys differ.
const XSRF_TEXT: &str = "XSRF prevention check failed";

/// The name is not known to DNS.
#[derive(Debug, thiserror::Error)]
#[error("the name {host} cannot be resolved: {error}")]
pub struct HostNotFound {
    /// The name.
    pub host: String,
    /// The operating system's words.
    pub error: io::Error,
}

/// The innermost error of type `T` among an error's causes: libraries wrap
/// what they caught, also into an error of the same type with fewer words. An
/// `io::Error` hides the error that it wraps from `source`, so it is looked into.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        found = error.downcast_ref::<T>().or(found);
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        found = wrapped.and_then(|wrapped| cause::<T>(wrapped)).or(found);
        next = error.source();
    }
    found
}

/// The last cause: what happened, without the layers that reported it.
fn root_cause(error: &dyn Error) -> String {
    let mut error: &dyn Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    without_link(error.to_string())
}

/// rustls appends the address of a page for programmers.
fn without_link(mut words: String) -> String {
    if let Some(at) = words.find(": https://docs.rs/") {
        words.truncate(at);
    }
    words
}

/// Returns whether a connection was closed before the answer came.
pub fn connection_was_closed(error: &reqwest::Error) -> bool {
    !error.is_connect()
        && !error.is_timeout()
        && (error.is_request() || error.is_body())
        && cause::<io::Error>(error).is_none_or(|io| {
            matches!(
                io.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::UnexpectedEof
            )
        })
        && cause::<rustls::Error>(error).is_none()
}

/// The failure of a request that got no answer.
pub fn transport(
    error: &reqwest::Error,
    endpoint: &Endpoint,
    observer: &CertificateObserver,
) -> Failure {
    let failure = if let Some(error) = cause::<rustls::Error>(error) {
        tls::explain(error, endpoint, observer)
    } else if let Some(error) = cause::<HostNotFound>(error) {
        host_not_found(error, endpoint.service)
    } else if error.is_timeout() {
        no_connection_in_time(endpoint)
    } else if let Some(error) = cause::<io::Error>(error) {
        connection_failure(error, endpoint)
    } else {
        closed_early(root_cause(error), endpoint)
    };
    if error.is_connect() { failure.whole_server() } else { failure }
}

/// An error of the operating system about a connection.
pub fn connection_failure(error: &io::Error, endpoint: &Endpoint) -> Failure {
    let address = &endpoint.address.configured;
    let service = endpoint.service;
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            Failure::new(Category::ConnectionRefused, format!("{address}: {error}")).hint(format!(
                "nothing listens on this port: is the {} running, and is the port right ({})?",
                service.name(),
                service.port_words()
            ))
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => closed_early(without_link(error.to_string()), endpoint),
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => {
            Failure::new(Category::Timeout, format!("{address}: {error}")).hint(UNREACHABLE)
        }
        _ => Failure::new(Category::Unknown, format!("{address}: {error}")),
    }
}

fn closed_early(words: String, endpoint: &Endpoint) -> Failure {
    Failure::new(Category::ConnectionReset, format!("{} closed the connection: {words}", endpoint.address.configured))
        .hint("is the service restarting, or does something between this machine and the server drop connections? Some servers do so where they do not accept the client certificate: was it exported from this site's QMC?")
}

fn host_not_found(error: &HostNotFound, service: Service) -> Failure {
    let hint = match service {
        Service::Proxy => {
            "is `userSessions.host` spelled right, and does the DNS of this machine know it?"
        }
        Service::ListedProxy => {
            "the node is registered under this name in the QMC; where the DNS of this machine does not know it, say what to dial under `sessionSource.discovery.addresses`"
        }
        Service::Repository => {
            "is the host of the repository service (`--host` or `sessionSource.discovery.host`) spelled right, and does the DNS of this machine know it?"
        }
    };
    Failure::new(Category::HostNotFound, error.to_string()).hint(hint)
}

/// The failure where the operating system knows no address for a name.
pub fn resolution_failure(endpoint: &Endpoint, error: io::Error) -> Failure {
    let host = endpoint.address.host.clone();
    host_not_found(&HostNotFound { host, error }, endpoint.service)
}

/// The failure where no connection was made in time.
pub fn no_connection_in_time(endpoint: &Endpoint) -> Failure {
    let address = &endpoint.address.configured;
    Failure::new(Category::Timeout, format!("no connection to {address} in time")).hint(UNREACHABLE)
}

/// The time of the whole request is over.
pub fn no_answer_in_time(waited: Duration, service: Service) -> Failure {
    let waited = Duration::from_millis(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
    Failure::new(
        Category::Timeout,
        format!("no complete answer within {}", humantime::format_duration(waited)),
    )
    .hint(format!(
        "is the {} overloaded or starting? `sessionSource.timeout` sets how long to wait, in ms",
        service.name()
    ))
}

/// The poll was over before this target's turn came.
pub fn no_turn_in_time() -> Failure {
    Failure::new(Category::Timeout, "the poll was over before this target's turn came")
        .hint(NO_TURN_HINT)
}

/// The request began so late that the poll's end cut its time.
pub fn turn_came_late(left: Duration) -> Failure {
    let left = Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    Failure::new(
        Category::Timeout,
        format!(
            "this target's turn came only {} before the end of the poll, and that was too short for its answer",
            humantime::format_duration(left)
        ),
    )
    .hint(NO_TURN_HINT)
}

/// The failure where an answer has more than `maxBodyBytes`.
pub fn body_too_large(limit: usize, service: Service) -> Failure {
    Failure::new(Category::BodyTooLarge, format!("the answer has more than {limit} bytes"))
        .hint(format!("is this {}? If so, raise `sessionSource.maxBodyBytes`", service.api()))
        .status(200)
}

/// The failure where the answer is HTML, or a redirect, in place of a list.
pub fn login_page(endpoint: &Endpoint, status: u16, location: Option<&str>) -> Failure {
    let Endpoint { service, address, .. } = endpoint;
    let what = match service {
        Service::Proxy | Service::ListedProxy => "sessions",
        Service::Repository => "proxies",
    };
    let message = match location {
        Some(location) => {
            format!("the server redirects to a login page{location}")
        }
        None => {
            format!(
                "the server shows a web page, probably its login form, instead of a list of {what}"
            )
        }
    };
    let port = service.usual_port();
    let hint = if address.port == port {
        format!(
            "is this the {} itself, and not a load balancer or another virtual proxy in front of it?",
            service.name()
        )
    } else {
        let right = format!("{}:{port}", address.host);
        format!(
            "port {} is probably the one for users; {} answers on port {port}: {}",
            address.port,
            service.api(),
            service.how_to_dial(&right)
        )
    };
    Failure::new(Category::LoginPage, message).hint(hint).status(status)
}

/// An answer with a status that is not 200.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The beginning of the body.
    pub body: Vec<u8>,
    /// Whether a message may quote the server: it may name a user.
    pub may_be_quoted: bool,
}

impl Refusal {
    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Returns whether the Xrfkey was refused.
    fn is_xsrf(&self) -> bool {
        self.status == 403 && self.text().contains(XSRF_TEXT)
    }

    fn failure(&self, category: Category) -> Failure {
        let said = self.quoted(&self.body);
        let message = format!("the server answers with status {}{said}", self.status);
        Failure::new(category, message).status(self.status)
    }

    /// A text of the server for a message, or only how long it is.
    fn quoted(&self, text: &[u8]) -> String {
        if text.trim_ascii().is_empty() {
            String::new()
        } else if self.may_be_quoted {
            format!(": {}", shown(text))
        } else {
            format!(" and {} bytes", text.len())
        }
    }
}

/// Why a proxy service refuses to list sessions.
pub fn refusal(endpoint: &Endpoint, virtual_proxy: &VirtualProxy, refusal: &Refusal) -> Failure {
    match refusal.status {
        401 | 403 if !refusal.is_xsrf() => refusal.failure(Category::AuthError).hint(
            "the client certificate is not accepted for the session API: was it exported from this site's QMC, and is its CA the one that the server trusts?",
        ),
        404 => refusal.failure(Category::NotFound).hint(format!(
            "is there a virtual proxy with the prefix `{virtual_proxy}` on this server, and is it linked to its proxy service in the QMC?"
        )),
        429 => refusal.failure(Category::RateLimited).hint("raise `userSessions.pollingInterval`"),
        _ => any_refusal(endpoint, refusal),
    }
}

/// Why the repository service refuses to list proxies to this user.
pub fn repository_refusal(endpoint: &Endpoint, user: &str, refusal: &Refusal) -> Failure {
    match refusal.status {
        401 | 403 if !refusal.is_xsrf() => refusal.failure(Category::AuthError).hint(format!(
            "the certificate was accepted; the user `{user}`, who is named in the header X-Qlik-User, was not, or may not read proxies: use INTERNAL\\sa_repository or INTERNAL\\sa_api (`--user` or `sessionSource.discovery.user`), and see that nothing between here and there drops the header"
        )),
        404 => refusal
            .failure(Category::NotFound)
            .hint("is this the repository service of Qlik Sense Enterprise on Windows (port 4242)?"),
        429 => refusal.failure(Category::RateLimited).hint("raise `sessionSource.discovery.interval`"),
        _ => any_refusal(endpoint, refusal),
    }
}

/// What a status means, whichever service sends it.
fn any_refusal(endpoint: &Endpoint, refusal: &Refusal) -> Failure {
    let service = endpoint.service;
    let status = refusal.status;
    match status {
        300..=399 => {
            let location = refusal.location.as_deref().unwrap_or_default();
            login_page(endpoint, status, Some(&refusal.quoted(location.as_bytes())))
        }
        403 if refusal.is_xsrf() => refusal.failure(Category::XsrfRejected).hint(format!(
            "something between this machine and the {} drops the header X-Qlik-Xrfkey or the query: ask it directly",
            service.name()
        )),
        // nginx and others finish the handshake and refuse the certificate in HTTP.
        400 | 495 | 496 if refusal.text().contains("SSL certificate") => refusal
            .failure(Category::AuthError)
            .hint("the server does not accept the client certificate: was it exported from this site's QMC?"),
        400..=499 => refusal
            .failure(Category::Http4xx)
            .hint(format!("see the service's log on the server: {}", service.log())),
        500..=599 => refusal.failure(Category::Http5xx).hint(format!(
            "the {} is in trouble or starting; see its log on the server: {}",
            service.name(),
            service.log()
        )),
        _ => refusal.failure(Category::Unknown).hint(format!(
            "is this {} of Qlik Sense (port {})?",
            service.api(),
            service.usual_port()
        )),
    }
}

/// The beginning of a text from outside, on one line; of HTML its title or its
/// text, without tags.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = if text.trim_start().starts_with('<') { text_of_html(&text) } else { text.into() };
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    let line = words.join(" ");
    let end = line.floor_char_boundary(SHOWN_BYTES);
    if end < line.len() { format!("{}…", &line[..end]) } else { line }
}

/// The title of a page, or else its text. Entities stay as they are.
fn text_of_html(html: &str) -> String {
    // ASCII alone changes: every place stays where it was.
    let lower = html.to_ascii_lowercase();
    let title = lower.find("<title>").map(|at| at + "<title>".len());
    if let Some(start) = title
        && let Some(length) = lower[start..].find("</title>")
        && !html[start..start + length].trim().is_empty()
    {
        return html[start..start + length].to_owned();
    }
    let mut text = String::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        text.push(' ');
        let Some(end) = rest[start..].find('>') else { return text };
        rest = &rest[start + end + 1..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_page_is_its_title_or_its_text() {
        assert_eq!(shown(b"<html><head><title>502 Bad Gateway</title></head>"), "502 Bad Gateway");
        assert_eq!(
            shown(b"<html><body><h1>Not found</h1>\n<p>no such page"),
            "Not found no such page"
        );
        assert_eq!(shown(b"plain < text"), "plain < text");
    }
}
