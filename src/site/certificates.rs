//! The site's CA, made at its start, and the certificates it issues: in the
//! shape of the QMC's, and in a few that are wrong on purpose.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

/// A CA, a server certificate for `localhost`, and a client certificate.
pub struct Certificates {
    root: rcgen::Certificate,
    server: CertifiedKey,
    client: CertifiedKey,
}

struct CertifiedKey {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Certificates {
    /// New certificates, as no other site has them.
    pub fn generate() -> Self {
        Self::for_server(&["localhost", "127.0.0.1", "::1"])
    }

    /// New certificates; the server's is for these names and addresses.
    pub fn for_server(names: &[&str]) -> Self {
        let key = new_key();
        let mut params = named("simulated-site-CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("a CA can sign itself");
        let issuer = Issuer::new(params, key);
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut server =
            CertificateParams::new(names).expect("the names are host names or addresses");
        server.distinguished_name.push(DnType::CommonName, "localhost");
        server.not_after = rcgen::date_time_ymd(2046, 1, 1);
        Self { root, server: issued(server, &issuer), client: issued(named("QlikClient"), &issuer) }
    }

    /// Writes `client.pem`, `client_key.pem` and `root.pem`, as the QMC exports them.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join("root.pem"), self.root.pem())?;
        fs::write(folder.join("client.pem"), self.client.certificate.pem())?;
        let mut options = File::options();
        options.create(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(folder.join("client_key.pem"))?
            .write_all(self.client.key.serialize_pem().as_bytes())
    }

    /// TLS as the proxy speaks it: nobody gets in without a client certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).expect("the CA's certificate is one");
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

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(2046, 1, 1);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn issued(params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> CertifiedKey {
    let key = new_key();
    let certificate = params.signed_by(&key, issuer).expect("the CA can sign");
    CertifiedKey { certificate, key }
}
