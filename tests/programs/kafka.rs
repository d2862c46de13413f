//! A real Kafka, killed while agents send to it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Test,
    agents::Agent,
    servers::Kafka,
    support::{Fixture, sessions, wait_until},
    tests,
};

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![
    ["vector", "kafka-server"] kafka_gets_every_event_of_vector_once,
    ["fluent-bit", "kafka-server"] kafka_gets_every_event_of_fluent_bit_once,
];

const TOPIC: &str = "qlik-sessions";
const SESSIONS: usize = 50;

fn fixture() -> Fixture {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    stateFile: state.json");
    let mut people = sessions(SESSIONS);
    people[0].user_id = "åsa".to_owned();
    fixture.site.set_sessions("sense1", "/", &people);
    fixture
}

fn kafka_gets_every_event_of_vector_once() {
    let fixture = fixture();
    let mut kafka = Kafka::start();
    let brokers = format!("127.0.0.1:{}", kafka.port);
    let edits = [("localhost:9092", &*brokers)];
    let mut vector = Agent::vector(&fixture, None, &["kafka", "file"], &edits);
    vector.wait_for("a poll", |vector| vector.polls() >= 1);
    kafka.server.kill();
    let polls = vector.polls();
    vector.wait_for("polls without a broker", |vector| vector.polls() >= polls + 3);
    kafka.server.restart();
    let polls = vector.polls();
    vector.wait_for("polls with a broker", |vector| vector.polls() >= polls + 2);
    vector.stop();
    let due = by_id(&vector.file_events());
    check_messages(&kafka, &due);
}

fn kafka_gets_every_event_of_fluent_bit_once() {
    let fixture = fixture();
    let mut kafka = Kafka::start();
    let brokers = format!("127.0.0.1:{}", kafka.port);
    let edits = [("localhost:9092", &*brokers)];
    let mut agent = Agent::fluent_bit(&fixture, &["kafka", "file"], &edits);
    wait_until("a poll", || (agent.polls() >= 1).then_some(()));
    kafka.server.kill();
    let polls = agent.polls();
    wait_until("polls without a broker", || (agent.polls() >= polls + 3).then_some(()));
    let due = by_id(&agent.file_events());
    kafka.server.restart();
    let polls = agent.polls();
    wait_until("polls with a broker", || (agent.polls() >= polls + 3).then_some(()));
    agent.stop();
    let messages = kafka.messages(TOPIC).expect("the topic");
    let arrived = by_id_once(&messages);
    assert_eq!(arrived.len(), messages.len(), "none twice");
    let missing: Vec<_> = due.keys().filter(|id| !arrived.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} of {} missing", missing.len(), due.len());
    check_keys(&messages, &by_id(&agent.file_events()));
}

/// The events that have an id, which the agent's own log has not.
fn by_id(events: &[Value]) -> BTreeMap<String, Value> {
    let of = |event: &Value| Some((event["event_id"].as_str()?.to_owned(), event.clone()));
    events.iter().filter_map(of).collect()
}

fn by_id_once(messages: &[(String, Value)]) -> BTreeMap<String, Value> {
    let events: Vec<Value> = messages.iter().map(|(_, event)| event.clone()).collect();
    by_id(&events)
}

fn check_messages(kafka: &Kafka, due: &BTreeMap<String, Value>) {
    let mut messages = kafka.messages(TOPIC).expect("the topic");
    messages.retain(|(_, event)| event["event"] != "log");
    assert_eq!(messages.len(), due.len(), "each once");
    assert_eq!(&by_id_once(&messages), due);
    check_keys(&messages, due);
}

/// Each event is the program's, with its server as the key.
fn check_keys(messages: &[(String, Value)], due: &BTreeMap<String, Value>) {
    for (key, event) in messages {
        let id = event["event_id"].as_str().expect("an id");
        let server = event["server_name"].as_str().unwrap_or("site");
        assert_eq!(key, server, "{event}");
        if let Some(due) = due.get(id) {
            assert_eq!(event["user"], due["user"]);
            assert_eq!(event["timestamp"], due["timestamp"]);
        }
    }
}
