//! STUB
#![allow(missing_docs, unused, dead_code)]
use crate::{proxy::Failure, target::*};
use std::{path::*, sync::Arc};
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
pub struct Identity;
#[derive(Debug)]
pub struct Roots;
#[derive(Debug)]
pub struct Witness;
#[derive(Debug)]
pub struct CertificateFacts {
    pub not_after: jiff::Timestamp,
}
pub fn stamp(f: &CertificateFiles) -> FileStamp {
    todo!()
}
pub fn files_readable_by_everyone(f: &CertificateFiles) -> Vec<PathBuf> {
    todo!()
}
impl Identity {
    pub fn load(f: &CertificateFiles) -> Result<Self, FileProblem> {
        todo!()
    }
    pub fn certificate(&self) -> &CertificateFacts {
        todo!()
    }
}
impl Roots {
    pub fn load(f: &CertificateFiles) -> Result<Self, FileProblem> {
        todo!()
    }
}
impl Witness {
    pub fn certificate(&self) -> Option<Arc<CertificateFacts>> {
        todo!()
    }
}
pub fn client_config(
    i: &Identity,
    r: Option<&Roots>,
    s: &TlsSettings,
) -> Result<(rustls::ClientConfig, Witness), FileProblem> {
    todo!()
}
pub fn explain(e: &rustls::Error, h: &str, s: &TlsSettings, w: &Witness) -> Failure {
    todo!()
}
