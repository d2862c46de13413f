//! The steps of a connection, one by one: DNS, TCP, TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use super::report::{Finding, Report, Step};
use crate::proxy::{
    CertificateSet, Endpoint, Failure, connection_failure, no_answer_in_time,
    no_connection_in_time, resolution_failure,
    tls::{self, CertificateObserver, FileProblem},
};

/// Connects to a service; returns whether HTTP is worth a try.
pub async fn connect(
    endpoint: &Endpoint,
    certificates: Option<&CertificateSet>,
    limit: Duration,
    report: &mut Report,
) -> io::Result<bool> {
    let addresses = match resolve(endpoint, limit).await {
        Ok(addresses) => {
            let list: Vec<String> =
                addresses.iter().map(|address| address.ip().to_string()).collect();
            report.add(Finding::ok(
                Step::Dns,
                format!("{} is {}", endpoint.address.host, list.join(", ")),
            ))?;
            addresses
        }
        Err(failure) => {
            report.add(Finding::failure(Step::Dns, failure))?;
            return Ok(false);
        }
    };
    let stream = match reach(endpoint, &addresses, limit).await {
        Ok((stream, address, time)) => {
            report.add(Finding::ok(
                Step::Tcp,
                format!("{address} answers in {}", milliseconds(time)),
            ))?;
            stream
        }
        Err(failure) => {
            report.add(Finding::failure(Step::Tcp, failure))?;
            return Ok(false);
        }
    };
    let Some(certificates) = certificates else {
        report.add(
            Finding::error(Step::Tls, "cannot be tried without usable certificates")
                .hint("repair the certificates first"),
        )?;
        return Ok(false);
    };
    let (finding, observer) = match shake_hands(endpoint, certificates, stream, limit).await {
        Ok(Ok((finding, observer))) => (finding, observer),
        Ok(Err((failure, observer))) => (Finding::failure(Step::Tls, failure), observer),
        Err(problem) => {
            report.add(Finding::error(Step::Tls, problem.message).hint(problem.hint))?;
            return Ok(false);
        }
    };
    let failed = finding.is_error();
    report.add(finding)?;
    if let Some(facts) = observer.certificate() {
        report.add(super::certificate("server certificate", &facts))?;
    }
    Ok(!failed)
}

async fn resolve(endpoint: &Endpoint, limit: Duration) -> Result<Vec<SocketAddr>, Failure> {
    let host = &endpoint.address.host;
    let found = timeout(limit, lookup_host((host.as_str(), endpoint.address.port))).await;
    let addresses: Vec<SocketAddr> = found
        .map_err(|_| no_answer_in_time(limit, endpoint.service))?
        .map_err(|error| resolution_failure(endpoint, error))?
        .collect();
    if addresses.is_empty() {
        return Err(resolution_failure(endpoint, io::Error::other("it has no address")));
    }
    Ok(addresses)
}

async fn reach(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<(TcpStream, SocketAddr, Duration), Failure> {
    let mut last = no_connection_in_time(endpoint);
    for address in addresses {
        let start = Instant::now();
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, *address, start.elapsed())),
            Ok(Err(error)) => last = connection_failure(&error, endpoint),
            Err(_) => last = no_connection_in_time(endpoint),
        }
    }
    Err(last)
}

type Handshake = Result<(Finding, CertificateObserver), (Failure, CertificateObserver)>;

async fn shake_hands(
    endpoint: &Endpoint,
    CertificateSet { identity, roots, .. }: &CertificateSet,
    stream: TcpStream,
    limit: Duration,
) -> Result<Handshake, FileProblem> {
    let (config, observer) = tls::client_config(identity, roots.as_deref(), &endpoint.tls)?;
    let name = ServerName::try_from(endpoint.address.host.clone()).map_err(|_| FileProblem {
        path: endpoint.tls.files.client_cert.clone(),
        message: format!("`{}` is not a valid host name", endpoint.address.host),
        hint: "use the server's DNS name or address in `userSessions.host`".to_owned(),
    })?;
    let connected =
        timeout(limit, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    Ok(match connected {
        Err(_) => Err((no_answer_in_time(limit, endpoint.service), observer)),
        Ok(Err(error)) => {
            let failure =
                match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(error) => tls::explain(error, endpoint, &observer),
                    None => connection_failure(&error, endpoint),
                };
            Err((failure, observer))
        }
        Ok(Ok(stream)) => {
            let (_, connection) = stream.get_ref();
            let version = connection
                .protocol_version()
                .map_or_else(String::new, |version| format!("{version:?}"));
            let suite = connection
                .negotiated_cipher_suite()
                .map_or_else(String::new, |suite| format!(", {:?}", suite.suite()));
            Ok((Finding::ok(Step::Tls, format!("{}{suite}", version.replace('_', "."))), observer))
        }
    })
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
