//! Event ids: the same facts have the same id, so a backend can refuse a
//! second delivery.

/// Each byte as two digits.
const DIGITS: [[u8; 2]; 256] = {
    const DIGIT: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        digits[byte] = [DIGIT[byte >> 4], DIGIT[byte & 0xf]];
        byte += 1;
    }
    digits
};

/// 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId([u8; 32]);

impl EventId {
    /// The id of the event whose facts have this fingerprint.
    pub fn new(fingerprint: u128) -> Self {
        let mut id = [0; 32];
        for (digits, byte) in id.chunks_exact_mut(2).zip(fingerprint.to_be_bytes()) {
            digits.copy_from_slice(&DIGITS[usize::from(byte)]);
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
    use crate::fingerprint::Fingerprints;

    /// Backends hold these ids: they must be the same in every version and on
    /// every platform.
    #[test]
    fn ids_never_change() {
        let facts =
            ["session", "2026-11-23T17:34:00.713Z", "sense1", "/sales", "s1", "LAB", "goran"];
        let id = EventId::new(Fingerprints::default().of(&facts));
        assert_eq!(std::str::from_utf8(id.as_bytes()), Ok("54a7dcf965ae9f310a6b75f81a0d9e14"));
    }
}
