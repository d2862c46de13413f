//! One number for a few texts: the same texts, the same number, in every
//! version and on every platform.

use std::cell::RefCell;

use xxhash_rust::xxh3::xxh3_128;

thread_local! {
    /// The texts of one fingerprint; kept, because there is one for every
    /// session and event.
    static TEXTS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The fingerprint of texts (XXH3, 128 bits). Their borders count: (AB, C) and
/// (A, BC) differ.
pub fn of(texts: &[&str]) -> u128 {
    of_joined(&[], texts)
}

/// The fingerprint of texts that were joined before, and some more.
pub fn of_joined(joined: &[u8], more: &[&str]) -> u128 {
    TEXTS.with_borrow_mut(|bytes| {
        bytes.clear();
        bytes.extend_from_slice(joined);
        append(bytes, more);
        xxh3_128(bytes)
    })
}

/// Joins texts that begin many fingerprints.
pub fn join(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, texts);
    bytes
}

fn append(bytes: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        bytes.extend_from_slice(text.as_bytes());
        // No UTF-8 text holds this byte.
        bytes.push(0xff);
    }
}

#[cfg(test)]
mod tests {
    use super::{join, of, of_joined};

    #[test]
    fn texts_do_not_run_together() {
        assert_ne!(of(&["a", "bc"]), of(&["ab", "c"]));
        assert_ne!(of(&["a", ""]), of(&["a"]));
    }

    #[test]
    fn texts_may_be_joined_before() {
        assert_eq!(of_joined(&join(&["a", "b"]), &["c"]), of(&["a", "b", "c"]));
    }
}
