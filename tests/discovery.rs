//! The repository service: what a site has, found without a list.

mod support;

use std::{collections::BTreeSet, process::Command, time::Duration};

use qlik_sessions::site::{Fault, REPOSITORY};
use serde_json::{Value, json};
use support::{
    Finished, Fixture, Running, assert_valid, named_sessions, of_kind, of_target, program,
    sessions, texts,
};

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
fn refusals_of_the_repository_service_are_explained() {
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
        (Fault::JsonObject, ["invalid_body", "is not a list of proxies"]),
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

#[test]
fn a_file_that_cannot_be_used_is_named_by_its_argument() {
    let fixture = Fixture::new(NODES, "");
    let folder = fixture.folder.path();
    std::fs::write(folder.join("empty.pem"), "").expect("written");
    let right = [("--cert", "client.pem"), ("--key", "client_key.pem"), ("--ca", "root.pem")];
    for (argument, file, message) in [
        ("--cert", "no.pem", "no.pem: --cert cannot be read"),
        ("--key", "no.pem", "no.pem: --key cannot be read"),
        ("--ca", "no.pem", "no.pem: --ca cannot be read"),
        ("--cert", "no.pfx", "is the path in `--cert` right? Relative paths start at the working"),
        ("--key", "empty.pem", "--key is empty"),
        ("--cert", "client_key.pem", "--cert holds a private key and no certificate"),
        ("--key", "client.pem", "--key holds no private key"),
    ] {
        let mut command = program();
        command.current_dir(folder).args(["discover", "--host", "localhost:1"]);
        for (name, usual) in right {
            command.args([name, if name == argument { file } else { usual }]);
        }
        let run = Finished::of(command);
        assert_eq!(run.code, Some(78), "{}", run.stderr);
        assert!(run.stderr.contains(message), "{message:?} is not in {}", run.stderr);
        assert!(!run.stderr.contains("clientCert"), "{}", run.stderr);
    }
    let mut command = program();
    command.current_dir(folder).args(["discover", "--host", "localhost:1"]);
    command.args(["--cert", "client.pem", "--ca", "root.pem"]);
    let run = Finished::of(command);
    assert!(run.stderr.contains("set `--key` to client_key.pem"), "{}", run.stderr);
}

/// A site whose configuration names no server; lines for `discovery` with six blanks.
fn discovered(discovery: &str, session_source: &str) -> Fixture {
    let fixture = Fixture::new(NODES, "");
    let folder = fixture.folder.path();
    fixture
        .site
        .write_discovery_config(folder, Duration::from_secs(1), discovery, session_source)
        .expect("written");
    fixture
}

const EVERY_POLL: &str = "      interval: 1000";
const STATE: &str = "    stateFile: state.json";

/// `Central /sales` of each event.
fn targets(events: &[Value], kind: &str) -> BTreeSet<String> {
    of_kind(events, kind)
        .into_iter()
        .map(|event| {
            let text = |key: &str| event[key].as_str().expect("a text");
            format!("{} {}", text("server_name"), text("virtual_proxy"))
        })
        .collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn all() -> BTreeSet<String> {
    names(&["Central /", "Central /sales", "Central /sales/emea", "SENSE2 /", "SENSE2 /hr"])
}

/// The number of targets in the poll's summary, and how many of them failed.
fn summed_up(poll: &[Value]) -> (u64, u64) {
    let site = poll.last().expect("a site_summary");
    let number = |key: &str| site[key].as_u64().expect("a number");
    (number("targets"), number("targets_failed"))
}

#[test]
fn a_site_is_polled_without_a_list_of_servers() {
    let fixture =
        discovered("      exclude: [\"/sales/*\", hr]\n      tags: {environment: prod}", "");
    fixture.site.set_sessions("Central", "/sales", &sessions(3));
    let run = fixture.once();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let events = run.events();
    assert_valid(&events);
    let polled = targets(&events, "session_summary");
    assert_eq!(polled, names(&["Central /", "Central /sales", "SENSE2 /"]));
    assert_eq!(summed_up(&events), (3, 0));
    let sales = of_target(&events, "session_summary", "/sales")[0];
    assert_eq!(sales["session_count"], 3);
    assert_eq!(sales["server_description"], "Qlik Sense node Central (localhost)");
    assert_eq!(sales["server_host"], "localhost");
    assert_eq!(sales["tags"], json!({"environment": "prod"}));
    assert!(of_kind(&events, "target_added").is_empty(), "the first list is where it begins");
    let who = Finished::of(fixture.command("who"));
    assert!(who.stdout.ends_with("on 3 virtual proxies\n"), "{}{}", who.stdout, who.stderr);
}

#[test]
fn targets_come_and_go_between_polls() {
    let fixture = discovered(EVERY_POLL, "");
    fixture.site.set_sessions("Central", "/sales", &named_sessions(&["s1"]));
    let mut stream = fixture.stream();
    assert_eq!(targets(&stream.poll(), "session_summary"), all());

    fixture.site.set_sessions("SENSE2", "/new", &named_sessions(&["s2"]));
    let added = stream.poll_until(|poll| !of_kind(poll, "target_added").is_empty());
    assert_eq!(targets(&added, "target_added"), names(&["SENSE2 /new"]));
    assert_eq!(of_kind(&added, "target_added")[0]["reason"], "listed");
    assert!(!targets(&added, "session_summary").contains("SENSE2 /new"), "from the next poll on");
    let next = stream.poll();
    assert_eq!(of_target(&next, "session", "/new").len(), 1);
    assert!(of_kind(&next, "session_started").is_empty(), "a new target has a baseline");
    assert_eq!(summed_up(&next), (6, 0));

    fixture.site.remove_virtual_proxy("Central", "/sales");
    let removed = stream.poll_until(|poll| !of_kind(poll, "target_removed").is_empty());
    assert_eq!(targets(&removed, "target_removed"), names(&["Central /sales"]));
    assert_eq!(of_kind(&removed, "target_removed")[0]["reason"], "not_listed");
    assert_eq!(targets(&removed, "poll_error"), names(&["Central /sales"]), "two lists in a row");
    assert_eq!(summed_up(&stream.poll()), (5, 0));
    assert!(of_kind(&stream.seen, "session_ended").is_empty());
    assert_valid(&stream.seen);
}

#[test]
fn a_repository_that_is_down_later_changes_nothing() {
    let fixture = discovered(EVERY_POLL, "");
    let mut stream = fixture.stream();
    stream.poll();
    for (fault, category) in [
        (Some(Fault::JsonObject), "invalid_body"),
        (Some(Fault::LoginPage), "login_page"),
        (Some(Fault::Status(403)), "auth_error"),
        (Some(Fault::NoAnswer), "timeout"),
        (Some(Fault::Reset), "connection_reset"),
    ] {
        fixture.site.set_fault(REPOSITORY, "/", fault);
        let poll = stream.poll_until(|poll| {
            of_kind(poll, "discovery_error").iter().any(|error| error["category"] == category)
        });
        assert_eq!(summed_up(&poll), (5, 0), "{category}");
        assert_eq!(targets(&poll, "session_summary"), all());
    }
    // Nothing at all, three times: a user who lost the right to read.
    fixture.site.set_fault(REPOSITORY, "/", None);
    fixture.site.set_body(REPOSITORY, "/", b"[]".to_vec());
    for _ in 0..3 {
        let poll = stream.poll_until(|poll| {
            of_kind(poll, "discovery_error").iter().any(|error| {
                error["message"].as_str().expect("text").contains("lists no virtual proxy")
            })
        });
        assert_eq!(summed_up(&poll), (5, 0));
    }
    let errors = of_kind(&stream.seen, "discovery_error");
    let error = errors.last().expect("errors");
    assert_eq!(error["consecutive_failures"], errors.len());
    assert_eq!(error["server_name"], "127.0.0.1");
    assert!(error["hint"].as_str().expect("a hint").contains("INTERNAL\\sa_api"), "{error}");
    assert!(of_kind(&stream.seen, "target_removed").is_empty());
    assert_valid(&stream.seen);
    let (_, log) = ended(stream);
    assert_eq!(log.matches("cannot be asked").count(), 1, "the log says it once: {log}");
}

/// Ends a stream; returns its exit code and its log.
fn ended(mut stream: Running) -> (Option<i32>, String) {
    stream.kill();
    stream.wait()
}

#[test]
fn without_any_list_stream_waits_and_once_fails() {
    let fixture = discovered("", "");
    fixture.site.stop(REPOSITORY);
    let once = fixture.once();
    assert_eq!(once.code, Some(1), "{}", once.stderr);
    let events = once.events();
    assert_eq!(events.len(), 1, "nothing is polled, nothing summed up: {events:?}");
    assert_eq!(events[0]["event"], "discovery_error");
    assert_eq!(events[0]["category"], "connection_refused");
    assert_valid(&events);

    let mut stream = fixture.stream();
    for count in 1..=2 {
        let event = stream.next().expect("an event");
        assert_eq!(
            (&event["event"], &event["consecutive_failures"]),
            (&json!("discovery_error"), &json!(count))
        );
    }
    fixture.site.restart(REPOSITORY);
    let poll = stream.poll();
    assert_eq!(targets(&poll, "session_summary"), all());
    assert!(of_kind(&stream.seen, "target_added").is_empty());
    let (_, log) = ended(stream);
    assert!(
        log.contains("nothing can be polled before the repository service 127.0.0.1:"),
        "{log}"
    );
}

#[test]
fn the_state_file_keeps_the_list() {
    let fixture = discovered("", STATE);
    fixture.site.set_sessions("Central", "/sales", &named_sessions(&["s1"]));
    assert_eq!(summed_up(&fixture.once().events()), (5, 0));
    fixture.site.set_sessions("Central", "/sales", &named_sessions(&["s1", "s2"]));
    fixture.site.stop(REPOSITORY);
    let asked = fixture.site.requests().len();
    // The list is young: it is not asked again.
    let run = fixture.once();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(summed_up(&run.events()), (5, 0));
    assert_eq!(texts(&of_kind(&run.events(), "session_started"), "session_id"), ["s2"]);
    assert!(of_kind(&run.events(), "discovery_error").is_empty());
    let asked_by_path =
        fixture.site.requests()[asked..].iter().any(|request| request.node == REPOSITORY);
    assert!(!asked_by_path);
    // `stream` asks at its start, and polls what it knows all the same.
    let mut stream = fixture.stream();
    let poll = stream.poll();
    assert_eq!(of_kind(&poll, "discovery_error")[0]["consecutive_failures"], 1);
    assert_eq!(summed_up(&poll), (5, 0));
    stream.kill();
    let who = Finished::of(fixture.command("who"));
    assert_eq!(who.code, Some(0), "{}", who.stderr);
    assert!(who.stdout.contains("on 5 virtual proxies\n"), "{}", who.stdout);
    assert!(who.stdout.contains("an older list"), "{}", who.stdout);
}

#[test]
fn once_asks_again_when_the_interval_is_over_and_counts_its_failures() {
    let fixture = discovered(EVERY_POLL, STATE);
    fixture.once();
    fixture.site.stop(REPOSITORY);
    let mut counts = Vec::new();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(600));
        let run = fixture.once();
        assert_eq!(run.code, Some(0), "its targets answered: {}", run.stderr);
        let events = run.events();
        assert_eq!(summed_up(&events), (5, 0));
        counts.extend(
            of_kind(&events, "discovery_error").iter().map(|it| it["consecutive_failures"].clone()),
        );
    }
    assert_eq!(counts, [1, 2, 3]);
}

#[test]
fn what_two_lists_lack_is_gone_over_restarts_too() {
    let fixture = discovered(EVERY_POLL, STATE);
    fixture.site.set_sessions("SENSE2", "/hr", &named_sessions(&["s1"]));
    fixture.once();
    fixture.site.remove_virtual_proxy("SENSE2", "/hr");
    let removed: Vec<usize> = (0..3)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(600));
            let events = fixture.once().events();
            assert!(of_kind(&events, "session_ended").is_empty());
            of_kind(&events, "target_removed").len()
        })
        .collect();
    assert_eq!(removed, [0, 1, 0]);
}

#[test]
fn what_goes_from_the_configuration_is_removed_once() {
    let fixture = discovered("", STATE);
    fixture.once();
    let folder = fixture.folder.path();
    let exclude = "      exclude: [/hr]";
    fixture
        .site
        .write_discovery_config(folder, Duration::from_secs(1), exclude, STATE)
        .expect("written");
    let events = fixture.once().events();
    assert_eq!(targets(&events, "target_removed"), names(&["SENSE2 /hr"]));
    let removed = of_kind(&events, "target_removed")[0];
    assert_eq!(removed["reason"], "not_configured");
    assert_eq!(removed["server_description"], "Qlik Sense node SENSE2 (localhost)");
    assert_valid(&events);
    assert!(of_kind(&fixture.once().events(), "target_removed").is_empty());
}

#[test]
fn a_server_of_the_configuration_keeps_its_name_and_gets_what_is_listed() {
    let discovery = |fixture: &Fixture| {
        let port = fixture.site.address(REPOSITORY).port();
        format!("    discovery: {{host: \"localhost:{port}\"}}")
    };
    let fixture = Fixture::new(NODES, "");
    fixture.configure(Duration::from_secs(1), &discovery(&fixture));
    // The configuration dials an address, the node is registered by its name.
    let port = fixture.site.address("SENSE2").port();
    fixture.edit("            - virtualProxy: \"/hr\"\n", "");
    fixture.edit("serverName: SENSE2", "serverName: mine");
    let events = fixture.once().events();
    assert_eq!(
        targets(&events, "session_summary"),
        names(&["Central /", "Central /sales", "Central /sales/emea", "mine /", "mine /hr"])
    );
    let hr = of_target(&events, "session_summary", "/hr")[0];
    assert_eq!(hr["server_description"], "Simulated node SENSE2");
    assert_eq!(hr["proxy_host"], format!("127.0.0.1:{port}"));
    fixture.site.stop(REPOSITORY);
    let run = fixture.once();
    assert_eq!(run.code, Some(0), "the targets of the configuration answered");
    assert_eq!(summed_up(&run.events()), (4, 0));
}

#[test]
fn a_server_that_is_switched_off_is_not_discovered() {
    let discovery = |fixture: &Fixture| {
        let port = fixture.site.address(REPOSITORY).port();
        format!("    discovery: {{host: \"localhost:{port}\"}}")
    };
    let fixture = Fixture::new(NODES, "");
    fixture.configure(Duration::from_secs(1), &discovery(&fixture));
    let text = std::fs::read_to_string(&fixture.config).expect("the configuration");
    let (first, second) = text.split_once("      - host: SENSE2").expect("two servers");
    let second = second.replace("enable: true", "enable: false");
    let text = format!("{first}      - host: SENSE2{second}");
    std::fs::write(&fixture.config, &text).expect("written");
    let polled = |fixture: &Fixture| {
        let run = fixture.once();
        assert!(run.stderr.contains("the node SENSE2 is not polled"), "{}", run.stderr);
        targets(&run.events(), "session_summary")
    };
    let central = names(&["Central /", "Central /sales", "Central /sales/emea"]);
    assert_eq!(polled(&fixture), central);
    let check = Finished::of(fixture.command("check"));
    assert_eq!(check.code, Some(0), "{}", check.stdout);
    assert!(check.stdout.contains("so not polled: SENSE2"), "{}", check.stdout);
    // By its host alone, where the port is another one.
    let port = fixture.site.address("SENSE2").port();
    let other = text.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:4243");
    assert_ne!(other, text);
    std::fs::write(&fixture.config, &other).expect("written");
    assert_eq!(polled(&fixture), central);
    // A server of which nobody said whether its sessions are wanted.
    std::fs::write(&fixture.config, text.replace("          enable: false\n", ""))
        .expect("written");
    assert_eq!(targets(&fixture.once().events(), "session_summary"), all());
}

#[test]
fn another_address_is_dialled_and_the_host_name_verified() {
    let fixture =
        discovered("      addresses: {sense2.invalid: 127.0.0.1, Central: localhost}", "");
    fixture.site.set_host_name("SENSE2", "sense2.invalid");
    fixture.site.set_host_name("Central", "127.0.0.1");
    let events = fixture.once().events();
    assert_eq!(targets(&events, "session_summary").len(), 3, "{events:?}");
    let failed = of_target(&events, "poll_error", "/hr")[0];
    assert_eq!(failed["category"], "certificate_error");
    assert!(failed["message"].as_str().expect("text").contains("sense2.invalid"), "{failed}");
    let port = fixture.site.address("SENSE2").port();
    assert_eq!(failed["proxy_host"], format!("127.0.0.1:{port}"));
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let fixture = discovered("", "");
    fixture.site.set_host_name("SENSE2", "sense2.invalid");
    let run = fixture.once();
    assert_eq!(run.code, Some(1));
    let events = run.events();
    let failed = of_target(&events, "poll_error", "/hr")[0];
    assert_eq!(failed["category"], "host_not_found");
    assert!(failed["message"].as_str().expect("text").contains("sense2.invalid"), "{failed}");
    assert!(failed["hint"].as_str().expect("text").contains("discovery.addresses"), "{failed}");
}

#[test]
fn an_answer_that_is_not_a_list_is_not_taken_for_an_empty_one() {
    let fixture = discovered("", "");
    for (fault, category) in [
        (Fault::HugeList(0), "auth_error"),
        (Fault::LoginPage, "login_page"),
        (Fault::Status(403), "auth_error"),
        (Fault::Status(500), "http_5xx"),
        (Fault::Xsrf, "xsrf_rejected"),
        (Fault::NoAnswer, "timeout"),
        (Fault::TruncatedJson, "invalid_body"),
        (Fault::JsonObject, "invalid_body"),
        (Fault::EmptyBody, "invalid_body"),
    ] {
        fixture.site.set_fault(REPOSITORY, "/", Some(fault.clone()));
        let run = fixture.once();
        assert_eq!(run.code, Some(1), "{fault}: {}", run.stderr);
        let events = run.events();
        assert_eq!(events.len(), 1, "{fault}: {events:?}");
        assert_eq!(events[0]["event"], "discovery_error");
        assert_eq!(events[0]["category"], category, "{fault}");
        assert_valid(&events);
    }
}

#[test]
fn a_user_without_rights_sees_nothing_and_is_named() {
    let fixture = discovered("      user: LAB\\goran", "");
    let run = fixture.once();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let error = &run.events()[0];
    assert_eq!(
        (&error["event"], &error["category"]),
        (&json!("discovery_error"), &json!("auth_error"))
    );
    assert!(error["message"].as_str().expect("text").contains("LAB\\goran"), "{error}");
}

#[test]
fn a_slow_repository_delays_no_target_that_is_known() {
    let fixture = discovered(EVERY_POLL, "");
    fixture.site.set_delay(REPOSITORY, "/", Duration::from_millis(100));
    let mut stream = fixture.stream();
    assert_eq!(targets(&stream.poll(), "session_summary"), all(), "it is waited for at the start");
    fixture.site.set_delay(REPOSITORY, "/", Duration::from_secs(30));
    fixture.site.set_sessions("SENSE2", "/new", &[]);
    let poll = stream.poll_until(|poll| !of_kind(poll, "discovery_error").is_empty());
    assert_eq!(of_kind(&poll, "discovery_error")[0]["category"], "timeout");
    let place = |kind: &str| poll.iter().position(|event| event["event"] == kind);
    assert!(place("session_summary") < place("discovery_error"), "{poll:?}");
    assert_eq!(summed_up(&poll), (5, 0));
    fixture.site.set_delay(REPOSITORY, "/", Duration::ZERO);
    stream.poll_until(|poll| !of_kind(poll, "target_added").is_empty());
    assert_eq!(summed_up(&stream.poll()), (6, 0));
}

#[test]
fn a_server_with_auto_has_its_own_list_and_what_is_listed() {
    let fixture = Fixture::new(NODES, "");
    let port = fixture.site.address(REPOSITORY).port();
    let source = format!(
        "    discovery: {{host: \"localhost:{port}\", exclude: [/sales*]}}
    servers: {{SENSE2: {{virtualProxies: auto}}}}"
    );
    fixture.configure(Duration::from_secs(1), &source);
    fixture.edit(
        "          virtualProxies:\n            - virtualProxy: \"/\"\n            - virtualProxy: \"/hr\"\n",
        "",
    );
    let events = fixture.once().events();
    assert_eq!(
        targets(&events, "session_summary"),
        all(),
        "what stands in the configuration is polled in spite of exclude"
    );
    assert_eq!(summed_up(&events), (5, 0));
}

#[test]
fn who_waits_while_nobody_knows_which_virtual_proxies_there_are() {
    let fixture = discovered("", "");
    fixture.site.set_sessions("SENSE2", "/hr", &named_sessions(&["s1"]));
    fixture.site.stop(REPOSITORY);
    let mut command = fixture.command("who");
    command.args(["--until-empty", "--output", "json", "--server", "sense2"]);
    let mut run = Running::start(command);
    let look = run.next().expect("it waits");
    assert_eq!((&look["targets"], &look["session_count"]), (&json!(0), &json!(0)));
    assert_eq!(look["failed_inquiries"][0]["category"], "connection_refused");
    fixture.site.restart(REPOSITORY);
    let mut look_until = |sessions: u64, failed: usize| {
        loop {
            let look = run.next().expect("it still waits");
            let inquiries = look["failed_inquiries"].as_array().map_or(0, Vec::len);
            if look["session_count"] == sessions && inquiries == failed {
                return look;
            }
        }
    };
    look_until(1, 0);
    fixture.site.stop(REPOSITORY);
    fixture.site.set_sessions("SENSE2", "/hr", &[]);
    let look = look_until(0, 1);
    assert_eq!(look["targets"], 2, "what was listed is looked at all the same");
    look_until(0, 1);
    // A virtual proxy that is added meanwhile is waited for, too.
    fixture.site.set_sessions("SENSE2", "/new", &named_sessions(&["s2"]));
    fixture.site.restart(REPOSITORY);
    look_until(1, 0);
    fixture.site.set_sessions("SENSE2", "/new", &[]);
    look_until(0, 0);
    assert_eq!(run.next(), None, "that was the last look");
    assert_eq!(run.wait().0, Some(0));
}

#[test]
fn who_says_that_it_does_not_know_the_targets() {
    let fixture = discovered("", "");
    fixture.site.stop(REPOSITORY);
    let run = Finished::of(fixture.command("who"));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stdout.contains("its virtual proxies are not known"), "{}", run.stdout);
    let mut command = fixture.command("who");
    command.args(["--watch", "1s", "--output", "json"]);
    let mut watch = Running::start(command);
    let look = watch.next().expect("a look");
    assert_eq!(
        (&look["targets"], &look["failed_inquiries"][0]["has_old_list"]),
        (&json!(0), &json!(false))
    );
    fixture.site.restart(REPOSITORY);
    while watch.next().expect("a look")["targets"] != 5 {}
    drop(watch);
    let mut command = fixture.command("who");
    command.args(["--until-empty", "--server", "sense9"]);
    let run = Finished::of(command);
    assert_eq!(run.code, Some(78), "{}", run.stderr);
    assert!(run.stderr.contains("there are: Central, SENSE2"), "{}", run.stderr);
}

/// The quick start's configuration, for a site of ten nodes: ten lines.
#[test]
fn ten_lines_are_enough_for_ten_nodes() {
    let readme = include_str!("../README.md");
    let mut blocks = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let config = blocks.find(|block| block.contains("discovery:")).expect("a configuration");
    assert_eq!(config.lines().count(), 10, "{config}");

    let names: Vec<String> = (1..=10).map(|number| format!("sense{number}")).collect();
    let nodes: Vec<(&str, &[&str])> =
        names.iter().map(|name| (name.as_str(), &["/", "/sales", "/hr"][..])).collect();
    let fixture = Fixture::new(&nodes, "");
    let repository = format!("\"localhost:{}\"", fixture.site.address(REPOSITORY).port());
    std::fs::write(&fixture.config, config.replace("sense1.company.com", &repository))
        .expect("written");
    let check = Finished::of(fixture.command("check"));
    assert_eq!(check.code, Some(0), "{}", check.stdout);
    let events = fixture.once().events();
    assert_eq!(summed_up(&events), (30, 0));
    assert_eq!(targets(&events, "session_summary").len(), 30);
}

#[test]
fn demo_needs_no_list_of_virtual_proxies() {
    let mut command = program();
    command.args(["demo", "--interval", "1s"]);
    let mut demo = Running::start(command);
    let poll = demo.poll();
    let expected = names(&["sense1 /", "sense1 /sales", "sense2 /", "sense2 /hr"]);
    assert_eq!(targets(&poll, "session_summary"), expected);
    let summary = of_kind(&poll, "session_summary")[0];
    assert_eq!(summary["tags"], json!({"environment": "demo"}));
    let dialled = summary["proxy_host"].as_str().expect("an address");
    assert!(dialled.starts_with("127.0.0.1:"), "a container knows no names: {dialled}");
    assert_valid(&poll);
    let (_, log) = ended(demo);
    assert!(log.contains("polling what the repository service 127.0.0.1:"), "{log}");
}
