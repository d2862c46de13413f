//! Walks a YAML document and collects every problem on the way, each with its
//! key path and line, so that an administrator mends a file once and not once
//! for each mistake.

use std::{cell::RefCell, fmt, ops::RangeInclusive};

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_yaml::Value;

/// One step from the document's root to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A mapping's key.
    Key(String),
    /// A list's item, counted from 0.
    Item(usize),
}

/// Does a problem stop the program?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but perhaps not as meant.
    Warning,
}

/// One thing that is wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stops the program.
    pub severity: Severity,
    /// From the root to the value.
    pub path: Vec<Step>,
    /// Line in the file, from 1, where it could be found.
    pub line: Option<usize>,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        for (position, step) in self.path.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        if !self.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// All of them in the order of the file, with their lines looked up in `text`.
    pub fn into_sorted(self, text: &str) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        for problem in &mut problems {
            problem.line = line_of(text, &problem.path);
        }
        problems.sort_by_key(|problem| problem.line);
        // What all servers share is read once for each of them.
        let mut told: Vec<Problem> = Vec::new();
        problems.retain(|problem| {
            let new = !told.contains(problem);
            if new {
                told.push(problem.clone());
            }
            new
        });
        problems
    }
}

static ABSENT: Value = Value::Null;

/// A value in the document that knows where it stands. An absent value and
/// `null` are the same.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    path: Vec<Step>,
    problems: &'a Problems,
}

impl<'a> Node<'a> {
    /// The document as a whole.
    pub fn root(value: &'a Value, problems: &'a Problems) -> Self {
        Self { value, path: Vec::new(), problems }
    }

    fn child(&self, value: &'a Value, step: Step) -> Self {
        let mut path = self.path.clone();
        path.push(step);
        Self { value, path, problems: self.problems }
    }

    /// The value under a key; absent where this is no mapping.
    pub fn key(&self, name: &str) -> Self {
        self.child(self.value.get(name).unwrap_or(&ABSENT), Step::Key(name.to_owned()))
    }

    /// A mapping under a key; says so where something else stands there.
    pub fn section(&self, name: &str) -> Self {
        let node = self.key(name);
        if !node.is_absent() && !node.value.is_mapping() {
            node.error(format!("expected a section with keys, found {}", node.found()));
        }
        node
    }

    /// Neither absent nor `null`?
    pub fn is_absent(&self) -> bool {
        self.value.is_null()
    }

    fn report(&self, severity: Severity, message: String) {
        self.problems.0.borrow_mut().push(Problem {
            severity,
            path: self.path.clone(),
            line: None,
            message,
        });
    }

    /// Notes something that makes the configuration unusable.
    pub fn error(&self, message: impl Into<String>) {
        self.report(Severity::Error, message.into());
    }

    /// Notes something that may not be as meant.
    pub fn warn(&self, message: impl Into<String>) {
        self.report(Severity::Warning, message.into());
    }

    /// What stands here, for a message. Texts are not shown: they may be secrets.
    fn found(&self) -> String {
        match self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::String(_) => "a text".to_owned(),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a section with keys".to_owned(),
            Value::Tagged(_) => "a YAML tag".to_owned(),
        }
    }

    /// A text; numbers and booleans are taken as they are written.
    pub fn text(&self) -> Option<String> {
        match self.value {
            Value::Null => None,
            Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(value) => Some(value.to_string()),
            _ => {
                self.error(format!("expected a text, found {}", self.found()));
                None
            }
        }
    }

    /// A text as it stands, blanks at its ends included.
    pub fn secret(&self) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            _ => self.text(),
        }
    }

    /// A text that has to be there.
    pub fn required_text(&self, what: &str) -> Option<String> {
        if self.is_absent() || matches!(self.value, Value::String(text) if text.trim().is_empty()) {
            self.error(format!("is missing; expected {what}"));
            return None;
        }
        self.text()
    }

    /// Whether a list stands here.
    pub fn is_list(&self) -> bool {
        self.value.is_sequence()
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.boolean_among("true or false")
    }

    /// `true` or `false`, where something else may stand, too.
    pub fn boolean_or(&self, else_what: &str) -> Option<bool> {
        self.boolean_among(&format!("true, false or {else_what}"))
    }

    fn boolean_among(&self, expected: &str) -> Option<bool> {
        match self.value {
            Value::Null => None,
            Value::Bool(value) => Some(*value),
            _ => {
                self.error(format!("expected {expected}, found {}", self.found()));
                None
            }
        }
    }

    /// A whole number within a range; `unit` says what it counts.
    pub fn number(&self, range: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        if self.is_absent() {
            return None;
        }
        // 3e4 and 30000.0 are whole numbers in YAML too.
        let number = self.value.as_u64().or_else(|| {
            self.value
                .as_f64()
                .filter(|n| n.fract() == 0.0 && (0.0..1e15).contains(n))
                .map(|n| n as u64)
        });
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                self.error(format!(
                    "expected a whole number of {unit} from {} to {}, found {}",
                    range.start(),
                    range.end(),
                    self.found()
                ));
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.error(format!(
                "expected one of {}{}",
                names.join(", "),
                suggestion(&text, &names)
            ));
        }
        found.map(|(_, value)| *value)
    }

    /// A list's items; none where there is no list.
    pub fn items(&self) -> Vec<Node<'a>> {
        match self.value {
            Value::Null => Vec::new(),
            Value::Sequence(items) => items
                .iter()
                .enumerate()
                .map(|(index, value)| self.child(value, Step::Item(index)))
                .collect(),
            _ => {
                self.error(format!("expected a list, found {}", self.found()));
                Vec::new()
            }
        }
    }

    /// A mapping's entries; none where there is no mapping.
    pub fn entries(&self) -> Vec<(String, Node<'a>)> {
        let Value::Mapping(entries) = self.value else { return Vec::new() };
        entries
            .iter()
            .filter_map(|(key, value)| {
                let key = match key {
                    Value::String(key) => key.clone(),
                    Value::Number(key) => key.to_string(),
                    Value::Bool(key) => key.to_string(),
                    _ => return None,
                };
                Some((key.clone(), self.child(value, Step::Key(key))))
            })
            .collect()
    }

    /// Reports keys that are none of `known`, with the nearest one that is.
    pub fn expect_keys(&self, known: &[&str], severity: Severity) {
        for (key, node) in self.entries() {
            if !known.contains(&key.as_str()) {
                node.report(severity, format!("is not a known key{}", suggestion(&key, known)));
            }
        }
    }

    /// Warns of keys that are nearly one of `known`, where all sorts of others may
    /// stand beside them.
    pub fn warn_of_misspelt_keys(&self, known: &[&str]) {
        for (key, node) in self.entries() {
            if !known.contains(&key.as_str())
                && let Some(name) = most_similar(&key, known, 0.93)
            {
                node.warn(format!("is passed over; did you mean `{name}`?"));
            }
        }
    }
}

/// `; did you mean X?` for the most similar of `known`.
pub fn suggestion(word: &str, known: &[&str]) -> String {
    most_similar(word, known, 0.7)
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The most similar of `known`, where one is similar enough (1.0: the same but
/// for upper and lower case).
fn most_similar<'a>(word: &str, known: &[&'a str], enough: f64) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), *name))
        .filter(|(similarity, _)| *similarity > enough)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The line of the value at `path`, or of the nearest parent that is there.
///
/// The YAML reader knows lines only while it reads. So the document is read
/// once more, and the reading is made to fail at the value that is looked for.
fn line_of(text: &str, path: &[Step]) -> Option<usize> {
    (0..=path.len()).rev().find_map(|length| {
        let error =
            Locate(&path[..length]).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
        error.to_string().contains(HERE).then(|| error.location().map(|at| at.line()))?
    })
}

const HERE: &str = "the value that was looked for";

#[derive(Clone, Copy)]
struct Locate<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Locate<'_> {
    /// Fails at the value that is looked for, and passes over all others.
    fn visit<E: de::Error>(self) -> Result<(), E> {
        if self.0.is_empty() { Err(E::custom(HERE)) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.visit()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.visit()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.visit()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.visit()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.visit()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.visit()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.visit()?;
        while let Some(key) = map.next_key::<Value>()? {
            match &self.0[0] {
                Step::Key(wanted) if key.as_str() == Some(wanted) => {
                    return map.next_value_seed(Locate(&self.0[1..]));
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.visit()?;
        let Step::Item(wanted) = self.0[0] else { return Ok(()) };
        for _ in 0..wanted {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Locate(&self.0[1..]))?;
        Ok(())
    }
}
