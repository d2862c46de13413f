//! Every panel's query and every variable's, run against a real server that
//! holds the scenario: each answers, and with the right numbers, also while a
//! target fails and while nothing polls.

use std::fs;

use serde_json::Value;

use crate::{
    folder,
    grafana::{self, DataSource, Elasticsearch, Influxdb, Loki, Prometheus, View},
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
    // The two virtual proxies of a server come to one line each.
    check.finds_wrong(
        "Sessions by server",
        "expr",
        "sum by (server_name) (sum_over_time(qlik_sessions_sessions[$window]))",
    );
    // A failing target is drawn as zero.
    check.finds_wrong("Sessions now", "expr", "sum(qlik_sessions_sessions >= 0) or vector(0)");
}

pub fn loki() {
    let scenario = Scenario::new();
    let server = Server::loki(&scenario);
    let source = Loki { url: server.url.clone() };
    let check = Check::new("loki-people", &source, &scenario, truth::loki);
    check.everything();
    check.finds_wrong(
        "Sessions by server",
        "expr",
        "sum by (server_name) (count_over_time({job=\"qlik-sessions\",event=\"session\",server_name=~\"$server\"}[$window]))",
    );
    // Who has left is counted until the window has passed.
    check.finds_wrong(
        "Whom a restart of the chosen servers hits",
        "expr",
        "count by (user) (count by (user,session_id) (count_over_time({job=\"qlik-sessions\",event=\"session\",server_name=~\"$server\"}[$window])))",
    );
}

pub fn influxdb() {
    let scenario = Scenario::new();
    let server = Server::influxdb(&scenario);
    let source = Influxdb { url: server.url.clone() };
    let check = Check::new("influxdb-butler-sos", &source, &scenario, truth::influxdb);
    check.everything();
    check.finds_wrong(
        "Sessions now",
        "query",
        "SELECT sum(\"session_count\") FROM \"user_session_summary\" WHERE time > ${__to}ms - $window AND time <= ${__to}ms",
    );
    check.finds_wrong(
        "Sessions by server",
        "query",
        "SELECT sum(\"session_count\") FROM \"user_session_summary\" WHERE $timeFilter GROUP BY time($__interval), \"server_name\" fill(0)",
    );
}

pub fn opensearch(url: &str) {
    let scenario = Scenario::new();
    let server = Server::opensearch(&scenario, url);
    let source = Elasticsearch { url: server.url.clone() };
    let known = truth::elasticsearch;
    Check::new("opensearch-people", &source, &scenario, known).everything();
    let check = Check::new("elasticsearch-people", &source, &scenario, known);
    check.everything();
    check.finds_wrong(
        "Whom a restart of the chosen servers hits",
        "query",
        "event.action:session AND qlik.server_name:$server",
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

    /// A query that is known to be wrong must not pass.
    fn finds_wrong(&self, title: &str, key: &str, query: &str) {
        let panel = self.panels().iter().find(|panel| panel["title"] == title);
        let mut panel = panel.expect("there is such a panel").clone();
        panel["targets"][0][key] = query.into();
        let found = views().iter().any(|(_, view)| self.panel(&panel, view).is_err());
        assert!(found, "{title} passes with the wrong query {query}");
    }
}

/// A page that begins with the scenario.
fn view(to: i64) -> View {
    View {
        from: BEGIN,
        to: BEGIN + to,
        step: 5 * MINUTE,
        window: "10m",
        servers: Vec::new(),
        user: "LAB\\user14",
    }
}

fn views() -> Vec<(&'static str, View)> {
    let late = 17 * SECOND;
    vec![
        ("everybody at work", view(DAY + 11 * HOUR + 47 * MINUTE + late)),
        ("one server", View { servers: vec!["sense2"], ..view(10 * HOUR + late) }),
        ("two servers", View { servers: vec!["sense1", "sense2"], ..view(9 * HOUR + late) }),
        ("a target fails", view(10 * HOUR + 32 * MINUTE + late)),
        ("a server fails", view(16 * HOUR + 20 * MINUTE + late)),
        ("nothing polls", view(14 * HOUR + 47 * MINUTE + late)),
        ("nobody is on", view(DAY + 3 * HOUR + late)),
        (
            "steps of 15 seconds",
            View { from: BEGIN + 9 * HOUR + 30 * MINUTE, step: 15 * SECOND, ..view(17 * HOUR) },
        ),
        ("steps of 5 minutes", view(DAY)),
        ("steps of an hour", View { step: HOUR, ..view(2 * DAY) }),
    ]
}
