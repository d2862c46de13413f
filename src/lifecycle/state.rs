//! The state file: what was seen, kept across restarts and between `once` runs.
//!
//! It is written to a second file that then takes its place, so that a crash
//! leaves the old one or the new one, never half of one. A [`Lock`] keeps a second
//! program away.
//!
//! A poll that found changes is saved twice: with the lines that report them
//! before they are sent, and without when they are out. A crash in between
//! sends the very same lines again, ids included: a start is never lost, and
//! never without its end.

use std::{
    borrow::Cow,
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Seek, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Known, Seen,
    lock::{self, Lock, patiently},
};
use crate::{
    discovery::SavedInquiry,
    files, hexadecimal, json,
    snapshot::{SESSION_KEY_BYTES, SessionDigests},
    target::{Target, TargetKeys},
};

const FORMAT: &str = "qlik-sessions state";
const VERSION: u32 = 2;
/// The version before: no keys, no digests, no baseline, session ids not hidden.
const VERSION_1: u32 = 1;
/// Largest state file, in bytes: some millions of sessions.
const MAX_STATE_BYTES: u64 = 1 << 30;

/// The name of a target in the state file: its proxy and its virtual proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetId(String);

impl std::fmt::Display for TargetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

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
    /// What its events are called by; an older version did not save that.
    pub keys: Option<TargetKeys>,
}

/// What is to be saved of one target.
#[derive(Debug)]
pub struct TargetState<'a> {
    /// What distinguishes it from others.
    pub id: &'a TargetId,
    /// What its events are called by.
    pub keys: Option<&'a TargetKeys>,
    /// Its sessions.
    pub known: &'a Known,
    /// Failed polls in a row.
    pub consecutive_failures: u64,
}

impl SavedTarget {
    /// What is to be saved of a target that is not polled, or not yet.
    pub fn state<'a>(&'a self, id: &'a TargetId) -> TargetState<'a> {
        TargetState {
            id,
            keys: self.keys.as_ref(),
            known: &self.known,
            consecutive_failures: self.consecutive_failures,
        }
    }
}

/// What the state file held.
#[derive(Debug, Default)]
pub struct Saved {
    /// Each target by its id.
    pub targets: HashMap<TargetId, SavedTarget>,
    /// Lines that may not have reached the reader.
    pub pending: String,
    /// The starts and ends of the last polls, to be sent again.
    pub recent: Vec<RecentChanges>,
    /// The exclusions that were in force, as a digest.
    pub exclusions: Option<String>,
    /// When the last keyframe of the site was.
    pub last_keyframe: Option<Timestamp>,
    /// What is known of the repository services.
    pub inquiries: Vec<SavedInquiry>,
    /// Hides session ids where users are not named.
    pub session_key: Option<[u8; SESSION_KEY_BYTES]>,
    /// Session ids stand in it as the proxy gave them (version 1).
    pub plain_session_ids: bool,
}

/// The starts and ends of one poll, as lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentChanges {
    /// When the poll was.
    pub time: Timestamp,
    /// The lines.
    pub lines: String,
}

/// What is saved beside the targets.
#[derive(Debug)]
pub struct SiteState<'a> {
    /// Hides session ids where users are not named.
    pub session_key: Option<&'a [u8; SESSION_KEY_BYTES]>,
    /// Lines that are not out yet.
    pub pending: &'a str,
    /// The starts and ends of the last polls.
    pub recent: &'a [RecentChanges],
    /// The exclusions, as a digest.
    pub exclusions: &'a str,
    /// When the last keyframe of the site was.
    pub last_keyframe: Option<Timestamp>,
    /// What is known of the repository services.
    pub inquiries: Vec<SavedInquiry>,
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
    lock: Lock,
}

#[derive(Serialize, Deserialize)]
struct Document<'a> {
    format: Cow<'a, str>,
    version: u32,
    user_ids: Cow<'a, str>,
    /// The key in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_key: Option<String>,
    #[serde(default, skip_serializing_if = "str::is_empty", alias = "untold")]
    pending: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", borrow)]
    recent: Vec<(i64, Cow<'a, str>)>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    exclusions: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_keyframe: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inquiries: Vec<SavedInquiry>,
    #[serde(borrow)]
    targets: Vec<TargetRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct TargetRecord<'a> {
    target: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Cow<'a, TargetKeys>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_poll: Option<i64>,
    consecutive_failures: u64,
    #[serde(borrow)]
    sessions: Vec<SessionRecord<'a>>,
    #[serde(default, skip_serializing_if = "SessionDigests::is_empty")]
    excluded: Cow<'a, SessionDigests>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_keyframe: Option<i64>,
}

/// Session id, user directory, user, first seen (milliseconds since 1970), and
/// whether that was a baseline.
#[derive(Serialize, Deserialize)]
struct SessionRecord<'a>(
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    i64,
    #[serde(default)] bool,
);

impl StateFile {
    /// Opens the file, and reads what it holds. A file that is damaged, foreign
    /// or of a newer version is kept aside, and nothing was seen. Nor was it where
    /// users were named differently then: their old names must not come out.
    ///
    /// # Errors
    /// Where another program uses it, or the operating system refuses.
    pub fn open(path: &Path, user_ids: String) -> Result<(Self, Saved), StateError> {
        let is_new = !path.exists();
        let lock = Lock::take(path)
            .map_err(refused(path, "opened"))?
            .ok_or_else(|| StateError::InUse(path.to_owned()))?;
        let bytes = patiently(|| {
            // It is written at every poll: better to know now whether it can be.
            lock::options().open(path)?;
            files::read(path, MAX_STATE_BYTES)
        })
        .map_err(refused(path, "opened"))?;
        let saved = match decode(&bytes) {
            _ if is_new => Saved::default(),
            Ok((named, saved)) if named == user_ids => saved,
            Ok((_, saved)) => {
                tracing::warn!(
                    "users are no longer named as in the state file {} (`sessionSource.userIds` or its key): what it holds is forgotten, and this poll is the new baseline",
                    path.display()
                );
                Saved { inquiries: saved.inquiries, ..Saved::default() }
            }
            Err(why) => {
                let aside = beside(path, &format!(".kept-{}", Timestamp::now().as_millisecond()));
                fs::write(&aside, &bytes).map_err(refused(path, "kept aside"))?;
                tracing::warn!(
                    "the state file {} {why}; it is kept as {}, and this poll is the new baseline",
                    path.display(),
                    aside.display()
                );
                Saved::default()
            }
        };
        let state = Self { path: path.to_owned(), user_ids, lock };
        Ok((state, saved))
    }

    /// What a state file knows of repository services, for a program that only looks
    /// at it. Nothing where it cannot be read.
    pub fn inquiries_of(path: &Path) -> Vec<SavedInquiry> {
        let bytes = files::read(path, MAX_STATE_BYTES).unwrap_or_default();
        decode(&bytes).map(|(_, saved)| saved.inquiries).unwrap_or_default()
    }

    /// Saves what is known of every target and of the site.
    ///
    /// # Errors
    /// Where the operating system refuses; the file then holds what it held.
    pub fn save<'a>(
        &self,
        targets: impl Iterator<Item = TargetState<'a>>,
        site: &SiteState<'_>,
    ) -> Result<(), StateError> {
        let temporary = beside(&self.path, ".new");
        let targets = targets.map(record).collect();
        let document = Document {
            format: FORMAT.into(),
            version: VERSION,
            user_ids: self.user_ids.as_str().into(),
            session_key: site.session_key.map(|key| hexadecimal::encode(key)),
            pending: site.pending.into(),
            recent: site
                .recent
                .iter()
                .map(|recent| (recent.time.as_millisecond(), recent.lines.as_str().into()))
                .collect(),
            exclusions: Some(site.exclusions.into()),
            last_keyframe: site.last_keyframe.map(Timestamp::as_millisecond),
            inquiries: site.inquiries.clone(),
            targets,
        };
        let file =
            self.write_durably(&temporary, &document).map_err(refused(&self.path, "written"))?;
        self.lock.replace(file, &temporary, &self.path).map_err(refused(&self.path, "replaced"))
    }

    fn write_durably(&self, path: &Path, document: &Document<'_>) -> io::Result<File> {
        let file = patiently(|| lock::options().open(path))?;
        self.lock.cover(&file)?;
        file.set_len(0)?;
        let mut writer = BufWriter::new(file);
        writer.rewind()?;
        serde_json::to_writer(&mut writer, document)?;
        writer.write_all(b"\n")?;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(file)
    }
}

fn record(state: TargetState<'_>) -> TargetRecord<'_> {
    let TargetState { id, keys, known, consecutive_failures } = state;
    TargetRecord {
        target: Cow::Borrowed(&id.0),
        keys: keys.map(Cow::Borrowed),
        last_poll: known.last_poll.map(|time| time.as_millisecond()),
        consecutive_failures,
        sessions: known
            .sessions
            .values()
            .map(|session| {
                SessionRecord(
                    Cow::Borrowed(&session.session_id),
                    session.user_directory.as_deref().map(Cow::Borrowed),
                    session.user_id.as_deref().map(Cow::Borrowed),
                    session.seen.first_seen().as_millisecond(),
                    session.seen.at_baseline,
                )
            })
            .collect(),
        excluded: Cow::Borrowed(&known.excluded),
        last_keyframe: known.last_keyframe.map(Timestamp::as_millisecond),
    }
}

/// Reads how users are named in a document, and what it holds; or returns in a
/// few words why it cannot.
fn decode(bytes: &[u8]) -> Result<(String, Saved), String> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes)
        .map_err(|_| "is damaged, or was not written by qlik-sessions".to_owned())?;
    if head.format != FORMAT {
        return Err("was not written by qlik-sessions".to_owned());
    }
    if ![VERSION_1, VERSION].contains(&head.version) {
        return Err(format!(
            "is of version {}, and this program knows version {VERSION}",
            head.version
        ));
    }
    let document: Document<'_> = serde_json::from_slice(bytes)
        .map_err(|error| format!("is damaged ({})", json::complaint(&error)))?;
    let saved = Saved {
        targets: document
            .targets
            .iter()
            .map(|record| (TargetId(record.target.to_string()), restore(record)))
            .collect(),
        pending: document.pending.into_owned(),
        recent: document
            .recent
            .into_iter()
            .map(|(ms, lines)| RecentChanges { time: time(ms), lines: lines.into_owned() })
            .collect(),
        exclusions: document.exclusions.map(Cow::into_owned),
        last_keyframe: document.last_keyframe.map(time),
        inquiries: document.inquiries,
        session_key: document.session_key.as_deref().and_then(session_key),
        plain_session_ids: head.version == VERSION_1,
    };
    Ok((document.user_ids.into_owned(), saved))
}

fn session_key(text: &str) -> Option<[u8; SESSION_KEY_BYTES]> {
    hexadecimal::decode(text)?.try_into().ok()
}

fn restore(record: &TargetRecord<'_>) -> SavedTarget {
    let mut known = Known::default();
    known.last_poll = record.last_poll.map(time);
    known.excluded.clone_from(&record.excluded);
    known.last_keyframe = record.last_keyframe.map(time);
    for SessionRecord(id, directory, user, first_seen, at_baseline) in &record.sessions {
        let seen = Seen::new(time(*first_seen), *at_baseline);
        known.insert(id, directory.as_deref(), user.as_deref(), seen);
    }
    SavedTarget {
        known,
        consecutive_failures: record.consecutive_failures,
        keys: record.keys.as_deref().cloned().map(TargetKeys::restored),
    }
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default()
}

/// A name beside another: that of the file, and more.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn refused(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| {
        let error = lock::refusal(&path, error);
        StateError::Io { path, action, error }
    }
}
