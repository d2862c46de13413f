//! Where a request goes: a service of Qlik Sense at an address, and how to talk
//! TLS with it.

use crate::target::{
    Addresses, DEFAULT_PROXY_PORT, ProxyAddress, REPOSITORY_PORT, Server, TlsSettings,
};

/// One service at one address.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What listens there.
    pub service: Service,
    /// Where.
    pub address: ProxyAddress,
    /// Certificates, and what to accept from the other side.
    pub tls: TlsSettings,
}

impl Endpoint {
    /// The session API of a server.
    pub fn of_proxy(server: &Server) -> Self {
        Self {
            service: if server.place.is_none() { Service::ListedProxy } else { Service::Proxy },
            address: server.proxy.clone(),
            tls: server.tls.clone(),
        }
    }

    /// The repository service at a host.
    pub fn of_repository(host: &ProxyAddress, addresses: &Addresses, tls: &TlsSettings) -> Self {
        let mut tls = tls.clone();
        let address = match addresses.of(&[&host.host], host.port) {
            Some(replaced) => {
                tls.server_name = Some(host.host.clone());
                replaced
            }
            None => host.clone(),
        };
        Self { service: Service::Repository, address, tls }
    }
}

/// What listens at an address. Where it fails, what to do depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A proxy service that stands in the configuration.
    Proxy,
    /// A proxy service that the repository service listed.
    ListedProxy,
    /// The repository service.
    Repository,
}

impl Service {
    /// Its name in Windows' list of services.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy | Self::ListedProxy => "Qlik Sense Proxy Service",
            Self::Repository => "Qlik Sense Repository Service",
        }
    }

    /// The port of its API, where nobody changed it.
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Proxy | Self::ListedProxy => DEFAULT_PROXY_PORT,
            Self::Repository => REPOSITORY_PORT,
        }
    }

    /// The port, and whether the QMC can change it, for a hint.
    pub fn port_words(self) -> &'static str {
        match self {
            Self::Proxy | Self::ListedProxy => "4243 by default",
            Self::Repository => "always 4242",
        }
    }

    /// Its API, for a sentence.
    pub fn api(self) -> &'static str {
        match self {
            Self::Proxy | Self::ListedProxy => "the session API",
            Self::Repository => "the repository service",
        }
    }

    /// Where its log is on the server.
    pub fn log(self) -> &'static str {
        match self {
            Self::Proxy | Self::ListedProxy => "Qlik/Sense/Log/Proxy",
            Self::Repository => "Qlik/Sense/Log/Repository",
        }
    }

    /// How to have another name or address dialled.
    pub fn how_to_dial(self, address: &str) -> String {
        match self {
            Self::Proxy => format!("set `userSessions.host` to {address}"),
            Self::ListedProxy => format!(
                "set what to dial for this node to {address} under `sessionSource.discovery.addresses`"
            ),
            Self::Repository => {
                format!("set `--host` or `sessionSource.discovery.host` to {address}")
            }
        }
    }
}
