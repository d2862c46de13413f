//! Who a user is. Windows accounts ignore case, and the same name may come in two Unicode
//! forms, so `LAB\goran` and `lab\Goran` are one person.

use std::borrow::Cow;

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

use crate::fingerprint;

/// One person, in every spelling and on every target. No name can be read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserIdentity(u128);

impl UserIdentity {
    /// The person with this directory and id, both already [`folded`].
    pub fn of_folded(directory: &str, id: &str) -> Self {
        Self(fingerprint::of([directory, id]))
    }
}

/// A text for comparing: without case, in Unicode's form C.
pub fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    } else {
        // Form D first: some letters change their case only as base and accent.
        Cow::Owned(text.chars().nfd().default_case_fold().nfc().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::folded;

    #[test]
    fn spellings_of_one_name_are_equal() {
        for (one, other) in [
            ("LAB\\Goran", "lab\\goran"),
            ("Åsa", "a\u{30a}sa"),
            ("ÅSA", "åsa"),
            ("STRASSE", "straße"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ] {
            assert_eq!(folded(one), folded(other));
        }
        assert_ne!(folded("goran"), folded("göran"));
    }
}
