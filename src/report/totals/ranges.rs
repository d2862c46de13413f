//! A set of small numbers that mostly follow each other: the polls that saw
//! one session. A session that was there all day takes one range, however many
//! polls there were; this is what bounds the memory.

/// Ranges in order, both ends included, that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Adds a number; returns whether it is new.
    pub fn insert(&mut self, number: u32) -> bool {
        match self.0.last_mut() {
            Some(last) if number == last.1.wrapping_add(1) => {
                last.1 = number;
                return true;
            }
            Some(last) if number <= last.1 => {}
            _ => {
                self.0.push((number, number));
                return true;
            }
        }
        let at = self.0.partition_point(|range| range.1 < number);
        if self.0[at].0 <= number {
            return false;
        }
        self.insert_before(at, number);
        true
    }

    /// Adds a number that lies between two ranges.
    fn insert_before(&mut self, at: usize, number: u32) {
        let joins_before = at > 0 && self.0[at - 1].1 + 1 == number;
        let joins_after = self.0[at].0 == number + 1;
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = number,
            (false, true) => self.0[at].0 = number,
            (false, false) => self.0.insert(at, (number, number)),
        }
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// Every number.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter().flat_map(|(first, last)| first..=last)
    }

    /// True if it holds this number.
    pub fn contains(&self, number: u32) -> bool {
        let at = self.0.partition_point(|range| range.1 < number);
        self.0.get(at).is_some_and(|range| range.0 <= number)
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u32> for Ranges {
    fn from_iter<T: IntoIterator<Item = u32>>(numbers: T) -> Self {
        let mut ranges = Self::default();
        for number in numbers {
            ranges.insert(number);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Ranges;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in prop::collection::vec(0_u32..60, 0..200)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(ranges.insert(number), set.insert(number));
            }
            prop_assert_eq!(ranges.numbers().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            for number in 0..61 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
            let ranges: Vec<_> = ranges.iter().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
