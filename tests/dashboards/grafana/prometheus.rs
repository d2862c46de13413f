//! Prometheus as Grafana asks it; Loki's answers have the same form.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Answer, DataSource, Row, Series, View, labels, regex_escaped, seconds, text};
use crate::{http, scenario::SECOND};

pub struct Prometheus {
    pub url: String,
}

impl DataSource for Prometheus {
    fn format_values(&self, values: &[&str]) -> String {
        alternatives(values)
    }

    fn variable(&self, query: &Value, view: &View) -> Result<Vec<String>, String> {
        let query = text(query);
        let (selector, label) = match label_names(&query) {
            Some(metric) => (format!("{{__name__=~\".*{metric}.*\"}}"), None),
            None => {
                label_values(&query).map(|(selector, label)| (selector.to_owned(), Some(label)))?
            }
        };
        let range = [("start", seconds(view.from)), ("end", seconds(view.to))];
        let fields = http::parameters(&[
            ("match[]", &selector),
            (range[0].0, &range[0].1),
            (range[1].0, &range[1].1),
        ]);
        let path =
            label.map_or_else(|| "labels".to_owned(), |label| format!("label/{label}/values"));
        let answer = http::get(&format!("{}/api/v1/{path}?{fields}", self.url))?;
        Ok(answer["data"].as_array().into_iter().flatten().map(text).collect())
    }

    fn query(&self, target: &Value, view: &View) -> Result<Answer, String> {
        let expression = text(&target["expr"]);
        let ref_id = text(&target["refId"]);
        if target["instant"] == true {
            let fields = http::parameters(&[("query", &expression), ("time", &seconds(view.to))]);
            let answer = http::get(&format!("{}/api/v1/query?{fields}", self.url))?;
            return Ok(Answer { rows: vector(&answer, &ref_id), ..Answer::default() });
        }
        let (start, end) = (seconds(view.from), seconds(view.to));
        let step = (view.step / SECOND).to_string();
        let fields = http::parameters(&[
            ("query", &expression),
            ("start", &start),
            ("end", &end),
            ("step", &step),
        ]);
        let answer = http::get(&format!("{}/api/v1/query_range?{fields}", self.url))?;
        Ok(Answer { series: matrix(&answer, &ref_id), ..Answer::default() })
    }
}

/// What stands in `label_names(METRIC)`, which Grafana looks for anywhere in a name.
fn label_names(query: &str) -> Option<&str> {
    query.strip_prefix("label_names(").and_then(|rest| rest.strip_suffix(')'))
}

/// What stands in `label_values(SELECTOR, LABEL)`.
pub fn label_values(query: &str) -> Result<(&str, &str), String> {
    let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let parts = inside.and_then(|inside| inside.rsplit_once(", "));
    parts.ok_or_else(|| format!("not label_values: {query}"))
}

/// `(one|two)`, escaped for a regular expression inside double quotes.
pub fn alternatives(values: &[&str]) -> String {
    let escaped: Vec<String> = values
        .iter()
        .map(|value| regex_escaped(&value.replace('\\', "\\\\\\\\"), "$^*{}[]'+?.()|", "\\\\"))
        .collect();
    match escaped.as_slice() {
        [one] => one.clone(),
        several => format!("({})", several.join("|")),
    }
}

/// The series of a range query.
pub fn matrix(answer: &Value, query: &str) -> Vec<Series> {
    let result = answer["data"]["result"].as_array().into_iter().flatten();
    result
        .map(|series| Series {
            query: query.to_owned(),
            labels: labels(&series["metric"]),
            points: series["values"].as_array().into_iter().flatten().map(point).collect(),
        })
        .collect()
}

/// The rows of an instant query: labels, the query's letter, and the value.
pub fn vector(answer: &Value, query: &str) -> Vec<Row> {
    let result = answer["data"]["result"].as_array().into_iter().flatten();
    result
        .map(|series| {
            let mut row: BTreeMap<String, Value> = series["metric"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            row.insert("query".to_owned(), query.into());
            row.insert("value".to_owned(), point(&series["value"]).1.into());
            row
        })
        .collect()
}

fn point(pair: &Value) -> (i64, f64) {
    let time = pair[0].as_f64().expect("a time") * SECOND as f64;
    (time.round() as i64, text(&pair[1]).parse().expect("a number"))
}
