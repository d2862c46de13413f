//! STUB to be replaced
#![allow(missing_docs, unused, dead_code)]
use crate::{
    proxy::{Category, Failure},
    target::*,
};
use rustls::pki_types::{pem::PemObject, *};
use std::{
    path::*,
    sync::{Arc, Mutex},
};
#[derive(Debug, PartialEq, Eq, Clone, thiserror::Error)]
#[error("{path}: {message} ({hint})")]
pub struct FileProblem {
    pub path: PathBuf,
    pub message: String,
    pub hint: String,
}
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct FileStamp;
#[derive(Debug)]
pub struct Identity(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, CertificateFacts);
#[derive(Debug)]
pub struct Roots(rustls::RootCertStore);
#[derive(Debug)]
pub struct Witness;
#[derive(Debug)]
pub struct CertificateFacts {
    pub not_after: jiff::Timestamp,
}
pub fn stamp(f: &CertificateFiles) -> FileStamp {
    FileStamp
}
pub fn files_readable_by_everyone(f: &CertificateFiles) -> Vec<PathBuf> {
    vec![]
}
impl Identity {
    pub fn load(f: &CertificateFiles) -> Result<Self, FileProblem> {
        Ok(Identity(
            CertificateDer::pem_file_iter(&f.client_cert).unwrap().map(|c| c.unwrap()).collect(),
            PrivateKeyDer::from_pem_file(f.client_key.as_ref().unwrap()).unwrap(),
            CertificateFacts { not_after: jiff::Timestamp::MAX },
        ))
    }
    pub fn certificate(&self) -> &CertificateFacts {
        &self.2
    }
}
impl Roots {
    pub fn load(f: &CertificateFiles) -> Result<Self, FileProblem> {
        let mut s = rustls::RootCertStore::empty();
        for c in CertificateDer::pem_file_iter(f.ca.as_ref().unwrap()).unwrap() {
            s.add(c.unwrap()).unwrap();
        }
        Ok(Roots(s))
    }
}
impl Witness {
    pub fn certificate(&self) -> Option<Arc<CertificateFacts>> {
        None
    }
}
pub fn client_config(
    i: &Identity,
    r: Option<&Roots>,
    s: &TlsSettings,
) -> Result<(rustls::ClientConfig, Witness), FileProblem> {
    let c = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(r.unwrap().0.clone())
    .with_client_auth_cert(i.0.clone(), i.1.clone_key())
    .unwrap();
    Ok((c, Witness))
}
pub fn explain(e: &rustls::Error, h: &str, s: &TlsSettings, w: &Witness) -> Failure {
    Failure::new(Category::TlsError, e.to_string()).whole_server()
}
