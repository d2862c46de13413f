//! Each output of both agents, as shipped, while its backend is away for two minutes
//! after `kill -9`: alone, with the agent restarted (SIGTERM) meanwhile, and with the
//! agent killed meanwhile. What the program has written is compared with what the
//! backend holds at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Test,
    agents::Agent,
    capture::Capture,
    collector::Collector,
    http,
    servers::{InfluxDb, Kafka, Loki, Mosquitto, OpenSearch, Server},
    stored::lines_of,
    support::{Backend, Fixture, free_port, sessions},
};

/// Tests of an agent's outputs, each with the programs that it needs.
macro_rules! outages {
    ($($agent:literal $output:literal [$($program:literal),*] $backend:expr;)+) => {
        &[$(Test {
            name: concat!("outage_", $agent, "_", $output),
            needs: &[$agent $(, $program)*],
            run: || outage($agent, $output, $backend),
        }),+]
    };
}

pub const TESTS: &[Test] = outages![
    "vector" "elasticsearch" ["opensearch2"] Documents::new("logs-qlik.sessions-default");
    "vector" "elasticsearch-index" ["opensearch2"] Documents::new("qlik-sessions-*");
    "vector" "file" [] Nothing;
    "vector" "http" [] Requests::new(id);
    "vector" "influxdb-v1" ["influxd"] Points(InfluxDb::start());
    "vector" "influxdb-v2" [] Requests::new(point);
    "vector" "kafka" ["kafka-server"] Kafka::start();
    "vector" "loki" ["loki"] Loki::start();
    "vector" "mqtt" ["mosquitto", "mosquitto_sub"] Messages::new();
    "vector" "new-relic" [] Requests::new(gauge);
    "vector" "opentelemetry" ["otelcol"] Collector::start();
    "vector" "vector" [] Aggregator::new();
    "fluent-bit" "elasticsearch" ["opensearch2"] Documents::new("qlik-sessions");
    "fluent-bit" "file" [] Nothing;
    "fluent-bit" "http" [] Requests::new(id);
    "fluent-bit" "influxdb" ["influxd"] Points(InfluxDb::start());
    "fluent-bit" "kafka" ["kafka-server"] Kafka::start();
    "fluent-bit" "loki" ["loki"] Loki::start();
    "fluent-bit" "opensearch" ["opensearch2"] Documents::new("qlik-sessions");
    "fluent-bit" "opentelemetry" ["otelcol"] Collector::start();
];

/// Sessions, and so at least as many events a poll.
const EVENTS: usize = 20;
/// How long a backend is away.
const AWAY: Duration = Duration::from_secs(120);
/// How far into that time the agent is ended. Vector waits a minute for a backend.
const AGENT_ENDS: Duration = Duration::from_secs(20);
/// How long agents may need to deliver what waits, at most.
const DELIVERY: Duration = Duration::from_secs(180);

/// Where an output sends to.
trait Store {
    /// What to change in the shipped files.
    fn edits(&self) -> Vec<(String, String)>;
    /// Its server; none where it has none, or ends in a way of its own.
    fn server(&mut self) -> Option<&mut Server> {
        None
    }
    fn kill(&mut self) {
        self.server().into_iter().for_each(Server::kill);
    }
    fn restart(&mut self) {
        self.server().into_iter().for_each(Server::restart);
    }
    /// What distinguishes an event from others in this backend; none where it is not stored.
    fn key(&self, event: &Value) -> Option<String> {
        id(event)
    }
    /// The keys of what it holds, each as often as it is there.
    fn keys(&self, agent: &Agent) -> Vec<String>;
}

fn outage(program: &str, output: &str, mut backend: impl Store) {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    stateFile: state.json");
    fixture.site.set_sessions("sense1", "/", &sessions(EVENTS));
    let mut agent = start(program, output, &fixture, &backend);
    let mut due = deliver(&fixture, &backend, &agent, EVENTS * 2);
    let mut begins = Vec::new();
    for phase in ["away", "restart", "kill"] {
        begins.push((phase, Timestamp::now()));
        let back = Instant::now() + AWAY;
        backend.kill();
        thread::sleep(AGENT_ENDS);
        match phase {
            "restart" => agent.stop_patiently(),
            "kill" => agent.kill(),
            _ => (),
        }
        if phase != "away" {
            agent.restart();
        }
        thread::sleep(back.saturating_duration_since(Instant::now()));
        backend.restart();
        let count = sent(&fixture).len() + EVENTS * 2;
        due = deliver(&fixture, &backend, &agent, count);
    }
    let keys = backend.keys(&agent);
    agent.stop_patiently();
    eprintln!("{program} {output}, {}", report(&begins, &due, &keys));
}

fn start(program: &str, output: &str, fixture: &Fixture, backend: &impl Store) -> Agent {
    let recorder = recorder(fixture.folder.path());
    let edits = backend.edits();
    let mut edits: Vec<(&str, &str)> = edits.iter().map(|(from, to)| (&**from, &**to)).collect();
    if program == "vector" {
        return Agent::vector(fixture, Some(&recorder), &[output], &edits);
    }
    let command = format!("exec {recorder} once");
    edits.push(("exec qlik-sessions once", &command));
    Agent::fluent_bit(fixture, &[output], &edits)
}

/// A script that runs the program, and writes down what it says before the agent reads
/// it. Signals reach the program itself.
fn recorder(folder: &Path) -> String {
    let path = folder.join("recorder");
    let here = folder.display();
    let program = env!("CARGO_BIN_EXE_qlik-sessions");
    let script = format!(
        "#!/bin/sh\npipe={here}/pipe.$$\nmkfifo $pipe\n\
         tee /dev/fd/3 3>&1 >>{here}/sent.ndjson <$pipe &\n\
         exec {program} \"$@\" >$pipe\n"
    );
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is made executable");
    path.display().to_string()
}

/// The events that the program has written.
fn sent(fixture: &Fixture) -> Vec<Value> {
    lines_of(&fs::read_to_string(fixture.path("sent.ndjson")).unwrap_or_default()).0
}

/// Waits until so many events are sent, and all of them are stored or nothing more comes.
/// Returns them by their keys.
fn deliver(
    fixture: &Fixture,
    backend: &impl Store,
    agent: &Agent,
    count: usize,
) -> BTreeMap<String, Value> {
    let limit = Instant::now() + DELIVERY;
    let sent = loop {
        let sent = sent(fixture);
        if sent.len() >= count {
            break sent;
        }
        assert!(Instant::now() < limit, "no polls; the agent says:\n{}", agent.log());
        thread::sleep(Duration::from_millis(200));
    };
    let with_key = |event: Value| Some((backend.key(&event)?, event));
    let due: BTreeMap<String, Value> = sent.into_iter().filter_map(with_key).collect();
    let (mut stored, mut last_change) = (0, Instant::now());
    while Instant::now() < limit && last_change.elapsed() < Duration::from_secs(40) {
        let keys: BTreeSet<String> = backend.keys(agent).into_iter().collect();
        let found = due.keys().filter(|key| keys.contains(*key)).count();
        if found == due.len() {
            break;
        }
        if found != stored {
            (stored, last_change) = (found, Instant::now());
        }
        thread::sleep(Duration::from_secs(2));
    }
    due
}

/// What became of the events of each phase: how many are missing, of which kinds and from
/// which seconds; how many are there again.
fn report(begins: &[(&str, Timestamp)], due: &BTreeMap<String, Value>, keys: &[String]) -> String {
    let mut stored: BTreeMap<&str, usize> = BTreeMap::new();
    keys.iter().for_each(|key| *stored.entry(key).or_default() += 1);
    let phase_of = |event| begins.iter().rev().find(|(_, begin)| *begin <= time(event));
    let of_phase = |(phase, begin): &(&str, Timestamp)| {
        let due: Vec<(&str, &Value)> = due
            .iter()
            .filter(|(_, event)| phase_of(event).is_some_and(|(own, _)| own == phase))
            .map(|(key, event)| (&**key, event))
            .collect();
        let missing: Vec<&Value> = due
            .iter()
            .filter(|(key, _)| !stored.contains_key(key))
            .map(|(_, event)| *event)
            .collect();
        let repeated: usize =
            due.iter().filter_map(|(key, _)| stored.get(key)).map(|n| n - 1).sum();
        let kinds: BTreeSet<&str> =
            missing.iter().filter_map(|event| event["event"].as_str()).collect();
        let seconds: BTreeSet<i64> =
            missing.iter().map(|event| time(event).duration_since(*begin).as_secs()).collect();
        let (missing, due) = (missing.len(), due.len());
        format!("{phase}: {missing} of {due} missing {kinds:?} {seconds:?}, {repeated} repeated")
    };
    begins.iter().map(of_phase).collect::<Vec<_>>().join("; ")
}

fn time(event: &Value) -> Timestamp {
    event["timestamp"].as_str().expect("a time").parse().expect("RFC 3339")
}

fn id(event: &Value) -> Option<String> {
    Some(event["event_id"].as_str()?.to_owned())
}

/// InfluxDB has no ids: the time and the session, as in the line of its point.
fn point(event: &Value) -> Option<String> {
    let milliseconds = time(event).as_millisecond();
    (event["event"] == "session")
        .then(|| format!("{milliseconds} {}", event["session_id"].as_str().unwrap_or_default()))
}

/// New Relic gets a value for each target and poll.
fn gauge(event: &Value) -> Option<String> {
    (event["event"] == "session_summary").then(|| time(event).as_millisecond().to_string())
}

fn pair(from: &str, to: String) -> (String, String) {
    (from.to_owned(), to)
}

/// The edits for an address that Vector has in one, and Fluent Bit in two places.
fn at(default: u16, port: u16) -> Vec<(String, String)> {
    vec![
        pair(&format!("localhost:{default}"), format!("127.0.0.1:{port}")),
        pair("host: localhost", "host: 127.0.0.1".to_owned()),
        pair(&format!("port: {default}"), format!("port: {port}")),
    ]
}

/// A file has no server.
struct Nothing;

impl Store for Nothing {
    fn edits(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn keys(&self, agent: &Agent) -> Vec<String> {
        lines_of(&agent.file_text()).0.iter().filter_map(id).collect()
    }
}

/// An HTTP endpoint, and the key of an event in its requests.
struct Requests {
    server: Capture,
    key: fn(&Value) -> Option<String>,
}

impl Requests {
    fn new(key: fn(&Value) -> Option<String>) -> Self {
        Self { server: Capture::start(), key }
    }
}

impl Store for Requests {
    fn edits(&self) -> Vec<(String, String)> {
        let port = self.server.address.port();
        let new_relic = format!("http://127.0.0.1:{port}");
        let mut edits = [at(8080, port), at(8086, port)].concat();
        edits.push(pair("https://metric-api.newrelic.com", new_relic));
        edits
    }
    fn kill(&mut self) {
        self.server.kill();
    }
    fn restart(&mut self) {
        self.server.restart();
    }
    fn key(&self, event: &Value) -> Option<String> {
        (self.key)(event)
    }
    fn keys(&self, _: &Agent) -> Vec<String> {
        self.server.requests("/").iter().flat_map(|request| keys_in(&request.body)).collect()
    }
}

/// The keys in a body: ids of events, values of New Relic, or lines of points.
fn keys_in(body: &str) -> Vec<String> {
    let Ok(Value::Array(items)) = serde_json::from_str::<Value>(body) else {
        return body.lines().filter_map(key_of_line).collect();
    };
    let gauge = |item: &Value| Some(item["metrics"][0]["timestamp"].as_i64()?.to_string());
    items.iter().filter_map(|item| id(item).or_else(|| gauge(item))).collect()
}

fn key_of_line(line: &str) -> Option<String> {
    if !line.starts_with("user_session_details,") {
        return None;
    }
    let (_, session) = line.split_once("session_id=\"")?;
    let (_, milliseconds) = line.rsplit_once(' ')?;
    Some(format!("{milliseconds} {}", session.split('"').next()?))
}

struct Documents {
    server: OpenSearch,
    index: &'static str,
}

impl Documents {
    fn new(index: &'static str) -> Self {
        let server = OpenSearch::start("opensearch2");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vector/outputs");
        let template = fs::read_to_string(folder.join("opensearch-index-template.json"));
        let template = template.expect("the template is shipped");
        http::put(&format!("{}/_index_template/logs-qlik.sessions", server.url), &template)
            .expect("the template installs");
        Self { server, index }
    }

    /// Ids of the next page, none where there is no more.
    fn page(&self, scroll: &mut Option<String>) -> Option<Vec<String>> {
        let (path, body) = match scroll {
            None => (
                format!("{}/_search?scroll=1m", self.index),
                json!({"size": 5000, "_source": false}),
            ),
            Some(id) => ("_search/scroll".to_owned(), json!({"scroll": "1m", "scroll_id": id})),
        };
        let answer = http::post(&format!("{}/{path}", self.server.url), &body.to_string()).ok()?;
        *scroll = Some(answer["_scroll_id"].as_str()?.to_owned());
        let hits = answer["hits"]["hits"].as_array()?;
        let ids = hits.iter().filter_map(|hit| Some(hit["_id"].as_str()?.to_owned()));
        (!hits.is_empty()).then(|| ids.collect())
    }
}

impl Store for Documents {
    fn edits(&self) -> Vec<(String, String)> {
        let port = self.server.url.rsplit_once(':').expect("a port").1;
        at(9200, port.parse().expect("a number"))
    }
    fn server(&mut self) -> Option<&mut Server> {
        Some(&mut self.server.server)
    }
    fn keys(&self, _: &Agent) -> Vec<String> {
        let _ = http::get(&format!("{}/{}/_refresh", self.server.url, self.index));
        let mut keys = Vec::new();
        let mut scroll = None;
        while let Some(page) = self.page(&mut scroll) {
            keys.extend(page);
        }
        keys
    }
}

struct Points(InfluxDb);

impl Store for Points {
    fn edits(&self) -> Vec<(String, String)> {
        at(8086, self.0.port)
    }
    fn server(&mut self) -> Option<&mut Server> {
        Some(&mut self.0.server)
    }
    fn key(&self, event: &Value) -> Option<String> {
        point(event)
    }
    fn keys(&self, _: &Agent) -> Vec<String> {
        let answer = self.0.query("SELECT session_id FROM user_session_details");
        let answer = answer.unwrap_or_default();
        let rows = answer["results"][0]["series"][0]["values"].as_array();
        let key = |row: &Value| format!("{} {}", row[0], row[1].as_str().unwrap_or_default());
        rows.into_iter().flatten().map(key).collect()
    }
}

impl Store for Kafka {
    fn edits(&self) -> Vec<(String, String)> {
        at(9092, self.port)
    }
    fn server(&mut self) -> Option<&mut Server> {
        Some(&mut self.server)
    }
    fn keys(&self, _: &Agent) -> Vec<String> {
        let messages = self.messages("qlik-sessions").unwrap_or_default();
        messages.iter().filter_map(|(_, event)| id(event)).collect()
    }
}

impl Store for Loki {
    fn edits(&self) -> Vec<(String, String)> {
        at(3100, self.port)
    }
    fn server(&mut self) -> Option<&mut Server> {
        Some(&mut self.server)
    }
    fn keys(&self, _: &Agent) -> Vec<String> {
        let now = Timestamp::now().as_second();
        // An answer has at most 5,000 lines.
        let minutes = (0..30).map(|minute| now - minute * 60);
        let lines = minutes.flat_map(|minute| self.lines("qlik-sessions", minute - 60, minute));
        lines.flat_map(|(id, times)| std::iter::repeat_n(id, times)).collect()
    }
}

/// An MQTT broker, and someone who listens to it for good.
struct Messages {
    broker: Mosquitto,
    received: tempfile::TempDir,
    _subscriber: Backend,
}

impl Messages {
    fn new() -> Self {
        let broker = Mosquitto::start();
        let received = tempfile::tempdir().expect("a temporary folder");
        let mut subscriber = Command::new("mosquitto_sub");
        subscriber.args(["-p", &broker.port.to_string(), "-t", "butler-sos/#", "-q", "1"]);
        // The broker keeps messages for it while it is not connected.
        subscriber.args(["-c", "-i", "listener"]);
        let subscriber = Backend::start(subscriber, &received.path().join("messages"));
        thread::sleep(Duration::from_secs(2));
        Self { broker, received, _subscriber: subscriber }
    }
}

impl Store for Messages {
    fn edits(&self) -> Vec<(String, String)> {
        at(1883, self.broker.port)
    }
    fn server(&mut self) -> Option<&mut Server> {
        Some(&mut self.broker.server)
    }
    fn keys(&self, _: &Agent) -> Vec<String> {
        let text = fs::read_to_string(self.received.path().join("messages")).unwrap_or_default();
        lines_of(&text).0.iter().filter_map(id).collect()
    }
}

impl Store for Collector {
    fn edits(&self) -> Vec<(String, String)> {
        at(4318, self.port)
    }
    fn server(&mut self) -> Option<&mut Server> {
        Some(&mut self.server)
    }
    fn keys(&self, _: &Agent) -> Vec<String> {
        self.ids()
    }
}

/// The Vector in the middle, with a file.
struct Aggregator {
    agent: Agent,
    port: u16,
    _fixture: Fixture,
}

impl Aggregator {
    fn new() -> Self {
        let port = free_port();
        let fixture = Fixture::new(&[("sense1", &["/"])], "");
        let address = format!("127.0.0.1:{port}");
        let edits = [("0.0.0.0:6000", &*address)];
        let agent = Agent::vector_with("aggregator.yaml", &fixture, None, &["file"], &edits);
        Self { agent, port, _fixture: fixture }
    }
}

impl Store for Aggregator {
    fn edits(&self) -> Vec<(String, String)> {
        at(6000, self.port)
    }
    fn kill(&mut self) {
        self.agent.kill();
    }
    fn restart(&mut self) {
        self.agent.restart();
    }
    fn keys(&self, _: &Agent) -> Vec<String> {
        lines_of(&self.agent.file_text()).0.iter().filter_map(id).collect()
    }
}
