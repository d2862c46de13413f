//! Certificates as found in the field: accepted where that is safe, refused
//! where it is not, and why.

mod support;

use std::{
    fs,
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use qlik_sessions::site::{Certificates, Shape, Site};
use serde_json::Value;
use support::{Backend, Finished, Fixture, free_port, installed, of_kind, sessions, wait_until};

/// A site with certificates of a shape; it is dialled by `host`.
fn site(shape: &Shape, host: &str, session_source: &str) -> Fixture {
    let site = Site::start_with(Certificates::shaped(shape), &[("sense1", &["/"])], None)
        .expect("the site starts");
    site.set_sessions("sense1", "/", &sessions(3));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = site
        .write_config_with(folder.path(), Duration::from_secs(1), session_source)
        .expect("written");
    let fixture = Fixture { site, folder, config };
    if host != "localhost" {
        fixture.edit("\"localhost:", &format!("\"{host}:"));
    }
    fixture
}

fn accepted(fixture: &Fixture) -> Finished {
    let run = fixture.once();
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(of_kind(&run.events(), "session").len(), 3);
    run
}

/// The failure, whose message and hint hold these words.
fn refused(fixture: &Fixture, category: &str, words: &[&str]) {
    let run = fixture.once();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let events = run.events();
    let error = of_kind(&events, "poll_error")[0].clone();
    assert_eq!(error["category"], category, "{error}");
    let told = format!("{} {}", error["message"], error["hint"]);
    for word in words {
        assert!(told.contains(word), "{word:?} is not in {told}");
    }
    let check = Finished::of(fixture.command("check"));
    assert_eq!(check.code, Some(1));
    for word in words {
        let word = word.replace("\\\\", "\\");
        assert!(check.stdout.contains(&word), "{word:?} is not in {}", check.stdout);
    }
}

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
fn a_wrong_name_is_refused_and_the_right_one_told() {
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

    let fixture =
        site(&Shape { client_expires: (2025, 6, 30), ..Shape::default() }, "localhost", "");
    let check = Finished::of(fixture.command("check"));
    assert_eq!(check.code, Some(1));
    assert!(check.stdout.contains("good until 2025-06-30: it is expired"), "{}", check.stdout);
}

#[test]
fn unchecked_certificates_are_said_loudly() {
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
fn ends_of_certificates_are_told_and_warned_of() {
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
    // One file after another, as administrators copy them: what does not fit yet is left.
    for (name, content) in good {
        fs::write(fixture.path(&name), content).expect("written");
        thread::sleep(Duration::from_millis(1_100));
    }
    stream.poll_until(|poll| of_kind(poll, "session").len() == 3);
}

/// LibreSSL, which macOS calls openssl, makes other files.
fn openssl_3(test: &str) -> bool {
    if !installed("openssl", test) {
        return false;
    }
    let version = Command::new("openssl").arg("version").output().expect("openssl runs").stdout;
    let is_3 = String::from_utf8_lossy(&version).starts_with("OpenSSL 3");
    if !is_3 {
        support::skipped(test, "`openssl` is not OpenSSL 3");
    }
    is_3
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .expect("openssl runs");
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn once_with_passphrase(fixture: &Fixture, passphrase: Option<&str>) -> Finished {
    let mut once = fixture.command("once");
    once.args(["--log-level", "trace"]);
    if let Some(passphrase) = passphrase {
        once.env("QLIK_SESSIONS_KEY_PASSPHRASE", passphrase);
    }
    let run = Finished::of(once);
    if let Some(passphrase) = passphrase {
        assert!(
            !run.stderr.contains(passphrase) && !run.stdout.contains(passphrase),
            "a secret is shown: {}",
            run.stderr
        );
    }
    run
}

#[test]
fn protected_keys_of_every_form_are_opened() {
    if !openssl_3("protected_keys_of_every_form_are_opened") {
        return;
    }
    let fixture = site(&Shape::default(), "localhost", "");
    let folder = fixture.folder.path();
    fixture.site.certificates().write_all_to(folder).expect("written");
    // A key as the QMC makes it: RSA, and in PKCS#1.
    openssl(folder, "req -newkey rsa:2048 -nodes -keyout rsa.p8 -out rsa.csr -subj /CN=QlikClient");
    // Without an extension openssl makes X.509 version 1, and the QMC does not.
    fs::write(
        fixture.path("client.ext"),
        "keyUsage = digitalSignature
",
    )
    .expect("written");
    openssl(
        folder,
        "x509 -req -in rsa.csr -CA root.pem -CAkey ca_key.pem -CAcreateserial -days 300 -extfile client.ext -out client.pem",
    );
    openssl(folder, "rsa -traditional -in rsa.p8 -out client_key.pem");
    assert!(
        fs::read_to_string(fixture.path("client_key.pem"))
            .expect("PEM")
            .contains("BEGIN RSA PRIVATE KEY")
    );
    accepted(&fixture);
    fs::copy(fixture.path("client_key.pem"), fixture.path("plain.pem")).expect("copied");
    let mut forms = vec![
        "pkcs8 -topk8 -in plain.pem -v2 aes-128-cbc".to_owned(),
        "pkcs8 -topk8 -in plain.pem -v2 aes-256-cbc -v2prf hmacWithSHA256".to_owned(),
        "pkcs8 -topk8 -in plain.pem -v2 aes-256-cbc -v2prf hmacWithSHA1".to_owned(),
        "pkcs8 -topk8 -in plain.pem -v2 des3".to_owned(),
    ];
    forms.extend(
        ["aes128", "aes192", "aes256", "des3"]
            .map(|cipher| format!("rsa -traditional -in plain.pem -{cipher}")),
    );
    for form in forms {
        openssl(folder, &format!("{form} -passout pass:hunter2 -out client_key.pem"));
        assert_eq!(once_with_passphrase(&fixture, Some("hunter2")).code, Some(0), "{form}");
        for (passphrase, words) in [(Some("wrong-one"), "does not open"), (None, "none is given")] {
            let run = once_with_passphrase(&fixture, passphrase);
            assert_eq!(run.code, Some(78), "{form}");
            assert!(
                run.stderr.contains(words) && run.stderr.contains("QLIK_SESSIONS_KEY_PASSPHRASE"),
                "{form}: {}",
                run.stderr
            );
        }
    }
    // From the file, too.
    fixture.edit("clientCertPassphrase: null", "clientCertPassphrase: hunter2");
    assert_eq!(once_with_passphrase(&fixture, None).code, Some(0));
}

#[test]
fn pkcs12_serves_in_place_of_the_pair() {
    if !openssl_3("pkcs12_serves_in_place_of_the_pair") {
        return;
    }
    let fixture = site(&Shape::default(), "localhost", "");
    let folder = fixture.folder.path();
    fixture.edit("clientCert: client.pem", "clientCert: client.pfx");
    fixture.edit("clientCertKey: client_key.pem", "clientCertKey: null");
    let export = "pkcs12 -export -in client.pem -inkey client_key.pem -certfile root.pem -passout pass:hunter2 -out client.pfx";
    for form in [export.to_owned(), format!("{export} -legacy")] {
        openssl(folder, &form);
        assert_eq!(once_with_passphrase(&fixture, Some("hunter2")).code, Some(0), "{form}");
        let run = once_with_passphrase(&fixture, Some("wrong-one"));
        assert_eq!(run.code, Some(78));
        assert!(run.stderr.contains("does not open"), "{}", run.stderr);
    }
    openssl(folder, "x509 -in root.pem -outform der -out root.cer");
    fixture.edit("root.pem", "root.cer");
    assert_eq!(
        once_with_passphrase(&fixture, Some("hunter2")).code,
        Some(0),
        "a root as Windows exports it"
    );
}

#[test]
fn files_that_are_mixed_up_say_how_to_mend_it() {
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
    failing(&["holds a private key and no certificate", "swapped"]);
    fs::write(fixture.path("client.pem"), &client).expect("written");
    failing(&["clientCertKey holds no private key", "swapped"]);
    let other = tempfile::tempdir().expect("a folder");
    Certificates::generate().write_to(other.path()).expect("written");
    fs::copy(other.path().join("client_key.pem"), fixture.path("client_key.pem")).expect("copied");
    failing(&["does not belong to the certificate", "one and the same export"]);
    fs::write(fixture.path("client_key.pem"), b"").expect("written");
    fs::write(fixture.path("root.pem"), b"hello").expect("written");
    failing(&["clientCertKey is empty"]);
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

/// A TLS server that is not ours, on the fixture's port.
fn s_server(fixture: &Fixture, arguments: &[&str]) -> Backend {
    fixture.site.certificates().write_all_to(fixture.folder.path()).expect("written");
    let port = free_port();
    let mut command = Command::new("openssl");
    command
        .current_dir(fixture.folder.path())
        .args([
            "s_server",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-cert",
            "server.pem",
            "-key",
            "server_key.pem",
            "-www",
        ])
        .args(arguments)
        .stdin(Stdio::null());
    let old = fixture.site.address("sense1").port();
    fixture.edit(&format!("localhost:{old}"), &format!("localhost:{port}"));
    let server = Backend::start(command, &fixture.path("s_server.log"));
    wait_until("the server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    server
}

#[test]
fn a_server_with_old_cipher_suites_only_is_named_as_that() {
    if !openssl_3("a_server_with_old_cipher_suites_only_is_named_as_that") {
        return;
    }
    let fixture = site(&Shape::default(), "localhost", "");
    let _server = s_server(
        &fixture,
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA"],
    );
    refused(&fixture, "tls_error", &["Windows Server 2012"]);
}

#[test]
fn tls_1_2_alone_is_enough() {
    if !openssl_3("tls_1_2_alone_is_enough") {
        return;
    }
    let fixture = site(&Shape::default(), "localhost", "");
    let _server = s_server(&fixture, &["-tls1_2"]);
    // What answers is a web page; but TLS came about.
    refused(&fixture, "login_page", &["4243"]);
}

#[test]
fn a_port_without_tls_is_named_as_that() {
    let fixture = site(&Shape::default(), "localhost", "");
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            use std::io::Write;
            let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            thread::sleep(Duration::from_millis(200));
        }
    });
    let old = fixture.site.address("sense1").port();
    fixture.edit(&format!("localhost:{old}"), &format!("localhost:{port}"));
    refused(&fixture, "tls_error", &["does not speak TLS", "4243"]);
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
        check.stdout.contains("sense1 and sense2 tell the same 2 sessions"),
        "{}",
        check.stdout
    );
    assert!(check.stdout.contains("LAB\\busy holds 5 sessions on sense1"), "{}", check.stdout);
    assert!(!check.stdout.contains('\u{1b}'), "no colour where there is no terminal");
    let mut json = fixture.command("check");
    json.args(["--output", "json"]);
    let document: Value = serde_json::from_str(&Finished::of(json).stdout).expect("JSON");
    assert_eq!(document["ok"], true);
    assert!(document["findings"].as_array().is_some_and(|findings| findings.len() > 8));
}
