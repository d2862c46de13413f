//! Grafana's own schemas, as its foundation SDK publishes them: of a dashboard, of
//! the options of each kind of panel, of the queries of each data source.

use std::{fs, path::Path};

use jsonschema::Validator;
use serde_json::{Value, json};

/// Where a dashboard does not fit Grafana's schemas.
pub fn errors(dashboard: &Value) -> Vec<String> {
    let mut errors = errors_of(&whole("dashboard"), dashboard, "dashboard");
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        errors.extend(errors_of_panel(panel));
    }
    errors
}

fn errors_of_panel(panel: &Value) -> Vec<String> {
    let title = panel["title"].as_str().unwrap_or("a panel without a title");
    let kind = panel["type"].as_str().unwrap_or_default().replace('-', "");
    let mut errors = Vec::new();
    for (what, definition) in [
        (&panel["options"], "Options"),
        (&panel["fieldConfig"]["defaults"]["custom"], "FieldConfig"),
    ] {
        if let Some(schema) = part(&kind, definition).filter(|_| !what.is_null()) {
            errors.extend(errors_of(&schema, what, &format!("{title}: {definition}")));
        }
    }
    for target in panel["targets"].as_array().into_iter().flatten() {
        errors.extend(errors_of_query(target, title));
    }
    errors
}

/// Grafana publishes no schema of queries to InfluxDB and of its plugin for
/// OpenSearch; the latter's queries are those of Elasticsearch.
fn errors_of_query(target: &Value, title: &str) -> Vec<String> {
    match target["datasource"]["type"].as_str() {
        Some(kind @ ("prometheus" | "loki" | "elasticsearch")) => {
            errors_of(&whole(kind), target, &format!("{title}: query"))
        }
        _ => Vec::new(),
    }
}

fn errors_of(schema: &Value, value: &Value, what: &str) -> Vec<String> {
    let validator: Validator = jsonschema::validator_for(schema).expect("a schema");
    let errors = validator.iter_errors(value);
    errors.map(|error| format!("{what}{}: {error}", error.instance_path())).collect()
}

fn whole(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/dashboards/schema")
        .join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    // Choices stand there as `oneOf`, though many a value fits several of them; and
    // what may be of any type stands there as an object.
    let text = text
        .replace("\"oneOf\"", "\"anyOf\"")
        .replace(r#""type":"object","additionalProperties":{}"#, r#""additionalProperties":{}"#);
    serde_json::from_str(&text).expect("the schema is JSON")
}

/// One definition of a file; none where the kind of panel has no such settings.
fn part(name: &str, definition: &str) -> Option<Value> {
    let definitions = whole(name)["definitions"].clone();
    definitions.get(definition)?;
    Some(json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": format!("#/definitions/{definition}"),
        "definitions": definitions,
    }))
}

pub fn what_does_not_fit_is_refused() {
    let path = crate::folder("grafana").join("prometheus-overview.json");
    let good = crate::read(&path);
    assert_eq!(errors(&good), Vec::<String>::new());
    for (place, value) in [
        ("/title", json!(1)),
        ("/panels/0/gridPos/w", json!("wide")),
        ("/panels/0/titel", json!("Sessions now")),
        ("/panels/0/fieldConfig/defaults/unit", json!(["short"])),
        ("/panels/0/options/graphMode", json!("pie")),
        ("/panels/4/fieldConfig/defaults/custom/fillOpacity", json!("much")),
        ("/panels/0/targets/0/instant", json!("yes")),
        ("/panels/0/targets/0/query", json!("up")),
        ("/templating/list/1/refresh", json!("often")),
    ] {
        let mut bad = good.clone();
        let (parent, key) = place.rsplit_once('/').expect("a path");
        bad.pointer_mut(parent).expect("it is there")[key] = value;
        assert!(!errors(&bad).is_empty(), "{place} is not refused");
    }
}
