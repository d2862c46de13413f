//! Asks one target for its sessions: a function from a target to an answer or
//! a [`Failure`].
//!
//! [`ProxyClient`] speaks to one server, [`Credentials`] holds the certificate
//! sets that the servers share, [`explain`] turns what libraries say into what
//! an administrator can act on.

mod client;
mod credentials;
mod explain;
mod failure;
pub mod tls;
mod xrfkey;

pub use client::{ClientSettings, Deadline, ProxyClient};
pub use credentials::{CertificateSet, Credentials, CredentialsError};
pub use explain::{
    connection_failure, no_answer_in_time, no_connection_in_time, no_turn_in_time,
    resolution_failure,
};
pub use failure::{Category, Failure};
