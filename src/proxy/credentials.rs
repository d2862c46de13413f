//! Certificate sets as loaded from their files. Servers share sets; a set is
//! loaded once, and again when its files change.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::tls::{self, FileProblem, FileStamp, Identity, Roots};
use crate::target::CertificateFiles;

/// One loaded set.
#[derive(Clone, Debug)]
pub struct CertificateSet {
    /// Who we are.
    pub identity: Arc<Identity>,
    /// Whom we trust; none where the server's certificate is not checked.
    pub roots: Option<Arc<Roots>>,
    /// The files as they were when they were read.
    pub stamp: FileStamp,
}

/// All certificate sets of a configuration.
#[derive(Debug, Default)]
pub struct Credentials {
    sets: HashMap<CertificateFiles, CertificateSet>,
}

/// Certificate files that cannot be used: all of them, not only the first.
#[derive(Debug)]
pub struct CredentialsError(pub Vec<FileProblem>);

impl std::fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the certificates cannot be used:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for CredentialsError {}

impl Credentials {
    /// Loads certificate sets; returns also the problems of those that cannot be used.
    pub fn load<'a>(sets: impl Iterator<Item = &'a CertificateFiles>) -> (Self, CredentialsError) {
        let mut credentials = Self::default();
        let mut problems = Vec::new();
        for problem in sets.filter_map(|files| credentials.add(files).err()).flatten() {
            // Sets may share a file.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        credentials.sets.keys().for_each(warn_of_readers);
        (credentials, CredentialsError(problems))
    }

    /// Loads one set, where it is not loaded yet.
    ///
    /// # Errors
    /// What is wrong with its files.
    pub fn add(&mut self, files: &CertificateFiles) -> Result<&CertificateSet, Vec<FileProblem>> {
        match self.sets.entry(files.clone()) {
            Entry::Occupied(set) => Ok(set.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(load(files)?)),
        }
    }

    /// The same where only one client needs the set.
    ///
    /// # Errors
    /// The first thing that is wrong with its files.
    pub fn require(&mut self, files: &CertificateFiles) -> Result<(), FileProblem> {
        match self.add(files) {
            Ok(_) => Ok(()),
            Err(problems) => problems.into_iter().next().map_or(Ok(()), Err),
        }
    }

    /// The set of these files, as last loaded.
    pub fn get(&self, files: &CertificateFiles) -> Option<&CertificateSet> {
        self.sets.get(files)
    }

    /// Loads again what changed on disk. A renewed set that cannot be used is logged and
    /// not used: the old one may still be good.
    pub fn refresh(&mut self) {
        for (files, set) in &mut self.sets {
            let stamp = tls::stamp(files);
            if stamp == set.stamp {
                continue;
            }
            match load(files) {
                Ok(renewed) => {
                    tracing::info!(
                        "the certificates changed on disk and were read again: {}",
                        files.client_cert.display()
                    );
                    warn_of_readers(files);
                    *set = renewed;
                }
                Err(problems) => {
                    tracing::warn!(
                        "the certificates changed on disk; the old ones stay in use, because {}",
                        CredentialsError(problems)
                    );
                    set.stamp = stamp;
                }
            }
        }
    }
}

fn load(files: &CertificateFiles) -> Result<CertificateSet, Vec<FileProblem>> {
    // Taken before the files are read: a change during reading is seen next time.
    let stamp = tls::stamp(files);
    let roots = files.ca.is_some().then(|| Roots::load(files)).transpose();
    match (Identity::load(files), roots) {
        (Ok(identity), Ok(roots)) => {
            Ok(CertificateSet { identity: Arc::new(identity), roots: roots.map(Arc::new), stamp })
        }
        (identity, roots) => Err(identity.err().into_iter().flatten().chain(roots.err()).collect()),
    }
}

fn warn_of_readers(files: &CertificateFiles) {
    if let Some(path) = tls::key_that_everyone_may_read(files) {
        tracing::warn!(
            "{} holds a private key and everyone on this machine may read it; `chmod 600` it",
            path.display()
        );
    }
}
