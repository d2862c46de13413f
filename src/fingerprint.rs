//! One number for a few texts: the same texts, the same number, in every
//! version and on every platform.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The fingerprint of one text (XXH3, 64 bits). Where it is kept for some poll
/// only, that is enough: two of 50,000 texts share one in one of ten billion cases.
pub fn of_text(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// Makes fingerprints of texts (XXH3, 128 bits). The texts' borders count:
/// (AB, C) and (A, BC) differ.
#[derive(Debug, Default)]
pub struct Fingerprints {
    /// The texts that all begin with, joined, and those of the last one behind
    /// them: there is a fingerprint for every session and event.
    texts: Vec<u8>,
    /// The length of the former.
    beginning: usize,
}

impl Fingerprints {
    /// Fingerprints that all begin with these texts.
    pub fn that_begin_with(texts: &[&str]) -> Self {
        let mut joined = Vec::new();
        append(&mut joined, texts);
        Self { beginning: joined.len(), texts: joined }
    }

    /// The fingerprint of those texts and these.
    pub fn of(&mut self, texts: &[&str]) -> u128 {
        self.texts.truncate(self.beginning);
        append(&mut self.texts, texts);
        xxh3_128(&self.texts)
    }
}

fn append(joined: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        joined.extend_from_slice(text.as_bytes());
        // No UTF-8 text holds this byte.
        joined.push(0xff);
    }
}

#[cfg(test)]
mod tests {
    use super::Fingerprints;

    #[test]
    fn texts_do_not_run_together() {
        let mut fingerprints = Fingerprints::default();
        assert_ne!(fingerprints.of(&["a", "bc"]), fingerprints.of(&["ab", "c"]));
        assert_ne!(fingerprints.of(&["a", ""]), fingerprints.of(&["a"]));
    }

    #[test]
    fn it_does_not_matter_which_texts_they_begin_with() {
        let mut begun = Fingerprints::that_begin_with(&["a", "b"]);
        let whole = Fingerprints::default().of(&["a", "b", "c"]);
        assert_eq!([begun.of(&["c"]), begun.of(&["c"])], [whole; 2]);
    }
}
