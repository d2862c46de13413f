//! A look as people and programs read it: table, JSON, CSV.

use std::collections::{BTreeMap, HashMap};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{
    super::{counted, printable},
    look::{ConnectedSession, Look, State},
};
use crate::snapshot::{DistinctUsers, User, sorted_names};

/// Shows looks.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// Parallel sessions at which a user is locked out.
    pub session_limit: usize,
    /// Where lines have to be broken; none where the terminal, if any, decides.
    pub width: Option<u16>,
}

/// What a table's rows say beside the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Nothing.
    Hidden,
    /// How many sessions came and went, and which rows are old.
    Shown,
}

/// The sessions of one user on one target.
#[derive(Default)]
struct Row {
    sessions: usize,
    came: usize,
    went: usize,
    /// When this was, where it is not known for now.
    old: Option<Timestamp>,
}

impl Show {
    /// `5 sessions of 3 distinct users on 2 virtual proxies`, of what is known for now.
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

    /// What is said where nobody is connected any more.
    pub fn nobody(&self, look: &Look) -> String {
        let targets = counted(look.targets.len(), "virtual proxy", "virtual proxies");
        let excluded = match excluded_session_count(look) {
            0 => String::new(),
            count => format!("; excluded users have {}", counted(count, "session", "sessions")),
        };
        format!("nobody is left on {targets}{excluded}")
    }

    /// One row for each user on each target; empty where there is none.
    pub fn table(&self, look: &Look, changes: Changes) -> String {
        let rows = rows(look, changes);
        if rows.is_empty() {
            return String::new();
        }
        let mut table = self.empty_table();
        let mut header = vec!["USER", "SERVER", "VIRTUAL PROXY", "SESSIONS"];
        if changes == Changes::Shown {
            header.push("CHANGE");
        }
        table.set_header(header);
        for ((user, server, virtual_proxy), row) in &rows {
            let mut cells = vec![
                printable(user),
                printable(server),
                printable(virtual_proxy),
                row.sessions.to_string(),
            ];
            if changes == Changes::Shown {
                cells.push(row.change());
            }
            table.add_row(cells);
        }
        if let Some(column) = table.column_mut(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text_of(&table)
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

    /// The targets that could not be read; empty where there is none.
    pub fn failures(&self, look: &Look) -> String {
        let count = look.failed().count();
        if count == 0 {
            return String::new();
        }
        let mut text = self.broken(&format!(
            "{} could NOT be read, so the numbers are not the whole site:",
            counted(count, "virtual proxy", "virtual proxies")
        ));
        for (seen, failure) in look.failed() {
            let category = failure.category.as_str();
            text.push_str(&self.broken(&format!(
                "  ✗ {}: {category}: {}",
                printable(&seen.target.to_string()),
                printable(&failure.message)
            )));
            if let Some(hint) = &failure.hint {
                text.push_str(&self.broken(&format!("      {}", printable(hint))));
            }
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
        };
        let text = if pretty {
            serde_json::to_string_pretty(&document)
        } else {
            serde_json::to_string(&document)
        };
        text.expect("texts and numbers are JSON") + "\n"
    }

    fn empty_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = self.width {
            table.set_width(width);
        }
        table
    }
}

/// The sessions of one moment, as a spreadsheet takes them; `timestamp` comes first
/// where there are several moments.
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

/// A moment on the clock of this machine: `2026-11-25 14:03:05+01:00`.
pub fn local_time(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
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
    fn change(&self) -> String {
        if let Some(old) = self.old {
            return format!("old: of {}", local_time(old));
        }
        let changes = [(self.came, "came"), (self.went, "went")];
        let texts: Vec<String> = changes
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        texts.join(", ")
    }
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

fn text_of(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
