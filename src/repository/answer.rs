//! Reads the lists of the repository service, as far as they matter here.

use serde::Deserialize;

use crate::{
    json,
    proxy::{Category, Failure},
    target::{DEFAULT_PROXY_PORT, VirtualProxy},
};

/// A proxy service of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedProxy {
    /// The name of its node in the QMC.
    pub node: String,
    /// What the node was registered with: a short name, a full one or an address.
    pub host_name: String,
    /// The port of its session API.
    pub rest_port: u16,
    /// The port for users.
    pub listen_port: Option<u16>,
    /// The virtual proxies that are linked to it, by prefix.
    pub virtual_proxies: Vec<ListedVirtualProxy>,
}

/// A virtual proxy of the site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedVirtualProxy {
    /// Its prefix.
    pub prefix: VirtualProxy,
    /// What the QMC calls it.
    pub description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxyRecord {
    server_node_configuration: NodeRecord,
    settings: SettingsRecord,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeRecord {
    name: Option<String>,
    host_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SettingsRecord {
    listen_port: Option<u16>,
    rest_listen_port: Option<u16>,
    virtual_proxies: Option<Vec<VirtualProxyRecord>>,
}

#[derive(Deserialize)]
struct VirtualProxyRecord {
    prefix: Option<String>,
    description: Option<String>,
}

/// Reads the answer of `/qrs/proxyservice/full`.
///
/// # Errors
/// Where it is something else.
pub fn proxies(body: &[u8]) -> Result<Vec<ListedProxy>, Failure> {
    let records: Vec<ProxyRecord> = read(body, "proxies")?;
    Ok(records.into_iter().map(proxy).collect())
}

/// Reads the answer of `/qrs/virtualproxyconfig/full`.
///
/// # Errors
/// Where it is something else.
pub fn virtual_proxies(body: &[u8]) -> Result<Vec<ListedVirtualProxy>, Failure> {
    let records: Vec<VirtualProxyRecord> = read(body, "virtual proxies")?;
    Ok(sorted(records))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let complaint = json::complaint(&error);
        Failure::new(
            Category::InvalidBody,
            format!("the answer is not a list of {what}: {complaint}"),
        )
        .hint("is this the repository service of Qlik Sense Enterprise on Windows (port 4242)?")
        .status(200)
    })
}

fn proxy(record: ProxyRecord) -> ListedProxy {
    let ProxyRecord { server_node_configuration: node, settings } = record;
    ListedProxy {
        node: named(node.name).unwrap_or_else(|| node.host_name.clone()),
        host_name: node.host_name,
        rest_port: settings.rest_listen_port.filter(|port| *port > 0).unwrap_or(DEFAULT_PROXY_PORT),
        listen_port: settings.listen_port,
        virtual_proxies: sorted(settings.virtual_proxies.unwrap_or_default()),
    }
}

fn sorted(records: Vec<VirtualProxyRecord>) -> Vec<ListedVirtualProxy> {
    let mut list: Vec<ListedVirtualProxy> = records
        .into_iter()
        .map(|record| ListedVirtualProxy {
            prefix: VirtualProxy::new(&record.prefix.unwrap_or_default()),
            description: named(record.description).unwrap_or_default(),
        })
        .collect();
    list.sort_unstable();
    list.dedup_by(|a, b| a.prefix == b.prefix);
    list
}

fn named(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{proxies, virtual_proxies};
    use crate::proxy::Category;

    #[test]
    fn a_list_is_read_as_far_as_it_matters() {
        let body = br#"[{"id":"9d9b","serverNodeConfiguration":{"id":"1","name":"Central","hostName":"sense1.example.com","new":{}},
            "settings":{"listenPort":443,"restListenPort":4243,"virtualProxies":[
                {"id":"2","prefix":"sales/emea","description":"Sales, SAML","sessionInactivityTimeout":30},
                {"id":"3","prefix":"","description":"Central Proxy (Default)"}]}},
            {"serverNodeConfiguration":{"name":null,"hostName":"10.0.0.12"},"settings":{"virtualProxies":null}}]"#;
        let list = proxies(body).expect("a list");
        let prefixes: Vec<&str> =
            list[0].virtual_proxies.iter().map(|one| one.prefix.as_str()).collect();
        assert_eq!(prefixes, ["/", "/sales/emea"]);
        assert_eq!(list[0].virtual_proxies[1].description, "Sales, SAML");
        assert_eq!((list[1].node.as_str(), list[1].rest_port), ("10.0.0.12", 4243));
        assert!(list[1].virtual_proxies.is_empty());
    }

    #[test]
    fn what_is_no_list_of_proxies_is_refused() {
        for body in ["{}", "", "[1]", "[{}]", r#"[{"UserId":"goran"}]"#, "[[]]", "null"] {
            let failure = proxies(body.as_bytes()).expect_err(body);
            assert_eq!(failure.category, Category::InvalidBody);
            assert!(!failure.message.contains("goran"), "{failure}");
        }
        assert!(virtual_proxies(b"{}").is_err());
    }
}
