//! The sessions of one target as the last good answers told them.

use std::{collections::HashMap, hash::BuildHasher, rc::Rc};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use jiff::Timestamp;

use crate::events::{Moment, SessionKeys};

/// What is known of one target's sessions.
///
/// A first answer is the baseline: it starts nobody. A failed poll does not
/// come here, so it ends nobody.
#[derive(Debug, Default)]
pub struct Known {
    last_poll: Option<Timestamp>,
    sessions: HashTable<KnownSession>,
    hasher: DefaultHashBuilder,
    /// Counts the answers, to tell sessions of the newest from older ones.
    turn: u32,
}

/// One session in one piece of memory; a site may have tens of thousands.
#[derive(Debug)]
struct KnownSession {
    /// Session id, user directory and user id, one behind the other.
    text: Box<str>,
    directory_at: u32,
    user_at: u32,
    /// Whether the user is named.
    named: bool,
    /// The texts hold nothing that JSON would escape.
    plain: bool,
    turn: u32,
    first_seen: Rc<Moment>,
}

impl KnownSession {
    fn new(keys: SessionKeys<'_>, first_seen: Rc<Moment>, turn: u32) -> Self {
        let user = keys.user_id.unwrap_or_default();
        let directory_at = keys.session_id.len();
        let user_at = directory_at + keys.user_directory.len();
        Self {
            text: [keys.session_id, keys.user_directory, user].concat().into(),
            // Lengths are those of parts of one answer, and that is below 4 GiB.
            directory_at: u32::try_from(directory_at).unwrap_or(u32::MAX),
            user_at: u32::try_from(user_at).unwrap_or(u32::MAX),
            named: keys.user_id.is_some(),
            plain: keys.is_plain,
            turn,
            first_seen,
        }
    }

    fn session_id(&self) -> &str {
        &self.text[..self.directory_at as usize]
    }

    fn keys(&self) -> SessionKeys<'_> {
        SessionKeys {
            session_id: self.session_id(),
            user_directory: &self.text[self.directory_at as usize..self.user_at as usize],
            user_id: self.named.then(|| &self.text[self.user_at as usize..]),
            is_plain: self.plain,
        }
    }
}

/// A session of the newest answer.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The first poll that saw it.
    pub first_seen: &'a Moment,
    /// It was not in the answer before this one.
    pub started: bool,
}

/// A session that was in the answer before the newest, and is not in that.
#[derive(Clone, Copy, Debug)]
pub struct Gone<'a> {
    /// What it was.
    pub keys: SessionKeys<'a>,
    /// The first poll that saw it.
    pub first_seen: &'a Moment,
}

impl Known {
    /// What was known when it was saved.
    pub fn restore<'a>(
        last_poll: Option<Timestamp>,
        sessions: impl Iterator<Item = (SessionKeys<'a>, Timestamp)>,
    ) -> Self {
        let mut known = Self::default();
        let mut moments = HashMap::new();
        for (keys, first_seen) in sessions {
            let first_seen =
                moments.entry(first_seen).or_insert_with(|| Rc::new(Moment::from(first_seen)));
            known.see(keys, first_seen);
        }
        known.last_poll = last_poll;
        known
    }

    /// When the last good answer came; none before the first.
    pub fn last_poll(&self) -> Option<Timestamp> {
        self.last_poll
    }

    /// All sessions, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionKeys<'_>, Timestamp)> {
        self.sessions.iter().map(|session| (session.keys(), session.first_seen.time()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Begins a new answer.
    pub fn begin(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// Takes note of a session of the new answer, which came at `now`.
    pub fn see(&mut self, keys: SessionKeys<'_>, now: &Rc<Moment>) -> Seen<'_> {
        let hash = self.hasher.hash_one(keys.session_id);
        let hasher = &self.hasher;
        let turn = self.turn;
        let entry = self.sessions.entry(
            hash,
            |known| known.session_id() == keys.session_id,
            |known| hasher.hash_one(known.session_id()),
        );
        let started = matches!(entry, Entry::Vacant(_)) && self.last_poll.is_some();
        let session =
            entry.or_insert_with(|| KnownSession::new(keys, Rc::clone(now), turn)).into_mut();
        session.turn = turn;
        Seen { first_seen: &session.first_seen, started }
    }

    /// The sessions that the new answer did not hold.
    pub fn gone(&self) -> impl Iterator<Item = Gone<'_>> {
        self.sessions
            .iter()
            .filter(|session| session.turn != self.turn)
            .map(|session| Gone { keys: session.keys(), first_seen: &session.first_seen })
    }

    /// Ends the new answer: what it did not hold is forgotten.
    pub fn finish(&mut self, now: Timestamp) {
        let turn = self.turn;
        self.sessions.retain(|session| session.turn == turn);
        self.last_poll = Some(now);
    }
}
