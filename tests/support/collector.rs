//! A real OpenTelemetry collector, and what it was sent.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    servers::{Server, listens},
    support::{free_port, whole_lines},
};

/// A collector that writes each request to a file.
pub struct Collector {
    pub port: u16,
    pub server: Server,
}

impl Collector {
    pub fn start() -> Self {
        let port = free_port();
        let command = |folder: &Path| {
            let config = folder.join("otelcol.yaml");
            let text = format!(
                "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
                 exporters: {{file: {{path: {}, append: true, flush_interval: 10ms}}}}\n\
                 service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
                 pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}\n",
                folder.join("logs.jsonl").display()
            );
            fs::write(&config, text).expect("written");
            let mut command = Command::new("otelcol");
            command.arg("--config").arg(format!("file:{}", config.display()));
            command
        };
        Self { server: Server::start(command, move || listens(port)), port }
    }

    /// The requests that are written so far.
    pub fn requests(&self) -> Vec<Value> {
        whole_lines(&fs::read_to_string(self.server.path("logs.jsonl")).unwrap_or_default())
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
