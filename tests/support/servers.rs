//! Real servers that `tests/servers/fetch` puts on the PATH.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http,
    support::{Backend, free_port},
};

/// An OpenSearch with nothing in it.
pub struct OpenSearch {
    pub url: String,
    _program: Backend,
    _folder: TempDir,
}

impl OpenSearch {
    /// Starts `opensearch2` or `opensearch3`.
    pub fn start(program: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let mut command = Command::new(program);
        command.arg(folder.path()).arg(port.to_string());
        let log = folder.path().join("opensearch.log");
        let program = Backend::start(command, &log);
        let url = format!("http://127.0.0.1:{port}");
        wait_for_start(&log, || http::get(&url).is_ok());
        Self { url, _program: program, _folder: folder }
    }
}

/// A broker with no topics.
pub struct Kafka {
    pub port: u16,
    controller: u16,
    program: Option<Backend>,
    folder: TempDir,
}

impl Kafka {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (port, controller) = (free_port(), free_port());
        let mut kafka = Self { port, controller, program: None, folder };
        kafka.restart();
        kafka
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Starts it with what is on its disk.
    pub fn restart(&mut self) {
        let mut command = Command::new("kafka-server");
        command.arg(self.folder.path());
        command.args([self.port.to_string(), self.controller.to_string()]);
        let log = self.log();
        self.program = Some(Backend::start(command, &log));
        wait_for_start(&log, || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// The keys and events of a topic so far.
    pub fn messages(&self, topic: &str) -> Vec<(String, Value)> {
        let output = Command::new("kafka-messages")
            .args([&self.port.to_string(), topic])
            .output()
            .expect("it is there");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(key, event)| (key.to_owned(), serde_json::from_str(event).expect("JSON")))
            .collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("kafka.log")
    }
}

/// Java takes its time on a machine that has much to do.
fn wait_for_start(log: &Path, is_up: impl Fn() -> bool) {
    let text = || fs::read_to_string(log).unwrap_or_default();
    let limit = Instant::now() + Duration::from_secs(180);
    while !is_up() {
        assert!(Instant::now() < limit, "the server does not start:\n{}", text());
        thread::sleep(Duration::from_millis(200));
    }
}
