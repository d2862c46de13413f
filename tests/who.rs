//! `who`: for people.

mod support;

use qlik_sessions::site::{Fault, SimulatedSession};
use serde_json::Value;
use support::{Finished, Fixture};

fn fixture() -> Fixture {
    let fixture = Fixture::new(&[("sense1", &["/", "/sales"]), ("sense2", &["/"])], "");
    let session = |id, user| SimulatedSession::new(id, "LAB", user);
    fixture.site.set_sessions(
        "sense1",
        "/",
        &[session("a", "maria"), session("b", "goran"), session("c", "goran")],
    );
    fixture.site.set_sessions("sense1", "/sales", &[session("d", "山田太郎")]);
    fixture.site.set_sessions("sense2", "/", &[session("e", "goran")]);
    fixture
}

fn who(fixture: &Fixture, arguments: &[&str]) -> Finished {
    let mut command = fixture.command("who");
    command.args(arguments);
    Finished::of(command)
}

#[test]
fn the_table_is_sorted_and_aligned_and_ends_in_totals() {
    let run = who(&fixture(), &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    let cells: Vec<Vec<&str>> =
        lines.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[0], ["USER", "SERVER", "VIRTUAL", "PROXY", "SESSIONS"]);
    assert_eq!(cells[1], ["LAB\\goran", "sense1", "/", "2"]);
    assert_eq!(cells[2], ["LAB\\goran", "sense2", "/", "1"]);
    assert_eq!(cells[3], ["LAB\\maria", "sense1", "/", "1"]);
    assert_eq!(cells[4], ["LAB\\山田太郎", "sense1", "/sales", "1"]);
    // Four wide characters take eight columns.
    let column = |line: &str| line.find("sense").expect("a server");
    assert_eq!(column(lines[4]) - "山田太郎".len() + 8, column(lines[3]));
    assert_eq!(
        *lines.last().expect("a foot"),
        "5 sessions of 3 distinct users on 3 virtual proxies"
    );
}

#[test]
fn a_restart_of_one_server_hits_these() {
    let fixture = fixture();
    let run = who(&fixture, &["--server", "sense1"]);
    assert!(
        run.stdout.ends_with("4 sessions of 3 distinct users on 2 virtual proxies\n"),
        "{}",
        run.stdout
    );
    let run = who(&fixture, &["--server", "SENSE1.example.com", "--virtual-proxy", "sales"]);
    assert!(
        run.stdout.ends_with("1 session of 1 distinct user on 1 virtual proxy\n"),
        "{}",
        run.stdout
    );
    let run = who(&fixture, &["--server", "sense9"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("there are: sense1, sense2"), "{}", run.stderr);
}

#[test]
fn failed_targets_are_told_and_change_the_exit_code() {
    let fixture = fixture();
    fixture.site.set_fault("sense2", "/", Some(Fault::LoginPage));
    let run = who(&fixture, &[]);
    assert_eq!(run.code, Some(1));
    let (table, failures) = run.stdout.split_once("could NOT be read").expect("it is told");
    assert!(table.contains("4 sessions"), "{table}");
    assert!(failures.contains("✗ sense2 /: login_page"), "{failures}");
    let run = who(&fixture, &["--output", "json"]);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(document["targets_failed"], 1);
    assert_eq!(document["failed"][0]["category"], "login_page");
    assert_eq!(document["sessions"].as_array().map(Vec::len), Some(4));
}

#[test]
fn csv_has_one_line_for_each_session() {
    let run = who(&fixture(), &["--output", "csv"]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "user_directory,user_id,server_name,virtual_proxy,session_id");
    assert_eq!(lines[1], "LAB,goran,sense1,/,b");
    assert_eq!(lines.len(), 6);
}

#[test]
fn a_name_cannot_steer_the_terminal() {
    let fixture = fixture();
    fixture.site.set_sessions(
        "sense1",
        "/",
        &[SimulatedSession::new("x", "LAB", "\u{1b}[2Jevil\n")],
    );
    let run = who(&fixture, &[]);
    assert!(!run.stdout.contains('\u{1b}'));
}
