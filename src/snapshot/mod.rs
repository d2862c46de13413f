//! One answer of the session API, checked: the sessions of one target at one
//! moment, without excluded users and with users named as the settings say.
//!
//! [`Snapshot::read`] is the one way in. No module behind this one sees a plain user id
//! that must not be shown.

mod answer;
mod names;
mod repair;
mod users;

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;
use serde_json::value::RawValue;

pub use names::{Names, SESSION_KEY_BYTES};
pub use users::{DistinctUsers, User, sorted_names};

use crate::{
    config::{AttributeChoice, Config, ExcludedUser},
    fingerprint,
    proxy::Failure,
    user::{UserIdentity, folded},
};
use answer::ParsedSession;

/// A session takes at least as much of an answer, if its names are not very short.
const SHORT_SESSION_BYTES: usize = 100;
/// What a session takes of an answer as a rule.
const USUAL_SESSION_BYTES: usize = 200;

/// A session's attributes: key → its values, in the order of the answer.
pub type Attributes = BTreeMap<String, Vec<String>>;

/// One session, with texts that stand in the answer. What it did not hold as a text
/// is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<'b> {
    /// A GUID normally; an external session module may set any text.
    pub session_id: Option<Cow<'b, str>>,
    /// The user directory.
    pub user_directory: Option<Cow<'b, str>>,
    /// The user, named as the settings say; none where users are not named.
    pub user_id: Option<Cow<'b, str>>,
    /// Only where they are asked for.
    pub attributes: Option<Box<Attributes>>,
    /// Belongs to an excluded user: counts, but has no events of its own.
    pub excluded: bool,
}

/// The sessions of one target at one moment.
#[derive(Debug, Default)]
pub struct Snapshot<'b> {
    /// In the order of the answer, each session id once.
    pub sessions: Vec<Session<'b>>,
    /// Who holds them.
    pub users: DistinctUsers,
    /// How many sessions excluded users held.
    pub excluded_session_count: usize,
    /// What the ids of all sessions are known by ([`session_digest`]), those of
    /// excluded users included.
    pub session_digests: SessionDigests,
    /// The same of the sessions of excluded users.
    pub excluded_sessions: SessionDigests,
    /// How many sessions had no text as id, directory or user.
    pub incomplete: usize,
}

/// What sessions are known by ([`session_digest`]). Digests are as good as random, and
/// need no hash that withstands attackers: the usual one takes a tenth of a poll's time.
pub type SessionDigests = hashbrown::HashSet<u64>;

/// What to take from an answer.
#[derive(Debug)]
pub struct Rules {
    exclude: Vec<ExcludedUser>,
    excluded_users_count: bool,
    attributes: AttributeChoice,
    names: Names,
}

impl Rules {
    /// The rules of a configuration. `session_key` makes session ids that are
    /// hidden the same in the next run; without it each run has its own.
    pub fn new(config: &Config, session_key: Option<[u8; SESSION_KEY_BYTES]>) -> Self {
        Self {
            exclude: config.exclude.clone(),
            excluded_users_count: config.options.excluded_users_count,
            attributes: config.options.attributes.clone(),
            names: Names::new(&config.options.user_ids, session_key),
        }
    }

    /// A text that differs where other users are excluded.
    pub fn exclusions(&self) -> String {
        let patterns: Vec<String> = self.exclude.iter().map(ToString::to_string).collect();
        let digest = fingerprint::of(patterns.iter().map(String::as_str));
        format!("{digest:032x} {}", self.excluded_users_count)
    }

    /// How users are named.
    pub fn names(&self) -> &Names {
        &self.names
    }
}

impl<'b> Snapshot<'b> {
    /// Reads an answer. Most of its texts are not copied, so it has to stay.
    ///
    /// # Errors
    /// `invalid_body` where it is anything but a list of sessions. One bad entry
    /// spoils the whole answer: a count without it would be wrong.
    pub fn read(body: &'b mut [u8], rules: &Rules) -> Result<Self, Failure> {
        let mut snapshot = Self::default();
        // A list that grows step by step leaves holes behind that nothing fills.
        snapshot.sessions.reserve(body.len() / SHORT_SESSION_BYTES);
        snapshot.session_digests.reserve(body.len() / USUAL_SESSION_BYTES);
        answer::read(body, |session| snapshot.add(session, rules))?;
        Ok(snapshot)
    }

    fn add(&mut self, parsed: ParsedSession<'b>, rules: &Rules) {
        let session_id = parsed.session_id.map(|id| rules.names.session_id(id));
        // A session that comes twice in an answer is one.
        let digest = session_id.as_deref().map(session_digest);
        if digest.is_some_and(|digest| !self.session_digests.insert(digest)) {
            return;
        }
        let directory = folded(parsed.user_directory.as_deref().unwrap_or_default());
        let id = parsed.user_id.as_deref().map(folded);
        let excluded = rules
            .exclude
            .iter()
            .any(|user| user.matches(&directory, id.as_deref().unwrap_or_default()));
        if excluded {
            self.excluded_session_count += 1;
            self.excluded_sessions.extend(digest);
            if !rules.excluded_users_count {
                return;
            }
        }
        if session_id.is_none() || parsed.user_directory.is_none() || id.is_none() {
            self.incomplete += 1;
        }
        let mut attributes = attributes(parsed.attributes, &rules.attributes).map(Box::new);
        let mut user_id = None;
        if let Some(id) = &id {
            user_id =
                rules.names.user_id(parsed.user_id.clone().unwrap_or_default(), &directory, id);
            if let Some(attributes) = &mut attributes {
                rules.names.hide(id, user_id.as_deref(), attributes);
            }
            let name = || {
                let directory = parsed.user_directory.as_deref().unwrap_or_default();
                Some([directory, "\\", user_id.as_deref()?].concat().into())
            };
            self.users.add_session(UserIdentity::of_folded(&directory, id), name, excluded);
        }
        drop(directory);
        let user_directory = parsed.user_directory;
        self.sessions.push(Session { session_id, user_directory, user_id, attributes, excluded });
    }

    /// The same with texts of its own, for those who keep it longer than the answer.
    pub fn into_owned(self) -> Snapshot<'static> {
        let sessions = self.sessions.into_iter().map(Session::into_owned).collect();
        Snapshot {
            sessions,
            users: self.users,
            excluded_session_count: self.excluded_session_count,
            session_digests: self.session_digests,
            excluded_sessions: self.excluded_sessions,
            incomplete: self.incomplete,
        }
    }
}

impl Session<'_> {
    fn into_owned(self) -> Session<'static> {
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| text.into_owned().into());
        Session {
            session_id: owned(self.session_id),
            user_directory: owned(self.user_directory),
            user_id: owned(self.user_id),
            attributes: self.attributes,
            excluded: self.excluded,
        }
    }
}

/// What a session id is known by where the id itself is not kept.
pub fn session_digest(session_id: &str) -> u64 {
    fingerprint::of_text(session_id)
}

/// Reads `[{"group":"x"},{"group":"y"},{"email":""}]`. What has another shape
/// is ignored: attributes decorate, they must not spoil a count.
fn attributes(json: Option<&RawValue>, wanted: &AttributeChoice) -> Option<Attributes> {
    if *wanted == AttributeChoice::None {
        return None;
    }
    let list: Vec<Value> = serde_json::from_str(json?.get()).unwrap_or_default();
    let mut attributes = Attributes::new();
    for entry in list {
        let Value::Object(entry) = entry else { continue };
        for (key, value) in entry {
            let value = match value {
                Value::String(text) => text,
                Value::Null => continue,
                other => other.to_string(),
            };
            if wanted.includes(&key) {
                attributes.entry(key).or_default().push(value);
            }
        }
    }
    Some(attributes)
}
