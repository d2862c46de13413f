//! One poll and many: what a site's sessions become on stdout.

mod support;

use std::{collections::HashSet, time::Duration};

use qlik_sessions::site::{Fault, SimulatedSession};
use serde_json::json;
use support::{
    Finished, Fixture, assert_valid, named_sessions, of_kind, of_target, program, sessions, texts,
};

#[test]
fn once_prints_every_session_of_every_target() {
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(10));
    fixture.site.set_sessions("sense1", "/sales", &sessions(3));

    let run = fixture.once();

    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let events = run.events();
    assert_valid(&events);
    assert_eq!(of_target(&events, "session", "/").len(), 10);
    assert_eq!(of_target(&events, "session", "/sales").len(), 3);
    let summary = of_target(&events, "session_summary", "/sales")[0];
    assert_eq!(summary["session_count"], 3);
    assert_eq!(summary["user_count"], 3);
    assert_eq!(summary["users"], json!(["LAB\\u0", "LAB\\u1", "LAB\\u2"]));
    assert_eq!(summary["server_name"], "sense1");
    assert_eq!(summary["server_host"], "sense1.example.com");
    assert_eq!(summary["server_description"], "Simulated node sense1");
    assert_eq!(summary["tags"], json!({"environment": "demo"}));
    let site = events.last().expect("there are events");
    assert_eq!(site["event"], "site_summary", "it comes last");
    assert_eq!((&site["session_count"], &site["user_count"]), (&json!(13), &json!(10)));
    assert_eq!((&site["targets"], &site["targets_failed"]), (&json!(2), &json!(0)));
    let ids: HashSet<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
    assert_eq!(ids.len(), events.len(), "event ids are unique");
    let times: HashSet<&str> =
        events.iter().filter_map(|event| event["timestamp"].as_str()).collect();
    assert_eq!(times.len(), 1, "all events of a poll have its time");
}

#[test]
fn nobody_connected_is_an_answer_too() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    let run = fixture.once();
    assert_eq!(run.code, Some(0));
    let events = run.events();
    assert_eq!(of_kind(&events, "session_summary")[0]["session_count"], 0);
    assert_eq!(of_kind(&events, "session_summary")[0]["users"], json!([]));
    assert_eq!(events.len(), 2);
}

#[test]
fn the_same_answer_transformed_has_the_same_event_ids() {
    let fixture = Fixture::new(&[("sense1", &["/sales"])], "");
    let people = sessions(20);
    fixture.site.set_sessions("sense1", "/sales", &people);
    let polled = fixture.once().events();
    let timestamp = polled[0]["timestamp"].as_str().expect("a time");

    let mut transform = program();
    transform.args([
        "transform",
        "--server-name",
        "sense1",
        "--virtual-proxy",
        "sales",
        "--timestamp",
        timestamp,
    ]);
    let answer = serde_json::to_vec(&people).expect("JSON");
    let run = Finished::with_stdin(transform, &answer);

    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let transformed = run.events();
    assert_valid(&transformed);
    for kind in ["session", "session_summary"] {
        assert_eq!(
            texts(&of_kind(&polled, kind), "event_id"),
            texts(&of_kind(&transformed, kind), "event_id"),
            "{kind}"
        );
    }
}

#[test]
fn every_request_has_a_key_of_its_own_and_connections_are_kept() {
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], "");
    let mut stream = fixture.stream();
    for _ in 0..3 {
        stream.poll();
    }
    let requests = fixture.site.requests();
    let keys: HashSet<&str> = requests.iter().map(|request| request.xrfkey.as_str()).collect();
    assert_eq!(keys.len(), requests.len());
    assert!(
        keys.iter()
            .all(|key| key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    );
    let connections: HashSet<u64> = requests.iter().map(|request| request.connection).collect();
    assert!(
        connections.len() <= 2,
        "two targets need no more than two connections: {connections:?}"
    );
}

#[test]
fn one_bad_target_delays_and_spoils_no_other() {
    let fixture = Fixture::new(&[("sense1", &["/", "/sick"]), ("sense2", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(2));
    fixture.site.set_sessions("sense2", "/", &sessions(4));
    for fault in Fault::all() {
        let fault =
            if let Fault::Slow(_) = fault { Fault::Slow(Duration::from_secs(30)) } else { fault };
        let fine = matches!(fault, Fault::HugeList(_));
        let timeout = if fine { 20_000 } else { 900 };
        fixture.configure(Duration::from_secs(30), &format!("    timeout: {timeout}"));
        fixture.site.set_fault("sense1", "/sick", Some(fault.clone()));

        let run = fixture.once();

        let events = run.events();
        assert_valid(&events);
        assert_eq!(run.code, Some(i32::from(!fine)), "{fault}");
        assert_eq!(
            of_kind(&events, "poll_error").len(),
            usize::from(!fine),
            "{fault}: {events:#?}"
        );
        assert_eq!(
            of_target(&events, "session_summary", "/sick").len(),
            usize::from(fine),
            "{fault}"
        );
        assert_eq!(of_target(&events, "session_summary", "/").len(), 2, "{fault}");
        let site = events.last().expect("there are events");
        assert_eq!(site["targets_failed"], usize::from(!fine), "{fault}");
        if let [error] = of_kind(&events, "poll_error")[..] {
            assert!(error["hint"].as_str().is_some_and(|hint| hint.len() > 10), "{error}");
        } else {
            assert_eq!(of_target(&events, "session", "/sick").len(), 20_000);
        }
    }
}

#[test]
fn each_fault_has_its_category() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    timeout: 700\n    maxBodyBytes: 100000");
    fixture.site.set_sessions("sense1", "/", &sessions(10));
    for (fault, category) in [
        (Fault::LoginPage, "login_page"),
        (Fault::Redirect, "login_page"),
        (Fault::Slow(Duration::from_secs(30)), "timeout"),
        (Fault::NoAnswer, "timeout"),
        (Fault::StallBody, "timeout"),
        (Fault::CloseMidBody, "connection_reset"),
        (Fault::Reset, "connection_reset"),
        (Fault::Garbage, "invalid_body"),
        (Fault::TruncatedJson, "invalid_body"),
        (Fault::EmptyBody, "invalid_body"),
        (Fault::JsonObject, "invalid_body"),
        (Fault::HugeList(2_000), "body_too_large"),
        (Fault::Xsrf, "xsrf_rejected"),
        (Fault::Status(401), "auth_error"),
        (Fault::Status(403), "auth_error"),
        (Fault::Status(404), "not_found"),
        (Fault::Status(418), "http_4xx"),
        (Fault::Status(429), "rate_limited"),
        (Fault::Status(503), "http_5xx"),
    ] {
        fixture.site.set_fault("sense1", "/", Some(fault.clone()));
        let events = fixture.once().events();
        let error = of_kind(&events, "poll_error")[0];
        assert_eq!(error["category"], category, "{fault}: {error}");
        if let Fault::Status(status) = fault {
            assert_eq!(error["http_status"], status);
        }
    }
    fixture.site.stop("sense1");
    fixture.configure(Duration::from_secs(30), "");
    assert_eq!(
        of_kind(&fixture.once().events(), "poll_error")[0]["category"],
        "connection_refused"
    );
    fixture.edit("\"127.0.0.1:", "\"no-such-host.invalid:");
    assert_eq!(of_kind(&fixture.once().events(), "poll_error")[0]["category"], "host_not_found");
}

#[test]
fn a_target_that_stalls_does_not_hold_the_others_events_back() {
    let fixture = Fixture::new(&[("sense1", &["/", "/slow"])], "");
    fixture.configure(Duration::from_secs(30), "    timeout: 5000");
    fixture.site.set_sessions("sense1", "/", &sessions(2));
    fixture.site.set_fault("sense1", "/slow", Some(Fault::NoAnswer));
    let mut stream = fixture.stream();
    let first = stream.next().expect("an event");
    assert_eq!(first["event"], "session_summary");
    let shown = jiff::Timestamp::now();
    let started: jiff::Timestamp =
        first["timestamp"].as_str().expect("a time").parse().expect("RFC 3339");
    // The stalled one has its five seconds; the other's events are long there.
    assert!(shown.duration_since(started).as_secs_f64() < 4.0);
    let poll = stream.poll();
    assert_eq!(of_kind(&poll, "poll_error")[0]["category"], "timeout");
}

#[test]
fn a_poll_ends_before_the_next_one_begins() {
    let fixture = Fixture::new(&[("sense1", &["/", "/slow"])], "    timeout: 60000");
    fixture.site.set_fault("sense1", "/slow", Some(Fault::NoAnswer));
    let mut stream = fixture.stream();
    for _ in 0..3 {
        let poll = stream.poll();
        let site = poll.last().expect("a site_summary");
        assert!(site["duration_ms"].as_u64().expect("a number") < 1_000, "{site}");
        assert_eq!(site["polls_skipped"], 0);
    }
}

#[test]
fn a_server_that_is_down_is_not_asked_for_each_virtual_proxy() {
    let prefixes: Vec<String> = (0..20).map(|n| format!("/vp{n}")).collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let fixture = Fixture::new(&[("sense1", &prefixes)], "    concurrencyPerServer: 1");
    fixture.site.set_fault("sense1", "/vp0", Some(Fault::Reset));
    let mut stream = fixture.stream();
    stream.poll();
    fixture.site.stop("sense1");
    let poll = stream.poll_until(|poll| of_kind(poll, "poll_error").len() == 20);
    // Windows tries a port that refuses for two seconds, longer than this poll may take.
    assert!(of_kind(&poll, "poll_error").iter().all(|error| {
        error["category"] == "connection_refused" || cfg!(windows) && error["category"] == "timeout"
    }));
    fixture.site.restart("sense1");
    fixture.site.set_fault("sense1", "/vp0", None);
    stream.poll_until(|poll| of_kind(poll, "session_summary").len() == 20);
}

/// Servers that accept and stay silent keep no healthy one from its turn.
#[test]
fn servers_that_hang_starve_no_other() {
    let silent: Vec<std::net::TcpListener> =
        (0..8).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.configure(Duration::from_secs(2), "");
    fixture.site.set_sessions("sense1", "/", &sessions(2));
    let servers: String = silent
        .iter()
        .enumerate()
        .map(|(n, listener)| {
            let address = listener.local_addr().expect("an address");
            format!("      - {{host: hung{n}, userSessions: {{enable: true, host: \"{address}\", virtualProxies: [{{virtualProxy: /a}}, {{virtualProxy: /b}}, {{virtualProxy: /c}}, {{virtualProxy: /d}}]}}}}\n")
        })
        .collect();
    fixture.edit("    servers:\n", &format!("    servers:\n{servers}"));
    let mut stream = fixture.stream();
    for _ in 0..3 {
        let poll = stream.poll();
        assert_eq!(of_kind(&poll, "session_summary").len(), 1, "the healthy one answers");
        let errors = of_kind(&poll, "poll_error");
        assert_eq!(errors.len(), 32);
        for error in errors {
            let message = error["message"].as_str().expect("a text");
            assert!(!message.contains("within 0s"), "{message}");
        }
    }
}

/// A server that closes all kept connections at once says nothing about itself.
#[test]
fn kept_connections_that_are_gone_are_no_failures() {
    let prefixes = ["/a", "/b", "/c", "/d"];
    let fixture = Fixture::new(&[("sense1", &prefixes)], "");
    let mut stream = fixture.stream();
    for _ in 0..3 {
        let poll = stream.poll();
        assert_eq!(of_kind(&poll, "poll_error").len(), 0, "{poll:#?}");
        fixture.site.stop("sense1");
        fixture.site.restart("sense1");
    }
}

#[test]
fn a_site_has_its_name_on_every_event_and_in_every_id() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    site: berlin");
    fixture.site.set_sessions("sense1", "/", &sessions(2));
    let named = fixture.once().events();
    assert_valid(&named);
    assert!(named.iter().all(|event| event["site"] == "berlin"));
    let transform = |site: bool| {
        let mut transform = program();
        transform.args(["transform", "--timestamp", "2026-11-23T17:34:00.713Z"]);
        if site {
            transform.arg("-c").arg(&fixture.config);
        }
        let answer = serde_json::to_vec(&sessions(2)).expect("JSON");
        let run = Finished::with_stdin(transform, &answer);
        assert!(!run.stderr.contains("poll"), "{}", run.stderr);
        run.events().iter().map(|event| event["event_id"].to_string()).collect::<Vec<_>>()
    };
    assert!(transform(true).iter().zip(transform(false)).all(|(with, without)| *with != without));
}

#[test]
fn users_at_the_session_limit_are_named_over_the_whole_site() {
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], "    sessionLimit: 3");
    let held = |ids: &[&str], user: &str| -> Vec<SimulatedSession> {
        ids.iter().map(|id| SimulatedSession::new(id, "LAB", user)).collect()
    };
    fixture.site.set_sessions("sense1", "/", &held(&["s1", "s2"], "goran"));
    fixture.site.set_sessions("sense1", "/sales", &held(&["s3"], "Goran"));
    let events = fixture.once().events();
    assert_valid(&events);
    let site = events.last().expect("a site_summary");
    assert_eq!((&site["user_count"], &site["users_at_session_limit"]), (&json!(1), &json!(1)));
    assert_eq!(site["users_at_limit"], json!(["LAB\\goran"]));
    let who = Finished::of(fixture.command("who"));
    assert!(who.stdout.contains("LAB\\goran: 3 sessions"), "{}", who.stdout);
    fixture.configure(Duration::from_secs(1), "    sessionLimit: 3\n    userIds: omit");
    let events = fixture.once().events();
    let site = events.last().expect("a site_summary");
    assert_eq!(site["users_at_session_limit"], 1);
    assert!(site.get("users_at_limit").is_none());
}

#[test]
fn failures_in_a_row_are_counted_and_logged_once() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_fault("sense1", "/", Some(Fault::Status(500)));
    let mut stream = fixture.stream();
    for failures in 1..=3 {
        let poll = stream.poll();
        assert_eq!(of_kind(&poll, "poll_error")[0]["consecutive_failures"], failures);
    }
    fixture.site.set_fault("sense1", "/", None);
    stream.poll_until(|poll| of_kind(poll, "session_summary").len() == 1);
    stream.kill();
    let (_, stderr) = stream.wait();
    assert_eq!(stderr.matches("http_5xx").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("answers again after 3 failed polls").count(), 1, "{stderr}");
}

#[test]
fn names_that_need_care_arrive_as_they_are() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    let names = [
        "quote\"",
        "line\nbreak",
        "😀",
        "back\\slash",
        "\u{1}\u{7f}",
        "tab\t",
        "",
        " blank ",
        "ÅÄÖ",
        "\u{2028}",
    ];
    let people: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| SimulatedSession::new(&format!("s{n}"), "L\\AB", name))
        .collect();
    fixture.site.set_sessions("sense1", "/", &people);
    let run = fixture.once();
    assert_eq!(run.stdout.lines().count(), names.len() + 2, "one line for each event");
    let events = run.events();
    let shown: Vec<&str> =
        of_kind(&events, "session").iter().filter_map(|event| event["user_id"].as_str()).collect();
    assert_eq!(shown, names);
    let users: HashSet<String> = names.iter().map(|name| format!("L\\AB\\{name}")).collect();
    let summary = of_kind(&events, "session_summary")[0];
    let listed: HashSet<String> = summary["users"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|user| user.as_str().map(str::to_owned))
        .collect();
    assert_eq!(listed, users);
}

#[test]
fn half_a_surrogate_pair_spoils_only_itself() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    let body = br#"[{"UserDirectory":"LAB","UserId":"cut\ud83d","SessionId":"s1"},{"UserDirectory":"LAB","UserId":"\ud83d\ude00","SessionId":"s2","Attributes":null,"NewUser":{"a":[1]}}]"#;
    fixture.site.set_body("sense1", "/", body.to_vec());
    let events = fixture.once().events();
    let mut users = texts(&of_kind(&events, "session"), "user_id");
    users.sort();
    assert_eq!(users, ["cut\u{fffd}", "😀"]);
}

/// A session without a name is still a session; one that comes twice is one.
#[test]
fn what_is_missing_in_a_session_is_left_out_and_the_session_counts() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    let body = r#"[
        {"UserDirectory":"LAB","UserId":null,"SessionId":"s1"},
        {"UserDirectory":null,"UserId":"b","SessionId":"s2"},
        {"UserDirectory":7,"UserId":4711,"SessionId":"s3"},
        {"UserDirectory":"LAB","UserId":"c","SessionId":null},
        {"UserDirectory":"lab","UserId":"C","SessionId":"s5"},
        {"UserDirectory":"lab","UserId":"C","SessionId":"s5"}]"#;
    fixture.site.set_body("sense1", "/", body.as_bytes().to_vec());
    let run = fixture.once();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let events = run.events();
    assert_valid(&events);
    let summary = of_kind(&events, "session_summary")[0];
    assert_eq!(summary["session_count"], 5);
    assert_eq!(summary["users"], json!(["7\\4711", "LAB\\c", "\\b"]), "the first spelling");
    assert_eq!(summary["user_count"], 3);
    let sessions = of_kind(&events, "session");
    assert_eq!(sessions.len(), 5);
    assert!(sessions[0].get("user_id").is_none() && sessions[0].get("user").is_none());
    assert_eq!(sessions[4]["user"], "lab\\C", "its own spelling");
    assert_eq!(run.stderr.matches("3 of 5 sessions have no text").count(), 1, "{}", run.stderr);
}

#[test]
fn an_entry_that_is_no_session_spoils_the_count_and_so_the_answer() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    for body in [
        r#"[{"UserDirectory":"LAB","UserId":"u"}]"#,
        r#"[{"UserDirectory":"LAB","UserId":["u"],"SessionId":"s"}]"#,
        r#"["s"]"#,
        "[[]]",
        r#"[{"UserDirectory":"LAB","UserId":"u","SessionId":"s"}] trailing"#,
        "null",
        "12",
    ] {
        fixture.site.set_body("sense1", "/", body.as_bytes().to_vec());
        let events = fixture.once().events();
        assert_eq!(of_kind(&events, "poll_error")[0]["category"], "invalid_body", "{body}");
        assert!(of_kind(&events, "session_summary").is_empty(), "{body}");
    }
}

#[test]
fn no_line_exceeds_the_limit_and_counts_stay_right() {
    let fixture =
        Fixture::new(&[("sense1", &["/"])], "    maxLineBytes: 4096\n    attributes: true");
    let mut people = sessions(2_000);
    people[7].attributes = vec![[("group".to_owned(), "x".repeat(9_000))].into()];
    people.push(SimulatedSession::new("long", "LAB", &"y".repeat(5_000)));
    fixture.site.set_sessions("sense1", "/", &people);
    let run = fixture.once();
    assert!(run.stdout.lines().all(|line| line.len() < 4_096));
    let events = run.events();
    let summary = of_kind(&events, "session_summary")[0];
    assert_eq!(summary["session_count"], 2_001);
    assert_eq!(summary["user_count"], 2_001);
    let listed = summary["users"].as_array().expect("a list").len() as u64;
    assert!(listed > 100);
    assert_eq!(summary["users_omitted"].as_u64(), Some(2_001 - listed));
    let shown = of_kind(&events, "session");
    assert_eq!(shown.len(), 2_000, "the one that cannot be shown is left out");
    assert!(
        shown.iter().any(|event| event["session_id"] == "s7"),
        "a session is worth more than its attributes"
    );
    assert!(run.stderr.contains("1 session events did not fit"), "{}", run.stderr);
}

#[test]
fn attributes_are_sent_when_asked_for() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    attributes: true");
    let body = r#"[
        {"UserDirectory":"LAB","UserId":"a","SessionId":"s1","Attributes":[{"group":"x"},{"group":"y"},{"email":""}]},
        {"UserDirectory":"LAB","UserId":"b","SessionId":"s2","Attributes":null},
        {"UserDirectory":"LAB","UserId":"c","SessionId":"s3"}]"#;
    fixture.site.set_body("sense1", "/", body.as_bytes().to_vec());
    let events = fixture.once().events();
    assert_valid(&events);
    let shown = of_kind(&events, "session");
    assert_eq!(shown[0]["attributes"], json!({"group": ["x", "y"], "email": [""]}));
    assert_eq!(shown.len(), 3);
    fixture.configure(Duration::from_secs(1), "");
    assert!(
        of_kind(&fixture.once().events(), "session")
            .iter()
            .all(|event| event.get("attributes").is_none())
    );
}

#[test]
fn excluded_users_are_left_out_or_count_as_in_butler_sos() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2", "s3"]));
    fixture.edit(
        "excludeUser: null",
        "excludeUser: [{directory: lab, userId: 'U1'}, {directory: '*', userId: 'u?2'}]",
    );
    let events = fixture.once().events();
    let summary = of_kind(&events, "session_summary")[0];
    assert_eq!(summary["session_count"], 2);
    assert_eq!(summary["excluded_session_count"], 1);
    assert_eq!(summary["users"], json!(["LAB\\u2", "LAB\\u3"]));
    assert_eq!(of_kind(&events, "session").len(), 2);
    fixture.edit("sessionSource:\n", "sessionSource:\n    excludedUsersCount: true\n");
    let events = fixture.once().events();
    assert_eq!(of_kind(&events, "session_summary")[0]["session_count"], 3);
    assert_eq!(of_kind(&events, "session").len(), 2);
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    let mut once = fixture.command("once");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"] {
        once.env(variable, "http://127.0.0.1:1");
    }
    assert_eq!(Finished::of(once).code, Some(0));
}

#[test]
fn one_node_under_two_names_is_logged_once() {
    let fixture = Fixture::new(&[("sense1", &["/"]), ("sense2", &["/"]), ("sense3", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(2));
    fixture.site.set_sessions("sense2", "/", &sessions(3));
    fixture.site.set_sessions("sense3", "/", &named_sessions(&["s7"]));
    let mut stream = fixture.stream();
    for _ in 0..3 {
        stream.poll();
    }
    stream.terminate();
    let (code, stderr) = stream.wait();
    assert_eq!(code, Some(0), "{stderr}");
    let said: Vec<&str> = stderr.lines().filter(|line| line.contains("show the same")).collect();
    assert_eq!(said.len(), 1, "{stderr}");
    assert!(said[0].contains("sense1 and sense2 show the same sessions: 2;"), "{stderr}");
}
