//! `once`: polls every target once and ends.

use std::path::Path;

use super::{CommandError, Exit, drain, load, runtime};
use crate::{output::Output, poll::Poller, signals};

pub fn run(path: &Path) -> Result<Exit, CommandError> {
    let config = load(path)?;
    if config.targets.is_empty() {
        return Ok(Exit::Done);
    }
    let mut poller = Poller::new(&config)?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let output = Output::stdout()?;
        let shutdown = signals::shutdown()?;
        let report = tokio::select! {
            report = poller.poll(&output, 0) => Some(report),
            () = output.closed() => None,
            signal = shutdown => {
                tracing::info!("{signal}: ending");
                None
            }
        };
        drain(&output).await?;
        Ok(match report.transpose()? {
            Some(report) if report.targets_failed > 0 || !report.saved => Exit::Failed,
            _ => Exit::Done,
        })
    });
    // A name that is still being resolved must not keep the program.
    runtime.shutdown_background();
    result
}
