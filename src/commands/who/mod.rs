//! `who`: who is connected now, for people: once, again and again, or until nobody is.

mod look;
mod screen;
mod show;
mod wait;
mod watch;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::{
    look::Look,
    show::{Changes, Show},
};
use super::{CommandError, Exit, load, runtime};
use crate::{
    cli::{WhoArgs, WhoOutput},
    config::Config,
    output::PatientStdout,
    poll::{StartError, Survey},
    target::{Target, VirtualProxy},
};

pub fn run(args: &WhoArgs) -> Result<Exit, CommandError> {
    let nothing = if args.until_empty { Exit::Config } else { Exit::Done };
    let Some(mut config) = load(&args.config.config)? else { return Ok(nothing) };
    choose_targets(&mut config, args).map_err(|message| {
        if args.until_empty {
            CommandError::NothingSelected(message)
        } else {
            CommandError::Usage(message)
        }
    })?;
    // People see the sessions of excluded users as a count beside the others.
    config.options.excluded_users_count = false;
    let show =
        Show { session_limit: config.options.session_limit, width: None, most_rows: usize::MAX };
    if args.until_empty {
        return wait::until_empty(&config, show, args);
    }
    match args.watch {
        Some(every) => {
            watch::watch(&config, show, args.output, every.unwrap_or(config.polling_interval))
        }
        None => once(&config, show, args.output),
    }
}

fn once(config: &Config, show: Show, output: WhoOutput) -> Result<Exit, CommandError> {
    let mut survey = Survey::new(config, None).map_err(StartError::from)?;
    let runtime = runtime()?;
    let answers = runtime.block_on(survey.ask());
    runtime.shutdown_background();
    let look = Look::new(None, answers, Timestamp::now());
    let mut stdout = PatientStdout::new();
    match output {
        WhoOutput::Table => stdout.write_all(table_and_totals(&look, show).as_bytes())?,
        WhoOutput::Json => stdout.write_all(show.json(&look, true).as_bytes())?,
        WhoOutput::Csv => {
            stdout.write_all(show::csv(&look, false, true).as_bytes())?;
            io::stderr().write_all(show.failures(&look).as_bytes())?;
        }
    }
    Ok(if look.failed().next().is_none() { Exit::Done } else { Exit::Failed })
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

/// One of many looks as programs read it, one to a line or with its time in each row;
/// none where it is for people.
fn for_programs(look: &Look, show: Show, output: WhoOutput, is_first: bool) -> Option<String> {
    match output {
        WhoOutput::Table => None,
        WhoOutput::Json => Some(show.json(look, false)),
        WhoOutput::Csv => {
            // Nobody may be there to read that.
            let _ = io::stderr().write_all(show.failures(look).as_bytes());
            Some(show::csv(look, true, is_first))
        }
    }
}

/// When to look: now and at every interval; ticks that pass during a look are left out.
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

/// Leaves only what `--server` and `--virtual-proxy` name.
fn choose_targets(config: &mut Config, args: &WhoArgs) -> Result<(), String> {
    let known = |name: fn(&Target) -> String, targets: &[Target]| {
        targets.iter().map(name).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    if let Some(name) = &args.server {
        let servers = known(|target| target.server.name.clone(), &config.targets);
        config.targets.retain(|target| {
            let server = &target.server;
            [&server.name, &server.host, &server.proxy.host]
                .iter()
                .any(|own| own.eq_ignore_ascii_case(name))
        });
        if config.targets.is_empty() {
            return Err(format!("no server is called `{name}`; there are: {servers}"));
        }
    }
    if let Some(prefix) = &args.virtual_proxy {
        let prefixes = known(|target| target.virtual_proxy.to_string(), &config.targets);
        let wanted = VirtualProxy::new(prefix);
        config.targets.retain(|target| target.virtual_proxy == wanted);
        if config.targets.is_empty() {
            return Err(format!("no virtual proxy `{wanted}`; there are: {prefixes}"));
        }
    }
    Ok(())
}
