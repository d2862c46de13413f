//! A real OpenTelemetry collector, and what it was sent.

use std::{collections::BTreeMap, fs, net::TcpStream, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{
    Test,
    agents::shipped,
    support::{Backend, Fixture, free_port, wait_until, whole_lines},
    tests,
};

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![[] the_shipped_version_is_the_programs];

fn the_shipped_version_is_the_programs() {
    for agent in ["vector", "fluent-bit"] {
        let file = shipped(agent).join("outputs/opentelemetry.yaml");
        let text = fs::read_to_string(file).expect("it is shipped");
        let found = text.matches(env!("CARGO_PKG_VERSION")).count();
        assert_eq!(found, 2, "{agent}: the version of the service and of the scope");
    }
}

/// A running collector that writes each request to a file.
pub struct Collector {
    pub port: u16,
    written: PathBuf,
    _program: Backend,
}

impl Collector {
    pub fn start(fixture: &Fixture) -> Self {
        let port = free_port();
        let written = fixture.path("logs.jsonl");
        let config = fixture.path("otelcol.yaml");
        fs::write(
            &config,
            format!(
                "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
                 exporters: {{file: {{path: {}}}}}\n\
                 service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
                 pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}\n",
                written.display()
            ),
        )
        .expect("written");
        let mut command = Command::new("otelcol");
        command.arg("--config").arg(format!("file:{}", config.display()));
        let program = Backend::start(command, &fixture.path("otelcol.log"));
        wait_until("the collector", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, written, _program: program }
    }

    /// The requests that are written so far.
    pub fn requests(&self) -> Vec<Value> {
        whole_lines(&fs::read_to_string(&self.written).unwrap_or_default())
    }

    /// The resource, the scope and the record of each log record.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for request in self.requests() {
            for resource in list(&request, "resourceLogs") {
                for scope in list(&resource, "scopeLogs") {
                    records.extend(list(&scope, "logRecords").into_iter().map(|record| Record {
                        resource: attributes(&resource["resource"]),
                        scope: scope["scope"].clone(),
                        attributes: attributes(&record),
                        record,
                    }));
                }
            }
        }
        records
    }

    /// The ids of the program's events, sorted.
    pub fn ids(&self) -> Vec<String> {
        let id =
            |record: Record| record.attributes.get("log.record.uid")?.as_str().map(str::to_owned);
        let mut ids: Vec<String> = self.records().into_iter().filter_map(id).collect();
        ids.sort();
        ids
    }
}

pub struct Record {
    resource: BTreeMap<String, Value>,
    scope: Value,
    attributes: BTreeMap<String, Value>,
    record: Value,
}

/// Checks the names and places of a session's facts, and of its summary's.
pub fn check_records(collector: &Collector, session_id: &str) {
    let records = collector.records();
    let session = records
        .iter()
        .find(|record| {
            record.attributes.get("session.id").is_some_and(|id| id == session_id)
                && record.attributes["event.name"] == "qlik.session"
        })
        .expect("the session has a record");
    assert_eq!(session.resource["service.name"], "qlik-sessions");
    assert_eq!(session.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert!(session.resource["host.name"].as_str().is_some_and(|name| !name.is_empty()));
    assert_eq!(session.scope["name"], "qlik-sessions");
    assert_eq!(session.scope["version"], env!("CARGO_PKG_VERSION"));
    let user = session_id.replace('s', "u");
    assert_eq!(session.attributes["user.name"], user.as_str());
    assert_eq!(session.attributes["user.id"], format!("LAB\\{user}"));
    assert_eq!(session.attributes["qlik.user_directory"], "LAB");
    assert_eq!(session.attributes["qlik.virtual_proxy"], "/");
    assert_eq!(session.attributes["qlik.tags.environment"], "demo");
    assert_eq!(session.attributes["server.address"], "sense1.example.com");
    assert_eq!(session.record["body"]["stringValue"], "session");
    assert_eq!(session.record["severityNumber"], 9);
    let namespaced = |name: &String| name.contains('.');
    for record in &records {
        assert!(record.attributes.keys().all(namespaced), "{:?}", record.attributes);
        assert!(!record.attributes.contains_key("qlik.event"), "it repeats event.name");
        assert!(nanoseconds(record, "observedTimeUnixNano") >= nanoseconds(record, "timeUnixNano"));
    }
    let summary =
        records.iter().find(|record| record.attributes["event.name"] == "qlik.session_summary");
    let summary = &summary.expect("a summary").attributes;
    assert!(summary["qlik.users"].as_array().is_some_and(|users| users.len() > 1), "{summary:?}");
    assert!(summary["qlik.session_count"].as_str().is_some_and(|count| count != "0"));
}

fn nanoseconds(record: &Record, key: &str) -> u64 {
    let text = record.record[key].as_str().expect("a time");
    text.parse().expect("a number")
}

fn list(of: &Value, key: &str) -> Vec<Value> {
    of[key].as_array().cloned().unwrap_or_default()
}

/// Attributes by name; a list as an array of its items.
fn attributes(of: &Value) -> BTreeMap<String, Value> {
    let value = |value: &Value| match value.as_object().and_then(|object| object.values().next()) {
        Some(list) if list.is_object() => list["values"].clone(),
        Some(single) => single.clone(),
        None => Value::Null,
    };
    list(of, "attributes")
        .iter()
        .map(|attribute| {
            (attribute["key"].as_str().expect("a key").to_owned(), value(&attribute["value"]))
        })
        .collect()
}
