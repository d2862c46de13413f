//! Every panel's query and every variable's, run against a real server that
//! holds the scenario: each answers, and with the right numbers, also while a
//! target fails and while nothing polls.

use std::fs;

use serde_json::{Value, json};

use crate::{
    folder,
    grafana::{self, DataSource, Elasticsearch, Influxdb, Loki, Prometheus, View},
    http, queries,
    scenario::{BEGIN, DAY, HOUR, MINUTE, SECOND, Scenario},
    servers::Server,
    truth::{self, Expected, Truth},
};

/// What a panel must draw; none where nobody knows.
type Known = fn(&str, &Truth<'_>) -> Option<Expected>;

pub fn prometheus() {
    let scenario = Scenario::new();
    let server = Server::prometheus(&scenario);
    let source = Prometheus { url: server.url.clone() };
    let check = Check::new("prometheus-overview", &source, &scenario, truth::prometheus);
    check.everything();
    check.tags();
    check.finds_silence_drawn_as_zero();
    let by_server = |expression: &str| {
        let selector = r#"{server_name=~"$server",virtual_proxy=~"$virtual_proxy"}"#;
        let each = expression.replace("{}", selector);
        [("expr", json!(format!("sum by (server_name) ({each})")))]
    };
    check.finds_at_each_step(
        "a poll counts twice",
        "Sessions by server",
        &by_server("sum_over_time(qlik_sessions_sessions{}[$window]) >= 0"),
    );
    check.finds_at_each_step(
        "a failing target is zero",
        "Sessions by server",
        &by_server(
            "last_over_time(qlik_sessions_sessions{}[$window]) >= 0 or 0 * last_over_time(qlik_sessions_up{}[$window])",
        ),
    );
    check.finds_at_each_step(
        "a failing target is not a number",
        "Sessions by server",
        &by_server("last_over_time(qlik_sessions_sessions{}[$window])"),
    );
    check.finds(
        "The whole site now",
        &[("expr", json!("sum(qlik_sessions_sessions >= 0) or vector(0)"))],
    );
}

pub fn loki() {
    let scenario = Scenario::new();
    let server = Server::loki(&scenario);
    let source = Loki { url: server.url.clone() };
    let check = Check::new("loki-people", &source, &scenario, truth::loki);
    check.everything();
    check.finds_silence_drawn_as_zero();
    let by_server = |before: &str, kinds: &str, after: &str| {
        let query = format!(
            r#"sum by (server_name) ({before}({{job="qlik-sessions",event=~"{kinds}",server_name=~"$server"}} {after}[$window]) by (server_name,virtual_proxy))"#
        );
        [("expr", json!(query))]
    };
    let count = r#"| json n="session_count" | unwrap n "#;
    check.finds_at_each_step(
        "a poll counts twice",
        "Sessions by server",
        &by_server("sum_over_time", "session_summary", count),
    );
    check.finds_at_each_step(
        "a session counts once for each poll",
        "Sessions by server",
        &by_server("sum_over_time", "session", r#"| label_format one="1" | unwrap one "#),
    );
    check.finds_at_each_step(
        "a failing target keeps its last count",
        "Sessions by server",
        &by_server("last_over_time", "session_summary", count),
    );
    let or_zero = r#"| json n="session_count" | label_format n="{{ if .n }}{{ .n }}{{ else }}0{{ end }}" | unwrap n "#;
    check.finds_at_each_step(
        "a failing target is zero",
        "Sessions by server",
        &by_server("last_over_time", "session_summary|poll_error", or_zero),
    );
    // Who has left is counted until the window has passed.
    check.finds(
        "Sessions that each user would lose",
        &[(
            "expr",
            json!(
                r#"count by (user) (count by (user,session_id) (count_over_time({job="qlik-sessions",event="session",server_name=~"$server"}[$window])))"#
            ),
        )],
    );
}

/// Panels that ask for each session say that Loki then refuses.
pub fn loki_at_a_large_site() {
    let scenario = Scenario::large();
    let server = Server::loki(&scenario);
    let source = Loki { url: server.url.clone() };
    let check = Check::new("loki-people", &source, &scenario, truth::loki);
    for panel in check.panels() {
        let answer = check.panel(panel, &view(12 * MINUTE));
        let description = panel["description"].as_str().expect("a description");
        if description.contains("Up to 500 sessions") {
            let error = answer.expect_err("Loki refuses");
            assert!(error.contains("maximum number of series"), "{}: {error}", panel["title"]);
        } else {
            assert!(answer.is_ok(), "{}: {answer:?}", panel["title"]);
        }
    }
}

pub fn influxdb() {
    let scenario = Scenario::new();
    let server = Server::influxdb(&scenario);
    let source = Influxdb { url: server.url.clone() };
    let check = Check::new("influxdb-butler-sos", &source, &scenario, truth::influxdb);
    check.everything();
    let by_server = |value: &str, fill: &str| {
        let query = format!(
            r#"SELECT {value} FROM "user_session_summary" WHERE "server_name" =~ /^${{server:regex}}$/ AND $timeFilter GROUP BY time($__interval), "server_name" fill({fill})"#
        );
        [("query", json!(query))]
    };
    check.finds_at_each_step(
        "a poll counts twice",
        "Sessions by server",
        &by_server(r#"sum("session_count")"#, "null"),
    );
    check.finds_at_each_step(
        "the mean of the virtual proxies",
        "Sessions by server",
        &by_server(r#"mean("session_count")"#, "null"),
    );
    for fill in ["0", "previous", "linear"] {
        let right = check.query("Sessions by server", "query");
        let filled = right.replace("fill(null)", &format!("fill({fill})"));
        check.finds_at_each_step(
            "a failing target and silence are a number",
            "Sessions by server",
            &[("query", json!(filled))],
        );
    }
    check.finds(
        "Sessions now",
        &[(
            "query",
            json!(
                r#"SELECT sum("session_count") FROM "user_session_summary" WHERE time > ${__to}ms - $window AND time <= ${__to}ms"#
            ),
        )],
    );
}

pub fn opensearch(url: &str) {
    let scenario = Scenario::new();
    let server = Server::opensearch(&scenario, url);
    let source = Elasticsearch { url: server.url.clone() };
    let version = http::get(url).expect("it names its version")["version"]["number"].clone();
    let is_2 = version.as_str().is_some_and(|number| number.starts_with("2."));
    let known = if is_2 { truth::elasticsearch } else { truth::opensearch_3 };
    Check::new("opensearch-people", &source, &scenario, known).everything();
    let check = Check::new("elasticsearch-people", &source, &scenario, known);
    check.everything();
    queries::check(&source, &scenario);
    check.finds_at_each_step(
        "a poll counts twice, and silence is zero",
        "Sessions by target",
        &[("metrics/0/type", json!("sum"))],
    );
    let right = check.query("Sessions by target", "query");
    check.finds_at_each_step(
        "a failing target is zero",
        "Sessions by target",
        &[
            ("query", json!(right.replace("session_summary", "(session_summary OR poll_error)"))),
            ("metrics/0/settings", json!({"missing": "0"})),
        ],
    );
    check.finds(
        "Whom a restart of the chosen servers hits",
        &[("query", json!("event.action:session AND qlik.server_name:$server"))],
    );
}

/// A dashboard, the server that answers it, and what is true.
struct Check<'a> {
    dashboard: Value,
    source: &'a dyn DataSource,
    scenario: &'a Scenario,
    known: Known,
}

impl<'a> Check<'a> {
    fn new(name: &str, source: &'a dyn DataSource, scenario: &'a Scenario, known: Known) -> Self {
        let path = folder("grafana").join(format!("{name}.json"));
        let text = fs::read_to_string(path).expect("the dashboard can be read");
        let dashboard = serde_json::from_str(&text).expect("the dashboard is JSON");
        Self { dashboard, source, scenario, known }
    }

    fn everything(&self) {
        self.variables();
        let mut wrong = Vec::new();
        for panel in self.panels() {
            let title = panel["title"].as_str().expect("a title");
            let mut drawn = false;
            for (name, view) in views() {
                match self.panel(panel, &view) {
                    Ok(draws) => drawn |= draws,
                    Err(why) => wrong.push(format!("{title}: {name}: {why}")),
                }
            }
            if !drawn {
                wrong.push(format!("{title}: no view has anything to draw"));
            }
        }
        assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }

    fn panels(&self) -> &[Value] {
        self.dashboard["panels"].as_array().expect("panels")
    }

    /// Servers, and the virtual proxies of those that are chosen.
    fn variables(&self) {
        let offered = |servers: &[&'static str]| {
            let view = View { servers: servers.to_vec(), ..view(10 * HOUR) };
            grafana::variables(self.source, &self.dashboard, &view).expect("variables")
        };
        let all = offered(&[]);
        assert_eq!(all["server"], ["sense1", "sense2"]);
        assert_eq!(all["virtual_proxy"], ["/", "/hr", "/sales"]);
        assert_eq!(offered(&["sense1"])["virtual_proxy"], ["/", "/sales"]);
        assert_eq!(offered(&["sense1", "sense2"])["virtual_proxy"], all["virtual_proxy"]);
    }

    /// A server tag, chosen with its value, leaves the servers that have it.
    fn tags(&self) {
        let offered = |tag| {
            let view = View { tag, ..view(10 * HOUR) };
            grafana::variables(self.source, &self.dashboard, &view).expect("variables")
        };
        assert_eq!(offered(None)["tag"], ["environment"]);
        let chosen = offered(Some(("environment", "test")));
        assert_eq!(chosen["tag_value"], ["production", "test"]);
        assert_eq!(chosen["server"], ["sense2"]);
    }

    /// Whether the panel draws anything in this view; the error says what is wrong.
    fn panel(&self, panel: &Value, view: &View) -> Result<bool, String> {
        let view = grafana::view_of(panel, view);
        let truth = Truth { scenario: self.scenario, view: &view };
        let title = panel["title"].as_str().expect("a title");
        let expected = (self.known)(title, &truth).ok_or("nobody knows what is right")?;
        let answer = grafana::run(self.source, &self.dashboard, panel, &view)?;
        match expected.drawing_of(&answer).difference(expected.drawing()) {
            Some(difference) => Err(difference),
            None => Ok(!expected.drawing().is_empty()),
        }
    }

    fn query(&self, title: &str, key: &str) -> String {
        self.panel_of(title)["targets"][0][key].as_str().expect("a query").to_owned()
    }

    fn panel_of(&self, title: &str) -> Value {
        let panel = self.panels().iter().find(|panel| panel["title"] == title);
        panel.unwrap_or_else(|| panic!("no panel {title}")).clone()
    }

    /// A panel with a query that is known to be wrong must not pass.
    fn finds(&self, title: &str, wrong: &[(&str, Value)]) {
        let panel = changed(self.panel_of(title), wrong);
        let found = views().iter().any(|(_, view)| self.panel(&panel, view).is_err());
        assert!(found, "{title} passes with the wrong query {wrong:?}");
    }

    /// It must not pass at any step: a wrong number may be seen at some only.
    fn finds_at_each_step(&self, fault: &str, title: &str, wrong: &[(&str, Value)]) {
        self.is_found_at_each_step(fault, &changed(self.panel_of(title), wrong));
    }

    /// Every graph, each of its queries with a zero where there is nothing. Those
    /// that look back a day are never silent here.
    fn finds_silence_drawn_as_zero(&self) {
        let graphs = self.panels().iter().filter(|panel| {
            panel["type"] == "timeseries" && !panel["targets"].to_string().contains("[1d]")
        });
        for panel in graphs {
            let mut panel = panel.clone();
            for target in panel["targets"].as_array_mut().expect("queries") {
                let query = target["expr"].as_str().expect("a query");
                target["expr"] = json!(format!("({query}) or vector(0)"));
            }
            self.is_found_at_each_step("silence is zero", &panel);
        }
    }

    fn is_found_at_each_step(&self, fault: &str, panel: &Value) {
        for (name, view) in views_at_each_step() {
            let found = self.panel(panel, &view).is_err();
            assert!(found, "{}: {name}: not found: {fault}", panel["title"]);
        }
    }
}

/// A panel whose first query has other values at these places.
fn changed(mut panel: Value, changes: &[(&str, Value)]) -> Value {
    for (place, value) in changes {
        let place = format!("/targets/0/{place}");
        let (parent, key) = place.rsplit_once('/').expect("a path");
        panel.pointer_mut(parent).expect("it is there")[key] = value.clone();
    }
    panel
}

/// A page that begins with the scenario.
pub fn view(to: i64) -> View {
    View {
        from: BEGIN,
        to: BEGIN + to,
        step: 5 * MINUTE,
        window: "10m",
        servers: Vec::new(),
        tag: None,
        user: "LAB\\user14",
    }
}

fn views() -> Vec<(&'static str, View)> {
    let late = 17 * SECOND;
    let mut views = vec![
        ("everybody at work", view(DAY + 11 * HOUR + 47 * MINUTE + late)),
        ("one server", View { servers: vec!["sense2"], ..view(10 * HOUR + late) }),
        ("two servers", View { servers: vec!["sense1", "sense2"], ..view(9 * HOUR + late) }),
        // So shortly after the last good poll that it is in the window.
        ("a target fails", view(10 * HOUR + 3 * MINUTE + late)),
        ("a server fails", view(16 * HOUR + 20 * MINUTE + late)),
        ("nothing polls", view(14 * HOUR + 47 * MINUTE + late)),
        ("nobody is on", view(DAY + 3 * HOUR + late)),
        // What is shown of the weeks before is still known.
        ("two weeks later", View { from: BEGIN + 14 * DAY, ..view(16 * DAY + late) }),
    ];
    views.extend(views_at_each_step());
    views
}

/// In each of these a target and a server fail, and for a while nothing polls.
fn views_at_each_step() -> Vec<(&'static str, View)> {
    vec![
        (
            "steps of 15 seconds",
            View { from: BEGIN + 9 * HOUR + 30 * MINUTE, step: 15 * SECOND, ..view(17 * HOUR) },
        ),
        ("steps of 5 minutes", view(DAY)),
        ("steps of an hour", View { step: HOUR, ..view(2 * DAY) }),
    ]
}
