//! What is polled, compared with what the repository service lists.

use std::{collections::BTreeSet, sync::Arc};

use super::report::{Finding, Step};
use crate::{
    config::RepositorySource,
    discovery::{Node, Resolved, is_same, is_same_host},
    repository::{ListedProxy, ListedVirtualProxy},
    target::{Server, Target, VirtualProxy},
};

/// A list of a repository service.
pub struct ListedSite {
    pub source: RepositorySource,
    pub nodes: Vec<Node>,
    /// Virtual proxies that are linked to no proxy.
    pub unlinked: Vec<ListedVirtualProxy>,
}

impl ListedSite {
    pub fn proxies(&self) -> Vec<ListedProxy> {
        self.nodes.iter().map(|node| node.listed.clone()).collect()
    }

    /// Returns whether it is a list of the same proxies.
    pub fn is_same(&self, other: &Self) -> bool {
        self.proxies() == other.proxies()
    }
}

/// All that differs, and what does not where nothing does.
pub fn findings(
    site: &ListedSite,
    servers: &[Arc<Server>],
    targets: &[Target],
    resolved: &Resolved,
) -> Vec<Finding> {
    Comparison { site, servers, targets, resolved, findings: Vec::new() }.findings()
}

struct Comparison<'a> {
    site: &'a ListedSite,
    servers: &'a [Arc<Server>],
    targets: &'a [Target],
    resolved: &'a Resolved,
    findings: Vec<Finding>,
}

impl<'a> Comparison<'a> {
    fn findings(mut self) -> Vec<Finding> {
        let on_wrong_ports = self.compare_unmatched_servers();
        for node in &self.site.nodes {
            let servers = self.servers_of(node);
            if servers.is_empty() {
                if !on_wrong_ports.contains(&node.server_name) {
                    self.node_is_not_polled(node);
                }
                continue;
            }
            self.compare_names(node, &servers);
            self.compare_virtual_proxies(node, &servers);
        }
        if self.findings.is_empty() {
            self.add(Finding::ok(Step::Repository, "every virtual proxy that it lists is polled"));
        }
        self.add_what_is_left_out();
        self.findings
    }

    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The configured servers that are a node's proxy service.
    fn servers_of(&self, node: &Node) -> Vec<&'a Arc<Server>> {
        let is_it = |server: &&Arc<Server>| is_same(node, &self.site.nodes, server, self.resolved);
        self.servers.iter().filter(is_it).collect()
    }

    /// Servers that are no listed proxy service: the port may be wrong. Returns the
    /// names of the nodes that have another one.
    fn compare_unmatched_servers(&mut self) -> Vec<String> {
        let nodes = &self.site.nodes;
        let mut on_wrong_ports = Vec::new();
        for server in self.servers {
            // Those with other certificates may be another site's.
            if server.tls.files != self.site.source.tls.files
                || nodes.iter().any(|node| is_same(node, nodes, server, self.resolved))
            {
                continue;
            }
            let on_host = self.nodes_on_host_of(server);
            let finding =
                if on_host.is_empty() { no_node(server) } else { wrong_port(server, &on_host) };
            self.add(finding);
            on_wrong_ports.extend(on_host.into_iter().map(|node| node.server_name.clone()));
        }
        on_wrong_ports
    }

    /// The nodes on a server's host; only those that no server polls, where there are
    /// such.
    fn nodes_on_host_of(&self, server: &Server) -> Vec<&'a Node> {
        let nodes = &self.site.nodes;
        let on_host: Vec<&Node> =
            nodes.iter().filter(|node| is_same_host(node, nodes, server, self.resolved)).collect();
        let not_polled: Vec<&Node> =
            on_host.iter().copied().filter(|node| self.servers_of(node).is_empty()).collect();
        if not_polled.is_empty() { on_host } else { not_polled }
    }

    fn node_is_not_polled(&mut self, node: &Node) {
        let wanted: Vec<&str> = self.wanted(node).map(VirtualProxy::as_str).collect();
        if !wanted.is_empty() {
            let message =
                format!("the node {} is not polled; it has {}", name(node), wanted.join(", "));
            self.add(Finding::warning(Step::Repository, message).hint(
                "add it to `serversToMonitor.servers`, as `qlik-sessions discover --output yaml` writes it, or let `sessionSource.discovery` find it",
            ));
        }
    }

    /// One node under two names counts twice.
    fn compare_names(&mut self, node: &Node, servers: &[&Arc<Server>]) {
        let mut addresses: Vec<String> = servers
            .iter()
            .map(|server| format!("`{}` ({})", server.name, server.proxy.authority()))
            .collect();
        addresses.dedup();
        let proxies: BTreeSet<_> =
            servers.iter().map(|server| (&server.proxy.host, server.proxy.port)).collect();
        if proxies.len() > 1 {
            let message =
                format!("the servers {} are one node, {}", addresses.join(" and "), name(node));
            self.add(
                Finding::warning(Step::Repository, message)
                    .hint("poll each node under one name, or its sessions count twice"),
            );
        }
    }

    fn compare_virtual_proxies(&mut self, node: &Node, servers: &[&Arc<Server>]) {
        let polled: BTreeSet<&VirtualProxy> = self
            .targets
            .iter()
            .filter(|target| servers.iter().any(|server| Arc::ptr_eq(server, &target.server)))
            .map(|target| &target.virtual_proxy)
            .collect();
        let missing: Vec<&str> = self
            .wanted(node)
            .filter(|wanted| !polled.contains(wanted))
            .map(VirtualProxy::as_str)
            .collect();
        let server = &servers[0].name;
        if !missing.is_empty() {
            let message =
                format!("not polled on `{server}`, node {}: {}", name(node), missing.join(", "));
            self.add(Finding::warning(Step::Repository, message).hint(format!(
                "add them to the `virtualProxies` of `{server}`, or set `sessionSource.servers.{server}.virtualProxies: auto`"
            )));
        }
        let is_listed = |virtual_proxy: &VirtualProxy| {
            node.listed.virtual_proxies.iter().any(|listed| listed.prefix == *virtual_proxy)
        };
        for virtual_proxy in polled.into_iter().filter(|polled| !is_listed(polled)) {
            let finding = self.no_such(virtual_proxy, server, node);
            self.add(finding);
        }
    }

    /// A virtual proxy that is polled, but not there.
    fn no_such(&self, virtual_proxy: &VirtualProxy, server: &str, node: &Node) -> Finding {
        let on_others: Vec<String> = self
            .site
            .nodes
            .iter()
            .filter(|other| {
                other.listed.virtual_proxies.iter().any(|it| it.prefix == *virtual_proxy)
            })
            .map(name)
            .collect();
        let (what, hint) = if !on_others.is_empty() {
            (
                "is not linked to the proxy of",
                format!(
                    "it is linked to {}: link it in the QMC, or take it from the `virtualProxies` of `{server}`",
                    on_others.join(", ")
                ),
            )
        } else if self.site.unlinked.iter().any(|it| it.prefix == *virtual_proxy) {
            (
                "is not linked to the proxy of",
                format!(
                    "it is linked to no proxy at all: link it in the QMC, or take it from the `virtualProxies` of `{server}`"
                ),
            )
        } else {
            (
                "does not exist on",
                format!(
                    "is its prefix spelled right? Or take it from the `virtualProxies` of `{server}`"
                ),
            )
        };
        let message = format!("is polled on `{server}`, but {what} {}", name(node));
        Finding::warning(Step::Repository, message).virtual_proxy(virtual_proxy).hint(hint)
    }

    /// The virtual proxies of a node that are to be polled.
    fn wanted(&self, node: &'a Node) -> impl Iterator<Item = &'a VirtualProxy> + use<'a> {
        let source = &self.site.source;
        let listed = node.listed.virtual_proxies.iter().map(|listed| &listed.prefix);
        listed.filter(|virtual_proxy| !source.excludes(virtual_proxy))
    }

    fn add_what_is_left_out(&mut self) {
        let site = self.site;
        let excluded: BTreeSet<&str> = site
            .nodes
            .iter()
            .flat_map(|node| &node.listed.virtual_proxies)
            .filter(|listed| site.source.excludes(&listed.prefix))
            .map(|listed| listed.prefix.as_str())
            .collect();
        let unlinked: BTreeSet<&str> =
            site.unlinked.iter().map(|listed| listed.prefix.as_str()).collect();
        for (what, prefixes) in [
            ("left out by `sessionSource.discovery.exclude`", excluded),
            ("linked to no proxy, so without sessions", unlinked),
        ] {
            if !prefixes.is_empty() {
                let list = prefixes.into_iter().collect::<Vec<_>>().join(", ");
                self.add(Finding::ok(Step::Repository, format!("{what}: {list}")));
            }
        }
    }
}

fn wrong_port(server: &Server, nodes: &[&Node]) -> Finding {
    let nodes: Vec<String> = nodes.iter().map(|node| name(node)).collect();
    Finding::warning(
        Step::Repository,
        format!(
            "the server `{}` is polled on port {}, and the session API listens on another one: {}",
            server.name,
            server.proxy.port,
            nodes.join(", ")
        ),
    )
    .hint("correct the port in `userSessions.host`; the QMC shows it as REST API listen port of the proxy")
}

fn no_node(server: &Server) -> Finding {
    Finding::warning(
        Step::Repository,
        format!(
            "the server `{}` ({}) is none of the nodes with a proxy",
            server.name,
            server.proxy.authority()
        ),
    )
    .hint("is it a load balancer, or a node under a name that this machine knows and the QMC does not? Poll each node by its own address, or its sessions may count twice")
}

/// `Central (sense1.company.com:4243)`.
fn name(node: &Node) -> String {
    let listed = &node.listed;
    format!("{} ({}:{})", listed.node, listed.host_name, listed.rest_port)
}
