//! Event ids: the same facts have the same id, so a backend can refuse a
//! second delivery.

use crate::fingerprint;

/// 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId([u8; 32]);

impl EventId {
    /// The id of an event with these facts.
    pub fn of(facts: &[&str]) -> Self {
        Self::from_hash(fingerprint::of(facts))
    }

    /// The id of one of many events: what they have in common is joined once.
    pub fn of_one(common: &[u8], own: &[&str]) -> Self {
        Self::from_hash(fingerprint::of_joined(common, own))
    }

    fn from_hash(hash: u128) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut id = [0; 32];
        for (digits, byte) in id.chunks_exact_mut(2).zip(hash.to_be_bytes()) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 0xf)];
        }
        Self(id)
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::EventId;

    /// Backends hold these ids: they must be the same in every version and on
    /// every platform.
    #[test]
    fn ids_never_change() {
        let id = EventId::of(&[
            "session",
            "2026-11-23T17:34:00.713Z",
            "sense1",
            "/sales",
            "s1",
            "LAB",
            "goran",
        ]);
        assert_eq!(std::str::from_utf8(id.as_bytes()), Ok("54a7dcf965ae9f310a6b75f81a0d9e14"));
    }
}
