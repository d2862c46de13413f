//! `stream`: polls at once, then at every tick, until it is asked to end.

use std::{convert::Infallible, hint::black_box, path::Path, time::Duration};

use super::{
    CommandError, Exit, SWITCHED_OFF, closed, counted, end, load, runtime, what_is_polled,
};
use crate::{
    config::Config,
    output::{Closed, Output},
    poll::{Mode, Poller, Schedule},
    signals,
};

/// How often the log says that nothing is polled.
const REMINDER: Duration = Duration::from_secs(60 * 60);
/// About what a poll of a thousand sessions needs while it lasts.
const POLL_BYTES: usize = 1024 * 1024;

pub fn run(path: &Path) -> Result<Exit, CommandError> {
    keep_memory_between_polls();
    let Some(config) = load(path)? else {
        return until_ended(async |_| remind_for_ever(path).await);
    };
    let mut poller = Poller::new(&config, Mode::Stream)?;
    until_ended(async |output| poll_for_ever(&config, &mut poller, output).await)
}

/// Makes glibc keep what one poll used for the next one. It learns from the largest block
/// that was ever freed (`mallopt(3)`, `M_MMAP_THRESHOLD`), and gives more than twice that
/// back to the system. Otherwise each poll takes its memory anew, page by page, and needs
/// a tenth more time. Other allocators are not affected; the block itself is never touched.
fn keep_memory_between_polls() {
    drop(black_box(Vec::<u8>::with_capacity(POLL_BYTES)));
}

/// Works until a signal comes or nobody reads any more.
fn until_ended(
    work: impl AsyncFnOnce(&Output) -> Result<Infallible, Closed>,
) -> Result<Exit, CommandError> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let output = Output::stdout()?;
        let shutdown = signals::shutdown()?;
        tokio::select! {
            Err(Closed) = work(&output) => closed(&output),
            () = output.closed() => closed(&output),
            signal = shutdown => end(&output, signal).await,
        }
    });
    runtime.shutdown_background();
    result
}

/// Stays without polling: an agent would start a program that ends again and again.
async fn remind_for_ever(path: &Path) -> Result<Infallible, Closed> {
    loop {
        tokio::time::sleep(REMINDER).await;
        tracing::warn!("{}: {SWITCHED_OFF}", path.display());
    }
}

async fn poll_for_ever(
    config: &Config,
    poller: &mut Poller,
    output: &Output,
) -> Result<Infallible, Closed> {
    tracing::info!(
        "polling {}, every {}",
        what_is_polled(config),
        humantime::format_duration(config.polling_interval)
    );
    let mut schedule = Schedule::new(config.polling_interval, config.options.align_polls);
    loop {
        let tick = schedule.tick().await;
        if tick.missed > 0 {
            tracing::debug!(
                "{} left out: the previous poll took too long, or the machine slept",
                counted(tick.missed as usize, "poll", "polls")
            );
        }
        poller.poll(output, tick).await?;
    }
}
