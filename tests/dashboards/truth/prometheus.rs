use super::{Expected, Truth, most};
use crate::scenario::{CERTIFICATES_END, DAY, HOUR, Poll, SECOND, TARGETS, users_at_limit};

/// What a panel of `prometheus-overview` must draw.
pub fn prometheus(panel: &str, truth: &Truth<'_>) -> Option<Expected> {
    let now = truth.view.to;
    let last = truth.last_poll(now);
    let whole = last.filter(|poll| is_whole(poll));
    let stat = |query: &str, value: usize| vec![query.to_owned(), value.to_string()];
    Some(match panel {
        "The whole site now" => {
            let counts = whole.into_iter().flat_map(|poll| {
                [stat("A", poll.sessions().count()), stat("B", poll.users().len())]
            });
            let at_limit = last.map(|poll| stat("C", users_at_limit(poll.sessions()).len()));
            values(counts.chain(at_limit))
        }
        "Targets" => values(
            last.into_iter()
                .flat_map(|poll| [stat("A", poll.answers.len()), stat("B", poll.targets_failed())]),
        ),
        "Age of the last poll" => {
            let last = truth.scenario.last_poll(now, DAY);
            values(
                last.map(|last| {
                    vec!["A".to_owned(), (now / SECOND - last.at / SECOND).to_string()]
                }),
            )
        }
        "Sessions by server" => {
            truth.servers().into_iter().fold(Expected::lines(&["server_name"]), |lines, server| {
                let sessions = |at| truth.sessions_on(at, |target| target.server == server);
                lines.line(&format!("A {server}"), truth.points(sessions))
            })
        }
        "Sessions by virtual proxy" => truth.virtual_proxies().into_iter().fold(
            Expected::lines(&["virtual_proxy"]),
            |lines, proxy| {
                let sessions = |at| truth.sessions_on(at, |target| target.virtual_proxy == proxy);
                lines.line(&format!("A {proxy}"), truth.points(sessions))
            },
        ),
        "Users at once" => {
            let at_limit = |poll: &Poll| users_at_limit(poll.sessions()).len() as f64;
            let users = |poll: &Poll| is_whole(poll).then(|| poll.users().len() as f64);
            Expected::lines(&[])
                .line("A", truth.points(|at| truth.last_poll(at).and_then(users)))
                .line("B", truth.points(|at| truth.last_poll(at).map(at_limit)))
        }
        "Peak of each day" => Expected::lines(&[])
            .line("A", truth.points(|at| peak(truth, at, at + DAY, |poll| poll.sessions().count())))
            .line("B", truth.points(|at| peak(truth, at, at + DAY, |poll| poll.users().len()))),
        "Peak of each hour of the week, last four weeks" => Expected::lines(&[]).line(
            "A",
            truth.points(|at| {
                let weeks = (0..4).map(|week| at - week * 7 * DAY);
                let peaks = weeks
                    .filter_map(|at| peak(truth, at, at + HOUR, |poll| poll.sessions().count()));
                peaks.max_by(f64::total_cmp)
            }),
        ),
        "Targets: answer or fail" => targets(truth, |target, at| {
            let poll = truth.last_poll(at)?;
            Some(f64::from(u8::from(poll.answers.contains_key(&target))))
        }),
        "Poll duration" => targets(truth, |target, at| {
            let poll = truth.last_poll(at)?;
            let answered = poll.answers.contains_key(&target);
            Some(if answered { target.duration_ms() as f64 / 1e3 } else { 5.0 })
        }),
        "Failed polls by category" => Expected::lines(&["category"]).line(
            "A timeout",
            truth.points(|at| {
                let failed = truth.failures(at - HOUR, at).len();
                (failed > 0).then_some(failed as f64)
            }),
        ),
        "Certificates: days left" => certificates(truth),
        _ => return None,
    })
}

/// Only then are the site's numbers known.
fn is_whole(poll: &Poll) -> bool {
    poll.answers.len() == TARGETS.len()
}

fn values(rows: impl IntoIterator<Item = Vec<String>>) -> Expected {
    Expected::rows(&["query", "value"], rows)
}

fn peak(truth: &Truth<'_>, from: i64, to: i64, of: impl Fn(&Poll) -> usize) -> Option<f64> {
    most(truth.scenario.polls_between(from, to).filter(|poll| is_whole(poll)).map(of))
}

fn targets(
    truth: &Truth<'_>,
    at: impl Fn(crate::scenario::Target, i64) -> Option<f64>,
) -> Expected {
    truth.targets().fold(Expected::lines(&["server_name", "virtual_proxy"]), |lines, target| {
        let name = format!("A {} {}", target.server, target.virtual_proxy);
        lines.line(&name, truth.points(|time| at(target, time)))
    })
}

/// Known for a day after the last poll.
fn certificates(truth: &Truth<'_>) -> Expected {
    let now = truth.view.to;
    let known = truth.scenario.last_poll(now, DAY).is_some();
    let days = |end: i64| ((end - now) as f64 / DAY as f64).to_string();
    let servers = truth.servers().into_iter().filter(|_| known);
    let rows = servers.flat_map(|server| {
        [("A", CERTIFICATES_END), ("B", CERTIFICATES_END + DAY)]
            .map(|(query, end)| vec![query.to_owned(), server.to_owned(), days(end)])
    });
    Expected::rows(&["query", "server_name", "value"], rows)
}
