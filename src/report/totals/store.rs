//! What the lines say, each fact once. It grows with distinct sessions and
//! polls: a session's polls are [`Ranges`], so a line more costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};

use super::{
    LineCounts,
    ranges::Ranges,
    users::{UserIndex, Users},
};
use crate::report::input::{Kind, Record, SessionRecord, Text, parse_time};

/// Milliseconds since 1970.
pub type Time = i64;

/// Everything that was read.
#[derive(Debug, Default)]
pub struct Store {
    /// Only events of this site.
    wanted_site: Option<String>,
    /// Names of the sites that there are events of.
    pub sites: BTreeSet<String>,
    /// The targets, in order of appearance.
    pub targets: Vec<TargetRecord>,
    /// The sessions, in order of appearance.
    pub sessions: Vec<SessionFacts>,
    /// The users.
    pub users: Users,
    /// What was said of polls as a whole.
    pub site_polls: BTreeMap<Time, SitePoll>,
    /// Each time that something could not be read.
    pub failures: Vec<FailureRecord>,
    /// The lines.
    pub lines: LineCounts,
    /// Starts or ends of sessions are among the events.
    pub has_lifecycle: bool,
    target_numbers: HashMap<Box<str>, HashMap<Box<str>, usize>>,
    /// Ids of the events that are no sessions at a poll: those are many, and
    /// [`Ranges`] know them.
    seen: HashSet<u128>,
    times: Times,
}

/// One virtual proxy on one server.
#[derive(Debug, Default)]
pub struct TargetRecord {
    /// The server.
    pub server_name: String,
    /// The virtual proxy.
    pub virtual_proxy: String,
    /// Its polls, in order of appearance.
    pub polls: Vec<PollRecord>,
    /// Which poll was at this time.
    poll_numbers: HashMap<Time, u32>,
    session_numbers: HashMap<Box<str>, usize>,
    /// At which polls a summary names these users.
    pub listed_users: HashMap<UserIndex, Ranges>,
    /// When it ceased to be polled.
    pub removed: Vec<Time>,
}

/// One target at one poll.
#[derive(Clone, Copy, Debug)]
pub struct PollRecord {
    /// When it was.
    pub time: Time,
    /// Sessions, as the summary says; none where there is no summary.
    pub session_count: Option<u64>,
    /// Users, as the summary says.
    pub user_count: Option<u64>,
    /// The summary does not name all users.
    pub names_are_missing: bool,
    /// Sessions that there are lines of.
    pub listed: u64,
    /// All sessions are listed, if there are any.
    pub is_keyframe: bool,
}

impl PollRecord {
    /// True if the target answered.
    pub fn is_answered(&self) -> bool {
        self.session_count.is_some() || self.listed > 0
    }

    /// Sessions of a target that answered: where the summary was lost, those
    /// that there are lines of.
    pub fn sessions(&self) -> Option<u64> {
        self.session_count.or((self.listed > 0).then_some(self.listed))
    }

    /// True if a session that no line shows was not there: otherwise only the
    /// changes say who was.
    pub fn is_listing(&self) -> bool {
        self.is_keyframe || self.listed > 0 || self.session_count == Some(0)
    }
}

/// A session's begin, as events say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The first poll that saw it.
    pub time: Time,
    /// It may have begun earlier.
    pub is_bound: bool,
}

/// A session's end, as an event says.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The poll that missed it.
    pub time: Time,
    /// The first poll that saw it, if known.
    pub first_seen: Option<Time>,
    /// The last poll that saw it.
    pub last_seen: Time,
    /// How long it was seen.
    pub duration_seconds: u64,
    /// It may have lasted longer.
    pub is_bound: bool,
}

/// One session of one target.
#[derive(Debug)]
pub struct SessionFacts {
    /// Number of its target.
    pub target: usize,
    /// Its id, empty for none.
    pub session_id: Box<str>,
    /// The user directory.
    pub user_directory: Option<Box<str>>,
    /// Whose it is, unless users are not named.
    pub user: Option<UserIndex>,
    /// Polls of the target that list it.
    pub polls: Ranges,
    /// More than one where the id came back, or the program forgot it.
    pub begins: Vec<Begin>,
    /// Likewise.
    pub ends: Vec<End>,
}

/// What a poll says of itself.
#[derive(Debug, Default)]
pub struct SitePoll {
    /// Targets that were to be polled.
    pub targets: u64,
    /// Distinct users of the targets that answered.
    pub user_count: Option<u64>,
    /// Users that hold as many sessions as allowed.
    pub users_at_session_limit: Option<u64>,
    /// Who they are.
    pub users_at_limit: Vec<UserIndex>,
}

/// Something could not be read.
#[derive(Debug)]
pub struct FailureRecord {
    /// When.
    pub time: Time,
    /// The server.
    pub server_name: Box<str>,
    /// None when it was the repository service.
    pub virtual_proxy: Option<Box<str>>,
    /// Why.
    pub category: Box<str>,
}

impl Store {
    /// Nothing yet; takes events of any site, or of this one.
    pub fn new(wanted_site: Option<String>) -> Self {
        Self { wanted_site, ..Self::default() }
    }

    /// The one site, where it has a name.
    pub fn site(&self) -> Option<&str> {
        self.wanted_site.as_deref().or_else(|| self.sites.first().map(String::as_str))
    }

    /// Takes one line: its event, or none where it is not one.
    pub fn add_line(&mut self, record: Option<&mut Record<'_>>) {
        match record {
            Some(record) => match self.times.read(record.timestamp()) {
                Some(time) => self.add(record, time),
                None => self.lines.not_events += 1,
            },
            None => self.lines.not_events += 1,
        }
    }

    fn add(&mut self, record: &mut Record<'_>, time: Time) {
        if !self.is_of_wanted_site(record) {
            self.lines.other_sites += 1;
            return;
        }
        let is_new = match record.kind() {
            Kind::Session => self.add_session(record, time),
            _ => self.seen.insert(record.id()) && self.add_rare(record, time),
        };
        if is_new {
            self.lines.events += 1;
        } else {
            self.lines.repeated += 1;
        }
    }

    fn is_of_wanted_site(&mut self, record: &Record<'_>) -> bool {
        let site = record.site.as_ref().map(|site| site.as_str());
        if let Some(site) = site
            && !self.sites.contains(site)
        {
            self.sites.insert(site.to_owned());
        }
        self.wanted_site.as_deref().is_none_or(|wanted| Some(wanted) == site)
    }

    fn add_session(&mut self, record: &mut Record<'_>, time: Time) -> bool {
        let Some(target) = self.target_of(record) else { return true };
        let session = record.take_session();
        self.list(target, &session, time)
    }

    /// An event whose id was not seen before; always new.
    fn add_rare(&mut self, record: &mut Record<'_>, time: Time) -> bool {
        match record.kind() {
            Kind::SiteSummary => self.add_site_summary(record, time),
            Kind::PollError | Kind::DiscoveryError => self.add_failure(record, time),
            Kind::Other => {}
            kind => {
                if let Some(target) = self.target_of(record) {
                    match kind {
                        Kind::SessionSummary => self.add_summary(target, record, time),
                        Kind::Sessions => {
                            for session in record.sessions.iter().flatten() {
                                self.list(target, session, time);
                            }
                        }
                        Kind::TargetRemoved => self.targets[target].removed.push(time),
                        _ => self.add_change(target, record, time),
                    }
                }
            }
        }
        true
    }

    fn add_summary(&mut self, target: usize, record: &Record<'_>, time: Time) {
        let number = self.targets[target].poll(time);
        let Self { targets, users, .. } = self;
        let target = &mut targets[target];
        let poll = &mut target.polls[number as usize];
        // Two servers may share a name: their sessions add up.
        poll.session_count =
            Some(poll.session_count.unwrap_or(0) + record.session_count.unwrap_or(0));
        poll.user_count = match (poll.user_count, record.user_count) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        poll.names_are_missing |= record.users_omitted.is_some_and(|omitted| omitted > 0);
        poll.is_keyframe |= record.keyframe == Some(true);
        for user in record.users.iter().flatten() {
            let user = users.index(user.as_str());
            target.listed_users.entry(user).or_default().insert(number);
        }
    }

    fn add_site_summary(&mut self, record: &Record<'_>, time: Time) {
        let names = record.users_at_limit.iter().flatten();
        let users: Vec<_> = names.map(|name| self.users.index(name.as_str())).collect();
        let poll = self.site_polls.entry(time).or_default();
        // Two pollers that poll the same at the same time may fail in
        // different targets; the one that saw more is nearer to the truth.
        poll.targets = poll.targets.max(record.targets.unwrap_or(0));
        poll.user_count = poll.user_count.max(record.user_count);
        poll.users_at_session_limit =
            poll.users_at_session_limit.max(record.users_at_session_limit);
        for user in users {
            if !poll.users_at_limit.contains(&user) {
                poll.users_at_limit.push(user);
            }
        }
    }

    fn add_failure(&mut self, record: &Record<'_>, time: Time) {
        if let Some(target) = self.target_of(record).filter(|_| record.kind() == Kind::PollError) {
            self.targets[target].poll(time);
        }
        let text = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.as_str().into());
        self.failures.push(FailureRecord {
            time,
            server_name: text(&record.server_name).unwrap_or_default(),
            virtual_proxy: text(&record.virtual_proxy),
            category: text(&record.category).unwrap_or_default(),
        });
    }

    fn add_change(&mut self, target: usize, record: &mut Record<'_>, time: Time) {
        let (kind, last_seen) = (record.kind(), record.last_seen());
        let duration_seconds = record.duration_seconds;
        let session = record.take_session();
        let first_seen = self.times.first_seen(&session);
        self.has_lifecycle = true;
        let number = self.session(target, &session);
        let facts = &mut self.sessions[number];
        if kind == Kind::SessionStarted {
            facts.add_begin(Begin { time: first_seen.unwrap_or(time), is_bound: false });
        } else if let Some(last_seen) = last_seen {
            let seen_for = (last_seen - first_seen.unwrap_or(last_seen)).max(0) as u64;
            facts.ends.push(End {
                time,
                first_seen,
                last_seen,
                duration_seconds: duration_seconds.unwrap_or((seen_for + 500) / 1000),
                is_bound: first_seen.is_none() || session.first_seen_at_baseline == Some(true),
            });
        }
    }

    /// A line shows this session at this poll; returns whether that is new.
    fn list(&mut self, target: usize, session: &SessionRecord<'_>, time: Time) -> bool {
        let poll = self.targets[target].poll(time);
        let number = self.session(target, session);
        let facts = &mut self.sessions[number];
        if !facts.polls.insert(poll) {
            return false;
        }
        self.targets[target].polls[poll as usize].listed += 1;
        // As a rule a session has one begin, and this is a look at one number.
        if let Some(time) = self.times.first_seen(session) {
            facts.add_begin(Begin { time, is_bound: session.first_seen_at_baseline == Some(true) });
        }
        true
    }

    fn session(&mut self, target: usize, session: &SessionRecord<'_>) -> usize {
        let id = session.session_id.as_ref().map_or("", Text::as_str);
        // Sessions without an id are distinguished by their users, as in event ids.
        let user = if id.is_empty() { session.user() } else { None };
        let key = user.as_deref().map(|user| format!("\n{user}"));
        let key = key.as_deref().unwrap_or(id);
        if let Some(&number) = self.targets[target].session_numbers.get(key) {
            return number;
        }
        let number = self.sessions.len();
        self.targets[target].session_numbers.insert(key.into(), number);
        self.sessions.push(SessionFacts {
            target,
            session_id: id.into(),
            user_directory: session.user_directory.as_ref().map(|text| text.as_str().into()),
            user: session.user().map(|user| self.users.index(&user)),
            polls: Ranges::default(),
            begins: Vec::new(),
            ends: Vec::new(),
        });
        number
    }

    fn target_of(&mut self, record: &Record<'_>) -> Option<usize> {
        let server_name = record.server_name.as_ref()?.as_str();
        let virtual_proxy = record.virtual_proxy.as_ref()?.as_str();
        let known = self.target_numbers.get(server_name);
        if let Some(&number) = known.and_then(|proxies| proxies.get(virtual_proxy)) {
            return Some(number);
        }
        let number = self.targets.len();
        self.targets.push(TargetRecord {
            server_name: server_name.to_owned(),
            virtual_proxy: virtual_proxy.to_owned(),
            ..TargetRecord::default()
        });
        let proxies = self.target_numbers.entry(server_name.into()).or_default();
        proxies.insert(virtual_proxy.into(), number);
        Some(number)
    }
}

/// Times by their texts: many lines share them.
#[derive(Debug, Default)]
struct Times(HashMap<Box<str>, Time>);

impl Times {
    fn read(&mut self, text: &str) -> Option<Time> {
        if let Some(&time) = self.0.get(text) {
            return Some(time);
        }
        let time = parse_time(text)?;
        self.0.insert(text.into(), time);
        Some(time)
    }

    fn first_seen(&mut self, session: &SessionRecord<'_>) -> Option<Time> {
        self.read(session.first_seen.as_ref()?.as_str())
    }
}

impl TargetRecord {
    /// Number of the poll at this time.
    fn poll(&mut self, time: Time) -> u32 {
        if let Some(latest) = self.polls.last()
            && latest.time == time
        {
            return self.polls.len() as u32 - 1;
        }
        let next = self.polls.len() as u32;
        let number = *self.poll_numbers.entry(time).or_insert(next);
        if number == next {
            self.polls.push(PollRecord {
                time,
                session_count: None,
                user_count: None,
                names_are_missing: false,
                listed: 0,
                is_keyframe: false,
            });
        }
        number
    }
}

impl SessionFacts {
    /// Its id, if it has one.
    pub fn shown_id(&self) -> Option<String> {
        (!self.session_id.is_empty()).then(|| self.session_id.to_string())
    }

    /// The start of a stay whose first poll is at `start`, after the end of the stay before.
    pub fn begin(&self, start: Time, end_before: Option<Time>) -> Option<Begin> {
        let begins = self.begins.iter().filter(|begin| begin.time <= start);
        let begins = begins.filter(|begin| end_before.is_none_or(|end| begin.time > end));
        begins.max_by_key(|begin| begin.time).copied()
    }

    fn add_begin(&mut self, begin: Begin) {
        if let Some(known) = self.begins.iter_mut().find(|known| known.time == begin.time) {
            known.is_bound &= begin.is_bound;
        } else {
            self.begins.push(begin);
        }
    }
}
