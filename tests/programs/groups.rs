//! Groups of sessions, split by real agents where an output wants an event for each.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    Test,
    agents::Agent,
    capture::Capture,
    support::{Fixture, free_port, of_kind, sessions, texts, wait_until},
    tests,
};

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![
    ["vector"] vector_splits_groups_behind_an_aggregator,
    ["fluent-bit"] fluent_bit_splits_groups,
];

const SESSIONS: usize = 620;

fn fixture() -> Fixture {
    let options = "    stateFile: state.json\n    sessionDetails: grouped\n    attributes: true\n    site: west";
    let fixture = Fixture::new(&[("sense1", &["/"])], options);
    fixture.site.set_sessions("sense1", "/", &sessions(SESSIONS));
    fixture
}

/// What `snapshot` would have written in place of these groups.
pub fn split(events: &[Value]) -> Vec<Value> {
    let groups = of_kind(events, "sessions");
    assert!(groups.len() >= 2 * 2, "two groups in each of two polls");
    let mut single = Vec::new();
    for group in groups {
        for session in group["sessions"].as_array().expect("a list") {
            let mut event = group.clone();
            let keys = event.as_object_mut().expect("an object");
            for key in ["sessions", "part", "parts"] {
                keys.remove(key);
            }
            keys.insert("event".to_owned(), "session".into());
            keys.extend(session.as_object().expect("an object").clone());
            single.push(event);
        }
    }
    single
}

fn vector_splits_groups_behind_an_aggregator() {
    let fixture = fixture();
    let capture = Capture::start();
    let port = free_port();
    let here = format!("127.0.0.1:{port}");
    let [elastic, loki, influx] =
        ["/elastic", "", ""].map(|path| format!("http://{}{path}", capture.address));
    let edits = [
        ("0.0.0.0:6000", &*here),
        ("localhost:6000", &here),
        ("http://localhost:9200", &elastic),
        ("endpoint: http://localhost:3100", &*format!("endpoint: {loki}\n    compression: none")),
        ("http://localhost:8086", &influx),
    ];
    let outputs = ["elasticsearch-index", "loki", "influxdb-v1"];
    let mut aggregator = Agent::vector_with("aggregator.yaml", &fixture, None, &outputs, &edits);
    let mut edge = Agent::vector(&fixture, None, &["vector", "file"], &edits);
    edge.wait_for("two polls", |vector| vector.polls() >= 2);
    edge.stop();
    let due = split(&edge.file_events());
    let due: Vec<&Value> = due.iter().collect();
    let ids = texts(&due, "event_id");

    let documents = wait_until("every document", || {
        let lines = capture.json_lines("/elastic");
        let documents = lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        let documents: Vec<_> =
            documents.filter(|(_, document)| document["event"]["action"] == "session").collect();
        (documents.len() >= due.len()).then_some(documents)
    });
    let (actions, documents): (Vec<Value>, Vec<Value>) = documents.into_iter().unzip();
    let actions: Vec<&Value> = actions.iter().map(|action| &action["create"]).collect();
    assert_eq!(texts(&actions, "_id"), ids);
    let of_session: Vec<&Value> = documents.iter().map(|document| &document["qlik"]).collect();
    assert_eq!(texts(&of_session, "session_id"), texts(&due, "session_id"));
    aggregator.wait_for("every line", |_| pushed(&capture).len() >= due.len());
    assert_eq!(pushed(&capture), ids);
    aggregator.wait_for("every point", |_| points(&capture) >= due.len());
    assert_eq!(points(&capture), due.len());
    aggregator.stop();
}

fn fluent_bit_splits_groups() {
    let fixture = fixture();
    let capture = Capture::start();
    let port = capture.address.port();
    let ports =
        [9200, 3100, 8086, 8080].map(|from| (format!("port: {from}"), format!("port: {port}")));
    let mut edits = vec![("host: localhost", "host: 127.0.0.1")];
    edits.extend(ports.iter().map(|(from, to)| (from.as_str(), to.as_str())));
    let outputs = ["file", "elasticsearch", "loki", "influxdb", "http"];
    let mut fluent_bit = Agent::fluent_bit(&fixture, &outputs, &edits);
    wait_until("three polls", || (fluent_bit.polls() >= 3).then_some(()));
    fluent_bit.stop();
    let events = fluent_bit.file_events();
    // The last poll may have ended on its way to the backends.
    let last = of_kind(&events, "site_summary").last().expect("a poll")["timestamp"].clone();
    let mut due = split(&events);
    due.retain(|event| event["timestamp"] != last);

    let lines = capture.json_lines("/_bulk");
    let stored: HashMap<&str, &Value> = lines
        .chunks(2)
        .map(|pair| (pair[0]["index"]["_id"].as_str().expect("an id"), &pair[1]))
        .collect();
    let pushed = pushed(&capture);
    for event in &due {
        let id = event["event_id"].as_str().expect("an id");
        let mut document = stored[id].clone();
        document.as_object_mut().expect("an object").remove("@timestamp");
        assert_eq!(&document, event, "elasticsearch");
        assert!(pushed.binary_search_by(|pushed| pushed.as_str().cmp(id)).is_ok(), "loki");
    }
    assert!(lines.iter().all(|line| line["event"] != "sessions"), "no group is stored whole");
    // What is polled after SIGTERM does not get there; `fluent-bit/README.md` says so.
    assert!(points(&capture) >= 2 * SESSIONS);
    let posted: Vec<Value> = capture
        .json_lines("/qlik-sessions")
        .into_iter()
        .flat_map(|body| body.as_array().cloned().unwrap_or_default())
        .collect();
    assert!(
        of_kind(&posted, "session").is_empty() && !of_kind(&posted, "sessions").is_empty(),
        "http keeps groups"
    );
}

/// The ids of the `session` events that Loki was sent, sorted.
fn pushed(capture: &Capture) -> Vec<String> {
    let mut ids = Vec::new();
    for request in capture.requests("/loki/api/v1/push") {
        let body: Value = serde_json::from_str(&request.body).expect("JSON");
        for stream in body["streams"].as_array().expect("streams") {
            if stream["stream"]["event"] == "session" {
                let values = stream["values"].as_array().expect("values");
                let id = |value: &Value| value[2]["event_id"].as_str().expect("an id").to_owned();
                ids.extend(values.iter().map(id));
            }
        }
    }
    ids.sort();
    ids
}

/// How many sessions InfluxDB was sent.
fn points(capture: &Capture) -> usize {
    let requests = capture.requests("/write");
    let lines = requests.iter().flat_map(|request| request.body.lines());
    lines.filter(|line| line.starts_with("user_session_details,")).count()
}
