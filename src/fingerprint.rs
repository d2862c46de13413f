//! One number for a few texts: the same texts have the same number, in every version and
//! on every platform. Backends store event ids that are made of it.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// What most texts have together.
const USUAL_BYTES: usize = 256;

/// The fingerprint of texts (XXH3, 128 bits). Their limits count: (AB, C)
/// and (A, BC) differ.
pub fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> u128 {
    let mut joined = Vec::with_capacity(USUAL_BYTES);
    for text in texts {
        joined.extend_from_slice(text.as_bytes());
        // No UTF-8 text holds this byte.
        joined.push(0xff);
    }
    xxh3_128(&joined)
}

/// The fingerprint of one text (XXH3, 64 bits). Two of 50,000 texts share one with a
/// chance of one in ten billion: use it where that does no harm.
pub fn of_text(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
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
