//! What happened on the simulated site in the last days: for `demo --record`, and
//! for tests that know the truth.
//!
//! A [`Past`] holds plain facts: who was connected from when to when, when the poller
//! polled, and when nodes did not answer. So a test can count them without any event.

use std::{ops::Range, time::Duration};

use fastrand::Rng;
use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};

use super::{
    SimulatedSession,
    population::{STAFF, new_session},
};

/// The virtual proxies: server, prefix.
pub const TARGETS: &[(&str, &str)] =
    &[("sense1", "/"), ("sense1", "/sales"), ("sense2", "/"), ("sense2", "/hr")];

/// The user that makes reports for others, every night.
const NIGHT_JOB: (&str, &str) = ("LAB", "svc_printing");
/// The user who opens everything at once on Mondays.
const IMPATIENT: usize = 4;
/// Qlik Sense allows a user so many sessions in parallel.
const MOST_SESSIONS: u32 = 5;
/// A closed browser stays a session for so long.
const INACTIVITY_MINUTES: u32 = 30;
/// When a poll begins after a whole second: clocks are never exact.
const POLL_OFFSET: SignedDuration = SignedDuration::from_millis(412);

/// The configuration of a poller of this site. Nothing listens at its addresses.
pub fn recorded_config() -> String {
    let mut text = "Butler-SOS:
  cert: {clientCert: client.pem, clientCertKey: client_key.pem, clientCertCA: root.pem}
  userSessions: {enableSessionExtract: true}
  serversToMonitor:
    servers:
"
    .to_owned();
    for server in TARGETS.chunk_by(|a, b| a.0 == b.0) {
        let name = server[0].0;
        let prefixes: Vec<String> =
            server.iter().map(|(_, prefix)| format!("{{virtualProxy: {prefix}}}")).collect();
        text.push_str(&format!(
            "      - host: {name}.example.com:4747
        serverName: {name}
        serverDescription: Simulated node {name}
        serverTags: {{environment: demo}}
        userSessions:
          enable: true
          host: {name}.example.com:4243
          virtualProxies: [{}]
",
            prefixes.join(", ")
        ));
    }
    text
}

/// What happened, as plain facts.
#[derive(Debug)]
pub struct Past {
    /// In order of their starts.
    pub visits: Vec<Visit>,
    /// When every target was polled.
    pub polls: Vec<Timestamp>,
    /// When targets did not answer.
    pub outages: Vec<Outage>,
    /// When the poller was started again.
    pub restarts: Vec<Timestamp>,
}

/// A session, and when it was there.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Which of [`TARGETS`].
    pub target: usize,
    /// The session.
    pub session: SimulatedSession,
    /// A poll at this time finds it.
    pub from: Timestamp,
    /// A poll at this time does not.
    pub to: Timestamp,
}

/// A node that did not answer.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Its name.
    pub server: &'static str,
    /// From when.
    pub from: Timestamp,
    /// Until when, this time excluded.
    pub to: Timestamp,
    /// What the poller saw.
    pub kind: OutageKind,
}

/// What an outage looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageKind {
    /// The node hangs.
    NoAnswer,
    /// Its services are stopped.
    Stopped,
}

/// What a past is made of. The same facts make the same past.
#[derive(Clone, Debug)]
pub struct PastOptions {
    /// The first day.
    pub first: Date,
    /// How many days.
    pub days: u16,
    /// Where they begin, and where people live.
    pub zone: TimeZone,
    /// Time between polls.
    pub interval: Duration,
    /// For what is left to chance.
    pub seed: u64,
}

impl Past {
    /// Makes up a past: office hours, weekends, a node that hangs for a morning, a
    /// poller that rests, a restart at a weekend.
    ///
    /// # Errors
    /// Where the days are beyond the end of the calendar.
    pub fn new(options: &PastOptions) -> Result<Self, jiff::Error> {
        let days: Vec<Date> = (0..options.days)
            .map(|day| options.first.checked_add(i64::from(day).days()))
            .collect::<Result<_, _>>()?;
        let clock = Clock { zone: &options.zone };
        let outages = outages(&days, &clock)?;
        let rest = rest(&days, &clock)?;
        let mut people =
            People { clock: &clock, random: Rng::with_seed(options.seed), visits: Vec::new() };
        for &day in &days {
            people.come(day)?;
        }
        let visits = people.visits.into_iter().filter_map(|visit| meet(visit, &outages));
        let mut visits: Vec<Visit> = visits.collect();
        visits.sort_by_key(|visit| visit.from);
        let polls = polls(&days, &clock, options.interval, rest.as_ref())?;
        let restarts = rest.map(|rest| rest.end).into_iter().collect();
        Ok(Self { visits, polls, outages, restarts })
    }

    /// The outage because of which a target did not answer, if there was one.
    pub fn outage(&self, target: usize, time: Timestamp) -> Option<&Outage> {
        self.outages.iter().find(|outage| {
            outage.server == TARGETS[target].0 && (outage.from..outage.to).contains(&time)
        })
    }
}

/// What the clocks show there.
struct Clock<'z> {
    zone: &'z TimeZone,
}

impl Clock<'_> {
    /// So many minutes after midnight.
    fn at(&self, day: Date, minutes: u32) -> Result<Timestamp, jiff::Error> {
        let midnight = day.to_datetime(Time::midnight());
        self.zone.to_timestamp(midnight.checked_add(i64::from(minutes).minutes())?)
    }
}

/// People who come and go.
struct People<'c> {
    clock: &'c Clock<'c>,
    random: Rng,
    visits: Vec<Visit>,
}

impl People<'_> {
    fn come(&mut self, day: Date) -> Result<(), jiff::Error> {
        for person in 0..STAFF.len() {
            if is_weekend(day) {
                self.look_in(day, person)?;
            } else if self.random.u32(..100) < 82 {
                self.work(day, person)?;
            }
        }
        let target = self.random.usize(..2);
        let (start, length) = (120 + self.random.u32(..20), 25 + self.random.u32(..30));
        self.add(day, NIGHT_JOB, target, start, length)
    }

    fn look_in(&mut self, day: Date, person: usize) -> Result<(), jiff::Error> {
        if self.random.u32(..100) >= 5 {
            return Ok(());
        }
        let (start, length) = (9 * 60 + self.random.u32(..600), 20 + self.random.u32(..70));
        self.add(day, STAFF[person], home(person), start, length)
    }

    fn work(&mut self, day: Date, person: usize) -> Result<(), jiff::Error> {
        let mut start = 7 * 60 + 20 + self.random.u32(..80) + self.random.u32(..60);
        let leaves = 15 * 60 + 30 + self.random.u32(..160);
        if person == IMPATIENT && day.weekday() == Weekday::Monday {
            for number in 0..MOST_SESSIONS {
                let length = 90 + self.random.u32(..60);
                self.add(day, STAFF[person], home(person), start + 3 * number, length)?;
            }
            start += 240;
        }
        while start < leaves {
            let length = 10 + self.random.u32(..90) + self.random.u32(..60);
            let elsewhere = self.random.usize(..4) == 0;
            let target = if elsewhere { self.random.usize(..TARGETS.len()) } else { home(person) };
            self.add(day, STAFF[person], target, start, length + INACTIVITY_MINUTES)?;
            start += length + self.random.u32(5..90);
            // Nobody begins anything in the lunch break.
            if (12 * 60..13 * 60).contains(&start) {
                start = 13 * 60 + self.random.u32(..30);
            }
        }
        Ok(())
    }

    /// `start` and `length` are minutes.
    fn add(
        &mut self,
        day: Date,
        (directory, id): (&str, &str),
        target: usize,
        start: u32,
        length: u32,
    ) -> Result<(), jiff::Error> {
        let from = self.clock.at(day, start)?;
        let to = from.checked_add(i64::from(length).minutes())?;
        let session = new_session(&mut self.random, directory, id);
        self.visits.push(Visit { target, session, from, to });
        Ok(())
    }
}

/// The virtual proxy that a person mostly works on.
fn home(person: usize) -> usize {
    person % TARGETS.len()
}

fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}

fn working_days(days: &[Date]) -> Vec<Date> {
    days.iter().copied().filter(|&day| !is_weekend(day)).collect()
}

fn outages(days: &[Date], clock: &Clock<'_>) -> Result<Vec<Outage>, jiff::Error> {
    let mut outages = Vec::new();
    let mut add = |server, day, from, to, kind| {
        let (from, to) = (clock.at(day, from)?, clock.at(day, to)?);
        outages.push(Outage { server, from, to, kind });
        Ok::<_, jiff::Error>(())
    };
    let working = working_days(days);
    if let Some(&day) = working.get(working.len() * 2 / 3) {
        add("sense2", day, 10 * 60 + 10, 12 * 60 + 25, OutageKind::NoAnswer)?;
    }
    let mut saturdays = days.iter().filter(|day| day.weekday() == Weekday::Saturday);
    if let Some(&day) = saturdays.nth(days.len() / 14) {
        add("sense1", day, 22 * 60, 22 * 60 + 20, OutageKind::Stopped)?;
    }
    Ok(outages)
}

/// From when to when the poller rested, as far as it did.
fn rest(days: &[Date], clock: &Clock<'_>) -> Result<Option<Range<Timestamp>>, jiff::Error> {
    let working = working_days(days);
    let Some(&day) = working.get(working.len() / 3) else { return Ok(None) };
    Ok(Some(clock.at(day, 14 * 60 + 31)?..clock.at(day, 16 * 60)?))
}

/// Applies the outages to a visit: they end it, and a user who comes during an outage goes
/// to the other node, or not at all.
fn meet(mut visit: Visit, outages: &[Outage]) -> Option<Visit> {
    let server = TARGETS[visit.target].0;
    for outage in outages.iter().filter(|outage| outage.server == server) {
        if (outage.from..outage.to).contains(&visit.from) {
            if outage.kind == OutageKind::Stopped {
                return None;
            }
            visit.target = 0;
        } else if visit.from < outage.from {
            visit.to = visit.to.min(outage.from);
        }
    }
    Some(visit)
}

fn polls(
    days: &[Date],
    clock: &Clock<'_>,
    interval: Duration,
    rest: Option<&Range<Timestamp>>,
) -> Result<Vec<Timestamp>, jiff::Error> {
    let (Some(&first), Some(&last)) = (days.first(), days.last()) else { return Ok(Vec::new()) };
    let end = clock.at(last.tomorrow()?, 0)?;
    let interval = SignedDuration::try_from(interval)?;
    let mut time = clock.at(first, 0)?.checked_add(POLL_OFFSET)?;
    let mut polls = Vec::new();
    while time < end {
        if !rest.is_some_and(|rest| rest.contains(&time)) {
            polls.push(time);
        }
        time = time.checked_add(interval)?;
    }
    Ok(polls)
}
