//! `stream`: polls at once, then at every tick, until it is told to end.

use std::{convert::Infallible, path::Path};

use super::{CommandError, Exit, counted, drain, load, runtime};
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
        let result = tokio::select! {
            Err(error) = poll_for_ever(config, &mut poller, &output) => Err(error),
            () = output.closed() => Ok(()),
            signal = shutdown => {
                tracing::info!("{signal}: ending");
                Ok(())
            }
        };
        drain(&output).await?;
        result?;
        Ok(Exit::Done)
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
