//! Bytes as lower-case hexadecimal digits, and back.

/// Two digits for each byte.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| digits(*byte)).map(char::from).collect()
}

/// Two digits, as ASCII.
pub fn digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0xf].map(|half| b"0123456789abcdef"[usize::from(half)])
}

/// The bytes; none where the text is anything but pairs of digits.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
