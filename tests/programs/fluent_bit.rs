//! The shipped Fluent Bit configuration, run by a real Fluent Bit where one is
//! installed.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use crate::{
    Test,
    agents::{Agent, place_fluent_bit, shipped},
    capture::Capture,
    collector::{Collector, check_records},
    groups::split,
    outputs,
    support::{Fixture, free_port, get, of_kind, sessions, wait_until},
    tests,
};
use qlik_sessions::site::Fault;
use serde_json::Value;

const STATE: &str = "    stateFile: state.json";

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![
    ["fluent-bit"] each_configuration_passes_the_dry_run,
    ["fluent-bit"] every_event_arrives_once_with_its_id_and_time,
    ["fluent-bit"] an_outage_is_reported_and_the_end_leaves_no_orphan,
    ["fluent-bit"] influxdb_and_prometheus_get_flat_records,
    ["fluent-bit", "otelcol"] a_collector_gets_every_record_with_conventional_names,
];

const AGENT: &str = "fluent-bit";

fn each_configuration_passes_the_dry_run() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    for name in outputs(AGENT) {
        let config = place_fluent_bit(&fixture, fixture.folder.path(), &[&name], &[]);
        let output = Command::new("fluent-bit")
            .arg("--dry-run")
            .arg("-c")
            .arg(config)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("[error]"), "{name}: {said}");
    }
    let classic = Command::new("fluent-bit")
        .current_dir(shipped(AGENT).join("classic"))
        .args(["--dry-run", "-c", "qlik-sessions.conf"])
        .output()
        .expect("it runs");
    assert!(classic.status.success(), "{}", String::from_utf8_lossy(&classic.stderr));
}

/// Sorted ids, and how often each came: no id may come twice.
fn once_each<'a>(ids: impl Iterator<Item = &'a str>, what: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for id in ids {
        assert!(seen.insert(id.to_owned()), "{what}: {id} came twice");
    }
    seen
}

/// The ids of the events of the first so many polls.
fn ids_of_first_polls(events: &[Value], count: usize) -> BTreeSet<String> {
    let times: BTreeSet<&str> =
        events.iter().filter_map(|event| event["timestamp"].as_str()).collect();
    let due: BTreeSet<&str> = times.into_iter().take(count).collect();
    events
        .iter()
        .filter(|event| event["timestamp"].as_str().is_some_and(|time| due.contains(time)))
        .filter_map(|event| event["event_id"].as_str().map(str::to_owned))
        .collect()
}

fn every_event_arrives_once_with_its_id_and_time() {
    for count in [100, 10_000] {
        let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], STATE);
        fixture.site.set_sessions("sense1", "/", &sessions(count));
        let capture = Capture::start();
        let port = capture.address.port().to_string();
        let edits = [
            ("host: localhost", "host: 127.0.0.1"),
            ("port: 9200", &*format!("port: {port}")),
            ("port: 3100", &*format!("port: {port}")),
            ("port: 8080", &*format!("port: {port}")),
        ];
        let mut fluent_bit =
            Agent::fluent_bit(&fixture, &["file", "elasticsearch", "loki", "http"], &edits);
        // Fluent Bit goes on polling until its very end, and keeps what it could
        // not send for its next start: the first two polls are long through then.
        wait_until("four polls", || {
            assert!(!fluent_bit.log().contains("[error]"), "{}", fluent_bit.log());
            (fluent_bit.polls() >= 4).then_some(())
        });
        fluent_bit.stop();

        let events = fluent_bit.file_events();
        once_each(events.iter().filter_map(|event| event["event_id"].as_str()), "file");
        let due = ids_of_first_polls(&events, 2);
        assert_eq!(due.len(), 2 * (count + 2 + 1), "every session of every poll");
        let times: BTreeMap<&str, &str> = events
            .iter()
            .map(|event| {
                (
                    event["event_id"].as_str().expect("an id"),
                    event["timestamp"].as_str().expect("a time"),
                )
            })
            .collect();

        let lines = capture.json_lines("/_bulk");
        let documents: Vec<(&Value, &Value)> =
            lines.chunks(2).map(|pair| (&pair[0]["index"], &pair[1])).collect();
        let stored = once_each(
            documents.iter().filter_map(|(action, _)| action["_id"].as_str()),
            "elasticsearch",
        );
        assert!(stored.is_superset(&due), "elasticsearch");
        for (action, document) in documents {
            let id = action["_id"].as_str().expect("an id");
            assert_eq!(document["@timestamp"], times[id], "to the millisecond");
            assert!(action.get("_type").is_none());
        }

        let mut pushed = Vec::new();
        for request in capture.requests("/loki/api/v1/push") {
            let body: Value = serde_json::from_str(&request.body).expect("JSON");
            for stream in body["streams"].as_array().expect("streams") {
                for value in stream["values"].as_array().expect("values") {
                    let id = value[2]["event_id"].as_str().expect("structured metadata").to_owned();
                    let nanoseconds: i64 =
                        value[0].as_str().expect("a time").parse().expect("a number");
                    let time: jiff::Timestamp = times[&*id].parse().expect("RFC 3339");
                    assert_eq!(nanoseconds / 1_000_000, time.as_millisecond(), "{id}");
                    pushed.push(id);
                }
            }
        }
        let pushed = once_each(pushed.iter().map(String::as_str), "loki");
        assert!(pushed.is_superset(&due), "loki");

        let posted: Vec<Value> = capture
            .requests("/qlik-sessions")
            .iter()
            .flat_map(|request| {
                serde_json::from_str::<Vec<Value>>(&request.body).expect("an array")
            })
            .collect();
        let posted =
            once_each(posted.iter().filter_map(|event| event["event_id"].as_str()), "http");
        assert!(posted.is_superset(&due), "http");
    }
}

fn an_outage_is_reported_and_the_end_leaves_no_orphan() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    fixture.site.set_fault("sense1", "/", Some(Fault::NoAnswer));
    let mut fluent_bit = Agent::fluent_bit(&fixture, &["file"], &[]);
    let errors = wait_until("two failures", || {
        let events = fluent_bit.file_events();
        let errors: Vec<Value> = of_kind(&events, "poll_error").into_iter().cloned().collect();
        (errors.len() >= 2).then_some(errors)
    });
    assert_eq!(errors[0]["category"], "timeout");
    assert_eq!(errors[1]["consecutive_failures"], 2, "the state file joins the runs");
    // A run is waiting for the site at this moment.
    fluent_bit.stop();
    let config = fixture.config.to_str().expect("UTF-8");
    wait_until("the end of the last run", || {
        let orphans =
            Command::new("pgrep").args(["-f", config]).output().expect("pgrep runs").stdout;
        orphans.is_empty().then_some(())
    });
}

fn influxdb_and_prometheus_get_flat_records() {
    let fixture =
        Fixture::new(&[("sense1", &["/", "/sales"])], "    stateFile: state.json\n    site: west");
    fixture.site.set_sessions("sense1", "/", &sessions(3));
    fixture.site.set_fault("sense1", "/sales", Some(Fault::Status(503)));
    let capture = Capture::start();
    let exporter = free_port();
    let edits = [
        ("host: localhost", "host: 127.0.0.1"),
        ("host: 0.0.0.0", "host: 127.0.0.1"),
        ("port: 8086", &*format!("port: {}", capture.address.port())),
        ("port: 9599", &*format!("port: {exporter}")),
    ];
    let mut fluent_bit = Agent::fluent_bit(&fixture, &["influxdb", "prometheus", "file"], &edits);
    wait_until("a poll", || (fluent_bit.polls() >= 1).then_some(()));
    let has = |kind: &str| (!of_kind(&fluent_bit.file_events(), kind).is_empty()).then_some(());
    fixture.site.set_sessions("sense1", "/", &sessions(4));
    wait_until("a start", || has("session_started"));
    fixture.site.set_sessions("sense1", "/", &sessions(3));
    wait_until("an end", || has("session_ended"));
    let scraped = wait_until("the gauges", || {
        get(exporter, "/metrics").filter(|text| text.contains("duration_seconds_count"))
    });
    std::thread::sleep(Duration::from_secs(2));
    fluent_bit.stop();
    let lines: Vec<String> = capture
        .requests("/write")
        .iter()
        .flat_map(|request| request.body.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let line = |start: &str| {
        lines
            .iter()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start} is not in {lines:#?}\n{}", fluent_bit.log()))
    };
    let summary = line("user_session_summary,");
    assert!(
        summary.contains("session_count=3i") && summary.contains("user_session_virtual_proxy=/"),
        "{summary}"
    );
    assert!(
        line("user_session_list,").contains(r#"session_user_id_list="LAB\\u0,LAB\\u1,LAB\\u2""#),
        "{lines:#?}"
    );
    assert!(
        line("butler_sos_errors,").contains(",virtual_proxy=/sales error_category=\"http_5xx\""),
        "{lines:#?}"
    );
    assert!(line("user_session_details,").contains("user_id=\"u"), "{lines:#?}");
    assert!(summary.contains(",site=west,") && summary.contains(",user_count=3i"), "{summary}");
    let events = fluent_bit.file_events();
    let milliseconds = |event: &Value, key: &str| {
        let time: jiff::Timestamp = event[key].as_str().expect("a time").parse().expect("RFC 3339");
        format!(",{key}={}i", time.as_millisecond())
    };
    let started = of_kind(&events, "session_started")[0];
    let point = line("qlik_session_started,");
    assert!(point.contains(&milliseconds(started, "first_seen")), "{point}");
    let ended = of_kind(&events, "session_ended")[0];
    let point = line("qlik_session_ended,");
    assert!(point.contains(&milliseconds(ended, "last_seen")), "{point}");
    assert!(
        point.contains(&format!(",duration_seconds={}i", ended["duration_seconds"])),
        "{point}"
    );
    let expires = of_kind(&events, "session_summary")[0];
    assert!(summary.contains(&milliseconds(expires, "server_certificate_expires")), "{summary}");
    assert!(
        line("qlik_sessions_site,incomplete=true,site=west ").contains("session_count=3i"),
        "{lines:#?}"
    );

    assert!(
        scraped.contains(
            "qlik_sessions_sessions{server_name=\"sense1\",virtual_proxy=\"/\",site=\"west\"} 3"
        ),
        "{scraped}"
    );
    assert!(
        scraped.contains(
            "qlik_sessions_up{server_name=\"sense1\",virtual_proxy=\"/sales\",site=\"west\"} 0"
        ),
        "{scraped}"
    );
    assert!(
        scraped.to_lowercase().contains(
            "qlik_sessions_sessions{server_name=\"sense1\",virtual_proxy=\"/sales\",site=\"west\"} nan"
        ),
        "{scraped}"
    );
    for counted in [
        "started_total{server_name=\"sense1\",virtual_proxy=\"/\",site=\"west\"} 1",
        "ended_total{server_name=\"sense1\",virtual_proxy=\"/\",site=\"west\"} 1",
        "session_duration_seconds_count{server_name=\"sense1\",virtual_proxy=\"/\",site=\"west\"} 1",
        "users_at_session_limit{site=\"west\"} 0",
    ] {
        assert!(scraped.contains(&format!("qlik_sessions_{counted}")), "{counted}: {scraped}");
    }
    let failures = "qlik_sessions_poll_errors_total{server_name=\"sense1\",virtual_proxy=\"/sales\",site=\"west\",category=\"http_5xx\"}";
    assert!(scraped.contains(failures), "{scraped}");
    assert!(scraped.contains("qlik_sessions_targets_failed{site=\"west\"} 1"), "{scraped}");
}

fn a_collector_gets_every_record_with_conventional_names() {
    let options = format!("{STATE}\n    sessionDetails: grouped");
    let fixture = Fixture::new(&[("sense1", &["/"])], &options);
    // More than one batch of the plugin's default.
    fixture.site.set_sessions("sense1", "/", &sessions(1_200));
    let collector = Collector::start();
    let edits = [
        ("host: localhost", "host: 127.0.0.1"),
        ("port: 4318", &*format!("port: {}", collector.port)),
    ];
    let mut fluent_bit = Agent::fluent_bit(&fixture, &["opentelemetry", "file"], &edits);
    wait_until("three polls", || (fluent_bit.polls() >= 3).then_some(()));
    fluent_bit.stop();
    let events = split(&fluent_bit.file_events());
    let due = ids_of_first_polls(&events, 2);
    let arrived = once_each(collector.ids().iter().map(String::as_str), "opentelemetry");
    assert!(arrived.is_superset(&due), "{} of {}", arrived.len(), due.len());
    check_records(&collector, "s7");
}
