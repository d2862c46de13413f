//! The log's colours, as users ask for them or refuse them.

use std::{error::Error, process::Command};

/// What the built program logs about a configuration that is not there.
fn log(variables: &[(&str, &str)]) -> Result<String, Box<dyn Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_qlik-sessions"))
        .args(["once", "--config", "not-there.yaml"])
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE")
        .envs(variables.iter().copied())
        .output()?;
    assert_eq!(output.status.code(), Some(78));
    Ok(String::from_utf8(output.stderr)?)
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() -> Result<(), Box<dyn Error>> {
    let log = log(&[])?;
    assert!(log.contains("ERROR") && !log.contains('\x1b'), "{log:?}");
    Ok(())
}

#[test]
fn colours_can_be_forced() -> Result<(), Box<dyn Error>> {
    let log = log(&[("CLICOLOR_FORCE", "1")])?;
    assert!(log.contains("ERROR") && log.contains('\x1b'), "{log:?}");
    Ok(())
}

#[test]
fn no_color_wins_over_forced_colours() -> Result<(), Box<dyn Error>> {
    let log = log(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")])?;
    assert!(log.contains("ERROR") && !log.contains('\x1b'), "{log:?}");
    Ok(())
}
