//! What was found, as a table and as JSON.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    commands::{printable, site_totals, table},
    discovery::{Node, Resolved},
    repository::ListedVirtualProxy,
    target::CertificateFiles,
};

/// The proxies of a site.
pub struct Found {
    /// The repository service that was asked.
    pub repository: String,
    pub nodes: Vec<Node>,
    /// Virtual proxies that are linked to no proxy: they have no sessions.
    pub unlinked: Vec<ListedVirtualProxy>,
    /// The addresses of the nodes.
    pub resolved: Resolved,
    /// The certificates with which it was asked.
    pub certificates: CertificateFiles,
}

impl Found {
    /// `34 virtual proxies on 3 nodes`.
    pub fn totals(&self) -> String {
        site_totals(&self.nodes)
    }

    /// What keeps a node from being polled from this machine.
    pub fn problem_of(&self, node: &Node) -> Option<String> {
        match &node.address {
            Err(problem) => Some(format!("cannot be dialled: {problem}")),
            Ok(address) if self.resolved.of(&address.host).is_empty() => {
                Some(format!("this machine does not know the address of {}", address.host))
            }
            Ok(_) => None,
        }
    }

    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let mut table = table::plain();
        table.set_header(["NODE", "HOST", "PORT", "VIRTUAL PROXY", "DESCRIPTION"]);
        for node in &self.nodes {
            let port = node.listed.rest_port.to_string();
            for virtual_proxy in &node.listed.virtual_proxies {
                let cells = [
                    &node.listed.node,
                    &node.listed.host_name,
                    &port,
                    virtual_proxy.prefix.as_str(),
                    &virtual_proxy.description,
                ];
                table.add_row(cells.map(printable));
            }
        }
        out.write_all(table::text_of(&table).as_bytes())?;
        writeln!(out, "\n{}", self.totals())?;
        self.write_notes(out)
    }

    /// What the table does not show.
    fn write_notes(&self, out: &mut impl Write) -> io::Result<()> {
        for node in &self.nodes {
            if node.listed.virtual_proxies.is_empty() {
                writeln!(
                    out,
                    "  {}: no virtual proxy is linked to its proxy",
                    printable(&node.server_name)
                )?;
            }
            if let Some(problem) = self.problem_of(node) {
                writeln!(
                    out,
                    "  ! {}: {}; say what to dial: --address {}=…",
                    printable(&node.server_name),
                    printable(&problem),
                    printable(&node.listed.node)
                )?;
            }
        }
        if !self.unlinked.is_empty() {
            writeln!(out, "  Linked to no proxy, so without sessions: {}", self.unlinked_list())?;
        }
        Ok(())
    }

    pub fn unlinked_list(&self) -> String {
        let prefixes: Vec<String> =
            self.unlinked.iter().map(|one| printable(one.prefix.as_str())).collect();
        prefixes.join(", ")
    }

    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let document = Document {
            repository: &self.repository,
            nodes: self.nodes.iter().map(|node| self.node_record(node)).collect(),
            unlinked: self.unlinked.iter().map(VirtualProxyRecord::from).collect(),
        };
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)
    }

    fn node_record<'a>(&self, node: &'a Node) -> NodeRecord<'a> {
        let listed = &node.listed;
        NodeRecord {
            node: &listed.node,
            server_name: &node.server_name,
            host_name: &listed.host_name,
            proxy_host: node.address.as_ref().ok().map(|address| address.configured.as_str()),
            problem: self.problem_of(node),
            rest_listen_port: listed.rest_port,
            listen_port: listed.listen_port,
            virtual_proxies: listed.virtual_proxies.iter().map(VirtualProxyRecord::from).collect(),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    repository: &'a str,
    nodes: Vec<NodeRecord<'a>>,
    unlinked: Vec<VirtualProxyRecord<'a>>,
}

#[derive(Serialize)]
struct NodeRecord<'a> {
    node: &'a str,
    server_name: &'a str,
    host_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    rest_listen_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen_port: Option<u16>,
    virtual_proxies: Vec<VirtualProxyRecord<'a>>,
}

#[derive(Serialize)]
struct VirtualProxyRecord<'a> {
    virtual_proxy: &'a str,
    description: &'a str,
}

impl<'a> From<&'a ListedVirtualProxy> for VirtualProxyRecord<'a> {
    fn from(listed: &'a ListedVirtualProxy) -> Self {
        Self { virtual_proxy: listed.prefix.as_str(), description: &listed.description }
    }
}
