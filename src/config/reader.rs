//! Walks a YAML document and collects every problem on the way, each with its
//! key path and line, so that an administrator repairs a file once and not
//! once for each mistake.

use std::{cell::RefCell, collections::HashSet, fmt, ops::RangeInclusive};

use super::yaml::{NOTHING, Place, Value};

/// One step from the document's root to a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A mapping's key.
    Key(String),
    /// A list's item, counted from 0.
    Item(usize),
}

/// Whether a problem stops the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, but perhaps something is not as meant.
    Warning,
}

/// One thing that is wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

/// Most problems that are noted. A file with more is probably not a configuration, and
/// reading all of it takes long.
const MOST_PROBLEMS: usize = 1_000;

/// The problems found so far, each once: what all servers share is read once for
/// each of them.
#[derive(Debug, Default)]
pub struct Problems(RefCell<HashSet<Problem>>);

impl Problems {
    /// One more, as long as there are not too many.
    pub fn add(&self, problem: Problem) {
        if !self.are_too_many() {
            self.0.borrow_mut().insert(problem);
        }
    }

    /// Returns whether there are so many that the rest of the file is not read.
    fn are_too_many(&self) -> bool {
        self.0.borrow().len() >= MOST_PROBLEMS
    }

    /// All of them in the order of the file.
    pub fn into_sorted(self) -> Vec<Problem> {
        let too_many = self.are_too_many();
        let mut problems: Vec<Problem> = self.0.into_inner().into_iter().collect();
        problems.sort_by(|a, b| (a.line, &a.path, &a.message).cmp(&(b.line, &b.path, &b.message)));
        if too_many {
            problems.push(Problem {
                severity: Severity::Error,
                path: Vec::new(),
                line: None,
                message: format!(
                    "has {MOST_PROBLEMS} problems or more, and is not read further; is it a configuration of Butler SOS?"
                ),
            });
        }
        problems
    }
}

/// A value in the document that knows where it stands. An absent value and
/// `null` are the same.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    path: Vec<Step>,
    /// Its line, or that of the section where it should be.
    line: Option<usize>,
    is_there: bool,
    problems: &'a Problems,
}

impl<'a> Node<'a> {
    /// The document as a whole.
    pub fn root(document: &'a Place, problems: &'a Problems) -> Self {
        Self { value: &document.value, path: Vec::new(), line: None, is_there: true, problems }
    }

    fn child(&self, place: Option<&'a Place>, step: Step) -> Self {
        let mut path = self.path.clone();
        path.push(step);
        Self {
            value: place.map_or(&NOTHING, |place| &place.value),
            path,
            line: place.map_or(self.line, |place| Some(place.line)),
            is_there: place.is_some(),
            problems: self.problems,
        }
    }

    /// The value under a key; absent where this is no mapping.
    pub fn key(&self, name: &str) -> Self {
        self.child(self.value.get(name), Step::Key(name.to_owned()))
    }

    /// Returns whether something is here, even `null`.
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// Returns whether this is a section with keys.
    pub fn is_section(&self) -> bool {
        matches!(self.value, Value::Section(_))
    }

    /// How many keys this section has.
    pub fn key_count(&self) -> usize {
        match self.value {
            Value::Section(entries) => entries.len(),
            _ => 0,
        }
    }

    /// A mapping under a key; reports anything else.
    pub fn section(&self, name: &str) -> Self {
        let node = self.key(name);
        if !node.is_absent() && !node.is_section() {
            node.error(format!("expected a section with keys, found {}", node.found()));
        }
        node
    }

    /// Returns whether nothing is here, or `null`.
    pub fn is_absent(&self) -> bool {
        self.value.is_null()
    }

    pub fn report(&self, severity: Severity, message: String) {
        self.problems.add(self.problem(severity, message));
    }

    /// A problem at this place that is not noted yet.
    pub fn problem(&self, severity: Severity, message: String) -> Problem {
        Problem { severity, path: self.path.clone(), line: self.line, message }
    }

    /// Notes something that makes the configuration unusable.
    pub fn error(&self, message: impl Into<String>) {
        self.report(Severity::Error, message.into());
    }

    /// Notes something that may not be as meant.
    pub fn warn(&self, message: impl Into<String>) {
        self.report(Severity::Warning, message.into());
    }

    /// What is here, for a message. Texts are not shown: they may be secrets.
    pub fn found(&self) -> String {
        match self.value {
            value if value.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } if self.value.is_number() && text.len() < 20 => text.clone(),
            Value::Scalar { text, .. } if self.value.boolean().is_some() => text.clone(),
            Value::Scalar { .. } => "a text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Section(_) => "a section with keys".to_owned(),
        }
    }

    /// What is here, with the keys of a section.
    pub fn found_with_keys(&self) -> String {
        let keys: Vec<String> = self.entries().take(3).map(|(key, _)| format!("`{key}`")).collect();
        match keys.len() {
            0 => self.found(),
            1 => format!("a section with the key {}", keys[0]),
            _ => format!("a section with the keys {}", keys.join(", ")),
        }
    }

    /// A text as it is written, also where it looks like a number.
    pub fn text(&self) -> Option<String> {
        let text = self.secret()?.trim().to_owned();
        if text.starts_with(['“', '”', '„', '‘', '’']) {
            self.warn("begins with a typographic quote, which is part of the text; use ' or \"");
        }
        Some(text).filter(|text| !text.is_empty())
    }

    /// The text of a path or an address: `"C:\tools"` holds a tab and no backslash.
    pub fn line_of_text(&self) -> Option<String> {
        let text = self.text()?;
        if text.contains(char::is_control) {
            self.error(
                "holds a control character: in double quotes a backslash begins an escape; use \
                 single quotes ('C:\\tools') or slashes (C:/tools)",
            );
            return None;
        }
        Some(text)
    }

    /// A text as it is written, with blanks at its ends.
    pub fn secret(&self) -> Option<String> {
        self.any_text().filter(|text| !text.is_empty())
    }

    /// A text that may be empty, as long as it is there.
    pub fn any_text(&self) -> Option<String> {
        match self.value {
            value if value.is_null() => None,
            Value::Scalar { text, .. } => Some(text.clone()),
            _ => {
                self.error(format!("expected a text, found {}", self.found()));
                None
            }
        }
    }

    /// A text that has to be there, but may be empty.
    pub fn required(&self, what: &str) -> Option<String> {
        if self.is_absent() {
            self.error(format!("is missing; expected {what}"));
        }
        self.any_text().map(|text| text.trim().to_owned())
    }

    /// A text that has to be there.
    pub fn required_text(&self, what: &str) -> Option<String> {
        if self.is_absent()
            || matches!(self.value, Value::Scalar { text, .. } if text.trim().is_empty())
        {
            self.error(format!("is missing; expected {what}"));
            return None;
        }
        self.text()
    }

    /// Returns whether a list is here.
    pub fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.boolean_among("true or false")
    }

    /// `true` or `false`, where something else is allowed, too.
    pub fn boolean_or(&self, else_what: &str) -> Option<bool> {
        self.boolean_among(&format!("true, false or {else_what}"))
    }

    fn boolean_among(&self, expected: &str) -> Option<bool> {
        let boolean = self.value.boolean();
        if boolean.is_none() && !self.is_absent() {
            self.error(format!("expected {expected}, found {}{}", self.found(), self.as_boolean()));
        }
        boolean
    }

    /// How to write what was meant by a word that other parsers take for a bool.
    fn as_boolean(&self) -> &'static str {
        let Value::Scalar { text, .. } = self.value else { return "" };
        match text.to_lowercase().as_str() {
            "true" => "; write true, without quotes",
            "false" => "; write false, without quotes",
            "yes" | "on" | "y" => "; yes and on are only texts: write true",
            "no" | "off" | "n" => "; no and off are only texts: write false",
            _ => "",
        }
    }

    /// A whole number within a range; `unit` says what it counts.
    pub fn number(&self, range: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        if self.is_absent() {
            return None;
        }
        match self.value.whole_number() {
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

    /// A list's items; none where there is no list, and no more of them once there
    /// are too many problems.
    pub fn items(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let items: &'a [Place] = match self.value {
            value if value.is_null() => &[],
            Value::List(items) => items,
            _ => {
                self.error(format!("expected a list, found {}", self.found()));
                &[]
            }
        };
        let node = self.clone();
        items
            .iter()
            .enumerate()
            .map(move |(index, place)| node.child(Some(place), Step::Item(index)))
            .take_while(|node| !node.problems.are_too_many())
    }

    /// A mapping's entries; none where there is no mapping, and no more of them once
    /// there are too many problems.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> + use<'a> {
        let entries: &'a [(String, Place)] = match self.value {
            Value::Section(entries) => entries,
            _ => &[],
        };
        let node = self.clone();
        entries
            .iter()
            .map(move |(key, place)| {
                (key.as_str(), node.child(Some(place), Step::Key(key.clone())))
            })
            .take_while(|(_, node)| !node.problems.are_too_many())
    }
}

/// `; did you mean X?` for the most similar of `known`. Nothing where that list is
/// longer than a person could remember.
pub fn suggestion(word: &str, known: &[&str]) -> String {
    const MOST_KNOWN: usize = 100;
    most_similar(word, &known[..known.len().min(MOST_KNOWN)], 0.7)
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The most similar of `known`, where one is similar enough (1.0: the same but
/// for upper and lower case).
pub fn most_similar<'a>(word: &str, known: &[&'a str], enough: f64) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), *name))
        .filter(|(similarity, _)| *similarity > enough)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
