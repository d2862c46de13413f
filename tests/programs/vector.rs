//! The shipped Vector configuration, run by a real Vector where one is installed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    Test,
    agents::{Agent, shipped},
    capture::Capture,
    collector::{Collector, check_records},
    outputs,
    servers::{InfluxDb, Loki, Mosquitto},
    support::{Backend, Fixture, free_port, get, named_sessions, sessions, texts, wait_until},
    tests,
};
use serde_json::{Value, json};

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![
    ["vector"] the_bases_and_each_output_are_valid_without_warnings,
    ["vector"] vectors_own_unit_tests_pass,
    ["vector"] every_event_reaches_every_backend_once,
    ["vector"] what_waits_for_a_backend_survives_a_kill,
    ["vector"] an_aggregator_hands_on_the_same_events,
    ["vector", "otelcol"] a_collector_gets_every_event_in_few_requests,
    [] the_shipped_version_is_the_programs,
    ["vector"] lines_that_are_no_events_are_kept_and_harm_nothing,
    ["vector", "influxd"] butler_sos_queries_of_influxdb_answer_the_same_numbers,
    ["vector", "prometheus"] prometheus_sees_no_false_and_no_old_count,
    ["vector", "loki"] lokis_example_queries_give_the_right_numbers,
    ["vector", "mosquitto", "mosquitto_sub", "mosquitto_pub"] mqtt_messages_come_at_butler_sos_topics,
];

const AGENT: &str = "vector";

fn the_bases_and_each_output_are_valid_without_warnings() {
    for base in ["qlik-sessions.yaml", "aggregator.yaml"] {
        for name in outputs(AGENT) {
            let output = Command::new("vector")
                .args(["validate", "--no-environment", "--deny-warnings"])
                .arg(shipped(AGENT).join(base))
                .arg(shipped(AGENT).join(format!("outputs/{name}.yaml")))
                .output()
                .expect("vector runs");
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{base} with {name}: {said}");
        }
    }
}

fn vectors_own_unit_tests_pass() {
    let mut command = Command::new("vector");
    command.arg("test").arg(shipped(AGENT).join("qlik-sessions.yaml"));
    for name in outputs(AGENT) {
        command.arg(shipped(AGENT).join(format!("outputs/{name}.yaml")));
    }
    let mut tests: Vec<PathBuf> = fs::read_dir(shipped(AGENT).join("tests"))
        .expect("the tests are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    tests.sort();
    assert!(!tests.is_empty());
    let output = command.args(tests).output().expect("vector runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The program's own events, its log left out, by kind.
fn program_events(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["event"] != "log").collect()
}

fn ids(events: &[&Value]) -> Vec<String> {
    texts(events, "event_id")
}

fn every_event_reaches_every_backend_once() {
    let fixture =
        Fixture::new(&[("sense1", &["/", "/sales"]), ("sense2", &["/"])], "    attributes: true");
    fixture.site.set_sessions("sense1", "/", &sessions(30));
    fixture.site.set_sessions("sense1", "/sales", &named_sessions(&["s1", "s2"]));
    fixture.site.set_fault("sense2", "/", Some(qlik_sessions::site::Fault::Status(503)));
    let capture = Capture::start();
    let to = |path: &str| format!("http://{}{path}", capture.address);
    let (elastic, loki, http, new_relic) = (to("/elastic"), to(""), to("/http"), to("/newrelic"));
    let (influx1, influx2) = (to("/write?db=SenseOps"), to("/api/v2/write?org"));
    let exporter = format!("127.0.0.1:{}", free_port());
    let edits = [
        ("http://localhost:9200", &*elastic),
        ("endpoint: http://localhost:3100", &*format!("endpoint: {loki}\n    compression: none")),
        ("http://localhost:8080/qlik-sessions", &http),
        ("https://metric-api.newrelic.com/metric/v1", &new_relic),
        ("http://localhost:8086/write?db=SenseOps", &influx1),
        ("http://localhost:8086/api/v2/write?org", &influx2),
        ("0.0.0.0:9598", &exporter),
    ];
    let mut vector = Agent::vector(
        &fixture,
        None,
        &[
            "console",
            "file",
            "elasticsearch",
            "elasticsearch-index",
            "loki",
            "influxdb-v1",
            "influxdb-v2",
            "prometheus",
            "new-relic",
            "http",
        ],
        &edits,
    );
    vector.wait_for("three polls", |vector| vector.polls() >= 3);
    let scraped = scrape(&exporter);
    vector.stop();

    let all = vector.file_events();
    let emitted = program_events(&all);
    let polls = vector.polls();
    assert_eq!(emitted.len(), polls * (32 + 2 + 1 + 1), "sessions, summaries, the error, the site");
    let console = vector.console_events();
    assert_eq!(ids(&program_events(&console)), ids(&emitted), "console");
    assert!(
        all.iter().any(|event| event["event"] == "log" && event["level"] == "info"),
        "the log is an event, too"
    );

    let bulk = |path: &str| -> Vec<(Value, Value)> {
        capture
            .json_lines(path)
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .filter(|(_, document)| document["event"]["action"] != "log")
            .collect()
    };
    let all_documents = bulk("/elastic");
    let (plain, stream): (Vec<_>, Vec<_>) = all_documents
        .into_iter()
        .partition(|(action, _)| action["create"]["_index"] != "logs-qlik.sessions-default");
    let mut stream_ids: Vec<String> = stream
        .iter()
        .filter_map(|(_, document)| document["event"]["id"].as_str().map(str::to_owned))
        .collect();
    stream_ids.sort();
    assert_eq!(stream_ids, ids(&emitted), "elasticsearch, data stream");
    assert!(
        stream.iter().all(|(action, document)| action["create"]["_id"] == document["event"]["id"]),
        "a second delivery would be refused"
    );
    let mut plain_ids: Vec<String> = plain
        .iter()
        .filter_map(|(action, _)| action["create"]["_id"].as_str().map(str::to_owned))
        .collect();
    plain_ids.sort();
    assert_eq!(plain_ids, ids(&emitted), "elasticsearch, index");
    let times: BTreeMap<&str, &Value> = emitted
        .iter()
        .map(|event| (event["event_id"].as_str().expect("an id"), &event["timestamp"]))
        .collect();
    for (_, document) in stream.iter().chain(&plain) {
        let id = document["event"]["id"].as_str().expect("an id");
        assert_eq!(
            &document["@timestamp"], times[id],
            "the time is the event's, to the millisecond: {document}"
        );
        assert!(document.get("timestamp").is_none() && document.get("id").is_none(), "{document}");
    }
    let session = &stream
        .iter()
        .find(|(_, document)| document["event"]["action"] == "session")
        .expect("a session")
        .1;
    assert_eq!(session["user"]["domain"], "LAB");
    assert_eq!(session["labels"]["environment"], "demo");
    assert_eq!(session["host"]["name"], "sense1.example.com");

    let mut loki_ids: Vec<String> = Vec::new();
    for request in capture.requests("/loki/api/v1/push") {
        let body: Value = serde_json::from_str(&request.body).expect("JSON");
        for stream in body["streams"].as_array().expect("streams") {
            let labels: Vec<&String> =
                stream["stream"].as_object().expect("labels").keys().collect();
            assert_eq!(labels, ["event", "job", "server_name", "virtual_proxy"]);
            for value in stream["values"].as_array().expect("values") {
                let line: Value =
                    serde_json::from_str(value[1].as_str().expect("a line")).expect("JSON");
                if let Some(id) = line["event_id"].as_str() {
                    assert_eq!(value[2]["event_id"], id, "structured metadata");
                    loki_ids.push(id.to_owned());
                }
            }
        }
    }
    loki_ids.sort();
    assert_eq!(loki_ids, ids(&emitted), "loki");

    let mut posted: Vec<String> = capture
        .requests("/http")
        .iter()
        .flat_map(|request| serde_json::from_str::<Vec<Value>>(&request.body).expect("an array"))
        .filter_map(|event| event["event_id"].as_str().map(str::to_owned))
        .collect();
    posted.sort();
    assert_eq!(posted, ids(&emitted), "http");

    let metrics: Vec<Value> = capture
        .requests("/newrelic")
        .iter()
        .flat_map(|request| serde_json::from_str::<Vec<Value>>(&request.body).expect("an array"))
        .collect();
    assert_eq!(metrics.len(), polls * 2, "new relic: a metric for each summary");
    let metric = metrics
        .iter()
        .map(|metric| &metric["metrics"][0])
        .find(|metric| metric["attributes"]["user_session_virtual_proxy"] == "/sales");
    assert_eq!(metric.expect("of /sales")["value"], 2);

    for (path, count) in [("/write", "session_count=30i"), ("/api/v2/write", "session_count=30u")] {
        let lines: Vec<String> = capture
            .requests(path)
            .iter()
            .flat_map(|request| request.body.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        assert_eq!(lines.len(), polls * (2 * 2 + 32 + 1 + 1), "{path}: {lines:#?}");
        let summary = lines
            .iter()
            .find(|line| {
                line.starts_with("user_session_summary")
                    && line.contains("user_session_virtual_proxy=/ ")
            })
            .expect("a summary");
        assert!(summary.contains(count), "{summary}");
        assert!(
            summary.contains(",environment=demo")
                && summary.contains(",server_description=Simulated\\ node\\ sense1"),
            "{summary}"
        );
    }

    assert!(scraped.contains("butlersos_user_session_total{"), "{scraped}");
    assert!(scraped.contains("environment=\"demo\""), "{scraped}");
    assert!(
        scraped.contains("qlik_sessions_up{server_name=\"sense1\",virtual_proxy=\"/sales\"} 1"),
        "{scraped}"
    );
    assert!(
        scraped.contains("qlik_sessions_up{server_name=\"sense2\",virtual_proxy=\"/\"} 0"),
        "{scraped}"
    );
    assert!(
        scraped.contains("qlik_sessions_sessions{server_name=\"sense2\",virtual_proxy=\"/\"} NaN"),
        "{scraped}"
    );
    assert!(scraped.contains("qlik_sessions_targets_failed 1"), "{scraped}");
    assert!(
        scraped.contains(
            "qlik_sessions_server_certificate_expiry_timestamp_seconds{server_name=\"sense1\"}"
        ),
        "{scraped}"
    );
    let errors: Vec<String> =
        vector.log().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// The ids of the whole polls in what the file output wrote.
fn ids_of_polls(vector: &Agent) -> BTreeSet<String> {
    let events = vector.file_events();
    let whole: BTreeSet<&str> = events
        .iter()
        .filter(|event| event["event"] == "site_summary")
        .filter_map(|event| event["timestamp"].as_str())
        .collect();
    events
        .iter()
        .filter(|event| event["timestamp"].as_str().is_some_and(|time| whole.contains(time)))
        .filter_map(|event| event["event_id"].as_str().map(str::to_owned))
        .collect()
}

fn what_waits_for_a_backend_survives_a_kill() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    stateFile: state.json");
    fixture.site.set_sessions("sense1", "/", &sessions(20));
    let port = free_port();
    let edits =
        [("http://localhost:8080/qlik-sessions", &*format!("http://127.0.0.1:{port}/events"))];
    let mut vector = Agent::vector(&fixture, None, &["http", "file"], &edits);
    vector.wait_for("three polls", |vector| ids_of_polls(vector).len() >= 3 * 22);
    let before = ids_of_polls(&vector);
    // The buffer is on the disk half a second after an event at the latest.
    thread::sleep(Duration::from_secs(1));
    vector.kill();
    vector.restart();
    vector.wait_for("a poll after it", |vector| ids_of_polls(vector).len() >= before.len() + 22);
    let capture = Capture::start_at(port);
    let arrived = || -> Vec<String> {
        capture
            .requests("/events")
            .iter()
            .flat_map(|request| serde_json::from_str::<Vec<Value>>(&request.body).expect("JSON"))
            .filter_map(|event| event["event_id"].as_str().map(str::to_owned))
            .collect()
    };
    vector.wait_for("what waited", |_| {
        let arrived: BTreeSet<String> = arrived().into_iter().collect();
        arrived.is_superset(&before)
    });
    vector.stop_patiently();
    let all = arrived();
    let distinct: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(all.len(), distinct.len(), "no event came twice");
}

fn an_aggregator_hands_on_the_same_events() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    attributes: true");
    fixture.site.set_sessions("sense1", "/", &sessions(20));
    let port = free_port();
    let here = format!("127.0.0.1:{port}");
    let edits = [("0.0.0.0:6000", &*here), ("localhost:6000", &*here)];
    let mut aggregator = Agent::vector_with("aggregator.yaml", &fixture, None, &["file"], &edits);
    let mut edge = Agent::vector(&fixture, None, &["vector", "file"], &edits);
    edge.wait_for("two polls", |vector| ids_of_polls(vector).len() >= 2 * 22);
    edge.stop();
    let sorted = |vector: &Agent| {
        let mut events: Vec<String> =
            vector.file_events().iter().map(ToString::to_string).collect();
        events.sort();
        events
    };
    let due = sorted(&edge);
    aggregator.wait_for("every event", |vector| vector.file_events().len() >= due.len());
    aggregator.stop();
    assert_eq!(sorted(&aggregator), due);
}

fn a_collector_gets_every_event_in_few_requests() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(300));
    let collector = Collector::start();
    let edits = [("localhost:4318", &*format!("127.0.0.1:{}", collector.port))];
    let mut vector = Agent::vector(&fixture, None, &["opentelemetry", "file"], &edits);
    vector.wait_for("two polls", |vector| ids_of_polls(vector).len() >= 2 * 302);
    vector.stop();
    let due = ids(&program_events(&vector.file_events()));
    let arrived = wait_until("every record", || {
        let arrived = collector.ids();
        (arrived.len() >= due.len()).then_some(arrived)
    });
    assert_eq!(arrived, due);
    let requests = collector.requests().len();
    assert!(requests * 10 < due.len(), "{requests} requests for {} events", due.len());
    check_records(&collector, "s7");
}

fn scrape(address: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("the exporter listens");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("UTF-8");
    // Samples carry their time behind the value; it is of no interest here.
    text.lines()
        .map(|line| {
            line.rsplit_once(' ')
                .filter(|(_, time)| time.len() == 13)
                .map_or(line, |(sample, _)| sample)
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn the_shipped_version_is_the_programs() {
    for agent in ["vector", "fluent-bit"] {
        let file = shipped(agent).join("outputs/opentelemetry.yaml");
        let text = fs::read_to_string(file).expect("it is shipped");
        let found = text.matches(env!("CARGO_PKG_VERSION")).count();
        assert_eq!(found, 2, "{agent}: the version of the service and of the scope");
    }
}

fn lines_that_are_no_events_are_kept_and_harm_nothing() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(1));
    let script = fixture.path("noisy.sh");
    fs::write(
        &script,
        format!(
            "#!/bin/sh\necho 'garbage {{'\necho '[1]'\necho 'plain words' >&2\nexec {} \"$@\"\n",
            env!("CARGO_BIN_EXE_qlik-sessions")
        ),
    )
    .expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, executable).expect("executable");
    let mut vector = Agent::vector(&fixture, script.to_str(), &["file"], &[]);
    vector.wait_for("a poll", |vector| {
        vector.file_events().iter().any(|event| event["event"] == "site_summary")
    });
    vector.stop();
    let events = vector.file_events();
    let messages = |kind: &str| {
        texts(&events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>(), "message")
    };
    assert_eq!(messages("unparsed"), ["[1]", "garbage {"]);
    assert!(messages("log").contains(&"plain words".to_owned()), "{events:#?}");
    assert!(events.iter().any(|event| event["event"] == "session"));
}

fn encoded(query: &str) -> String {
    percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn butler_sos_queries_of_influxdb_answer_the_same_numbers() {
    let fixture =
        Fixture::new(&[("sense1", &["/", "/sales"]), ("sense2", &["/sales"])], "    site: west");
    fixture.site.set_sessions("sense1", "/", &sessions(5));
    let mut people = sessions(3);
    people[0].user_id = "od, d=\"q\\".to_owned();
    fixture.site.set_sessions("sense1", "/sales", &people);
    fixture.site.set_sessions("sense2", "/sales", &sessions(7));
    let influxdb = InfluxDb::start();
    let endpoint = format!("http://127.0.0.1:{}", influxdb.port);
    let mut vector = Agent::vector(
        &fixture,
        None,
        &["influxdb-v1", "file"],
        &[("http://localhost:8086", &endpoint)],
    );
    let has = |vector: &Agent, kind: &str| {
        vector.file_events().iter().any(|event| event["event"] == kind)
    };
    vector.wait_for("a poll", |vector| has(vector, "site_summary"));
    fixture.site.set_sessions("sense1", "/", &sessions(6));
    vector.wait_for("a start", |vector| has(vector, "session_started"));
    fixture.site.set_sessions("sense1", "/", &sessions(5));
    vector.wait_for("an end", |vector| has(vector, "session_ended"));
    vector.stop();
    let query = |text: &str| influxdb.query(text).expect("an answer");
    let answer = query(
        "SELECT session_count FROM user_session_summary WHERE user_session_virtual_proxy='/sales' GROUP BY server_name",
    );
    let series = answer["results"][0]["series"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}\n{}", vector.log()))
        .clone();
    let counts: BTreeMap<&str, &Value> = series
        .iter()
        .map(|series| {
            (series["tags"]["server_name"].as_str().expect("a tag"), &series["values"][0][1])
        })
        .collect();
    assert_eq!(counts["sense1"], 3);
    assert_eq!(counts["sense2"], 7);
    let users = query(
        "SELECT session_user_id_list FROM user_session_list WHERE server_name='sense1' AND user_session_virtual_proxy='/sales' LIMIT 1",
    );
    assert_eq!(
        users["results"][0]["series"][0]["values"][0][1],
        "LAB\\od, d=\"q\\,LAB\\u1,LAB\\u2"
    );
    let ids = query(
        "SELECT user_id FROM user_session_details WHERE environment='demo' AND user_session_id='s0' AND server_name='sense1' AND user_session_virtual_proxy='/sales' LIMIT 1",
    );
    assert_eq!(ids["results"][0]["series"][0]["values"][0][1], "od, d=\"q\\");

    let column = |text: &str| -> Value {
        let answer = query(text);
        answer["results"][0]["series"][0]["values"][0][1].clone()
    };
    let at = |time: &Value| -> i64 {
        let time: jiff::Timestamp = time.as_str().expect("a time").parse().expect("RFC 3339");
        time.as_millisecond()
    };
    let events = vector.file_events();
    let ended = events.iter().find(|event| event["event"] == "session_ended").expect("one");
    assert_eq!(column("SELECT count(first_seen) FROM qlik_session_started WHERE site='west'"), 1);
    assert_eq!(
        column("SELECT last(duration_seconds) FROM qlik_session_ended WHERE user_session_id='s5'"),
        ended["duration_seconds"]
    );
    assert_eq!(column("SELECT last(first_seen) FROM qlik_session_ended"), at(&ended["first_seen"]));
    let session = events.iter().find(|event| event["event"] == "session").expect("a session");
    assert_eq!(
        column("SELECT first(first_seen) FROM user_session_details"),
        at(&session["first_seen"])
    );
    assert_eq!(column("SELECT first(first_seen_at_baseline) FROM user_session_details"), true);
    assert_eq!(
        column("SELECT last(user_count) FROM user_session_summary WHERE server_name='sense2'"),
        7
    );
    let expires = &session_summary(&events)["server_certificate_expires"];
    assert_eq!(
        column("SELECT last(server_certificate_expires) FROM user_session_summary"),
        at(expires)
    );
    assert_eq!(
        column("SELECT first(session_count) FROM qlik_sessions_site WHERE site='west'"),
        5 + 3 + 7
    );
}

fn session_summary(events: &[Value]) -> &Value {
    events.iter().find(|event| event["event"] == "session_summary").expect("a summary")
}

fn prometheus_sees_no_false_and_no_old_count() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    site: west");
    fixture.site.set_sessions("sense1", "/", &sessions(4));
    let (exporter, port) = (free_port(), free_port());
    let vector = Agent::vector(
        &fixture,
        None,
        &["prometheus", "file"],
        &[("0.0.0.0:9598", &format!("127.0.0.1:{exporter}"))],
    );
    fs::write(
        fixture.path("prometheus.yml"),
        format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: vector\n    static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]\n"),
    )
    .expect("written");
    let mut prometheus = Command::new("prometheus");
    prometheus
        .arg(format!("--config.file={}", fixture.path("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", fixture.path("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        // Five minutes as a rule; a test does not wait that long.
        .arg("--query.lookback-delta=4s");
    let _prometheus = Backend::start(prometheus, &fixture.path("prometheus.log"));
    let value = |query: &str| -> Option<String> {
        let answer: Value =
            serde_json::from_str(&get(port, &format!("/api/v1/query?query={}", encoded(query)))?)
                .ok()?;
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    wait_until("the count", || {
        value("butlersos_user_session_total{user_session_virtual_proxy=\"/\"}")
            .filter(|count| count == "4")
    });
    assert_eq!(value("qlik_sessions_up").as_deref(), Some("1"));
    assert_eq!(value("qlik_sessions_users_at_session_limit{site=\"west\"}").as_deref(), Some("0"));
    // Counters are there before anything is counted, so that `increase` sees the first.
    assert_eq!(value("qlik_sessions_started_total{site=\"west\"}").as_deref(), Some("0"));
    assert_eq!(value("qlik_sessions_session_duration_seconds_count").as_deref(), Some("0"));
    fixture.site.set_sessions("sense1", "/", &sessions(5));
    wait_until("a start", || value("qlik_sessions_started_total").filter(|count| count == "1"));
    // One whose start is known, and one that was there at first.
    fixture.site.set_sessions("sense1", "/", &sessions(5)[1..4]);
    wait_until("two ends", || value("qlik_sessions_ended_total").filter(|count| count == "2"));
    wait_until("a duration", || {
        value("qlik_sessions_session_duration_seconds_bucket{le=\"60\"}")
            .filter(|count| count == "1")
    });
    fixture.site.set_sessions("sense1", "/", &sessions(4));
    wait_until("four again", || value("qlik_sessions_sessions").filter(|count| count == "4"));
    fixture.site.stop("sense1");
    wait_until("up 0", || value("qlik_sessions_up").filter(|up| up == "0"));
    wait_until("no false count", || value("qlik_sessions_sessions").filter(|count| count == "NaN"));
    wait_until("why", || {
        value(
            "last_over_time(qlik_sessions_poll_errors_total{category=\"connection_refused\"}[2m]) and on(server_name, virtual_proxy) qlik_sessions_up == 0",
        )
    });
    assert_eq!(value("butlersos_user_session_total").as_deref(), Some("NaN"));
    fixture.site.restart("sense1");
    wait_until("the count again", || value("qlik_sessions_sessions").filter(|count| count == "4"));
    // The program hangs: nothing is polled any more, and Vector does not know.
    assert!(vector.signal_children("STOP"));
    wait_until("no old count", || value("qlik_sessions_sessions").is_none().then_some(()));
    wait_until("no old up", || value("qlik_sessions_up").is_none().then_some(()));
    vector.signal_children("KILL");
}

/// The commented lines of `loki.yaml` as one line.
fn loki_comments() -> String {
    let text = fs::read_to_string(shipped(AGENT).join("outputs/loki.yaml")).expect("shipped");
    let comments = text.lines().map_while(|line| line.strip_prefix('#'));
    comments.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lokis_example_queries_give_the_right_numbers() {
    let targets: &[(&str, &[&str])] = &[("sense1", &["/", "/sales"]), ("sense2", &["/"])];
    let fixture = Fixture::new(targets, "    site: west");
    fixture.site.set_sessions("sense1", "/", &sessions(5));
    fixture.site.set_sessions("sense1", "/sales", &sessions(3));
    fixture.site.set_sessions("sense2", "/", &sessions(7));
    let loki = Loki::start();
    let to = format!("http://127.0.0.1:{}", loki.port);
    let edits = [("http://localhost:3100", &*to)];
    let mut vector = Agent::vector(&fixture, None, &["loki", "file"], &edits);
    vector.wait_for("three polls", |vector| vector.polls() >= 3);
    // What it has said before must not be taken for its count now.
    fixture.site.set_fault("sense2", "/", Some(qlik_sessions::site::Fault::Status(503)));
    vector.wait_for("a failure", |vector| {
        vector.file_events().iter().any(|event| event["event"] == "poll_error")
    });
    vector.stop();

    let comments = loki_comments();
    let count = "sum by (server_name) (last_over_time({job=\"qlik-sessions\", event=~\"session_summary|poll_error\"} | json n=\"session_count\" | label_format n=\"{{ if .n }}{{ .n }}{{ else }}-1{{ end }}\" | unwrap n [2m]) by (server_name, virtual_proxy) >= 0)";
    assert!(comments.contains(count), "not in the file: {count}");
    let counts = wait_until("the counts", || {
        let counts = loki.ask("query", &[("query", count)])?["result"].clone();
        let only_one = counts.as_array()?.len() == 1;
        only_one.then_some(counts)
    });
    assert_eq!(counts[0]["metric"]["server_name"], "sense1");
    assert_eq!(counts[0]["value"][1], "8");

    let one_user = "{job=\"qlik-sessions\", event=\"session\"} | user=`LAB\\goran`";
    assert!(comments.contains(one_user), "not in the file: {one_user}");
    let one_user = one_user.replace("goran", "u6").replace("event=", "site=\"west\", event=");
    let lines =
        loki.ask("query_range", &[("limit", "1000"), ("query", &one_user)]).expect("an answer");
    let found: usize = lines["result"]
        .as_array()
        .expect("streams")
        .iter()
        .map(|stream| stream["values"].as_array().expect("values").len())
        .sum();
    let events = vector.file_events();
    let due =
        events.iter().filter(|event| event["user"] == "LAB\\u6" && event["event"] == "session");
    assert_eq!(found, due.count());
    // Only the program's log has no site.
    let without =
        loki.ask("series", &[("match[]", "{job=\"qlik-sessions\", site=\"\", event!=\"log\"}")]);
    assert_eq!(without, Some(json!([])));
}

fn mqtt_messages_come_at_butler_sos_topics() {
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], "");
    // More than Vector's default packet of 10 KiB.
    fixture.site.set_sessions("sense1", "/sales", &sessions(2_000));
    let broker = Mosquitto::start();
    let port = broker.port;
    let mut subscriber = Command::new("mosquitto_sub");
    subscriber.args(["-p", &port.to_string(), "-t", "butler-sos/#", "-F", "%t %p"]);
    let received = fixture.path("received");
    let _subscriber = Backend::start(subscriber, &received);
    // What is published before it has subscribed does not come.
    wait_until("the subscription", || {
        let _ = Command::new("mosquitto_pub")
            .args(["-p", &port.to_string(), "-t", "butler-sos/ready", "-m", "ready"])
            .status();
        fs::read_to_string(&received).ok()?.contains("butler-sos/ready").then_some(())
    });
    let edits = [("port: 1883", &*format!("port: {port}"))];
    let mut vector = Agent::vector(&fixture, None, &["mqtt", "file"], &edits);
    vector.wait_for("two polls", |vector| vector.polls() >= 2);
    vector.stop();
    let events = vector.file_events();
    let emitted = ids(&program_events(&events));
    let messages = wait_until("every message", || {
        let text = fs::read_to_string(&received).ok()?;
        let messages: Vec<(String, Value)> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(topic, payload)| {
                Some((topic.to_owned(), serde_json::from_str::<Value>(payload).ok()?))
            })
            .filter(|(_, payload)| payload["event"] != "log")
            .collect();
        (messages.len() >= emitted.len()).then_some(messages)
    });
    let payloads: Vec<&Value> = messages.iter().map(|(_, payload)| payload).collect();
    assert_eq!(ids(&payloads), emitted);
    let summary = messages
        .iter()
        .find(|(topic, _)| topic == "butler-sos/127.0.0.1/usersession/sales")
        .expect("Butler SOS's topic");
    assert_eq!(summary.1["session_count"], 2_000);
    assert!(messages.iter().any(|(topic, _)| topic == "butler-sos/127.0.0.1/usersession/"));
    assert!(messages.iter().any(|(topic, _)| topic == "butler-sos/qlik-sessions/session"));
}
