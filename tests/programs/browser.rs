//! A report in a real browser.

use std::{fs, process::Command};

use crate::{
    Test,
    support::{Finished, program},
    tests,
};

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![
    ["chromium"] a_browser_logs_no_error_about_a_report,
];

/// A breach of the page's own content security policy would be logged, too.
fn a_browser_logs_no_error_about_a_report() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let mut record = program();
    record.args(["demo", "--record", "7", "--from", "2026-10-19", "--timezone", "UTC"]);
    let events = Finished::of(record).stdout;
    fs::write(path("events"), events.replace("kofi", "<script>alert('x')</script>"))
        .expect("written");
    let mut report = program();
    report.arg("report").arg(path("events")).arg("-o").arg(path("report.html"));
    report.args(["--timezone", "UTC", "--at", "2026-10-21T10:00"]);
    assert_eq!(Finished::of(report).code, Some(0));

    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", path("profile").display()))
        .args(["--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("file://{}", path("report.html").display()))
        .output()
        .expect("chromium runs");
    let (page, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(page.contains("Users with the most hours"), "{log}");
    assert!(page.contains("LAB\\&lt;script&gt;"), "the name is shown as it is");
    assert!(!log.contains("CONSOLE"), "{log}");
}
