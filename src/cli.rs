//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::Timestamp;

use crate::{
    logging::{LogFormat, LogLevel},
    target::{Addresses, ProxyAddress, REPOSITORY_PORT, RepositoryUser},
};

const EXIT_CODES: &str = "\
Exit codes: 0 done, also when asked to end or when nobody reads the events any more; \
1 a target failed (once, check, who), or something on this machine did; \
2 wrong arguments; 78 wrong configuration, nothing was polled.";

/// Who is connected to Qlik Sense right now, as newline-delimited JSON.
#[derive(Debug, Parser)]
#[command(version = env!("QLIK_SESSIONS_VERSION"), about, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// How the log on stderr is written
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What is logged on stderr
    #[arg(long, global = true, value_enum, env = "QLIK_SESSIONS_LOG", default_value_t)]
    pub log_level: LogLevel,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll at once and then at every pollingInterval, for ever
    ///
    /// For Vector's exec source in streaming mode.
    Stream(ConfigArgs),
    /// Poll every target once
    ///
    /// For Vector's scheduled mode, Fluent Bit and cron. Exit code 1 if a target failed.
    Once(ConfigArgs),
    /// Say whether config, certificates and every target are right, and what to do where not
    Check(CheckArgs),
    /// Show who is connected now
    Who(WhoArgs),
    /// List every proxy and virtual proxy of a site, or write a configuration that polls them
    ///
    /// Asks the repository service, port 4242 of any node, normally the central one. With
    /// `--output yaml` the answer is a configuration that works as it is.
    Discover(DiscoverArgs),
    /// Turn a session API answer on stdin into events on stdout
    Transform(TransformArgs),
    /// Poll a built-in simulated site: needs no config and no Qlik
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Recorded events as one page for a browser: peaks, users, gaps, who was on at a moment
    Report(ReportArgs),
    /// Print a JSON Schema
    Schema {
        /// Of what
        #[arg(value_enum)]
        of: Schema,
    },
    /// Print shell completions
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the manual pages, one for each command
    Man {
        /// Where to, a folder that is there
        folder: PathBuf,
    },
}

/// Where the configuration is.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// Configuration file: that of Butler SOS, unchanged, or a smaller one
    #[arg(short, long, env = "QLIK_SESSIONS_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The repository service to compare with, HOST or HOST:PORT [default: that of
    /// sessionSource.discovery, or port 4242 of a server]
    #[arg(long, value_name = "HOST", value_parser = repository)]
    pub repository: Option<ProxyAddress>,
    /// How the findings are printed
    #[arg(long, value_enum, default_value_t)]
    pub output: CheckOutput,
}

/// How `check` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// For people
    #[default]
    Text,
    /// For programs: one object
    Json,
}

/// Arguments of `who`.
#[derive(Args, Debug)]
pub struct WhoArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only this server (serverName or host)
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// Only this virtual proxy
    #[arg(long, value_name = "PREFIX")]
    pub virtual_proxy: Option<String>,
    /// How the sessions are printed
    #[arg(long, value_enum, default_value_t)]
    pub output: WhoOutput,
    /// Look again at this interval, in place on a terminal [default: pollingInterval]
    ///
    /// Who came and who went since the look before is marked. Ctrl-C ends it.
    #[arg(
        long, value_name = "INTERVAL", num_args = 0..=1, value_parser = at_least_a_second,
        conflicts_with = "until_empty"
    )]
    pub watch: Option<Option<Duration>>,
    /// Look at every pollingInterval until nobody is connected any more
    ///
    /// Exit code 0 only when every target answered and had no session; sessions of
    /// excluded users are not waited for. 1 when interrupted, 78 when nothing is
    /// selected or extraction is switched off.
    #[arg(long)]
    pub until_empty: bool,
    /// Give up waiting after this time, with exit code 1 [default: never]
    #[arg(long, value_name = "TIME", requires = "until_empty", value_parser = at_least_a_second)]
    pub max_wait: Option<Duration>,
}

/// How `who` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WhoOutput {
    /// For people
    #[default]
    Table,
    /// One object
    Json,
    /// One line for each session
    Csv,
}

/// Arguments of `discover`.
#[derive(Args, Debug)]
pub struct DiscoverArgs {
    /// The node that is asked, normally the central one; port 4242 where there is none
    #[arg(long, value_name = "HOST")]
    pub host: String,
    /// Client certificate as the QMC exports it: client.pem, or client.pfx with its key
    #[arg(long, value_name = "FILE")]
    pub cert: PathBuf,
    /// Its key: client_key.pem
    ///
    /// A passphrase is read from the environment variable QLIK_SESSIONS_KEY_PASSPHRASE or from
    /// --passphrase-file.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The CA that is trusted: root.pem
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// File with the passphrase of the key
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// As whom the repository service is asked [default: INTERNAL\sa_repository]
    #[arg(long, value_name = "DIRECTORY\\ID")]
    pub user: Option<RepositoryUser>,
    /// What to dial in place of a node's name or host name; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = name_and_address)]
    pub address: Vec<(String, String)>,
    /// How the virtual proxies are printed
    #[arg(long, value_enum, default_value_t)]
    pub output: DiscoverOutput,
}

fn repository(text: &str) -> Result<ProxyAddress, String> {
    ProxyAddress::parse_or_port(text, REPOSITORY_PORT)
}

fn name_and_address(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.trim().is_empty());
    let (name, address) = pair.ok_or("expected NAME=ADDRESS, such as SENSE2=10.0.0.12")?;
    Addresses::default().add(name, address)?;
    Ok((name.to_owned(), address.to_owned()))
}

/// How `discover` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DiscoverOutput {
    /// For people
    #[default]
    Table,
    /// One object
    Json,
    /// A configuration that works as it is
    Yaml,
}

/// Arguments of `transform`.
#[derive(Args, Debug)]
pub struct TransformArgs {
    /// The server's name in the events
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub server_name: String,
    /// The virtual proxy in the events
    #[arg(long, value_name = "PREFIX", default_value = "/")]
    pub virtual_proxy: String,
    /// When the answer was given, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    pub timestamp: Option<Timestamp>,
    /// Configuration whose excludeUser and sessionSource apply
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `demo`.
#[cfg(feature = "demo")]
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Time between polls, and between people's comings and goings [default: 2s; with --record: 5m]
    #[arg(long, value_parser = at_least_a_second)]
    pub interval: Option<Duration>,
    /// Break the virtual proxy /sales of sense1 in this way
    #[arg(long, value_name = "KIND")]
    pub fault: Option<crate::site::Fault>,
    /// Print the events of so many days at once, up to yesterday, and end
    ///
    /// Office hours, weekends, a node that hangs, a poller that rests, a restart: to try a
    /// report or a dashboard. The same --from, --seed and --timezone make the same events.
    #[arg(
        long, value_name = "DAYS", conflicts_with = "fault",
        value_parser = clap::value_parser!(u16).range(1..=3660)
    )]
    pub record: Option<u16>,
    /// First day of what is recorded, such as 2026-11-02
    #[arg(long, value_name = "DATE", requires = "record")]
    pub from: Option<jiff::civil::Date>,
    /// Time zone in which people keep office hours (IANA name) [default: that of the machine]
    #[arg(long, value_name = "ZONE", requires = "record")]
    pub timezone: Option<String>,
    /// Another number makes other people come at other times [default: 1]
    #[arg(long, value_name = "NUMBER", requires = "record")]
    pub seed: Option<u64>,
    /// How much is recorded of each session, as `sessionDetails` in a configuration [default: snapshot]
    #[arg(long, value_enum, requires = "record")]
    pub session_details: Option<RecordDetails>,
}

/// `sessionDetails` of what is recorded.
#[cfg(feature = "demo")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RecordDetails {
    /// Every session at every poll
    #[default]
    Snapshot,
    /// The same, many to a line
    Grouped,
    /// Starts and ends, and every session once an hour
    Changes,
}

fn at_least_a_second(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time < Duration::from_secs(1) {
        return Err("at least 1s".to_owned());
    }
    Ok(time)
}

/// Arguments of `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Files of events, in any order, also packed (gzip, Zstandard); `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write the report to this file [default: stdout]
    #[arg(short = 'o', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only polls from this time on: `2026-11-23`, `2026-11-23T17:34` or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only polls before this time; a date includes that day
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Time zone of the days, like Europe/Stockholm [default: this machine's]
    #[arg(long, value_name = "NAME")]
    pub timezone: Option<String>,
    /// Say who was on at this time, from the poll before it
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// With --at: only on this server, whom a restart would have hit
    #[arg(long, value_name = "NAME", requires = "at")]
    pub server: Option<String>,
    /// Only events of this site
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// Leave every user's name out
    #[arg(long)]
    pub no_users: bool,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    pub output: ReportOutput,
}

/// How `report` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportOutput {
    /// One page for a browser, which needs nothing else
    #[default]
    Html,
    /// One object
    Json,
    /// One table for a spreadsheet
    Csv,
}

/// What there are schemas of.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Schema {
    /// The events on stdout
    Events,
    /// The configuration file
    Config,
}
