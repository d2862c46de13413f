//! What was found, as a table and as JSON. With `-c` it also shows whether the
//! configuration polls each virtual proxy.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    commands::{printable, site_totals, table},
    config::{Config, ConfigFile},
    discovery::{ComparedNode, Comparison, Difference, ListedSite, Node, Resolved, State},
    repository::ListedVirtualProxy,
    target::Target,
};

/// The proxies of a site.
pub struct Found {
    /// The list, and the repository service that returned it.
    pub site: ListedSite,
    /// The addresses of nodes and servers.
    pub resolved: Resolved,
    /// What it is compared with.
    pub beside: Option<Beside>,
}

/// A configuration, and the targets that are polled because of it.
pub struct Beside {
    pub file: ConfigFile,
    pub config: Config,
    pub polled: Vec<Target>,
}

impl Beside {
    pub fn compare<'a>(&'a self, found: &'a Found) -> Comparison<'a> {
        Comparison::new(&found.site, &self.config, &self.polled, &found.resolved)
    }
}

impl Found {
    /// `34 virtual proxies on 3 nodes`.
    pub fn totals(&self) -> String {
        site_totals(&self.site.nodes)
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
        let comparison = self.beside.as_ref().map(|beside| beside.compare(self));
        let mut table = table::plain();
        let mut header = vec!["NODE", "HOST", "PORT", "VIRTUAL PROXY", "DESCRIPTION"];
        if comparison.is_some() {
            header.insert(4, "CONFIGURATION");
        }
        table.set_header(header);
        for (index, node) in self.site.nodes.iter().enumerate() {
            let port = node.listed.rest_port.to_string();
            let states = comparison.as_ref().map(|comparison| &comparison.nodes[index].states);
            for (place, virtual_proxy) in node.listed.virtual_proxies.iter().enumerate() {
                let prefix = virtual_proxy.prefix.as_str();
                let mut cells = vec![&*node.listed.node, &node.listed.host_name, &port, prefix];
                cells.extend(states.map(|states| words(states[place])));
                cells.push(&virtual_proxy.description);
                table.add_row(cells.into_iter().map(printable));
            }
        }
        out.write_all(table::text_of(&table).as_bytes())?;
        write!(out, "\n{}", self.totals())?;
        if let (Some(comparison), Some(beside)) = (&comparison, &self.beside) {
            let path = beside.file.path.display();
            let missing = comparison.missing();
            let is = if missing == 1 { "is" } else { "are" };
            write!(out, "; {missing} of them {is} missing in {path}")?;
        }
        writeln!(out)?;
        self.write_notes(out)?;
        comparison.map_or(Ok(()), |comparison| write_differences(out, &comparison))
    }

    /// What has no place in the table.
    fn write_notes(&self, out: &mut impl Write) -> io::Result<()> {
        for node in &self.site.nodes {
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
                    "  ! {}: {}; say what to dial: {}",
                    printable(&node.server_name),
                    printable(&problem),
                    self.how_to_dial(node)
                )?;
            }
        }
        if !self.site.unlinked.is_empty() {
            writeln!(out, "  Linked to no proxy, so without sessions: {}", self.unlinked_list())?;
        }
        Ok(())
    }

    fn how_to_dial(&self, node: &Node) -> String {
        match &self.beside {
            Some(beside) if !beside.config.discovery.sources.is_empty() => {
                "`sessionSource.discovery.addresses`".to_owned()
            }
            _ => format!("--address {}=…", printable(&node.listed.node)),
        }
    }

    pub fn unlinked_list(&self) -> String {
        let prefixes: Vec<String> =
            self.site.unlinked.iter().map(|one| printable(one.prefix.as_str())).collect();
        prefixes.join(", ")
    }

    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let comparison = self.beside.as_ref().map(|beside| beside.compare(self));
        let compared = |index: usize| comparison.as_ref().map(|it| &it.nodes[index]);
        let nodes = self.site.nodes.iter().enumerate();
        let document = Document {
            repository: &self.site.source.host.configured,
            nodes: nodes.map(|(index, node)| self.node_record(node, compared(index))).collect(),
            unlinked: self.site.unlinked.iter().map(|one| record(one, None)).collect(),
            differences: comparison
                .as_ref()
                .map(|it| it.differences.iter().map(DifferenceRecord::from).collect()),
        };
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)
    }

    fn node_record<'a>(
        &self,
        node: &'a Node,
        compared: Option<&ComparedNode<'a>>,
    ) -> NodeRecord<'a> {
        let listed = &node.listed;
        let state = |place: usize| compared.map(|compared| compared.states[place]);
        let virtual_proxies = listed.virtual_proxies.iter().enumerate();
        NodeRecord {
            node: &listed.node,
            server_name: compared
                .and_then(|compared| compared.server)
                .map_or(&node.server_name, |server| &server.name),
            host_name: &listed.host_name,
            proxy_host: node.address.as_ref().ok().map(|address| address.configured.as_str()),
            problem: self.problem_of(node),
            rest_listen_port: listed.rest_port,
            listen_port: listed.listen_port,
            virtual_proxies: virtual_proxies
                .map(|(place, one)| record(one, state(place)))
                .collect(),
        }
    }
}

/// The state of a virtual proxy, as the table shows it.
fn words(state: State) -> &'static str {
    match state {
        State::Configured => "in the file",
        State::Discovered => "discovered",
        State::Excluded => "excluded",
        State::SwitchedOff => "switched off",
        State::OtherPort => "other port",
        State::Missing => "missing",
    }
}

/// All differences but what is missing, which is in the table.
fn write_differences(out: &mut impl Write, comparison: &Comparison<'_>) -> io::Result<()> {
    for difference in comparison.differences.iter().filter(|it| !it.is_missing()) {
        let about = difference.virtual_proxy().map_or_else(String::new, |it| format!("{it}: "));
        writeln!(out, "  ! {}", printable(&format!("{about}{}", difference.message())))?;
        writeln!(out, "      → {}", printable(&difference.hint()))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Document<'a> {
    repository: &'a str,
    nodes: Vec<NodeRecord<'a>>,
    unlinked: Vec<VirtualProxyRecord<'a>>,
    /// Only beside a configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<Vec<DifferenceRecord>>,
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
    /// Only beside a configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

fn record(listed: &ListedVirtualProxy, state: Option<State>) -> VirtualProxyRecord<'_> {
    VirtualProxyRecord {
        virtual_proxy: listed.prefix.as_str(),
        description: &listed.description,
        state: state.map(State::as_str),
    }
}

#[derive(Serialize)]
struct DifferenceRecord {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_proxy: Option<String>,
    message: String,
    hint: String,
}

impl From<&Difference<'_>> for DifferenceRecord {
    fn from(difference: &Difference<'_>) -> Self {
        Self {
            kind: difference.kind(),
            virtual_proxy: difference.virtual_proxy().map(ToString::to_string),
            message: difference.message(),
            hint: difference.hint(),
        }
    }
}
