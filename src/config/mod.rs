//! Reads the configuration: an unchanged Butler SOS file, with our own options
//! in the section `sessionSource`, which Butler SOS ignores.
//!
//! [`Config::load`] is the one way in. It returns typed settings and warnings,
//! or every problem of the file at once.

mod additions;
mod certificates;
mod cures;
mod discovery;
mod file;
mod keys;
mod likely;
mod reader;
mod text;
mod yaml;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use wildmatch::WildMatchPattern;

pub use additions::{Addition, Item};
pub use discovery::{Discovery, RepositorySource, Scope};
pub use file::ConfigFile;
use reader::{Node, Problems};
pub use reader::{Problem, Severity, Step};
pub use text::{Decoded, decode};

use crate::{
    files,
    target::{
        CertificateFiles, DEFAULT_PROXY_PORT, GivenIn, PASSPHRASE_VARIABLE, ProxyAddress, Secret,
        Server, SwitchedOff, Target, TargetKeys, TlsSettings, VirtualProxy, host_without_port,
    },
    user::folded,
};

/// Key of the pseudonyms; wins over `pseudonymKeyFile`.
pub const PSEUDONYM_KEY_VARIABLE: &str = "QLIK_SESSIONS_PSEUDONYM_KEY";

/// The default of `userSessions.pollingInterval`.
const DEFAULT_POLLING_INTERVAL: Duration = Duration::from_secs(30);
/// Largest configuration file, in bytes. Real ones have some 50 KB.
const MAX_CONFIG_BYTES: u64 = 2 * 1024 * 1024;
/// Longest time that an option of ours takes, in milliseconds: a month.
const MOST_MILLISECONDS: u64 = 31 * 24 * 60 * 60 * 1000;
/// Largest file with a pseudonym key, in bytes.
const MAX_KEY_BYTES: u64 = 64 * 1024;
/// Shortest pseudonym key, in characters: shorter ones can be guessed.
const MIN_PSEUDONYM_KEY: usize = 16;

/// What a session_summary needs beside the keys of its target, without users, in
/// bytes: its name, times, ids and numbers.
const SUMMARY_BYTES: usize = 768;

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// `userSessions.enableSessionExtract`.
    pub enabled: bool,
    /// `userSessions.pollingInterval`.
    pub polling_interval: Duration,
    /// `userSessions.excludeUser`.
    pub exclude: Vec<ExcludedUser>,
    /// What to poll, in the order of the file.
    pub targets: Vec<Target>,
    /// Servers of the file whose `userSessions.enable` is false.
    pub switched_off: Vec<SwitchedOff>,
    /// What to poll beside that, because the repository service lists it.
    pub discovery: Discovery,
    /// The likely cause, where extraction is switched on and yet there is nothing to poll.
    pub nothing_to_poll: Option<Problem>,
    /// The section `sessionSource`.
    pub options: Options,
    /// What is perhaps not as meant.
    pub warnings: Vec<Problem>,
}

/// Our own options: the section `sessionSource`.
#[derive(Clone, Debug)]
pub struct Options {
    /// One request, body included.
    pub timeout: Duration,
    /// Requests in flight in all.
    pub concurrency: usize,
    /// Requests in flight to one server.
    pub concurrency_per_server: usize,
    /// Which session events are sent.
    pub session_details: SessionDetails,
    /// Whether `session_started` and `session_ended` are sent.
    pub lifecycle: bool,
    /// A name for the whole site, for every event.
    pub site: Option<String>,
    /// Parallel sessions at which a user is locked out.
    pub session_limit: usize,
    /// How often `changes` reports every session once more; none for never.
    pub keyframe_interval: Option<Duration>,
    /// How far back starts and ends are sent again; none where it is not set.
    pub retell_for: Option<Duration>,
    /// Whether polls are at multiples of the interval of the wall clock.
    pub align_polls: bool,
    /// Which attributes session events carry.
    pub attributes: AttributeChoice,
    /// Whether excluded users count, as they do in Butler SOS.
    pub excluded_users_count: bool,
    /// How users are named.
    pub user_ids: UserIds,
    /// Keeps what was seen across restarts.
    pub state_file: Option<PathBuf>,
    /// Largest answer, in bytes.
    pub max_body_bytes: usize,
    /// Longest line, in bytes, its line end included.
    pub max_line_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            concurrency: 32,
            concurrency_per_server: 4,
            session_details: SessionDetails::Snapshot,
            lifecycle: true,
            site: None,
            session_limit: 5,
            keyframe_interval: Some(Duration::from_secs(60 * 60)),
            retell_for: None,
            align_polls: false,
            attributes: AttributeChoice::None,
            excluded_users_count: false,
            user_ids: UserIds::Plain,
            state_file: None,
            max_body_bytes: 64 * 1024 * 1024,
            max_line_bytes: 256 * 1024,
        }
    }
}

/// `sessionDetails`: how much is said of each session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionDetails {
    /// Every session at every poll.
    Snapshot,
    /// Every session at every poll, many to a line.
    Grouped,
    /// Only sessions that started or ended, and every session at a keyframe.
    Changes,
    /// No event about a single session.
    None,
}

/// `attributes`: what session events carry of the attributes of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AttributeChoice {
    /// `false`: none.
    #[default]
    None,
    /// `true`: all, whatever the identity provider sends.
    All,
    /// A list: only those with these names.
    Keys(Vec<String>),
}

impl AttributeChoice {
    /// Returns whether an attribute with this name is included.
    pub fn includes(&self, key: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Keys(keys) => keys.iter().any(|wanted| wanted == key),
        }
    }
}

/// `userIds`: how users are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserIds {
    /// As the proxy names them.
    Plain,
    /// By a keyed hash.
    Pseudonym(Secret),
    /// Not at all.
    Omit,
}

/// One entry of `excludeUser`. `*` and `?` stand for other characters; case
/// does not matter, as it does not for Windows accounts.
#[derive(Clone, Debug)]
pub struct ExcludedUser {
    directory: WildMatchPattern<'*', '?'>,
    user_id: WildMatchPattern<'*', '?'>,
}

impl ExcludedUser {
    /// Excludes users whose directory and id both fit.
    pub fn new(directory: &str, user_id: &str) -> Self {
        let pattern = |text| WildMatchPattern::new_case_insensitive(&folded(text));
        Self { directory: pattern(directory), user_id: pattern(user_id) }
    }

    /// Returns whether the user with this directory and id, both
    /// [`folded`], is excluded.
    pub fn matches(&self, directory: &str, user_id: &str) -> bool {
        self.directory.matches(directory) && self.user_id.matches(user_id)
    }
}

impl fmt::Display for ExcludedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\\{}", self.directory, self.user_id)
    }
}

/// A configuration that cannot be used, with everything that is wrong in it.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration {} cannot be used:", self.path.display())?;
        for problem in &self.problems {
            let kind = match problem.severity {
                Severity::Error => "",
                Severity::Warning => "(warning) ",
            };
            write!(f, "\n  - {kind}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Every problem of the file, each with its key path and, where it can be
    /// found, its line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        ConfigFile::read(path)?.config()
    }

    /// The same configuration, for a command that polls.
    ///
    /// # Errors
    /// Where extraction is switched on and yet there is nothing to poll; the warnings
    /// come along, since one of them may be the cause.
    pub fn for_polling(mut self) -> Result<Self, ConfigError> {
        match self.nothing_to_poll.take() {
            None => Ok(self),
            Some(cause) => {
                let mut problems = self.warnings;
                problems.push(cause);
                Err(ConfigError { path: self.path, problems })
            }
        }
    }

    /// No targets, and all options as they are by default.
    pub fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            enabled: false,
            polling_interval: DEFAULT_POLLING_INTERVAL,
            exclude: Vec::new(),
            targets: Vec::new(),
            switched_off: Vec::new(),
            discovery: Discovery::default(),
            nothing_to_poll: None,
            options: Options::default(),
            warnings: Vec::new(),
        }
    }

    /// The servers of the targets, each once.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        let mut before: Option<&Arc<Server>> = None;
        self.targets.iter().map(|target| &target.server).filter(move |server| {
            let new = before.is_none_or(|before| !Arc::ptr_eq(before, server));
            before = Some(server);
            new
        })
    }

    /// The certificate sets of the servers and repository services, each once: they
    /// share them.
    pub fn certificate_files(&self) -> impl Iterator<Item = &CertificateFiles> {
        let mut seen = HashSet::new();
        let repositories = self.discovery.sources.iter().map(|source| &source.tls.files);
        let servers = self.servers().map(|server| &server.tls.files);
        servers.chain(repositories).filter(move |files| seen.insert(*files))
    }

    /// Reads a configuration from a text; relative paths in it are relative to
    /// `path`'s folder.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::parse_as(path, text, false)
    }

    /// As [`Config::parse`], but reads the servers even where extraction is switched off.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse_whole(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::parse_as(path, text, true)
    }

    fn parse_as(path: &Path, text: &str, is_whole: bool) -> Result<Self, ConfigError> {
        let document = file::read_yaml(path, text)?;
        let problems = Problems::default();
        let config = Reader { base: path.parent().unwrap_or(Path::new("")), is_whole }
            .config(path, &Node::root(&document, &problems));
        likely::warn_of_cut_passphrases(text, &problems);
        let problems = problems.into_sorted();
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(ConfigError { path: path.to_owned(), problems });
        }
        Ok(Self { warnings: problems, ..config })
    }
}

/// An environment variable; an empty one counts as not set.
pub fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Turns the document into settings.
struct Reader<'a> {
    /// Relative paths start here.
    base: &'a Path,
    /// Servers are read even where extraction is switched off.
    is_whole: bool,
}

impl Reader<'_> {
    fn config(&self, path: &Path, root: &Node<'_>) -> Config {
        let butler = root.section("Butler-SOS");
        if butler.is_there() {
            keys::ROOT.check(root);
        } else if !keys::ROOT.refuse_misspelt(root) {
            root.error("has no section `Butler-SOS:` at its top level");
        }
        keys::BUTLER_SOS.check(&butler);
        let sessions = butler.section("userSessions");
        keys::USER_SESSIONS.check(&sessions);
        keys::SERVERS_TO_MONITOR.check(&butler.section("serversToMonitor"));
        let enabled = sessions.key("enableSessionExtract").boolean().unwrap_or(false);
        let polling_interval = sessions
            .key("pollingInterval")
            .number(1_000..=86_400_000, "milliseconds")
            .map_or(DEFAULT_POLLING_INTERVAL, Duration::from_millis);
        let source = butler.section("sessionSource");
        let options = self.options(&source);
        // A file whose master switch is off may hold anything below it.
        let Servers { targets, switched_off, discovery } = if enabled || self.is_whole {
            self.servers(&butler, &source)
        } else {
            Servers::default()
        };
        check_line_length(&source.key("maxLineBytes"), &options, &targets);
        let nothing_to_poll = (enabled && targets.is_empty() && discovery.sources.is_empty())
            .then(|| likely::cause_of_no_target(&butler));
        Config {
            path: path.to_owned(),
            enabled,
            polling_interval,
            exclude: excluded_users(&sessions.key("excludeUser")),
            targets,
            switched_off,
            discovery,
            nothing_to_poll,
            options,
            warnings: Vec::new(),
        }
    }

    fn options(&self, source: &Node<'_>) -> Options {
        keys::SESSION_SOURCE.check(source);
        let default = Options::default();
        let count = |key: &str, range, unit: &str, default: usize| {
            source.key(key).number(range, unit).map_or(default, |number| number as usize)
        };
        Options {
            timeout: source
                .key("timeout")
                .number(100..=600_000, "milliseconds")
                .map_or(default.timeout, Duration::from_millis),
            concurrency: count("concurrency", 1..=1_000, "requests", default.concurrency),
            concurrency_per_server: count(
                "concurrencyPerServer",
                1..=100,
                "requests",
                default.concurrency_per_server,
            ),
            session_details: source
                .key("sessionDetails")
                .choice(&[
                    ("snapshot", SessionDetails::Snapshot),
                    ("grouped", SessionDetails::Grouped),
                    ("changes", SessionDetails::Changes),
                    ("none", SessionDetails::None),
                ])
                .unwrap_or(default.session_details),
            lifecycle: source.key("lifecycle").boolean().unwrap_or(default.lifecycle),
            site: source.key("site").text(),
            session_limit: count("sessionLimit", 1..=1_000, "sessions", default.session_limit),
            keyframe_interval: source
                .key("keyframeInterval")
                .number(0..=MOST_MILLISECONDS, "milliseconds")
                .map_or(default.keyframe_interval, |milliseconds| {
                    Some(Duration::from_millis(milliseconds)).filter(|interval| !interval.is_zero())
                }),
            retell_for: source
                .key("retellFor")
                .number(0..=MOST_MILLISECONDS, "milliseconds")
                .map(Duration::from_millis),
            align_polls: align_polls(source),
            attributes: attributes(source),
            excluded_users_count: source
                .key("excludedUsersCount")
                .boolean()
                .unwrap_or(default.excluded_users_count),
            user_ids: self.user_ids(source),
            state_file: source.key("stateFile").line_of_text().map(|path| self.base.join(path)),
            max_body_bytes: count("maxBodyBytes", 1_024..=1 << 32, "bytes", default.max_body_bytes),
            max_line_bytes: count("maxLineBytes", 4_096..=1 << 26, "bytes", default.max_line_bytes),
        }
    }

    fn user_ids(&self, source: &Node<'_>) -> UserIds {
        let node = source.key("userIds");
        match node.choice(&[("plain", 0), ("pseudonym", 1), ("omit", 2)]) {
            Some(1) => self.pseudonym_key(&node, &source.key("pseudonymKeyFile")),
            Some(2) => UserIds::Omit,
            _ => UserIds::Plain,
        }
    }

    fn pseudonym_key(&self, node: &Node<'_>, file: &Node<'_>) -> UserIds {
        let key = match (environment_variable(PSEUDONYM_KEY_VARIABLE), file.line_of_text()) {
            (Some(key), _) => key,
            (None, Some(path)) => match files::read(&self.base.join(path), MAX_KEY_BYTES) {
                Ok(key) => match decode(&key) {
                    Ok(key) => key.text,
                    Err(message) => {
                        file.error(format!("the key file {message}"));
                        return UserIds::Omit;
                    }
                },
                Err(error) => {
                    file.error(format!("the key file cannot be read: {error}"));
                    return UserIds::Omit;
                }
            },
            (None, None) => {
                node.error(format!(
                    "pseudonyms need a key: set the environment variable {PSEUDONYM_KEY_VARIABLE} \
                     or `pseudonymKeyFile`"
                ));
                return UserIds::Omit;
            }
        };
        let key = key.trim();
        if key.chars().count() < MIN_PSEUDONYM_KEY {
            node.error(format!(
                "the key of the pseudonyms needs {MIN_PSEUDONYM_KEY} characters or more"
            ));
        }
        UserIds::Pseudonym(Secret::new(key))
    }

    fn servers(&self, butler: &Node<'_>, source: &Node<'_>) -> Servers {
        let monitor = butler.section("serversToMonitor");
        let verify = monitor.key("rejectUnauthorized").boolean().unwrap_or(true);
        let cert = butler.section("cert");
        check_cert(&cert, &monitor);
        let tags =
            monitor.key("serverTagsDefinition").items().filter_map(|tag| tag.text()).collect();
        let shared = Shared { verify, tags, cert };

        let mut differing = differing_servers(&source.section("servers"));
        let mut names = Vec::new();
        let mut merged = Merged::default();
        for (place, node) in monitor.key("servers").items().enumerate() {
            if ["host", "userSessions"].iter().any(|key| node.key(key).is_there()) {
                self.server(place, &node, &shared, &mut differing, &mut names, &mut merged);
            } else {
                node.error(format!(
                    "expected a server such as {{host: sense1:4747, serverName: sense1, \
                     userSessions: {{…}}}}, found {}",
                    node.found_with_keys()
                ));
            }
        }
        let site = discovery::read(source, || self.tls(&shared.cert, verify, None));
        let has_discovery = !source.key("discovery").is_absent();
        let mut tls_by_name = HashMap::new();
        for (name, node) in differing {
            discovery::check_name(&node, &name, &names, has_discovery);
            if has_discovery && let Some(tls) = self.tls(&shared.cert, verify, Some(&node)) {
                tls_by_name.insert(name, tls);
            }
        }
        let sources = match site {
            Some(site) => vec![site],
            None => merged.auto.iter().filter_map(discovery::of_server).collect(),
        };
        Servers {
            targets: merged.targets,
            switched_off: merged.switched_off,
            discovery: Discovery { sources, tls_by_name, auto: merged.auto },
        }
    }

    fn server(
        &self,
        place: usize,
        node: &Node<'_>,
        shared: &Shared<'_>,
        differing: &mut HashMap<String, Node<'_>>,
        names: &mut Vec<String>,
        merged: &mut Merged,
    ) {
        keys::SERVER.check(node);
        let host_key = node.key("host");
        let host = host_key.line_of_text();
        let name = node.key("serverName").text();
        names.extend(
            name.clone().or_else(|| host.as_deref().map(|h| host_without_port(h).to_owned())),
        );
        let sessions = node.section("userSessions");
        keys::SERVER_SESSIONS.check(&sessions);
        let enable = sessions.key("enable").boolean();
        if enable != Some(true) {
            let is_off = enable == Some(false);
            merged.switched_off.extend(is_off.then(|| switched_off(node, &sessions)).flatten());
            return;
        }
        let proxy_key = sessions.key("host");
        let proxy = proxy_key
            .required_text("the proxy's address, `name:4243`")
            .and_then(|_| address(&proxy_key, &proxy_key.line_of_text()?, DEFAULT_PROXY_PORT));
        let engine = host.as_deref().and_then(|host| address(&host_key, host, DEFAULT_PROXY_PORT));
        likely::warn_of_tags(node, &shared.tags);
        let host = engine.as_ref().or(proxy.as_ref()).map(|it| host_without_port(&it.configured));
        let name = name.or_else(|| host.map(str::to_owned));
        let own = name.as_ref().and_then(|name| differing.remove(name));
        let is_auto = own.as_ref().is_some_and(discovery::is_auto);
        let virtual_proxies = virtual_proxies(&sessions, is_auto);
        let (Some(name), Some(host)) = (name, host.map(str::to_owned)) else { return };
        let Some(proxy) = proxy else { return };
        likely::warn_of_port(&proxy_key, &proxy);
        let Some(tls) = self.tls(&shared.cert, shared.verify, own.as_ref()) else { return };
        if merged.hosts_by_name.get(&name).is_some_and(|other| *other != proxy) {
            node.key("serverName").warn(format!(
                "`{name}` is the name of another server too: their events look alike; give each a name of its own"
            ));
        }
        merged.hosts_by_name.entry(name.clone()).or_insert_with(|| proxy.clone());
        let server = Arc::new(Server {
            name,
            description: node.key("serverDescription").text(),
            host,
            proxy,
            tags: tags(&node.section("serverTags")),
            tls,
            place: Some(place),
        });
        if is_auto {
            merged.auto.push(Arc::clone(&server));
        }
        for (node, virtual_proxy) in virtual_proxies {
            merged.add(&node, Target { server: Arc::clone(&server), virtual_proxy });
        }
    }

    fn tls(&self, cert: &Node<'_>, verify: bool, own: Option<&Node<'_>>) -> Option<TlsSettings> {
        let own_cert = own.map(|own| own.section("cert")).filter(|own| !own.is_absent());
        let verify = own.and_then(|own| own.key("rejectUnauthorized").boolean()).unwrap_or(verify);
        let files = self.certificate_files(own_cert.as_ref().unwrap_or(cert), verify)?;
        let server_name = own.and_then(|own| own.key("tlsServerName").text());
        Some(TlsSettings { files, server_name, verify })
    }

    fn certificate_files(&self, cert: &Node<'_>, verify: bool) -> Option<CertificateFiles> {
        let path = |key: &str| {
            let node = cert.key(key);
            node.line_of_text().map(|path| certificates::path(self.base, &node, &path))
        };
        let client_cert = cert
            .key("clientCert")
            .required_text("the path of client.pem (or client.pfx) exported from the QMC")
            .and_then(|_| path("clientCert"));
        let client_key = path("clientCertKey");
        let ca = path("clientCertCA");
        if ca.is_none() && verify {
            cert.key("clientCertCA")
                .error("is missing; expected the path of root.pem exported from the QMC");
            return None;
        }
        let passphrase = environment_variable(PASSPHRASE_VARIABLE)
            .or_else(|| cert.key("clientCertPassphrase").secret())
            .map(Secret::new);
        let given = GivenIn::Configuration;
        Some(CertificateFiles { client_cert: client_cert?, client_key, ca, passphrase, given })
    }
}

/// What the file says of servers.
#[derive(Default)]
struct Servers {
    targets: Vec<Target>,
    switched_off: Vec<SwitchedOff>,
    discovery: Discovery,
}

/// What all servers have in common.
struct Shared<'a> {
    cert: Node<'a>,
    verify: bool,
    /// `serverTagsDefinition`.
    tags: Vec<String>,
}

/// The targets so far; one (proxy, virtual proxy) is polled once.
#[derive(Default)]
struct Merged {
    targets: Vec<Target>,
    switched_off: Vec<SwitchedOff>,
    seen: HashMap<(String, u16, VirtualProxy), String>,
    hosts_by_name: HashMap<String, ProxyAddress>,
    /// Servers with `virtualProxies: auto`.
    auto: Vec<Arc<Server>>,
}

impl Merged {
    fn add(&mut self, node: &Node<'_>, target: Target) {
        let proxy = &target.server.proxy;
        let key = (proxy.host.clone(), proxy.port, target.virtual_proxy.clone());
        if let Some(name) = self.seen.get(&key) {
            node.warn(format!(
                "virtual proxy {} of {} is already polled for server `{name}`; it is polled once",
                target.virtual_proxy, proxy.configured
            ));
            return;
        }
        self.seen.insert(key, target.server.name.clone());
        self.targets.push(target);
    }
}

/// A server that is not polled. Only what identifies it is read; the rest may hold
/// anything.
fn switched_off(node: &Node<'_>, sessions: &Node<'_>) -> Option<SwitchedOff> {
    let engine = node.key("host").line_of_text().map(|host| host_without_port(&host).to_owned());
    let proxy = sessions.key("host").line_of_text().or_else(|| engine.clone())?;
    let proxy = ProxyAddress::parse(&proxy).ok()?;
    let host = engine.unwrap_or_else(|| proxy.host.clone());
    let name = node.key("serverName").text().unwrap_or_else(|| host.clone());
    Some(SwitchedOff { name, host, proxy })
}

/// Butler SOS's templates had `rejectUnauthorized` here, too, for years, and read
/// only the other one. Where that one is there, nothing is lost.
fn check_cert(cert: &Node<'_>, monitor: &Node<'_>) {
    const OLD: &str = "rejectUnauthorized";
    let old = cert.key(OLD);
    if !old.is_there() || monitor.key(OLD).is_absent() {
        keys::CERT.check(cert);
        return;
    }
    old.warn("is ignored, by Butler SOS too: `serversToMonitor.rejectUnauthorized` decides");
    keys::CERT.check_but(cert, &[OLD]);
}

/// A summary whose fixed keys do not fit could not be written at all.
fn check_line_length(node: &Node<'_>, options: &Options, targets: &[Target]) {
    let needed = |target: &&Target| bytes_of_summary(target, options);
    let longest = targets.iter().max_by_key(needed);
    if let Some(target) = longest.filter(|target| !fits_a_line(target, options)) {
        node.error(format!(
            "{} bytes cannot hold a session_summary of {target}: its names and tags alone need {}",
            options.max_line_bytes,
            needed(&target)
        ));
    }
}

/// Returns whether a target's summary, without its users, is a line that is short
/// enough.
pub fn fits_a_line(target: &Target, options: &Options) -> bool {
    bytes_of_summary(target, options) <= options.max_line_bytes
}

fn bytes_of_summary(target: &Target, options: &Options) -> usize {
    let site = options.site.as_ref().map_or(0, |site| 2 * site.len());
    TargetKeys::new(target, false).line_bytes() + site + SUMMARY_BYTES
}

/// `sessionSource.servers`, by serverName.
fn differing_servers<'a>(servers: &Node<'a>) -> HashMap<String, Node<'a>> {
    let mut entries = HashMap::new();
    for (name, node) in servers.entries() {
        if !node.is_section() && !node.is_absent() {
            node.error(format!("expected a section with keys, found {}", node.found()));
        }
        keys::DIFFERING_SERVER.check(&node);
        keys::DIFFERING_CERT.check(&node.section("cert"));
        entries.insert(name.to_owned(), node);
    }
    entries
}

/// `alignPolls`, which works as meant only beside `site`.
fn align_polls(source: &Node<'_>) -> bool {
    let node = source.key("alignPolls");
    let align = node.boolean().unwrap_or(false);
    if align && source.key("site").is_absent() {
        node.warn("two pollers of one site agree on all ids only where `site` is set, too");
    }
    align
}

/// `attributes`: `true` may show who a user is by a mail address or a name, so it
/// stands only beside plain names; a list was chosen by someone who knows it.
fn attributes(source: &Node<'_>) -> AttributeChoice {
    let node = source.key("attributes");
    if node.is_list() {
        return AttributeChoice::Keys(
            node.items().filter_map(|item| attribute_name(&item)).collect(),
        );
    }
    if !node.boolean_or("a list of attribute names").unwrap_or(false) {
        return AttributeChoice::None;
    }
    // A word that is none of the three is reported where `userIds` is read.
    if source.key("userIds").text().is_some_and(|user_ids| user_ids != "plain") {
        node.error(
            "true sends everything that is known of a user, perhaps a name or a mail address, \
             although `userIds` is not plain; name what may be sent, such as [group], or use false",
        );
    }
    AttributeChoice::All
}

fn attribute_name(item: &Node<'_>) -> Option<String> {
    item.required_text("the name of an attribute, such as group")
}

/// Every entry with the place to complain about it.
fn virtual_proxies<'a>(sessions: &Node<'a>, may_be_empty: bool) -> Vec<(Node<'a>, VirtualProxy)> {
    let list = sessions.key("virtualProxies");
    let items: Vec<Node<'a>> = list.items().collect();
    if !may_be_empty && items.is_empty() && (list.is_absent() || list.is_list()) {
        list.error("is empty; expected a list such as [{virtualProxy: /}, {virtualProxy: /sales}]");
    }
    let mut found = Vec::new();
    for item in items {
        // Only `virtualProxy:` with nothing behind it is the default virtual proxy.
        if !item.key("virtualProxy").is_there() {
            item.error(format!(
                "expected an item such as {{virtualProxy: /sales}}, found {}",
                item.found_with_keys()
            ));
            continue;
        }
        keys::VIRTUAL_PROXY.check(&item);
        let prefix = item.key("virtualProxy").text().unwrap_or_default();
        let virtual_proxy = VirtualProxy::new(&prefix);
        if prefix.contains(['?', '#', '\\']) {
            item.key("virtualProxy")
                .error("expected the prefix of a virtual proxy, such as / or /sales");
        }
        likely::warn_of_prefix(&item.key("virtualProxy"), &prefix);
        found.push((item, virtual_proxy));
    }
    found
}

/// An address under a key; a URL is taken for the address in it.
fn address(node: &Node<'_>, text: &str, default_port: u16) -> Option<ProxyAddress> {
    match ProxyAddress::parse_url(text, default_port) {
        Ok((address, note)) => {
            note.into_iter().for_each(|note| node.warn(note));
            Some(address)
        }
        Err(message) => {
            node.error(message);
            None
        }
    }
}

fn tags(node: &Node<'_>) -> BTreeMap<String, String> {
    node.entries()
        .filter_map(|(name, node)| node.text().map(|value| (name.to_owned(), value)))
        .collect()
}

fn excluded_users(list: &Node<'_>) -> Vec<ExcludedUser> {
    let mut excluded = Vec::new();
    for item in list.items() {
        if !item.is_section() {
            item.error(format!(
                "expected an item such as {{directory: LAB, userId: testuser1}}, found {}",
                item.found()
            ));
            continue;
        }
        keys::EXCLUDED_USER.check(&item);
        let directory = item.key("directory").required("a user directory; * fits all");
        let user_id = item.key("userId").required("a user id; * fits all");
        if let (Some(directory), Some(user_id)) = (directory, user_id) {
            excluded.push(ExcludedUser::new(&directory, &user_id));
        }
    }
    excluded
}
