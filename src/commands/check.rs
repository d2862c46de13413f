//! `check`: says in plain words whether everything is right, and what to do
//! where it is not.
//!
//! Each server is looked at step by step, as a connection is made: DNS, TCP,
//! TLS, HTTP. The first step that fails is the one to mend.

mod report;
mod steps;

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use self::report::{Finding, Report, Step};
use super::{CommandError, Exit, counted, nothing_to_poll, printable, runtime};
use crate::{
    cli::CheckArgs,
    config::{Config, Problem, Severity},
    proxy::{
        ClientSettings, Credentials, ProxyClient,
        tls::{CertificateFacts, FileProblem, key_that_everyone_may_read},
    },
    snapshot::{Reader, Rules, Snapshot},
    target::{Server, Target},
};

/// Qlik Sense lets a user hold so many sessions in parallel, and refuses the next.
const SESSIONS_PER_USER: usize = 5;
/// From how many days before its end on a certificate is warned of.
const EXPIRY_WARNING_DAYS: i64 = 30;

pub fn run(args: &CheckArgs) -> Result<Exit, CommandError> {
    let mut report = Report::new(args.output);
    let path = &args.config.config;
    report.heading(&format!("Configuration {}", path.display()))?;
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            for problem in &error.problems {
                report.add(config_problem(problem))?;
            }
            report.end()?;
            return Ok(Exit::Config);
        }
    };
    report_config(&config, &mut report)?;
    let credentials = report_certificates(&config, &mut report)?;
    let runtime = runtime()?;
    let result = runtime.block_on(check_servers(&config, &credentials, &mut report));
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
    if config.targets.is_empty() {
        report.add(Finding::warning(Step::Config, nothing_to_poll(config)))?;
        return Ok(());
    }
    report.add(Finding::ok(
        Step::Config,
        format!(
            "{} on {}, polled every {}",
            counted(config.targets.len(), "virtual proxy", "virtual proxies"),
            counted(config.servers().count(), "server", "servers"),
            humantime::format_duration(config.polling_interval)
        ),
    ))?;
    Ok(())
}

/// Checks each certificate set; answers those that can be used.
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

async fn check_servers(
    config: &Config,
    credentials: &Credentials,
    report: &mut Report,
) -> Result<(), CommandError> {
    let mut crowd = Crowd::default();
    for server in config.servers() {
        report.heading(&format!("{} ({})", server.name, server.proxy.configured))?;
        if !server.tls.verify {
            report.add(
                Finding::warning(
                    Step::Tls,
                    "the server's certificate is NOT CHECKED (rejectUnauthorized: false)",
                )
                .hint("anybody between here and there can read and change what it answers"),
            )?;
        }
        let targets: Vec<&Target> =
            config.targets.iter().filter(|target| Arc::ptr_eq(&target.server, server)).collect();
        let certificates = credentials.get(&server.tls.files);
        if steps::connect(server, certificates, config.options.timeout, report).await? {
            check_targets(config, server, credentials, &targets, &mut crowd, report).await?;
        }
    }
    if crowd.targets == 0 {
        return Ok(());
    }
    report.heading("The site as a whole")?;
    crowd.report(report)
}

/// The last step: HTTP, one virtual proxy after another.
async fn check_targets(
    config: &Config,
    server: &Arc<Server>,
    credentials: &Credentials,
    targets: &[&Target],
    crowd: &mut Crowd,
    report: &mut Report,
) -> Result<(), CommandError> {
    let settings = ClientSettings {
        timeout: config.options.timeout,
        max_body_bytes: config.options.max_body_bytes,
        keep_idle: config.options.timeout,
    };
    let client = match ProxyClient::new(Arc::clone(server), credentials, settings) {
        Ok(client) => client,
        Err(problem) => return Ok(report.add(unusable(problem))?),
    };
    let rules = Rules::new(config);
    for target in targets {
        let deadline = tokio::time::Instant::now() + config.options.timeout;
        let mut reader = Reader::new(&rules);
        let answer = client.sessions(&target.virtual_proxy, deadline, &mut reader).await;
        let read = answer.and_then(|()| {
            let snapshot = reader.finish()?;
            crowd.add(target, &snapshot);
            Ok((snapshot.len(), snapshot.excluded_session_count))
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

/// Who was seen where, to find what no single target shows.
#[derive(Default)]
struct Crowd {
    /// The server on which a session was seen first.
    sessions: HashMap<String, String>,
    /// Two servers with the same sessions, and how many.
    shared: HashMap<[String; 2], usize>,
    /// Sessions of one user on one server.
    held: HashMap<(String, String), usize>,
    targets: usize,
}

impl Crowd {
    fn add(&mut self, target: &Target, snapshot: &Snapshot) {
        self.targets += 1;
        let server = &target.server.name;
        for session in snapshot.sessions() {
            let first = self
                .sessions
                .entry(session.session_id.to_owned())
                .or_insert_with(|| server.clone());
            if first != server {
                *self.shared.entry([first.clone(), server.clone()]).or_default() += 1;
            }
            if let Some(user_id) = session.user_id {
                let user = format!("{}\\{user_id}", session.user_directory);
                *self.held.entry((server.clone(), user)).or_default() += 1;
            }
        }
    }

    fn report(&self, report: &mut Report) -> Result<(), CommandError> {
        for ([first, second], count) in &self.shared {
            report.add(
                Finding::warning(Step::Site, format!("{first} and {second} tell the same {}", counted(*count, "session", "sessions")))
                    .hint("are they one node under two names, or a load balancer in front of one? Poll each node once, or sessions count twice"),
            )?;
        }
        let mut at_limit: Vec<_> =
            self.held.iter().filter(|(_, count)| **count >= SESSIONS_PER_USER).collect();
        at_limit.sort();
        for ((server, user), count) in at_limit {
            report.add(
                Finding::warning(
                    Step::Site,
                    format!("{} holds {count} sessions on {server}", printable(user)),
                )
                .hint(format!(
                    "Qlik Sense allows {SESSIONS_PER_USER} in parallel and refuses the next log-in"
                )),
            )?;
        }
        let text = format!(
            "{} seen on {}",
            counted(self.sessions.len(), "session", "sessions"),
            counted(self.targets, "virtual proxy", "virtual proxies")
        );
        report.add(Finding::ok(Step::Site, text))?;
        Ok(())
    }
}
