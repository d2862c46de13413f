//! Asks one target for its sessions.

mod failure;
pub mod tls;

pub use failure::{Category, Failure};
