//! A site that breaks in random ways, for many polls: there is never a wrong count, a cut
//! line, a leak or a stop.
//!
//! The test command runs a short form; the long one is
//! `cargo test --locked --release --test soak -- --ignored`.

mod support;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use qlik_sessions::{
    config::Config,
    output::Output,
    poll::{Mode, Poller, Tick},
    site::Fault,
};
use serde_json::Value;
use support::{Fixture, events, named_sessions, of_kind, of_target, texts};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no thread panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().expect("no thread panicked"));
        events(&String::from_utf8(bytes).expect("UTF-8"))
    }
}

/// A random number generator (xorshift) with the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

const TARGETS: [(&str, &str); 4] =
    [("sense1", "/"), ("sense1", "/sales"), ("sense2", "/"), ("sense2", "/hr")];

fn soak(polls: usize) {
    let fixture = Fixture::new(
        &[("sense1", &["/", "/sales"]), ("sense2", &["/", "/hr"])],
        "    timeout: 150\n    sessionDetails: snapshot\n    stateFile: state.json",
    );
    let config = Config::load(Path::new(&fixture.config)).expect("the configuration is right");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let kept = Kept::default();
    let output = Output::to(kept.clone()).expect("a thread");
    let mut poller = Poller::new(&config, Mode::Stream).expect("it starts");
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let faults = Fault::all();
    let mut on: [BTreeSet<String>; 4] = Default::default();
    let mut rebuilt: [BTreeSet<String>; 4] = Default::default();
    let mut next = 0;
    let mut stopped = false;
    let mut memory = None;
    for poll in 0..polls {
        for (index, (node, prefix)) in TARGETS.iter().enumerate() {
            on[index].retain(|_| random.below(5) > 0);
            for _ in 0..random.below(6) {
                next += 1;
                // The first good poll is the baseline, and starts nobody.
                if poll > 0 {
                    on[index].insert(format!("s{next}"));
                }
            }
            let ids: Vec<&str> = on[index].iter().map(String::as_str).collect();
            fixture.site.set_sessions(node, prefix, &named_sessions(&ids));
            let fault = (poll > 0 && random.below(4) == 0)
                .then(|| faults[random.below(faults.len())].clone());
            // A list with 20,000 more sessions is valid, and would hide who came.
            let fault = fault.filter(|fault| !matches!(fault, Fault::HugeList(_)));
            fixture.site.set_fault(node, prefix, fault);
        }
        if poll > 0 && random.below(40) == 0 {
            stopped = !stopped;
            if stopped { fixture.site.stop("sense2") } else { fixture.site.restart("sense2") }
        }
        runtime
            .block_on(poller.poll(&output, Tick { missed: 0, stamp: None }))
            .expect("a poll never fails as a whole");
        runtime.block_on(output.flushed()).expect("nobody closes the output");
        let poll_events = kept.take();
        check(&poll_events, &on, &mut rebuilt, poll);
        if poll == polls / 4 {
            memory = resident_kilobytes();
        }
    }
    if let (Some(before), Some(after)) = (memory, resident_kilobytes()) {
        assert!(after < before + 16_384, "memory grew from {before} to {after} kB");
    }
}

/// Each target either failed, with a reason, or reported exactly who is on.
fn check(
    poll_events: &[Value],
    on: &[BTreeSet<String>; 4],
    rebuilt: &mut [BTreeSet<String>; 4],
    poll: usize,
) {
    let site = poll_events.last().expect("a site_summary");
    assert_eq!(site["event"], "site_summary");
    let (mut failed, mut sessions) = (0, 0);
    for (index, (node, prefix)) in TARGETS.iter().enumerate() {
        let own: Vec<Value> =
            poll_events.iter().filter(|event| event["server_name"] == *node).cloned().collect();
        let errors = of_target(&own, "poll_error", prefix).len();
        let summaries = of_target(&own, "session_summary", prefix);
        assert_eq!(errors + summaries.len(), 1, "poll {poll}: {node} {prefix}: {own:#?}");
        failed += errors;
        for event in of_target(&own, "session_started", prefix) {
            assert!(
                rebuilt[index].insert(event["session_id"].as_str().expect("an id").to_owned()),
                "{event}"
            );
        }
        for event in of_target(&own, "session_ended", prefix) {
            assert!(rebuilt[index].remove(event["session_id"].as_str().expect("an id")), "{event}");
        }
        if let [summary] = summaries[..] {
            assert_eq!(
                summary["session_count"].as_u64(),
                Some(on[index].len() as u64),
                "poll {poll}"
            );
            let expected: Vec<String> = on[index].iter().cloned().collect();
            assert_eq!(
                texts(&of_target(&own, "session", prefix), "session_id"),
                expected,
                "poll {poll}"
            );
            assert_eq!(rebuilt[index], on[index], "poll {poll}: {node} {prefix}");
            sessions += on[index].len() as u64;
        }
    }
    assert_eq!(site["targets_failed"].as_u64(), Some(failed as u64));
    assert_eq!(site["session_count"].as_u64(), Some(sessions));
    assert_eq!(of_kind(poll_events, "site_summary").len(), 1);
}

fn resident_kilobytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn a_failing_site_for_a_hundred_polls() {
    soak(100);
}

#[test]
#[ignore = "takes minutes"]
fn a_failing_site_for_five_thousand_polls() {
    soak(5_000);
}
