//! How users are named: plainly, by a pseudonym, or not at all. This is the one
//! place where a name becomes something else.

use std::borrow::Cow;

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use super::Attributes;
use crate::{config::UserIds, hexadecimal, user::folded};

/// Written in place of a text that holds a user's id.
const OMITTED: &str = "(omitted)";
/// Shortest part of a user id, in bytes, that is looked for in other texts: shorter ones
/// are in many texts by chance.
const SHORTEST_PART: usize = 3;
/// Length of the key that hides session ids where users are not named.
pub const SESSION_KEY_BYTES: usize = 32;

/// Names users as the settings say.
pub enum Names {
    /// As the proxy does.
    Plain,
    /// By HMAC-SHA-256 over the folded `directory\id`, in hexadecimal: the same
    /// person has the same pseudonym as long as the key stays.
    Pseudonym(hmac::Key),
    /// Not at all. The key hides session ids that may hold a user's.
    Omit {
        /// The key as it is kept in the state file.
        bytes: [u8; SESSION_KEY_BYTES],
        /// The same key, ready to be used.
        key: hmac::Key,
    },
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Pseudonym(_) => "Pseudonym",
            Self::Omit { .. } => "Omit",
        })
    }
}

impl Names {
    /// As a configuration says. `session_key` is that of an earlier run.
    pub fn new(user_ids: &UserIds, session_key: Option<[u8; SESSION_KEY_BYTES]>) -> Self {
        match user_ids {
            UserIds::Plain => Self::Plain,
            UserIds::Pseudonym(key) => {
                Self::Pseudonym(hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes()))
            }
            UserIds::Omit => {
                let bytes = session_key.unwrap_or_else(random_key);
                Self::Omit { bytes, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) }
            }
        }
    }

    /// A text that differs where the same user is named differently.
    pub fn scheme(user_ids: &UserIds) -> String {
        match Self::new(user_ids, None) {
            Self::Plain => "plain".to_owned(),
            Self::Pseudonym(key) => {
                let tag = hmac::sign(&key, b"qlik-sessions userIds");
                format!("pseudonym {}", hexadecimal::encode(&tag.as_ref()[..8]))
            }
            Self::Omit { .. } => "omit".to_owned(),
        }
    }

    /// The key that has to be kept so that hidden session ids stay the same.
    pub fn session_key(&self) -> Option<&[u8; SESSION_KEY_BYTES]> {
        match self {
            Self::Omit { bytes, .. } => Some(bytes),
            Self::Plain | Self::Pseudonym(_) => None,
        }
    }

    /// Returns whether users are named at all.
    pub fn are_shown(&self) -> bool {
        !matches!(self, Self::Omit { .. })
    }

    /// The value of `user_id`; directory and id are also given [`folded`].
    pub fn user_id<'b>(
        &self,
        id: Cow<'b, str>,
        directory: &str,
        folded_id: &str,
    ) -> Option<Cow<'b, str>> {
        match self {
            Self::Plain => Some(id),
            Self::Pseudonym(key) => Some(hmac_of(key, &[directory, "\\", folded_id]).into()),
            Self::Omit { .. } => None,
        }
    }

    /// The value of `session_id`. An external session module may build it from
    /// the user's id, so only GUIDs, which the proxy makes, are shown to everybody.
    /// A plain digest would not do: it can be guessed from a list of accounts.
    pub fn session_id<'b>(&self, session_id: Cow<'b, str>) -> Cow<'b, str> {
        match self {
            Self::Pseudonym(key) | Self::Omit { key, .. } if !is_guid(&session_id) => {
                hmac_of(key, &["session ", &session_id]).into()
            }
            _ => session_id,
        }
    }

    /// Replaces attribute values that contain the user's id or are part of it: a mail
    /// address, an account, a display name.
    pub fn hide(&self, folded_id: &str, shown: Option<&str>, attributes: &mut Attributes) {
        if matches!(self, Self::Plain) {
            return;
        }
        for value in attributes.values_mut().flatten() {
            if is_about(&folded(value), folded_id) {
                *value = shown.unwrap_or(OMITTED).to_owned();
            }
        }
    }
}

/// Returns whether a text identifies the user with this id. Both are folded.
fn is_about(text: &str, id: &str) -> bool {
    let account = id.rsplit(['\\', '/']).next().unwrap_or(id);
    let account = account.split('@').next().unwrap_or(account);
    let holds = |part: &str| part.len() >= SHORTEST_PART && text.contains(part);
    text == id || holds(id) || holds(account) || (text.len() >= SHORTEST_PART && id.contains(text))
}

/// `ea7821ab-dbad-4b1f-851d-cb06a73e10a7`.
fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn hmac_of(key: &hmac::Key, texts: &[&str]) -> String {
    let mut context = hmac::Context::with_key(key);
    for text in texts {
        context.update(text.as_bytes());
    }
    hexadecimal::encode(context.sign().as_ref())
}

fn random_key() -> [u8; SESSION_KEY_BYTES] {
    let mut bytes = [0; SESSION_KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::{is_about, is_guid};

    #[test]
    fn texts_about_a_user_are_known() {
        for (text, id) in [
            ("goran@lab.example", "goran"),
            ("goran", "goran@lab.example"),
            ("goran@other.example", "goran@lab.example"),
            ("lab\\goran", "goran"),
            ("jo", "jo"),
        ] {
            assert!(is_about(text, id), "{text} is about {id}");
        }
        assert!(!is_about("staff", "goran"));
        assert!(!is_about("", "goran"));
    }

    #[test]
    fn only_guids_are_guids() {
        assert!(is_guid("ea7821ab-dbad-4b1f-851d-cb06a73e10a7"));
        assert!(!is_guid("ea7821ab-dbad-4b1f-851d-cb06a73e10ag"));
        assert!(!is_guid("goran"));
    }
}
