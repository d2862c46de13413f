//! `report` over a day of `snapshot` events, next to one aggregate query of DuckDB
//! over the same file in the same run.
//!
//! `cargo bench --locked --bench report` prints a Markdown table on stdout, and needs 2.5 GB
//! in the temporary folder (TMPDIR); `-- --quick` takes a fiftieth of that, and only
//! shows that everything works. No time is asserted.

#[path = "../common/mod.rs"]
mod common;
#[path = "../compare/process.rs"]
#[expect(dead_code, reason = "the other benchmark needs more of it")]
mod process;
#[path = "../compare/table.rs"]
mod table;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use process::{Running, file_size, is_installed, memory};
use qlik_sessions::{
    config::Config,
    events::{Lines, SessionEvent, SiteFacts, SummaryFacts, TargetEvents, site_summary},
    lifecycle::Known,
    snapshot::{Rules, Snapshot},
    target::TargetKeys,
};
use table::{Table, mb, median, ms};

const PROGRAM: &str = env!("CARGO_BIN_EXE_qlik-sessions");
const SESSIONS: usize = 2_000;
/// One poll every 30 seconds for a day.
const POLLS: usize = 2_880;
/// Each session lasts eight hours.
const POLLS_OF_A_SESSION: usize = 960;
/// Runs the query that is its argument.
const PYTHON: &str = "import duckdb, sys; print(duckdb.sql(sys.argv[1]).fetchall())";
/// How often peak memory is looked at.
const LOOK: Duration = Duration::from_millis(5);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` starts it too, and has no time for it.
        return Ok(());
    }
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: memory is read from /proc, which only Linux has");
        return Ok(());
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (polls, runs) = if quick { (POLLS / 50, 1) } else { (POLLS, 3) };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("day.ndjson");
    let lines = record(&path, polls)?;
    let mut table = Table::new(!quick);
    compare(&path, lines, runs, &mut table);
    table.print();
    Ok(())
}

/// Writes the events of so many polls. Returns how many lines they are.
fn record(path: &Path, polls: usize) -> io::Result<usize> {
    let config = Config::empty(path);
    let rules = Rules::new(&config, None);
    let keys = TargetKeys::named("sense1", "/sales");
    let mut known = Known::default();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut count = 0;
    for poll in 0..polls {
        let time = start() + SignedDuration::from_secs(30 * poll as i64);
        let first = poll * SESSIONS / POLLS_OF_A_SESSION;
        let mut answer = common::answer(first, SESSIONS).into_bytes();
        let snapshot = Snapshot::read(&mut answer, &rules).expect("it is an answer");
        let changes = known.update(&snapshot, time);
        let events = TargetEvents::new(&keys, None, time);
        let mut lines = Lines::new(config.options.max_line_bytes);
        let facts = SummaryFacts { users_are_shown: true, ..SummaryFacts::default() };
        events.summary(&mut lines, &snapshot, &facts);
        for (session, seen) in snapshot.sessions.iter().zip(&changes.seen) {
            let is_new = seen.is_some_and(|(_, is_new)| is_new);
            let seen = seen.map(|(seen, _)| seen);
            if is_new {
                let started = SessionEvent::Started { since: Some(changes.since) };
                events.session(&mut lines, started, session, seen);
            }
            events.session(&mut lines, SessionEvent::Session, session, seen);
        }
        for ended in &changes.ended {
            events.ended(&mut lines, ended, changes.since, Some(changes.since));
        }
        let site = SiteFacts {
            session_count: snapshot.sessions.len(),
            users: snapshot.users,
            targets: vec![("sense1/sales".to_owned(), false)],
            ..SiteFacts::default()
        };
        site_summary(&mut lines, None, time, &site, 5, true);
        let bytes = lines.take();
        count += bytes.iter().filter(|&&byte| byte == b'\n').count();
        file.write_all(&bytes)?;
    }
    file.flush()?;
    Ok(count)
}

fn start() -> Timestamp {
    "2026-11-23T00:00:00.713Z".parse().expect("a time")
}

fn compare(path: &Path, lines: usize, runs: usize, table: &mut Table) {
    let query = duck_db(path);
    if query.is_none() {
        eprintln!("SKIPPED the comparison: neither `duckdb` nor Python's module is installed");
    }
    let (mut times, mut duck_times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak: f64 = 0.0;
    for _ in 0..runs {
        let own = measure(report(path));
        peak = peak.max(own.peak);
        times.push(ms(own.wall));
        if let Some(query) = &query {
            let duck = measure(query());
            duck_times.push(ms(duck.wall));
            ratios.push(ms(own.wall) / ms(duck.wall));
        }
    }
    let bytes = file_size(path);
    let time = median(times);
    table.row(
        &format!("`report` of {lines} lines, {:.2} GB", bytes / 1e9),
        &format!("{:.2} s, {:.0} MB/s", time / 1e3, mb(bytes) / time * 1e3),
        "",
        None,
    );
    table.row("its peak memory", &format!("{:.0} MB", mb(peak)), "300 MB", Some(mb(peak) <= 300.0));
    if !ratios.is_empty() {
        let ratio = median(ratios);
        table.row(
            "one query of DuckDB over the same file, all processors",
            &format!("{:.2} s; `report` takes {ratio:.2} × the time", median(duck_times) / 1e3),
            "at most 1.00 ×",
            Some(ratio <= 1.0),
        );
    }
}

fn report(path: &Path) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("report").arg(path).args(["--output", "json", "--log-level", "error"]);
    command.stdout(Stdio::null()).spawn().expect("the program was built")
}

/// What starts DuckDB, by its own program or by Python.
fn duck_db(path: &Path) -> Option<impl Fn() -> Child + use<>> {
    let has_module = || {
        let mut python = Command::new("python3");
        let run = python.args(["-c", "import duckdb"]).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    let command: Vec<&str> = if is_installed("duckdb") {
        vec!["duckdb", "-c"]
    } else if is_installed("python3") && has_module() {
        vec!["python3", "-c", PYTHON]
    } else {
        return None;
    };
    // What a report says first: peaks and distinct users by hour.
    let query = format!(
        "SELECT date_trunc('hour', timestamp) AS hour, count(*) FILTER (event = 'session'), \
         max(session_count), count(DISTINCT \"user\"), count(DISTINCT session_id) \
         FROM read_json('{}', format = 'newline_delimited') GROUP BY hour ORDER BY hour",
        path.display()
    );
    Some(move || {
        Command::new(command[0])
            .args(&command[1..])
            .arg(&query)
            .stdout(Stdio::null())
            .spawn()
            .expect("it is installed")
    })
}

struct Measured {
    wall: Duration,
    peak: f64,
}

fn measure(child: Child) -> Measured {
    let begin = Instant::now();
    let mut running = Running(child);
    let mut peak: f64 = 0.0;
    loop {
        if let Some(status) = running.0.try_wait().expect("it is a child") {
            assert!(status.success(), "{status}");
            return Measured { wall: begin.elapsed(), peak };
        }
        peak = peak.max(memory(&running.0).peak);
        thread::sleep(LOOK);
    }
}
