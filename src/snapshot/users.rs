//! People: a user may hold many sessions.

use std::cmp::Ordering;

use hashbrown::HashSet;

use crate::fingerprint::Fingerprints;

/// Who somebody is, on any target. The name cannot be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Person(u128);

/// Distinct people.
#[derive(Debug, Default)]
pub struct People {
    known: HashSet<Person>,
    fingerprints: Fingerprints,
}

impl People {
    /// The user with this directory and id.
    pub(super) fn person(&mut self, user_directory: &str, user_id: &str) -> Person {
        Person(self.fingerprints.of(&[user_directory, user_id]))
    }

    /// Adds somebody; answers whether that is somebody new.
    pub(super) fn insert(&mut self, person: Person) -> bool {
        self.known.insert(person)
    }

    /// Adds these people.
    pub fn extend(&mut self, people: &Self) {
        self.known.extend(&people.known);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// A user as listed, ordered as the text `DIRECTORY\id` is.
#[derive(Clone, Copy, Debug)]
pub struct UserName<'a> {
    /// The first bytes of that text, as a number: they decide most comparisons
    /// without a look at the texts.
    beginning: u128,
    /// The user directory.
    pub directory: &'a str,
    /// The user, named as the settings say.
    pub id: &'a str,
    /// The texts hold nothing that JSON would escape.
    pub is_plain: bool,
}

impl<'a> UserName<'a> {
    /// The name of a user.
    pub fn new(directory: &'a str, id: &'a str, is_plain: bool) -> Self {
        let mut beginning = [0; 16];
        for (byte, of_text) in beginning.iter_mut().zip(bytes(directory, id)) {
            *byte = of_text;
        }
        Self { beginning: u128::from_be_bytes(beginning), directory, id, is_plain }
    }
}

/// The bytes of `DIRECTORY\id`.
fn bytes<'a>(directory: &'a str, id: &'a str) -> impl Iterator<Item = u8> + 'a {
    directory.bytes().chain(*b"\\").chain(id.bytes())
}

impl Ord for UserName<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.beginning
            .cmp(&other.beginning)
            .then_with(|| bytes(self.directory, self.id).cmp(bytes(other.directory, other.id)))
    }
}

impl PartialOrd for UserName<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for UserName<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for UserName<'_> {}
