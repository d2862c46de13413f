//! One file for each subcommand, and what they share: the exit codes, the
//! configuration with its warnings, the runtime.

mod check;
#[cfg(feature = "demo")]
mod demo;
mod discover;
mod once;
mod report;
mod schema;
mod sites;
mod stream;
mod table;
mod transform;
mod who;

use std::{io, path::Path, process, time::Duration};

use jiff::tz::TimeZone;
use tokio::runtime::Runtime;

use crate::{
    cli::{Cli, Command},
    config::{Config, ConfigError},
    discovery::Node,
    logging,
    output::{Closed, Output, is_closed},
    poll::StartError,
    proxy::Failure,
};

/// How long the program waits at its end for a reader that does not read.
const GRACE: Duration = Duration::from_secs(5);

/// The message where the configuration switches extraction off.
const SWITCHED_OFF: &str = "extraction is switched off (`Butler-SOS.userSessions.enableSessionExtract` is not true); nothing is polled";

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; also where it was asked to end, or nobody reads any more.
    Done,
    /// It ran, but a target failed, or something on this machine did.
    Failed,
    /// The configuration is wrong or leaves nothing to poll; nothing was polled.
    Config,
    /// The arguments do not fit the configuration.
    Usage,
}

impl From<Exit> for process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            // EX_CONFIG of sysexits.h.
            Exit::Config => 78,
        })
    }
}

/// What ends a command early.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Closed(#[from] Closed),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failure(#[from] Failure),
    /// An exit code of its own: a script must not take this for a site where nobody is
    /// connected.
    #[error("{0}")]
    NothingSelected(String),
}

/// Runs a command.
pub fn run(cli: Cli) -> Exit {
    logging::init(cli.log_format, cli.log_level);
    let result = match cli.command {
        Command::Stream(args) => stream::run(&args.config),
        Command::Once(args) => once::run(&args.config),
        Command::Check(args) => check::run(&args),
        Command::Who(args) => who::run(&args),
        Command::Discover(args) => discover::run(&args),
        Command::Transform(args) => transform::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Schema { of } => schema::run(of),
        Command::Completions { shell } => schema::completions(shell),
        Command::Man { folder } => schema::man(&folder),
    };
    match result {
        Ok(exit) => exit,
        Err(CommandError::Closed(Closed)) => Exit::Done,
        Err(CommandError::Io(error)) if is_closed(&error) => Exit::Done,
        Err(error) => {
            tracing::error!("{error}");
            match error {
                CommandError::Config(_)
                | CommandError::Start(_)
                | CommandError::NothingSelected(_) => Exit::Config,
                CommandError::Usage(_) => Exit::Usage,
                _ => Exit::Failed,
            }
        }
    }
}

/// Reads the configuration and logs its warnings.
fn read_config(path: &Path) -> Result<Config, CommandError> {
    let config = Config::load(path)?;
    log_warnings(&config);
    Ok(config)
}

/// Reads the configuration for polling, and logs its warnings. None where extraction is
/// switched off.
fn load(path: &Path) -> Result<Option<Config>, CommandError> {
    let config = Config::load(path)?.for_polling()?;
    log_warnings(&config);
    if !config.enabled {
        tracing::warn!("{}: {SWITCHED_OFF}", path.display());
        return Ok(None);
    }
    for server in config.servers().filter(|server| !server.tls.verify) {
        tracing::warn!(
            "the certificate of {} is NOT CHECKED (rejectUnauthorized: false): anybody on the network path can read and change its answers",
            server.name
        );
    }
    for source in config.discovery.sources.iter().filter(|source| !source.tls.verify) {
        tracing::warn!(
            "the certificates of the repository service {} and of what it lists are NOT CHECKED (rejectUnauthorized: false): anybody on the network path can read and change their answers",
            source.host.configured
        );
    }
    Ok(Some(config))
}

fn log_warnings(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{}: {warning}", config.path.display());
    }
}

/// One thread is enough: the program waits for the network.
fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Ends a program that was asked to end. Its reader has a limited time to read what is in
/// the queue.
async fn end(output: &Output, signal: &str) -> Result<Exit, CommandError> {
    tracing::info!("{signal}: ending");
    match tokio::time::timeout(GRACE, output.flushed()).await {
        Ok(Ok(())) => Ok(Exit::Done),
        Ok(Err(Closed)) => closed(output),
        Err(_) => {
            tracing::error!("nobody reads stdout; the lines that waited for it are lost");
            Ok(Exit::Failed)
        }
    }
}

/// Ends a program whose stdout cannot be written: where the reader has left, that is no
/// error.
fn closed(output: &Output) -> Result<Exit, CommandError> {
    match output.error() {
        Some(error) => {
            Err(io::Error::new(error.kind(), format!("stdout cannot be written: {error}")).into())
        }
        None => Ok(Exit::Done),
    }
}

/// `36 virtual proxies on 3 servers`, and what is listed.
fn what_is_polled(config: &Config) -> String {
    let listed: Vec<String> = config
        .discovery
        .sources
        .iter()
        .map(|source| format!("what the repository service {} lists", source.host.configured))
        .collect();
    let configured = format!(
        "{} on {}",
        counted(config.targets.len(), "virtual proxy", "virtual proxies"),
        counted(config.servers().count(), "server", "servers")
    );
    match (listed.is_empty(), config.targets.is_empty()) {
        (true, _) => configured,
        (false, true) => listed.join(" and "),
        (false, false) => format!("{configured}, and {}", listed.join(" and ")),
    }
}

/// A time zone by its IANA name, or that of the machine.
fn time_zone(name: Option<&str>) -> Result<TimeZone, CommandError> {
    let Some(name) = name else { return Ok(TimeZone::system()) };
    TimeZone::get(name).map_err(|_| {
        CommandError::Usage(format!(
            "`{name}` is not a time zone; expected a name like `Europe/Stockholm` or `UTC`"
        ))
    })
}

/// `1 session`, `2 sessions`.
fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `34 virtual proxies on 3 nodes`.
fn site_totals(nodes: &[Node]) -> String {
    let virtual_proxies = nodes.iter().map(|node| node.listed.virtual_proxies.len()).sum();
    format!(
        "{} on {}",
        counted(virtual_proxies, "virtual proxy", "virtual proxies"),
        counted(nodes.len(), "node", "nodes")
    )
}

/// A text without control characters: a name may hold anything, and must not control
/// the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
