//! The whole program next to what users have today, on the same machine in the
//! same run: nginx with mutual TLS is the site, `curl` the floor, `curl | jq`
//! the usual script.
//!
//! `cargo bench --locked --bench compare` prints a Markdown table on stdout;
//! `cargo bench --locked --bench compare -- --quick` only shows that everything works;
//! with the name of a part (`program`, `vector`, `butler-sos`), only that part runs.
//! No time is asserted.

mod butler_sos;
#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/support/http.rs"]
mod http;
mod nginx;
mod process;
#[path = "../../tests/support/servers.rs"]
mod servers;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod vector;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nginx::Nginx;
use process::{Cost, Memory, Running, cost, cpu, file_size, is_installed, memory};
use qlik_sessions::site::Site;
use table::{Table, mb, median, ms};

const PROGRAM: &str = env!("CARGO_BIN_EXE_qlik-sessions");
const USUAL: [usize; 2] = [100, 1_000];
/// Virtual proxies of each of the 30 servers, and how long each takes.
const PREFIXES: usize = 10;
const SERVERS: usize = 30;
const DELAY: Duration = Duration::from_millis(200);
/// The same keys as the program's lines; jq has no hash for the id.
const JQ: &str = r#".[] | {timestamp: "2026-11-23T17:34:00.713Z", event: "session", event_id: "00000000000000000000000000000000", server_name: "stdin", virtual_proxy: "/", session_id: .SessionId, user_directory: .UserDirectory, user_id: .UserId, user: (.UserDirectory + "\\" + .UserId)}"#;

/// How much is measured.
struct Plan {
    /// Paired runs, of which the median is shown.
    runs: usize,
    /// Short processes in one run.
    times: u32,
    /// Polls in one run of `stream`.
    polls: usize,
    /// Sessions of the very large site.
    large: usize,
    /// Sessions of the largest list, to see growth.
    largest: usize,
    /// Build the program without the simulated site, too.
    build: bool,
}

impl Plan {
    const FULL: Self =
        Self { runs: 7, times: 30, polls: 20, large: 50_000, largest: 100_000, build: true };
    const QUICK: Self =
        Self { runs: 1, times: 2, polls: 2, large: 2_000, largest: 4_000, build: false };
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` starts it too, and has no time for it.
        return;
    }
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: CPU and memory are read from /proc, which only Linux has");
        return;
    }
    let part = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| part.is_none_or(|part| part == name);
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let plan = if quick { Plan::QUICK } else { Plan::FULL };
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let mut table = Table::new(!quick);

    let nginx = (is_installed("nginx") && is_installed("openssl"))
        .then(|| Nginx::start(folder.path(), &[100, 1_000, plan.large, plan.largest]));
    if nginx.is_none() {
        eprintln!("nginx or openssl is not installed: only parts that need none are measured");
    }
    if wanted("program") {
        own_cost(&plan, folder.path(), nginx.as_ref(), &mut table);
    }
    match nginx {
        Some(nginx) if is_installed("vector") => {
            if wanted("vector") {
                vector::outputs(&plan, folder.path(), &nginx, &mut table);
            }
            if wanted("butler-sos") {
                butler_sos::compare(&plan, folder.path(), &nginx, &mut table);
            }
        }
        Some(_) => eprintln!("vector is not installed: what a poll costs in it is left out"),
        None => (),
    }
    table.print();
}

/// What the program itself costs.
fn own_cost(plan: &Plan, folder: &Path, nginx: Option<&Nginx>, table: &mut Table) {
    transform(plan, folder, table);
    if let Some(nginx) = nginx {
        let floor = once(plan, folder, nginx, table);
        stream(plan, folder, nginx, floor, table);
        memory_growth(plan, folder, nginx, table);
    }
    first_request(plan, table);
    many_targets(plan, table);
    binary(plan, table);
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["--log-level", "error"]).stdin(Stdio::null());
    command
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null());
    command
}

fn cpu_of(costs: &[Cost]) -> f64 {
    median(costs.iter().map(|cost| ms(cost.cpu)).collect())
}

fn wall_of(costs: &[Cost]) -> f64 {
    median(costs.iter().map(|cost| ms(cost.wall)).collect())
}

/// `transform` against jq, and its growth.
fn transform(plan: &Plan, folder: &Path, table: &mut Table) {
    let file = |sessions: usize| {
        let path = folder.join(format!("transform-{sessions}.json"));
        fs::write(&path, common::answer(0, sessions)).expect("the folder can be written");
        path
    };
    let transform = |path: &Path, times| {
        cost(
            || {
                let mut command = program(&["transform"]);
                command.stdin(File::open(path).expect("it was written"));
                command
            },
            times,
        )
    };
    let [nothing, small, large, largest] = [0, 1_000, plan.large, plan.largest].map(file);
    let with_jq = is_installed("jq");
    if !with_jq {
        eprintln!("jq is not installed: comparisons with it are left out");
    }
    let jq = format!("exec jq -c '{JQ}' {}", large.display());
    let (mut own, mut jqs, mut start) = (Vec::new(), Vec::new(), Vec::new());
    let (mut per_small, mut per_largest) = (Vec::new(), Vec::new());
    let few = plan.times.div_ceil(3);
    for _ in 0..plan.runs {
        own.push(transform(&large, few));
        if with_jq {
            jqs.push(cost(|| shell(&jq), 1));
        }
        start.push(transform(&nothing, plan.times * 4));
        per_small.push(transform(&small, plan.times * 4));
        per_largest.push(transform(&largest, few));
    }
    let (bytes, time) = (file_size(&large), wall_of(&own));
    table.row(
        &format!("`transform` of {} sessions", plan.large),
        &format!(
            "{time:.1} ms ({:.1} ms CPU) for {:.1} MB: {:.0} MB/s, {:.0} MB/s without the start of the process ({:.1} ms)",
            cpu_of(&own),
            mb(bytes),
            mb(bytes) / time * 1e3,
            mb(bytes) / (time - wall_of(&start)) * 1e3,
            wall_of(&start),
        ),
        "",
        None,
    );
    if with_jq {
        let jq_time = wall_of(&jqs);
        table.row(
            "the same lines by jq",
            &format!("{jq_time:.0} ms: {:.1} × the time", jq_time / time),
            "12 ×",
            Some(jq_time / time >= 12.0),
        );
    }
    let per_session = |costs: &[Cost], sessions: usize| {
        (cpu_of(costs) - cpu_of(&start)) / sessions as f64 * 1_000.0
    };
    let (small, large) = (per_session(&per_small, 1_000), per_session(&per_largest, plan.largest));
    table.row(
        &format!("growth of `transform` from 1000 to {} sessions", plan.largest),
        &format!(
            "{small:.2} µs CPU for each session, then {large:.2} µs: ratio {:.2}",
            large / small
        ),
        "ratio 1.2",
        Some(large / small <= 1.2),
    );
}

/// `once` against `curl` and `curl | jq`. Returns the CPU time of `curl`, in ms.
fn once(plan: &Plan, folder: &Path, nginx: &Nginx, table: &mut Table) -> Option<f64> {
    let config = nginx.config(folder, &USUAL);
    let [first, second] = USUAL.map(|sessions| nginx.url(sessions));
    let here = folder.display();
    let curl = format!(
        "curl -sS --fail --cacert {here}/root.pem --cert {here}/client.pem --key {here}/client_key.pem -H 'X-Qlik-Xrfkey: 0123456789abcdef'"
    );
    let floor = format!("exec {curl} -o /dev/null '{first}' -o /dev/null '{second}'");
    let script = format!("{curl} '{first}' '{second}' | jq -c '{JQ}'");
    let (with_curl, with_jq) = (is_installed("curl"), is_installed("jq"));
    if !with_curl {
        eprintln!("curl is not installed: comparisons with it are left out");
    }
    let (mut own, mut floors, mut scripts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        own.push(cost(|| program(&["once", "--config", &config]), plan.times));
        if with_curl {
            floors.push(cost(|| shell(&floor), plan.times));
        }
        if with_curl && with_jq {
            scripts.push(cost(|| shell(&script), plan.times.div_ceil(3)));
        }
    }
    let cpu = cpu_of(&own);
    table.row(
        "`once`, 100 + 1,000 sessions",
        &format!("{cpu:.1} ms CPU, {:.1} ms in all", wall_of(&own)),
        "",
        None,
    );
    for (what, costs, goal, reached) in [
        ("`curl -o /dev/null` of the same", &floors, "`once` at most 1.00 ×", 1.0),
        ("`curl \\| jq` of the same", &scripts, "`once` at most 0.17 ×", 1.0 / 6.0),
    ] {
        if !costs.is_empty() {
            let ratio = cpu / cpu_of(costs);
            table.row(
                what,
                &format!(
                    "{:.1} ms CPU, {:.1} ms in all; `once` takes {ratio:.2} × the CPU",
                    cpu_of(costs),
                    wall_of(costs)
                ),
                goal,
                Some(ratio <= reached),
            );
        }
    }
    (!floors.is_empty()).then(|| cpu_of(&floors))
}

/// A `stream`, and what it costs while it polls.
struct Streaming {
    process: Running,
    polls: mpsc::Receiver<()>,
}

impl Streaming {
    fn start(config: &str) -> Self {
        let mut process = Running(
            program(&["stream", "--config", config])
                .stdout(Stdio::piped())
                .spawn()
                .expect("the program was built"),
        );
        let stdout = process.0.stdout.take().expect("it is a pipe");
        let (reported, polls) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::with_capacity(64 * 1024, stdout);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let begin = String::from_utf8_lossy(&line[..line.len().min(100)]);
                if begin.contains(r#""event":"site_summary""#) && reported.send(()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Self { process, polls }
    }

    fn poll(&self, times: usize) {
        for _ in 0..times {
            self.polls.recv_timeout(Duration::from_secs(60)).expect("a poll ends");
        }
    }

    /// CPU of one poll.
    fn cost(&self, polls: usize) -> Duration {
        let before = cpu(&self.process.0);
        self.poll(polls);
        (cpu(&self.process.0) - before) / u32::try_from(polls).unwrap_or(u32::MAX)
    }

    fn memory(&self) -> Memory {
        memory(&self.process.0)
    }
}

/// `stream` at a usual and at a very large site; `floor` is the CPU of `curl`, in
/// ms.
fn stream(plan: &Plan, folder: &Path, nginx: &Nginx, floor: Option<f64>, table: &mut Table) {
    let usual = Streaming::start(&nginx.config(folder, &USUAL));
    usual.poll(3);
    let costs = (0..plan.runs.div_ceil(2)).map(|_| ms(usual.cost(plan.polls))).collect();
    let (cpu, usual) = (median(costs), usual.memory());
    table.row(
        "`stream`, 100 + 1,000 sessions, one poll",
        &next_to_curl(cpu, floor),
        "0.15 ×",
        floor.map(|floor| cpu / floor <= 0.15),
    );
    table.row(
        "its resident memory",
        &format!("{:.1} MB (peak {:.1} MB)", mb(usual.now), mb(usual.peak)),
        "12 MB",
        Some(mb(usual.peak) <= 12.0),
    );
    moving(plan, folder, nginx, floor, table);

    let large = Streaming::start(&nginx.config(folder, &[plan.large]));
    large.poll(3);
    let cpu = ms(large.cost(plan.polls.div_ceil(2)));
    let body = mb(file_size(&nginx::file(folder, plan.large)));
    let (large, limit) = (large.memory(), 3.0 * body + 12.0);
    table.row(
        &format!("`stream`, {} sessions in one answer of {body:.1} MB", plan.large),
        &format!(
            "peak {:.1} MB, resident {:.1} MB, {cpu:.1} ms CPU for each poll",
            mb(large.peak),
            mb(large.now)
        ),
        &format!("peak {limit:.1} MB (3 × body + 12)"),
        Some(mb(large.peak) <= limit),
    );
}

fn next_to_curl(cpu: f64, floor: Option<f64>) -> String {
    match floor {
        Some(floor) => format!("{cpu:.2} ms CPU: {:.3} × that of `curl`", cpu / floor),
        None => format!("{cpu:.2} ms CPU"),
    }
}

/// `stream` where at every poll a tenth of the sessions has gone, and as many came.
fn moving(plan: &Plan, folder: &Path, nginx: &Nginx, floor: Option<f64>, table: &mut Table) {
    let stream = Streaming::start(&nginx.config(folder, &USUAL));
    stream.poll(3);
    let mut firsts = USUAL.map(|sessions| (0..).step_by(sessions / 10));
    let mut move_on = || {
        for (sessions, first) in USUAL.iter().zip(&mut firsts) {
            nginx::put(folder, *sessions, first.next().expect("they do not end"));
        }
        ms(stream.cost(1))
    };
    let costs = (0..=plan.polls).map(|_| move_on()).skip(1).collect();
    for sessions in USUAL {
        nginx::put(folder, sessions, 0);
    }
    table.row(
        "the same, with a tenth of the sessions replaced at each poll",
        &next_to_curl(median(costs), floor),
        "",
        None,
    );
}

/// What a session costs `stream` in memory, at a small and at a large site.
fn memory_growth(plan: &Plan, folder: &Path, nginx: &Nginx, table: &mut Table) {
    let peaks = [100, plan.large, plan.largest].map(|sessions| {
        let stream = Streaming::start(&nginx.config(folder, &[sessions]));
        stream.poll(4);
        stream.memory().peak
    });
    let per_session = |at: usize, sessions: usize| (peaks[at] - peaks[0]) / (sessions - 100) as f64;
    let (large, largest) = (per_session(1, plan.large), per_session(2, plan.largest));
    table.row(
        &format!(
            "growth of `stream`'s peak memory from {} to {} sessions",
            plan.large, plan.largest
        ),
        &format!(
            "{large:.0} bytes for each session, then {largest:.0}: ratio {:.2}",
            largest / large
        ),
        "ratio 1.2",
        Some(largest / large <= 1.2),
    );
}

/// From the start of the process to its first request.
fn first_request(plan: &Plan, table: &mut Table) {
    let times: Vec<f64> = (0..plan.runs * 3)
        .map(|_| {
            let folder = tempfile::tempdir().expect("the temporary folder can be written");
            let site = Site::start(&[("sense1", &["/"])]).expect("there is a free port");
            let config = site
                .write_config(folder.path(), Duration::from_secs(30))
                .expect("the folder can be written");
            let start = Instant::now();
            let process = program(&["stream", "--config", &config.display().to_string()])
                .stdout(Stdio::null())
                .spawn()
                .map(Running)
                .expect("the program was built");
            let given_up = start + Duration::from_secs(10);
            let request = loop {
                if let Some(request) = site.requests().first() {
                    break request.at;
                }
                assert!(Instant::now() < given_up, "no request comes");
                thread::sleep(Duration::from_millis(1));
            };
            drop(process);
            ms(request - start)
        })
        .collect();
    let time = median(times);
    table.row(
        "start to first request of `stream`, TLS handshake included",
        &format!("{time:.1} ms"),
        "10 ms",
        Some(time <= 10.0),
    );
}

/// A large site whose servers all take their time.
fn many_targets(plan: &Plan, table: &mut Table) {
    for per_server in [4, 5] {
        let names: Vec<String> = (0..SERVERS).map(|number| format!("sense{number}")).collect();
        let prefixes: Vec<String> = (0..PREFIXES).map(|number| format!("/vp{number}")).collect();
        let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        let nodes: Vec<(&str, &[&str])> =
            names.iter().map(|name| (name.as_str(), prefixes.as_slice())).collect();
        let site = Site::start(&nodes).expect("there are free ports");
        for (name, prefixes) in nodes {
            for prefix in prefixes {
                site.set_delay(name, prefix, DELAY);
            }
        }
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let options = format!(
            "    concurrency: {}\n    concurrencyPerServer: {per_server}\n",
            SERVERS * per_server
        );
        let config = site
            .write_config_with(folder.path(), Duration::from_secs(2), &options)
            .expect("the folder can be written");
        let durations = poll_durations(&config.display().to_string(), plan.runs + 1);
        let rounds = PREFIXES.div_ceil(per_server);
        let limit = 1.2 * rounds as f64 * ms(DELAY);
        let (first, steady) = (durations[0], median(durations[1..].to_vec()));
        table.row(
            &format!(
                "{} targets on {SERVERS} servers that take {} ms, {per_server} at a time for each",
                SERVERS * PREFIXES,
                DELAY.as_millis()
            ),
            &format!("{steady:.0} ms for one poll; the first, with all handshakes, {first:.0} ms"),
            &format!("{limit:.0} ms (1.2 × {rounds} rounds)"),
            Some(steady <= limit),
        );
    }
}

/// Milliseconds of each of the first polls, as `site_summary` has them.
fn poll_durations(config: &str, polls: usize) -> Vec<f64> {
    let mut process = Running(
        program(&["stream", "--config", config])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built"),
    );
    let stdout = process.0.stdout.take().expect("it is a pipe");
    BufReader::new(stdout)
        .lines()
        .map(|line| line.expect("lines are UTF-8"))
        .filter_map(|line| {
            let event: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
            if event["event"] != "site_summary" {
                return None;
            }
            assert_eq!(event["targets_failed"], 0, "{line}");
            event["duration_ms"].as_f64()
        })
        .take(polls)
        .collect()
}

/// The size of the program, with and without the simulated site.
fn binary(plan: &Plan, table: &mut Table) {
    let with = mb(file_size(Path::new(PROGRAM)));
    let mut sizes = format!("{with:.2} MB");
    let mut smaller = true;
    if plan.build {
        let target = Path::new(PROGRAM).with_file_name("without-demo");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--no-default-features", "--target-dir"])
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        if built.is_ok_and(|status| status.success()) {
            let without = mb(file_size(&target.join("release/qlik-sessions")));
            sizes.push_str(&format!(", without the simulated site {without:.2} MB"));
            smaller = without < with;
        }
    }
    table.row(
        "the binary, stripped",
        &sizes,
        "8 MB, smaller without",
        Some(with <= 8.0 && smaller),
    );
}
