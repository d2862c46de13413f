//! Nothing is lost between the proxy and the backend, and nothing counts twice:
//! real agents, pollers and backends that are killed again and again. They take minutes,
//! so they run only when asked for:
//!
//!     cargo test --locked --test crashes -- --ignored --nocapture --test-threads 20
//!
//! Each prints what it counted. Where an agent is missing, its test says SKIPPED,
//! and counts as ignored.

// Agents are killed and asked for their children as Unix does it.
#![cfg_attr(not(unix), allow(dead_code, unused_imports))]

#[cfg(unix)]
#[path = "../support/agents.rs"]
mod agents;
#[cfg(unix)]
#[path = "../programs/capture.rs"]
mod capture;
#[cfg(unix)]
#[path = "../support/collector.rs"]
mod collector;
#[cfg(unix)]
#[path = "../support/http.rs"]
mod http;
#[path = "../support/programs.rs"]
mod installed;
#[cfg(unix)]
mod killed_agents;
#[cfg(unix)]
mod outages;
#[cfg(unix)]
#[path = "../support/servers.rs"]
mod servers;
#[cfg(unix)]
mod site;
#[cfg(unix)]
mod stored;
#[path = "../support/mod.rs"]
mod support;
#[cfg(unix)]
mod two_pollers;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

/// A test, and the programs that it needs.
struct Test {
    name: &'static str,
    needs: &'static [&'static str],
    run: fn(),
}

impl Test {
    fn trial(&self) -> Trial {
        let Self { name, needs, run } = *self;
        let runner = move || {
            if let Some(why) = installed::missing_of(needs) {
                eprintln!("SKIPPED {name}: {why}");
                return Ok(Completion::ignored_with(why));
            }
            run();
            Ok(Completion::Completed)
        };
        Trial::ignorable_test(name, runner).with_ignored_flag(true)
    }
}

fn main() -> ExitCode {
    #[cfg(unix)]
    let tests = [killed_agents::TESTS, two_pollers::TESTS, outages::TESTS];
    #[cfg(not(unix))]
    let tests: [&[Test]; 0] = [];
    let trials = tests.into_iter().flatten().map(Test::trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
