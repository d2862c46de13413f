//! The sessions of one target as its last good answer held them.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::snapshot::{Session, Snapshot, session_digest};

/// What is known of one target's sessions, by session id. This is also what the
/// state file keeps.
///
/// A first answer is the baseline: it starts nobody. A failed poll does not
/// come here, so it ends nobody. Nor do excluded users' sessions start or end,
/// also when the exclusions changed: those are known by their digests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When the last good answer came; none before the first.
    pub last_poll: Option<Timestamp>,
    /// By session id.
    pub sessions: HashMap<String, KnownSession>,
    /// The sessions of excluded users ([`session_digest`]).
    pub excluded: HashSet<u64>,
    /// When all its sessions were last reported though only changes are wanted.
    pub last_keyframe: Option<Timestamp>,
}

/// What is known of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSession {
    /// The user directory.
    pub user_directory: Option<String>,
    /// The user, named as the settings say.
    pub user_id: Option<String>,
    /// Since when.
    pub seen: Seen,
}

/// Since when a session is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The first poll that saw it.
    pub first_seen: Timestamp,
    /// It was already there then: when it started is not known.
    pub at_baseline: bool,
}

/// A session that is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its id.
    pub session_id: String,
    /// What was known of it.
    pub session: KnownSession,
}

/// How an answer differs from the one before.
#[derive(Debug)]
pub struct Changes {
    /// The time of the good answer before; this one's where there was none.
    pub since: Timestamp,
    /// Of each session of the answer: since when it is known, and whether it is
    /// new. None of a session without an id or of an excluded user.
    pub seen: Vec<Option<(Seen, bool)>>,
    /// The sessions that are gone, oldest first.
    pub ended: Vec<Ended>,
}

impl Known {
    /// Compares an answer that came at `now` with the one before, and keeps it.
    pub fn update(&mut self, snapshot: &Snapshot, now: Timestamp) -> Changes {
        let ended = self.take_ended(snapshot);
        let seen = snapshot.sessions.iter().map(|session| self.see(session, now)).collect();
        self.excluded.clone_from(&snapshot.excluded_sessions);
        let since = self.last_poll.replace(now).unwrap_or(now);
        Changes { since, seen, ended }
    }

    /// Takes out the sessions that the answer does not have, and forgets those of
    /// users who are excluded from now on: they did not leave.
    fn take_ended(&mut self, snapshot: &Snapshot) -> Vec<Ended> {
        let is_excluded = |id: &String| snapshot.excluded_sessions.contains(&session_digest(id));
        self.sessions.retain(|id, _| !is_excluded(id));
        let gone = |id: &String| !snapshot.session_digests.contains(&session_digest(id));
        let mut ended: Vec<Ended> = self
            .sessions
            .extract_if(|id, _| gone(id))
            .map(|(session_id, session)| Ended { session_id, session })
            .collect();
        let key = |ended: &Ended| ended.session.seen.first_seen;
        ended.sort_unstable_by(|a, b| {
            key(a).cmp(&key(b)).then_with(|| a.session_id.cmp(&b.session_id))
        });
        ended
    }

    fn see(&mut self, session: &Session, now: Timestamp) -> Option<(Seen, bool)> {
        let id = session.session_id.as_ref().filter(|_| !session.excluded)?;
        if let Some(known) = self.sessions.get_mut(id) {
            // At most polls nothing changes, and nothing is copied.
            if known.user_directory != session.user_directory {
                known.user_directory.clone_from(&session.user_directory);
            }
            if known.user_id != session.user_id {
                known.user_id.clone_from(&session.user_id);
            }
            return Some((known.seen, false));
        }
        let at_baseline = self.last_poll.is_none() || self.excluded.contains(&session_digest(id));
        let seen = Seen { first_seen: now, at_baseline };
        let known = KnownSession {
            user_directory: session.user_directory.clone(),
            user_id: session.user_id.clone(),
            seen,
        };
        self.sessions.insert(id.clone(), known);
        Some((seen, !at_baseline))
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
        config::{Config, ExcludedUser},
        snapshot::{Rules, Snapshot},
    };

    /// Session ids, some of them twice; and the users that are excluded at that poll.
    fn poll() -> impl Strategy<Value = (Vec<u8>, BTreeSet<u8>)> {
        let excluded = prop_oneof![
            3 => Just(BTreeSet::new()),
            1 => prop::collection::btree_set(0..10_u8, 0..3),
        ];
        (prop::collection::vec(0..10_u8, 0..14), excluded)
    }

    /// The user of session 3 is `u3`, in an odd spelling at every second poll.
    fn read(ids: &[u8], excluded: &BTreeSet<u8>, odd: bool) -> Snapshot {
        let mut config = Config::empty(Path::new(""));
        config.exclude =
            excluded.iter().map(|id| ExcludedUser::new("lab", &format!("u{id}"))).collect();
        let user = if odd { "U" } else { "u" };
        let sessions: Vec<String> = ids
            .iter()
            .map(|id| {
                format!(r#"{{"UserDirectory":"LAB","UserId":"{user}{id}","SessionId":"{id}"}}"#)
            })
            .collect();
        let body = format!("[{}]", sessions.join(",")).into_bytes();
        Snapshot::read(body, &Rules::new(&config, None)).expect("it is a list of sessions")
    }

    proptest! {
        /// Against the plain definition: a session starts that no user, excluded
        /// or not, held at the poll before; one ends that nobody holds any more.
        #[test]
        fn who_came_and_who_left(polls in prop::collection::vec(poll(), 1..8)) {
            let mut known = Known::default();
            let mut before: Option<(BTreeSet<u8>, BTreeSet<u8>)> = None;
            let mut model: BTreeMap<u8, Timestamp> = BTreeMap::new();
            let mut now = Timestamp::UNIX_EPOCH;
            for (number, (ids, excluded)) in polls.iter().enumerate() {
                now += 30.seconds();
                let snapshot = read(ids, excluded, number % 2 == 1);
                let changes = known.update(&snapshot, now);
                let all: BTreeSet<u8> = ids.iter().copied().collect();
                let counted: BTreeSet<u8> = all.difference(excluded).copied().collect();
                let (all_before, counted_before) = before.unwrap_or((all.clone(), counted.clone()));
                let started: BTreeSet<u8> = counted.difference(&all_before).copied().collect();
                let ended: BTreeSet<u8> = counted_before.difference(&all).copied().collect();
                model.retain(|id, _| counted.contains(id));
                for id in &counted {
                    model.entry(*id).or_insert(now);
                }

                prop_assert_eq!(snapshot.sessions.len(), counted.len());
                let number_of = |id: &String| id.parse::<u8>().expect("a number");
                let new = snapshot.sessions.iter().zip(&changes.seen).filter(|(_, seen)| seen.is_some_and(|(_, new)| new));
                prop_assert_eq!(new.map(|(session, _)| number_of(session.session_id.as_ref().expect("an id"))).collect::<BTreeSet<_>>(), started);
                prop_assert_eq!(changes.ended.iter().map(|ended| number_of(&ended.session_id)).collect::<BTreeSet<_>>(), ended);
                let seen: BTreeMap<u8, Timestamp> = known.sessions.iter().map(|(id, session)| (number_of(id), session.seen.first_seen)).collect();
                prop_assert_eq!(&seen, &model);
                before = Some((all, counted));
            }
        }
    }
}
