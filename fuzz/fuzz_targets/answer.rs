//! Any bytes as an answer, under several settings: sessions or a failure, never
//! a panic; and what is written of it are JSON lines within the limit.

#![no_main]

use std::{path::Path, sync::LazyLock};

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use qlik_sessions::{
    config::{Config, UserIds},
    events::{Lifetime, Lines, SessionEvent, SessionKeys, SummaryFacts, TargetEvents, TargetKeys},
    lifecycle::Known,
    proxy::{Failure, Receiver},
    snapshot::{Reader, Rules, Snapshot},
    target::Secret,
};
use serde_json::Value;

const MAX_LINE: usize = 4096;

struct Variant {
    rules: Rules,
    names_users: bool,
}

static VARIANTS: LazyLock<Vec<Variant>> = LazyLock::new(|| {
    let plain = config("");
    let attributes = config(
        "    attributes: true
    excludedUsersCount: true
",
    );
    let mut pseudonyms = attributes.clone();
    pseudonyms.options.user_ids = UserIds::Pseudonym(Secret::new("0123456789abcdef"));
    let mut omitted = attributes.clone();
    omitted.options.user_ids = UserIds::Omit;
    [plain, attributes, pseudonyms, omitted]
        .iter()
        .map(|config| Variant {
            rules: Rules::new(config),
            names_users: !matches!(config.options.user_ids, UserIds::Omit),
        })
        .collect()
});

fn config(options: &str) -> Config {
    let text = format!(
        "Butler-SOS:
  userSessions:
    enableSessionExtract: true
    excludeUser:
      - directory: LAB
        userId: testuser*
  sessionSource:
    maxLineBytes: {MAX_LINE}
{options}"
    );
    Config::parse(Path::new("config.yaml"), &text).expect("these settings are right")
}

fuzz_target!(|bytes: &[u8]| {
    let mut counts = Vec::new();
    for variant in VARIANTS.iter() {
        counts.push(read(bytes, variant));
    }
    // Settings change what is told, not whether an answer is one.
    assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{counts:?}");
});

/// Answers how many sessions there are in all.
fn read(bytes: &[u8], variant: &Variant) -> Option<usize> {
    let keys = TargetKeys::named("sense1", "/");
    let mut events = TargetEvents::new(&keys, Timestamp::UNIX_EPOCH);
    let mut lines = Lines::new(MAX_LINE);
    let mut known = Known::default();
    let snapshot = match read_after(known.snapshot(), bytes, variant) {
        Ok(snapshot) => snapshot,
        Err(failure) => {
            events.error(&mut lines, &failure, Some(1), 1);
            assert_eq!(parsed(&lines.take()).len(), 1);
            return None;
        }
    };
    events.summary(&mut lines, &snapshot, &SummaryFacts::default());
    let changes = known.update(snapshot, Timestamp::UNIX_EPOCH);
    let (mut told, mut written) = (0, 1);
    for (place, (session, first_seen)) in known.sessions().enumerate() {
        assert!(!changes.has_started(place), "the first answer starts nobody");
        if session.excluded {
            continue;
        }
        let keys = SessionKeys::from(session);
        assert_eq!(keys.user_id.is_some(), session.user_id.is_some());
        let lifetime = Lifetime { first_seen, last_seen: None, since: Timestamp::UNIX_EPOCH };
        let attributes = session.attributes;
        written += usize::from(events.session(
            &mut lines,
            SessionEvent::Session,
            keys,
            attributes,
            Some(&lifetime),
        ));
        told += 1;
    }
    // The same answer again, and then nobody.
    let again = read_after(known.snapshot(), bytes, variant).expect("it was right before");
    assert_eq!(all_of(&again), all_of(known.snapshot()));
    assert_eq!(again.excluded_session_count, known.snapshot().excluded_session_count);
    let changes = known.update(again, Timestamp::UNIX_EPOCH);
    assert!((0..known.snapshot().len()).all(|place| !changes.has_started(place)));
    assert_eq!(changes.gone().count(), 0);
    let (sessions, excluded_count) =
        (known.snapshot().len(), known.snapshot().excluded_session_count);
    let excluded = sessions - told;
    let changes = known.update(Snapshot::default(), Timestamp::UNIX_EPOCH);
    assert_eq!(changes.gone().count(), told);

    let values = parsed(&lines.take());
    assert_eq!(values.len(), written);
    for value in &values {
        assert!(value["event_id"].is_string() && value["timestamp"].is_string());
        if value["event"] == "session" {
            assert_eq!(value.get("user").is_some(), value.get("user_id").is_some());
            if let (Some(user), Some(id)) = (value["user"].as_str(), value["user_id"].as_str()) {
                let directory = value["user_directory"].as_str().expect("it is a text");
                assert_eq!(user, format!("{directory}\\{id}"));
            }
        } else {
            assert_eq!(value["session_count"], sessions);
            assert_eq!(value.get("users").is_some(), variant.names_users || sessions == 0);
        }
    }
    Some(sessions - excluded + excluded_count)
}

fn read_after(before: &Snapshot, bytes: &[u8], variant: &Variant) -> Result<Snapshot, Failure> {
    let mut reader = Reader::new(&variant.rules).after(before);
    reader.piece(bytes);
    reader.finish()
}

fn all_of(snapshot: &Snapshot) -> Vec<String> {
    snapshot.sessions().map(|session| format!("{session:?}")).collect()
}

fn parsed(lines: &[u8]) -> Vec<Value> {
    if lines.is_empty() {
        return Vec::new();
    }
    let text = std::str::from_utf8(lines).expect("lines are UTF-8");
    let text = text.strip_suffix('\n').expect("lines end");
    text.split('\n')
        .map(|line| {
            assert!(line.len() < MAX_LINE, "a line has {} bytes", line.len() + 1);
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        })
        .collect()
}
