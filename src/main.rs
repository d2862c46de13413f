//! `qlik-sessions`: arguments to a command, its result to an exit code.

use std::process::ExitCode;

use clap::Parser;
use qlik_sessions::{cli::Cli, commands};

fn main() -> ExitCode {
    let cli = Cli::parse();
    commands::run(cli).into()
}
