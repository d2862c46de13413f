//! Sessions over time: who came, who left, over restarts, crashes and outages.

mod support;

use std::{collections::BTreeSet, fs, path::Path, thread, time::Duration};

use qlik_sessions::site::Fault;
use serde_json::Value;
use support::{Finished, Fixture, assert_valid, named_sessions, of_kind, of_target, texts};

const STATE: &str = "    stateFile: state.json";

fn started_and_ended(events: &[Value]) -> (Vec<String>, Vec<String>) {
    (
        texts(&of_kind(events, "session_started"), "session_id"),
        texts(&of_kind(events, "session_ended"), "session_id"),
    )
}

#[test]
fn starts_and_ends_are_found_between_polls() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2"]));
    let mut stream = fixture.stream();
    let first = stream.poll();
    assert_eq!(started_and_ended(&first), (vec![], vec![]), "the first poll is the baseline");

    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s2", "s3"]));
    let second = stream.poll_until(|poll| !of_kind(poll, "session_started").is_empty());

    assert_eq!(started_and_ended(&second), (vec!["s3".to_owned()], vec!["s1".to_owned()]));
    let ended = of_kind(&second, "session_ended")[0];
    assert_eq!(ended["user"], "LAB\\u1");
    assert_eq!(ended["first_seen"], first[0]["timestamp"]);
    let time = |key: &str| {
        ended[key].as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339")
    };
    let lasted =
        (time("last_seen").as_millisecond() - time("first_seen").as_millisecond()) as f64 / 1_000.0;
    assert_eq!(ended["duration_seconds"].as_f64(), Some(lasted.round()));
    let stayed = of_kind(&second, "session")
        .into_iter()
        .find(|event| event["session_id"] == "s2")
        .expect("s2");
    assert_eq!(stayed["first_seen"], first[0]["timestamp"]);
    assert_valid(&stream.seen);
}

#[test]
fn an_outage_ends_nobody_and_afterwards_the_difference_is_reported() {
    let fixture = Fixture::new(&[("sense1", &["/"]), ("sense2", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2"]));
    let mut stream = fixture.stream();
    stream.poll();
    fixture.site.set_fault("sense1", "/", Some(Fault::Status(503)));
    let failed = stream.poll_until(|poll| !of_kind(poll, "poll_error").is_empty());
    assert_eq!(started_and_ended(&failed), (vec![], vec![]));
    let site = failed.last().expect("a site_summary");
    assert_eq!(
        (&site["session_count"], &site["targets_failed"]),
        (&Value::from(0), &Value::from(1))
    );
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s2", "s3"]));
    fixture.site.set_fault("sense1", "/", None);
    let after = stream.poll_until(|poll| of_kind(poll, "poll_error").is_empty());
    assert_eq!(started_and_ended(&after), (vec!["s3".to_owned()], vec!["s1".to_owned()]));
}

#[test]
fn the_state_file_joins_runs() {
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], STATE);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2"]));
    let first = fixture.once();
    assert_eq!(started_and_ended(&first.events()), (vec![], vec![]));
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s2", "s3"]));
    let second = fixture.once().events();
    assert_eq!(started_and_ended(&second), (vec!["s3".to_owned()], vec!["s1".to_owned()]));
    let ended = of_kind(&second, "session_ended")[0];
    assert_eq!(ended["first_seen"], first.events()[0]["timestamp"]);
    assert_eq!(ended["last_seen"], first.events()[0]["timestamp"]);
    assert_eq!(started_and_ended(&fixture.once().events()), (vec![], vec![]), "sent once");
    fixture.site.stop("sense1");
    assert_eq!(of_kind(&fixture.once().events(), "poll_error")[0]["consecutive_failures"], 1);
    assert_eq!(
        of_kind(&fixture.once().events(), "poll_error")[0]["consecutive_failures"],
        2,
        "over runs too"
    );
    fixture.site.restart("sense1");
    assert_eq!(started_and_ended(&fixture.once().events()), (vec![], vec![]));
}

#[test]
fn events_that_are_sent_again_keep_their_ids() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    fixture.once();
    let saved = fs::read(fixture.path("state.json")).expect("the state file is there");
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s2"]));
    let sent = fixture.once().events();
    // As if it had crashed before it saved.
    fs::write(fixture.path("state.json"), saved).expect("written");
    let again = fixture.once().events();
    for kind in ["session_started", "session_ended"] {
        assert_eq!(of_kind(&sent, kind).len(), 1);
        assert_eq!(
            of_kind(&sent, kind)[0]["event_id"],
            of_kind(&again, kind)[0]["event_id"],
            "{kind}"
        );
    }
}

#[test]
fn a_target_that_leaves_the_configuration_ends_nobody() {
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], STATE);
    fixture.site.set_sessions("sense1", "/sales", &named_sessions(&["s1"]));
    fixture.once();
    fixture.edit("            - virtualProxy: \"/sales\"\n", "");
    assert_eq!(started_and_ended(&fixture.once().events()), (vec![], vec![]));
    fixture.configure(Duration::from_secs(1), STATE);
    fixture.site.set_sessions("sense1", "/sales", &named_sessions(&["s2"]));
    assert_eq!(
        started_and_ended(&fixture.once().events()),
        (vec![], vec![]),
        "a new target has a new baseline"
    );
}

#[test]
fn a_state_file_that_cannot_be_used_is_kept_aside() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    for (content, why) in [
        ("", "is damaged, or was not written by qlik-sessions"),
        ("{\"format\":\"qlik-sessions state\",\"version\":1,\"targets\":[", "is damaged"),
        ("{\"format\":\"something else\",\"version\":1}", "was not written by qlik-sessions"),
        ("{\"format\":\"qlik-sessions state\",\"version\":99,\"targets\":{}}", "is of version 99"),
        (
            "{\"format\":\"qlik-sessions state\",\"version\":1,\"targets\":[{\"target\":1}]}",
            "is damaged",
        ),
    ] {
        fs::write(fixture.path("state.json"), content).expect("written");
        let run = fixture.once();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains(why), "{why:?} is not in {}", run.stderr);
        let kept = kept_aside(fixture.folder.path());
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(fs::read_to_string(&kept[0]).expect("it is there"), content);
        fs::remove_file(&kept[0]).expect("removed");
        assert_eq!(started_and_ended(&fixture.once().events()), (vec![], vec![]), "it carries on");
    }
}

fn kept_aside(folder: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("state.json.kept-"))
        .collect()
}

#[test]
fn a_second_program_on_the_same_state_file_refuses() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    let mut stream = fixture.stream();
    stream.poll();
    let second = fixture.once();
    assert_eq!(second.code, Some(78));
    assert_eq!(second.stdout, "");
    assert!(second.stderr.contains("is in use by another qlik-sessions"), "{}", second.stderr);
    stream.kill();
    assert_eq!(fixture.once().code, Some(0));
}

/// On Unix it is the state file itself that is locked, also when it is written again;
/// on Windows nobody can delete the file beside it.
#[test]
fn a_deleted_lock_file_lets_no_second_program_in() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    let mut stream = fixture.stream();
    stream.poll();
    stream.poll();
    for entry in fs::read_dir(fixture.folder.path()).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().ends_with(".lock") {
            // Windows refuses.
            let _ = fs::remove_file(path);
        }
    }
    assert_eq!(fixture.once().code, Some(78));
}

#[test]
fn a_session_that_comes_twice_in_an_answer_is_one_and_does_not_end() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2", "s1"]));
    for _ in 0..3 {
        let events = fixture.once().events();
        assert_eq!(started_and_ended(&events), (vec![], vec![]));
        assert_eq!(of_kind(&events, "session_summary")[0]["session_count"], 2);
        assert_eq!(of_kind(&events, "session").len(), 2);
    }
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s2"]));
    assert_eq!(started_and_ended(&fixture.once().events()), (vec![], vec!["s1".to_owned()]));
}

/// A user who is excluded from now on did not leave; one who no longer is did not come.
#[test]
fn changed_exclusions_start_and_end_nobody() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2"]));
    fixture.once();
    fixture.edit("excludeUser: null", "excludeUser: [{directory: LAB, userId: u1}]");
    let events = fixture.once().events();
    assert_eq!(started_and_ended(&events), (vec![], vec![]));
    assert_eq!(of_kind(&events, "session_summary")[0]["excluded_session_count"], 1);
    fixture.edit("excludeUser: [{directory: LAB, userId: u1}]", "excludeUser: null");
    let events = fixture.once().events();
    assert_eq!(started_and_ended(&events), (vec![], vec![]));
    let back = of_kind(&events, "session").into_iter().find(|event| event["session_id"] == "s1");
    assert_eq!(back.expect("s1")["first_seen_at_baseline"], true, "its start is not known");
    fixture.site.set_sessions("sense1", "/", &[]);
    assert_eq!(started_and_ended(&fixture.once().events()).1.len(), 2);
}

/// The state file of the version before is read: no end is lost by an upgrade.
#[test]
fn the_state_of_the_version_before_is_read() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    fixture.once();
    let state = fs::read_to_string(fixture.path("state.json")).expect("the state file is there");
    let target = state.split("\"target\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let before = format!(
        r#"{{"format":"qlik-sessions state","version":1,"user_ids":"plain","targets":[{{"target":"{}","last_poll":1790000000000,"consecutive_failures":0,"sessions":[["s1","LAB","u1",1790000000000],["s2","LAB","u2",1790000000000]]}}]}}"#,
        target.expect("there is a target")
    );
    fs::write(fixture.path("state.json"), before).expect("written");
    let run = fixture.once();
    assert_eq!(started_and_ended(&run.events()), (vec![], vec!["s2".to_owned()]), "{}", run.stderr);
    assert_eq!(of_kind(&run.events(), "session")[0]["first_seen"], "2026-09-21T14:13:20.000Z");
}

/// What cannot be saved is logged, and events are sent all the same.
#[test]
fn a_state_file_that_cannot_be_written_stops_no_events() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    fixture.once();
    // The file that is to become the new state file cannot be made.
    fs::create_dir(fixture.path("state.json.new")).expect("made");
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2"]));
    let run = fixture.once();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("state.json cannot be written"), "{}", run.stderr);
    assert_eq!(started_and_ended(&run.events()), (vec!["s2".to_owned()], vec![]));
    let mut stream = fixture.stream();
    stream.poll();
    fixture.site.set_sessions("sense1", "/", &[]);
    stream.poll_until(|poll| !of_kind(poll, "session_ended").is_empty());
    fs::remove_dir(fixture.path("state.json.new")).expect("removed");
    stream.poll();
    stream.poll();
    drop(stream);
    assert_eq!(started_and_ended(&fixture.once().events()), (vec![], vec![]), "saved again");
}

#[test]
fn changes_has_only_changes_and_none_has_no_session() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2"]));
    for (details, lifecycle, session, started) in [
        ("grouped", true, 0, 1),
        ("snapshot", true, 2, 1),
        ("snapshot", false, 2, 0),
        ("changes", true, 0, 1),
        ("none", true, 0, 0),
    ] {
        let options = format!(
            "    sessionDetails: {details}\n    lifecycle: {lifecycle}\n    keyframeInterval: 0\n{STATE}"
        );
        fixture.configure(Duration::from_secs(1), &options);
        fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
        let _ = fs::remove_file(fixture.path("state.json"));
        fixture.once();
        fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2"]));
        let events = fixture.once().events();
        assert_eq!(of_kind(&events, "session").len(), session, "{details} {lifecycle}");
        assert_eq!(of_kind(&events, "session_started").len(), started, "{details} {lifecycle}");
        assert_eq!(of_kind(&events, "session_summary")[0]["session_count"], 2);
    }
}

/// At a keyframe every session is reported once more, of all targets in one poll.
#[test]
fn keyframes_report_every_session_once_more() {
    let options = format!("    sessionDetails: changes\n    keyframeInterval: 3000\n{STATE}");
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], &options);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1", "s2"]));
    fixture.site.set_sessions("sense1", "/sales", &named_sessions(&["s3"]));
    let mut stream = fixture.stream();
    let is_keyframe = |poll: &[Value]| {
        let marks = |kind: &str| -> Vec<bool> {
            of_kind(poll, kind).iter().map(|event| event["keyframe"] == true).collect()
        };
        let sessions = of_kind(poll, "session").len();
        let all = [marks("session_summary"), marks("site_summary")].concat();
        assert!(all.iter().all(|mark| *mark == all[0]), "all targets in one poll: {poll:#?}");
        assert_eq!(sessions, if all[0] { 3 } else { 0 });
        all[0]
    };
    assert!(is_keyframe(&stream.poll()), "a baseline is a keyframe");
    let first = of_kind(&stream.seen, "session")[0].clone();
    assert_eq!(first["first_seen_at_baseline"], true);
    let marks: Vec<bool> = (0..6).map(|_| is_keyframe(&stream.poll())).collect();
    let count = marks.iter().filter(|mark| **mark).count();
    assert!((1..=3).contains(&count), "one in three polls: {marks:?}");
    assert_valid(&stream.seen);
    // Who is excluded from now on is no longer in the sum: that is a keyframe, too.
    stream.kill();
    drop(stream);
    fixture.configure(
        Duration::from_secs(1),
        &options.replace("keyframeInterval: 3000", "keyframeInterval: 0"),
    );
    assert!(of_kind(&fixture.once().events(), "session").is_empty());
    fixture.edit("excludeUser: null", "excludeUser: [{directory: LAB, userId: u1}]");
    let events = fixture.once().events();
    assert_eq!(texts(&of_kind(&events, "session"), "session_id"), ["s2", "s3"]);
    assert_eq!(events.last().expect("a site_summary")["keyframe"], true);
    assert!(of_kind(&fixture.once().events(), "session").is_empty(), "once");
}

/// A target that fails at a keyframe has it at its next good poll.
#[test]
fn a_target_that_missed_the_keyframe_has_it_later() {
    let options = "    sessionDetails: changes\n    keyframeInterval: 2000";
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"])], options);
    fixture.site.set_sessions("sense1", "/sales", &named_sessions(&["s3"]));
    fixture.site.set_fault("sense1", "/sales", Some(Fault::Status(503)));
    let mut stream = fixture.stream();
    for _ in 0..2 {
        stream.poll();
    }
    fixture.site.set_fault("sense1", "/sales", None);
    let good = stream.poll_until(|poll| !of_target(poll, "session_summary", "/sales").is_empty());
    assert_eq!(of_target(&good, "session_summary", "/sales")[0]["keyframe"], true);
    assert_eq!(of_target(&good, "session", "/sales").len(), 1);
}

/// An agent that was killed starts `stream` again: what it may have lost is sent once more.
#[test]
fn starts_and_ends_are_sent_again_when_stream_starts() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    let changes = |events: &[Value]| -> Vec<(String, String)> {
        events
            .iter()
            .filter(|event| {
                ["session_started", "session_ended"]
                    .contains(&event["event"].as_str().unwrap_or(""))
            })
            .map(|event| (event["event"].to_string(), event["event_id"].to_string()))
            .collect()
    };
    let mut stream = fixture.stream();
    stream.poll();
    for ids in [&["s1", "s2"][..], &["s2"], &["s2", "s3"]] {
        fixture.site.set_sessions("sense1", "/", &named_sessions(ids));
        stream.poll_until(|poll| !changes(poll).is_empty());
    }
    stream.poll();
    let sent = changes(&stream.seen);
    assert_eq!(sent.len(), 3);
    stream.kill();
    drop(stream);
    let mut again = fixture.stream();
    let poll = again.poll();
    assert_eq!(changes(&poll[..3]), sent, "in their order, before anything new");
    again.kill();
    drop(again);
    assert_eq!(changes(&fixture.once().events()), [], "`once` would repeat them in each run");
    fixture.configure(Duration::from_secs(1), &format!("{STATE}\n    retellFor: 0"));
    let mut quiet = fixture.stream();
    assert_eq!(changes(&quiet.poll()), [], "it can be turned off");
}

/// However long the machine was away: the time counts back from the last saved poll.
#[test]
fn what_is_sent_again_does_not_expire_while_nobody_polls() {
    let options = format!("{STATE}\n    retellFor: 1500");
    let fixture = Fixture::new(&[("sense1", &["/"])], &options);
    fixture.once();
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    let started = of_kind(&fixture.once().events(), "session_started")[0].clone();
    thread::sleep(Duration::from_secs(2));
    // `once` was asked for it by name, and repeats it, too.
    let again = fixture.once().events();
    assert_eq!(again[0], started, "before anything new");
    assert!(of_kind(&fixture.once().events(), "session_started").is_empty(), "that poll was saved");
}

/// Other names for the same users would reveal who they are.
#[test]
fn what_is_sent_again_keeps_to_how_users_are_named() {
    let options = format!("{STATE}\n    retellFor: 60000");
    let fixture = Fixture::new(&[("sense1", &["/"])], &options);
    fixture.once();
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    assert_eq!(of_kind(&fixture.once().events(), "session_started").len(), 1);
    assert_eq!(of_kind(&fixture.once().events(), "session_started").len(), 1);
    fixture.configure(Duration::from_secs(1), &format!("{options}\n    userIds: omit"));
    assert!(of_kind(&fixture.once().events(), "session_started").is_empty());
}

/// The clock was an hour ahead when the session was first seen.
#[test]
fn a_clock_that_was_set_back_makes_no_negative_duration() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    fixture.once();
    let text = fs::read_to_string(fixture.path("state.json")).expect("the state file is there");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    let first_seen = &mut state["targets"][0]["sessions"][0][3];
    *first_seen = (first_seen.as_i64().expect("milliseconds") + 3_600_000).into();
    fs::write(fixture.path("state.json"), state.to_string()).expect("written");
    fixture.site.set_sessions("sense1", "/", &[]);
    let events = fixture.once().events();
    assert_eq!(of_kind(&events, "session_ended")[0]["duration_seconds"], 0);
}

#[test]
fn aligned_polls_without_a_site_warn() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    alignPolls: true");
    let warning = "agree on all ids only where `site` is set";
    assert!(fixture.once().stderr.contains(warning));
    fixture.configure(Duration::from_secs(1), "    alignPolls: true\n    site: berlin");
    assert!(!fixture.once().stderr.contains(warning));
}

#[test]
fn what_is_sent_again_stays_within_its_exclusions() {
    let fixture = Fixture::new(&[("sense1", &["/"])], STATE);
    let mut stream = fixture.stream();
    stream.poll();
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    stream.poll_until(|poll| !of_kind(poll, "session_started").is_empty());
    stream.poll();
    stream.kill();
    drop(stream);
    fixture.edit("excludeUser: null", "excludeUser: [{directory: LAB, userId: u1}]");
    let mut again = fixture.stream();
    let poll = again.poll();
    assert!(of_kind(&poll, "session_started").is_empty(), "{poll:#?}");
}

/// Two pollers of one site make the same events.
#[test]
fn aligned_pollers_agree() {
    let options = "    alignPolls: true\n    site: berlin";
    let fixture = Fixture::new(&[("sense1", &["/"])], options);
    fixture.configure(Duration::from_secs(2), options);
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    let (mut one, mut other) = (fixture.stream(), fixture.stream());
    let ids = |poll: &[Value]| -> BTreeSet<String> {
        poll.iter().map(|event| event["event_id"].to_string()).collect()
    };
    let mut agreed = 0;
    let (mut a, mut b) = (one.poll(), other.poll());
    for round in 0..3 {
        let time = |poll: &[Value]| poll[0]["timestamp"].as_str().expect("a time").to_owned();
        assert!(
            time(&a).ends_with("0.000Z")
                || time(&a)[18..19].parse::<u32>().expect("a digit") % 2 == 0
        );
        match time(&a).cmp(&time(&b)) {
            std::cmp::Ordering::Less => a = one.poll(),
            std::cmp::Ordering::Greater => b = other.poll(),
            std::cmp::Ordering::Equal => {
                assert_eq!(ids(&a), ids(&b));
                agreed += 1;
                if round == 0 {
                    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s2"]));
                }
                (a, b) = (one.poll(), other.poll());
            }
        }
    }
    assert!(agreed >= 2);
    let site_wide = |events: &[Value]| texts(&of_kind(events, "session_started"), "event_id");
    assert_eq!(site_wide(&one.seen), site_wide(&other.seen), "a start has no time in its id");
}

/// `changes` and the state rebuild who is on at every poll, through outages of
/// one target and a program that is killed in the midst of it.
#[test]
fn started_without_ended_is_who_is_on() {
    rebuild_who_is_on(80);
}

/// The same for some minutes: `cargo test --locked --test lifecycle -- --ignored`.
#[test]
#[ignore = "takes minutes: hundreds of kills"]
fn started_without_ended_is_who_is_on_after_hundreds_of_kills() {
    let kills = rebuild_who_is_on(2_000);
    assert!(kills > 500, "{kills}");
}

/// Returns how often the program was killed.
fn rebuild_who_is_on(steps: usize) -> usize {
    let fixture = Fixture::new(
        &[("sense1", &["/", "/sales"])],
        &format!("    sessionDetails: changes\n{STATE}"),
    );
    let mut random = 0x9e37_79b9_u64;
    let mut below = move |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    let mut on: [BTreeSet<String>; 2] = Default::default();
    let mut rebuilt: [BTreeSet<String>; 2] = Default::default();
    let mut event_ids = BTreeSet::new();
    let mut next = 0;
    fixture.once();
    let mut kills = 0;
    for step in 0..steps {
        let mut failing = None;
        for (index, prefix) in ["/", "/sales"].iter().enumerate() {
            on[index].retain(|_| below(4) > 0);
            for _ in 0..below(4) {
                next += 1;
                on[index].insert(format!("s{next}"));
            }
            let ids: Vec<&str> = on[index].iter().map(String::as_str).collect();
            fixture.site.set_sessions("sense1", prefix, &named_sessions(&ids));
            let fails = below(6) == 0;
            fixture.site.set_fault("sense1", prefix, fails.then_some(Fault::Status(500)));
            if fails {
                failing = Some(index);
            }
        }
        let events = if below(3) == 0 {
            kills += 1;
            killed_at_random(&fixture, Duration::from_micros(below(60_000)))
        } else {
            fixture.once().events()
        };
        for event in &events {
            let id = event["event_id"].as_str().expect("an id").to_owned();
            let index = usize::from(event["virtual_proxy"] == "/sales");
            let session = event["session_id"].as_str().unwrap_or_default().to_owned();
            let fresh = match event["event"].as_str() {
                // Sent again after a crash: the backend knows the id.
                Some("session_started" | "session_ended") => event_ids.insert(id),
                _ => false,
            };
            if !fresh {
                continue;
            }
            if event["event"] == "session_started" {
                assert!(rebuilt[index].insert(session), "started once: {event}");
            } else {
                assert!(rebuilt[index].remove(&session), "ended once, after it started: {event}");
            }
        }
        let complete = events.last().is_some_and(|event| event["event"] == "site_summary");
        if complete && failing.is_none() {
            assert_eq!(rebuilt, on, "step {step}");
        }
    }
    kills
}

/// Runs `once` and kills it after a while.
fn killed_at_random(fixture: &Fixture, after: Duration) -> Vec<Value> {
    let mut child = fixture
        .command("once")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    thread::sleep(after);
    let _ = child.kill();
    let _ = child.wait();
    support::events(&support::read_all(child.stdout.take().expect("a pipe")))
}

#[test]
fn two_servers_of_one_name_keep_their_events_apart() {
    let fixture = Fixture::new(&[("sense1", &["/"]), ("sense2", &["/"])], "");
    fixture.edit("serverName: sense2", "serverName: sense1");
    fixture.site.set_sessions("sense1", "/", &named_sessions(&["s1"]));
    fixture.site.set_sessions("sense2", "/", &named_sessions(&["s1"]));
    let run = fixture.once();
    assert!(run.stderr.contains("is the name of another server too"), "{}", run.stderr);
    let events = run.events();
    let ids: BTreeSet<&str> =
        events.iter().filter_map(|event| event["event_id"].as_str()).collect();
    assert_eq!(ids.len(), events.len());
    assert_eq!(of_target(&events, "session", "/").len(), 2);
}

#[test]
fn people_on_several_targets_are_counted_once() {
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"]), ("sense2", &["/"])], "");
    for (node, prefix, ids) in [
        ("sense1", "/", &["s1", "s2"][..]),
        ("sense1", "/sales", &["s1", "s3"]),
        ("sense2", "/", &["s1"]),
    ] {
        fixture.site.set_sessions(node, prefix, &named_sessions(ids));
    }
    let events = Finished::of(fixture.command("once")).events();
    let site = events.last().expect("a site_summary");
    assert_eq!((&site["session_count"], &site["user_count"]), (&Value::from(5), &Value::from(3)));
}
