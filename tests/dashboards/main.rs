//! The shipped dashboards and alerts: every panel has what a reader needs, no
//! query has a form that is known to give wrong numbers, and the alerts fire
//! when they should. Without `promtool` the alerts are told as skipped, and
//! counted as ignored.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

/// More than this on one page, nobody looks at.
const MOST_PANELS: usize = 12;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![test("wrong_queries_are_refused", wrong_queries_are_refused)];
    trials.extend(dashboards().into_iter().map(|file| {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        test(&name, move || check_dashboard(&file))
    }));
    trials.push(alerts());
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn test(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}

/// `promtool` runs the alerts' own tests.
fn alerts() -> Trial {
    let name = "alerts_fire_when_they_should";
    let missing = Command::new("promtool").arg("--version").output().is_err();
    if missing {
        eprintln!("SKIPPED {name}: promtool is not there");
    }
    test(name, || {
        promtool(&["check", "rules", "rules.yaml"]);
        promtool(&["test", "rules", "rules-test.yaml"]);
    })
    .with_ignored_flag(missing)
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
    let text = fs::read_to_string(file).expect("the file can be read");
    let dashboard: Value = serde_json::from_str(&text).expect("the file is JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("there are variables");
    let names: Vec<&str> =
        variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(variables[0]["type"], "datasource", "the data source is a variable");
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        check_data_source(variable, &variable["name"]);
    }
    let panels = dashboard["panels"].as_array().expect("there are panels");
    assert!((1..=MOST_PANELS).contains(&panels.len()), "{} panels", panels.len());
    panels.iter().for_each(|panel| check_panel(panel, &names));
}

/// A panel says what it shows, in which unit, and asks right queries.
fn check_panel(panel: &Value, variables: &[&str]) {
    let title = &panel["title"];
    for (what, value) in [
        ("title", title),
        ("description", &panel["description"]),
        ("unit", &panel["fieldConfig"]["defaults"]["unit"]),
    ] {
        assert!(value.as_str().is_some_and(|text| !text.trim().is_empty()), "{title}: no {what}");
    }
    check_data_source(panel, title);
    let targets = panel["targets"].as_array().expect("a panel has queries");
    assert!(!targets.is_empty(), "{title}: no query");
    for target in targets {
        check_data_source(target, title);
        let query = target["expr"].as_str().expect("a query has an expression");
        if let Some(why) = wrong(query) {
            panic!("{title}: {why}: {query}");
        }
        for name in used_variables(query) {
            assert!(variables.contains(&name.as_str()), "{title}: no variable {name}: {query}");
        }
    }
}

/// An address of its own would be right on one Grafana only.
fn check_data_source(of: &Value, what: &Value) {
    assert_eq!(of["datasource"]["uid"], "${datasource}", "{what}: the data source is a variable");
}

/// The variables of a query, without Grafana's own (`$__interval`).
fn used_variables(query: &str) -> Vec<String> {
    query
        .split('$')
        .skip(1)
        .map(|rest| {
            rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        })
        .filter(|name| !name.starts_with("__"))
        .collect()
}

/// Why a query gives wrong numbers, if it has a form that is known to.
fn wrong(query: &str) -> Option<&'static str> {
    let has = |part: &str| query.contains(part);
    let gauge = has("qlik_sessions_sessions")
        || has("qlik_sessions_users")
        || has("qlik_sessions_site_sessions")
        || has("qlik_sessions_site_users");
    if has("vector(0)") || has("fill(0)") || has("fill(previous)") || has("fill(linear)") {
        Some("draws silence as a number")
    } else if has("count_over_time") && has("event=\"session\"") {
        Some("counts a session once for each poll")
    } else if has("event=\"session\"") && !has("group_left") && !has("one=\"1\"") {
        Some("counts sessions that have ended since: join it with the last poll")
    } else if has("event=\"session_summary\"") {
        Some("a target that fails keeps its last count: ask for poll_error, too")
    } else if has("site_summary") && has("session_summary") {
        Some("adds the site to its targets")
    } else if (has("sum(") || has("sum by")) && has("user_count") {
        Some("counts a user once for each target")
    } else if gauge && !has(">= 0") {
        Some("a target that fails is not a number: drop it by >= 0")
    } else if has("[$__interval]") && has("unwrap") {
        Some("the window must be longer than the poll interval")
    } else {
        None
    }
}

fn wrong_queries_are_refused() {
    for query in [
        r#"sum(last_over_time({event="session_summary"} | json | unwrap session_count [10m]))"#,
        r#"sum(last_over_time({event=~"site_summary|session_summary|poll_error"} | json | unwrap session_count [10m]))"#,
        r#"count_over_time({event="session"}[5m])"#,
        r#"count by (user) (last_over_time({event="session"} | unwrap ts [10m]) by (user))"#,
        r#"sum(max_over_time({event="site_summary"} | json n="user_count" | unwrap n [1h]))"#,
        r#"max_over_time({event="site_summary"} | json n="session_count" | unwrap n [$__interval])"#,
        "sum(qlik_sessions_sessions) by (server_name)",
        "max_over_time(qlik_sessions_site_users[1d])",
        "qlik_sessions_site_sessions >= 0 or vector(0)",
        "SELECT mean(session_count) FROM user_session_summary GROUP BY time(1m) fill(previous)",
    ] {
        assert!(wrong(query).is_some(), "not refused: {query}");
    }
}
