//! Every VRL program of the shipped configuration, compiled and run on real
//! output of the program, without Vector. Warnings fail, too.
//!
//! The results are compared whole with `expected/`. After a change that is
//! meant, `UPDATE=1 cargo test --locked` writes them anew; read the difference.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;
use vrl::value::Value;
use vrl_tests::{Pipeline, raw_event, transforms, vector};

fn outputs() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(vector().join("outputs"))
        .expect("the outputs are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    paths
}

fn fixture(name: &str) -> String {
    fs::read_to_string(vector().join("tests/fixtures").join(name)).expect("it is there")
}

/// The lines of all kinds, as the exec source hands them on.
fn raw_events() -> Vec<Value> {
    let mut lines: Vec<(String, &str)> = Vec::new();
    lines.extend(fixture("stdout.ndjson").lines().map(|line| (line.to_owned(), "stdout")));
    lines.extend(fixture("grouped.ndjson").lines().take(1).map(|line| (line.to_owned(), "stdout")));
    lines.extend(fixture("stderr.ndjson").lines().map(|line| (line.to_owned(), "stderr")));
    lines.extend(
        ["garbage {", "[1]", "{\"no\":\"event\"}", ""].map(|line| (line.to_owned(), "stdout")),
    );
    lines.extend(["plain words", "{\"level\":7}"].map(|line| (line.to_owned(), "stderr")));
    // What the smallest event of userIds: omit has.
    lines.push((
        r#"{"timestamp":"2026-11-23T23:55:45.000Z","event":"session","event_id":"00000000000000000000000000000001","server_name":"s","server_host":"s","proxy_host":"s:4243","virtual_proxy":"/","session_id":"x","user_directory":"LAB","first_seen":"2026-11-23T23:55:45.000Z"}"#.to_owned(),
        "stdout",
    ));
    // A session that the server gave no id.
    lines.push((
        r#"{"timestamp":"2026-11-23T23:55:45.000Z","event":"session","event_id":"00000000000000000000000000000002","server_name":"s","server_host":"s","proxy_host":"s:4243","virtual_proxy":"/","user_directory":"LAB","user_id":"x","user":"LAB\\x","first_seen":"2026-11-23T23:55:45.000Z","tags":{"host":"own","a.b":"c"}}"#.to_owned(),
        "stdout",
    ));
    // Texts that line protocol would take for more tags, or for the end of one.
    lines.push((
        r#"{"timestamp":"2026-11-23T23:55:45.000Z","event":"session","event_id":"00000000000000000000000000000004","server_name":"s","server_description":"Berlin,floor=2","server_host":"s","proxy_host":"s:4243","virtual_proxy":"/","session_id":"a,user_session_id=b","user_directory":"LAB","user_id":"o'neill, \"mary\"\\","user":"LAB\\o'neill, \"mary\"\\","first_seen":"2026-11-23T23:55:45.000Z","tags":{"path":"C:\\","rule":"a=b, c","user_session_id":"no session"}}"#.to_owned(),
        "stdout",
    ));
    // Its backslash must not pass for an escape of ours.
    lines.push((
        r#"{"timestamp":"2026-11-23T23:55:45.000Z","event":"session","event_id":"00000000000000000000000000000005","server_name":"s","server_description":"First node","server_host":"s","proxy_host":"s:4243","virtual_proxy":"/","session_id":"x","user_directory":"LAB","user_id":"two\\ words","user":"LAB\\two\\ words","first_seen":"2026-11-23T23:55:45.000Z"}"#.to_owned(),
        "stdout",
    ));
    // Two events of one id would be one document in Elasticsearch.
    let mut ids = HashSet::new();
    for (line, _) in &lines {
        if let Ok(event) = serde_json::from_str::<Json>(line)
            && let Some(id) = event["event_id"].as_str()
        {
            assert!(ids.insert(id.to_owned()), "a second event has the id {id}");
        }
    }
    lines.iter().map(|(line, stream)| raw_event(line, stream)).collect()
}

/// When an agent saw an event is another time at each run.
fn without_observed_time(text: &str) -> String {
    let shown = |line: &str| match line.split_once("\"observedTimeUnixNano\": ") {
        Some((indent, _)) => format!("{indent}\"observedTimeUnixNano\": \"now\",\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(shown).collect()
}

fn holds_vrl(transform: &Json) -> bool {
    matches!(transform["type"].as_str(), Some("remap" | "filter"))
}

#[test]
fn every_program_gives_what_is_expected() {
    let mut differing = Vec::new();
    for path in outputs() {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let own = transforms(&path);
        let mut pipeline = Pipeline::new(&path, raw_events());
        let ids =
            own.iter().filter(|(_, transform)| holds_vrl(transform)).map(|(id, _)| id.clone());
        let ids = std::iter::once("qlik_sessions_events".to_owned()).chain(ids);
        for id in ids {
            let result: Vec<Json> = pipeline
                .events_of(&id)
                .into_iter()
                .map(|event| event.try_into().expect("an event is JSON"))
                .collect();
            let result = serde_json::to_string_pretty(&result).expect("JSON") + "\n";
            let result = without_observed_time(&result);
            let file = if id == "qlik_sessions_events" { id } else { format!("{name}.{id}") };
            let expected =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("expected").join(format!("{file}.json"));
            if std::env::var_os("UPDATE").is_some() {
                fs::create_dir_all(expected.parent().expect("a folder")).expect("a folder");
                fs::write(&expected, &result).expect("written");
            }
            if fs::read_to_string(&expected).ok().as_deref() != Some(&result) {
                differing.push(format!("{}:\n{result}", expected.display()));
            }
        }
        assert!(pipeline.ran.contains(&"qlik_sessions_events".to_owned()));
    }
    assert!(differing.is_empty(), "not as expected:\n{}", differing.join("\n"));
}

/// The transforms that groups leave as they came.
const KEEP_GROUPS: [&str; 1] = ["qlik_sessions_kafka_messages"];

/// The transforms that outputs split groups with, and what each output then makes of
/// the sessions.
#[test]
fn a_group_is_what_its_sessions_are_alone() {
    let events = |name: &str| {
        fixture(name).lines().map(|line| raw_event(line, "stdout")).collect::<Vec<_>>()
    };
    let mut split = 0;
    for path in outputs() {
        let mut grouped = Pipeline::new(&path, events("grouped.ndjson"));
        let mut single = Pipeline::new(&path, events("snapshot.ndjson"));
        for (id, transform) in transforms(&path) {
            let splits = id.ends_with("_single");
            if !holds_vrl(&transform) || KEEP_GROUPS.contains(&id.as_str()) {
                continue;
            }
            let (grouped, single) = (sorted(grouped.events_of(&id)), sorted(single.events_of(&id)));
            assert_eq!(grouped, single, "{id}");
            assert!(!splits || grouped.len() == fixture("snapshot.ndjson").lines().count(), "{id}");
            split += usize::from(splits);
        }
    }
    assert!(split >= 5, "{split} outputs split groups");
}

/// Each event as a line, line protocol in its own lines, whose tags have no order.
fn sorted(events: Vec<Value>) -> Vec<String> {
    let shown = |event: Value| -> Vec<String> {
        let event: Json = event.try_into().expect("an event is JSON");
        match event["message"].as_str() {
            Some(points) if event.as_object().is_some_and(|keys| keys.len() == 1) => {
                points.lines().map(with_sorted_tags).collect()
            }
            _ => vec![without_observed_time(&serde_json::to_string_pretty(&event).expect("JSON"))],
        }
    };
    let mut lines: Vec<String> = events.into_iter().flat_map(shown).collect();
    lines.sort();
    lines
}

fn with_sorted_tags(point: &str) -> String {
    // An escaped comma or space is part of a tag.
    let escaped = point.replace("\\,", "\0").replace("\\ ", "\x01");
    let (series, fields) = escaped.split_once(' ').expect("a point has fields");
    let mut tags: Vec<&str> = series.split(',').collect();
    tags[1..].sort_unstable();
    format!("{} {fields}", tags.join(","))
}

/// What no mapping names is kept, but cannot be searched for.
#[test]
fn the_index_template_maps_every_field() {
    let read = |path: PathBuf| -> Json {
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).expect("JSON")
    };
    let template = read(vector().join("outputs/elasticsearch-index-template.json"));
    let mappings = &template["template"]["mappings"];
    // Elasticsearch knows true, false, runtime and strict; false keeps a mapping from growing.
    assert_eq!(mappings["dynamic"], false);
    let documents = read(vector().join("vrl-tests/expected/elasticsearch.qlik_sessions_ecs.json"));
    let mut documents = documents.as_array().expect("a list").clone();
    for document in &mut documents {
        // The sink makes it the _id.
        document.as_object_mut().expect("an object").remove("id");
    }
    assert!(documents.len() > 6);
    let unmapped: Vec<String> = documents
        .iter()
        .flat_map(|document| unmapped(document, &mappings["properties"], ""))
        .collect();
    assert!(unmapped.is_empty(), "{unmapped:#?}");
}

/// They differ only where the two programs do: in a type's name, and in how fields are
/// declared that are the same in a whole stream.
#[test]
fn the_two_index_templates_say_the_same() {
    let read = |name: &str| -> Json {
        let text = fs::read_to_string(vector().join("outputs").join(name)).expect("it is shipped");
        serde_json::from_str(&text).expect("JSON")
    };
    let mut elasticsearch = read("elasticsearch-index-template.json");
    let mut opensearch = read("opensearch-index-template.json");
    let attributes = "/template/mappings/properties/qlik/properties/attributes";
    let data_stream = "/template/mappings/properties/data_stream";
    assert_eq!(elasticsearch.pointer(attributes).expect("attributes")["type"], "flattened");
    assert_eq!(opensearch.pointer(attributes).expect("attributes")["type"], "flat_object");
    for template in [&mut elasticsearch, &mut opensearch] {
        for path in [attributes, data_stream] {
            *template.pointer_mut(path).expect("it is mapped") = Json::Null;
        }
    }
    assert_eq!(elasticsearch, opensearch);
}

/// The paths of a document's fields that these properties do not hold.
fn unmapped(document: &Json, properties: &Json, path: &str) -> Vec<String> {
    let fields = document.as_object().expect("an object");
    let missing = |(name, value): (&String, &Json)| {
        let path = format!("{path}.{name}");
        let Some(property) = properties.get(name) else { return vec![path] };
        match (property["type"].as_str(), value.is_object()) {
            (None, true) => unmapped(value, &property["properties"], &path),
            (Some("flattened" | "object"), true) | (Some(_), false) => Vec::new(),
            _ => vec![path],
        }
    };
    fields.iter().flat_map(missing).collect()
}
