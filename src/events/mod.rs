//! One JSON line for each fact. The contract of kinds and keys is
//! `qlik-sessions schema events`; `kinds.rs` has the same as types.

mod frame;
mod id;
mod kinds;
mod lines;

use std::{cell::RefCell, rc::Rc};

use jiff::Timestamp;
use serde_json::value::{RawValue, to_raw_value};

pub use kinds::{CertificateDates, Reason, RepositoryKeys, Time};
pub use lines::Lines;

use crate::{
    lifecycle::{KnownSession, Seen},
    proxy::Failure,
    snapshot::{DistinctUsers, Session, Snapshot, sorted_names},
    target::TargetKeys,
};
use frame::{Frame, NoKeys};
use id::EventId;
use kinds::{
    DiscoveryError, Event, FullName, GroupedSession, PollError, SessionGroup, SessionKeys,
    SessionSummary, SiteSummary, TargetChange,
};

/// Longest message or hint of a `poll_error`, in bytes.
const MAX_MESSAGE_BYTES: usize = 1_000;
/// Room for `,"users":[],"users_omitted":` with its number, in bytes.
const LIST_BYTES: usize = 51;
/// Most sessions in one line.
const MOST_GROUPED: usize = 500;

/// The kinds of event about one session that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// It is there.
    Session,
    /// It was not there at the last good poll, which was then. That time goes into
    /// the event's id in place of this poll's: a crash does not change it.
    Started {
        /// The target's last good poll; none where two pollers have to agree.
        since: Option<Timestamp>,
    },
}

/// Writes the events of one target and poll.
#[derive(Clone, Debug)]
pub struct TargetEvents<'a> {
    target: &'a TargetKeys,
    site: Option<&'a str>,
    /// As all events of the poll write it, and their ids hold it.
    time: String,
    session_frame: Frame,
    last_first_seen: RefCell<Option<(Timestamp, Rc<str>)>>,
}

/// What a summary says beside counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct SummaryFacts {
    /// From the start of the poll to the end of the answer.
    pub duration_ms: Option<u64>,
    /// Until when the certificates are good.
    pub certificates: CertificateDates,
    /// Whether users are named.
    pub users_are_shown: bool,
    /// All sessions of the target come with it, though only changes are wanted.
    pub keyframe: bool,
}

impl<'a> TargetEvents<'a> {
    /// Events of the poll that started at `timestamp`.
    pub fn new(target: &'a TargetKeys, site: Option<&'a str>, timestamp: Timestamp) -> Self {
        let time = Time(timestamp).to_string();
        let session_frame = Frame::of(&Event {
            timestamp: &time,
            event: "session",
            event_id: EventId::new("session", site, []),
            site,
            target: Some(target),
            keys: NoKeys {},
        });
        Self { target, site, time, session_frame, last_first_seen: RefCell::default() }
    }

    /// An event; `time` and `facts` distinguish it from others of its kind and target.
    fn event<K>(
        &self,
        kind: &'static str,
        time: Option<&str>,
        facts: &[&str],
        keys: K,
    ) -> Event<'_, K> {
        Event {
            timestamp: &self.time,
            event: kind,
            event_id: self.id(kind, time, facts),
            site: self.site,
            target: Some(self.target),
            keys,
        }
    }

    fn id(&self, kind: &str, time: Option<&str>, facts: &[&str]) -> EventId {
        let own = [self.target.id_name.as_str(), &self.target.virtual_proxy];
        let facts = time.into_iter().chain(own).chain(facts.iter().copied());
        EventId::new(kind, self.site, facts)
    }

    /// `session_summary`, with as many users as the line has room for.
    pub fn summary(&self, lines: &mut Lines, snapshot: &Snapshot<'_>, facts: &SummaryFacts) {
        let names = facts.users_are_shown.then(|| snapshot.users.names());
        let event = |users, users_omitted| {
            self.event(
                "session_summary",
                Some(&self.time),
                &[],
                SessionSummary {
                    session_count: snapshot.sessions.len(),
                    user_count: snapshot.users.len(),
                    excluded_session_count: snapshot.excluded_session_count,
                    duration_ms: facts.duration_ms,
                    certificates: facts.certificates,
                    users,
                    users_omitted,
                    keyframe: facts.keyframe,
                },
            )
        };
        let Some(names) = &names else {
            lines.add(&event(None, None));
            return;
        };
        if lines.add(&event(Some(names), Some(0))) {
            return;
        }
        let used = serde_json::to_vec(&event(None, None)).map_or(0, |json| json.len());
        let fitting = lines.names_that_fit(names, used + LIST_BYTES);
        tracing::debug!("{} users did not fit maxLineBytes", names.len() - fitting);
        lines.add(&event(Some(&names[..fitting]), Some(names.len() - fitting)));
    }

    /// One of the events about a session that is there; `seen` is missing where there
    /// was no poll. Returns whether it fitted the line limit.
    pub fn session(
        &self,
        lines: &mut Lines,
        event: SessionEvent,
        session: &Session<'_>,
        seen: Option<Seen>,
    ) -> bool {
        let first_seen = seen.map(|seen| self.first_seen(seen));
        let keys = SessionKeys::new(session, seen, first_seen.as_deref());
        match event {
            SessionEvent::Session => {
                let id = self.id("session", Some(&self.time), &keys.facts());
                add_with_what_fits(keys, |keys| lines.add_framed(&self.session_frame, id, keys))
            }
            SessionEvent::Started { since } => {
                let id_time = since.map(|since| Time(since).to_string());
                self.add_change(lines, "session_started", id_time.as_deref(), keys)
            }
        }
    }

    /// `session_ended`; `id_time` as in [`SessionEvent::Started`]. Returns whether
    /// it fitted the line limit.
    pub fn ended(
        &self,
        lines: &mut Lines,
        ended: &KnownSession,
        since: Timestamp,
        id_time: Option<Timestamp>,
    ) -> bool {
        let (directory, id) = (ended.user_directory.as_deref(), ended.user_id.as_deref());
        let keys = SessionKeys {
            session_id: Some(&ended.session_id),
            user_directory: directory,
            user_id: id,
            user: FullName::new(directory, id),
            first_seen: Some(&self.first_seen(ended.seen)),
            first_seen_at_baseline: ended.seen.at_baseline,
            last_seen: Some(Time(since)),
            duration_seconds: Some(seconds_between(ended.seen.first_seen(), since)),
            attributes: None,
        };
        let id_time = id_time.map(|time| Time(time).to_string());
        self.add_change(lines, "session_ended", id_time.as_deref(), keys)
    }

    /// As events write it. Most sessions of an answer were first seen at one of few
    /// times, so the last text is kept.
    fn first_seen(&self, seen: Seen) -> Rc<str> {
        let time = seen.first_seen();
        let mut last = self.last_first_seen.borrow_mut();
        match &*last {
            Some((last, text)) if *last == time => Rc::clone(text),
            _ => {
                let text: Rc<str> = Time(time).to_string().into();
                *last = Some((time, Rc::clone(&text)));
                text
            }
        }
    }

    fn add_change(
        &self,
        lines: &mut Lines,
        kind: &'static str,
        id_time: Option<&str>,
        keys: SessionKeys<'_>,
    ) -> bool {
        let facts = keys.facts();
        add_with_what_fits(keys, |keys| lines.add(&self.event(kind, id_time, &facts, keys)))
    }

    /// `sessions`: the same as a `session` event for each, many to a line. Returns
    /// how many sessions did not fit the line limit.
    pub fn groups<'s>(
        &self,
        lines: &mut Lines,
        sessions: impl Iterator<Item = (&'s Session<'s>, Option<Seen>)>,
    ) -> usize {
        let most = lines.max_line().saturating_sub(self.group_bytes());
        let mut parts: Vec<Vec<Box<RawValue>>> = Vec::new();
        let (mut used, mut too_long) = (usize::MAX, 0);
        for (session, seen) in sessions {
            let Some(item) = self.grouped_session(session, seen, most) else {
                too_long += 1;
                continue;
            };
            let length = item.get().len() + 1;
            match parts.last_mut() {
                Some(part) if part.len() < MOST_GROUPED && used + length <= most => {
                    part.push(item);
                    used += length;
                }
                _ => {
                    parts.push(vec![item]);
                    used = length;
                }
            }
        }
        for (number, part) in parts.iter().enumerate() {
            lines.add(&self.group(number + 1, parts.len(), part));
        }
        too_long
    }

    /// The JSON of one session in a group, without its attributes where those are
    /// too long.
    fn grouped_session(
        &self,
        session: &Session<'_>,
        seen: Option<Seen>,
        most: usize,
    ) -> Option<Box<RawValue>> {
        let first_seen = seen.map(|seen| self.first_seen(seen));
        let mut keys = SessionKeys::new(session, seen, first_seen.as_deref());
        let event_id = self.id("session", Some(&self.time), &keys.facts());
        loop {
            let item = to_raw_value(&GroupedSession { event_id, keys: keys.clone() }).ok()?;
            if item.get().len() < most {
                return Some(item);
            }
            keys.attributes.take()?;
        }
    }

    fn group<'g>(
        &'g self,
        part: usize,
        parts: usize,
        sessions: &'g [Box<RawValue>],
    ) -> Event<'g, SessionGroup<'g>> {
        let ids: Vec<&str> = sessions.iter().map(|item| id_of(item)).collect();
        self.event("sessions", Some(&self.time), &ids, SessionGroup { part, parts, sessions })
    }

    /// How many bytes a line with a group needs besides its sessions.
    fn group_bytes(&self) -> usize {
        let longest = self.group(usize::MAX, usize::MAX, &[]);
        serde_json::to_vec(&longest).map_or(0, |json| json.len()) + 1
    }

    /// `poll_error`.
    pub fn error(
        &self,
        lines: &mut Lines,
        failure: &Failure,
        duration_ms: Option<u64>,
        consecutive_failures: u64,
    ) {
        let keys = poll_error(failure, duration_ms, consecutive_failures);
        lines.add(&self.event("poll_error", Some(&self.time), &[], keys));
    }

    /// `target_added` or `target_removed`.
    pub fn target_change(&self, lines: &mut Lines, reason: Reason) {
        let kind = match reason {
            Reason::Listed => "target_added",
            Reason::NotListed | Reason::NotConfigured => "target_removed",
        };
        lines.add(&self.event(kind, Some(&self.time), &[], TargetChange { reason }));
    }
}

/// `discovery_error`.
pub fn discovery_error(
    lines: &mut Lines,
    repository: &RepositoryKeys,
    site: Option<&str>,
    timestamp: Timestamp,
    failure: &Failure,
    duration_ms: u64,
    consecutive_failures: u64,
) {
    let time = Time(timestamp).to_string();
    let facts = [time.as_str(), &repository.server_name, &repository.server_host];
    lines.add(&Event {
        timestamp: &time,
        event: "discovery_error",
        event_id: EventId::new("discovery_error", site, facts),
        site,
        target: None,
        keys: DiscoveryError {
            repository,
            error: poll_error(failure, Some(duration_ms), consecutive_failures),
        },
    });
}

fn poll_error(
    failure: &Failure,
    duration_ms: Option<u64>,
    consecutive_failures: u64,
) -> PollError<'_> {
    PollError {
        category: failure.category.as_str(),
        message: shortened(&failure.message),
        hint: failure.hint.as_deref().map(shortened),
        http_status: failure.http_status,
        duration_ms,
        consecutive_failures,
    }
}

/// Adds a session; where its attributes make it too long, without them. Returns whether
/// it fitted.
fn add_with_what_fits(
    mut keys: SessionKeys<'_>,
    mut add: impl FnMut(&SessionKeys<'_>) -> bool,
) -> bool {
    add(&keys) || (keys.attributes.take().is_some() && add(&keys))
}

/// The event id of a session in a group, which comes first in its JSON.
fn id_of(item: &RawValue) -> &str {
    item.get().split('"').nth(3).unwrap_or_default()
}

/// What a poll found on all targets together.
#[derive(Debug, Default)]
pub struct SiteFacts {
    /// Sessions of the targets that answered.
    pub session_count: usize,
    /// The users who hold them.
    pub users: DistinctUsers,
    /// Sessions of excluded users.
    pub excluded_session_count: usize,
    /// Each target by its name in event ids, and whether it could not be read.
    pub targets: Vec<(String, bool)>,
    /// Polls left out since the one before.
    pub polls_skipped: u64,
    /// The earliest end of a certificate.
    pub certificates: CertificateDates,
    /// From the start of the poll to its end.
    pub duration_ms: u64,
    /// All sessions of all targets that answered come with it.
    pub keyframe: bool,
}

impl SiteFacts {
    /// Targets that could not be read.
    pub fn targets_failed(&self) -> usize {
        self.targets.iter().filter(|(_, failed)| *failed).count()
    }

    /// The id holds the site's name, or else its targets, and in any case the
    /// targets that failed: two pollers of one site agree where they saw the same.
    fn id(&self, site: Option<&str>, time: &str) -> EventId {
        let names = |failed_only: bool| {
            let mut names: Vec<&str> = self
                .targets
                .iter()
                .filter(|(_, failed)| *failed || !failed_only)
                .map(|(name, _)| name.as_str())
                .collect();
            names.sort_unstable();
            names.join("\n")
        };
        let all = if site.is_none() { names(false) } else { String::new() };
        EventId::new("site_summary", site, [time, &all, &names(true)])
    }
}

/// `site_summary`. `limit` is how many parallel sessions lock a user out.
pub fn site_summary(
    lines: &mut Lines,
    site: Option<&str>,
    timestamp: Timestamp,
    facts: &SiteFacts,
    limit: usize,
    users_are_shown: bool,
) {
    let time = Time(timestamp).to_string();
    let names = users_are_shown.then(|| sorted_names(facts.users.at_limit(limit)));
    let event = |users_at_limit| Event {
        timestamp: &time,
        event: "site_summary",
        event_id: facts.id(site, &time),
        site,
        target: None,
        keys: SiteSummary {
            session_count: facts.session_count,
            user_count: facts.users.len(),
            excluded_session_count: facts.excluded_session_count,
            targets: facts.targets.len(),
            targets_failed: facts.targets_failed(),
            polls_skipped: facts.polls_skipped,
            duration_ms: facts.duration_ms,
            certificates: facts.certificates,
            users_at_session_limit: facts.users.at_limit(limit).count(),
            users_at_limit,
            keyframe: facts.keyframe,
        },
    };
    if !lines.add(&event(names.as_deref())) {
        let used = serde_json::to_vec(&event(None)).map_or(0, |json| json.len());
        let names = names.as_deref().unwrap_or_default();
        let fitting = lines.names_that_fit(names, used + LIST_BYTES);
        lines.add(&event(Some(&names[..fitting])));
    }
}

impl<'a> SessionKeys<'a> {
    fn new(session: &'a Session<'_>, seen: Option<Seen>, first_seen: Option<&'a str>) -> Self {
        let (directory, id) = (session.user_directory.as_deref(), session.user_id.as_deref());
        Self {
            session_id: session.session_id.as_deref(),
            user_directory: directory,
            user_id: id,
            user: FullName::new(directory, id),
            first_seen,
            first_seen_at_baseline: seen.is_some_and(|seen| seen.at_baseline),
            last_seen: None,
            duration_seconds: None,
            attributes: session.attributes.as_deref(),
        }
    }

    /// What distinguishes it from other sessions of its target.
    fn facts(&self) -> [&'a str; 3] {
        [self.session_id, self.user_directory, self.user_id].map(Option::unwrap_or_default)
    }
}

impl<'a> FullName<'a> {
    fn new(directory: Option<&'a str>, id: Option<&'a str>) -> Option<Self> {
        id.map(|id| Self { directory: directory.unwrap_or_default(), id })
    }
}

/// Whole seconds, rounded; never negative, also when a clock was set back.
fn seconds_between(first: Timestamp, last: Timestamp) -> u64 {
    let milliseconds = last.as_millisecond().saturating_sub(first.as_millisecond());
    u64::try_from((milliseconds + 500) / 1_000).unwrap_or(0)
}

/// A text's beginning, cut between characters.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_MESSAGE_BYTES)]
}
