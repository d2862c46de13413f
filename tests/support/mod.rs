//! What the tests share: the built binary, a simulated site, events as JSON.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::{
    borrow::BorrowMut,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use qlik_sessions::site::{SimulatedSession, Site};
use send_ctrlc::{Interruptible, InterruptibleChild, InterruptibleCommand};
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for something that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The program under test, with nothing of this machine's environment that it reads.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qlik-sessions"));
    for variable in [
        "QLIK_SESSIONS_CONFIG",
        "QLIK_SESSIONS_LOG",
        "QLIK_SESSIONS_KEY_PASSPHRASE",
        "QLIK_SESSIONS_PSEUDONYM_KEY",
    ] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// A simulated site with a configuration file for it.
pub struct Fixture {
    pub site: Site,
    pub folder: TempDir,
    pub config: PathBuf,
}

impl Fixture {
    /// Nodes with their virtual proxies; lines for `sessionSource`, each with four blanks.
    pub fn new(nodes: &[(&str, &[&str])], session_source: &str) -> Self {
        let site = Site::start(nodes).expect("the simulated site starts");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = site
            .write_config_with(folder.path(), Duration::from_secs(1), session_source)
            .expect("the configuration is written");
        Self { site, folder, config }
    }

    /// Writes the configuration again with other lines for `sessionSource`.
    pub fn configure(&self, interval: Duration, session_source: &str) {
        self.site
            .write_config_with(self.folder.path(), interval, session_source)
            .expect("the configuration is written");
    }

    /// Changes the text of the configuration file.
    pub fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.config).expect("the configuration is there");
        assert!(text.contains(from), "the configuration holds {from:?}:\n{text}");
        std::fs::write(&self.config, text.replace(from, to)).expect("the configuration is written");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of the program with this configuration.
    pub fn command(&self, command: &str) -> Command {
        let mut program = program();
        program.arg(command).arg("-c").arg(&self.config);
        program
    }

    pub fn once(&self) -> Finished {
        Finished::of(self.command("once"))
    }

    pub fn stream(&self) -> Running {
        Running::start(self.command("stream"))
    }
}

/// A run that ended.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn of(mut command: Command) -> Self {
        command.output().expect("the program runs").into()
    }

    /// With a text on stdin.
    pub fn with_stdin(mut command: Command, stdin: &[u8]) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut pipe = child.stdin.take().expect("stdin is a pipe");
        let stdin = stdin.to_vec();
        let writer = thread::spawn(move || drop(pipe.write_all(&stdin)));
        let output = child.wait_with_output().expect("the program ends");
        writer.join().expect("the writer ends");
        output.into()
    }

    pub fn events(&self) -> Vec<Value> {
        events(&self.stdout)
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Every line as an event; each must be one JSON object that ends with a line end.
pub fn events(stdout: &str) -> Vec<Value> {
    assert!(stdout.is_empty() || stdout.ends_with('\n'), "the last line is whole");
    stdout
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the line {line}"))
        })
        .collect()
}

/// The events of one kind.
pub fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

/// The events of one kind and virtual proxy.
pub fn of_target<'a>(events: &'a [Value], kind: &str, virtual_proxy: &str) -> Vec<&'a Value> {
    of_kind(events, kind)
        .into_iter()
        .filter(|event| event["virtual_proxy"] == virtual_proxy)
        .collect()
}

/// A text key of each event, sorted.
pub fn texts(events: &[&Value], key: &str) -> Vec<String> {
    let mut texts: Vec<String> =
        events.iter().map(|event| event[key].as_str().unwrap_or("(none)").to_owned()).collect();
    texts.sort();
    texts
}

/// Sessions s0, s1, … of the users u0, u1, … in LAB.
pub fn sessions(count: usize) -> Vec<SimulatedSession> {
    (0..count).map(|n| SimulatedSession::new(&format!("s{n}"), "LAB", &format!("u{n}"))).collect()
}

/// Sessions with these ids; the user of `s1` is `u1`.
pub fn named_sessions(ids: &[&str]) -> Vec<SimulatedSession> {
    ids.iter().map(|id| SimulatedSession::new(id, "LAB", &id.replace('s', "u"))).collect()
}

/// A way to end a program, and what its log calls it.
pub type Ending = (fn(&mut Running), &'static str);

/// How users and service managers end a program.
#[cfg(unix)]
pub const ENDINGS: &[Ending] = &[(Running::terminate, "SIGTERM"), (Running::interrupt, "SIGINT")];
/// Ctrl-C goes to all programs of a console, also to the test: only Ctrl-Break can be
/// sent to one.
#[cfg(windows)]
pub const ENDINGS: &[Ending] = &[(Running::terminate, "Ctrl-Break")];

/// A program that runs, whose lines are read as they come.
pub struct Running {
    child: InterruptibleChild,
    lines: Receiver<String>,
    pub seen: Vec<Value>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn_interruptible()
            .expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line; none when stdout is closed.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line within {PATIENCE:?}"),
        }
    }

    /// The next event; none when stdout is closed.
    pub fn next(&mut self) -> Option<Value> {
        let line = self.line()?;
        let event: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error} in the line {line}"));
        self.seen.push(event.clone());
        Some(event)
    }

    /// The events up to and with the next site_summary: one poll.
    pub fn poll(&mut self) -> Vec<Value> {
        let mut poll = Vec::new();
        loop {
            let event = self.next().expect("the program still runs");
            let last = event["event"] == "site_summary";
            poll.push(event);
            if last {
                return poll;
            }
        }
    }

    /// Reads polls until one fits.
    pub fn poll_until(&mut self, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let given_up = Instant::now() + PATIENCE;
        loop {
            let poll = self.poll();
            if fits(&poll) {
                return poll;
            }
            assert!(
                Instant::now() < given_up,
                "no poll fitted within {PATIENCE:?}; the last: {poll:#?}"
            );
        }
    }

    /// Asks the program to end: SIGTERM, on Windows Ctrl-Break.
    pub fn terminate(&mut self) {
        self.child.terminate().expect("the program runs");
    }

    /// Interrupts the program as Ctrl-C does.
    #[cfg(unix)]
    pub fn interrupt(&mut self) {
        self.child.interrupt().expect("the program runs");
    }

    /// Waits for the end; returns the exit code and stderr.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("stderr is a pipe");
        let code = wait_for_end(&mut self.child);
        let _ = pipe.read_to_string(&mut stderr);
        (code, stderr)
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for a child's end; it must come.
pub fn wait_for_end(child: &mut Child) -> Option<i32> {
    wait_for_end_within(child, PATIENCE)
}

pub fn wait_for_end_within(child: &mut Child, limit: Duration) -> Option<i32> {
    let given_up = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return status.code();
        }
        if Instant::now() > given_up {
            let _ = child.kill();
            panic!("the program did not end within {limit:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Everything that is left in a pipe.
pub fn read_all(mut stdout: ChildStdout) -> String {
    let mut text = String::new();
    stdout.read_to_string(&mut text).expect("stdout is UTF-8");
    text
}

/// Checks events against the schema that the program prints.
pub fn assert_valid(events: &[Value]) {
    let schema = Finished::of({
        let mut command = program();
        command.args(["schema", "events"]);
        command
    });
    let schema: Value = serde_json::from_str(&schema.stdout).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    for event in events {
        let errors: Vec<String> =
            validator.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event:#} is not valid: {errors:#?}");
    }
}

/// The lines of a text that are whole, as JSON.
pub fn whole_lines(text: &str) -> Vec<Value> {
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// A backend that ends with the test.
pub struct Backend(Child);

impl Backend {
    pub fn start(mut command: impl BorrowMut<Command>, log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("a log");
        let child = command
            .borrow_mut()
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the backend starts");
        Self(child)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `GET`, and the answer's body; none while nobody answers.
pub fn get(port: u16, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    // Not all servers close when they are asked to; then the time ends it.
    let _ = stream.read_to_end(&mut answer);
    Some(String::from_utf8(answer).ok()?.split_once("\r\n\r\n")?.1.to_owned())
}

pub fn wait_until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_up_to(Duration::from_secs(40), what, look)
}

pub fn wait_up_to<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let given_up = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < given_up, "{what} did not come");
        thread::sleep(Duration::from_millis(100));
    }
}
