//! What each panel must draw, computed from the scenario.

mod elasticsearch;
mod influxdb;
mod loki;
mod prometheus;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    grafana::{Answer, View},
    scenario::{Change, Poll, Scenario, Session, TARGETS, Target},
};

pub use elasticsearch::{elasticsearch, opensearch_3};
pub use influxdb::influxdb;
pub use loki::loki;
pub use prometheus::prometheus;

/// What stands where a series has no such label, and a row no such column.
const NOTHING: &str = "(none)";

/// What is drawn, in a form that can be compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    /// Points by line, values in millionths.
    lines: BTreeMap<String, BTreeMap<i64, i64>>,
    rows: Vec<String>,
}

impl Drawing {
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.rows.is_empty()
    }

    /// Where it is not what is expected.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        if self == expected {
            return None;
        }
        let names: BTreeSet<&String> = self.lines.keys().chain(expected.lines.keys()).collect();
        for name in names {
            let (is, should) = (self.lines.get(name), expected.lines.get(name));
            let at = |points: Option<&BTreeMap<i64, i64>>, time: i64| {
                points.and_then(|points| points.get(&time)).map(|value| *value as f64 / 1e6)
            };
            let times = is.into_iter().chain(should).flat_map(BTreeMap::keys);
            let wrong = times.copied().filter(|time| at(is, *time) != at(should, *time)).min();
            if let Some(time) = wrong {
                let (is, should) = (at(is, time), at(should, time));
                let time = crate::scenario::time(time);
                return Some(format!("line {name:?} at {time}: {is:?}, not {should:?}"));
            }
        }
        Some(format!("rows: {:#?}, not {:#?}", self.rows, expected.rows))
    }
}

/// A panel's truth: how to read its answer, and what must be in it.
#[derive(Default)]
pub struct Expected {
    /// The labels that name a line.
    labels: &'static [&'static str],
    /// The columns that are looked at.
    columns: &'static [&'static str],
    drawing: Drawing,
}

impl Expected {
    /// The answer as a drawing, in which only what counts is left.
    pub fn drawing_of(&self, answer: &Answer) -> Drawing {
        let mut drawing = Drawing::default();
        for series in &answer.series {
            let labels = self
                .labels
                .iter()
                .map(|label| series.labels.get(*label).map_or(NOTHING, String::as_str));
            let name: Vec<&str> = [series.query.as_str()].into_iter().chain(labels).collect();
            let points = series.points.iter().map(|(time, value)| (*time, millionths(*value)));
            drawing.lines.entry(name.join(" ")).or_default().extend(points);
        }
        for row in &answer.rows {
            let cells: Vec<String> = self
                .columns
                .iter()
                .map(|column| row.get(*column).map_or_else(|| NOTHING.to_owned(), cell))
                .collect();
            drawing.rows.push(cells.join(" | "));
        }
        drawing.rows.sort();
        drawing
    }

    pub fn drawing(&self) -> &Drawing {
        &self.drawing
    }

    fn rows(columns: &'static [&'static str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let mut rows: Vec<String> = rows.into_iter().map(|cells| cells.join(" | ")).collect();
        rows.sort();
        Self { columns, drawing: Drawing { rows, ..Drawing::default() }, ..Self::default() }
    }

    fn lines(labels: &'static [&'static str]) -> Self {
        Self { labels, ..Self::default() }
    }

    /// Adds a line, if it has points.
    fn line(mut self, name: &str, points: impl IntoIterator<Item = (i64, f64)>) -> Self {
        let points: BTreeMap<i64, i64> =
            points.into_iter().map(|(time, value)| (time, millionths(value))).collect();
        if !points.is_empty() {
            self.drawing.lines.insert(name.to_owned(), points);
        }
        self
    }
}

/// Not a number is `i64::MIN`, which nothing expects.
fn millionths(value: f64) -> i64 {
    if value.is_nan() { i64::MIN } else { (value * 1e6).round() as i64 }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => format!("{}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// The scenario as it is seen through a view.
pub struct Truth<'a> {
    pub scenario: &'a Scenario,
    pub view: &'a View,
}

impl<'a> Truth<'a> {
    fn targets(&self) -> impl Iterator<Item = Target> {
        TARGETS.into_iter().filter(|target| self.view.has_server(target.server))
    }

    fn servers(&self) -> BTreeSet<&'static str> {
        self.targets().map(|target| target.server).collect()
    }

    fn virtual_proxies(&self) -> BTreeSet<&'static str> {
        self.targets().map(|target| target.virtual_proxy).collect()
    }

    /// The last poll of the window before a moment.
    pub fn last_poll(&self, at: i64) -> Option<&'a Poll> {
        self.scenario.last_poll(at, self.view.window())
    }

    /// How many sessions a target had, where its last poll did not fail.
    fn count(&self, target: Target, at: i64) -> Option<usize> {
        Some(self.last_poll(at)?.answers.get(&target)?.len())
    }

    /// How many sessions these of the chosen targets had, without those that failed;
    /// none where all did.
    fn sessions_on(&self, at: i64, is_meant: impl Fn(Target) -> bool) -> Option<f64> {
        let targets = self.targets().filter(|target| is_meant(*target));
        sum(targets.filter_map(|target| self.count(target, at)).map(|n| n as f64))
    }

    /// How many users the chosen servers had after `from` up to `to`; none where
    /// nobody was on.
    fn distinct_users(&self, from: i64, to: i64) -> Option<f64> {
        let polls = self.scenario.polls_between(from, to);
        let users = users(polls.flat_map(|poll| self.chosen(poll)));
        (users > 0).then_some(users as f64)
    }

    /// The sessions of the chosen servers at the last poll.
    pub fn on(&self, at: i64) -> Vec<&'a Session> {
        let poll = self.last_poll(at);
        let sessions = poll.into_iter().flat_map(Poll::sessions);
        sessions.filter(|session| self.view.has_server(session.target.server)).collect()
    }

    /// The sessions of the chosen servers at a poll.
    fn chosen(&self, poll: &'a Poll) -> impl Iterator<Item = &'a Session> {
        poll.sessions().filter(|session| self.view.has_server(session.target.server))
    }

    /// The starts and ends of the chosen servers after `from` up to `to`.
    pub fn changes(&self, from: i64, to: i64) -> impl Iterator<Item = &'a Change> {
        self.scenario.changes.iter().filter(move |change| {
            change.at > from
                && change.at <= to
                && self.view.has_server(change.session.target.server)
        })
    }

    /// How many of those are starts, or ends; none where there are none.
    fn count_changes(&self, from: i64, to: i64, ends: bool) -> Option<f64> {
        let changes = self.changes(from, to);
        let count = changes.filter(|change| change.ended_after.is_some() == ends).count();
        (count > 0).then_some(count as f64)
    }

    /// How long the sessions were that ended then, in seconds.
    pub fn lengths(&self, from: i64, to: i64) -> impl Iterator<Item = f64> {
        self.changes(from, to).filter_map(|change| change.ended_after).map(|s| s as f64)
    }

    /// The starts and ends of the user that was chosen.
    fn changes_of_user(&self) -> impl Iterator<Item = &'a Change> {
        let user = self.view.user;
        let changes = self.changes(self.view.from, self.view.to);
        changes.filter(move |change| change.session.user() == user)
    }

    /// The polls that failed, after `from` up to `to`, on the chosen servers.
    pub fn failures(&self, from: i64, to: i64) -> Vec<(i64, Target)> {
        let failed = |poll: &'a Poll| {
            let targets = self.targets().filter(|target| !poll.answers.contains_key(target));
            targets.map(|target| (poll.at, target)).collect::<Vec<_>>()
        };
        self.scenario.polls_between(from, to).flat_map(failed).collect()
    }

    /// A point for each step, of what is known at that moment.
    fn points(&self, at: impl Fn(i64) -> Option<f64>) -> Vec<(i64, f64)> {
        let steps = (self.view.from..=self.view.to).step_by(self.view.step as usize);
        steps.filter_map(|time| Some((time, at(time)?))).collect()
    }

    /// A point for each step, of what is between it and the next; the range ends
    /// with the page's.
    fn buckets(&self, step: i64, within: impl Fn(i64, i64) -> Option<f64>) -> Vec<(i64, f64)> {
        let begin = self.view.from - self.view.from.rem_euclid(step);
        let steps = (begin..=self.view.to).step_by(step as usize);
        steps
            .filter_map(|time| {
                let (from, to) = (time.max(self.view.from), (time + step).min(self.view.to));
                Some((time, within(from, to)?))
            })
            .collect()
    }
}

/// The name of a change's event.
fn event_of(change: &Change) -> String {
    let name = if change.ended_after.is_some() { "session_ended" } else { "session_started" };
    name.to_owned()
}

/// Each user, and how many sessions; each server, and so on.
pub fn counted<T: Ord>(names: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

/// A sum of what is there; none where nothing is.
fn sum(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    values.into_iter().fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.into_iter().collect();
    sum(values.iter().copied()).map(|sum| sum / values.len() as f64)
}

pub fn most(values: impl IntoIterator<Item = usize>) -> Option<f64> {
    values.into_iter().max().map(|most| most as f64)
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

/// The middle one, or the upper of the two in the middle.
fn upper_median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Distinct users.
pub fn users<'a>(sessions: impl IntoIterator<Item = &'a Session>) -> usize {
    sessions.into_iter().map(Session::user).collect::<BTreeSet<_>>().len()
}
