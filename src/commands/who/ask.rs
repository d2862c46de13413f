//! Asks the targets that `--server` and `--virtual-proxy` name. Which targets there
//! are may change from look to look: the repository service lists them.

use std::{collections::BTreeSet, time::Duration};

use super::super::CommandError;
use crate::{
    cli::WhoArgs,
    config::Config,
    poll::{FailedInquiry, StartError, Survey, Surveyed},
    target::{Target, VirtualProxy},
};

/// Asks the chosen targets, as often as it is wanted.
pub struct Chosen {
    survey: Survey,
    choice: Choice,
}

/// The answers of one look.
#[derive(Debug, Default)]
pub struct Answers {
    /// One for each target.
    pub targets: Vec<Surveyed>,
    /// Repository services that could not be asked which targets there are.
    pub failed_inquiries: Vec<FailedInquiry>,
}

/// No target fits `--server` and `--virtual-proxy`; the text names what there is.
#[derive(Debug)]
pub struct NothingChosen(pub String);

impl Chosen {
    /// Loads the certificates. Nothing is asked yet; see [`Survey::new`].
    pub fn new(
        config: &Config,
        choice: Choice,
        interval: Option<Duration>,
    ) -> Result<Self, CommandError> {
        let survey = Survey::new(config, interval).map_err(StartError::from)?;
        Ok(Self { survey, choice })
    }

    /// Asks all chosen targets that are known now.
    pub async fn ask(&mut self) -> Result<Answers, NothingChosen> {
        let (targets, failed_inquiries) = self.survey.targets().await;
        let targets = self.choice.of(targets, &failed_inquiries)?;
        Ok(Answers { targets: self.survey.ask(targets).await, failed_inquiries })
    }
}

/// What `--server` and `--virtual-proxy` name.
pub struct Choice {
    server: Option<String>,
    virtual_proxy: Option<VirtualProxy>,
}

impl Choice {
    pub fn new(args: &WhoArgs) -> Self {
        Self {
            server: args.server.clone(),
            virtual_proxy: args.virtual_proxy.as_deref().map(VirtualProxy::new),
        }
    }

    /// Returns the targets that are chosen. None is an error only where all targets are
    /// known: a repository service may not have listed them yet.
    pub fn of(
        &self,
        mut targets: Vec<Target>,
        failed_inquiries: &[FailedInquiry],
    ) -> Result<Vec<Target>, NothingChosen> {
        let all_are_known = failed_inquiries.iter().all(|failed| failed.has_old_list);
        if let Some(name) = &self.server {
            let servers = names(&targets, |target| target.server.name.clone());
            targets.retain(|target| is_called(target, name));
            if targets.is_empty() && all_are_known {
                let message = format!("no server is called `{name}`; there are: {servers}");
                return Err(NothingChosen(message));
            }
        }
        if let Some(wanted) = &self.virtual_proxy {
            let prefixes = names(&targets, |target| target.virtual_proxy.to_string());
            targets.retain(|target| target.virtual_proxy == *wanted);
            if targets.is_empty() && all_are_known {
                let message = format!("no virtual proxy `{wanted}`; there are: {prefixes}");
                return Err(NothingChosen(message));
            }
        }
        Ok(targets)
    }
}

fn is_called(target: &Target, name: &str) -> bool {
    let server = &target.server;
    [&server.name, &server.host, &server.proxy.host]
        .iter()
        .any(|own| own.eq_ignore_ascii_case(name))
}

/// `sense1, sense2`.
fn names(targets: &[Target], name: fn(&Target) -> String) -> String {
    let names: BTreeSet<String> = targets.iter().map(name).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
