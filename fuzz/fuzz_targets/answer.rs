//! Any bytes as an answer, under several settings: sessions or a failure, never
//! a panic; and what is written of it are JSON lines within the limit.

#![no_main]

use std::{path::Path, sync::LazyLock};

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use qlik_sessions::{
    config::{Config, UserIds},
    events::{Lines, SessionEvent, SummaryFacts, TargetEvents},
    lifecycle::Known,
    snapshot::{Rules, Snapshot},
    target::{Secret, TargetKeys},
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
            rules: Rules::new(config, None),
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
    // Settings change what is emitted, not whether an answer is one.
    assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{counts:?}");
});

/// Returns how many sessions there are in all.
fn read(bytes: &[u8], variant: &Variant) -> Option<usize> {
    let keys = TargetKeys::named("sense1", "/");
    let events = TargetEvents::new(&keys, None, Timestamp::UNIX_EPOCH);
    let mut lines = Lines::new(MAX_LINE);
    let mut answer = bytes.to_vec();
    let snapshot = match Snapshot::read(&mut answer, &variant.rules) {
        Ok(snapshot) => snapshot,
        Err(failure) => {
            events.error(&mut lines, &failure, Some(1), 1);
            assert_eq!(parsed(&lines.take()).len(), 1);
            return None;
        }
    };
    let facts = SummaryFacts { users_are_shown: variant.names_users, ..SummaryFacts::default() };
    events.summary(&mut lines, &snapshot, &facts);
    let mut known = Known::default();
    let changes = known.update(&snapshot, Timestamp::UNIX_EPOCH);
    assert!(changes.ended.is_empty());
    let mut written = 1;
    for (session, seen) in snapshot.sessions.iter().zip(&changes.seen) {
        assert!(!seen.is_some_and(|(_, is_new)| is_new), "the first answer starts nobody");
        if !session.excluded {
            let seen = seen.map(|(seen, _)| seen);
            let fits = events.session(&mut lines, SessionEvent::Session, session, seen);
            written += usize::from(fits);
        }
    }
    // The same answer again, and then nobody.
    let kept = changes.seen.iter().flatten().count();
    let changes = known.update(&snapshot, Timestamp::UNIX_EPOCH);
    assert!(changes.ended.is_empty());
    assert!(changes.seen.iter().flatten().all(|(_, is_new)| !is_new));
    assert_eq!(known.update(&Snapshot::default(), Timestamp::UNIX_EPOCH).ended.len(), kept);

    let values = parsed(&lines.take());
    assert_eq!(values.len(), written);
    for value in &values {
        assert!(value["event_id"].is_string() && value["timestamp"].is_string());
        if value["event"] == "session" {
            assert_eq!(value.get("user").is_some(), value.get("user_id").is_some());
        } else {
            assert_eq!(value["session_count"], snapshot.sessions.len());
            assert_eq!(value.get("users").is_some(), variant.names_users);
        }
    }
    let excluded = snapshot.sessions.iter().filter(|session| session.excluded).count();
    Some(snapshot.sessions.len() - excluded + snapshot.excluded_session_count)
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
