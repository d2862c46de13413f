//! Vector, Fluent Bit and the program are killed at random while sessions come
//! and go. After that the starts and ends in a file and in Elasticsearch have to
//! be exactly what happened.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Test,
    agents::Agent,
    capture::Capture,
    site::{NODE, PREFIXES, Random, Sessions, Visitors},
    stored::{Stored, lines_of, rebuild},
    support::{Fixture, wait_until},
};

pub const TESTS: &[Test] = &[
    Test { name: "vector_and_the_program_killed", needs: &["vector"], run: vector },
    Test { name: "fluent_bit_and_the_program_killed", needs: &["fluent-bit"], run: fluent_bit },
];

const KILLS: usize = 60;
const CHANGES: &str =
    "    sessionDetails: changes\n    keyframeInterval: 10000\n    stateFile: state.json";

fn vector() {
    let fixture = Fixture::new(&[(NODE, &PREFIXES)], CHANGES);
    let capture = Capture::start();
    let to = format!("http://{}", capture.address);
    let edits = [("http://localhost:9200", &*to)];
    let start = || Agent::vector(&fixture, None, &["file", "elasticsearch"], &edits);
    let (agent, truth) = kill_again_and_again(&fixture, start);
    let documents = capture.json_lines("/_bulk");
    let events = documents.chunks(2).map(|pair| event_of_ecs(&pair[1])).collect();
    check("Vector", &agent, events, &truth);
}

fn fluent_bit() {
    let fixture = Fixture::new(&[(NODE, &PREFIXES)], &format!("{CHANGES}\n    retellFor: 60000"));
    let capture = Capture::start();
    let port = format!("port: {}", capture.address.port());
    let edits = [("host: localhost", "host: 127.0.0.1"), ("port: 9200", &*port)];
    let start = || Agent::fluent_bit(&fixture, &["file", "elasticsearch"], &edits);
    let (agent, truth) = kill_again_and_again(&fixture, start);
    let documents = capture.json_lines("/_bulk");
    // The event's id is the document's, and is in the first line of the two.
    let event = |pair: &[Value]| {
        let mut event = pair[1].clone();
        event["event_id"] = pair[0]["index"]["_id"].clone();
        event
    };
    check("Fluent Bit", &agent, documents.chunks(2).map(event).collect(), &truth);
}

/// Kills the program, the agent, and both by turns. Returns who is on at the end.
fn kill_again_and_again(fixture: &Fixture, start: impl Fn() -> Agent) -> (Agent, Sessions) {
    let mut random = Random::new();
    let mut visitors = Visitors::default();
    visitors.change(&mut random, fixture);
    let mut agent = start();
    agent.wait_for("a first poll", |agent| polls_after(agent, "") > 0);
    for kill in 0..KILLS {
        let until = Instant::now() + random.milliseconds(200, 5_000);
        while Instant::now() < until {
            visitors.change(&mut random, fixture);
            thread::sleep(random.milliseconds(20, 400));
        }
        if kill % 3 < 2 {
            kill_program(&agent, &mut random);
        }
        if kill % 3 > 0 {
            agent.kill();
            agent.restart();
        }
    }
    let last_change = format!("{:.3}", Timestamp::now());
    agent.wait_for("polls after the last change", |agent| polls_after(agent, &last_change) >= 3);
    agent.stop();
    (agent, visitors.on)
}

/// The whole polls in the file that came later than this.
fn polls_after(agent: &Agent, time: &str) -> usize {
    let stored = Stored::new(lines_of(&agent.file_text()).0);
    stored.whole_polls().range(time..).count()
}

/// `once` is there for a moment only: it is waited for, and killed somewhere in it.
fn kill_program(agent: &Agent, random: &mut Random) {
    wait_until("the program", || {
        (0..20)
            .any(|_| {
                thread::sleep(Duration::from_millis(5));
                agent.signal_children("0")
            })
            .then_some(())
    });
    thread::sleep(random.milliseconds(0, 100));
    agent.signal_children("KILL");
}

fn check(agent_name: &str, agent: &Agent, documents: Vec<Value>, truth: &Sessions) {
    let (lines, cut) = lines_of(&agent.file_text());
    for (backend, arrived) in [("file", lines), ("Elasticsearch", documents)] {
        let stored = Stored::new(arrived);
        let compared = rebuild(&stored, truth);
        eprintln!(
            "{agent_name}, {KILLS} kills, {backend}: {} events, {} dropped as repeated, {} whole polls; \
             right: {} keyframes, {} summaries, {} starts and ends{}",
            stored.events.len(),
            stored.repeated,
            stored.whole_polls().len(),
            compared.keyframes,
            compared.summaries,
            compared.starts_and_ends,
            if backend == "file" { format!("; {cut} lines cut") } else { String::new() },
        );
        assert!(compared.keyframes > 10 && stored.repeated > 0);
    }
}

/// A document in the Elastic Common Schema as the event that it was.
fn event_of_ecs(document: &Value) -> Value {
    let mut event = document["qlik"].clone();
    if !event.is_object() {
        event = json!({});
    }
    event["event"] = document["event"]["action"].clone();
    event["event_id"] = document["event"]["id"].clone();
    event["timestamp"] = document["@timestamp"].clone();
    event
}
