//! One thing in which a configuration and a list of the repository service differ,
//! in words.

use std::{fmt, sync::Arc};

use super::Node;
use crate::target::{Server, VirtualProxy};

/// A difference between a configuration and a list.
pub enum Difference<'a> {
    /// No server of the configuration is this node.
    NodeNotPolled {
        /// The node.
        node: &'a Node,
        /// Its virtual proxies.
        missing: Vec<&'a VirtualProxy>,
    },
    /// Virtual proxies of a node are not polled.
    NotPolled {
        /// The node.
        node: &'a Node,
        /// The server that it is.
        server: &'a Server,
        /// Those that are not polled.
        missing: Vec<&'a VirtualProxy>,
    },
    /// A node is in the configuration twice, so that its sessions count twice.
    TwoNames {
        /// The node.
        node: &'a Node,
        /// The servers that it is.
        servers: Vec<&'a Arc<Server>>,
    },
    /// A virtual proxy is polled on a node that does not have it.
    NotThere {
        /// The node.
        node: &'a Node,
        /// The server that it is.
        server: &'a Server,
        /// The virtual proxy.
        virtual_proxy: &'a VirtualProxy,
        /// Where it really is.
        links: Links<'a>,
    },
    /// A server is polled on a port that is not that of its session API.
    OtherPort {
        /// The server.
        server: &'a Server,
        /// The nodes on its host.
        nodes: Vec<&'a Node>,
    },
    /// A server is not one of the nodes.
    NoNode {
        /// The server.
        server: &'a Server,
    },
}

/// What a virtual proxy is linked to.
pub struct Links<'a> {
    /// Nodes whose proxies have it.
    pub nodes: Vec<&'a Node>,
    /// There is such a virtual proxy, and it is linked to no proxy.
    pub is_known: bool,
}

impl Difference<'_> {
    /// A word for it, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NodeNotPolled { .. } => "node_not_polled",
            Self::NotPolled { .. } => "not_polled",
            Self::TwoNames { .. } => "two_names",
            Self::NotThere { .. } => "not_there",
            Self::OtherPort { .. } => "other_port",
            Self::NoNode { .. } => "no_node",
        }
    }

    /// Returns whether it is about something that is not polled.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NodeNotPolled { .. } | Self::NotPolled { .. })
    }

    /// The virtual proxy, where it is about one.
    pub fn virtual_proxy(&self) -> Option<&VirtualProxy> {
        match self {
            Self::NotThere { virtual_proxy, .. } => Some(virtual_proxy),
            _ => None,
        }
    }

    /// What differs.
    pub fn message(&self) -> String {
        match self {
            Self::NodeNotPolled { node, missing } => {
                format!("the node {} is not polled; it has {}", name(node), list(missing))
            }
            Self::NotPolled { node, server, missing } => {
                format!("not polled on `{}`, node {}: {}", server.name, name(node), list(missing))
            }
            Self::TwoNames { node, servers } => {
                let mut addresses: Vec<String> =
                    servers.iter().map(|server| addressed(server)).collect();
                addresses.dedup();
                format!("the servers {} are one node, {}", addresses.join(" and "), name(node))
            }
            Self::NotThere { node, server, links, .. } => {
                let what = if links.nodes.is_empty() && !links.is_known {
                    "does not exist on"
                } else {
                    "is not linked to the proxy of"
                };
                format!("is polled on `{}`, but {what} {}", server.name, name(node))
            }
            Self::OtherPort { server, nodes } => format!(
                "the server `{}` is polled on port {}, and the session API listens on another one: {}",
                server.name,
                server.proxy.port,
                names(nodes)
            ),
            Self::NoNode { server } => {
                format!("the server {} is not one of the nodes with a proxy", addressed(server))
            }
        }
    }

    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            Self::NodeNotPolled { .. } => {
                "add it to `serversToMonitor.servers`, as `qlik-sessions discover -c FILE --output yaml` does, or let `sessionSource.discovery` find it".to_owned()
            }
            Self::NotPolled { server, .. } => format!(
                "add them to the `virtualProxies` of `{0}`, as `qlik-sessions discover -c FILE --output yaml` does, or set `sessionSource.servers.{0}.virtualProxies: auto`",
                server.name
            ),
            Self::TwoNames { .. } => {
                "poll each node under one name, or its sessions count twice".to_owned()
            }
            Self::NotThere { server, links, .. } => links.hint(&server.name),
            Self::OtherPort { .. } => {
                "correct the port in `userSessions.host`; the QMC shows it as REST API listen port of the proxy".to_owned()
            }
            Self::NoNode { .. } => {
                "is it a load balancer, or a node under a name that this machine knows and the QMC does not? Poll each node by its own address, or its sessions may count twice".to_owned()
            }
        }
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(virtual_proxy) = self.virtual_proxy() {
            write!(f, "{virtual_proxy}: ")?;
        }
        write!(f, "{} ({})", self.message(), self.hint())
    }
}

impl Links<'_> {
    fn hint(&self, server: &str) -> String {
        let question = match (&*self.nodes, self.is_known) {
            ([], false) => "is its prefix spelled right? Or".to_owned(),
            ([], true) => "it is linked to no proxy at all: link it in the QMC, or".to_owned(),
            (nodes, _) => format!("it is linked to {}: link it in the QMC, or", names(nodes)),
        };
        format!("{question} remove it from the `virtualProxies` of `{server}`")
    }
}

/// `Central (sense1.company.com:4243)`.
fn name(node: &Node) -> String {
    let listed = &node.listed;
    format!("{} ({}:{})", listed.node, listed.host_name, listed.rest_port)
}

fn names(nodes: &[&Node]) -> String {
    nodes.iter().map(|node| name(node)).collect::<Vec<_>>().join(", ")
}

/// `` `sense1` (sense1.company.com:4243)``.
fn addressed(server: &Server) -> String {
    format!("`{}` ({})", server.name, server.proxy.authority())
}

fn list(virtual_proxies: &[&VirtualProxy]) -> String {
    virtual_proxies.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ")
}
