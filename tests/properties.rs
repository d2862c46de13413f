//! What holds for any answer and any configuration.

mod support;

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use proptest::prelude::*;
use qlik_sessions::{
    config::{Config, ExcludedUser},
    events::{Lines, SessionEvent, SummaryFacts, TargetEvents},
    site::SimulatedSession,
    snapshot::{Rules, Snapshot},
    target::{ProxyAddress, TargetKeys, VirtualProxy},
    user::folded,
};
use serde_json::Value;

/// The lines of an answer, as `transform` writes them.
fn lines_of(config: &Config, people: &[SimulatedSession], max_line: usize) -> String {
    let mut answer = serde_json::to_vec(people).expect("JSON");
    let snapshot =
        Snapshot::read(&mut answer, &Rules::new(config, None)).expect("a list of sessions");
    let keys = TargetKeys::named("s", "/");
    let events = TargetEvents::new(&keys, None, Timestamp::UNIX_EPOCH);
    let mut lines = Lines::new(max_line);
    let facts = SummaryFacts { users_are_shown: true, ..SummaryFacts::default() };
    events.summary(&mut lines, &snapshot, &facts);
    for session in &snapshot.sessions {
        events.session(&mut lines, SessionEvent::Session, session, None);
    }
    String::from_utf8(lines.take()).expect("lines are UTF-8")
}

/// The same as events: the summary, and then the sessions.
fn events_with(config: &Config, people: &[SimulatedSession]) -> Vec<Value> {
    let lines = lines_of(config, people, 1 << 20);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Names that are often one name in two spellings.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), plain_name()]
}

fn plain_name() -> impl Strategy<Value = String> {
    "[aA]{1,2}|[åÅ]|[aA]\u{30a}"
}

/// The events of an answer with these details.
fn events_of(people: &[SimulatedSession], max_line: usize, grouped: bool) -> Vec<Value> {
    let mut answer = serde_json::to_vec(people).expect("JSON");
    let rules = Rules::new(&Config::empty(Path::new("")), None);
    let snapshot = Snapshot::read(&mut answer, &rules).expect("a list of sessions");
    let keys = TargetKeys::named("s", "/");
    let events = TargetEvents::new(&keys, Some("berlin"), Timestamp::UNIX_EPOCH);
    let mut lines = Lines::new(max_line);
    if grouped {
        events.groups(&mut lines, snapshot.sessions.iter().map(|session| (session, None)));
    } else {
        for session in &snapshot.sessions {
            events.session(&mut lines, SessionEvent::Session, session, None);
        }
    }
    let lines = String::from_utf8(lines.take()).expect("UTF-8");
    assert!(lines.split_inclusive('\n').all(|line| line.len() <= max_line));
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Checks that each problem of a file and each warning about it names no line or one
/// that the file has.
fn check_lines_of_messages(text: &str) -> Result<(), TestCaseError> {
    let lines = text.lines().count() + 1;
    let messages = match Config::parse(Path::new("config.yaml"), text) {
        Ok(config) => config.warnings,
        Err(error) => {
            prop_assert!(!error.problems.is_empty());
            error.problems
        }
    };
    for message in messages {
        prop_assert!(message.line.is_none_or(|line| (1..=lines).contains(&line)), "{message}");
    }
    Ok(())
}

/// Sessions whose ids and users repeat.
fn people() -> impl Strategy<Value = Vec<SimulatedSession>> {
    prop::collection::vec(("[a-e]{1,2}|\\PC{0,12}", name(), name()), 0..30).prop_map(|people| {
        people
            .iter()
            .map(|(id, directory, user)| SimulatedSession::new(id, directory, user))
            .collect()
    })
}

proptest! {
    /// Each session id comes once, and each person once, in whatever spelling.
    #[test]
    fn any_names_arrive_as_they_are(people in people()) {
        let events = events_with(&Config::empty(Path::new("")), &people);
        let mut ids = BTreeSet::new();
        let distinct: Vec<&SimulatedSession> = people.iter().filter(|person| ids.insert(&person.session_id)).collect();
        prop_assert_eq!(events.len(), distinct.len() + 1);
        prop_assert_eq!(events[0]["session_count"].as_u64(), Some(distinct.len() as u64));
        for (event, person) in events[1..].iter().zip(&distinct) {
            prop_assert_eq!(event["user_id"].as_str(), Some(person.user_id.as_str()));
            prop_assert_eq!(event["session_id"].as_str(), Some(person.session_id.as_str()));
            let user = format!("{}\\{}", person.user_directory, person.user_id);
            prop_assert_eq!(event["user"].as_str(), Some(user.as_str()));
        }
        let mut spellings = BTreeSet::new();
        let mut first_spellings: Vec<String> = distinct
            .iter()
            .filter(|person| spellings.insert([folded(&person.user_directory), folded(&person.user_id)]))
            .map(|person| format!("{}\\{}", person.user_directory, person.user_id))
            .collect();
        first_spellings.sort();
        let listed: Vec<&str> = events[0]["users"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        prop_assert_eq!(events[0]["user_count"].as_u64(), Some(listed.len() as u64));
        prop_assert_eq!(listed, first_spellings);
    }

    /// An excluded user, in whatever spelling, is counted in one number and is nowhere else.
    #[test]
    fn excluded_users_are_in_one_number_only(people in people(), excluded in prop::collection::vec((plain_name(), plain_name()), 0..4)) {
        let mut config = Config::empty(Path::new(""));
        config.exclude = excluded.iter().map(|(directory, id)| ExcludedUser::new(directory, id)).collect();
        let events = events_with(&config, &people);
        let is_excluded = |person: &SimulatedSession| {
            let same = |a: &str, b: &str| folded(a) == folded(b);
            excluded.iter().any(|(directory, id)| same(directory, &person.user_directory) && same(id, &person.user_id))
        };
        let mut ids = BTreeSet::new();
        let distinct = people.iter().filter(|person| ids.insert(&person.session_id));
        let (out, kept): (Vec<_>, Vec<_>) = distinct.partition(|person| is_excluded(person));
        prop_assert_eq!(events[0]["excluded_session_count"].as_u64(), Some(out.len() as u64));
        prop_assert_eq!(events[0]["session_count"].as_u64(), Some(kept.len() as u64));
        let shown: Vec<&str> = events[1..].iter().filter_map(|event| event["session_id"].as_str()).collect();
        prop_assert_eq!(shown, kept.iter().map(|person| person.session_id.as_str()).collect::<Vec<_>>());
        let names: Vec<String> = kept.iter().map(|person| format!("{}\\{}", person.user_directory, person.user_id)).collect();
        for user in events[0]["users"].as_array().expect("a list") {
            prop_assert!(names.iter().any(|name| user == name));
        }
    }

    /// Groups that are split are exactly the session events, and no part is missing.
    #[test]
    fn groups_split_into_session_events(people in people(), max_line in 700_usize..4_000) {
        let groups = events_of(&people, max_line, true);
        let mut split = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            prop_assert_eq!(group["part"].as_u64(), Some(number as u64 + 1));
            prop_assert_eq!(group["parts"].as_u64(), Some(groups.len() as u64));
            for session in group["sessions"].as_array().expect("a list") {
                let mut event = group.clone();
                let keys = event.as_object_mut().expect("an object");
                for key in ["part", "parts", "sessions"] {
                    keys.remove(key);
                }
                keys.insert("event".to_owned(), "session".into());
                keys.extend(session.as_object().expect("an object").clone());
                split.push(event);
            }
        }
        // A name too long for one line of its own is too long for a group, too.
        let single = events_of(&people, 1 << 20, false);
        let missing = single.len() - split.len();
        if missing == 0 {
            prop_assert_eq!(split, single);
        } else {
            prop_assert!(split.iter().all(|event| single.contains(event)));
        }
    }

    #[test]
    fn no_line_is_longer_than_allowed(people in people(), max_line in 300_usize..2_000) {
        let lines = lines_of(&Config::empty(Path::new("")), &people, max_line);
        for line in lines.split_inclusive('\n') {
            prop_assert!(line.len() <= max_line);
            prop_assert!(line.ends_with('\n'));
            prop_assert!(serde_json::from_str::<Value>(line).is_ok());
        }
    }

    /// What is not a list of sessions is refused, and no message quotes it.
    #[test]
    fn what_is_not_a_list_is_refused_without_a_quote(text in "[a-z]{6,12}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for mut body in [
            format!("[\"{text}\"]").into_bytes(),
            format!("[{{\"UserDirectory\":\"{text}\"}}]").into_bytes(),
            format!("{{\"{text}\":1}}").into_bytes(),
            [text.as_bytes(), &bytes].concat(),
        ] {
            let rules = Rules::new(&Config::empty(Path::new("")), None);
            let failure = Snapshot::read(&mut body, &rules).expect_err("it is refused");
            prop_assert!(!failure.message.contains(&text), "{}", failure.message);
        }
    }

    /// Whatever a file contains, each message about it names a line that exists.
    #[test]
    fn messages_about_odd_text_name_a_line_of_it(text in "(Butler-SOS:\n)?([ ]{0,6}(cert|userSessions|servers|sessionSource|host|- )?(: )?[a-z{}\\[\\],\"'&*!|>%@#-]{0,8}\n){0,12}") {
        check_lines_of_messages(&text)?;
    }

    /// The same for a real file in which a piece is replaced by something else.
    #[test]
    fn messages_about_a_damaged_file_name_a_line_of_it(
        at in any::<prop::sample::Index>(),
        length in 0_usize..40,
        piece in prop_oneof!["\\PC{0,6}", "[\t \n:#'\"&*!|>%@{}\\[\\],-]{0,6}"],
    ) {
        let mut text = include_str!("fixtures/butler-sos.yaml").to_owned();
        let begin = at.index(text.len());
        let end = (begin + length).min(text.len());
        text.replace_range(begin..end, &piece);
        check_lines_of_messages(&text)?;
    }

    #[test]
    fn prefixes_are_normalised_once_and_for_all(prefix in "[a-z/.~_ -]{0,12}") {
        let once = VirtualProxy::new(&prefix);
        prop_assert_eq!(&VirtualProxy::new(once.as_str()), &once);
        prop_assert!(once.as_str().starts_with('/'));
        prop_assert!(!once.session_path().contains("//"));
    }

    /// The address that is dialled is the one that was written.
    #[test]
    fn addresses_are_dialled_as_they_are_written(host in "[a-z][a-z0-9-]{0,8}[a-z](\\.[a-z]{2,5}){0,2}", port in 1_u16..) {
        let address = ProxyAddress::parse(&format!("{host}:{port}")).expect("an address");
        prop_assert_eq!((address.host.as_str(), address.port), (host.as_str(), port));
        prop_assert_eq!(address.authority(), format!("{host}:{port}"));
    }
}
