//! A site whose sessions come and go at random.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::{collections::BTreeSet, time::Duration};

use crate::support::{Fixture, named_sessions};

/// The node, and its virtual proxies.
pub const NODE: &str = "sense1";
pub const PREFIXES: [&str; 2] = ["/", "/sales"];

/// The session ids of each virtual proxy.
pub type Sessions = [BTreeSet<String>; 2];

/// A random number generator (xorshift) with the same numbers in every run.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// Who is connected. No session id comes twice.
#[derive(Default)]
pub struct Visitors {
    pub on: Sessions,
    next: usize,
}

impl Visitors {
    /// Some leave, and some come.
    pub fn change(&mut self, random: &mut Random, fixture: &Fixture) {
        for (on, prefix) in self.on.iter_mut().zip(PREFIXES) {
            on.retain(|_| random.below(12) > 0);
            for _ in 0..random.below(3) {
                on.insert(format!("s{}", self.next));
                self.next += 1;
            }
            let ids: Vec<&str> = on.iter().map(String::as_str).collect();
            fixture.site.set_sessions(NODE, prefix, &named_sessions(&ids));
        }
    }
}
