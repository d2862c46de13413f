//! `schema`, `completions` and `man`: descriptions of this program for other programs.

use std::{
    io::{self, Write},
    path::Path,
};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{CommandError, Exit};
use crate::cli::{Cli, Schema};

pub fn run(of: Schema) -> Result<Exit, CommandError> {
    let text = match of {
        Schema::Events => include_str!("../schema/events.json"),
        Schema::Config => include_str!("../schema/config.json"),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

pub fn completions(shell: Shell) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "qlik-sessions", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}

pub fn man(folder: &Path) -> Result<Exit, CommandError> {
    clap_mangen::generate_to(Cli::command(), folder)?;
    Ok(Exit::Done)
}
