//! The proxies and virtual proxies of a site, as the last lists had them.

use serde::{Deserialize, Serialize};

use crate::{
    repository::{ListedProxy, ListedVirtualProxy},
    target::VirtualProxy,
};

/// A virtual proxy is gone when so many lists in a row do not have it: one list may
/// come from a repository service that is just starting.
const LISTS_UNTIL_GONE: u32 = 2;

/// What is known of a site, by the last lists. This is also what the state file keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownList(Vec<KnownProxy>);

/// What is known of one repository service, in the state file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedInquiry {
    /// Which one.
    pub repository: String,
    /// When it was asked last, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<i64>,
    /// Failed inquiries in a row.
    #[serde(default)]
    pub consecutive_failures: u64,
    /// None before the first list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<KnownList>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownProxy {
    node: String,
    host_name: String,
    port: u16,
    virtual_proxies: Vec<KnownVirtualProxy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownVirtualProxy {
    prefix: String,
    /// Lists in a row that did not have it.
    #[serde(default, skip_serializing_if = "is_zero")]
    missed: u32,
}

impl KnownList {
    /// Takes a list into account.
    pub fn update(&mut self, list: &[ListedProxy]) {
        for virtual_proxy in self.0.iter_mut().flat_map(|proxy| &mut proxy.virtual_proxies) {
            virtual_proxy.missed += 1;
        }
        for listed in list {
            let known = self.proxy(listed);
            known.node.clone_from(&listed.node);
            for ListedVirtualProxy { prefix, .. } in &listed.virtual_proxies {
                known.see(prefix);
            }
        }
        for proxy in &mut self.0 {
            proxy.virtual_proxies.retain(|one| one.missed < LISTS_UNTIL_GONE);
        }
        self.0.retain(|proxy| !proxy.virtual_proxies.is_empty());
    }

    /// The proxies with all virtual proxies that are not gone.
    pub fn proxies(&self) -> Vec<ListedProxy> {
        self.0.iter().map(KnownProxy::listed).collect()
    }

    /// A listed proxy's entry, which is made where there is none.
    fn proxy(&mut self, listed: &ListedProxy) -> &mut KnownProxy {
        let place = self.0.iter().position(|known| {
            known.port == listed.rest_port
                && known.host_name.eq_ignore_ascii_case(&listed.host_name)
        });
        let place = place.unwrap_or_else(|| {
            self.0.push(KnownProxy {
                node: listed.node.clone(),
                host_name: listed.host_name.clone(),
                port: listed.rest_port,
                virtual_proxies: Vec::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }
}

impl KnownProxy {
    fn see(&mut self, prefix: &VirtualProxy) {
        match self.virtual_proxies.iter_mut().find(|known| known.prefix == prefix.as_str()) {
            Some(known) => known.missed = 0,
            None => self
                .virtual_proxies
                .push(KnownVirtualProxy { prefix: prefix.as_str().to_owned(), missed: 0 }),
        }
    }

    fn listed(&self) -> ListedProxy {
        let mut virtual_proxies: Vec<ListedVirtualProxy> = self
            .virtual_proxies
            .iter()
            .map(|known| ListedVirtualProxy {
                prefix: VirtualProxy::new(&known.prefix),
                description: String::new(),
            })
            .collect();
        virtual_proxies.sort_unstable();
        ListedProxy {
            node: self.node.clone(),
            host_name: self.host_name.clone(),
            rest_port: self.port,
            listen_port: None,
            virtual_proxies,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::KnownList;
    use crate::{
        repository::{ListedProxy, ListedVirtualProxy},
        target::VirtualProxy,
    };

    fn proxy(host_name: &str, prefixes: &[&str]) -> ListedProxy {
        let virtual_proxies = prefixes.iter().map(|prefix| ListedVirtualProxy {
            prefix: VirtualProxy::new(prefix),
            description: String::new(),
        });
        ListedProxy {
            node: "Central".to_owned(),
            host_name: host_name.to_owned(),
            rest_port: 4243,
            listen_port: None,
            virtual_proxies: virtual_proxies.collect(),
        }
    }

    #[test]
    fn a_virtual_proxy_is_gone_when_two_lists_in_a_row_lack_it() {
        let mut known = KnownList::default();
        let both = [proxy("sense1", &["/", "/sales"])];
        let one = [proxy("SENSE1", &["/"])];
        known.update(&both);
        assert_eq!(known.proxies(), both);
        known.update(&one);
        assert_eq!(known.proxies(), both, "one list may be wrong");
        known.update(&both);
        known.update(&one);
        assert_eq!(known.proxies(), both, "not in a row");
        known.update(&one);
        assert_eq!(known.proxies(), [proxy("sense1", &["/"])]);
    }

    #[test]
    fn a_node_goes_with_its_virtual_proxies() {
        let mut known = KnownList::default();
        known.update(&[proxy("sense1", &["/"]), proxy("sense2", &["/"])]);
        known.update(&[proxy("sense2", &["/"])]);
        assert_eq!(known.proxies().len(), 2);
        known.update(&[proxy("sense2", &["/"])]);
        assert_eq!(known.proxies(), [proxy("sense2", &["/"])]);
    }

    #[test]
    fn the_state_file_keeps_it() {
        let mut known = KnownList::default();
        known.update(&[proxy("sense1", &["/", "/sales"])]);
        known.update(&[proxy("sense1", &["/"])]);
        let json = serde_json::to_string(&known).expect("JSON");
        let mut restored: KnownList = serde_json::from_str(&json).expect("as it was");
        assert_eq!(restored, known);
        restored.update(&[proxy("sense1", &["/"])]);
        assert_eq!(restored.proxies(), [proxy("sense1", &["/"])], "the second list in a row");
    }
}
