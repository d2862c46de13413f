//! Asks the repository service (QRS) which proxies and virtual proxies a site has.
//!
//! [`RepositoryClient`] asks, as a [`crate::target::RepositoryUser`] whose rights decide what it
//! sees; [`ListedProxy`] is one proxy service with its virtual proxies. Other modules
//! decide what to do with a list.

mod answer;
mod client;

pub use answer::{ListedProxy, ListedVirtualProxy};
pub use client::RepositoryClient;
