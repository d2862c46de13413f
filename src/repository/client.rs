//! Asks the repository service.

use super::{
    ListedProxy, ListedVirtualProxy,
    answer::{proxies, virtual_proxies},
};
use crate::{
    proxy::{
        Category, ClientSettings, Credentials, Deadline, Endpoint, Failure, Get, HttpsClient,
        repository_refusal, tls::FileProblem,
    },
    target::RepositoryUser,
};

/// Asks the repository service of one site.
#[derive(Debug)]
pub struct RepositoryClient {
    https: HttpsClient,
    user: RepositoryUser,
}

impl RepositoryClient {
    /// A client; connects when it is first asked.
    ///
    /// # Errors
    /// Where the certificates do not fit together.
    pub fn new(
        endpoint: Endpoint,
        user: RepositoryUser,
        credentials: &Credentials,
        settings: ClientSettings,
    ) -> Result<Self, FileProblem> {
        Ok(Self { https: HttpsClient::new(endpoint, credentials, settings)?, user })
    }

    /// Takes renewed certificates into use.
    pub fn refresh(&mut self, credentials: &Credentials) {
        self.https.refresh(credentials);
    }

    /// The proxy services of the site, with the virtual proxies that are linked to
    /// them.
    ///
    /// # Errors
    /// Why there is no list. An empty one is a failure, too: every site has a
    /// virtual proxy, but not every user may read it.
    pub async fn proxies(&self, deadline: Deadline) -> Result<Vec<ListedProxy>, Failure> {
        let list = proxies(&self.get("/qrs/proxyservice/full", deadline).await?)?;
        if list.iter().all(|proxy| proxy.virtual_proxies.is_empty()) {
            return Err(self.sees_nothing());
        }
        Ok(list)
    }

    /// All virtual proxies of the site, linked to a proxy or not.
    ///
    /// # Errors
    /// Why there is no list.
    pub async fn virtual_proxies(
        &self,
        deadline: Deadline,
    ) -> Result<Vec<ListedVirtualProxy>, Failure> {
        virtual_proxies(&self.get("/qrs/virtualproxyconfig/full", deadline).await?)
    }

    async fn get(&self, path: &str, deadline: Deadline) -> Result<Vec<u8>, Failure> {
        let user = self.user.header();
        let get = Get { path, key_name: "xrfkey", user: Some(&user) };
        self.https.get(get, deadline).await.map_err(|no_body| {
            no_body.explained(|refusal| {
                repository_refusal(self.https.endpoint(), &self.user.to_string(), refusal)
            })
        })
    }

    fn sees_nothing(&self) -> Failure {
        Failure::new(
            Category::AuthError,
            format!("the repository service lists no virtual proxy for the user {}", self.user),
        )
        .hint("this account may lack the right to read proxies: use INTERNAL\\sa_repository or INTERNAL\\sa_api (`--user` or `sessionSource.discovery.user`)")
        .status(200)
    }
}
