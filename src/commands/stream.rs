//! `stream`: polls at once, then at every tick, until it is told to end.

use std::{convert::Infallible, path::Path};

use super::{CommandError, Exit, closed, counted, end, load, runtime};
use crate::{
    config::Config,
    output::{Closed, Output},
    poll::{Poller, Schedule},
    signals,
};

pub fn run(path: &Path) -> Result<Exit, CommandError> {
    stream(&load(path)?)
}

/// Streams the events of a configuration.
pub fn stream(config: &Config) -> Result<Exit, CommandError> {
    let mut poller = Poller::new(config)?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let output = Output::stdout()?;
        let shutdown = signals::shutdown()?;
        tracing::info!(
            "polling {} every {}",
            counted(config.targets.len(), "target", "targets"),
            humantime::format_duration(config.polling_interval)
        );
        tokio::select! {
            Err(Closed) = poll_for_ever(config, &mut poller, &output) => closed(&output),
            () = output.closed() => closed(&output),
            signal = shutdown => end(&output, signal).await,
        }
    });
    runtime.shutdown_background();
    result
}

async fn poll_for_ever(
    config: &Config,
    poller: &mut Poller,
    output: &Output,
) -> Result<Infallible, Closed> {
    if config.targets.is_empty() {
        // An agent would start a program that ends again and again.
        std::future::pending::<()>().await;
    }
    let mut schedule = Schedule::every(config.polling_interval);
    loop {
        let skipped = schedule.tick().await;
        if skipped > 0 {
            tracing::debug!(
                "{} left out: the poll before took too long",
                counted(skipped as usize, "poll", "polls")
            );
        }
        poller.poll(output, skipped).await?;
    }
}
