//! Event ids: the same facts have the same id, so a backend can refuse a
//! second delivery.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{fingerprint, hexadecimal};

/// 32 lower-case hexadecimal digits, made of an event's facts and nothing random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId(u128);

impl EventId {
    /// The id of the event with these facts. A site's name goes in where it is set.
    pub fn new<'t>(
        event: &'t str,
        site: Option<&'t str>,
        facts: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        Self(fingerprint::of([event].into_iter().chain(site).chain(facts)))
    }

    /// Its digits, as ASCII.
    pub fn digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            pair.copy_from_slice(&hexadecimal::digits(byte));
        }
        digits
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::EventId;

    /// Backends hold these ids: they must be the same in every version and on
    /// every platform.
    #[test]
    fn ids_never_change() {
        let facts = ["2026-11-23T17:34:00.713Z", "sense1", "/sales", "s1", "LAB", "goran"];
        let id = |site| EventId::new("session", site, facts).to_string();
        assert_eq!(id(None), "54a7dcf965ae9f310a6b75f81a0d9e14");
        assert_ne!(id(None), id(Some("berlin")));
    }
}
