//! Two days of a site whose numbers are known at every moment.
//!
//! Polls come every five minutes, each some seconds late. Nobody is on in the
//! small hours. On the first day one target fails from 10:00 to 11:00 and a whole
//! server from 15:53 to 16:30; from 14:00 to 15:30 there are no polls at all.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// Monday, 3 March 2025, 00:00 UTC, in milliseconds.
pub const BEGIN: i64 = 1_740_960_000_000;
/// The end of the second day.
pub const END: i64 = BEGIN + 2 * DAY;

const POLL_INTERVAL: i64 = 5 * MINUTE;
/// When the certificates end.
pub const CERTIFICATES_END: i64 = BEGIN + 100 * DAY;
/// The site's session limit for one user.
pub const SESSION_LIMIT: usize = 5;

pub const ALL_SERVERS: [&str; 2] = ["sense1", "sense2"];
pub const TARGETS: [Target; 4] = [
    Target { server: "sense1", virtual_proxy: "/" },
    Target { server: "sense1", virtual_proxy: "/sales" },
    Target { server: "sense2", virtual_proxy: "/" },
    Target { server: "sense2", virtual_proxy: "/hr" },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub server: &'static str,
    pub virtual_proxy: &'static str,
}

impl Target {
    /// How long each poll of it takes.
    pub fn duration_ms(self) -> i64 {
        20 + self.server.len() as i64 + 10 * self.virtual_proxy.len() as i64
    }

    /// The server's tag.
    fn environment(self) -> &'static str {
        if self.server == "sense1" { "production" } else { "test" }
    }

    fn keys(self) -> Value {
        json!({
            "server_name": self.server,
            "server_description": format!("Node {}", self.server),
            "server_host": format!("{}.example.com", self.server),
            "proxy_host": format!("{}.example.com:4243", self.server),
            "virtual_proxy": self.virtual_proxy,
            "tags": {"environment": self.environment()},
        })
    }
}

/// A session of a user from its start to its end.
#[derive(Clone, Debug)]
pub struct Session {
    pub target: Target,
    pub directory: &'static str,
    pub user_id: String,
    pub id: String,
    from: i64,
    to: i64,
}

impl Session {
    pub fn user(&self) -> String {
        format!("{}\\{}", self.directory, self.user_id)
    }

    fn is_on(&self, at: i64) -> bool {
        self.from <= at && at < self.to
    }
}

/// What one poll saw.
#[derive(Debug)]
pub struct Poll {
    pub at: i64,
    /// The sessions of each target that answered.
    pub answers: BTreeMap<Target, Vec<Session>>,
}

impl Poll {
    /// The sessions of all targets that answered.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.answers.values().flatten()
    }

    pub fn users(&self) -> BTreeSet<String> {
        self.sessions().map(Session::user).collect()
    }

    pub fn targets_failed(&self) -> usize {
        TARGETS.len() - self.answers.len()
    }
}

/// A session that ended, as the poll saw it that missed it first.
#[derive(Debug)]
pub struct Change {
    pub at: i64,
    pub session: Session,
    /// Where it ended: how long it was seen, in seconds.
    pub ended_after: Option<i64>,
}

#[derive(Debug)]
pub struct Scenario {
    pub polls: Vec<Poll>,
    pub changes: Vec<Change>,
    pub events: Vec<Value>,
}

impl Scenario {
    pub fn new() -> Self {
        Self::of(&sessions(), poll_times())
    }

    /// Three polls of a site with more sessions than Loki takes as series.
    pub fn large() -> Self {
        let session = |n: usize| Session {
            target: TARGETS[n % TARGETS.len()],
            directory: "LAB",
            user_id: format!("user{}", n % 700),
            id: format!("session-{n}"),
            from: BEGIN,
            to: END,
        };
        let sessions: Vec<Session> = (0..900).map(session).collect();
        Self::of(&sessions, (0..3).map(|n| BEGIN + n * POLL_INTERVAL + 137))
    }

    fn of(sessions: &[Session], poll_times: impl Iterator<Item = i64>) -> Self {
        let polls: Vec<Poll> = poll_times.map(|at| poll(at, sessions)).collect();
        let mut recorder = Recorder::default();
        for poll in &polls {
            recorder.record(poll);
        }
        Self { polls, changes: recorder.changes, events: recorder.events }
    }

    /// The last poll of the time up to `at`, where there is one in the window.
    pub fn last_poll(&self, at: i64, window: i64) -> Option<&Poll> {
        self.polls.iter().rev().find(|poll| poll.at <= at && poll.at > at - window)
    }

    /// The polls after `from` up to `to`.
    pub fn polls_between(&self, from: i64, to: i64) -> impl DoubleEndedIterator<Item = &Poll> {
        self.polls.iter().filter(move |poll| poll.at > from && poll.at <= to)
    }
}

/// Every five minutes, up to forty seconds late, never on a full second.
fn poll_times() -> impl Iterator<Item = i64> {
    (0..2 * DAY / POLL_INTERVAL)
        .map(|n| BEGIN + n * POLL_INTERVAL + n * 7_919 % 40 * SECOND + 137)
        .filter(|at| !within(*at, 14 * HOUR, 15 * HOUR + 30 * MINUTE))
}

fn within(at: i64, from: i64, to: i64) -> bool {
    (from..to).contains(&(at - BEGIN))
}

fn fails(target: Target, at: i64) -> bool {
    let hr = target.virtual_proxy == "/hr" && within(at, 10 * HOUR, 11 * HOUR);
    let server =
        target.server == "sense2" && within(at, 15 * HOUR + 53 * MINUTE, 16 * HOUR + 30 * MINUTE);
    hr || server
}

fn poll(at: i64, sessions: &[Session]) -> Poll {
    let on = |target: Target| {
        sessions
            .iter()
            .filter(move |session| session.target == target && session.is_on(at))
            .cloned()
    };
    let answers = TARGETS
        .into_iter()
        .filter(|target| !fails(*target, at))
        .map(|target| (target, on(target).collect()))
        .collect();
    Poll { at, answers }
}

fn sessions() -> Vec<Session> {
    let mut sessions = Vec::new();
    for day in 0..2 {
        let midnight = BEGIN + day * DAY;
        let mut add = |target: usize, directory, user_id: &str, from: i64, minutes: i64| {
            sessions.push(Session {
                target: TARGETS[target],
                directory,
                user_id: user_id.to_owned(),
                id: format!("session-{}", sessions.len()),
                from: midnight + from,
                to: midnight + from + minutes * MINUTE,
            });
        };
        // Before the small hours, so that the first poll finds somebody.
        add(0, "LAB", "owl", 0, 90);
        // At the session limit, over two servers.
        for target in [0, 0, 0, 1, 1, 2] {
            add(target, "LAB", "many", 9 * HOUR, 180);
        }
        add(2, "ACME", "o'brien, \"jo\"", 9 * HOUR + 10 * MINUTE, 120);
        for n in 0..150 {
            let user = format!("user{}", (n * 7 + day * 11) % 60);
            let directory = if n % 2 == 0 { "LAB" } else { "ACME" };
            let from = 5 * HOUR + (n * 337 + day * 13) % 600 * MINUTE;
            add(n as usize % 4, directory, &user, from, 20 + n * 53 % 300);
        }
    }
    sessions
}

/// Writes the events that the program would write of these polls.
#[derive(Default)]
struct Recorder {
    events: Vec<Value>,
    changes: Vec<Change>,
    /// When each session that is on was seen first and last, by target.
    known: BTreeMap<Target, BTreeMap<String, (Session, i64, i64)>>,
    failures: BTreeMap<Target, u64>,
}

impl Recorder {
    fn record(&mut self, poll: &Poll) {
        for target in TARGETS {
            match poll.answers.get(&target) {
                Some(sessions) => self.answer(poll.at, target, sessions),
                None => self.failure(poll.at, target),
            }
        }
        let users = poll.users();
        let at_limit = users_at_limit(poll.sessions());
        self.event(
            poll.at,
            "site_summary",
            &json!({
                "session_count": poll.sessions().count(),
                "user_count": users.len(),
                "excluded_session_count": 0,
                "targets": TARGETS.len(),
                "targets_failed": poll.targets_failed(),
                "polls_skipped": 0,
                "duration_ms": 100,
                "users_at_session_limit": at_limit.len(),
                "users_at_limit": at_limit.keys().collect::<Vec<_>>(),
            }),
            &certificates(),
        );
    }

    fn answer(&mut self, at: i64, target: Target, sessions: &[Session]) {
        self.failures.remove(&target);
        let users: BTreeSet<String> = sessions.iter().map(Session::user).collect();
        let summary = json!({
            "session_count": sessions.len(),
            "user_count": users.len(),
            "users": users,
            "users_omitted": 0,
            "excluded_session_count": 0,
            "duration_ms": target.duration_ms(),
        });
        self.event(at, "session_summary", &target.keys(), &merged(&summary, &certificates()));
        let before = self.known.remove(&target);
        let mut known = BTreeMap::new();
        for session in sessions {
            let old = before.as_ref().and_then(|before| before.get(&session.id));
            let first_seen = old.map_or(at, |(_, first_seen, _)| *first_seen);
            known.insert(session.id.clone(), (session.clone(), first_seen, at));
            let keys = merged(&session_keys(session), &json!({"first_seen": time(first_seen)}));
            self.event(at, "session", &target.keys(), &keys);
            // The first poll of a target knows no starts.
            if before.is_some() && old.is_none() {
                self.event(at, "session_started", &target.keys(), &keys);
                self.changes.push(Change { at, session: session.clone(), ended_after: None });
            }
        }
        for (id, (session, first_seen, last_seen)) in before.into_iter().flatten() {
            if !known.contains_key(&id) {
                self.end(at, &session, first_seen, last_seen);
            }
        }
        self.known.insert(target, known);
    }

    fn end(&mut self, at: i64, session: &Session, first_seen: i64, last_seen: i64) {
        let seconds = (last_seen - first_seen + SECOND / 2) / SECOND;
        let seen = json!({
            "first_seen": time(first_seen),
            "last_seen": time(last_seen),
            "duration_seconds": seconds,
        });
        let keys = merged(&session_keys(session), &seen);
        self.event(at, "session_ended", &session.target.keys(), &keys);
        let session = session.clone();
        self.changes.push(Change { at, session, ended_after: Some(seconds) });
    }

    fn failure(&mut self, at: i64, target: Target) {
        let failures = self.failures.entry(target).or_default();
        *failures += 1;
        let keys = json!({
            "category": "timeout",
            "message": "no answer within 5 s",
            "hint": "Does the Qlik Sense Proxy Service run?",
            "duration_ms": 5_000,
            "consecutive_failures": *failures,
        });
        self.event(at, "poll_error", &target.keys(), &keys);
    }

    fn event(&mut self, at: i64, kind: &str, about: &Value, keys: &Value) {
        let head = json!({
            "timestamp": time(at),
            "event": kind,
            "event_id": format!("{:032x}", self.events.len()),
        });
        self.events.push(merged(&merged(&head, about), keys));
    }
}

/// The users with as many sessions as the limit or more, and how many they have.
pub fn users_at_limit<'a>(sessions: impl Iterator<Item = &'a Session>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    sessions.for_each(|session| *counts.entry(session.user()).or_default() += 1);
    counts.retain(|_, count| *count >= SESSION_LIMIT);
    counts
}

pub fn time(at: i64) -> String {
    let time = Timestamp::from_millisecond(at).expect("a time");
    format!("{time:.3}")
}

fn certificates() -> Value {
    json!({
        "client_certificate_expires": time(CERTIFICATES_END),
        "server_certificate_expires": time(CERTIFICATES_END + DAY),
    })
}

fn session_keys(session: &Session) -> Value {
    json!({
        "session_id": session.id,
        "user_directory": session.directory,
        "user_id": session.user_id,
        "user": session.user(),
    })
}

fn merged(one: &Value, other: &Value) -> Value {
    let mut merged = one.as_object().expect("an object").clone();
    merged.extend(other.as_object().expect("an object").clone());
    Value::Object(merged)
}
