//! People: a user may hold many sessions.

use std::cmp::Ordering;

use hashbrown::HashSet;

use crate::fingerprint;

/// Who somebody is, to count distinct people over targets without keeping
/// their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Person(u128);

impl Person {
    /// The user with this directory and id.
    pub fn new(user_directory: &str, user_id: &str) -> Self {
        Self(fingerprint::of([user_directory, user_id]))
    }
}

/// Distinct people.
pub type People = HashSet<Person>;

/// The order of `DIRECTORY\id`, without building those texts.
pub fn compare_users(a: (&str, &str), b: (&str, &str)) -> Ordering {
    if a.0 == b.0 {
        return a.1.cmp(b.1);
    }
    let bytes = |(directory, id)| {
        let (directory, id): (&str, &str) = (directory, id);
        directory.bytes().chain(*b"\\").chain(id.bytes()).collect::<Vec<u8>>()
    };
    bytes(a).cmp(&bytes(b))
}
