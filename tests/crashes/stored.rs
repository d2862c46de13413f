//! What a backend makes of the events that it stored.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::site::{PREFIXES, Sessions};

/// What a backend holds once it has dropped repeated ids.
pub struct Stored {
    /// In the order of their times; those of one time as they came.
    pub events: Vec<Value>,
    /// Events that it had before.
    pub repeated: usize,
}

impl Stored {
    /// Keeps the first event of each id. Lines of a log have none.
    pub fn new(arrived: Vec<Value>) -> Self {
        let mut ids = BTreeSet::new();
        let mut events = Vec::new();
        let mut repeated = 0;
        for event in arrived {
            let Some(id) = event["event_id"].as_str() else { continue };
            match ids.insert(id.to_owned()) {
                true => events.push(event),
                false => repeated += 1,
            }
        }
        events.sort_by_key(|event| time(event).to_owned());
        Self { events, repeated }
    }

    /// The times of the polls whose last event is there.
    pub fn whole_polls(&self) -> BTreeSet<&str> {
        self.events.iter().filter(|event| event["event"] == "site_summary").map(time).collect()
    }
}

/// What [`rebuild`] compared.
#[derive(Default)]
pub struct Compared {
    pub keyframes: usize,
    pub summaries: usize,
    pub starts_and_ends: usize,
}

/// Rebuilds who is on from the first keyframe, starts and ends. At each later
/// keyframe that is whole, and at the end, that has to be exactly who was on; at
/// every summary of a whole poll its users have to be.
pub fn rebuild(stored: &Stored, truth: &Sessions) -> Compared {
    let mut compared = Compared::default();
    for (prefix, truth) in PREFIXES.iter().zip(truth) {
        let on = rebuild_target(stored, prefix, &mut compared);
        assert_eq!(&on, truth, "{prefix} at the end");
    }
    compared
}

fn rebuild_target(stored: &Stored, prefix: &str, compared: &mut Compared) -> BTreeSet<String> {
    let whole = stored.whole_polls();
    let mut on: Option<BTreeSet<String>> = None;
    for (time, poll) in polls_of(stored, prefix) {
        let sessions = |kind: &str| sessions_of(&poll, kind);
        if let Some(on) = &mut on {
            for id in sessions("session_started") {
                assert!(on.insert(id.clone()), "{time}: {id} started twice");
                compared.starts_and_ends += 1;
            }
            for id in sessions("session_ended") {
                assert!(on.remove(&id), "{time}: {id} ended twice, or never started");
                compared.starts_and_ends += 1;
            }
        }
        let Some(summary) = poll.iter().find(|event| event["event"] == "session_summary") else {
            continue;
        };
        if !whole.contains(time) {
            continue;
        }
        if summary["keyframe"] == true {
            let keyframe = sessions("session");
            assert_eq!(summary["session_count"], keyframe.len(), "{time}: {summary}");
            compared.keyframes += usize::from(on.is_some());
            assert_eq!(on.get_or_insert_with(|| keyframe.clone()), &keyframe, "{time}: {prefix}");
        }
        if let Some(on) = &on {
            assert_eq!(on, &users_of(summary), "{time}: {prefix}");
            compared.summaries += 1;
        }
    }
    on.expect("there is a keyframe")
}

/// The events of each poll of a target.
fn polls_of<'a>(stored: &'a Stored, prefix: &str) -> BTreeMap<&'a str, Vec<&'a Value>> {
    let mut polls: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in stored.events.iter().filter(|event| event["virtual_proxy"] == prefix) {
        polls.entry(time(event)).or_default().push(event);
    }
    polls
}

/// The session ids of the events of one kind, which hold each once.
pub fn sessions_of(events: &[&Value], kind: &str) -> BTreeSet<String> {
    let of_kind: Vec<&&Value> = events.iter().filter(|event| event["event"] == kind).collect();
    let ids: BTreeSet<String> = of_kind
        .iter()
        .map(|event| event["session_id"].as_str().expect("a session id").to_owned())
        .collect();
    assert_eq!(ids.len(), of_kind.len(), "each once: {of_kind:#?}");
    ids
}

/// The sessions of a summary's users: each has one. Elasticsearch keeps no empty list.
fn users_of(summary: &Value) -> BTreeSet<String> {
    let users = summary["users"].as_array().into_iter().flatten();
    users.filter_map(|user| Some(user.as_str()?.replace("LAB\\u", "s"))).collect()
}

pub fn time(event: &Value) -> &str {
    event["timestamp"].as_str().expect("a time")
}

/// The lines of a file that an agent wrote, and how many an agent's end cut.
pub fn lines_of(text: &str) -> (Vec<Value>, usize) {
    let lines: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let cut = text.lines().count() - lines.len();
    (lines, cut)
}
