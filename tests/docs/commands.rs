//! The commands that the documentation shows: those of the program are run against
//! a simulated site, those of agents are checked by the agents.

use std::{fs, path::Path, process::Command};

use clap::{Parser, error::ErrorKind};
use libtest_mimic::Trial;
use qlik_sessions::{
    cli::Cli,
    site::{REPOSITORY, SimulatedSession},
};

use crate::{
    installed,
    markdown::{Document, documents, root},
    support::{Finished, Fixture, Running, program},
};

/// What a test does with a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// Runs it to its end, which must be a success.
    Run,
    /// Starts it, waits for its first line, and ends it.
    UntilFirstLine,
    /// Lets Vector read the named files.
    Validate,
    /// Lets Fluent Bit read the named file.
    DryRun,
    /// Nothing, for this reason.
    NotRun(&'static str),
}

/// How commands with these beginnings are tested; the first one that fits counts.
const HOW: &[(&str, How)] = &[
    ("qlik-sessions stream", How::UntilFirstLine),
    ("qlik-sessions demo --record", How::Run),
    ("qlik-sessions demo", How::UntilFirstLine),
    ("qlik-sessions", How::Run),
    ("openssl", How::Run),
    ("docker", How::NotRun("needs an image")),
    ("cargo run", How::UntilFirstLine),
    ("cd ", How::NotRun("a folder of the reader's")),
    ("cargo", How::NotRun("builds or tests this project")),
    (".ci/run", How::NotRun("runs this test, too")),
    ("(cd vector/vrl-tests", How::NotRun("builds or tests this project")),
    ("(cd fuzz", How::NotRun("builds or tests this project")),
    ("vector validate", How::NotRun("has a placeholder; the tests of Vector's files do this")),
    ("vector -c", How::Validate),
    ("fluent-bit -c", How::DryRun),
];

/// Every command of the documentation as a test.
pub fn trials(documents: &[Document]) -> Vec<Trial> {
    documents.iter().flat_map(shell_lines).map(trial).collect()
}

struct ShellLine {
    document: String,
    folder: std::path::PathBuf,
    line: usize,
    command: String,
}

/// The lines of the blocks that are for a shell, without their comments.
fn shell_lines(document: &Document) -> Vec<ShellLine> {
    let mut lines = Vec::new();
    for block in document.blocks.iter().filter(|block| block.language == "sh") {
        let mut command = String::new();
        for (index, line) in block.lines.iter().enumerate() {
            command.push_str(without_comment(line));
            // A line with this end continues in the next one.
            if command.ends_with('\\') {
                command.pop();
            } else if !command.is_empty() {
                lines.push(ShellLine {
                    document: document.name(),
                    folder: document.path.parent().expect("a folder").to_owned(),
                    line: block.line + index,
                    command: std::mem::take(&mut command),
                });
            }
        }
    }
    lines
}

fn without_comment(line: &str) -> &str {
    if line.starts_with('#') {
        return "";
    }
    line.split("  #").next().unwrap_or_default().trim()
}

fn trial(line: ShellLine) -> Trial {
    let name = format!("{}:{} {}", line.document, line.line, line.command);
    let how = HOW.iter().find(|(start, _)| line.command.starts_with(start)).map(|(_, how)| *how);
    let Some(how) = how else {
        let message = "say in HOW, in tests/docs/commands.rs, how this is tested";
        return Trial::test(name, move || Err(message.into()));
    };
    installed::trial(name, not_run_because(&line, how), move || match how {
        How::Run => run(&line.command),
        How::UntilFirstLine => run_until_first_line(&line.command),
        How::Validate => check(&["vector", "validate", "--no-environment"], &line),
        How::DryRun => check(&["fluent-bit", "--dry-run", "-c"], &line),
        How::NotRun(_) => {}
    })
}

fn not_run_because(line: &ShellLine, how: How) -> Option<String> {
    if let How::NotRun(why) = how {
        return Some(format!("not run: {why}"));
    }
    if cfg!(not(unix)) {
        return Some("these lines are for a shell of Unix".to_owned());
    }
    let programs = line.command.split(" | ").filter_map(|part| part.split_whitespace().next());
    let others = programs.filter(|name| !matches!(*name, "qlik-sessions" | "cargo"));
    let mut needed: Vec<String> = others.map(str::to_owned).collect();
    needed.push("bash".to_owned());
    installed::missing_of(&needed)
}

fn run(command: &str) {
    let place = Place::new(command);
    let run = Finished::of(place.shell());
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
}

fn run_until_first_line(command: &str) {
    let place = Place::new(command);
    let mut running = Running::start(place.program());
    assert!(running.line().is_some(), "it prints a line");
    running.kill();
}

fn check(agent: &[&str], line: &ShellLine) {
    let files = line.command.split_whitespace().filter(|word| word.ends_with(".yaml"));
    let output = Command::new(agent[0])
        .args(&agent[1..])
        .args(files.map(|file| line.folder.join(file)))
        .output()
        .expect("the agent runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !printed.contains("[error]"), "{printed}");
}

/// A folder with everything that the commands of the documentation name.
struct Place {
    fixture: Fixture,
    command: String,
}

impl Place {
    fn new(command: &str) -> Self {
        let fixture = Fixture::new(&[("sense1", &["/", "/sales"]), ("sense2", &["/"])], "");
        if !command.contains("--until-empty") {
            let session = SimulatedSession::new("s1", "LAB", "goran");
            fixture.site.set_sessions("sense1", "/", &[session]);
        }
        fs::write(fixture.path("events.ndjson"), recorded_events()).expect("events are written");
        // A command may restart something when it is done.
        let bin = fixture.path("bin");
        fs::create_dir(&bin).expect("a folder");
        write_script(&bin.join("systemctl"), "#!/bin/sh\nexit 0\n");
        let repository = fixture.site.address(REPOSITORY).port();
        let command = command
            .replace("--host sense1.company.com", &format!("--host localhost:{repository}"))
            .replace("sense1.company.com", "sense1.example.com")
            .replace("/etc/qlik-sessions/", "")
            .replace("/var/log/qlik-sessions/", "")
            .replace("/var/lib/vector/qlik-sessions-", "");
        Self { fixture, command }
    }

    /// The line, given to a shell.
    fn shell(&self) -> Command {
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", &self.command]);
        self.prepare(&mut command);
        command
    }

    /// The program itself, so that it can be ended.
    fn program(&self) -> Command {
        let mut words = self.command.split_whitespace();
        let arguments: Vec<&str> = match words.next() {
            Some("cargo") => words.skip_while(|word| *word != "--").skip(1).collect(),
            _ => words.collect(),
        };
        let mut command = program();
        command.args(arguments);
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        let built = Path::new(env!("CARGO_BIN_EXE_qlik-sessions")).parent().expect("a folder");
        let known = std::env::var_os("PATH").unwrap_or_default();
        let folders = [self.fixture.path("bin"), built.to_owned()];
        let paths = folders.into_iter().chain(std::env::split_paths(&known));
        command.env("PATH", std::env::join_paths(paths).expect("a PATH"));
        command.current_dir(self.fixture.folder.path());
    }
}

#[cfg(unix)]
fn write_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).expect("the script is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it may be run");
}

#[cfg(not(unix))]
fn write_script(_: &Path, _: &str) {}

/// Events of the evening of which the documentation speaks.
fn recorded_events() -> String {
    let mut command = program();
    command.args(["transform", "--server-name", "sense1", "--timestamp", "2026-11-24T21:59:50Z"]);
    let answer = serde_json::to_vec(&[SimulatedSession::new("s1", "LAB", "goran")]).expect("JSON");
    let run = Finished::with_stdin(command, &answer);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}

/// The program takes the arguments of every command of its own, in blocks for any
/// shell and in the text.
pub fn every_command_line_is_valid() {
    let mut count = 0;
    for document in &documents() {
        let shells = ["sh", "powershell", "text"];
        let blocks =
            document.blocks.iter().filter(|block| shells.contains(&block.language.as_str()));
        let lines = blocks.flat_map(|block| {
            block.lines.iter().enumerate().map(|(index, line)| (block.line + index, line.as_str()))
        });
        for (number, line) in lines.chain(document.code_spans()) {
            if let Some(arguments) = arguments(line) {
                count += 1;
                let result = Cli::try_parse_from(std::iter::once("qlik-sessions").chain(arguments));
                if let Err(error) = result {
                    // The text names a command without all of its arguments.
                    let is_short = matches!(
                        error.kind(),
                        ErrorKind::MissingRequiredArgument | ErrorKind::DisplayVersion
                    );
                    assert!(is_short, "{}:{number}: {line}\n{error}", document.name());
                }
            }
        }
    }
    assert!(count > 20, "only {count} command lines were found in {}", root().display());
}

/// What follows the program's name in a line; none where it is not called there.
fn arguments(line: &str) -> Option<Vec<&str>> {
    let after_path = |line: &'_ str| line.find("qlik-sessions.exe").map(|at| at + 17);
    let start = match line.strip_prefix("qlik-sessions ") {
        Some(_) => 14,
        None => after_path(line)?,
    };
    let rest = line[start..].trim_start_matches('"');
    let end = [" | ", " > ", "; ", " && ", "  #"].iter().filter_map(|end| rest.find(end)).min();
    let words = rest[..end.unwrap_or(rest.len())].split_whitespace();
    let arguments: Vec<&str> = words.map(|word| word.trim_matches(['"', '\''])).collect();
    // Many lines name a path of the program and do not call it.
    let is_call =
        arguments.first().is_some_and(|word| word.starts_with(|c: char| c.is_lowercase()));
    is_call.then_some(arguments)
}
