//! The repository service of the site: it lists the nodes with their proxies and
//! virtual proxies, as far as the user in `X-Qlik-User` may read them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answering, Node, REPOSITORY, State};

/// What a user may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Everything: the accounts of Qlik Sense itself.
    All,
    /// A user like others: none of the list.
    Nothing,
    /// There is no such header, or no user in it.
    Unknown,
}

impl Rights {
    /// What the user in the header `X-Qlik-User` may read.
    pub fn of(header: Option<&str>) -> Self {
        let user = header.and_then(|header| {
            let (directory, id) = header.split_once(';')?;
            let directory = directory.trim().strip_prefix("UserDirectory=")?;
            Some((directory, id.trim().strip_prefix("UserId=")?))
        });
        match user {
            Some(("INTERNAL", "sa_repository" | "sa_api")) => Self::All,
            Some((directory, id)) if !directory.is_empty() && !id.is_empty() => Self::Nothing,
            _ => Self::Unknown,
        }
    }
}

/// What the repository service answers under a path; none where it has nothing there.
pub fn answering(state: &State, path: &str, rights: Rights) -> Option<Answering> {
    let list: Vec<Value> = match path {
        "/qrs/proxyservice/full" => state.proxies().map(proxy).collect(),
        "/qrs/virtualproxyconfig/full" => virtual_proxies(state),
        _ => return None,
    };
    let list = if rights == Rights::All { list } else { Vec::new() };
    let own = state.node(REPOSITORY).virtual_proxies.get("/").cloned().unwrap_or_default();
    let body = if own.body.is_empty() {
        Arc::new(serde_json::to_vec(&list).unwrap_or_default())
    } else {
        Arc::clone(&own.body)
    };
    Some(Answering { body, ..own })
}

fn proxy(node: &Node) -> Value {
    let virtual_proxies: Vec<Value> =
        node.virtual_proxies.keys().map(|prefix| virtual_proxy(prefix)).collect();
    json!({
        "id": format!("proxy of {}", node.name),
        "serverNodeConfiguration": {
            "id": format!("node {}", node.name),
            "name": node.name,
            "hostName": node.host_name,
        },
        "settings": {
            "listenPort": 443,
            "restListenPort": node.address.port(),
            "virtualProxies": virtual_proxies,
        },
    })
}

fn virtual_proxies(state: &State) -> Vec<Value> {
    let linked = state.proxies().flat_map(|node| node.virtual_proxies.keys());
    let mut prefixes: Vec<&String> = linked.chain(&state.unlinked).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes.into_iter().map(|prefix| virtual_proxy(prefix)).collect()
}

fn virtual_proxy(prefix: &str) -> Value {
    let prefix = prefix.trim_start_matches('/');
    let description = match prefix {
        "" => "Central Proxy (Default)".to_owned(),
        prefix => format!("Simulated virtual proxy {prefix}"),
    };
    json!({
        "id": format!("virtual proxy {prefix}"),
        "prefix": prefix,
        "description": description,
        "sessionCookieHeaderName": "X-Qlik-Session",
        "sessionInactivityTimeout": 30,
        "defaultVirtualProxy": prefix.is_empty(),
    })
}
