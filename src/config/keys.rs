//! Which key belongs where: ours and Butler SOS's, in every section that is read.
//!
//! A key in the wrong place is ignored, and nobody notices. Where it is about
//! privacy or trust, plain names go out although the file forbids it; so that is
//! an error.

use super::reader::{Node, Severity, most_similar};

/// A section and the keys that may stand in it.
#[derive(Debug)]
pub struct Section {
    /// Its name in messages.
    name: &'static str,
    keys: &'static [&'static str],
    /// What to do about a key that is none of these.
    unknown: Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    /// Other sections may stand here, of Butler SOS or of others.
    Ignored,
    Warned,
    Refused,
}

pub static ROOT: Section =
    Section { name: "the top level", keys: &["Butler-SOS"], unknown: Unknown::Warned };
pub static BUTLER_SOS: Section = Section {
    name: "Butler-SOS",
    keys: &["cert", "userSessions", "serversToMonitor", "sessionSource"],
    unknown: Unknown::Ignored,
};
pub static CERT: Section = Section {
    name: "Butler-SOS.cert",
    keys: &["clientCert", "clientCertKey", "clientCertCA", "clientCertPassphrase"],
    unknown: Unknown::Warned,
};
pub static USER_SESSIONS: Section = Section {
    name: "Butler-SOS.userSessions",
    keys: &["enableSessionExtract", "pollingInterval", "excludeUser"],
    unknown: Unknown::Warned,
};
pub static EXCLUDED_USER: Section = Section {
    name: "an item of Butler-SOS.userSessions.excludeUser",
    keys: &["directory", "userId"],
    unknown: Unknown::Warned,
};
pub static SERVERS_TO_MONITOR: Section = Section {
    name: "Butler-SOS.serversToMonitor",
    keys: &["pollingInterval", "rejectUnauthorized", "serverTagsDefinition", "servers"],
    unknown: Unknown::Warned,
};
pub static SERVER: Section = Section {
    name: "an item of Butler-SOS.serversToMonitor.servers",
    keys: &[
        "host",
        "serverName",
        "serverDescription",
        "logDbHost",
        "userSessions",
        "serverTags",
        "headers",
    ],
    unknown: Unknown::Warned,
};
pub static SERVER_SESSIONS: Section = Section {
    name: "a server's userSessions",
    keys: &["enable", "host", "virtualProxies"],
    unknown: Unknown::Warned,
};
pub static VIRTUAL_PROXY: Section = Section {
    name: "an item of virtualProxies",
    keys: &["virtualProxy"],
    unknown: Unknown::Warned,
};
pub static SESSION_SOURCE: Section = Section {
    name: "Butler-SOS.sessionSource",
    // The last stands elsewhere, too; see `PLACES`.
    keys: &[
        "timeout",
        "concurrency",
        "concurrencyPerServer",
        "sessionDetails",
        "lifecycle",
        "site",
        "sessionLimit",
        "keyframeInterval",
        "retellFor",
        "alignPolls",
        "attributes",
        "excludedUsersCount",
        "userIds",
        "pseudonymKeyFile",
        "stateFile",
        "maxBodyBytes",
        "maxLineBytes",
        "discovery",
        "servers",
    ],
    unknown: Unknown::Refused,
};
pub static DISCOVERY: Section = Section {
    name: "Butler-SOS.sessionSource.discovery",
    keys: &["host", "interval", "user", "exclude", "addresses", "tags"],
    unknown: Unknown::Refused,
};
pub static DIFFERING_SERVER: Section = Section {
    name: "Butler-SOS.sessionSource.servers.<serverName>",
    keys: &["tlsServerName", "rejectUnauthorized", "virtualProxies", "cert"],
    unknown: Unknown::Refused,
};
pub static DIFFERING_CERT: Section = Section {
    name: "Butler-SOS.sessionSource.servers.<serverName>.cert",
    keys: CERT.keys,
    unknown: Unknown::Refused,
};

/// Keys that decide who is named and which servers are trusted.
const PRIVATE: &[&str] =
    &["userIds", "excludeUser", "attributes", "pseudonymKeyFile", "rejectUnauthorized"];
/// Sections that hold such keys: misspelt, they would be ignored with all of them.
const WITH_PRIVATE: &[&str] = &["sessionSource"];

/// Where a key belongs. Names that mean different things in different sections
/// (`host`, `servers`, `enable`) have no place of their own.
static PLACES: &[(&Section, &[&str])] = &[
    (&SESSION_SOURCE, SESSION_SOURCE.keys.split_at(SESSION_SOURCE.keys.len() - 1).0),
    (&DISCOVERY, &["addresses"]),
    (&DIFFERING_SERVER, &["tlsServerName"]),
    (&BUTLER_SOS, &["sessionSource", "serversToMonitor"]),
    (&USER_SESSIONS, &["enableSessionExtract", "excludeUser"]),
    (&SERVERS_TO_MONITOR, &["rejectUnauthorized", "serverTagsDefinition", "servers"]),
    (&SERVER, &["serverName", "serverDescription", "serverTags"]),
    (&SERVER_SESSIONS, &["virtualProxies"]),
    (&CERT, &["clientCert", "clientCertKey", "clientCertCA", "clientCertPassphrase"]),
];

/// Most keys of a section; real ones have less than a tenth of that.
const MOST_KEYS: usize = 1_000;

/// How alike two names must be, from 0 to 1, to be taken for each other.
const ALIKE: f64 = 0.93;
/// The same where only a few names are possible.
const ALIKE_AMONG_FEW: f64 = 0.7;

impl Section {
    /// Reports the keys that do not belong here.
    pub fn check(&self, node: &Node<'_>) {
        self.check_but(node, &[]);
    }

    /// The same, but without keys that are reported already.
    pub fn check_but(&self, node: &Node<'_>, reported: &[&str]) {
        if node.key_count() > MOST_KEYS {
            node.error(format!(
                "has more than {MOST_KEYS} keys; is this a configuration of Butler SOS?"
            ));
            return;
        }
        for (key, node) in node.entries() {
            if !self.keys.contains(&key) && !reported.contains(&key) {
                self.complain(key, &node);
            }
        }
    }

    /// Refuses keys that are nearly one of these, where nothing works without it;
    /// returns whether there were any.
    pub fn refuse_misspelt(&self, node: &Node<'_>) -> bool {
        let mut found = false;
        for (key, node) in node.entries().take(MOST_KEYS) {
            if let Some(name) = most_similar(key, self.keys, ALIKE_AMONG_FEW) {
                node.error(format!("is not a known key; did you mean `{name}`?"));
                found = true;
            }
        }
        found
    }

    fn complain(&self, key: &str, node: &Node<'_>) {
        let here = most_similar(key, self.keys, ALIKE);
        let elsewhere = PLACES
            .iter()
            .filter(|(section, _)| !std::ptr::eq(*section, self))
            .find_map(|(section, keys)| most_similar(key, keys, ALIKE).map(|name| (*section, name)))
            .filter(|(_, name)| !self.keys.contains(name));
        let (name, message) = match (here, elsewhere) {
            (Some(name), _) if self.unknown == Unknown::Ignored => {
                (name, format!("is ignored; did you mean `{name}`?"))
            }
            (Some(name), _) => (name, format!("is not a known key; did you mean `{name}`?")),
            (None, Some((section, name))) => {
                (name, format!("has no meaning here; `{name}` belongs in {}", section.name))
            }
            (None, None) if self.unknown == Unknown::Ignored => return,
            (None, None) => match most_similar(key, self.keys, ALIKE_AMONG_FEW) {
                Some(name) => (name, format!("is not a known key; did you mean `{name}`?")),
                None => ("", format!("is not a known key of {}", self.name)),
            },
        };
        node.report(self.severity(name, elsewhere, here.is_some()), message);
    }

    fn severity(
        &self,
        name: &str,
        elsewhere: Option<(&Section, &str)>,
        is_misspelt: bool,
    ) -> Severity {
        let is_ours = elsewhere.is_some_and(|(section, _)| {
            [&SESSION_SOURCE, &DIFFERING_SERVER, &DISCOVERY]
                .iter()
                .any(|ours| std::ptr::eq(*ours, section))
        });
        if self.unknown == Unknown::Refused
            || PRIVATE.contains(&name)
            || WITH_PRIVATE.contains(&name)
            || (is_ours && !is_misspelt)
        {
            Severity::Error
        } else {
            Severity::Warning
        }
    }
}
