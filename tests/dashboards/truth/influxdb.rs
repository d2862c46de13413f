use std::collections::{BTreeMap, BTreeSet};

use super::{Expected, Truth, mean, most, sum, users};
use crate::scenario::{DAY, Poll, SESSION_LIMIT, Session, Target, users_at_limit};

/// What a panel of `influxdb-butler-sos` must draw.
pub fn influxdb(panel: &str, truth: &Truth<'_>) -> Option<Expected> {
    let (from, now, step) = (truth.view.from, truth.view.to, truth.view.step);
    let good = last_good_polls(truth);
    let stat = |value: usize| {
        // The time is where the window begins.
        let point = (!good.is_empty()).then_some((now - truth.view.window(), value as f64));
        Expected::lines(&[]).line("A", point)
    };
    Some(match panel {
        "Sessions now" => stat(good.values().map(|poll| poll.1).sum()),
        "Targets that answered" => stat(good.len()),
        "Last good poll" => {
            let mut polls = truth.scenario.polls_between(from, now);
            let last = polls.rfind(|poll| answers(truth, poll).next().is_some());
            Expected::rows(&["Time"], last.map(|poll| vec![poll.at.to_string()]))
        }
        "Sessions by server" => {
            truth.servers().into_iter().fold(Expected::lines(&["server_name"]), |lines, server| {
                let means = means(truth, |target| target.server == server);
                lines.line(&format!("A {server}"), means)
            })
        }
        "Sessions by virtual proxy" => truth.virtual_proxies().into_iter().fold(
            Expected::lines(&["user_session_virtual_proxy"]),
            |lines, proxy| {
                lines.line(
                    &format!("A {proxy}"),
                    means(truth, |target| target.virtual_proxy == proxy),
                )
            },
        ),
        "Peak of each day" => Expected::lines(&[])
            .line(
                "A",
                truth.buckets(DAY, |from, to| {
                    most(truth.scenario.polls_between(from, to).filter_map(|poll| {
                        answers(truth, poll).next()?;
                        Some(truth.chosen(poll).count())
                    }))
                }),
            )
            .line("B", truth.buckets(DAY, |from, to| users_at_once(truth, from, to))),
        "Distinct users of each day" => Expected::lines(&[])
            .line("A", truth.buckets(DAY, |from, to| truth.distinct_users(from, to))),
        "Users at once" => Expected::lines(&[])
            .line("A", truth.buckets(step, |from, to| users_at_once(truth, from, to))),
        "Who is on, and whom a restart of the chosen servers hits" => Expected::rows(
            &["Time", "server_name", "user_session_virtual_proxy", "sessions", "users"],
            good.iter().map(|(target, (at, sessions, users))| {
                let (server, proxy) = (target.server.to_owned(), target.virtual_proxy.to_owned());
                vec![at.to_string(), server, proxy, sessions.to_string(), users.clone()]
            }),
        ),
        "Users with five sessions or more at once" => {
            let mut most: BTreeMap<String, usize> = BTreeMap::new();
            for poll in truth.scenario.polls_between(from, now) {
                for (user, sessions) in users_at_limit(truth.chosen(poll)) {
                    let peak = most.entry(user).or_default();
                    *peak = sessions.max(*peak);
                }
            }
            assert!(most.values().all(|sessions| *sessions >= SESSION_LIMIT));
            Expected::rows(
                &["user_session_user_directory", "user_session_user_id", "sessions"],
                most.into_iter().map(|(user, sessions)| {
                    let (directory, id) = user.split_once('\\').expect("a directory");
                    vec![directory.to_owned(), id.to_owned(), sessions.to_string()]
                }),
            )
        }
        "Sessions of one user" => {
            truth.servers().into_iter().fold(Expected::lines(&["server_name"]), |lines, server| {
                let sessions = |from, to| {
                    let polls = truth.scenario.polls_between(from, to);
                    let of_user = polls.flat_map(|poll| truth.chosen(poll)).filter(|session| {
                        session.target.server == server && is_user(session, truth.view.user)
                    });
                    let ids: BTreeSet<&str> = of_user.map(|session| session.id.as_str()).collect();
                    (!ids.is_empty()).then_some(ids.len() as f64)
                };
                lines.line(&format!("A {server}"), truth.buckets(step, sessions))
            })
        }
        "Failed polls" => Expected::rows(
            &["Time", "server_name", "virtual_proxy", "category", "polls"],
            truth.failures(from, now).into_iter().map(|(at, target)| {
                let (server, proxy) = (target.server.to_owned(), target.virtual_proxy.to_owned());
                vec![at.to_string(), server, proxy, "timeout".to_owned(), "1".to_owned()]
            }),
        ),
        _ => return None,
    })
}

/// Only the user id is asked for, whatever the directory.
fn is_user(session: &Session, user: &str) -> bool {
    user.rsplit('\\').next() == Some(&session.user_id)
}

fn answers<'a>(truth: &Truth<'_>, poll: &'a Poll) -> impl Iterator<Item = &'a Target> {
    poll.answers.keys().filter(|target| truth.view.has_server(target.server))
}

/// Each target's last good poll of the window: its time, sessions, and users.
fn last_good_polls(truth: &Truth<'_>) -> BTreeMap<Target, (i64, usize, String)> {
    let now = truth.view.to;
    let last = |target: Target| {
        let mut polls = truth.scenario.polls_between(now - truth.view.window(), now);
        let poll = polls.rfind(|poll| poll.answers.contains_key(&target))?;
        let sessions = &poll.answers[&target];
        let users: BTreeSet<String> = sessions.iter().map(Session::user).collect();
        let users: Vec<String> = users.into_iter().collect();
        Some((target, (poll.at, sessions.len(), users.join(","))))
    };
    truth.targets().filter_map(last).collect()
}

/// In each step, the means of the targets' good polls, added up.
fn means(truth: &Truth<'_>, is_in: impl Fn(Target) -> bool) -> Vec<(i64, f64)> {
    truth.buckets(truth.view.step, |from, to| {
        let of_target = |target| {
            let polls = truth.scenario.polls_between(from, to);
            mean(polls.filter_map(|poll| Some(poll.answers.get(&target)?.len() as f64)))
        };
        sum(truth.targets().filter(|target| is_in(*target)).filter_map(of_target))
    })
}

/// The most users of one poll; none where nobody was on.
fn users_at_once(truth: &Truth<'_>, from: i64, to: i64) -> Option<f64> {
    let polls = truth.scenario.polls_between(from, to);
    most(polls.map(|poll| users(truth.chosen(poll)))).filter(|users| *users > 0.0)
}
