//! What is accepted of a server's certificate.
//!
//! The chain is always verified against `clientCertCA` and nothing else. The
//! name is verified as everywhere, with two exceptions for what the QMC has
//! issued over the years: a certificate without any subject alternative name
//! is good for its common name (before about 2019), and an IP address that
//! stands in a `dNSName` is good for that address. What the QMC exports for
//! clients is good for no server. A certificate of X.509
//! version 1, as scripts make it, is as good as one of version 3 ([`version1`]).

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{
        CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};

use super::{CertificateFacts, FileProblem, Identity, Roots, version1};
use crate::target::TlsSettings;

/// TLS sessions kept for resumption, for one server.
const RESUMED_SESSIONS: usize = 8;

/// Sees the certificates that a server shows, also those that are refused.
#[derive(Clone, Debug, Default)]
pub struct CertificateObserver(Arc<Mutex<Option<Shown>>>);

#[derive(Debug)]
struct Shown {
    der: Vec<u8>,
    facts: Arc<CertificateFacts>,
}

impl CertificateObserver {
    /// What the server showed last; none before the first handshake.
    pub fn certificate(&self) -> Option<Arc<CertificateFacts>> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|shown| Arc::clone(&shown.facts))
    }

    fn see(&self, certificate: &CertificateDer<'_>) -> Option<Arc<CertificateFacts>> {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.as_ref().is_none_or(|shown| shown.der != certificate.as_ref()) {
            *shown = CertificateFacts::from_der(certificate)
                .map(|facts| Shown { der: certificate.to_vec(), facts: Arc::new(facts) });
        }
        shown.as_ref().map(|shown| Arc::clone(&shown.facts))
    }
}

/// The TLS settings for one server, and the observer of its certificates.
///
/// # Errors
/// Where the server's certificate is to be checked and there are no roots.
pub fn client_config(
    identity: &Identity,
    roots: Option<&Roots>,
    settings: &TlsSettings,
) -> Result<(ClientConfig, CertificateObserver), FileProblem> {
    let provider = Arc::new(ring::default_provider());
    let observer = CertificateObserver::default();
    let trusted = match (settings.verify, roots) {
        (false, _) => None,
        (true, Some(roots)) => Some(Arc::clone(&roots.store)),
        (true, None) => {
            let (given, name) = (settings.files.given, settings.files.given.ca());
            return Err(FileProblem::new(
                &settings.files.client_cert,
                format!("{name} is missing"),
                format!(
                    "set {} to root.pem, exported from the QMC with the client certificate",
                    given.place(name)
                ),
            ));
        }
    };
    let verifier = Verifier {
        trusted,
        own: identity.chain.first().cloned(),
        server_name: settings.server_name.clone(),
        observer: observer.clone(),
        provider: Arc::clone(&provider),
    };
    let key = CertifiedKey::new(identity.chain.clone(), Arc::clone(&identity.key));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            FileProblem::new(&settings.files.client_cert, error.to_string(), "please report this")
        })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Always(Arc::new(key))));
    config.resumption = Resumption::in_memory_sessions(RESUMED_SESSIONS);
    Ok((config, observer))
}

/// Shows our certificate, whichever CAs the server asks for: its list is often cut
/// short, or does not name the site's own.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The server shows a certificate that was made for clients. Every machine that
/// polls has one of that name, so it proves nothing about a server.
#[derive(Debug, thiserror::Error)]
#[error("this is a certificate for clients")]
pub struct ClientCertificateShown;

#[derive(Debug)]
struct Verifier {
    /// None: every certificate is accepted.
    trusted: Option<Arc<rustls::RootCertStore>>,
    /// Our certificate.
    own: Option<CertificateDer<'static>>,
    /// Name to look for in place of the one dialled.
    server_name: Option<String>,
    observer: CertificateObserver,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let facts = self.observer.see(end_entity);
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let is_ours = self.own.as_ref().is_some_and(|own| own == end_entity);
        if is_ours || facts.as_ref().is_some_and(|facts| facts.is_client_export()) {
            let error = CertificateError::Other(OtherError(Arc::new(ClientCertificateShown)));
            return Err(Error::InvalidCertificate(error));
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let wanted = match &self.server_name {
            Some(name) => ServerName::try_from(name.clone())
                .map_err(|_| Error::InvalidCertificate(CertificateError::NotValidForName))?,
            None => dialled.to_owned(),
        };
        let name = if version1::public_key(end_entity).is_some() {
            version1::verify_signed_by_root(end_entity, trusted, now, algorithms)?;
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        } else {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                trusted,
                intermediates,
                now,
                algorithms,
            )?;
            verify_server_name(&certificate, &wanted)
        };
        match (name, facts) {
            (Ok(()), _) => Ok(ServerCertVerified::assertion()),
            (Err(_), Some(facts)) if is_good_for(&facts, &wanted) => {
                Ok(ServerCertVerified::assertion())
            }
            (Err(error), _) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match version1::public_key(certificate) {
            Some(key) => version1::verify_tls12_signature(message, &key, signature, algorithms),
            None => verify_tls12_signature(message, certificate, signature, algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match version1::public_key(certificate) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signature, algorithms),
            None => verify_tls13_signature(message, certificate, signature, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The two exceptions of this module.
fn is_good_for(facts: &CertificateFacts, wanted: &ServerName<'_>) -> bool {
    if !facts.has_alternative_names {
        return facts
            .subject
            .as_deref()
            .is_some_and(|name| name.eq_ignore_ascii_case(&wanted.to_str()));
    }
    let ServerName::IpAddress(wanted) = wanted else { return false };
    let wanted = IpAddr::from(*wanted);
    facts.dns_names.iter().any(|name| name.parse::<IpAddr>() == Ok(wanted))
}
