use std::collections::BTreeSet;

use super::{Expected, NOTHING, Truth, counted, event_of, mean, median, most};
use crate::scenario::{DAY, Poll, Session, Target, users_at_limit};

/// What a panel of `loki-people` must draw.
pub fn loki(panel: &str, truth: &Truth<'_>) -> Option<Expected> {
    let now = truth.view.to;
    Some(match panel {
        "Sessions by server" => {
            truth.servers().into_iter().fold(Expected::lines(&["server_name"]), |lines, server| {
                let sessions = |at| truth.sessions_on(at, |target| target.server == server);
                lines.line(&format!("A {server}"), truth.points(sessions))
            })
        }
        "Sessions and users at once, whole site" => {
            let whole = |at: i64| truth.last_poll(at).filter(|poll| poll.targets_failed() == 0);
            let sessions = |at| Some(whole(at)?.sessions().count() as f64);
            let users = |at| Some(whole(at)?.users().len() as f64);
            Expected::lines(&[]).line("A", truth.points(sessions)).line("B", truth.points(users))
        }
        "Who is on, and whom a restart of the chosen servers hits" => Expected::rows(
            &["server_name", "virtual_proxy", "sessions", "users", "failure"],
            truth
                .last_poll(now)
                .into_iter()
                .flat_map(|poll| truth.targets().map(|target| target_row(poll, target))),
        ),
        "Each session" => Expected::rows(
            &["server_name", "virtual_proxy", "user", "session_id"],
            truth.on(now).into_iter().map(session_row),
        ),
        "Sessions that each user would lose" => {
            let counts = counted(truth.on(now).into_iter().map(Session::user));
            let rows = counts.into_iter().map(|(user, sessions)| vec![user, sessions.to_string()]);
            Expected::rows(&["user", "value"], rows)
        }
        "Users at the session limit" => Expected::rows(
            &["at_limit", "users"],
            truth.last_poll(now).map(|poll| {
                let users: Vec<String> = users_at_limit(poll.sessions()).into_keys().collect();
                vec![users.len().to_string(), listed(&users)]
            }),
        ),
        "Peak of each day" => {
            let polls = |at| truth.scenario.polls_between(at - DAY, at);
            Expected::lines(&[])
                .line("A", truth.points(|at| most(polls(at).map(|poll| poll.sessions().count()))))
                .line("B", truth.points(|at| most(polls(at).map(|poll| poll.users().len()))))
        }
        "Distinct users of each day" => {
            Expected::lines(&[]).line("A", truth.points(|at| truth.distinct_users(at - DAY, at)))
        }
        "Starts and ends" => {
            let count =
                |ends: bool| truth.points(|at| truth.count_changes(at - truth.view.step, at, ends));
            Expected::lines(&["event"])
                .line("A session_started", count(false))
                .line("A session_ended", count(true))
        }
        "Length of sessions" => Expected::lines(&[])
            .line("A", truth.points(|at| mean(truth.lengths(at - DAY, at))))
            .line("B", truth.points(|at| median(truth.lengths(at - DAY, at).collect()))),
        "Starts and ends of one user" => Expected::rows(
            &["event", "session_id"],
            truth.changes_of_user().map(|change| vec![event_of(change), change.session.id.clone()]),
        ),
        "Failed polls, with what to do" => Expected::rows(
            &["line"],
            truth.failures(truth.view.from, now).into_iter().map(|(_, target)| {
                let (server, proxy) = (target.server, target.virtual_proxy);
                let hint = "Does the Qlik Sense Proxy Service run?";
                vec![format!("{server} {proxy} timeout: no answer within 5 s {hint}")]
            }),
        ),
        _ => return None,
    })
}

fn session_row(session: &Session) -> Vec<String> {
    let target = session.target;
    vec![
        target.server.to_owned(),
        target.virtual_proxy.to_owned(),
        session.user(),
        session.id.clone(),
    ]
}

/// A target at a poll: its users, or why it failed.
fn target_row(poll: &Poll, target: Target) -> Vec<String> {
    let name = [target.server, target.virtual_proxy].map(str::to_owned);
    let rest = match poll.answers.get(&target) {
        Some(sessions) => {
            let users: BTreeSet<String> = sessions.iter().map(Session::user).collect();
            let users: Vec<String> = users.into_iter().collect();
            [sessions.len().to_string(), listed(&users), NOTHING.to_owned()]
        }
        None => [NOTHING, NOTHING, "timeout"].map(str::to_owned),
    };
    name.into_iter().chain(rest).collect()
}

fn listed(users: &[String]) -> String {
    if users.is_empty() { NOTHING.to_owned() } else { users.join(", ") }
}
