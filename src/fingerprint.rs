//! One number for a few texts: the same texts, the same number, in every
//! version and on every platform.

use std::cell::RefCell;

use xxhash_rust::xxh3::xxh3_128;

thread_local! {
    /// The texts of one fingerprint, one behind the other; kept, because there
    /// is one for every session and event.
    static TEXTS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The fingerprint of texts (XXH3, 128 bits). Their borders count: (AB, C) and
/// (A, BC) differ.
pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> u128 {
    TEXTS.with_borrow_mut(|bytes| {
        bytes.clear();
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
            // No UTF-8 text holds this byte.
            bytes.push(0xff);
        }
        xxh3_128(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn texts_do_not_run_together() {
        assert_ne!(of(["a", "bc"]), of(["ab", "c"]));
        assert_ne!(of(["a", ""]), of(["a"]));
    }
}
