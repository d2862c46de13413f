//! Who was there at which moments, and for how long: one user at a time, so
//! that it takes the memory of one.

use std::ops::Range;

use super::{
    store::{SessionFacts, Store, Time},
    timeline::{Run, Timeline},
    users::UserIndex,
};

/// A set of moments.
#[derive(Debug)]
pub struct Moments {
    words: Vec<u64>,
}

impl Moments {
    fn new(length: usize) -> Self {
        Self { words: vec![0; length.div_ceil(64)] }
    }

    fn insert(&mut self, moments: Range<usize>) {
        for moment in moments {
            self.words[moment / 64] |= 1 << (moment % 64);
        }
    }

    /// True if there is one among these.
    pub fn any(&self, moments: Range<usize>) -> bool {
        let mut at = moments.start;
        while at < moments.end {
            let end = ((at / 64 + 1) * 64).min(moments.end);
            let mask = (u64::MAX >> (63 - (end - 1) % 64)) & (u64::MAX << (at % 64));
            if self.words[at / 64] & mask != 0 {
                return true;
            }
            at = end;
        }
        false
    }

    /// Each one.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(|(number, &word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| number * 64 + bit)
        })
    }
}

/// One user, as far as the time of the report goes.
#[derive(Debug)]
pub struct Visit {
    /// None: the sessions of users without a name.
    pub user: Option<UserIndex>,
    /// When they were there.
    pub moments: Moments,
    /// On which targets.
    pub targets: Vec<usize>,
    /// Different sessions.
    pub sessions: u64,
    /// Some of the time is known by the names in summaries only.
    pub has_unlisted_sessions: bool,
    /// The time with at least one session, in milliseconds.
    pub milliseconds: Time,
}

/// The visits of every user, one after the other.
#[derive(Debug)]
pub struct Visits<'a> {
    store: &'a Store,
    timeline: &'a Timeline,
    within: Range<usize>,
    /// The first and the last moment of the report.
    bounds: (Time, Time),
}

impl<'a> Visits<'a> {
    /// Visits in this part of the timeline.
    pub fn new(store: &'a Store, timeline: &'a Timeline, within: Range<usize>) -> Self {
        let moments = &timeline.moments[within.clone()];
        let bounds = match (moments.first(), moments.last()) {
            (Some(first), Some(last)) => (first.time, last.time),
            _ => (0, 0),
        };
        Self { store, timeline, within, bounds }
    }

    /// Hands over each user's visit, and that of those without a name.
    pub fn for_each(&self, mut each: impl FnMut(Visit)) {
        let store = self.store;
        let mut order: Vec<usize> = (0..store.sessions.len()).collect();
        order.sort_by_key(|&number| store.sessions[number].user);
        let mut by_user = order.chunk_by(|&a, &b| store.sessions[a].user == store.sessions[b].user);
        let mut next = by_user.next();
        for user in [None].into_iter().chain((0..store.users.len() as UserIndex).map(Some)) {
            let mut sessions: &[usize] = &[];
            if let Some(numbers) = next.filter(|numbers| store.sessions[numbers[0]].user == user) {
                sessions = numbers;
                next = by_user.next();
            }
            each(self.visit(user, sessions));
        }
    }

    fn visit(&self, user: Option<UserIndex>, sessions: &[usize]) -> Visit {
        let mut visit = Visit {
            user,
            moments: Moments::new(self.timeline.moments.len()),
            targets: Vec::new(),
            sessions: 0,
            has_unlisted_sessions: false,
            milliseconds: 0,
        };
        let mut times = Vec::new();
        for session in sessions.iter().map(|&number| &self.store.sessions[number]) {
            let runs = self.runs(session);
            let was_there = self.enter(session.target, &runs, &mut visit, &mut times);
            let ended = session.ends.iter().any(|end| self.is_within(end.time));
            visit.sessions += u64::from(was_there || ended);
            for end in &session.ends {
                times.push((end.first_seen.unwrap_or(end.last_seen), end.last_seen));
            }
        }
        if let Some(user) = user {
            self.add_listed(user, sessions, &mut visit, &mut times);
        }
        visit.milliseconds = self.union(times);
        visit
    }

    /// Summaries name users also where no session is listed.
    fn add_listed(
        &self,
        user: UserIndex,
        sessions: &[usize],
        visit: &mut Visit,
        times: &mut Vec<(Time, Time)>,
    ) {
        for (target, facts) in self.store.targets.iter().enumerate() {
            let Some(polls) = facts.listed_users.get(&user) else { continue };
            let runs = self.timeline.targets[target].runs_of_polls(polls);
            // Where the sessions are known, they say more precisely how long.
            let is_known =
                sessions.iter().any(|&number| self.store.sessions[number].target == target);
            let mut unused = Vec::new();
            let times = if is_known { &mut unused } else { &mut *times };
            let was_there = self.enter(target, &runs, visit, times);
            visit.has_unlisted_sessions |= was_there && !is_known;
        }
    }

    /// When a session was there.
    pub fn runs(&self, session: &SessionFacts) -> Vec<Run> {
        let removed = &self.store.targets[session.target].removed;
        self.timeline.targets[session.target].runs(session, removed)
    }

    fn enter(
        &self,
        target: usize,
        runs: &[Run],
        visit: &mut Visit,
        times: &mut Vec<(Time, Time)>,
    ) -> bool {
        let answers = &self.timeline.targets[target].answers;
        let mut was_there = false;
        for &(first, last) in runs {
            for answer in &answers[first..=last] {
                let start = answer.holds.start.max(self.within.start);
                let end = answer.holds.end.min(self.within.end);
                if start < end {
                    visit.moments.insert(start..end);
                    was_there = true;
                }
            }
            times.push((answers[first].time, answers[last].time));
        }
        if was_there && !visit.targets.contains(&target) {
            visit.targets.push(target);
        }
        was_there
    }

    /// True if a session that was there at these answers was there in the report.
    pub fn touches(&self, target: usize, (first, last): Run) -> bool {
        self.timeline.targets[target].answers[first..=last].iter().any(|answer| {
            answer.holds.start < self.within.end && self.within.start < answer.holds.end
        })
    }

    /// True if the moment of this time is part of the report.
    pub fn is_within(&self, time: Time) -> bool {
        (self.bounds.0..=self.bounds.1).contains(&time) && !self.within.is_empty()
    }

    /// How long these times are within the report, each moment counted once.
    fn union(&self, mut times: Vec<(Time, Time)>) -> Time {
        times.sort_unstable();
        let (mut sum, mut done) = (0, self.bounds.0);
        for (start, end) in times {
            let (start, end) = (start.max(done), end.min(self.bounds.1));
            if start < end {
                sum += end - start;
                done = end;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::Moments;

    #[test]
    fn ranges_across_words_are_found() {
        let mut moments = Moments::new(200);
        moments.insert(63..64);
        moments.insert(128..130);
        assert_eq!(moments.iter().collect::<Vec<_>>(), [63, 128, 129]);
        for (range, found) in
            [(0..63, false), (0..64, true), (64..128, false), (64..129, true), (130..200, false)]
        {
            assert_eq!(moments.any(range.clone()), found, "{range:?}");
        }
    }
}
