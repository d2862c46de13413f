//! The sessions of one target as its last good answer held them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::snapshot::{Session, SessionDigests, Snapshot, session_digest};

/// What is known of one target's sessions. This is also what the state file keeps.
///
/// The first answer is the baseline: it starts no session. A failed poll does not come
/// here, so it ends none. Sessions of excluded users neither start nor end, even when the
/// exclusions change: they are known by their digests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When the last good answer came; none before the first.
    pub last_poll: Option<Timestamp>,
    /// The sessions by their [`session_digest`].
    pub(super) sessions: hashbrown::HashMap<u64, KnownSession>,
    /// The directory of the session that was added last: most sessions share it.
    last_directory: Option<Arc<str>>,
    /// The sessions of excluded users ([`session_digest`]).
    pub excluded: SessionDigests,
    /// When all its sessions were last reported though only changes are wanted.
    pub last_keyframe: Option<Timestamp>,
}

/// What is known of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSession {
    /// Its id.
    pub session_id: Box<str>,
    /// The user directory.
    pub user_directory: Option<Arc<str>>,
    /// The user, named as the settings say.
    pub user_id: Option<Box<str>>,
    /// Since when.
    pub seen: Seen,
}

/// Since when a session is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// In milliseconds since 1970: half of a [`Timestamp`], and kept of each session.
    first_seen: i64,
    /// It was already there then: when it started is not known.
    pub at_baseline: bool,
}

impl Seen {
    /// Since the poll at that time.
    pub fn new(first_seen: Timestamp, at_baseline: bool) -> Self {
        Self { first_seen: first_seen.as_millisecond(), at_baseline }
    }

    /// The first poll that saw it.
    pub fn first_seen(self) -> Timestamp {
        Timestamp::from_millisecond(self.first_seen).unwrap_or_default()
    }
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
    pub ended: Vec<KnownSession>,
}

impl Known {
    /// Compares an answer that came at `now` with the one before, and keeps it.
    pub fn update(&mut self, snapshot: &Snapshot<'_>, now: Timestamp) -> Changes {
        let ended = self.take_ended(snapshot);
        let seen = snapshot.sessions.iter().map(|session| self.see(session, now)).collect();
        self.excluded.clone_from(&snapshot.excluded_sessions);
        let since = self.last_poll.replace(now).unwrap_or(now);
        Changes { since, seen, ended }
    }

    /// Adds a session, or replaces what is known of it.
    pub fn insert(
        &mut self,
        session_id: &str,
        user_directory: Option<&str>,
        user_id: Option<&str>,
        seen: Seen,
    ) {
        if self.last_directory.as_deref() != user_directory {
            self.last_directory = user_directory.map(Into::into);
        }
        let session = KnownSession {
            session_id: session_id.into(),
            user_directory: self.last_directory.clone(),
            user_id: user_id.map(Into::into),
            seen,
        };
        self.sessions.insert(session_digest(session_id), session);
    }

    /// Takes out all sessions.
    pub fn take_sessions(&mut self) -> impl Iterator<Item = KnownSession> + use<> {
        std::mem::take(&mut self.sessions).into_values()
    }

    /// Takes out the sessions that the answer does not have, and forgets those of
    /// users who are excluded from now on: they did not leave.
    fn take_ended(&mut self, snapshot: &Snapshot<'_>) -> Vec<KnownSession> {
        self.sessions.retain(|digest, _| !snapshot.excluded_sessions.contains(digest));
        let gone = self.sessions.extract_if(|digest, _| !snapshot.session_digests.contains(digest));
        let mut ended: Vec<KnownSession> = gone.map(|(_, session)| session).collect();
        ended.sort_unstable_by(|a, b| {
            let by_time = a.seen.first_seen.cmp(&b.seen.first_seen);
            by_time.then_with(|| a.session_id.cmp(&b.session_id))
        });
        ended
    }

    fn see(&mut self, session: &Session<'_>, now: Timestamp) -> Option<(Seen, bool)> {
        let id = session.session_id.as_deref().filter(|_| !session.excluded)?;
        let (directory, user) = (session.user_directory.as_deref(), session.user_id.as_deref());
        let digest = session_digest(id);
        let known = self.sessions.get(&digest);
        let is_same = known.is_some_and(|known| {
            known.user_directory.as_deref() == directory && known.user_id.as_deref() == user
        });
        let at_baseline = self.last_poll.is_none() || self.excluded.contains(&digest);
        let seen = known.map_or(Seen::new(now, at_baseline), |known| known.seen);
        let is_new = known.is_none() && !at_baseline;
        // At most polls it is already there, and nothing is copied.
        if !is_same {
            self.insert(id, directory, user, seen);
        }
        Some((seen, is_new))
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
    fn read(ids: &[u8], excluded: &BTreeSet<u8>, odd: bool) -> Snapshot<'static> {
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
        let mut body = format!("[{}]", sessions.join(",")).into_bytes();
        let snapshot = Snapshot::read(&mut body, &Rules::new(&config, None));
        snapshot.expect("it is a list of sessions").into_owned()
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
                let number_of = |id: &str| id.parse::<u8>().expect("a number");
                let new = snapshot.sessions.iter().zip(&changes.seen).filter(|(_, seen)| seen.is_some_and(|(_, new)| new));
                prop_assert_eq!(new.map(|(session, _)| number_of(session.session_id.as_deref().expect("an id"))).collect::<BTreeSet<_>>(), started);
                prop_assert_eq!(changes.ended.iter().map(|ended| number_of(&ended.session_id)).collect::<BTreeSet<_>>(), ended);
                let seen: BTreeMap<u8, Timestamp> = known.sessions.values().map(|session| (number_of(&session.session_id), session.seen.first_seen())).collect();
                prop_assert_eq!(&seen, &model);
                before = Some((all, counted));
            }
        }
    }
}
