//! Which repository service `discover` asks, and with which certificates: as the
//! arguments say, or the configuration.

use std::{path::Path, time::Duration};

use super::{
    super::{CommandError, SWITCHED_OFF, log_warnings, sites},
    found::{Beside, Found},
};
use crate::{
    cli::DiscoverArgs,
    config::{self, Config, ConfigFile, RepositorySource},
    discovery::{ListedSite, all_targets},
    files,
    poll::StartError,
    proxy::{Credentials, CredentialsError, tls::FileProblem},
    target::{
        CertificateFiles, GivenIn, PASSPHRASE_VARIABLE, ProxyAddress, REPOSITORY_PORT, Secret,
        TlsSettings,
    },
};

/// How long one request may take. It is short, because somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest file with a passphrase, in bytes.
const MAX_PASSPHRASE_BYTES: u64 = 64 * 1024;

/// What is asked, and what the answer is compared with.
pub struct Inquiry {
    /// The repository services that were named; empty where those on the servers are tried.
    sources: Vec<RepositorySource>,
    file: Option<ConfigFile>,
    /// The configuration of the file; without a file, one without servers.
    config: Config,
}

impl Inquiry {
    pub fn new(args: &DiscoverArgs) -> Result<Self, CommandError> {
        match (&args.config, &args.host, &args.cert, &args.ca) {
            (Some(path), ..) => Self::of_file(path, args),
            (None, Some(host), Some(cert), Some(ca)) => {
                let files = CertificateFiles {
                    client_cert: cert.clone(),
                    client_key: args.key.clone(),
                    ca: Some(ca.clone()),
                    passphrase: passphrase(args)?,
                    given: GivenIn::Arguments,
                };
                let tls = TlsSettings { files, server_name: None, verify: true };
                let sources = vec![source(host, tls, args)?];
                Ok(Self { sources, file: None, config: Config::empty(Path::new("")) })
            }
            // The command line does not let this through.
            _ => Err(CommandError::Usage("expected -c, or --host, --cert and --ca".to_owned())),
        }
    }

    fn of_file(path: &Path, args: &DiscoverArgs) -> Result<Self, CommandError> {
        let file = ConfigFile::read(path)?;
        let config = file.whole_config()?;
        log_warnings(&config);
        if !config.enabled {
            tracing::warn!("{}: {SWITCHED_OFF}", path.display());
        }
        let has_own = !config.discovery.sources.is_empty();
        let is_named = args.host.is_some() || args.user.is_some() || !args.address.is_empty();
        let sources = match &args.host {
            _ if has_own && is_named => {
                return Err(CommandError::Usage(
                    "--host, --user, --address: the configuration already names the repository service (`sessionSource.discovery`, `virtualProxies: auto`)".to_owned(),
                ));
            }
            _ if has_own => config.discovery.sources.clone(),
            Some(host) => {
                let tls = match config.servers().next() {
                    Some(server) => server.tls.clone(),
                    None => file.tls()?,
                };
                vec![source(host, TlsSettings { server_name: None, ..tls }, args)?]
            }
            None if config.targets.is_empty() => {
                return Err(CommandError::Usage(
                    "the configuration has no server to ask; name a node with --host".to_owned(),
                ));
            }
            None => Vec::new(),
        };
        Ok(Self { sources, file: Some(file), config })
    }

    pub async fn ask(self) -> Result<Found, CommandError> {
        let certificates: Vec<&CertificateFiles> = match &*self.sources {
            [] => self.config.certificate_files().collect(),
            sources => sources.iter().map(|source| &source.tls.files).collect(),
        };
        let (credentials, problems) = Credentials::load(certificates.into_iter());
        if !problems.0.is_empty() {
            return Err(StartError::Credentials(problems).into());
        }
        let limit = PATIENCE.max(self.config.options.timeout);
        let lists = match &*self.sources {
            [] => self.guess(&credentials).await?,
            _ => self.ask_named(&credentials, limit).await?,
        };
        let resolved = sites::resolve_all(&self.config, &lists, limit).await;
        let proxies: Vec<_> = lists.iter().map(|site| Some(site.proxies())).collect();
        let all = all_targets(&self.config, &proxies, &resolved);
        for problem in all.problems {
            tracing::warn!("{problem}");
        }
        let site = only_site(lists)?;
        let config = self.config;
        let beside = self.file.map(|file| Beside { file, config, polled: all.targets });
        Ok(Found { site, resolved, beside })
    }

    async fn ask_named(
        &self,
        credentials: &Credentials,
        limit: Duration,
    ) -> Result<Vec<ListedSite>, CommandError> {
        let mut lists = Vec::new();
        for source in self.sources.clone() {
            let list = sites::list(source, &self.config, credentials, limit).await;
            lists.push(list.map_err(unusable)??);
        }
        Ok(lists)
    }

    async fn guess(&self, credentials: &Credentials) -> Result<Vec<ListedSite>, CommandError> {
        let guessed = sites::guess(&self.config, credentials).await;
        match guessed.failures.into_iter().next() {
            Some((name, failure)) if guessed.sites.is_empty() => {
                tracing::error!(
                    "no server of the configuration returned a list, {name} neither; name the node to ask with --host, or under `sessionSource.discovery`"
                );
                Err(failure.into())
            }
            _ => Ok(guessed.sites),
        }
    }
}

/// The list of the one site.
fn only_site(lists: Vec<ListedSite>) -> Result<ListedSite, CommandError> {
    let mut sites = sites::distinct(lists);
    let hosts: Vec<String> = sites.iter().map(|site| site.source.host.configured.clone()).collect();
    match (sites.pop(), sites.is_empty()) {
        (Some(site), true) => Ok(site),
        _ => Err(CommandError::Usage(format!(
            "the repository services {} list different sites; name one of them with --host",
            hosts.join(", ")
        ))),
    }
}

/// The repository service that the arguments name.
fn source(
    host: &str,
    tls: TlsSettings,
    args: &DiscoverArgs,
) -> Result<RepositorySource, CommandError> {
    let (host, note) = ProxyAddress::parse_url(host, REPOSITORY_PORT)
        .map_err(|error| CommandError::Usage(format!("--host: {error}")))?;
    if let Some(note) = note {
        tracing::warn!("--host: {note}");
    }
    let mut source = RepositorySource::of_site(host, tls);
    source.user = args.user.clone().unwrap_or_default();
    for (name, address) in &args.address {
        source.addresses.add(name, address).map_err(CommandError::Usage)?;
    }
    Ok(source)
}

fn unusable(problem: FileProblem) -> CommandError {
    StartError::Credentials(CredentialsError(vec![problem])).into()
}

/// From the environment or a file: an argument can be read by everyone on the machine.
fn passphrase(args: &DiscoverArgs) -> Result<Option<Secret>, CommandError> {
    if let Some(passphrase) = config::environment_variable(PASSPHRASE_VARIABLE) {
        return Ok(Some(Secret::new(passphrase)));
    }
    let Some(path) = &args.passphrase_file else { return Ok(None) };
    let wrong = |message: String| {
        CommandError::Usage(format!("--passphrase-file {}: {message}", path.display()))
    };
    let bytes =
        files::read(path, MAX_PASSPHRASE_BYTES).map_err(|error| wrong(error.to_string()))?;
    let text = config::decode(&bytes).map_err(wrong)?.text;
    Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
}
