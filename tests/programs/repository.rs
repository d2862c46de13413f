//! A site behind nginx with client certificates: a repository service and three
//! proxies that are not of our making.

use std::{fs, path::Path, process::Command};

use qlik_sessions::site::{Certificates, REPOSITORY, Site};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Test,
    support::{Backend, Finished, Running, assert_valid, free_port, of_kind, program, wait_until},
    tests,
};

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![
    ["openssl"] a_passphrase_comes_from_a_file_and_a_pfx_has_its_key,
    ["nginx"] what_nginx_lists_is_found_and_polled,
    ["nginx"] what_nginx_lists_completes_a_configuration,
    ["nginx"] nginx_refuses_in_words_that_are_explained,
    ["nginx"] what_nginx_lists_may_change_while_stream_runs,
];

/// Every address of the block is this machine's on Linux alone.
#[cfg(target_os = "linux")]
pub const LOOPBACK_TESTS: &[Test] = tests![["nginx"] one_server_gets_what_its_own_node_lists];
#[cfg(not(target_os = "linux"))]
pub const LOOPBACK_TESTS: &[Test] = &[];

fn a_passphrase_comes_from_a_file_and_a_pfx_has_its_key() {
    let site = Site::start(&[("Central", &["/", "/sales"])]).expect("the site starts");
    let folder = tempfile::tempdir().expect("a folder");
    site.certificates().write_to(folder.path()).expect("written");
    let made = Command::new("openssl")
        .current_dir(&folder)
        .args(["pkcs12", "-export", "-in", "client.pem", "-inkey", "client_key.pem"])
        .args(["-out", "client.pfx", "-passout", "pass:a secret"])
        .status()
        .expect("openssl runs");
    assert!(made.success());
    fs::write(folder.path().join("passphrase.txt"), "a secret\r\n").expect("written");
    let discover = |passphrase_file: &str| {
        let mut command = program();
        command.current_dir(&folder).args(["discover", "--cert", "client.pfx", "--ca", "root.pem"]);
        command.arg("--host").arg(format!("localhost:{}", site.address(REPOSITORY).port()));
        command.args(["--passphrase-file", passphrase_file, "--output", "yaml"]);
        Finished::of(command)
    };
    let run = discover("passphrase.txt");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!run.stdout.contains("a secret"), "{}", run.stdout);
    let config = folder.path().join("config.yaml");
    fs::write(&config, &run.stdout).expect("written");
    let mut once = program();
    once.args(["once", "-c"]).arg(&config).env("QLIK_SESSIONS_KEY_PASSPHRASE", "a secret");
    assert_eq!(of_kind(&Finished::of(once).events(), "session_summary").len(), 2);
    fs::write(folder.path().join("wrong.txt"), "another").expect("written");
    assert_eq!(discover("wrong.txt").code, Some(78));
}

/// Three nodes with twelve virtual proxies each, two virtual proxies that are linked
/// to none, one node by its address, one with another port, inner slashes.
struct NginxSite {
    folder: TempDir,
    address: String,
    repository: u16,
    /// Name, host name and port.
    nodes: Vec<(&'static str, &'static str, u16)>,
    _nginx: Option<Backend>,
}

const QLIK_USER: &str = "UserDirectory=INTERNAL; UserId=sa_repository";

fn prefixes(node: &str) -> Vec<String> {
    let node = node.to_lowercase();
    let named = ["sales", "hr", "emea/finance", "emea/finance/audit", "a.b-c_d~e"];
    let numbered = (0..6).map(|number| format!("{node}/{number}"));
    std::iter::once(String::new())
        .chain(named.iter().map(|name| (*name).to_owned()))
        .chain(numbered)
        .collect()
}

impl NginxSite {
    fn new() -> Self {
        Self::at("127.0.0.1", free_port())
    }

    fn at(address: &str, repository: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Certificates::generate().write_all_to(folder.path()).expect("written");
        let nodes = vec![
            ("Central", "localhost", free_port()),
            ("SENSE2", "127.0.0.1", free_port()),
            ("SENSE3", "LOCALHOST", free_port()),
        ];
        let address = address.to_owned();
        let site = Self { folder, address, repository, nodes, _nginx: None };
        site.write_lists(&prefixes);
        site.write_sessions();
        site.start()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, value: &Value) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, value.to_string()).expect("written");
    }

    /// What the repository service lists from now on.
    fn write_lists(&self, prefixes: &dyn Fn(&str) -> Vec<String>) {
        let virtual_proxy = |prefix: &String| {
            json!({"id": "x", "prefix": prefix, "description": format!("About {prefix}"),
                   "sessionInactivityTimeout": 30, "loadBalancingServerNodes": []})
        };
        let proxies: Vec<Value> = self
            .nodes
            .iter()
            .map(|(name, host_name, port)| {
                let list: Vec<Value> = prefixes(name).iter().map(virtual_proxy).collect();
                json!({"id": "9d9b", "serverNodeConfiguration": {"id": "1", "name": name, "hostName": host_name},
                       "settings": {"listenPort": 443, "restListenPort": port, "virtualProxies": list}})
            })
            .collect();
        self.write("qrs/proxyservice/full", &proxies.into());
        let unlinked = ["old", "test/of/nobody"].map(str::to_owned);
        let mut all: Vec<String> =
            self.nodes.iter().flat_map(|(name, ..)| prefixes(name)).collect();
        all.extend(unlinked);
        let all: Vec<Value> = all.iter().map(virtual_proxy).collect();
        self.write("qrs/virtualproxyconfig/full", &all.into());
    }

    fn write_sessions(&self) {
        for (name, ..) in &self.nodes {
            for prefix in prefixes(name) {
                let id = format!("{name}/{prefix}");
                let sessions =
                    json!([{"UserDirectory": "LAB", "UserId": "goran", "SessionId": id}]);
                let middle = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
                self.write(&format!("{name}/qps{middle}/session"), &sessions);
            }
        }
    }

    fn start(mut self) -> Self {
        fs::write(self.path("nginx.conf"), self.config()).expect("written");
        let mut nginx = Command::new(if Path::new("/usr/sbin/nginx").is_file() {
            "/usr/sbin/nginx"
        } else {
            "nginx"
        });
        nginx.arg("-p").arg(self.folder.path()).arg("-c").arg(self.path("nginx.conf"));
        nginx.args(["-e", "stderr"]);
        self._nginx = Some(Backend::start(nginx, &self.path("nginx.log")));
        wait_until("nginx", || {
            std::net::TcpStream::connect((self.address.as_str(), self.repository)).ok()
        });
        self
    }

    fn config(&self) -> String {
        let (folder, address) = (self.folder.path().display(), &self.address);
        let tls = format!(
            "ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server_key.pem;
             ssl_client_certificate {folder}/root.pem; ssl_verify_client on;
             default_type application/json;"
        );
        let xsrf = r#"{ return 403 "XSRF prevention check failed. Possible XSRF discovered."; }"#;
        let mut servers = format!(
            r#"server {{ listen {address}:{} ssl; {tls} root {folder};
                if ($arg_xrfkey !~ "^[0-9A-Za-z]{{16}}$") {xsrf}
                if ($arg_xrfkey != $http_x_qlik_xrfkey) {xsrf}
                if ($http_x_qlik_user != "{QLIK_USER}") {{ return 403 "Forbidden"; }}
            }}"#,
            self.repository
        );
        for (name, _, port) in &self.nodes {
            servers.push_str(&format!(
                "\nserver {{ listen {address}:{port} ssl; {tls} root {folder}/{name}; }}"
            ));
        }
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {what};"))
            .concat();
        format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
             http {{ access_log off; {temporary} {servers} }}"
        )
    }

    fn discover(&self, arguments: &[&str]) -> Finished {
        let mut command = program();
        command.current_dir(&self.folder).arg("discover");
        command.arg("--host").arg(format!("localhost:{}", self.repository));
        command.args(["--cert", "client.pem", "--key", "client_key.pem", "--ca", "root.pem"]);
        command.args(arguments);
        Finished::of(command)
    }
}

fn what_nginx_lists_is_found_and_polled() {
    let site = NginxSite::new();
    let run = site.discover(&["--output", "json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    for (index, (name, host_name, port)) in site.nodes.iter().enumerate() {
        let node = &document["nodes"][index];
        assert_eq!((&node["server_name"], &node["host_name"]), (&json!(name), &json!(host_name)));
        assert_eq!(node["rest_listen_port"], *port);
        assert_eq!(node["virtual_proxies"].as_array().map(Vec::len), Some(12));
    }
    assert_eq!(document["unlinked"].as_array().map(Vec::len), Some(2));

    let run = site.discover(&["--output", "yaml"]);
    let config = site.path("config.yaml");
    fs::write(&config, &run.stdout).expect("written");
    let with_config = |name: &str| {
        let mut command = program();
        command.arg(name).arg("-c").arg(&config);
        Finished::of(command)
    };
    let check = with_config("check");
    assert_eq!(check.code, Some(0), "{}", check.stdout);
    let once = with_config("once");
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    let events = once.events();
    let ids: Vec<&str> = of_kind(&events, "session")
        .iter()
        .map(|event| event["session_id"].as_str().expect("an id"))
        .collect();
    for (name, ..) in &site.nodes {
        for prefix in prefixes(name) {
            assert!(ids.contains(&format!("{name}/{prefix}").as_str()), "{name} {prefix}");
        }
    }
    assert_eq!(events.last().expect("a summary")["targets"], 36);
}

fn what_nginx_lists_completes_a_configuration() {
    let site = NginxSite::new();
    let (_, host, port) = site.nodes[0];
    let config = site.path("config.yaml");
    let text = format!(
        "# Ours
Butler-SOS:
  cert: {{clientCert: client.pem, clientCertKey: client_key.pem, clientCertCA: root.pem}}
  userSessions: {{enableSessionExtract: true}}
  serversToMonitor:
    servers:
      - host: {host}:4747
        userSessions:
          enable: true
          host: {host}:{port}
          virtualProxies:
            - virtualProxy: /  # the hub
"
    );
    fs::write(&config, &text).expect("written");
    let with_config = |arguments: &[&str]| {
        let mut command = program();
        command.args(arguments).arg("-c").arg(&config);
        Finished::of(command)
    };
    let repository = format!("localhost:{}", site.repository);
    let run = with_config(&["discover", "--host", &repository]);
    assert!(run.stdout.contains("; 35 of them are missing in "), "{}{}", run.stdout, run.stderr);
    let run = with_config(&["discover", "--host", &repository, "--output", "yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.starts_with(&text), "{}", run.stdout);
    fs::write(&config, &run.stdout).expect("written");
    let check = with_config(&["check", "--repository", &repository]);
    assert_eq!(check.code, Some(0), "{}", check.stdout);
    let expected = "every virtual proxy that it lists is polled";
    assert!(check.stdout.contains(expected), "{}", check.stdout);
    let events = with_config(&["once"]).events();
    assert_eq!(events.last().expect("a summary")["targets"], 36);
}

fn nginx_refuses_in_words_that_are_explained() {
    let site = NginxSite::new();
    let run = site.discover(&["--user", "LAB\\goran"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("auth_error: the server answers with status 403: Forbidden"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("`LAB\\goran`"), "{}", run.stderr);
    // Somebody else's certificate.
    let other = tempfile::tempdir().expect("a folder");
    Certificates::generate().write_to(other.path()).expect("written");
    for file in ["client.pem", "client_key.pem"] {
        fs::copy(other.path().join(file), site.path(file)).expect("copied");
    }
    let run = site.discover(&[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("auth_error"), "{}", run.stderr);
    assert!(run.stderr.contains("exported from this site's QMC"), "{}", run.stderr);
}

fn what_nginx_lists_may_change_while_stream_runs() {
    let site = NginxSite::new();
    let config = site.path("config.yaml");
    let text = format!(
        "Butler-SOS:
  cert: {{clientCert: client.pem, clientCertKey: client_key.pem, clientCertCA: root.pem}}
  userSessions: {{enableSessionExtract: true, pollingInterval: 1000}}
  sessionSource:
    discovery: {{host: \"localhost:{}\", interval: 1000, exclude: [/SENSE3/*]}}
",
        site.repository
    );
    fs::write(&config, text).expect("written");
    let mut command = program();
    command.arg("stream").arg("-c").arg(&config);
    let mut stream = Running::start(command);
    let targets = |poll: &[Value]| poll.last().expect("a summary")["targets"].clone();
    let first = stream.poll();
    assert_eq!(targets(&first), 30);
    assert_eq!(first.last().expect("a summary")["targets_failed"], 0);
    let list = site.path("qrs/proxyservice/full");
    // One virtual proxy less on each node.
    site.write_lists(&|node| prefixes(node).split_off(1));
    let removed = stream.poll_until(|poll| !of_kind(poll, "target_removed").is_empty());
    assert_eq!(of_kind(&removed, "target_removed").len(), 3);
    assert_eq!(targets(&stream.poll()), 27);
    for (body, category) in [
        ("[]", "auth_error"),
        ("<html><body>Log in</body></html>", "login_page"),
        ("{}", "invalid_body"),
    ] {
        fs::write(&list, body).expect("written");
        let poll = stream.poll_until(|poll| {
            of_kind(poll, "discovery_error").iter().any(|error| error["category"] == category)
        });
        assert_eq!(targets(&poll), 27);
    }
    site.write_lists(&prefixes);
    let added = stream.poll_until(|poll| !of_kind(poll, "target_added").is_empty());
    assert_eq!(of_kind(&added, "target_added").len(), 3);
    assert_eq!(targets(&stream.poll()), 30);
    assert!(of_kind(&stream.seen, "session_ended").is_empty());
    assert_valid(&stream.seen);
}

#[cfg(target_os = "linux")]
fn one_server_gets_what_its_own_node_lists() {
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("127.77.{high}.{low}");
    let site = NginxSite::at(&address, 4242);
    let port = site.nodes[1].2;
    let config = site.path("config.yaml");
    let text = format!(
        "Butler-SOS:
  cert: {{clientCert: client.pem, clientCertKey: client_key.pem, clientCertCA: root.pem}}
  userSessions: {{enableSessionExtract: true}}
  sessionSource:
    servers:
      sense2: {{virtualProxies: auto, tlsServerName: localhost}}
  serversToMonitor:
    servers:
      - host: 127.0.0.1:4747
        serverName: sense2
        userSessions: {{enable: true, host: \"{address}:{port}\"}}
"
    );
    fs::write(&config, &text).expect("written");
    let mut once = program();
    once.arg("once").arg("-c").arg(&config);
    let run = Finished::of(once);
    assert_eq!(run.code, Some(0), "{}{}", run.stderr, run.stdout);
    let events = run.events();
    let summaries = of_kind(&events, "session_summary");
    assert_eq!(summaries.len(), 12);
    assert!(summaries.iter().all(|event| event["server_name"] == "sense2"));

    // Without a word of it in the configuration, `check` asks there, too.
    let list = "virtualProxies: [{virtualProxy: /}, {virtualProxy: /old}]";
    let text = text
        .replace("virtualProxies: auto, ", "")
        .replace(&format!("{port}\"}}"), &format!("{port}\", {list}}}"));
    fs::write(&config, text).expect("written");
    let mut check = program();
    check.arg("check").arg("-c").arg(&config);
    let run = Finished::of(check);
    for expected in [
        &format!("as the repository service {address}:4242 lists it"),
        "not polled on `sense2`",
        "/old: is polled on `sense2`, but is not linked",
        "the node Central",
    ] {
        assert!(run.stdout.contains(expected), "{expected} in {}", run.stdout);
    }
}
