//! The documentation: its links lead somewhere, its commands and examples work,
//! and what it says about modules and dependencies is true.
//!
//! Each command is a test of its own, named after its file and line. Those that a
//! test cannot run are listed in [`commands`], with the reason, and count as ignored.

mod commands;
mod examples;
mod links;
mod markdown;
mod structure;

#[path = "../support/programs.rs"]
mod installed;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let documents = markdown::documents();
    let mut trials = vec![
        trial("every_relative_link_leads_somewhere", links::every_relative_link_leads_somewhere),
        trial("every_dependency_is_explained", structure::every_dependency_is_explained),
        trial("modules_use_what_they_may", structure::modules_use_what_they_may),
        trial("every_failure_is_explained", structure::every_failure_is_explained),
        trial("every_command_line_is_valid", commands::every_command_line_is_valid),
        trial("every_configuration_is_valid", examples::every_configuration_is_valid),
        trial("every_event_is_valid", examples::every_event_is_valid),
    ];
    trials.extend(examples::trials(&documents));
    trials.extend(commands::trials(&documents));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, test: fn()) -> Trial {
    installed::trial(name, None, test)
}
