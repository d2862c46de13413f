//! When to poll: at once, then at every interval; or at every multiple of the
//! interval of the wall clock. A poll that takes longer than the interval makes
//! its successors wait for the next tick; the ticks missed are counted.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

/// The longest time that the program sleeps before it looks at the clocks again:
/// a machine that slept, or whose clock was set, polls soon after.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Ticks that were missed before it.
    pub missed: u64,
    /// What the events of its poll are stamped with, where that is not the time
    /// at which the poll begins.
    pub stamp: Option<Timestamp>,
}

/// The ticks of `stream`.
#[derive(Debug)]
pub enum Schedule {
    /// At once, and then at every interval.
    Interval {
        /// Between two ticks.
        interval: Duration,
        /// The next tick, by the monotonic clock.
        next: Instant,
        /// The same by the wall clock, in milliseconds: only that goes on while a
        /// machine sleeps.
        next_wall: i64,
        /// Ticks missed since the last poll.
        missed: u64,
    },
    /// At multiples of the interval of the wall clock.
    Aligned {
        /// Between two ticks.
        interval: Duration,
        /// The last tick, in milliseconds since 1970.
        last: i64,
    },
}

impl Schedule {
    /// Ticks now and then at every interval, or at its multiples.
    pub fn new(interval: Duration, aligned: bool) -> Self {
        let now = wall_ms();
        if aligned {
            Self::Aligned { interval, last: floor(now, interval) }
        } else {
            Self::Interval { interval, next: Instant::now(), next_wall: now, missed: 0 }
        }
    }

    /// Waits for the next tick.
    pub async fn tick(&mut self) -> Tick {
        loop {
            match self.look(Instant::now(), wall_ms()) {
                Ok(tick) => return tick,
                Err(wait) => sleep(wait.min(LOOK_AGAIN)).await,
            }
        }
    }

    /// The tick that is due, or how long it is to the next one.
    fn look(&mut self, now: Instant, wall: i64) -> Result<Tick, Duration> {
        match self {
            Self::Interval { interval, next, next_wall, missed } => {
                let slept = now < *next && ahead(wall, *next_wall) > LOOK_AGAIN;
                if slept {
                    *missed += whole_ticks(ahead(wall, *next_wall), *interval);
                    *next = now;
                } else {
                    let over = missed_ticks(now.saturating_duration_since(*next), *interval);
                    *missed += over;
                    *next += *interval * u32::try_from(over).unwrap_or(u32::MAX);
                    if now < *next {
                        if over > 0 {
                            *next_wall = wall + milliseconds(*next - now);
                        }
                        return Err(*next - now);
                    }
                }
                *next += *interval;
                *next_wall = wall + milliseconds(next.saturating_duration_since(now));
                Ok(Tick { missed: std::mem::take(missed), stamp: None })
            }
            Self::Aligned { interval, last } => {
                let tick = floor(wall, *interval);
                let length = milliseconds(*interval);
                // Where the clock is set back by less than an interval, polling waits for
                // the next tick. Further back, the new time counts.
                if tick > *last || tick < *last - length {
                    let missed = ((tick - *last) / length - 1).max(0);
                    *last = tick;
                    let stamp = Timestamp::from_millisecond(tick).ok();
                    return Ok(Tick { missed: missed.unsigned_abs(), stamp });
                }
                let wait = (tick.max(*last) + length - wall).max(1);
                Err(Duration::from_millis(wait.unsigned_abs()))
            }
        }
    }
}

/// The last multiple of the interval of the wall clock: what `once` takes for its
/// time where polls are aligned.
pub fn last_multiple(interval: Duration) -> Option<Timestamp> {
    Timestamp::from_millisecond(floor(wall_ms(), interval)).ok()
}

/// Returns whether no multiple of the interval lies between these times.
pub fn is_same_slot(one: Timestamp, other: Timestamp, interval: Duration) -> bool {
    floor(one.as_millisecond(), interval) == floor(other.as_millisecond(), interval)
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn wall_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn floor(time: i64, interval: Duration) -> i64 {
    let length = milliseconds(interval).max(1);
    time.div_euclid(length) * length
}

fn ahead(wall: i64, expected: i64) -> Duration {
    Duration::from_millis(u64::try_from(wall.saturating_sub(expected)).unwrap_or(0))
}

fn whole_ticks(time: Duration, interval: Duration) -> u64 {
    u64::try_from(time.as_millis() / interval.as_millis().max(1)).unwrap_or(u64::MAX)
}

/// How many ticks are over when it is this late. A tick that is late by less
/// than half an interval is still polled.
fn missed_ticks(late: Duration, interval: Duration) -> u64 {
    let halves = late.as_millis() / (interval.as_millis() / 2).max(1);
    u64::try_from(halves.div_ceil(2)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_late_poll_misses_the_ticks_that_are_over() {
        let missed = |late| missed_ticks(Duration::from_millis(late), SECOND);
        assert_eq!(missed(0), 0);
        assert_eq!(missed(499), 0);
        assert_eq!(missed(500), 1);
        assert_eq!(missed(1_000), 1);
        assert_eq!(missed(1_600), 2);
    }

    #[test]
    fn a_machine_that_slept_polls_at_once() {
        let (start, wall) = (Instant::now(), 1_000_000);
        let interval = 30 * SECOND;
        let mut schedule = Schedule::Interval { interval, next: start, next_wall: wall, missed: 0 };
        assert_eq!(schedule.look(start, wall), Ok(Tick { missed: 0, stamp: None }));
        let soon = start + 10 * SECOND;
        assert_eq!(schedule.look(soon, wall + 10_000), Err(20 * SECOND));
        // An hour by the wall clock; the other one stood still.
        let woken = soon + SECOND;
        let tick = schedule.look(woken, wall + 3_611_000).expect("at once");
        assert_eq!(tick.missed, 119);
        assert_eq!(schedule.look(woken, wall + 3_611_000), Err(interval));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let (start, wall) = (Instant::now(), 1_000_000_000);
        let interval = 30 * SECOND;
        let mut schedule = Schedule::Interval { interval, next: start, next_wall: wall, missed: 0 };
        schedule.look(start, wall).expect("at once");
        assert!(schedule.look(start + interval, wall - 3_600_000).is_ok());
    }

    #[test]
    fn aligned_ticks_are_multiples_and_come_once() {
        let interval = 30 * SECOND;
        let now = Instant::now();
        let mut schedule = Schedule::Aligned { interval, last: 990_000 };
        let at = |ms| Timestamp::from_millisecond(ms).ok();
        assert_eq!(schedule.look(now, 1_005_000), Err(15 * SECOND), "the next multiple");
        assert_eq!(schedule.look(now, 1_020_003), Ok(Tick { missed: 0, stamp: at(1_020_000) }));
        assert_eq!(schedule.look(now, 1_019_990), Err(Duration::from_millis(30_010)), "once");
        assert_eq!(schedule.look(now, 1_110_000), Ok(Tick { missed: 2, stamp: at(1_110_000) }));
        assert_eq!(schedule.look(now, 600_000), Ok(Tick { missed: 0, stamp: at(600_000) }));
    }
}
