//! What is polled, compared with what a repository service lists: `check` says what
//! differs, `discover` shows it and adds what is missing.

use std::{collections::BTreeSet, sync::Arc};

use super::{Difference, Links, Node, Resolved, matching, targets::distinct_servers};
use crate::{
    config::{Config, RepositorySource},
    repository::{ListedProxy, ListedVirtualProxy},
    target::{Server, Target, VirtualProxy},
};

/// A list of a repository service.
pub struct ListedSite {
    /// The repository service that was asked, and which part of its list is wanted.
    pub source: RepositorySource,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Virtual proxies that are linked to no proxy: they have no sessions.
    pub unlinked: Vec<ListedVirtualProxy>,
}

impl ListedSite {
    /// The proxies, as they were listed.
    pub fn proxies(&self) -> Vec<ListedProxy> {
        self.nodes.iter().map(|node| node.listed.clone()).collect()
    }

    /// Returns whether it is a list of the same proxies.
    pub fn is_same(&self, other: &Self) -> bool {
        self.proxies() == other.proxies()
    }
}

/// A list compared with a configuration.
pub struct Comparison<'a> {
    /// Each node, in the order of the list.
    pub nodes: Vec<ComparedNode<'a>>,
    /// All that differs.
    pub differences: Vec<Difference<'a>>,
    /// Virtual proxies that `discovery.exclude` leaves out.
    pub excluded: BTreeSet<&'a VirtualProxy>,
    /// Servers that the configuration leaves out: `userSessions.enable` is false.
    pub switched_off: Vec<&'a str>,
}

/// A node compared with a configuration.
pub struct ComparedNode<'a> {
    /// The node.
    pub node: &'a Node,
    /// The server of the configuration that it is.
    pub server: Option<&'a Arc<Server>>,
    /// The state of each of its virtual proxies.
    pub states: Vec<State>,
}

impl<'a> ComparedNode<'a> {
    /// The virtual proxies that nothing polls.
    pub fn missing(&self) -> impl Iterator<Item = &'a ListedVirtualProxy> {
        let listed = self.node.listed.virtual_proxies.iter().zip(&self.states);
        listed.filter(|(_, state)| **state == State::Missing).map(|(listed, _)| listed)
    }
}

/// Whether a listed virtual proxy is polled, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is in the configuration.
    Configured,
    /// It is polled because it is listed.
    Discovered,
    /// `discovery.exclude` leaves it out.
    Excluded,
    /// Its server's `userSessions.enable` is false.
    SwitchedOff,
    /// The configuration has its node on another port.
    OtherPort,
    /// Nothing polls it.
    Missing,
}

impl State {
    /// Its name, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Discovered => "discovered",
            Self::Excluded => "excluded",
            Self::SwitchedOff => "switched_off",
            Self::OtherPort => "other_port",
            Self::Missing => "missing",
        }
    }
}

impl<'a> Comparison<'a> {
    /// Compares a list with a configuration and with what is polled because of both.
    pub fn new(
        site: &'a ListedSite,
        config: &'a Config,
        polled: &'a [Target],
        resolved: &'a Resolved,
    ) -> Self {
        let servers = distinct_servers(polled.iter().map(|target| &target.server));
        Comparer { site, config, polled, servers, resolved }.compare()
    }

    /// How many virtual proxies nothing polls.
    pub fn missing(&self) -> usize {
        self.nodes.iter().map(|node| node.missing().count()).sum()
    }

    /// The same without nodes that cannot be dialled.
    pub fn missing_that_can_be_dialled(&self) -> usize {
        let nodes = self.nodes.iter().filter(|compared| compared.node.address.is_ok());
        nodes.map(|node| node.missing().count()).sum()
    }
}

struct Comparer<'a> {
    site: &'a ListedSite,
    config: &'a Config,
    polled: &'a [Target],
    /// The servers of what is polled.
    servers: Vec<&'a Arc<Server>>,
    resolved: &'a Resolved,
}

impl<'a> Comparer<'a> {
    fn compare(self) -> Comparison<'a> {
        let mut differences = Vec::new();
        let on_other_ports = self.compare_unmatched_servers(&mut differences);
        let mut switched_off = Vec::new();
        let mut nodes = Vec::new();
        for node in &self.site.nodes {
            let servers = self.servers_of(node);
            let reason = if on_other_ports.contains(&node.server_name.as_str()) {
                State::OtherPort
            } else if servers.is_empty()
                && let Some(name) = self.switched_off(node)
            {
                switched_off.push(name);
                State::SwitchedOff
            } else {
                State::Missing
            };
            let states = self.states(node, &servers, reason);
            let compared = ComparedNode { node, server: servers.first().copied(), states };
            self.compare_node(&compared, &servers, &mut differences);
            nodes.push(compared);
        }
        let listed = self.site.nodes.iter().flat_map(|node| &node.listed.virtual_proxies);
        let excluded = listed
            .map(|listed| &listed.prefix)
            .filter(|prefix| self.site.source.excludes(prefix))
            .collect();
        Comparison { nodes, differences, excluded, switched_off }
    }

    /// The servers that are a node's proxy service.
    fn servers_of(&self, node: &Node) -> Vec<&'a Arc<Server>> {
        let is_it = |server: &&Arc<Server>| {
            matching::is_same(node, &self.site.nodes, server.names(), self.resolved)
        };
        self.servers.iter().copied().filter(is_it).collect()
    }

    /// The name of the switched-off server that is a node's proxy service.
    fn switched_off(&self, node: &Node) -> Option<&'a str> {
        let (nodes, servers) = (&self.site.nodes, &self.config.switched_off);
        let server = matching::switched_off(node, nodes, servers, self.resolved)?;
        Some(&server.name)
    }

    /// The states of a node's virtual proxies; `reason` is why one is not polled.
    fn states(&self, node: &Node, servers: &[&Arc<Server>], reason: State) -> Vec<State> {
        let has = |targets: &[Target], prefix: &VirtualProxy| {
            targets.iter().any(|target| {
                target.virtual_proxy == *prefix
                    && servers.iter().any(|server| Arc::ptr_eq(server, &target.server))
            })
        };
        let state_of = |listed: &ListedVirtualProxy| {
            if has(&self.config.targets, &listed.prefix) {
                State::Configured
            } else if has(self.polled, &listed.prefix) {
                State::Discovered
            } else if self.site.source.excludes(&listed.prefix) {
                State::Excluded
            } else {
                reason
            }
        };
        node.listed.virtual_proxies.iter().map(state_of).collect()
    }

    /// Servers that are not listed as a proxy service: the port may be wrong. Returns the
    /// names of the nodes that the configuration has on another port.
    fn compare_unmatched_servers(&self, differences: &mut Vec<Difference<'a>>) -> Vec<&'a str> {
        let nodes = &self.site.nodes;
        let mut on_other_ports = Vec::new();
        for server in &self.servers {
            // Those with other certificates may be another site's.
            if server.tls.files != self.site.source.tls.files
                || nodes
                    .iter()
                    .any(|node| matching::is_same(node, nodes, server.names(), self.resolved))
            {
                continue;
            }
            let on_host = self.nodes_on_host_of(server);
            on_other_ports.extend(on_host.iter().map(|node| node.server_name.as_str()));
            differences.push(if on_host.is_empty() {
                Difference::NoNode { server }
            } else {
                Difference::OtherPort { server, nodes: on_host }
            });
        }
        on_other_ports
    }

    /// The nodes on a server's host; where some of them are not polled by any server, only
    /// those.
    fn nodes_on_host_of(&self, server: &Server) -> Vec<&'a Node> {
        let nodes = &self.site.nodes;
        let is_it =
            |node: &&Node| matching::is_same_host(node, nodes, server.names(), self.resolved);
        let on_host: Vec<&Node> = nodes.iter().filter(is_it).collect();
        let not_polled: Vec<&Node> =
            on_host.iter().copied().filter(|node| self.servers_of(node).is_empty()).collect();
        if not_polled.is_empty() { on_host } else { not_polled }
    }

    fn compare_node(
        &self,
        compared: &ComparedNode<'a>,
        servers: &[&'a Arc<Server>],
        differences: &mut Vec<Difference<'a>>,
    ) {
        let node = compared.node;
        let missing: Vec<&VirtualProxy> = compared.missing().map(|listed| &listed.prefix).collect();
        let proxies: BTreeSet<_> =
            servers.iter().map(|server| (&server.proxy.host, server.proxy.port)).collect();
        if proxies.len() > 1 {
            differences.push(Difference::TwoNames { node, servers: servers.to_vec() });
        }
        match compared.server {
            _ if missing.is_empty() => {}
            None => differences.push(Difference::NodeNotPolled { node, missing }),
            Some(server) => differences.push(Difference::NotPolled { node, server, missing }),
        }
        let polled: BTreeSet<&VirtualProxy> = self
            .polled
            .iter()
            .filter(|target| servers.iter().any(|server| Arc::ptr_eq(server, &target.server)))
            .map(|target| &target.virtual_proxy)
            .collect();
        for virtual_proxy in polled.into_iter().filter(|polled| !is_linked(node, polled)) {
            let (server, links) = (servers[0], self.links_of(virtual_proxy));
            differences.push(Difference::NotThere { node, server, virtual_proxy, links });
        }
    }

    fn links_of(&self, virtual_proxy: &VirtualProxy) -> Links<'a> {
        let nodes = self.site.nodes.iter().filter(|node| is_linked(node, virtual_proxy)).collect();
        let is_known = self.site.unlinked.iter().any(|it| it.prefix == *virtual_proxy);
        Links { nodes, is_known }
    }
}

fn is_linked(node: &Node, virtual_proxy: &VirtualProxy) -> bool {
    node.listed.virtual_proxies.iter().any(|listed| listed.prefix == *virtual_proxy)
}
