//! One look at all targets: who is connected, who came and who went since the
//! look before, and which targets could not be read.

use std::{borrow::Cow, collections::HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::ask::Answers;
use crate::{
    poll::{FailedInquiry, Surveyed},
    proxy::Failure,
    snapshot::{DistinctUsers, Session, Snapshot},
    target::Target,
    user::folded,
};

/// What a look found.
#[derive(Debug)]
pub struct Look {
    /// When its answers were all there.
    pub at: Timestamp,
    /// In the order of the configuration.
    pub targets: Vec<TargetSeen>,
    /// Repository services that could not be asked which targets there are.
    pub failed_inquiries: Vec<FailedInquiry>,
}

/// One target in a look.
#[derive(Debug)]
pub struct TargetSeen {
    /// The target.
    pub target: Target,
    /// Why it could not be read.
    pub failure: Option<Failure>,
    /// Its last good answer: this look's, or an older one where it could not be read.
    pub state: Option<State>,
}

/// A good answer of a target.
#[derive(Debug)]
pub struct State {
    /// When it came.
    pub at: Timestamp,
    /// In the order of the answer.
    pub sessions: Vec<ConnectedSession>,
    /// Who holds them.
    pub users: DistinctUsers,
    /// How many sessions excluded users hold.
    pub excluded_session_count: usize,
    /// Sessions that the good answer before did not have.
    pub came: Vec<ConnectedSession>,
    /// Sessions of the good answer before that are gone.
    pub went: Vec<ConnectedSession>,
}

/// One session, as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ConnectedSession {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    pub server_name: String,
    pub virtual_proxy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

impl Look {
    /// The answers as a look; what the look before knew of targets that could not be
    /// read is kept.
    pub fn new(before: Option<Self>, answers: Answers, at: Timestamp) -> Self {
        let mut before = before.map(|look| look.targets).unwrap_or_default();
        let targets = answers
            .targets
            .into_iter()
            .map(|Surveyed { target, answer }| {
                let known = before.iter_mut().find(|seen| seen.is(&target));
                let known = known.and_then(|seen| seen.state.take());
                match answer {
                    Ok(snapshot) => {
                        let state = State::new(&target, snapshot, known, at);
                        TargetSeen { target, failure: None, state: Some(state) }
                    }
                    Err(failure) => TargetSeen {
                        target,
                        failure: Some(failure),
                        state: known.map(State::without_changes),
                    },
                }
            })
            .collect();
        Self { at, targets, failed_inquiries: answers.failed_inquiries }
    }

    /// The targets that answered, with their states.
    pub fn answered(&self) -> impl Iterator<Item = (&Target, &State)> {
        self.targets
            .iter()
            .filter(|seen| seen.failure.is_none())
            .filter_map(|seen| Some((&seen.target, seen.state.as_ref()?)))
    }

    /// The targets that could not be read.
    pub fn failed(&self) -> impl Iterator<Item = (&TargetSeen, &Failure)> {
        self.targets.iter().filter_map(|seen| Some((seen, seen.failure.as_ref()?)))
    }

    /// Returns whether every target is known and answered. An older list of a repository
    /// service is enough to know its targets.
    pub fn is_complete(&self) -> bool {
        self.failed().next().is_none()
            && self.failed_inquiries.iter().all(|failed| failed.has_old_list)
    }

    /// All that is known, old states included.
    pub fn known(&self) -> impl Iterator<Item = (&TargetSeen, &State)> {
        self.targets.iter().filter_map(|seen| Some((seen, seen.state.as_ref()?)))
    }

    /// Returns whether every target answered and had no session but those of
    /// excluded users. False where a repository service could not be asked: there may be
    /// targets that are not known.
    pub fn is_empty(&self) -> bool {
        self.failed_inquiries.is_empty()
            && self.failed().next().is_none()
            && self.answered().all(|(_, state)| state.sessions.is_empty())
    }

    /// The sessions on the targets that answered, sorted.
    pub fn sessions(&self) -> Vec<&ConnectedSession> {
        let mut sessions: Vec<&ConnectedSession> =
            self.answered().flat_map(|(_, state)| &state.sessions).collect();
        sessions.sort_unstable();
        sessions
    }
}

impl TargetSeen {
    fn is(&self, target: &Target) -> bool {
        self.target.server.proxy == target.server.proxy
            && self.target.virtual_proxy == target.virtual_proxy
    }
}

impl State {
    fn new(target: &Target, snapshot: Snapshot<'_>, before: Option<Self>, at: Timestamp) -> Self {
        let sessions: Vec<ConnectedSession> = snapshot
            .sessions
            .into_iter()
            .map(|session| ConnectedSession::new(target, session))
            .collect();
        let (came, went) = match before {
            Some(before) => {
                (without(&sessions, &before.sessions), without(&before.sessions, &sessions))
            }
            None => (Vec::new(), Vec::new()),
        };
        Self {
            at,
            sessions,
            users: snapshot.users,
            excluded_session_count: snapshot.excluded_session_count,
            came,
            went,
        }
    }

    fn without_changes(self) -> Self {
        Self { came: Vec::new(), went: Vec::new(), ..self }
    }
}

/// The sessions of one list that are not in another.
fn without(sessions: &[ConnectedSession], others: &[ConnectedSession]) -> Vec<ConnectedSession> {
    let mut remaining: HashMap<_, usize> = HashMap::new();
    for other in others {
        *remaining.entry(other.key()).or_default() += 1;
    }
    let mut found = Vec::new();
    for session in sessions {
        match remaining.get_mut(&session.key()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => found.push(session.clone()),
        }
    }
    found
}

impl ConnectedSession {
    fn new(target: &Target, session: Session<'_>) -> Self {
        Self {
            user_directory: session.user_directory.map(Cow::into_owned),
            user_id: session.user_id.map(Cow::into_owned),
            server_name: target.server.name.clone(),
            virtual_proxy: target.virtual_proxy.to_string(),
            session_id: session.session_id.map(Cow::into_owned),
        }
    }

    /// What distinguishes it from others on its target: its id, or without one its user.
    fn key(&self) -> (Option<&str>, String) {
        (self.session_id.as_deref(), self.identity())
    }

    /// The user's name as it is shown.
    pub fn user(&self) -> String {
        let directory = self.user_directory.as_deref().unwrap_or_default();
        format!("{directory}\\{}", self.user_id.as_deref().unwrap_or("(not named)"))
    }

    /// The user's name for comparing: one person has the same in all spellings.
    pub fn identity(&self) -> String {
        folded(&self.user()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectedSession, without};

    fn session(id: Option<&str>, user: &str) -> ConnectedSession {
        ConnectedSession {
            user_directory: Some("LAB".to_owned()),
            user_id: Some(user.to_owned()),
            server_name: "sense1".to_owned(),
            virtual_proxy: "/".to_owned(),
            session_id: id.map(str::to_owned),
        }
    }

    #[test]
    fn sessions_without_an_id_are_counted_by_user() {
        let before = [session(None, "goran"), session(None, "maria"), session(Some("a"), "goran")];
        let now = [session(None, "Goran"), session(None, "goran"), session(Some("b"), "goran")];
        assert_eq!(without(&now, &before), [session(None, "goran"), session(Some("b"), "goran")]);
        assert_eq!(without(&before, &now), [session(None, "maria"), session(Some("a"), "goran")]);
    }
}
