//! The keys of every event, in the order in which they are written. This file
//! and `schema/events.json` say the same; a test compares them.

use std::{collections::BTreeMap, fmt};

use jiff::{
    Timestamp,
    fmt::{StdFmtWrite, temporal::DateTimePrinter},
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::id::EventId;
use crate::{snapshot::Attributes, target::TargetKeys};

/// What every line begins with, and the keys of its kind.
#[derive(Serialize)]
pub struct Event<'a, K> {
    /// A [`Time`], written once for all events of a poll.
    pub timestamp: &'a str,
    pub event: &'static str,
    pub event_id: EventId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<&'a str>,
    #[serde(flatten)]
    pub target: Option<&'a TargetKeys>,
    #[serde(flatten)]
    pub keys: K,
}

/// `session_summary`.
#[derive(Serialize)]
pub struct SessionSummary<'a> {
    pub session_count: usize,
    pub user_count: usize,
    pub excluded_session_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    #[serde(flatten)]
    pub certificates: CertificateDates,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_omitted: Option<usize>,
    #[serde(skip_serializing_if = "is_false")]
    pub keyframe: bool,
}

/// `session`, `session_started` and `session_ended`.
#[derive(Clone, Serialize)]
pub struct SessionKeys<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_directory: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<FullName<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    pub first_seen_at_baseline: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<&'a Attributes>,
}

/// `site_summary`.
#[derive(Serialize)]
pub struct SiteSummary<'a> {
    pub session_count: usize,
    pub user_count: usize,
    pub excluded_session_count: usize,
    pub targets: usize,
    pub targets_failed: usize,
    pub polls_skipped: u64,
    pub duration_ms: u64,
    #[serde(flatten)]
    pub certificates: CertificateDates,
    pub users_at_session_limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_at_limit: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "is_false")]
    pub keyframe: bool,
}

/// `sessions`: many sessions of one target.
#[derive(Serialize)]
pub struct SessionGroup<'a> {
    /// Counted from 1.
    pub part: usize,
    pub parts: usize,
    /// Each is a [`GroupedSession`].
    pub sessions: &'a [Box<RawValue>],
}

/// A session in a group: what its `session` event has of its own.
#[derive(Serialize)]
pub struct GroupedSession<'a> {
    pub event_id: EventId,
    #[serde(flatten)]
    pub keys: SessionKeys<'a>,
}

/// What the events about a repository service are called by.
#[derive(Clone, Debug, Serialize)]
pub struct RepositoryKeys {
    /// Its host as configured, without its port; that of a server with
    /// `virtualProxies: auto` is the server's name.
    pub server_name: String,
    /// Its host without its port.
    pub server_host: String,
    /// Those of its servers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// `target_added` and `target_removed`.
#[derive(Serialize)]
pub struct TargetChange {
    pub reason: Reason,
}

/// Why a target came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The repository service lists it.
    Listed,
    /// Two lists in a row do not have it.
    NotListed,
    /// It was removed from the configuration.
    NotConfigured,
}

/// `discovery_error`.
#[derive(Serialize)]
pub struct DiscoveryError<'a> {
    #[serde(flatten)]
    pub repository: &'a RepositoryKeys,
    #[serde(flatten)]
    pub error: PollError<'a>,
}

/// `poll_error`.
#[derive(Serialize)]
pub struct PollError<'a> {
    pub category: &'static str,
    pub message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    pub consecutive_failures: u64,
}

/// Until when certificates are good.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CertificateDates {
    /// The program's own.
    #[serde(rename = "client_certificate_expires", skip_serializing_if = "Option::is_none")]
    pub client: Option<Time>,
    /// The server's, as it showed it.
    #[serde(rename = "server_certificate_expires", skip_serializing_if = "Option::is_none")]
    pub server: Option<Time>,
}

impl CertificateDates {
    /// The earlier of each.
    #[must_use]
    pub fn earliest(self, other: Self) -> Self {
        let earlier = |a: Option<Time>, b: Option<Time>| a.into_iter().chain(b).min();
        Self {
            client: earlier(self.client, other.client),
            server: earlier(self.server, other.server),
        }
    }
}

/// A time as events write it: RFC 3339, UTC, exactly three fraction digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        PRINTER.print_timestamp(&self.0, StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `DIRECTORY\id`.
#[derive(Clone, Copy, Debug)]
pub struct FullName<'a> {
    pub directory: &'a str,
    pub id: &'a str,
}

impl Serialize for FullName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&[self.directory, "\\", self.id].concat())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    fn time() -> Option<Time> {
        Some(Time(Timestamp::UNIX_EPOCH))
    }

    fn session(attributes: &Attributes) -> SessionKeys<'_> {
        SessionKeys {
            session_id: Some("s1"),
            user_directory: Some("LAB"),
            user_id: Some("goran"),
            user: Some(FullName { directory: "LAB", id: "goran" }),
            first_seen: Some("1970-01-01T00:00:00.000Z"),
            first_seen_at_baseline: true,
            last_seen: None,
            duration_seconds: None,
            attributes: Some(attributes),
        }
    }

    fn event<K: Serialize>(kind: &'static str, target: Option<&TargetKeys>, keys: K) -> Value {
        serde_json::to_value(Event {
            timestamp: &Time(Timestamp::UNIX_EPOCH).to_string(),
            event: kind,
            event_id: EventId::new(kind, None, []),
            site: Some("berlin"),
            target,
            keys,
        })
        .expect("JSON")
    }

    /// Every kind of event with every key that it may have.
    fn full_events() -> Vec<Value> {
        let target = TargetKeys {
            server_description: Some("Central".to_owned()),
            server_host: Some("sense1".to_owned()),
            proxy_host: Some("sense1:4243".to_owned()),
            tags: [("environment".to_owned(), "prod".to_owned())].into(),
            ..TargetKeys::named("sense1", "/sales")
        };
        let repository = RepositoryKeys {
            server_name: "sense1".to_owned(),
            server_host: "sense1".to_owned(),
            tags: target.tags.clone(),
        };
        let target = Some(&target);
        let attributes = [("group".to_owned(), vec!["x".to_owned()])].into();
        let certificates = CertificateDates { client: time(), server: time() };
        let ended = SessionKeys {
            last_seen: time(),
            duration_seconds: Some(1),
            attributes: None,
            ..session(&attributes)
        };
        let event_id = EventId::new("session", None, []);
        let item = GroupedSession { event_id, keys: session(&attributes) };
        let item = to_raw_value(&item).expect("JSON");
        vec![
            event("session", target, session(&attributes)),
            event("session_started", target, session(&attributes)),
            event("session_ended", target, ended),
            event("sessions", target, SessionGroup { part: 1, parts: 1, sessions: &[item] }),
            event(
                "session_summary",
                target,
                SessionSummary {
                    session_count: 1,
                    user_count: 1,
                    excluded_session_count: 0,
                    duration_ms: Some(1),
                    certificates,
                    users: Some(&["LAB\\goran"]),
                    users_omitted: Some(0),
                    keyframe: true,
                },
            ),
            event(
                "site_summary",
                None,
                SiteSummary {
                    session_count: 1,
                    user_count: 1,
                    excluded_session_count: 0,
                    targets: 1,
                    targets_failed: 0,
                    polls_skipped: 0,
                    duration_ms: 1,
                    certificates,
                    users_at_session_limit: 1,
                    users_at_limit: Some(&["LAB\\goran"]),
                    keyframe: true,
                },
            ),
            event("poll_error", target, poll_error()),
            event("target_added", target, TargetChange { reason: Reason::Listed }),
            event("target_removed", target, TargetChange { reason: Reason::NotListed }),
            event(
                "discovery_error",
                None,
                DiscoveryError { repository: &repository, error: poll_error() },
            ),
        ]
    }

    fn poll_error() -> PollError<'static> {
        PollError {
            category: "timeout",
            message: "no answer",
            hint: Some("wait"),
            http_status: Some(500),
            duration_ms: Some(1),
            consecutive_failures: 1,
        }
    }

    /// The keys that a part of the schema names, those of what it refers to included.
    fn schema_keys(schema: &Value, part: &Value) -> BTreeSet<String> {
        let own = part["properties"].as_object().into_iter().flat_map(|keys| keys.keys().cloned());
        let referred = part["allOf"].as_array().into_iter().flatten().flat_map(|part| {
            let path = part["$ref"].as_str().expect("a reference").trim_start_matches('#');
            schema_keys(schema, schema.pointer(path).expect("it leads somewhere"))
        });
        own.chain(referred).collect()
    }

    #[test]
    fn the_schema_names_exactly_the_keys_that_are_written() {
        let schema: Value =
            serde_json::from_str(include_str!("../schema/events.json")).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let common = schema_keys(&schema, &json!({"properties": schema["properties"]}));
        for event in full_events() {
            let kind = event["event"].as_str().expect("a kind");
            if let Err(error) = validator.validate(&event) {
                panic!("{kind}: {error}");
            }
            let written: BTreeSet<String> =
                event.as_object().expect("an object").keys().cloned().collect();
            let mut named = schema_keys(&schema, &schema["$defs"][kind]);
            named.extend(common.iter().cloned());
            // What only `session_ended` lacks of what sessions share.
            if kind == "session_ended" {
                named.remove("attributes");
            }
            assert_eq!(written, named, "{kind}");
        }
    }
}
