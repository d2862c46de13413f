//! Which configured server is which node. A node may be registered under another
//! name than the configuration has, and must not be polled twice for that.

use std::sync::Arc;

use super::{Node, Resolved};
use crate::target::{Server, ServerNames, SwitchedOff};

/// The configured server whose session API is that of a node.
pub fn server_of<'s>(
    node: &Node,
    nodes: &[Node],
    servers: &'s [Arc<Server>],
    resolved: &Resolved,
) -> Option<&'s Arc<Server>> {
    servers.iter().find(|server| is_same(node, nodes, server.names(), resolved))
}

/// The switched-off server that is a node. Its port may be out of date, so the host is
/// enough where no node has both.
pub fn switched_off<'s>(
    node: &Node,
    nodes: &[Node],
    servers: &'s [SwitchedOff],
    resolved: &Resolved,
) -> Option<&'s SwitchedOff> {
    servers.iter().find(|server| {
        let is_it = |node: &Node| is_same(node, nodes, server.names(), resolved);
        is_it(node)
            || (is_same_host(node, nodes, server.names(), resolved) && !nodes.iter().any(is_it))
    })
}

/// Returns whether a configured server is a node's proxy service: host and port.
pub fn is_same(node: &Node, nodes: &[Node], server: ServerNames<'_>, resolved: &Resolved) -> bool {
    node.address.as_ref().is_ok_and(|address| address.port == server.proxy.port)
        && is_same_host(node, nodes, server, resolved)
}

/// Returns whether a configured server is on a node, whatever its port.
pub fn is_same_host(
    node: &Node,
    nodes: &[Node],
    server: ServerNames<'_>,
    resolved: &Resolved,
) -> bool {
    is_known_by_name(node, server)
        || has_short_name_of(node, nodes, server)
        || node.address.as_ref().is_ok_and(|address| {
            resolved
                .of(&address.host)
                .iter()
                .any(|address| resolved.of(&server.proxy.host).contains(address))
        })
}

fn is_known_by_name(node: &Node, server: ServerNames<'_>) -> bool {
    let dialled = node.address.as_ref().map(|address| address.host.as_str());
    server.all().any(|name| {
        name.eq_ignore_ascii_case(&node.listed.host_name)
            || dialled.is_ok_and(|dialled| dialled == server.proxy.host)
    })
}

/// `sense1` is `sense1.company.com`, where no other node is a `sense1`.
fn has_short_name_of(node: &Node, nodes: &[Node], server: ServerNames<'_>) -> bool {
    let own = node.listed.host_name.as_str();
    let is_unique = nodes
        .iter()
        .filter(|other| label(&other.listed.host_name).eq_ignore_ascii_case(label(own)))
        .all(|other| other.listed.host_name.eq_ignore_ascii_case(own));
    is_unique
        && server.all().any(|name| {
            name.contains('.') != own.contains('.')
                && !is_address(name)
                && !is_address(own)
                && label(name).eq_ignore_ascii_case(label(own))
        })
}

fn label(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn is_address(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok()
}
