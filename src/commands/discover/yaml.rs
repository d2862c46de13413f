//! What was found, as a configuration that works as it is: a new one, or that of `-c`
//! with what is missing in it. Where somebody has to decide, a comment says so.

use std::{
    io::{self, Write},
    path::Path,
};

use super::{
    super::{CommandError, Exit, counted},
    found::{Beside, Found},
};
use crate::{
    config::{Addition, Config, Item, Step},
    discovery::{Comparison, Node, all_targets},
    repository::ListedVirtualProxy,
};

const ADDED: &str = "# Added, because the repository service lists it:";

/// Writes a whole configuration.
pub fn write(out: &mut impl Write, found: &Found) -> Result<Exit, CommandError> {
    let Some(beside) = &found.beside else {
        write_new(out, found)?;
        return Ok(Exit::Done);
    };
    let path = beside.file.path.display();
    match completed(found, beside) {
        Some(text) => {
            tracing::info!(
                "what is printed holds all of {path}, also its passwords and tokens: keep it as safe as that file"
            );
            out.write_all(text.as_bytes())?;
            Ok(Exit::Done)
        }
        None => {
            tracing::error!(
                "{path} is written in a way to which nothing can be added without a change of something else; what is printed is a new configuration, WITHOUT the settings of {path}: take from it what is missing there (`--output table` shows it)"
            );
            writeln!(out, "# A new configuration, without the settings of {path}:")?;
            writeln!(out, "# that file is written in a way to which nothing can be added safely.")?;
            write_new(out, found)?;
            Ok(Exit::Failed)
        }
    }
}

/// The text of a configuration with what is missing in it; none where it cannot be
/// added safely.
fn completed(found: &Found, beside: &Beside) -> Option<String> {
    let comparison = beside.compare(found);
    for difference in comparison.differences.iter().filter(|it| !it.is_missing()) {
        tracing::warn!("{difference}");
    }
    let additions = additions(found, beside, &comparison);
    if additions.is_empty() {
        tracing::info!("nothing is missing in {}", beside.file.path.display());
        return Some(beside.file.text.clone());
    }
    let text = beside.file.with(&additions)?;
    let config = Config::parse_whole(&beside.file.path, &text).ok()?;
    let lists = vec![Some(found.site.proxies()); config.discovery.sources.len()];
    let polled = all_targets(&config, &lists, &found.resolved).targets;
    let after = Comparison::new(&found.site, &config, &polled, &found.resolved);
    let before = comparison.missing_that_can_be_dialled();
    let is_complete = after.missing_that_can_be_dialled() == 0;
    // Nothing else: what is added under an alias would be added elsewhere, too.
    let is_exact = polled.len() == beside.polled.len() + before;
    (is_complete && is_exact).then_some(text)
}

/// What is missing in a configuration, and where it goes.
fn additions(found: &Found, beside: &Beside, comparison: &Comparison<'_>) -> Vec<Addition> {
    let mut additions = Vec::new();
    let (mut servers, mut verified) = (Vec::new(), Vec::new());
    for compared in &comparison.nodes {
        let (node, missing) = (compared.node, compared.missing().count());
        match compared.server {
            _ if missing == 0 => {}
            Some(server) => {
                if let Some(place) = server.place {
                    let keys = [Step::Item(place), key("userSessions"), key("virtualProxies")];
                    let path = servers_path().into_iter().chain(keys).collect();
                    let items = with_comment(compared.missing().map(virtual_proxy).collect());
                    additions.push(Addition { path, items });
                    let number = counted(missing, "virtual proxy", "virtual proxies");
                    tracing::info!("added: {number} of `{}`", server.name);
                }
            }
            None if node.address.is_ok() => {
                let new = NewServer::beside(found, beside, node);
                verified.extend(new.verified_name());
                tracing::info!("added: the server `{}`", new.name);
                servers.push(new.item());
            }
            None => tracing::warn!(
                "{} is left out: {}",
                node.server_name,
                found.problem_of(node).unwrap_or_default()
            ),
        }
    }
    if !servers.is_empty() {
        additions.push(Addition { path: servers_path(), items: with_comment(servers) });
    }
    if !verified.is_empty() {
        let path = ["Butler-SOS", "sessionSource", "servers"].map(key).to_vec();
        additions.push(Addition { path, items: verified });
    }
    additions
}

fn servers_path() -> Vec<Step> {
    ["Butler-SOS", "serversToMonitor", "servers"].map(key).to_vec()
}

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}

/// With a comment above the first one.
fn with_comment(mut items: Vec<Item>) -> Vec<Item> {
    if let Some(first) = items.first_mut() {
        first.lines.insert(0, ADDED.to_owned());
    }
    items
}

fn write_new(out: &mut impl Write, found: &Found) -> io::Result<()> {
    write_head(out, found)?;
    writeln!(out, "  serversToMonitor:\n    rejectUnauthorized: true\n    servers:")?;
    let nodes = found.site.nodes.iter();
    let servers: Vec<NewServer<'_>> = nodes
        .filter(|node| !node.listed.virtual_proxies.is_empty() && node.address.is_ok())
        .map(|node| NewServer::new(found, node))
        .collect();
    for server in &servers {
        write_indented(out, 6, &server.item())?;
    }
    let verified: Vec<Item> = servers.iter().filter_map(NewServer::verified_name).collect();
    if !verified.is_empty() {
        writeln!(out, "  sessionSource:\n    servers:")?;
    }
    for item in &verified {
        write_indented(out, 6, item)?;
    }
    write_notes(out, found)
}

fn write_indented(out: &mut impl Write, column: usize, item: &Item) -> io::Result<()> {
    item.lines.iter().try_for_each(|line| writeln!(out, "{:column$}{line}", ""))
}

fn write_head(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let files = &found.site.source.tls.files;
    writeln!(
        out,
        "# {}, as the repository service {} lists them.",
        found.totals(),
        comment(&found.site.source.host.configured)
    )?;
    writeln!(out, "Butler-SOS:\n  cert:  # relative paths start at the folder of this file")?;
    writeln!(out, "    clientCert: {}", path(&files.client_cert))?;
    if let Some(key) = &files.client_key {
        writeln!(out, "    clientCertKey: {}", path(key))?;
    }
    if let Some(ca) = &files.ca {
        writeln!(out, "    clientCertCA: {}", path(ca))?;
    }
    if files.passphrase.is_some() {
        writeln!(
            out,
            "    # The passphrase is not written here: set QLIK_SESSIONS_KEY_PASSPHRASE."
        )?;
    }
    writeln!(
        out,
        "  userSessions:\n    enableSessionExtract: true\n    pollingInterval: 30000  # ms"
    )
}

/// A node as an item of `servers`.
struct NewServer<'a> {
    node: &'a Node,
    name: String,
    /// What keeps it from being polled from this machine.
    problem: Option<String>,
    /// `serverTags`, where Butler SOS reads the file, too; no value where nobody knows it.
    tags: Option<Vec<(String, Option<String>)>>,
}

impl<'a> NewServer<'a> {
    fn new(found: &Found, node: &'a Node) -> Self {
        let problem = found.problem_of(node);
        Self { node, name: node.server_name.clone(), problem, tags: None }
    }

    /// In a file with other servers: with a name of its own, and the tags that all have.
    fn beside(found: &Found, beside: &Beside, node: &'a Node) -> Self {
        let mut new = Self::new(found, node);
        let config = &beside.config;
        let switched_off = config.switched_off.iter().map(|server| &server.name);
        if config.servers().map(|it| &it.name).chain(switched_off).any(|it| *it == new.name) {
            new.name = format!("{} ({})", node.listed.node, node.listed.host_name);
        }
        let value = |name: &str| {
            let mut values = config.servers().map(|server| server.tags.get(name));
            let first = values.next().flatten()?;
            values.all(|value| value == Some(first)).then(|| first.clone())
        };
        let with_value = |name: String| {
            let value = value(&name);
            (name, value)
        };
        let names = beside.file.tag_names();
        new.tags = names.map(|names| names.into_iter().map(with_value).collect());
        new
    }

    fn item(&self) -> Item {
        Item { lines: self.lines(), inline: self.inline() }
    }

    fn engine(&self) -> String {
        let host = &self.node.listed.host_name;
        if host.contains(':') { format!("[{host}]:4747") } else { format!("{host}:4747") }
    }

    fn proxy(&self) -> &str {
        self.node.address.as_ref().map_or("", |address| &address.configured)
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(problem) = &self.problem {
            lines.push(format!("# EDIT userSessions.host: {}.", comment(problem)));
        }
        lines.push(format!("- host: {}", quoted(&self.engine())));
        lines.push(format!("  serverName: {}", quoted(&self.name)));
        lines.push(format!("  serverDescription: {}", quoted(&self.node.description())));
        if let Some(tags) = &self.tags {
            // Butler SOS does not start where a server lacks one of these keys.
            lines.push("  headers: null".to_owned());
            let nothing = if tags.is_empty() { " null" } else { "" };
            lines.push(format!("  serverTags:{nothing}"));
        }
        for (name, value) in self.tags.iter().flatten() {
            let (value, edit) = match value {
                Some(value) => (value.as_str(), ""),
                None => (UNKNOWN, "  # EDIT"),
            };
            lines.push(format!("    {}: {}{edit}", quoted(name), quoted(value)));
        }
        lines.push("  userSessions:".to_owned());
        lines.push("    enable: true".to_owned());
        lines.push(format!("    host: {}", quoted(self.proxy())));
        lines.push("    virtualProxies:".to_owned());
        for listed in &self.node.listed.virtual_proxies {
            lines.extend(virtual_proxy(listed).lines.iter().map(|line| format!("      {line}")));
        }
        lines
    }

    fn inline(&self) -> String {
        let pair = |(name, value): &(String, Option<String>)| {
            format!("{}: {}", quoted(name), quoted(value.as_deref().unwrap_or(UNKNOWN)))
        };
        let tags = self.tags.as_ref().map_or_else(String::new, |tags| {
            let pairs: Vec<String> = tags.iter().map(pair).collect();
            format!("headers: null, serverTags: {{{}}}, ", pairs.join(", "))
        });
        let listed = self.node.listed.virtual_proxies.iter();
        let prefixes: Vec<String> = listed.map(|listed| virtual_proxy(listed).inline).collect();
        format!(
            "{{host: {}, serverName: {}, serverDescription: {}, {tags}userSessions: {{enable: true, host: {}, virtualProxies: [{}]}}}}",
            quoted(&self.engine()),
            quoted(&self.name),
            quoted(&self.node.description()),
            quoted(self.proxy()),
            prefixes.join(", ")
        )
    }

    /// An entry of `sessionSource.servers`: the name to verify, where another one is
    /// dialled.
    fn verified_name(&self) -> Option<Item> {
        let verified = self.node.tls_server_name.as_ref()?;
        let (name, verified) = (quoted(&self.name), quoted(verified));
        Some(Item {
            lines: vec![format!("{name}:"), format!("  tlsServerName: {verified}")],
            inline: format!("{name}: {{tlsServerName: {verified}}}"),
        })
    }
}

/// The value of a tag that nobody knows.
const UNKNOWN: &str = "unknown";

/// `- virtualProxy: "/sales"  # Sales, SAML`.
fn virtual_proxy(listed: &ListedVirtualProxy) -> Item {
    let entry = format!("virtualProxy: {}", quoted(listed.prefix.as_str()));
    let line = match comment(&listed.description) {
        description if description.is_empty() => format!("- {entry}"),
        description => format!("- {entry}  # {description}"),
    };
    Item { lines: vec![line], inline: format!("{{{entry}}}") }
}

fn write_notes(out: &mut impl Write, found: &Found) -> io::Result<()> {
    for node in &found.site.nodes {
        let name = comment(&node.server_name);
        if node.listed.virtual_proxies.is_empty() {
            writeln!(out, "# Left out: no virtual proxy is linked to the proxy of {name}.")?;
        } else if let Err(problem) = &node.address {
            let problem = comment(problem);
            writeln!(
                out,
                "# Left out: {name} cannot be dialled ({problem}); say what to dial: --address."
            )?;
        }
    }
    if !found.site.unlinked.is_empty() {
        let list = comment(&found.unlinked_list());
        writeln!(out, "# Left out, because they are linked to no proxy: {list}.")?;
    }
    Ok(())
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A text in double quotes: JSON's are YAML's, but for characters that YAML wants
/// escaped.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted
}

/// A text as it may stand behind `#`: on one line.
fn comment(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}
