//! `discover -c`: shows what of a site is missing in a configuration, and adds it.

mod support;

use std::{fs, process::Command, time::Duration};

use qlik_sessions::site::REPOSITORY;
use serde_json::{Value, json};
use support::{Finished, Fixture, free_port, of_kind, program};

const NODES: &[(&str, &[&str])] =
    &[("Central", &["/", "/sales", "/sales/emea"]), ("SENSE2", &["/", "/hr"])];

/// The line in front of what was added.
const ADDED: &str = "# Added, because the repository service lists it:";

fn repository(fixture: &Fixture) -> String {
    format!("localhost:{}", fixture.site.address(REPOSITORY).port())
}

fn discovering(fixture: &Fixture, arguments: &[&str]) -> Command {
    let mut command = fixture.command("discover");
    command.arg("--host").arg(repository(fixture)).args(arguments);
    command
}

fn discover(fixture: &Fixture, arguments: &[&str]) -> Finished {
    Finished::of(discovering(fixture, arguments))
}

/// The configuration as `discover` completes it.
fn completed(fixture: &Fixture) -> String {
    let run = discover(fixture, &["--output", "yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}

/// Writes a configuration, and checks that everything is right and nothing missing.
fn assert_complete(fixture: &Fixture, text: &str, targets: usize) {
    fs::write(&fixture.config, text).expect("written");
    let mut command = fixture.command("check");
    command.arg("--repository").arg(repository(fixture));
    let check = Finished::of(command);
    assert_eq!(check.code, Some(0), "{text}\n{}", check.stdout);
    let expected = "every virtual proxy that it lists is polled";
    assert!(check.stdout.contains(expected), "{text}\n{}", check.stdout);
    assert!(check.stdout.ends_with("0 problems, 0 warnings\n"), "{text}\n{}", check.stdout);
    let events = fixture.once().events();
    assert_eq!(of_kind(&events, "session_summary").len(), targets, "{text}");
}

fn text(fixture: &Fixture) -> String {
    fs::read_to_string(&fixture.config).expect("the configuration")
}

/// A configuration with its own servers, after `servers:`.
fn with_servers(servers: &str) -> String {
    format!(
        "Butler-SOS:
  cert: {{clientCert: client.pem, clientCertKey: client_key.pem, clientCertCA: root.pem}}
  userSessions: {{enableSessionExtract: true, pollingInterval: 1000}}
  serversToMonitor:
    rejectUnauthorized: true
    servers:{servers}"
    )
}

fn port(fixture: &Fixture, node: &str) -> u16 {
    fixture.site.address(node).port()
}

/// The site with a configuration that lacks `/sales/emea` and the node SENSE2.
fn incomplete() -> Fixture {
    let fixture = Fixture::new(NODES, "");
    let text = text(&fixture);
    let (first, _) = text.split_once("      - host: SENSE2").expect("two servers");
    let first = first.replace("            - virtualProxy: \"/sales/emea\"\n", "");
    fs::write(&fixture.config, first).expect("written");
    fixture
}

#[test]
fn the_table_shows_what_is_missing() {
    let fixture = incomplete();
    fixture.edit(
        "- virtualProxy: \"/sales\"\n",
        "- virtualProxy: \"/sales\"\n            - virtualProxy: /typo\n",
    );
    let run = discover(&fixture, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let states: Vec<Vec<&str>> = run
        .stdout
        .lines()
        .take(6)
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(states[0][3..5], ["VIRTUAL PROXY", "CONFIGURATION"]);
    for (line, state) in
        [(1, "in the file"), (2, "in the file"), (3, "missing"), (4, "missing"), (5, "missing")]
    {
        assert_eq!(states[line][4], state, "{}", run.stdout);
    }
    let config = fixture.config.display();
    let totals = format!("5 virtual proxies on 2 nodes; 3 of them are missing in {config}\n");
    assert!(run.stdout.contains(&totals), "{}", run.stdout);
    assert!(run.stdout.contains("! /typo: is polled on `Central`, but does not exist"));
}

#[test]
fn json_says_what_becomes_of_each_virtual_proxy() {
    let fixture = incomplete();
    fixture.edit("serverName: Central", "serverName: mine");
    let run = discover(&fixture, &["--output", "json"]);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let states = |node: usize| -> Vec<&str> {
        let list = document["nodes"][node]["virtual_proxies"].as_array().expect("a list");
        list.iter().map(|it| it["state"].as_str().expect("a state")).collect()
    };
    assert_eq!(states(0), ["configured", "configured", "missing"]);
    assert_eq!(states(1), ["missing", "missing"]);
    assert_eq!(document["nodes"][0]["server_name"], "mine");
    let kinds: Vec<&Value> =
        document["differences"].as_array().expect("a list").iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, [&json!("not_polled"), &json!("node_not_polled")]);
}

#[test]
fn a_file_keeps_all_that_it_has() {
    let fixture = incomplete();
    fixture.edit(
        "Butler-SOS:\n",
        "# Our site.\nButler-SOS:\n  influxdbConfig: {token: 'a secret token'}   # keep!\n\n",
    );
    fixture.edit(
        "            - virtualProxy: \"/sales\"\n",
        "            - virtualProxy: \"/sales\"   # the hub of sales\n            # - virtualProxy: /old\n",
    );
    let before = format!("{}  # the end\n  mqttConfig:\n    enable: false\n", text(&fixture));
    fs::write(&fixture.config, &before).expect("written");
    let after = completed(&fixture);
    let mut rest = after.lines();
    for line in before.lines() {
        assert!(rest.any(|other| other == line), "{line:?} in its order in\n{after}");
    }
    let added: Vec<&str> =
        after.lines().filter(|line| !before.lines().any(|other| other == *line)).collect();
    let sense2 = port(&fixture, "SENSE2");
    assert_eq!(
        added,
        [
            &format!("            {ADDED}"),
            "            - virtualProxy: \"/sales/emea\"  # Simulated virtual proxy sales/emea",
            &format!("      {ADDED}"),
            "      - host: \"localhost:4747\"",
            "        serverName: \"SENSE2\"",
            "        serverDescription: \"Qlik Sense node SENSE2 (localhost)\"",
            &format!("          host: \"localhost:{sense2}\""),
            "            - virtualProxy: \"/\"  # Central Proxy (Default)",
            "            - virtualProxy: \"/hr\"  # Simulated virtual proxy hr",
        ]
        .map(str::to_owned)
    );
    assert_complete(&fixture, &after, 5);
    // Nothing more to add.
    assert_eq!(completed(&fixture), after);
}

#[test]
fn what_is_printed_holds_the_files_secrets_and_says_so() {
    let fixture = incomplete();
    fixture.edit("clientCertPassphrase: null", "clientCertPassphrase: 'a secret'");
    let run = discover(&fixture, &["--output", "yaml"]);
    assert!(run.stdout.contains("clientCertPassphrase: 'a secret'"), "{}", run.stdout);
    assert!(run.stderr.contains("passwords and tokens"), "{}", run.stderr);
    for output in ["table", "json"] {
        let run = discover(&fixture, &["--output", output]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(!format!("{}{}", run.stdout, run.stderr).contains("a secret"));
    }
    // In the environment it is for this run alone.
    fixture.edit("'a secret'", "null");
    let mut command = discovering(&fixture, &["--output", "yaml"]);
    command.env("QLIK_SESSIONS_KEY_PASSPHRASE", "a secret");
    let run = Finished::of(command);
    assert!(!format!("{}{}", run.stdout, run.stderr).contains("a secret"));
}

#[test]
fn files_may_be_written_in_many_ways() {
    let fixture = Fixture::new(NODES, "");
    let (central, sense2) = (port(&fixture, "Central"), port(&fixture, "SENSE2"));
    let inline = format!(
        " [{{host: \"a:4747\", serverName: a, userSessions: {{enable: true, host: \"localhost:{central}\", virtualProxies: [{{virtualProxy: /}}]}}}}]\n"
    );
    let anchored = format!(
        "
    - host: a
      serverName: a
      userSessions: &sessions
        enable: true
        host: localhost:{central}
        virtualProxies: &all
        - virtualProxy: /
    - host: b
      serverName: b
      userSessions:
        <<: *sessions
        host: localhost:{sense2}
        virtualProxies:
        - virtualProxy: /
"
    );
    for servers in [&inline, &anchored, " # none yet\n", " null\n", " []\n", ""] {
        fs::write(&fixture.config, with_servers(servers)).expect("written");
        assert_complete(&fixture, &completed(&fixture), 5);
    }
    // Windows.
    let text = with_servers(&anchored).replace('\n', "\r\n");
    fs::write(&fixture.config, &text).expect("written");
    let after = completed(&fixture);
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count(), "{after:?}");
    assert_complete(&fixture, &after, 5);
    let utf_16: Vec<u8> =
        format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(&fixture.config, utf_16).expect("written");
    assert_eq!(completed(&fixture), after, "the same as UTF-8");
}

#[test]
fn where_nothing_can_be_added_safely_a_new_file_is_printed() {
    let fixture = Fixture::new(NODES, "");
    let (central, sense2) = (port(&fixture, "Central"), port(&fixture, "SENSE2"));
    // One list for both: what is added for one node would be polled on the other.
    let servers = format!(
        "
      - {{host: a, userSessions: {{enable: true, host: \"localhost:{central}\", virtualProxies: &all [{{virtualProxy: /}}]}}}}
      - {{host: b, userSessions: {{enable: true, host: \"localhost:{sense2}\", virtualProxies: *all}}}}
"
    );
    fs::write(&fixture.config, with_servers(&servers)).expect("written");
    let run = discover(&fixture, &["--output", "yaml"]);
    assert_eq!(run.code, Some(1), "that is not what was asked for: {}", run.stderr);
    assert!(run.stderr.contains("nothing can be added"), "{}", run.stderr);
    assert!(run.stdout.starts_with("# A new configuration, without the settings of "));
    assert_complete(&fixture, &run.stdout, 5);
}

#[test]
fn what_discovery_finds_is_not_missing() {
    let fixture = Fixture::new(NODES, "");
    fixture
        .site
        .write_discovery_config(
            fixture.folder.path(),
            Duration::from_secs(1),
            "      exclude: [/hr]",
            "",
        )
        .expect("written");
    let before = text(&fixture);
    let run = Finished::of({
        let mut command = fixture.command("discover");
        command.args(["--output", "yaml"]);
        command
    });
    assert_eq!((run.code, &run.stdout), (Some(0), &before), "{}", run.stderr);
    assert!(run.stderr.contains("nothing is added"), "{}", run.stderr);
    let run = Finished::of(fixture.command("discover"));
    assert_eq!(run.stdout.matches("discovered").count(), 4, "{}", run.stdout);
    assert_eq!(run.stdout.matches("excluded").count(), 1, "{}", run.stdout);
    assert!(run.stdout.contains("; 0 of them are missing"), "{}", run.stdout);
    let run = discover(&fixture, &[]);
    assert_eq!(run.code, Some(2), "the configuration says whom to ask: {}", run.stderr);
}

#[test]
fn a_server_that_is_switched_off_stays_off() {
    let fixture = Fixture::new(NODES, "");
    let text = text(&fixture);
    let (first, second) = text.split_once("      - host: SENSE2").expect("two servers");
    let second = second.replace("enable: true", "enable: false").replace("/hr", "/other");
    fs::write(&fixture.config, format!("{first}      - host: SENSE2{second}")).expect("written");
    let run = discover(&fixture, &[]);
    assert_eq!(run.stdout.matches("switched off").count(), 2, "{}", run.stdout);
    assert_eq!(completed(&fixture), self::text(&fixture));

    // The whole file: its servers are compared and completed all the same.
    let fixture = incomplete();
    fixture.edit("enableSessionExtract: true", "enableSessionExtract: false");
    let run = discover(&fixture, &["--output", "yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("extraction is switched off"), "{}", run.stderr);
    let on = run.stdout.replace("enableSessionExtract: false", "enableSessionExtract: true");
    assert_ne!(on, run.stdout);
    assert_complete(&fixture, &on, 5);
}

#[test]
fn a_wrong_port_is_reported_and_not_added_to() {
    let fixture = Fixture::new(NODES, "");
    let (right, wrong) = (port(&fixture, "SENSE2"), free_port());
    fixture.edit(&format!("127.0.0.1:{right}"), &format!("127.0.0.1:{wrong}"));
    let run = discover(&fixture, &[]);
    assert_eq!(run.stdout.matches("other port").count(), 2, "{}", run.stdout);
    assert!(run.stdout.contains("! the server `SENSE2` is polled on port"), "{}", run.stdout);
    let run = discover(&fixture, &["--output", "yaml"]);
    assert_eq!(run.stdout, text(&fixture));
    assert!(run.stderr.contains("the server `SENSE2` is polled on port"), "{}", run.stderr);
}

#[test]
fn a_new_server_has_a_name_tags_and_a_name_to_verify() {
    let fixture = incomplete();
    fixture.site.set_host_name("SENSE2", "sense2.invalid");
    fixture.edit("    servers:\n", "    serverTagsDefinition: [environment, room]\n    servers:\n");
    fixture.edit("serverName: Central", "serverName: SENSE2");
    fixture.edit(
        "          environment: demo\n",
        "          environment: demo\n          room: north\n",
    );
    let run = discover(&fixture, &["--output", "yaml", "--address", "SENSE2=127.0.0.1"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let port = port(&fixture, "SENSE2");
    for line in [
        "        serverName: \"SENSE2 (sense2.invalid)\"",
        "        headers: null",
        "          \"environment\": \"demo\"",
        "          \"room\": \"north\"",
        &format!("          host: \"127.0.0.1:{port}\""),
        "  sessionSource:",
        "      \"SENSE2 (sense2.invalid)\":",
        "        tlsServerName: \"sense2.invalid\"",
    ] {
        assert!(run.stdout.lines().any(|other| other == line), "{line} in {}", run.stdout);
    }
    fs::write(&fixture.config, &run.stdout).expect("written");
    let events = fixture.once().events();
    let failed = of_kind(&events, "poll_error");
    assert_eq!(failed.len(), 2, "its certificate is for localhost: {events:?}");
    assert!(
        failed
            .iter()
            .all(|it| it["message"].as_str().is_some_and(|it| it.contains("sense2.invalid")))
    );
}

#[test]
fn arguments_are_checked_beside_a_configuration() {
    let fixture = incomplete();
    for (arguments, word) in [
        (["--cert", "client.pem"], "cannot be used with"),
        (["--key", "client_key.pem"], "--cert"),
        (["--passphrase-file", "x"], "--cert"),
    ] {
        let run = discover(&fixture, &arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(word), "{word:?} is not in {}", run.stderr);
    }
    // Without a node to ask, those of the configuration are tried on port 4242.
    let run = Finished::of(fixture.command("discover"));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("name the node to ask with --host"), "{}", run.stderr);
    fs::write(&fixture.config, with_servers(" []\n")).expect("written");
    let run = Finished::of(fixture.command("discover"));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("name a node with --host"), "{}", run.stderr);
    let mut command = program();
    command.args(["discover", "-c", "nowhere.yaml"]);
    assert_eq!(Finished::of(command).code, Some(78));
}
