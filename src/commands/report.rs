//! `report`: recorded events as a page for a browser, or its numbers.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use super::{CommandError, Exit, counted, time_zone};
use crate::{
    cli::{ReportArgs, ReportOutput},
    report::{
        input::{Progress, Source, read_records},
        render,
        totals::{Question, Report, Store, Time, count},
    },
};

pub fn run(args: &ReportArgs) -> Result<Exit, CommandError> {
    let question = question(args)?;
    let mut store = Store::new(args.site.clone());
    let mut progress = Progress::default();
    let mut exit = Exit::Done;
    for path in &args.files {
        let source = Source::new(path);
        if let Err(error) = read_records(&source, &mut progress, |record| store.add_line(record)) {
            tracing::error!("{source} cannot be read to the end: {error}");
            exit = Exit::Failed;
        }
    }
    check_sites(&store, args)?;
    warn_of_lines(&store);
    let report = count(&store, &question);
    check_server(&report, &store, args)?;
    match &args.file {
        Some(path) => write_file(&report, &question.zone, args.output, path)?,
        None => write(&report, &question.zone, args.output, &mut io::stdout().lock())?,
    }
    Ok(exit)
}

fn question(args: &ReportArgs) -> Result<Question, CommandError> {
    let zone = time_zone(args.timezone.as_deref())?;
    let time = |text: &Option<String>, end: DayEnd| {
        text.as_deref().map(|text| parse_time(text, &zone, end)).transpose()
    };
    let question = Question {
        from: time(&args.from, DayEnd::No)?,
        to: time(&args.to, DayEnd::Yes)?,
        at: time(&args.at, DayEnd::No)?,
        server: args.server.clone(),
        no_users: args.no_users,
        zone: zone.clone(),
    };
    if question.from.zip(question.to).is_some_and(|(from, to)| from >= to) {
        return Err(CommandError::Usage("--from is not before --to".to_owned()));
    }
    Ok(question)
}

/// Which end of the day a date alone means: `--to 2026-11-30` includes the 30th.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DayEnd {
    No,
    Yes,
}

/// A time with its offset, or a local one, or a date.
fn parse_time(text: &str, zone: &TimeZone, end: DayEnd) -> Result<Time, CommandError> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let wrong = || {
        CommandError::Usage(format!(
            "`{text}` is not a time; expected `2026-11-23`, `2026-11-23T17:34` or `2026-11-23T17:34:00Z`"
        ))
    };
    let is_date = !text.contains(['T', 't', ' ', ':']);
    let local = if is_date {
        let date: Date = text.parse().map_err(|_| wrong())?;
        let date = if end == DayEnd::Yes { date.tomorrow().map_err(|_| wrong())? } else { date };
        date.to_datetime(jiff::civil::Time::midnight())
    } else {
        text.parse::<DateTime>().map_err(|_| wrong())?
    };
    Ok(zone.to_timestamp(local).map_err(|_| wrong())?.as_millisecond())
}

/// Refuses events of several sites: users of two sites may have the same name, so they
/// are not added up.
fn check_sites(store: &Store, args: &ReportArgs) -> Result<(), CommandError> {
    let names = || store.sites.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match &args.site {
        None if store.sites.len() > 1 => Err(CommandError::Usage(format!(
            "the events come from several sites; choose one with --site: {}",
            names()
        ))),
        Some(site) if !store.sites.contains(site) => Err(CommandError::Usage(format!(
            "no event comes from the site `{site}`; there are: {}",
            names()
        ))),
        _ => Ok(()),
    }
}

fn check_server(report: &Report, store: &Store, args: &ReportArgs) -> Result<(), CommandError> {
    let Some(server) = &args.server else { return Ok(()) };
    let mut names: Vec<&str> = store.targets.iter().map(|t| t.server_name.as_str()).collect();
    if report.at.is_none() || names.iter().any(|name| name.eq_ignore_ascii_case(server)) {
        return Ok(());
    }
    names.sort_unstable();
    names.dedup();
    Err(CommandError::Usage(format!(
        "no server is called `{server}`; there are: {}",
        names.join(", ")
    )))
}

fn warn_of_lines(store: &Store) {
    let lines = &store.lines;
    let counted = |number: u64| counted(number as usize, "line", "lines");
    if lines.not_events > 0 {
        tracing::warn!("{} left out that are not events", counted(lines.not_events));
    }
    if lines.events == 0 {
        tracing::warn!("the input holds no events");
    }
}

fn write(
    report: &Report,
    zone: &TimeZone,
    output: ReportOutput,
    out: &mut impl Write,
) -> io::Result<()> {
    match output {
        ReportOutput::Html => render::write_html(report, zone, out)?,
        ReportOutput::Json => render::write_json(report, out)?,
        ReportOutput::Csv => render::write_csv(report, out)?,
    }
    out.flush()
}

fn write_file(
    report: &Report,
    zone: &TimeZone,
    output: ReportOutput,
    path: &Path,
) -> Result<(), CommandError> {
    let written =
        File::create(path).and_then(|file| write(report, zone, output, &mut BufWriter::new(file)));
    written.map_err(|error| {
        let text = format!("{} cannot be written: {error}", path.display());
        io::Error::new(error.kind(), text).into()
    })
}
