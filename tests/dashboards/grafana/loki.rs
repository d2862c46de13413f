//! Loki as Grafana asks it.

use serde_json::Value;

use super::{
    Answer, DataSource, Row, View,
    prometheus::{alternatives, label_values, matrix, vector},
    seconds, text,
};
use crate::{http, scenario::SECOND};

pub struct Loki {
    pub url: String,
}

impl DataSource for Loki {
    fn format_values(&self, values: &[&str]) -> String {
        alternatives(values)
    }

    fn variable(&self, query: &Value, view: &View) -> Result<Vec<String>, String> {
        let query = text(query);
        let (stream, label) = label_values(&query)?;
        let (start, end) = (seconds(view.from), seconds(view.to));
        let fields = http::parameters(&[("query", stream), ("start", &start), ("end", &end)]);
        let answer = http::get(&format!("{}/loki/api/v1/label/{label}/values?{fields}", self.url))?;
        Ok(answer["data"].as_array().into_iter().flatten().map(text).collect())
    }

    fn query(&self, target: &Value, view: &View) -> Result<Answer, String> {
        let expression = text(&target["expr"]);
        let ref_id = text(&target["refId"]);
        let (start, end) = (seconds(view.from), seconds(view.to));
        if target["queryType"] == "instant" {
            let fields = http::parameters(&[("query", &expression), ("time", &end)]);
            let answer = http::get(&format!("{}/loki/api/v1/query?{fields}", self.url))?;
            return Ok(Answer { rows: vector(&answer, &ref_id), ..Answer::default() });
        }
        let step = (view.step / SECOND).to_string();
        let fields = http::parameters(&[
            ("query", &expression),
            ("start", &start),
            ("end", &end),
            ("step", &step),
            ("limit", "1000"),
            ("direction", "backward"),
        ]);
        let answer = http::get(&format!("{}/loki/api/v1/query_range?{fields}", self.url))?;
        Ok(match answer["data"]["resultType"].as_str() {
            Some("streams") => Answer { rows: lines(&answer), ..Answer::default() },
            _ => Answer { series: matrix(&answer, &ref_id), ..Answer::default() },
        })
    }
}

/// The lines of a log query, each with its labels.
fn lines(answer: &Value) -> Vec<Row> {
    let streams = answer["data"]["result"].as_array().into_iter().flatten();
    streams
        .flat_map(|stream| {
            let labels = stream["stream"].as_object().into_iter().flatten();
            let labels: Row = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
            stream["values"].as_array().into_iter().flatten().map(move |value| {
                let mut row = labels.clone();
                row.insert("line".to_owned(), value[1].clone());
                row
            })
        })
        .collect()
}
