//! Each step of the way of the data on its own: an answer is parsed, compared
//! with the one before, and written as events.
//!
//! `cargo bench --bench micro`

mod common;

use divan::{Bencher, counter::BytesCount};
use jiff::Timestamp;
use qlik_sessions::{
    config::Config,
    events::{Lines, SessionEvent, SessionKeys, SummaryFacts, TargetEvents, TargetKeys},
    lifecycle::Known,
    proxy::Receiver,
    snapshot::{Reader, Rules, Snapshot},
};

/// Sessions: a usual site, and a very large one.
const SIZES: [usize; 2] = [1_100, 50_000];
const MAX_LINE: usize = 256 * 1024;

fn main() {
    divan::main();
}

fn read(answer: &str, rules: &Rules) -> Snapshot {
    read_by(Reader::new(rules), answer)
}

fn read_after(before: &Snapshot, answer: &str, rules: &Rules) -> Snapshot {
    read_by(Reader::new(rules).after(before), answer)
}

fn read_by(mut reader: Reader<'_>, answer: &str) -> Snapshot {
    reader.piece(answer.as_bytes());
    reader.finish().expect("it is a list of sessions")
}

fn rules(session_source: &str) -> Rules {
    let text = format!(
        "Butler-SOS:\n  userSessions:\n    enableSessionExtract: true\n  sessionSource:\n    maxLineBytes: {MAX_LINE}\n{session_source}"
    );
    Rules::new(&Config::parse("config.yaml".as_ref(), &text).expect("these settings are right"))
}

fn keys() -> TargetKeys {
    TargetKeys::named("sense1", "/sales")
}

/// Reads an answer.
#[divan::bench(args = SIZES)]
fn parse(bencher: Bencher, sessions: usize) {
    let rules = rules("");
    let answer = common::answer(0, sessions);
    bencher.counter(BytesCount::new(answer.len())).bench(|| read(&answer, &rules));
}

/// As `parse`, with the attributes.
#[divan::bench(args = SIZES)]
fn parse_with_attributes(bencher: Bencher, sessions: usize) {
    let rules = rules("    attributes: true\n");
    let answer = common::answer(0, sessions);
    bencher.counter(BytesCount::new(answer.len())).bench(|| read(&answer, &rules));
}

/// Reads an answer after one of which nine of ten sessions are still there.
#[divan::bench(args = SIZES)]
fn parse_again(bencher: Bencher, sessions: usize) {
    let rules = rules("");
    let before = read_after(&Snapshot::default(), &common::answer(0, sessions), &rules);
    let answer = common::answer(sessions / 10, sessions);
    bencher.counter(BytesCount::new(answer.len())).bench(|| read_after(&before, &answer, &rules));
}

/// Compares that answer with the one before.
#[divan::bench(args = SIZES)]
fn diff(bencher: Bencher, sessions: usize) {
    let rules = rules("");
    let empty = Snapshot::default();
    bencher
        .with_inputs(|| {
            let before = read_after(&empty, &common::answer(0, sessions), &rules);
            let after = read_after(&before, &common::answer(sessions / 10, sessions), &rules);
            let mut known = Known::default();
            known.update(before, Timestamp::UNIX_EPOCH);
            (known, after)
        })
        .bench_values(|(mut known, after)| {
            let changes = known.update(after, Timestamp::UNIX_EPOCH);
            (changes.gone().count(), known)
        });
}

/// Writes a session's event for each session.
#[divan::bench(args = SIZES)]
fn serialise(bencher: Bencher, sessions: usize) {
    let snapshot = read(&common::answer(0, sessions), &rules(""));
    let keys = keys();
    let events = || TargetEvents::new(&keys, Timestamp::UNIX_EPOCH);
    let write = |events: &mut TargetEvents<'_>| {
        let mut lines = Lines::new(MAX_LINE);
        for session in snapshot.sessions() {
            events.session(
                &mut lines,
                SessionEvent::Session,
                SessionKeys::from(session),
                None,
                None,
            );
        }
        lines.take()
    };
    let length = write(&mut events()).len();
    bencher.counter(BytesCount::new(length)).with_inputs(events).bench_refs(write);
}

/// Writes the summary: counts people and lists them in order.
#[divan::bench(args = SIZES)]
fn summarise(bencher: Bencher, sessions: usize) {
    let snapshot = read(&common::answer(0, sessions), &rules(""));
    let keys = keys();
    let events = TargetEvents::new(&keys, Timestamp::UNIX_EPOCH);
    bencher.bench(|| {
        let mut lines = Lines::new(MAX_LINE);
        events.summary(&mut lines, &snapshot, &SummaryFacts::default());
        lines.take()
    });
}
