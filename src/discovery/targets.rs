//! The targets that a list adds to those of the configuration.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Node, Resolved,
    matching::{is_same, server_of, switched_off},
};
use crate::{
    config::{Config, RepositorySource, Scope, fits_a_line},
    repository::ListedProxy,
    target::{Server, ServerNames, SwitchedOff, Target, TlsSettings, VirtualProxy},
};

/// What is polled because of a configuration and the lists of its repository services.
#[derive(Default)]
pub struct AllTargets {
    /// The targets, those of one server side by side.
    pub targets: Vec<Target>,
    /// What of the lists cannot be polled.
    pub problems: Vec<String>,
    /// Nodes whose servers are switched off in the configuration.
    pub switched_off: Vec<String>,
}

/// The targets of the configuration and of the lists of its repository services.
pub fn all_targets(
    config: &Config,
    lists: &[Option<Vec<ListedProxy>>],
    resolved: &Resolved,
) -> AllTargets {
    let mut collector = Collector::new(config);
    for (source, list) in config.discovery.sources.iter().zip(lists) {
        if let Some(list) = list {
            collector.add_list(source, list.clone(), resolved);
        }
    }
    collector.in_order()
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
        let switched_off = config.switched_off.iter().map(SwitchedOff::names);
        let names = of_source.map(|server| server.names()).chain(switched_off);
        let unknown: Vec<ServerNames<'_>> = names
            .filter(|names| !nodes.iter().any(|node| is_same(node, &nodes, *names, &nothing)))
            .collect();
        if !unknown.is_empty() {
            hosts.extend(unknown.iter().map(|names| names.proxy.host.clone()));
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
    let servers = distinct_servers(config.servers().chain(&config.discovery.auto));
    servers.into_iter().cloned().collect()
}

/// Each server once, in their order.
pub fn distinct_servers<'s>(
    servers: impl Iterator<Item = &'s Arc<Server>>,
) -> Vec<&'s Arc<Server>> {
    let mut distinct: Vec<&Arc<Server>> = Vec::new();
    for server in servers {
        if !distinct.iter().any(|known| Arc::ptr_eq(known, server)) {
            distinct.push(server);
        }
    }
    distinct
}

struct Collector<'a> {
    config: &'a Config,
    servers: Vec<Arc<Server>>,
    seen: HashSet<(String, u16, VirtualProxy)>,
    all: AllTargets,
}

impl<'a> Collector<'a> {
    fn new(config: &'a Config) -> Self {
        let mut collector = Self {
            config,
            servers: configured_servers(config),
            seen: HashSet::new(),
            all: AllTargets::default(),
        };
        for target in &config.targets {
            collector.add(target.clone());
        }
        collector
    }

    fn add_list(&mut self, source: &RepositorySource, list: Vec<ListedProxy>, resolved: &Resolved) {
        let nodes = Node::all(list, &source.addresses);
        match &source.scope {
            Scope::Site => {
                let mut matched = Vec::new();
                for node in &nodes {
                    let configured = server_of(node, &nodes, &self.servers, resolved).cloned();
                    matched.extend(configured.clone());
                    if configured.is_none() && self.is_switched_off(node, &nodes, resolved) {
                        continue;
                    }
                    if let Some(server) = configured.or_else(|| self.listed_server(source, node)) {
                        self.add_virtual_proxies(source, node, &server);
                    }
                }
                self.complain_of_unmatched(&matched);
            }
            Scope::Server(server) => match node_of(server, &nodes, resolved) {
                Some(node) => self.add_virtual_proxies(source, node, server),
                None => self.all.problems.push(not_listed(server, &nodes)),
            },
        }
    }

    fn is_switched_off(&mut self, node: &Node, nodes: &[Node], resolved: &Resolved) -> bool {
        let server = switched_off(node, nodes, &self.config.switched_off, resolved);
        self.all.switched_off.extend(server.map(|_| node.server_name.clone()));
        server.is_some()
    }

    fn complain_of_unmatched(&mut self, matched: &[Arc<Server>]) {
        for server in &self.config.discovery.auto {
            if !matched.iter().any(|known| Arc::ptr_eq(known, server)) {
                self.all.problems.push(format!(
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
                self.all.problems.push(format!(
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
                self.all.problems.push(format!(
                    "{target} cannot be polled: `sessionSource.maxLineBytes` cannot hold its names"
                ));
            }
        }
    }

    fn add(&mut self, target: Target) {
        let proxy = &target.server.proxy;
        if self.seen.insert((proxy.host.clone(), proxy.port, target.virtual_proxy.clone())) {
            self.all.targets.push(target);
        }
    }

    /// What was collected, the targets of one server side by side.
    fn in_order(self) -> AllTargets {
        let mut all = self.all;
        let mut places: HashMap<*const Server, usize> = HashMap::new();
        for target in &all.targets {
            let next = places.len();
            places.entry(Arc::as_ptr(&target.server)).or_insert(next);
        }
        all.targets.sort_by_key(|target| places.get(&Arc::as_ptr(&target.server)).copied());
        all
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
