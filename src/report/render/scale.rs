//! From times and numbers to places in a drawing, and the ticks of its axes.

use jiff::{
    ToSpan,
    civil::{DateTime, Time as ClockTime},
    tz::TimeZone,
};

use crate::report::totals::{At, Time};

/// Room that the label of a tick needs: `Mon 26 Oct`, and `26 Oct`. It is half as much
/// again as the text is wide, since the first label begins at its tick.
const TICK_WIDTH: f64 = 90.0;
const SHORT_TICK_WIDTH: f64 = 58.0;

/// Where times stand, from left to right.
#[derive(Clone, Debug)]
pub struct TimeScale {
    /// The first time.
    pub from: Time,
    /// The last time.
    pub to: Time,
    /// Where the first time stands.
    pub left: f64,
    /// Where the last time stands.
    pub right: f64,
}

impl TimeScale {
    /// Where a time stands.
    pub fn x(&self, time: Time) -> f64 {
        let whole = (self.to - self.from).max(1) as f64;
        self.left + (time - self.from) as f64 / whole * (self.right - self.left)
    }

    /// Ticks at whole hours or days of a time zone, with their labels.
    pub fn ticks(&self, zone: &TimeZone) -> Vec<(f64, String)> {
        let step = Step::for_length(self.to - self.from, self.right - self.left);
        let start = zone.to_datetime(At(self.from).timestamp()).date();
        let mut local = start.to_datetime(ClockTime::midnight());
        let mut ticks = Vec::new();
        let mut latest = Time::MIN;
        while let Ok(time) = zone.to_timestamp(local) {
            let time = time.as_millisecond();
            if time > self.to {
                break;
            }
            // An hour that the clocks leave out or repeat has one tick.
            if time >= self.from && time > latest {
                ticks.push((self.x(time), step.label(local)));
                latest = time;
            }
            match step.after(local) {
                Some(next) => local = next,
                None => break,
            }
        }
        ticks
    }
}

/// The time between two ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Minutes(i64),
    Days(i64),
}

impl Step {
    fn for_length(milliseconds: Time, width: f64) -> Self {
        let minutes = (milliseconds as f64 / 60_000.0).max(1.0);
        let short = [1, 5, 15, 30, 60, 120, 180, 360, 720].map(Self::Minutes);
        let long = [1, 2, 7, 14, 28, 56, 91, 182].map(Self::Days);
        let room = |step: i64| step as f64 / minutes * width;
        let fits = |step: &Self| match *step {
            Self::Minutes(minutes) => room(minutes) >= TICK_WIDTH,
            Self::Days(days) if days < 7 => room(days * 1440) >= TICK_WIDTH,
            Self::Days(days) => room(days * 1440) >= SHORT_TICK_WIDTH,
        };
        let longest = Self::Days((minutes / 1440.0 * SHORT_TICK_WIDTH / width).ceil() as i64);
        short.into_iter().chain(long).find(fits).unwrap_or(longest)
    }

    fn after(self, local: DateTime) -> Option<DateTime> {
        let span = match self {
            Self::Minutes(minutes) => minutes.minutes(),
            Self::Days(days) => days.days(),
        };
        local.checked_add(span).ok()
    }

    fn label(self, local: DateTime) -> String {
        let is_midnight = local.time() == ClockTime::midnight();
        match self {
            Self::Minutes(_) if !is_midnight => local.strftime("%H:%M").to_string(),
            Self::Days(7..) => local.strftime("%-d %b").to_string(),
            _ => local.strftime("%a %-d %b").to_string(),
        }
    }
}

/// Where numbers from 0 on stand, from the bottom to the top.
#[derive(Clone, Debug)]
pub struct NumberScale {
    most: u64,
    step: u64,
    /// Where 0 stands.
    pub bottom: f64,
    /// Where the greatest number stands.
    pub top: f64,
}

impl NumberScale {
    /// A scale up to a round number that is not less than this.
    pub fn new(most: u64, bottom: f64, top: f64) -> Self {
        let lines = ((bottom - top) / 36.0).max(2.0) as u64;
        let step = round_step(most.max(1).div_ceil(lines));
        Self { most: most.max(1).div_ceil(step) * step, step, bottom, top }
    }

    /// Where a number stands.
    pub fn y(&self, number: u64) -> f64 {
        self.bottom - number as f64 / self.most as f64 * (self.bottom - self.top)
    }

    /// Ticks with their numbers.
    pub fn ticks(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        (0..=self.most / self.step).map(|n| (self.y(n * self.step), n * self.step))
    }
}

/// 1, 2, 5, 10, 20 … that is not less.
fn round_step(least: u64) -> u64 {
    let mut power = 1;
    loop {
        if let Some(step) = [1, 2, 5].into_iter().map(|n| n * power).find(|step| *step >= least) {
            return step;
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};

    use super::{NumberScale, TimeScale};

    #[test]
    fn ticks_are_round_numbers() {
        let ticks = |most| NumberScale::new(most, 200.0, 20.0).ticks().map(|t| t.1).collect();
        let all: [Vec<u64>; 4] = [ticks(0), ticks(3), ticks(47), ticks(1999)];
        assert_eq!(all[0], [0, 1]);
        assert_eq!(all[1], [0, 1, 2, 3]);
        assert_eq!(all[2], [0, 10, 20, 30, 40, 50]);
        assert_eq!(all[3], [0, 500, 1000, 1500, 2000]);
    }

    #[test]
    fn labels_have_room_beside_each_other() {
        for minutes in (1..60).chain((60..600_000).step_by(997)) {
            for width in [286.0, 322.0, 902.0] {
                let scale = TimeScale { from: 0, to: minutes * 60_000, left: 0.0, right: width };
                let ticks = scale.ticks(&TimeZone::UTC);
                let room = ticks.windows(2).map(|pair| pair[1].0 - pair[0].0);
                assert!(room.fold(width, f64::min) >= 58.0, "{minutes} minutes: {ticks:?}");
            }
        }
    }

    #[test]
    fn a_long_day_has_a_tick_for_each_third_hour_of_the_clock() {
        let zone = TimeZone::get("Europe/Stockholm").expect("a time zone");
        let time = |text: &str| text.parse::<Timestamp>().expect("a time").as_millisecond();
        let (from, to) = (time("2026-10-24T22:00:00Z"), time("2026-10-25T23:00:00Z"));
        let scale = TimeScale { from, to, left: 0.0, right: 800.0 };
        let labels: Vec<String> = scale.ticks(&zone).into_iter().map(|tick| tick.1).collect();
        let hours = ["03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"];
        assert_eq!(labels[1..8], hours);
        assert_eq!((labels[0].as_str(), labels[8].as_str()), ("Sun 25 Oct", "Mon 26 Oct"));
    }
}
