//! `demo --record`: the events of days that the simulated site has behind it, as
//! `stream` would have written them.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use fastrand::Rng;
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use super::super::{CommandError, Exit, time_zone};
use crate::{
    cli::{DemoArgs, RecordDetails},
    config::Config,
    events::{Lines, SessionEvent, SiteFacts, SummaryFacts, TargetEvents, site_summary},
    lifecycle::{Changes, Known, TargetId},
    output::{CHUNK_BYTES, PatientStdout},
    poll::is_same_slot,
    proxy::{Category, Failure},
    site::{Outage, OutageKind, Past, PastOptions, SimulatedSession, recorded_config},
    snapshot::{Rules, Snapshot},
    target::TargetKeys,
};

/// Time between polls: a month of them is a file of some 100 MB at most.
const INTERVAL: Duration = Duration::from_secs(5 * 60);
/// As long as `keyframeInterval` where nobody sets it.
const KEYFRAME_INTERVAL: Duration = Duration::from_secs(60 * 60);

pub fn record(args: &DemoArgs, days: u16) -> Result<Exit, CommandError> {
    let zone = time_zone(args.timezone.as_deref())?;
    let first = match args.from {
        Some(date) => date,
        None => days_ago(days, &zone)?,
    };
    let seed = args.seed.unwrap_or(1);
    let interval = args.interval.unwrap_or(INTERVAL);
    let past = Past::new(&PastOptions { first, days, zone, interval, seed })
        .map_err(|error| CommandError::Usage(error.to_string()))?;
    let mut recorder = Recorder::new(args.session_details.unwrap_or_default(), seed)?;
    recorder.write(&past, &mut BufWriter::with_capacity(CHUNK_BYTES, PatientStdout::new()))?;
    Ok(Exit::Done)
}

fn days_ago(days: u16, zone: &TimeZone) -> Result<Date, CommandError> {
    let first = zone.to_datetime(Timestamp::now()).date().checked_sub(i64::from(days).days());
    first.map_err(|error| CommandError::Usage(error.to_string()))
}

/// Turns a past into events.
struct Recorder {
    details: RecordDetails,
    config: Config,
    rules: Rules,
    targets: Vec<RecordedTarget>,
    /// Decides durations, which only a clock would know.
    random: Rng,
    lines: Lines,
    /// Starts and ends of this poll.
    changes: Lines,
    /// Those of the polls before, which a restart sends again.
    recent: Vec<(Timestamp, Vec<u8>)>,
}

struct RecordedTarget {
    keys: TargetKeys,
    /// Each target's name, as it goes into the ids of events.
    name: String,
    known: Known,
    consecutive_failures: u64,
}

impl Recorder {
    fn new(details: RecordDetails, seed: u64) -> Result<Self, CommandError> {
        let config = Config::parse(Path::new("demo.yaml"), &recorded_config())?;
        let targets = config
            .targets
            .iter()
            .map(|target| RecordedTarget {
                keys: TargetKeys::new(target, false),
                name: TargetId::from(target).to_string(),
                known: Known::default(),
                consecutive_failures: 0,
            })
            .collect();
        Ok(Self {
            details,
            rules: Rules::new(&config, None),
            targets,
            random: Rng::with_seed(seed),
            lines: Lines::new(config.options.max_line_bytes),
            changes: Lines::new(config.options.max_line_bytes),
            recent: Vec::new(),
            config,
        })
    }

    fn write(&mut self, past: &Past, out: &mut impl Write) -> io::Result<()> {
        let mut restarts = past.restarts.iter().peekable();
        let mut coming = past.visits.iter().peekable();
        let mut there = Vec::new();
        for &time in &past.polls {
            if restarts.next_if(|&&restart| restart <= time).is_some() {
                self.send_recent_again(out)?;
            }
            while let Some(visit) = coming.next_if(|visit| visit.from <= time) {
                there.push(visit);
            }
            there.retain(|visit| visit.to > time);
            let mut site = SiteFacts::default();
            for number in 0..self.targets.len() {
                let failed = past.outage(number, time);
                let sessions = there.iter().filter(|visit| visit.target == number);
                match failed {
                    Some(outage) => self.failed(number, time, outage),
                    None => {
                        let sessions: Vec<_> = sessions.map(|visit| &visit.session).collect();
                        self.answered(number, time, &sessions, &mut site)?;
                    }
                }
                site.targets.push((self.targets[number].name.clone(), failed.is_some()));
                site.duration_ms = site.duration_ms.max(self.random.u64(6..30));
                out.write_all(&self.lines.take())?;
            }
            self.end_poll(time, &site, out)?;
        }
        out.flush()
    }

    fn failed(&mut self, number: usize, time: Timestamp, outage: &Outage) {
        let (failure, duration) = match outage.kind {
            OutageKind::NoAnswer => (
                Failure::new(Category::Timeout, "no complete answer within 5s")
                    .hint("is the Qlik Sense Proxy Service overloaded or starting?"),
                self.random.u64(5_000..5_010),
            ),
            OutageKind::Stopped => (
                Failure::new(Category::ConnectionRefused, "Connection refused (os error 111)")
                    .hint("is the Qlik Sense Proxy Service running?"),
                self.random.u64(1..4),
            ),
        };
        let target = &mut self.targets[number];
        target.consecutive_failures += 1;
        TargetEvents::new(&target.keys, None, time).error(
            &mut self.lines,
            &failure,
            Some(duration),
            target.consecutive_failures,
        );
    }

    fn answered(
        &mut self,
        number: usize,
        time: Timestamp,
        sessions: &[&SimulatedSession],
        site: &mut SiteFacts,
    ) -> io::Result<()> {
        let mut body = serde_json::to_vec(sessions)?;
        let snapshot = Snapshot::read(&mut body, &self.rules)
            .map_err(|failure| io::Error::other(failure.to_string()))?;
        let target = &mut self.targets[number];
        target.consecutive_failures = 0;
        let keyframe =
            self.details == RecordDetails::Changes && keyframe_is_due(&target.known, time);
        let facts = SummaryFacts {
            keyframe,
            duration_ms: Some(self.random.u64(3..25)),
            users_are_shown: true,
            ..SummaryFacts::default()
        };
        let changes = target.known.update(&snapshot, time);
        if keyframe {
            target.known.last_keyframe = Some(time);
        }
        TargetEvents::new(&target.keys, None, time).summary(&mut self.lines, &snapshot, &facts);
        self.sessions(number, time, &snapshot, &changes, keyframe);
        site.session_count += snapshot.sessions.len();
        site.users.extend(snapshot.users);
        site.keyframe |= keyframe;
        Ok(())
    }

    fn sessions(
        &mut self,
        number: usize,
        time: Timestamp,
        snapshot: &Snapshot<'_>,
        changes: &Changes,
        keyframe: bool,
    ) {
        let events = TargetEvents::new(&self.targets[number].keys, None, time);
        let (since, id_time) = (changes.since, Some(changes.since));
        let seen = || snapshot.sessions.iter().zip(&changes.seen);
        if self.details == RecordDetails::Grouped {
            events.groups(
                &mut self.lines,
                seen().map(|(session, seen)| (session, seen.map(|(seen, _)| seen))),
            );
        }
        for (session, seen) in seen() {
            let is_new = seen.is_some_and(|(_, is_new)| is_new);
            let seen = seen.map(|(seen, _)| seen);
            if is_new {
                let started = SessionEvent::Started { since: id_time };
                events.session(&mut self.changes, started, session, seen);
            }
            if keyframe || self.details == RecordDetails::Snapshot {
                events.session(&mut self.lines, SessionEvent::Session, session, seen);
            }
        }
        for ended in &changes.ended {
            events.ended(&mut self.changes, ended, since, id_time);
        }
    }

    fn end_poll(
        &mut self,
        time: Timestamp,
        site: &SiteFacts,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let changes = self.changes.take();
        out.write_all(&changes)?;
        let keep_from = time - 5.minutes();
        self.recent.retain(|(time, _)| *time >= keep_from);
        self.recent.push((time, changes));
        site_summary(&mut self.lines, None, time, site, self.config.options.session_limit, true);
        out.write_all(&self.lines.take())
    }

    /// A program that starts again cannot know whether its last lines arrived.
    fn send_recent_again(&mut self, out: &mut impl Write) -> io::Result<()> {
        for (_, lines) in &self.recent {
            out.write_all(lines)?;
        }
        Ok(())
    }
}

fn keyframe_is_due(known: &Known, now: Timestamp) -> bool {
    known.last_keyframe.is_none_or(|last| !is_same_slot(last, now, KEYFRAME_INTERVAL))
}
