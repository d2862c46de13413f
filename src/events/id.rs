//! Event ids: the same facts have the same id, so a backend can refuse a
//! second delivery.

use crate::fingerprint;

/// 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId([u8; 32]);

impl EventId {
    /// The id of an event with these facts. Both lists are one; two are taken
    /// so that callers need not join them.
    pub fn of(facts: &[&str], more: &[&str]) -> Self {
        let mut hash = fingerprint::of(facts.iter().chain(more).copied());
        let mut digits = [0; 32];
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(hash & 0xf) as usize];
            hash >>= 4;
        }
        Self(digits)
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
        let id = EventId::of(
            &["session", "2026-11-23T17:34:00.713Z", "sense1", "/sales"],
            &["s1", "LAB", "goran"],
        );
        assert_eq!(std::str::from_utf8(id.as_bytes()), Ok("54a7dcf965ae9f310a6b75f81a0d9e14"));
    }
}
