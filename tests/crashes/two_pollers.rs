//! Two pollers with one configuration and `alignPolls`, of which one at a time is
//! killed and started again: every tick has every event, and none twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use qlik_sessions::site::Site;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Test,
    site::{NODE, PREFIXES, Random, Sessions, Visitors},
    stored::{Stored, sessions_of, time},
    support::{Fixture, program, wait_until},
};

pub const TESTS: &[Test] = &[
    Test { name: "two_pollers_in_snapshot", needs: &[], run: snapshot },
    Test { name: "two_pollers_in_changes", needs: &[], run: changes },
];

const KILLS: usize = 60;
/// In milliseconds, by the clock.
const INTERVAL: i64 = 2_000;
const KEYFRAME_INTERVAL: i64 = 20_000;

fn snapshot() {
    watch("snapshot", "    sessionDetails: snapshot").check("snapshot", |_| true);
}

fn changes() {
    let options = format!("    sessionDetails: changes\n    keyframeInterval: {KEYFRAME_INTERVAL}");
    watch("changes", &options).check("changes", |tick| tick % KEYFRAME_INTERVAL == 0);
}

/// A poller that is killed and started again with what is on its disk.
struct Poller {
    folder: TempDir,
    running: Option<Running>,
}

struct Running {
    child: Child,
    reader: JoinHandle<()>,
    has_polled: Arc<AtomicBool>,
}

/// Events of both pollers, as they came.
type Arrived = Arc<Mutex<Vec<Value>>>;

impl Poller {
    fn new(site: &Site, options: &str, arrived: &Arrived) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let interval = Duration::from_millis(INTERVAL.unsigned_abs());
        site.write_config_with(folder.path(), interval, options).expect("written");
        let mut poller = Self { folder, running: None };
        poller.start(arrived);
        poller
    }

    fn start(&mut self, arrived: &Arrived) {
        self.running = Some(Running::start(self.folder.path(), Arc::clone(arrived)));
    }

    /// Returns whether it runs and made a whole poll.
    fn has_polled(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.has_polled.load(Ordering::Relaxed))
    }

    fn kill(&mut self) {
        if let Some(Running { mut child, reader, .. }) = self.running.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            reader.join().expect("what it sent is read");
        }
    }
}

impl Running {
    fn start(folder: &Path, arrived: Arrived) -> Self {
        let mut command: Command = program();
        command.arg("stream").arg("-c").arg(folder.join("config.yaml"));
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let has_polled = Arc::new(AtomicBool::new(false));
        let polled = Arc::clone(&has_polled);
        let reader = thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).expect("no line is cut");
                polled.fetch_or(event["event"] == "site_summary", Ordering::Relaxed);
                arrived.lock().expect("no thread panicked").push(event);
            }
        });
        Self { child, reader, has_polled }
    }
}

/// What two pollers sent, and what was true at each tick.
struct Watched {
    stored: Stored,
    /// By the tick, in milliseconds since 1970.
    truth: BTreeMap<i64, Sessions>,
    /// Ticks at which this machine was too busy to know what was true.
    unsure: BTreeSet<i64>,
    first: i64,
    last: i64,
}

/// Who is on changes halfway between two ticks.
struct Changes {
    next_tick: i64,
    changed_at: Instant,
    visitors: Visitors,
    truth: BTreeMap<i64, Sessions>,
    unsure: BTreeSet<i64>,
}

impl Changes {
    fn begin(random: &mut Random, fixture: &Fixture) -> Self {
        let next_tick = floor(now()) + INTERVAL;
        let mut changes = Self {
            next_tick,
            changed_at: Instant::now(),
            visitors: Visitors::default(),
            truth: BTreeMap::new(),
            unsure: BTreeSet::from([next_tick]),
        };
        changes.change(random, fixture);
        changes
    }

    fn step(&mut self, random: &mut Random, fixture: &Fixture) {
        if now() < self.next_tick + INTERVAL / 2 {
            return;
        }
        // A poll that asked after the change before, and yet before its tick.
        let until_tick = Duration::from_millis(INTERVAL.unsigned_abs() / 2);
        let early = self.changed_at..self.changed_at + until_tick - Duration::from_millis(100);
        if fixture.site.requests().iter().any(|request| early.contains(&request.at)) {
            self.unsure.insert(self.next_tick - INTERVAL);
        }
        self.next_tick = floor(now()) + INTERVAL;
        self.change(random, fixture);
    }

    fn change(&mut self, random: &mut Random, fixture: &Fixture) {
        self.changed_at = Instant::now();
        self.visitors.change(random, fixture);
        self.truth.insert(self.next_tick, self.visitors.on.clone());
        if now() > self.next_tick - 200 {
            self.unsure.extend([self.next_tick - INTERVAL, self.next_tick]);
        }
    }
}

fn watch(name: &str, options: &str) -> Watched {
    let options =
        format!("{options}\n    alignPolls: true\n    site: berlin\n    stateFile: state.json");
    let fixture = Fixture::new(&[(NODE, &PREFIXES)], "");
    let arrived = Arrived::default();
    let mut random = Random::new();
    let mut changes = Changes::begin(&mut random, &fixture);
    let mut pollers = [0, 1].map(|_| Poller::new(&fixture.site, &options, &arrived));
    wait_until("a poll of each", || {
        changes.step(&mut random, &fixture);
        pollers.iter().all(Poller::has_polled).then_some(())
    });
    let first = floor(now()) + 2 * INTERVAL;
    let (mut kills, mut next_kill, mut next_start) = (0, first, None);
    while kills < KILLS || next_start.is_some() || !pollers.iter().all(Poller::has_polled) {
        changes.step(&mut random, &fixture);
        if let Some((index, time)) = next_start {
            if now() >= time {
                let poller: &mut Poller = &mut pollers[index as usize];
                poller.start(&arrived);
                next_start = None;
            }
        } else if kills < KILLS && now() >= next_kill && pollers.iter().all(Poller::has_polled) {
            let index = random.below(2);
            pollers[index as usize].kill();
            kills += 1;
            next_start = Some((index, now() + random.below(7_000) as i64));
            next_kill = now() + random.below(4_000) as i64;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let last = floor(now()) - INTERVAL;
    pollers.iter_mut().for_each(Poller::kill);
    let arrived = std::mem::take(&mut *arrived.lock().expect("no thread panicked"));
    let Changes { truth, unsure, .. } = changes;
    eprintln!("two pollers, {name}: {kills} kills, {} events arrived", arrived.len());
    Watched { stored: Stored::new(arrived), truth, unsure, first, last }
}

impl Watched {
    /// `with_sessions` says at which ticks every session has an event.
    fn check(&self, name: &str, with_sessions: impl Fn(i64) -> bool) {
        let mut polls: BTreeMap<i64, Vec<&Value>> = BTreeMap::new();
        for event in &self.stored.events {
            let tick: Timestamp = time(event).parse().expect("RFC 3339");
            polls.entry(tick.as_millisecond()).or_default().push(event);
        }
        let mut ticks = 0;
        let mut events = 0;
        let mut keyframes = 0;
        for tick in (self.first..=self.last).step_by(INTERVAL as usize) {
            let poll = polls.get(&tick).unwrap_or_else(|| panic!("{tick} has no event"));
            assert_eq!(count(poll, "site_summary"), 1, "{poll:#?}");
            if self.is_unsure(tick) {
                continue;
            }
            for (index, prefix) in PREFIXES.iter().enumerate() {
                let own: Vec<&Value> = poll
                    .iter()
                    .copied()
                    .filter(|event| event["virtual_proxy"] == *prefix)
                    .collect();
                self.check_target(tick, index, &own, with_sessions(tick));
            }
            ticks += 1;
            events += poll.len();
            keyframes += usize::from(with_sessions(tick));
        }
        eprintln!(
            "two pollers, {name}: {ticks} ticks of {} right ({keyframes} with every session, {events} events), {} events dropped as repeated",
            (self.last - self.first) / INTERVAL + 1,
            self.stored.repeated,
        );
        assert!(ticks > KILLS / 2 && keyframes > 1);
    }

    fn is_unsure(&self, tick: i64) -> bool {
        [tick, tick - INTERVAL]
            .iter()
            .any(|tick| self.unsure.contains(tick) || !self.truth.contains_key(tick))
    }

    fn check_target(&self, tick: i64, target: usize, poll: &[&Value], with_sessions: bool) {
        let (before, on) = (&self.truth[&(tick - INTERVAL)][target], &self.truth[&tick][target]);
        assert_eq!(count(poll, "session_summary"), 1, "{tick}: {poll:#?}");
        let summary = poll.iter().find(|event| event["event"] == "session_summary");
        assert_eq!(summary.expect("one")["session_count"], on.len(), "{tick}: {poll:#?}");
        let started: BTreeSet<String> = on.difference(before).cloned().collect();
        let ended: BTreeSet<String> = before.difference(on).cloned().collect();
        assert_eq!(sessions_of(poll, "session_started"), started, "{tick}");
        assert_eq!(sessions_of(poll, "session_ended"), ended, "{tick}");
        let sessions = sessions_of(poll, "session");
        if with_sessions {
            assert_eq!(&sessions, on, "{tick}");
        } else {
            // One that was away at the keyframe has its own later.
            assert!(sessions.is_subset(on), "{tick}: {sessions:?}");
        }
    }
}

fn count(poll: &[&Value], kind: &str) -> usize {
    poll.iter().filter(|event| event["event"] == kind).count()
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn floor(time: i64) -> i64 {
    time.div_euclid(INTERVAL) * INTERVAL
}
