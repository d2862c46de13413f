//! What was found, as a configuration that works as it is. Where somebody has to
//! decide, a comment says so.

use std::{
    io::{self, Write},
    path::Path,
};

use super::found::Found;
use crate::{discovery::Node, repository::ListedVirtualProxy};

/// Writes a whole configuration.
pub fn write(out: &mut impl Write, found: &Found) -> io::Result<()> {
    write_head(out, found)?;
    writeln!(out, "  serversToMonitor:\n    rejectUnauthorized: true\n    servers:")?;
    for node in &found.nodes {
        if !node.listed.virtual_proxies.is_empty() {
            write!(out, "{}", server(node, found.problem_of(node).as_deref(), "      "))?;
        }
    }
    write_session_source(out, found)?;
    write_notes(out, found)
}

fn write_head(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let files = &found.certificates;
    writeln!(
        out,
        "# {}, as the repository service {} lists them.",
        found.totals(),
        comment(&found.repository)
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

/// One item of `servers`.
pub fn server(node: &Node, problem: Option<&str>, indent: &str) -> String {
    let host = &node.listed.host_name;
    let proxy = match &node.address {
        Ok(address) => address.configured.clone(),
        Err(_) => format!("{host}:{}", node.listed.rest_port),
    };
    let engine = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let mut text = String::new();
    if let Some(problem) = problem {
        text.push_str(&format!("{indent}# EDIT userSessions.host: {}.\n", comment(problem)));
    }
    text.push_str(&format!("{indent}- host: {}\n", quoted(&format!("{engine}:4747"))));
    text.push_str(&format!("{indent}  serverName: {}\n", quoted(&node.server_name)));
    text.push_str(&format!("{indent}  serverDescription: {}\n", quoted(&node.description())));
    text.push_str(&format!("{indent}  userSessions:\n{indent}    enable: true\n"));
    text.push_str(&format!("{indent}    host: {}\n", quoted(&proxy)));
    text.push_str(&format!("{indent}    virtualProxies:\n"));
    for one in &node.listed.virtual_proxies {
        text.push_str(&format!("{indent}      - {}\n", virtual_proxy(one)));
    }
    text
}

/// `virtualProxy: "/sales"  # Sales, SAML`.
pub fn virtual_proxy(listed: &ListedVirtualProxy) -> String {
    let item = format!("virtualProxy: {}", quoted(listed.prefix.as_str()));
    match comment(&listed.description) {
        description if description.is_empty() => item,
        description => format!("{item}  # {description}"),
    }
}

/// The names to verify, where other ones are dialled.
fn write_session_source(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let mut nodes = found
        .nodes
        .iter()
        .filter(|node| !node.listed.virtual_proxies.is_empty())
        .filter_map(|node| node.tls_server_name.as_ref().map(|name| (&node.server_name, name)))
        .peekable();
    if nodes.peek().is_some() {
        writeln!(out, "  sessionSource:\n    servers:")?;
    }
    for (server_name, tls_server_name) in nodes {
        writeln!(out, "      {}:", quoted(server_name))?;
        writeln!(out, "        tlsServerName: {}", quoted(tls_server_name))?;
    }
    Ok(())
}

fn write_notes(out: &mut impl Write, found: &Found) -> io::Result<()> {
    for node in &found.nodes {
        if node.listed.virtual_proxies.is_empty() {
            writeln!(
                out,
                "# Left out: no virtual proxy is linked to the proxy of {}.",
                comment(&node.server_name)
            )?;
        }
    }
    if !found.unlinked.is_empty() {
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
