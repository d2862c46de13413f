//! Why a target could not be read. A failure is data: it becomes a
//! `poll_error` event, and no target's failure stops another's poll.

use std::fmt;

use serde::Serialize;

/// `poll_error.category`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// No answer in time.
    Timeout,
    /// Nothing listens on the port.
    ConnectionRefused,
    /// The other side closed the connection.
    ConnectionReset,
    /// The name is not known to DNS.
    HostNotFound,
    /// The server's certificate was not accepted here.
    CertificateError,
    /// TLS failed for another reason.
    TlsError,
    /// The server did not accept our client certificate.
    AuthError,
    /// The Xrfkey was refused.
    XsrfRejected,
    /// A login page or a redirect to one.
    LoginPage,
    /// Status 404.
    NotFound,
    /// Status 429.
    RateLimited,
    /// Another status from 400 to 499.
    #[serde(rename = "http_4xx")]
    Http4xx,
    /// A status from 500 to 599.
    #[serde(rename = "http_5xx")]
    Http5xx,
    /// Status 200, but no list of sessions.
    InvalidBody,
    /// Larger than `maxBodyBytes`.
    BodyTooLarge,
    /// None of the above.
    Unknown,
}

impl Category {
    /// The name in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionReset => "connection_reset",
            Self::HostNotFound => "host_not_found",
            Self::CertificateError => "certificate_error",
            Self::TlsError => "tls_error",
            Self::AuthError => "auth_error",
            Self::XsrfRejected => "xsrf_rejected",
            Self::LoginPage => "login_page",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
            Self::InvalidBody => "invalid_body",
            Self::BodyTooLarge => "body_too_large",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a target could not be read, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub category: Category,
    /// What happened, in the operating system's or the server's own words.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The status of the answer, if there was one.
    pub http_status: Option<u16>,
    /// The server as a whole could not be reached: its other virtual proxies
    /// need not be tried in this poll.
    pub whole_server: bool,
}

impl Failure {
    /// A failure of one request.
    pub fn new(category: Category, message: impl Into<String>) -> Self {
        Self {
            category,
            message: message.into(),
            hint: None,
            http_status: None,
            whole_server: false,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the status of the answer.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    /// Marks a failure that every virtual proxy of the server shares.
    #[must_use]
    pub fn whole_server(mut self) -> Self {
        self.whole_server = true;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.category.as_str(), self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
