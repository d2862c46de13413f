//! A backend that knows keyframes, starts and ends, and looks at nothing else,
//! has exactly who is on after every poll.

#[path = "crashes/site.rs"]
mod site;
mod support;

use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use qlik_sessions::site::Fault;
use serde_json::Value;
use site::{NODE, PREFIXES, Random, Visitors};
use support::{Finished, Fixture, named_sessions, of_target};

const POLLS: usize = 200;
const KEYFRAME_INTERVAL: Duration = Duration::from_secs(2);

/// Who is on at one target, as a backend has it.
#[derive(Default)]
struct Backend {
    /// Not known before the first keyframe.
    on: Option<BTreeSet<String>>,
}

impl Backend {
    /// Takes the events of one poll.
    fn take(&mut self, poll: &[Value], prefix: &str) {
        let ids = |kind: &str| -> BTreeSet<String> {
            let events = of_target(poll, kind, prefix);
            events
                .iter()
                .map(|event| event["session_id"].as_str().expect("a session id").to_owned())
                .collect()
        };
        let summaries = of_target(poll, "session_summary", prefix);
        if summaries.iter().any(|summary| summary["keyframe"] == true) {
            self.on = Some(ids("session"));
        } else if let Some(on) = &mut self.on {
            on.extend(ids("session_started"));
            on.retain(|id| !ids("session_ended").contains(id));
        }
    }
}

/// A program without an earlier answer reports every session.
#[test]
fn a_forgotten_state_is_a_keyframe() {
    let options = "    sessionDetails: changes\n    keyframeInterval: 0";
    let with_state = format!("{options}\n    stateFile: state.json");
    let fixture = Fixture::new(&[(NODE, &PREFIXES)], &with_state);
    fixture.site.set_sessions(NODE, "/", &named_sessions(&["s1"]));
    let is_keyframe = |run: &Finished| {
        let events = run.events();
        let marks = of_target(&events, "session_summary", "/")[0]["keyframe"] == true;
        assert_eq!(of_target(&events, "session", "/").len(), usize::from(marks));
        marks
    };
    assert!(is_keyframe(&fixture.once()), "the first poll");
    assert!(!is_keyframe(&fixture.once()));
    std::fs::write(fixture.path("state.json"), "{").expect("written");
    assert!(is_keyframe(&fixture.once()), "a damaged state");
    std::fs::remove_file(fixture.path("state.json")).expect("removed");
    let run = fixture.once();
    assert!(is_keyframe(&run), "no state");
    assert!(!run.stderr.contains("each run is a keyframe"), "{}", run.stderr);
    fixture.configure(Duration::from_secs(1), options);
    for _ in 0..2 {
        let run = fixture.once();
        assert!(is_keyframe(&run), "`once` without a state file");
        assert!(run.stderr.contains("each run is a keyframe"), "{}", run.stderr);
    }
}

#[test]
fn keyframes_and_changes_have_who_is_on_at_every_poll() {
    let options = format!(
        "    sessionDetails: changes\n    keyframeInterval: {}\n    stateFile: state.json",
        KEYFRAME_INTERVAL.as_millis()
    );
    let fixture = Fixture::new(&[(NODE, &PREFIXES)], &options);
    let mut random = Random::new();
    let mut visitors = Visitors::default();
    let mut backends = [Backend::default(), Backend::default()];
    let (mut compared, mut begun_anew) = (0, 0);
    for poll in 0..POLLS {
        visitors.change(&mut random, &fixture);
        let failing = [0, 1].map(|_| random.below(8) == 0);
        for (prefix, fails) in PREFIXES.iter().zip(failing) {
            fixture.site.set_fault(NODE, prefix, fails.then_some(Fault::Status(503)));
        }
        let events = fixture.once().events();
        for (index, backend) in backends.iter_mut().enumerate() {
            backend.take(&events, PREFIXES[index]);
            // A target that failed has its changes at its next poll.
            if let Some(on) = backend.on.as_ref().filter(|_| !failing[index]) {
                assert_eq!(on, &visitors.on[index], "poll {poll} of {}", PREFIXES[index]);
                compared += 1;
            }
            if random.below(40) == 0 {
                // One that lost all it had begins with the next keyframe.
                backend.on = None;
                begun_anew += 1;
            }
        }
        // However fast polls are here, the next keyframe comes with the clock.
        if backends.iter().any(|backend| backend.on.is_none()) {
            wait_for_multiple(KEYFRAME_INTERVAL);
        }
    }
    assert!(compared > POLLS && begun_anew > 2, "{compared} {begun_anew}");
}

/// Waits until the wall clock shows the next multiple of an interval.
fn wait_for_multiple(interval: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let since_last = now.as_millis() % interval.as_millis();
    sleep(interval - Duration::from_millis(u64::try_from(since_last).expect("it is short")));
}
