//! All targets, in parallel, at every tick.
//!
//! [`Poller::poll`] is one poll: every target is asked within the limits of
//! [`servers`], its answer becomes events at once, and the site's summary
//! comes last. A target that fails delays and spoils no other.

mod schedule;
mod servers;
mod survey;

use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{sync::Semaphore, time::Instant};

pub use schedule::Schedule;
pub use survey::{Surveyed, survey};

use servers::Servers;

use crate::{
    config::{Config, SessionDetails},
    events::{
        Lifetime, Lines, SessionEvent, SessionKeys, SiteCounts, SummaryFacts, TargetEvents,
        TargetKeys, site_summary,
    },
    lifecycle::{Changes, Known, Saved, SavedTarget, StateError, StateFile, TargetId},
    output::{CHUNK_BYTES, Closed, Output},
    proxy::{CredentialsError, Failure},
    snapshot::{People, Reader, Rules, Snapshot},
    target::Target,
};

/// A failing target is logged when it begins to fail, and then at every so many
/// failures.
const LOG_EVERY_FAILURES: u64 = 100;

/// Why polling cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
}

/// How a poll went.
#[derive(Clone, Copy, Debug)]
pub struct PollReport {
    /// Targets that could not be read.
    pub targets_failed: usize,
    /// What was seen is in the state file, where there is one.
    pub saved: bool,
}

/// Polls all targets of a configuration.
pub struct Poller {
    settings: Settings,
    servers: Servers,
    requests: Semaphore,
    targets: Vec<PolledTarget>,
    state: Option<StateFile>,
    /// Saves that failed since the last one that did not.
    saves_failed: u64,
    /// Lines of an earlier run that may not have reached the reader.
    untold: String,
}

/// What a poll needs to know of the configuration.
struct Settings {
    rules: Rules,
    details: SessionDetails,
    lifecycle: bool,
    max_line_bytes: usize,
    interval: Duration,
    /// Changes are saved before they are told.
    keeps_state: bool,
}

struct PolledTarget {
    target: Target,
    id: TargetId,
    keys: TargetKeys,
    /// Which of the servers it is on.
    server: usize,
    known: Known,
    consecutive_failures: u64,
}

/// When a poll began, on both clocks, and when it ends at the latest.
#[derive(Clone, Copy)]
struct PollTime {
    wall: Timestamp,
    start: Instant,
    deadline: Instant,
}

impl PollTime {
    fn now(interval: Duration) -> Self {
        let start = Instant::now();
        // Events have milliseconds; ids and stored times must agree with them.
        let wall =
            Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default();
        // A little earlier than the next tick: an agent that starts `once` at
        // every tick kills what outlives its interval.
        let deadline = start + interval - (interval / 20).min(Duration::from_millis(500));
        Self { wall, start, deadline }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What one target adds to the poll as a whole.
#[derive(Default)]
struct Polled {
    /// Lines that are to be saved before they are sent.
    changes: Vec<u8>,
    failed: bool,
    session_count: usize,
    excluded_session_count: usize,
    people: People,
}

impl Poller {
    /// Loads certificates and the state file. Nothing is asked yet.
    ///
    /// # Errors
    /// Where certificates cannot be used, or the state file is another program's.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let servers = Servers::new(config)?;
        let rules = Rules::new(config);
        let (state, mut saved) = match &config.options.state_file {
            Some(path) => {
                let (state, saved) = StateFile::open(path, rules.names().scheme())?;
                (Some(state), saved)
            }
            None => (None, Saved::default()),
        };
        let targets = config
            .targets
            .iter()
            .map(|target| {
                let id = TargetId::from(target);
                let SavedTarget { known, consecutive_failures } =
                    saved.targets.remove(&id).unwrap_or_default();
                PolledTarget {
                    target: target.clone(),
                    id,
                    keys: TargetKeys::new(target, shares_its_name(target, &config.targets)),
                    server: servers.index_of(&target.server),
                    known,
                    consecutive_failures,
                }
            })
            .collect();
        Ok(Self {
            settings: Settings {
                rules,
                details: config.options.session_details,
                lifecycle: config.options.lifecycle,
                max_line_bytes: config.options.max_line_bytes,
                interval: config.polling_interval,
                keeps_state: state.is_some(),
            },
            servers,
            requests: Semaphore::new(config.options.concurrency),
            targets,
            untold: saved.untold,
            state,
            saves_failed: 0,
        })
    }

    /// Polls every target once and sends the events; `polls_skipped` is told in
    /// the summary.
    ///
    /// # Errors
    /// When stdout is closed.
    pub async fn poll(
        &mut self,
        output: &Output,
        polls_skipped: u64,
    ) -> Result<PollReport, Closed> {
        self.tell_untold(output).await?;
        self.servers.begin_poll();
        let time = PollTime::now(self.settings.interval);
        let Self { settings, servers, requests, targets, .. } = self;
        let polled =
            targets.iter_mut().map(|target| target.poll(settings, servers, requests, time, output));
        let mut site = SiteCounts { polls_skipped, ..SiteCounts::default() };
        let mut changes = Vec::new();
        for told in join_all(polled).await {
            let mut told = told?;
            changes.append(&mut told.changes);
            site.add(told);
        }
        self.tell_changes(changes, output).await?;
        site.certificates = self.servers.certificate_dates();
        let mut lines = Lines::new(self.settings.max_line_bytes);
        site_summary(&mut lines, time.wall, &site, time.elapsed_ms());
        output.send(lines.take()).await?;
        self.servers.warn_of_expiry(time.wall);
        if self.state.is_some() {
            output.flushed().await?;
            self.save("");
        }
        Ok(PollReport { targets_failed: site.targets_failed, saved: self.saves_failed == 0 })
    }

    /// Sends what an earlier run saved and perhaps did not send.
    async fn tell_untold(&mut self, output: &Output) -> Result<(), Closed> {
        let untold = std::mem::take(&mut self.untold);
        if !untold.is_empty() {
            output.send(untold.into_bytes()).await?;
            output.flushed().await?;
            self.save("");
        }
        Ok(())
    }

    /// Saves the changes, then sends them: a crash in between repeats them under
    /// the same ids, and loses none.
    async fn tell_changes(&mut self, changes: Vec<u8>, output: &Output) -> Result<(), Closed> {
        if !changes.is_empty() {
            self.save(&String::from_utf8_lossy(&changes));
            output.send(changes).await?;
        }
        Ok(())
    }

    /// A disk that is full must not keep anybody from seeing who is connected:
    /// a save that fails is said, and polling goes on.
    fn save(&mut self, untold: &str) {
        let Some(state) = &self.state else { return };
        let targets = self
            .targets
            .iter()
            .map(|target| (&target.id, &target.known, target.consecutive_failures));
        match state.save(targets, untold) {
            Ok(()) => self.saves_failed = 0,
            Err(error) => {
                if self.saves_failed.is_multiple_of(LOG_EVERY_FAILURES) {
                    tracing::error!(
                        "{error}; events go on, but a restart would not know what was seen since"
                    );
                }
                self.saves_failed += 1;
            }
        }
    }
}

fn shares_its_name(target: &Target, targets: &[Target]) -> bool {
    targets.iter().any(|other| {
        other.server.name == target.server.name && other.server.proxy != target.server.proxy
    })
}

impl SiteCounts {
    fn add(&mut self, target: Polled) {
        self.targets += 1;
        self.targets_failed += usize::from(target.failed);
        self.session_count += target.session_count;
        self.excluded_session_count += target.excluded_session_count;
        self.people.extend(&target.people);
    }
}

impl PolledTarget {
    async fn poll(
        &mut self,
        settings: &Settings,
        servers: &Servers,
        requests: &Semaphore,
        time: PollTime,
        output: &Output,
    ) -> Result<Polled, Closed> {
        let server = servers.get(self.server);
        let mut reader = Reader::new(&settings.rules);
        if settings.details != SessionDetails::None {
            reader = reader.after(self.known.snapshot());
        }
        let answer =
            server.sessions(&self.target.virtual_proxy, requests, time.deadline, &mut reader).await;
        let facts = SummaryFacts {
            duration_ms: Some(time.elapsed_ms()),
            certificates: server.certificate_dates(),
        };
        match answer.and_then(|()| reader.finish().map_err(|failure| failure.status(200))) {
            Ok(snapshot) => self.answered(snapshot, &facts, settings, time, output).await,
            Err(failure) => self.failed(failure, settings, time, output).await,
        }
    }

    async fn failed(
        &mut self,
        failure: Failure,
        settings: &Settings,
        time: PollTime,
        output: &Output,
    ) -> Result<Polled, Closed> {
        self.consecutive_failures += 1;
        if self.consecutive_failures == 1 {
            tracing::warn!("{}: {failure}", self.target);
        } else if self.consecutive_failures.is_multiple_of(LOG_EVERY_FAILURES) {
            tracing::warn!(
                "{}: failed {} times in a row: {failure}",
                self.target,
                self.consecutive_failures
            );
        } else {
            tracing::debug!("{}: {failure}", self.target);
        }
        let mut lines = Lines::new(settings.max_line_bytes);
        TargetEvents::new(&self.keys, time.wall).error(
            &mut lines,
            &failure,
            Some(time.elapsed_ms()),
            self.consecutive_failures,
        );
        output.send(lines.take()).await?;
        Ok(Polled { failed: true, ..Polled::default() })
    }

    async fn answered(
        &mut self,
        mut snapshot: Snapshot,
        facts: &SummaryFacts,
        settings: &Settings,
        time: PollTime,
        output: &Output,
    ) -> Result<Polled, Closed> {
        if self.consecutive_failures > 0 {
            tracing::info!(
                "{}: answers again after {} failed polls",
                self.target,
                self.consecutive_failures
            );
            self.consecutive_failures = 0;
        }
        let mut teller = Teller {
            events: TargetEvents::new(&self.keys, time.wall),
            lines: Lines::new(settings.max_line_bytes),
            changes: settings.keeps_state.then(|| Lines::new(settings.max_line_bytes)),
            output,
            too_long: 0,
        };
        teller.events.summary(&mut teller.lines, &snapshot, facts);
        let polled = Polled {
            session_count: snapshot.len(),
            excluded_session_count: snapshot.excluded_session_count,
            // They are counted over all targets, and not needed to know sessions again.
            people: std::mem::take(&mut snapshot.people),
            ..Polled::default()
        };
        if settings.details != SessionDetails::None {
            let since = self.known.last_poll().unwrap_or(time.wall);
            let changes = self.known.update(snapshot, time.wall);
            teller.sessions(&self.known, &changes, since, settings).await?;
        }
        if teller.too_long > 0 {
            tracing::warn!(
                "{}: {} session events did not fit `sessionSource.maxLineBytes` and were left out; the counts are right",
                self.target,
                teller.too_long
            );
        }
        output.send(teller.lines.take()).await?;
        Ok(Polled {
            changes: teller.changes.map(|mut changes| changes.take()).unwrap_or_default(),
            ..polled
        })
    }
}

/// Tells the events of one target as they are made, a chunk at a time, so that
/// a long list needs no memory of its own size.
struct Teller<'a> {
    events: TargetEvents<'a>,
    lines: Lines,
    /// Starts and ends, where they have to wait until they are saved.
    changes: Option<Lines>,
    output: &'a Output,
    /// Events that were longer than a line may be.
    too_long: usize,
}

impl Teller<'_> {
    /// `since` is the time of the good answer before.
    async fn sessions(
        &mut self,
        known: &Known,
        changes: &Changes,
        since: Timestamp,
        settings: &Settings,
    ) -> Result<(), Closed> {
        let snapshot_wanted = settings.details == SessionDetails::Snapshot;
        for (place, (session, first_seen)) in known.sessions().enumerate() {
            if session.excluded {
                continue;
            }
            let (keys, attributes) = (SessionKeys::from(session), session.attributes);
            let lifetime = Lifetime { first_seen, last_seen: None, since };
            if settings.lifecycle && changes.has_started(place) {
                self.tell(SessionEvent::Started, keys, attributes, &lifetime);
            }
            if snapshot_wanted {
                self.tell(SessionEvent::Session, keys, attributes, &lifetime);
            }
            self.send_chunk().await?;
        }
        if settings.lifecycle {
            for (keys, first_seen) in changes.gone() {
                let lifetime = Lifetime { first_seen, last_seen: Some(since), since };
                self.tell(SessionEvent::Ended, keys, None, &lifetime);
                self.send_chunk().await?;
            }
        }
        Ok(())
    }

    fn tell(
        &mut self,
        event: SessionEvent,
        keys: SessionKeys<'_>,
        attributes: Option<&crate::snapshot::Attributes>,
        lifetime: &Lifetime<'_>,
    ) {
        let lines = match &mut self.changes {
            Some(changes) if event != SessionEvent::Session => changes,
            _ => &mut self.lines,
        };
        if !self.events.session(lines, event, keys, attributes, Some(lifetime)) {
            self.too_long += 1;
        }
    }

    /// Sends the lines so far, where there are enough of them.
    async fn send_chunk(&mut self) -> Result<(), Closed> {
        if self.lines.len() >= CHUNK_BYTES {
            self.output.send(self.lines.take()).await?;
        }
        Ok(())
    }
}
