//! `who`: who is connected now, for people: once, again and again, or until nobody is.

mod ask;
mod look;
mod screen;
mod show;
mod wait;
mod watch;

use std::{
    io::{self, Write},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::{
    ask::{Choice, Chosen, NothingChosen},
    look::Look,
    show::{Changes, Show},
};
use super::{CommandError, Exit, load, runtime};
use crate::{
    cli::{WhoArgs, WhoOutput},
    config::Config,
    output::PatientStdout,
};

pub fn run(args: &WhoArgs) -> Result<Exit, CommandError> {
    let nothing = if args.until_empty { Exit::Config } else { Exit::Done };
    let Some(mut config) = load(&args.config.config)? else { return Ok(nothing) };
    let choice = Choice::new(args);
    if config.discovery.sources.is_empty() {
        // Certificates of servers that are not chosen do not matter.
        config.targets = choice.of(config.targets, &[]).map_err(|NothingChosen(message)| {
            if args.until_empty {
                CommandError::NothingSelected(message)
            } else {
                CommandError::Usage(message)
            }
        })?;
    }
    // Sessions of excluded users are shown as a count beside the others.
    config.options.excluded_users_count = false;
    let show =
        Show { session_limit: config.options.session_limit, width: None, most_rows: usize::MAX };
    if args.until_empty {
        return wait::until_empty(&config, choice, show, args);
    }
    match args.watch {
        Some(every) => {
            let every = every.unwrap_or(config.polling_interval);
            watch::watch(&config, choice, show, args.output, every)
        }
        None => once(&config, choice, show, args.output),
    }
}

fn once(
    config: &Config,
    choice: Choice,
    show: Show,
    output: WhoOutput,
) -> Result<Exit, CommandError> {
    let mut chosen = Chosen::new(config, choice, None)?;
    let runtime = runtime()?;
    let answers = runtime.block_on(chosen.ask());
    runtime.shutdown_background();
    let look = Look::new(None, answers?, Timestamp::now());
    let mut stdout = PatientStdout::new();
    match output {
        WhoOutput::Table => stdout.write_all(table_and_totals(&look, show).as_bytes())?,
        WhoOutput::Json => stdout.write_all(show.json(&look, true).as_bytes())?,
        WhoOutput::Csv => {
            stdout.write_all(show::csv(&look, false, true).as_bytes())?;
            io::stderr().write_all(show.failures(&look).as_bytes())?;
        }
    }
    Ok(if look.is_complete() { Exit::Done } else { Exit::Failed })
}

fn table_and_totals(look: &Look, show: Show) -> String {
    let totals = format!("{}\n", show.totals(look));
    blocks(&[
        show.table(look, Changes::Hidden),
        show.users_at_limit(look),
        totals,
        show.failures(look),
    ])
}

/// One of many looks for programs: a line of JSON, or CSV with the time in each row.
/// None where the output is for people.
fn for_programs(look: &Look, show: Show, output: WhoOutput, is_first: bool) -> Option<String> {
    match output {
        WhoOutput::Table => None,
        WhoOutput::Json => Some(show.json(look, false)),
        WhoOutput::Csv => {
            // Nobody may read stderr either.
            let _ = io::stderr().write_all(show.failures(look).as_bytes());
            Some(show::csv(look, true, is_first))
        }
    }
}

/// When to look: now and at every interval. Ticks during a look are left out.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Texts with an empty line between them, without those that are empty.
fn blocks(texts: &[String]) -> String {
    let there: Vec<&str> =
        texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    there.join("\n")
}

/// For `who`, a name that does not exist is a wrong argument.
impl From<NothingChosen> for CommandError {
    fn from(NothingChosen(message): NothingChosen) -> Self {
        Self::Usage(message)
    }
}
