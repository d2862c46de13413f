//! The sessions of one target as the last good answer told them.

use std::{mem, rc::Rc};

use hashbrown::{HashMap, hash_map::Entry};
use jiff::Timestamp;

use crate::{
    events::{Moment, SessionKeys},
    snapshot::{Session, Snapshot},
};

/// What is known of one target's sessions.
///
/// A first answer is the baseline: it starts nobody. A failed poll does not
/// come here, so it ends nobody. Nor do excluded users' sessions start or end.
#[derive(Debug, Default)]
pub struct Known {
    last_poll: Option<Timestamp>,
    snapshot: Snapshot,
    /// The first poll that saw each of its sessions.
    first_seen: Vec<Rc<Moment>>,
}

/// How an answer differs from the one before.
#[derive(Debug, Default)]
pub struct Changes {
    /// Whether each session of the new answer is new; empty where none is.
    started: Vec<bool>,
    /// Whether each session of the one before is gone; empty where none is.
    gone: Vec<bool>,
    before: Known,
}

impl Changes {
    /// Whether the session at this place of the new answer is new.
    pub fn has_started(&self, place: usize) -> bool {
        self.started.get(place) == Some(&true)
    }

    /// The sessions that are gone, and the first poll that saw each.
    pub fn gone(&self) -> impl Iterator<Item = (SessionKeys<'_>, &Moment)> {
        self.before
            .sessions()
            .zip(&self.gone)
            .filter(|(_, gone)| **gone)
            .map(|((session, first_seen), _)| (session.into(), first_seen))
    }
}

impl Known {
    /// What was known when it was saved.
    pub fn restore(
        last_poll: Option<Timestamp>,
        snapshot: Snapshot,
        first_seen: impl Iterator<Item = Timestamp>,
    ) -> Self {
        let mut moments = HashMap::new();
        let first_seen = first_seen.map(|time| {
            Rc::clone(moments.entry(time).or_insert_with(|| Rc::new(Moment::from(time))))
        });
        Self { last_poll, first_seen: first_seen.collect(), snapshot }
    }

    /// When the last good answer came; none before the first.
    pub fn last_poll(&self) -> Option<Timestamp> {
        self.last_poll
    }

    /// The last good answer.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Its sessions, excluded ones, too, and the first poll that saw each.
    pub fn sessions(&self) -> impl Iterator<Item = (Session<'_>, &Moment)> {
        self.snapshot.sessions().zip(self.first_seen.iter().map(Rc::as_ref))
    }

    /// Takes note of a new answer, which came at `now`.
    pub fn update(&mut self, snapshot: Snapshot, now: Timestamp) -> Changes {
        let is_baseline = self.last_poll.replace(now).is_none();
        if snapshot.is_same_as(&self.snapshot) {
            self.snapshot = snapshot;
            return Changes::default();
        }
        // Where each session was in the answer before; nowhere, where it is new. An
        // odd answer may hold one twice, which is no change.
        let mut places: HashMap<&str, Option<usize>> = HashMap::new();
        let mut gone = vec![false; self.snapshot.len()];
        for (place, session) in self.snapshot.sessions().enumerate() {
            if session.excluded {
                continue;
            }
            if let Entry::Vacant(entry) = places.entry(session.session_id) {
                entry.insert(Some(place));
                gone[place] = true;
            }
        }
        let moment = Rc::new(Moment::from(now));
        let mut started = vec![false; snapshot.len()];
        let mut first_seen = vec![moment; snapshot.len()];
        for (place, session) in snapshot.sessions().enumerate() {
            if session.excluded {
                continue;
            }
            match places.entry(session.session_id) {
                Entry::Vacant(entry) => {
                    entry.insert(None);
                    started[place] = !is_baseline;
                }
                Entry::Occupied(entry) => {
                    if let Some(before) = *entry.get() {
                        gone[before] = false;
                        first_seen[place] = Rc::clone(&self.first_seen[before]);
                    }
                }
            }
        }
        drop(places);
        let now_known = Self { last_poll: Some(now), snapshot, first_seen };
        Changes { started, gone, before: mem::replace(self, now_known) }
    }
}
