//! Addresses to dial for names that the machine that polls does not know.

use std::collections::BTreeMap;

use super::{DEFAULT_PROXY_PORT, ProxyAddress};

/// Host names or names of nodes, and what to dial for each. The port is that of the
/// service, where none is given. Certificates are verified for the host name all
/// the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(BTreeMap<String, String>);

impl Addresses {
    /// Adds what to dial for a name; returns false where it has an address already.
    ///
    /// # Errors
    /// What was expected as an address.
    pub fn add(&mut self, name: &str, address: &str) -> Result<bool, String> {
        ProxyAddress::parse_or_port(address, DEFAULT_PROXY_PORT)?;
        Ok(self.0.insert(key(name), address.trim().to_owned()).is_none())
    }

    /// Its names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What to dial for the first of these names that has an entry.
    pub fn of(&self, names: &[&str], port: u16) -> Option<ProxyAddress> {
        let address = names.iter().find_map(|name| self.0.get(&key(name)))?;
        ProxyAddress::parse_or_port(address, port).ok()
    }
}

fn key(name: &str) -> String {
    name.trim().to_lowercase()
}
