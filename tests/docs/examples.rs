//! Configurations, events and agents' files that the documentation shows.

use std::{fs, process::Command};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::{
    installed,
    markdown::{CodeBlock, Document, documents, root},
    support::{Finished, assert_valid, program},
};

/// The agents' files, each checked by its agent, where that is installed.
pub fn trials(documents: &[Document]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for document in documents {
        for block in yaml(document) {
            let is_of = |key: &str| block.lines.iter().any(|line| line.starts_with(key));
            let agent = match () {
                () if is_of("pipeline:") => "fluent-bit",
                () if is_of("sinks:") => "vector",
                () => continue,
            };
            let name = format!("{}:{} is valid for {agent}", document.name(), block.line);
            let text = block.text();
            let missing = installed::missing(agent);
            trials.push(installed::trial(name, missing, move || check(agent, &text)));
        }
    }
    trials
}

fn check(agent: &str, text: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("example.yaml");
    fs::write(&path, text).expect("the file is written");
    let mut command = Command::new(agent);
    match agent {
        "vector" => command
            .args(["validate", "--no-environment", "--deny-warnings"])
            .arg(root().join("vector/qlik-sessions.yaml"))
            .arg(path),
        _ => command.args(["--dry-run", "-c"]).arg(path),
    };
    let output = command.output().expect("the agent runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !printed.contains("[error]"), "{printed}");
}

/// Configurations of the program agree with the schema that it prints.
pub fn every_configuration_is_valid() {
    let schema: Value = serde_json::from_str(&printed(&["schema", "config"])).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let mut count = 0;
    for document in &documents() {
        for block in yaml(document).filter(|block| block.lines[0] == "Butler-SOS:") {
            count += 1;
            let place = format!("{}:{}", document.name(), block.line);
            let config: Value = serde_yaml::from_str(&block.text())
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            let errors: Vec<String> =
                validator.iter_errors(&config).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{place}: {errors:?}");
        }
    }
    assert!(count > 3, "only {count} configurations were found");
}

/// Events agree with the schema that the program prints.
pub fn every_event_is_valid() {
    let mut events: Vec<Value> = Vec::new();
    for document in &documents() {
        let blocks = document.blocks.iter().filter(|block| block.language == "json");
        for line in blocks.flat_map(|block| &block.lines) {
            let event = serde_json::from_str(line);
            events.push(event.unwrap_or_else(|error| panic!("{}: {error}", document.name())));
        }
    }
    assert!(events.len() > 2, "only {} events were found", events.len());
    assert_valid(&events);
}

fn yaml(document: &Document) -> impl Iterator<Item = &CodeBlock> {
    document.blocks.iter().filter(|block| block.language == "yaml" && !block.lines.is_empty())
}

fn printed(arguments: &[&str]) -> String {
    let mut command = program();
    command.args(arguments);
    let run = Finished::of(command);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}
