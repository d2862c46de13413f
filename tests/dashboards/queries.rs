//! The page of queries for Kibana, OpenSearch Dashboards and scripts: each is taken
//! from the page and run against a real server, and its answer is the true one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::{Value, json};

use crate::{
    folder,
    grafana::{self, Elasticsearch},
    numbers::view,
    scenario::{DAY, HOUR, MINUTE, Poll, SECOND, Scenario, Session, TARGETS, time, users_at_limit},
    truth::{self, Truth},
};

/// Values of any kind as one text that can be compared.
macro_rules! row {
    ($($cell:expr),*) => { json!([$($cell),*]).to_string() };
}

/// The moment and the server that the page has as examples.
const MOMENT: &str = "2025-03-04T11:45:03.137Z";
const SERVER: &str = "sense2";

pub fn check(source: &Elasticsearch, scenario: &Scenario) {
    let page = fs::read_to_string(folder("elasticsearch-queries.md")).expect("the page is there");
    let queries = queries(&page);
    assert_eq!(queries.len(), page.matches("```").count() / 2, "each block is a query");
    let late = 17 * SECOND;
    let work = view(DAY + 11 * HOUR + 47 * MINUTE + late);
    // So shortly after the last good poll that it is in the window.
    let failure = view(10 * HOUR + 3 * MINUTE + late);
    let silence = view(14 * HOUR + 47 * MINUTE + late);
    for view in [work, failure, silence] {
        for query in &queries {
            let truth = Truth { scenario, view: &view };
            let answer = source.ask(&query.search(&truth)).expect("an answer");
            let (found, expected) = compared(query, &answer, &truth);
            assert_eq!(found, expected, "{} {}, at {}", query.heading, query.number, view.to);
        }
    }
}

/// A query of the page: the heading it stands under, and its place there.
struct Query<'a> {
    heading: &'a str,
    number: usize,
    language: &'a str,
    text: &'a str,
}

fn queries(page: &str) -> Vec<Query<'_>> {
    let sections = page.split("\n## ").skip(1);
    sections
        .flat_map(|section| {
            let heading = section.lines().next().expect("a heading");
            let blocks = section.split("```").skip(1).step_by(2);
            blocks.enumerate().map(move |(number, block)| {
                let (language, text) = block.split_once('\n').expect("a language");
                Query { heading, number, language, text: text.trim() }
            })
        })
        .collect()
}

impl Query<'_> {
    /// What is sent, with the moment of the view in the place of now.
    fn search(&self, truth: &Truth<'_>) -> Value {
        let now = time(truth.view.to);
        if self.language == "lucene" {
            let last = truth.last_poll(truth.view.to).map_or(0, |poll| poll.at);
            let window = format!("[\"{now}||-10m\" TO \"{now}\"]");
            let text = self.text.replace("[now-10m TO now]", &window).replace(MOMENT, &time(last));
            let mut search = grafana::search(&text, truth.view);
            search["size"] = json!(1_000);
            search["sort"] = json!([{"@timestamp": "desc"}]);
            return search;
        }
        let (request, body) = self.text.split_once('\n').expect("a request and its body");
        assert_eq!(request, "GET logs-qlik.sessions-*/_search");
        let body = body.replace("\"now\"", &format!("\"{now}\""));
        let body = body.replace("\"now-", &format!("\"{now}||-"));
        serde_json::from_str(&body).expect("the body is JSON")
    }
}

/// What an answer says, and what it should.
type Compared = (BTreeSet<String>, BTreeSet<String>);

fn compared(query: &Query<'_>, answer: &Value, truth: &Truth<'_>) -> Compared {
    match (query.heading, query.number) {
        ("How many are on now?", _) => site_now(answer, truth),
        ("Who is on, and whom does a restart hit?", 0) => sessions_of_a_poll(answer, truth),
        ("Who is on, and whom does a restart hit?", 1) => users_by_target(answer, truth),
        ("Who is on, and whom does a restart hit?", 2) => last_polls(answer, truth),
        ("What was the peak of each day?", 0) => site_summaries(answer, truth),
        ("What was the peak of each day?", 1) => peaks(answer, truth),
        ("How many different users were there on each day?", 0) => users_of_days(answer, truth),
        ("Who was at the session limit?", 0) => at_the_limit(answer, truth),
        ("When did one user come and go, and for how long?", 0) => changes_of_user(answer, truth),
        ("How long are sessions?", 0) => lengths(answer, truth),
        ("What failed, and what is to be done?", 0) => failures(answer, truth),
        ("What failed, and what is to be done?", 1) => failures_by_category(answer, truth),
        (heading, number) => panic!("nobody knows what {heading} {number} must answer"),
    }
}

fn site_now(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = documents(answer).take(1).map(|document| {
        let site = &document["qlik"];
        row!(site["session_count"], site["user_count"], site["targets_failed"])
    });
    let last = truth.last_poll(truth.view.to);
    let expected =
        last.map(|poll| row!(poll.sessions().count(), poll.users().len(), poll.targets_failed()));
    (found.collect(), expected.into_iter().collect())
}

fn sessions_of_a_poll(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = documents(answer)
        .map(|document| row!(document["qlik"]["user"], document["qlik"]["session_id"]));
    let last = truth.last_poll(truth.view.to);
    let sessions = last.into_iter().flat_map(Poll::sessions);
    let expected = sessions
        .filter(|session| session.target.server == SERVER)
        .map(|session| row!(session.user(), session.id));
    (found.collect(), expected.collect())
}

fn users_by_target(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = buckets(&answer["aggregations"]["target"]).flat_map(|target| {
        let key = &target["key"];
        let users = buckets(&target["last_poll"]["buckets"][0]["users"]);
        users.map(|user| row!(key["server"], key["virtual_proxy"], user["key"], user["doc_count"]))
    });
    let on = truth.on(truth.view.to).into_iter();
    let users = on.map(|session| (session.target, session.user().to_lowercase()));
    let expected = truth::counted(users).into_iter().map(|((target, user), sessions)| {
        row!(target.server, target.virtual_proxy, user, sessions)
    });
    (found.collect(), expected.collect())
}

fn last_polls(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = buckets(&answer["aggregations"]["target"]).map(|target| {
        let (key, last) = (&target["key"], &target["last_poll"]["hits"]["hits"][0]["_source"]);
        let (count, users) = (&last["qlik"]["session_count"], &last["qlik"]["users"]);
        row!(key["server"], key["virtual_proxy"], count, users, last["error"]["type"])
    });
    let last = truth.last_poll(truth.view.to);
    let targets = TARGETS.into_iter().filter(|_| last.is_some());
    let expected = targets.map(|target| {
        let sessions = last.and_then(|poll| poll.answers.get(&target));
        let users: Option<BTreeSet<String>> =
            sessions.map(|sessions| sessions.iter().map(Session::user).collect());
        let failure = sessions.is_none().then_some("timeout");
        let count = sessions.map(Vec::len);
        row!(target.server, target.virtual_proxy, count, users, failure)
    });
    (found.collect(), expected.collect())
}

fn site_summaries(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = documents(answer).map(|document| row!(document["@timestamp"]));
    (found.collect(), polls(truth).map(|poll| row!(time(poll.at))).collect())
}

fn peaks(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = buckets(&answer["aggregations"]["day"])
        .map(|day| row!(day["key"], day["sessions"]["value"], day["users"]["value"]));
    let expected = by_day(truth).into_iter().map(|(day, polls)| {
        let sessions = polls.iter().map(|poll| poll.sessions().count());
        let users = polls.iter().map(|poll| poll.users().len());
        row!(day, truth::most(sessions), truth::most(users))
    });
    (found.collect(), expected.collect())
}

fn users_of_days(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found =
        buckets(&answer["aggregations"]["day"]).map(|day| row!(day["key"], day["users"]["value"]));
    // A day on which nobody was on has no documents of sessions.
    let expected = by_day(truth).into_iter().filter_map(|(day, polls)| {
        let users = truth::users(polls.into_iter().flat_map(Poll::sessions));
        (users > 0).then(|| row!(day, users))
    });
    (found.collect(), expected.collect())
}

fn at_the_limit(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = documents(answer)
        .map(|document| row!(document["@timestamp"], document["qlik"]["users_at_limit"]));
    let expected = polls(truth).filter_map(|poll| {
        let users: Vec<String> = users_at_limit(poll.sessions()).into_keys().collect();
        (!users.is_empty()).then(|| row!(time(poll.at), users))
    });
    (found.collect(), expected.collect())
}

fn changes_of_user(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = documents(answer).map(|document| {
        let session = &document["qlik"];
        row!(document["@timestamp"], session["session_id"], session["duration_seconds"])
    });
    let changes = truth.changes(truth.view.from, truth.view.to);
    let expected = changes
        .filter(|change| change.session.user() == truth.view.user)
        .map(|change| row!(time(change.at), change.session.id, change.ended_after));
    (found.collect(), expected.collect())
}

fn lengths(answer: &Value, truth: &Truth<'_>) -> Compared {
    let now = truth.view.to;
    let rounded = |value: Option<f64>| value.map(f64::round);
    let lengths: Vec<f64> = truth.lengths(now - DAY, now).collect();
    let found = &answer["aggregations"];
    let (mean, median) = (&found["mean"]["value"], &found["median"]["values"]["50.0"]);
    let is_right = is_near_middle(median.as_f64(), lengths.clone());
    let mean_and_median = row!(rounded(mean.as_f64()), is_right);
    ([mean_and_median].into(), [row!(rounded(truth::mean(lengths)), true)].into())
}

/// Returns whether a median is at most two values away from the middle, or missing where
/// there are no values: servers estimate percentiles, OpenSearch 3 in another way than 2.
fn is_near_middle(median: Option<f64>, mut values: Vec<f64>) -> bool {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return median.is_none() };
    let (low, high) = ((last / 2).saturating_sub(2), (values.len() / 2 + 2).min(last));
    median.is_some_and(|median| (values[low]..=values[high]).contains(&median))
}

fn failures(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = documents(answer).map(|document| {
        let target = &document["qlik"];
        let category = &document["error"]["type"];
        row!(document["@timestamp"], target["server_name"], target["virtual_proxy"], category)
    });
    let failures = truth.failures(truth.view.from, truth.view.to).into_iter();
    let expected =
        failures.map(|(at, target)| row!(time(at), target.server, target.virtual_proxy, "timeout"));
    (found.collect(), expected.collect())
}

fn failures_by_category(answer: &Value, truth: &Truth<'_>) -> Compared {
    let found = buckets(&answer["aggregations"]["category"]).flat_map(|category| {
        let servers = buckets(&category["server"]);
        servers.map(|server| row!(category["key"], server["key"], server["doc_count"]))
    });
    let failures = truth.failures(truth.view.to - DAY, truth.view.to).into_iter();
    let servers = truth::counted(failures.map(|(_, target)| target.server));
    let expected = servers.into_iter().map(|(server, polls)| row!("timeout", server, polls));
    (found.collect(), expected.collect())
}

fn polls<'a>(truth: &Truth<'a>) -> impl Iterator<Item = &'a Poll> {
    truth.scenario.polls_between(truth.view.from, truth.view.to)
}

/// The polls of each day, by the time it begins at.
fn by_day<'a>(truth: &Truth<'a>) -> BTreeMap<i64, Vec<&'a Poll>> {
    let mut days: BTreeMap<i64, Vec<&Poll>> = BTreeMap::new();
    polls(truth).for_each(|poll| days.entry(poll.at - poll.at % DAY).or_default().push(poll));
    days
}

fn documents(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["hits"]["hits"].as_array().into_iter().flatten().map(|hit| &hit["_source"])
}

fn buckets(aggregation: &Value) -> impl Iterator<Item = &Value> {
    aggregation["buckets"].as_array().into_iter().flatten()
}
