//! Counts.

use std::{collections::BTreeMap, ops::Range};

use jiff::{civil::Date, tz::TimeZone};

use super::{
    at_time::at_time,
    failures::{failure_series, failures, gaps, gaps_between},
    report::*,
    sessions::session_totals,
    spans::{self, SpanMoments},
    store::{Store, Time},
    timeline::{Moment, Timeline},
    users::UserIndex,
    visits::{Visit, Visits},
};

/// The questions to a report.
#[derive(Clone, Debug)]
pub struct Question {
    /// Not before it, in milliseconds since 1970.
    pub from: Option<Time>,
    /// Before it.
    pub to: Option<Time>,
    /// Where the days begin.
    pub zone: TimeZone,
    /// Who was on then.
    pub at: Option<Time>,
    /// With `at`: only this server.
    pub server: Option<String>,
    /// Leave every name out.
    pub no_users: bool,
}

/// Counts everything.
pub fn count(store: &Store, question: &Question) -> Report {
    let timeline = Timeline::new(store);
    let within = timeline.between(question.from, question.to);
    let visits = Visits::new(store, &timeline, within.clone());
    let mut counter = Counter::new(store, &timeline, question, within);
    visits.for_each(|visit| counter.add(&visit));
    let sessions = session_totals(store, &timeline, &visits, question);
    counter.report(sessions, &visits)
}

struct Counter<'a> {
    store: &'a Store,
    timeline: &'a Timeline,
    question: &'a Question,
    within: Range<usize>,
    days: Spans,
    weeks: Spans,
    months: Spans,
    whole: Spans,
    /// Named users at each moment.
    named_at: Vec<u64>,
    /// Named users of each target.
    named_on: Vec<u64>,
    users: Vec<UserTotals>,
}

/// Spans, and how many named users each had.
struct Spans {
    spans: Vec<SpanMoments>,
    named: Vec<u64>,
}

impl Spans {
    fn new(spans: Vec<SpanMoments>) -> Self {
        Self { named: vec![0; spans.len()], spans }
    }

    fn add(&mut self, visit: &Visit) {
        for (span, named) in self.spans.iter().zip(&mut self.named) {
            *named += u64::from(visit.moments.any(span.moments.clone()));
        }
    }
}

impl<'a> Counter<'a> {
    fn new(
        store: &'a Store,
        timeline: &'a Timeline,
        question: &'a Question,
        within: Range<usize>,
    ) -> Self {
        let days = spans::days(&timeline.moments, within.clone(), &question.zone);
        let whole = SpanMoments { date: Date::ZERO, moments: within.clone() };
        Self {
            weeks: Spans::new(spans::joined(&days, spans::week_name)),
            months: Spans::new(spans::joined(&days, spans::month_name)),
            days: Spans::new(days),
            whole: Spans::new(vec![whole]),
            named_at: vec![0; timeline.moments.len()],
            named_on: vec![0; timeline.targets.len()],
            users: Vec::new(),
            store,
            timeline,
            question,
            within,
        }
    }

    fn add(&mut self, visit: &Visit) {
        let Some(user) = visit.user else { return };
        for moment in visit.moments.iter() {
            self.named_at[moment] += 1;
        }
        for &target in &visit.targets {
            self.named_on[target] += 1;
        }
        for spans in [&mut self.days, &mut self.weeks, &mut self.months, &mut self.whole] {
            spans.add(visit);
        }
        if visit.sessions > 0 || visit.has_unlisted_sessions {
            self.users.push(self.user_totals(user, visit));
        }
    }

    fn user_totals(&self, user: UserIndex, visit: &Visit) -> UserTotals {
        UserTotals {
            user: self.store.users.name(user).to_owned(),
            sessions: (!visit.has_unlisted_sessions).then_some(visit.sessions),
            hours: visit.milliseconds as f64 / 3_600_000.0,
        }
    }

    fn report(mut self, sessions: SessionTotals, visits: &Visits<'_>) -> Report {
        let is_within = |time| visits.is_within(time);
        let users = self.take_users();
        let zone = &self.question.zone;
        let users_at = self.users_at();
        Report {
            period: self.period(&users_at),
            days: self.day_spans(&users_at),
            weeks: self.spans(&self.weeks, &users_at, |span, date| {
                span.week = Some(spans::week_name(date));
            }),
            months: self.spans(&self.months, &users_at, |span, date| {
                span.month = Some(spans::month_name(date));
            }),
            targets: self.target_totals(),
            users,
            sessions,
            session_limit: self.session_limit(),
            hours_of_week: self.hours_of_week(),
            gaps: gaps(self.timeline, self.within.clone()),
            failures: failures(self.store, is_within, None),
            failures_by_day: failures(self.store, is_within, Some(zone)),
            at: self
                .question
                .at
                .map(|asked| at_time(self.store, self.timeline, self.question, asked)),
            lines: self.store.lines,
            series: self.series(&users_at, failure_series(self.store, is_within)),
        }
    }

    /// Absent where nobody is named, although there were sessions.
    fn take_users(&mut self) -> Option<Vec<UserTotals>> {
        let mut users = std::mem::take(&mut self.users);
        users.sort_by(|a, b| b.hours.total_cmp(&a.hours).then_with(|| a.user.cmp(&b.user)));
        let are_named = !users.is_empty() || !self.any_sessions(self.within.clone());
        (are_named && !self.question.no_users).then_some(users)
    }

    fn any_sessions(&self, moments: Range<usize>) -> bool {
        self.timeline.moments[moments].iter().any(|moment| moment.sessions > Some(0))
    }

    fn day_spans(&self, users_at: &[Option<u64>]) -> Vec<Span> {
        self.spans(&self.days, users_at, |span, date| {
            span.date = Some(date.to_string());
            span.length_hours = spans::length_hours(date, &self.question.zone);
        })
    }

    fn spans(
        &self,
        spans: &Spans,
        users_at: &[Option<u64>],
        name: impl Fn(&mut Span, Date),
    ) -> Vec<Span> {
        let each = spans.spans.iter().zip(&spans.named);
        each.map(|(span, &named)| {
            let mut counted = self.span(span.moments.clone(), named, users_at);
            name(&mut counted, span.date);
            counted
        })
        .collect()
    }

    fn span(&self, moments: Range<usize>, named: u64, users_at: &[Option<u64>]) -> Span {
        let within = &self.timeline.moments[moments.clone()];
        let peak = first_peak(within.iter().map(|moment| moment.sessions));
        let peak_moment = peak.map(|(number, _)| &within[number]);
        Span {
            date: None,
            week: None,
            month: None,
            length_hours: None,
            peak_sessions: peak.map(|(_, sessions)| sessions),
            peak_at: peak_moment.map(|moment| At(moment.time)),
            peak_complete: peak_moment.map(|moment| moment.is_complete),
            peak_users: users_at[moments.clone()].iter().flatten().max().copied(),
            distinct_users: self.distinct_users(moments, named),
            users_at_session_limit: self.at_limit(within).map(|(_, users)| users).max(),
            polls: within.iter().map(|moment| moment.polls).sum(),
            polls_complete: within.iter().map(|moment| moment.polls_complete).sum(),
        }
    }

    /// Users are counted by name; without names, only that there were none is known.
    fn distinct_users(&self, moments: Range<usize>, named: u64) -> Option<u64> {
        let were_read = self.timeline.moments[moments.clone()].iter().any(|m| m.sessions.is_some());
        (named > 0 || were_read && !self.any_sessions(moments)).then_some(named)
    }

    fn period(&self, users_at: &[Option<u64>]) -> Period {
        let whole = self.span(self.within.clone(), self.whole.named[0], users_at);
        let moments = &self.timeline.moments[self.within.clone()];
        Period {
            first_poll: moments.first().map(|moment| At(moment.time)),
            last_poll: moments.last().map(|moment| At(moment.time)),
            timezone: self.question.zone.iana_name().unwrap_or("local").to_owned(),
            site: self.store.site().map(str::to_owned),
            polls: whole.polls,
            polls_complete: whole.polls_complete,
            distinct_users: whole.distinct_users,
            peak_sessions: whole.peak_sessions,
            peak_at: whole.peak_at,
            peak_users: whole.peak_users,
        }
    }

    /// Different users at each moment: by name, or as the program counted them
    /// where names are missing.
    fn users_at(&self) -> Vec<Option<u64>> {
        let mut of_targets = vec![Summed::default(); self.timeline.moments.len()];
        for answer in self.timeline.targets.iter().flat_map(|target| &target.answers) {
            for moment in &mut of_targets[answer.holds.clone()] {
                moment.add(answer.users, answer.names_are_missing);
            }
        }
        let moments = self.timeline.moments.iter();
        moments
            .zip(&of_targets)
            .zip(&self.named_at)
            .map(|((moment, summed), &named)| self.users_at_moment(moment, summed, named))
            .collect()
    }

    fn users_at_moment(&self, moment: &Moment, summed: &Summed, named: u64) -> Option<u64> {
        let sessions = moment.sessions?;
        if sessions == 0 || named > 0 && !summed.names_are_missing {
            return Some(named);
        }
        let counted = if summed.targets == 1 {
            summed.users
        } else {
            let is_only_poller = self.timeline.pollers.len() == 1;
            self.store.site_polls.get(&moment.time).filter(|_| is_only_poller)?.user_count
        };
        counted.max((named > 0).then_some(named))
    }

    fn target_totals(&self) -> Vec<TargetTotals> {
        let is_held = |holds: &Range<usize>| self.within.contains(&holds.start);
        let mut totals: Vec<TargetTotals> = Vec::new();
        for (number, polls) in self.timeline.targets.iter().enumerate() {
            let name = &self.store.targets[number];
            let answers: Vec<_> =
                polls.answers.iter().filter(|answer| is_held(&answer.holds)).collect();
            let failed = polls.failed.iter().filter(|(_, holds)| is_held(holds)).count() as u64;
            if answers.is_empty() && failed == 0 {
                continue;
            }
            let peak = first_peak(answers.iter().map(|answer| Some(answer.sessions)));
            let named = self.named_on[number];
            let is_empty = peak.is_some_and(|(_, sessions)| sessions == 0);
            totals.push(TargetTotals {
                server_name: name.server_name.clone(),
                virtual_proxy: name.virtual_proxy.clone(),
                peak_sessions: peak.map(|(_, sessions)| sessions),
                peak_at: peak.map(|(number, _)| At(answers[number].time)),
                distinct_users: (named > 0 || is_empty).then_some(named),
                polls: answers.len() as u64 + failed,
                polls_failed: failed,
            });
        }
        totals.sort_by(|a, b| {
            (&a.server_name, &a.virtual_proxy).cmp(&(&b.server_name, &b.virtual_proxy))
        });
        totals
    }

    /// Polls that say how many users were at the limit.
    fn at_limit<'m>(&'m self, moments: &'m [Moment]) -> impl Iterator<Item = (Time, u64)> + 'm {
        let (first, last) = (moments.first(), moments.last());
        let times = first.zip(last).map(|(first, last)| first.time..=last.time);
        times
            .into_iter()
            .flat_map(|times| self.store.site_polls.range(times))
            .filter_map(|(&time, poll)| Some((time, poll.users_at_session_limit?)))
    }

    fn session_limit(&self) -> Option<SessionLimit> {
        let moments = &self.timeline.moments[self.within.clone()];
        let polls: Vec<(Time, u64)> = self.at_limit(moments).collect();
        let (number, peak_users) = first_peak(polls.iter().map(|&(_, users)| Some(users)))?;
        let mut by_user: BTreeMap<UserIndex, u64> = BTreeMap::new();
        for (time, _) in &polls {
            for &user in &self.store.site_polls[time].users_at_limit {
                *by_user.entry(user).or_default() += 1;
            }
        }
        let name = |user| self.store.users.name(user).to_owned();
        let mut users: Vec<UserAtLimit> = by_user
            .into_iter()
            .map(|(user, polls)| UserAtLimit { user: name(user), polls })
            .collect();
        users.sort_by(|a, b| b.polls.cmp(&a.polls).then_with(|| a.user.cmp(&b.user)));
        let are_named = !self.question.no_users && (peak_users == 0 || !users.is_empty());
        Some(SessionLimit {
            peak_users,
            peak_at: (peak_users > 0).then(|| At(polls[number].0)),
            users: are_named.then_some(users),
        })
    }

    fn hours_of_week(&self) -> Vec<HourOfWeek> {
        let mut hours: BTreeMap<(i8, i8), (u64, u64, u64)> = BTreeMap::new();
        for moment in self.timeline.moments[self.within.clone()].iter().filter(|m| m.is_complete) {
            let Some(sessions) = moment.sessions else { continue };
            let local = self.question.zone.to_datetime(At(moment.time).timestamp());
            let key = (local.weekday().to_monday_one_offset(), local.hour());
            let (polls, sum, peak) = hours.entry(key).or_default();
            *polls += 1;
            *sum += sessions;
            *peak = sessions.max(*peak);
        }
        hours
            .into_iter()
            .map(|((weekday, hour), (polls, sum, peak_sessions))| HourOfWeek {
                weekday: weekday.unsigned_abs(),
                hour: hour.unsigned_abs(),
                polls,
                mean_sessions: sum as f64 / polls as f64,
                peak_sessions,
            })
            .collect()
    }

    fn series(&self, users_at: &[Option<u64>], failures: Vec<FailureSeries>) -> Series {
        let moments = &self.timeline.moments[self.within.clone()];
        let site = moments
            .iter()
            .zip(&users_at[self.within.clone()])
            .map(|(moment, &users)| {
                let is_known = moment.is_complete;
                let only = |number: Option<u64>| number.filter(|_| is_known);
                Point { time: moment.time, sessions: only(moment.sessions), users: only(users) }
            })
            .collect();
        Series { site, targets: self.target_series(), failures }
    }

    fn target_series(&self) -> Vec<TargetSeries> {
        let is_held = |holds: &Range<usize>| self.within.contains(&holds.start);
        let mut all = Vec::new();
        for (number, polls) in self.timeline.targets.iter().enumerate() {
            let answered = polls.answers.iter().filter(|answer| is_held(&answer.holds));
            let failed = polls.failed.iter().filter(|(_, holds)| is_held(holds));
            let mut points: Vec<_> = answered
                .map(|answer| Point {
                    time: answer.time,
                    sessions: Some(answer.sessions),
                    users: answer.users,
                })
                .chain(failed.map(|&(time, _)| Point { time, sessions: None, users: None }))
                .collect();
            points.sort_by_key(|point| point.time);
            if !points.is_empty() {
                let name = &self.store.targets[number];
                let times: Vec<Time> = points.iter().map(|point| point.time).collect();
                all.push(TargetSeries {
                    gaps: gaps_between(&times),
                    name: TargetName {
                        server_name: name.server_name.clone(),
                        virtual_proxy: name.virtual_proxy.clone(),
                    },
                    points,
                });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// What the targets' summaries say of users at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Summed {
    targets: u64,
    users: Option<u64>,
    names_are_missing: bool,
}

impl Summed {
    fn add(&mut self, users: Option<u64>, names_are_missing: bool) {
        self.targets += 1;
        self.users = users;
        self.names_are_missing |= names_are_missing;
    }
}

/// The greatest number, and the first place that has it.
fn first_peak(numbers: impl Iterator<Item = Option<u64>>) -> Option<(usize, u64)> {
    let known = numbers.enumerate().filter_map(|(place, number)| Some((place, number?)));
    known.reduce(|peak, next| if next.1 > peak.1 { next } else { peak })
}
