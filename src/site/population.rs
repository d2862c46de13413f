//! People who come and go.

use std::collections::BTreeMap;

use super::SimulatedSession;

const PEOPLE: &[(&str, &str)] = &[
    ("LAB", "goran"),
    ("LAB", "maria"),
    ("LAB", "åsa"),
    ("LAB", "chen.wei"),
    ("LAB", "o'neill"),
    ("LAB", "kofi"),
    ("LAB", "svetlana"),
    ("ACME", "jdoe"),
    ("ACME", "apatel"),
    ("ACME", "mrossi"),
    ("ACME", "ysato"),
    ("ACME", "lmüller"),
    ("ACME", "nbergström"),
    ("ACME", "fatima.z"),
];
/// Sessions that a virtual proxy tends to.
const USUAL: usize = 6;
/// A user may hold this many sessions in parallel.
const MAX_SESSIONS: usize = 5;

/// The people of a site: some are connected, and at each look some left and
/// some came. The same seed gives the same sequence.
#[derive(Debug)]
pub struct Population {
    random: u64,
    connected: BTreeMap<(String, String), Vec<SimulatedSession>>,
}

impl Population {
    /// Nobody is connected yet.
    pub fn new(seed: u64) -> Self {
        Self { random: seed | 1, connected: BTreeMap::new() }
    }

    /// Who is connected to a virtual proxy at the next moment.
    pub fn sessions(&mut self, node: &str, virtual_proxy: &str) -> &[SimulatedSession] {
        let place = (node.to_owned(), virtual_proxy.to_owned());
        let mut sessions = self.connected.remove(&place).unwrap_or_default();
        if sessions.is_empty() {
            for _ in 0..USUAL {
                self.join(&mut sessions);
            }
        } else {
            if self.below(3) == 0 {
                let leaving = self.below(sessions.len());
                sessions.remove(leaving);
            }
            if self.below(2 + sessions.len()) < USUAL / 2 {
                self.join(&mut sessions);
            }
        }
        self.connected.entry(place).or_insert(sessions)
    }

    fn join(&mut self, sessions: &mut Vec<SimulatedSession>) {
        let session_id = self.guid();
        if self.below(10) == 0 {
            let anonymous = format!("anonymous{}", self.guid());
            sessions.push(SimulatedSession::new(&session_id, "NONE", &anonymous));
            return;
        }
        let (directory, id) = PEOPLE[self.below(PEOPLE.len())];
        let held = sessions
            .iter()
            .filter(|session| session.user_directory == directory && session.user_id == id)
            .count();
        if held >= MAX_SESSIONS {
            return;
        }
        let mut session = SimulatedSession::new(&session_id, directory, id);
        let attribute =
            |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        session.attributes = vec![
            attribute("group", "Everyone"),
            attribute("group", if directory == "LAB" { "Analysts" } else { "Partners" }),
            attribute("email", ""),
        ];
        sessions.push(session);
    }

    /// A number from 0 to `limit` - 1.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Xorshift64: plausible is enough.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn guid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }
}
