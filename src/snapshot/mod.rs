//! One answer of the session API, checked: the sessions of one target at one
//! moment, without excluded users and with users named as the settings say.
//!
//! Behind this module nobody sees a plain user id that must not be seen.

mod names;
mod repair;
mod users;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize,
    de::{Deserializer as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

pub use names::Names;
pub use users::{People, Person, UserName};

use crate::{
    config::{Config, ExcludedUser},
    json,
    proxy::{Category, Failure},
};

/// A session's attributes: key → its values, in the order of the answer.
pub type Attributes = BTreeMap<String, Vec<String>>;

/// One session.
#[derive(Debug)]
pub struct Session<'a> {
    /// A GUID normally; an external session module may set any text.
    pub session_id: Cow<'a, str>,
    /// The user directory.
    pub user_directory: Cow<'a, str>,
    /// The user, named as the settings say; none where users are not named.
    pub user_id: Option<Cow<'a, str>>,
    /// Only where they are asked for.
    pub attributes: Option<Box<Attributes>>,
    /// The first of this answer that the user holds.
    pub first_of_user: bool,
    /// Belongs to an excluded user: counts, but is not told.
    pub excluded: bool,
}

/// The sessions of one target at one moment.
#[derive(Debug, Default)]
pub struct Snapshot<'a> {
    /// In the order of the answer.
    pub sessions: Vec<Session<'a>>,
    /// Who holds them.
    pub people: People,
    /// How many sessions excluded users held.
    pub excluded_session_count: usize,
}

/// What to take from an answer.
#[derive(Debug)]
pub struct Rules {
    exclude: Vec<ExcludedUser>,
    excluded_users_count: bool,
    attributes: bool,
    names: Names,
}

impl Rules {
    /// The rules of a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            exclude: config.exclude.clone(),
            excluded_users_count: config.options.excluded_users_count,
            attributes: config.options.attributes,
            names: Names::new(&config.options.user_ids),
        }
    }

    /// How users are named.
    pub fn names(&self) -> &Names {
        &self.names
    }
}

/// An answer's body, which lends its texts to a [`Snapshot`].
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    /// Sessions to make room for.
    expected: usize,
}

impl Body {
    /// Takes a body as it came.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, expected: 0 }
    }

    /// Makes room for as many sessions as the answer before held.
    #[must_use]
    pub fn expecting(self, sessions: usize) -> Self {
        Self { expected: sessions, ..self }
    }

    /// Reads the list of sessions.
    ///
    /// # Errors
    /// `invalid_body` where it is anything but a list of sessions. One bad
    /// entry spoils the whole answer: a count without it would be false.
    pub fn read(&mut self, rules: &Rules) -> Result<Snapshot<'_>, Failure> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        if self.bytes.starts_with(BYTE_ORDER_MARK) {
            self.bytes.drain(..BYTE_ORDER_MARK.len());
        }
        repair::lone_surrogates(&mut self.bytes);
        let text = std::str::from_utf8(&self.bytes).map_err(|error| invalid(&error))?;
        if text.trim_ascii().is_empty() {
            return Err(invalid(&"it is empty"));
        }
        let mut list = serde_json::Deserializer::from_str(text);
        let snapshot = list.deserialize_seq(SessionList { rules, expected: self.expected });
        snapshot
            .and_then(|snapshot| list.end().map(|()| snapshot))
            .map_err(|error| invalid(&json::complaint(&error)))
    }
}

fn invalid(error: &dyn fmt::Display) -> Failure {
    Failure::new(Category::InvalidBody, format!("the answer is not a list of sessions: {error}"))
        .hint("is this the session API of the Qlik Sense proxy (port 4243), or does a load balancer answer in its place?")
}

/// A session as the proxy tells it; unknown fields are passed over.
#[derive(Deserialize)]
#[serde(expecting = "a session with SessionId, UserDirectory and UserId")]
struct Told<'a> {
    #[serde(rename = "SessionId", borrow)]
    session_id: Text<'a>,
    #[serde(rename = "UserDirectory", borrow)]
    user_directory: Text<'a>,
    #[serde(rename = "UserId", borrow)]
    user_id: Text<'a>,
    #[serde(rename = "Attributes", borrow, default)]
    attributes: Option<&'a RawValue>,
}

/// A text, borrowed where it holds no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct SessionList<'r> {
    rules: &'r Rules,
    expected: usize,
}

impl<'de> Visitor<'de> for SessionList<'_> {
    type Value = Snapshot<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sessions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Snapshot<'de>, A::Error> {
        let sessions = Vec::with_capacity(self.expected);
        let mut snapshot = Snapshot { sessions, ..Snapshot::default() };
        while let Some(told) = list.next_element::<Told<'de>>()? {
            snapshot.add(told, self.rules);
        }
        Ok(snapshot)
    }
}

impl<'a> Snapshot<'a> {
    /// The distinct users in order, where users are named.
    pub fn users(&self) -> Option<Vec<UserName<'_>>> {
        let mut users = Vec::with_capacity(self.people.len());
        for session in self.sessions.iter().filter(|session| session.first_of_user) {
            users.push(UserName::new(&session.user_directory, session.user_id.as_deref()?));
        }
        users.sort_unstable();
        Some(users)
    }

    fn add(&mut self, told: Told<'a>, rules: &Rules) {
        let Told {
            session_id: Text(session_id),
            user_directory: Text(directory),
            user_id: Text(id),
            attributes,
        } = told;
        let excluded = rules.exclude.iter().any(|user| user.matches(&directory, &id));
        if excluded {
            self.excluded_session_count += 1;
            if !rules.excluded_users_count {
                return;
            }
        }
        let first_of_user = self.people.insert(Person::new(&directory, &id));
        let mut attributes = attributes.filter(|_| rules.attributes).map(attributes_of);
        let name = rules.names.name(&directory, &id);
        if let Some(attributes) = &mut attributes {
            name.hide_in_attributes(attributes);
        }
        let session_id = name.hide_in_session_id(session_id);
        let user_id = name.shown(id);
        self.sessions.push(Session {
            session_id,
            user_directory: directory,
            user_id,
            attributes: attributes.map(Box::new),
            first_of_user,
            excluded,
        });
    }
}

/// Reads `[{"group":"x"},{"group":"y"},{"email":""}]`. What has another shape
/// is passed over: attributes decorate, they must not spoil a count.
fn attributes_of(raw: &RawValue) -> Attributes {
    let list: Vec<serde_json::Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    let mut attributes = Attributes::new();
    for entry in list {
        let serde_json::Value::Object(entry) = entry else { continue };
        for (key, value) in entry {
            let value = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Null => continue,
                other => other.to_string(),
            };
            attributes.entry(key).or_default().push(value);
        }
    }
    attributes
}
