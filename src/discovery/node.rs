//! A node with its proxy service, as this machine reaches it.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{net::lookup_host, time::timeout};

use crate::{
    proxy::{Deadline, Failure},
    repository::{ListedProxy, ListedVirtualProxy, RepositoryClient},
    target::{Addresses, ProxyAddress, VirtualProxy},
};

/// A listed proxy service.
#[derive(Clone, Debug)]
pub struct Node {
    /// What the repository service says of it.
    pub listed: ListedProxy,
    /// What its server is called: the node's name, with its host name where two
    /// nodes have the same.
    pub server_name: String,
    /// Where its session API is, or why nothing can be dialled.
    pub address: Result<ProxyAddress, String>,
    /// The host name, where something else is dialled.
    pub tls_server_name: Option<String>,
}

impl Node {
    /// The nodes of a list.
    pub fn all(list: Vec<ListedProxy>, addresses: &Addresses) -> Vec<Self> {
        let mut names: HashMap<String, usize> = HashMap::new();
        for listed in &list {
            *names.entry(listed.node.clone()).or_default() += 1;
        }
        list.into_iter()
            .map(|listed| {
                let is_unique = names.get(&listed.node) == Some(&1);
                Self::new(listed, is_unique, addresses)
            })
            .collect()
    }

    fn new(listed: ListedProxy, name_is_unique: bool, addresses: &Addresses) -> Self {
        let ListedProxy { node, host_name, rest_port, .. } = &listed;
        let own = ProxyAddress::parse_or_port(host_name, *rest_port);
        let replaced = addresses.of(&[host_name, node], *rest_port);
        let tls_server_name = match (&replaced, &own) {
            (Some(replaced), Ok(own)) if replaced.host != own.host => Some(own.host.clone()),
            _ => None,
        };
        let server_name =
            if name_is_unique { node.clone() } else { format!("{node} ({host_name})") };
        Self { server_name, address: replaced.map_or(own, Ok), tls_server_name, listed }
    }

    /// Describes it for people.
    pub fn description(&self) -> String {
        let ListedProxy { node, host_name, .. } = &self.listed;
        if node.eq_ignore_ascii_case(host_name) {
            format!("Qlik Sense node {node}")
        } else {
            format!("Qlik Sense node {node} ({host_name})")
        }
    }
}

/// The nodes of a site, and its virtual proxies that are linked to none of them.
/// The latter are only shown: where they cannot be read, the list is complete without them.
///
/// # Errors
/// Why there is no list.
pub async fn list_site(
    client: &RepositoryClient,
    addresses: &Addresses,
    limit: Duration,
) -> Result<(Vec<Node>, Vec<ListedVirtualProxy>), Failure> {
    let list = client.proxies(Deadline::within(limit)).await?;
    let all = client.virtual_proxies(Deadline::within(limit)).await;
    let all = all.inspect_err(|failure| tracing::debug!("{failure}")).unwrap_or_default();
    let nodes = Node::all(list, addresses);
    let unlinked = unlinked(&nodes, all);
    Ok((nodes, unlinked))
}

fn unlinked(nodes: &[Node], all: Vec<ListedVirtualProxy>) -> Vec<ListedVirtualProxy> {
    let linked: HashSet<&VirtualProxy> = nodes
        .iter()
        .flat_map(|node| &node.listed.virtual_proxies)
        .map(|virtual_proxy| &virtual_proxy.prefix)
        .collect();
    all.into_iter().filter(|one| !linked.contains(&one.prefix)).collect()
}

/// The addresses of hosts, as far as this machine can find them within a time.
pub async fn resolve(hosts: impl Iterator<Item = String>, limit: Duration) -> Resolved {
    let mut hosts: Vec<String> = hosts.collect();
    hosts.sort_unstable();
    hosts.dedup();
    let lookups = hosts.into_iter().map(async |host| {
        let addresses: Vec<IpAddr> = match timeout(limit, lookup_host((host.as_str(), 0))).await {
            Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
            _ => Vec::new(),
        };
        (host, addresses)
    });
    Resolved(join_all(lookups).await.into_iter().collect())
}

/// Hosts and their addresses.
#[derive(Debug, Default)]
pub struct Resolved(HashMap<String, Vec<IpAddr>>);

impl Resolved {
    /// The addresses of a host; none where this machine does not know it.
    pub fn of(&self, host: &str) -> &[IpAddr] {
        self.0.get(host).map_or(&[], Vec::as_slice)
    }

    /// Adds addresses that are known now. A host whose address is not known any more keeps
    /// the old one.
    pub fn update(&mut self, newer: Self) {
        self.0.extend(newer.0.into_iter().filter(|(_, addresses)| !addresses.is_empty()));
    }
}
