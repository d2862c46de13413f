//! One line as an event, with the keys that a report needs. Agents add keys of their
//! own and may change the order of keys; both are fine.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

/// A text that is borrowed from its line where it holds no escapes.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One target answered.
    SessionSummary,
    /// A session at a poll.
    Session,
    /// Many sessions of one target at a poll.
    Sessions,
    /// A session appeared.
    SessionStarted,
    /// A session is gone.
    SessionEnded,
    /// A poll is done.
    SiteSummary,
    /// A target could not be read.
    PollError,
    /// The repository service could not be asked.
    DiscoveryError,
    /// A target is no longer polled.
    TargetRemoved,
    /// One of a newer version, or one that a report does not need.
    Other,
}

impl Kind {
    fn new(name: &str) -> Self {
        match name {
            "session_summary" => Self::SessionSummary,
            "session" => Self::Session,
            "sessions" => Self::Sessions,
            "session_started" => Self::SessionStarted,
            "session_ended" => Self::SessionEnded,
            "site_summary" => Self::SiteSummary,
            "poll_error" => Self::PollError,
            "discovery_error" => Self::DiscoveryError,
            "target_removed" => Self::TargetRemoved,
            _ => Self::Other,
        }
    }
}

/// What an event says of one session; also an item of `sessions`.
#[derive(Debug, Deserialize)]
pub struct SessionRecord<'a> {
    /// None for a session without one.
    #[serde(borrow)]
    pub session_id: Option<Text<'a>>,
    /// The user directory.
    #[serde(borrow)]
    pub user_directory: Option<Text<'a>>,
    /// The user's id in that directory.
    #[serde(borrow)]
    pub user_id: Option<Text<'a>>,
    /// `DIRECTORY\id`, as it is written: it is rarely needed.
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    /// The first poll that saw it.
    #[serde(borrow)]
    pub first_seen: Option<Text<'a>>,
    /// It was there before the program was.
    pub first_seen_at_baseline: Option<bool>,
}

impl SessionRecord<'_> {
    /// `DIRECTORY\id`, unless users are not named.
    pub fn user(&self) -> Option<String> {
        if let Some(user) = self.user {
            return serde_json::from_str(user.get()).ok();
        }
        let (directory, id) = (self.user_directory.as_ref()?, self.user_id.as_ref()?);
        Some(format!("{}\\{}", directory.as_str(), id.as_str()))
    }
}

/// An event. One flat type: serde's `flatten` would copy every line.
#[derive(Debug, Deserialize)]
pub struct Record<'a> {
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    event_id: Text<'a>,
    /// The site, where it has a name.
    #[serde(borrow)]
    pub site: Option<Text<'a>>,
    /// The target's server.
    #[serde(borrow)]
    pub server_name: Option<Text<'a>>,
    /// The target's virtual proxy.
    #[serde(borrow)]
    pub virtual_proxy: Option<Text<'a>>,
    #[serde(borrow)]
    session_id: Option<Text<'a>>,
    #[serde(borrow)]
    user_directory: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    first_seen: Option<Text<'a>>,
    first_seen_at_baseline: Option<bool>,
    #[serde(borrow)]
    last_seen: Option<Text<'a>>,
    /// How long a session was seen.
    pub duration_seconds: Option<u64>,
    /// The items of `sessions`.
    #[serde(borrow)]
    pub sessions: Option<Vec<SessionRecord<'a>>>,
    /// Sessions of a target or of the site.
    pub session_count: Option<u64>,
    /// Distinct users of a target or of the site.
    pub user_count: Option<u64>,
    /// Their names.
    #[serde(borrow)]
    pub users: Option<Vec<Text<'a>>>,
    /// How many of them did not fit.
    pub users_omitted: Option<u64>,
    /// This poll lists all sessions, also with `changes`.
    pub keyframe: Option<bool>,
    /// Targets of a poll.
    pub targets: Option<u64>,
    /// How many users hold as many sessions as allowed.
    pub users_at_session_limit: Option<u64>,
    /// Their names.
    #[serde(borrow)]
    pub users_at_limit: Option<Vec<Text<'a>>>,
    /// Why a target could not be read.
    #[serde(borrow)]
    pub category: Option<Text<'a>>,
}

impl<'a> Record<'a> {
    /// The event on this line, if it is one: JSON with the keys that every event has, and
    /// those that its kind needs.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let record: Self = match str::from_utf8(line) {
            // The line is valid as a whole, so its pieces are not checked again.
            Ok(text) => serde_json::from_str(text),
            // The line is not UTF-8. That may be in a text that a report does not need.
            Err(_) => serde_json::from_slice(line),
        }
        .ok()?;
        (record.is_whole() && record.user_is_text()).then_some(record)
    }

    fn is_whole(&self) -> bool {
        let has_target = self.server_name.is_some() && self.virtual_proxy.is_some();
        match self.kind() {
            Kind::SessionSummary => has_target && self.session_count.is_some(),
            Kind::SessionStarted => has_target && self.session_id.is_some(),
            Kind::SessionEnded => {
                has_target && self.session_id.is_some() && self.last_seen().is_some()
            }
            Kind::Sessions => has_target && self.sessions.is_some(),
            Kind::PollError => has_target && self.category.is_some(),
            Kind::Session | Kind::TargetRemoved => has_target,
            Kind::DiscoveryError => self.category.is_some(),
            Kind::SiteSummary | Kind::Other => true,
        }
    }

    fn user_is_text(&self) -> bool {
        self.user.is_none_or(|user| user.get().starts_with('"'))
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        Kind::new(self.event.as_str())
    }

    /// The time of the poll as it is written.
    pub fn timestamp(&self) -> &str {
        self.timestamp.as_str()
    }

    /// What the event's id is, as a number.
    pub fn id(&self) -> u128 {
        let text = self.event_id.as_str();
        let is_ours = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = if is_ours { u128::from_str_radix(text, 16).ok() } else { None };
        number.unwrap_or_else(|| xxh3_128(text.as_bytes()))
    }

    /// The last poll that saw a session, in milliseconds since 1970.
    pub fn last_seen(&self) -> Option<i64> {
        parse_time(self.last_seen.as_ref()?.as_str())
    }

    /// Takes the session out of an event about one.
    pub fn take_session(&mut self) -> SessionRecord<'a> {
        SessionRecord {
            session_id: self.session_id.take(),
            user_directory: self.user_directory.take(),
            user_id: self.user_id.take(),
            user: self.user.take(),
            first_seen: self.first_seen.take(),
            first_seen_at_baseline: self.first_seen_at_baseline,
        }
    }
}

/// A time of an event, in milliseconds since 1970. Vector leaves a fraction of `.000`
/// out, so times are compared as numbers, never as texts.
pub fn parse_time(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}
