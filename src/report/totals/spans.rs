//! Days, weeks and months in a time zone, each as the moments that are in it.

use std::ops::Range;

use jiff::{
    civil::{Date, ISOWeekDate, Time},
    tz::TimeZone,
};

use super::{report::At, timeline::Moment};

/// Moments that are in one day, week or month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanMoments {
    /// The day; the first one with a poll, of a week or a month.
    pub date: Date,
    /// Numbers of its moments.
    pub moments: Range<usize>,
}

/// Days from the first to the last with a poll; between, also those without.
pub fn days(moments: &[Moment], within: Range<usize>, zone: &TimeZone) -> Vec<SpanMoments> {
    let mut days: Vec<SpanMoments> = Vec::new();
    for number in within {
        let date = local_date(moments[number].time, zone);
        match days.last_mut() {
            Some(day) if day.date == date => day.moments.end = number + 1,
            _ => {
                fill(&mut days, date, number);
                days.push(SpanMoments { date, moments: number..number + 1 });
            }
        }
    }
    days
}

/// Adds the days without polls before this one.
fn fill(days: &mut Vec<SpanMoments>, date: Date, number: usize) {
    let Some(last) = days.last() else { return };
    let mut missing = last.date.tomorrow();
    while let Ok(day) = missing
        && day < date
    {
        days.push(SpanMoments { date: day, moments: number..number });
        missing = day.tomorrow();
    }
}

/// Joins days that share what `of` says of them.
pub fn joined<T: PartialEq>(days: &[SpanMoments], of: impl Fn(Date) -> T) -> Vec<SpanMoments> {
    days.chunk_by(|a, b| of(a.date) == of(b.date))
        .map(|days| SpanMoments {
            date: days[0].date,
            moments: days[0].moments.start..days[days.len() - 1].moments.end,
        })
        .collect()
}

/// The day on which a moment is.
pub fn local_date(time: i64, zone: &TimeZone) -> Date {
    zone.to_datetime(At(time).timestamp()).date()
}

/// How long a day is: 23 or 25 hours where the clocks change.
pub fn length_hours(date: Date, zone: &TimeZone) -> Option<f64> {
    let midnight = |date: Date| zone.to_timestamp(date.to_datetime(Time::midnight())).ok();
    let length = midnight(date)?.duration_until(midnight(date.tomorrow().ok()?)?);
    Some(length.as_secs_f64() / 3600.0)
}

/// `2026-W48`.
pub fn week_name(date: Date) -> String {
    let week = ISOWeekDate::from(date);
    format!("{:04}-W{:02}", week.year(), week.week())
}

/// `2026-11`.
pub fn month_name(date: Date) -> String {
    format!("{:04}-{:02}", date.year(), date.month())
}
