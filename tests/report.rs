//! `report`: every number is compared with one that is counted here in another way,
//! from the sessions that the events were made of.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::{Value, json};
use support::{Finished, program};
use tempfile::TempDir;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Time between polls.
const INTERVAL: i64 = 10 * MINUTE;

/// Sunday, 25 October 2026, is 25 hours long in Stockholm: this is 01:00 UTC.
const CLOCKS_CHANGE: &str = "2026-10-25T01:00:00Z";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Details {
    Snapshot,
    Grouped,
    Changes,
    /// Only summaries, with the names of users.
    None,
}

/// A session of the model; its times are numbers of polls, both included.
#[derive(Clone, Debug)]
struct Session {
    target: usize,
    id: String,
    user: String,
    first: usize,
    last: usize,
}

/// A site whose truth is known.
struct Model {
    targets: Vec<(&'static str, &'static str)>,
    /// Times of the polls.
    polls: Vec<i64>,
    sessions: Vec<Session>,
    /// Polls that a target did not answer, and why.
    failed: BTreeMap<(usize, usize), &'static str>,
    names: bool,
}

impl Model {
    /// Nine days around the change of the clocks, with a night without polls.
    fn new() -> Self {
        let start = milliseconds("2026-10-21T06:00:00.713Z");
        let polls: Vec<i64> = (0..9 * 24 * 6)
            .filter(|number| !(100..150).contains(number))
            .map(|number| start + number * INTERVAL)
            .collect();
        let users = [
            "LAB\\maria",
            "LAB\\<script>alert('x')</script>",
            "ACME\\\u{202e}\u{5d3}\u{5e0}\u{5d4}",
            "ACME\\😀 \"&amp;",
            "LAB\\Zo\u{eb}",
            "=LAB\\1+1",
        ];
        let mut random = Random(7);
        let mut sessions = Vec::new();
        for number in 0..400 {
            let first = random.below(polls.len() as u64) as usize;
            let length = random.below(40) as usize;
            sessions.push(Session {
                target: random.below(3) as usize,
                id: format!("id-{number}"),
                user: users[random.below(users.len() as u64) as usize].to_owned(),
                first,
                last: (first + length).min(polls.len() - 1),
            });
        }
        let mut failed = BTreeMap::new();
        for poll in (40..60).chain(400..404) {
            failed.insert((poll, 1), "timeout");
        }
        failed.insert((300, 2), "auth_error");
        for target in 0..3 {
            failed.insert((500, target), "connection_refused");
        }
        let targets = vec![("sense1", "/"), ("sense1", "/sales"), ("sense2", "/")];
        Self { targets, polls, sessions, failed, names: true }
    }

    fn answers(&self, poll: usize, target: usize) -> bool {
        !self.failed.contains_key(&(poll, target))
    }

    /// Who was on; none where the target did not answer.
    fn present(&self, poll: usize, target: usize) -> Option<Vec<&Session>> {
        self.answers(poll, target).then(|| {
            let there = |s: &&Session| s.target == target && (s.first..=s.last).contains(&poll);
            self.sessions.iter().filter(there).collect()
        })
    }

    /// Who was on at all targets that answered.
    fn site(&self, poll: usize) -> Option<Vec<&Session>> {
        let of_targets: Vec<_> =
            (0..self.targets.len()).filter_map(|target| self.present(poll, target)).collect();
        (!of_targets.is_empty()).then(|| of_targets.concat())
    }

    fn is_complete(&self, poll: usize) -> bool {
        (0..self.targets.len()).all(|target| self.answers(poll, target))
    }

    /// The polls at which a session was seen.
    fn seen(&self, session: &Session) -> Vec<usize> {
        (session.first..=session.last).filter(|&poll| self.answers(poll, session.target)).collect()
    }

    /// Numbers of polls by day in Stockholm.
    fn days(&self) -> BTreeMap<String, Vec<usize>> {
        let mut days: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, &time) in self.polls.iter().enumerate() {
            days.entry(local_day(time)).or_default().push(number);
        }
        days
    }

    fn distinct_users(&self, polls: impl IntoIterator<Item = usize>) -> usize {
        let present = polls.into_iter().filter_map(|poll| self.site(poll)).flatten();
        present.map(|session| session.user.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// Hours with at least one session, counted minute by minute.
    fn hours(&self, user: &str) -> f64 {
        let mut minutes = BTreeSet::new();
        for session in self.sessions.iter().filter(|session| session.user == user) {
            let seen = self.seen(session);
            if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
                let (start, end) = (self.polls[*first] / MINUTE, self.polls[*last] / MINUTE);
                minutes.extend(start..end);
            }
        }
        minutes.len() as f64 / 60.0
    }

    /// The events, as the program would write them.
    fn events(&self, details: Details) -> Vec<Value> {
        let mut events = Vec::new();
        let mut known = vec![BTreeMap::new(); self.targets.len()];
        for poll in 0..self.polls.len() {
            for (target, known) in known.iter_mut().enumerate() {
                self.add_target(&mut events, details, poll, target, known);
            }
            self.add_site_summary(&mut events, poll);
        }
        events
    }

    fn add_target(
        &self,
        events: &mut Vec<Value>,
        details: Details,
        poll: usize,
        target: usize,
        known: &mut BTreeMap<String, (usize, usize)>,
    ) {
        let Some(present) = self.present(poll, target) else {
            let category = self.failed[&(poll, target)];
            events.push(self.event(
                "poll_error",
                poll,
                target,
                category,
                json!({
                    "category": category, "message": "no <b>answer</b>", "consecutive_failures": 1,
                }),
            ));
            return;
        };
        let is_baseline = !(0..poll).any(|poll| self.answers(poll, target));
        let users: BTreeSet<&str> = present.iter().map(|session| session.user.as_str()).collect();
        let mut summary = json!({
            "session_count": present.len(), "user_count": users.len(), "excluded_session_count": 0,
        });
        if self.names {
            summary["users"] = json!(users);
        }
        if details == Details::Changes && is_baseline {
            summary["keyframe"] = json!(true);
        }
        events.push(self.event("session_summary", poll, target, "", summary));
        for session in self.gone(known, &present) {
            let (first, last) = known.remove(&session.id).expect("it was known");
            if details != Details::None {
                let seconds = (self.polls[last] - self.polls[first]) / 1000;
                let mut keys = self.session(session, first);
                keys["last_seen"] = json!(text(self.polls[last]));
                keys["duration_seconds"] = json!(seconds);
                events.push(self.event("session_ended", poll, target, &session.id, keys));
            }
        }
        let mut items = Vec::new();
        for session in present {
            let is_new = !known.contains_key(&session.id);
            let seen = known.entry(session.id.clone()).or_insert((poll, poll));
            seen.1 = poll;
            let keys = self.session(session, seen.0);
            if is_new && !is_baseline && details != Details::None {
                events.push(self.event("session_started", poll, target, &session.id, keys.clone()));
            }
            if details == Details::Snapshot || details == Details::Changes && is_baseline {
                events.push(self.event("session", poll, target, &session.id, keys));
            } else if details == Details::Grouped {
                let mut keys = keys;
                keys["event_id"] = json!(event_id(("item", poll, target, &session.id)));
                items.push(keys);
            }
        }
        for (part, items) in items.chunks(3).enumerate() {
            let keys = json!({"sessions": items, "part": part + 1});
            events.push(self.event("sessions", poll, target, &part.to_string(), keys));
        }
    }

    fn gone(
        &self,
        known: &BTreeMap<String, (usize, usize)>,
        present: &[&Session],
    ) -> Vec<&Session> {
        self.sessions
            .iter()
            .filter(|session| known.contains_key(&session.id))
            .filter(|session| !present.iter().any(|other| other.id == session.id))
            .collect()
    }

    fn session(&self, session: &Session, first: usize) -> Value {
        let (directory, id) = session.user.split_once('\\').expect("a directory");
        let mut keys = json!({
            "session_id": session.id, "user_directory": directory,
            "first_seen": text(self.polls[first]),
        });
        if self.names {
            keys["user_id"] = json!(id);
            keys["user"] = json!(session.user);
        }
        if !(0..first).any(|poll| self.answers(poll, session.target)) {
            keys["first_seen_at_baseline"] = json!(true);
        }
        keys
    }

    fn add_site_summary(&self, events: &mut Vec<Value>, poll: usize) {
        let present = self.site(poll).unwrap_or_default();
        let failed = (0..self.targets.len()).filter(|&target| !self.answers(poll, target)).count();
        let users: BTreeSet<&str> = present.iter().map(|session| session.user.as_str()).collect();
        events.push(json!({
            "timestamp": text(self.polls[poll]), "event": "site_summary",
            "event_id": event_id(("site_summary", poll)),
            "session_count": present.len(), "user_count": users.len(),
            "excluded_session_count": 0, "targets": self.targets.len(), "targets_failed": failed,
            "polls_skipped": 0, "duration_ms": 3, "users_at_session_limit": 0,
        }));
    }

    fn event(&self, kind: &str, poll: usize, target: usize, own: &str, keys: Value) -> Value {
        let (server_name, virtual_proxy) = self.targets[target];
        let mut event = json!({
            "timestamp": text(self.polls[poll]), "event": kind,
            "event_id": event_id((kind, poll, target, own)),
            "server_name": server_name, "virtual_proxy": virtual_proxy,
        });
        let own = keys.as_object().expect("an object").clone();
        event.as_object_mut().expect("an object").extend(own);
        event
    }
}

/// A random number generator with the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn event_id(facts: impl Hash) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, &facts).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(0), half(1))
}

fn milliseconds(time: &str) -> i64 {
    time.parse::<Timestamp>().expect("a time").as_millisecond()
}

fn text(time: i64) -> String {
    let time = Timestamp::from_millisecond(time).expect("a time");
    format!("{time:.3}")
}

/// The date in Stockholm, without a database of time zones.
fn local_day(time: i64) -> String {
    let offset = if time < milliseconds(CLOCKS_CHANGE) { 2 * HOUR } else { HOUR };
    text(time + offset)[..10].to_owned()
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn events(&self, events: &[Value]) -> PathBuf {
        self.write("events.ndjson", lines(events))
    }
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn run(files: &[&Path], arguments: &[&str]) -> Finished {
    let mut command = program();
    command.arg("report").args(files);
    if !arguments.contains(&"--timezone") {
        command.args(["--timezone", "Europe/Stockholm"]);
    }
    command.args(arguments);
    Finished::of(command)
}

fn report(files: &[&Path], arguments: &[&str]) -> Value {
    let run = run(files, &[&["--output", "json"], arguments].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON")
}

fn report_of(events: &[Value], arguments: &[&str]) -> Value {
    report(&[&Files::new().events(events)], arguments)
}

/// Compares every number of a report with the model's.
fn assert_true(model: &Model, report: &Value, details: Details) {
    assert_days(model, report);
    assert_targets(model, report);
    assert_failures(model, report);
    let all = 0..model.polls.len();
    assert_eq!(report["months"][0]["distinct_users"], model.distinct_users(all.clone()));
    assert_eq!(report["months"][0]["polls"], model.polls.len());
    let weeks: Vec<&str> = report["weeks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|week| week["week"].as_str())
        .collect();
    assert_eq!(weeks, ["2026-W43", "2026-W44"]);
    let first_week = all.filter(|&poll| local_day(model.polls[poll]).as_str() <= "2026-10-25");
    assert_eq!(report["weeks"][0]["distinct_users"], model.distinct_users(first_week));
    let hour = 50 * 10 * 60 + 600;
    assert_eq!(
        report["gaps"],
        json!([{
            "from": text(model.polls[99]), "to": text(model.polls[100]), "seconds": hour,
        }])
    );
    if details != Details::None {
        assert_users(model, report);
        assert_sessions(model, report);
    }
}

fn assert_days(model: &Model, report: &Value) {
    let days = model.days();
    let counted = report["days"].as_array().expect("days");
    assert_eq!(counted.len(), days.len());
    for (day, (date, polls)) in counted.iter().zip(&days) {
        assert_eq!(day["date"], *date);
        let sessions = |poll: usize| model.site(poll).map(|present| present.len());
        let peak = polls.iter().filter_map(|&poll| sessions(poll)).max();
        assert_eq!(day["peak_sessions"], json!(peak), "{date}");
        let at = polls.iter().find(|&&poll| sessions(poll) == peak).expect("a peak");
        assert_eq!(day["peak_at"], text(model.polls[*at]), "{date}");
        let users = polls.iter().map(|&poll| model.distinct_users([poll])).max();
        assert_eq!(day["peak_users"], json!(users), "{date}");
        let distinct = model.distinct_users(polls.iter().copied());
        assert_eq!(day["distinct_users"], distinct, "{date}");
        assert_eq!(day["polls"], polls.len(), "{date}");
        let complete = polls.iter().filter(|&&poll| model.is_complete(poll)).count();
        assert_eq!(day["polls_complete"], complete, "{date}");
    }
    let long = &counted[4];
    assert_eq!((&long["date"], &long["length_hours"]), (&json!("2026-10-25"), &json!(25.0)));
    assert_eq!(long["polls"], 25 * 6);
}

fn assert_targets(model: &Model, report: &Value) {
    for (number, (server_name, virtual_proxy)) in model.targets.iter().enumerate() {
        let target = &report["targets"][number];
        assert_eq!(target["server_name"], *server_name);
        assert_eq!(target["virtual_proxy"], *virtual_proxy);
        let present: Vec<_> =
            (0..model.polls.len()).filter_map(|poll| model.present(poll, number)).collect();
        assert_eq!(target["peak_sessions"], json!(present.iter().map(Vec::len).max()));
        let users: BTreeSet<_> = present.iter().flatten().map(|session| &session.user).collect();
        assert_eq!(target["distinct_users"], users.len());
        assert_eq!(target["polls"], model.polls.len());
        let failed = model.failed.keys().filter(|(_, target)| *target == number).count();
        assert_eq!(target["polls_failed"], failed);
    }
}

fn assert_failures(model: &Model, report: &Value) {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for (&(_, target), category) in &model.failed {
        *counts.entry((model.targets[target], *category)).or_default() += 1;
    }
    let expected: Vec<Value> = counts
        .into_iter()
        .map(|(((server_name, virtual_proxy), category), count)| {
            json!({"server_name": server_name, "virtual_proxy": virtual_proxy,
                "category": category, "count": count})
        })
        .collect();
    assert_eq!(report["failures"], json!(expected));
}

fn assert_users(model: &Model, report: &Value) {
    let names: BTreeSet<&str> = model.sessions.iter().map(|s| s.user.as_str()).collect();
    let users = report["users"].as_array().expect("users");
    assert_eq!(users.len(), names.len());
    for user in users {
        let name = user["user"].as_str().expect("a name");
        let own = model.sessions.iter().filter(|session| session.user == name);
        let seen = own.filter(|session| !model.seen(session).is_empty()).count();
        assert_eq!(user["sessions"], seen, "{name}");
        let hours = user["hours"].as_f64().expect("hours");
        assert!((hours - model.hours(name)).abs() < 1e-6, "{name}: {hours}");
    }
    let hours: Vec<_> = users.iter().map(|user| user["hours"].as_f64()).collect();
    assert!(hours.is_sorted_by(|a, b| a >= b));
}

fn assert_sessions(model: &Model, report: &Value) {
    let mut durations = Vec::new();
    let mut count = 0;
    for session in &model.sessions {
        let seen = model.seen(session);
        let (Some(&first), Some(&last)) = (seen.first(), seen.last()) else { continue };
        count += 1;
        let is_missed =
            (session.last + 1..model.polls.len()).any(|poll| model.answers(poll, session.target));
        if is_missed {
            durations.push((model.polls[last] - model.polls[first]) / 1000);
        }
    }
    durations.sort_unstable();
    let sessions = &report["sessions"];
    assert_eq!(sessions["count"], count);
    assert_eq!(sessions["ended"], durations.len());
    let mean = durations.iter().sum::<i64>() as f64 / durations.len() as f64;
    assert!((sessions["mean_seconds"].as_f64().expect("a mean") - mean).abs() < 1e-6);
    let half = durations.len() / 2;
    let median = match durations.len() % 2 {
        0 => (durations[half - 1] + durations[half]) as f64 / 2.0,
        _ => durations[half] as f64,
    };
    assert_eq!(sessions["median_seconds"], median);
}

#[test]
fn every_number_is_true_however_sessions_are_written() {
    let model = Model::new();
    for details in [Details::Snapshot, Details::Grouped, Details::Changes, Details::None] {
        let events = model.events(details);
        let report = report_of(&events, &[]);
        assert_true(&model, &report, details);
        assert_eq!(
            report["lines"],
            json!({
                "events": events.len(), "repeated": 0, "not_events": 0, "other_sites": 0,
            })
        );
    }
}

#[test]
fn repeats_and_order_change_nothing() {
    let model = Model::new();
    let files = Files::new();
    for details in [Details::Snapshot, Details::Grouped, Details::Changes] {
        let events = model.events(details);
        let (early, late) = events.split_at(events.len() * 2 / 3);
        let late = files.write("late", lines(late));
        let early = files.write("early", lines(early));
        let middle = &events[events.len() / 2..events.len() * 3 / 4];
        let overlap = files.write("overlap", lines(middle));
        let mut backwards = events.clone();
        backwards.reverse();
        let backwards_file = files.write("backwards", lines(&backwards));
        for order in [&[&late, &early, &overlap], &[&overlap, &late, &early]] {
            let paths: Vec<&Path> = order.iter().map(|path| path.as_path()).collect();
            let report = report(&paths, &[]);
            assert_true(&model, &report, details);
            assert_eq!(report["lines"]["events"], events.len());
            assert_eq!(report["lines"]["repeated"], middle.len());
        }
        assert_true(&model, &report(&[&backwards_file], &[]), details);
    }
}

#[test]
fn packed_files_and_stdin_are_read() {
    let events = lines(&Model::new().events(Details::Changes));
    let files = Files::new();
    let plain = report(&[&files.write("plain", &events)], &[]);
    let (start, end) = events.split_at(events.find('\n').expect("a line") + 1);
    // Agents append: one file is several streams.
    let zipped = [gzip(start), gzip(end)].concat();
    let zstd = [start, end].map(|text| zstd::encode_all(text.as_bytes(), 3).expect("packed"));
    assert_eq!(report(&[&files.write("a.gz", &zipped)], &[]), plain);
    assert_eq!(report(&[&files.write("a.zst", zstd.concat())], &[]), plain);
    // Windows PowerShell 5.1 writes UTF-16 with `>`.
    let utf16: Vec<u8> =
        "\u{feff}".encode_utf16().chain(events.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(report(&[&files.write("utf16", utf16)], &[]), plain);
    for stdin in [events.as_bytes(), &zipped] {
        let mut command = program();
        command.args(["report", "-", "--output=json", "--timezone=Europe/Stockholm"]);
        let run = Finished::with_stdin(command, stdin);
        assert_eq!(serde_json::from_str::<Value>(&run.stdout).expect("JSON"), plain);
    }
    // A file that is still being written ends in the middle.
    let cut = files.write("cut.gz", &zipped[..zipped.len() - 100]);
    let cut = run(&[&cut], &["--output", "json"]);
    assert_eq!(cut.code, Some(1));
    assert!(cut.stderr.contains("cut.gz cannot be read to the end"), "{}", cut.stderr);
    let cut: Value = serde_json::from_str(&cut.stdout).expect("JSON");
    assert_ne!(cut["lines"]["events"], 0);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("packed");
    encoder.finish().expect("packed")
}

#[test]
fn agents_may_add_keys_and_write_times_their_way() {
    let mut model = Model::new();
    for time in &mut model.polls {
        *time -= 713;
    }
    let events = model.events(Details::Snapshot);
    let mut agents = String::new();
    for event in &events {
        let mut event = event.clone();
        // Vector leaves a fraction of zero out.
        let time = event["timestamp"].as_str().expect("a time").replace(".000Z", "Z");
        event["timestamp"] = json!(time);
        event["poller_host"] = json!("poller");
        event["tags"] = json!({"env": "test"});
        event["site"] = Value::Null;
        agents.push_str(&format!("  {event}\r\n"));
    }
    agents.push_str(
        "\n\n{\"event\":\"log\",\"message\":\"hello\",\"timestamp\":\"2026-10-23T00:00:00Z\"}\n",
    );
    agents.push_str("no JSON\n{\"event\":\"session\",\"timestamp\":\"2026-10-23T00:00:00Z\",\"event_id\":\"1\"}\n");
    agents.push_str("[1]\n{\"timestamp\": \"yesterday\", \"event\": \"x\", \"event_id\": \"2\"}\n");
    let files = Files::new();
    let mut bytes = b"\xef\xbb\xbf".to_vec();
    bytes.extend_from_slice(agents.as_bytes());
    bytes.extend_from_slice(b"\xff\xfe\n");
    let path = files.write("agents", bytes);
    let run = run(&[&path], &["--output", "json"]);
    assert!(run.stderr.contains("6 lines left out that are not events"), "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_true(&model, &report, Details::Snapshot);
    assert_eq!(report["lines"]["not_events"], 6);
    assert_eq!(report["lines"]["events"], events.len());
}

#[test]
fn a_part_of_the_time_is_counted_as_if_there_was_no_other() {
    let mut model = Model::new();
    for details in [Details::Snapshot, Details::Changes] {
        let events = model.events(details);
        let report = report_of(&events, &["--from", "2026-10-24", "--to", "2026-10-26"]);
        let days = model.days();
        let dates: Vec<&str> = report["days"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|day| day["date"].as_str())
            .collect();
        assert_eq!(dates, ["2026-10-24", "2026-10-25", "2026-10-26"]);
        for (day, date) in report["days"].as_array().into_iter().flatten().zip(dates) {
            let polls = &days[date];
            assert_eq!(day["polls"], polls.len());
            assert_eq!(day["distinct_users"], model.distinct_users(polls.iter().copied()));
        }
        let within: Vec<usize> = ["2026-10-24", "2026-10-25", "2026-10-26"]
            .into_iter()
            .flat_map(|date| days[date].clone())
            .collect();
        let (start, end) = (within[0], within[within.len() - 1]);
        let touches = |s: &&Session| model.seen(s).iter().any(|p| (start..=end).contains(p));
        for user in report["users"].as_array().expect("users") {
            let name = user["user"].as_str().expect("a name");
            let own = model.sessions.iter().filter(|s| s.user == name);
            // One that ended just before is among those that ended within.
            let ended = own.clone().filter(|s| s.last + 1 == start).count();
            assert_eq!(user["sessions"], own.filter(touches).count() + ended, "{name}");
        }
    }
    model.polls.truncate(10);
    let usage = run(
        &[&Files::new().events(&[])],
        &["--output=json", "--from=2026-10-24", "--to=2026-10-23"],
    );
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
    let usage = run(&[&Files::new().events(&[])], &["--output=json", "--timezone=Mars/Olympus"]);
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
}

#[test]
fn who_was_on_comes_from_the_poll_before() {
    let model = Model::new();
    for details in [Details::Snapshot, Details::Grouped, Details::Changes] {
        let files = Files::new();
        let path = files.events(&model.events(details));
        // Target 1 failed at poll 45; poll 99 is the last one before a gap.
        for (poll, after) in [(45, 30), (99, 3 * 3600), (700, 0), (899, 599)] {
            let asked = text(model.polls[poll] + after * 1000);
            let report = report(&[&path], &["--at", &asked]);
            let at = &report["at"];
            assert_eq!(at["timestamp"], text(model.polls[poll]));
            assert_eq!(at["age_seconds"], after as f64);
            let present = model.site(poll).expect("an answer");
            assert_eq!(at["session_count"], present.len());
            assert_eq!(at["user_count"], model.distinct_users([poll]));
            let ids: BTreeSet<&str> = present.iter().map(|s| s.id.as_str()).collect();
            assert_eq!(ids_of(at), ids);
            let failed = if poll == 45 {
                json!([{"server_name": "sense1", "virtual_proxy": "/sales"}])
            } else {
                json!([])
            };
            assert_eq!(at["targets_failed"], failed);
        }
        let asked = text(model.polls[700]);
        let at = &report(&[&path], &["--at", &asked, "--server", "SENSE2"])["at"];
        let present = model.present(700, 2).expect("an answer");
        assert_eq!(at["session_count"], present.len());
        assert_eq!(ids_of(at), present.iter().map(|s| s.id.as_str()).collect());
        let at = &report(&[&path], &["--at", "2026-10-20"])["at"];
        assert_eq!(at.get("session_count"), None, "before the first poll nothing is known");
        assert_eq!(
            run(&[&path], &["--output=json", "--at", &asked, "--server", "x"]).code,
            Some(2)
        );
    }
}

fn ids_of(at: &Value) -> BTreeSet<&str> {
    at["sessions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|session| session["session_id"].as_str())
        .collect()
}

#[test]
fn without_names_there_is_nothing_that_needs_them() {
    let mut model = Model::new();
    model.names = false;
    let path = Files::new();
    let events = path.events(&model.events(Details::Snapshot));
    let omitted = report(&[&events], &["--at", "2026-10-23T12:00"]);
    assert_eq!(omitted.get("users"), None);
    for day in omitted["days"].as_array().expect("days") {
        assert_eq!(day.get("distinct_users"), None, "{day}");
    }
    // The program counted them.
    let first = &model.days()["2026-10-23"];
    let peak = first.iter().map(|&poll| model.distinct_users([poll])).max();
    assert_eq!(omitted["days"][2]["peak_users"], json!(peak));
    assert_eq!(omitted["targets"][0].get("distinct_users"), None);

    model.names = true;
    let events = path.events(&model.events(Details::Snapshot));
    for output in ["json", "csv"] {
        let run = run(&[&events], &["--no-users", "--at", "2026-10-23T12:00", "--output", output]);
        for hidden in ["maria", "script", "😀", "id-", "1+1", "LAB", "ACME"] {
            assert!(!run.stdout.contains(hidden), "{hidden} in {output}");
        }
        assert!(run.stdout.contains("distinct_users"), "numbers stay");
    }
}

#[test]
fn sites_are_not_mixed() {
    let mut events = Model::new().events(Details::Changes);
    let (a, b) = events.split_at_mut(1000);
    a.iter_mut().for_each(|event| event["site"] = json!("north"));
    b.iter_mut().for_each(|event| event["site"] = json!("south"));
    let files = Files::new();
    let path = files.events(&events);
    let mixed = run(&[&path], &["--output=json"]);
    assert_eq!(mixed.code, Some(2));
    assert!(mixed.stderr.contains("--site: north, south"), "{}", mixed.stderr);
    let north = report(&[&path], &["--site", "north"]);
    assert_eq!(north["period"]["site"], "north");
    assert_eq!(north["lines"]["events"], 1000);
    assert_eq!(north["lines"]["other_sites"], events.len() - 1000);
    assert_eq!(run(&[&path], &["--output=json", "--site", "west"]).code, Some(2));
}

/// A second poller, four minutes later, of another server.
#[test]
fn pollers_of_different_targets_add_up() {
    let summary = |time: i64, server: &str, count: u64, users: &[&str]| {
        json!({"timestamp": text(time), "event": "session_summary",
            "event_id": event_id((time, server)), "server_name": server, "virtual_proxy": "/",
            "session_count": count, "user_count": users.len(), "users": users})
    };
    let start = milliseconds("2026-11-02T08:00:00Z");
    let mut events = Vec::new();
    for poll in 0..12 {
        let time = start + poll * INTERVAL;
        let second = time + 4 * MINUTE;
        events.push(summary(time, "a", 3, &["D\\x", "D\\y"]));
        // The second one rests for a while.
        if !(4..8).contains(&poll) {
            events.push(summary(second, "b", 2 + u64::from(poll == 9), &["D\\X", "D\\z"]));
        }
    }
    let report = report_of(&events, &["--timezone", "UTC"]);
    let day = &report["days"][0];
    assert_eq!(day["peak_sessions"], 6, "{day}");
    assert_eq!(day["peak_at"], text(start + 9 * INTERVAL + 4 * MINUTE));
    assert_eq!((&day["peak_users"], &day["distinct_users"]), (&json!(3), &json!(3)));
    assert_eq!((&day["polls"], &day["polls_complete"]), (&json!(20), &json!(20)));
    // While one rests, the sum is not that of the site.
    let nine = report["hours_of_week"].as_array().into_iter().flatten().find(|h| h["hour"] == 9);
    assert!(nine.is_some_and(|hour| hour["mean_sessions"].as_f64() >= Some(5.0)), "{nine:?}");
}

/// The short time between the polls of two pollers is no measure for a gap.
#[test]
fn only_a_time_in_which_no_poller_polls_is_a_gap() {
    let mut events = Vec::new();
    for poll in (0..20).filter(|poll| !(8..14).contains(poll)) {
        for (server, late) in [("a", 0), ("b", 10_000)] {
            let keys = json!({"session_count": 1, "user_count": 1});
            let mut event = simple_event("session_summary", poll, server, keys);
            event["server_name"] = json!(server);
            event["timestamp"] = json!(text(poll * INTERVAL + late));
            // Once, one of them is late by a poll.
            if server == "a" || poll != 3 {
                events.push(event);
            }
        }
    }
    let report = report_of(&events, &["--timezone", "UTC"]);
    let gap = json!({"from": text(7 * INTERVAL + 10_000), "to": text(14 * INTERVAL),
        "seconds": 7 * INTERVAL / 1000 - 10});
    assert_eq!(report["gaps"], json!([gap]));
}

/// With `changes`, an end that nobody saw shows at the next keyframe.
#[test]
fn after_a_restart_only_the_keyframe_counts() {
    let start = milliseconds("2026-11-02T08:00:00Z");
    let time = |poll: i64| text(start + poll * INTERVAL);
    let event = |kind: &str, poll: i64, own: &str, keys: Value| {
        let mut event = json!({"timestamp": time(poll), "event": kind,
            "event_id": event_id((kind, poll, own)), "server_name": "a", "virtual_proxy": "/"});
        event.as_object_mut().expect("an object").extend(keys.as_object().expect("one").clone());
        event
    };
    let session = |id: &str, first: i64| {
        json!({"session_id": id, "user_directory": "D", "user_id": id, "user": format!("D\\{id}"),
            "first_seen": time(first)})
    };
    let summary = |poll: i64, count: u64, keyframe: bool| {
        let mut keys = json!({"session_count": count, "user_count": count});
        if keyframe {
            keys["keyframe"] = json!(true);
        }
        event("session_summary", poll, "", keys)
    };
    let mut events = vec![
        summary(0, 1, true),
        event("session", 0, "one", session("one", 0)),
        event("session_started", 2, "two", session("two", 2)),
        event("session_started", 3, "three", session("three", 3)),
    ];
    for (poll, count) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 2), (11, 2), (12, 2)] {
        events.push(summary(poll, count, poll == 11));
    }
    let mut ended = session("three", 3);
    ended["last_seen"] = json!(time(4));
    ended["duration_seconds"] = json!(600);
    events.push(event("session_ended", 5, "three", ended));
    // Between polls 5 and 11 the poller was restarted, and `one` left.
    events.push(event("session", 11, "two", session("two", 11)));
    events.push(event("session", 11, "four", session("four", 11)));
    let at = |poll: i64| report_of(&events, &["--timezone", "UTC", "--at", &time(poll)]);
    for (poll, ids) in [
        (0, &["one"][..]),
        (3, &["one", "three", "two"]),
        (4, &["one", "three", "two"]),
        (5, &["one", "two"]),
        (11, &["four", "two"]),
        (12, &["four", "two"]),
    ] {
        assert_eq!(ids_of(&at(poll)["at"]), ids.iter().copied().collect(), "poll {poll}");
    }
    let report = at(0);
    assert_eq!(
        (&report["sessions"]["count"], &report["sessions"]["ended"]),
        (&json!(4), &json!(1))
    );
    let hours: BTreeMap<&str, f64> = report["users"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|user| (user["user"].as_str().unwrap_or(""), user["hours"].as_f64().unwrap_or(-1.0)))
        .collect();
    let expected = [("D\\four", 10), ("D\\one", 50), ("D\\three", 10), ("D\\two", 100)];
    for (user, minutes) in expected {
        assert!((hours[user] - f64::from(minutes) / 60.0).abs() < 1e-9, "{user}: {hours:?}");
    }
}

/// One event of the only target, `a /`, at a poll of `INTERVAL`.
fn simple_event(kind: &str, poll: i64, own: &str, keys: Value) -> Value {
    let mut event = json!({"timestamp": text(poll * INTERVAL), "event": kind,
        "event_id": event_id((kind, poll, own)), "server_name": "a", "virtual_proxy": "/"});
    event.as_object_mut().expect("an object").extend(keys.as_object().expect("one").clone());
    event
}

#[test]
fn sessions_without_an_id_are_counted_and_lines_of_any_kind_are_repeated() {
    let user =
        |user: &str| json!({"user_directory": "D", "user_id": user, "user": format!("D\\{user}")});
    let summary = |poll, count: u64| {
        simple_event(
            "session_summary",
            poll,
            "",
            json!({"session_count": count, "user_count": count}),
        )
    };
    let events = [
        summary(0, 2),
        simple_event("session", 0, "x", user("x")),
        simple_event("session", 0, "y", user("y")),
        summary(1, 1),
        simple_event("sessions", 1, "", json!({"part": 1, "parts": 1, "sessions": [user("x")]})),
        simple_event("target_added", 0, "", json!({"reason": "listed"})),
        simple_event("of_a_later_version", 0, "", json!({})),
    ];
    let report = report_of(&[&events[..], &events[..]].concat(), &["--at", &text(0)]);
    assert_eq!((&report["lines"]["events"], &report["lines"]["repeated"]), (&json!(7), &json!(7)));
    assert_eq!(report["days"][0]["distinct_users"], 2);
    assert_eq!(report["at"]["sessions"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["at"]["sessions"][0].get("session_id"), None);
    assert_eq!(report["users"][0]["hours"], INTERVAL as f64 / HOUR as f64);
    assert_eq!(report["sessions"]["ended"], 0, "nobody knows when they ended");
}

#[test]
fn a_target_that_is_removed_has_no_sessions_any_more() {
    let summary = |poll, count: u64| {
        let keys = json!({"session_count": count, "user_count": count, "keyframe": poll == 0});
        simple_event("session_summary", poll, "", keys)
    };
    let session = json!({"session_id": "s", "user_directory": "D", "user_id": "x", "user": "D\\x",
        "first_seen": text(0), "first_seen_at_baseline": true});
    let mut events = vec![summary(0, 1), simple_event("session", 0, "s", session), summary(1, 1)];
    events.push(simple_event("target_removed", 2, "", json!({"reason": "not_listed"})));
    // The session that is there when the target comes back is another one.
    events.push(simple_event("target_added", 9, "", json!({"reason": "listed"})));
    events.push(summary(9, 1));
    let report = report_of(&events, &["--timezone", "UTC", "--at", &text(9 * INTERVAL)]);
    assert_eq!(ids_of(&report["at"]), BTreeSet::new());
    assert_eq!(report["at"]["session_count"], 1);
    assert_eq!(report["users"][0]["hours"], INTERVAL as f64 / HOUR as f64);
    let longest = &report["sessions"]["longest"][0];
    assert_eq!((&longest["begin_seen"], &longest["end_seen"]), (&json!(false), &json!(false)));
}

/// Without a state file, a program that was started again takes what it finds for new.
#[test]
fn a_session_that_a_restart_cuts_is_one() {
    let session = |first: i64, at_baseline: bool| {
        let mut keys = json!({"session_id": "s", "user_directory": "D", "user_id": "x",
            "user": "D\\x", "first_seen": text(first * INTERVAL)});
        if at_baseline {
            keys["first_seen_at_baseline"] = json!(true);
        }
        keys
    };
    let mut events = Vec::new();
    for poll in 0..8 {
        let count = i64::from((1..=5).contains(&poll));
        let keys = json!({"session_count": count, "user_count": count});
        events.push(simple_event("session_summary", poll, "", keys));
        if count == 1 {
            // It was started again between polls 2 and 3.
            let keys = if poll < 3 { session(1, false) } else { session(3, true) };
            events.push(simple_event("session", poll, "s", keys));
        }
    }
    events.push(simple_event("session_started", 1, "s", session(1, false)));
    let mut ended = session(3, true);
    ended["last_seen"] = json!(text(5 * INTERVAL));
    ended["duration_seconds"] = json!(2 * INTERVAL / 1000);
    events.push(simple_event("session_ended", 6, "s", ended));
    for _ in 0..2 {
        let report = report_of(&events, &["--timezone", "UTC", "--at", &text(4 * INTERVAL)]);
        let sessions = &report["sessions"];
        assert_eq!((&sessions["count"], &sessions["ended"]), (&json!(1), &json!(1)));
        assert_eq!(sessions["mean_seconds"], json!(4.0 * INTERVAL as f64 / 1000.0));
        assert_eq!(sessions["ended_begin_unseen"], 0);
        let at = &report["at"]["sessions"][0];
        assert_eq!(at["first_seen"], json!(text(INTERVAL)));
        assert_eq!(at.get("first_seen_at_baseline"), None);
        events.reverse();
    }
}

/// Two pollers of the same target at other times: each has its own ids.
#[test]
fn two_pollers_of_one_target_see_one_session() {
    for last in [1, 3] {
        let events: Vec<Value> = (0..2).flat_map(|poller| events_of_poller(poller, last)).collect();
        let report = report_of(&events, &["--timezone", "UTC"]);
        let length = (last - 1) * INTERVAL + 15_000;
        assert_eq!(report["days"][0]["peak_sessions"], 1);
        assert_eq!(report["gaps"], json!([]));
        let sessions = &report["sessions"];
        assert_eq!((&sessions["count"], &sessions["ended"]), (&json!(1), &json!(1)));
        assert_eq!(sessions["mean_seconds"], length as f64 / 1000.0);
        assert_eq!(report["users"][0]["hours"], length as f64 / HOUR as f64);
    }
}

/// One session, there from poll 1 to the last one that is given.
fn events_of_poller(poller: i64, last: i64) -> Vec<Value> {
    let time = |poll: i64| text(poll * INTERVAL + poller * 15_000);
    let event = |kind: &str, poll: i64, keys: Value| {
        let mut event = simple_event(kind, poll, &format!("{poller}"), keys);
        event["timestamp"] = json!(time(poll));
        event
    };
    let session = json!({"session_id": "s", "user_directory": "D", "user_id": "x", "user": "D\\x",
        "first_seen": time(1)});
    let mut ended = session.clone();
    ended["last_seen"] = json!(time(last));
    ended["duration_seconds"] = json!((last - 1) * INTERVAL / 1000);
    let mut events =
        vec![event("session_started", 1, session), event("session_ended", last + 1, ended)];
    for poll in 0..6 {
        let count = i64::from((1..=last).contains(&poll));
        let keys = json!({"session_count": count, "user_count": count});
        events.push(event("session_summary", poll, keys));
    }
    events
}

#[test]
fn one_person_is_one_in_any_case_and_form() {
    let session = |poll: i64, id: &str, user: &str| {
        json!({"timestamp": text(poll * INTERVAL), "event": "session",
            "event_id": event_id((poll, id)), "server_name": "a", "virtual_proxy": "/",
            "session_id": id, "user_directory": "LAB", "user_id": user,
            "user": format!("LAB\\{user}")})
    };
    let events =
        [session(1, "s", "Zo\u{eb}"), session(1, "t", "zoe\u{308}"), session(2, "u", "ZO\u{cb}")];
    let report = report_of(&events, &["--timezone", "UTC"]);
    assert_eq!(report["days"][0]["distinct_users"], 1);
    assert_eq!(report["days"][0]["peak_sessions"], 2);
    assert_eq!(report["users"][0]["user"], "LAB\\Zo\u{eb}");
    assert_eq!(report["users"][0]["sessions"], 3);
}

#[test]
fn a_spreadsheet_gets_the_same_numbers_and_no_formula() {
    let model = Model::new();
    let files = Files::new();
    let path = files.events(&model.events(Details::Snapshot));
    let json = report(&[&path], &[]);
    let csv = run(&[&path], &["--output", "csv"]).stdout;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let columns = reader.headers().expect("columns").clone();
    let column = |name: &str| columns.iter().position(|own| own == name).expect("a column");
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let table = |name: &str| rows.iter().filter(|row| &row[0] == name).collect::<Vec<_>>();
    let days = json["days"].as_array().expect("days");
    assert_eq!(table("days").len(), days.len());
    for (row, day) in table("days").into_iter().zip(days) {
        assert_eq!(row[column("date")], *day["date"].as_str().expect("a date"));
        assert_eq!(row[column("peak_sessions")], day["peak_sessions"].to_string());
        assert_eq!(row[column("polls_complete")], day["polls_complete"].to_string());
    }
    assert_eq!(table("users").len(), json["users"].as_array().map_or(0, Vec::len));
    assert!(rows.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '-', '@'])));
}

#[test]
fn the_report_can_be_a_file() {
    let files = Files::new();
    let path = files.events(&Model::new().events(Details::Changes));
    let out = files.0.path().join("report.json");
    let written = run(&[&path], &["--output=json", "-o", out.to_str().expect("a path")]);
    assert_eq!((written.code, written.stdout.as_str()), (Some(0), ""), "{}", written.stderr);
    let text = std::fs::read_to_string(&out).expect("it is there");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), report(&[&path], &[]));
    let missing = run(&[Path::new("/nowhere/events")], &["--output=json"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("/nowhere/events cannot be read"), "{}", missing.stderr);
}

fn page(events: &[Value], arguments: &[&str]) -> String {
    let run = run(&[&Files::new().events(events)], arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    let page = page(&Model::new().events(Details::Snapshot), &["--at", "2026-10-23T12:00"]);
    assert!(page.starts_with("<!DOCTYPE html>"));
    for unwanted in
        ["<script", "<link", "<img", "<iframe", "src=", "href=", " style=", "url(", "://"]
    {
        assert!(!page.contains(unwanted), "{unwanted}");
    }
    let style = between(&page, "<style>", "</style>");
    let hash = ring::digest::digest(&ring::digest::SHA256, style.as_bytes());
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
    assert_eq!(
        between(&page, "Content-Security-Policy\" content=\"", "\""),
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
        )
    );
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).expect("the start");
    rest.split_once(end).expect("the end").0
}

#[test]
fn a_page_shows_the_numbers_and_escapes_names() {
    let model = Model::new();
    let events = model.events(Details::Changes);
    let page = page(&events, &["--at", "2026-10-23T12:00"]);
    assert!(page.contains("LAB\\&lt;script&gt;alert('x')&lt;/script&gt;"));
    assert!(page.contains("ACME\\😀 &quot;&amp;amp;"));
    let report = report_of(&events, &["--at", "2026-10-23T12:00"]);
    let days = report["days"].as_array().expect("days");
    for day in days {
        let date = format!(" {}", day["date"].as_str().expect("a date"));
        let is_of_day = |row: &&str| row.starts_with("<th") && row.contains(&date);
        let row = page.split("<tr>").find(is_of_day).expect("a row for the day");
        let cells: Vec<&str> =
            row.split("<td").skip(1).map(|cell| between(cell, ">", "</td>")).collect();
        let bound = if day["peak_complete"] == false { "≥ " } else { "" };
        assert_eq!(cells[0], format!("{bound}{}", day["peak_sessions"]), "{day}");
        assert_eq!(cells[2], day["peak_users"].to_string());
        assert_eq!(cells[3], day["distinct_users"].to_string());
        assert_eq!(cells[4], format!("{} of {}", day["polls_complete"], day["polls"]));
    }
    assert!(page.contains("2026-10-25 (25 h)"));
    let at = between(&page, "Who was on at 2026-10-23 12:00", "<h2>");
    let count = format!("<dt>Sessions</dt><dd>{}</dd>", report["at"]["session_count"]);
    assert!(at.contains(&count), "{at}");
}

/// One break for the night without polls, one for each time without an answer.
#[test]
fn a_page_draws_gaps_as_gaps() {
    let mut model = Model::new();
    model.failed.retain(|&(poll, _), _| (40..60).contains(&poll));
    let page = page(&model.events(Details::Snapshot), &[]);
    let lines: Vec<&str> = page
        .split("<path class=\"sessions\" d=\"")
        .skip(1)
        .map(|rest| rest.split_once('"').expect("an end").0)
        .filter(|path| path.len() > 20)
        .collect();
    // The site and three targets, each in two widths.
    assert_eq!(lines.len(), 8);
    let breaks = |line: &str| line.matches('M').count() - 1;
    assert_eq!((breaks(lines[0]), breaks(lines[1])), (2, 2), "the site");
    assert_eq!((breaks(lines[2]), breaks(lines[3])), (1, 1), "sense1 / always answered");
    assert_eq!((breaks(lines[4]), breaks(lines[5])), (2, 2), "sense1 /sales");
}

#[test]
fn a_page_without_names_and_a_page_without_polls_are_complete() {
    let model = Model::new();
    let arguments = ["--no-users", "--at", "2026-10-23T12:00"];
    let without = page(&model.events(Details::Snapshot), &arguments);
    for hidden in ["maria", "script", "😀", "id-1", "1+1", "LAB", "ACME"] {
        assert!(!without.contains(hidden), "{hidden}");
    }
    let empty = page(&[], &[]);
    assert!(empty.contains("There are no polls in this time"));
    assert!(empty.contains("<dt>Most sessions at once</dt><dd>–</dd>"), "{empty}");
}
