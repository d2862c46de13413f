//! One node: accepts connections, keeps the session API's rules, and fails where it is set to.

use std::{convert::Infallible, io, net, sync::Arc, time::Instant};

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Answering, Fault, MAX_RECORDS, REPOSITORY, Request, SharedState, SimulatedSession, lock,
    repository,
};

type Body = BoxBody<Bytes, io::Error>;
/// An error ends the connection without an answer.
type Answer = Result<Response<Body>, io::Error>;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const LOGIN_FORM: &str = "<!DOCTYPE html><html><head><title>Login</title></head><body><form action=\"/internal_forms_authentication/\"><input name=\"username\"></form></body></html>";
const XSRF: &str = "XSRF prevention check failed. Possible XSRF discovered.";

/// Runs a node until the site ends.
pub async fn node(
    index: usize,
    listener: net::TcpListener,
    mut running: watch::Receiver<bool>,
    acceptor: TlsAcceptor,
    state: SharedState,
) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = Some(listener);
    loop {
        let bound = match listener.take() {
            Some(listener) => TcpListener::from_std(listener),
            None => TcpListener::bind(address).await,
        };
        if let Ok(bound) = bound {
            let mut connections = JoinSet::new();
            tokio::select! {
                () = accept(index, &bound, &acceptor, &state, &mut connections) => {}
                _ = running.wait_for(|running| !running) => {}
            }
        }
        if running.wait_for(|running| *running).await.is_err() {
            return;
        }
    }
}

async fn accept(
    index: usize,
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
    state: &SharedState,
    connections: &mut JoinSet<()>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let number = {
            let mut state = lock(state);
            state.connections += 1;
            if state.nodes[index]
                .virtual_proxies
                .values()
                .any(|one| one.fault == Some(Fault::Reset))
            {
                // Closing then sends RST.
                let _ = stream.set_zero_linger();
            }
            state.connections
        };
        connections.spawn(connection(index, number, stream, acceptor.clone(), Arc::clone(state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(
    index: usize,
    number: u64,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    state: SharedState,
) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| answer(index, number, request, Arc::clone(&state)));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    index: usize,
    connection: u64,
    request: hyper::Request<Incoming>,
    state: SharedState,
) -> Answer {
    let path = request.uri().path().to_owned();
    let user = header(&request, "X-Qlik-User");
    let is_repository = lock(&state).nodes[index].name == REPOSITORY;
    let key_name = if is_repository { "xrfkey=" } else { "Xrfkey=" };
    let key = xrfkey(request.uri().query().unwrap_or_default(), key_name);
    record(&state, index, connection, &path, &key, user.clone());
    if key.len() != 16
        || !key.bytes().all(|byte| byte.is_ascii_alphanumeric())
        || header(&request, "X-Qlik-Xrfkey").as_ref() != Some(&key)
    {
        return Ok(response(403, TEXT, XSRF));
    }
    let answering = if is_repository {
        let rights = repository::Rights::of(user.as_deref());
        if rights == repository::Rights::Unknown {
            return Ok(response(403, TEXT, "Forbidden"));
        }
        repository::answering(&lock(&state), &path, rights)
    } else {
        virtual_proxy(&path)
            .and_then(|prefix| lock(&state).nodes[index].virtual_proxies.get(&prefix).cloned())
    };
    let Some(answering) = answering else { return Ok(response(404, TEXT, "Not found")) };
    if request.method() != Method::GET {
        return Ok(response(405, TEXT, "Method not allowed"));
    }
    tokio::time::sleep(answering.delay).await;
    fail_or_answer(&answering).await
}

fn record(
    state: &SharedState,
    index: usize,
    connection: u64,
    path: &str,
    xrfkey: &str,
    user: Option<String>,
) {
    let mut state = lock(state);
    if state.requests.len() < MAX_RECORDS {
        let request = Request {
            node: state.nodes[index].name.clone(),
            path: path.to_owned(),
            user,
            xrfkey: xrfkey.to_owned(),
            connection,
            at: Instant::now(),
        };
        state.requests.push(request);
    }
}

fn header(request: &hyper::Request<Incoming>, name: &str) -> Option<String> {
    let value = request.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// `/qps/sales/session` → `/sales`.
fn virtual_proxy(path: &str) -> Option<String> {
    let prefix = path.strip_prefix("/qps")?.strip_suffix("/session")?;
    Some(if prefix.is_empty() { "/".to_owned() } else { prefix.to_owned() })
}

fn xrfkey(query: &str, name: &str) -> String {
    query.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap_or_default().to_owned()
}

async fn fail_or_answer(answering: &Answering) -> Answer {
    let list = &answering.body;
    let half = &list[..list.len() / 2];
    Ok(match &answering.fault {
        None => response(200, JSON, list.to_vec()),
        Some(Fault::LoginPage) => response(200, HTML, LOGIN_FORM),
        Some(Fault::Redirect) => redirect(),
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(*time).await;
            response(200, JSON, list.to_vec())
        }
        Some(Fault::NoAnswer) => std::future::pending().await,
        Some(Fault::StallBody) => partial(half, list.len(), None),
        Some(Fault::CloseMidBody) => {
            partial(half, list.len(), Some(io::ErrorKind::ConnectionAborted.into()))
        }
        Some(Fault::Reset) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Garbage) => {
            response(200, JSON, vec![0x80, 0x00, 0xff, 0xfe, 0x5b, 0x7b, 0x1f, 0xc3])
        }
        Some(Fault::TruncatedJson) => response(200, JSON, half.to_vec()),
        Some(Fault::EmptyBody) => response(200, JSON, ""),
        Some(Fault::JsonObject) => response(200, JSON, "{}"),
        Some(Fault::HugeList(count)) => response(200, JSON, huge_list(*count)),
        Some(Fault::Xsrf) => response(403, TEXT, XSRF),
        Some(Fault::Status(status)) => {
            response(*status, TEXT, "The simulated site fails as it was set to")
        }
    })
}

fn response(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn redirect() -> Response<Body> {
    let mut response = response(302, HTML, "");
    let target = "https://localhost/internal_forms_authentication/?targetId=00000000-0000-4000-8000-000000000000";
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(target));
    response
}

/// Announces `length` bytes, sends fewer, and then breaks off or says nothing more.
fn partial(start: &[u8], length: usize, end: Option<io::Error>) -> Response<Body> {
    let first = stream::iter([Ok(Frame::data(Bytes::copy_from_slice(start)))]);
    let body = match end {
        Some(error) => BodyExt::boxed(StreamBody::new(first.chain(stream::iter([Err(error)])))),
        None => BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length.max(1)));
    response
}

fn huge_list(count: usize) -> Vec<u8> {
    let sessions: Vec<SimulatedSession> = (0..count)
        .map(|number| {
            SimulatedSession::new(
                &format!("{number:08x}-0000-4000-8000-000000000000"),
                "LAB",
                &format!("user{:05}", number / 2),
            )
        })
        .collect();
    serde_json::to_vec(&sessions).unwrap_or_default()
}
