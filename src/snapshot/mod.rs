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

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

pub use names::Names;
pub use reader::Reader;
pub use users::{People, UserName};

use crate::{
    config::{AttributeChoice, Config, ExcludedUser},
    fingerprint,
};
use users::Person;

/// A session's attributes: key → its values, in the order of the answer.
pub type Attributes = BTreeMap<String, Vec<String>>;

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
    attributes: Vec<Option<Arc<Attributes>>>,
    /// Of each session, to know it again; none where no answer will come
    /// after this.
    marks: Vec<Mark>,
    /// Who holds the sessions.
    pub people: People,
    /// How many sessions excluded users held.
    pub excluded_session_count: usize,
}

/// What is known of a session beside its texts.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where the texts begin, and their lengths, in bytes.
    texts: usize,
    session_id: u32,
    user_directory: u32,
    user_id: u32,
    is_named: bool,
    is_plain: bool,
    first_of_user: bool,
    excluded: bool,
    /// Its place in the snapshot before, where it stood in that answer, too.
    before: Option<u32>,
}

/// What a session is known by when it stands in the next answer again.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The length and the fingerprint of its JSON.
    length: u32,
    json: u64,
    /// Who holds it.
    person: Person,
}

impl Mark {
    fn new(json: &str, person: Person) -> Result<Self, String> {
        Ok(Self { length: length(json)?, json: fingerprint::of_text(json), person })
    }

    /// What stands behind the session, where it stands at the beginning of a text.
    fn is_at<'j>(&self, json: &'j str) -> Option<&'j str> {
        let (own, behind) = json.split_at_checked(self.length as usize)?;
        (fingerprint::of_text(own) == self.json).then_some(behind)
    }
}

/// What to take from an answer.
#[derive(Debug)]
pub struct Rules {
    exclude: Vec<ExcludedUser>,
    excluded_users_count: bool,
    attributes: AttributeChoice,
    names: Names,
}

impl Rules {
    /// The rules of a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            exclude: config.exclude.clone(),
            excluded_users_count: config.options.excluded_users_count,
            attributes: config.options.attributes.clone(),
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
    /// An empty one, with room for as much as another one holds and a little more.
    fn with_room_for(other: &Self) -> Self {
        Self {
            texts: String::with_capacity(other.texts.len() * 9 / 8),
            sessions: Vec::with_capacity(other.sessions.len() * 9 / 8),
            marks: Vec::with_capacity(other.marks.len() * 9 / 8),
            ..Self::default()
        }
    }

    /// Sessions of which no more is known than id, user directory and user.
    ///
    /// # Errors
    /// Where a text is too long.
    pub fn of<'a>(
        sessions: impl Iterator<Item = (&'a str, &'a str, Option<&'a str>)>,
    ) -> Result<Self, String> {
        let mut snapshot = Self::default();
        for (session_id, user_directory, user_id) in sessions {
            let entry = snapshot.append(session_id, user_directory, user_id)?;
            snapshot.sessions.push(entry);
        }
        Ok(snapshot)
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
        self.sessions.iter().enumerate().map(|(index, entry)| {
            let texts = &self.texts[entry.texts..];
            let (session_id, texts) = texts.split_at(entry.session_id as usize);
            let (user_directory, texts) = texts.split_at(entry.user_directory as usize);
            Session {
                session_id,
                user_directory,
                user_id: entry.is_named.then(|| &texts[..entry.user_id as usize]),
                attributes: self.attributes.get(index).and_then(Option::as_deref),
                is_plain: entry.is_plain,
                first_of_user: entry.first_of_user,
                excluded: entry.excluded,
            }
        })
    }

    /// Whether each session is told, and not only counted.
    pub fn are_told(&self) -> impl Iterator<Item = bool> {
        self.sessions.iter().map(|entry| !entry.excluded)
    }

    /// The place of each session in the snapshot before, where it stood in that
    /// answer, too, and just as in this.
    pub fn places_before(&self) -> impl Iterator<Item = Option<usize>> {
        self.sessions.iter().map(|entry| entry.before.map(|place| place as usize))
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

    /// Adds a session, and answers who holds it where it counts; or says why it
    /// cannot.
    fn add(&mut self, told: &Told<'_>, rules: &Rules) -> Result<Option<Person>, String> {
        let Told { session_id, user_directory: directory, user_id: id, .. } = told;
        let excluded = rules.exclude.iter().any(|user| user.matches(directory, id));
        if excluded {
            self.excluded_session_count += 1;
            if !rules.excluded_users_count {
                return Ok(None);
            }
        }
        let person = self.people.person(directory, id);
        let name = rules.names.name(directory, id);
        if rules.attributes != AttributeChoice::None {
            let mut attributes = told.attributes.map(attributes_of);
            if let Some(attributes) = &mut attributes {
                attributes.retain(|key, _| rules.attributes.includes(key));
                name.hide_in_attributes(attributes);
            }
            self.attributes.push(attributes.map(Arc::new));
        }
        let session_id = name.hide_in_session_id(session_id);
        let entry = self.append(&session_id, directory, name.shown(id))?;
        self.sessions.push(Entry {
            is_plain: told.is_plain(),
            first_of_user: self.people.insert(person),
            excluded,
            ..entry
        });
        Ok(Some(person))
    }

    /// Marks the session that was added last, which had this place in the snapshot
    /// before.
    fn mark(&mut self, mark: Mark, before: Option<usize>) {
        self.marks.push(mark);
        if let Some(entry) = self.sessions.last_mut() {
            entry.before = before.and_then(|place| u32::try_from(place).ok());
        }
    }

    /// Adds a session that stands in the answer as it stood in the one before: all
    /// that was made of it then is still right.
    fn take_over(&mut self, before: &Self, place: usize) {
        let (entry, mark) = (&before.sessions[place], before.marks[place]);
        let texts = [entry.session_id, entry.user_directory, entry.user_id];
        let length = texts.iter().map(|length| *length as usize).sum::<usize>();
        self.excluded_session_count += usize::from(entry.excluded);
        self.sessions.push(Entry {
            texts: self.texts.len(),
            first_of_user: self.people.insert(mark.person),
            ..*entry
        });
        self.texts.push_str(&before.texts[entry.texts..entry.texts + length]);
        if let Some(attributes) = before.attributes.get(place) {
            self.attributes.push(attributes.clone());
        }
        self.mark(mark, Some(place));
    }

    /// Appends the texts of a session; answers an entry that knows no more than
    /// where they are.
    fn append(
        &mut self,
        session_id: &str,
        user_directory: &str,
        user_id: Option<&str>,
    ) -> Result<Entry, String> {
        let texts = self.texts.len();
        let mut append = |text: &str| {
            self.texts.push_str(text);
            length(text)
        };
        Ok(Entry {
            texts,
            session_id: append(session_id)?,
            user_directory: append(user_directory)?,
            user_id: append(user_id.unwrap_or_default())?,
            is_named: user_id.is_some(),
            is_plain: false,
            first_of_user: false,
            excluded: false,
            before: None,
        })
    }
}

fn length(text: &str) -> Result<u32, String> {
    u32::try_from(text.len()).map_err(|_| "a text is longer than 4 GiB".to_owned())
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
