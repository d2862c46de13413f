//! One JSON line for each fact. The contract of kinds and keys is
//! `qlik-sessions schema events`.
//!
//! What all events of a target and poll share is rendered once
//! ([`TargetEvents`]); a session's line is that and its own few keys.

mod id;
mod line;

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};

pub use line::Lines;

use crate::{
    fingerprint::Fingerprints,
    proxy::Failure,
    snapshot::{People, Session, Snapshot},
    target::Target,
};
use id::EventId;
use line::{Line, head};

/// Longest message or hint of a `poll_error`, in bytes.
const MAX_MESSAGE_BYTES: usize = 1_000;

/// Times in events: RFC 3339, UTC, exactly three fraction digits.
const TIMES: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// What the events of one target are called by. `transform` knows less of its
/// target than the poller does.
#[derive(Clone, Debug)]
pub struct TargetKeys {
    /// The keys as rendered JSON, `,"server_name":"sense1",…`.
    json: Vec<u8>,
    /// What tells this target from others, for event ids.
    identity: [String; 2],
}

impl TargetKeys {
    /// The keys of a configured target. Where two servers share a name, their
    /// events' ids must differ all the same: then `ambiguous` is set.
    pub fn new(target: &Target, ambiguous: bool) -> Self {
        let server = &target.server;
        let mut line = Line::fragment();
        line.text("server_name", &server.name);
        if let Some(description) = &server.description {
            line.text("server_description", description);
        }
        line.text("server_host", &server.host);
        line.text("proxy_host", &server.proxy.configured);
        line.text("virtual_proxy", target.virtual_proxy.as_str());
        if !server.tags.is_empty() {
            line.json("tags", &server.tags);
        }
        let mut name = server.name.clone();
        if ambiguous {
            name.push('\n');
            name.push_str(&server.proxy.configured);
        }
        Self { json: line.into_bytes(), identity: [name, target.virtual_proxy.as_str().to_owned()] }
    }

    /// The keys of an answer of which only these are known.
    pub fn named(server_name: &str, virtual_proxy: &str) -> Self {
        let mut line = Line::fragment();
        line.text("server_name", server_name);
        line.text("virtual_proxy", virtual_proxy);
        Self {
            json: line.into_bytes(),
            identity: [server_name.to_owned(), virtual_proxy.to_owned()],
        }
    }

    /// How many bytes of every line they take.
    pub fn len(&self) -> usize {
        self.json.len()
    }

    /// Never: a target has a name.
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }
}

/// A time, and what it is in events: all sessions of a target that a poll saw
/// first share one, and to print it for each would take a tenth of the time of a poll.
#[derive(Debug)]
pub struct Moment {
    time: Timestamp,
    text: String,
}

impl Moment {
    /// The time.
    pub fn time(&self) -> Timestamp {
        self.time
    }
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self { time, text: TIMES.timestamp_to_string(&time) }
    }
}

/// Something that a session event may add to the session itself.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime<'a> {
    /// The first poll that saw the session.
    pub first_seen: &'a Moment,
    /// The last poll that saw it; for `session_ended`.
    pub last_seen: Option<Timestamp>,
    /// What goes into the event's id in place of the poll's time: the time of
    /// the last good poll, which a crash does not change.
    pub since: Timestamp,
}

/// What a session event says of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionKeys<'a> {
    /// The session's id.
    pub session_id: &'a str,
    /// The user directory.
    pub user_directory: &'a str,
    /// The user's name as it may be shown.
    pub user_id: Option<&'a str>,
    /// These texts hold nothing that JSON would escape.
    pub is_plain: bool,
}

impl<'a> From<Session<'a>> for SessionKeys<'a> {
    fn from(session: Session<'a>) -> Self {
        Self {
            session_id: session.session_id,
            user_directory: session.user_directory,
            user_id: session.user_id,
            is_plain: session.is_plain,
        }
    }
}

/// The three kinds of event about one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// It is there.
    Session,
    /// It was not there before.
    Started,
    /// It is there no more.
    Ended,
}

impl SessionEvent {
    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Started => "session_started",
            Self::Ended => "session_ended",
        }
    }
}

/// Writes the events of one target and poll.
#[derive(Debug)]
pub struct TargetEvents<'a> {
    target: &'a TargetKeys,
    timestamp: String,
    /// Most events are of this kind.
    session: Shared,
}

/// What the events of one kind, target and poll share.
#[derive(Debug)]
struct Shared {
    /// The beginning of their lines.
    head: Vec<u8>,
    /// Of the facts that tell them from other events.
    fingerprints: Fingerprints,
}

impl Shared {
    /// `id_time` is the time that goes into the ids.
    fn new(target: &TargetKeys, event: &str, timestamp: &str, id_time: &str) -> Self {
        let [server, virtual_proxy] = &target.identity;
        Self {
            head: head(timestamp, event),
            fingerprints: Fingerprints::that_begin_with(&[event, id_time, server, virtual_proxy]),
        }
    }

    /// Begins one of the events; its `own` facts tell it from the others.
    fn begin<'l>(&mut self, target: &TargetKeys, lines: &'l mut Lines, own: &[&str]) -> Line<'l> {
        let id = EventId::new(self.fingerprints.of(own));
        let mut line = lines.begin(&self.head, &id);
        line.raw(&target.json);
        line
    }
}

impl<'a> TargetEvents<'a> {
    /// Events of the poll that started at `timestamp`.
    pub fn new(target: &'a TargetKeys, timestamp: Timestamp) -> Self {
        let timestamp = TIMES.timestamp_to_string(&timestamp);
        let session = Shared::new(target, "session", &timestamp, &timestamp);
        Self { target, timestamp, session }
    }

    /// Begins the only event of this kind of the target and poll.
    fn begin_only<'l>(&self, lines: &'l mut Lines, event: &str) -> Line<'l> {
        let mut shared = Shared::new(self.target, event, &self.timestamp, &self.timestamp);
        shared.begin(self.target, lines, &[])
    }

    /// `session_summary`.
    pub fn summary(&self, lines: &mut Lines, snapshot: &Snapshot, facts: &SummaryFacts) {
        let mut line = self.begin_only(lines, "session_summary");
        line.number("session_count", snapshot.len() as u64);
        line.number("user_count", snapshot.people.len() as u64);
        line.number("excluded_session_count", snapshot.excluded_session_count as u64);
        if let Some(duration) = facts.duration_ms {
            line.number("duration_ms", duration);
        }
        facts.certificates.write(&mut line);
        if let Some(users) = snapshot.users() {
            let omitted = line.list_that_fits("users", &users, "users_omitted");
            if omitted > 0 {
                tracing::debug!("{omitted} users did not fit maxLineBytes in a session_summary");
            }
        }
        line.end();
    }

    /// One of the events about one session. Answers whether it fitted the line limit.
    pub fn session(
        &mut self,
        lines: &mut Lines,
        event: SessionEvent,
        session: SessionKeys<'_>,
        attributes: Option<&crate::snapshot::Attributes>,
        lifetime: Option<&Lifetime<'_>>,
    ) -> bool {
        let mut change = lifetime.filter(|_| event != SessionEvent::Session).map(|lifetime| {
            let since = TIMES.timestamp_to_string(&lifetime.since);
            Shared::new(self.target, event.name(), &self.timestamp, &since)
        });
        let shared = change.as_mut().unwrap_or(&mut self.session);
        let user = session.user_id.unwrap_or("");
        let own = [session.session_id, session.user_directory, user];
        let write = |line: &mut Line<'_>, attributes: Option<&crate::snapshot::Attributes>| {
            let is_plain = session.is_plain;
            line.text_of("session_id", session.session_id, is_plain);
            let directory = line.text_of("user_directory", session.user_directory, is_plain);
            if let Some(user_id) = session.user_id {
                let id = line.text_of("user_id", user_id, is_plain);
                line.user("user", directory, id);
            }
            if let Some(lifetime) = lifetime {
                line.text_of("first_seen", &lifetime.first_seen.text, true);
                if let Some(last_seen) = lifetime.last_seen {
                    line.time("last_seen", last_seen);
                    line.number(
                        "duration_seconds",
                        seconds_between(lifetime.first_seen.time, last_seen),
                    );
                }
            }
            if let Some(attributes) = attributes {
                line.json("attributes", attributes);
            }
        };
        let mut line = shared.begin(self.target, lines, &own);
        write(&mut line, attributes);
        if line.end() {
            return true;
        }
        // The attributes are what can be long; the session is worth more than they are.
        let mut line = shared.begin(self.target, lines, &own);
        write(&mut line, None);
        line.end()
    }

    /// `poll_error`.
    pub fn error(
        &self,
        lines: &mut Lines,
        failure: &Failure,
        duration_ms: Option<u64>,
        consecutive_failures: u64,
    ) {
        let mut line = self.begin_only(lines, "poll_error");
        line.text("category", failure.category.as_str());
        line.text("message", shortened(&failure.message));
        if let Some(hint) = &failure.hint {
            line.text("hint", shortened(hint));
        }
        if let Some(status) = failure.http_status {
            line.number("http_status", u64::from(status));
        }
        if let Some(duration) = duration_ms {
            line.number("duration_ms", duration);
        }
        line.number("consecutive_failures", consecutive_failures);
        line.end();
    }
}

/// What a summary says beside counts.
#[derive(Clone, Debug, Default)]
pub struct SummaryFacts {
    /// From the start of the poll to the end of the answer.
    pub duration_ms: Option<u64>,
    /// Until when the certificates are good.
    pub certificates: CertificateDates,
}

/// Until when certificates are good.
#[derive(Clone, Copy, Debug, Default)]
pub struct CertificateDates {
    /// The program's own.
    pub client: Option<Timestamp>,
    /// The server's, as it showed it.
    pub server: Option<Timestamp>,
}

impl CertificateDates {
    fn write(&self, line: &mut Line<'_>) {
        if let Some(client) = self.client {
            line.time("client_certificate_expires", client);
        }
        if let Some(server) = self.server {
            line.time("server_certificate_expires", server);
        }
    }

    /// The earlier of each.
    #[must_use]
    pub fn earliest(self, other: Self) -> Self {
        let earlier = |a: Option<Timestamp>, b: Option<Timestamp>| a.into_iter().chain(b).min();
        Self {
            client: earlier(self.client, other.client),
            server: earlier(self.server, other.server),
        }
    }
}

/// The counts of a whole poll.
#[derive(Debug, Default)]
pub struct SiteCounts {
    /// Sessions of the targets that answered.
    pub session_count: usize,
    /// The people who hold them.
    pub people: People,
    /// Sessions of excluded users.
    pub excluded_session_count: usize,
    /// Targets in all.
    pub targets: usize,
    /// Targets that could not be read.
    pub targets_failed: usize,
    /// Polls left out since the one before.
    pub polls_skipped: u64,
    /// The earliest end of a certificate.
    pub certificates: CertificateDates,
}

/// `site_summary`.
pub fn site_summary(
    lines: &mut Lines,
    timestamp: Timestamp,
    counts: &SiteCounts,
    duration_ms: u64,
) {
    let time = TIMES.timestamp_to_string(&timestamp);
    let id = EventId::new(Fingerprints::default().of(&["site_summary", &time]));
    let mut line = lines.begin(&head(&time, "site_summary"), &id);
    line.number("session_count", counts.session_count as u64);
    line.number("user_count", counts.people.len() as u64);
    line.number("excluded_session_count", counts.excluded_session_count as u64);
    line.number("targets", counts.targets as u64);
    line.number("targets_failed", counts.targets_failed as u64);
    line.number("polls_skipped", counts.polls_skipped);
    line.number("duration_ms", duration_ms);
    counts.certificates.write(&mut line);
    line.end();
}

/// Whole seconds, rounded; never negative, also when a clock was set back.
pub fn seconds_between(first: Timestamp, last: Timestamp) -> u64 {
    let milliseconds = last.as_millisecond().saturating_sub(first.as_millisecond());
    u64::try_from((milliseconds + 500) / 1_000).unwrap_or(0)
}

/// A text's beginning, cut between characters.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_MESSAGE_BYTES)]
}
