//! Real servers, each with the events of the scenario, delivered by a real
//! Vector with the shipped files.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    http, installed,
    scenario::{BEGIN, END, SECOND, Scenario, TARGETS},
    support::{Backend, free_port, wait_until, wait_up_to},
};

/// A server that is filled, and what runs for it.
pub struct Server {
    /// Where it listens.
    pub url: String,
    _running: Vec<Backend>,
    _stream: Option<Stream>,
    _folder: TempDir,
}

/// A data stream of a server that goes on without the test.
struct Stream(String);

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = http::delete(&self.0);
    }
}

impl Server {
    pub fn prometheus(scenario: &Scenario) -> Self {
        let folder = folder();
        let url = format!("http://127.0.0.1:{}", free_port());
        write(
            folder.path(),
            "prometheus.yml",
            "storage: {tsdb: {out_of_order_time_window: 72h}}\n",
        );
        let mut prometheus = Command::new("prometheus");
        prometheus
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={}", &url["http://".len()..]))
            .arg("--web.enable-remote-write-receiver");
        let server = Backend::start(prometheus, &folder.path().join("server.log"));
        wait_until("Prometheus", || http::get(&format!("{url}/api/v1/status/runtimeinfo")).ok());
        // The exporter has values of now only. What is written here are the very
        // samples that it would offer, each with the time of its poll. Of the counters
        // only those that grow once a poll: Prometheus takes one sample of a moment.
        let write_sink = format!(
            "transforms:
  failures:
    type: filter
    inputs: [qlik_sessions_prometheus_count_metrics]
    condition: .name == \"poll_errors_total\"
sinks:
  past:
    type: prometheus_remote_write
    inputs: [qlik_sessions_prometheus_target_metrics, qlik_sessions_prometheus_site_metrics, qlik_sessions_prometheus_certificate_metrics, failures]
    endpoint: {url}/api/v1/write
    healthcheck: {{enabled: false}}
    request: {{concurrency: 1}}
    batch: {{aggregate: false}}
"
        );
        let exporter = format!("127.0.0.1:{}", free_port());
        let edits = [("0.0.0.0:9598", exporter.as_str())];
        let vector = feed(folder.path(), scenario, "prometheus", &edits, &write_sink);
        let samples = |metric: &str| {
            let query = format!("sum(count_over_time({metric}[3d]))");
            let query = http::parameters(&[("query", &query), ("time", &seconds(END))]);
            let answer = http::get(&format!("{url}/api/v1/query?{query}")).ok()?;
            answer["data"]["result"][0]["value"][1].as_str()?.parse::<usize>().ok()
        };
        wait_until("every sample", || {
            let all = scenario.polls.len();
            let targets = samples("qlik_sessions_up")? == all * TARGETS.len();
            (targets && samples("qlik_sessions_site_sessions")? == all).then_some(())
        });
        Self { url, _running: vec![server, vector], _stream: None, _folder: folder }
    }

    pub fn loki(scenario: &Scenario) -> Self {
        let folder = folder();
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        write(folder.path(), "loki.yaml", &loki_configuration(folder.path(), port));
        let mut loki = Command::new("loki");
        loki.arg(format!("-config.file={}", folder.path().join("loki.yaml").display()));
        let server = Backend::start(loki, &folder.path().join("server.log"));
        wait_until("Loki", || {
            crate::support::get(port, "/ready").filter(|answer| answer.starts_with("ready"))
        });
        // One request at a time: Loki refuses what comes far behind its stream.
        let endpoint = format!("endpoint: {url}\n    request: {{concurrency: 1}}");
        let edits = [("endpoint: http://localhost:3100", endpoint.as_str())];
        let vector = feed(folder.path(), scenario, "loki", &edits, "");
        wait_until("every line", || {
            let query = "sum(count_over_time({job=\"qlik-sessions\",event!=\"log\"}[3d]))";
            let query = http::parameters(&[("query", query), ("time", &seconds(END))]);
            let answer = http::get(&format!("{url}/loki/api/v1/query?{query}")).ok()?;
            let lines: usize = answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()?;
            (lines == scenario.events.len()).then_some(())
        });
        Self { url, _running: vec![server, vector], _stream: None, _folder: folder }
    }

    pub fn influxdb(scenario: &Scenario) -> Self {
        let folder = folder();
        let (port, rpc) = (free_port(), free_port());
        let url = format!("http://127.0.0.1:{port}");
        let path = folder.path().display();
        let configuration = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n[meta]\n  dir = \"{path}/meta\"\n[data]\n  dir = \"{path}/data\"\n  wal-dir = \"{path}/wal\"\n[http]\n  bind-address = \"127.0.0.1:{port}\"\n"
        );
        write(folder.path(), "influxdb.conf", &configuration);
        let mut influxd = Command::new("influxd");
        influxd.arg("run").arg("-config").arg(folder.path().join("influxdb.conf"));
        let server = Backend::start(influxd, &folder.path().join("server.log"));
        wait_until("InfluxDB", || {
            http::post_form(&format!("{url}/query"), &[("q", "CREATE DATABASE SenseOps")]).ok()
        });
        let edits = [("http://localhost:8086", url.as_str())];
        let vector = feed(folder.path(), scenario, "influxdb-v1", &edits, "");
        let count = |field: &str, measurement: &str| {
            let query = format!("SELECT count({field}) FROM {measurement}");
            let query = http::parameters(&[("db", "SenseOps"), ("q", &query)]);
            let answer = http::get(&format!("{url}/query?{query}")).ok()?;
            answer["results"][0]["series"][0]["values"][0][1].as_u64()
        };
        wait_until("every point", || {
            let answers: usize = scenario.polls.iter().map(|poll| poll.answers.len()).sum();
            let sessions: usize = scenario.polls.iter().map(|poll| poll.sessions().count()).sum();
            let summaries = count("session_count", "user_session_summary")? == answers as u64;
            let details = count("session_id", "user_session_details")? == sessions as u64;
            (summaries && details).then_some(())
        });
        Self { url, _running: vec![server, vector], _stream: None, _folder: folder }
    }

    /// A server that runs already and is empty, or holds other data.
    pub fn opensearch(scenario: &Scenario, url: &str) -> Self {
        let folder = folder();
        // Other runs of the test have their own stream.
        let namespace = format!("test{}", std::process::id());
        let stream = format!("{url}/logs-qlik.sessions-{namespace}");
        let template = fs::read_to_string(shipped("outputs/opensearch-index-template.json"));
        let template = template.expect("the template is shipped");
        http::put(&format!("{url}/_index_template/logs-qlik.sessions"), &template)
            .expect("the template installs");
        let own_namespace = format!("namespace: {namespace}");
        let edits = [("http://localhost:9200", url), ("namespace: default", &own_namespace)];
        let running = if installed::missing("vector").is_none() {
            vec![feed(folder.path(), scenario, "elasticsearch", &edits, "")]
        } else {
            send_documents(&stream, scenario, &namespace);
            Vec::new()
        };
        // Several servers start and index at once, also on a small machine.
        wait_up_to(Duration::from_secs(180), "every document", || {
            http::get(&format!("{stream}/_refresh")).ok()?;
            let query = http::parameters(&[("q", "NOT event.action:log")]);
            let answer = http::get(&format!("{stream}/_count?{query}")).ok()?;
            (answer["count"].as_u64()? == scenario.events.len() as u64).then_some(())
        });
        let address = stream.replace("/logs", "/_data_stream/logs");
        Self { url: stream, _running: running, _stream: Some(Stream(address)), _folder: folder }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("written");
}

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vector").join(name)
}

fn seconds(at: i64) -> String {
    (at / SECOND).to_string()
}

/// Vector with the shipped base and one output; `more` is configuration of the
/// test's own. In place of the program it runs a script that prints the events.
fn feed(
    folder: &Path,
    scenario: &Scenario,
    output: &str,
    edits: &[(&str, &str)],
    more: &str,
) -> Backend {
    let lines: Vec<String> = scenario.events.iter().map(ToString::to_string).collect();
    write(folder, "events.ndjson", &(lines.join("\n") + "\n"));
    // It stays, or Vector would start it again; it ends when Vector does.
    let script = format!(
        "#!/bin/sh\ncat {}\nwhile kill -0 $PPID 2>/dev/null; do sleep 1; done\n",
        folder.join("events.ndjson").display()
    );
    write(folder, "print-events", &script);
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("print-events"), executable).expect("it is made executable");
    let command = format!("      - {}\n", folder.join("print-events").display());
    let data_dir = format!("data_dir: {}", folder.display());
    let base =
        [("      - qlik-sessions\n", command.as_str()), ("data_dir: /var/lib/vector", &data_dir)];
    let mut vector = Command::new("vector");
    for (name, edits) in
        [("qlik-sessions.yaml", &base[..]), (&format!("outputs/{output}.yaml"), edits)]
    {
        let mut text = fs::read_to_string(shipped(name)).expect("it is shipped");
        for (from, to) in edits {
            assert!(text.contains(from), "{name} holds {from}");
            text = text.replace(from, to);
        }
        let copy = folder.join(name.replace('/', "-"));
        fs::write(&copy, text).expect("written");
        vector.arg("-c").arg(copy);
    }
    if !more.is_empty() {
        write(folder, "more.yaml", more);
        vector.arg("-c").arg(folder.join("more.yaml"));
    }
    Backend::start(vector, &folder.join("vector.log"))
}

/// Sends what Vector's programs make of the events, in the way of its sink.
fn send_documents(stream: &str, scenario: &Scenario, namespace: &str) {
    let mut programs = Command::new("run-transforms")
        .arg(shipped("outputs/elasticsearch.yaml"))
        .arg("qlik_sessions_ecs")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is there");
    let mut stdin = programs.stdin.take().expect("it is a pipe");
    let lines: String = scenario.events.iter().map(|event| format!("{event}\n")).collect();
    let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = programs.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all events");
    let documents = String::from_utf8(output.stdout).expect("UTF-8");
    let documents: Vec<&str> = documents.lines().collect();
    for some in documents.chunks(1_000) {
        let lines: String = some.iter().map(|document| create(document, namespace)).collect();
        let answer = http::post_lines(&format!("{stream}/_bulk"), &lines).expect("an answer");
        assert_eq!(answer["errors"], false);
    }
}

/// The two lines of a bulk request that store a document.
fn create(document: &str, namespace: &str) -> String {
    let mut document: Value = serde_json::from_str(document).expect("JSON");
    let id = document.as_object_mut().expect("an object").remove("id");
    document["data_stream"] =
        json!({"type": "logs", "dataset": "qlik.sessions", "namespace": namespace});
    format!("{}\n{document}\n", json!({"create": {"_id": id}}))
}

/// A Loki in one process with its default limits, that takes old lines.
fn loki_configuration(folder: &Path, port: u16) -> String {
    let (grpc, folder) = (free_port(), folder.display());
    let from = &crate::scenario::time(BEGIN - crate::scenario::DAY)[..10];
    format!(
        "auth_enabled: false
server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}, log_level: warn}}
common:
  instance_addr: 127.0.0.1
  path_prefix: {folder}/loki
  replication_factor: 1
  storage: {{filesystem: {{chunks_directory: {folder}/loki/chunks, rules_directory: {folder}/loki/rules}}}}
  ring: {{kvstore: {{store: inmemory}}}}
schema_config:
  configs: [{{from: {from}, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: index_, period: 24h}}}}]
# Old lines come while they are asked for: they must not be remembered as missing,
# and must stay in memory, where they can be found at once.
query_range: {{cache_results: false}}
querier: {{query_ingesters_within: 0}}
ingester: {{max_chunk_age: 876000h, lifecycler: {{min_ready_duration: 0s}}}}
limits_config: {{reject_old_samples: false, ingestion_rate_mb: 64, ingestion_burst_size_mb: 128}}
analytics: {{reporting_enabled: false}}
"
    )
}
