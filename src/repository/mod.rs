//! Asks the repository service (QRS) which proxies and virtual proxies a site has.
//!
//! [`RepositoryClient`] asks, as a [`crate::target::RepositoryUser`] whose rights decide what it
//! sees; [`ListedProxy`] is one proxy service with its virtual proxies. What is
//! made of a list is the business of others.

mod answer;
mod client;

pub use answer::{ListedProxy, ListedVirtualProxy};
pub use client::RepositoryClient;
