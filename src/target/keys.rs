//! The keys of a target on every event about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Target;

/// What the events of one target are called by. `transform` knows less of its
/// target than the poller does. The state file keeps them, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetKeys {
    pub(crate) server_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_host: Option<String>,
    pub(crate) virtual_proxy: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    /// Where two servers share a name, their events' ids must differ all the same.
    #[serde(skip)]
    pub(crate) id_name: String,
}

impl TargetKeys {
    /// The keys of a configured target; `ambiguous` where another server has its name.
    pub fn new(target: &Target, ambiguous: bool) -> Self {
        let server = &target.server;
        let id_name = match ambiguous {
            true => format!("{}\n{}", server.name, server.proxy.configured),
            false => server.name.clone(),
        };
        Self {
            server_name: server.name.clone(),
            server_description: server.description.clone(),
            server_host: Some(server.host.clone()),
            proxy_host: Some(server.proxy.configured.clone()),
            virtual_proxy: target.virtual_proxy.as_str().to_owned(),
            tags: server.tags.clone(),
            id_name,
        }
    }

    /// The keys of an answer of which only these are known.
    pub fn named(server_name: &str, virtual_proxy: &str) -> Self {
        Self {
            server_name: server_name.to_owned(),
            server_description: None,
            server_host: None,
            proxy_host: None,
            virtual_proxy: virtual_proxy.to_owned(),
            tags: BTreeMap::new(),
            id_name: server_name.to_owned(),
        }
    }

    /// Goes on from what was saved, which is without the name for ids.
    #[must_use]
    pub fn restored(self) -> Self {
        Self { id_name: self.server_name.clone(), ..self }
    }

    /// How many bytes of every line they take.
    pub fn line_bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |json| json.len())
    }
}
