//! Asks the repository services which virtual proxies there are, adds those that
//! discovery finds to the targets, and compares.
//!
//! Where the configuration names no repository service, those on its servers are
//! tried. Port 4242 is often closed; then there is nothing to compare with.

use std::collections::BTreeSet;

use super::{
    super::{CommandError, site_totals, sites},
    report::{Finding, Report, Step},
    steps, unusable,
};
use crate::{
    config::{Config, RepositorySource},
    discovery::{AllTargets, Comparison, ListedSite, Resolved, all_targets},
    proxy::{Category, Credentials, Failure},
    repository::ListedProxy,
    target::{ProxyAddress, Target, TlsSettings},
};

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
    let resolved = sites::resolve_all(config, &listed, config.options.timeout).await;
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
    let resolved = sites::resolve_all(config, &listed, config.options.timeout).await;
    let AllTargets { targets, problems, .. } = all_targets(config, &lists, &resolved);
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
    let endpoint = sites::endpoint(&source);
    let certificates = credentials.get(&source.tls.files);
    if !steps::connect(&endpoint, certificates, limit, report).await? {
        return Ok(None);
    }
    match sites::list(source, config, credentials, limit).await {
        Err(problem) => report.add(unusable(problem))?,
        Ok(Err(failure)) => report.add(Finding::failure(Step::Http, failure))?,
        Ok(Ok(site)) => {
            report.add(Finding::ok(Step::Http, format!("lists {}", site_totals(&site.nodes))))?;
            return Ok(Some(site));
        }
    }
    Ok(None)
}

/// Tries the repository services on the configured servers.
async fn guess(
    config: &Config,
    credentials: &Credentials,
    report: &mut Report,
) -> Result<Vec<ListedSite>, CommandError> {
    let guessed = sites::guess(config, credentials).await;
    if guessed.sites.is_empty() && !guessed.failures.is_empty() {
        report.heading("Repository service")?;
        report.add(no_list(&guessed.failures))?;
    }
    Ok(guessed.sites)
}

/// The finding where no repository service returned a list. One that cannot be reached
/// is not a problem: it is not needed. One that refuses is worth a warning.
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
            "there is no list of all virtual proxies to compare with: no repository service answers at {} (it is not needed for polling)",
            names.join(", ")
        ),
    )
}
