//! `check`: says in plain words whether everything is right, and what to do
//! where it is not.
//!
//! Each server is checked step by step, as a connection is made: DNS, TCP,
//! TLS, HTTP. The first step that fails is the one to repair.

mod report;
mod repository;
mod steps;

use std::sync::Arc;

use jiff::Timestamp;

use self::report::{Finding, Report, Step};
use super::{CommandError, Exit, SWITCHED_OFF, counted, printable, runtime, what_is_polled};
use crate::{
    cli::CheckArgs,
    config::{Config, Problem, Severity},
    poll::{SHARED_SESSIONS_HINT, SharedSessions, client_settings},
    proxy::{
        Credentials, Deadline, Endpoint, ProxyClient,
        tls::{CertificateFacts, FileProblem, key_that_everyone_may_read},
    },
    snapshot::{DistinctUsers, Rules, Snapshot, sorted_names},
    target::{Server, Target},
};

/// How many users at the session limit are named.
const SHOWN_NAMES: usize = 5;
/// How many days before a certificate expires the warnings begin.
const EXPIRY_WARNING_DAYS: i64 = 30;

pub fn run(args: &CheckArgs) -> Result<Exit, CommandError> {
    let mut report = Report::new(args.output);
    let path = &args.config.config;
    report.heading(&format!("Configuration {}", path.display()))?;
    let mut config = match Config::load(path).and_then(Config::for_polling) {
        Ok(config) => config,
        Err(error) => {
            for problem in &error.problems {
                report.add(config_problem(problem))?;
            }
            report.end()?;
            return Ok(Exit::Config);
        }
    };
    if args.repository.is_some() && !config.discovery.sources.is_empty() {
        return Err(CommandError::Usage(
            "--repository: the configuration names the repository service itself".to_owned(),
        ));
    }
    report_config(&config, &mut report)?;
    let credentials = report_certificates(&config, &mut report)?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        if config.enabled {
            let host = args.repository.as_ref();
            repository::check(&mut config, &credentials, host, &mut report).await?;
        }
        check_servers(&config, &credentials, &mut report).await
    });
    runtime.shutdown_background();
    result?;
    report.end()?;
    Ok(if report.has_errors() { Exit::Failed } else { Exit::Done })
}

fn config_problem(problem: &Problem) -> Finding {
    match problem.severity {
        Severity::Error => Finding::error(Step::Config, problem.to_string()),
        Severity::Warning => Finding::warning(Step::Config, problem.to_string()),
    }
}

fn report_config(config: &Config, report: &mut Report) -> Result<(), CommandError> {
    for warning in &config.warnings {
        report.add(config_problem(warning))?;
    }
    if !config.enabled {
        report.add(Finding::warning(Step::Config, SWITCHED_OFF))?;
        return Ok(());
    }
    report.add(Finding::ok(
        Step::Config,
        format!(
            "{}, polled every {}",
            what_is_polled(config),
            humantime::format_duration(config.polling_interval)
        ),
    ))?;
    Ok(())
}

/// Checks each certificate set; returns those that can be used.
fn report_certificates(config: &Config, report: &mut Report) -> Result<Credentials, CommandError> {
    let mut credentials = Credentials::default();
    for files in config.certificate_files() {
        report.heading(&format!("Certificates {}", files.client_cert.display()))?;
        match credentials.add(files) {
            Ok(set) => {
                report.add(certificate("client certificate", set.identity.certificate()))?;
                for root in set.roots.iter().flat_map(|roots| roots.certificates()) {
                    report.add(certificate("root certificate", root))?;
                }
            }
            Err(problems) => {
                for problem in problems {
                    report.add(unusable(problem))?;
                }
            }
        }
        if let Some(path) = key_that_everyone_may_read(files) {
            report.add(
                Finding::warning(
                    Step::Certificates,
                    format!("everyone on this machine may read the key {}", path.display()),
                )
                .hint(format!("chmod 600 {}", path.display())),
            )?;
        }
    }
    Ok(credentials)
}

/// A file that cannot be used.
fn unusable(problem: FileProblem) -> Finding {
    let text = format!("{}: {}", problem.path.display(), problem.message);
    Finding::error(Step::Certificates, text).hint(problem.hint)
}

/// A certificate's names, CA and end.
fn certificate(kind: &str, facts: &CertificateFacts) -> Finding {
    let names = facts.names();
    let text = format!(
        "{kind} {}, signed by {}, good until {}",
        if names.is_empty() { "without a name".to_owned() } else { names.join(", ") },
        facts.issuer,
        facts.not_after.strftime("%Y-%m-%d")
    );
    let now = Timestamp::now();
    let days_left = (facts.not_after.as_second() - now.as_second()).div_euclid(24 * 60 * 60);
    let renew = "export a new one from the QMC (Certificates)";
    if now >= facts.not_after {
        Finding::error(Step::Certificates, format!("{text}: it is expired")).hint(renew)
    } else if now < facts.not_before {
        Finding::error(
            Step::Certificates,
            format!("{text}, but not before {}", facts.not_before.strftime("%Y-%m-%d")),
        )
        .hint("is the clock of this machine right?")
    } else if days_left < EXPIRY_WARNING_DAYS {
        Finding::warning(Step::Certificates, format!("{text}: {days_left} days are left"))
            .hint(renew)
    } else {
        Finding::ok(Step::Certificates, text)
    }
}

fn not_checked() -> Finding {
    Finding::warning(
        Step::Tls,
        "the server's certificate is NOT CHECKED (rejectUnauthorized: false)",
    )
    .hint("anybody on the network path can read and change its answers")
}

async fn check_servers(
    config: &Config,
    credentials: &Credentials,
    report: &mut Report,
) -> Result<(), CommandError> {
    let mut site = SiteSurvey::default();
    for server in config.servers() {
        report.heading(&format!("{} ({})", server.name, server.proxy.configured))?;
        if !server.tls.verify {
            report.add(not_checked())?;
        }
        let targets: Vec<&Target> =
            config.targets.iter().filter(|target| Arc::ptr_eq(&target.server, server)).collect();
        let certificates = credentials.get(&server.tls.files);
        let endpoint = Endpoint::of_proxy(server);
        if steps::connect(&endpoint, certificates, config.options.timeout, report).await? {
            check_targets(config, server, credentials, &targets, &mut site, report).await?;
        }
    }
    if site.targets == 0 {
        return Ok(());
    }
    report.heading("The site as a whole")?;
    site.report(config.options.session_limit, report)
}

/// The last step: HTTP, one virtual proxy after another.
async fn check_targets<'a>(
    config: &Config,
    server: &Arc<Server>,
    credentials: &Credentials,
    targets: &[&'a Target],
    site: &mut SiteSurvey<'a>,
    report: &mut Report,
) -> Result<(), CommandError> {
    let request = config.options.timeout;
    let settings = client_settings(config, request);
    let client = match ProxyClient::new(server, credentials, settings) {
        Ok(client) => client,
        Err(problem) => return Ok(report.add(unusable(problem))?),
    };
    let rules = Rules::new(config, None);
    for target in targets {
        let answer = client.sessions(&target.virtual_proxy, Deadline::within(request)).await;
        let read = answer.and_then(|mut body| {
            let snapshot = Snapshot::read(&mut body, &rules)?;
            let counts = (snapshot.sessions.len(), snapshot.excluded_session_count);
            site.add(target, snapshot);
            Ok(counts)
        });
        let finding = match read {
            Ok((sessions, 0)) => Finding::ok(Step::Http, counted(sessions, "session", "sessions")),
            Ok((sessions, excluded)) => Finding::ok(
                Step::Http,
                format!(
                    "{}, and {excluded} of excluded users",
                    counted(sessions, "session", "sessions")
                ),
            ),
            Err(failure) => Finding::failure(Step::Http, failure),
        };
        report.add(finding.virtual_proxy(&target.virtual_proxy))?;
    }
    Ok(())
}

/// Which users and sessions were seen where: one target alone does not show users at
/// the limit, or one node under two names.
#[derive(Default)]
struct SiteSurvey<'a> {
    shared: SharedSessions<'a>,
    users: DistinctUsers,
    session_count: usize,
    targets: usize,
}

impl<'a> SiteSurvey<'a> {
    fn add(&mut self, target: &'a Target, snapshot: Snapshot<'_>) {
        self.targets += 1;
        self.session_count += snapshot.sessions.len();
        self.shared.add(&target.server.name, snapshot.session_digests.iter().copied());
        self.users.extend(snapshot.users);
    }

    fn report(&self, session_limit: usize, report: &mut Report) -> Result<(), CommandError> {
        for (_, message) in self.shared.messages() {
            report.add(Finding::warning(Step::Site, message).hint(SHARED_SESSIONS_HINT))?;
        }
        let at_limit = self.users.at_limit(session_limit).count();
        if at_limit > 0 {
            report.add(
                Finding::warning(
                    Step::Site,
                    format!(
                        "{} at the limit of {session_limit} parallel sessions{}",
                        counted(at_limit, "user is", "users are"),
                        self.names_at_limit(session_limit)
                    ),
                )
                .hint("Qlik Sense refuses their next log-on; `qlik-sessions who` shows where their sessions are"),
            )?;
        }
        let text = format!(
            "{} of {} on {}",
            counted(self.session_count, "session", "sessions"),
            counted(self.users.len(), "distinct user", "distinct users"),
            counted(self.targets, "virtual proxy", "virtual proxies")
        );
        report.add(Finding::ok(Step::Site, text))?;
        Ok(())
    }

    /// `: LAB\goran, LAB\maria and 38 others`.
    fn names_at_limit(&self, session_limit: usize) -> String {
        let names = sorted_names(self.users.at_limit(session_limit));
        let shown = names.len().min(SHOWN_NAMES);
        let list: Vec<String> = names[..shown].iter().map(|name| printable(name)).collect();
        match (shown, names.len() - shown) {
            (0, _) => String::new(),
            (_, 0) => format!(": {}", list.join(", ")),
            (_, more) => format!(": {} and {}", list.join(", "), counted(more, "other", "others")),
        }
    }
}
