//! Elasticsearch and OpenSearch as Grafana asks them: a search with filters for
//! the range and the Lucene query, and one aggregation inside the other.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Answer, DataSource, Row, Series, View, text};
use crate::http;

/// The address of the indices to search in.
pub struct Elasticsearch {
    pub url: String,
}

impl DataSource for Elasticsearch {
    fn format_values(&self, values: &[&str]) -> String {
        let quoted: Vec<String> =
            values.iter().map(|value| format!("\"{}\"", self.format_text(value))).collect();
        format!("({})", quoted.join(" OR "))
    }

    fn format_text(&self, text: &str) -> String {
        super::regex_escaped(text, "!*+-=<> &|()[]{}^~?:\\/\"", "\\")
    }

    fn variable(&self, query: &Value, view: &View) -> Result<Vec<String>, String> {
        let terms =
            json!({"terms": {"field": query["field"], "size": 500, "order": {"_key": "asc"}}});
        let mut search = search(&text(&query["query"]), view);
        search["aggs"] = json!({"1": terms});
        let answer = self.ask(&search)?;
        let buckets = answer["aggregations"]["1"]["buckets"].as_array().into_iter().flatten();
        Ok(buckets.map(|bucket| text(&bucket["key"])).collect())
    }

    fn query(&self, target: &Value, view: &View) -> Result<Answer, String> {
        let mut search = search(&text(&target["query"]), view);
        let metrics = target["metrics"].as_array().ok_or("no metrics")?;
        if metrics[0]["type"] == "raw_data" {
            search["size"] = number(&metrics[0]["settings"]["size"]);
            search["sort"] = json!([{"@timestamp": {"order": "desc", "unmapped_type": "boolean"}}]);
            let answer = self.ask(&search)?;
            let hits = answer["hits"]["hits"].as_array().into_iter().flatten();
            let rows = hits.map(|hit| flat(&hit["_source"])).collect();
            return Ok(Answer { rows, ..Answer::default() });
        }
        let buckets = target["bucketAggs"].as_array().ok_or("no buckets")?;
        search["aggs"] = aggregations(buckets, metrics, view);
        let answer = self.ask(&search)?;
        let mut whole = Answer::default();
        let walk = Walk { buckets, metrics, query: text(&target["refId"]) };
        walk.read(&answer["aggregations"], 0, &Row::new(), &mut whole);
        Ok(whole)
    }
}

impl Elasticsearch {
    /// The answer to one search.
    pub fn ask(&self, search: &Value) -> Result<Value, String> {
        let header = json!({"ignore_unavailable": true});
        let answer =
            http::post_lines(&format!("{}/_msearch", self.url), &format!("{header}\n{search}\n"))?;
        let response = answer["responses"][0].clone();
        match response.get("error") {
            Some(error) => Err(format!("{error} for {search}")),
            None if response["_shards"]["failed"] != 0 => Err(response.to_string()),
            None => Ok(response),
        }
    }
}

/// A search with Grafana's filters, for no documents.
pub fn search(query: &str, view: &View) -> Value {
    let range = json!({"gte": view.from, "lte": view.to, "format": "epoch_millis"});
    json!({
        "size": 0,
        "query": {"bool": {"filter": [
            {"range": {"@timestamp": range}},
            {"query_string": {"query": query, "analyze_wildcard": true}},
        ]}},
    })
}

fn aggregations(buckets: &[Value], metrics: &[Value], view: &View) -> Value {
    let Some((bucket, inner)) = buckets.split_first() else {
        let metrics = metrics.iter().filter(|metric| metric["type"] != "count");
        return metrics.map(|metric| (text(&metric["id"]), metric_aggregation(metric))).collect();
    };
    let settings = &bucket["settings"];
    let mut aggregation = match bucket["type"].as_str() {
        Some("terms") => json!({"terms": {
            "field": bucket["field"],
            "size": number(&settings["size"]),
            "min_doc_count": number(&settings["min_doc_count"]),
            "order": {text(&settings["orderBy"]): settings["order"]},
        }}),
        Some("date_histogram") => {
            let interval = match settings["interval"].as_str() {
                Some("auto") | None => format!("{}ms", view.step),
                Some(interval) => interval.to_owned(),
            };
            json!({"date_histogram": {
                "field": bucket["field"],
                "fixed_interval": interval,
                "min_doc_count": number(&settings["min_doc_count"]),
                "extended_bounds": {"min": view.from, "max": view.to},
                "format": "epoch_millis",
            }})
        }
        other => panic!("no such bucket: {other:?}"),
    };
    aggregation["aggs"] = aggregations(inner, metrics, view);
    json!({text(&bucket["id"]): aggregation})
}

fn metric_aggregation(metric: &Value) -> Value {
    let mut body = Map::new();
    body.insert("field".to_owned(), metric["field"].clone());
    for (name, value) in metric["settings"].as_object().into_iter().flatten() {
        body.insert(name.clone(), value.clone());
    }
    json!({text(&metric["type"]): body})
}

/// Goes down the buckets of an answer.
struct Walk<'a> {
    buckets: &'a [Value],
    metrics: &'a [Value],
    query: String,
}

impl Walk<'_> {
    fn read(&self, aggregations: &Value, depth: usize, outer: &Row, whole: &mut Answer) {
        let aggregation = &self.buckets[depth];
        let buckets = &aggregations[text(&aggregation["id"])]["buckets"];
        let buckets = buckets.as_array().map_or(&[][..], Vec::as_slice);
        if aggregation["type"] == "date_histogram" {
            whole
                .series
                .extend(self.metrics.iter().map(|metric| self.line(metric, buckets, outer)));
            return;
        }
        for bucket in buckets {
            let mut row = outer.clone();
            let key = bucket.get("key_as_string").unwrap_or(&bucket["key"]);
            row.insert(text(&aggregation["field"]), key.clone());
            if depth + 1 < self.buckets.len() {
                self.read(bucket, depth + 1, &row, whole);
                continue;
            }
            for metric in self.metrics {
                row.insert(text(&metric["type"]), value(metric, bucket).into());
            }
            whole.rows.push(row);
        }
    }

    fn line(&self, metric: &Value, buckets: &[Value], outer: &Row) -> Series {
        let mut labels: BTreeMap<String, String> =
            outer.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        labels.insert("field".to_owned(), text(&metric["field"]));
        let point = |bucket: &Value| Some((bucket["key"].as_i64()?, value(metric, bucket)?));
        Series {
            query: self.query.clone(),
            labels,
            points: buckets.iter().filter_map(point).collect(),
        }
    }
}

fn value(metric: &Value, bucket: &Value) -> Option<f64> {
    let result = &bucket[text(&metric["id"])];
    match metric["type"].as_str() {
        Some("count") => bucket["doc_count"].as_f64(),
        Some("percentiles") => result["values"].as_object()?.values().next()?.as_f64(),
        _ => result["value"].as_f64(),
    }
}

/// The fields of a document by their dotted names.
fn flat(document: &Value) -> Row {
    let mut row = Row::new();
    for (name, value) in document.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => row.extend(
                flat(value).into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)),
            ),
            _ => {
                row.insert(name.clone(), value.clone());
            }
        }
    }
    row
}

/// Grafana keeps numbers as texts.
fn number(value: &Value) -> Value {
    text(value).parse::<i64>().expect("a number").into()
}
