//! Real agents with the shipped files, their addresses changed.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Fixture, PATIENCE, of_kind, wait_for_end_within, whole_lines};

/// The shipped configuration of an agent.
pub fn shipped(agent: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(agent)
}

/// An agent that runs.
pub struct Agent {
    program: &'static str,
    arguments: Vec<OsString>,
    folder: TempDir,
    child: Child,
}

impl Agent {
    /// Vector; `command` in place of the program.
    pub fn vector(
        fixture: &Fixture,
        command: Option<&str>,
        outputs: &[&str],
        edits: &[(&str, &str)],
    ) -> Self {
        Self::vector_with("qlik-sessions.yaml", fixture, command, outputs, edits)
    }

    /// Vector with this file before the outputs.
    pub fn vector_with(
        base: &str,
        fixture: &Fixture,
        command: Option<&str>,
        outputs: &[&str],
        edits: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let here = folder.path().display().to_string();
        let program = command.unwrap_or(env!("CARGO_BIN_EXE_qlik-sessions"));
        let mut edits = edits.to_vec();
        let command = format!("      - {program}\n");
        edits.extend([
            ("      - qlik-sessions\n", &*command),
            ("/etc/qlik-sessions/config.yaml", fixture.config.to_str().expect("UTF-8")),
            ("respawn_interval_secs: 5", "respawn_interval_secs: 1"),
            ("/var/lib/vector", &here),
        ]);
        let mut arguments = Vec::new();
        let files = outputs.iter().map(|name| format!("outputs/{name}.yaml"));
        for file in std::iter::once(base.to_owned()).chain(files) {
            arguments.push("-c".into());
            arguments.push(place("vector", &file, folder.path(), &edits).into());
        }
        Self::start("vector", arguments, folder)
    }

    /// Fluent Bit.
    pub fn fluent_bit(fixture: &Fixture, outputs: &[&str], edits: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = place_fluent_bit(fixture, folder.path(), outputs, edits);
        Self::start("fluent-bit", vec!["-c".into(), config.into()], folder)
    }

    fn start(program: &'static str, arguments: Vec<OsString>, folder: TempDir) -> Self {
        let child = spawn(program, &arguments, folder.path());
        Self { program, arguments, folder, child }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The events of the file output.
    pub fn file_events(&self) -> Vec<Value> {
        whole_lines(&self.file_text())
    }

    /// What the file output wrote.
    pub fn file_text(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.folder.path()).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "ndjson") {
                text += &fs::read_to_string(path).expect("UTF-8");
            }
        }
        text
    }

    /// The events of the console output.
    pub fn console_events(&self) -> Vec<Value> {
        whole_lines(&fs::read_to_string(self.folder.path().join("stdout")).expect("UTF-8"))
    }

    /// How many polls the file output has.
    pub fn polls(&self) -> usize {
        of_kind(&self.file_events(), "site_summary").len()
    }

    pub fn wait_for(&self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let given_up = Instant::now() + Duration::from_secs(40);
        while !is_there(self) {
            let Self { program, .. } = self;
            assert!(
                Instant::now() < given_up,
                "{what} did not come; {program} says:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again with what is on its disk.
    pub fn restart(&mut self) {
        self.child = spawn(self.program, &self.arguments, self.folder.path());
    }

    /// Sends a signal to what it runs. Returns whether anything ran.
    pub fn signal_children(&self, signal: &str) -> bool {
        Command::new("pkill")
            .args([&format!("-{signal}"), "-P", &self.id().to_string()])
            .status()
            .expect("pkill runs")
            .success()
    }

    pub fn stop(&mut self) {
        self.stop_within(PATIENCE);
    }

    /// Waits longer than usual for the end: an agent gives a backend a minute.
    pub fn stop_patiently(&mut self) {
        self.stop_within(Duration::from_secs(100));
    }

    fn stop_within(&mut self, limit: Duration) {
        let _ = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        wait_for_end_within(&mut self.child, limit);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &str, arguments: &[OsString], folder: &Path) -> Child {
    let appended = |name: &str| {
        fs::OpenOptions::new().create(true).append(true).open(folder.join(name)).expect("a file")
    };
    Command::new(program)
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(appended("stdout"))
        .stderr(appended("log"))
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Writes the files of Fluent Bit into a folder; returns the one to start with.
pub fn place_fluent_bit(
    fixture: &Fixture,
    folder: &Path,
    outputs: &[&str],
    edits: &[(&str, &str)],
) -> PathBuf {
    let agent = "fluent-bit";
    fs::create_dir_all(folder.join("storage")).expect("a folder");
    let here = folder.display().to_string();
    for name in outputs {
        let mut edits = edits.to_vec();
        edits.push(("/var/log/qlik-sessions", &here));
        place(agent, &format!("outputs/{name}.yaml"), folder, &edits);
    }
    let includes: String =
        outputs.iter().map(|name| format!("  - outputs/{name}.yaml\n")).collect();
    let storage = format!("{here}/storage");
    let command = format!("exec {} once", env!("CARGO_BIN_EXE_qlik-sessions"));
    let mut edits = edits.to_vec();
    edits.extend([
        ("  - outputs/stdout.yaml\n", &*includes),
        ("exec qlik-sessions once", &command),
        ("/etc/qlik-sessions/config.yaml", fixture.config.to_str().expect("UTF-8")),
        ("/var/lib/fluent-bit/storage", &*storage),
        ("interval_sec: 30", "interval_sec: 1"),
    ]);
    place(agent, "qlik-sessions.yaml", folder, &edits)
}

/// Writes a shipped file into a folder, and returns its path there.
fn place(agent: &str, name: &str, folder: &Path, edits: &[(&str, &str)]) -> PathBuf {
    let mut text = fs::read_to_string(shipped(agent).join(name)).expect("it is shipped");
    for (from, to) in edits {
        text = text.replace(from, to);
    }
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, text).expect("written");
    path
}
