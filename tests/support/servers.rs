//! Real servers, which can be killed and started again with what is on their disks.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::{
    collections::BTreeMap,
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

/// A program, how it is started, and its folder.
pub struct Server {
    command: Command,
    is_up: Box<dyn Fn() -> bool + Send>,
    program: Option<Backend>,
    folder: TempDir,
}

impl Server {
    /// Starts the program that is made for its folder, and waits until it answers.
    pub fn start(
        command: impl FnOnce(&Path) -> Command,
        is_up: impl Fn() -> bool + Send + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let command = command(folder.path());
        let mut server = Self { command, is_up: Box::new(is_up), program: None, folder };
        server.restart();
        server
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Starts it with what is on its disk.
    pub fn restart(&mut self) {
        let log = self.path("server.log");
        self.program = Some(Backend::start(&mut self.command, &log));
        // Java takes its time on a machine that has much to do.
        let limit = Instant::now() + Duration::from_secs(180);
        while !(self.is_up)() {
            let text = || fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < limit, "{:?} does not start:\n{}", self.command, text());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// An OpenSearch with nothing in it.
pub struct OpenSearch {
    pub url: String,
    pub server: Server,
}

impl OpenSearch {
    /// Starts `opensearch2` or `opensearch3`.
    pub fn start(program: &str) -> Self {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let answers = {
            let health = format!("{url}/_cluster/health?wait_for_status=yellow");
            move || http::get(&health).is_ok()
        };
        let command = |folder: &Path| {
            let mut command = Command::new(program);
            command.arg(folder).arg(port.to_string());
            command
        };
        Self { server: Server::start(command, answers), url }
    }
}

/// A broker with no topics.
pub struct Kafka {
    pub port: u16,
    pub server: Server,
}

impl Kafka {
    pub fn start() -> Self {
        let (port, controller) = (free_port(), free_port());
        let command = |folder: &Path| {
            let mut command = Command::new("kafka-server");
            command.arg(folder).args([port.to_string(), controller.to_string()]);
            command
        };
        Self { server: Server::start(command, move || listens(port)), port }
    }

    /// The keys and events of a topic so far; the error is the tool's.
    pub fn messages(&self, topic: &str) -> Result<Vec<(String, Value)>, String> {
        let output = Command::new("kafka-messages")
            .args([&self.port.to_string(), topic])
            .output()
            .expect("it is there");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let messages = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(key, event)| (key.to_owned(), serde_json::from_str(event).expect("JSON")));
        Ok(messages.collect())
    }
}

/// An InfluxDB 1 with the empty database of the shipped files.
pub struct InfluxDb {
    pub port: u16,
    pub server: Server,
}

impl InfluxDb {
    pub fn start() -> Self {
        let (port, rpc) = (free_port(), free_port());
        let command = |folder: &Path| {
            let path = folder.display();
            let configuration = format!(
                "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n[meta]\n  dir = \"{path}/meta\"\n[data]\n  dir = \"{path}/data\"\n  wal-dir = \"{path}/wal\"\n[http]\n  bind-address = \"127.0.0.1:{port}\"\n"
            );
            let file = folder.join("influxdb.conf");
            fs::write(&file, configuration).expect("written");
            let mut influxd = Command::new("influxd");
            influxd.arg("run").arg("-config").arg(file);
            influxd
        };
        let address = format!("http://127.0.0.1:{port}/query");
        let create = [("q", "CREATE DATABASE SenseOps")];
        let is_up = move || http::post_form(&address, &create).is_ok();
        Self { server: Server::start(command, is_up), port }
    }

    pub fn query(&self, query: &str) -> Option<Value> {
        let parameters = http::parameters(&[("db", "SenseOps"), ("epoch", "ms"), ("q", query)]);
        http::get(&format!("http://127.0.0.1:{}/query?{parameters}", self.port)).ok()
    }
}

/// A Loki in one process with its default limits.
pub struct Loki {
    pub port: u16,
    pub server: Server,
}

impl Loki {
    pub fn start() -> Self {
        let (port, grpc) = (free_port(), free_port());
        let command = |folder: &Path| {
            let path = folder.display();
            let configuration = format!(
                "auth_enabled: false\n\
                 server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}}}\n\
                 common: {{instance_addr: 127.0.0.1, path_prefix: {path}, replication_factor: 1, ring: {{kvstore: {{store: inmemory}}}}}}\n\
                 schema_config: {{configs: [{{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: index_, period: 24h}}}}]}}\n\
                 storage_config: {{filesystem: {{directory: {path}/chunks}}}}\n\
                 ingester: {{lifecycler: {{min_ready_duration: 0s}}}}\n\
                 analytics: {{reporting_enabled: false}}\n"
            );
            let file = folder.join("loki.yaml");
            fs::write(&file, configuration).expect("written");
            let mut loki = Command::new("loki");
            loki.arg(format!("-config.file={}", file.display()));
            loki
        };
        let is_up = move || {
            crate::support::get(port, "/ready").is_some_and(|answer| answer.trim() == "ready")
        };
        Self { server: Server::start(command, is_up), port }
    }

    /// What it answers to one of its questions: `query`, `query_range` or `series`.
    pub fn ask(&self, question: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let parameters = http::parameters(parameters);
        let url = format!("http://127.0.0.1:{}/loki/api/v1/{question}?{parameters}", self.port);
        Some(http::get(&url).ok()?["data"].clone())
    }

    /// How many lines of a job it has of each event id, in seconds from 1970 to 1970.
    pub fn lines(&self, job: &str, from: i64, to: i64) -> BTreeMap<String, usize> {
        let query = format!("{{job=\"{job}\",event!=\"log\"}}");
        let (from, to) = (from.to_string(), to.to_string());
        let parameters = [("query", &*query), ("limit", "5000"), ("start", &from), ("end", &to)];
        let mut lines = BTreeMap::new();
        let answer = self.ask("query_range", &parameters).unwrap_or_default();
        for stream in answer["result"].as_array().into_iter().flatten() {
            let id = stream["stream"]["event_id"].as_str().expect("an id").to_owned();
            *lines.entry(id).or_default() += stream["values"].as_array().map_or(0, Vec::len);
        }
        lines
    }
}

/// An MQTT broker that keeps on disk what it has taken.
pub struct Mosquitto {
    pub port: u16,
    pub server: Server,
}

impl Mosquitto {
    pub fn start() -> Self {
        let port = free_port();
        let command = |folder: &Path| {
            let file = folder.join("mosquitto.conf");
            let configuration = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n\
                 persistence_location {}/\nautosave_interval 1\nautosave_on_changes true\n\
                 max_queued_messages 0\n",
                folder.display()
            );
            fs::write(&file, configuration).expect("written");
            let mut mosquitto = Command::new("/usr/sbin/mosquitto");
            mosquitto.arg("-c").arg(file);
            mosquitto
        };
        Self { server: Server::start(command, move || listens(port)), port }
    }
}
