//! How many sessions there were, and how long they lasted.

use super::{
    count::Question,
    report::{At, LongSession, SessionTotals},
    store::{End, SessionFacts, Store, Time},
    timeline::{Answer, Timeline},
    visits::Visits,
};

/// How many of the longest sessions are named.
const LONGEST: usize = 10;

/// One time that a session was there.
#[derive(Clone, Copy, Debug)]
struct Stay {
    first_seen: Time,
    last_seen: Time,
    seconds: u64,
    begin_seen: bool,
    end_seen: bool,
}

impl Stay {
    fn ended(end: &End) -> Self {
        Self {
            first_seen: end.first_seen.unwrap_or(end.last_seen),
            last_seen: end.last_seen,
            seconds: end.duration_seconds,
            begin_seen: !end.is_bound,
            end_seen: true,
        }
    }

    fn overlaps(&self, start: Time, end: Time) -> bool {
        start <= self.last_seen && self.first_seen <= end
    }

    /// As two pollers of the same target saw it.
    fn joined(self, other: Self) -> Self {
        let first_seen = self.first_seen.min(other.first_seen);
        let last_seen = self.last_seen.max(other.last_seen);
        Self {
            first_seen,
            last_seen,
            seconds: rounded_seconds(last_seen - first_seen),
            begin_seen: self.begin_seen || other.begin_seen,
            end_seen: self.end_seen && other.end_seen,
        }
    }

    /// A program that was started again does not know when a session began;
    /// the events from before that do.
    fn extend_back_to(&mut self, first_seen: Time, begin_seen: bool) {
        if first_seen < self.first_seen {
            self.first_seen = first_seen;
            self.seconds = rounded_seconds(self.last_seen - first_seen);
            self.begin_seen = begin_seen;
        }
    }
}

/// Counts the sessions of a report.
pub fn session_totals(
    store: &Store,
    timeline: &Timeline,
    visits: &Visits<'_>,
    question: &Question,
) -> SessionTotals {
    let mut totals = SessionTotals::default();
    let mut ended: Vec<u64> = Vec::new();
    let mut longest: Vec<(Stay, usize)> = Vec::new();
    for (number, session) in store.sessions.iter().enumerate() {
        let stays = stays(store, timeline, visits, session);
        totals.count += u64::from(!stays.is_empty());
        for stay in stays {
            if stay.end_seen {
                ended.push(stay.seconds);
                totals.ended_begin_unseen += u64::from(!stay.begin_seen);
            }
            longest.push((stay, number));
        }
        // A few more than needed are kept, so that it is sorted rarely.
        if longest.len() > 50 * LONGEST {
            keep_longest(&mut longest);
        }
    }
    keep_longest(&mut longest);
    ended.sort_unstable();
    totals.ended = ended.len() as u64;
    totals.mean_seconds = mean(&ended);
    totals.median_seconds = median(&ended);
    totals.longest =
        longest.iter().map(|&(stay, number)| shown(store, question, stay, number)).collect();
    totals
}

fn keep_longest(stays: &mut Vec<(Stay, usize)>) {
    stays.sort_by_key(|&(stay, number)| (std::cmp::Reverse(stay.seconds), stay.first_seen, number));
    stays.truncate(LONGEST);
}

/// When a session was there, as far as that touches the report.
fn stays(
    store: &Store,
    timeline: &Timeline,
    visits: &Visits<'_>,
    session: &SessionFacts,
) -> Vec<Stay> {
    let (mut stays, mut ended) = (Vec::new(), ended_stays(visits, session));
    let answers = &timeline.targets[session.target].answers;
    let mut end_before = None;
    for (first, last) in visits.runs(session) {
        let (start, end) = (answers[first].time, answers[last].time);
        let begin = session.begin(start, end_before.replace(end));
        let first_seen = begin.map_or(start, |begin| begin.time);
        // Without begins (`transform`), an answer before shows it.
        let begin_seen = begin.map_or(session.begins.is_empty() && first > 0, |b| !b.is_bound);
        let is_in_run = |stay: &mut Stay| stay.overlaps(start, end);
        if let Some(mut stay) = ended.extract_if(.., is_in_run).reduce(Stay::joined) {
            stay.extend_back_to(first_seen, begin_seen);
            stays.push(stay);
            continue;
        }
        let is_known = session.ends.iter().any(|known| Stay::ended(known).overlaps(start, end));
        if is_known || !visits.touches(session.target, (first, last)) {
            continue;
        }
        stays.push(Stay {
            first_seen,
            last_seen: end,
            seconds: rounded_seconds(end - first_seen),
            begin_seen,
            // Without starts and ends among the events, the next poll shows it.
            end_seen: !store.has_lifecycle
                && !session.session_id.is_empty()
                && is_missed_next(store, session, end, answers.get(last + 1)),
        });
    }
    stays.extend(ended);
    stays
}

/// The answer after the last one that has a session shows its end, unless the target
/// was not polled in between.
fn is_missed_next(
    store: &Store,
    session: &SessionFacts,
    last_seen: Time,
    next: Option<&Answer>,
) -> bool {
    let removed = &store.targets[session.target].removed;
    next.is_some_and(|next| !removed.iter().any(|time| (last_seen..=next.time).contains(time)))
}

/// Two pollers of the same target each see the end of a session; that is one.
fn ended_stays(visits: &Visits<'_>, session: &SessionFacts) -> Vec<Stay> {
    let mut ends: Vec<&End> =
        session.ends.iter().filter(|end| visits.is_within(end.time)).collect();
    ends.sort_by_key(|end| (end.last_seen, end.time));
    let mut stays: Vec<Stay> = Vec::new();
    for end in ends {
        let stay = Stay::ended(end);
        match stays.last_mut() {
            Some(known) if stay.first_seen <= known.last_seen => *known = known.joined(stay),
            _ => stays.push(stay),
        }
    }
    stays
}

fn rounded_seconds(milliseconds: Time) -> u64 {
    ((milliseconds.max(0) + 500) / 1000) as u64
}

fn mean(seconds: &[u64]) -> Option<f64> {
    let sum: u64 = seconds.iter().sum();
    (!seconds.is_empty()).then(|| sum as f64 / seconds.len() as f64)
}

/// Of sorted numbers; between the two in the middle where their count is even.
fn median(seconds: &[u64]) -> Option<f64> {
    let upper = seconds.get(seconds.len() / 2)?;
    let lower = &seconds[(seconds.len() - 1) / 2];
    Some((lower + upper) as f64 / 2.0)
}

fn shown(store: &Store, question: &Question, stay: Stay, number: usize) -> LongSession {
    let session = &store.sessions[number];
    let target = &store.targets[session.target];
    let with_names = !question.no_users;
    let user = session.user.filter(|_| with_names);
    LongSession {
        server_name: target.server_name.clone(),
        virtual_proxy: target.virtual_proxy.clone(),
        session_id: session.shown_id().filter(|_| with_names),
        user: user.map(|user| store.users.name(user).to_owned()),
        first_seen: At(stay.first_seen),
        last_seen: At(stay.last_seen),
        seconds: stay.seconds,
        begin_seen: stay.begin_seen,
        end_seen: stay.end_seen,
    }
}

#[cfg(test)]
mod tests {
    use super::{mean, median};

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[4]), Some(4.0));
        assert_eq!(median(&[1, 2, 9]), Some(2.0));
        assert_eq!(median(&[1, 2, 5, 9]), Some(3.5));
        assert_eq!(mean(&[1, 2]), Some(1.5));
    }
}
