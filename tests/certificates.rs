//! Certificates as found in the field: accepted where that is safe, refused
//! where it is not, and why.

#[path = "support/certified.rs"]
mod certified;
mod support;

use std::{
    fs,
    io::Write,
    net::{IpAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use certified::{accepted, refused, site};
use qlik_sessions::site::{Certificates, Shape, Site};
use serde_json::Value;
use support::{Finished, Fixture, of_kind, sessions};

#[test]
fn names_as_the_qmc_writes_them_are_accepted() {
    let common_name_only = Shape { dns_names: vec![], ip_addresses: vec![], ..Shape::default() };
    accepted(&site(&common_name_only, "localhost", ""));
    let upper_case = Shape { common_name: "LOCALHOST".to_owned(), ..common_name_only.clone() };
    accepted(&site(&upper_case, "localhost", ""));
    let address_as_name =
        Shape { dns_names: vec!["127.0.0.1".to_owned()], ip_addresses: vec![], ..Shape::default() };
    accepted(&site(&address_as_name, "127.0.0.1", ""));
    let address = Shape { dns_names: vec![], ..Shape::default() };
    accepted(&site(&address, "127.0.0.1", ""));
    accepted(&site(&Shape { legacy_root: true, ..Shape::default() }, "localhost", ""));
    let old = Shape { legacy_root: true, ..common_name_only };
    accepted(&site(&old, "localhost", ""));
}

#[test]
fn a_wrong_name_is_refused_and_the_right_one_named() {
    let other = Shape {
        common_name: "qlikserver2".to_owned(),
        dns_names: vec!["qlikserver2".to_owned()],
        ip_addresses: vec![],
        ..Shape::default()
    };
    let fixture = site(&other, "localhost", "");
    refused(
        &fixture,
        "certificate_error",
        &["qlikserver2", "tlsServerName: qlikserver2", "sessionSource.servers"],
    );
    fixture
        .configure(Duration::from_secs(1), "    servers: {sense1: {tlsServerName: qlikserver2}}");
    accepted(&fixture);
    // A common name counts only where there is no subject alternative name.
    let both = Shape { common_name: "localhost".to_owned(), ..other.clone() };
    refused(&site(&both, "localhost", ""), "certificate_error", &["qlikserver2"]);
    let common_name = Shape { dns_names: vec![], ..other };
    refused(&site(&common_name, "localhost", ""), "certificate_error", &["qlikserver2"]);
    let as_name = Shape {
        dns_names: vec!["127.0.0.2".to_owned()],
        ip_addresses: vec![IpAddr::from([127, 0, 0, 3])],
        ..Shape::default()
    };
    refused(&site(&as_name, "127.0.0.1", ""), "certificate_error", &["127.0.0.2, 127.0.0.3"]);
}

#[test]
fn another_ca_and_ended_certificates_are_refused() {
    let fixture = site(&Shape::default(), "localhost", "");
    let good = fs::read(fixture.path("root.pem")).expect("it is there");
    Certificates::generate().write_to(&fixture.path("")).expect("written");
    let foreign = fs::read(fixture.path("root.pem")).expect("it is there");
    refused(
        &fixture,
        "certificate_error",
        &["simulated-site-CA", "clientCertCA", "export root.pem again"],
    );
    // Now the right root, but still a client certificate of another site.
    fs::write(fixture.path("root.pem"), &good).expect("written");
    let run = fixture.once();
    let error = of_kind(&run.events(), "poll_error")[0].clone();
    assert_eq!(error["category"], "auth_error", "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("this site's QMC")), "{error}");
    assert_ne!(good, foreign);

    let expired = Shape { server_expires: (2025, 6, 30), ..Shape::default() };
    refused(
        &site(&expired, "localhost", ""),
        "certificate_error",
        &["expired since 2025-06-30", "QMC"],
    );

    let ca = Shape { server_is_ca: true, ..Shape::default() };
    refused(&site(&ca, "localhost", ""), "certificate_error", &["of a CA as its own", "CA:FALSE"]);

    let fixture =
        site(&Shape { client_expires: (2025, 6, 30), ..Shape::default() }, "localhost", "");
    let check = Finished::of(fixture.command("check"));
    assert_eq!(check.code, Some(1));
    assert!(check.stdout.contains("good until 2025-06-30: it is expired"), "{}", check.stdout);
}

#[test]
fn unchecked_certificates_are_warned_of() {
    let shape = Shape {
        dns_names: vec!["other".to_owned()],
        server_expires: (2025, 6, 30),
        ..Shape::default()
    };
    let fixture = site(&shape, "localhost", "    servers: {sense1: {rejectUnauthorized: false}}");
    let run = accepted(&fixture);
    assert!(run.stderr.contains("is NOT CHECKED"), "{}", run.stderr);
}

#[test]
fn expiry_dates_are_reported_and_warned_of() {
    let soon = jiff::Timestamp::now().as_second() + 10 * 24 * 60 * 60;
    let day = jiff::Timestamp::from_second(soon).expect("a time").strftime("%Y-%m-%d").to_string();
    let parts: Vec<i32> = day.split('-').map(|part| part.parse().expect("a number")).collect();
    let shape =
        Shape { server_expires: (parts[0], parts[1] as u8, parts[2] as u8), ..Shape::default() };
    let run = accepted(&site(&shape, "localhost", ""));
    assert!(run.stderr.contains("the certificate of sense1 expires on"), "{}", run.stderr);
    let events = run.events();
    for kind in ["session_summary", "site_summary"] {
        let event = of_kind(&events, kind)[0];
        assert_eq!(event["server_certificate_expires"], format!("{day}T00:00:00.000Z"));
        assert_eq!(event["client_certificate_expires"], "2046-01-01T00:00:00.000Z");
    }
}

#[test]
fn renewed_certificates_are_taken_without_a_restart() {
    let fixture = site(&Shape::default(), "localhost", "");
    let good: Vec<(String, Vec<u8>)> = ["client.pem", "client_key.pem", "root.pem"]
        .iter()
        .map(|name| ((*name).to_owned(), fs::read(fixture.path(name)).expect("it is there")))
        .collect();
    Certificates::generate().write_to(fixture.folder.path()).expect("written");
    let mut stream = fixture.stream();
    assert_eq!(of_kind(&stream.poll(), "poll_error")[0]["category"], "certificate_error");
    // One file after another, as administrators copy them: a pair that does not fit is not
    // used.
    for (name, content) in good {
        fs::write(fixture.path(&name), content).expect("written");
        thread::sleep(Duration::from_millis(1_100));
    }
    stream.poll_until(|poll| of_kind(poll, "session").len() == 3);
}

#[test]
fn mixed_up_files_are_reported_with_a_hint() {
    let fixture = site(&Shape::default(), "localhost", "");
    let read = |name: &str| fs::read(fixture.path(name)).expect("it is there");
    let (client, key) = (read("client.pem"), read("client_key.pem"));
    let failing = |words: &[&str]| {
        let run = fixture.once();
        assert_eq!(run.code, Some(78), "{}", run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "{word:?} is not in {}", run.stderr);
        }
    };
    fs::write(fixture.path("client.pem"), &key).expect("written");
    fs::write(fixture.path("client_key.pem"), &client).expect("written");
    failing(&[
        "holds a private key and no certificate",
        "clientCertKey holds no private key",
        "swapped",
    ]);
    fs::write(fixture.path("client.pem"), &client).expect("written");
    failing(&["clientCertKey holds no private key", "swapped"]);
    let other = tempfile::tempdir().expect("a folder");
    Certificates::generate().write_to(other.path()).expect("written");
    fs::copy(other.path().join("client_key.pem"), fixture.path("client_key.pem")).expect("copied");
    failing(&["does not belong to the certificate", "one and the same export"]);
    fs::write(fixture.path("client_key.pem"), b"").expect("written");
    fs::write(fixture.path("root.pem"), b"hello").expect("written");
    failing(&["clientCertKey is empty", "clientCertCA holds no valid certificate"]);
    fixture.edit("clientCert: client.pem", "clientCert: client.pfx");
    fixture.edit("clientCertKey: client_key.pem", "clientCertKey: null");
    let run = fixture.once();
    assert!(run.stderr.contains("clientCert cannot be read"), "{}", run.stderr);
    assert!(!run.stderr.contains("clientCertKey"), "a pfx file holds the key: {}", run.stderr);
}

#[cfg(unix)]
#[test]
fn a_key_that_everyone_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = site(&Shape::default(), "localhost", "");
    fs::set_permissions(fixture.path("client_key.pem"), fs::Permissions::from_mode(0o644))
        .expect("changed");
    assert!(accepted(&fixture).stderr.contains("everyone on this machine may read it"));
    fs::set_permissions(fixture.path("client_key.pem"), fs::Permissions::from_mode(0o640))
        .expect("changed");
    assert!(!accepted(&fixture).stderr.contains("everyone"));
}

/// Makes the fixture's server one that does this with each connection.
fn serve(fixture: &Fixture, answer: fn(TcpStream)) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(answer));
    let old = fixture.site.address("sense1").port();
    fixture.edit(&format!("localhost:{old}"), &format!("localhost:{port}"));
}

#[test]
fn a_port_without_tls_is_named_as_that() {
    let fixture = site(&Shape::default(), "localhost", "");
    serve(&fixture, |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        thread::sleep(Duration::from_millis(200));
    });
    refused(&fixture, "tls_error", &["does not speak TLS", "4243"]);
}

#[test]
fn a_server_that_closes_the_connection_at_once_may_be_restarting() {
    let fixture = site(&Shape::default(), "localhost", "");
    serve(&fixture, drop);
    refused(&fixture, "connection_reset", &["closed the connection", "restarting"]);
}

/// Every site's exported client certificate has the name QlikClient.
#[test]
fn a_client_certificate_proves_no_server() {
    let shape = Shape {
        common_name: "QlikClient".to_owned(),
        dns_names: vec![],
        ip_addresses: vec![],
        ..Shape::default()
    };
    for options in ["", "    servers: {sense1: {tlsServerName: QlikClient}}"] {
        let fixture = site(&shape, "localhost", options);
        let run = fixture.once();
        let events = run.events();
        let error = of_kind(&events, "poll_error")[0];
        assert_eq!(error["category"], "certificate_error", "{error}");
        assert!(!error["hint"].as_str().expect("a hint").contains("tlsServerName"), "{error}");
        assert!(error["message"].as_str().expect("a text").contains("for clients"), "{error}");
    }
}

/// One server's missing file is that server's failure, and no other's.
#[test]
fn a_missing_certificate_file_fails_one_server_alone() {
    let fixture = Fixture::new(
        &[("sense1", &["/"]), ("sense2", &["/"])],
        "    servers: {sense2: {cert: {clientCert: none.pem, clientCertKey: none_key.pem, clientCertCA: root.pem}}}",
    );
    let run = fixture.once();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let events = run.events();
    assert_eq!(of_kind(&events, "session_summary").len(), 1);
    let error = of_kind(&events, "poll_error")[0];
    assert_eq!(
        (&error["server_name"], &error["category"]),
        (&"sense2".into(), &"certificate_error".into())
    );
    assert!(error["message"].as_str().expect("a text").contains("none.pem"), "{error}");
    assert!(error["hint"].is_string(), "{error}");
}

#[test]
fn check_finds_one_node_under_two_names_and_users_at_the_limit() {
    let site = Site::start(&[("sense1", &["/"]), ("sense2", &["/"])]).expect("the site starts");
    let mut people = sessions(4);
    for (n, session) in people.iter_mut().enumerate() {
        session.session_id = format!("x{n}");
        session.user_id = "busy".to_owned();
    }
    people.extend(sessions(2));
    people[4].user_id = "busy".to_owned();
    site.set_sessions("sense1", "/", &people);
    site.set_sessions("sense2", "/", &sessions(2));
    let folder = tempfile::tempdir().expect("a folder");
    let config = site.write_config(folder.path(), Duration::from_secs(1)).expect("written");
    let fixture = Fixture { site, folder, config };
    let check = Finished::of(fixture.command("check"));
    assert_eq!(check.code, Some(0), "warnings are no failures: {}", check.stdout);
    assert!(
        check.stdout.contains("sense1 and sense2 show the same sessions: 2"),
        "{}",
        check.stdout
    );
    assert!(
        check.stdout.contains("1 user is at the limit of 5 parallel sessions: LAB\\busy"),
        "{}",
        check.stdout
    );
    assert!(!check.stdout.contains('\u{1b}'), "no colour where there is no terminal");
    let mut json = fixture.command("check");
    json.args(["--output", "json"]);
    let document: Value = serde_json::from_str(&Finished::of(json).stdout).expect("JSON");
    assert_eq!(document["ok"], true);
    assert!(document["findings"].as_array().is_some_and(|findings| findings.len() > 8));
}
