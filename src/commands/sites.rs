//! Asks repository services for their lists, for `check` and for `discover`.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    config::{Config, RepositorySource},
    discovery::{ListedSite, Resolved, list_site, resolve},
    poll::client_settings,
    proxy::{Credentials, Endpoint, Failure, tls::FileProblem},
    repository::RepositoryClient,
};

/// How long a repository service may take where only a guess says that it is there.
const GUESS_PATIENCE: Duration = Duration::from_secs(3);

/// The list of a repository service, or why there is none.
pub async fn list(
    source: RepositorySource,
    config: &Config,
    credentials: &Credentials,
    limit: Duration,
) -> Result<Result<ListedSite, Failure>, FileProblem> {
    let settings = client_settings(config, limit);
    let client =
        RepositoryClient::new(endpoint(&source), source.user.clone(), credentials, settings)?;
    let listed = list_site(&client, &source.addresses, limit).await;
    Ok(listed.map(|(nodes, unlinked)| ListedSite { unlinked, nodes, source }))
}

/// How to reach a repository service.
pub fn endpoint(source: &RepositorySource) -> Endpoint {
    Endpoint::of_repository(&source.host, &source.addresses, &source.tls)
}

/// The lists of the repository services on the configured servers.
#[derive(Default)]
pub struct Guessed {
    /// The lists, each once.
    pub sites: Vec<ListedSite>,
    /// The services that returned no list, and why.
    pub failures: Vec<(String, Failure)>,
}

/// Tries the repository services on the configured servers, all at once.
pub async fn guess(config: &Config, credentials: &Credentials) -> Guessed {
    let limit = GUESS_PATIENCE.min(config.options.timeout);
    let mut sources: Vec<RepositorySource> = Vec::new();
    for source in config.servers().filter_map(|server| RepositorySource::at_server(server)) {
        if !sources.iter().any(|known| known.host.host == source.host.host) {
            sources.push(source);
        }
    }
    let asked = sources.into_iter().map(async |source| {
        let name = source.host.configured.clone();
        (name, list(source, config, credentials, limit).await)
    });
    let mut guessed = Guessed::default();
    for (name, answer) in join_all(asked).await {
        match answer {
            Ok(Ok(site)) => guessed.sites.push(site),
            Ok(Err(failure)) => guessed.failures.push((name, failure)),
            // Its certificates were reported already.
            Err(_) => {}
        }
    }
    guessed.sites = distinct(guessed.sites);
    guessed
}

/// Each list once: services of one site list the same.
pub fn distinct(lists: Vec<ListedSite>) -> Vec<ListedSite> {
    let mut sites: Vec<ListedSite> = Vec::new();
    for list in lists {
        if !sites.iter().any(|known| known.is_same(&list)) {
            sites.push(list);
        }
    }
    sites
}

/// The addresses of nodes and of the servers of a configuration, as far as this
/// machine can find them within a time.
pub async fn resolve_all(config: &Config, sites: &[ListedSite], limit: Duration) -> Resolved {
    let nodes = sites.iter().flat_map(|site| &site.nodes);
    let dialled = nodes.filter_map(|node| node.address.as_ref().ok());
    let configured = config.servers().map(|server| &server.proxy);
    let switched_off = config.switched_off.iter().map(|server| &server.proxy);
    let hosts = dialled.chain(configured).chain(switched_off);
    resolve(hosts.map(|address| address.host.clone()), limit).await
}
