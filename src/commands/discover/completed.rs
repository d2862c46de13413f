//! What is missing in a configuration, added to its text.

use super::{
    super::counted,
    found::{Beside, Found},
    server::{NewServer, virtual_proxy},
};
use crate::{
    config::{Addition, Config, Item, Step},
    discovery::{ComparedNode, Comparison, all_targets},
    target::Server,
};

const ADDED: &str = "# Added, because the repository service lists it:";

/// The text of a configuration with what is missing in it; none where it cannot be
/// added safely.
pub fn completed(found: &Found, beside: &Beside) -> Option<String> {
    let comparison = beside.compare(found);
    for difference in comparison.differences.iter().filter(|it| !it.is_missing()) {
        tracing::warn!("{difference}");
    }
    let mut missing = Missing::default();
    for compared in &comparison.nodes {
        missing.add(compared, found, beside);
    }
    let (additions, names) = missing.into_additions();
    if additions.is_empty() {
        tracing::info!("nothing is added to {}", beside.file.path.display());
        return Some(beside.file.text.clone());
    }
    let text = beside.file.with(&additions)?;
    if !is_right(&text, found, beside, &comparison) {
        return None;
    }
    for name in names {
        tracing::info!("added: {name}");
    }
    Some(text)
}

/// Returns whether a text is a configuration that polls what the file polls and what
/// was missing, and nothing else. What is added under an alias is added at every place
/// that uses it.
fn is_right(text: &str, found: &Found, beside: &Beside, before: &Comparison<'_>) -> bool {
    let Ok(config) = Config::parse_whole(&beside.file.path, text) else { return false };
    let lists = vec![Some(found.site.proxies()); config.discovery.sources.len()];
    let polled = all_targets(&config, &lists, &found.resolved).targets;
    let after = Comparison::new(&found.site, &config, &polled, &found.resolved);
    after.missing_that_can_be_dialled() == 0
        && polled.len() == beside.polled.len() + before.missing_that_can_be_dialled()
}

/// What is missing, and where it goes.
#[derive(Default)]
struct Missing {
    virtual_proxies: Vec<Addition>,
    servers: Vec<Item>,
    /// Entries of `sessionSource.servers`.
    verified: Vec<Item>,
    /// What is added, for the log.
    names: Vec<String>,
}

impl Missing {
    fn add(&mut self, compared: &ComparedNode<'_>, found: &Found, beside: &Beside) {
        let node = compared.node;
        match compared.server {
            _ if compared.missing().next().is_none() => {}
            Some(server) => self.add_virtual_proxies(compared, server),
            None if node.address.is_ok() => {
                let new = NewServer::beside(found, beside, node);
                self.servers.push(new.item());
                self.verified.extend(new.verified_name());
                self.names.push(format!("the server `{}`", new.name));
                if let Some(problem) = found.problem_of(node) {
                    tracing::warn!("edit `userSessions.host` of `{}`: {problem}", new.name);
                }
            }
            None => {
                let problem = found.problem_of(node).unwrap_or_default();
                tracing::warn!("{} is left out: {problem}", node.server_name);
            }
        }
    }

    fn add_virtual_proxies(&mut self, compared: &ComparedNode<'_>, server: &Server) {
        let Some(place) = server.place else { return };
        let keys = [Step::Item(place), key("userSessions"), key("virtualProxies")];
        let path = servers_path().into_iter().chain(keys).collect();
        let items: Vec<Item> = compared.missing().map(virtual_proxy).collect();
        let number = counted(items.len(), "virtual proxy", "virtual proxies");
        self.names.push(format!("{number} of `{}`", server.name));
        self.virtual_proxies.push(Addition { path, items: with_comment(items) });
    }

    fn into_additions(self) -> (Vec<Addition>, Vec<String>) {
        let verified_path = ["Butler-SOS", "sessionSource", "servers"].map(key).to_vec();
        let servers = Addition { path: servers_path(), items: with_comment(self.servers) };
        let verified = Addition { path: verified_path, items: self.verified };
        let mut additions = self.virtual_proxies;
        additions.extend([servers, verified].into_iter().filter(|it| !it.items.is_empty()));
        (additions, self.names)
    }
}

fn servers_path() -> Vec<Step> {
    ["Butler-SOS", "serversToMonitor", "servers"].map(key).to_vec()
}

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}

/// With a comment above the first one.
fn with_comment(mut items: Vec<Item>) -> Vec<Item> {
    if let Some(first) = items.first_mut() {
        first.lines.insert(0, ADDED.to_owned());
    }
    items
}
