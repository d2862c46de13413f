//! The fixtures of Vector's programs for groups of sessions: what `grouped` writes of a
//! poll, and what `snapshot` writes of it. After a change that is meant,
//! `UPDATE=1 cargo test --locked --test groups` writes them again.

use std::{env, fs, path::Path};

use jiff::Timestamp;
use qlik_sessions::{
    config::Config,
    events::{Lines, SessionEvent, TargetEvents},
    lifecycle::Seen,
    site::SimulatedSession,
    snapshot::{Rules, Snapshot},
    target::TargetKeys,
};

const CONFIG: &str = "Butler-SOS:
  cert: {clientCert: client.pem, clientCertKey: client_key.pem, clientCertCA: root.pem}
  userSessions: {enableSessionExtract: true, pollingInterval: 30000}
  sessionSource: {site: berlin, attributes: true}
  serversToMonitor:
    serverTagsDefinition: [environment, role]
    servers:
      - host: sense1.example.com
        serverName: sense1
        serverDescription: First node, in Berlin
        serverTags: {environment: production, role: app server}
        userSessions: {enable: true, host: \"sense1.example.com:4243\", virtualProxies: [{virtualProxy: /}, {virtualProxy: /sales}]}
";

/// Names as they are found, and those that a backend's format has to escape.
const NAMES: [(&str, &str); 8] = [
    ("LAB", "goran"),
    ("LAB", "åsa"),
    ("ACME", "o'neill, mary"),
    ("ACME", "back\\slash\\"),
    ("ACME", "quo\"te=d"),
    ("LAB", "two\nlines"),
    ("", "none"),
    ("LAB", ""),
];

/// Few enough bytes to a line that a target has several groups.
const MAX_LINE: usize = 1_400;

fn sessions() -> Vec<SimulatedSession> {
    NAMES
        .iter()
        .enumerate()
        .map(|(number, (directory, user))| {
            let mut session = SimulatedSession::new(
                &format!("00000000-0000-4000-8000-{number:012}"),
                directory,
                user,
            );
            if number % 3 == 0 {
                let group = |name: &str| [("group".to_owned(), name.to_owned())].into();
                session.attributes = vec![group("Sales"), group("Everyone")];
            }
            session
        })
        .collect()
}

/// What a poll of two targets writes.
fn lines(grouped: bool) -> String {
    let config = Config::parse(Path::new("config.yaml"), CONFIG).expect("it is right");
    let rules = Rules::new(&config, None);
    let mut answer = serde_json::to_vec(&sessions()).expect("JSON");
    let snapshot = Snapshot::read(&mut answer, &rules).expect("a list of sessions");
    let time: Timestamp = "2026-11-23T23:55:45.123Z".parse().expect("a time");
    let before: Timestamp = "2026-11-23T23:00:00.000Z".parse().expect("a time");
    let seen = |number: usize| match number % 2 {
        0 => Seen::new(before, true),
        _ => Seen::new(time, false),
    };
    let mut lines = Lines::new(MAX_LINE);
    for target in &config.targets {
        let keys = TargetKeys::new(target, false);
        let events = TargetEvents::new(&keys, config.options.site.as_deref(), time);
        let sessions = snapshot.sessions.iter().enumerate();
        let sessions = sessions.map(|(number, session)| (session, Some(seen(number))));
        if grouped {
            assert_eq!(events.groups(&mut lines, sessions), 0, "all fit");
        } else {
            for (session, seen) in sessions {
                assert!(events.session(&mut lines, SessionEvent::Session, session, seen));
            }
        }
    }
    String::from_utf8(lines.take()).expect("UTF-8")
}

#[test]
fn the_fixtures_are_what_the_program_writes() {
    for (name, grouped) in [("grouped", true), ("snapshot", false)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("vector/tests/fixtures/{name}.ndjson"));
        let lines = lines(grouped);
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, &lines).expect("written");
        }
        let fixture = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(fixture, lines, "{}", path.display());
    }
}
