//! The shipped dashboards and alerts: every panel has what a reader needs, no
//! query has a form that is known to give wrong numbers, real servers answer with
//! the right ones, and the alerts fire when they should. Where a program is
//! missing, its tests say so in a line of their own, and count as ignored.

mod forms;
// Vector is given a shell script to run.
#[cfg(unix)]
mod grafana;
#[cfg(unix)]
#[path = "../support/http.rs"]
mod http;
#[path = "../support/programs.rs"]
mod installed;
#[cfg(unix)]
mod numbers;
#[cfg(unix)]
mod queries;
#[cfg(unix)]
mod scenario;
mod schema;
#[cfg(unix)]
mod servers;
#[cfg(unix)]
#[path = "../support/servers.rs"]
mod started;
#[cfg(unix)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(unix)]
mod truth;

use std::{
    collections::BTreeSet,
    env, fs,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
#[cfg(unix)]
use started::OpenSearch;

/// Most panels of one page: nobody looks at more.
const MOST_PANELS: usize = 12;
/// Grafana's pages have so many columns.
const GRID_COLUMNS: u64 = 24;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        test("wrong_queries_are_refused", forms::wrong_queries_are_refused),
        test("what_does_not_fit_the_schema_is_refused", schema::what_does_not_fit_is_refused),
    ];
    trials.extend(dashboards().into_iter().map(|file| {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        test(&name, move || check_dashboard(&file))
    }));
    trials.push(test(
        "opensearch_has_the_queries_of_elasticsearch",
        opensearch_has_the_queries_of_elasticsearch,
    ));
    trials.push(test("provisioning_fits_the_dashboards", provisioning_fits_the_dashboards));
    trials.push(alerts());
    #[cfg(unix)]
    trials.extend(real_servers());
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn test(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    installed::trial(name, None, run)
}

/// A test that needs programs.
fn with_programs(name: &str, needs: &[&str], run: impl FnOnce() + Send + 'static) -> Trial {
    installed::trial(name, installed::missing_of(needs), run)
}

/// The files for Grafana's provisioning name the kinds of data sources that the
/// dashboards are made for.
fn provisioning_fits_the_dashboards() {
    let read_yaml = |name: &str| -> Value {
        let path = folder("provisioning").join(name).join("qlik-sessions.yaml");
        let text = fs::read_to_string(path).expect("the file can be read");
        // The plugin for OpenSearch is not everywhere: it stands in a comment.
        let text = text.replace("\n  # - ", "\n  - ").replace("\n  #   ", "\n    ");
        serde_yaml::from_str(&text).expect("the file is YAML")
    };
    let kinds = |list: &Value| -> BTreeSet<String> {
        list.as_array().expect("a list").iter().map(|one| one["type"].to_string()).collect()
    };
    let made_for: BTreeSet<String> = dashboards()
        .iter()
        .map(|file| read(file)["templating"]["list"][0]["query"].to_string())
        .collect();
    assert_eq!(kinds(&read_yaml("datasources")["datasources"]), made_for);
    let providers = &read_yaml("dashboards")["providers"];
    assert_eq!(providers[0]["type"], "file");
    assert!(providers[0]["options"]["path"].is_string());
}

/// `promtool` runs the alerts' own tests.
fn alerts() -> Trial {
    with_programs("alerts_fire_when_they_should", &["promtool"], || {
        promtool(&["check", "rules", "rules.yaml"]);
        promtool(&["test", "rules", "rules-test.yaml"]);
    })
}

/// Each dashboard against the server that it is made for.
#[cfg(unix)]
fn real_servers() -> Vec<Trial> {
    let mut trials = vec![
        with_programs(
            "prometheus_numbers_are_right",
            &["vector", "prometheus"],
            numbers::prometheus,
        ),
        with_programs("loki_numbers_are_right", &["vector", "loki"], numbers::loki),
        with_programs(
            "loki_numbers_are_right_at_a_large_site",
            &["vector", "loki"],
            numbers::loki_at_a_large_site,
        ),
        with_programs("influxdb_numbers_are_right", &["vector", "influxd"], numbers::influxdb),
    ];
    trials.extend(opensearch());
    trials
}

/// OpenSearch as `tests/servers/fetch` installs it, or the running one that
/// `OPENSEARCH_URL` names. Without Vector its programs make the documents.
#[cfg(unix)]
fn opensearch() -> Vec<Trial> {
    let feeder = if installed::missing("vector").is_none() { "vector" } else { "run-transforms" };
    if let Ok(url) = env::var("OPENSEARCH_URL") {
        let run = move || numbers::opensearch(&url);
        return vec![with_programs("opensearch_numbers_are_right", &[feeder], run)];
    }
    ["opensearch2", "opensearch3"]
        .map(|program| {
            let name = format!("{program}_numbers_are_right");
            with_programs(&name, &[program, feeder], move || {
                numbers::opensearch(&OpenSearch::start(program).url);
            })
        })
        .into()
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder("prometheus"))
        .output()
        .expect("promtool starts");
    assert!(output.status.success(), "promtool {arguments:?}: {output:?}");
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(name)
}

/// The files of all dashboards.
fn dashboards() -> Vec<PathBuf> {
    let files: Vec<PathBuf> = fs::read_dir(folder("grafana"))
        .expect("the dashboards are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    assert!(!files.is_empty(), "no dashboard");
    files
}

fn check_dashboard(file: &Path) {
    let dashboard = read(file);
    let errors = schema::errors(&dashboard);
    assert!(errors.is_empty(), "against Grafana's schema:\n{}", errors.join("\n"));
    let variables = dashboard["templating"]["list"].as_array().expect("there are variables");
    let names: Vec<&str> =
        variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(variables[0]["type"], "datasource", "the data source is a variable");
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        check_data_source(variable, &variable["name"], &dashboard);
    }
    let panels = dashboard["panels"].as_array().expect("there are panels");
    assert!((1..=MOST_PANELS).contains(&panels.len()), "{} panels", panels.len());
    panels.iter().for_each(|panel| check_panel(panel, &names, &dashboard));
    check_places(panels);
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("the file can be read");
    serde_json::from_str(&text).expect("the file is JSON")
}

/// A panel says what it shows, in which unit, and asks right queries.
fn check_panel(panel: &Value, variables: &[&str], dashboard: &Value) {
    let title = &panel["title"];
    for (what, value) in [
        ("title", title),
        ("description", &panel["description"]),
        ("unit", &panel["fieldConfig"]["defaults"]["unit"]),
    ] {
        assert!(value.as_str().is_some_and(|text| !text.trim().is_empty()), "{title}: no {what}");
    }
    check_data_source(panel, title, dashboard);
    let targets = panel["targets"].as_array().expect("a panel has queries");
    assert!(!targets.is_empty(), "{title}: no query");
    for target in targets {
        check_data_source(target, title, dashboard);
        let query = target["expr"].as_str().or(target["query"].as_str());
        let query = query.unwrap_or_else(|| panic!("{title}: a query without a text"));
        if let Some(why) = forms::wrong(target) {
            panic!("{title}: {why}: {query}");
        }
        for name in used_variables(query) {
            assert!(variables.contains(&name.as_str()), "{title}: no variable {name}: {query}");
        }
    }
}

/// No panel lies over another, and each has a number of its own.
fn check_places(panels: &[Value]) {
    let place = |panel: &Value| {
        let grid = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        (grid("x")..grid("x") + grid("w"), grid("y")..grid("y") + grid("h"))
    };
    let overlap =
        |one: &Range<u64>, other: &Range<u64>| one.start < other.end && other.start < one.end;
    for (n, panel) in panels.iter().enumerate() {
        let (columns, rows) = place(panel);
        assert!(columns.end <= GRID_COLUMNS, "{}: too far to the right", panel["title"]);
        for other in &panels[..n] {
            let (title, other_title) = (&panel["title"], &other["title"]);
            let (other_columns, other_rows) = place(other);
            let over = overlap(&columns, &other_columns) && overlap(&rows, &other_rows);
            assert!(!over, "{title} lies over {other_title}");
            assert_ne!(panel["id"], other["id"], "{title} and {other_title}");
        }
    }
}

/// An address of its own would be right on one Grafana only.
fn check_data_source(of: &Value, what: &Value, dashboard: &Value) {
    let source = &of["datasource"];
    assert_eq!(source["uid"], "${datasource}", "{what}: the data source is a variable");
    let kind = &dashboard["templating"]["list"][0]["query"];
    assert_eq!(&source["type"], kind, "{what}: another kind of data source");
}

/// Grafana has a plugin of its own for OpenSearch; the questions are the same.
fn opensearch_has_the_queries_of_elasticsearch() {
    let page = |name: &str| read(&folder("grafana").join(name));
    let text = |panels: &Value| {
        let mut panels = panels.clone();
        for panel in panels.as_array_mut().expect("panels") {
            for target in panel["targets"].as_array_mut().expect("queries") {
                let target = target.as_object_mut().expect("a query");
                target.retain(|key, _| key != "queryType" && key != "luceneQueryType");
            }
        }
        panels.to_string().replace("grafana-opensearch-datasource", "elasticsearch")
    };
    let (one, other) = (page("elasticsearch-people.json"), page("opensearch-people.json"));
    assert_eq!(text(&one["panels"]), text(&other["panels"]));
    assert_ne!(one["uid"], other["uid"]);
}

/// The variables of a query, without Grafana's own (`$__interval`).
fn used_variables(query: &str) -> Vec<String> {
    query
        .split('$')
        .skip(1)
        .map(|rest| {
            let rest = rest.trim_start_matches('{');
            rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        })
        .filter(|name| !name.is_empty() && !name.starts_with("__") && name != "timeFilter")
        .collect()
}
