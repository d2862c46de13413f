//! Who was on at a time: from the poll before it.

use hashbrown::HashSet;

use super::{
    count::Question,
    report::{At, AtTime, SessionAt, TargetName},
    store::{Begin, SessionFacts, Store, Time},
    timeline::{Answer, Run, Timeline},
    users::UserIndex,
};

/// Returns who was on at a time.
pub fn at_time(store: &Store, timeline: &Timeline, question: &Question, asked: Time) -> AtTime {
    let mut found = AtTime {
        asked: At(asked),
        timestamp: None,
        age_seconds: None,
        server: question.server.clone(),
        session_count: None,
        user_count: None,
        sessions: Vec::new(),
        targets_failed: Vec::new(),
    };
    let after = timeline.moments.partition_point(|moment| moment.time <= asked);
    let Some(number) = after.checked_sub(1) else { return found };
    let time = timeline.moments[number].time;
    found.timestamp = Some(At(time));
    found.age_seconds = Some((asked - time) as f64 / 1000.0);
    let moment = AtMoment { store, timeline, question, number };
    moment.add_targets(&mut found);
    moment.add_sessions(&mut found);
    found
}

struct AtMoment<'a> {
    store: &'a Store,
    timeline: &'a Timeline,
    question: &'a Question,
    number: usize,
}

impl AtMoment<'_> {
    fn add_targets(&self, found: &mut AtTime) {
        for (target, polls) in self.timeline.targets.iter().enumerate() {
            let name = &self.store.targets[target];
            if !self.is_wanted(target) {
                continue;
            }
            if let Some(answer) = self.answer_of(target) {
                *found.session_count.get_or_insert(0) += answer.sessions;
            } else if polls.failed.iter().any(|(_, holds)| holds.contains(&self.number)) {
                found.targets_failed.push(TargetName {
                    server_name: name.server_name.clone(),
                    virtual_proxy: name.virtual_proxy.clone(),
                });
            }
        }
        found.targets_failed.sort();
        found.user_count = self.user_count(found.session_count);
    }

    /// Different users. Where they are not named, the summary of a single target has
    /// their number.
    fn user_count(&self, sessions: Option<u64>) -> Option<u64> {
        let named = self.named_users();
        if !named.is_empty() || sessions == Some(0) {
            return sessions.map(|_| named.len() as u64);
        }
        let wanted = (0..self.timeline.targets.len()).filter(|&target| self.is_wanted(target));
        let mut answers = wanted.filter_map(|target| self.answer_of(target));
        match (answers.next(), answers.next()) {
            (Some(only), None) => only.users,
            _ => None,
        }
    }

    fn named_users(&self) -> HashSet<UserIndex> {
        let of_sessions = self.sessions().filter_map(|(session, _)| session.user);
        let listed = (0..self.timeline.targets.len())
            .filter(|&target| self.is_wanted(target))
            .flat_map(|target| {
                let polls = &self.timeline.targets[target];
                self.store.targets[target]
                    .listed_users
                    .iter()
                    .filter(move |(_, at)| self.is_there(target, &polls.runs_of_polls(at)))
                    .map(|(&user, _)| user)
            });
        of_sessions.chain(listed).collect()
    }

    fn add_sessions(&self, found: &mut AtTime) {
        found.sessions =
            self.sessions().map(|(session, begin)| self.shown(session, begin)).collect();
        found.sessions.sort();
    }

    /// Sessions that were there, and when each began, if that is known.
    fn sessions(&self) -> impl Iterator<Item = (&SessionFacts, Option<Begin>)> {
        let wanted = self.store.sessions.iter().filter(|session| self.is_wanted(session.target));
        wanted.filter_map(|session| {
            let removed = &self.store.targets[session.target].removed;
            let runs = self.timeline.targets[session.target].runs(session, removed);
            let number = runs.iter().position(|&run| self.is_there(session.target, &[run]))?;
            let answers = &self.timeline.targets[session.target].answers;
            let end_before = number.checked_sub(1).map(|before| answers[runs[before].1].time);
            Some((session, session.begin(answers[runs[number].0].time, end_before)))
        })
    }

    fn is_there(&self, target: usize, runs: &[Run]) -> bool {
        let answers = &self.timeline.targets[target].answers;
        runs.iter().any(|&(first, last)| {
            answers[first..=last].iter().any(|answer| answer.holds.contains(&self.number))
        })
    }

    fn answer_of(&self, target: usize) -> Option<&Answer> {
        let answers = &self.timeline.targets[target].answers;
        answers.iter().find(|answer| answer.holds.contains(&self.number))
    }

    fn is_wanted(&self, target: usize) -> bool {
        let name = &self.store.targets[target].server_name;
        self.question.server.as_ref().is_none_or(|server| server.eq_ignore_ascii_case(name))
    }

    fn shown(&self, session: &SessionFacts, begin: Option<Begin>) -> SessionAt {
        let target = &self.store.targets[session.target];
        let with_names = !self.question.no_users;
        let user = session.user.filter(|_| with_names);
        let directory = session.user_directory.as_deref().filter(|_| with_names);
        SessionAt {
            user: user.map(|user| self.store.users.name(user).to_owned()),
            user_directory: directory.map(str::to_owned),
            server_name: target.server_name.clone(),
            virtual_proxy: target.virtual_proxy.clone(),
            session_id: session.shown_id().filter(|_| with_names),
            first_seen: begin.map(|begin| At(begin.time)),
            first_seen_at_baseline: begin.filter(|begin| begin.is_bound).map(|_| true),
        }
    }
}
