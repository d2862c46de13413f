//! `who`: who is connected now, for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::{CommandError, Exit, counted, load, printable, runtime};
use crate::{
    cli::{WhoArgs, WhoOutput},
    config::Config,
    output::PatientStdout,
    poll::{StartError, survey},
    proxy::Failure,
    snapshot::{DistinctUsers, Snapshot, User, sorted_names},
    target::{Target, VirtualProxy},
};

pub fn run(args: &WhoArgs) -> Result<Exit, CommandError> {
    let Some(mut config) = load(&args.config.config)? else { return Ok(Exit::Done) };
    choose_targets(&mut config, args)?;
    let runtime = runtime()?;
    let asked = runtime.block_on(survey(&config)).map_err(StartError::from)?;
    runtime.shutdown_background();
    let mut found = Found { session_limit: config.options.session_limit, ..Found::default() };
    for surveyed in asked {
        match surveyed.answer {
            Ok(snapshot) => found.add(surveyed.target, snapshot),
            Err(failure) => found.failed.push(FailedTarget::new(surveyed.target, &failure)),
        }
    }
    found.sort();
    let mut stdout = PatientStdout::new();
    match args.output {
        WhoOutput::Table => found.write_table(&mut stdout)?,
        WhoOutput::Json => found.write_json(&mut stdout)?,
        WhoOutput::Csv => found.write_csv(&mut stdout)?,
    }
    if args.output != WhoOutput::Json {
        found.write_failures(args.output)?;
    }
    Ok(if found.failed.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Leaves only what `--server` and `--virtual-proxy` name.
fn choose_targets(config: &mut Config, args: &WhoArgs) -> Result<(), CommandError> {
    let known = |name: fn(&Target) -> String, targets: &[Target]| {
        targets.iter().map(name).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    if let Some(name) = &args.server {
        let servers = known(|target| target.server.name.clone(), &config.targets);
        config.targets.retain(|target| {
            let server = &target.server;
            [&server.name, &server.host, &server.proxy.host]
                .iter()
                .any(|own| own.eq_ignore_ascii_case(name))
        });
        if config.targets.is_empty() {
            return Err(CommandError::Usage(format!(
                "no server is called `{name}`; there are: {servers}"
            )));
        }
    }
    if let Some(prefix) = &args.virtual_proxy {
        let prefixes = known(|target| target.virtual_proxy.to_string(), &config.targets);
        let wanted = VirtualProxy::new(prefix);
        config.targets.retain(|target| target.virtual_proxy == wanted);
        if config.targets.is_empty() {
            return Err(CommandError::Usage(format!(
                "no virtual proxy `{wanted}`; there are: {prefixes}"
            )));
        }
    }
    Ok(())
}

/// One session, as it is printed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct ConnectedSession {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    server_name: String,
    virtual_proxy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct FailedTarget {
    server_name: String,
    virtual_proxy: String,
    category: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl FailedTarget {
    fn new(target: &Target, failure: &Failure) -> Self {
        Self {
            server_name: target.server.name.clone(),
            virtual_proxy: target.virtual_proxy.to_string(),
            category: failure.category.as_str(),
            message: failure.message.clone(),
            hint: failure.hint.clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    sessions: Vec<ConnectedSession>,
    users: DistinctUsers,
    session_limit: usize,
    targets: usize,
    excluded_session_count: usize,
    failed: Vec<FailedTarget>,
}

impl Found {
    fn add(&mut self, target: &Target, snapshot: Snapshot) {
        self.targets += 1;
        self.excluded_session_count += snapshot.excluded_session_count;
        self.users.extend(snapshot.users);
        self.sessions.extend(snapshot.sessions.into_iter().map(|session| ConnectedSession {
            user_directory: session.user_directory,
            user_id: session.user_id,
            server_name: target.server.name.clone(),
            virtual_proxy: target.virtual_proxy.to_string(),
            session_id: session.session_id,
        }));
    }

    fn sort(&mut self) {
        self.sessions.sort_unstable();
    }

    fn totals(&self) -> String {
        let excluded = match self.excluded_session_count {
            0 => String::new(),
            count => format!(" (and {count} of excluded users)"),
        };
        format!(
            "{} of {} on {}{excluded}",
            counted(self.sessions.len(), "session", "sessions"),
            counted(self.users.len(), "distinct user", "distinct users"),
            counted(self.targets, "virtual proxy", "virtual proxies"),
        )
    }

    fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let mut rows: BTreeMap<[&str; 3], usize> = BTreeMap::new();
        let names: Vec<String> = self.sessions.iter().map(ConnectedSession::user).collect();
        for (session, user) in self.sessions.iter().zip(&names) {
            *rows.entry([user, &session.server_name, &session.virtual_proxy]).or_default() += 1;
        }
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(["USER", "SERVER", "VIRTUAL PROXY", "SESSIONS"]);
        for ([user, server, virtual_proxy], sessions) in &rows {
            table.add_row([*user, server, virtual_proxy, &sessions.to_string()].map(printable));
        }
        if let Some(column) = table.column_mut(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !rows.is_empty() {
            for line in table.lines() {
                writeln!(out, "{}", line.trim_end())?;
            }
            writeln!(out)?;
        }
        self.write_users_at_limit(out)?;
        writeln!(out, "{}", self.totals())
    }

    /// Sessions count for a user over the whole site, in whatever spelling.
    fn write_users_at_limit(&self, out: &mut impl Write) -> io::Result<()> {
        let mut users: Vec<&User> = self.users.at_limit(self.session_limit).collect();
        if users.is_empty() {
            return Ok(());
        }
        users.sort_unstable_by_key(|user| (user.name.as_deref(), user.sessions));
        writeln!(
            out,
            "At the limit of {} parallel sessions, and locked out beyond it:",
            self.session_limit
        )?;
        for user in users {
            let name = user.name.as_deref().unwrap_or("(not named)");
            writeln!(
                out,
                "  ! {}: {}",
                printable(name),
                counted(user.sessions, "session", "sessions")
            )?;
        }
        writeln!(out)
    }

    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Document<'a> {
            session_count: usize,
            user_count: usize,
            excluded_session_count: usize,
            targets: usize,
            targets_failed: usize,
            users_at_session_limit: usize,
            users_at_limit: Vec<&'a str>,
            sessions: &'a [ConnectedSession],
            failed: &'a [FailedTarget],
        }
        let document = Document {
            session_count: self.sessions.len(),
            user_count: self.users.len(),
            excluded_session_count: self.excluded_session_count,
            targets: self.targets + self.failed.len(),
            targets_failed: self.failed.len(),
            users_at_session_limit: self.users.at_limit(self.session_limit).count(),
            users_at_limit: sorted_names(self.users.at_limit(self.session_limit)),
            sessions: &self.sessions,
            failed: &self.failed,
        };
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)
    }

    fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
        csv.write_record([
            "user_directory",
            "user_id",
            "server_name",
            "virtual_proxy",
            "session_id",
        ])
        .map_err(io::Error::from)?;
        for session in &self.sessions {
            csv.write_record([
                session.user_directory.as_deref().unwrap_or_default(),
                session.user_id.as_deref().unwrap_or_default(),
                &session.server_name,
                &session.virtual_proxy,
                session.session_id.as_deref().unwrap_or_default(),
            ])
            .map_err(io_error)?;
        }
        csv.flush()
    }

    /// Below the table; beside the lines for programs.
    fn write_failures(&self, output: WhoOutput) -> io::Result<()> {
        if self.failed.is_empty() {
            return Ok(());
        }
        let mut text = format!(
            "\n{} could NOT be read, so the numbers above are not the whole site:\n",
            counted(self.failed.len(), "virtual proxy", "virtual proxies")
        );
        for failed in &self.failed {
            let FailedTarget { server_name, virtual_proxy, category, message, hint } = failed;
            text.push_str(&format!("  ✗ {server_name} {virtual_proxy}: {category}: {message}\n"));
            if let Some(hint) = hint {
                text.push_str(&format!("      {hint}\n"));
            }
        }
        match output {
            WhoOutput::Csv => io::stderr().write_all(text.as_bytes()),
            WhoOutput::Table | WhoOutput::Json => PatientStdout::new().write_all(text.as_bytes()),
        }
    }
}

impl ConnectedSession {
    fn user(&self) -> String {
        let directory = self.user_directory.as_deref().unwrap_or_default();
        format!("{directory}\\{}", self.user_id.as_deref().unwrap_or("(not named)"))
    }
}

/// The operating system's error, so that a reader that left is known as that.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}
