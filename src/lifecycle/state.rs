//! The state file: what was seen, kept across restarts and between `once` runs.
//!
//! It is written to a second file that then takes its place, so that a crash
//! leaves the old or the new one and never half of one. A lock file beside it
//! keeps a second program away.
//!
//! A poll that found changes is saved twice: with the lines that tell them
//! before they are sent, and without when they are out. A crash in between
//! sends the very same lines again, ids included: a start is never lost, and
//! never without its end.

use std::{
    borrow::Cow,
    collections::HashMap,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Known;
use crate::{files, json, snapshot::Snapshot, target::Target};

const FORMAT: &str = "qlik-sessions state";
const VERSION: u32 = 1;
/// Largest state file, in bytes: some millions of sessions.
const MAX_STATE_BYTES: u64 = 1 << 30;

/// What tells a target in the state file: its proxy and its virtual proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetId(String);

impl From<&Target> for TargetId {
    fn from(target: &Target) -> Self {
        Self(format!("{}{}", target.server.proxy.authority(), target.virtual_proxy))
    }
}

/// What was saved of one target.
#[derive(Debug, Default)]
pub struct SavedTarget {
    /// Its sessions.
    pub known: Known,
    /// Failed polls in a row.
    pub consecutive_failures: u64,
}

/// What the state file held.
#[derive(Debug, Default)]
pub struct Saved {
    /// Each target by its id.
    pub targets: HashMap<TargetId, SavedTarget>,
    /// Lines that may not have reached the reader.
    pub untold: String,
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another program has it.
    #[error(
        "the state file {0} is in use by another qlik-sessions; give each its own `stateFile`, or stop the other"
    )]
    InUse(PathBuf),
    /// The operating system refuses.
    #[error("the state file {path} cannot be {action}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The operating system's words.
        error: io::Error,
    },
}

/// The open state file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// How the users in it are named ([`crate::snapshot::Names::scheme`]).
    user_ids: String,
    /// Held as long as the program runs.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Document<'a> {
    format: Cow<'a, str>,
    version: u32,
    user_ids: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    untold: Cow<'a, str>,
    #[serde(borrow)]
    targets: Vec<TargetRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct TargetRecord<'a> {
    target: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_poll: Option<i64>,
    consecutive_failures: u64,
    #[serde(borrow)]
    sessions: Vec<SessionRecord<'a>>,
}

/// Session id, user directory, user, first seen (milliseconds since 1970).
#[derive(Serialize, Deserialize)]
struct SessionRecord<'a>(
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    i64,
);

impl StateFile {
    /// Opens the file, and reads what it holds. A file that is damaged, foreign
    /// or of a newer version is kept aside, and nothing was seen. Nor was it where
    /// users were named differently then: their old names must not come out.
    ///
    /// # Errors
    /// Where another program uses it, or the operating system refuses.
    pub fn open(path: &Path, user_ids: String) -> Result<(Self, Saved), StateError> {
        let lock = lock(path)?;
        let state = Self { path: path.to_owned(), user_ids, _lock: lock };
        let saved = match state.read()? {
            None => Saved::default(),
            Some(bytes) => match decode(&bytes) {
                Ok((user_ids, saved)) if user_ids == state.user_ids => saved,
                Ok(_) => {
                    tracing::warn!(
                        "users are no longer named as in the state file {} (`sessionSource.userIds` or its key): what it holds is forgotten, and this poll is the new baseline",
                        path.display()
                    );
                    Saved::default()
                }
                Err(why) => {
                    let aside = state.keep_aside()?;
                    tracing::warn!(
                        "the state file {} {why}; it is kept as {}, and this poll is the new baseline",
                        path.display(),
                        aside.display()
                    );
                    Saved::default()
                }
            },
        };
        Ok((state, saved))
    }

    fn error(&self, action: &'static str) -> impl FnOnce(io::Error) -> StateError {
        let path = self.path.clone();
        move |error| StateError::Io { path, action, error }
    }

    fn read(&self) -> Result<Option<Vec<u8>>, StateError> {
        match files::read(&self.path, MAX_STATE_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error("read")(error)),
        }
    }

    fn keep_aside(&self) -> Result<PathBuf, StateError> {
        let aside = beside(&self.path, &format!(".kept-{}", Timestamp::now().as_millisecond()));
        fs::rename(&self.path, &aside).map_err(self.error("kept aside"))?;
        Ok(aside)
    }

    /// Saves what is known of every target, and the lines that tell it as long as
    /// they are not out.
    ///
    /// # Errors
    /// Where the operating system refuses; the file then holds what it held.
    pub fn save<'a>(
        &self,
        targets: impl Iterator<Item = (&'a TargetId, &'a Known, u64)>,
        untold: &str,
    ) -> Result<(), StateError> {
        let temporary = beside(&self.path, ".new");
        let targets = targets.map(|(id, known, failures)| record(id, known, failures)).collect();
        let document = Document {
            format: FORMAT.into(),
            version: VERSION,
            user_ids: self.user_ids.as_str().into(),
            untold: untold.into(),
            targets,
        };
        write_durably(&temporary, &document).map_err(self.error("written"))?;
        fs::rename(&temporary, &self.path).map_err(self.error("replaced"))?;
        sync_folder(&self.path);
        Ok(())
    }
}

fn record<'a>(id: &'a TargetId, known: &'a Known, consecutive_failures: u64) -> TargetRecord<'a> {
    TargetRecord {
        target: Cow::Borrowed(&id.0),
        last_poll: known.last_poll().map(|time| time.as_millisecond()),
        consecutive_failures,
        sessions: known
            .sessions()
            .filter(|(session, _)| !session.excluded)
            .map(|(session, first_seen)| {
                SessionRecord(
                    Cow::Borrowed(session.session_id),
                    Cow::Borrowed(session.user_directory),
                    session.user_id.map(Cow::Borrowed),
                    first_seen.time().as_millisecond(),
                )
            })
            .collect(),
    }
}

/// Reads how users are named in a document, and what it holds; or says in a few
/// words why it cannot.
fn decode(bytes: &[u8]) -> Result<(String, Saved), String> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    let head: Head =
        serde_json::from_slice(bytes).map_err(|_| "is damaged or not ours".to_owned())?;
    if head.format != FORMAT {
        return Err("is not ours".to_owned());
    }
    if head.version != VERSION {
        return Err(format!(
            "is of version {}, and this program knows version {VERSION}",
            head.version
        ));
    }
    let document: Document<'_> = serde_json::from_slice(bytes)
        .map_err(|error| format!("is damaged ({})", json::complaint(&error)))?;
    let targets = document
        .targets
        .iter()
        .map(|record| Ok((TargetId(record.target.to_string()), restore(record)?)))
        .collect::<Result<_, String>>()
        .map_err(|why| format!("is damaged ({why})"))?;
    let saved = Saved { targets, untold: document.untold.into_owned() };
    Ok((document.user_ids.into_owned(), saved))
}

fn restore(record: &TargetRecord<'_>) -> Result<SavedTarget, String> {
    let time = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
    let sessions = &record.sessions;
    let snapshot = Snapshot::of(
        sessions.iter().map(|session| (&*session.0, &*session.1, session.2.as_deref())),
    )?;
    let first_seen = sessions.iter().map(|session| time(session.3));
    Ok(SavedTarget {
        known: Known::restore(record.last_poll.map(time), snapshot, first_seen),
        consecutive_failures: record.consecutive_failures,
    })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn lock(path: &Path) -> Result<File, StateError> {
    let lock_path = beside(path, ".lock");
    let failed = |error| StateError::Io { path: lock_path.clone(), action: "opened", error };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => {
            Err(StateError::Io { path: lock_path, action: "locked", error })
        }
    }
}

/// Session ids and user names are nobody else's business: on Unix the file is
/// readable by its owner alone.
fn write_durably(path: &Path, document: &Document<'_>) -> io::Result<()> {
    let mut options = File::options();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = BufWriter::new(options.open(path)?);
    serde_json::to_writer(&mut file, document)?;
    file.write_all(b"\n")?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Makes the rename itself durable, where folders can be synced.
fn sync_folder(path: &Path) {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}
