//! A look as table, JSON or CSV.

use std::collections::{BTreeMap, HashMap};

use comfy_table::{Cell, CellAlignment, Color, Table};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{
    super::{
        counted, printable,
        table::{plain, text_of},
    },
    look::{ConnectedSession, Look, State},
};
use crate::{
    poll::FailedInquiry,
    proxy::Failure,
    snapshot::{DistinctUsers, User, sorted_names},
};

/// Shows looks.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// Parallel sessions at which a user is locked out.
    pub session_limit: usize,
    /// Columns after which lines are broken; none where the terminal does that, or there
    /// is none.
    pub width: Option<u16>,
    /// Most rows of a table.
    pub most_rows: usize,
}

/// Whether the table has a column for sessions that came and went. Old rows are
/// always marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    Hidden,
    Shown,
}

/// The sessions of one user on one target.
#[derive(Default)]
struct Row {
    sessions: usize,
    came: usize,
    went: usize,
    /// When this was true, where the last answer is an older one.
    old: Option<Timestamp>,
}

impl Show {
    /// `5 sessions of 3 distinct users on 2 virtual proxies`, of the targets that answered.
    pub fn totals(&self, look: &Look) -> String {
        let targets = look.answered().count();
        let sessions: usize = look.answered().map(|(_, state)| state.sessions.len()).sum();
        format!(
            "{} of {} on {}{}",
            counted(sessions, "session", "sessions"),
            counted(users_now(look).len(), "distinct user", "distinct users"),
            counted(targets, "virtual proxy", "virtual proxies"),
            excluded(look)
        )
    }

    /// The same, and how many came and went since the look before.
    pub fn totals_and_changes(&self, look: &Look) -> String {
        let came = look.answered().map(|(_, state)| state.came.len()).sum();
        let went = look.answered().map(|(_, state)| state.went.len()).sum();
        let totals = self.totals(look);
        match came_and_went(came, went) {
            changes if changes.is_empty() => totals,
            changes => format!("{totals}; {changes} since the look before"),
        }
    }

    /// The line where nobody is connected any more.
    pub fn nobody(&self, look: &Look) -> String {
        let targets = counted(look.targets.len(), "virtual proxy", "virtual proxies");
        let excluded = match excluded_session_count(look) {
            0 => String::new(),
            count => format!("; excluded users have {}", counted(count, "session", "sessions")),
        };
        format!("nobody is left on {targets}{excluded}")
    }

    /// One row for each user on each target; empty where there is none. Where not all
    /// fit, those that changed come first.
    pub fn table(&self, look: &Look, changes: Changes) -> String {
        let mut rows: Vec<_> = rows(look, changes).into_iter().collect();
        if rows.is_empty() {
            return String::new();
        }
        let left_out = rows.len().saturating_sub(self.most_rows);
        if left_out > 0 {
            rows.sort_by_key(|(_, row)| !row.has_changed());
            rows.truncate(self.most_rows);
        }
        let has_changes =
            changes == Changes::Shown || rows.iter().any(|(_, row)| row.old.is_some());
        let mut table = self.empty_table();
        let header = ["USER", "SERVER", "VIRTUAL PROXY", "SESSIONS"];
        table.set_header(header.into_iter().chain(has_changes.then_some("CHANGE")));
        for ((user, server, virtual_proxy), row) in &rows {
            let sessions = row.sessions.to_string();
            let mut cells = [user, *server, virtual_proxy, &sessions].map(printable).to_vec();
            cells.extend(has_changes.then(|| row.change()));
            let style =
                |text| row.colour().map_or(Cell::new(&text), |colour| Cell::new(&text).fg(colour));
            table.add_row(cells.into_iter().map(style));
        }
        if let Some(column) = table.column_mut(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = text_of(&table);
        if left_out > 0 {
            text.push_str(&format!("… and {}\n", counted(left_out, "more row", "more rows")));
        }
        text
    }

    /// Who is at the session limit; empty where nobody is. Sessions count for a user
    /// over the whole site, in whatever spelling.
    pub fn users_at_limit(&self, look: &Look) -> String {
        let known = users(look.known().map(|(_, state)| state));
        let mut users: Vec<&User> = known.at_limit(self.session_limit).collect();
        if users.is_empty() {
            return String::new();
        }
        users.sort_unstable_by_key(|user| (user.name.as_deref(), user.sessions));
        let mut text = self.broken(&format!(
            "At the limit of {} parallel sessions, and locked out beyond it:",
            self.session_limit
        ));
        for user in users {
            let name = user.name.as_deref().unwrap_or("(not named)");
            let sessions = counted(user.sessions, "session", "sessions");
            text.push_str(&self.broken(&format!("  ! {}: {sessions}", printable(name))));
        }
        text
    }

    /// The targets that could not be read; empty where all could.
    pub fn failures(&self, look: &Look) -> String {
        self.failed_targets(look) + &self.failed_inquiries(look)
    }

    fn failed_targets(&self, look: &Look) -> String {
        let count = look.failed().count();
        if count == 0 {
            return String::new();
        }
        let mut text = self.broken(&format!(
            "{} could NOT be read, so the numbers are not those of the whole site:",
            counted(count, "virtual proxy", "virtual proxies")
        ));
        for (seen, failure) in look.failed() {
            text.push_str(&self.reason(&format!("{}: ", seen.target), failure));
            if let Some(state) = &seen.state {
                let at = local_time(state.at);
                text.push_str(&self.broken(&format!("      it was last read at {at}")));
            }
        }
        text
    }

    fn failed_inquiries(&self, look: &Look) -> String {
        let mut text = String::new();
        for FailedInquiry { repository, failure, has_old_list } in &look.failed_inquiries {
            let consequence = if *has_old_list {
                "its virtual proxies are those of an older list"
            } else {
                "its virtual proxies are not known"
            };
            text.push_str(&self.broken(&format!(
                "The repository service {repository} could NOT be asked; {consequence}:"
            )));
            text.push_str(&self.reason("", failure));
        }
        text
    }

    fn reason(&self, of: &str, failure: &Failure) -> String {
        let category = failure.category.as_str();
        let mut text = self.broken(&format!(
            "  ✗ {}{category}: {}",
            printable(of),
            printable(&failure.message)
        ));
        if let Some(hint) = &failure.hint {
            text.push_str(&self.broken(&format!("      {}", printable(hint))));
        }
        text
    }

    /// A text with breaks where the width asks for them, and a line end.
    pub fn broken(&self, text: &str) -> String {
        if self.width.is_none() {
            return format!("{text}\n");
        }
        let words = text.trim_start();
        let indent = u16::try_from(text.len() - words.len()).unwrap_or_default();
        let mut table = self.empty_table();
        table.add_row([words]);
        if let Some(column) = table.column_mut(0) {
            column.set_padding((indent, 0));
        }
        text_of(&table)
    }

    /// One object, on one line or many.
    pub fn json(&self, look: &Look, pretty: bool) -> String {
        let users = users_now(look);
        let failed: Vec<FailedTarget<'_>> = failed_targets(look);
        let sessions = look.sessions();
        let document = Document {
            timestamp: format!("{:.3}", look.at),
            session_count: sessions.len(),
            user_count: users.len(),
            excluded_session_count: excluded_session_count(look),
            targets: look.targets.len(),
            targets_failed: failed.len(),
            users_at_session_limit: users.at_limit(self.session_limit).count(),
            users_at_limit: sorted_names(users.at_limit(self.session_limit)),
            sessions,
            failed,
            failed_inquiries: look.failed_inquiries.iter().map(InquiryRecord::from).collect(),
        };
        let text = if pretty {
            serde_json::to_string_pretty(&document)
        } else {
            serde_json::to_string(&document)
        };
        text.expect("texts and numbers are JSON") + "\n"
    }

    fn empty_table(&self) -> Table {
        let mut table = plain();
        if let Some(width) = self.width {
            table.set_width(width);
        }
        table
    }
}

/// The sessions of one moment as CSV; a column `timestamp` comes first where there are
/// several moments.
pub fn csv(look: &Look, timestamp: bool, header: bool) -> String {
    const COLUMNS: [&str; 5] =
        ["user_directory", "user_id", "server_name", "virtual_proxy", "session_id"];
    const MEMORY: &str = "memory takes it";
    let time = timestamp.then(|| format!("{:.3}", look.at));
    let mut csv = csv::Writer::from_writer(Vec::new());
    if header {
        let columns = time.as_ref().map(|_| "timestamp").into_iter().chain(COLUMNS);
        csv.write_record(columns).expect(MEMORY);
    }
    for session in look.sessions() {
        let fields = [
            session.user_directory.as_deref().unwrap_or_default(),
            session.user_id.as_deref().unwrap_or_default(),
            &session.server_name,
            &session.virtual_proxy,
            session.session_id.as_deref().unwrap_or_default(),
        ];
        csv.write_record(time.as_deref().into_iter().chain(fields)).expect(MEMORY);
    }
    String::from_utf8(csv.into_inner().expect(MEMORY)).expect("it is made of texts")
}

/// A moment in the time zone of this machine: `2026-11-25 14:03:05+01:00`.
pub fn local_time(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// The same without its day: `14:03:05`.
fn local_clock(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

#[derive(Serialize)]
struct Document<'a> {
    timestamp: String,
    session_count: usize,
    user_count: usize,
    excluded_session_count: usize,
    targets: usize,
    targets_failed: usize,
    users_at_session_limit: usize,
    users_at_limit: Vec<&'a str>,
    sessions: Vec<&'a ConnectedSession>,
    failed: Vec<FailedTarget<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_inquiries: Vec<InquiryRecord<'a>>,
}

#[derive(Serialize)]
struct FailedTarget<'a> {
    server_name: &'a str,
    virtual_proxy: &'a str,
    category: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

#[derive(Serialize)]
struct InquiryRecord<'a> {
    repository: &'a str,
    has_old_list: bool,
    category: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl<'a> From<&'a FailedInquiry> for InquiryRecord<'a> {
    fn from(FailedInquiry { repository, failure, has_old_list }: &'a FailedInquiry) -> Self {
        Self {
            repository,
            has_old_list: *has_old_list,
            category: failure.category.as_str(),
            message: &failure.message,
            hint: failure.hint.as_deref(),
        }
    }
}

fn failed_targets(look: &Look) -> Vec<FailedTarget<'_>> {
    look.failed()
        .map(|(seen, failure)| FailedTarget {
            server_name: &seen.target.server.name,
            virtual_proxy: seen.target.virtual_proxy.as_str(),
            category: failure.category.as_str(),
            message: &failure.message,
            hint: failure.hint.as_deref(),
        })
        .collect()
}

/// By user, server and virtual proxy. A person in two spellings is one user, shown
/// in the first.
fn rows(look: &Look, changes: Changes) -> BTreeMap<(String, &str, &str), Row> {
    let mut names: HashMap<String, String> = HashMap::new();
    let mut rows: BTreeMap<(String, &str, &str), Row> = BTreeMap::new();
    for (seen, state) in look.known() {
        let mut count = |sessions: &[ConnectedSession], add: fn(&mut Row)| {
            for session in sessions {
                let name = names.entry(session.identity()).or_insert_with(|| session.user());
                let server = seen.target.server.name.as_str();
                let place = (name.clone(), server, seen.target.virtual_proxy.as_str());
                let row = rows.entry(place).or_default();
                row.old = seen.failure.as_ref().map(|_| state.at);
                add(row);
            }
        };
        count(&state.sessions, |row| row.sessions += 1);
        if changes == Changes::Shown {
            count(&state.came, |row| row.came += 1);
            count(&state.went, |row| row.went += 1);
        }
    }
    rows
}

impl Row {
    fn has_changed(&self) -> bool {
        self.came > 0 || self.went > 0
    }

    fn change(&self) -> String {
        match self.old {
            Some(at) => format!("old ({})", local_clock(at)),
            None => came_and_went(self.came, self.went),
        }
    }

    fn colour(&self) -> Option<Color> {
        match self {
            Self { old: Some(_), .. } => Some(Color::Yellow),
            Self { came: 1.., .. } => Some(Color::Green),
            Self { went: 1.., .. } => Some(Color::Red),
            _ => None,
        }
    }
}

/// `1 came, 2 went`; empty where nothing changed.
fn came_and_went(came: usize, went: usize) -> String {
    let changes = [(came, "came"), (went, "went")];
    let texts: Vec<String> = changes
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    texts.join(", ")
}

/// The users of the targets that answered.
fn users_now(look: &Look) -> DistinctUsers {
    users(look.answered().map(|(_, state)| state))
}

fn users<'l>(states: impl Iterator<Item = &'l State>) -> DistinctUsers {
    let mut users = DistinctUsers::default();
    states.for_each(|state| users.extend(state.users.clone()));
    users
}

fn excluded_session_count(look: &Look) -> usize {
    look.answered().map(|(_, state)| state.excluded_session_count).sum()
}

fn excluded(look: &Look) -> String {
    match excluded_session_count(look) {
        0 => String::new(),
        count => format!(" (and {count} of excluded users)"),
    }
}
