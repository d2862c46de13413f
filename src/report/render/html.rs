//! A report as one page that needs nothing from elsewhere. Every text goes
//! through maud, which escapes it; names may hold anything.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, tz::TimeZone};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ring::digest::{SHA256, digest};

use super::chart::{Bars, Lines, WEEKDAYS, failure_rows, heat_map};
use crate::report::totals::{
    At, AtTime, Report, Span, TargetName, TargetSeries, TargetTotals, Time,
};

const STYLE: &str = include_str!("style.css");

/// How many users are shown; the JSON has all.
const TOP_USERS: usize = 20;

/// The page.
pub fn page(report: &Report, zone: &TimeZone) -> String {
    let page = Page { report, zone };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "Qlik Sense sessions" @if let Some(site) = &report.period.site { ", " (site) } }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (page.content()) } }
        }
    }
    .into_string()
}

/// The content security policy: nothing but the page's own style, known by its hash.
fn policy() -> String {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

struct Page<'a> {
    report: &'a Report,
    zone: &'a TimeZone,
}

impl Page<'_> {
    fn content(&self) -> Markup {
        let report = self.report;
        let has_polls = report.period.polls > 0;
        html! {
            (self.head())
            @if let Some(at) = &report.at { (self.at(at)) }
            @if has_polls {
                (self.over_time())
                (self.days())
                (self.hours_of_week())
                (self.weeks_and_months())
                (self.targets())
                (self.failures())
                (self.gaps())
                (self.session_limit())
                (self.sessions())
                (self.users())
            } @else {
                p.warning { "There are no polls in this time, so nothing is known about it." }
            }
            (self.foot())
        }
    }

    fn head(&self) -> Markup {
        let period = &self.report.period;
        html! {
            h1 { "Qlik Sense sessions" @if let Some(site) = &period.site { ", " bdi { (site) } } }
            @if let (Some(first), Some(last)) = (period.first_poll, period.last_poll) {
                p.quiet { (self.time(first)) " to " (self.time(last)) ", time zone " (period.timezone) }
            }
            dl.numbers {
                (number("Most sessions at once", period.peak_sessions, period.peak_at.map(|at| self.time(at))))
                (number("Most users at once", period.peak_users, None))
                (number("Different users", period.distinct_users, None))
                (number("Polls", Some(period.polls), Some(format!("{} of them complete", period.polls_complete))))
            }
            @if period.polls_complete < period.polls {
                p.warning {
                    (period.polls - period.polls_complete) " of " (period.polls)
                    " polls were not complete: a virtual proxy did not answer. "
                    "Their sessions are not known and not counted as 0; a number marked ≥ may have been higher."
                }
            }
        }
    }

    fn at(&self, at: &AtTime) -> Markup {
        html! {
            h2 {
                "Who was on at " (self.time(at.asked))
                @if let Some(server) = &at.server { ", on " bdi { (server) } }
            }
            @if let (Some(time), Some(age)) = (at.timestamp, at.age_seconds) {
                p { "From the poll at " (self.time(time)) ", " strong { (duration(age)) " before" } "." }
            } @else {
                p.warning { "There is no poll before that time, so nobody knows." }
            }
            @if !at.targets_failed.is_empty() {
                p.warning {
                    "These did not answer, and who was on there is not known: "
                    @for (number, target) in at.targets_failed.iter().enumerate() {
                        @if number > 0 { ", " }
                        bdi { (target.server_name) " " (target.virtual_proxy) }
                    }
                }
            }
            @if at.session_count.is_some() {
                dl.numbers {
                    (number("Sessions", at.session_count, None))
                    (number("Different users", at.user_count, None))
                }
            }
            @if !at.sessions.is_empty() { (self.at_sessions(at)) }
        }
    }

    fn at_sessions(&self, at: &AtTime) -> Markup {
        let has_names = at.sessions.iter().any(|session| session.user.is_some());
        let body = html! {
            @for session in &at.sessions {
                tr {
                    @if has_names { td.name { bdi { (session.user.as_deref().unwrap_or("not named")) } } }
                    td.name { bdi { (session.server_name) " " (session.virtual_proxy) } }
                    td.nowrap {
                        @if session.first_seen_at_baseline == Some(true) { "before " }
                        @if let Some(time) = session.first_seen { (self.time(time)) }
                    }
                }
            }
        };
        let users: &[&str] = if has_names { &["User"] } else { &[] };
        table("Sessions at that time", &[users, &["Virtual proxy", "On since"]].concat(), &body)
    }

    fn bounds(&self) -> (Time, Time) {
        let period = &self.report.period;
        (period.first_poll.map_or(0, |at| at.0), period.last_poll.map_or(0, |at| at.0))
    }

    fn over_time(&self) -> Markup {
        let lines = Lines {
            label: format!(
                "Sessions and users of all virtual proxies over time; at most {} sessions",
                known(self.report.period.peak_sessions)
            ),
            height: 270.0,
            bounds: self.bounds(),
            points: &self.report.series.site,
            gaps: &self.report.gaps,
            zone: self.zone,
        };
        html! {
            h2 { "Sessions and users over time" }
            (legend())
            p.quiet { "Number of sessions and of different users of all virtual proxies together, at each complete poll." }
            (lines.draw())
        }
    }

    fn days(&self) -> Markup {
        let days = &self.report.days;
        let bars = Bars {
            label: "Most sessions at once on each day; the table below has the numbers".to_owned(),
            days,
        };
        html! {
            h2 { "Days" }
            p.quiet { "Most sessions at once on each day." }
            (bars.draw())
            (self.spans("Days", "Day", days))
        }
    }

    fn spans(&self, label: &str, first: &str, spans: &[Span]) -> Markup {
        let has_limit = spans.iter().any(|span| span.users_at_session_limit > Some(0));
        let body = html! {
            @for span in spans {
                tr {
                    th.nowrap scope="row" { (self.span_name(span)) }
                    td.number { (peak(span)) }
                    td.nowrap { (self.peak_time(span)) }
                    td.number { (known(span.peak_users)) }
                    td.number { (known(span.distinct_users)) }
                    @if has_limit { td.number { (known(span.users_at_session_limit)) } }
                    td.number { (span.polls_complete) " of " (span.polls) }
                }
            }
        };
        let limit: &[&str] = if has_limit { &["#At session limit"] } else { &[] };
        let columns = [
            &[first, "#Most sessions", "When", "#Most users", "#Different users"],
            limit,
            &["#Complete polls"],
        ]
        .concat();
        table(label, &columns, &body)
    }

    /// The table of days has the date in the first column.
    fn peak_time(&self, span: &Span) -> String {
        let time = span.peak_at.map_or_else(String::new, |at| self.time(at));
        let date = span.date.as_deref().unwrap_or_default();
        time.strip_prefix(date).unwrap_or(&time).trim_start().to_owned()
    }

    fn span_name(&self, span: &Span) -> String {
        let name = span.date.as_ref().or(span.week.as_ref()).or(span.month.as_ref());
        let name = name.map_or("", String::as_str);
        let weekday = name.parse::<jiff::civil::Date>().ok().filter(|_| span.date.is_some());
        let weekday = weekday.map(|date| date.weekday().to_monday_zero_offset().unsigned_abs());
        let mut text = match weekday {
            Some(weekday) => format!("{} {name}", WEEKDAYS[usize::from(weekday)]),
            None => name.to_owned(),
        };
        if let Some(hours) = span.length_hours.filter(|hours| *hours != 24.0) {
            text.push_str(&format!(" ({hours} h)"));
        }
        text
    }

    fn hours_of_week(&self) -> Markup {
        let hours = &self.report.hours_of_week;
        let busiest = hours.iter().max_by(|a, b| a.mean_sessions.total_cmp(&b.mean_sessions));
        let Some(busiest) = busiest else { return html! {} };
        let text = format!(
            "Most sessions on average: {} {:02}:00 to {:02}:00, {:.1}",
            WEEKDAYS[usize::from(busiest.weekday - 1)],
            busiest.hour,
            (busiest.hour + 1) % 24,
            busiest.mean_sessions,
        );
        html! {
            h2 { "Weekdays and hours" }
            p.quiet { (text) ". The stronger the colour, the more sessions; grey where there was no complete poll." }
            (heat_map(hours, &format!("Sessions by weekday and hour. {text}")))
        }
    }

    fn weeks_and_months(&self) -> Markup {
        html! {
            h2 { "Weeks and months" }
            p.quiet { "Different users are counted once, however often they came." }
            (self.spans("Weeks", "Week", &self.report.weeks))
            (self.spans("Months", "Month", &self.report.months))
        }
    }

    fn targets(&self) -> Markup {
        let body = html! {
            @for target in &self.report.targets {
                tr {
                    th.name scope="row" { bdi { (target.server_name) " " (target.virtual_proxy) } }
                    td.number { (known(target.peak_sessions)) }
                    td.nowrap { (target.peak_at.map_or_else(String::new, |at| self.time(at))) }
                    td.number { (known(target.distinct_users)) }
                    td.number { (target.polls_failed) " of " (target.polls) }
                }
            }
        };
        let columns =
            ["Virtual proxy", "#Most sessions", "When", "#Different users", "#Failed polls"];
        html! {
            h2 { "Servers and virtual proxies" }
            (table("Servers and virtual proxies", &columns, &body))
            (legend())
            @for (target, series) in self.report.targets.iter().zip(&self.report.series.targets) {
                (self.target(target, series))
            }
        }
    }

    fn target(&self, target: &TargetTotals, series: &TargetSeries) -> Markup {
        let TargetName { server_name, virtual_proxy } = &series.name;
        let lines = Lines {
            label: format!(
                "Sessions and users of {server_name} {virtual_proxy} over time; at most {} sessions",
                known(target.peak_sessions)
            ),
            height: 160.0,
            bounds: self.bounds(),
            points: &series.points,
            gaps: &series.gaps,
            zone: self.zone,
        };
        html! {
            h3 { bdi { (server_name) " " (virtual_proxy) } }
            @if target.peak_sessions.is_some() { (lines.draw()) }
            @else { p.warning { "It never answered, so its sessions are not known." } }
        }
    }

    fn failures(&self) -> Markup {
        let failures = &self.report.failures;
        let body = html! {
            @for failure in failures {
                tr {
                    th.name scope="row" {
                        bdi { (failure.server_name) " " (failure.virtual_proxy.as_deref().unwrap_or("repository service")) }
                    }
                    td { (failure.category) }
                    td.number { (failure.count) }
                }
            }
        };
        html! {
            h2 { "Failures" }
            @if failures.is_empty() {
                p { "Every virtual proxy answered at every poll." }
            } @else {
                (failure_rows(&self.report.series.failures, self.bounds(), self.zone))
                (table("Failures", &["Where", "Why", "#How often"], &body))
            }
        }
    }

    fn gaps(&self) -> Markup {
        let gaps = &self.report.gaps;
        let body = html! {
            @for gap in gaps {
                tr {
                    td.nowrap { (self.time(gap.from)) }
                    td.nowrap { (self.time(gap.to)) }
                    td.number { (duration(gap.seconds as f64)) }
                }
            }
        };
        html! {
            @if !gaps.is_empty() {
                h2 { "Times without polls" }
                p.quiet { "What happened in them is not known." }
                (table("Times without polls", &["From", "To", "#Length"], &body))
            }
        }
    }

    fn session_limit(&self) -> Markup {
        let Some(limit) = self.report.session_limit.as_ref().filter(|limit| limit.peak_users > 0)
        else {
            return html! {};
        };
        let body = html! {
            @for user in limit.users.iter().flatten().take(TOP_USERS) {
                tr { td.name { bdi { (user.user) } } td.number { (user.polls) } }
            }
        };
        html! {
            h2 { "Users at the session limit" }
            p {
                "At most " (limit.peak_users) " at once"
                @if let Some(at) = limit.peak_at { ", at " (self.time(at)) }
                ". They could not open a further session."
            }
            @if limit.users.is_some() {
                (table("Users at the session limit", &["User", "#Polls at the limit"], &body))
            }
        }
    }

    fn sessions(&self) -> Markup {
        let sessions = &self.report.sessions;
        let seconds = |value: Option<f64>| value.map_or_else(|| "not known".to_owned(), duration);
        let has_names = sessions.longest.iter().any(|session| session.user.is_some());
        let body = html! {
            @for session in &sessions.longest {
                tr {
                    @if has_names { td.name { bdi { (session.user.as_deref().unwrap_or("not named")) } } }
                    td.name { bdi { (session.server_name) " " (session.virtual_proxy) } }
                    td.nowrap { (self.time(session.first_seen)) @if !session.begin_seen { " or earlier" } }
                    td.nowrap { (self.time(session.last_seen)) @if !session.end_seen { " or later" } }
                    td.number {
                        @if !(session.begin_seen && session.end_seen) { "≥ " }
                        (duration(session.seconds as f64))
                    }
                }
            }
        };
        let users: &[&str] = if has_names { &["User"] } else { &[] };
        let columns = [users, &["Virtual proxy", "From", "To", "#Length"]].concat();
        html! {
            h2 { "Sessions" }
            @if sessions.count > 0 {
                p {
                    (sessions.count) " different sessions, " (sessions.ended) " of them ended. "
                    @if sessions.ended > 0 {
                        "Those lasted " (seconds(sessions.median_seconds)) " (median), "
                        (seconds(sessions.mean_seconds)) " (mean). "
                    }
                    @if sessions.ended_begin_unseen > 0 {
                        "The start of " (sessions.ended_begin_unseen) " of those was not seen: they lasted longer. "
                    }
                    "A length marked ≥ is a lower bound."
                }
                (table("The longest sessions", &columns, &body))
            } @else {
                p { "No sessions were recorded one by one." }
            }
        }
    }

    fn users(&self) -> Markup {
        let Some(users) = self.report.users.as_ref().filter(|users| !users.is_empty()) else {
            return html! {};
        };
        let body = html! {
            @for user in users.iter().take(TOP_USERS) {
                tr {
                    td.name { bdi { (user.user) } }
                    td.number { (format!("{:.1}", user.hours)) }
                    td.number { (known(user.sessions)) }
                }
            }
        };
        html! {
            h2 { "Users with the most hours" }
            p.quiet {
                "Time with at least one session; parallel ones count once."
                @if users.len() > TOP_USERS { " " (TOP_USERS) " of " (users.len()) " users." }
            }
            (table("Users with the most hours", &["User", "#Hours", "#Sessions"], &body))
        }
    }

    fn foot(&self) -> Markup {
        let lines = &self.report.lines;
        html! {
            p.quiet {
                "Made by qlik-sessions from " (lines.events) " events; "
                (lines.repeated) " repeated ones were left out"
                @if lines.other_sites > 0 { ", " (lines.other_sites) " of other sites" }
                @if lines.not_events > 0 { ", and " (lines.not_events) " lines that are not events" }
                "."
            }
        }
    }

    /// A time as the clock shows it there. The offset distinguishes the two hours with the
    /// same name when the clocks are put back.
    fn time(&self, at: At) -> String {
        let zoned = at.timestamp().to_zoned_datetime(self.zone.clone());
        let is_double = self.zone.to_ambiguous_zoned_datetime(zoned.datetime()).is_ambiguous();
        let format = if is_double { "%Y-%m-%d %H:%M%:z" } else { "%Y-%m-%d %H:%M" };
        zoned.strftime(format).to_string()
    }
}

fn number(name: &str, value: Option<u64>, remark: Option<String>) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { (known(value)) @if let Some(remark) = remark { small { (remark) } } }
        }
    }
}

/// A number, or a dash: what is not known is not 0.
fn known(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

fn peak(span: &Span) -> String {
    let bound = if span.peak_complete == Some(false) { "≥ " } else { "" };
    format!("{bound}{}", known(span.peak_sessions))
}

/// `2h 5m`; without seconds from an hour on.
fn duration(seconds: f64) -> String {
    let unit = if seconds >= 3600.0 { 60.0 } else { 1.0 };
    let whole = (seconds / unit).round() * unit;
    format!("{:#}", SignedDuration::from_secs(whole as i64))
}

fn legend() -> Markup {
    html! {
        ul.legend {
            li { svg viewBox="0 0 24 10" aria-hidden="true" { path.sessions d="M1 5H23" {} } "sessions" }
            li { svg viewBox="0 0 24 10" aria-hidden="true" { path.users d="M1 5H23" {} } "users" }
            li { svg viewBox="0 0 24 10" aria-hidden="true" { rect.gap width="24" height="10" {} } "no polls" }
            li {
                svg viewBox="0 0 24 10" aria-hidden="true" { rect.failed width="24" height="5" y="3" {} }
                "no answer, or not from all"
            }
        }
    }
}

/// A table that scrolls where the page is narrow. A column of numbers begins
/// with `#`.
fn table(label: &str, columns: &[&str], body: &Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(label) tabindex="0" {
            table {
                thead {
                    tr {
                        @for column in columns {
                            @match column.strip_prefix('#') {
                                Some(name) => { th.number scope="col" { (name) } }
                                None => { th scope="col" { (column) } }
                            }
                        }
                    }
                }
                tbody { (body) }
            }
        }
    }
}
