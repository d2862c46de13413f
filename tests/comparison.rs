//! `check` compares what is polled with what the repository service lists.

mod support;

use std::time::Duration;

use qlik_sessions::site::{Fault, REPOSITORY};
use serde_json::Value;
use support::{Finished, Fixture, free_port};

const NODES: &[(&str, &[&str])] = &[("Central", &["/", "/sales"]), ("SENSE2", &["/", "/hr"])];

/// `check`, with the repository service of the simulated site.
fn check(fixture: &Fixture, arguments: &[&str]) -> Finished {
    let mut command = fixture.command("check");
    let port = fixture.site.address(REPOSITORY).port();
    command.arg("--repository").arg(format!("localhost:{port}")).args(arguments);
    Finished::of(command)
}

/// A line of the report, and the hint below it.
fn finding<'r>(run: &'r Finished, text: &str) -> (&'r str, &'r str) {
    let mut lines = run.stdout.lines().skip_while(|line| !line.contains(text));
    let line = lines.next().unwrap_or_else(|| panic!("{text} in {}", run.stdout));
    (line, lines.next().unwrap_or_default())
}

#[test]
fn a_whole_configuration_is_complete() {
    let fixture = Fixture::new(NODES, "");
    fixture.site.set_unlinked(&["/old", "/test"]);
    let run = check(&fixture, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    finding(&run, "lists 4 virtual proxies on 2 nodes");
    finding(&run, "every virtual proxy that it lists is polled");
    finding(&run, "linked to no proxy, so without sessions: /old, /test");
    assert!(run.stdout.ends_with("0 problems, 0 warnings\n"), "{}", run.stdout);
}

#[test]
fn virtual_proxies_that_are_not_polled_are_named() {
    let fixture = Fixture::new(NODES, "");
    fixture.site.set_sessions("SENSE2", "/new", &[]);
    fixture.site.set_sessions("SENSE2", "/sales/emea", &[]);
    let run = check(&fixture, &[]);
    assert_eq!(run.code, Some(0), "they keep nothing from working: {}", run.stdout);
    let (line, hint) = finding(&run, "not polled on `SENSE2`");
    assert!(line.ends_with("/new, /sales/emea"), "{line}");
    assert!(hint.contains("virtualProxies: auto"), "{hint}");
    assert!(!run.stdout.contains("not polled on `Central`"), "{}", run.stdout);
    let json = check(&fixture, &["--output", "json"]);
    let document: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let findings = document["findings"].as_array().expect("a list");
    assert!(findings.iter().any(|it| it["step"] == "repository" && it["status"] == "warning"));
}

#[test]
fn virtual_proxies_that_do_not_exist_are_named() {
    let fixture = Fixture::new(NODES, "");
    fixture.edit("- virtualProxy: \"/hr\"\n", "- virtualProxy: \"/hr\"\n            - virtualProxy: /sales\n            - virtualProxy: /typo\n");
    fixture.site.remove_virtual_proxy("SENSE2", "/hr");
    fixture.site.set_unlinked(&["/hr"]);
    let run = check(&fixture, &[]);
    for (text, expected) in [
        ("/hr: is polled on `SENSE2`, but is not linked", "it is linked to no proxy at all"),
        ("/sales: is polled on `SENSE2`, but is not linked", "it is linked to Central (localhost:"),
        ("/typo: is polled on `SENSE2`, but does not exist", "spelled right"),
    ] {
        let (_, hint) = finding(&run, text);
        assert!(hint.contains(expected), "{hint}");
    }
}

#[test]
fn a_node_that_is_not_polled_is_named() {
    let fixture = Fixture::new(NODES, "");
    let text = std::fs::read_to_string(&fixture.config).expect("the configuration");
    let (first, _) = text.split_once("      - host: SENSE2").expect("two servers");
    std::fs::write(&fixture.config, first).expect("written");
    let run = check(&fixture, &[]);
    let (line, _) = finding(&run, "the node SENSE2");
    assert!(line.contains("is not polled; it has /, /hr"), "{line}");
}

#[test]
fn a_switched_off_server_is_named_without_a_warning() {
    let fixture = Fixture::new(NODES, "");
    let text = std::fs::read_to_string(&fixture.config).expect("the configuration");
    let (first, second) = text.split_once("      - host: SENSE2").expect("two servers");
    let second = second.replace("enable: true", "enable: false");
    std::fs::write(&fixture.config, format!("{first}      - host: SENSE2{second}"))
        .expect("written");
    let run = check(&fixture, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    finding(&run, "switched off by `userSessions.enable`, so not polled: SENSE2");
    assert!(run.stdout.ends_with("0 problems, 0 warnings\n"), "{}", run.stdout);
}

#[test]
fn a_node_under_two_names_is_found_without_any_session() {
    let fixture = Fixture::new(NODES, "");
    let port = fixture.site.address("Central").port();
    fixture.edit(
        "    servers:\n",
        &format!(
            "    servers:\n      - {{host: other, serverName: other, userSessions: {{enable: true, host: \"localhost:{port}\", virtualProxies: [{{virtualProxy: /}}]}}}}\n"
        ),
    );
    let run = check(&fixture, &[]);
    let (line, hint) = finding(&run, "are one node, Central");
    assert!(
        line.contains("`other` (localhost:") && line.contains("`Central` (127.0.0.1:"),
        "{line}"
    );
    assert!(hint.contains("count twice"), "{hint}");
}

#[test]
fn a_wrong_port_is_explained() {
    let fixture = Fixture::new(NODES, "");
    let (right, wrong) = (fixture.site.address("SENSE2").port(), free_port());
    fixture.edit(&format!("127.0.0.1:{right}"), &format!("127.0.0.1:{wrong}"));
    let run = check(&fixture, &[]);
    assert_eq!(run.code, Some(1), "nothing listens there");
    let (line, hint) = finding(&run, &format!("the server `SENSE2` is polled on port {wrong}"));
    let node = format!("listens on another one: SENSE2 (localhost:{right})");
    assert!(line.ends_with(&node), "{line}");
    assert!(hint.contains("userSessions.host"), "{hint}");
    assert!(!run.stdout.contains("the node SENSE2"), "that is said once: {}", run.stdout);
}

#[test]
fn a_server_that_is_no_node_is_named() {
    let fixture = Fixture::new(NODES, "");
    let port = free_port();
    fixture.edit(
        "    servers:\n",
        &format!(
            "    servers:\n      - {{host: balancer, serverName: balancer, userSessions: {{enable: true, host: \"127.0.0.2:{port}\", virtualProxies: [{{virtualProxy: /}}]}}}}\n"
        ),
    );
    let run = check(&fixture, &[]);
    let (_, hint) = finding(&run, "the server `balancer`");
    assert!(hint.contains("load balancer"), "{hint}");
}

/// The two 403s have nothing in common but their number.
#[test]
fn a_403_of_the_repository_service_is_not_one_of_the_proxy() {
    let fixture = Fixture::new(NODES, "");
    fixture.site.set_fault(REPOSITORY, "/", Some(Fault::Status(403)));
    let run = check(&fixture, &[]);
    assert_eq!(run.code, Some(1), "it was named, and refuses: {}", run.stdout);
    let (_, hint) = finding(&run, "the server answers with status 403");
    assert!(hint.contains("X-Qlik-User") && hint.contains("INTERNAL\\sa_repository"), "{hint}");
    fixture.site.set_fault(REPOSITORY, "/", None);
    fixture.site.set_fault("Central", "/", Some(Fault::Status(403)));
    let run = check(&fixture, &[]);
    let (_, hint) = finding(&run, "the server answers with status 403");
    assert!(hint.contains("for the session API") && !hint.contains("X-Qlik-User"), "{hint}");
}

/// Port 4242 is often closed. No port of the simulated site is that one.
#[test]
fn without_a_repository_service_check_succeeds() {
    let fixture = Fixture::new(NODES, "");
    let run = Finished::of(fixture.command("check"));
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    let lines = run.stdout.lines().filter(|line| line.contains("4242"));
    assert_eq!(lines.count(), 1, "{}", run.stdout);
    finding(&run, "it is not needed for polling");
    assert!(run.stdout.ends_with("0 problems, 0 warnings\n"), "{}", run.stdout);
}

#[test]
fn what_discovery_finds_is_checked() {
    let fixture = Fixture::new(NODES, "");
    let folder = fixture.folder.path();
    let write = |discovery: &str| {
        fixture
            .site
            .write_discovery_config(folder, Duration::from_secs(1), discovery, "")
            .expect("written");
    };
    write("      exclude: [/hr]");
    let run = Finished::of(fixture.command("check"));
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    finding(&run, "every virtual proxy that it lists is polled");
    finding(&run, "left out by `sessionSource.discovery.exclude`: /hr");
    finding(&run, "0 sessions of 0 distinct users on 3 virtual proxies");
    let mut command = fixture.command("check");
    command.args(["--repository", "localhost"]);
    assert_eq!(Finished::of(command).code, Some(2), "there is one already");

    write("      user: LAB\\goran");
    let run = Finished::of(fixture.command("check"));
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    let (_, hint) = finding(&run, "lists no virtual proxy for the user LAB\\goran");
    assert!(hint.contains("the right to read proxies"), "{hint}");

    fixture.site.stop(REPOSITORY);
    let run = Finished::of(fixture.command("check"));
    assert_eq!(run.code, Some(1), "then nothing is known: {}", run.stdout);
    finding(&run, "Qlik Sense Repository Service running");
}
