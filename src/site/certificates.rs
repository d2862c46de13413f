//! The site's CA, made when the site starts, and the certificates it issues: some like
//! those of the QMC, and some that are wrong on purpose.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

/// A CA, a server certificate, and a client certificate.
pub struct Certificates {
    root: CertifiedKey,
    server: CertifiedKey,
    client: CertifiedKey,
}

struct CertifiedKey {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// How the certificates look: as the QMC has made them over the years, or wrong.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Common name of the server's certificate.
    pub common_name: String,
    /// Its `dNSName`s, as they are: an IP address stays a text. None: no subject
    /// alternative name at all.
    pub dns_names: Vec<String>,
    /// Its `iPAddress`es.
    pub ip_addresses: Vec<IpAddr>,
    /// The last day of the server's certificate.
    pub server_expires: (i32, u8, u8),
    /// The last day of the client's certificate.
    pub client_expires: (i32, u8, u8),
    /// A root without basicConstraints, as before February 2020.
    pub legacy_root: bool,
    /// The server's certificate is that of a CA, as `openssl req -x509` makes it.
    pub server_is_ca: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            common_name: "localhost".to_owned(),
            dns_names: vec!["localhost".to_owned()],
            ip_addresses: vec![Ipv4Addr::LOCALHOST.into()],
            server_expires: (2046, 1, 1),
            client_expires: (2046, 1, 1),
            legacy_root: false,
            server_is_ca: false,
        }
    }
}

impl Certificates {
    /// New certificates, as no other site has them.
    pub fn generate() -> Self {
        Self::shaped(&Shape::default())
    }

    /// New certificates of a shape.
    ///
    /// # Panics
    /// Where a name is not ASCII.
    pub fn shaped(shape: &Shape) -> Self {
        let root_key = new_key();
        let mut params = named("simulated-site-CA", (2046, 1, 1));
        if !shape.legacy_root {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let root = params.self_signed(&root_key).expect("a CA can sign itself");
        let issuer = Issuer::new(params, &root_key);
        let mut server = named(&shape.common_name, shape.server_expires);
        let dns_names = shape
            .dns_names
            .iter()
            .map(|name| SanType::DnsName(name.as_str().try_into().expect("a dNSName is ASCII")));
        let ip_addresses = shape.ip_addresses.iter().map(|address| SanType::IpAddress(*address));
        server.subject_alt_names = dns_names.chain(ip_addresses).collect();
        if shape.server_is_ca {
            server.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let server = issued(server, &issuer);
        let client = issued(named("QlikClient", shape.client_expires), &issuer);
        drop(issuer);
        Self { root: CertifiedKey { certificate: root, key: root_key }, server, client }
    }

    /// Writes everything, even what stays secret at a real site: `ca_key.pem`,
    /// `server.pem`, `server_key.pem`. For tests that need other servers.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write_all_to(&self, folder: &Path) -> io::Result<()> {
        self.write_to(folder)?;
        fs::write(folder.join("ca_key.pem"), self.root.key.serialize_pem())?;
        fs::write(folder.join("server.pem"), self.server.certificate.pem())?;
        fs::write(folder.join("server_key.pem"), self.server.key.serialize_pem())
    }

    /// Writes `client.pem`, `client_key.pem` and `root.pem`, as the QMC exports them.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join("root.pem"), self.root.certificate.pem())?;
        fs::write(folder.join("client.pem"), self.client.certificate.pem())?;
        let mut options = File::options();
        options.create(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(folder.join("client_key.pem"))?
            .write_all(self.client.key.serialize_pem().as_bytes())
    }

    /// TLS as the proxy speaks it: every client must have a certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.root.certificate.der().clone()).expect("the CA's certificate is one");
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .expect("there is a root");
        let chain: Vec<CertificateDer<'static>> = vec![self.server.certificate.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.server.key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .expect("the key was made for the certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the operating system has random numbers")
}

fn named(common_name: &str, (year, month, day): (i32, u8, u8)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(year, month, day);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn issued(params: CertificateParams, issuer: &Issuer<'_, &KeyPair>) -> CertifiedKey {
    let key = new_key();
    let certificate = params.signed_by(&key, issuer).expect("the CA can sign");
    CertifiedKey { certificate, key }
}
