//! Forms of queries that are known to give wrong numbers.

use serde_json::Value;

/// Why a query of a panel gives wrong numbers, if it has such a form.
pub fn wrong(target: &Value) -> Option<&'static str> {
    let text = |key: &str| target[key].as_str().unwrap_or_default();
    if target["bucketAggs"].is_array() {
        wrong_search(text("query"), target)
    } else if target["rawQuery"] == true {
        wrong_influxql(text("query"))
    } else {
        wrong_expression(text("expr"))
    }
}

/// PromQL and LogQL.
fn wrong_expression(query: &str) -> Option<&'static str> {
    // That one is a number also where a target fails.
    let query = query.replace("qlik_sessions_users_at_session_limit", "");
    let has = |part: &str| query.contains(part);
    let gauge = has("qlik_sessions_sessions")
        || has("qlik_sessions_users")
        || has("qlik_sessions_site_sessions")
        || has("qlik_sessions_site_users");
    if has("vector(0)") {
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

fn wrong_influxql(query: &str) -> Option<&'static str> {
    let query = query.replace('"', "");
    let has = |part: &str| query.contains(part);
    let by_poll = has("GROUP BY time(1s)");
    let by_user = has("user_session_user_directory, user_session_user_id");
    if has("fill(0)") || has("fill(previous)") || has("fill(linear)") {
        Some("draws silence as a number")
    } else if (has("last(session_count)") || has("mean(session_count)"))
        && (has("sum(") || has("server_name") && has("GROUP BY"))
        && !has("server_name, user_session_virtual_proxy")
        && !has("user_session_virtual_proxy, server_name")
    {
        Some("shows one virtual proxy, or their mean, for the whole server")
    } else if has("mean(session_count)") && !has("user_session_virtual_proxy") {
        Some("shows the mean of the virtual proxies")
    } else if has("sum(session_count)") && !by_poll {
        Some("adds the polls of a step up")
    } else if has("count(session_id)") && !by_user {
        Some("counts a session once for each poll")
    } else if has("user_session_user_id, user_session_id") {
        Some("counts a user once for each session")
    } else {
        None
    }
}

/// Elasticsearch and OpenSearch: a Lucene query with metrics in buckets.
fn wrong_search(query: &str, target: &Value) -> Option<&'static str> {
    let all = |key: &str| target[key].as_array().cloned().unwrap_or_default();
    let (metrics, buckets) = (all("metrics"), all("bucketAggs"));
    let measures = |kind: &str, field: &str| {
        metrics
            .iter()
            .any(|metric| metric["type"] == kind && (field.is_empty() || metric["field"] == field))
    };
    let counts = measures("count", "") || measures("cardinality", "");
    let last_poll = buckets.iter().any(|bucket| {
        bucket["field"] == "@timestamp"
            && bucket["type"] == "terms"
            && bucket["settings"]["size"] == "1"
    });
    let draws_nothing_as_zero = counts
        && buckets.iter().any(|bucket| {
            bucket["type"] == "date_histogram" && bucket["settings"]["min_doc_count"] != "1"
        });
    let kinds = query.split("event.action:").nth(1).unwrap_or_default();
    let kinds: Vec<&str> = match kinds.strip_prefix('(') {
        Some(kinds) => kinds.split(')').next().unwrap_or_default().split(" OR ").collect(),
        None => kinds.split(' ').take(1).collect(),
    };
    let has = |kind: &str| kinds.contains(&kind);
    if kinds.concat().is_empty() {
        Some("adds the site, its targets and their sessions up")
    } else if measures("sum", "qlik.session_count") || measures("sum", "qlik.user_count") {
        Some("adds the polls of a step up")
    } else if has("site_summary") && has("session_summary") {
        Some("adds the site to its targets")
    } else if draws_nothing_as_zero {
        Some("draws silence as a number")
    } else if has("session") && measures("count", "") && !last_poll {
        Some("counts a session once for each poll")
    } else if has("session") && last_poll && !has("poll_error") {
        Some("a target that fails keeps its last sessions: ask for poll_error, too")
    } else if metrics.iter().any(|metric| {
        metric["type"] == "cardinality" && metric["settings"]["precision_threshold"] != "40000"
    }) {
        Some("counts distinct users only roughly")
    } else {
        None
    }
}

pub fn wrong_queries_are_refused() {
    let expressions = [
        r#"sum(last_over_time({event="session_summary"} | json | unwrap session_count [10m]))"#,
        r#"sum(last_over_time({event=~"site_summary|session_summary|poll_error"} | json | unwrap session_count [10m]))"#,
        r#"count_over_time({event="session"}[5m])"#,
        r#"count by (user) (last_over_time({event="session"} | unwrap ts [10m]) by (user))"#,
        r#"sum(max_over_time({event="site_summary"} | json n="user_count" | unwrap n [1h]))"#,
        r#"max_over_time({event="site_summary"} | json n="session_count" | unwrap n [$__interval])"#,
        "sum(qlik_sessions_sessions) by (server_name)",
        "max_over_time(qlik_sessions_site_users[1d])",
        "qlik_sessions_site_sessions >= 0 or vector(0)",
    ];
    for query in expressions {
        assert!(wrong_expression(query).is_some(), "not refused: {query}");
    }
    let influxql = [
        "SELECT mean(session_count) FROM user_session_summary GROUP BY time(1m), server_name, user_session_virtual_proxy fill(previous)",
        "SELECT mean(\"session_count\") FROM user_session_summary GROUP BY time(1m), \"server_description\" fill(null)",
        "SELECT last(session_count) FROM user_session_summary GROUP BY server_name",
        "SELECT sum(session_count) FROM user_session_summary GROUP BY time(1h), server_name",
        "SELECT count(session_id) FROM user_session_details GROUP BY time(1h), server_name",
        "SELECT count(n) FROM (SELECT count(session_id) AS n FROM user_session_details GROUP BY time(1d), user_session_user_directory, user_session_user_id, user_session_id)",
    ];
    for query in influxql {
        assert!(wrong_influxql(query).is_some(), "not refused: {query}");
    }
    let search = |metric: &str, bucket: &str| {
        let (metric, bucket): (Value, Value) = (
            serde_json::from_str(metric).expect("a metric"),
            serde_json::from_str(bucket).expect("a bucket"),
        );
        serde_json::json!({"metrics": [metric], "bucketAggs": [bucket]})
    };
    let steps =
        r#"{"type":"date_histogram","field":"@timestamp","settings":{"min_doc_count":"1"}}"#;
    let all_steps =
        r#"{"type":"date_histogram","field":"@timestamp","settings":{"min_doc_count":"0"}}"#;
    let users =
        r#"{"type":"cardinality","field":"qlik.user","settings":{"precision_threshold":"40000"}}"#;
    let searches = [
        ("qlik.server_name:*", r#"{"type":"max","field":"qlik.session_count"}"#, steps),
        ("event.action:session_summary", r#"{"type":"sum","field":"qlik.session_count"}"#, steps),
        (
            "event.action:(site_summary OR session_summary)",
            r#"{"type":"max","field":"qlik.session_count"}"#,
            steps,
        ),
        ("event.action:session", users, all_steps),
        ("event.action:session", r#"{"type":"cardinality","field":"qlik.user"}"#, steps),
        ("event.action:session AND qlik.server_name:x", r#"{"type":"count"}"#, steps),
        (
            "event.action:(session OR session_summary)",
            r#"{"type":"count"}"#,
            r#"{"type":"terms","field":"@timestamp","settings":{"size":"1"}}"#,
        ),
    ];
    for (query, metric, bucket) in searches {
        assert!(wrong_search(query, &search(metric, bucket)).is_some(), "not refused: {query}");
    }
}
