//! `who --until-empty`: waits until nobody is connected, for a restart.

use std::{future, time::Duration};

use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use super::{
    super::{CommandError, Exit, GRACE, closed, counted, runtime},
    ask::{Choice, Chosen, NothingChosen},
    blocks, for_programs,
    look::Look,
    show::{Changes, Show, local_time},
    ticks,
};
use crate::{
    cli::{WhoArgs, WhoOutput},
    config::Config,
    output::{Closed, Output},
    signals,
};

/// Ends with 0 only when every repository service and every target answered in one
/// look, and none had a session.
pub fn until_empty(
    config: &Config,
    choice: Choice,
    show: Show,
    args: &WhoArgs,
) -> Result<Exit, CommandError> {
    let mut wait = Wait {
        chosen: Chosen::new(config, choice, Some(config.polling_interval))?,
        interval: config.polling_interval,
        format: args.output,
        show,
        last: None,
        shown: String::new(),
    };
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let output = Output::stdout()?;
        let shutdown = signals::shutdown()?;
        let end = tokio::select! {
            end = wait.until_empty(&output) => end.unwrap_or(End::NoReader),
            () = output.closed() => End::NoReader,
            signal = shutdown => End::Interrupted(signal),
            time = time_up(args.max_wait) => End::TimeUp(time),
        };
        wait.end(end, &output).await
    });
    runtime.shutdown_background();
    result
}

/// Why the waiting ended.
enum End {
    Empty,
    /// There is nothing to wait for; the text names what there is.
    NothingChosen(String),
    NoReader,
    Interrupted(&'static str),
    TimeUp(Duration),
}

async fn time_up(max_wait: Option<Duration>) -> Duration {
    match max_wait {
        Some(time) => {
            sleep(time).await;
            time
        }
        None => future::pending().await,
    }
}

struct Wait {
    chosen: Chosen,
    interval: Duration,
    format: WhoOutput,
    show: Show,
    last: Option<Look>,
    /// What was shown last.
    shown: String,
}

impl Wait {
    async fn until_empty(&mut self, output: &Output) -> Result<End, Closed> {
        let mut ticks = ticks(self.interval);
        loop {
            ticks.tick().await;
            let answers = match self.chosen.ask().await {
                Ok(answers) => answers,
                Err(NothingChosen(message)) => return Ok(End::NothingChosen(message)),
            };
            let is_first = self.last.is_none();
            let look = Look::new(self.last.take(), answers, Timestamp::now());
            output.send(self.text(&look, is_first).into_bytes()).await?;
            let is_empty = look.is_empty();
            self.last = Some(look);
            if is_empty {
                output.flushed().await?;
                return Ok(End::Empty);
            }
        }
    }

    fn text(&mut self, look: &Look, is_first: bool) -> String {
        if let Some(text) = for_programs(look, self.show, self.format, is_first) {
            return text;
        }
        let totals = format!("{}  {}\n", local_time(look.at), self.left(look));
        let details = self.details(look);
        if details.is_empty() || details == self.shown {
            return totals;
        }
        self.shown.clone_from(&details);
        format!("{totals}\n{details}\n")
    }

    /// Shows who is left, where that changed.
    fn details(&self, look: &Look) -> String {
        blocks(&[self.show.table(look, Changes::Hidden), self.show.failures(look)])
    }

    fn left(&self, look: &Look) -> String {
        if look.is_empty() {
            return self.show.nobody(look);
        }
        let failed = match look.failed().count() {
            0 => String::new(),
            count => format!(
                ", and {} could not be read",
                counted(count, "virtual proxy", "virtual proxies")
            ),
        };
        let unlisted: String = look
            .failed_inquiries
            .iter()
            .map(|failed| {
                format!(", and the repository service {} could not be asked", failed.repository)
            })
            .collect();
        format!("left: {}{failed}{unlisted}", self.show.totals(look))
    }

    async fn end(&self, end: End, output: &Output) -> Result<Exit, CommandError> {
        let why = match end {
            End::Empty => return Ok(Exit::Done),
            End::NothingChosen(message) => return Err(CommandError::NothingSelected(message)),
            End::NoReader => {
                closed(output)?;
                "nobody reads stdout any more".to_owned()
            }
            End::Interrupted(signal) => signal.to_owned(),
            End::TimeUp(time) => {
                format!("the time is up ({})", humantime::format_duration(time))
            }
        };
        let left = match &self.last {
            Some(look) => self.left(look),
            None => "no look was complete".to_owned(),
        };
        tracing::error!("{why}; {left}");
        // The reader has a limited time to read what was shown.
        let _ = timeout(GRACE, output.flushed()).await;
        Ok(Exit::Failed)
    }
}
