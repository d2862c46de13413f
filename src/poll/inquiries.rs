//! The repository services of a configuration: asked when their interval is over,
//! beside the targets, and at the start before them.
//!
//! An inquiry that fails changes nothing but its count: what was listed is polled
//! all the same.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use jiff::Timestamp;

use super::{
    LOG_EVERY_FAILURES, PollTime, Settings,
    schedule::{is_same_slot, milliseconds},
    servers::unusable_certificates,
};
use crate::{
    config::{Config, RepositorySource, Scope},
    discovery::{KnownList, Resolved, SavedInquiry, all_targets, hosts_to_resolve, resolve},
    events::{Lines, RepositoryKeys, discovery_error},
    proxy::{ClientSettings, Credentials, Deadline, Endpoint, Failure, tls::FileProblem},
    repository::{ListedProxy, RepositoryClient},
    target::{Target, host_without_port},
};

/// All repository services of a configuration.
#[derive(Default)]
pub struct Inquiries {
    inquiries: Vec<Inquiry>,
    /// Addresses of hosts. What was found once stays known: one server must not become two
    /// because DNS does not answer for a while.
    resolved: Resolved,
    /// What of the lists cannot be polled, where that was logged.
    logged: HashSet<String>,
}

/// One repository service.
struct Inquiry {
    source: RepositorySource,
    endpoint: Endpoint,
    keys: RepositoryKeys,
    /// The client, or why its certificates cannot be used.
    client: Result<RepositoryClient, FileProblem>,
    settings: ClientSettings,
    /// When it was asked last.
    asked: Option<Timestamp>,
    /// None before the first list.
    list: Option<KnownList>,
    consecutive_failures: u64,
}

/// The result of asking.
#[derive(Default)]
pub struct Asked {
    /// There is a list that was not there before.
    pub new_list: bool,
    /// One of them is the first of its repository service.
    pub first_list: bool,
    /// `discovery_error`s, as lines.
    pub errors: Vec<u8>,
}

/// A repository service that could not be asked.
#[derive(Debug)]
pub struct FailedInquiry {
    /// Where it is.
    pub repository: String,
    /// Why.
    pub failure: Failure,
    /// Its virtual proxies are those of an older list.
    pub has_old_list: bool,
}

impl Inquiries {
    /// The services of a configuration, with what an earlier run knew. `asked_lately` says
    /// whether the time of its last inquiry counts, too.
    pub fn new(
        config: &Config,
        credentials: &mut Credentials,
        settings: ClientSettings,
        saved: Vec<SavedInquiry>,
        asked_lately: bool,
    ) -> Self {
        let mut inquiries: Vec<Inquiry> = config
            .discovery
            .sources
            .iter()
            .map(|source| Inquiry::new(source.clone(), credentials, settings))
            .collect();
        for saved in saved {
            if let Some(inquiry) =
                inquiries.iter_mut().find(|inquiry| inquiry.id() == saved.repository)
            {
                inquiry.restore(saved, asked_lately);
            }
        }
        Self { inquiries, ..Self::default() }
    }

    /// What is to be saved.
    pub fn saved(&self) -> Vec<SavedInquiry> {
        self.inquiries.iter().map(Inquiry::saved).collect()
    }

    /// Returns whether a repository service was never asked: it comes before the
    /// targets then.
    pub fn never_asked(&self) -> bool {
        self.inquiries.iter().any(|inquiry| inquiry.list.is_none() && inquiry.asked.is_none())
    }

    /// Returns whether some list is not there yet.
    pub fn lack_a_list(&self) -> bool {
        self.inquiries.iter().any(|inquiry| inquiry.list.is_none())
    }

    /// Returns whether targets can be known: there is a list, or nothing is listed.
    pub fn have_a_list(&self) -> bool {
        self.inquiries.is_empty() || self.inquiries.iter().any(|inquiry| inquiry.list.is_some())
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inquiries.is_empty()
    }

    /// Takes renewed certificates into use.
    pub fn refresh(&mut self, credentials: &mut Credentials) {
        for inquiry in &mut self.inquiries {
            match &mut inquiry.client {
                Ok(client) => client.refresh(credentials),
                Err(_) => inquiry.client = inquiry.new_client(credentials),
            }
        }
    }

    /// Asks the repository services that are due, each in at most so much time.
    pub async fn ask_due(&mut self, settings: &Settings, time: PollTime, limit: Duration) -> Asked {
        let due = self.inquiries.iter_mut().filter(|inquiry| inquiry.is_due(settings, time.wall));
        let deadline = Deadline {
            poll_ends: time.deadline.poll_ends,
            request: limit.min(time.deadline.request),
        };
        let answers = join_all(due.map(|inquiry| inquiry.ask(settings, time, deadline))).await;
        answers.into_iter().fold(Asked::default(), |mut all, mut asked| {
            all.new_list |= asked.new_list;
            all.first_list |= asked.first_list;
            all.errors.append(&mut asked.errors);
            all
        })
    }

    /// Asks all, each in at most so much time; returns those that could not be asked.
    /// The first list that comes takes the place of what an earlier run knew.
    pub async fn ask_all(&mut self, request: Duration) -> Vec<FailedInquiry> {
        let asking = self.inquiries.iter_mut().map(async |inquiry| {
            match inquiry.list_of(Deadline::within(request)).await {
                Ok(list) => {
                    if inquiry.asked.replace(Timestamp::now()).is_none() {
                        inquiry.list = None;
                    }
                    inquiry.list.get_or_insert_default().update(&list);
                    None
                }
                Err(failure) => Some(FailedInquiry {
                    repository: inquiry.source.host.configured.clone(),
                    failure,
                    has_old_list: inquiry.list.is_some(),
                }),
            }
        });
        join_all(asking).await.into_iter().flatten().collect()
    }

    /// The targets of the configuration and of all lists.
    pub async fn targets(&mut self, config: &Config, limit: Duration) -> Vec<Target> {
        let lists: Vec<Option<Vec<ListedProxy>>> = self
            .inquiries
            .iter()
            .map(|inquiry| inquiry.list.as_ref().map(KnownList::proxies))
            .collect();
        let hosts = hosts_to_resolve(config, &lists);
        if !hosts.is_empty() {
            self.resolved.update(resolve(hosts.into_iter(), limit).await);
        }
        let all = all_targets(config, &lists, &self.resolved);
        for problem in all.problems {
            if self.logged.insert(problem.clone()) {
                tracing::warn!("{problem}");
            }
        }
        for node in all.switched_off {
            if self.logged.insert(node.clone()) {
                tracing::info!(
                    "the node {node} is not polled: its server's `userSessions.enable` is false"
                );
            }
        }
        all.targets
    }

    /// Their names, for the log.
    pub fn names(&self) -> String {
        let names: Vec<&str> =
            self.inquiries.iter().map(|inquiry| inquiry.source.host.configured.as_str()).collect();
        names.join(", ")
    }
}

impl Inquiry {
    fn new(
        source: RepositorySource,
        credentials: &mut Credentials,
        settings: ClientSettings,
    ) -> Self {
        let host = host_without_port(&source.host.configured).to_owned();
        let keys = RepositoryKeys {
            server_name: match &source.scope {
                Scope::Site => host.clone(),
                Scope::Server(server) => server.name.clone(),
            },
            server_host: host,
            tags: source.tags.clone(),
        };
        let endpoint = Endpoint::of_repository(&source.host, &source.addresses, &source.tls);
        let client = client(&endpoint, &source, credentials, settings);
        Self {
            source,
            endpoint,
            keys,
            client,
            settings,
            asked: None,
            list: None,
            consecutive_failures: 0,
        }
    }

    fn new_client(&self, credentials: &mut Credentials) -> Result<RepositoryClient, FileProblem> {
        client(&self.endpoint, &self.source, credentials, self.settings)
    }

    /// What names it in the state file.
    fn id(&self) -> String {
        format!("{} {}", self.source.host.configured, self.keys.server_name)
    }

    fn restore(&mut self, saved: SavedInquiry, asked_lately: bool) {
        self.list = saved.list;
        self.consecutive_failures = saved.consecutive_failures;
        if asked_lately {
            self.asked = saved.asked.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        }
    }

    fn saved(&self) -> SavedInquiry {
        SavedInquiry {
            repository: self.id(),
            asked: self.asked.map(Timestamp::as_millisecond),
            consecutive_failures: self.consecutive_failures,
            list: self.list.clone(),
        }
    }

    fn is_due(&self, settings: &Settings, now: Timestamp) -> bool {
        if self.asked == Some(now) {
            return false;
        }
        let (Some(asked), Some(_)) = (self.asked, &self.list) else { return true };
        if settings.config.options.align_polls {
            return !is_same_slot(asked, now, self.source.interval);
        }
        let (asked, now) = (asked.as_millisecond(), now.as_millisecond());
        // A poll that comes a little early must not cost a whole interval.
        now < asked
            || now - asked + milliseconds(settings.config.polling_interval) / 2
                >= milliseconds(self.source.interval)
    }

    async fn list_of(&self, deadline: Deadline) -> Result<Vec<ListedProxy>, Failure> {
        match &self.client {
            Ok(client) => client.proxies(deadline).await,
            Err(problem) => Err(unusable_certificates(problem)),
        }
    }

    async fn ask(&mut self, settings: &Settings, time: PollTime, deadline: Deadline) -> Asked {
        let answer = self.list_of(deadline).await;
        self.asked = Some(time.wall);
        match answer {
            Ok(list) => {
                let first_list = self.list.is_none();
                self.answered(&list);
                Asked { new_list: true, first_list, ..Asked::default() }
            }
            Err(failure) => {
                Asked { errors: self.failed(&failure, settings, time), ..Asked::default() }
            }
        }
    }

    fn answered(&mut self, list: &[ListedProxy]) {
        if self.consecutive_failures > 0 {
            tracing::info!(
                "the repository service {} answers again after {} failed inquiries",
                self.source.host.configured,
                self.consecutive_failures
            );
            self.consecutive_failures = 0;
        }
        self.list.get_or_insert_default().update(list);
    }

    fn failed(&mut self, failure: &Failure, settings: &Settings, time: PollTime) -> Vec<u8> {
        self.consecutive_failures += 1;
        let host = &self.source.host.configured;
        let consequence = match self.list {
            Some(_) => "what it listed before is polled all the same",
            None => "its virtual proxies are polled when it has listed them",
        };
        if self.consecutive_failures == 1
            || self.consecutive_failures.is_multiple_of(LOG_EVERY_FAILURES)
        {
            tracing::warn!(
                "the repository service {host} cannot be asked (inquiry {} in a row); {consequence}: {failure}",
                self.consecutive_failures
            );
        } else {
            tracing::debug!("the repository service {host}: {failure}");
        }
        let mut lines = Lines::new(settings.config.options.max_line_bytes);
        discovery_error(
            &mut lines,
            &self.keys,
            settings.config.options.site.as_deref(),
            time.wall,
            failure,
            time.elapsed_ms(),
            self.consecutive_failures,
        );
        lines.take()
    }
}

fn client(
    endpoint: &Endpoint,
    source: &RepositorySource,
    credentials: &mut Credentials,
    settings: ClientSettings,
) -> Result<RepositoryClient, FileProblem> {
    credentials.require(&endpoint.tls.files)?;
    RepositoryClient::new(endpoint.clone(), source.user.clone(), credentials, settings)
}
