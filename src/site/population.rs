//! People who come and go.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::SimulatedSession;

/// People who work with Qlik Sense.
pub(super) const STAFF: &[(&str, &str)] = &[
    ("LAB", "goran"),
    ("LAB", "maria"),
    ("LAB", "åsa"),
    ("LAB", "chen.wei"),
    ("LAB", "o'neill"),
    ("LAB", "kofi"),
    ("LAB", "svetlana"),
    ("LAB", "hana"),
    ("LAB", "jørgen"),
    ("LAB", "lucia"),
    ("LAB", "pieter"),
    ("LAB", "yusuf"),
    ("LAB", "山田太郎"),
    ("LAB", "ines"),
    ("ACME", "jdoe"),
    ("ACME", "apatel"),
    ("ACME", "mrossi"),
    ("ACME", "ysato"),
    ("ACME", "lmüller"),
    ("ACME", "nbergström"),
    ("ACME", "fatima.z"),
    ("ACME", "tnguyen"),
    ("ACME", "skowalski"),
    ("ACME", "cdubois"),
    ("ACME", "rsilva"),
    ("ACME", "bkaya"),
    ("ACME", "einarsson"),
    ("ACME", "dpopescu"),
    ("ACME", "gwagner"),
    ("ACME", "okonkwo"),
];
/// In `demo` only every second one of them is there, so that some hold several sessions.
const EVERY: usize = 2;
/// About how many sessions a virtual proxy has.
const USUAL: usize = 6;
/// A user may hold this many sessions in parallel.
const MAX_SESSIONS: usize = 5;

/// The people of a site: some are connected, and at each look some left and
/// some came. The same seed gives the same sequence.
#[derive(Debug)]
pub struct Population {
    random: Rng,
    connected: BTreeMap<(String, String), Vec<SimulatedSession>>,
}

impl Population {
    /// Nobody is connected yet.
    pub fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed), connected: BTreeMap::new() }
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
            if self.random.usize(..3) == 0 {
                let leaving = self.random.usize(..sessions.len());
                sessions.remove(leaving);
            }
            if self.random.usize(..2 + sessions.len()) < USUAL / 2 {
                self.join(&mut sessions);
            }
        }
        self.connected.entry(place).or_insert(sessions)
    }

    fn join(&mut self, sessions: &mut Vec<SimulatedSession>) {
        if self.random.usize(..10) == 0 {
            let anonymous = format!("anonymous{}", guid(&mut self.random));
            let session_id = guid(&mut self.random);
            sessions.push(SimulatedSession::new(&session_id, "NONE", &anonymous));
            return;
        }
        let (directory, id) = STAFF[EVERY * self.random.usize(..STAFF.len() / EVERY)];
        let held = sessions
            .iter()
            .filter(|session| session.user_directory == directory && session.user_id == id)
            .count();
        if held < MAX_SESSIONS {
            sessions.push(new_session(&mut self.random, directory, id));
        }
    }
}

/// A session with the attributes that a user of this directory has.
pub(super) fn new_session(random: &mut Rng, directory: &str, id: &str) -> SimulatedSession {
    let mut session = SimulatedSession::new(&guid(random), directory, id);
    let attribute = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    session.attributes = vec![
        attribute("group", "Everyone"),
        attribute("group", if directory == "LAB" { "Analysts" } else { "Partners" }),
        attribute("email", ""),
    ];
    session
}

fn guid(random: &mut Rng) -> String {
    let (a, b) = (random.u64(..), random.u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}
