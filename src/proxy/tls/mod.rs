//! TLS with a proxy service: who we are ([`Identity`]), whom we trust
//! ([`Roots`]), what to accept of certificates as the QMC has made them over
//! the years ([`client_config`]), and why it failed ([`explain()`]).

mod encrypted;
mod explain;
mod facts;
mod identity;
mod verify;
mod version1;

pub use explain::explain;
pub use facts::CertificateFacts;
pub use identity::{FileProblem, FileStamp, Identity, Roots, key_that_everyone_may_read, stamp};
pub use verify::{CertificateObserver, client_config};
