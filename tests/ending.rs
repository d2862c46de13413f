//! How a run ends, and what becomes of events that nobody reads.

mod support;

use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
    thread,
    time::Duration,
};

use send_ctrlc::{Interruptible, InterruptibleChild, InterruptibleCommand};
use support::{Fixture, Running, events, of_kind, sessions, wait_for_end};

#[test]
fn signals_end_a_stream_well() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    for (end, logged) in support::ENDINGS {
        let mut stream = fixture.stream();
        stream.poll();
        end(&mut stream);
        let (code, stderr) = stream.wait();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains(&format!("{logged}: ending")), "{stderr}");
    }
}

#[test]
fn a_signal_ends_a_poll_that_waits() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    timeout: 60000");
    fixture.configure(Duration::from_secs(60), "    timeout: 60000");
    fixture.site.set_fault("sense1", "/", Some(qlik_sessions::site::Fault::NoAnswer));
    for command in ["stream", "once"] {
        let before = fixture.site.requests().len();
        let mut run = Running::start(fixture.command(command));
        while fixture.site.requests().len() == before {
            thread::sleep(Duration::from_millis(10));
        }
        run.terminate();
        assert_eq!(run.wait().0, Some(0), "{command}");
    }
}

#[test]
fn a_closed_stdout_ends_it_quietly_also_between_polls() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.configure(Duration::from_secs(3_600), "");
    fixture.site.set_sessions("sense1", "/", &sessions(5_000));
    let mut child = spawn(&fixture, "stream");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    drop(stdout);
    assert_eq!(wait_for_end(&mut child), Some(0));
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    assert!(!stderr.contains("ERROR") && !stderr.contains("panic"), "{stderr}");

    // All is written and read; only then the reader leaves. On Windows that shows at
    // the next write.
    if cfg!(windows) {
        return;
    }
    let mut stream = fixture.stream();
    stream.poll();
    drop(stream);
    fixture.site.set_sessions("sense1", "/", &[]);
    let mut child = spawn(&fixture, "stream");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line).expect("a line");
    stdout.read_line(&mut line).expect("a line");
    drop(stdout);
    assert_eq!(wait_for_end(&mut child), Some(0), "though no event is due for an hour");
}

#[test]
fn a_reader_that_stalls_gets_every_line_in_order() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(9_000));
    let mut child = spawn(&fixture, "stream");
    let mut stdout = child.stdout.take().expect("a pipe");
    // More is made than pipe and queue take: 3 MB at each poll.
    thread::sleep(Duration::from_secs(6));
    let memory = resident_megabytes(child.id());
    assert!(memory < 60.0, "memory stays bounded: {memory} MB");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).expect("UTF-8");
        text
    });
    thread::sleep(Duration::from_secs(3));
    child.terminate().expect("it runs");
    assert_eq!(wait_for_end(&mut child), Some(0));
    let events = events(&reader.join().expect("the reader ends"));
    let summaries = of_kind(&events, "site_summary");
    let times: Vec<&str> =
        summaries.iter().filter_map(|event| event["timestamp"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let skipped: u64 = summaries.iter().filter_map(|event| event["polls_skipped"].as_u64()).sum();
    assert!(
        skipped >= 1,
        "while the queue is full polling pauses, and that is counted: {summaries:#?}"
    );
    for summary in &summaries {
        let written = events
            .iter()
            .filter(|event| {
                event["event"] == "session" && event["timestamp"] == summary["timestamp"]
            })
            .count();
        assert_eq!(written, 9_000, "nothing that was made is dropped");
    }
}

#[test]
fn a_reader_that_never_reads_does_not_keep_it_for_ever() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(5_000));
    for command in ["stream", "once"] {
        let mut child = spawn(&fixture, command);
        thread::sleep(Duration::from_secs(2));
        child.terminate().expect("it runs");
        assert_eq!(wait_for_end(&mut child), Some(1), "{command}: lines are lost");
        let mut stderr = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
        assert!(stderr.contains("lines that waited for it are lost"), "{stderr}");
        if cfg!(unix) {
            assert_whole_lines(child.stdout.take().expect("a pipe"));
        }
    }
}

/// The grace is for a program that was asked to end, not for a slow reader.
#[test]
fn once_waits_for_a_slow_reader() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(9_000));
    let mut child = spawn(&fixture, "once");
    thread::sleep(Duration::from_secs(7));
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("UTF-8");
    assert_eq!(wait_for_end(&mut child), Some(0));
    assert_eq!(events(&text).len(), 9_002);
}

/// Node.js and others make both ends of a pipe non-blocking.
#[cfg(unix)]
#[test]
fn a_stdout_that_does_not_block_is_waited_for() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(9_000));
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("it is made non-blocking");
    let mut child = fixture
        .command("once")
        .stdout(Stdio::from(writer))
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    thread::sleep(Duration::from_secs(2));
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("UTF-8");
    assert_eq!(wait_for_end(&mut child), Some(0));
    assert_eq!(events(&text).len(), 9_002);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let run = fixture.command("once").stdout(full).output().expect("it runs");
    assert_eq!(run.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(stderr.contains("stdout cannot be written"), "{stderr}");
}

/// Also one that is killed while it writes leaves no half line in the pipe, which takes less
/// than these sessions. Windows promises no such thing.
#[cfg(unix)]
#[test]
fn no_line_is_cut_by_a_kill() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(4_000));
    for milliseconds in [300, 700, 1_500] {
        let mut child = spawn(&fixture, "stream");
        thread::sleep(Duration::from_millis(milliseconds));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert_whole_lines(child.stdout.take().expect("a pipe"));
    }
}

/// Nor where the reader is behind and reads as it likes, so that what waits in the pipe
/// begins and ends anywhere.
#[cfg(unix)]
#[test]
fn no_line_is_cut_by_a_kill_while_the_reader_is_behind() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    fixture.site.set_sessions("sense1", "/", &sessions(4_000));
    for piece in [1, 1_009, 4_097, 50_021] {
        let mut child = spawn(&fixture, "stream");
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut text = vec![0; 200_000];
        for part in text.chunks_mut(piece) {
            stdout.read_exact(part).expect("it writes more than that");
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        stdout.read_to_end(&mut text).expect("the rest");
        assert_whole_lines(text.as_slice());
    }
}

fn spawn(fixture: &Fixture, command: &str) -> InterruptibleChild {
    fixture
        .command(command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn_interruptible()
        .expect("it starts")
}

fn assert_whole_lines(mut stdout: impl Read) {
    let mut text = String::new();
    stdout.read_to_string(&mut text).expect("UTF-8");
    assert!(text.ends_with('\n'), "the last line is whole: {:?}", text.lines().last());
    assert!(!events(&text).is_empty());
}

/// Only Linux makes it easy to read; elsewhere there is nothing to compare.
fn resident_megabytes(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|value| value.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1_024.0
}
