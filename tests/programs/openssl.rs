//! Certificates, keys and servers of a real openssl.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use qlik_sessions::site::{Certificates, Shape};

use crate::{
    Test,
    certified::{accepted, refused, site},
    support::{Backend, Finished, Fixture, free_port, wait_until},
    tests,
};

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![
    ["openssl"] protected_keys_of_every_form_are_opened,
    ["openssl"] pkcs12_serves_in_place_of_the_pair,
    ["openssl"] a_server_with_old_cipher_suites_only_is_named_as_that,
    ["openssl"] tls_1_2_alone_is_enough,
    ["openssl"] certificates_of_version_1_are_as_good_as_others,
];

/// A site, and in its folder all of its certificates and keys.
fn with_certificates() -> Fixture {
    let fixture = site(&Shape::default(), "localhost", "");
    fixture.site.certificates().write_all_to(fixture.folder.path()).expect("written");
    fixture
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

fn protected_keys_of_every_form_are_opened() {
    let fixture = with_certificates();
    let folder = fixture.folder.path();
    // A key as the QMC makes it: RSA, and in PKCS#1.
    openssl(folder, "req -newkey rsa:2048 -nodes -keyout rsa.p8 -out rsa.csr -subj /CN=QlikClient");
    // Without an extension openssl makes X.509 version 1, and the QMC does not.
    fs::write(fixture.path("client.ext"), "keyUsage = digitalSignature\n").expect("written");
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

fn pkcs12_serves_in_place_of_the_pair() {
    let fixture = site(&Shape::default(), "localhost", "");
    let folder = fixture.folder.path();
    fixture.edit("clientCert: client.pem", "clientCert: client.pfx");
    fixture.edit("clientCertKey: client_key.pem", "clientCertKey: null");
    let export = "pkcs12 -export -in client.pem -inkey client_key.pem -certfile root.pem -passout pass:hunter2 -out client.pfx";
    for form in ["", " -legacy", " -nomac"].map(|option| format!("{export}{option}")) {
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

/// A TLS server that is not ours, with the certificates of the fixture's folder.
fn s_server(fixture: &Fixture, arguments: &[&str]) -> Backend {
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

fn a_server_with_old_cipher_suites_only_is_named_as_that() {
    let fixture = with_certificates();
    let _server = s_server(
        &fixture,
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA"],
    );
    refused(&fixture, "tls_error", &["Windows Server 2012"]);
}

fn tls_1_2_alone_is_enough() {
    let fixture = with_certificates();
    let _server = s_server(&fixture, &["-tls1_2"]);
    // What answers is a web page; but TLS came about.
    refused(&fixture, "login_page", &["4243"]);
}

/// What `openssl x509 -req` makes where it is given no extensions; the root is
/// of version 1, too.
fn certificates_of_version_1_are_as_good_as_others() {
    let named = |common_name: &str| {
        let fixture = with_certificates();
        for (name, subject) in [("root", "old-CA"), ("server", common_name)] {
            let request =
                format!("req -newkey rsa:2048 -nodes -keyout {name}_key.pem -out {name}.csr");
            openssl(fixture.folder.path(), &format!("{request} -subj /CN={subject}"));
        }
        let root = "x509 -req -in root.csr -signkey root_key.pem -days 300 -out root.pem";
        let server = "x509 -req -in server.csr -CA root.pem -CAkey root_key.pem -CAcreateserial -days 300 -out server.pem";
        openssl(fixture.folder.path(), root);
        openssl(fixture.folder.path(), server);
        fixture
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let fixture = named("localhost");
        let _server = s_server(&fixture, &[version]);
        refused(&fixture, "login_page", &["4243"]);
        let foreign = Certificates::generate();
        foreign.write_to(fixture.folder.path()).expect("written");
        refused(&fixture, "certificate_error", &["old-CA", "clientCertCA"]);
        fixture.edit("rejectUnauthorized: true", "rejectUnauthorized: false");
        refused(&fixture, "login_page", &["4243"]);
    }
    let fixture = named("qlikserver2");
    let _server = s_server(&fixture, &[]);
    refused(&fixture, "certificate_error", &["tlsServerName: qlikserver2"]);
}
