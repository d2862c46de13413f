//! The targets that a list adds to those of the configuration.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Node, Resolved, matching::server_of};
use crate::{
    config::{Config, RepositorySource, Scope, fits_a_line},
    repository::ListedProxy,
    target::{Server, Target, TlsSettings, VirtualProxy},
};

/// The targets of the configuration and of the lists of its repository services,
/// and what of the lists cannot be polled.
pub fn all_targets(
    config: &Config,
    lists: &[Option<Vec<ListedProxy>>],
    resolved: &Resolved,
) -> (Vec<Target>, Vec<String>) {
    let mut all = AllTargets::new(config);
    for (source, list) in config.discovery.sources.iter().zip(lists) {
        if let Some(list) = list {
            all.add_list(source, list.clone(), resolved);
        }
    }
    all.in_order()
}

/// The hosts whose addresses have to be known to see which node is which configured
/// server: none where their names say so.
pub fn hosts_to_resolve(config: &Config, lists: &[Option<Vec<ListedProxy>>]) -> Vec<String> {
    let servers = configured_servers(config);
    let nothing = Resolved::default();
    let mut hosts = Vec::new();
    for (source, list) in config.discovery.sources.iter().zip(lists) {
        let nodes = Node::all(list.clone().unwrap_or_default(), &source.addresses);
        let of_source = servers.iter().filter(|server| is_wanted(source, server));
        let unknown: Vec<&Arc<Server>> = of_source
            .filter(|server| {
                let server = std::slice::from_ref(*server);
                !nodes.iter().any(|node| server_of(node, &nodes, server, &nothing).is_some())
            })
            .collect();
        if !unknown.is_empty() {
            hosts.extend(unknown.iter().map(|server| server.proxy.host.clone()));
            let dialled = nodes.into_iter().filter_map(|node| node.address.ok());
            hosts.extend(dialled.map(|address| address.host));
        }
    }
    hosts
}

fn is_wanted(source: &RepositorySource, server: &Arc<Server>) -> bool {
    match &source.scope {
        Scope::Site => true,
        Scope::Server(wanted) => Arc::ptr_eq(wanted, server),
    }
}

/// The servers of the configuration, also those without a virtual proxy in it.
fn configured_servers(config: &Config) -> Vec<Arc<Server>> {
    let auto = config.discovery.auto.iter();
    let mut servers: Vec<Arc<Server>> = Vec::new();
    for server in config.servers().chain(auto) {
        if !servers.iter().any(|known| Arc::ptr_eq(known, server)) {
            servers.push(Arc::clone(server));
        }
    }
    servers
}

struct AllTargets<'a> {
    config: &'a Config,
    servers: Vec<Arc<Server>>,
    targets: Vec<Target>,
    seen: HashSet<(String, u16, VirtualProxy)>,
    problems: Vec<String>,
}

impl<'a> AllTargets<'a> {
    fn new(config: &'a Config) -> Self {
        let mut all = Self {
            config,
            servers: configured_servers(config),
            targets: Vec::new(),
            seen: HashSet::new(),
            problems: Vec::new(),
        };
        for target in &config.targets {
            all.add(target.clone());
        }
        all
    }

    fn add_list(&mut self, source: &RepositorySource, list: Vec<ListedProxy>, resolved: &Resolved) {
        let nodes = Node::all(list, &source.addresses);
        match &source.scope {
            Scope::Site => {
                let mut matched = Vec::new();
                for node in &nodes {
                    let configured = server_of(node, &nodes, &self.servers, resolved).cloned();
                    matched.extend(configured.clone());
                    if let Some(server) = configured.or_else(|| self.listed_server(source, node)) {
                        self.add_virtual_proxies(source, node, &server);
                    }
                }
                self.complain_of_unmatched(&matched);
            }
            Scope::Server(server) => match node_of(server, &nodes, resolved) {
                Some(node) => self.add_virtual_proxies(source, node, server),
                None => self.problems.push(not_listed(server, &nodes)),
            },
        }
    }

    fn complain_of_unmatched(&mut self, matched: &[Arc<Server>]) {
        for server in &self.config.discovery.auto {
            if !matched.iter().any(|known| Arc::ptr_eq(known, server)) {
                self.problems.push(format!(
                    "{} has `virtualProxies: auto`, and the repository service lists no proxy at {}",
                    server.name, server.proxy.configured
                ));
            }
        }
    }

    /// The server of a node that does not stand in the configuration.
    fn listed_server(&mut self, source: &RepositorySource, node: &Node) -> Option<Arc<Server>> {
        match &node.address {
            Ok(_) => {
                Some(Arc::new(listed_server(source, node, &self.config.discovery.tls_by_name)?))
            }
            Err(problem) => {
                self.problems.push(format!(
                    "the node {} cannot be polled: {problem}; say what to dial under `sessionSource.discovery.addresses`",
                    node.server_name
                ));
                None
            }
        }
    }

    fn add_virtual_proxies(
        &mut self,
        source: &RepositorySource,
        node: &Node,
        server: &Arc<Server>,
    ) {
        for listed in &node.listed.virtual_proxies {
            let target =
                Target { server: Arc::clone(server), virtual_proxy: listed.prefix.clone() };
            if source.excludes(&target.virtual_proxy) {
                continue;
            }
            if fits_a_line(&target, &self.config.options) {
                self.add(target);
            } else {
                self.problems.push(format!(
                    "{target} cannot be polled: `sessionSource.maxLineBytes` cannot hold its names"
                ));
            }
        }
    }

    fn add(&mut self, target: Target) {
        let proxy = &target.server.proxy;
        if self.seen.insert((proxy.host.clone(), proxy.port, target.virtual_proxy.clone())) {
            self.targets.push(target);
        }
    }

    /// The targets, those of one server side by side.
    fn in_order(self) -> (Vec<Target>, Vec<String>) {
        let mut places: HashMap<*const Server, usize> = HashMap::new();
        for target in &self.targets {
            let next = places.len();
            places.entry(Arc::as_ptr(&target.server)).or_insert(next);
        }
        let mut targets = self.targets;
        targets.sort_by_key(|target| places.get(&Arc::as_ptr(&target.server)).copied());
        (targets, self.problems)
    }
}

/// The node of a server: that of its address, or the only one of the site.
fn node_of<'n>(server: &Arc<Server>, nodes: &'n [Node], resolved: &Resolved) -> Option<&'n Node> {
    let own = std::slice::from_ref(server);
    let found = nodes.iter().find(|node| server_of(node, nodes, own, resolved).is_some());
    match nodes {
        [only] => Some(found.unwrap_or(only)),
        _ => found,
    }
}

fn not_listed(server: &Server, nodes: &[Node]) -> String {
    let known: Vec<String> = nodes
        .iter()
        .map(|node| format!("{}:{}", node.listed.host_name, node.listed.rest_port))
        .collect();
    format!(
        "{} has `virtualProxies: auto`, and the repository service lists no proxy at {}; it lists {}",
        server.name,
        server.proxy.configured,
        known.join(", ")
    )
}

fn listed_server(
    source: &RepositorySource,
    node: &Node,
    tls_by_name: &HashMap<String, TlsSettings>,
) -> Option<Server> {
    let names = [&node.server_name, &node.listed.node, &node.listed.host_name];
    let own = names.iter().find_map(|name| tls_by_name.get(*name));
    let mut tls = own.unwrap_or(&source.tls).clone();
    if tls.server_name.is_none() {
        tls.server_name.clone_from(&node.tls_server_name);
    }
    Some(Server {
        name: node.server_name.clone(),
        description: Some(node.description()),
        host: node.listed.host_name.clone(),
        proxy: node.address.clone().ok()?,
        tags: source.tags.clone(),
        tls,
        place: None,
    })
}
