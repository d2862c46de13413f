//! All targets, in parallel, at every tick.
//!
//! [`Poller::poll`] is one poll: every target is asked within the limits of
//! `servers.rs`, its answer becomes events at once, and the site's summary
//! comes last. A target that fails does not delay or spoil others.

mod inquiries;
mod schedule;
mod servers;
mod shared;
mod survey;
mod target;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

pub use inquiries::FailedInquiry;
pub use schedule::{Schedule, Tick, is_same_slot, last_multiple};
pub use servers::client_settings;
pub use shared::{SHARED_SESSIONS_HINT, SharedSessions};
pub use survey::{Survey, Surveyed};

use inquiries::{Asked, Inquiries};
use servers::Servers;
use target::{PolledTarget, TargetResult};

use crate::{
    config::{Config, SessionDetails},
    events::{Lines, Reason, SiteFacts, TargetEvents, site_summary},
    lifecycle::{
        Known, RecentChanges, Saved, SavedTarget, SiteState, StateError, StateFile, TargetId,
    },
    output::{Closed, Output},
    proxy::{CredentialsError, Deadline},
    snapshot::{Names, Rules},
    target::{Target, TargetKeys},
};

/// What fails again and again is logged at the first failure, and then once in so
/// many failures.
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

/// Which of the two commands polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For ever: starts and ends of an earlier run are sent again.
    Stream,
    /// Once: they are sent again only where `retellFor` is set; otherwise each run would
    /// repeat them.
    Once,
}

/// How far back `stream` sends starts and ends again.
const RETELL_FOR: Duration = Duration::from_secs(5 * 60);

/// How a poll went.
#[derive(Clone, Copy, Debug)]
pub struct PollReport {
    /// Targets that could not be read.
    pub targets_failed: usize,
    /// What was seen is in the state file, where there is one.
    pub saved: bool,
    /// There was nothing to poll: the repository service never listed anything.
    pub nothing_to_poll: bool,
}

/// Polls all targets of a configuration.
pub struct Poller {
    settings: Settings,
    servers: Servers,
    /// None before the first poll.
    targets: Vec<PolledTarget>,
    inquiries: Inquiries,
    /// What an earlier run saved of targets that are not polled, or not yet.
    unclaimed: HashMap<TargetId, SavedTarget>,
    /// The targets are known: what comes from now on is added.
    knows_targets: bool,
    /// Whether it was logged that there is nothing to poll yet.
    waits: bool,
    state: Option<StateFile>,
    /// Saves that failed since the last one that did not.
    saves_failed: u64,
    /// Lines of an earlier run that may not have reached the reader.
    pending: String,
    /// Servers that show the same sessions, as far as that is logged.
    logged_as_shared: HashSet<(String, String)>,
    /// Starts and ends of the last polls, to be sent again by the next run.
    recent: Vec<RecentChanges>,
    /// When the last keyframe of the site was.
    last_keyframe: Option<Timestamp>,
}

/// What a poll needs to know.
struct Settings {
    config: Config,
    rules: Rules,
    /// What one request may take.
    request: Duration,
    /// Changes are saved before they are sent.
    keeps_state: bool,
    /// How far back starts and ends are kept to be sent again.
    retell_for: Duration,
    /// Other users are excluded than when the state was saved.
    exclusions_changed: bool,
}

impl Settings {
    /// Returns whether a keyframe is due that had its last at this time.
    fn keyframe_is_due(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        self.config.options.session_details == SessionDetails::Changes
            && last.is_none_or(|last| {
                self.config
                    .options
                    .keyframe_interval
                    .is_some_and(|interval| !is_same_slot(last, now, interval))
            })
    }
}

/// When a poll began, on both clocks, and when its requests end at the latest.
#[derive(Clone, Copy)]
struct PollTime {
    wall: Timestamp,
    start: Instant,
    deadline: Deadline,
}

impl PollTime {
    fn now(settings: &Settings, stamp: Option<Timestamp>) -> Self {
        let start = Instant::now();
        // Events have milliseconds; ids and stored times must agree with them.
        let wall = stamp.unwrap_or_else(|| {
            Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default()
        });
        // A little earlier than the next tick: an agent that starts `once` at
        // every tick kills what outlives its interval.
        let margin = (settings.config.polling_interval / 20).min(Duration::from_millis(500));
        let deadline = Deadline {
            poll_ends: start + settings.config.polling_interval - margin,
            request: settings.request,
        };
        Self { wall, start, deadline }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Poller {
    /// Loads certificates and the state file. Nothing is asked yet.
    ///
    /// # Errors
    /// Where no certificates can be used, or the state file is another program's.
    pub fn new(config: &Config, mode: Mode) -> Result<Self, StartError> {
        // Shorter than the interval, so that others have their turn after a request
        // that gets no answer.
        let request = config.options.timeout.min(config.polling_interval * 3 / 4);
        let mut servers = Servers::new(config, client_settings(config, request))?;
        let (state, saved) = match &config.options.state_file {
            Some(path) => {
                let (state, saved) =
                    StateFile::open(path, Names::scheme(&config.options.user_ids))?;
                (Some(state), saved)
            }
            None => (None, Saved::default()),
        };
        let rules = Rules::new(config, saved.session_key);
        let last_keyframe = saved.last_keyframe;
        let exclusions_changed =
            saved.exclusions.as_ref().is_some_and(|before| *before != rules.exclusions());
        let retell_for = match (mode, config.options.retell_for) {
            (_, Some(time)) => time,
            (Mode::Stream, None) => RETELL_FOR,
            (Mode::Once, None) => Duration::ZERO,
        };
        let Saved { targets: mut unclaimed, mut pending, mut recent, inquiries, .. } = saved;
        if retell_for.is_zero() || exclusions_changed {
            recent.clear();
        }
        if let Some(last) = unclaimed.values().filter_map(|target| target.known.last_poll).max() {
            forget_old(&mut recent, last, retell_for);
        }
        if !recent.is_empty() {
            // What is pending is the last of them.
            pending = recent.iter().map(|recent| recent.lines.as_str()).collect();
        }
        if saved.plain_session_ids {
            unclaimed
                .values_mut()
                .for_each(|target| hide_session_ids(&mut target.known, rules.names()));
        }
        let inquiries = Inquiries::new(
            config,
            servers.credentials(),
            client_settings(config, request),
            inquiries,
            mode == Mode::Once,
        );
        Ok(Self {
            settings: Settings {
                config: config.clone(),
                rules,
                request,
                keeps_state: state.is_some(),
                retell_for,
                exclusions_changed,
            },
            servers,
            targets: Vec::new(),
            inquiries,
            unclaimed,
            knows_targets: false,
            waits: false,
            pending,
            recent,
            last_keyframe,
            state,
            saves_failed: 0,
            logged_as_shared: HashSet::new(),
        })
    }

    /// Polls every target once and sends the events. A repository service that was
    /// never asked is asked first; others are asked beside, and what they list is
    /// polled from the next poll on.
    ///
    /// # Errors
    /// When stdout is closed.
    pub async fn poll(&mut self, output: &Output, tick: Tick) -> Result<PollReport, Closed> {
        self.send_pending(output).await?;
        self.servers.begin_poll();
        self.inquiries.refresh(self.servers.credentials());
        let time = PollTime::now(&self.settings, tick.stamp);
        let mut changes = self.know_targets(time, output).await?;
        if self.targets.is_empty() && !self.inquiries.have_a_list() {
            return self.wait_for_a_list(output).await;
        }
        let Self { settings, servers, targets, inquiries, .. } = self;
        let keyframe = settings.keyframe_is_due(self.last_keyframe, time.wall)
            || (settings.exclusions_changed
                && settings.config.options.session_details == SessionDetails::Changes);
        let polled = targets.iter_mut().map(|target| target.poll(settings, servers, time, output));
        let asking = inquiries.ask_due(settings, time, settings.request);
        let mut site = SiteFacts { polls_skipped: tick.missed, keyframe, ..SiteFacts::default() };
        let (results, asked) = tokio::join!(join_all(polled), asking);
        let mut results: Vec<TargetResult> = results.into_iter().collect::<Result<_, _>>()?;
        self.warn_of_shared_sessions(&mut results);
        for mut result in results {
            changes.append(&mut result.changes);
            add(&mut site, result);
        }
        self.settings.exclusions_changed = false;
        if keyframe {
            self.last_keyframe = Some(time.wall);
        }
        site.certificates = self.servers.certificate_dates();
        output.send(asked.errors).await?;
        if asked.new_list {
            changes.append(&mut self.take_lists(asked.first_list, time).await);
        }
        self.send_changes(changes, time.wall, output).await?;
        site.duration_ms = time.elapsed_ms();
        let mut lines = Lines::new(self.settings.config.options.max_line_bytes);
        site_summary(
            &mut lines,
            self.settings.config.options.site.as_deref(),
            time.wall,
            &site,
            self.settings.config.options.session_limit,
            self.settings.rules.names().are_shown(),
        );
        output.send(lines.take()).await?;
        self.servers.warn_of_expiry(time.wall);
        self.save_what_is_out(output).await?;
        Ok(PollReport {
            targets_failed: site.targets_failed(),
            saved: self.saves_failed == 0,
            nothing_to_poll: false,
        })
    }

    /// Makes the targets known, as far as they can be: those of the configuration and of
    /// the lists, which are asked for where there are none yet. Returns the lines about
    /// targets that were removed meanwhile.
    async fn know_targets(&mut self, time: PollTime, output: &Output) -> Result<Vec<u8>, Closed> {
        let mut asked = Asked::default();
        if self.inquiries.never_asked() || (self.targets.is_empty() && self.inquiries.lack_a_list())
        {
            // The targets need the rest of the interval.
            let limit = self.settings.config.polling_interval / 2;
            asked = self.inquiries.ask_due(&self.settings, time, limit).await;
            output.send(std::mem::take(&mut asked.errors)).await?;
        }
        if self.knows_targets && !asked.new_list {
            return Ok(Vec::new());
        }
        self.knows_targets = true;
        Ok(self.take_lists(true, time).await)
    }

    /// A poll without targets: there is nothing to sum up.
    async fn wait_for_a_list(&mut self, output: &Output) -> Result<PollReport, Closed> {
        if !std::mem::replace(&mut self.waits, true) {
            tracing::warn!(
                "nothing can be polled before the repository service {} has listed its virtual proxies; it is asked again at every poll",
                self.inquiries.names()
            );
        }
        self.save_what_is_out(output).await?;
        Ok(PollReport { targets_failed: 0, saved: self.saves_failed == 0, nothing_to_poll: true })
    }

    async fn save_what_is_out(&mut self, output: &Output) -> Result<(), Closed> {
        if self.state.is_some() {
            output.flushed().await?;
            self.save("");
        }
        Ok(())
    }

    /// Polls from now on what the lists and the configuration hold. Returns the lines
    /// about targets that were added and removed. Those of a first list are not added ones:
    /// it is the beginning.
    async fn take_lists(&mut self, first_list: bool, time: PollTime) -> Vec<u8> {
        let left = time.deadline.poll_ends.saturating_duration_since(Instant::now());
        let limit = left.min(self.settings.request / 2);
        let targets = self.inquiries.targets(&self.settings.config, limit).await;
        let (added, removed) = self.set_targets(targets);
        let mut lines = Lines::new(self.settings.config.options.max_line_bytes);
        let mut add = |keys: &TargetKeys, reason| {
            TargetEvents::new(keys, self.settings.config.options.site.as_deref(), time.wall)
                .target_change(&mut lines, reason);
        };
        for target in added.into_iter().map(|place| &self.targets[place]).filter(|_| !first_list) {
            tracing::info!("{} is listed now, and polled from the next poll on", target.name());
            add(target.keys(), Reason::Listed);
        }
        for target in removed {
            tracing::info!("{} is no longer listed, and no longer polled", target.name());
            add(target.keys(), Reason::NotListed);
        }
        if !self.inquiries.lack_a_list() {
            for keys in self.unclaimed.drain().filter_map(|(_, saved)| saved.keys) {
                add(&keys, Reason::NotConfigured);
            }
        }
        if first_list && self.inquiries.have_a_list() && !self.inquiries.is_empty() {
            tracing::info!(
                "with the list of {}, {} targets are polled",
                self.inquiries.names(),
                self.targets.len()
            );
        }
        lines.take()
    }

    /// Polls these targets and no others. Returns the places of the new ones, and
    /// those that are left out.
    fn set_targets(&mut self, targets: Vec<Target>) -> (Vec<usize>, Vec<PolledTarget>) {
        let mut before: HashMap<TargetId, PolledTarget> =
            self.targets.drain(..).map(|polled| (polled.id().clone(), polled)).collect();
        self.servers.set(targets.iter().map(|target| &target.server));
        let mut added = Vec::new();
        for target in &targets {
            let ambiguous = shares_its_name(target, &targets);
            let server = self.servers.index_of(&target.server);
            let polled = match before.remove(&TargetId::from(target)) {
                Some(mut polled) => {
                    polled.become_target(target.clone(), server, ambiguous);
                    polled
                }
                None => {
                    added.push(self.targets.len());
                    let mut polled = PolledTarget::new(target.clone(), server, ambiguous);
                    if let Some(saved) = self.unclaimed.remove(polled.id()) {
                        polled.restore(saved);
                    }
                    polled
                }
            };
            self.targets.push(polled);
        }
        (added, before.into_values().collect())
    }

    /// Logs once that two servers show the same sessions.
    fn warn_of_shared_sessions(&mut self, results: &mut [TargetResult]) {
        if self.servers.len() < 2 {
            return;
        }
        let mut shared = SharedSessions::default();
        for (target, result) in self.targets.iter().zip(results) {
            shared.add(target.server_name(), result.session_digests.drain());
        }
        for ((first, second), message) in shared.messages() {
            if self.logged_as_shared.insert((first.to_owned(), second.to_owned())) {
                tracing::warn!("{message}; {SHARED_SESSIONS_HINT}");
            }
        }
    }

    /// Sends what an earlier run saved and perhaps did not send.
    async fn send_pending(&mut self, output: &Output) -> Result<(), Closed> {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            output.send(pending.into_bytes()).await?;
            output.flushed().await?;
            self.save("");
        }
        Ok(())
    }

    /// Saves the changes, then sends them: a crash in between repeats them under
    /// the same ids, and loses none.
    async fn send_changes(
        &mut self,
        changes: Vec<u8>,
        now: Timestamp,
        output: &Output,
    ) -> Result<(), Closed> {
        forget_old(&mut self.recent, now, self.settings.retell_for);
        if !changes.is_empty() {
            let lines = String::from_utf8_lossy(&changes).into_owned();
            if !self.settings.retell_for.is_zero() {
                self.recent.push(RecentChanges { time: now, lines: lines.clone() });
            }
            self.save(&lines);
            output.send(changes).await?;
        }
        Ok(())
    }

    /// A disk that is full must not keep anybody from seeing who is connected:
    /// a save that fails is logged, and polling goes on.
    fn save(&mut self, pending: &str) {
        let Some(state) = &self.state else { return };
        let unclaimed = self.unclaimed.iter().map(|(id, saved)| saved.state(id));
        let targets = self.targets.iter().map(PolledTarget::saved).chain(unclaimed);
        let site = SiteState {
            session_key: self.settings.rules.names().session_key(),
            pending,
            recent: &self.recent,
            exclusions: &self.settings.rules.exclusions(),
            last_keyframe: self.last_keyframe,
            inquiries: self.inquiries.saved(),
        };
        match state.save(targets, &site) {
            Ok(()) => self.saves_failed = 0,
            Err(error) => {
                if self.saves_failed.is_multiple_of(LOG_EVERY_FAILURES) {
                    tracing::error!(
                        "{error}; events are still sent, but after a restart nothing is known of what was seen since"
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

/// Drops changes that are older than `keep` at the poll at `last`.
fn forget_old(recent: &mut Vec<RecentChanges>, last: Timestamp, keep: Duration) {
    recent.retain(|recent| recent.time.saturating_add(keep).is_ok_and(|end| end >= last));
}

/// Hides the session ids in what the version before saved.
fn hide_session_ids(known: &mut Known, names: &Names) {
    for session in known.take_sessions() {
        let (directory, user) = (session.user_directory.as_deref(), session.user_id.as_deref());
        let session_id = names.session_id(session.session_id.as_ref().into());
        known.insert(&session_id, directory, user, session.seen);
    }
}

fn add(site: &mut SiteFacts, target: TargetResult) {
    site.targets.push((target.name, target.failed));
    site.session_count += target.session_count;
    site.excluded_session_count += target.excluded_session_count;
    site.users.extend(target.users);
}
