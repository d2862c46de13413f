//! InfluxDB 1 as Grafana asks it.

use serde_json::Value;

use super::{Answer, DataSource, Row, Series, View, labels, regex_escaped, text};
use crate::http;

pub struct Influxdb {
    pub url: String,
}

impl DataSource for Influxdb {
    fn format_values(&self, values: &[&str]) -> String {
        let escaped: Vec<String> = values.iter().map(|value| self.format_text(value)).collect();
        match escaped.as_slice() {
            [one] => one.clone(),
            several => format!("({})", several.join("|")),
        }
    }

    /// For a regular expression between slashes.
    fn format_text(&self, text: &str) -> String {
        regex_escaped(text, "\\^$*+?.()|[]{}/", "\\")
    }

    fn variable(&self, query: &Value, _view: &View) -> Result<Vec<String>, String> {
        let answer = self.ask(&text(query))?;
        let series = answer["series"].as_array().into_iter().flatten();
        let values = series.flat_map(|series| series["values"].as_array().into_iter().flatten());
        Ok(values.map(|value| text(&value[1])).collect())
    }

    fn query(&self, target: &Value, view: &View) -> Result<Answer, String> {
        let range = format!("time >= {}ms and time <= {}ms", view.from, view.to);
        let answer = self.ask(&text(&target["query"]).replace("$timeFilter", &range))?;
        let series = answer["series"].as_array().into_iter().flatten();
        Ok(if target["resultFormat"] == "table" {
            Answer { rows: series.flat_map(rows).collect(), ..Answer::default() }
        } else {
            let ref_id = text(&target["refId"]);
            let series = series.map(|one| points(one, &ref_id)).collect();
            Answer { series, ..Answer::default() }
        })
    }
}

impl Influxdb {
    fn ask(&self, query: &str) -> Result<Value, String> {
        let fields = http::parameters(&[("db", "SenseOps"), ("epoch", "ms"), ("q", query)]);
        let answer = http::get(&format!("{}/query?{fields}", self.url))?;
        let result = answer["results"][0].clone();
        match result["error"].as_str() {
            Some(error) => Err(format!("{error}: {query}")),
            None => Ok(result),
        }
    }
}

fn rows(series: &Value) -> Vec<Row> {
    let tags = series["tags"].as_object().into_iter().flatten();
    let tags: Row = tags.map(|(name, value)| (name.clone(), value.clone())).collect();
    let columns = series["columns"].as_array().expect("columns");
    let values = series["values"].as_array().into_iter().flatten();
    values
        .map(|values| {
            let mut row = tags.clone();
            for (column, value) in columns.iter().zip(values.as_array().expect("a row")) {
                let name = text(column);
                row.insert(if name == "time" { "Time".to_owned() } else { name }, value.clone());
            }
            row
        })
        .collect()
}

fn points(series: &Value, query: &str) -> Series {
    let values = series["values"].as_array().into_iter().flatten();
    Series {
        query: query.to_owned(),
        labels: labels(&series["tags"]),
        points: values.filter_map(|pair| Some((pair[0].as_i64()?, pair[1].as_f64()?))).collect(),
    }
}
