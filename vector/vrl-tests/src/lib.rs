//! Runs the VRL programs of the shipped configuration without Vector.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use vrl::{
    compiler::{
        CompilationResult, Context, Program, TargetValue, TimeZone, compile, state::RuntimeState,
    },
    diagnostic::Formatter,
    value::{KeyString, Secrets, Value},
};

/// The folder of Vector's files.
pub fn vector() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A line, as the exec source hands it on.
pub fn raw_event(line: &str, stream: &str) -> Value {
    let received: DateTime<Utc> = "2026-11-23T12:00:00Z".parse().expect("a time");
    let entry = |key: &str, value: Value| (KeyString::from(key), value);
    Value::Object(BTreeMap::from([
        entry("message", Value::from(line)),
        entry("stream", Value::from(stream)),
        entry("host", Value::from("poller1")),
        entry("pid", Value::from(7)),
        entry("source_type", Value::from("exec")),
        entry("timestamp", Value::Timestamp(received)),
    ]))
}

/// The events that leave each transform of a configuration.
pub struct Pipeline {
    /// What the exec source hands on.
    raw: Vec<Value>,
    transforms: serde_json::Map<String, Json>,
    /// The transforms that have run.
    pub ran: Vec<String>,
}

impl Pipeline {
    /// The base and one output.
    pub fn new(output: &Path, raw: Vec<Value>) -> Self {
        let mut transforms = transforms(&vector().join("qlik-sessions.yaml"));
        transforms.extend(self::transforms(output));
        Self { raw, transforms, ran: Vec::new() }
    }

    /// The events that leave this transform.
    pub fn events_of(&mut self, id: &str) -> Vec<Value> {
        if id == "qlik_sessions" {
            return self.raw.clone();
        }
        let transform =
            self.transforms.get(id).unwrap_or_else(|| panic!("no transform {id}")).clone();
        let inputs: Vec<Value> = transform["inputs"]
            .as_array()
            .expect("inputs")
            .iter()
            .flat_map(|input| self.events_of(input.as_str().expect("a name")))
            .collect();
        self.ran.push(id.to_owned());
        match transform["type"].as_str() {
            Some("remap") => {
                let program = compiled(id, transform["source"].as_str().expect("a source"));
                inputs.into_iter().flat_map(|event| remap(&program, event)).collect()
            }
            Some("filter") => {
                let program = compiled(id, transform["condition"].as_str().expect("a condition"));
                inputs.into_iter().filter(|event| passes(&program, event)).collect()
            }
            other => panic!("{id} is a {other:?}, and that holds no VRL"),
        }
    }
}

/// The transforms of a file.
pub fn transforms(path: &Path) -> serde_json::Map<String, Json> {
    yaml(path)["transforms"].as_object().cloned().unwrap_or_default()
}

fn compiled(name: &str, source: &str) -> Program {
    match compile(source, &vrl::stdlib::all()) {
        Ok(CompilationResult { program, warnings, .. }) => {
            assert!(warnings.is_empty(), "{name}: {}", Formatter::new(source, warnings));
            program
        }
        Err(diagnostics) => panic!("{name}: {}", Formatter::new(source, diagnostics)),
    }
}

/// Runs a program on one event: its result, and the event as it left it. None
/// where it aborts.
fn run(program: &Program, event: Value) -> Option<(Value, Value)> {
    let mut target = TargetValue {
        value: event,
        metadata: Value::Object(BTreeMap::new()),
        secrets: Secrets::default(),
    };
    let mut state = RuntimeState::default();
    let timezone = TimeZone::default();
    let mut context = Context::new(&mut target, &mut state, &timezone);
    match program.resolve(&mut context) {
        Ok(result) => Some((result, target.value)),
        Err(vrl::compiler::ExpressionError::Abort { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn remap(program: &Program, event: Value) -> Vec<Value> {
    match run(program, event) {
        None => Vec::new(),
        Some((_, Value::Array(events))) => events,
        Some((_, event)) => vec![event],
    }
}

fn passes(program: &Program, event: &Value) -> bool {
    matches!(run(program, event.clone()), Some((Value::Boolean(true), _)))
}

fn yaml(path: &Path) -> Json {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
