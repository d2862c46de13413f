//! `discover`: every proxy and virtual proxy of a site, as a table, as JSON, or as
//! a configuration that polls them.

mod found;
mod yaml;

use std::time::Duration;

use self::found::Found;
use super::{CommandError, Exit, runtime};
use crate::{
    cli::{DiscoverArgs, DiscoverOutput},
    config::{self, Options},
    discovery::{list_site, resolve},
    files,
    output::PatientStdout,
    poll::StartError,
    proxy::{ClientSettings, Credentials, Endpoint, tls::FileProblem},
    repository::RepositoryClient,
    target::{
        Addresses, CertificateFiles, GivenIn, PASSPHRASE_VARIABLE, ProxyAddress, REPOSITORY_PORT,
        RepositoryUser, Secret, TlsSettings,
    },
};

/// How long one request may take: somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest file with a passphrase, in bytes.
const MAX_PASSPHRASE_BYTES: u64 = 64 * 1024;

pub fn run(args: &DiscoverArgs) -> Result<Exit, CommandError> {
    let inquiry = Inquiry::new(args)?;
    let runtime = runtime()?;
    let found = runtime.block_on(inquiry.ask());
    // A name that is still being resolved must not keep the program.
    runtime.shutdown_background();
    let found = found?;
    let mut stdout = PatientStdout::new();
    match args.output {
        DiscoverOutput::Table => found.write_table(&mut stdout)?,
        DiscoverOutput::Json => found.write_json(&mut stdout)?,
        DiscoverOutput::Yaml => yaml::write(&mut stdout, &found)?,
    }
    Ok(Exit::Done)
}

/// Who is asked, as whom, and what to dial.
struct Inquiry {
    /// The repository service, as its host was given.
    host: ProxyAddress,
    user: RepositoryUser,
    addresses: Addresses,
    tls: TlsSettings,
}

impl Inquiry {
    fn new(args: &DiscoverArgs) -> Result<Self, CommandError> {
        let mut addresses = Addresses::default();
        for (name, address) in &args.address {
            addresses.add(name, address).map_err(CommandError::Usage)?;
        }
        let (host, note) = ProxyAddress::parse_url(&args.host, REPOSITORY_PORT)
            .map_err(|error| CommandError::Usage(format!("--host: {error}")))?;
        if let Some(note) = note {
            tracing::warn!("--host: {note}");
        }
        let files = CertificateFiles {
            client_cert: args.cert.clone(),
            client_key: args.key.clone(),
            ca: Some(args.ca.clone()),
            passphrase: passphrase(args)?,
            given: GivenIn::Arguments,
        };
        let tls = TlsSettings { files, server_name: None, verify: true };
        Ok(Self { host, user: args.user.clone().unwrap_or_default(), addresses, tls })
    }

    async fn ask(self) -> Result<Found, CommandError> {
        let files = &self.tls.files;
        let (credentials, problems) = Credentials::load(std::iter::once(files));
        if !problems.0.is_empty() {
            return Err(StartError::Credentials(problems).into());
        }
        let endpoint = Endpoint::of_repository(&self.host, &self.addresses, &self.tls);
        let client = self.client(endpoint, &credentials)?;
        let (nodes, unlinked) = list_site(&client, &self.addresses, PATIENCE).await?;
        let hosts = nodes.iter().filter_map(|node| node.address.as_ref().ok());
        let resolved = resolve(hosts.map(|address| address.host.clone()), PATIENCE).await;
        Ok(Found {
            repository: self.host.configured,
            nodes,
            unlinked,
            resolved,
            certificates: self.tls.files,
        })
    }

    fn client(
        &self,
        endpoint: Endpoint,
        credentials: &Credentials,
    ) -> Result<RepositoryClient, CommandError> {
        let settings = ClientSettings {
            timeout: PATIENCE,
            max_body_bytes: Options::default().max_body_bytes,
            keep_idle: PATIENCE,
            quote_answers: true,
        };
        RepositoryClient::new(endpoint, self.user.clone(), credentials, settings).map_err(unusable)
    }
}

fn unusable(problem: FileProblem) -> CommandError {
    StartError::Credentials(crate::proxy::CredentialsError(vec![problem])).into()
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
