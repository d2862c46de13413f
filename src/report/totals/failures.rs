//! What could not be read, and times without polls.

use std::{collections::BTreeMap, ops::Range};

use jiff::tz::TimeZone;

use super::{
    report::{At, FailureSeries, Failures, Gap},
    spans::local_date,
    store::{Store, Time},
    timeline::{Timeline, usual_interval},
};

/// How many times the usual time between polls makes a gap.
const GAP_FACTOR: Time = 2;

/// Polls on either side that show what the usual time is: the interval may
/// have been changed in between.
const NEIGHBOURS: usize = 25;

/// Failures in all, or for each day.
pub fn failures(
    store: &Store,
    is_within: impl Fn(Time) -> bool,
    day_in: Option<&TimeZone>,
) -> Vec<Failures> {
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    for failure in store.failures.iter().filter(|failure| is_within(failure.time)) {
        let date = day_in.map(|zone| local_date(failure.time, zone).to_string());
        let key = (date, &failure.server_name, &failure.virtual_proxy, &failure.category);
        *counts.entry(key).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|((date, server_name, virtual_proxy, category), count)| Failures {
            date,
            server_name: server_name.to_string(),
            virtual_proxy: virtual_proxy.as_ref().map(ToString::to_string),
            category: category.to_string(),
            count,
        })
        .collect()
}

/// When each failed, for the charts.
pub fn failure_series(store: &Store, is_within: impl Fn(Time) -> bool) -> Vec<FailureSeries> {
    let mut times: BTreeMap<_, Vec<Time>> = BTreeMap::new();
    for failure in store.failures.iter().filter(|failure| is_within(failure.time)) {
        let key = (&failure.server_name, &failure.virtual_proxy, &failure.category);
        times.entry(key).or_default().push(failure.time);
    }
    times
        .into_iter()
        .map(|((server_name, virtual_proxy, category), mut times)| {
            times.sort_unstable();
            FailureSeries {
                server_name: server_name.to_string(),
                virtual_proxy: virtual_proxy.as_ref().map(ToString::to_string),
                category: category.to_string(),
                times,
            }
        })
        .collect()
}

/// Times in which none of the pollers polled.
pub fn gaps(timeline: &Timeline, within: Range<usize>) -> Vec<Gap> {
    let times: Vec<Time> = timeline.moments[within].iter().map(|moment| moment.time).collect();
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else { return Vec::new() };
    let pollers = timeline.pollers.iter().map(|polls| {
        let start = polls.partition_point(|&time| time < first);
        &polls[start..polls.partition_point(|&time| time <= last)]
    });
    let pollers: Vec<Silence> = pollers.map(Silence::new).collect();
    let pairs = times.windows(2).map(|pair| (pair[0], pair[1]));
    pairs
        .filter(|&(from, to)| pollers.iter().all(|poller| poller.covers(from, to)))
        .map(|(from, to)| gap(from, to))
        .collect()
}

/// When one poller, or the only one of a target, did not poll between its polls.
pub fn gaps_between(times: &[Time]) -> Vec<Gap> {
    gap_starts(times).map(|number| gap(times[number], times[number + 1])).collect()
}

fn gap(from: Time, to: Time) -> Gap {
    Gap { from: At(from), to: At(to), seconds: ((to - from) / 1000) as u64 }
}

/// When one poller did not poll.
struct Silence {
    gaps: Vec<Gap>,
    /// Its first and its last poll.
    bounds: Option<(Time, Time)>,
    usual_interval: Time,
}

impl Silence {
    fn new(times: &[Time]) -> Self {
        Self {
            gaps: gaps_between(times),
            bounds: times.first().copied().zip(times.last().copied()),
            usual_interval: usual_interval(times).unwrap_or(Time::MAX),
        }
    }

    fn covers(&self, from: Time, to: Time) -> bool {
        let is_outside = match self.bounds {
            None => true,
            // Its targets may be polled under other names from there on.
            Some((first, last)) => {
                (to <= first || last <= from) && is_gap(to - from, self.usual_interval)
            }
        };
        is_outside || self.gaps.iter().any(|gap| gap.from.0 <= from && to <= gap.to.0)
    }
}

/// Numbers of the times after which there is a gap.
fn gap_starts(times: &[Time]) -> impl Iterator<Item = usize> + '_ {
    (1..times.len()).map(|next| next - 1).filter(|&number| {
        let start = number.saturating_sub(NEIGHBOURS);
        let end = (number + 2 + NEIGHBOURS).min(times.len());
        let usual = usual_interval(&times[start..end]).unwrap_or(Time::MAX);
        is_gap(times[number + 1] - times[number], usual)
    })
}

fn is_gap(length: Time, usual_interval: Time) -> bool {
    length > usual_interval.saturating_mul(GAP_FACTOR)
}
