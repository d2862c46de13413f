//! The sessions of one target as the last good answers told them.

use std::{collections::HashMap, hash::BuildHasher, rc::Rc};

use hashbrown::{DefaultHashBuilder, HashTable};
use jiff::Timestamp;

use crate::events::{Moment, SessionKeys};

/// What is known of one target's sessions.
///
/// A first answer is the baseline: it starts nobody. A failed poll does not
/// come here, so it ends nobody.
///
/// Most sessions are in the next answer again, and in the same order: there the
/// next one is looked for first. An index of all ids is made only for an answer
/// that has another one; to look for each session in it is a twelfth of a poll.
#[derive(Debug, Default)]
pub struct Known {
    last_poll: Option<Timestamp>,
    /// In the order of the last answer, and behind them what the new one adds.
    sessions: Vec<KnownSession>,
    /// Places in `sessions`, by session id; empty until it is needed.
    index: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// Counts the answers, to tell sessions of the newest from older ones.
    turn: u32,
    /// Sessions of the new answer so far.
    seen: usize,
    /// Where the next one is expected.
    next: usize,
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
    /// The last answer that held it, and where in it.
    turn: u32,
    place: usize,
    first_seen: Rc<Moment>,
}

impl KnownSession {
    fn new(keys: SessionKeys<'_>, first_seen: Rc<Moment>) -> Self {
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
            turn: 0,
            place: 0,
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

    /// All sessions.
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
        (self.seen, self.next) = (0, 0);
    }

    /// Takes note of a session of the new answer, which came at `now`.
    pub fn see(&mut self, keys: SessionKeys<'_>, now: &Rc<Moment>) -> Seen<'_> {
        let found = self.find(keys.session_id);
        let started = found.is_none() && self.last_poll.is_some();
        let at = match found {
            Some(at) => {
                self.next = at + 1;
                at
            }
            None => self.add(KnownSession::new(keys, Rc::clone(now))),
        };
        let session = &mut self.sessions[at];
        (session.turn, session.place) = (self.turn, self.seen);
        self.seen += 1;
        Seen { first_seen: &session.first_seen, started }
    }

    fn find(&mut self, session_id: &str) -> Option<usize> {
        if self.sessions.get(self.next).is_some_and(|known| known.session_id() == session_id) {
            return Some(self.next);
        }
        if self.index.is_empty() {
            for at in 0..self.sessions.len() {
                self.add_to_index(at);
            }
        }
        let hash = self.hasher.hash_one(session_id);
        self.index.find(hash, |&at| self.sessions[at].session_id() == session_id).copied()
    }

    fn add(&mut self, session: KnownSession) -> usize {
        let at = self.sessions.len();
        self.sessions.push(session);
        self.add_to_index(at);
        at
    }

    fn add_to_index(&mut self, at: usize) {
        let hash = |&at: &usize| self.hasher.hash_one(self.sessions[at].session_id());
        self.index.insert_unique(hash(&at), at, hash);
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
        self.sessions.sort_by_key(|session| session.place);
        self.index = HashTable::new();
        self.last_poll = Some(now);
    }
}
