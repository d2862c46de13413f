//! The session API of one server.

use jiff::Timestamp;

use super::{
    Failure,
    credentials::Credentials,
    endpoint::Endpoint,
    explain,
    https::{ClientSettings, Deadline, Get, HttpsClient},
    tls::FileProblem,
};
use crate::target::{Server, VirtualProxy};

/// Asks one server for sessions.
#[derive(Debug)]
pub struct ProxyClient {
    https: HttpsClient,
}

impl ProxyClient {
    /// A client for one server; connects when it is first asked.
    ///
    /// # Errors
    /// Where the certificates of the server do not fit together.
    pub fn new(
        server: &Server,
        credentials: &Credentials,
        settings: ClientSettings,
    ) -> Result<Self, FileProblem> {
        let https = HttpsClient::new(Endpoint::of_proxy(server), credentials, settings)?;
        Ok(Self { https })
    }

    /// Takes renewed certificates into use.
    pub fn refresh(&mut self, credentials: &Credentials) {
        self.https.refresh(credentials);
    }

    /// Until when our certificate is good.
    pub fn client_certificate_expires(&self) -> Timestamp {
        self.https.client_certificate_expires()
    }

    /// Until when the server's certificate is good, once it has shown one.
    pub fn server_certificate_expires(&self) -> Option<Timestamp> {
        self.https.server_certificate_expires()
    }

    /// Asks for the sessions of one virtual proxy; returns the answer's body.
    ///
    /// # Errors
    /// Whatever keeps the answer from being a whole body with status 200 before
    /// the deadline.
    pub async fn sessions(
        &self,
        virtual_proxy: &VirtualProxy,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Failure> {
        let path = virtual_proxy.session_path();
        let get = Get { path: &path, key_name: "Xrfkey", user: None };
        let answer = self.https.get(get, deadline).await;
        answer.map_err(|no_body| {
            no_body.explained(|refusal| {
                explain::refusal(self.https.endpoint(), virtual_proxy, refusal)
            })
        })
    }
}
