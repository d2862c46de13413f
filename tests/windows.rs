//! What is different on Windows: paths, code pages, files that others have open, pipes,
//! and `cmd.exe` between Fluent Bit and the program.

#![cfg(windows)]

mod support;

use std::{
    fs::{self, File},
    os::windows::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use qlik_sessions::site::SimulatedSession;
use support::{Finished, Fixture, of_kind, wait_for_end};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::windows::named_pipe::ServerOptions,
};

fn fixture() -> Fixture {
    Fixture::new(&[("sense1", &["/"])], "    stateFile: state.json")
}

/// A path as users write it.
fn with_backslashes(path: &Path) -> String {
    path.display().to_string().replace('/', "\\")
}

#[test]
fn paths_have_backslashes() {
    let fixture = fixture();
    let folder = with_backslashes(fixture.folder.path());
    fixture.edit("stateFile: state.json", &format!("stateFile: '{folder}\\new.json'"));
    fixture.edit("client_key.pem", &format!("'{folder}\\client_key.pem'"));
    let mut command = support::program();
    command.args(["once", "-c", &with_backslashes(&fixture.config)]);
    let run = Finished::of(command);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(fixture.path("new.json").is_file());
}

/// A virus scanner or a backup opens the file for a moment, and shares it with nobody.
#[test]
fn a_state_file_that_is_held_for_a_moment_is_waited_for() {
    let fixture = fixture();
    assert_eq!(fixture.once().code, Some(0));
    let held = File::options().read(true).share_mode(0).open(fixture.path("state.json"));
    let held = held.expect("nobody else has it");
    let run = fixture.command("once").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let run = run.expect("it starts");
    thread::sleep(Duration::from_millis(250));
    drop(held);
    let run = Finished::from(run.wait_with_output().expect("it ends"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn a_state_file_that_is_read_only_is_said_to_be() {
    let fixture = fixture();
    assert_eq!(fixture.once().code, Some(0));
    let state = fixture.path("state.json");
    let writable = fs::metadata(&state).expect("it is there").permissions();
    let mut read_only = writable.clone();
    read_only.set_readonly(true);
    fs::set_permissions(&state, read_only).expect("changed");
    let run = fixture.once();
    fs::set_permissions(&state, writable).expect("changed back");
    assert_ne!(run.code, Some(0));
    assert!(run.stderr.contains("attrib -r"), "{}", run.stderr);
}

/// In files and pipes names are UTF-8, whatever code page the console has.
#[test]
fn code_pages_change_nothing() {
    let fixture = fixture();
    fixture.site.set_sessions("sense1", "/", &[SimulatedSession::new("s1", "LAB", "Müller")]);
    for code_page in [437, 850, 1252, 65001] {
        let program = with_backslashes(Path::new(env!("CARGO_BIN_EXE_qlik-sessions")));
        let config = with_backslashes(&fixture.config);
        let line = format!("chcp {code_page} >nul & {program} who -c {config} --output csv");
        let run = Finished::of(through_cmd(&line));
        assert_eq!(run.code, Some(0), "{code_page}: {}", run.stderr);
        assert!(run.stdout.contains("Müller"), "{code_page}: {}", run.stdout);
    }
}

/// The command that `fluent-bit/qlik-sessions.yaml` shows for Windows, as Fluent Bit
/// gives it to `cmd.exe`.
#[test]
fn fluent_bits_command_works_in_cmd() {
    let shipped = fs::read_to_string("fluent-bit/qlik-sessions.yaml").expect("it is shipped");
    let command = shipped
        .lines()
        .find_map(|line| line.trim().strip_prefix("#   command: '")?.strip_suffix('\''))
        .expect("a command for Windows");
    let fixture = fixture();
    // With a blank in its path, as in the file.
    let folder = fixture.path("Program Files");
    fs::create_dir(&folder).expect("a folder");
    let program = folder.join("qlik-sessions.exe");
    fs::copy(env!("CARGO_BIN_EXE_qlik-sessions"), &program).expect("copied");
    let line = command
        .replace(r"C:\Program Files\qlik-sessions\qlik-sessions.exe", &with_backslashes(&program))
        .replace(r"C:\ProgramData\qlik-sessions\config.yaml", &with_backslashes(&fixture.config));
    let run = Finished::of(through_cmd(&line));
    assert_eq!(run.code, Some(0), "{line}: {}", run.stderr);
    assert_eq!(of_kind(&run.events(), "site_summary").len(), 1);
}

/// As C's `_popen` starts a command.
fn through_cmd(line: &str) -> Command {
    let mut command = Command::new("cmd.exe");
    command.arg("/c").raw_arg(line).stdin(Stdio::null());
    command
}

/// An agent may read through a named pipe and disconnect it (os error 233).
#[tokio::test(flavor = "current_thread")]
async fn a_named_pipe_whose_server_leaves_is_a_closed_reader() {
    let fixture = fixture();
    let name = format!(r"\\.\pipe\qlik-sessions-test-{}", std::process::id());
    let mut server = ServerOptions::new().create(&name).expect("a pipe");
    let client = File::options().write(true).open(&name).expect("it is opened");
    server.connect().await.expect("a client");
    let mut stream = fixture
        .command("stream")
        .stdout(Stdio::from(client))
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(&mut server).read_line(&mut line).await.expect("a line");
    server.disconnect().expect("the server leaves");
    let code = wait_for_end(&mut stream);
    let run = stream.wait_with_output().expect("it ended");
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains("ERROR"), "{stderr}");
}

/// Double quotes make `\n` and `\t` of a path a line break and a tab.
#[test]
fn a_path_in_double_quotes_is_refused_with_the_cure() {
    let fixture = fixture();
    fixture.edit("client_key.pem", r#""C:\new\tool.pem""#);
    let run = fixture.once();
    assert_eq!(run.code, Some(78));
    assert!(run.stderr.contains("single quotes"), "{}", run.stderr);
}
