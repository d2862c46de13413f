//! Certificates and keys as they are on disk: PEM as the QMC exports it, DER,
//! and PKCS#12 as Windows does.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use pem::Pem;
use rustls::{
    RootCertStore,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::SigningKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CertificateFacts, encrypted};
use crate::{
    files,
    target::{CertificateFiles, GivenIn, PASSPHRASE_VARIABLE},
};

/// Largest certificate or key file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const EXPORT: &str = "export the certificates again from the QMC (Certificates, file format: Platform independent PEM)";

/// What is wrong with a certificate or key file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message} ({hint})", path.display())]
pub struct FileProblem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and which key of the configuration names the file.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl FileProblem {
    pub(super) fn new(path: &Path, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.to_owned(), message: message.into(), hint: hint.into() }
    }
}

/// Who we are: the client certificate, and the key that goes with it.
#[derive(Debug)]
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Arc<dyn SigningKey>,
    certificate: CertificateFacts,
}

impl Identity {
    /// Reads `clientCert` and `clientCertKey`, or a PKCS#12 file that holds both.
    ///
    /// # Errors
    /// What is wrong with each file: it cannot be read, holds something else or
    /// needs another passphrase; or key and certificate do not belong together.
    pub fn load(files: &CertificateFiles) -> Result<Self, Vec<FileProblem>> {
        let path = &files.client_cert;
        let (chain, key) = match read(path, files.given, files.given.client_cert()) {
            Ok(bytes) if is_pkcs12(&bytes) => {
                pkcs12(path, &bytes, files).map_err(|problem| vec![problem])?
            }
            // It may be the PKCS#12 file that needs no other.
            Err(problem) if files.client_key.is_none() => return Err(vec![problem]),
            bytes => {
                let chain = bytes.and_then(|bytes| certificate_chain(files, bytes));
                match (chain, private_key(files)) {
                    (Ok(chain), Ok(key)) => (chain, key),
                    (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
                }
            }
        };
        Self::new(files, chain, &key).map_err(|problem| vec![problem])
    }

    fn new(
        files: &CertificateFiles,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, FileProblem> {
        let path = &files.client_cert;
        let key_path = files.client_key.as_ref().unwrap_or(path);
        let key = any_supported_type(key).map_err(|error| {
            FileProblem::new(key_path, format!("the private key cannot be used: {error}"), EXPORT)
        })?;
        let certificate = CertificateFacts::from_der(&chain[0]).ok_or_else(|| {
            let name = files.given.client_cert();
            FileProblem::new(path, format!("{name} holds no valid certificate"), EXPORT)
        })?;
        belong_together(files, &chain[0], key.as_ref())?;
        Ok(Self { chain, key, certificate })
    }

    /// What the certificate says of itself.
    pub fn certificate(&self) -> &CertificateFacts {
        &self.certificate
    }
}

/// Whom we trust: the roots in `clientCertCA`, and nobody else.
#[derive(Debug)]
pub struct Roots {
    pub(super) store: Arc<RootCertStore>,
    facts: Vec<CertificateFacts>,
}

impl Roots {
    /// Reads `clientCertCA`.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds no certificate.
    pub fn load(files: &CertificateFiles) -> Result<Self, FileProblem> {
        let name = files.given.ca();
        let path = files.ca.as_deref().unwrap_or(Path::new(name));
        let bytes = read(path, files.given, name)?;
        let certificates = if looks_like_pem(&bytes) {
            certificates(path, &bytes, name)?
        } else {
            vec![CertificateDer::from(bytes)]
        };
        let mut store = RootCertStore::empty();
        let mut facts = Vec::new();
        for certificate in certificates {
            facts.extend(CertificateFacts::from_der(&certificate));
            store.add(certificate).map_err(|error| {
                FileProblem::new(
                    path,
                    format!("{name} holds no valid certificate: {error}"),
                    EXPORT,
                )
            })?;
        }
        Ok(Self { store: Arc::new(store), facts })
    }

    /// What the root certificates say of themselves.
    pub fn certificates(&self) -> &[CertificateFacts] {
        &self.facts
    }
}

/// When the files of a set were written, and how large they are. Where that changes,
/// they were renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStamp(Vec<Option<(SystemTime, u64)>>);

/// The stamp of a set's files.
pub fn stamp(files: &CertificateFiles) -> FileStamp {
    let of = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    let paths = [Some(&files.client_cert), files.client_key.as_ref(), files.ca.as_ref()];
    FileStamp(paths.into_iter().flatten().map(of).collect())
}

/// The file with the private key, where everyone on this machine may read it.
pub fn key_that_everyone_may_read(files: &CertificateFiles) -> Option<&Path> {
    let key = files.client_key.as_deref().unwrap_or(&files.client_cert);
    Some(key).filter(|path| everyone_may_read(path))
}

#[cfg(unix)]
fn everyone_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// Not checked on Windows: its access lists are too complex for a short answer.
#[cfg(not(unix))]
fn everyone_may_read(_path: &Path) -> bool {
    false
}

/// Reads a file; `name` is what names it where it was given.
fn read(path: &Path, given: GivenIn, name: &str) -> Result<Vec<u8>, FileProblem> {
    let bytes = files::read(path, MAX_FILE_BYTES).map_err(|error| {
        let start = match given {
            GivenIn::Configuration => "the configuration file's folder",
            GivenIn::Arguments => "the working directory",
        };
        let place = given.place(name);
        FileProblem::new(
            path,
            format!("{name} cannot be read: {error}"),
            format!("is the path in {place} right? Relative paths start at {start}"),
        )
    })?;
    if bytes.is_empty() {
        return Err(FileProblem::new(path, format!("{name} is empty"), EXPORT));
    }
    Ok(bytes)
}

fn looks_like_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}

/// DER, but not a certificate.
fn is_pkcs12(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30) && X509Certificate::from_der(bytes).is_err()
}

fn certificate_chain(
    files: &CertificateFiles,
    bytes: Vec<u8>,
) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let (path, name) = (&files.client_cert, files.given.client_cert());
    if looks_like_pem(&bytes) {
        certificates(path, &bytes, name)
    } else if X509Certificate::from_der(&bytes).is_ok() {
        Ok(vec![CertificateDer::from(bytes)])
    } else {
        let message = format!("{name} is neither PEM, DER nor PKCS#12 (pfx)");
        Err(FileProblem::new(path, message, EXPORT))
    }
}

fn blocks(path: &Path, bytes: &[u8], name: &str) -> Result<Vec<Pem>, FileProblem> {
    pem::parse_many(bytes)
        .map_err(|error| FileProblem::new(path, format!("{name} is damaged PEM: {error}"), EXPORT))
}

fn certificates(
    path: &Path,
    bytes: &[u8],
    name: &str,
) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let blocks = blocks(path, bytes, name)?;
    let certificates: Vec<_> = blocks
        .iter()
        .filter(|block| {
            matches!(block.tag(), "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
        })
        .map(|block| CertificateDer::from(block.contents().to_vec()))
        .collect();
    if certificates.is_empty() {
        let message = if blocks.iter().any(|block| block.tag().ends_with("PRIVATE KEY")) {
            format!("{name} holds a private key and no certificate")
        } else {
            format!("{name} holds no certificate")
        };
        return Err(FileProblem::new(
            path,
            message,
            "are the paths swapped? client.pem holds the certificate, client_key.pem the key, root.pem the CA",
        ));
    }
    Ok(certificates)
}

fn private_key(files: &CertificateFiles) -> Result<PrivateKeyDer<'static>, FileProblem> {
    let (given, name) = (files.given, files.given.client_key());
    let Some(path) = &files.client_key else {
        let cert = given.client_cert();
        return Err(FileProblem::new(
            &files.client_cert,
            format!("{name} is missing, and {cert} is not a PKCS#12 file with the key in it"),
            format!("set {} to client_key.pem", given.place(name)),
        ));
    };
    let bytes = read(path, given, name)?;
    if !looks_like_pem(&bytes) {
        let message = format!("{name} is neither PEM nor DER");
        return PrivateKeyDer::try_from(bytes).map_err(|_| FileProblem::new(path, message, EXPORT));
    }
    let blocks = blocks(path, &bytes, name)?;
    let Some(block) = blocks.iter().find(|block| block.tag().ends_with("PRIVATE KEY")) else {
        return Err(FileProblem::new(
            path,
            format!("{name} holds no private key"),
            "are the paths swapped? client_key.pem holds the key",
        ));
    };
    let passphrase = files.passphrase.as_ref().map(|passphrase| passphrase.expose());
    encrypted::private_key(block, passphrase).map_err(|trouble| key_problem(path, given, &trouble))
}

fn key_problem(path: &Path, given: GivenIn, trouble: &encrypted::Trouble) -> FileProblem {
    use encrypted::Trouble;
    let hint = match trouble {
        Trouble::PassphraseMissing | Trouble::WrongPassphrase => {
            format!(
                "set the environment variable {PASSPHRASE_VARIABLE}, or {}, to the password given at the export",
                given.passphrase()
            )
        }
        Trouble::Unsupported(_) => {
            format!(
                "convert the key: openssl pkcs8 -topk8 -v2 aes-256-cbc -in {} -out client_key_new.pem",
                path.display()
            )
        }
        Trouble::Damaged(_) => EXPORT.to_owned(),
    };
    FileProblem::new(path, trouble.to_string(), hint)
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pkcs12(path: &Path, bytes: &[u8], files: &CertificateFiles) -> Result<ChainAndKey, FileProblem> {
    let passphrase = files.passphrase.as_ref().map_or("", |passphrase| passphrase.expose());
    let store =
        KeyStore::from_pkcs12(bytes, passphrase, Pkcs12ImportPolicy::Relaxed).map_err(|error| {
            use encrypted::Trouble;
            use p12_keystore::error::Error;
            match error {
                // A file without a MAC shows a wrong passphrase only when it is opened.
                Error::MacError(_) | Error::Pkcs5Error(_) | Error::UnpadError => {
                    let missing = files.passphrase.is_none();
                    let trouble =
                        if missing { Trouble::PassphraseMissing } else { Trouble::WrongPassphrase };
                    key_problem(path, files.given, &trouble)
                }
                error => FileProblem::new(
                    path,
                    format!("the PKCS#12 file cannot be used: {error}"),
                    EXPORT,
                ),
            }
        })?;
    let Some((_, entry)) = store.private_key_chain() else {
        return Err(FileProblem::new(
            path,
            "the PKCS#12 file holds no private key",
            "export it again with its private key",
        ));
    };
    let chain = entry
        .certs()
        .iter()
        .map(|certificate| CertificateDer::from(certificate.as_der().to_vec()))
        .collect::<Vec<_>>();
    if chain.is_empty() {
        return Err(FileProblem::new(path, "the PKCS#12 file holds no certificate", EXPORT));
    }
    let key = PrivatePkcs8KeyDer::from(entry.key().as_der().to_vec());
    Ok((chain, key.into()))
}

/// Refuses a key that does not belong to the certificate. Files of two exports are an
/// easy mistake, and the server's answer does not explain it.
fn belong_together(
    files: &CertificateFiles,
    certificate: &CertificateDer<'_>,
    key: &dyn SigningKey,
) -> Result<(), FileProblem> {
    let (Some(public), Ok((_, parsed))) =
        (key.public_key(), X509Certificate::from_der(certificate))
    else {
        return Ok(());
    };
    if parsed.tbs_certificate.subject_pki.raw == public.as_ref() {
        return Ok(());
    }
    Err(FileProblem::new(
        files.client_key.as_ref().unwrap_or(&files.client_cert),
        format!(
            "the private key does not belong to the certificate {}",
            files.client_cert.display()
        ),
        "take client.pem and client_key.pem from one and the same export",
    ))
}
