//! When to poll: at once, then at every interval. A poll that takes longer than
//! the interval makes its successors wait for the next tick; the ticks missed
//! are counted.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The ticks of `stream`.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    next: Instant,
}

impl Schedule {
    /// The first tick is now.
    pub fn every(interval: Duration) -> Self {
        Self { interval, next: Instant::now() }
    }

    /// Waits for the next tick; answers how many were missed before it.
    pub async fn tick(&mut self) -> u64 {
        let missed =
            missed_ticks(Instant::now().saturating_duration_since(self.next), self.interval);
        self.next += self.interval * u32::try_from(missed).unwrap_or(u32::MAX);
        sleep_until(self.next).await;
        self.next += self.interval;
        missed
    }
}

/// How many ticks are over when it is this late. A tick that is late by less
/// than half an interval is still polled.
fn missed_ticks(late: Duration, interval: Duration) -> u64 {
    let halves = late.as_millis() / (interval.as_millis() / 2).max(1);
    u64::try_from(halves.div_ceil(2)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::missed_ticks;
    use std::time::Duration;

    #[test]
    fn a_late_poll_misses_the_ticks_that_are_over() {
        let missed = |late| missed_ticks(Duration::from_millis(late), Duration::from_secs(1));
        assert_eq!(missed(0), 0);
        assert_eq!(missed(499), 0);
        assert_eq!(missed(500), 1);
        assert_eq!(missed(1_000), 1);
        assert_eq!(missed(1_600), 2);
    }
}
