//! Distinct users: a user may hold many sessions.

use crate::user::UserIdentity;

/// Distinct users and how many sessions each holds.
#[derive(Clone, Debug, Default)]
pub struct DistinctUsers(hashbrown::HashMap<UserIdentity, User>);

/// One of them.
#[derive(Clone, Debug)]
pub struct User {
    /// `DIRECTORY\id` in the first spelling of the answer, named as the settings
    /// say; none where users are not named.
    pub name: Option<Box<str>>,
    /// Sessions that the user holds.
    pub sessions: usize,
    /// Excluded users count only where the settings say so.
    pub excluded: bool,
}

impl DistinctUsers {
    /// Adds a session of a user, whose name is asked for at the first one.
    pub fn add_session(
        &mut self,
        identity: UserIdentity,
        name: impl FnOnce() -> Option<Box<str>>,
        excluded: bool,
    ) {
        let user = self.0.entry(identity);
        user.or_insert_with(|| User { name: name(), sessions: 0, excluded }).sessions += 1;
    }

    /// Adds the users of another target.
    pub fn extend(&mut self, others: Self) {
        for (identity, other) in others.0 {
            let user = self.0.entry(identity).or_insert(User { sessions: 0, ..other.clone() });
            user.sessions += other.sessions;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of all users, in order.
    pub fn names(&self) -> Vec<&str> {
        sorted_names(self.0.values())
    }

    /// The users who hold so many sessions or more, without excluded ones.
    pub fn at_limit(&self, limit: usize) -> impl Iterator<Item = &User> {
        self.0.values().filter(move |user| !user.excluded && user.sessions >= limit)
    }
}

/// The names of users in order.
pub fn sorted_names<'u>(users: impl Iterator<Item = &'u User>) -> Vec<&'u str> {
    let mut names: Vec<&str> = users.filter_map(|user| user.name.as_deref()).collect();
    names.sort_unstable();
    names
}
