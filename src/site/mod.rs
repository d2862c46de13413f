//! A simulated Qlik Sense site on this machine, for `demo` and for tests.
//!
//! It keeps the session API's rules as the proxies do: mutual TLS with a CA of
//! its own ([`Certificates`]), an Xrfkey that stands in query and header, one
//! list for each virtual proxy. People come and go ([`Population`]), and what
//! goes wrong in the field can be switched on ([`Fault`]).
//!
//! A [`Site`] has one node or several, each with an address of its own, and a
//! repository service ([`REPOSITORY`]) that lists them. It runs on a thread of
//! its own until it is dropped.

mod certificates;
mod fault;
mod past;
mod population;
mod repository;
mod server;

use std::{
    collections::BTreeMap,
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::{oneshot, watch};

pub use certificates::{Certificates, Shape};
pub use fault::Fault;
pub use past::{Outage, OutageKind, Past, PastOptions, TARGETS, Visit, recorded_config};
pub use population::Population;

/// The repository service's name, where a method wants that of a node: it can be
/// stopped, and fails and is slow as its virtual proxy `/` does. A body that is set
/// is its whole answer; without one it lists the site.
pub const REPOSITORY: &str = "repository";

/// Most requests that are remembered.
const MAX_RECORDS: usize = 100_000;

/// A session as the session API reports it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SimulatedSession {
    /// The user directory.
    pub user_directory: String,
    /// The user's id in it.
    pub user_id: String,
    /// Objects of one key each; keys may repeat.
    pub attributes: Vec<BTreeMap<String, String>>,
    /// A GUID, as a rule.
    pub session_id: String,
}

impl SimulatedSession {
    /// A session without attributes.
    pub fn new(session_id: &str, user_directory: &str, user_id: &str) -> Self {
        Self {
            user_directory: user_directory.to_owned(),
            user_id: user_id.to_owned(),
            attributes: Vec::new(),
            session_id: session_id.to_owned(),
        }
    }
}

/// One request, as a node saw it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The node.
    pub node: String,
    /// The path, without the query.
    pub path: String,
    /// The header `X-Qlik-User`, where there is one.
    pub user: Option<String>,
    /// The key in the query.
    pub xrfkey: String,
    /// Counts the connections of the site.
    pub connection: u64,
    /// When it came.
    pub at: Instant,
}

/// What one virtual proxy answers.
#[derive(Clone, Debug, Default)]
struct Answering {
    body: Arc<Vec<u8>>,
    fault: Option<Fault>,
    delay: Duration,
}

/// A node with its proxy service; the repository service is a node, too.
struct Node {
    name: String,
    /// What the node was registered with.
    host_name: String,
    address: SocketAddr,
    virtual_proxies: BTreeMap<String, Answering>,
    running: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    /// Prefixes of virtual proxies that are linked to no proxy.
    unlinked: Vec<String>,
    requests: Vec<Request>,
    connections: u64,
}

impl State {
    /// The nodes that have a proxy service.
    fn proxies(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.name != REPOSITORY)
    }

    fn proxies_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut().filter(|node| node.name != REPOSITORY)
    }

    fn node(&self, name: &str) -> &Node {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .unwrap_or_else(|| panic!("the site has no node {name}"))
    }

    fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes
            .iter_mut()
            .find(|node| node.name == name)
            .unwrap_or_else(|| panic!("the site has no node {name}"))
    }

    fn answering(&mut self, node: &str, virtual_proxy: &str) -> &mut Answering {
        self.node_mut(node).virtual_proxies.entry(virtual_proxy.to_owned()).or_default()
    }
}

type SharedState = Arc<Mutex<State>>;

fn lock(state: &SharedState) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running site. Methods that name a node or virtual proxy create virtual
/// proxies that are not there. They panic where there is no such node: that is a typing
/// error in a test.
pub struct Site {
    state: SharedState,
    certificates: Certificates,
    /// Dropped with the site: then its thread ends.
    _stop: oneshot::Sender<()>,
}

impl Site {
    /// Starts nodes, each with its virtual proxies, where nobody is connected yet.
    ///
    /// # Errors
    /// Where the operating system gives no port or thread.
    pub fn start(nodes: &[(&str, &[&str])]) -> io::Result<Self> {
        Self::start_with(Certificates::generate(), nodes, None)
    }

    /// As [`Site::start`], with certificates of another site.
    ///
    /// # Errors
    /// As [`Site::start`].
    pub fn start_with(
        certificates: Certificates,
        nodes: &[(&str, &[&str])],
        population: Option<(Population, Duration)>,
    ) -> io::Result<Self> {
        let state = SharedState::default();
        let mut listeners = Vec::new();
        let repository: &[(&str, &[&str])] = &[(REPOSITORY, &[])];
        for (name, prefixes) in nodes.iter().chain(repository) {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            listener.set_nonblocking(true)?;
            let (running, is_running) = watch::channel(true);
            let mut shared = lock(&state);
            shared.nodes.push(Node {
                name: (*name).to_owned(),
                host_name: "localhost".to_owned(),
                address: listener.local_addr()?,
                virtual_proxies: BTreeMap::new(),
                running,
            });
            for prefix in *prefixes {
                shared.answering(name, prefix).body = Arc::new(b"[]".to_vec());
            }
            listeners.push((listener, is_running));
        }
        let (stop, stopped) = oneshot::channel();
        let site = Self { state, certificates, _stop: stop };
        site.run(listeners, population, stopped)?;
        Ok(site)
    }

    /// The site of `demo`: two nodes, some people, who come and go at every interval.
    ///
    /// # Errors
    /// As [`Site::start`].
    pub fn demo(interval: Duration) -> io::Result<Self> {
        let seed = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |now| now.as_secs());
        let nodes: &[(&str, &[&str])] = &[("sense1", &["/", "/sales"]), ("sense2", &["/", "/hr"])];
        Self::start_with(Certificates::generate(), nodes, Some((Population::new(seed), interval)))
    }

    fn run(
        &self,
        listeners: Vec<(TcpListener, watch::Receiver<bool>)>,
        mut population: Option<(Population, Duration)>,
        stopped: oneshot::Receiver<()>,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let acceptor = self.certificates.acceptor();
        let state = Arc::clone(&self.state);
        if let Some((people, _)) = &mut population {
            // The first poll already finds somebody.
            move_people(people, &state);
        }
        thread::Builder::new().name("simulated site".to_owned()).spawn(move || {
            runtime.block_on(async {
                for (index, (listener, running)) in listeners.into_iter().enumerate() {
                    tokio::spawn(server::node(
                        index,
                        listener,
                        running,
                        acceptor.clone(),
                        Arc::clone(&state),
                    ));
                }
                if let Some((people, interval)) = population {
                    tokio::spawn(come_and_go(people, interval, state));
                }
                let _ = stopped.await;
            });
        })?;
        Ok(())
    }

    /// The site's certificates.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Where a node listens.
    pub fn address(&self, node: &str) -> SocketAddr {
        lock(&self.state).node(node).address
    }

    /// Sets the sessions of a virtual proxy from now on.
    pub fn set_sessions(&self, node: &str, virtual_proxy: &str, sessions: &[SimulatedSession]) {
        let body = serde_json::to_vec(sessions).expect("sessions are texts, and texts are JSON");
        self.set_body(node, virtual_proxy, body);
    }

    /// Sets the body that a virtual proxy answers with from now on.
    pub fn set_body(&self, node: &str, virtual_proxy: &str, body: Vec<u8>) {
        lock(&self.state).answering(node, virtual_proxy).body = Arc::new(body);
    }

    /// Sets the fault of a virtual proxy from now on.
    pub fn set_fault(&self, node: &str, virtual_proxy: &str, fault: Option<Fault>) {
        lock(&self.state).answering(node, virtual_proxy).fault = fault;
    }

    /// Unlinks a virtual proxy from a node's proxy, which does not have it any more.
    pub fn remove_virtual_proxy(&self, node: &str, virtual_proxy: &str) {
        lock(&self.state).node_mut(node).virtual_proxies.remove(virtual_proxy);
    }

    /// Sets the virtual proxies that are linked to no proxy.
    pub fn set_unlinked(&self, prefixes: &[&str]) {
        lock(&self.state).unlinked = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    }

    /// Sets what a node was registered with.
    pub fn set_host_name(&self, node: &str, host_name: &str) {
        lock(&self.state).node_mut(node).host_name = host_name.to_owned();
    }

    /// Sets how long a virtual proxy waits before it answers.
    pub fn set_delay(&self, node: &str, virtual_proxy: &str, delay: Duration) {
        lock(&self.state).answering(node, virtual_proxy).delay = delay;
    }

    /// Stops a node: its connections break, and new ones are refused.
    pub fn stop(&self, node: &str) {
        self.switch(node, false);
    }

    /// Starts a stopped node on the port that it had.
    pub fn restart(&self, node: &str) {
        self.switch(node, true);
    }

    fn switch(&self, node: &str, running: bool) {
        let address = {
            let state = lock(&self.state);
            let node = state.node(node);
            node.running.send_replace(running);
            node.address
        };
        let given_up = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(address).is_ok() != running && Instant::now() < given_up {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state).requests.clone()
    }

    /// Writes the client's certificates and a Butler SOS file for this site;
    /// returns that file's path.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write_config(&self, folder: &Path, interval: Duration) -> io::Result<PathBuf> {
        self.write_config_with(folder, interval, "")
    }

    /// As [`Site::write_config`], with lines under `sessionSource`, each
    /// indented by four blanks.
    ///
    /// # Errors
    /// As [`Site::write_config`].
    pub fn write_config_with(
        &self,
        folder: &Path,
        interval: Duration,
        session_source: &str,
    ) -> io::Result<PathBuf> {
        self.certificates.write_to(folder)?;
        let path = folder.join("config.yaml");
        fs::write(&path, self.config(interval, session_source))?;
        Ok(path)
    }

    /// Writes the client's certificates and a configuration without any server: the
    /// repository service lists them. Further lines under `discovery`, each
    /// indented by six blanks, and under `sessionSource`, by four.
    ///
    /// # Errors
    /// As [`Site::write_config`].
    pub fn write_discovery_config(
        &self,
        folder: &Path,
        interval: Duration,
        discovery: &str,
        session_source: &str,
    ) -> io::Result<PathBuf> {
        self.certificates.write_to(folder)?;
        let path = folder.join("config.yaml");
        let text = format!(
            "Butler-SOS:
  cert: {{clientCert: client.pem, clientCertKey: client_key.pem, clientCertCA: root.pem}}
  userSessions: {{enableSessionExtract: true, pollingInterval: {}}}
  sessionSource:
    discovery:
      host: \"127.0.0.1:{}\"
{discovery}
{session_source}
",
            interval.as_millis(),
            self.address(REPOSITORY).port(),
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    fn config(&self, interval: Duration, session_source: &str) -> String {
        let mut text = format!(
            "Butler-SOS:
  cert:
    clientCert: client.pem
    clientCertKey: client_key.pem
    clientCertCA: root.pem
    clientCertPassphrase: null
  userSessions:
    enableSessionExtract: true
    pollingInterval: {}
    excludeUser: null
  sessionSource:
{session_source}
  serversToMonitor:
    rejectUnauthorized: true
    servers:
",
            interval.as_millis()
        );
        for node in lock(&self.state).proxies() {
            let Node { name, address, .. } = node;
            text.push_str(&format!(
                "      - host: {name}.example.com:4747
        serverName: {name}
        serverDescription: Simulated node {name}
        serverTags:
          environment: demo
        userSessions:
          enable: true
          host: \"{address}\"
          virtualProxies:
"
            ));
            for prefix in node.virtual_proxies.keys() {
                text.push_str(&format!("            - virtualProxy: \"{prefix}\"\n"));
            }
        }
        text
    }
}

async fn come_and_go(mut people: Population, interval: Duration, state: SharedState) {
    loop {
        tokio::time::sleep(interval).await;
        move_people(&mut people, &state);
    }
}

fn move_people(people: &mut Population, state: &SharedState) {
    for node in lock(state).proxies_mut() {
        for (prefix, answering) in &mut node.virtual_proxies {
            let sessions = people.sessions(&node.name, prefix);
            answering.body = Arc::new(serde_json::to_vec(sessions).unwrap_or_default());
        }
    }
}
