//! The configuration file: Butler SOS's unchanged, the smallest, and all that
//! is wrong in a bad one.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use qlik_sessions::{
    config::{AttributeChoice, Config, SessionDetails, UserIds},
    target::{ProxyAddress, Secret, VirtualProxy},
};
use support::{Finished, program};
use tempfile::TempDir;

const SMALLEST: &str = r#"
Butler-SOS:
  cert: {clientCert: client.pem, clientCertKey: client_key.pem, clientCertCA: root.pem}
  userSessions: {enableSessionExtract: true, pollingInterval: 30000}
  serversToMonitor:
    servers:
      - host: sense1.company.com
        userSessions: {enable: true, host: "sense1.company.com:4243", virtualProxies: [{virtualProxy: /}]}
"#;

fn parse(text: &str) -> Config {
    Config::parse(Path::new("folder/config.yaml"), text).unwrap_or_else(|error| panic!("{error}"))
}

fn problems(text: &str) -> String {
    match Config::parse(Path::new("config.yaml"), text) {
        Ok(_) => panic!("the configuration is taken"),
        Err(error) => error.to_string(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    parse(text).warnings.iter().map(ToString::to_string).collect()
}

fn written(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).expect("the configuration is written");
    (folder, path)
}

fn once(path: &Path) -> Finished {
    run("once", path)
}

fn run(command: &str, path: &Path) -> Finished {
    let mut program = program();
    program.arg(command).arg("-c").arg(path);
    Finished::of(program)
}

#[test]
fn a_butler_sos_file_is_read_unchanged() {
    let text = include_str!("fixtures/butler-sos.yaml");
    assert!(text.lines().count() > 300);
    let config = parse(text);
    assert_eq!(config.warnings, []);
    assert_eq!(config.polling_interval, Duration::from_secs(30));
    let targets: Vec<String> = config.targets.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["sense1 /", "sense1 /hdr", "sense1 /sales", "sense2 /finance"]);
    let server = &config.targets[0].server;
    assert_eq!(server.host, "sense1.example.com");
    assert_eq!(server.description.as_deref(), Some("Central node"));
    assert_eq!(server.tags["server-type"], "virtual");
    assert_eq!(server.tls.files.client_cert, Path::new("folder/client.pem"));
    assert!(config.targets[3].server.tags.is_empty());
    assert!(config.exclude[1].matches("internal", "SA_scheduler"));
}

#[test]
fn the_smallest_file_has_the_defaults() {
    let config = parse(SMALLEST);
    assert_eq!(config.warnings, []);
    assert_eq!(config.targets[0].server.name, "sense1.company.com");
    assert!(config.targets[0].server.tls.verify);
    assert_eq!(config.options.timeout, Duration::from_secs(5));
    assert_eq!(config.options.session_details, SessionDetails::Snapshot);
    assert!(config.options.state_file.is_none());
}

fn schema() -> jsonschema::Validator {
    let mut command = program();
    command.args(["schema", "config"]);
    let schema: serde_json::Value =
        serde_json::from_str(&Finished::of(command).stdout).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

#[test]
fn items_of_the_wrong_form_do_not_fit_the_schema_either() {
    let validator = schema();
    let fits = |text: &str| {
        let document: serde_json::Value = serde_yaml::from_str(text).expect("YAML");
        validator.is_valid(&document)
    };
    for item in ["/sales", "{/sales: }", "{virtualproxy: /sales}", "3", "null", "[/sales]", "{}"] {
        assert!(!fits(&SMALLEST.replace("{virtualProxy: /}", item)), "{item}");
    }
    for server in ["sense2:4747", "7", "{sense2: }"] {
        assert!(!fits(&format!("{SMALLEST}      - {server}\n")), "{server}");
    }
    for (users, fit) in [
        ("[LAB]", false),
        ("[{directory: LAB}]", false),
        ("[{directory: 1.10, userId: 0012}]", true),
        ("[{directory: '', userId: x}]", true),
    ] {
        let text = SMALLEST.replace("30000}", &format!("30000, excludeUser: {users}}}"));
        assert_eq!(fits(&text), fit, "{users}");
    }
    for options in ["{attributes: [group], site: Lund, sessionLimit: 10}", "{attributes: true}"] {
        assert!(fits(&with_options(options)), "{options}");
    }
    assert!(!fits(&with_options("{attributes: group}")));
}

#[test]
fn both_files_fit_the_schema_that_is_printed() {
    let validator = schema();
    for text in [SMALLEST, include_str!("fixtures/butler-sos.yaml")] {
        let document: serde_json::Value = serde_yaml::from_str(text).expect("YAML");
        assert!(
            validator.is_valid(&document),
            "{:#?}",
            validator.iter_errors(&document).collect::<Vec<_>>()
        );
    }
}

#[test]
fn virtual_proxies_are_normalised_and_encoded() {
    for (written, normalised, path) in [
        ("", "/", "/qps/session"),
        ("/", "/", "/qps/session"),
        ("sales", "/sales", "/qps/sales/session"),
        ("/sales/", "/sales", "/qps/sales/session"),
        ("//a//b/", "/a/b", "/qps/a/b/session"),
        ("/å b", "/å b", "/qps/%C3%A5%20b/session"),
        ("a.b-c_d~e", "/a.b-c_d~e", "/qps/a.b-c_d~e/session"),
    ] {
        let virtual_proxy = VirtualProxy::new(written);
        assert_eq!(virtual_proxy.as_str(), normalised);
        assert_eq!(virtual_proxy.session_path(), path);
    }
}

#[test]
fn proxy_addresses_are_parsed() {
    for (written, host, port, authority) in [
        ("sense1", "sense1", 4243, "sense1:4243"),
        ("Sense1.Company.com:443", "sense1.company.com", 443, "sense1.company.com:443"),
        ("10.0.0.7:4243", "10.0.0.7", 4243, "10.0.0.7:4243"),
        ("::1", "::1", 4243, "[::1]:4243"),
        ("[fe80::1]", "fe80::1", 4243, "[fe80::1]:4243"),
        ("[fe80::1]:4244", "fe80::1", 4244, "[fe80::1]:4244"),
    ] {
        let address = ProxyAddress::parse(written).expect(written);
        assert_eq!((address.host.as_str(), address.port), (host, port), "{written}");
        assert_eq!(address.authority(), authority);
    }
    for wrong in [
        "",
        "https://sense1",
        "sense1:0",
        "sense1:65536",
        "sense1:x",
        "sense1/hub",
        "a b",
        "[::1",
        "[::1]x",
        ":4243",
    ] {
        assert!(ProxyAddress::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_same_virtual_proxy_is_polled_once() {
    let text = SMALLEST.replace(
        "[{virtualProxy: /}]",
        "[{virtualProxy: sales}, {virtualProxy: /sales/}, {virtualProxy: }]",
    );
    let config = parse(&text);
    let targets: Vec<&str> =
        config.targets.iter().map(|target| target.virtual_proxy.as_str()).collect();
    assert_eq!(targets, ["/sales", "/"]);
    let warnings = warnings(&text);
    assert!(
        warnings[0].contains("line 8") && warnings[0].contains("already polled"),
        "{warnings:?}"
    );
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let text = r#"
Butler-SOS:
  cert: {clientCert: client.pem, clientCertKey: client_key.pem}
  userSessions:
    enableSessionExtract: true
    pollingInterval: 12
    excludeUser:
      - directory: LAB
  sessionSource:
    timeuot: 5000
    sessionDetails: chagnes
    concurrency: many
    servers:
      sense9: {tlsServerName: x}
  serversToMonitor:
    servers:
      - host: sense1.company.com
        serverName: sense1
        userSessions:
          enable: true
          host: sense1 company.com
          virtualProxies:
      - host: sense2.company.com
        userSessions: {enable: "yes", host: sense2}
      - host: sense3.company.com
        userSessions: {enable: true, virtualProxies: [{virtualProxy: /}]}
      - host: sense4.company.com
        userSessions: {enable: true, host: "sense4:4243", virtualProxies: [{virtualProxy: /}]}
"#;
    let reported = problems(text);
    for part in [
        "line 6: Butler-SOS.userSessions.pollingInterval: expected a whole number of milliseconds from 1000 to 86400000, found 12",
        "Butler-SOS.userSessions.excludeUser[0].userId: is missing",
        "line 10: Butler-SOS.sessionSource.timeuot: is not a known key; did you mean `timeout`?",
        "sessionDetails: expected one of snapshot, grouped, changes, none; did you mean `changes`?",
        "line 12: Butler-SOS.sessionSource.concurrency: expected a whole number",
        "sense9: no server has this serverName; did you mean `sense1`?",
        "line 21: Butler-SOS.serversToMonitor.servers[0].userSessions.host: expected `name:4243`",
        "servers[0].userSessions.virtualProxies: is empty",
        "servers[1].userSessions.enable: expected true or false, found a text",
        "servers[2].userSessions.host: is missing",
        "Butler-SOS.cert.clientCertCA: is missing",
    ] {
        assert!(reported.contains(part), "{part:?} is not in:\n{reported}");
    }
    assert_eq!(
        reported.matches("clientCertCA").count(),
        1,
        "once, though two servers need it:\n{reported}"
    );
    let (_folder, path) = written(text);
    let run = once(&path);
    assert_eq!(run.code, Some(78));
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains(path.to_str().expect("UTF-8")), "{}", run.stderr);
}

#[test]
fn unknown_keys_of_butler_sos_are_warnings() {
    let text = SMALLEST
        .replace("pollingInterval: 30000", "pollingIntervall: 30000")
        .replace("- host: sense1", "- serverTag: {}\n        host: sense1");
    let warnings = warnings(&text);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("did you mean `pollingInterval`?"), "{warnings:?}");
    assert!(warnings[1].contains("did you mean `serverTags`?"), "{warnings:?}");
}

#[test]
fn check_distinguishes_warnings_from_problems() {
    let (_folder, path) = written(
        SMALLEST
            .replace("pollingInterval: 30000", "pollingIntervall: 30000")
            .replace("enable: true", "enable: perhaps"),
    );
    let mut check = program();
    check.arg("check").arg("-c").arg(path);
    let run = Finished::of(check);
    assert_eq!(run.code, Some(78));
    assert!(
        run.stdout.contains("! line 4: Butler-SOS.userSessions.pollingIntervall"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("✗ line 8: "), "{}", run.stdout);
    assert!(run.stdout.contains("1 problem, 1 warning"), "{}", run.stdout);
}

/// A setting that is ignored could be the one that hides the names.
#[test]
fn misplaced_and_misspelt_privacy_is_refused() {
    let at_root = |line: &str| format!("{line}\n{}", SMALLEST.trim_start());
    let in_butler = |line: &str| format!("{SMALLEST}  {line}\n");
    let in_sessions = |key: &str| SMALLEST.replace("30000}", &format!("30000, {key}}}"));
    let in_monitor =
        |line: &str| SMALLEST.replace("    servers:", &format!("    {line}\n    servers:"));
    let in_server = |key: &str| SMALLEST.replace("- host:", &format!("- {key}\n        host:"));
    let in_server_sessions =
        |key: &str| SMALLEST.replace("{enable: true", &format!("{{{key}, enable: true"));
    for (text, line, message) in [
        (at_root("sessionSource: {userIds: omit}"), 1, "`sessionSource` belongs in Butler-SOS"),
        (at_root("userIds: omit"), 1, "`userIds` belongs in Butler-SOS.sessionSource"),
        (in_butler("sessionsource: {userIds: omit}"), 9, "did you mean `sessionSource`?"),
        (in_butler("sessionSources: {}"), 9, "did you mean `sessionSource`?"),
        (in_butler("sesionSource: {}"), 9, "did you mean `sessionSource`?"),
        (in_butler("userIds: omit"), 9, "`userIds` belongs in Butler-SOS.sessionSource"),
        (in_butler("excludeUser: []"), 9, "`excludeUser` belongs in Butler-SOS.userSessions"),
        (in_butler("rejectUnauthorized: true"), 9, "belongs in Butler-SOS.serversToMonitor"),
        (in_butler("stateFile: x"), 9, "`stateFile` belongs in Butler-SOS.sessionSource"),
        (in_sessions("excludeUsers: []"), 4, "did you mean `excludeUser`?"),
        (in_sessions("userIds: omit"), 4, "`userIds` belongs in Butler-SOS.sessionSource"),
        (in_sessions("sessionSource: {}"), 4, "`sessionSource` belongs in Butler-SOS"),
        (in_monitor("sessionSource: {}"), 6, "`sessionSource` belongs in Butler-SOS"),
        (in_monitor("rejectUnauthorised: true"), 6, "did you mean `rejectUnauthorized`?"),
        (in_monitor("excludeUser: []"), 6, "`excludeUser` belongs in Butler-SOS.userSessions"),
        (in_server("rejectUnauthorized: true"), 7, "belongs in Butler-SOS.serversToMonitor"),
        (in_server("excludeUser: []"), 7, "`excludeUser` belongs in Butler-SOS.userSessions"),
        (
            in_server("tlsServerName: a"),
            7,
            "belongs in Butler-SOS.sessionSource.servers.<serverName>",
        ),
        (
            in_server_sessions("excludeUser: []"),
            8,
            "`excludeUser` belongs in Butler-SOS.userSessions",
        ),
        (in_server_sessions("userIds: omit"), 8, "`userIds` belongs in Butler-SOS.sessionSource"),
        (with_options("{excludeUser: []}"), 5, "`excludeUser` belongs in Butler-SOS.userSessions"),
        (with_options("{rejectUnauthorized: true}"), 5, "belongs in Butler-SOS.serversToMonitor"),
        (with_options("{userids: omit}"), 5, "did you mean `userIds`?"),
    ] {
        let reported = problems(text.trim_start_matches('\n'));
        let line = if text.starts_with('\n') { line - 1 } else { line };
        assert!(reported.contains(message), "{message}: {reported}");
        assert!(reported.contains(&format!("line {line}: ")), "{line}: {reported}");
    }
}

#[test]
fn other_keys_in_the_wrong_place_are_warned_of() {
    for (text, message) in [
        (
            format!("{SMALLEST}  enableSessionExtract: true\n"),
            "`enableSessionExtract` belongs in Butler-SOS.userSessions",
        ),
        (format!("{SMALLEST}  servers: []\n"), "`servers` belongs in Butler-SOS.serversToMonitor"),
        (format!("{SMALLEST}    server: []\n"), "did you mean `servers`?"),
        (format!("{SMALLEST}other: 1\n"), "is not a known key of the top level"),
        (
            SMALLEST.replace("30000}", "30000, servers: []}"),
            "`servers` belongs in Butler-SOS.serversToMonitor",
        ),
        (
            SMALLEST.replace("30000}", "30000, virtualProxies: []}"),
            "`virtualProxies` belongs in a server's userSessions",
        ),
        (
            SMALLEST.replace("{enable: true", "{enabled: false, enable: true"),
            "did you mean `enable`?",
        ),
    ] {
        let reported = warnings(&text);
        assert_eq!(reported.len(), 1, "{reported:?}");
        assert!(reported[0].contains(message), "{reported:?}");
    }
    assert!(
        warnings(&format!("{SMALLEST}  userEvents: {{}}\n  serverVersions: {{}}\n")).is_empty()
    );
    let reported = problems(&SMALLEST.replace("Butler-SOS:", "butler-sos:"));
    assert!(reported.contains("did you mean `Butler-SOS`?"), "{reported}");
}

#[test]
fn files_that_are_no_configuration_say_so() {
    assert!(problems("").contains("has no section `Butler-SOS:`"));
    assert!(problems("Butler-SOS: [1]").contains("expected a section with keys, found a list"));
    assert!(problems("Butler-SOS:\n  cert: {a: b\n").contains("is not valid YAML"));
    assert!(problems("a: 1\na: 2").contains("is not valid YAML"));
    let (folder, _) = written("");
    let run = once(&folder.path().join("nothing.yaml"));
    assert_eq!(run.code, Some(78));
    assert!(run.stderr.contains("cannot be read"), "{}", run.stderr);
    assert!(run.stderr.contains("--config"), "{}", run.stderr);
    let (_folder, path) = written(b"Butler-SOS: \xff\xfa");
    assert!(once(&path).stderr.contains("save the file as UTF-8"));
}

#[test]
fn files_of_windows_editors_are_read() {
    let (_folder, path) = written(format!("\u{feff}{}", SMALLEST.replace('\n', "\r\n")));
    assert_eq!(Config::load(&path).expect("UTF-8 with a mark").targets.len(), 1);
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain(SMALLEST.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let (_folder, path) = written(utf16);
    assert_eq!(Config::load(&path).expect("UTF-16").targets.len(), 1);
}

#[test]
fn a_switched_off_extract_polls_nothing_and_says_so() {
    let (_folder, path) =
        written(SMALLEST.replace("enableSessionExtract: true", "enableSessionExtract: false"));
    for command in ["once", "who", "check"] {
        let run = run(command, &path);
        assert_eq!(run.code, Some(0), "{command}: {}", run.stderr);
        let said = if command == "check" { &run.stdout } else { &run.stderr };
        assert!(said.contains("nothing is polled"), "{command}: {said}");
        assert!(command == "check" || run.stdout.is_empty());
    }
}

/// If it ended, an agent would start it again at once.
#[cfg(unix)]
#[test]
fn a_stream_that_is_switched_off_stays() {
    use std::io::{BufRead, BufReader};

    let (_folder, path) =
        written(SMALLEST.replace("enableSessionExtract: true", "enableSessionExtract: false"));
    let mut command = program();
    command.arg("stream").arg("-c").arg(&path);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    assert!(line.contains("nothing is polled"), "{line}");
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().expect("it can be waited for").is_none(), "it stays");
    drop(child.stdout.take());
    assert_eq!(support::wait_for_end(&mut child), Some(0), "until nobody reads any more");
}

#[test]
fn nothing_to_poll_is_a_wrong_configuration_and_its_cause_is_named() {
    for (from, to, cause) in [
        ("{enable: true", "{enable: false", "userSessions.enable: is not true; so"),
        ("{enable: true", "{enabel: true", "did you mean `enable`?"),
        ("userSessions: {enable: true", "sessions: {enable: true", "has a section `userSessions`"),
        ("    servers:\n", "    server:\n", "stand in `Butler-SOS.serversToMonitor.server` and"),
        ("  serversToMonitor:\n    servers:", "  servers:", "stand in `Butler-SOS.servers` and"),
    ] {
        let (_folder, path) = written(SMALLEST.replace(from, to));
        for command in ["stream", "once", "who", "check"] {
            let run = run(command, &path);
            assert_eq!(run.code, Some(78), "{command} with {to}: {}", run.stderr);
            let said = if command == "check" { &run.stdout } else { &run.stderr };
            assert!(said.contains("nothing to poll") && said.contains(cause), "{command}: {said}");
            assert!(command == "check" || run.stdout.is_empty());
        }
    }
}

#[test]
fn missing_certificates_are_a_wrong_configuration() {
    let (_folder, path) = written(SMALLEST);
    let run = once(&path);
    assert_eq!(run.code, Some(78));
    assert!(run.stderr.contains("client.pem: clientCert cannot be read"), "{}", run.stderr);
}

#[test]
fn secrets_are_not_shown() {
    let text = SMALLEST.replace("clientCertCA:", "clientCertPassphrase: [hunter2], clientCertCA:");
    assert!(!problems(&text).contains("hunter2"));
    let text = SMALLEST.replace("clientCertCA:", "clientCertPassphrase: hunter2, clientCertCA:");
    assert!(!format!("{:?}", parse(&text)).contains("hunter2"));
}

#[test]
fn one_server_may_differ() {
    let text = SMALLEST.replace(
        "  serversToMonitor:",
        "  sessionSource:\n    servers:\n      sense1.company.com: {tlsServerName: qlikserver1, rejectUnauthorized: false, cert: {clientCert: b.pfx, clientCertPassphrase: x}}\n  serversToMonitor:",
    );
    let config = parse(&text);
    let tls = &config.targets[0].server.tls;
    assert_eq!(tls.server_name.as_deref(), Some("qlikserver1"));
    assert!(!tls.verify);
    assert_eq!(tls.files.client_cert, Path::new("folder/b.pfx"));
    assert_eq!(tls.files.ca, None);
}

#[test]
fn wrong_arguments_are_usage() {
    let mut command = program();
    command.arg("once");
    let run = Finished::of(command);
    assert_eq!(run.code, Some(2));
    let mut command = program();
    command.args(["stream", "--no-such-thing"]);
    assert_eq!(Finished::of(command).code, Some(2));
}

fn with_options(options: &str) -> String {
    SMALLEST
        .replace("  serversToMonitor:", &format!("  sessionSource: {options}\n  serversToMonitor:"))
}

#[test]
fn attributes_are_none_all_or_chosen() {
    for (options, choice) in [
        ("{}", AttributeChoice::None),
        ("{attributes: false, userIds: omit}", AttributeChoice::None),
        ("{attributes: true}", AttributeChoice::All),
        ("{attributes: true, userIds: plain}", AttributeChoice::All),
        ("{attributes: [group], userIds: omit}", AttributeChoice::Keys(vec!["group".to_owned()])),
        ("{attributes: []}", AttributeChoice::Keys(Vec::new())),
    ] {
        assert_eq!(parse(&with_options(options)).options.attributes, choice, "{options}");
    }
    for (options, message) in [
        ("{attributes: true, userIds: omit}", "name what may be sent, such as [group]"),
        ("{attributes: group}", "expected true, false or a list of attribute names"),
        ("{attributes: [null]}", "attributes[0]: is missing"),
    ] {
        let reported = problems(&with_options(options));
        assert!(reported.contains(message), "{options}: {reported}");
    }
    assert!(AttributeChoice::Keys(vec!["group".to_owned()]).includes("group"));
    assert!(!AttributeChoice::Keys(vec!["group".to_owned()]).includes("email"));
}

#[test]
fn the_site_and_its_limit_are_read() {
    let options = parse(&with_options("{site: Lund, sessionLimit: 10}")).options;
    assert_eq!((options.site.as_deref(), options.session_limit), (Some("Lund"), 10));
    let options = parse(SMALLEST).options;
    assert_eq!((options.site, options.session_limit), (None, 5));
    assert!(problems(&with_options("{sessionLimit: 0}")).contains("from 1 to 1000, found 0"));
}

#[test]
fn items_of_the_wrong_form_are_refused() {
    for item in [
        "/sales",
        "{/sales: }",
        "{virtualproxy: /sales}",
        "{name: /sales}",
        "3",
        "null",
        "[/sales]",
        "{}",
    ] {
        let text =
            SMALLEST.replace("{virtualProxy: /}", &format!("{{virtualProxy: /hdr}}, {item}"));
        let reported = problems(&text);
        assert!(
            reported.contains("line 8: ")
                && reported
                    .contains("virtualProxies[1]: expected an item such as {virtualProxy: /sales}"),
            "{item}: {reported}"
        );
    }
    for nothing in ["{virtualProxy: }", "{virtualProxy: null}", "{virtualProxy: ''}"] {
        let config = parse(&SMALLEST.replace("{virtualProxy: /}", nothing));
        assert_eq!(config.targets[0].virtual_proxy.as_str(), "/", "{nothing}");
    }
    for server in ["sense2:4747", "7", "{sense2: }", "[a]"] {
        let reported = problems(&format!("{SMALLEST}      - {server}\n"));
        assert!(
            reported.contains("line 9: Butler-SOS.serversToMonitor.servers[1]: expected a server"),
            "{reported}"
        );
    }
    for user in ["LAB\\testuser1", "{userid: x}", "5"] {
        let reported =
            problems(&SMALLEST.replace("30000}", &format!("30000, excludeUser: [{user}]}}")));
        assert!(reported.contains("line 4: ") && reported.contains("excludeUser[0]"), "{reported}");
    }
    let reported = problems(&with_options("{servers: {sense1.company.com: false}}"));
    assert!(reported.contains("expected a section with keys, found false"), "{reported}");
}

#[test]
fn values_are_taken_as_they_are_written() {
    let users = "[{directory: 1.10, userId: 0012}, {directory: 0x1F, userId: 1e3}, {directory: '', userId: x}]";
    let text = SMALLEST
        .replace("30000}", &format!("30000, excludeUser: {users}}}"))
        .replace("clientCertCA:", "clientCertPassphrase: 1.10, clientCertCA:")
        .replace("- host:", "- serverTags: {floor: 012, old: True, build: 1e5}\n        host:");
    let config = parse(&text);
    for (directory, user) in [("1.10", "0012"), ("0x1F", "1e3"), ("", "x")] {
        assert!(
            config.exclude.iter().any(|excluded| excluded.matches(directory, user)),
            "{directory}"
        );
    }
    let server = &config.targets[0].server;
    let passphrase = server.tls.files.passphrase.as_ref().expect("a passphrase");
    assert_eq!(passphrase.expose(), "1.10");
    let tags: Vec<&str> = server.tags.values().map(String::as_str).collect();
    assert_eq!(tags, ["1e5", "012", "True"]);
}

#[test]
fn what_js_yaml_reads_is_read() {
    for text in [
        format!("{SMALLEST}\t\n  mqttConfig: {{password: 12345678901234567890123}}\n"),
        format!("{SMALLEST}  \t\n  other: 1\t# a comment\n"),
        format!("{SMALLEST}  other: a\u{2028}b\n"),
        format!("{SMALLEST}  other: 0x1_0000_0000_0000_0000_0000\n"),
        format!("{SMALLEST}  other: [.inf, .nan, -1e999, 2026-11-25]\n"),
        format!("---\n{SMALLEST}...\n"),
    ] {
        assert_eq!(parse(&text).targets.len(), 1, "{text}");
    }
}

#[test]
fn windows_1252_is_read_with_a_warning() {
    let text = format!("# Gr\u{f6}\u{df}e\n{SMALLEST}");
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect();
    let (_folder, path) = written(bytes);
    let config = Config::load(&path).expect("it is read");
    let warning = config.warnings[0].to_string();
    assert!(
        warning.starts_with("line 1: ") && warning.contains("save the file as UTF-8"),
        "{warning}"
    );
}

#[test]
fn hosts_that_cannot_be_are_refused() {
    for (host, message) in [
        ("<server1>", "is a placeholder"),
        ("${SENSE_HOST}", "is a placeholder"),
        ("${SENSE_HOST}:4243", "is a placeholder"),
        ("%SENSE%", "is a placeholder"),
        ("{{ host }}", "is a placeholder"),
        ("a,b", "more than one address"),
        ("-x", "cannot be the name of a server"),
        ("a..b", "cannot be the name of a server"),
        ("“sense1”", "cannot be the name of a server"),
        ("4243", "neither a name nor a whole IP address"),
        ("10:4243", "neither a name nor a whole IP address"),
        ("10.0.0.256", "neither a name nor a whole IP address"),
    ] {
        for key in ["host: sense1.company.com", "host: \"sense1.company.com:4243\""] {
            let reported = problems(&SMALLEST.replace(key, &format!("host: '{host}'")));
            assert!(reported.contains(message), "{host}: {reported}");
        }
    }
}

#[test]
fn scheme_and_path_are_taken_off_with_a_warning() {
    let text = SMALLEST
        .replace("host: sense1.company.com\n", "host: https://Sense1.company.com:4747/hub\n")
        .replace("\"sense1.company.com:4243\"", "\"https://sense1.company.com/x\"");
    let config = parse(&text);
    let server = &config.targets[0].server;
    assert_eq!((server.host.as_str(), server.proxy.port), ("Sense1.company.com", 4243));
    assert_eq!(server.proxy.host, "sense1.company.com");
    let reported = warnings(&text);
    assert!(
        reported[0].contains("line 7: ") && reported[0].contains("without `https://` and `/hub`"),
        "{reported:?}"
    );
    assert!(reported[1].contains("line 8: ") && reported[1].contains("and `/x`"), "{reported:?}");
}

#[test]
fn likely_mistakes_are_warned_of() {
    let tagged = |tags: &str| {
        SMALLEST
            .replace("    servers:", "    serverTagsDefinition: [group, place]\n    servers:")
            .replace("- host:", &format!("- serverTags: {tags}\n        host:"))
    };
    for (text, message) in [
        (SMALLEST.replace(":4243", ":4747"), "4747 is the engine's port"),
        (SMALLEST.replace(":4243", ":4242"), "4242 is the repository's port"),
        (SMALLEST.replace(":4243", ":443"), "443 is the port for users"),
        (SMALLEST.replace("Proxy: /}", "Proxy: /sales/hub/}"), "ends in /hub"),
        (SMALLEST.replace("Proxy: /}", "Proxy: qmc}"), "ends in /qmc"),
        (SMALLEST.replace("Proxy: /}", "Proxy: /hdr/session}"), "ends in /session"),
        (SMALLEST.replace("Proxy: /}", "Proxy: /qps/hdr}"), "begins with /qps"),
        (SMALLEST.replace("Proxy: /}", "Proxy: https://a/hdr}"), "is an address"),
        (
            tagged("{group: a, plaec: b, place: c}"),
            "is not in serverTagsDefinition; did you mean `place`?",
        ),
        (tagged("{group: a}"), "the tag `place` of serverTagsDefinition is missing"),
    ] {
        let reported = warnings(&text);
        assert_eq!(reported.len(), 1, "{reported:?}");
        assert!(reported[0].contains(message), "{reported:?}");
    }
    assert!(warnings(&tagged("{group: a, place: b}")).is_empty());
    assert!(warnings(&SMALLEST.replace("Proxy: /}", "Proxy: /github}")).is_empty());
}

#[test]
fn certificates_are_looked_for_where_butler_sos_does() {
    let (folder, path) = written(SMALLEST);
    let here = tempfile::tempdir().expect("a temporary folder");
    let run_here = |text: &str| {
        fs::write(&path, text).expect("written");
        let mut command = program();
        command.current_dir(here.path()).arg("check").arg("-c").arg(&path);
        Finished::of(command)
    };
    // From the working directory, where nothing is beside the configuration.
    fs::create_dir_all(here.path().join("config/certificate")).expect("a folder");
    let from_here = here.path().join("config").join("certificate").join("client.pem");
    fs::write(&from_here, "nothing").expect("written");
    let text = SMALLEST.replace("client.pem", "config/certificate/client.pem");
    let reported = run_here(&text).stdout;
    assert!(reported.contains(&format!("Certificates {}", from_here.display())), "{reported}");
    // Beside the configuration first.
    let beside = folder.path().join("config/certificate/client.pem");
    fs::create_dir_all(folder.path().join("config/certificate")).expect("a folder");
    fs::write(&beside, "nothing").expect("written");
    let reported = run_here(&text).stdout;
    assert!(reported.contains(&format!("Certificates {}", beside.display())), "{reported}");
    // The path of Butler SOS's container.
    fs::create_dir_all(folder.path().join("certificate")).expect("a folder");
    fs::write(folder.path().join("certificate/client.pem"), "nothing").expect("written");
    let reported =
        run_here(&SMALLEST.replace("client.pem", "/nodeapp/config/certificate/client.pem"));
    assert_eq!(reported.code, Some(78));
    assert!(
        reported.stdout.contains("line 3: ")
            && reported.stdout.contains("write certificate/client.pem"),
        "{}",
        reported.stdout
    );
}

#[test]
fn a_summary_must_fit_its_line() {
    let tags = format!("- serverTags: {{place: {}}}\n        host:", "x".repeat(4_000));
    let text = with_options("{maxLineBytes: 4096}").replace("- host:", &tags);
    let reported = problems(&text);
    assert!(
        reported.contains("line 5: ")
            && reported.contains("4096 bytes cannot hold a session_summary"),
        "{reported}"
    );
    assert_eq!(parse(&text.replace("4096", "8192")).targets.len(), 1);
}

#[test]
fn the_key_of_the_pseudonyms_may_come_from_any_editor() {
    let key = "a-key-that-nobody-guesses";
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain(key.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for bytes in [key.as_bytes().to_vec(), format!("\u{feff}{key}\r\n").into_bytes(), utf16] {
        let (folder, path) =
            written(with_options("{userIds: pseudonym, pseudonymKeyFile: key.txt}"));
        fs::write(folder.path().join("key.txt"), bytes).expect("written");
        let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.options.user_ids, UserIds::Pseudonym(Secret::new(key)));
        let mut command = program();
        command.env("QLIK_SESSIONS_PSEUDONYM_KEY", "").arg("once").arg("-c").arg(&path);
        let reported = Finished::of(command).stderr;
        assert!(!reported.contains("pseudonym"), "an empty variable counts as not set: {reported}");
    }
}

/// Nobody has to wait for the end of a file that is no configuration.
#[test]
fn a_file_with_too_much_in_it_is_refused() {
    let (items, keys): (String, String) =
        (0..2_000).map(|number| ("[], ", format!("\n  k{number}: 1"))).unzip();
    let list = SMALLEST.replace("30000}", &format!("30000, excludeUser: [{items}]}}"));
    let reported = problems(&list);
    assert!(reported.contains("has 1000 problems or more, and is not read further"));
    assert_eq!(reported.matches("excludeUser[").count(), 1_000);
    let reported = problems(&format!("{SMALLEST}{keys}"));
    assert!(reported.contains("Butler-SOS: has more than 1000 keys"), "{reported}");
    let sections: String = (0..200).map(|number| format!("b{number}: {{<<: *a}}\n")).collect();
    let reported = problems(&format!("a: &a{keys}\n{sections}"));
    assert!(reported.contains("line 2052: is not valid YAML: `<<` adds more"), "{reported}");
    let (_folder, path) = written(" ".repeat(3 << 20));
    let run = run("check", &path);
    assert_eq!(run.code, Some(78), "{}", run.stderr);
}

/// Small files, each with the expected message in its first line.
#[test]
fn each_file_of_the_corpus_has_the_message_in_its_first_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut wrong = Vec::new();
    for entry in fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("a file").path();
        let bytes = fs::read(&path).expect("it is read");
        let first =
            String::from_utf8_lossy(bytes.split(|byte| *byte == b'\n').next().unwrap_or_default())
                .into_owned();
        let expected = first.trim_start_matches("# ").trim_end();
        let reported: Vec<String> = match Config::load(&path) {
            Ok(config) if config.warnings.is_empty() => vec!["taken".to_owned()],
            Ok(config) => {
                config.warnings.iter().map(|problem| format!("warning in {problem}")).collect()
            }
            Err(error) => {
                error.problems.iter().map(|problem| format!("refused in {problem}")).collect()
            }
        };
        let (place, part) = expected.split_once(": ").unwrap_or((expected, ""));
        if reported.len() != 1 || !reported[0].starts_with(place) || !reported[0].contains(part) {
            wrong.push(format!("{}: expected {expected:?}, found {reported:#?}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
