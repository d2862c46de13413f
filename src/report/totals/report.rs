//! The numbers of a report, as `--output json` prints them. What is not known
//! is absent, never 0.

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde::{Serialize, Serializer};

use super::store::Time;

const TIMES: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// A time, printed as in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub Time);

impl At {
    /// As jiff knows it.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or_default()
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&TIMES.timestamp_to_string(&self.timestamp()))
    }
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The time that the report is about.
    pub period: Period,
    /// One for each day, in order; days without polls between others, too.
    pub days: Vec<Span>,
    /// One for each ISO week.
    pub weeks: Vec<Span>,
    /// One for each month.
    pub months: Vec<Span>,
    /// One for each virtual proxy of each server.
    pub targets: Vec<TargetTotals>,
    /// Most hours first; absent where users are not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<UserTotals>>,
    /// All sessions.
    pub sessions: SessionTotals,
    /// Users with as many parallel sessions as allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_limit: Option<SessionLimit>,
    /// By weekday and hour of the day.
    pub hours_of_week: Vec<HourOfWeek>,
    /// Times without polls.
    pub gaps: Vec<Gap>,
    /// What could not be read, and why.
    pub failures: Vec<Failures>,
    /// The same for each day.
    pub failures_by_day: Vec<Failures>,
    /// With `--at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<AtTime>,
    /// The lines that were read.
    pub lines: LineCounts,
    /// For the charts.
    #[serde(skip)]
    pub series: Series,
}

/// The time that a report is about.
#[derive(Debug, Serialize)]
pub struct Period {
    /// The first poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_poll: Option<At>,
    /// The last poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll: Option<At>,
    /// Where the days begin.
    pub timezone: String,
    /// The site, where it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Polls.
    pub polls: u64,
    /// Polls in which every target answered.
    pub polls_complete: u64,
    /// Different users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_users: Option<u64>,
    /// Most sessions at one poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_sessions: Option<u64>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_at: Option<At>,
    /// Most users at one poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_users: Option<u64>,
}

/// A day, a week or a month.
#[derive(Clone, Debug, Serialize)]
pub struct Span {
    /// `2026-11-23`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// `2026-W48`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub week: Option<String>,
    /// `2026-11`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// Of a day; 23 or 25 where the clocks change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_hours: Option<f64>,
    /// Most sessions at one poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_sessions: Option<u64>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_at: Option<At>,
    /// False if a target did not answer then: the peak is a lower bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_complete: Option<bool>,
    /// Most users at one poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_users: Option<u64>,
    /// Different users in all that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_users: Option<u64>,
    /// Most users at the session limit at one poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_at_session_limit: Option<u64>,
    /// Polls.
    pub polls: u64,
    /// Polls in which every target answered.
    pub polls_complete: u64,
}

/// One virtual proxy on one server.
#[derive(Debug, Serialize)]
pub struct TargetTotals {
    /// The server.
    pub server_name: String,
    /// The virtual proxy.
    pub virtual_proxy: String,
    /// Most sessions at one poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_sessions: Option<u64>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_at: Option<At>,
    /// Different users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_users: Option<u64>,
    /// Polls of this target.
    pub polls: u64,
    /// Those that it did not answer.
    pub polls_failed: u64,
}

/// One user.
#[derive(Debug, Serialize)]
pub struct UserTotals {
    /// `DIRECTORY\id`.
    pub user: String,
    /// Different sessions; absent where only the names of users were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// The time with at least one session.
    pub hours: f64,
}

/// All sessions.
#[derive(Debug, Default, Serialize)]
pub struct SessionTotals {
    /// Different sessions.
    pub count: u64,
    /// Those whose end was seen.
    pub ended: u64,
    /// How long those lasted, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_seconds: Option<f64>,
    /// Half of those lasted no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_seconds: Option<f64>,
    /// Ended ones whose start was not seen: they lasted longer than was counted.
    pub ended_begin_unseen: u64,
    /// The longest ones, the longest first.
    pub longest: Vec<LongSession>,
}

/// A session among the longest.
#[derive(Clone, Debug, Serialize)]
pub struct LongSession {
    /// The server.
    pub server_name: String,
    /// The virtual proxy.
    pub virtual_proxy: String,
    /// Left out with `--no-users`: it may hold a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// `DIRECTORY\id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The first poll that saw it.
    pub first_seen: At,
    /// The last poll that saw it.
    pub last_seen: At,
    /// The time between them; a lower bound unless both start and end were seen.
    pub seconds: u64,
    /// A poll before it did not have it.
    pub begin_seen: bool,
    /// A poll after it did not have it.
    pub end_seen: bool,
}

/// Users with as many parallel sessions as allowed.
#[derive(Debug, Serialize)]
pub struct SessionLimit {
    /// Most such users at one poll.
    pub peak_users: u64,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_at: Option<At>,
    /// Who, and at how many polls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<UserAtLimit>>,
}

/// A user who was at the limit.
#[derive(Debug, Serialize)]
pub struct UserAtLimit {
    /// `DIRECTORY\id`.
    pub user: String,
    /// At how many polls.
    pub polls: u64,
}

/// An hour of the day on a day of the week; only complete polls count.
#[derive(Debug, Serialize)]
pub struct HourOfWeek {
    /// 1 is Monday.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// Complete polls.
    pub polls: u64,
    /// Sessions at one, on average.
    pub mean_sessions: f64,
    /// Most sessions at one.
    pub peak_sessions: u64,
}

/// A time without polls.
#[derive(Debug, Serialize)]
pub struct Gap {
    /// The poll before it.
    pub from: At,
    /// The poll after it.
    pub to: At,
    /// Between them.
    pub seconds: u64,
}

/// How often something could not be read.
#[derive(Debug, Serialize)]
pub struct Failures {
    /// Of `failures_by_day`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The server.
    pub server_name: String,
    /// Absent for the repository service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_proxy: Option<String>,
    /// Why.
    pub category: String,
    /// How often.
    pub count: u64,
}

/// Who was on at a time.
#[derive(Debug, Serialize)]
pub struct AtTime {
    /// The time that was asked for.
    pub asked: At,
    /// The poll before it; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<At>,
    /// How long before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<f64>,
    /// Only this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Sessions of the targets that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_count: Option<u64>,
    /// Their users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_count: Option<u64>,
    /// Who they were.
    pub sessions: Vec<SessionAt>,
    /// Targets whose sessions are not known.
    pub targets_failed: Vec<TargetName>,
}

/// A session that was there.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SessionAt {
    /// `DIRECTORY\id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user directory; left out with `--no-users`, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_directory: Option<String>,
    /// The server.
    pub server_name: String,
    /// The virtual proxy.
    pub virtual_proxy: String,
    /// Left out with `--no-users`: it may hold a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The first poll that saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<At>,
    /// It may have begun earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen_at_baseline: Option<bool>,
}

/// The name of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TargetName {
    /// The server.
    pub server_name: String,
    /// The virtual proxy.
    pub virtual_proxy: String,
}

/// What was read. A line is one of these.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LineCounts {
    /// Events, each counted once.
    pub events: u64,
    /// Events that were there before.
    pub repeated: u64,
    /// No events.
    pub not_events: u64,
    /// Events of sites that `--site` does not name.
    pub other_sites: u64,
}

/// Numbers over time.
#[derive(Debug, Default)]
pub struct Series {
    /// At each moment: sessions and users of the whole site, none where not
    /// every target answered.
    pub site: Vec<Point>,
    /// The targets.
    pub targets: Vec<TargetSeries>,
    /// What could not be read.
    pub failures: Vec<FailureSeries>,
}

/// Numbers at one time.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// When.
    pub time: Time,
    /// Sessions, if known.
    pub sessions: Option<u64>,
    /// Users, if known.
    pub users: Option<u64>,
}

/// One target over time.
#[derive(Debug)]
pub struct TargetSeries {
    /// The target.
    pub name: TargetName,
    /// Sessions and users at each of its polls, none where it failed.
    pub points: Vec<Point>,
    /// Times without polls of it.
    pub gaps: Vec<Gap>,
}

/// When something could not be read for one reason.
#[derive(Debug)]
pub struct FailureSeries {
    /// The server.
    pub server_name: String,
    /// None for the repository service.
    pub virtual_proxy: Option<String>,
    /// Why.
    pub category: String,
    /// When, in order.
    pub times: Vec<Time>,
}
