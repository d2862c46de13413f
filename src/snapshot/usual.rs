//! Reads a session of the shape that proxies send, many times faster than what
//! reads any JSON can: without layout, the usual keys, no escapes in texts.
//!
//! It decides how long an answer takes, and never what it says: whatever is
//! different is left to serde_json.

use std::borrow::Cow;

use memchr::memchr2;

use super::Told;

/// Whether a text has no control characters. Between texts they are layout, and
/// within them an error; [`session`] knows neither.
pub fn has_no_controls(text: &str) -> bool {
    text.bytes().fold(true, |none, byte| none & (byte >= b' '))
}

/// The session at the beginning of a text without control characters, and what
/// stands behind it; none where it is not of the usual shape, or not whole.
pub fn session(json: &str) -> Option<(Told<'_>, &str)> {
    let (mut session_id, mut user_directory, mut user_id) = (None, None, None);
    let mut attributes = None;
    let mut rest = json.strip_prefix('{')?;
    loop {
        let (place, value) = if let Some(value) = rest.strip_prefix(r#""UserDirectory":"#) {
            (&mut user_directory, text(value)?)
        } else if let Some(value) = rest.strip_prefix(r#""UserId":"#) {
            (&mut user_id, text(value)?)
        } else if let Some(value) = rest.strip_prefix(r#""SessionId":"#) {
            (&mut session_id, text(value)?)
        } else {
            (&mut attributes, list(rest.strip_prefix(r#""Attributes":"#)?)?)
        };
        // What is there twice is serde_json's to refuse.
        if place.replace(value.0).is_some() {
            return None;
        }
        rest = value.1;
        if let Some(behind) = rest.strip_prefix('}') {
            let told = Told {
                session_id: Cow::Borrowed(session_id?),
                user_directory: Cow::Borrowed(user_directory?),
                user_id: Cow::Borrowed(user_id?),
                attributes,
            };
            return Some((told, behind));
        }
        rest = rest.strip_prefix(',')?;
    }
}

/// A list like `[{"group":"x"},{"email":""}]`, and what stands behind it.
fn list(json: &str) -> Option<(&str, &str)> {
    let mut rest = json.strip_prefix('[')?;
    if !rest.starts_with(']') {
        loop {
            (_, rest) = text(rest.strip_prefix('{')?)?;
            (_, rest) = text(rest.strip_prefix(':')?)?;
            rest = rest.strip_prefix('}')?;
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break,
            }
        }
    }
    let behind = rest.strip_prefix(']')?;
    Some((&json[..json.len() - behind.len()], behind))
}

/// A text without escapes, and what stands behind it.
fn text(json: &str) -> Option<(&str, &str)> {
    let inside = json.strip_prefix('"')?;
    let (text, end) = inside.split_at(memchr2(b'"', b'\\', inside.as_bytes())?);
    Some((text, end.strip_prefix('"')?))
}
