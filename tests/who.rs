//! `who`: for people.

mod support;

use std::collections::HashSet;

use qlik_sessions::site::{Fault, SimulatedSession};
use serde_json::Value;
use support::{Finished, Fixture, Running, named_sessions};

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
fn failed_targets_are_shown_and_change_the_exit_code() {
    let fixture = fixture();
    fixture.site.set_fault("sense2", "/", Some(Fault::LoginPage));
    let run = who(&fixture, &[]);
    assert_eq!(run.code, Some(1));
    let (table, failures) = run.stdout.split_once("could NOT be read").expect("failures are shown");
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

#[test]
fn one_person_in_two_spellings_is_one_row() {
    let fixture = fixture();
    let session = |id, directory, user| SimulatedSession::new(id, directory, user);
    fixture.site.set_sessions(
        "sense1",
        "/",
        &[session("a", "LAB", "goran"), session("b", "lab", "Goran"), session("c", "LAB", "åsa")],
    );
    fixture.site.set_sessions("sense2", "/", &[session("d", "Lab", "A\u{30a}sa")]);
    let run = who(&fixture, &[]);
    let rows: Vec<Vec<&str>> =
        run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["LAB\\goran", "sense1", "/", "2"], "{}", run.stdout);
    assert_eq!(rows[2], ["LAB\\åsa", "sense1", "/", "1"], "{}", run.stdout);
    assert_eq!(rows[3], ["LAB\\åsa", "sense2", "/", "1"], "{}", run.stdout);
    assert!(run.stdout.ends_with("5 sessions of 3 distinct users on 3 virtual proxies\n"));
}

fn waiting(fixture: &Fixture, arguments: &[&str]) -> Running {
    let mut command = fixture.command("who");
    command.arg("--until-empty").args(arguments);
    Running::start(command)
}

/// Reads looks, which come as JSON, until one has so many sessions and failed targets.
fn look_until(run: &mut Running, sessions: u64, failed: u64) {
    loop {
        let look = run.next().expect("it still waits");
        if look["session_count"] == sessions && look["targets_failed"] == failed {
            return;
        }
    }
}

#[test]
fn until_empty_waits_for_every_session_and_every_node() {
    let fixture =
        Fixture::new(&[("sense1", &["/"]), ("sense2", &["/", "/hr"])], "    timeout: 900");
    let connected = |server, ids: &[&str]| {
        fixture.site.set_sessions(server, "/", &named_sessions(ids));
    };
    connected("sense1", &["s1", "s2"]);
    connected("sense2", &["s3"]);
    let mut run = waiting(&fixture, &["--output", "json"]);
    look_until(&mut run, 3, 0);
    connected("sense1", &["s2"]);
    look_until(&mut run, 2, 0);
    connected("sense1", &[]);
    look_until(&mut run, 1, 0);
    // Nobody is seen any more, but one node does not answer.
    fixture.site.set_fault("sense2", "/", Some(Fault::NoAnswer));
    look_until(&mut run, 0, 1);
    look_until(&mut run, 0, 1);
    fixture.site.set_fault("sense2", "/", Some(Fault::LoginPage));
    look_until(&mut run, 0, 1);
    fixture.site.set_fault("sense2", "/", None);
    look_until(&mut run, 1, 0);
    connected("sense2", &[]);
    look_until(&mut run, 0, 0);
    assert_eq!(run.next(), None, "that was the last look");
    assert_eq!(run.wait().0, Some(0));
    let connections: HashSet<u64> =
        fixture.site.requests().iter().map(|request| request.connection).collect();
    assert!(connections.len() < 8, "connections are kept from look to look: {connections:?}");
}

#[test]
fn until_empty_says_who_is_left_and_does_not_wait_for_excluded_users() {
    let fixture = fixture();
    fixture.edit("excludeUser: null", "excludeUser: [{directory: LAB, userId: goran}]");
    fixture.edit("sessionSource:\n", "sessionSource:\n    excludedUsersCount: true\n");
    let mut run = waiting(&fixture, &["--server", "sense1"]);
    let totals = run.line().expect("a look");
    assert!(
        totals.ends_with(
            "left: 2 sessions of 2 distinct users on 2 virtual proxies (and 2 of excluded users)"
        ),
        "{totals}"
    );
    let mut lines: Vec<String> = Vec::new();
    while !lines.last().is_some_and(|line| line.contains("山田太郎")) {
        lines.push(run.line().expect("a row"));
    }
    assert!(lines.iter().any(|line| line.contains("LAB\\maria")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("goran")), "{lines:#?}");
    fixture.site.set_sessions("sense1", "/", &[SimulatedSession::new("b", "lab", "GORAN")]);
    fixture.site.set_sessions("sense1", "/sales", &[]);
    let mut last = String::new();
    while let Some(line) = run.line() {
        last = line;
    }
    assert!(
        last.ends_with("nobody is left on 2 virtual proxies; excluded users have 1 session"),
        "{last}"
    );
    assert_eq!(run.wait().0, Some(0));
}

#[test]
fn until_empty_gives_up_when_the_time_is_up() {
    let fixture = fixture();
    fixture.site.set_fault("sense2", "/", Some(Fault::NoAnswer));
    let run = who(&fixture, &["--until-empty", "--max-wait", "2s", "--server", "sense1"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("LAB\\maria"), "{}", run.stdout);
    assert!(run.stderr.contains("the time is up (2s); left: 4 sessions"), "{}", run.stderr);
    // Not even the first look may take longer.
    let run = who(&fixture, &["--until-empty", "--max-wait", "1s", "--server", "sense2"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("no look was complete"), "{}", run.stderr);
}

#[test]
fn until_empty_that_is_interrupted_or_not_read_is_no_success() {
    use std::process::Stdio;

    let fixture = fixture();
    for (end, logged) in support::ENDINGS {
        let mut run = waiting(&fixture, &[]);
        run.line().expect("a look");
        end(&mut run);
        let (code, stderr) = run.wait();
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(&format!("{logged}; left: 5 sessions")), "{stderr}");
    }
    let mut command = fixture.command("who");
    command.arg("--until-empty").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    drop(child.stdout.take());
    assert_eq!(support::wait_for_end(&mut child), Some(1));
}

/// A script must not take these for a site where nobody is connected.
#[test]
fn until_empty_with_nothing_to_wait_for_is_a_wrong_configuration() {
    let fixture = fixture();
    let until_empty =
        |arguments: &[&str]| who(&fixture, &[&["--until-empty"], arguments].concat()).code;
    assert_eq!(until_empty(&["--server", "sense9"]), Some(78));
    assert_eq!(until_empty(&["--virtual-proxy", "nowhere"]), Some(78));
    fixture.edit("enableSessionExtract: true", "enableSessionExtract: false");
    assert_eq!(until_empty(&[]), Some(78));
    assert_eq!(who(&fixture, &["--max-wait", "5s"]).code, Some(2), "it waits for nothing");
}

fn watching(fixture: &Fixture, arguments: &[&str]) -> Running {
    let mut command = fixture.command("who");
    command.args(arguments);
    Running::start(command)
}

/// What `--watch` writes where there is no terminal, look by look.
struct Blocks {
    run: Running,
    /// The heading of the block that comes next.
    heading: String,
}

impl Blocks {
    fn of(fixture: &Fixture, arguments: &[&str]) -> Self {
        let mut run = watching(fixture, arguments);
        let heading = run.line().expect("a look");
        Self { run, heading }
    }

    fn next(&mut self) -> Vec<String> {
        let mut block = vec![];
        let mut line = std::mem::take(&mut self.heading);
        loop {
            block.push(line);
            line = self.run.line().expect("it still watches");
            // Only a heading begins with its time.
            if line.starts_with("20") {
                self.heading = line;
                return block;
            }
        }
    }

    fn until(&mut self, fits: impl Fn(&str) -> bool) -> Vec<String> {
        loop {
            let block = self.next();
            if fits(&block[0]) {
                return block;
            }
        }
    }
}

fn row<'b>(block: &'b [String], user: &str, server: &str) -> Vec<&'b str> {
    let rows = block.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.into_iter()
        .find(|cells| cells.len() > 2 && cells[0] == user && cells[1] == server)
        .unwrap_or_else(|| panic!("no row of {user} on {server}: {block:#?}"))
}

#[test]
fn watch_marks_who_came_and_went_and_what_is_old() {
    let fixture = Fixture::new(&[("sense1", &["/"]), ("sense2", &["/"])], "    timeout: 900");
    let session = |id, user| SimulatedSession::new(id, "LAB", user);
    fixture.site.set_sessions("sense1", "/", &[session("a", "goran"), session("b", "maria")]);
    fixture.site.set_sessions("sense2", "/", &[session("c", "kofi")]);
    let mut looks = Blocks::of(&fixture, &["--watch"]);
    let block = looks.next();
    assert!(block[0].ends_with("3 sessions of 3 distinct users on 2 virtual proxies"), "{block:?}");
    assert_eq!(row(&block, "LAB\\goran", "sense1"), ["LAB\\goran", "sense1", "/", "1"]);

    // One more of a user in another spelling, and another user leaves.
    fixture.site.set_sessions("sense1", "/", &[session("a", "goran"), session("d", "Goran")]);
    let block = looks.until(|heading| heading.contains("came"));
    assert!(block[0].ends_with("; 1 came, 1 went since the look before"), "{block:?}");
    assert_eq!(row(&block, "LAB\\goran", "sense1")[3..], ["2", "1", "came"]);
    assert_eq!(row(&block, "LAB\\maria", "sense1")[3..], ["0", "1", "went"]);
    let block = looks.next();
    assert_eq!(row(&block, "LAB\\goran", "sense1")[3..], ["2"], "only since the look before");
    assert!(!block.iter().any(|line| line.contains("maria")), "{block:#?}");

    // What cannot be read stays, marked as old.
    fixture.site.set_fault("sense2", "/", Some(Fault::NoAnswer));
    let block = looks.until(|heading| heading.contains("on 1 virtual proxy"));
    assert!(block[0].contains("2 sessions of 1 distinct user"), "{block:#?}");
    assert_eq!(row(&block, "LAB\\kofi", "sense2")[3..5], ["1", "old"]);
    let failure = block.iter().position(|line| line.contains("✗ sense2 /: timeout")).expect("said");
    assert!(block[failure..].iter().any(|line| line.contains("it was last read at 20")));

    // Changes since its last answer.
    fixture.site.set_sessions("sense2", "/", &[session("e", "åsa")]);
    fixture.site.set_fault("sense2", "/", None);
    let block = looks.until(|heading| heading.contains("came"));
    assert_eq!(row(&block, "LAB\\åsa", "sense2")[3..], ["1", "1", "came"]);
    assert_eq!(row(&block, "LAB\\kofi", "sense2")[3..], ["0", "1", "went"]);

    looks.run.terminate();
    let (code, stderr) = looks.run.wait();
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn watch_writes_looks_for_programs_too() {
    let fixture = fixture();
    let mut run = watching(&fixture, &["--watch", "1s", "--output", "json"]);
    let looks = [run.next().expect("a look"), run.next().expect("a look")];
    assert_eq!((&looks[0]["session_count"], &looks[1]["session_count"]), (&5.into(), &5.into()));
    assert!(looks[0]["timestamp"].as_str() < looks[1]["timestamp"].as_str());
    drop(run);

    fixture.site.set_sessions("sense1", "/", &[]);
    let mut run = watching(&fixture, &["--watch", "1s", "--output", "csv", "--server", "sense2"]);
    let header = run.line().expect("a header");
    assert_eq!(header, "timestamp,user_directory,user_id,server_name,virtual_proxy,session_id");
    let rows = [run.line().expect("a row"), run.line().expect("a row")];
    assert!(rows[0].ends_with("Z,LAB,goran,sense2,/,e") && rows[0] < rows[1], "{rows:?}");
}

#[test]
fn watch_ends_when_its_reader_leaves() {
    let fixture = fixture();
    let mut command = fixture.command("who");
    command.args(["--watch", "1s"]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    drop(child.stdout.take());
    assert_eq!(support::wait_for_end(&mut child), Some(0));
}

#[test]
fn watch_and_until_empty_exclude_each_other() {
    let fixture = fixture();
    assert_eq!(who(&fixture, &["--watch", "--until-empty"]).code, Some(2));
    assert_eq!(who(&fixture, &["--watch", "100ms"]).code, Some(2));
}
