//! What Vector's programs make of events, stored by a real OpenSearch with the shipped
//! template. The documents are those of `vector/vrl-tests`, so this needs no Vector.

use std::fs;

use serde_json::{Value, json};

use crate::{Test, agents::shipped, http, servers::OpenSearch, tests};

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![
    ["opensearch2"] opensearch_2_stores_each_document_once,
    ["opensearch3"] opensearch_3_stores_each_document_once,
];

fn opensearch_2_stores_each_document_once() {
    stores_each_document_once("opensearch2");
}

fn opensearch_3_stores_each_document_once() {
    stores_each_document_once("opensearch3");
}

fn stores_each_document_once(program: &str) {
    let server = OpenSearch::start(program);
    let template = read("outputs/opensearch-index-template.json");
    let documents = read("vrl-tests/expected/elasticsearch.qlik_sessions_ecs.json");
    let documents = documents.as_array().expect("a list");
    assert!(documents.iter().any(|document| document["event"]["action"] == "session"));
    for (name, index, template) in [
        ("logs-qlik.sessions", "logs-qlik.sessions-default", template.clone()),
        ("qlik-sessions", "qlik-sessions-2026.11", for_plain_indices(template)),
    ] {
        http::put(&format!("{}/_index_template/{name}", server.url), &template.to_string())
            .unwrap_or_else(|error| panic!("{program} {name}: {error}"));
        let first = deliver(&server, index, documents);
        assert!(first.iter().all(|status| *status == 201), "{program} {index}: {first:?}");
        // Only lines of the log have no id, and are stored again.
        let second = deliver(&server, index, documents);
        let expected: Vec<u64> = documents
            .iter()
            .map(|document| if document["id"].is_string() { 409 } else { 201 })
            .collect();
        assert_eq!(second, expected, "{program} {index}");
        check_queries(&server, index, documents);
    }
}

/// As `elasticsearch-index.yaml` has it made.
fn for_plain_indices(mut template: Value) -> Value {
    template["index_patterns"] = json!(["qlik-sessions-*"]);
    template.as_object_mut().expect("an object").remove("data_stream");
    let properties = &mut template["template"]["mappings"]["properties"];
    properties.as_object_mut().expect("an object").remove("data_stream");
    template
}

/// Sends the documents as Vector does; returns what became of each.
fn deliver(server: &OpenSearch, index: &str, documents: &[Value]) -> Vec<u64> {
    let mut lines = String::new();
    for document in documents {
        let mut document = document.clone();
        let id = document.as_object_mut().expect("an object").remove("id");
        let action = id.map_or(json!({}), |id| json!({"_id": id}));
        lines += &format!("{}\n{document}\n", json!({"create": action}));
    }
    let answer = http::post_lines(&format!("{}/{index}/_bulk?refresh=true", server.url), &lines)
        .expect("an answer");
    let items = answer["items"].as_array().expect("an item for each");
    items.iter().map(|item| item["create"]["status"].as_u64().expect("a status")).collect()
}

fn check_queries(server: &OpenSearch, index: &str, documents: &[Value]) {
    let count = |field: &str, value: &str| {
        let query = http::parameters(&[("q", &format!("{field}:\"{value}\""))]);
        let answer = http::get(&format!("{}/{index}/_count?{query}", server.url));
        answer.expect("an answer")["count"].as_u64().expect("a count") as usize
    };
    let with = |is: &dyn Fn(&Value) -> bool| documents.iter().filter(|one| is(one)).count();
    for kind in ["session", "session_summary", "poll_error", "site_summary"] {
        let due = with(&|document| document["event"]["action"] == kind);
        assert!(due > 0);
        assert_eq!(count("event.action", kind), due, "{kind}");
    }
    // Names are found in whatever case they are written.
    let of_user = with(&|document| document["user"]["name"] == "åsa");
    assert!(of_user > 0);
    assert_eq!(count("user.name", "ÅSA"), of_user);
    let of_role = with(&|document| document["labels"]["role"] == "app server");
    assert!(of_role > 0);
    assert_eq!(count("labels.role", "app server"), of_role);
}

fn read(name: &str) -> Value {
    let text = fs::read_to_string(shipped("vector").join(name)).expect("it is there");
    serde_json::from_str(&text).expect("JSON")
}
