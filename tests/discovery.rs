//! The repository service: what a site has, found without a list.

mod support;

use std::process::Command;

use qlik_sessions::site::{Fault, REPOSITORY};
use serde_json::Value;
use support::{Finished, Fixture, program};

const NODES: &[(&str, &[&str])] =
    &[("Central", &["/", "/sales", "/sales/emea"]), ("SENSE2", &["/", "/hr"])];

fn discover(fixture: &Fixture, arguments: &[&str]) -> Finished {
    Finished::of(discovering(fixture, arguments))
}

fn discovering(fixture: &Fixture, arguments: &[&str]) -> Command {
    let mut command = program();
    let host = format!("localhost:{}", fixture.site.address(REPOSITORY).port());
    command.current_dir(fixture.folder.path()).args(["discover", "--host", &host]);
    command.args(["--cert", "client.pem", "--key", "client_key.pem", "--ca", "root.pem"]);
    command.args(arguments);
    command
}

fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn the_table_lists_every_virtual_proxy_of_every_node() {
    let fixture = Fixture::new(NODES, "");
    fixture.site.set_unlinked(&["/old", "/test"]);
    let run = discover(&fixture, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    let port = |node| fixture.site.address(node).port().to_string();
    assert_eq!(cells(lines[0]), ["NODE", "HOST", "PORT", "VIRTUAL PROXY", "DESCRIPTION"]);
    assert_eq!(
        cells(lines[1]),
        ["Central", "localhost", &port("Central"), "/", "Central Proxy (Default)"]
    );
    assert_eq!(cells(lines[3])[3], "/sales/emea");
    assert_eq!(cells(lines[5])[..4], ["SENSE2", "localhost", &port("SENSE2"), "/hr"]);
    assert_eq!(lines[7], "5 virtual proxies on 2 nodes");
    assert_eq!(lines[8], "  Linked to no proxy, so without sessions: /old, /test");
    let request = &fixture.site.requests()[0];
    assert_eq!(request.path, "/qrs/proxyservice/full");
    assert_eq!(
        request.user.as_deref(),
        Some("UserDirectory=INTERNAL; UserId=sa_repository"),
        "the repository service wants a user"
    );
}

#[test]
fn json_is_for_programs() {
    let fixture = Fixture::new(NODES, "");
    fixture.site.set_unlinked(&["/old"]);
    fixture.site.set_host_name("SENSE2", "sense2.invalid");
    let run = discover(&fixture, &["--output", "json", "--address", "sense2=127.0.0.1"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let node = &document["nodes"][1];
    assert_eq!(node["host_name"], "sense2.invalid");
    let port = fixture.site.address("SENSE2").port();
    assert_eq!(node["proxy_host"], format!("127.0.0.1:{port}"));
    assert_eq!((&node["rest_listen_port"], &node["listen_port"]), (&port.into(), &443.into()));
    assert_eq!(node["virtual_proxies"][1]["virtual_proxy"], "/hr");
    assert_eq!(document["unlinked"][0]["virtual_proxy"], "/old");
}

#[test]
fn yaml_is_a_configuration_that_works_as_it_is() {
    let fixture = Fixture::new(NODES, "");
    let run = discover(&fixture, &["--output", "yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    std::fs::write(&fixture.config, &run.stdout).expect("written");
    let check = Finished::of(fixture.command("check"));
    assert_eq!(check.code, Some(0), "{}{}", run.stdout, check.stdout);
    assert!(check.stdout.ends_with("0 problems, 0 warnings\n"), "{}", check.stdout);
    let events = fixture.once().events();
    let polled: Vec<(&str, &str)> = support::of_kind(&events, "session_summary")
        .into_iter()
        .map(|event| {
            (
                event["server_name"].as_str().expect("text"),
                event["virtual_proxy"].as_str().expect("text"),
            )
        })
        .collect();
    for (node, prefixes) in NODES {
        assert!(prefixes.iter().all(|prefix| polled.contains(&(node, prefix))), "{polled:?}");
    }
    assert_eq!(polled.len(), 5);
}

#[test]
fn a_name_that_this_machine_does_not_know_needs_a_decision() {
    let fixture = Fixture::new(NODES, "");
    fixture.site.set_host_name("SENSE2", "sense2.invalid");
    let run = discover(&fixture, &[]);
    assert!(run.stdout.contains("! SENSE2: this machine does not know the address of sense2.invalid; say what to dial: --address SENSE2=…"), "{}", run.stdout);
    let run = discover(&fixture, &["--output", "yaml"]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    let edit = lines.iter().position(|line| line.contains("# EDIT")).expect(&run.stdout);
    assert!(lines[edit + 1].contains("- host: \"sense2.invalid:4747\""), "{}", run.stdout);
}

#[test]
fn what_the_repository_refuses_is_explained() {
    let fixture = Fixture::new(NODES, "");
    let failed = |arguments: &[&str], words: &[&str]| {
        let run = discover(&fixture, arguments);
        assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
        assert_eq!(run.stdout, "");
        for word in words {
            assert!(run.stderr.contains(word), "{word:?} is not in {}", run.stderr);
        }
    };
    failed(
        &["--user", "LAB\\goran"],
        &["auth_error", "lists no virtual proxy for the user LAB\\goran", "INTERNAL\\sa_api"],
    );
    for (fault, words) in [
        (Fault::Status(403), ["auth_error", "the user `INTERNAL\\sa_repository`"]),
        (Fault::Xsrf, ["xsrf_rejected", "X-Qlik-Xrfkey"]),
        (Fault::LoginPage, ["login_page", "a list of proxies"]),
        (Fault::JsonObject, ["invalid_body", "is no list of proxies"]),
        (Fault::HugeList(10), ["invalid_body", "port 4242"]),
        (Fault::Status(500), ["http_5xx", "Qlik/Sense/Log/Repository"]),
    ] {
        fixture.site.set_fault(REPOSITORY, "/", Some(fault));
        failed(&[], &words);
    }
    fixture.site.stop(REPOSITORY);
    failed(&[], &["connection_refused", "Qlik Sense Repository Service", "always 4242"]);
}

#[test]
fn arguments_that_cannot_be_used_are_refused() {
    let fixture = Fixture::new(NODES, "");
    for (arguments, word) in [
        (["--user", "sa_repository"], "INTERNAL\\sa_repository"),
        (["--address", "SENSE2"], "expected NAME=ADDRESS"),
        (["--address", "SENSE2=https://x"], "expected `name:4243`"),
        (["--passphrase-file", "nowhere"], "--passphrase-file nowhere"),
    ] {
        let run = discover(&fixture, &arguments);
        assert_eq!(run.code, Some(2), "{arguments:?} {}", run.stderr);
        assert!(run.stderr.contains(word), "{word:?} is not in {}", run.stderr);
    }
    let mut command = discovering(&fixture, &[]);
    command.args(["--cert", "root.pem"]);
    let other = Finished::of(command);
    assert_eq!(other.code, Some(2), "an argument twice");
    let run = Finished::of({
        let mut command = program();
        command.args(["discover", "--host", "sense1", "--cert", "no.pem", "--ca", "no.pem"]);
        command
    });
    assert_eq!(run.code, Some(78), "{}", run.stderr);
}
