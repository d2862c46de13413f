//! Tests that need programs which are not everywhere: agents, databases,
//! openssl. Where one is missing, its tests are named in a line of their own, and
//! counted as ignored, never as passed.

#[path = "../support/certified.rs"]
mod certified;
#[path = "../support/programs.rs"]
mod installed;
#[path = "../support/mod.rs"]
mod support;

// They start the agents by shell scripts and end them by signals.
#[cfg(unix)]
#[path = "../support/agents.rs"]
mod agents;
#[cfg(unix)]
mod browser;
#[cfg(unix)]
mod capture;
#[cfg(unix)]
#[path = "../support/collector.rs"]
mod collector;
#[cfg(unix)]
mod fluent_bit;
#[cfg(unix)]
mod groups;
#[cfg(unix)]
#[path = "../support/http.rs"]
mod http;
#[cfg(unix)]
mod kafka;
#[cfg(unix)]
mod opensearch;
mod openssl;
#[cfg(unix)]
mod pair;
#[cfg(unix)]
mod repository;
#[cfg(unix)]
#[path = "../support/servers.rs"]
mod servers;
#[cfg(unix)]
mod terminal;
#[cfg(unix)]
mod vector;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test, and the programs that it needs.
struct Test {
    name: &'static str,
    needs: &'static [&'static str],
    run: fn(),
}

/// A list of tests: `[its programs] name, …`.
macro_rules! tests {
    ($([$($program:literal),*] $name:ident),+ $(,)?) => {
        &[$($crate::Test { name: stringify!($name), needs: &[$($program),*], run: $name }),+]
    };
}
pub(crate) use tests;

impl Test {
    fn trial(&self) -> Trial {
        installed::trial(self.name, installed::missing_of(self.needs), self.run)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    #[cfg(unix)]
    let tests = [
        openssl::TESTS,
        repository::TESTS,
        repository::LOOPBACK_TESTS,
        vector::TESTS,
        fluent_bit::TESTS,
        groups::TESTS,
        kafka::TESTS,
        opensearch::TESTS,
        pair::TESTS,
        terminal::TESTS,
        browser::TESTS,
    ];
    #[cfg(not(unix))]
    let tests = [openssl::TESTS];
    let trials = tests.into_iter().flatten().map(Test::trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The names of an agent's outputs.
#[cfg(unix)]
fn outputs(agent: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(agents::shipped(agent).join("outputs"))
        .expect("the outputs are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}
