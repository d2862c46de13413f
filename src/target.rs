//! What is polled: a [`Target`] is one virtual proxy on one [`Server`].

mod addresses;
mod keys;
mod repository_user;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use addresses::Addresses;
pub use keys::TargetKeys;
pub use repository_user::RepositoryUser;

/// The port of the proxy service's API where the configuration names none.
pub const DEFAULT_PROXY_PORT: u16 = 4243;
/// The port of the repository service's API. The QMC cannot change it.
pub const REPOSITORY_PORT: u16 = 4242;

/// Everything but RFC 3986's unreserved characters.
const PATH_SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A virtual proxy's prefix, normalised: `/` or `/sales`.
///
/// `sales`, `/sales/` and `/sales` are the same; so are the empty text and `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualProxy(String);

impl VirtualProxy {
    /// Normalises a prefix as it is written in a configuration.
    pub fn new(prefix: &str) -> Self {
        let segments: Vec<&str> =
            prefix.split('/').map(str::trim).filter(|segment| !segment.is_empty()).collect();
        Self(format!("/{}", segments.join("/")))
    }

    /// The normalised prefix, with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The session API's path: `/qps/session`, `/qps/sales/session`.
    pub fn session_path(&self) -> String {
        let mut path = String::from("/qps");
        for segment in self.0.split('/').filter(|segment| !segment.is_empty()) {
            path.push('/');
            path.extend(utf8_percent_encode(segment, PATH_SEGMENT));
        }
        path.push_str("/session");
        path
    }
}

impl fmt::Display for VirtualProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a proxy service listens, or the repository service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyAddress {
    /// `userSessions.host` as configured; the default port added where it had none.
    pub configured: String,
    /// Name or address without brackets and port, lower case.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl ProxyAddress {
    /// Parses `name`, `name:port`, an IPv4 address, or an IPv6 address with or
    /// without brackets.
    ///
    /// # Errors
    /// What was expected, for a message about a configuration key.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_or_port(text, DEFAULT_PROXY_PORT)
    }

    /// As [`ProxyAddress::parse`], for a service whose port is another one where the
    /// text names none.
    ///
    /// # Errors
    /// As [`ProxyAddress::parse`].
    pub fn parse_or_port(text: &str, default_port: u16) -> Result<Self, String> {
        let expected = format!("expected `name:{default_port}`, without https:// and path");
        let text = text.trim();
        refuse_placeholder(text)?;
        if text.contains([',', ';']) {
            return Err(format!("holds more than one address; {expected}"));
        }
        if text.is_empty()
            || text.contains(['/', '@', '?', '#', '\\'])
            || text.contains(char::is_whitespace)
        {
            return Err(expected);
        }
        let (host, port) = split_port(text)?;
        if host.is_empty() {
            return Err(expected);
        }
        let host = host.to_lowercase();
        if host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("`{host}` is not an IPv6 address; {expected}"));
        }
        check_name(&host, default_port)?;
        let configured = match port {
            Some(_) => text.to_owned(),
            None if host.contains(':') => format!("[{host}]:{default_port}"),
            None => format!("{text}:{default_port}"),
        };
        Ok(Self { configured, host, port: port.unwrap_or(default_port) })
    }

    /// Parses an address that may be part of a URL. Returns it, and what was removed from
    /// the URL.
    ///
    /// # Errors
    /// As [`ProxyAddress::parse`].
    pub fn parse_url(text: &str, default_port: u16) -> Result<(Self, Option<String>), String> {
        let text = text.trim();
        let is_scheme =
            |scheme: &str| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric());
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (&text[..scheme.len() + 3], rest),
            _ => ("", text),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (address, path) = rest.split_at(end);
        let taken_off: Vec<String> = [scheme, path]
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| format!("`{part}`"))
            .collect();
        let note = (!taken_off.is_empty())
            .then(|| format!("only `{address}` is used, without {}", taken_off.join(" and ")));
        Ok((Self::parse_or_port(address, default_port)?, note))
    }

    /// `host:port` as a URL wants it, IPv6 addresses in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Refuses a placeholder of a template that nobody filled in.
fn refuse_placeholder(text: &str) -> Result<(), String> {
    let is_placeholder = text.contains(['<', '>', '$', '{', '}'])
        || text.find('%').is_some_and(|first| text[first + 1..].contains('%'));
    if is_placeholder {
        return Err(format!("`{text}` is a placeholder; put the server's name in its place"));
    }
    Ok(())
}

/// Refuses what cannot be the name of a host.
fn check_name(host: &str, default_port: u16) -> Result<(), String> {
    if host.contains(':') {
        return Ok(());
    }
    let labels: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    if host.len() > 253 || !labels.iter().all(is_label) {
        return Err(format!(
            "`{host}` cannot be the name of a server; expected `name:{default_port}`"
        ));
    }
    // Such a name would be taken for an address: `10` is 0.0.0.10.
    let is_number = labels.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if is_number && host.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(format!(
            "`{host}` is neither a name nor a whole IP address; expected `name:{default_port}`"
        ));
    }
    Ok(())
}

/// Splits `host[:port]`; knows IPv6 addresses with and without brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let port_of = |port: &str| {
        port.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .map(Some)
            .ok_or_else(|| format!("`{port}` is not a TCP port (1 to 65535)"))
    };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err("an IPv6 address that opens with [ must close with ]".to_owned());
        };
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, port_of(port)?)),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(format!("`{rest}` after the IPv6 address is not a port")),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, port_of(port)?)),
        None => Ok((text, None)),
    }
}

/// The host part of `name:port`, for display and tags.
pub fn host_without_port(text: &str) -> &str {
    split_port(text.trim()).map_or(text, |(host, _)| host)
}

/// A text that must appear in no log, error or `Debug` output.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The environment variable with the passphrase of the client key; wins over
/// `clientCertPassphrase`.
pub const PASSPHRASE_VARIABLE: &str = "QLIK_SESSIONS_KEY_PASSPHRASE";

/// The files of one certificate set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// `clientCert`: PEM, DER or PKCS#12 (`client.pfx`, which holds the key too).
    pub client_cert: PathBuf,
    /// `clientCertKey`: PEM; none where `client_cert` is PKCS#12.
    pub client_key: Option<PathBuf>,
    /// `clientCertCA`: PEM or DER, the only roots that are trusted. May be
    /// missing only where the server's certificate is not checked.
    pub ca: Option<PathBuf>,
    /// For an encrypted key or PKCS#12 file.
    pub passphrase: Option<Secret>,
    /// Where the paths were given.
    pub given: GivenIn,
}

/// Where the paths of certificate files were given: messages name the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GivenIn {
    /// Under `cert` in the configuration.
    Configuration,
    /// As arguments.
    Arguments,
}

impl GivenIn {
    /// What names the client certificate.
    pub fn client_cert(self) -> &'static str {
        self.either("clientCert", "--cert")
    }

    /// What names its key.
    pub fn client_key(self) -> &'static str {
        self.either("clientCertKey", "--key")
    }

    /// What names the CA.
    pub fn ca(self) -> &'static str {
        self.either("clientCertCA", "--ca")
    }

    /// What names the passphrase, for a sentence.
    pub fn passphrase(self) -> &'static str {
        self.either("`cert.clientCertPassphrase`", "the file behind `--passphrase-file`")
    }

    /// The full name of one of them, for a sentence.
    pub fn place(self, name: &str) -> String {
        match self {
            Self::Configuration => format!("`cert.{name}`"),
            Self::Arguments => format!("`{name}`"),
        }
    }

    fn either(self, key: &'static str, argument: &'static str) -> &'static str {
        match self {
            Self::Configuration => key,
            Self::Arguments => argument,
        }
    }
}

/// How to talk TLS with one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Client certificate, key and CA.
    pub files: CertificateFiles,
    /// Name to look for in the server's certificate, when it is not the name dialled.
    pub server_name: Option<String>,
    /// `false`: any server certificate is taken (`rejectUnauthorized: false`).
    pub verify: bool,
}

/// One Qlik Sense server with a proxy service.
#[derive(Clone, Debug)]
pub struct Server {
    /// `serverName`, else the host without its port.
    pub name: String,
    /// `serverDescription`, if any.
    pub description: Option<String>,
    /// `servers[].host` without its port.
    pub host: String,
    /// Where the session API is.
    pub proxy: ProxyAddress,
    /// `serverTags`.
    pub tags: BTreeMap<String, String>,
    /// Certificates, and what to accept from the server.
    pub tls: TlsSettings,
    /// Its place in `serversToMonitor.servers`; none where it is not there, because the
    /// repository service listed it.
    pub place: Option<usize>,
}

impl Server {
    /// The names by which it is recognised.
    pub fn names(&self) -> ServerNames<'_> {
        let verified = self.tls.server_name.as_deref();
        ServerNames { proxy: &self.proxy, engine: &self.host, verified }
    }
}

/// A server of the configuration that is not to be polled: its `userSessions.enable`
/// is false.
#[derive(Clone, Debug)]
pub struct SwitchedOff {
    /// `serverName`, else the host without its port.
    pub name: String,
    /// `servers[].host` without its port.
    pub host: String,
    /// Where its session API would be.
    pub proxy: ProxyAddress,
}

impl SwitchedOff {
    /// The names by which it is recognised.
    pub fn names(&self) -> ServerNames<'_> {
        ServerNames { proxy: &self.proxy, engine: &self.host, verified: None }
    }
}

/// The names by which a server of the configuration is recognised.
#[derive(Clone, Copy, Debug)]
pub struct ServerNames<'a> {
    /// What is dialled.
    pub proxy: &'a ProxyAddress,
    /// The host of its engine.
    pub engine: &'a str,
    /// What its certificate is verified for, where that is not what is dialled.
    pub verified: Option<&'a str>,
}

impl<'a> ServerNames<'a> {
    /// All of them.
    pub fn all(self) -> impl Iterator<Item = &'a str> {
        [self.proxy.host.as_str(), self.engine].into_iter().chain(self.verified)
    }
}

/// One virtual proxy on one server: what one request asks for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server it is on.
    pub server: Arc<Server>,
    /// The virtual proxy.
    pub virtual_proxy: VirtualProxy,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.server.name, self.virtual_proxy)
    }
}
