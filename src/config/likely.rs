//! Settings that are valid but probably a mistake: a warning, and nothing else.

use std::collections::HashSet;

use super::reader::{Node, Problem, Problems, Severity, Step, suggestion};
use crate::target::{DEFAULT_PROXY_PORT, ProxyAddress};

/// Ports on which other services of a Qlik Sense server listen.
pub fn warn_of_port(node: &Node<'_>, proxy: &ProxyAddress) {
    let whose = match proxy.port {
        4747 => "the engine's port",
        4242 => "the repository's port",
        443 => "the port for users",
        _ => return,
    };
    node.warn(format!("{} is {whose}; the session API listens on 4243", proxy.port));
}

/// The same for a repository service.
pub fn warn_of_repository_port(node: &Node<'_>, host: &ProxyAddress) {
    if host.port == DEFAULT_PROXY_PORT {
        node.warn("4243 is the port of the session API; the repository service listens on 4242");
    }
}

/// Warns of an address, such as that of the hub, in place of a prefix.
pub fn warn_of_prefix(node: &Node<'_>, prefix: &str) {
    const EXPECTED: &str = "expected the prefix of a virtual proxy only, such as / or /sales";
    let lower = prefix.trim_end_matches('/').to_lowercase();
    let slashed = format!("/{}", lower.trim_start_matches('/'));
    if lower.contains("://") {
        node.warn(format!("is an address; {EXPECTED}"));
    } else if slashed == "/qps" || slashed.starts_with("/qps/") {
        node.warn(format!("begins with /qps, which is added before it; {EXPECTED}"));
    } else if let Some(end) =
        ["/hub", "/qmc", "/session"].iter().find(|end| slashed.ends_with(*end))
    {
        node.warn(format!("ends in {end}, which is no virtual proxy; {EXPECTED}"));
    }
}

/// Butler SOS does not start where a server's tags are others than those defined.
pub fn warn_of_tags(server: &Node<'_>, definition: &[String]) {
    let node = server.key("serverTags");
    let tags: Vec<(&str, Node<'_>)> = node.entries().collect();
    if definition.is_empty() || tags.is_empty() {
        return;
    }
    let names: Vec<&str> = definition.iter().map(String::as_str).collect();
    let defined: HashSet<&str> = names.iter().copied().collect();
    let given: HashSet<&str> = tags.iter().map(|(name, _)| *name).collect();
    for (name, tag) in tags {
        if !defined.contains(name) {
            let hint = suggestion(name, &names);
            tag.warn(format!("is not in serverTagsDefinition{hint}"));
        }
    }
    for name in names {
        if !given.contains(name) {
            node.warn(format!("the tag `{name}` of serverTagsDefinition is missing"));
        }
    }
}

/// Why no server of a file is polled although extraction is switched on.
pub fn cause_of_no_target(butler: &Node<'_>) -> Problem {
    let list = butler.key("serversToMonitor").key("servers");
    let servers: Vec<Node<'_>> = list.items().filter(|server| !server.is_absent()).collect();
    let with_sessions = servers.iter().find(|server| server.key("userSessions").is_section());
    let (place, cause) = match (&*servers, with_sessions) {
        ([], _) => (list, no_servers(butler)),
        (_, Some(server)) => (
            server.key("userSessions").key("enable"),
            match servers.len() {
                1 => "is not true".to_owned(),
                count => format!("is not true, nor is it for any other of the {count} servers"),
            },
        ),
        ([..], None) => (
            list,
            "none of the servers has a section `userSessions` with `enable: true`, `host` and \
             `virtualProxies`"
                .to_owned(),
        ),
    };
    place.problem(
        Severity::Error,
        format!("{cause}; so there is nothing to poll, although enableSessionExtract is true"),
    )
}

/// Where else the servers may stand.
fn no_servers(butler: &Node<'_>) -> String {
    const MISPLACED: &[(&str, &str)] = &[
        ("", "servers"),
        ("", "server"),
        ("serversToMonitor", "server"),
        ("userSessions", "servers"),
        ("userSessions", "server"),
    ];
    let found = MISPLACED.iter().find(|(section, key)| {
        let section = if section.is_empty() { butler.clone() } else { butler.key(section) };
        !section.key(key).is_absent()
    });
    match found {
        Some(("", key)) => {
            format!("is empty; the servers stand in `Butler-SOS.{key}` and belong here")
        }
        Some((section, key)) => {
            format!("is empty; the servers stand in `Butler-SOS.{section}.{key}` and belong here")
        }
        None => "is empty; expected a list of servers, each with its `host` and `userSessions`"
            .to_owned(),
    }
}

/// `clientCertPassphrase: abc #def` is `abc` and a comment.
pub fn warn_of_cut_passphrases(text: &str, problems: &Problems) {
    const KEY: &str = "clientCertPassphrase";
    for (before, line) in text.lines().enumerate() {
        let Some(value) =
            line.trim_start().strip_prefix(KEY).and_then(|rest| rest.strip_prefix(':'))
        else {
            continue;
        };
        let is_quoted = value.trim_start().starts_with(['\'', '"']);
        let is_cut = value.split_once(" #").is_some_and(|(_, comment)| {
            comment.starts_with(|c: char| !c.is_whitespace() && c != '#')
        });
        if is_cut && !is_quoted {
            problems.add(Problem {
                severity: Severity::Warning,
                path: vec![Step::Key(KEY.to_owned())],
                line: Some(before + 1),
                message: "everything after # is taken for a comment; if it belongs to the \
                          passphrase, put all of it in single quotes"
                    .to_owned(),
            });
        }
    }
}
