//! What a certificate says of itself.

use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::{
    extensions::GeneralName, prelude::FromDer, prelude::X509Certificate, x509::X509Name,
};

/// The common name of every client certificate that the QMC exports.
const CLIENT_NAME: &str = "QlikClient";

/// What a certificate says of itself. Reading it never fails a connection:
/// what cannot be read is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Common name of the subject.
    pub subject: Option<String>,
    /// `dNSName`s; an IP address may stand here as a text.
    pub dns_names: Vec<String>,
    /// `iPAddress`es.
    pub ip_addresses: Vec<IpAddr>,
    /// Whether it names any subject alternative at all.
    pub has_alternative_names: bool,
    /// Common name of the CA that signed it, else its whole name.
    pub issuer: String,
    /// Good from then on.
    pub not_before: Timestamp,
    /// Good until then.
    pub not_after: Timestamp,
}

impl CertificateFacts {
    /// Reads a certificate; none where it is not one.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|extension| &extension.value.general_names);
        let mut dns_names = Vec::new();
        let mut ip_addresses = Vec::new();
        for name in names.into_iter().flatten() {
            match name {
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => ip_addresses.extend(ip_address(octets)),
                _ => {}
            }
        }
        let time = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).unwrap_or_default()
        };
        Some(Self {
            subject: common_name(certificate.subject()),
            dns_names,
            ip_addresses,
            has_alternative_names: names.is_some(),
            issuer: common_name(certificate.issuer())
                .unwrap_or_else(|| certificate.issuer().to_string()),
            not_before: time(certificate.validity().not_before),
            not_after: time(certificate.validity().not_after),
        })
    }

    /// Returns whether this is what the QMC exports for clients: no name but
    /// `QlikClient`, which every site's has.
    pub fn is_client_export(&self) -> bool {
        let names = self.names();
        !names.is_empty() && names.iter().all(|name| name.eq_ignore_ascii_case(CLIENT_NAME))
    }

    /// Those of its names that a server can be dialled by.
    pub fn host_names(&self) -> Vec<String> {
        let mut names = self.names();
        names.retain(|name| !name.eq_ignore_ascii_case(CLIENT_NAME) && is_host_name(name));
        names
    }

    /// The names under which its owner may be dialled.
    pub fn names(&self) -> Vec<String> {
        if self.has_alternative_names {
            let addresses = self.ip_addresses.iter().map(ToString::to_string);
            self.dns_names.iter().cloned().chain(addresses).collect()
        } else {
            self.subject.iter().cloned().collect()
        }
    }
}

fn is_host_name(name: &str) -> bool {
    // A wildcard matches names, but is not one.
    rustls::pki_types::ServerName::try_from(name).is_ok()
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned)
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}
