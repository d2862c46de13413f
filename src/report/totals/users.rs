//! Users by name. One person is one name compared without regard to case and
//! to Unicode form; the first spelling is the one that is shown.

use hashbrown::HashMap;

use crate::user::folded;

/// Number of a user in [`Users`].
pub type UserIndex = u32;

/// Every user that a line names.
#[derive(Debug, Default)]
pub struct Users {
    names: Vec<Box<str>>,
    by_folded: HashMap<Box<str>, UserIndex>,
    /// So that a name is folded once for each of its spellings, not for each line.
    by_spelling: HashMap<Box<str>, UserIndex>,
}

impl Users {
    /// The user of this name.
    pub fn index(&mut self, name: &str) -> UserIndex {
        if let Some(&index) = self.by_spelling.get(name) {
            return index;
        }
        let next = self.names.len() as UserIndex;
        let index = *self.by_folded.entry(folded(name).into()).or_insert(next);
        if index == next {
            self.names.push(name.into());
        }
        self.by_spelling.insert(name.into(), index);
        index
    }

    /// The name as it is shown.
    pub fn name(&self, index: UserIndex) -> &str {
        &self.names[index as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Users;

    #[test]
    fn one_person_has_many_spellings() {
        let mut users = Users::default();
        let first = users.index("LAB\\Zoë");
        for same in ["lab\\ZOË", "LAB\\Zoe\u{308}", "Lab\\zoë"] {
            assert_eq!(users.index(same), first, "{same}");
        }
        assert_ne!(users.index("LAB\\Zoe"), first);
        assert_eq!(users.name(first), "LAB\\Zoë");
        assert_eq!(users.len(), 2);
    }
}
