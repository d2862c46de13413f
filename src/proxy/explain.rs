//! What libraries and servers say, in words that an administrator can act on.

use std::{error::Error, io, time::Duration};

use super::{
    Category, Failure,
    tls::{self, CertificateObserver},
};
use crate::target::{Server, VirtualProxy};

/// How much of an error's body is read.
pub const BODY_START_BYTES: usize = 4_096;
/// How much of it is shown, in bytes.
const SHOWN_BYTES: usize = 200;
const UNREACHABLE: &str = "is the server up, is its proxy service still starting, and does a firewall let this machine through to the port? `qlik-sessions check` shows how far a connection comes";
const NO_TURN_HINT: &str = "other requests took the time: see which targets fail with `timeout`; raise `pollingInterval`, `sessionSource.concurrency` or `concurrencyPerServer` where there are simply many";
/// How the proxy refuses a request whose keys differ.
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
/// what they were told, also into an error of the same type that says less. An
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

/// The last cause: what happened, without who told it.
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

/// Whether a connection was closed before it brought an answer.
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

/// A request that brought no answer.
pub fn transport(
    error: &reqwest::Error,
    server: &Server,
    observer: &CertificateObserver,
) -> Failure {
    let failure = if let Some(error) = cause::<rustls::Error>(error) {
        tls::explain(error, &server.proxy.host, &server.tls, observer)
    } else if let Some(error) = cause::<HostNotFound>(error) {
        host_not_found(error)
    } else if error.is_timeout() {
        no_connection_in_time(server)
    } else if let Some(error) = cause::<io::Error>(error) {
        connection_failure(error, server)
    } else {
        closed_early(root_cause(error), server)
    };
    if error.is_connect() { failure.whole_server() } else { failure }
}

/// The operating system's word on a connection.
pub fn connection_failure(error: &io::Error, server: &Server) -> Failure {
    let address = &server.proxy.configured;
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            Failure::new(Category::ConnectionRefused, format!("{address}: {error}"))
                .hint("nothing listens on this port: is the Qlik Sense Proxy Service running, and is the port right (4243 by default)?")
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => closed_early(without_link(error.to_string()), server),
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Failure::new(Category::Timeout, format!("{address}: {error}"))
                .hint(UNREACHABLE)
        }
        _ => Failure::new(Category::Unknown, format!("{address}: {error}")),
    }
}

fn closed_early(words: String, server: &Server) -> Failure {
    Failure::new(Category::ConnectionReset, format!("{} closed the connection: {words}", server.proxy.configured))
        .hint("is the proxy service restarting, or does something between this machine and it break connections off? Some servers do so where they do not accept the client certificate: was it exported from this site's QMC?")
}

fn host_not_found(error: &HostNotFound) -> Failure {
    Failure::new(Category::HostNotFound, error.to_string())
        .hint("is `userSessions.host` spelled right, and does the DNS of this machine know it?")
}

/// The operating system knows no address for a name.
pub fn resolution_failure(host: &str, error: io::Error) -> Failure {
    host_not_found(&HostNotFound { host: host.to_owned(), error })
}

/// No connection came about.
pub fn no_connection_in_time(server: &Server) -> Failure {
    Failure::new(Category::Timeout, format!("no connection to {} in time", server.proxy.configured))
        .hint(UNREACHABLE)
}

/// The time of the whole request is over.
pub fn no_answer_in_time(waited: Duration) -> Failure {
    let waited = Duration::from_millis(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
    Failure::new(
        Category::Timeout,
        format!("no complete answer within {}", humantime::format_duration(waited)),
    )
    .hint("is the proxy service overloaded or starting? `sessionSource.timeout` sets how long to wait, in ms")
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

/// More than `maxBodyBytes`.
pub fn body_too_large(limit: usize) -> Failure {
    Failure::new(Category::BodyTooLarge, format!("the answer has more than {limit} bytes"))
        .hint("is this the session API? If so, raise `sessionSource.maxBodyBytes`")
        .status(200)
}

/// HTML where sessions were expected, or the way to it.
pub fn login_page(server: &Server, status: u16, location: Option<&str>) -> Failure {
    let message = match location {
        Some(location) => {
            format!("the server redirects to a login page{location}")
        }
        None => {
            "the server shows a web page, probably its login form, instead of a list of sessions"
                .to_owned()
        }
    };
    let hint = if server.proxy.port == crate::target::DEFAULT_PROXY_PORT {
        "is this the Qlik Sense proxy itself, and not a load balancer or another virtual proxy in front of it?".to_owned()
    } else {
        format!(
            "port {} is probably the one for users; the session API answers on port 4243: set `userSessions.host` to {}:4243",
            server.proxy.port, server.proxy.host
        )
    };
    Failure::new(Category::LoginPage, message).hint(hint).status(status)
}

/// An answer with a status that is not 200.
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

/// Why a server refuses.
pub fn refusal(server: &Server, virtual_proxy: &VirtualProxy, refusal: &Refusal) -> Failure {
    let status = refusal.status;
    let text = String::from_utf8_lossy(&refusal.body);
    let said = refusal.quoted(&refusal.body);
    let failure = |category| {
        Failure::new(category, format!("the server answers with status {status}{said}"))
            .status(status)
    };
    match status {
        300..=399 => {
            let location = refusal.location.as_deref().unwrap_or_default();
            login_page(server, status, Some(&refusal.quoted(location.as_bytes())))
        }
        403 if text.contains(XSRF_TEXT) => failure(Category::XsrfRejected)
            .hint("something between this machine and the proxy drops the header X-Qlik-Xrfkey or the query: poll the proxy directly"),
        401 | 403 => failure(Category::AuthError).hint(
            "the client certificate is not accepted for the session API: was it exported from this site's QMC, and is its CA the one that the server trusts?",
        ),
        // nginx and others finish the handshake and refuse the certificate in HTTP.
        400 | 495 | 496 if text.contains("SSL certificate") => failure(Category::AuthError)
            .hint("the server does not accept the client certificate: was it exported from this site's QMC?"),
        404 => failure(Category::NotFound).hint(format!(
            "is there a virtual proxy with the prefix `{virtual_proxy}` on this server, and is it linked to its proxy service in the QMC?"
        )),
        429 => failure(Category::RateLimited).hint("raise `userSessions.pollingInterval`"),
        400..=499 => failure(Category::Http4xx).hint("see the proxy's log on the server: Qlik/Sense/Log/Proxy"),
        500..=599 => failure(Category::Http5xx)
            .hint("the proxy service is in trouble or starting; see its log on the server: Qlik/Sense/Log/Proxy"),
        _ => failure(Category::Unknown).hint("is this the session API of a Qlik Sense proxy (port 4243)?"),
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
