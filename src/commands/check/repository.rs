//! Asks the repository services which virtual proxies there are, adds those that
//! discovery finds to the targets, and compares.
//!
//! Where the configuration names no repository service, those of its servers are
//! tried: port 4242 is often closed, and then there is nothing to compare with.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;

use super::{
    super::{CommandError, site_totals},
    report::{Finding, Report, Step},
    steps, unusable,
};
use crate::{
    config::{Config, RepositorySource},
    discovery::{Comparison, ListedSite, Resolved, all_targets, list_site, resolve},
    poll::client_settings,
    proxy::{Category, Credentials, Endpoint, Failure, tls::FileProblem},
    repository::{ListedProxy, RepositoryClient},
    target::{ProxyAddress, Target, TlsSettings},
};

/// How long a repository service may take that nobody named.
const GUESS_PATIENCE: Duration = Duration::from_secs(3);

/// Asks, adds and compares. `host` is a repository service that was named beside the
/// configuration.
pub async fn check(
    config: &mut Config,
    credentials: &Credentials,
    host: Option<&ProxyAddress>,
    report: &mut Report,
) -> Result<(), CommandError> {
    if !config.discovery.sources.is_empty() {
        return check_discovery(config, credentials, report).await;
    }
    let listed = match (host, config.servers().next()) {
        (Some(host), Some(server)) => {
            let tls = TlsSettings { server_name: None, ..server.tls.clone() };
            let source = RepositorySource::of_site(host.clone(), tls);
            ask(source, config, credentials, report).await?.into_iter().collect()
        }
        _ => guess(config, credentials, report).await?,
    };
    let resolved = resolve_all(config, &listed).await;
    for site in &listed {
        compare_with(site, config, &config.targets, &resolved, report)?;
    }
    Ok(())
}

async fn check_discovery(
    config: &mut Config,
    credentials: &Credentials,
    report: &mut Report,
) -> Result<(), CommandError> {
    let mut listed = Vec::new();
    for source in config.discovery.sources.clone() {
        listed.push(ask(source, config, credentials, report).await?);
    }
    let lists: Vec<Option<Vec<ListedProxy>>> =
        listed.iter().map(|site| site.as_ref().map(ListedSite::proxies)).collect();
    let listed: Vec<ListedSite> = listed.into_iter().flatten().collect();
    let resolved = resolve_all(config, &listed).await;
    let (targets, problems) = all_targets(config, &lists, &resolved);
    for site in &listed {
        compare_with(site, config, &targets, &resolved, report)?;
    }
    config.targets = targets;
    for problem in problems {
        report.add(Finding::warning(Step::Repository, problem))?;
    }
    Ok(())
}

fn compare_with(
    site: &ListedSite,
    config: &Config,
    polled: &[Target],
    resolved: &Resolved,
    report: &mut Report,
) -> Result<(), CommandError> {
    report.heading(&format!(
        "The site, as the repository service {} lists it",
        site.source.host.configured
    ))?;
    let comparison = Comparison::new(site, config, polled, resolved);
    for difference in &comparison.differences {
        let finding = Finding::warning(Step::Repository, difference.message());
        let finding = match difference.virtual_proxy() {
            Some(virtual_proxy) => finding.virtual_proxy(virtual_proxy),
            None => finding,
        };
        report.add(finding.hint(difference.hint()))?;
    }
    if comparison.differences.is_empty() && comparison.switched_off.is_empty() {
        report.add(Finding::ok(Step::Repository, "every virtual proxy that it lists is polled"))?;
    }
    report_what_is_left_out(site, &comparison, report)
}

fn report_what_is_left_out(
    site: &ListedSite,
    comparison: &Comparison<'_>,
    report: &mut Report,
) -> Result<(), CommandError> {
    let excluded = comparison.excluded.iter().map(|it| it.as_str()).collect();
    let unlinked = site.unlinked.iter().map(|listed| listed.prefix.as_str()).collect();
    let switched_off = comparison.switched_off.iter().copied().collect();
    let left_out: [(&str, BTreeSet<&str>); 3] = [
        ("left out by `sessionSource.discovery.exclude`", excluded),
        ("switched off by `userSessions.enable`, so not polled", switched_off),
        ("linked to no proxy, so without sessions", unlinked),
    ];
    for (what, names) in left_out.into_iter().filter(|(_, names)| !names.is_empty()) {
        let list = names.into_iter().collect::<Vec<_>>().join(", ");
        report.add(Finding::ok(Step::Repository, format!("{what}: {list}")))?;
    }
    Ok(())
}

async fn resolve_all(config: &Config, listed: &[ListedSite]) -> Resolved {
    let nodes = listed.iter().flat_map(|site| &site.nodes);
    let dialled = nodes.filter_map(|node| node.address.as_ref().ok());
    let configured = config.servers().map(|server| &server.proxy);
    let switched_off = config.switched_off.iter().map(|server| &server.proxy);
    let hosts = dialled.chain(configured).chain(switched_off).map(|address| address.host.clone());
    resolve(hosts, config.options.timeout).await
}

/// Asks a repository service that somebody named, step by step.
async fn ask(
    source: RepositorySource,
    config: &Config,
    credentials: &Credentials,
    report: &mut Report,
) -> Result<Option<ListedSite>, CommandError> {
    report.heading(&format!("Repository service {}", source.host.configured))?;
    if !source.tls.verify {
        report.add(super::not_checked())?;
    }
    let limit = config.options.timeout;
    let endpoint = endpoint(&source);
    let certificates = credentials.get(&source.tls.files);
    if !steps::connect(&endpoint, certificates, limit, report).await? {
        return Ok(None);
    }
    match list(source, config, credentials, limit).await {
        Err(problem) => report.add(unusable(problem))?,
        Ok(Err(failure)) => report.add(Finding::failure(Step::Http, failure))?,
        Ok(Ok(site)) => {
            report.add(Finding::ok(Step::Http, format!("lists {}", site_totals(&site.nodes))))?;
            return Ok(Some(site));
        }
    }
    Ok(None)
}

/// Tries the repository services on the configured servers, all at once.
async fn guess(
    config: &Config,
    credentials: &Credentials,
    report: &mut Report,
) -> Result<Vec<ListedSite>, CommandError> {
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
    let mut sites: Vec<ListedSite> = Vec::new();
    let mut failures = Vec::new();
    for (name, answer) in join_all(asked).await {
        match answer {
            Ok(Ok(site)) if sites.iter().any(|known| known.is_same(&site)) => {}
            Ok(Ok(site)) => sites.push(site),
            Ok(Err(failure)) => failures.push((name, failure)),
            // It was reported with the certificates.
            Err(_) => {}
        }
    }
    if sites.is_empty() && !failures.is_empty() {
        report.heading("Repository service")?;
        report.add(no_list(&failures))?;
    }
    Ok(sites)
}

/// What is said where no repository service gave a list. One that cannot be reached
/// is no problem: it is not needed. One that refuses is closer to an answer.
fn no_list(failures: &[(String, Failure)]) -> Finding {
    let refused = failures.iter().find(|(_, failure)| {
        matches!(failure.category, Category::AuthError | Category::XsrfRejected)
    });
    if let Some((name, failure)) = refused {
        let failure = failure.clone();
        let message = format!("the repository service {name}: {}", failure.message);
        return Finding::failure(Step::Repository, Failure { message, ..failure }).into_warning();
    }
    let names: Vec<&str> = failures.iter().map(|(name, _)| name.as_str()).collect();
    Finding::ok(
        Step::Repository,
        format!(
            "no list of all virtual proxies to compare with: no repository service answers here at {} (it is not needed for polling)",
            names.join(", ")
        ),
    )
}

async fn list(
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

fn endpoint(source: &RepositorySource) -> Endpoint {
    Endpoint::of_repository(&source.host, &source.addresses, &source.tls)
}
