//! The user to ask the repository service as: it requires one besides a certificate.

use std::{fmt, str::FromStr};

/// A user of the site, `DIRECTORY\id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryUser {
    directory: String,
    id: String,
}

impl RepositoryUser {
    /// The value of the header `X-Qlik-User`.
    pub fn header(&self) -> String {
        format!("UserDirectory={}; UserId={}", self.directory, self.id)
    }
}

/// The account of Qlik Sense itself that sees the whole site.
impl Default for RepositoryUser {
    fn default() -> Self {
        Self { directory: "INTERNAL".to_owned(), id: "sa_repository".to_owned() }
    }
}

impl FromStr for RepositoryUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |part: &str| {
            !part.is_empty() && part.chars().all(|c| (c.is_ascii_graphic() || c == ' ') && c != ';')
        };
        match text.trim().split_once(['\\', '/']) {
            Some((directory, id)) if is_name(directory) && is_name(id) => {
                Ok(Self { directory: directory.to_owned(), id: id.to_owned() })
            }
            _ => Err("expected a user directory and a user id of ASCII characters, such as INTERNAL\\sa_repository".to_owned()),
        }
    }
}

impl fmt::Display for RepositoryUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\\{}", self.directory, self.id)
    }
}
