//! One target through its polls: asked, compared with the answer before, and
//! its events sent.

use std::cell::Cell;

use super::{
    LOG_EVERY_FAILURES, PollTime, Settings,
    servers::{LastRequest, Servers},
};
use crate::{
    config::SessionDetails,
    events::{Lines, SessionEvent, SummaryFacts, TargetEvents},
    lifecycle::{Changes, Known, SavedTarget, TargetId, TargetState},
    output::{CHUNK_BYTES, Closed, Output},
    proxy::Failure,
    snapshot::{DistinctUsers, SessionDigests, Snapshot},
    target::{Target, TargetKeys},
};

/// A target and what was seen of it.
pub struct PolledTarget {
    target: Target,
    id: TargetId,
    keys: TargetKeys,
    /// Which of the servers it is on.
    server: usize,
    known: Known,
    consecutive_failures: u64,
    last_request: Cell<LastRequest>,
    /// Whether it was logged that sessions come without an id, a directory or a user.
    warned_of_incomplete: bool,
}

/// What one target adds to the poll as a whole.
#[derive(Default)]
pub struct TargetResult {
    /// Its name among all targets.
    pub name: String,
    /// Lines that are to be saved before they are sent.
    pub changes: Vec<u8>,
    /// Whether it could not be read.
    pub failed: bool,
    pub session_count: usize,
    /// The digests of its sessions' ids.
    pub session_digests: SessionDigests,
    pub excluded_session_count: usize,
    pub users: DistinctUsers,
}

impl PolledTarget {
    /// A target of which nothing was seen yet.
    pub fn new(target: Target, server: usize, ambiguous_name: bool) -> Self {
        Self {
            id: TargetId::from(&target),
            keys: TargetKeys::new(&target, ambiguous_name),
            target,
            server,
            known: Known::default(),
            consecutive_failures: 0,
            last_request: Cell::default(),
            warned_of_incomplete: false,
        }
    }

    /// The name of its server.
    pub fn server_name(&self) -> &str {
        &self.target.server.name
    }

    /// What it is called in the log.
    pub fn name(&self) -> String {
        self.target.to_string()
    }

    /// Its name in the state file.
    pub fn id(&self) -> &TargetId {
        &self.id
    }

    /// Continues from what was saved.
    pub fn restore(&mut self, saved: SavedTarget) {
        self.known = saved.known;
        self.consecutive_failures = saved.consecutive_failures;
    }

    /// What is to be saved.
    pub fn saved(&self) -> TargetState<'_> {
        TargetState {
            id: &self.id,
            keys: Some(&self.keys),
            known: &self.known,
            consecutive_failures: self.consecutive_failures,
        }
    }

    /// What its events are called by.
    pub fn keys(&self) -> &TargetKeys {
        &self.keys
    }

    /// Continues as this target, which is the same one, perhaps under other names.
    pub fn become_target(&mut self, target: Target, server: usize, ambiguous_name: bool) {
        self.keys = TargetKeys::new(&target, ambiguous_name);
        self.target = target;
        self.server = server;
    }

    /// Asks it, and sends its events.
    ///
    /// # Errors
    /// When stdout is closed.
    pub async fn poll(
        &mut self,
        settings: &Settings,
        servers: &Servers,
        time: PollTime,
        output: &Output,
    ) -> Result<TargetResult, Closed> {
        let mut answer = servers
            .sessions(self.server, &self.target.virtual_proxy, &self.last_request, time.deadline)
            .await;
        let keyframe = settings.config.options.session_details == SessionDetails::Changes
            && (settings.exclusions_changed
                || self.known.last_poll.is_none()
                || settings.keyframe_is_due(self.known.last_keyframe, time.wall));
        let facts = SummaryFacts {
            keyframe,
            duration_ms: Some(time.elapsed_ms()),
            certificates: servers.certificate_dates_of(self.server),
            users_are_shown: settings.rules.names().are_shown(),
        };
        let answer = answer.as_mut().map_err(|failure| failure.clone());
        let result = match answer.and_then(|body| Snapshot::read(body, &settings.rules)) {
            Ok(snapshot) => self.answered(snapshot, &facts, settings, time, output).await,
            Err(failure) => self.failed(failure, settings, time, output).await,
        };
        result.map(|result| TargetResult { name: self.id.to_string(), ..result })
    }

    async fn failed(
        &mut self,
        failure: Failure,
        settings: &Settings,
        time: PollTime,
        output: &Output,
    ) -> Result<TargetResult, Closed> {
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
        let mut lines = Lines::new(settings.config.options.max_line_bytes);
        TargetEvents::new(&self.keys, settings.config.options.site.as_deref(), time.wall).error(
            &mut lines,
            &failure,
            Some(time.elapsed_ms()),
            self.consecutive_failures,
        );
        output.send(lines.take()).await?;
        Ok(TargetResult { failed: true, ..TargetResult::default() })
    }

    async fn answered(
        &mut self,
        snapshot: Snapshot<'_>,
        facts: &SummaryFacts,
        settings: &Settings,
        time: PollTime,
        output: &Output,
    ) -> Result<TargetResult, Closed> {
        if self.consecutive_failures > 0 {
            tracing::info!(
                "{}: answers again after {} failed polls",
                self.target,
                self.consecutive_failures
            );
            self.consecutive_failures = 0;
        }
        self.warn_of_incomplete(&snapshot);
        let mut writer = SessionWriter {
            events: TargetEvents::new(
                &self.keys,
                settings.config.options.site.as_deref(),
                time.wall,
            ),
            lines: Lines::new(settings.config.options.max_line_bytes),
            changes: settings
                .keeps_state
                .then(|| Lines::new(settings.config.options.max_line_bytes)),
            output,
            too_long: 0,
        };
        writer.events.summary(&mut writer.lines, &snapshot, facts);
        if settings.config.options.session_details != SessionDetails::None {
            let changes = self.known.update(&snapshot, time.wall);
            if facts.keyframe {
                self.known.last_keyframe = Some(time.wall);
            }
            writer.sessions(&snapshot, &changes, facts.keyframe, settings).await?;
        }
        if writer.too_long > 0 {
            tracing::warn!(
                "{}: {} session events did not fit `sessionSource.maxLineBytes` and were left out; the counts are right",
                self.target,
                writer.too_long
            );
        }
        output.send(writer.lines.take()).await?;
        Ok(TargetResult {
            changes: writer.changes.map(|mut changes| changes.take()).unwrap_or_default(),
            session_count: snapshot.sessions.len(),
            session_digests: snapshot.session_digests,
            excluded_session_count: snapshot.excluded_session_count,
            users: snapshot.users,
            ..TargetResult::default()
        })
    }

    fn warn_of_incomplete(&mut self, snapshot: &Snapshot<'_>) {
        if snapshot.incomplete > 0 && !self.warned_of_incomplete {
            tracing::warn!(
                "{}: {} of {} sessions have no text as SessionId, UserDirectory or UserId; they count, and their events lack what is missing",
                self.target,
                snapshot.incomplete,
                snapshot.sessions.len()
            );
        }
        self.warned_of_incomplete |= snapshot.incomplete > 0;
    }
}

/// Writes the events of one target's sessions as they are made, a chunk at a
/// time, so that a long list needs no memory of its own size.
struct SessionWriter<'a> {
    events: TargetEvents<'a>,
    lines: Lines,
    /// Starts and ends, where they have to wait until they are saved.
    changes: Option<Lines>,
    output: &'a Output,
    /// How many events were longer than a line may be.
    too_long: usize,
}

impl SessionWriter<'_> {
    async fn sessions(
        &mut self,
        snapshot: &Snapshot<'_>,
        changes: &Changes,
        keyframe: bool,
        settings: &Settings,
    ) -> Result<(), Closed> {
        let since = changes.since;
        // Two pollers saw the last good answer at different times.
        let id_time = (!settings.config.options.align_polls).then_some(since);
        let each_session =
            keyframe || settings.config.options.session_details == SessionDetails::Snapshot;
        for (session, seen) in snapshot.sessions.iter().zip(&changes.seen) {
            if session.excluded {
                continue;
            }
            let is_new = seen.is_some_and(|(_, is_new)| is_new);
            let seen = seen.map(|(seen, _)| seen);
            if settings.config.options.lifecycle && is_new {
                let started = SessionEvent::Started { since: id_time };
                let lines = self.changes.as_mut().unwrap_or(&mut self.lines);
                self.too_long += usize::from(!self.events.session(lines, started, session, seen));
            }
            if each_session {
                let lines = &mut self.lines;
                let fits = self.events.session(lines, SessionEvent::Session, session, seen);
                self.too_long += usize::from(!fits);
            }
            self.send_chunk().await?;
        }
        if settings.config.options.session_details == SessionDetails::Grouped {
            let shown = snapshot
                .sessions
                .iter()
                .zip(&changes.seen)
                .filter(|(session, _)| !session.excluded)
                .map(|(session, seen)| (session, seen.map(|(seen, _)| seen)));
            self.too_long += self.events.groups(&mut self.lines, shown);
            self.send_chunk().await?;
        }
        for ended in changes.ended.iter().filter(|_| settings.config.options.lifecycle) {
            let lines = self.changes.as_mut().unwrap_or(&mut self.lines);
            self.too_long += usize::from(!self.events.ended(lines, ended, since, id_time));
            self.send_chunk().await?;
        }
        Ok(())
    }

    /// Sends the lines so far, where there are enough of them.
    async fn send_chunk(&mut self) -> Result<(), Closed> {
        if self.lines.len() >= CHUNK_BYTES {
            self.output.send(self.lines.take()).await?;
        }
        Ok(())
    }
}
