//! Why TLS failed, and what to do.

use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError, Error};

use super::{CertificateFacts, CertificateObserver, verify::ClientCertificateShown};
use crate::proxy::{Category, Endpoint, Failure, Service};

/// Turns what rustls says into a failure.
pub fn explain(error: &Error, endpoint: &Endpoint, observer: &CertificateObserver) -> Failure {
    let shown = observer.certificate();
    match error {
        Error::InvalidCertificate(error) => certificate(error, endpoint, shown.as_deref()),
        Error::AlertReceived(alert) => self::alert(*alert, endpoint),
        Error::PeerIncompatible(_) => no_common_suite(error),
        Error::InvalidMessage(_) => {
            Failure::new(Category::TlsError, format!("the port does not speak TLS: {error}")).hint(
                format!(
                    "is the port right? For {} it is {}",
                    endpoint.service.api(),
                    endpoint.service.port_words()
                ),
            )
        }
        error => Failure::new(Category::TlsError, format!("TLS failed: {error}"))
            .hint("`qlik-sessions check` shows each step of the connection"),
    }
    .whole_server()
}

fn certificate(
    error: &CertificateError,
    endpoint: &Endpoint,
    shown: Option<&CertificateFacts>,
) -> Failure {
    let failure = |message: String| Failure::new(Category::CertificateError, message);
    let issuer = shown.map_or("an unknown CA", |shown| shown.issuer.as_str());
    let files = &endpoint.tls.files;
    let ca_name = files.given.ca();
    let ca = files.ca.as_ref().map_or_else(String::new, |path| format!(" ({})", path.display()));
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => failure(format!(
            "the server's certificate is signed by `{issuer}`, and that is not the CA in {ca_name}"
        ))
        .hint(format!(
            "{ca_name}{ca} is of another site or was renewed: export root.pem again from the QMC of the site that this server belongs to"
        )),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            wrong_name(endpoint, shown)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let since = shown.map_or_else(String::new, |shown| format!(" since {}", day(shown.not_after)));
            failure(format!("the server's certificate is expired{since}"))
                .hint("renew the server's certificate in the QMC (Certificates), and restart its proxy service; or is the clock of this machine wrong?")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let from = shown.map_or_else(String::new, |shown| format!(" before {}", day(shown.not_before)));
            failure(format!("the server's certificate is not valid{from}"))
                .hint("is the clock of this machine, or of the server, wrong?")
        }
        CertificateError::Other(error) if error.0.is::<ClientCertificateShown>() => failure(
            "the server shows a certificate that was exported from the QMC for clients; that proves nothing about a server, and it is refused under any name".to_owned(),
        )
        .hint("is this the proxy service itself, or does something else answer at this address? Give the server its own certificate back (QMC, Certificates, and a restart of its services), and do not turn the check off"),
        CertificateError::Other(error)
            if matches!(error.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
        {
            failure("the server shows the certificate of a CA as its own".to_owned())
                .hint("give the server a certificate that is not that of a CA; `openssl req -x509` makes one of a CA, unless it has `-addext basicConstraints=CA:FALSE`")
        }
        error => failure(format!("the server's certificate, signed by `{issuer}`, is not accepted: {error}"))
            .hint("renew the server's certificate in the QMC; `rejectUnauthorized: false` for this server under `sessionSource.servers` takes any certificate"),
    }
}

fn wrong_name(endpoint: &Endpoint, shown: Option<&CertificateFacts>) -> Failure {
    let names = shown.map(CertificateFacts::host_names).unwrap_or_default();
    let (wanted, wanted_by) = match (&endpoint.tls.server_name, endpoint.service) {
        (Some(name), Service::Proxy) => (name.as_str(), " (tlsServerName)"),
        (Some(name), _) => (name.as_str(), ""),
        (None, _) => (endpoint.address.host.as_str(), ""),
    };
    let failure = |message: String| Failure::new(Category::CertificateError, message);
    let Some(name) = names.first() else {
        return failure(format!(
            "the server's certificate names no host, and `{wanted}`{wanted_by} is looked for"
        ))
        .hint("renew the server's certificate in the QMC");
    };
    failure(format!(
        "the server's certificate is not for `{wanted}`{wanted_by}; it is for: {}",
        names.join(", ")
    ))
    .hint(how_to_verify(endpoint.service, name))
}

/// How to configure the right name.
fn how_to_verify(service: Service, name: &str) -> String {
    match service {
        Service::Proxy => format!(
            "dial the server by that name in `userSessions.host`, or set `tlsServerName: {name}` for this server under `sessionSource.servers`"
        ),
        Service::ListedProxy => format!(
            "set `tlsServerName: {name}` under `sessionSource.servers`, by the node's name in the QMC"
        ),
        Service::Repository => format!(
            "dial the repository service as {name}; where this machine does not resolve that name, say what to dial for it (`--address {name}=…`, `sessionSource.discovery.addresses`)"
        ),
    }
}

/// What the server says in a TLS alert.
fn alert(alert: AlertDescription, endpoint: &Endpoint) -> Failure {
    let given = endpoint.tls.files.given;
    match alert {
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity | AlertDescription::ProtocolVersion => {
            no_common_suite(&Error::AlertReceived(alert))
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::CertificateRequired
        | AlertDescription::DecryptError => {
            Failure::new(Category::AuthError, format!("the server does not accept our client certificate: TLS alert {alert:?}"))
                .hint(format!(
                    "were {} and {} exported from this site's QMC, and is the certificate still valid? `qlik-sessions check` shows its dates",
                    given.client_cert(),
                    given.client_key()
                ))
        }
        alert => Failure::new(Category::TlsError, format!("the server ended the TLS handshake: alert {alert:?}"))
            .hint("see the Schannel events in the server's Windows event log"),
    }
}

fn no_common_suite(error: &Error) -> Failure {
    Failure::new(Category::TlsError, format!("no TLS version and cipher suite in common with the server: {error}"))
        .hint("Windows Server 2012 and 2012 R2 offer only CBC suites, which are not supported; Windows Server 2016 or later offers TLS 1.2 with ECDHE_RSA and GCM (see SSL Cipher Suite Order in the group policy)")
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}
