//! The sessions of one target as the last good answers told them.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use jiff::Timestamp;

use crate::events::SessionKeys;

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
    turn: u32,
    /// Milliseconds since 1970.
    first_seen: i64,
}

impl KnownSession {
    fn new(keys: SessionKeys<'_>, first_seen: Timestamp, turn: u32) -> Self {
        let user = keys.user_id.unwrap_or_default();
        let directory_at = keys.session_id.len();
        let user_at = directory_at + keys.user_directory.len();
        Self {
            text: [keys.session_id, keys.user_directory, user].concat().into(),
            // Lengths are those of parts of one answer, and that is below 4 GiB.
            directory_at: u32::try_from(directory_at).unwrap_or(u32::MAX),
            user_at: u32::try_from(user_at).unwrap_or(u32::MAX),
            named: keys.user_id.is_some(),
            turn,
            first_seen: first_seen.as_millisecond(),
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
        }
    }

    fn first_seen(&self) -> Timestamp {
        Timestamp::from_millisecond(self.first_seen).unwrap_or_default()
    }
}

/// A session of the newest answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The first poll that saw it.
    pub first_seen: Timestamp,
    /// It was not in the answer before this one.
    pub started: bool,
}

/// A session that was in the answer before the newest, and is not in that.
#[derive(Clone, Copy, Debug)]
pub struct Gone<'a> {
    /// What it was.
    pub keys: SessionKeys<'a>,
    /// The first poll that saw it.
    pub first_seen: Timestamp,
}

impl Known {
    /// What was known when it was saved.
    pub fn restore<'a>(
        last_poll: Option<Timestamp>,
        sessions: impl Iterator<Item = (SessionKeys<'a>, Timestamp)>,
    ) -> Self {
        let mut known = Self { last_poll, ..Self::default() };
        for (keys, first_seen) in sessions {
            known.insert(keys, first_seen);
        }
        known
    }

    /// When the last good answer came; none before the first.
    pub fn last_poll(&self) -> Option<Timestamp> {
        self.last_poll
    }

    /// All sessions, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionKeys<'_>, Timestamp)> {
        self.sessions.iter().map(|session| (session.keys(), session.first_seen()))
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
    pub fn see(&mut self, keys: SessionKeys<'_>, now: Timestamp) -> Seen {
        let hash = self.hasher.hash_one(keys.session_id);
        if let Some(session) =
            self.sessions.find_mut(hash, |known| known.session_id() == keys.session_id)
        {
            session.turn = self.turn;
            return Seen { first_seen: session.first_seen(), started: false };
        }
        self.insert(keys, now);
        Seen { first_seen: now, started: self.last_poll.is_some() }
    }

    fn insert(&mut self, keys: SessionKeys<'_>, first_seen: Timestamp) {
        let hash = self.hasher.hash_one(keys.session_id);
        let hasher = &self.hasher;
        self.sessions.insert_unique(
            hash,
            KnownSession::new(keys, first_seen, self.turn),
            |known| hasher.hash_one(known.session_id()),
        );
    }

    /// The sessions that the new answer did not hold.
    pub fn gone(&self) -> impl Iterator<Item = Gone<'_>> {
        self.sessions
            .iter()
            .filter(|session| session.turn != self.turn)
            .map(|session| Gone { keys: session.keys(), first_seen: session.first_seen() })
    }

    /// Ends the new answer: what it did not hold is forgotten.
    pub fn finish(&mut self, now: Timestamp) {
        let turn = self.turn;
        self.sessions.retain(|session| session.turn == turn);
        self.last_poll = Some(now);
    }
}
