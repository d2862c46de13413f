//! `sessionSource.discovery`, and servers with `virtualProxies: auto`: targets that
//! are not in the file, because the repository service lists them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use wildmatch::WildMatchPattern;

use super::{
    keys,
    reader::{Node, suggestion},
};
use crate::target::{
    Addresses, ProxyAddress, REPOSITORY_PORT, RepositoryUser, Server, TlsSettings, VirtualProxy,
};

/// The default of `discovery.interval`.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// What is found beside the targets of the file.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// The repository services that are asked.
    pub sources: Vec<RepositorySource>,
    /// How to talk TLS with a listed proxy: `sessionSource.servers`, by the node's name.
    pub tls_by_name: HashMap<String, TlsSettings>,
    /// Servers with `virtualProxies: auto`.
    pub auto: Vec<Arc<Server>>,
}

/// One repository service, and which part of its list is wanted.
#[derive(Clone, Debug)]
pub struct RepositorySource {
    /// Where it is.
    pub host: ProxyAddress,
    /// `discovery.interval`.
    pub interval: Duration,
    /// `discovery.user`.
    pub user: RepositoryUser,
    /// `discovery.exclude`.
    pub exclude: Vec<ExcludedVirtualProxy>,
    /// `discovery.addresses`.
    pub addresses: Addresses,
    /// `discovery.tags`, for the servers that are listed.
    pub tags: BTreeMap<String, String>,
    /// Certificates and what to accept: as for all servers without settings of their own.
    pub tls: TlsSettings,
    /// What of its list is wanted.
    pub scope: Scope,
}

impl RepositorySource {
    /// A repository service that lists a whole site, asked as by default.
    pub fn of_site(host: ProxyAddress, tls: TlsSettings) -> Self {
        Self {
            host,
            interval: DEFAULT_INTERVAL,
            user: RepositoryUser::default(),
            exclude: Vec::new(),
            addresses: Addresses::default(),
            tags: BTreeMap::new(),
            tls,
            scope: Scope::Site,
        }
    }

    /// The repository service that may run on a server beside its proxy.
    pub fn at_server(server: &Server) -> Option<Self> {
        let ProxyAddress { host, .. } = &server.proxy;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let host = ProxyAddress::parse_or_port(&host, REPOSITORY_PORT).ok()?;
        Some(Self::of_site(host, server.tls.clone()))
    }

    /// Returns whether a virtual proxy is not to be polled.
    pub fn excludes(&self, virtual_proxy: &VirtualProxy) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(virtual_proxy))
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Every proxy.
    Site,
    /// The virtual proxies of this server (`virtualProxies: auto`).
    Server(Arc<Server>),
}

/// One entry of `discovery.exclude`: `*` and `?` stand for other characters.
#[derive(Clone, Debug)]
pub struct ExcludedVirtualProxy(WildMatchPattern<'*', '?'>);

impl ExcludedVirtualProxy {
    fn new(text: &str) -> Self {
        let pattern = if text.starts_with('*') {
            text.to_owned()
        } else {
            VirtualProxy::new(text).to_string()
        };
        Self(WildMatchPattern::new_case_insensitive(&pattern))
    }

    fn matches(&self, virtual_proxy: &VirtualProxy) -> bool {
        self.0.matches(virtual_proxy.as_str())
    }
}

/// Reads `sessionSource.discovery`; none where it is absent or has an error.
pub fn read(
    source: &Node<'_>,
    tls: impl FnOnce() -> Option<TlsSettings>,
) -> Option<RepositorySource> {
    let node = source.section("discovery");
    if !node.is_section() {
        return None;
    }
    keys::DISCOVERY.check(&node);
    let host_key = node.key("host");
    let host = host_key
        .required_text(
            "the node whose repository service is asked, such as sense1.company.com:4242",
        )
        .and_then(|_| super::address(&host_key, &host_key.line_of_text()?, REPOSITORY_PORT));
    let interval = node
        .key("interval")
        .number(1_000..=super::MOST_MILLISECONDS, "milliseconds")
        .map_or(DEFAULT_INTERVAL, Duration::from_millis);
    let (user, exclude) = (user(&node.key("user")), exclude(&node.key("exclude")));
    let (addresses, tags) =
        (addresses(&node.section("addresses")), super::tags(&node.section("tags")));
    let (host, tls) = (host?, tls()?);
    super::likely::warn_of_repository_port(&host_key, &host);
    Some(RepositorySource {
        host,
        interval,
        user,
        exclude,
        addresses,
        tags,
        tls,
        scope: Scope::Site,
    })
}

/// A server with `virtualProxies: auto`, where there is no `discovery`: its own
/// repository service is asked.
pub fn of_server(server: &Arc<Server>) -> Option<RepositorySource> {
    Some(RepositorySource {
        tags: server.tags.clone(),
        scope: Scope::Server(Arc::clone(server)),
        ..RepositorySource::at_server(server)?
    })
}

/// Returns whether a server's virtual proxies come from the repository service.
pub fn is_auto(differing: &Node<'_>) -> bool {
    let node = differing.key("virtualProxies");
    if node.is_list() {
        node.error(
            "expected auto: the repository service is asked; a list stands in the server's own \
             userSessions.virtualProxies",
        );
        return false;
    }
    node.choice(&[("auto", ())]).is_some()
}

fn user(node: &Node<'_>) -> RepositoryUser {
    let Some(text) = node.text() else { return RepositoryUser::default() };
    text.parse().unwrap_or_else(|message: String| {
        node.error(message);
        RepositoryUser::default()
    })
}

fn exclude(list: &Node<'_>) -> Vec<ExcludedVirtualProxy> {
    list.items()
        .filter_map(|item| item.required_text("a virtual proxy, such as /monitoring or /test*"))
        .map(|text| ExcludedVirtualProxy::new(&text))
        .collect()
}

fn addresses(section: &Node<'_>) -> Addresses {
    let mut addresses = Addresses::default();
    for (name, node) in section.entries() {
        let Some(address) = node.required_text("what to dial for this node, a name or an address")
        else {
            continue;
        };
        match addresses.add(name, &address) {
            Ok(true) => {}
            Ok(false) => node.error("is here a second time, in other upper and lower case"),
            Err(message) => node.error(message),
        }
    }
    addresses
}

/// Reports an entry of `sessionSource.servers` that belongs to no server. With discovery
/// it may belong to a node that only the repository service knows.
pub fn check_name(node: &Node<'_>, name: &str, known: &[String], has_discovery: bool) {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    if !has_discovery && !known.contains(&name) {
        node.error(format!("no server has this serverName{}", suggestion(name, &known)));
    }
}
