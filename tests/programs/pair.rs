//! Two agents poll one site, and one of them begins later: what real Loki and
//! InfluxDB make of their events.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Test,
    agents::{Agent, shipped},
    servers::{InfluxDb, Loki},
    support::{Fixture, free_port, named_sessions, wait_until},
    tests,
};

pub const TESTS: &[Test] = tests![
    ["vector", "loki"] loki_keeps_one_of_two_lines_from_vector,
    ["fluent-bit", "loki"] loki_keeps_one_of_two_lines_from_fluent_bit,
    ["vector", "influxd"] influxdb_keeps_one_of_two_points,
];

const INTERVAL: Duration = Duration::from_secs(2);
const ALL_KINDS: [&str; 5] =
    ["session", "session_summary", "site_summary", "session_started", "session_ended"];
const OPTIONS: &str = "    site: berlin\n    alignPolls: true\n    stateFile: state.json";

/// The part of the shipped files that is for two pollers, in comments.
const PAIR_IN_FLUENT_BIT: (&str, &str) = ("      # remove_keys:", "      remove_keys:");

fn loki_keeps_one_of_two_lines_from_vector() {
    let pair = Pair::new();
    let loki = Loki::start();
    let endpoint = format!("endpoint: http://127.0.0.1:{}", loki.port);
    let address = ("endpoint: http://localhost:3100", endpoint.as_str());
    let with = |pair_edits: &[(&str, &str)], job: &str| {
        let job = format!("job: {job}\n");
        let mut edits = vec![address, ("job: qlik-sessions\n", &*job)];
        edits.extend(pair_edits);
        pair.run(true, |number, config| vector(&pair.fixture, "loki", number, config, &edits))
    };
    let (comment, code) = part_for_pairs();
    let both = with(&[(&comment, &code)], "pair");
    both.assert_both_sent(&ALL_KINDS);
    wait_for_one_line_each(&loki, "pair", &both);
    // As shipped, for one agent, each of them has its own.
    let both = with(&[], "single");
    let lines = wait_until("lines of both", || {
        let lines = recent_lines(&loki, "single");
        (lines.values().sum::<usize>() >= both.sent).then_some(lines)
    });
    assert!(lines.values().any(|count| *count == 2));
    // The query of docs/high-availability.md counts them once all the same.
    let starts = both.count("session_started");
    assert_eq!(different_ids(&loki, "single", "session_started"), Some(starts));
}

/// The part of Vector's file that is for two pollers: as it is, and without signs of comment.
fn part_for_pairs() -> (String, String) {
    let file = fs::read_to_string(shipped("vector").join("outputs/loki.yaml")).expect("shipped");
    let from = file.find("      # if is_string(.event_id) {\n").expect("its first line");
    let end = "\n      # }\n";
    let to = from + file[from..].find(end).expect("its last line") + end.len();
    let comment = file[from..to].to_owned();
    let code = comment.replace("      # ", "      ");
    (comment, code)
}

fn loki_keeps_one_of_two_lines_from_fluent_bit() {
    let pair = Pair::new();
    let loki = Loki::start();
    let port = format!("port: {}", loki.port);
    let edits =
        [("host: localhost", "host: 127.0.0.1"), ("port: 3100", &*port), PAIR_IN_FLUENT_BIT];
    let both = pair.run(false, |_, config| {
        let mut edits = edits.to_vec();
        edits.extend([
            ("/etc/qlik-sessions/config.yaml", config.to_str().expect("UTF-8")),
            ("interval_sec: 30", "interval_sec: 2"),
        ]);
        Agent::fluent_bit(&pair.fixture, &["loki", "file"], &edits)
    });
    both.assert_both_sent(&ALL_KINDS[..3]);
    wait_for_one_line_each(&loki, "qlik-sessions", &both);
}

fn influxdb_keeps_one_of_two_points() {
    let pair = Pair::new();
    let influxdb = InfluxDb::start();
    let address = format!("http://127.0.0.1:{}", influxdb.port);
    let edits = [("http://localhost:8086", &*address)];
    let start =
        |number, config: &Path| vector(&pair.fixture, "influxdb-v1", number, config, &edits);
    let both = pair.run(true, start);
    both.assert_both_sent(&ALL_KINDS);
    for (kind, measurement, field) in [
        ("session_summary", "user_session_summary", "session_count"),
        ("session_summary", "user_session_list", "session_user_id_list"),
        ("session", "user_session_details", "user_id"),
    ] {
        wait_for_count(&influxdb, field, measurement, both.count(kind));
    }
    // A poller that reaches no target hides nothing of what the other saw.
    pair.take_away_the_site_from_the_second();
    let more = pair.run(false, start);
    assert!(more.common.is_empty(), "{:?}", more.common);
    let site_summaries = both.count("site_summary") + more.count("site_summary");
    wait_for_count(&influxdb, "session_count", "qlik_sessions_site", site_summaries);
}

/// Vector that says it runs on another machine.
fn vector(
    fixture: &Fixture,
    output: &str,
    number: usize,
    config: &Path,
    edits: &[(&str, &str)],
) -> Agent {
    let host = format!(".poller_host = \"poller{number}\"");
    let mut edits = edits.to_vec();
    edits.extend([
        ("/etc/qlik-sessions/config.yaml", config.to_str().expect("UTF-8")),
        ("if is_string(poller) { .poller_host = poller }", &*host),
    ]);
    Agent::vector(fixture, None, &[output, "file"], &edits)
}

/// A site, and a folder for each of two pollers.
struct Pair {
    fixture: Fixture,
    folders: [TempDir; 2],
}

/// What both agents sent.
struct Sent {
    /// The kind of each event, by its id.
    ids: BTreeMap<String, String>,
    /// Ids that both sent.
    common: BTreeSet<String>,
    /// All events of both.
    sent: usize,
}

impl Pair {
    fn new() -> Self {
        let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], "");
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
        for folder in &folders {
            fixture.site.write_config_with(folder.path(), INTERVAL, OPTIONS).expect("written");
        }
        Self { fixture, folders }
    }

    /// Runs one agent, and later the other beside it, until both saw a session
    /// begin and end. `once` polls somewhere between two ticks, so that two agents
    /// that start it may see different sessions at one tick: for them none changes.
    fn run(&self, with_changes: bool, start: impl Fn(usize, &Path) -> Agent) -> Sent {
        let set = |ids: &[&str]| {
            between_polls();
            self.fixture.site.set_sessions("sense1", "/", &named_sessions(ids));
        };
        let config = |number: usize| self.folders[number].path().join("config.yaml");
        for folder in &self.folders {
            let _ = fs::remove_file(folder.path().join("state.json"));
        }
        set(&["s1"]);
        let mut agents = vec![start(0, &config(0))];
        wait_for_polls(&agents, 1);
        set(&["s1", "s2"]);
        wait_for_polls(&agents, 2);
        // What came before it is a baseline for this one.
        agents.push(start(1, &config(1)));
        wait_for_polls(&agents, 2);
        if with_changes {
            set(&["s1", "s2", "s3"]);
            wait_for_polls(&agents, 2);
            set(&["s1"]);
            wait_for_polls(&agents, 2);
        }
        agents.iter_mut().for_each(Agent::stop);
        Sent::by(&agents)
    }

    /// Makes the second poller ask at an address where nobody answers.
    fn take_away_the_site_from_the_second(&self) {
        let config = self.folders[1].path().join("config.yaml");
        let text = fs::read_to_string(&config).expect("it is there");
        let port = |port: u16| format!("127.0.0.1:{port}");
        let site = port(self.fixture.site.address("sense1").port());
        assert!(text.contains(&site), "{text}");
        fs::write(&config, text.replace(&site, &port(free_port()))).expect("written");
    }
}

impl Sent {
    fn by(agents: &[Agent]) -> Self {
        let sent: Vec<BTreeMap<String, String>> = agents
            .iter()
            .map(|agent| agent.file_events().iter().filter_map(id_and_kind).collect())
            .collect();
        let common: BTreeSet<String> =
            sent[0].keys().filter(|id| sent[1].contains_key(*id)).cloned().collect();
        let total = sent.iter().map(BTreeMap::len).sum();
        Self { ids: sent.into_iter().flatten().collect(), common, sent: total }
    }

    /// How many different events of this kind there are.
    fn count(&self, kind: &str) -> usize {
        self.ids.values().filter(|event| *event == kind).count()
    }

    fn assert_both_sent(&self, kinds: &[&str]) {
        for kind in kinds {
            assert!(self.common.iter().any(|id| self.ids[id] == *kind), "{kind}");
        }
    }
}

fn id_and_kind(event: &Value) -> Option<(String, String)> {
    Some((event["event_id"].as_str()?.to_owned(), event["event"].as_str()?.to_owned()))
}

/// Waits for that many more polls of each.
fn wait_for_polls(agents: &[Agent], more: usize) {
    let before: Vec<usize> = agents.iter().map(Agent::polls).collect();
    for (agent, before) in agents.iter().zip(before) {
        agent.wait_for("a poll", |agent| agent.polls() >= before + more);
    }
}

/// Waits until a poll is over, and the next one is not near.
fn between_polls() {
    let interval = i64::try_from(INTERVAL.as_millis()).expect("it is short");
    wait_until("the time between two polls", || {
        let past = Timestamp::now().as_millisecond().rem_euclid(interval);
        (interval / 3..interval * 2 / 3).contains(&past).then_some(())
    });
}

fn wait_for_one_line_each(loki: &Loki, job: &str, both: &Sent) {
    let lines = wait_until("every line", || {
        let lines = recent_lines(loki, job);
        (lines.len() >= both.ids.len()).then_some(lines)
    });
    // The agents are gone, and nothing is on its way.
    thread::sleep(Duration::from_millis(500));
    for (id, kind) in &both.ids {
        assert_eq!(lines.get(id), Some(&1), "{kind}, of both: {}", both.common.contains(id));
    }
}

fn recent_lines(loki: &Loki, job: &str) -> BTreeMap<String, usize> {
    let now = Timestamp::now().as_second();
    loki.lines(job, now - 600, now + 1)
}

fn different_ids(loki: &Loki, job: &str, event: &str) -> Option<usize> {
    let query = format!(
        "count(count by (event_id) (count_over_time({{job=\"{job}\", event=\"{event}\"}}[1h])))"
    );
    let answer = loki.ask("query", &[("query", &query)])?;
    answer["result"][0]["value"][1].as_str()?.parse().ok()
}

fn wait_for_count(influxdb: &InfluxDb, field: &str, measurement: &str, due: usize) {
    let count = || {
        let answer = influxdb.query(&format!("SELECT count({field}) FROM {measurement}"))?;
        let count = answer["results"][0]["series"][0]["values"][0][1].as_u64()?;
        usize::try_from(count).ok()
    };
    wait_until(measurement, || (count()? >= due).then_some(()));
    assert_eq!(count(), Some(due), "{measurement}");
}
