//! `once`: polls every target once and ends.

use std::path::Path;

use super::{CommandError, Exit, closed, end, load, runtime};
use crate::{
    config::SessionDetails,
    output::{Closed, Output},
    poll::{Mode, Poller, Tick, last_multiple},
    signals,
};

pub fn run(path: &Path) -> Result<Exit, CommandError> {
    let Some(config) = load(path)? else { return Ok(Exit::Done) };
    let mut poller = Poller::new(&config, Mode::Once)?;
    if config.options.session_details == SessionDetails::Changes
        && config.options.state_file.is_none()
    {
        tracing::warn!(
            "without `sessionSource.stateFile` a run of `once` knows nothing of the run before: with `sessionDetails: changes` each run is a keyframe with every session, and no start or end is reported"
        );
    }
    let aligned = config.options.align_polls;
    let stamp = if aligned { last_multiple(config.polling_interval) } else { None };
    let tick = Tick { missed: 0, stamp };
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let output = Output::stdout()?;
        let shutdown = signals::shutdown()?;
        tokio::pin!(shutdown);
        let report = tokio::select! {
            report = poller.poll(&output, tick) => match report {
                Ok(report) => report,
                Err(Closed) => return closed(&output),
            },
            () = output.closed() => return closed(&output),
            signal = &mut shutdown => return end(&output, signal).await,
        };
        // As long as there is a reader, it gets every line.
        tokio::select! {
            written = output.flushed() => {
                if written.is_err() {
                    return closed(&output);
                }
            }
            signal = shutdown => return end(&output, signal).await,
        }
        let failed = report.targets_failed > 0 || report.nothing_to_poll || !report.saved;
        Ok(if failed { Exit::Failed } else { Exit::Done })
    });
    // A name that is still being resolved must not keep the program from ending.
    runtime.shutdown_background();
    result
}
