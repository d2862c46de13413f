//! Each step of the way of the data on its own: an answer is parsed, compared
//! with the one before, and written as events.
//!
//! `cargo bench --locked --bench micro`

mod common;

use divan::{Bencher, counter::BytesCount};
use jiff::Timestamp;
use qlik_sessions::{
    config::Config,
    events::{Lines, SessionEvent, SummaryFacts, TargetEvents},
    lifecycle::Known,
    snapshot::{Rules, Snapshot},
    target::TargetKeys,
};

/// Sessions: a usual site, and a very large one.
const SIZES: [usize; 2] = [1_100, 50_000];
const MAX_LINE: usize = 256 * 1024;

fn main() {
    divan::main();
}

fn read(answer: &str, rules: &Rules) -> Snapshot<'static> {
    let mut answer = answer.as_bytes().to_vec();
    let snapshot = Snapshot::read(&mut answer, rules).expect("it is a list of sessions");
    snapshot.into_owned()
}

fn rules(session_source: &str) -> Rules {
    let text = format!(
        "Butler-SOS:\n  userSessions:\n    enableSessionExtract: true\n  sessionSource:\n    maxLineBytes: {MAX_LINE}\n{session_source}"
    );
    Rules::new(
        &Config::parse("config.yaml".as_ref(), &text).expect("these settings are right"),
        None,
    )
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

/// Compares an answer with the one before, of which nine of ten sessions are
/// still there.
#[divan::bench(args = SIZES)]
fn diff(bencher: Bencher, sessions: usize) {
    let rules = rules("");
    let before = read(&common::answer(0, sessions), &rules);
    let after = read(&common::answer(sessions / 10, sessions), &rules);
    bencher
        .with_inputs(|| {
            let mut known = Known::default();
            known.update(&before, Timestamp::UNIX_EPOCH);
            known
        })
        .bench_values(|mut known| {
            let changes = known.update(&after, Timestamp::UNIX_EPOCH);
            (changes.ended.len(), known)
        });
}

/// Writes a session's event for each session.
#[divan::bench(args = SIZES)]
fn serialise(bencher: Bencher, sessions: usize) {
    let snapshot = read(&common::answer(0, sessions), &rules(""));
    let keys = keys();
    let events = TargetEvents::new(&keys, None, Timestamp::UNIX_EPOCH);
    let write = || {
        let mut lines = Lines::new(MAX_LINE);
        for session in &snapshot.sessions {
            events.session(&mut lines, SessionEvent::Session, session, None);
        }
        lines.take()
    };
    bencher.counter(BytesCount::new(write().len())).bench_local(write);
}

/// Writes the summary: counts users and lists them in order.
#[divan::bench(args = SIZES)]
fn summarise(bencher: Bencher, sessions: usize) {
    let snapshot = read(&common::answer(0, sessions), &rules(""));
    let keys = keys();
    let events = TargetEvents::new(&keys, None, Timestamp::UNIX_EPOCH);
    let facts = SummaryFacts { users_are_shown: true, ..SummaryFacts::default() };
    bencher.bench_local(|| {
        let mut lines = Lines::new(MAX_LINE);
        events.summary(&mut lines, &snapshot, &facts);
        lines.take()
    });
}
