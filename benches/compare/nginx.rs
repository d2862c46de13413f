//! nginx with mutual TLS in the place of a site: the cheapest server there is,
//! so that what is measured is the client.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{common, process::Running};

/// A site whose virtual proxy `/NUMBER` holds so many sessions.
pub struct Nginx {
    port: u16,
    _process: Running,
}

impl Nginx {
    /// Makes certificates in the shape of the QMC's and one file for each list.
    pub fn start(folder: &Path, lists: &[usize]) -> Self {
        certificates(folder);
        let mut locations = String::new();
        for sessions in lists {
            put(folder, *sessions, 0);
            locations.push_str(&format!(
                "location = /qps/{sessions}/session {{ alias {}; }}\n",
                file(folder, *sessions).display()
            ));
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("there is a free port")
            .port();
        let here = folder.display();
        let config = format!(
            "daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/nginx.log;
events {{}}
http {{
access_log off; default_type application/json; sendfile on; keepalive_requests 1000000;
client_body_temp_path {here}/t1; proxy_temp_path {here}/t2; fastcgi_temp_path {here}/t3;
uwsgi_temp_path {here}/t4; scgi_temp_path {here}/t5;
server {{
listen 127.0.0.1:{port} ssl;
ssl_protocols TLSv1.2 TLSv1.3;
ssl_certificate {here}/server.pem; ssl_certificate_key {here}/server_key.pem;
ssl_client_certificate {here}/root.pem; ssl_verify_client on;
{locations}}}
}}
"
        );
        fs::write(folder.join("nginx.conf"), config).expect("the folder can be written");
        let process = Command::new("nginx")
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .env("PATH", path_with_sbin())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let process = Running(process);
        let given_up = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < given_up, "nginx does not start");
            thread::sleep(Duration::from_millis(10));
        }
        Self { port, _process: process }
    }

    /// Where a list is.
    pub fn url(&self, sessions: usize) -> String {
        format!("https://localhost:{}/qps/{sessions}/session?Xrfkey=0123456789abcdef", self.port)
    }

    /// Writes a configuration that polls some of the lists; returns its path.
    pub fn config(&self, folder: &Path, lists: &[usize]) -> String {
        self.config_with(folder, lists, "config", "")
    }

    /// The same for a server with a description and tags.
    pub fn tagged_config(&self, folder: &Path, lists: &[usize]) -> String {
        let tags = "        serverDescription: Sense server 1
        serverTags: {environment: production, location: Stockholm}
";
        self.config_with(folder, lists, "tagged", tags)
    }

    fn config_with(&self, folder: &Path, lists: &[usize], name: &str, more: &str) -> String {
        let mut text = format!(
            "Butler-SOS:
  cert: {{clientCert: client.pem, clientCertKey: client_key.pem, clientCertCA: root.pem}}
  userSessions: {{enableSessionExtract: true, pollingInterval: 1000}}
  serversToMonitor:
    servers:
      - host: localhost:4747
        serverName: sense1
{more}        userSessions:
          enable: true
          host: localhost:{}
          virtualProxies:
",
            self.port
        );
        let mut name = name.to_owned();
        for sessions in lists {
            text.push_str(&format!("            - virtualProxy: /{sessions}\n"));
            name.push_str(&format!("-{sessions}"));
        }
        let path = folder.join(name + ".yaml");
        fs::write(&path, text).expect("the folder can be written");
        path.display().to_string()
    }
}

/// Where a list is on disk.
pub fn file(folder: &Path, sessions: usize) -> PathBuf {
    folder.join(format!("{sessions}.json"))
}

/// Makes a list hold the sessions from `first` on.
pub fn put(folder: &Path, sessions: usize, first: usize) {
    let new = folder.join("new.json");
    fs::write(&new, common::answer(first, sessions))
        .and_then(|()| fs::rename(&new, file(folder, sessions)))
        .expect("the folder can be written");
}

/// Distributions put nginx where only administrators look.
fn path_with_sbin() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/sbin"
}

/// As the QMC exports them: RSA 2048, the key in PKCS#1, the client without
/// names and usages.
fn certificates(folder: &Path) {
    let script = r#"set -e
issue() {
  openssl req -new -newkey rsa:2048 -nodes -keyout $1_pkcs8.pem -subj "/CN=$2" -out $1.csr
  openssl x509 -req -in $1.csr -CA root.pem -CAkey root_key.pem -CAcreateserial -days 3650 -extfile $1.ext -out $1.pem
  openssl rsa -traditional -in $1_pkcs8.pem -out $1_key.pem 2>/dev/null || openssl rsa -in $1_pkcs8.pem -out $1_key.pem
}
echo 'keyUsage=digitalSignature,keyEncipherment' > client.ext
echo 'subjectAltName=DNS:localhost' > server.ext
openssl req -x509 -newkey rsa:2048 -nodes -keyout root_key.pem -subj "/CN=localhost-CA" -days 3650 -out root.pem
issue client QlikClient
issue server localhost
chmod 600 *_key.pem"#;
    let output =
        Command::new("sh").arg("-c").arg(script).current_dir(folder).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
