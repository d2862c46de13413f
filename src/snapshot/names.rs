//! How users are named: plainly, by a pseudonym, or not at all.

use std::borrow::Cow;

use ring::hmac;

use super::Attributes;
use crate::config::UserIds;

/// Stands where a user's id was hidden in another text.
const OMITTED: &str = "(omitted)";

/// Names users as the settings say.
pub enum Names {
    /// As the proxy does.
    Plain,
    /// By HMAC-SHA-256 over `DIRECTORY\id`, in hex: the same person has the same
    /// pseudonym as long as the key stays.
    Pseudonym(hmac::Key),
    /// Not at all.
    Omit,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Pseudonym(_) => "Pseudonym",
            Self::Omit => "Omit",
        })
    }
}

impl Names {
    /// As a configuration says.
    pub fn new(user_ids: &UserIds) -> Self {
        match user_ids {
            UserIds::Plain => Self::Plain,
            UserIds::Pseudonym(key) => {
                Self::Pseudonym(hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes()))
            }
            UserIds::Omit => Self::Omit,
        }
    }

    /// A text that differs where the same user is named differently.
    pub fn scheme(&self) -> String {
        match self {
            Self::Plain => "plain".to_owned(),
            Self::Pseudonym(key) => {
                let tag = hmac::sign(key, b"qlik-sessions userIds");
                format!("pseudonym {}", hexadecimal(&tag.as_ref()[..8]))
            }
            Self::Omit => "omit".to_owned(),
        }
    }

    /// How one user is named.
    pub fn name(&self, user_directory: &str, user_id: &str) -> Name {
        match self {
            Self::Plain => Name::Plain,
            Self::Pseudonym(key) => {
                let mut context = hmac::Context::with_key(key);
                context.update(user_directory.as_bytes());
                context.update(b"\\");
                context.update(user_id.as_bytes());
                let pseudonym = hexadecimal(context.sign().as_ref());
                Name::Hidden { id: user_id.to_owned(), shown: Some(pseudonym) }
            }
            Self::Omit => Name::Hidden { id: user_id.to_owned(), shown: None },
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How one user is named, in each place where the id may stand.
pub enum Name {
    /// As the proxy does.
    Plain,
    /// By something else, or by nothing.
    Hidden {
        /// What must not be seen.
        id: String,
        /// What is seen in its place.
        shown: Option<String>,
    },
}

impl Name {
    /// What stands in `user_id`.
    pub fn shown<'a>(&'a self, id: &'a str) -> Option<&'a str> {
        match self {
            Self::Plain => Some(id),
            Self::Hidden { shown, .. } => shown.as_deref(),
        }
    }

    /// External session modules may build a session's id from the user's. An id
    /// of one or two characters stands in every GUID by chance, and is left.
    pub fn hide_in_session_id<'a>(&self, session_id: &'a str) -> Cow<'a, str> {
        match self {
            Self::Hidden { id, .. } if id.len() > 2 => {
                self.hidden(session_id).map_or(Cow::Borrowed(session_id), Cow::Owned)
            }
            _ => Cow::Borrowed(session_id),
        }
    }

    /// Attributes often repeat the id: as a mail address, a display name.
    pub fn hide_in_attributes(&self, attributes: &mut Attributes) {
        for value in attributes.values_mut().flatten() {
            if let Some(hidden) = self.hidden(value) {
                *value = hidden;
            }
        }
    }

    /// The text without the id, if it holds it, in upper or lower case.
    fn hidden(&self, text: &str) -> Option<String> {
        let Self::Hidden { id, shown } = self else { return None };
        if id.is_empty() {
            return None;
        }
        let (lower_text, lower_id) = (text.to_lowercase(), id.to_lowercase());
        if !lower_text.contains(&lower_id) {
            return None;
        }
        let shown = shown.as_deref().unwrap_or(OMITTED);
        // Lowering may move bytes (`İ`); then nothing of the text is kept.
        Some(if text.is_ascii() && id.is_ascii() {
            replace_ignoring_case(text, &lower_text, &lower_id, shown)
        } else {
            shown.to_owned()
        })
    }
}

fn replace_ignoring_case(text: &str, lower_text: &str, lower_id: &str, shown: &str) -> String {
    let mut result = String::new();
    let mut at = 0;
    for (start, found) in lower_text.match_indices(lower_id) {
        result.push_str(&text[at..start]);
        result.push_str(shown);
        at = start + found.len();
    }
    result.push_str(&text[at..]);
    result
}
