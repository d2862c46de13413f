//! A recorded month: the report of its events says what is counted here from the
//! plain facts that the events were made of.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use qlik_sessions::site::{OutageKind, Past, PastOptions, TARGETS, Visit};
use serde_json::{Value, json};
use support::{Finished, program};

const DAYS: u16 = 30;
/// The clocks change on 25 October.
const FIRST: &str = "2026-10-12";
const ZONE: &str = "Europe/Stockholm";
const SEED: u64 = 7;

fn past() -> Past {
    Past::new(&PastOptions {
        first: FIRST.parse().expect("a date"),
        days: DAYS,
        zone: zone(),
        interval: std::time::Duration::from_secs(300),
        seed: SEED,
    })
    .expect("it is made")
}

fn zone() -> TimeZone {
    TimeZone::get(ZONE).expect("it is known")
}

fn record(arguments: &[&str]) -> String {
    let mut command = program();
    let (days, seed) = (DAYS.to_string(), SEED.to_string());
    command.args(["demo", "--record", &days, "--from", FIRST, "--timezone", ZONE, "--seed", &seed]);
    command.args(arguments);
    let run = Finished::of(command);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}

fn report(events: &str, arguments: &[&str]) -> Value {
    let mut command = program();
    command.args(["report", "-", "--output", "json", "--timezone", ZONE]).args(arguments);
    let run = Finished::with_stdin(command, events.as_bytes());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON")
}

/// What one poll found.
struct Poll<'p> {
    time: Timestamp,
    date: Date,
    /// Of each target; none where it did not answer.
    present: Vec<Option<Vec<&'p Visit>>>,
}

impl<'p> Poll<'p> {
    fn all(past: &'p Past) -> Vec<Self> {
        let zone = zone();
        let answer = |target, time| past.outage(target, time).is_none().then(Vec::new);
        let mut polls: Vec<Self> = past
            .polls
            .iter()
            .map(|&time| Poll {
                time,
                date: zone.to_datetime(time).date(),
                present: (0..TARGETS.len()).map(|target| answer(target, time)).collect(),
            })
            .collect();
        for visit in &past.visits {
            for poll in polls.iter_mut().filter(|p| visit.from <= p.time && p.time < visit.to) {
                poll.present[visit.target].iter_mut().for_each(|present| present.push(visit));
            }
        }
        polls
    }

    fn visits(&self) -> impl Iterator<Item = &'p Visit> {
        self.present.iter().flatten().flatten().copied()
    }

    fn users(&self) -> BTreeMap<String, usize> {
        let mut users = BTreeMap::new();
        for visit in self.visits() {
            *users.entry(user(visit)).or_default() += 1;
        }
        users
    }

    fn is_complete(&self) -> bool {
        self.present.iter().all(Option::is_some)
    }
}

fn user(visit: &Visit) -> String {
    format!("{}\\{}", visit.session.user_directory, visit.session.user_id)
}

fn distinct_users<'p>(polls: impl IntoIterator<Item = &'p Poll<'p>>) -> usize {
    polls.into_iter().flat_map(Poll::visits).map(user).collect::<BTreeSet<_>>().len()
}

fn text(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Polls by the text that `of` makes of their day.
fn spans<'p>(
    polls: &'p [Poll<'p>],
    of: impl Fn(Date) -> String,
) -> BTreeMap<String, Vec<&'p Poll<'p>>> {
    let mut spans: BTreeMap<String, Vec<&Poll<'_>>> = BTreeMap::new();
    for poll in polls {
        spans.entry(of(poll.date)).or_default().push(poll);
    }
    spans
}

fn expected_spans(name: &str, spans: &BTreeMap<String, Vec<&Poll<'_>>>) -> Vec<Value> {
    let most = |numbers: &mut dyn Iterator<Item = usize>| numbers.max().unwrap_or(0);
    spans
        .iter()
        .map(|(date, polls)| {
            let peak = most(&mut polls.iter().map(|poll| poll.visits().count()));
            let at = polls.iter().find(|poll| poll.visits().count() == peak).expect("a poll");
            let at_limit = |poll: &&Poll<'_>| poll.users().values().filter(|&&n| n >= 5).count();
            json!({
                name: date,
                "peak_sessions": peak,
                "peak_at": text(at.time),
                "peak_users": most(&mut polls.iter().map(|poll| poll.users().len())),
                "distinct_users": distinct_users(polls.iter().copied()),
                "users_at_session_limit": most(&mut polls.iter().map(at_limit)),
                "polls": polls.len(),
                "polls_complete": polls.iter().filter(|poll| poll.is_complete()).count(),
            })
        })
        .collect()
}

/// The same keys only.
fn picked(value: &Value, keys: &Value) -> Value {
    keys.as_object()
        .expect("an object")
        .keys()
        .map(|key| (key.clone(), value[key].clone()))
        .collect()
}

fn assert_equal(name: &str, reported: &Value, expected: &[Value]) {
    let reported = reported.as_array().unwrap_or_else(|| panic!("{name} are there"));
    assert_eq!(reported.len(), expected.len(), "{name}");
    for (reported, expected) in reported.iter().zip(expected) {
        assert_eq!(picked(reported, expected), *expected, "{name}");
    }
}

fn expected_targets(polls: &[Poll<'_>]) -> Vec<Value> {
    TARGETS
        .iter()
        .enumerate()
        .map(|(number, (server_name, virtual_proxy))| {
            let answers: Vec<_> =
                polls.iter().filter_map(|poll| poll.present[number].as_ref()).collect();
            let users: BTreeSet<String> =
                answers.iter().flat_map(|visits| visits.iter().map(|v| user(v))).collect();
            json!({
                "server_name": server_name, "virtual_proxy": virtual_proxy,
                "peak_sessions": answers.iter().map(|visits| visits.len()).max(),
                "distinct_users": users.len(),
                "polls": polls.len(), "polls_failed": polls.len() - answers.len(),
            })
        })
        .collect()
}

fn expected_failures(past: &Past) -> Vec<Value> {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for &time in &past.polls {
        for (number, target) in TARGETS.iter().enumerate() {
            if let Some(outage) = past.outage(number, time) {
                let category = match outage.kind {
                    OutageKind::NoAnswer => "timeout",
                    OutageKind::Stopped => "connection_refused",
                };
                *counts.entry((target, category)).or_default() += 1;
            }
        }
    }
    counts
        .into_iter()
        .map(|(((server_name, virtual_proxy), category), count)| {
            json!({"server_name": server_name, "virtual_proxy": virtual_proxy,
                "category": category, "count": count})
        })
        .collect()
}

/// What polls saw of one visit.
struct Seen {
    user: String,
    first: Timestamp,
    last: Timestamp,
    ended: bool,
}

fn seen(polls: &[Poll<'_>]) -> Vec<Seen> {
    let mut seen: BTreeMap<&str, (usize, Seen)> = BTreeMap::new();
    for poll in polls {
        for visit in poll.visits() {
            let (_, session) = seen.entry(&visit.session.session_id).or_insert_with(|| {
                let session =
                    Seen { user: user(visit), first: poll.time, last: poll.time, ended: false };
                (visit.target, session)
            });
            session.last = poll.time;
        }
    }
    let later_answer = |target: usize, time: Timestamp| {
        polls.iter().any(|poll| poll.time > time && poll.present[target].is_some())
    };
    seen.into_values()
        .map(|(target, session)| Seen { ended: later_answer(target, session.last), ..session })
        .collect()
}

/// Hours with at least one of these sessions. Polls are whole minutes apart.
fn union_hours(sessions: &[&Seen]) -> f64 {
    let minute = |time: Timestamp| time.as_second() / 60;
    let minutes: BTreeSet<i64> =
        sessions.iter().flat_map(|s| minute(s.first)..minute(s.last)).collect();
    minutes.len() as f64 / 60.0
}

fn assert_users(report: &Value, seen: &[Seen]) {
    let mut by_user: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for session in seen {
        by_user.entry(&session.user).or_default().push(session);
    }
    let users = report["users"].as_array().expect("users");
    assert_eq!(users.len(), by_user.len());
    for reported in users {
        let name = reported["user"].as_str().expect("a name");
        let sessions = &by_user[name];
        assert_eq!(reported["sessions"], sessions.len(), "{name}");
        let hours = union_hours(sessions);
        let difference = reported["hours"].as_f64().expect("hours") - hours;
        assert!(difference.abs() < 1e-6, "{name}: {reported} is not {hours}");
    }
}

fn assert_sessions(report: &Value, seen: &[Seen]) {
    let mut seconds: Vec<i64> = seen
        .iter()
        .filter(|session| session.ended)
        .map(|session| session.last.as_second() - session.first.as_second())
        .collect();
    seconds.sort_unstable();
    let half = seconds.len() / 2;
    let median = (seconds[half] + seconds[(seconds.len() - 1) / 2]) as f64 / 2.0;
    let sessions = &report["sessions"];
    assert_eq!(sessions["count"], seen.len());
    assert_eq!(sessions["ended"], seconds.len());
    assert_eq!(sessions["median_seconds"], median);
    let mean = seconds.iter().sum::<i64>() as f64 / seconds.len() as f64;
    assert!((sessions["mean_seconds"].as_f64().expect("a mean") - mean).abs() < 1e-6);
    assert_eq!(sessions["longest"][0]["seconds"], seconds[seconds.len() - 1]);
}

#[test]
fn a_recorded_month_is_counted_right() {
    let past = past();
    let polls = Poll::all(&past);
    let seen = seen(&polls);
    let week = |date: Date| {
        let week = date.iso_week_date();
        format!("{}-W{:02}", week.year(), week.week())
    };
    let month = |date: Date| format!("{}-{:02}", date.year(), date.month());
    let days = expected_spans("date", &spans(&polls, |date| date.to_string()));
    let weeks = expected_spans("week", &spans(&polls, week));
    let months = expected_spans("month", &spans(&polls, month));
    assert_eq!((days.len(), weeks.len(), months.len()), (30, 5, 2));
    let before = past.polls.iter().rfind(|&&time| time < past.restarts[0]).expect("a poll");
    let after = past.polls.iter().find(|&&time| time >= past.restarts[0]).expect("a poll");
    for details in ["snapshot", "grouped", "changes"] {
        let events = record(&["--session-details", details]);
        let report = report(&events, &[]);
        assert_equal("days", &report["days"], &days);
        assert_equal("weeks", &report["weeks"], &weeks);
        assert_equal("months", &report["months"], &months);
        assert_equal("targets", &report["targets"], &expected_targets(&polls));
        assert_equal("failures", &report["failures"], &expected_failures(&past));
        assert_users(&report, &seen);
        assert_sessions(&report, &seen);
        let gap = json!([{"from": text(*before), "to": text(*after), "seconds":
            after.as_second() - before.as_second()}]);
        assert_eq!(report["gaps"], gap);
        // The restart sends the starts and ends before it again.
        let distinct: BTreeSet<&str> = events.lines().collect();
        let repeated = events.lines().count() - distinct.len();
        assert!(repeated > 0);
        assert_eq!(
            report["lines"],
            json!({"events": distinct.len(), "repeated": repeated, "not_events": 0, "other_sites": 0})
        );
    }
}

#[test]
fn who_was_on_when_a_node_hung_is_known() {
    let past = past();
    let outage = past.outages.iter().find(|o| o.kind == OutageKind::NoAnswer).expect("one");
    let asked = outage.from.checked_add(jiff::SignedDuration::from_mins(31)).expect("a time");
    let polls = Poll::all(&past);
    let poll = polls.iter().rfind(|poll| poll.time <= asked).expect("a poll");
    let events = record(&["--session-details", "changes"]);
    let report = report(&events, &["--at", &text(asked)]);
    let at = &report["at"];
    assert_eq!(at["timestamp"], text(poll.time));
    assert_eq!(at["session_count"], poll.visits().count());
    assert_eq!(at["user_count"], poll.users().len());
    let ids = |value: &Value| value["session_id"].as_str().expect("an id").to_owned();
    let found: BTreeSet<String> =
        at["sessions"].as_array().expect("a list").iter().map(ids).collect();
    assert_eq!(found, poll.visits().map(|visit| visit.session.session_id.clone()).collect());
    assert_eq!(
        at["targets_failed"],
        json!([{"server_name": "sense2", "virtual_proxy": "/"},
            {"server_name": "sense2", "virtual_proxy": "/hr"}])
    );
}

#[test]
fn the_same_seed_makes_the_same_events() {
    let short = |seed: &str| {
        let mut command = program();
        command.args(["demo", "--record", "2", "--from", FIRST, "--timezone", ZONE]);
        Finished::of({
            command.args(["--seed", seed]);
            command
        })
        .stdout
    };
    assert_eq!(short("3"), short("3"));
    assert_ne!(short("3"), short("4"));
}

#[test]
fn recorded_events_fit_the_schema() {
    let schema: Value =
        serde_json::from_str(include_str!("../src/schema/events.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let mut kinds = BTreeSet::new();
    let events = record(&["--session-details", "changes"]);
    for line in events.lines().step_by(7).chain(events.lines().filter(|l| l.contains("poll_error")))
    {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert!(validator.is_valid(&event), "{line}");
        kinds.insert(event["event"].as_str().expect("a kind").to_owned());
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
}
