//! Which programs are there, and tests that need them.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use libtest_mimic::Trial;

/// A test; where something is missing, it says so in a line of its own and counts as
/// ignored.
pub fn trial(
    name: impl Into<String>,
    missing: Option<String>,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    let name = name.into();
    if let Some(why) = &missing {
        eprintln!("SKIPPED {name}: {why}");
    }
    let run = move || {
        run();
        Ok(())
    };
    Trial::test(name, run).with_ignored_flag(missing.is_some())
}

/// Why one of these programs cannot be used; none where all can be used.
pub fn missing_of(programs: &[impl AsRef<str>]) -> Option<String> {
    programs.iter().find_map(|program| missing(program.as_ref()))
}

/// Why a program cannot be used; none where it can be used.
pub fn missing(program: &str) -> Option<String> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    if !env::split_paths(&paths).chain(extra).any(|folder| is_program(&folder, program)) {
        return Some(format!("`{program}` is not installed"));
    }
    (program == "openssl" && !openssl_is_3()).then(|| "`openssl` is not OpenSSL 3".to_owned())
}

fn is_program(folder: &Path, program: &str) -> bool {
    folder.join(program).is_file() || folder.join(format!("{program}.exe")).is_file()
}

/// LibreSSL, which macOS installs as openssl, makes other files.
fn openssl_is_3() -> bool {
    Command::new("openssl")
        .arg("version")
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"OpenSSL 3"))
}
