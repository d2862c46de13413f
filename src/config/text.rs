//! The text of a file, whatever editor wrote it.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// A file's text.
pub struct Decoded {
    /// Without a byte order mark.
    pub text: String,
    /// The first line that is not UTF-8, where the file was read as Windows-1252.
    pub line_of_windows_1252: Option<usize>,
}

/// Reads UTF-8, UTF-16 (with a byte order mark, or seen by its zeros) and, where
/// it is neither, Windows-1252.
///
/// # Errors
/// Where it is not a text; the message says what to do.
pub fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let (encoding, mark) = Encoding::for_bom(bytes).unwrap_or((without_mark(bytes), 0));
    let bytes = &bytes[mark..];
    let (text, wrong) = encoding.decode_without_bom_handling(bytes);
    if !wrong {
        return Ok(Decoded { text: text.into_owned(), line_of_windows_1252: None });
    }
    // A control character is in no text: this is some other file.
    let is_binary = bytes.iter().any(|byte| *byte < b' ' && !b"\t\r\n\x0c".contains(byte));
    if encoding != UTF_8 || is_binary {
        return Err("is neither UTF-8 nor UTF-16; save it as UTF-8".to_owned());
    }
    let good = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let line = 1 + bytes[..good].iter().filter(|byte| **byte == b'\n').count();
    let (text, _) = WINDOWS_1252.decode_without_bom_handling(bytes);
    Ok(Decoded { text: text.into_owned(), line_of_windows_1252: Some(line) })
}

/// Every second byte of UTF-16 in Western languages is zero.
fn without_mark(bytes: &[u8]) -> &'static Encoding {
    match bytes {
        [first, 0, ..] if *first != 0 => UTF_16LE,
        [0, second, ..] if *second != 0 => UTF_16BE,
        _ => UTF_8,
    }
}
