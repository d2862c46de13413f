//! An HTTP server that takes whatever an agent sends, answers as the backend
//! would, and keeps the bodies.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use serde_json::Value;

/// One request.
#[derive(Clone, Debug)]
pub struct Captured {
    pub path: String,
    pub body: String,
}

/// The running server; its thread ends with the test.
pub struct Capture {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Captured>>>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    is_killed: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Capture {
    pub fn start() -> Self {
        Self::start_at(0)
    }

    /// On this port, so that it can be away at first; 0 is any free one.
    pub fn start_at(port: u16) -> Self {
        let mut capture = Self {
            address: ([127, 0, 0, 1], port).into(),
            requests: Arc::default(),
            connections: Arc::default(),
            is_killed: Arc::default(),
            listener: None,
        };
        capture.restart();
        capture
    }

    /// Cuts all connections and listens no longer, as a server that is killed.
    pub fn kill(&mut self) {
        self.is_killed.store(true, Ordering::SeqCst);
        // So that the listener sees it.
        let _ = TcpStream::connect(self.address);
        self.listener.take().expect("it runs").join().expect("no thread panicked");
        for connection in self.connections.lock().expect("no thread panicked").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Listens again, with what it has kept.
    pub fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).expect("a free port");
        self.address = listener.local_addr().expect("an address");
        self.is_killed.store(false, Ordering::SeqCst);
        let (requests, connections) = (Arc::clone(&self.requests), Arc::clone(&self.connections));
        let is_killed = Arc::clone(&self.is_killed);
        self.listener = Some(thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_killed.load(Ordering::SeqCst) {
                    return;
                }
                let own = stream.try_clone().expect("a socket can be cloned");
                connections.lock().expect("no thread panicked").push(own);
                let requests = Arc::clone(&requests);
                thread::spawn(move || serve(stream, &requests));
            }
        }));
    }

    /// The requests whose path begins so.
    pub fn requests(&self, path: &str) -> Vec<Captured> {
        let requests = self.requests.lock().expect("no thread panicked");
        requests.iter().filter(|request| request.path.starts_with(path)).cloned().collect()
    }

    /// The lines of all bodies, as JSON.
    pub fn json_lines(&self, path: &str) -> Vec<Value> {
        self.requests(path)
            .iter()
            .flat_map(|request| request.body.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

fn serve(stream: TcpStream, requests: &Mutex<Vec<Captured>>) {
    let mut writer = stream.try_clone().expect("a socket can be cloned");
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader, &mut writer) {
        let answer = answer(&request);
        requests.lock().expect("no thread panicked").push(request);
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, writer: &mut TcpStream) -> Option<Captured> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
        if header.starts_with("expect:") {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
    }
    let body = if chunked { read_chunks(reader)? } else { read_exactly(reader, length)? };
    Some(Captured { path, body: String::from_utf8_lossy(&body).into_owned() })
}

fn read_exactly(reader: &mut impl Read, length: usize) -> Option<Vec<u8>> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn read_chunks(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        body.extend(read_exactly(reader, size)?);
        read_exactly(reader, 2)?;
        if size == 0 {
            return Some(body);
        }
    }
}

/// What Elasticsearch's bulk API answers is read by agents; the others' answers
/// are only statuses.
fn answer(request: &Captured) -> String {
    let (status, body) = if request.path.contains("_bulk") {
        let items: Vec<&str> = request
            .body
            .lines()
            .filter(|line| line.starts_with("{\"create\"") || line.starts_with("{\"index\""))
            .map(|_| "{\"create\":{\"status\":201}}")
            .collect();
        ("200 OK", format!("{{\"took\":1,\"errors\":false,\"items\":[{}]}}", items.join(",")))
    } else if request.path.starts_with("/loki") || request.path.starts_with("/write") {
        ("204 No Content", String::new())
    } else {
        ("200 OK", "{}".to_owned())
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Elastic-Product: Elasticsearch\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
