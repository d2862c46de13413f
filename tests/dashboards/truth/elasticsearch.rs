use super::{Expected, Truth, counted, event_of, mean, median, most, upper_median};
use crate::scenario::{DAY, SESSION_LIMIT, Session, TARGETS, time};

/// How a server takes the middle of values.
type Median = fn(Vec<f64>) -> Option<f64>;

/// What a panel of `elasticsearch-people` and `opensearch-people` must draw.
pub fn elasticsearch(panel: &str, truth: &Truth<'_>) -> Option<Expected> {
    expected(panel, truth, median)
}

/// The same from OpenSearch 3, whose percentiles are never between two values.
pub fn opensearch_3(panel: &str, truth: &Truth<'_>) -> Option<Expected> {
    expected(panel, truth, upper_median)
}

fn expected(panel: &str, truth: &Truth<'_>, median: Median) -> Option<Expected> {
    let (from, now, step) = (truth.view.from, truth.view.to, truth.view.step);
    Some(match panel {
        "The site at its last poll" => Expected::rows(
            &["qlik.session_count", "qlik.user_count", "qlik.targets", "qlik.targets_failed"],
            truth.last_poll(now).map(|poll| {
                let (sessions, users) = (poll.sessions().count(), poll.users().len());
                [sessions, users, TARGETS.len(), poll.targets_failed()]
                    .map(|n| n.to_string())
                    .to_vec()
            }),
        ),
        "Sessions by target" => truth.targets().fold(
            Expected::lines(&["qlik.server_name", "qlik.virtual_proxy"]),
            |lines, target| {
                let means = |from, to| {
                    let polls = truth.scenario.polls_between(from, to);
                    mean(polls.filter_map(|poll| Some(poll.answers.get(&target)?.len() as f64)))
                };
                let name = format!("A {} {}", target.server, target.virtual_proxy);
                lines.line(&name, truth.buckets(step, means))
            },
        ),
        "Peak of each day" => {
            let polls = |from, to| truth.scenario.polls_between(from, to);
            let sessions = |from, to| most(polls(from, to).map(|poll| poll.sessions().count()));
            let users = |from, to| most(polls(from, to).map(|poll| poll.users().len()));
            Expected::lines(&["field"])
                .line("A qlik.session_count", truth.buckets(DAY, sessions))
                .line("A qlik.user_count", truth.buckets(DAY, users))
        }
        "Distinct users of each day" => Expected::lines(&[])
            .line("A", truth.buckets(DAY, |from, to| truth.distinct_users(from, to))),
        "Who is on" => Expected::rows(
            &[
                "qlik.server_name",
                "qlik.virtual_proxy",
                "@timestamp",
                "qlik.user",
                "qlik.session_id",
            ],
            truth.on(now).into_iter().map(|session| {
                let at = truth.last_poll(now).map_or(0, |poll| poll.at);
                let (server, proxy) = (session.target.server, session.target.virtual_proxy);
                let user = session.user().to_lowercase();
                vec![server.to_owned(), proxy.to_owned(), time(at), user, session.id.clone()]
            }),
        ),
        "Whom a restart of the chosen servers hits" => {
            let name = |session: &Session| {
                format!("{} | {}", session.target.server, session.user().to_lowercase())
            };
            let counts = counted(truth.on(now).into_iter().map(name));
            let rows = counts.into_iter().map(|(user, sessions)| vec![user, sessions.to_string()]);
            Expected::rows(&["qlik.server_name", "qlik.user", "count"], rows)
        }
        "Users with five sessions or more" => {
            let counts = counted(truth.on(now).iter().map(|session| session.user().to_lowercase()));
            let rows = counts.into_iter().filter(|(_, sessions)| *sessions >= SESSION_LIMIT);
            let rows = rows.map(|(user, sessions)| vec![user, sessions.to_string()]);
            Expected::rows(&["qlik.user", "count"], rows)
        }
        "Starts and ends" => {
            let count =
                |ends: bool| truth.buckets(step, |from, to| truth.count_changes(from, to, ends));
            Expected::lines(&["event.action"])
                .line("A session_started", count(false))
                .line("A session_ended", count(true))
        }
        "Length of sessions" => Expected::lines(&[])
            .line("A", truth.buckets(step, |from, to| mean(truth.lengths(from, to))))
            .line("B", truth.buckets(step, |from, to| median(truth.lengths(from, to).collect()))),
        "Targets that fail" => {
            let last = truth.last_poll(now);
            let failed = last.into_iter().flat_map(|poll| truth.failures(poll.at - 1, poll.at));
            Expected::rows(
                &["qlik.server_name", "qlik.virtual_proxy", "error.type", "@timestamp"],
                failed.map(|(at, target)| {
                    let (server, proxy) = (target.server, target.virtual_proxy);
                    vec![server.to_owned(), proxy.to_owned(), "timeout".to_owned(), time(at)]
                }),
            )
        }
        "Starts and ends of one user" => Expected::rows(
            &["@timestamp", "event.action", "qlik.session_id"],
            truth
                .changes_of_user()
                .map(|change| vec![time(change.at), event_of(change), change.session.id.clone()]),
        ),
        "Failed polls, with what to do" => Expected::rows(
            &[
                "@timestamp",
                "qlik.server_name",
                "qlik.virtual_proxy",
                "error.type",
                "message",
                "qlik.hint",
            ],
            truth.failures(from, now).into_iter().map(|(at, target)| {
                let (server, proxy) = (target.server.to_owned(), target.virtual_proxy.to_owned());
                let (message, hint) =
                    ("no answer within 5 s", "Does the Qlik Sense Proxy Service run?");
                vec![
                    time(at),
                    server,
                    proxy,
                    "timeout".to_owned(),
                    message.to_owned(),
                    hint.to_owned(),
                ]
            }),
        ),
        _ => return None,
    })
}
