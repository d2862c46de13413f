//! One answer of the session API, checked: the sessions of one target at one
//! moment, without excluded users and with users named as the settings say.
//!
//! A [`Reader`] makes a [`Snapshot`] of an answer while it comes. Behind this
//! module nobody sees a plain user id that must not be seen.

mod names;
mod reader;
mod repair;
mod users;
mod usual;

use std::{borrow::Cow, collections::BTreeMap};

pub use names::Names;
pub use reader::Reader;
pub use users::{People, UserName};

use crate::config::{Config, ExcludedUser};

/// A session's attributes: key → its values, in the order of the answer.
pub type Attributes = BTreeMap<String, Vec<String>>;

/// What the texts of a session take, in bytes: a GUID and a name.
const USUAL_TEXTS: usize = 64;

/// One session.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// A GUID normally; an external session module may set any text.
    pub session_id: &'a str,
    /// The user directory.
    pub user_directory: &'a str,
    /// The user, named as the settings say; none where users are not named.
    pub user_id: Option<&'a str>,
    /// Only where they are asked for.
    pub attributes: Option<&'a Attributes>,
    /// The texts hold nothing that JSON would escape.
    pub is_plain: bool,
    /// The first of this answer that the user holds.
    pub first_of_user: bool,
    /// Belongs to an excluded user: counts, but is not told.
    pub excluded: bool,
}

/// The sessions of one target at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Session id, user directory and user of each session, one behind the
    /// other: a site may have tens of thousands of sessions.
    texts: String,
    sessions: Vec<Entry>,
    /// Of each session, where they are asked for.
    attributes: Vec<Option<Attributes>>,
    /// Who holds the sessions.
    pub people: People,
    /// How many sessions excluded users held.
    pub excluded_session_count: usize,
}

/// What is known of a session beside its texts.
#[derive(Debug)]
struct Entry {
    /// Lengths of the texts, in bytes.
    session_id: u32,
    user_directory: u32,
    user_id: u32,
    is_named: bool,
    is_plain: bool,
    first_of_user: bool,
    excluded: bool,
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

/// A session as it stands in an answer.
struct Told<'a> {
    session_id: Cow<'a, str>,
    user_directory: Cow<'a, str>,
    user_id: Cow<'a, str>,
    /// A list, as JSON.
    attributes: Option<&'a str>,
}

impl Told<'_> {
    /// The texts hold nothing that JSON would escape: those are borrowed that
    /// stood in the answer without escapes.
    fn is_plain(&self) -> bool {
        [&self.session_id, &self.user_directory, &self.user_id]
            .into_iter()
            .all(|text| matches!(text, Cow::Borrowed(_)))
    }
}

impl Snapshot {
    fn with_room(sessions: usize) -> Self {
        Self {
            texts: String::with_capacity(sessions * USUAL_TEXTS),
            sessions: Vec::with_capacity(sessions),
            ..Self::default()
        }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The sessions in the order of the answer.
    pub fn sessions(&self) -> impl Iterator<Item = Session<'_>> {
        let mut texts = self.texts.as_str();
        self.sessions.iter().enumerate().map(move |(index, entry)| {
            let mut text = |length: u32| {
                let (text, rest) = texts.split_at(length as usize);
                texts = rest;
                text
            };
            let (session_id, user_directory) = (text(entry.session_id), text(entry.user_directory));
            let user_id = text(entry.user_id);
            Session {
                session_id,
                user_directory,
                user_id: entry.is_named.then_some(user_id),
                attributes: self.attributes.get(index).and_then(Option::as_ref),
                is_plain: entry.is_plain,
                first_of_user: entry.first_of_user,
                excluded: entry.excluded,
            }
        })
    }

    /// The distinct users in order, where users are named.
    pub fn users(&self) -> Option<Vec<UserName<'_>>> {
        let mut users = Vec::with_capacity(self.people.len());
        for session in self.sessions().filter(|session| session.first_of_user) {
            users.push(UserName::new(session.user_directory, session.user_id?, session.is_plain));
        }
        users.sort_unstable();
        Some(users)
    }

    /// Adds a session; or says why it cannot.
    fn add(&mut self, told: &Told<'_>, rules: &Rules) -> Result<(), String> {
        let Told { session_id, user_directory: directory, user_id: id, .. } = told;
        let excluded = rules.exclude.iter().any(|user| user.matches(directory, id));
        if excluded {
            self.excluded_session_count += 1;
            if !rules.excluded_users_count {
                return Ok(());
            }
        }
        let first_of_user = self.people.insert(directory, id);
        let name = rules.names.name(directory, id);
        if rules.attributes {
            let mut attributes = told.attributes.map(attributes_of);
            if let Some(attributes) = &mut attributes {
                name.hide_in_attributes(attributes);
            }
            self.attributes.push(attributes);
        }
        let session_id = name.hide_in_session_id(session_id);
        let user_id = name.shown(id);
        let entry = Entry {
            session_id: self.append(&session_id)?,
            user_directory: self.append(directory)?,
            user_id: self.append(user_id.unwrap_or_default())?,
            is_named: user_id.is_some(),
            is_plain: told.is_plain(),
            first_of_user,
            excluded,
        };
        self.sessions.push(entry);
        Ok(())
    }

    /// Answers the length of the text.
    fn append(&mut self, text: &str) -> Result<u32, String> {
        self.texts.push_str(text);
        u32::try_from(text.len()).map_err(|_| "a text is longer than 4 GiB".to_owned())
    }
}

/// Reads `[{"group":"x"},{"group":"y"},{"email":""}]`. What has another shape
/// is passed over: attributes decorate, they must not spoil a count.
fn attributes_of(json: &str) -> Attributes {
    let list: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
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
