//! What could not be read, and times without polls.

use std::{collections::BTreeMap, ops::Range};

use jiff::tz::TimeZone;

use super::{
    report::{At, FailureSeries, Failures, Gap},
    spans::local_date,
    store::{Store, Time},
    timeline::{Moment, usual_interval},
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

/// Times without polls.
pub fn gaps(moments: &[Moment], within: Range<usize>) -> Vec<Gap> {
    let times: Vec<Time> = moments[within].iter().map(|moment| moment.time).collect();
    gap_starts(&times)
        .map(|number| {
            let (from, to) = (times[number], times[number + 1]);
            Gap { from: At(from), to: At(to), seconds: ((to - from) / 1000) as u64 }
        })
        .collect()
}

/// Numbers of the times after which there is a gap.
pub fn gap_starts(times: &[Time]) -> impl Iterator<Item = usize> + '_ {
    (1..times.len()).map(|next| next - 1).filter(|&number| {
        let start = number.saturating_sub(NEIGHBOURS);
        let end = (number + 2 + NEIGHBOURS).min(times.len());
        let usual = usual_interval(&times[start..end]).unwrap_or(Time::MAX);
        times[number + 1] - times[number] > usual.saturating_mul(GAP_FACTOR)
    })
}
