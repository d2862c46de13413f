//! Which programs are there.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Why a program cannot be used; none where it can.
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

/// LibreSSL, which macOS calls openssl, makes other files.
fn openssl_is_3() -> bool {
    Command::new("openssl")
        .arg("version")
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"OpenSSL 3"))
}
