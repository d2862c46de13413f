//! Reads an answer as it comes: a list of sessions, piece by piece. What is
//! read is not kept, so that a large answer needs little memory.

use std::borrow::Cow;

use hashbrown::HashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Mark, Rules, Snapshot, Told, repair, usual};
use crate::{
    json,
    proxy::{Category, Failure, Receiver},
};

/// How much is read at once, in bytes: enough for some hundred sessions, and
/// little enough for a processor's cache.
const WINDOW_BYTES: usize = 64 * 1024;
/// What JSON takes for layout.
const LAYOUT: [char; 4] = [' ', '\n', '\r', '\t'];

/// Reads one answer.
#[derive(Debug)]
pub struct Reader<'r> {
    rules: &'r Rules,
    /// Where there is to be another answer after this.
    before: Option<Before<'r>>,
    snapshot: Snapshot,
    /// Sessions so far, those of excluded users among them.
    sessions: usize,
    place: Place,
    /// What came and is not read yet.
    pending: Vec<u8>,
    /// How much is read at once.
    window: usize,
    /// How much must be pending before it is worth a try.
    enough: usize,
    /// How much of it is free of lone surrogates.
    repaired: usize,
    /// Bytes that were read.
    read: usize,
    failure: Option<Failure>,
}

/// The answer before, to find its sessions in this one.
#[derive(Debug)]
struct Before<'r> {
    snapshot: &'r Snapshot,
    /// Where in it the next session is looked for first.
    next: usize,
    /// Where each session stood in it, by the fingerprint of its JSON; empty until
    /// one is not where it was looked for.
    places: HashMap<u64, usize>,
}

impl<'r> Before<'r> {
    fn new(snapshot: &'r Snapshot) -> Self {
        Self { snapshot, next: 0, places: HashMap::new() }
    }

    /// Where the session that `json` begins with stood, if that is where it is
    /// looked for; and what stands behind it.
    fn take_next<'j>(&mut self, json: &'j str) -> Option<(usize, &'j str)> {
        let behind = self.snapshot.marks.get(self.next)?.is_at(json)?;
        self.next += 1;
        Some((self.next - 1, behind))
    }

    /// Where another session stood. The next one is looked for behind it.
    fn find(&mut self, mark: &Mark) -> Option<usize> {
        if self.places.is_empty() {
            let marks = self.snapshot.marks.iter().enumerate();
            self.places = marks.map(|(place, mark)| (mark.json, place)).collect();
        }
        let place = *self.places.get(&mark.json)?;
        self.next = place + 1;
        Some(place)
    }
}

/// Where in the list the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the `[`.
    Start,
    /// Behind the `[`.
    First,
    /// Behind a session.
    Behind,
    /// Behind a comma.
    Next,
    /// Behind the `]`.
    End,
}

impl<'r> Reader<'r> {
    /// A reader that applies these rules.
    pub fn new(rules: &'r Rules) -> Self {
        Self {
            rules,
            before: None,
            snapshot: Snapshot::default(),
            sessions: 0,
            place: Place::Start,
            pending: Vec::new(),
            window: WINDOW_BYTES,
            enough: WINDOW_BYTES,
            repaired: 0,
            read: 0,
            failure: None,
        }
    }

    /// Reads one of many answers: sessions that stand in it as they stood in the
    /// one before are taken over from that. Most do, and then most of the work is
    /// done.
    #[must_use]
    pub fn after(self, before: &'r Snapshot) -> Self {
        Self { before: Some(Before::new(before)), ..self }
    }

    /// The sessions, when the answer is complete.
    ///
    /// # Errors
    /// `invalid_body` where it is anything but a list of sessions. One bad
    /// entry spoils the whole answer: a count without it would be false.
    pub fn finish(mut self) -> Result<Snapshot, Failure> {
        if self.failure.is_none() {
            self.read_pending(true);
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.snapshot),
        }
    }

    /// Reads what is there; `complete` where no more will come.
    fn read_pending(&mut self, complete: bool) {
        let mut pending = std::mem::take(&mut self.pending);
        match self.read_sessions(&mut pending, complete) {
            Ok(read) => {
                pending.drain(..read);
                self.read += read;
                self.repaired -= read;
                // What is no whole session yet is not tried again for each byte more.
                self.enough = self.window.max(2 * pending.len());
                self.pending = pending;
            }
            Err(why) => self.failure = Some(invalid(&why)),
        }
    }

    /// Answers how many bytes it took, or what is wrong with them.
    fn read_sessions(&mut self, bytes: &mut [u8], complete: bool) -> Result<usize, String> {
        self.repaired = repair::lone_surrogates(bytes, self.repaired, complete);
        let text = match std::str::from_utf8(&bytes[..self.repaired]) {
            Ok(text) => text,
            // A character may be cut by the end of the piece.
            Err(error) if error.error_len().is_none() && !complete => {
                std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(error) => {
                let at = self.read + error.valid_up_to();
                return Err(format!("it is not UTF-8 from byte {at} on"));
            }
        };
        let has_no_controls = usual::has_no_controls(text);
        let mut rest = text;
        if self.place == Place::Start && self.read == 0 {
            rest = rest.strip_prefix('\u{feff}').unwrap_or(rest);
        }
        loop {
            rest = rest.trim_start_matches(LAYOUT);
            let Some(&next) = rest.as_bytes().first() else { break };
            self.place = match (self.place, next) {
                (Place::Start, b'[') => Place::First,
                (Place::First | Place::Behind, b']') => Place::End,
                (Place::Behind, b',') => Place::Next,
                (Place::First | Place::Next, _) => {
                    let found = self
                        .read_session(rest, has_no_controls)
                        .map_err(|why| format!("{}: {why}", self.next_session(text, rest)))?;
                    let Some(behind) = found else { break };
                    self.sessions += 1;
                    self.place = Place::Behind;
                    rest = behind;
                    continue;
                }
                (Place::Start, _) => return Err("it does not begin with `[`".to_owned()),
                (Place::Behind, _) => {
                    return Err(format!(
                        "something that is not a comma stands behind session {}",
                        self.sessions
                    ));
                }
                (Place::End, _) => return Err("something stands behind its end".to_owned()),
            };
            rest = &rest[1..];
        }
        if complete && self.place != Place::End {
            return Err(match self.place {
                Place::Start => "it is empty".to_owned(),
                _ if !rest.is_empty() => {
                    format!("it breaks off in {}", self.next_session(text, rest))
                }
                _ => format!("it breaks off after {} sessions", self.sessions),
            });
        }
        Ok(text.len() - rest.len())
    }

    /// Reads the session at the beginning of a text. Answers what stands behind it;
    /// none where the text ends before the session does.
    fn read_session<'t>(
        &mut self,
        json: &'t str,
        has_no_controls: bool,
    ) -> Result<Option<&'t str>, String> {
        if let Some(before) = &mut self.before
            && let Some((place, behind)) = before.take_next(json)
        {
            self.snapshot.take_over(before.snapshot, place);
            return Ok(Some(behind));
        }
        let Some((told, behind)) = session(json, has_no_controls)? else { return Ok(None) };
        let person = self.snapshot.add(&told, self.rules)?;
        if let (Some(before), Some(person)) = (&mut self.before, person) {
            let mark = Mark::new(&json[..json.len() - behind.len()], person)?;
            let place = before.find(&mark);
            self.snapshot.mark(mark, place);
        }
        Ok(Some(behind))
    }

    /// The session with which the `rest` of the pending `text` begins, in words.
    fn next_session(&self, text: &str, rest: &str) -> String {
        let at = self.read + text.len() - rest.len();
        format!("session {}, which begins at byte {at}", self.sessions + 1)
    }
}

impl Receiver for Reader<'_> {
    fn begin(&mut self) {
        let mut reader = Self::new(self.rules);
        if let Some(before) = &self.before {
            reader.snapshot = Snapshot::with_room_for(before.snapshot);
            reader = reader.after(before.snapshot);
        }
        *self = reader;
    }

    fn piece(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.window) {
            if self.failure.is_some() {
                return;
            }
            if self.pending.is_empty() {
                // Once for all pieces that will be pending together.
                self.pending.reserve(self.window * 3 / 2);
            }
            self.pending.extend_from_slice(piece);
            if self.pending.len() >= self.enough {
                self.read_pending(false);
            }
        }
    }
}

fn invalid(why: &str) -> Failure {
    Failure::new(Category::InvalidBody, format!("the answer is not a list of sessions: {why}"))
        .hint("is this the session API of the Qlik Sense proxy (port 4243), or does a load balancer answer in its place?")
}

/// A session as the proxy tells it; unknown keys are passed over.
#[derive(Deserialize)]
#[serde(expecting = "a session with SessionId, UserDirectory and UserId")]
struct AnySession<'a> {
    #[serde(rename = "SessionId", borrow)]
    session_id: Text<'a>,
    #[serde(rename = "UserDirectory", borrow)]
    user_directory: Text<'a>,
    #[serde(rename = "UserId", borrow)]
    user_id: Text<'a>,
    #[serde(rename = "Attributes", borrow, default)]
    attributes: Option<&'a RawValue>,
}

/// A text, borrowed where it holds no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The session at the beginning of a text and what stands behind it; none where
/// the text ends before the session does.
fn session(json: &str, has_no_controls: bool) -> Result<Option<(Told<'_>, &str)>, String> {
    if has_no_controls && let Some(found) = usual::session(json) {
        return Ok(Some(found));
    }
    any_session(json)
}

/// As [`session`], of any shape.
fn any_session(json: &str) -> Result<Option<(Told<'_>, &str)>, String> {
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<AnySession<'_>>();
    match values.next() {
        // serde would take a list for a session, too.
        Some(Ok(told)) if json.starts_with('{') => {
            let told = Told {
                session_id: told.session_id.0,
                user_directory: told.user_directory.0,
                user_id: told.user_id.0,
                attributes: told.attributes.map(RawValue::get),
            };
            Ok(Some((told, &json[values.byte_offset()..])))
        }
        Some(Ok(_)) => Err("it is a list".to_owned()),
        Some(Err(error)) if error.is_eof() => Ok(None),
        Some(Err(error)) => Err(json::complaint_without_place(&error)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::{AnySession, Reader, any_session};
    use crate::{
        config::{AttributeChoice, Config, UserIds},
        proxy::Receiver,
        snapshot::{Names, Rules, Session, Snapshot, usual},
        target::Secret,
    };

    /// The sessions of an answer that comes in pieces and is read so many bytes at
    /// a time; or what is wrong with it.
    fn read(answer: &[u8], piece: usize, window: usize) -> Result<Vec<[String; 3]>, String> {
        let rules = Rules::new(&Config::empty(Path::new("")));
        let mut reader = Reader { window, enough: window, ..Reader::new(&rules) };
        for piece in answer.chunks(piece) {
            reader.piece(piece);
        }
        let snapshot = reader.finish().map_err(|failure| failure.message)?;
        let texts = |session: super::super::Session<'_>| {
            [session.session_id, session.user_directory, session.user_id.unwrap_or("?")]
                .map(str::to_owned)
        };
        Ok(snapshot.sessions().map(texts).collect())
    }

    fn complaint(answer: &str) -> String {
        let why = read(answer.as_bytes(), 1 << 20, 1 << 20).expect_err("it is refused");
        why.strip_prefix("the answer is not a list of sessions: ").unwrap_or(&why).to_owned()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let session = r#"{"UserDirectory":"LAB","UserId":"u","SessionId":"s"}"#;
        assert_eq!(complaint(" "), "it is empty");
        assert_eq!(complaint("{}"), "it does not begin with `[`");
        assert_eq!(complaint("["), "it breaks off after 0 sessions");
        assert_eq!(complaint(&format!("[{session}")), "it breaks off after 1 sessions");
        assert_eq!(
            complaint(&format!("[{session},{}", &session[..20])),
            "it breaks off in session 2, which begins at byte 54"
        );
        assert_eq!(
            complaint(&format!("[{session}, {{}}]")),
            "session 2, which begins at byte 55: missing field `SessionId`"
        );
        assert_eq!(
            complaint(r#"[["s","LAB","goran"]]"#),
            "session 1, which begins at byte 1: it is a list"
        );
        assert_eq!(
            complaint(&format!("[{session}{session}]")),
            "something that is not a comma stands behind session 1"
        );
        assert_eq!(complaint("[] []"), "something stands behind its end");
        assert_eq!(complaint("[,]"), "session 1, which begins at byte 1: expected value");
        let not_utf8 = read(b"[\xff]", 9, 9).expect_err("it is refused");
        assert!(not_utf8.ends_with("it is not UTF-8 from byte 1 on"), "{not_utf8}");
    }

    /// Parts of answers: usual ones, odd ones and wrong ones.
    fn part() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            Just("LAB".to_owned()),
            "[a-zåæ😀 ]{0,4}",
            r#"(\\["\\/nu]|\\ud83d|\\ude00|\\u00e9|[a\n]){0,3}"#,
        ];
        let key = prop_oneof![
            8 => prop_oneof!["SessionId", "UserId", "UserDirectory", "Attributes"],
            1 => Just("NewUser".to_owned()),
            1 => Just(r"User\u0049d".to_owned()),
        ];
        let list = prop_oneof![
            r#"\[(\{"[a-z]{0,2}":"[a-z]{0,2}"\},?){0,2}\]"#,
            Just("null".to_owned()),
            Just("[]".to_owned()),
            Just(r#"[{"a":1,"b":"]"},[null]]"#.to_owned()),
        ];
        prop_oneof![
            6 => (key, text, list).prop_map(|(key, text, list)| match key.as_str() {
                "Attributes" | "NewUser" => format!(r#""{key}":{list}"#),
                _ => format!(r#""{key}":"{text}""#),
            }),
            1 => "[\\[\\]{}:,\"\\\\ \\n1]{1,2}",
        ]
    }

    /// Mostly lists of whole sessions, with odd members between the others.
    fn answer() -> impl Strategy<Value = String> {
        let session = (prop::collection::vec(part(), 0..3), 0..4_usize).prop_map(|(odd, at)| {
            let mut members: Vec<String> = ["UserDirectory", "UserId", "SessionId"]
                .map(|key| format!(r#""{key}":"{}""#, key.len()))
                .into();
            for (index, part) in odd.into_iter().enumerate() {
                match part.split(':').next().and_then(|key| {
                    members.iter().position(|member| member.split(':').next() == Some(key))
                }) {
                    Some(same) if at != 3 => members[same] = part,
                    _ => members.insert((at + index) % members.len(), part),
                }
            }
            format!("{{{}}}", members.join(","))
        });
        let behind = prop_oneof![12 => Just(","), 1 => Just(" ,\n"), 1 => Just(""), 1 => Just("x")];
        (prop::collection::vec((session, behind), 0..4), 0..20_usize).prop_map(|(sessions, cut)| {
            let mut text = String::from("[");
            for (session, behind) in &sessions {
                text.push_str(session);
                text.push_str(behind);
            }
            if text.ends_with(',') {
                text.pop();
            }
            text.push(']');
            let end = text.floor_char_boundary(if cut == 0 { text.len() / 2 } else { text.len() });
            text.truncate(end);
            text
        })
    }

    /// Answers of few sessions, so that many stand in more than one answer.
    fn sessions() -> impl Strategy<Value = String> {
        let session = (0..6_u8, 0..3_u8, any::<bool>()).prop_map(|(id, user, has_mail)| {
            let attributes = if has_mail { r#"{"email":"u@x"}"# } else { "" };
            format!(
                r#"{{"UserDirectory":"LAB","UserId":"user{user}","Attributes":[{attributes}],"SessionId":"s{id}-user{user}"}}"#
            )
        });
        prop::collection::vec(session, 0..8)
            .prop_map(|sessions| format!("[{}]", sessions.join(",")))
    }

    fn rules() -> impl Strategy<Value = Rules> {
        let user_ids = prop::sample::select(vec![
            UserIds::Plain,
            UserIds::Pseudonym(Secret::new("a key for this test")),
            UserIds::Omit,
        ]);
        let text = "Butler-SOS:
  userSessions:
    enableSessionExtract: true
    excludeUser: [{directory: LAB, userId: user2}]
";
        let config = Config::parse(Path::new("config.yaml"), text).expect("it is right");
        (user_ids, any::<[bool; 2]>()).prop_map(
            move |(user_ids, [attributes, excluded_users_count])| Rules {
                attributes: if attributes { AttributeChoice::All } else { AttributeChoice::None },
                excluded_users_count,
                names: Names::new(&user_ids),
                ..Rules::new(&config)
            },
        )
    }

    fn read_after(before: Option<&Snapshot>, answer: &str, rules: &Rules) -> Snapshot {
        let reader = Reader { window: 50, enough: 50, ..Reader::new(rules) };
        let mut reader = match before {
            Some(before) => reader.after(before),
            None => reader,
        };
        reader.piece(answer.as_bytes());
        reader.finish().expect("it is a list of sessions")
    }

    fn all_of(snapshot: &Snapshot) -> (Vec<String>, usize, usize) {
        let sessions = snapshot.sessions().map(|session| format!("{session:?}")).collect();
        (sessions, snapshot.people.len(), snapshot.excluded_session_count)
    }

    fn what_is_told(session: Session<'_>) -> String {
        format!("{:?}", Session { first_of_user: false, ..session })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn pieces_do_not_matter(answer in answer(), piece in 1..40_usize, window in 1..60_usize) {
            let whole = read(answer.as_bytes(), 1 << 20, 1 << 20);
            prop_assert_eq!(read(answer.as_bytes(), piece, window), whole);
        }

        #[test]
        fn it_reads_what_serde_json_reads(answer in answer()) {
            let whole = serde_json::from_str::<Vec<AnySession<'_>>>(&answer);
            // Half a surrogate pair is repaired here, and refused there.
            prop_assume!(!answer.contains(r"\ud"));
            let own = read(answer.as_bytes(), 1 << 20, 1 << 20);
            let expected = whole.ok().map(|sessions| {
                sessions
                    .into_iter()
                    .map(|told| [told.session_id, told.user_directory, told.user_id].map(|text| text.0.into_owned()))
                    .collect::<Vec<_>>()
            });
            prop_assert_eq!(own.ok(), expected);
        }

        #[test]
        fn what_the_answer_before_held_changes_nothing(
            answers in prop::collection::vec(sessions(), 1..4),
            rules in rules(),
        ) {
            let (mut before, mut before_alone) = (Snapshot::default(), Snapshot::default());
            for answer in answers {
                let snapshot = read_after(Some(&before), &answer, &rules);
                let alone = read_after(None, &answer, &rules);
                prop_assert_eq!(all_of(&snapshot), all_of(&alone));
                let told: Vec<_> = alone.sessions().map(what_is_told).collect();
                let told_before: Vec<_> = before_alone.sessions().map(what_is_told).collect();
                for (place, place_before) in snapshot.places_before().enumerate() {
                    if let Some(place_before) = place_before {
                        prop_assert_eq!(&told[place], &told_before[place_before]);
                    }
                }
                (before, before_alone) = (snapshot, alone);
            }
        }

        #[test]
        fn the_usual_way_is_a_short_cut_only(answer in answer()) {
            let session = answer.strip_prefix('[').unwrap_or(&answer);
            prop_assume!(usual::has_no_controls(session));
            if let Some((usual, behind)) = usual::session(session) {
                let any = any_session(session).expect("it is a session");
                let (any, behind_any) = any.expect("it is whole");
                prop_assert_eq!(behind, behind_any);
                prop_assert_eq!(usual.attributes, any.attributes);
                for (text, same) in [
                    (&usual.session_id, &any.session_id),
                    (&usual.user_directory, &any.user_directory),
                    (&usual.user_id, &any.user_id),
                ] {
                    prop_assert_eq!(text, same);
                    prop_assert_eq!(serde_json::to_string(text).expect("JSON"), format!("\"{text}\""));
                }
            }
        }
    }
}
