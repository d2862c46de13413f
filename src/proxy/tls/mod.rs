//! TLS with a proxy service: who we are ([`Identity`]), whom we trust
//! ([`Roots`]), what to accept of certificates as the QMC has made them over
//! the years ([`client_config`]), and why it failed ([`explain`]).

mod encrypted;
mod explain;
mod facts;
mod identity;
mod verify;
mod version1;

pub use explain::explain;
pub use facts::CertificateFacts;
pub use identity::{FileProblem, FileStamp, Identity, Roots, files_readable_by_everyone, stamp};
pub use verify::{Witness, client_config};
