//! A configuration file with its text, for commands that need more than its settings.

use std::path::{Path, PathBuf};

use super::{
    Addition, Config, ConfigError, Decoded, MAX_CONFIG_BYTES, Problem, Reader, Severity, additions,
    decode,
    reader::{Node, Problems},
    yaml::{self, Place},
};
use crate::{files, target::TlsSettings};

/// A file and its text.
#[derive(Debug)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its text, without a byte order mark.
    pub text: String,
    /// A warning about its encoding.
    note: Option<Problem>,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read, or is not a text.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let Decoded { text, line_of_windows_1252 } =
            read_text(path).map_err(|message| whole_file(path, message))?;
        let note = line_of_windows_1252.map(|line| Problem {
            severity: Severity::Warning,
            path: Vec::new(),
            line: Some(line),
            message: "is not UTF-8, so the file is read as Windows-1252; Butler SOS shows other \
                      characters there: save the file as UTF-8"
                .to_owned(),
        });
        Ok(Self { path: path.to_owned(), text, note })
    }

    /// Its settings.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn config(&self) -> Result<Config, ConfigError> {
        self.with_note(Config::parse(&self.path, &self.text))
    }

    /// Its settings; it reads the servers even where extraction is switched off.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn whole_config(&self) -> Result<Config, ConfigError> {
        self.with_note(Config::parse_whole(&self.path, &self.text))
    }

    /// The text with servers and virtual proxies added; none where that is not possible
    /// without changing something else.
    pub fn with(&self, additions: &[Addition]) -> Option<String> {
        additions::add(&self.text, additions)
    }

    /// `serverTagsDefinition`, where the file has it: Butler SOS requires these tags on each
    /// server, and does not start without the key.
    pub fn tag_names(&self) -> Option<Vec<String>> {
        let document = read_yaml(&self.path, &self.text).ok()?;
        let problems = Problems::default();
        let monitor = Node::root(&document, &problems).key("Butler-SOS").key("serversToMonitor");
        let names = monitor.key("serverTagsDefinition");
        names.is_there().then(|| names.items().filter_map(|tag| tag.text()).collect())
    }

    /// The TLS settings of servers without settings of their own.
    ///
    /// # Errors
    /// What is wrong in the section `cert`.
    pub fn tls(&self) -> Result<TlsSettings, ConfigError> {
        let document = read_yaml(&self.path, &self.text)?;
        let problems = Problems::default();
        let butler = Node::root(&document, &problems).key("Butler-SOS");
        let verify = butler.key("serversToMonitor").key("rejectUnauthorized").boolean();
        let reader = Reader { base: self.path.parent().unwrap_or(Path::new("")), is_whole: true };
        let tls = reader.tls(&butler.section("cert"), verify.unwrap_or(true), None);
        let problems = problems.into_sorted();
        let is_right = !problems.iter().any(|problem| problem.severity == Severity::Error);
        tls.filter(|_| is_right).ok_or_else(|| ConfigError { path: self.path.clone(), problems })
    }

    fn with_note(&self, read: Result<Config, ConfigError>) -> Result<Config, ConfigError> {
        match read {
            Ok(mut config) => {
                config.warnings.splice(0..0, self.note.clone());
                Ok(config)
            }
            Err(mut error) => {
                error.problems.splice(0..0, self.note.clone());
                Err(error)
            }
        }
    }
}

/// Reads a text as YAML.
pub fn read_yaml(path: &Path, text: &str) -> Result<Place, ConfigError> {
    yaml::read(text).map_err(|mistake| ConfigError {
        path: path.to_owned(),
        problems: vec![Problem {
            severity: Severity::Error,
            path: Vec::new(),
            line: Some(mistake.line),
            message: format!("is not valid YAML: {}", mistake.message),
        }],
    })
}

fn whole_file(path: &Path, message: String) -> ConfigError {
    let problem = Problem { severity: Severity::Error, path: Vec::new(), line: None, message };
    ConfigError { path: path.to_owned(), problems: vec![problem] }
}

/// The file's text; where it is Windows-1252, with the first line that shows it.
fn read_text(path: &Path) -> Result<Decoded, String> {
    let bytes = files::read(path, MAX_CONFIG_BYTES).map_err(|error| {
        format!("cannot be read: {error}; is the path given with --config or in QLIK_SESSIONS_CONFIG right?")
    })?;
    decode(&bytes)
}
