//! No plain user id leaves the program where it must not.

mod support;

use std::{collections::BTreeMap, fs, time::Duration};

use qlik_sessions::site::SimulatedSession;
use serde_json::{Value, json};
use support::{Finished, Fixture, assert_valid, of_kind, of_target, texts};

const KEY: &str = "a-key-that-nobody-guesses";
const IDS: [&str; 3] = ["goran", "Maria.Svensson", "åsa"];

fn people() -> Vec<SimulatedSession> {
    IDS.iter()
        .chain(&IDS[..1])
        .enumerate()
        .map(|(n, id)| {
            let mut session = SimulatedSession::new(&format!("{id}-{n}"), "LAB", id);
            let attribute = |key: &str, value: String| BTreeMap::from([(key.to_owned(), value)]);
            session.attributes = vec![
                attribute("email", format!("{}@lab.example", id.to_uppercase())),
                attribute("group", "staff".to_owned()),
            ];
            session
        })
        .collect()
}

fn run(fixture: &Fixture, command: &str, key: Option<&str>) -> Finished {
    let mut command = fixture.command(command);
    command.args(["--log-level", "trace"]);
    if let Some(key) = key {
        command.env("QLIK_SESSIONS_PSEUDONYM_KEY", key);
    }
    Finished::of(command)
}

fn assert_no_plain_id(fixture: &Fixture, runs: &[&Finished]) {
    let state = fs::read_to_string(fixture.path("state.json")).expect("the state file is there");
    for text in runs.iter().flat_map(|run| [&run.stdout, &run.stderr]).chain([&state]) {
        for id in IDS {
            assert!(!text.to_lowercase().contains(&id.to_lowercase()), "{id} is in {text}");
        }
        assert!(!text.contains(KEY));
    }
}

#[test]
fn pseudonyms_are_stable_and_hide_every_id() {
    let fixture = Fixture::new(
        &[("sense1", &["/", "/sales"])],
        "    userIds: pseudonym\n    attributes: [email, group]\n    stateFile: state.json",
    );
    fixture.site.set_sessions("sense1", "/", &people());
    let first = run(&fixture, "once", Some(KEY));
    fixture.site.set_sessions("sense1", "/", &people()[1..]);
    fixture.site.set_sessions("sense1", "/sales", &people()[..1]);
    let second = run(&fixture, "once", Some(KEY));
    let who = run(&fixture, "who", Some(KEY));
    assert_no_plain_id(&fixture, &[&first, &second, &who]);

    let events = first.events();
    assert_valid(&events);
    let pseudonyms = texts(&of_kind(&events, "session"), "user_id");
    assert!(
        pseudonyms
            .iter()
            .all(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    );
    assert_eq!(of_target(&events, "session_summary", "/")[0]["user_count"], 3);
    assert_eq!(events.last().expect("a site_summary")["user_count"], 3);
    // openssl dgst -sha256 -hmac a-key-that-nobody-guesses over `lab\goran`
    assert!(
        pseudonyms.contains(
            &"e4079a5df693068e0749aa6806077b6fd3d0a85a9a78444ac97b3ad649a324fc".to_owned()
        ),
        "{pseudonyms:?}"
    );
    assert_eq!(of_kind(&second.events(), "session_ended").len(), 1);
    assert!(
        of_kind(&events, "session")
            .iter()
            .all(|event| event["attributes"]["group"] == json!(["staff"]))
    );

    let other = run(&fixture, "once", Some("another-key-that-nobody-guesses")).events();
    assert!(
        texts(&of_kind(&other, "session"), "user_id").iter().all(|id| !pseudonyms.contains(id))
    );
}

/// Names from the time before pseudonyms must not come out afterwards.
#[test]
fn names_of_before_do_not_come_out_of_the_state_file() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    stateFile: state.json");
    fixture.site.set_sessions("sense1", "/", &people());
    fixture.once();
    let state = fs::read_to_string(fixture.path("state.json")).expect("the state file is there");
    assert!(IDS.iter().all(|id| state.contains(id)), "{state}");
    for (options, key) in [("    userIds: pseudonym", Some(KEY)), ("    userIds: omit", None)] {
        fs::write(fixture.path("state.json"), &state).expect("written");
        fixture.configure(Duration::from_secs(1), &format!("{options}\n    stateFile: state.json"));
        fixture.site.set_sessions("sense1", "/", &people()[1..]);
        let changed = run(&fixture, "once", key);
        assert_no_plain_id(&fixture, &[&changed]);
        assert!(changed.stderr.contains("is the new baseline"), "{}", changed.stderr);
        assert!(of_kind(&changed.events(), "session_ended").is_empty());
        fixture.site.set_sessions("sense1", "/", &people()[2..]);
        let after = run(&fixture, "once", key);
        assert_eq!(of_kind(&after.events(), "session_ended").len(), 1, "{}", after.stderr);
    }
}

#[test]
fn omitted_users_still_count() {
    let fixture = Fixture::new(
        &[("sense1", &["/"])],
        "    userIds: omit\n    attributes: [email, group]\n    stateFile: state.json",
    );
    fixture.site.set_sessions("sense1", "/", &people());
    let first = run(&fixture, "once", None);
    fixture.site.set_sessions("sense1", "/", &people()[..2]);
    let second = run(&fixture, "once", None);
    assert_no_plain_id(&fixture, &[&first, &second]);
    let events = first.events();
    assert_valid(&events);
    let summary = of_kind(&events, "session_summary")[0];
    assert_eq!(
        (&summary["session_count"], &summary["user_count"]),
        (&Value::from(4), &Value::from(3))
    );
    assert!(summary.get("users").is_none());
    for session in of_kind(&events, "session") {
        assert!(session.get("user").is_none() && session.get("user_id").is_none());
        assert_eq!(session["user_directory"], "LAB");
    }
    assert_eq!(of_kind(&second.events(), "session_ended").len(), 2);
}

#[test]
fn a_key_is_needed_and_must_not_be_short() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    userIds: pseudonym");
    let missing = run(&fixture, "once", None);
    assert_eq!(missing.code, Some(78));
    assert!(missing.stderr.contains("QLIK_SESSIONS_PSEUDONYM_KEY"), "{}", missing.stderr);
    let short = run(&fixture, "once", Some("short"));
    assert_eq!(short.code, Some(78));
    assert!(!short.stderr.contains("short\""), "{}", short.stderr);
    fs::write(fixture.path("key.txt"), format!("{KEY}\r\n")).expect("written");
    fixture
        .configure(Duration::from_secs(1), "    userIds: pseudonym\n    pseudonymKeyFile: key.txt");
    fixture.site.set_sessions("sense1", "/", &people());
    let from_file = run(&fixture, "once", None).events();
    let from_environment = run(&fixture, "once", Some(KEY)).events();
    assert_eq!(
        texts(&of_kind(&from_file, "session"), "user_id"),
        texts(&of_kind(&from_environment, "session"), "user_id")
    );
}

/// Also an answer that is refused must not bring a name into event or log.
#[test]
fn wrong_answers_are_explained_without_names() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    userIds: omit");
    for (body, why) in [
        (r#"["goran"]"#, "after 0 sessions, invalid type: string, expected a session"),
        (
            r#"[{"UserDirectory":"LAB","UserId":["goran"],"SessionId":"s1"}]"#,
            "after 0 sessions, invalid type: sequence, expected a text",
        ),
        (
            r#"[{"UserDirectory":"LAB","UserId":"u","SessionId":"s1"}, "goran, expected"]"#,
            "after 1 sessions, invalid type: string, expected a session",
        ),
        (
            r#"[["s1","LAB","goran"]]"#,
            "after 0 sessions, invalid type: sequence, expected a session",
        ),
        (r#""goran""#, "it does not begin with `[`"),
    ] {
        fixture.site.set_body("sense1", "/", body.as_bytes().to_vec());
        let run = run(&fixture, "once", None);
        let error = of_kind(&run.events(), "poll_error")[0].clone();
        assert!(error["message"].as_str().is_some_and(|text| text.contains(why)), "{error}");
        assert!(!run.stdout.contains("goran") && !run.stderr.contains("goran"), "{}", run.stderr);
    }
}

/// Neither the proxy's words nor other spellings of an id reveal a name.
#[test]
fn servers_and_odd_spellings_reveal_no_name() {
    let options =
        "    userIds: pseudonym\n    attributes: [email, login]\n    stateFile: state.json";
    let fixture = Fixture::new(&[("sense1", &["/", "/sick"])], options);
    let attribute = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let mut person = SimulatedSession::new("a\u{30a}sa-1", "LAB", "åsa@lab.example");
    person.attributes = vec![
        attribute("email", "A\u{30a}SA@LAB.example"),
        attribute("login", "ÅSA"),
        attribute("hobby of åsa", "x"),
    ];
    let mut other = SimulatedSession::new("goran", "LAB", "goran");
    other.attributes = vec![attribute("email", "Goran@lab.example")];
    fixture.site.set_sessions("sense1", "/", &[person, other]);
    fixture.site.set_body("sense1", "/sick", b"goran".to_vec());
    let run = run(&fixture, "once", Some(KEY));
    let state = fs::read_to_string(fixture.path("state.json")).expect("the state file is there");
    for text in [&run.stdout, &run.stderr, &state] {
        let text = text.to_lowercase();
        for name in ["åsa", "a\u{30a}sa", "goran"] {
            assert!(!text.contains(name), "{name} is in {text}");
        }
    }
    assert_eq!(of_kind(&run.events(), "session").len(), 2);
}

/// Session ids that an external module makes of the user's id stay apart.
#[test]
fn omitted_users_keep_sessions_apart_over_restarts() {
    let fixture =
        Fixture::new(&[("sense1", &["/"])], "    userIds: omit\n    stateFile: state.json");
    let people: Vec<_> = IDS.iter().map(|id| SimulatedSession::new(id, "LAB", id)).collect();
    fixture.site.set_sessions("sense1", "/", &people);
    let first = run(&fixture, "once", None);
    let second = run(&fixture, "once", None);
    assert_no_plain_id(&fixture, &[&first, &second]);
    let ids = |run: &Finished| texts(&of_kind(&run.events(), "session"), "session_id");
    assert_eq!(ids(&first), ids(&second));
    assert_eq!(ids(&first).iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    fixture.site.set_sessions("sense1", "/", &people[1..]);
    let third = run(&fixture, "once", None).events();
    assert_eq!(of_kind(&third, "session_ended").len(), 1);
    assert_eq!(of_kind(&third, "session_started").len(), 0);
}

#[test]
fn all_attributes_are_for_plain_names_only() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "    userIds: omit\n    attributes: true");
    let refused = run(&fixture, "once", None);
    assert_eq!(refused.code, Some(78));
    assert!(refused.stderr.contains("attributes"), "{}", refused.stderr);
}
