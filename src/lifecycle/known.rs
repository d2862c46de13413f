//! The sessions of one target as the last good answer told them.

use std::{mem, rc::Rc};

use hashbrown::HashMap;
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
#[derive(Debug)]
pub struct Changes {
    /// Whether each session of the new answer is new; empty for the first one.
    started: Vec<bool>,
    /// Whether each session of the one before is gone.
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
        let moment = Rc::new(Moment::from(now));
        let mut started: Vec<bool> = snapshot.are_told().collect();
        let mut gone: Vec<bool> = self.snapshot.are_told().collect();
        let mut first_seen = Vec::with_capacity(snapshot.len());
        for (before, started) in snapshot.places_before().zip(&mut started) {
            first_seen.push(Rc::clone(before.map_or(&moment, |before| &self.first_seen[before])));
            if let Some(before) = before {
                (*started, gone[before]) = (false, false);
            }
        }
        // The rest may be the same sessions and only look different: with other
        // attributes, or because no more than their ids was saved.
        if started.contains(&true) || gone.contains(&true) {
            let missing: HashMap<&str, usize> = (self.snapshot.sessions().enumerate())
                .filter(|(before, _)| gone[*before])
                .map(|(before, session)| (session.session_id, before))
                .collect();
            for (place, session) in snapshot.sessions().enumerate() {
                if let Some(&before) = missing.get(session.session_id) {
                    gone[before] = false;
                    if mem::take(&mut started[place]) {
                        first_seen[place] = Rc::clone(&self.first_seen[before]);
                    }
                }
            }
        }
        if self.last_poll.is_none() {
            started.clear();
        }
        let known = Self { last_poll: Some(now), snapshot, first_seen };
        Changes { started, gone, before: mem::replace(self, known) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        path::Path,
    };

    use jiff::{Timestamp, ToSpan};
    use proptest::prelude::*;

    use super::Known;
    use crate::{
        config::Config,
        proxy::Receiver,
        snapshot::{Reader, Rules, Snapshot},
    };

    /// The ids of an answer in their order, and how each session looks in it.
    fn answer() -> impl Strategy<Value = Vec<(u8, bool)>> {
        let ids = prop::sample::subsequence((0..12_u8).collect::<Vec<_>>(), 0..12);
        let ids = prop_oneof![3 => ids.clone(), 1 => ids.prop_shuffle()];
        ids.prop_flat_map(|ids| {
            let looks = prop::collection::vec(prop::bool::weighted(0.1), ids.len());
            looks.prop_map(move |looks| ids.iter().copied().zip(looks).collect())
        })
    }

    fn read(known: &Known, answer: &[(u8, bool)]) -> Snapshot {
        let rules = Rules::new(&Config::empty(Path::new("")));
        let mut reader = Reader::new(&rules).after(known.snapshot());
        let sessions: Vec<_> = answer
            .iter()
            .map(|(id, look)| {
                format!(
                    r#"{{"UserDirectory":"LAB","UserId":"u","Attributes":[{{"new":"{look}"}}],"SessionId":"{id}"}}"#
                )
            })
            .collect();
        reader.piece(format!("[{}]", sessions.join(",")).as_bytes());
        reader.finish().expect("it is a list of sessions")
    }

    proptest! {
        #[test]
        fn who_came_and_who_left(answers in prop::collection::vec(answer(), 1..6), restart in 0..6_usize) {
            let mut known = Known::default();
            let mut model: Option<BTreeMap<String, Timestamp>> = None;
            let mut now = Timestamp::UNIX_EPOCH;
            for (poll, answer) in answers.iter().enumerate() {
                if poll == restart {
                    known = restored(&known);
                }
                now += 30.seconds();
                let changes = known.update(read(&known, answer), now);
                let ids: BTreeSet<String> = answer.iter().map(|(id, _)| id.to_string()).collect();
                let before = model.clone().unwrap_or_default();
                let expected: BTreeMap<String, Timestamp> = ids
                    .iter()
                    .map(|id| (id.clone(), before.get(id).copied().unwrap_or(now)))
                    .collect();
                let started: BTreeSet<String> = match model {
                    Some(_) => ids.iter().filter(|id| !before.contains_key(*id)).cloned().collect(),
                    None => BTreeSet::new(),
                };
                let gone: BTreeMap<String, Timestamp> =
                    before.into_iter().filter(|(id, _)| !ids.contains(id)).collect();

                let told = known.sessions().map(|(session, seen)| (session.session_id.to_owned(), seen.time()));
                prop_assert_eq!(told.collect::<BTreeMap<_, _>>(), expected.clone());
                let told = known.sessions().enumerate().filter(|(place, _)| changes.has_started(*place));
                prop_assert_eq!(told.map(|(_, (session, _))| session.session_id.to_owned()).collect::<BTreeSet<_>>(), started);
                let told = changes.gone().map(|(keys, seen)| (keys.session_id.to_owned(), seen.time()));
                prop_assert_eq!(told.collect::<BTreeMap<_, _>>(), gone);
                model = Some(expected);
            }
        }
    }

    /// As the state file brings it back.
    fn restored(known: &Known) -> Known {
        let sessions = known.snapshot().sessions();
        let sessions = sessions.map(|s| (s.session_id, s.user_directory, s.user_id));
        let snapshot = Snapshot::of(sessions).expect("the texts are short");
        Known::restore(
            known.last_poll(),
            snapshot,
            known.sessions().map(|(_, first_seen)| first_seen.time()),
        )
    }
}
