//! A listed node, written as a server of a configuration.

use super::found::{Beside, Found};
use crate::{config::Item, discovery::Node, repository::ListedVirtualProxy};

/// A node as an item of `servers`.
pub struct NewServer<'a> {
    node: &'a Node,
    pub name: String,
    /// Why this machine cannot poll it, if it cannot.
    problem: Option<String>,
    /// `serverTags`, where Butler SOS reads the file, too; a tag whose value is not known
    /// has none.
    tags: Option<Vec<(String, Option<String>)>>,
}

impl<'a> NewServer<'a> {
    pub fn new(found: &Found, node: &'a Node) -> Self {
        let problem = found.problem_of(node);
        Self { node, name: node.server_name.clone(), problem, tags: None }
    }

    /// For a file with other servers: with a name that no other server has, and with the
    /// tags that all have.
    pub fn beside(found: &Found, beside: &Beside, node: &'a Node) -> Self {
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

    pub fn item(&self) -> Item {
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

    /// The entry of `sessionSource.servers` with the name to verify, where the address
    /// that is dialled is another one.
    pub fn verified_name(&self) -> Option<Item> {
        let verified = self.node.tls_server_name.as_ref()?;
        let (name, verified) = (quoted(&self.name), quoted(verified));
        Some(Item {
            lines: vec![format!("{name}:"), format!("  tlsServerName: {verified}")],
            inline: format!("{name}: {{tlsServerName: {verified}}}"),
        })
    }
}

/// What is written for a tag whose value is not known.
const UNKNOWN: &str = "unknown";

/// `- virtualProxy: "/sales"  # Sales, SAML`.
pub fn virtual_proxy(listed: &ListedVirtualProxy) -> Item {
    let entry = format!("virtualProxy: {}", quoted(listed.prefix.as_str()));
    let line = match comment(&listed.description) {
        description if description.is_empty() => format!("- {entry}"),
        description => format!("- {entry}  # {description}"),
    };
    Item { lines: vec![line], inline: format!("{{{entry}}}") }
}

/// A text in double quotes: JSON's, with those characters escaped that YAML does not
/// allow as they are.
pub fn quoted(text: &str) -> String {
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

/// A text for a comment: on one line.
pub fn comment(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}
