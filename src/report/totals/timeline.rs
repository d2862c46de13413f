//! The polls in order of time. Several pollers may have written the events:
//! targets that share the times of their polls belong to one poller. At each
//! moment the answers that hold are added up: of the poll at that moment, and
//! of the other pollers' latest ones.

use std::{collections::BTreeMap, ops::Range};

use super::ranges::Ranges;
use super::store::{SessionFacts, Store, TargetRecord, Time};

/// One time at which something was polled.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When.
    pub time: Time,
    /// Sessions of the targets that answered; none where none did.
    pub sessions: Option<u64>,
    /// Polls at this moment: one for each poller.
    pub polls: u64,
    /// Those of them whose targets all answered.
    pub polls_complete: u64,
    /// The number is that of the whole site.
    pub is_complete: bool,
}

/// An answer of a target.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When.
    pub time: Time,
    /// Sessions.
    pub sessions: u64,
    /// Users, if a summary says.
    pub users: Option<u64>,
    /// Not all of their names are known.
    pub names_are_missing: bool,
    /// Numbers of the moments for which it holds.
    pub holds: Range<usize>,
    is_listing: bool,
}

/// The polls of one target, in order of time.
#[derive(Debug)]
pub struct TargetPolls {
    /// The good ones.
    pub answers: Vec<Answer>,
    /// The others: when, and for which moments.
    pub failed: Vec<(Time, Range<usize>)>,
    /// From number of appearance to number of the answer.
    answer_of: Vec<Option<u32>>,
    /// The answer, from each on, that shows all sessions.
    next_listing: Vec<usize>,
    is_always_listing: bool,
}

/// From which answer to which, both included, a session was there.
pub type Run = (usize, usize);

/// All polls.
#[derive(Debug)]
pub struct Timeline {
    /// In order.
    pub moments: Vec<Moment>,
    /// As in the store.
    pub targets: Vec<TargetPolls>,
    /// The times of the polls of each poller that wrote the events.
    pub pollers: Vec<Vec<Time>>,
}

impl Timeline {
    /// Puts what was read in order.
    pub fn new(store: &Store) -> Self {
        let pollers = Poller::all(store);
        let mut times: Vec<Time> =
            pollers.iter().flat_map(|poller| poller.times.iter().copied()).collect();
        times.sort_unstable();
        times.dedup();
        let mut holds = vec![BTreeMap::new(); store.targets.len()];
        let mut moments: Vec<Moment> = times.iter().map(|&time| Moment::at(time)).collect();
        for poller in &pollers {
            let ranges = poller.holds(&times, &pollers);
            for &target in &poller.targets {
                holds[target].extend(poller.times.iter().copied().zip(ranges.iter().cloned()));
            }
            poller.mark_complete(store, &ranges, &mut moments);
        }
        let targets: Vec<_> = store
            .targets
            .iter()
            .zip(&holds)
            .map(|(target, holds)| TargetPolls::new(target, holds))
            .collect();
        for answer in targets.iter().flat_map(|target| &target.answers) {
            for moment in &mut moments[answer.holds.clone()] {
                *moment.sessions.get_or_insert(0) += answer.sessions;
            }
        }
        let pollers = pollers.into_iter().map(|poller| poller.times).collect();
        Self { moments, targets, pollers }
    }

    /// Numbers of the moments of a time, its end excluded.
    pub fn between(&self, from: Option<Time>, to: Option<Time>) -> Range<usize> {
        let before = |time: Option<Time>, otherwise| {
            time.map_or(otherwise, |time| self.moments.partition_point(|m| m.time < time))
        };
        let (start, end) = (before(from, 0), before(to, self.moments.len()));
        start..end.max(start)
    }
}

impl Moment {
    fn at(time: Time) -> Self {
        Self { time, sessions: None, polls: 0, polls_complete: 0, is_complete: true }
    }
}

/// Targets that are polled together.
#[derive(Debug, Default)]
struct Poller {
    targets: Vec<usize>,
    times: Vec<Time>,
}

impl Poller {
    fn all(store: &Store) -> Vec<Self> {
        let mut at: BTreeMap<Time, Vec<usize>> = BTreeMap::new();
        for (number, target) in store.targets.iter().enumerate() {
            for poll in &target.polls {
                at.entry(poll.time).or_default().push(number);
            }
        }
        let mut pollers = Self::of_targets(store, &at);
        // A poll of which nothing but its end is known.
        for &time in store.site_polls.keys().filter(|time| !at.contains_key(time)) {
            if pollers.is_empty() {
                pollers.push(Self::default());
            }
            pollers[0].times.push(time);
        }
        for poller in &mut pollers {
            poller.times.sort_unstable();
            poller.times.dedup();
        }
        pollers
    }

    fn of_targets(store: &Store, at: &BTreeMap<Time, Vec<usize>>) -> Vec<Self> {
        let mut shared: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for pair in at.values().flat_map(|targets| targets.windows(2)) {
            *shared.entry((pair[0], pair[1])).or_default() += 1;
        }
        let mut together: Vec<usize> = (0..store.targets.len()).collect();
        for ((a, b), times) in shared {
            // Two pollers may meet in one millisecond by chance.
            let polls = store.targets[a].polls.len().min(store.targets[b].polls.len());
            if times * 10 >= polls {
                let (a, b) = (root(&together, a), root(&together, b));
                together[a.max(b)] = a.min(b);
            }
        }
        let mut pollers: BTreeMap<usize, Self> = BTreeMap::new();
        for (number, target) in store.targets.iter().enumerate() {
            // A target may have been named only by a change, or by its removal.
            if !target.polls.is_empty() {
                let poller = pollers.entry(root(&together, number)).or_default();
                poller.targets.push(number);
                poller.times.extend(target.polls.iter().map(|poll| poll.time));
            }
        }
        pollers.into_values().collect()
    }

    /// For which moments each poll holds: for its own, and for those of other
    /// pollers until the next one is due.
    fn holds(&self, moments: &[Time], pollers: &[Self]) -> Vec<Range<usize>> {
        let patience = usual_interval(&self.times).map_or(0, |interval| interval * 3 / 2);
        let runs_beside_others = pollers.iter().any(|other| {
            !std::ptr::eq(self, other)
                && other.times.first() < self.times.last()
                && other.times.last() > self.times.first()
        });
        self.times
            .iter()
            .enumerate()
            .map(|(number, &time)| {
                let start = moments.partition_point(|&moment| moment < time);
                let end = match self.times.get(number + 1) {
                    Some(&next) => next.min(time + patience.max(1)),
                    None if runs_beside_others => time + patience.max(1),
                    // Its targets may be polled under other names from here on.
                    None => time + 1,
                };
                start..moments.partition_point(|&moment| moment < end).max(start + 1)
            })
            .collect()
    }

    fn mark_complete(&self, store: &Store, holds: &[Range<usize>], moments: &mut [Moment]) {
        let mut answered: BTreeMap<Time, (u64, bool)> = BTreeMap::new();
        for poll in self.targets.iter().flat_map(|&target| &store.targets[target].polls) {
            let (answers, all) = answered.entry(poll.time).or_insert((0, true));
            *answers += u64::from(poll.is_answered());
            *all &= poll.is_answered();
        }
        let mut known_until = holds.first().map_or(0, |first| first.start);
        for (time, holds) in self.times.iter().zip(holds) {
            let (answers, all) = answered.get(time).copied().unwrap_or((0, true));
            let expected = store.site_polls.get(time).map_or(0, |poll| poll.targets);
            // Where the repository service lists nothing, nothing is known.
            let is_complete = all && answers >= expected.max(1);
            moments[holds.start].polls += 1;
            moments[holds.start].polls_complete += u64::from(is_complete);
            // Where this poller was late, others' moments lack its targets.
            let unknown_end = if is_complete { holds.start } else { holds.end };
            for moment in &mut moments[known_until..unknown_end.max(known_until)] {
                moment.is_complete = false;
            }
            known_until = holds.end;
        }
    }
}

fn root(together: &[usize], mut number: usize) -> usize {
    while together[number] != number {
        number = together[number];
    }
    number
}

/// The time between one and the next that three of four do not exceed. The median would
/// not do: two pollers of one target poll shortly after each other.
pub fn usual_interval(times: &[Time]) -> Option<Time> {
    let mut intervals: Vec<Time> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_unstable();
    intervals.get(intervals.len().checked_sub(1)? * 3 / 4).copied()
}

impl TargetPolls {
    fn new(target: &TargetRecord, holds: &BTreeMap<Time, Range<usize>>) -> Self {
        let mut order: Vec<usize> = (0..target.polls.len()).collect();
        order.sort_by_key(|&number| target.polls[number].time);
        let mut polls = Self {
            answers: Vec::new(),
            failed: Vec::new(),
            answer_of: vec![None; order.len()],
            next_listing: Vec::new(),
            is_always_listing: true,
        };
        for number in order {
            let poll = target.polls[number];
            let holds = holds.get(&poll.time).cloned().unwrap_or_default();
            let Some(sessions) = poll.sessions() else {
                polls.failed.push((poll.time, holds));
                continue;
            };
            polls.answer_of[number] = Some(polls.answers.len() as u32);
            polls.is_always_listing &= poll.is_listing();
            polls.answers.push(Answer {
                time: poll.time,
                sessions,
                users: poll.user_count,
                names_are_missing: poll.names_are_missing,
                holds,
                is_listing: poll.is_listing(),
            });
        }
        let mut next = polls.answers.len();
        polls.next_listing = vec![next; next + 1];
        for number in (0..polls.answers.len()).rev() {
            if polls.answers[number].is_listing {
                next = number;
            }
            polls.next_listing[number] = next;
        }
        polls
    }

    /// When the session was there: at the polls that list it and, where polls
    /// list none (`changes`), between its start and its end.
    pub fn runs(&self, session: &SessionFacts, removed: &[Time]) -> Vec<Run> {
        let mut present = self.answers_of(&session.polls);
        if !self.is_always_listing && !session.session_id.is_empty() {
            let unlisted = self.unlisted(session, &present, removed);
            present.extend(unlisted);
            present.sort_unstable();
            present.dedup();
        }
        runs(&present)
    }

    /// The answers at the polls with these numbers of appearance.
    pub fn runs_of_polls(&self, polls: &Ranges) -> Vec<Run> {
        runs(&self.answers_of(polls))
    }

    fn answers_of(&self, polls: &Ranges) -> Vec<usize> {
        let known = polls.numbers().filter_map(|number| self.answer_of[number as usize]);
        let mut answers: Vec<usize> = known.map(|number| number as usize).collect();
        answers.sort_unstable();
        answers
    }

    fn unlisted(&self, session: &SessionFacts, listed: &[usize], removed: &[Time]) -> Vec<usize> {
        let mut present = Vec::new();
        for (from, to) in self.presumed(session, listed, removed) {
            let start = self.answers.partition_point(|answer| answer.time < from);
            let in_time = self.answers[start..].iter().enumerate();
            present.extend(
                in_time
                    .take_while(|(_, answer)| answer.time < to)
                    .filter(|(_, answer)| !answer.is_listing)
                    .map(|(number, _)| start + number),
            );
        }
        present
    }

    /// From when to when, the end excluded, the session was there as far as its
    /// starts and ends and the polls that list it say.
    fn presumed(
        &self,
        session: &SessionFacts,
        listed: &[usize],
        removed: &[Time],
    ) -> Vec<(Time, Time)> {
        let mut signs: Vec<(Time, bool)> = Vec::new();
        let mut was_there = |time: Time, first_answer: usize| {
            signs.push((time, true));
            let next = self.next_listing[first_answer.min(self.answers.len())];
            if next < self.answers.len() && listed.binary_search(&next).is_err() {
                signs.push((self.answers[next].time, false));
            }
        };
        for (first, last) in runs(listed) {
            was_there(self.answers[first].time, last + 1);
        }
        for begin in &session.begins {
            was_there(begin.time, self.answers.partition_point(|a| a.time < begin.time));
        }
        for end in &session.ends {
            signs.push((end.last_seen + 1, false));
            if let Some(first_seen) = end.first_seen {
                signs.push((first_seen, true));
            }
        }
        signs.extend(removed.iter().map(|&time| (time, false)));
        signs.sort_unstable();
        let (mut times, mut since) = (Vec::new(), None);
        for (time, is_there) in signs {
            match (is_there, since) {
                (true, None) => since = Some(time),
                (false, Some(start)) => {
                    times.push((start, time));
                    since = None;
                }
                _ => {}
            }
        }
        times.extend(since.map(|start| (start, Time::MAX)));
        times
    }
}

/// What follows each other, together.
fn runs(numbers: &[usize]) -> Vec<Run> {
    numbers.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run[run.len() - 1])).collect()
}
