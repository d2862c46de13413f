//! What Grafana does with a dashboard: it fills variables into queries, sends
//! these to the data source, and makes series and rows of the answers.

mod elasticsearch;
mod influxdb;
mod loki;
mod prometheus;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::scenario::{ALL_SERVERS, DAY, HOUR, MINUTE, SECOND};

/// What a user has chosen: a time range, a step, values of the variables.
#[derive(Clone, Debug)]
pub struct View {
    pub from: i64,
    pub to: i64,
    /// As the width of the panel gives it.
    pub step: i64,
    pub window: &'static str,
    /// Empty: all.
    pub servers: Vec<&'static str>,
    /// A server tag and its value; none: all.
    pub tag: Option<(&'static str, &'static str)>,
    pub user: &'static str,
}

impl View {
    /// The step of a panel, which may ask for a longer one.
    fn step_of(&self, panel: &Value) -> i64 {
        let least = panel["interval"].as_str().map(|text| text.replace("$window", self.window));
        least.map_or(self.step, |text| self.step.max(duration(&text)))
    }

    /// The beginning of a panel's range, which may be longer than that of the page.
    fn begin_of(&self, panel: &Value) -> i64 {
        panel["timeFrom"].as_str().map_or(self.from, |text| self.to - duration(text))
    }

    pub fn window(&self) -> i64 {
        duration(self.window)
    }

    pub fn has_server(&self, server: &str) -> bool {
        self.servers.is_empty() || self.servers.contains(&server)
    }
}

/// What a panel has to draw.
#[derive(Debug, Default)]
pub struct Answer {
    pub series: Vec<Series>,
    pub rows: Vec<Row>,
}

/// A line of a graph; points without a value are left out.
#[derive(Debug)]
pub struct Series {
    /// The query's letter.
    pub query: String,
    pub labels: BTreeMap<String, String>,
    pub points: BTreeMap<i64, f64>,
}

/// A row of a table: what its columns hold.
pub type Row = BTreeMap<String, Value>;

/// A kind of data source.
pub trait DataSource {
    /// A list of values as the data source's query language wants it.
    fn format_values(&self, values: &[&str]) -> String;

    /// A text that the user typed; it stands as it is where nothing else is said.
    fn format_text(&self, text: &str) -> String {
        text.to_owned()
    }

    /// The values that a variable offers.
    fn variable(&self, query: &Value, view: &View) -> Result<Vec<String>, String>;

    /// The answer to one query of a panel, its variables filled in.
    fn query(&self, target: &Value, view: &View) -> Result<Answer, String>;
}

pub use elasticsearch::{Elasticsearch, search};
pub use influxdb::Influxdb;
pub use loki::Loki;
pub use prometheus::Prometheus;

/// What a panel sees of the page's view: its own range and step. Grafana begins a
/// graph at a whole step.
pub fn view_of(panel: &Value, view: &View) -> View {
    let (from, step) = (view.begin_of(panel), view.step_of(panel));
    View { from: from - from.rem_euclid(step), step, ..view.clone() }
}

/// The answers to all queries of a panel, which sees this view.
pub fn run(
    source: &dyn DataSource,
    dashboard: &Value,
    panel: &Value,
    view: &View,
) -> Result<Answer, String> {
    let mut whole = Answer::default();
    for target in panel["targets"].as_array().into_iter().flatten() {
        let filled = fill(target, source, dashboard, view);
        let mut answer = source.query(&filled, view)?;
        // Loki answers up to a whole step; a graph ends where the range does.
        for series in &mut answer.series {
            series.points.retain(|time, _| *time <= view.to);
        }
        whole.series.extend(answer.series.into_iter().filter(|series| !series.points.is_empty()));
        whole.rows.extend(answer.rows);
    }
    Ok(whole)
}

/// The values that each variable of the dashboard offers.
pub fn variables(
    source: &dyn DataSource,
    dashboard: &Value,
    view: &View,
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let variables = dashboard["templating"]["list"].as_array().into_iter().flatten();
    variables
        .filter(|variable| variable["type"] == "query")
        .map(|variable| {
            let query = fill(&unpacked(&variable["query"]), source, dashboard, view);
            let mut values = source.variable(&query, view)?;
            if let Some(regex) = variable["regex"].as_str() {
                let left_out = left_out(regex);
                values.retain(|value| !left_out.contains(&value.as_str()));
            }
            values.sort();
            Ok((text(&variable["name"]), values))
        })
        .collect()
}

/// The values that a variable's regular expression leaves out.
fn left_out(regex: &str) -> Vec<&str> {
    let inside = regex.strip_prefix("/^(?!(?:").and_then(|rest| rest.strip_suffix(")$)/"));
    inside.expect("a list of what is left out").split('|').collect()
}

/// A query that is JSON in a text is read before variables are filled in.
fn unpacked(query: &Value) -> Value {
    let json = query.as_str().filter(|text| text.starts_with('{'));
    json.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| query.clone())
}

/// Every text of a query with the variables' values in place of their names.
fn fill(query: &Value, source: &dyn DataSource, dashboard: &Value, view: &View) -> Value {
    match query {
        Value::String(text) => Value::String(fill_text(text, source, dashboard, view)),
        Value::Array(items) => {
            items.iter().map(|item| fill(item, source, dashboard, view)).collect()
        }
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), fill(value, source, dashboard, view)))
            .collect(),
        other => other.clone(),
    }
}

fn fill_text(text: &str, source: &dyn DataSource, dashboard: &Value, view: &View) -> String {
    let variable = |name: &str, key: &str| {
        let mut variables = dashboard["templating"]["list"].as_array().into_iter().flatten();
        let variable = variables.find(|variable| variable["name"] == name);
        variable.map_or_else(String::new, |variable| self::text(&variable[key]))
    };
    // The value for "All" stands in the dashboard and is taken as it is; where there
    // is none, all values are meant that the variable offers.
    let servers = match view.servers.as_slice() {
        [] if variable("server", "allValue") == "null" => source.format_values(&ALL_SERVERS),
        [] => variable("server", "allValue"),
        servers => source.format_values(servers),
    };
    let (tag, tag_value) = match view.tag {
        Some((name, value)) => (name.to_owned(), source.format_values(&[value])),
        None => (variable("tag", "allValue"), variable("tag_value", "allValue")),
    };
    let user = match variable("user", "label").as_str() {
        "User id" => view.user.rsplit('\\').next().unwrap_or_default(),
        _ => view.user,
    };
    let user = source.format_text(user);
    let step = written(view.step);
    let step_ms = view.step.to_string();
    let to = view.to.to_string();
    let values = [
        ("__interval_ms", step_ms.as_str()),
        ("__interval", &step),
        ("__to", &to),
        ("virtual_proxy", &variable("virtual_proxy", "allValue")),
        ("server", &servers),
        ("window", view.window),
        ("user", &user),
        ("tag_value", &tag_value),
        ("tag", &tag),
    ];
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}:regex}}"), value)
            .replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value)
    })
}

/// `90s`, `5m`, `1h`, `1d` in milliseconds.
fn duration(text: &str) -> i64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => panic!("not a duration: {text}"),
    };
    number.parse::<i64>().expect("a number") * unit
}

/// A duration as Grafana writes it into a query.
fn written(duration: i64) -> String {
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")];
    let (unit, letter) =
        units.into_iter().find(|(unit, _)| duration % unit == 0).expect("steps are whole seconds");
    format!("{}{letter}", duration / unit)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

fn seconds(at: i64) -> String {
    format!("{}.{:03}", at / SECOND, at % SECOND)
}

/// Escapes what has a meaning in a regular expression.
fn regex_escaped(text: &str, special: &str, escape: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if special.contains(letter) {
            escaped += escape;
        }
        escaped.push(letter);
    }
    escaped
}
