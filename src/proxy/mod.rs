//! Asks one target for its sessions: a function from a target to an answer or
//! a [`Failure`].
//!
//! [`ProxyClient`] asks one server for sessions, by an [`HttpsClient`] that the
//! repository service's client shares. [`Credentials`] holds the certificate
//! sets that the servers share, `explain.rs` turns what libraries say into what
//! an administrator can act on.

mod client;
mod credentials;
mod endpoint;
mod explain;
mod failure;
mod https;
pub mod tls;
mod xrfkey;

pub use client::ProxyClient;
pub use credentials::{CertificateSet, Credentials, CredentialsError};
pub use endpoint::{Endpoint, Service};
pub use explain::{
    Refusal, connection_failure, no_answer_in_time, no_connection_in_time, no_turn_in_time,
    repository_refusal, resolution_failure,
};
pub use failure::{Category, Failure};
pub use https::{ClientSettings, Deadline, Get, HttpsClient};
