//! One node under two names, whose sessions count twice. Sessions belong to one
//! proxy service, so two servers that show the same ones are hardly two.

use std::collections::{BTreeMap, HashMap};

/// What to do about two servers with the same sessions.
pub const SHARED_SESSIONS_HINT: &str = "are they one node under two names, or a load balancer in front of one? Poll each node once, or sessions count twice";

/// The sessions of all servers, to find those that two servers show.
#[derive(Debug, Default)]
pub struct SharedSessions<'a> {
    /// The server on which each session was seen first.
    servers: HashMap<u64, &'a str>,
    pairs: BTreeMap<(&'a str, &'a str), usize>,
}

impl<'a> SharedSessions<'a> {
    /// Adds the sessions of a target, known by their digests.
    pub fn add(&mut self, server: &'a str, sessions: impl IntoIterator<Item = u64>) {
        for session in sessions {
            let first = *self.servers.entry(session).or_insert(server);
            if first != server {
                *self.pairs.entry((first, server)).or_default() += 1;
            }
        }
    }

    /// The pairs of servers that show the same sessions, each with a message.
    pub fn messages(&self) -> impl Iterator<Item = ((&'a str, &'a str), String)> {
        self.pairs.iter().map(|(&(first, second), count)| {
            ((first, second), format!("{first} and {second} show the same sessions: {count}"))
        })
    }
}
