//! Server certificates of X.509 version 1, which have no extensions.
//!
//! The QMC issues none, but `openssl x509 -req` does where it is given no
//! extensions, and so do scripts that renew a site's certificates. webpki
//! refuses to read them. Without extensions there is not much to verify: the
//! dates, and that one of the roots signed it. There are no intermediates, as a
//! version 1 certificate cannot say that it is a CA. Without this module such a
//! server could only be read with `rejectUnauthorized: false`.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore,
    client::danger::HandshakeSignatureValid,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{
        CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
    },
};
use webpki::{RawPublicKeyEntity, spki_for_anchor};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// The public key of a version 1 certificate; none of any other.
pub fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'a>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    (certificate.version() == X509Version::V1)
        .then(|| SubjectPublicKeyInfoDer::from(certificate.tbs_certificate.subject_pki.raw))
}

/// Verifies that one of the roots signed it, and that it is valid now.
pub fn verify_signed_by_root(
    certificate: &CertificateDer<'_>,
    roots: &RootCertStore,
    now: UnixTime,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), Error> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    let signed = certificate.tbs_certificate.as_ref();
    let signature = &certificate.signature_value.data;
    let issuers = roots
        .roots
        .iter()
        .zip(roots.subjects())
        .filter(|(_, subject)| subject.as_ref() == certificate.issuer().as_raw());
    let is_signed = issuers.map(|(root, _)| spki_for_anchor(root)).any(|key| {
        RawPublicKeyEntity::try_from(&key).is_ok_and(|key| {
            algorithms
                .iter()
                .any(|algorithm| key.verify_signature(*algorithm, signed, signature).is_ok())
        })
    });
    if is_signed { Ok(()) } else { Err(CertificateError::UnknownIssuer.into()) }
}

/// As rustls does for other versions. (For TLS 1.3 it takes a bare key itself.)
pub fn verify_tls12_signature(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let (_, possible) = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signature.scheme)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let key = RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
    possible
        .iter()
        .any(|algorithm| key.verify_signature(*algorithm, message, signature.signature()).is_ok())
        .then(HandshakeSignatureValid::assertion)
        .ok_or_else(|| CertificateError::BadSignature.into())
}
