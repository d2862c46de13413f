//! The command line.

use std::{path::PathBuf, time::Duration};

#[cfg(feature = "demo")]
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::Timestamp;

#[cfg(feature = "demo")]
use crate::site::Fault;
use crate::{
    logging::{LogFormat, LogLevel},
    target::{Addresses, ProxyAddress, REPOSITORY_PORT, RepositoryUser},
};

const EXIT_CODES: &str = "\
Exit codes:
  0   Done, also when it was asked to end or nobody reads the events any more
  1   A target failed (once, check, who), or something on this machine did
  2   Wrong arguments
  78  Wrong configuration; nothing was polled";
/// The heading of these options in the help of every command.
const LOG: &str = "Log options";

/// Who is connected to Qlik Sense right now, as newline-delimited JSON.
#[derive(Debug, Parser)]
#[command(version = env!("QLIK_SESSIONS_VERSION"), about, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// Format of the log on stderr
    #[arg(long, global = true, value_enum, default_value_t, help_heading = LOG, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Level of the log on stderr
    #[arg(
        long, global = true, value_enum, env = "QLIK_SESSIONS_LOG", default_value_t,
        help_heading = LOG, value_name = "LEVEL"
    )]
    pub log_level: LogLevel,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll every target now and at every pollingInterval
    ///
    /// For Vector's exec source in streaming mode.
    Stream(ConfigArgs),
    /// Poll every target once, and end
    ///
    /// For Vector's scheduled mode, Fluent Bit and cron. Exit code 1 if a target failed.
    Once(ConfigArgs),
    /// Check the configuration, the certificates and every target
    ///
    /// Says what to do where something is wrong, and which virtual proxies of the site are
    /// not polled.
    Check(CheckArgs),
    /// Show who is connected now
    Who(WhoArgs),
    /// List every proxy and virtual proxy of a site, or write a configuration for them
    ///
    /// Asks the repository service of a node, normally the central one. What `--output yaml`
    /// prints is a configuration that works as it is.
    Discover(DiscoverArgs),
    /// Convert an answer of the session API on stdin to events on stdout
    Transform(TransformArgs),
    /// Poll a simulated site; needs no configuration and no Qlik Sense
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Show recorded events as one page for a browser
    ///
    /// Peaks, users, gaps, failures, and who was connected at a time.
    Report(ReportArgs),
    /// Print the JSON Schema of the events or of the configuration
    Schema {
        /// Schema to print
        #[arg(value_enum, value_name = "SCHEMA")]
        of: Schema,
    },
    /// Print the completions for a shell
    Completions {
        /// Shell to complete in
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write a manual page for each command
    Man {
        /// Existing folder to write to
        folder: PathBuf,
    },
}

/// Where the configuration is.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// Configuration file: that of Butler SOS, or a smaller one
    #[arg(short, long, env = "QLIK_SESSIONS_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Repository service to compare with: HOST or HOST:PORT [default: that of
    /// sessionSource.discovery, or port 4242 of a server]
    #[arg(long, value_name = "HOST", value_parser = repository)]
    pub repository: Option<ProxyAddress>,
    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: CheckOutput,
}

/// How `check` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// Lines of text
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Arguments of `who`.
#[derive(Args, Debug)]
pub struct WhoArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Server to show, by serverName or host [default: all]
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// Virtual proxy to show [default: all]
    #[arg(long, value_name = "PREFIX")]
    pub virtual_proxy: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: WhoOutput,
    /// Refresh the output at this interval [default: pollingInterval]
    ///
    /// On a terminal in place. Marks who came and who went. Ctrl-C ends it.
    #[arg(
        long, value_name = "INTERVAL", num_args = 0..=1, value_parser = at_least_a_second,
        conflicts_with = "until_empty"
    )]
    pub watch: Option<Option<Duration>>,
    /// Wait until nobody is connected
    ///
    /// Exit code 0 only when every target answered and had no session; sessions of
    /// excluded users are not waited for. 1 when interrupted, 78 when nothing is
    /// selected or extraction is switched off.
    #[arg(long)]
    pub until_empty: bool,
    /// Longest time to wait; then exit code 1 [default: no limit]
    #[arg(long, value_name = "TIME", requires = "until_empty", value_parser = at_least_a_second)]
    pub max_wait: Option<Duration>,
}

/// How `who` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WhoOutput {
    /// Table
    #[default]
    Table,
    /// One JSON object
    Json,
    /// CSV, one line per session
    Csv,
}

/// Arguments of `discover`.
#[derive(Args, Debug)]
pub struct DiscoverArgs {
    /// Configuration file to compare with, and to take certificates from
    ///
    /// The repository service to ask is that of its sessionSource.discovery, or the one on
    /// a server of it. `--output yaml` prints the whole file, including its
    /// passwords and tokens, and adds the servers and virtual proxies that are missing.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Node to ask, normally the central one: HOST or HOST:PORT [default port: 4242]
    #[arg(long, value_name = "HOST", required_unless_present = "config")]
    pub host: Option<String>,
    /// Client certificate: client.pem, or client.pfx with its key
    #[arg(
        long,
        value_name = "FILE",
        requires = "ca",
        required_unless_present = "config",
        conflicts_with = "config"
    )]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate: client_key.pem
    ///
    /// Its passphrase is read from the environment variable QLIK_SESSIONS_KEY_PASSPHRASE or
    /// from --passphrase-file.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// CA to trust: root.pem
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub ca: Option<PathBuf>,
    /// File with the passphrase of the key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub passphrase_file: Option<PathBuf>,
    /// User to ask as [default: INTERNAL\sa_repository]
    #[arg(long, value_name = "DIRECTORY\\ID")]
    pub user: Option<RepositoryUser>,
    /// Address to use for a node's name or host name; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = name_and_address)]
    pub address: Vec<(String, String)>,
    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
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
    /// Table
    #[default]
    Table,
    /// One JSON object
    Json,
    /// Configuration that works as it is
    Yaml,
}

/// Arguments of `transform`.
#[derive(Args, Debug)]
pub struct TransformArgs {
    /// Server name in the events
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub server_name: String,
    /// Virtual proxy in the events
    #[arg(long, value_name = "PREFIX", default_value = "/")]
    pub virtual_proxy: String,
    /// Time of the answer, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    pub timestamp: Option<Timestamp>,
    /// Configuration file with the excludeUser and sessionSource to use
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `demo`.
#[cfg(feature = "demo")]
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Time between polls [default: 2s; with --record: 5m]
    #[arg(long, value_parser = at_least_a_second)]
    pub interval: Option<Duration>,
    /// Fault of the virtual proxy /sales of sense1
    #[arg(long, value_name = "KIND", value_parser = fault())]
    pub fault: Option<Fault>,
    /// Number of past days whose events to print at once
    ///
    /// To try a report or a dashboard: office hours, weekends, a node that hangs, a poller
    /// that stops for a while, a restart. The same --from, --seed and --timezone give the
    /// same events.
    #[arg(
        long, value_name = "DAYS", conflicts_with = "fault",
        value_parser = clap::value_parser!(u16).range(1..=3660)
    )]
    pub record: Option<u16>,
    /// First day to record, such as 2026-11-02 [default: so that yesterday is the last]
    #[arg(long, value_name = "DATE", requires = "record")]
    pub from: Option<jiff::civil::Date>,
    /// Time zone of the office hours, such as Europe/Stockholm [default: this machine's]
    #[arg(long, value_name = "ZONE", requires = "record")]
    pub timezone: Option<String>,
    /// Number that decides who comes and when [default: 1]
    #[arg(long, value_name = "NUMBER", requires = "record")]
    pub seed: Option<u64>,
    /// sessionDetails to record with [default: snapshot]
    #[arg(long, value_enum, requires = "record", value_name = "DETAILS")]
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

#[cfg(feature = "demo")]
fn fault() -> impl TypedValueParser<Value = Fault> {
    PossibleValuesParser::new(Fault::names()).try_map(|name| name.parse())
}

fn at_least_a_second(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time < Duration::from_secs(1) {
        return Err("expected 1s or more".to_owned());
    }
    Ok(time)
}

/// Arguments of `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Files of events, in any order, plain or compressed (gzip, Zstandard); `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// File to write [default: stdout]
    #[arg(short = 'o', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Start of the report: 2026-11-23, 2026-11-23T17:34 or RFC 3339 [default: first poll]
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// End of the report; a date includes its whole day [default: last poll]
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Time zone of the days, such as Europe/Stockholm [default: this machine's]
    #[arg(long, value_name = "NAME")]
    pub timezone: Option<String>,
    /// Time at which to show who was connected, by the poll before it
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Server to show with --at: whom a restart would have hit [default: all]
    #[arg(long, value_name = "NAME", requires = "at")]
    pub server: Option<String>,
    /// Site to report [default: all]
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// Leave out every user's name
    #[arg(long)]
    pub no_users: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ReportOutput,
}

/// How `report` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportOutput {
    /// Page for a browser, in one file
    #[default]
    Html,
    /// One JSON object
    Json,
    /// CSV for a spreadsheet
    Csv,
}

/// The schemas.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Schema {
    /// Events on stdout
    Events,
    /// Configuration file
    Config,
}
