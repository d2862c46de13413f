//! A YAML document as it is written: every scalar as its text, every value with
//! its line.
//!
//! Butler SOS takes `1.10` for a number and an administrator for a user id. Here
//! a scalar stays the text it is until somebody asks for a number. As a whole, the
//! document must not have what js-yaml, Butler SOS's parser, refuses.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use super::{cures, reader::Step};
use granit_parser::{
    Event, Marker, Options, Parser, ScalarStyle, ScanError, Span, StrInput, StructureStyle, Tag,
};

/// How deep sections and lists may be nested.
const MAX_DEPTH: usize = 128;

/// Longest key, in characters.
const MAX_KEY: usize = 64 * 1024;

/// Most keys that `<<` adds in a document. A few lines could ask for billions.
const MAX_MERGED: usize = 100_000;

/// A value and its line: that of its key or its dash.
#[derive(Clone, Debug)]
pub struct Place {
    pub line: usize,
    /// Where the value itself is in the text, in bytes: for an alias, where its anchor
    /// is. A block ends after its last value that is not empty.
    pub span: Range<usize>,
    /// A list or a section in brackets.
    pub is_inline: bool,
    pub value: Arc<Value>,
}

#[derive(Debug)]
pub enum Value {
    /// Plain, or in quotes or as a block: then it is a text, whatever it looks like.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Place>),
    /// In the order of the file, each key once.
    Section(Vec<(String, Place)>),
}

/// `null`, or a missing value.
pub static NOTHING: Value = Value::Scalar { text: String::new(), plain: true };

impl Value {
    /// A plain scalar's text.
    fn plain(&self) -> Option<&str> {
        match self {
            Self::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.plain().is_some_and(|text| matches!(text, "" | "~" | "null" | "Null" | "NULL"))
    }

    pub fn boolean(&self) -> Option<bool> {
        match self.plain()? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        }
    }

    /// A whole number that is not negative: 30000, 30_000, 0x7530, 3e4, 30000.0.
    pub fn whole_number(&self) -> Option<u64> {
        let text = self.plain()?.replace('_', "");
        let text = text.strip_prefix('+').unwrap_or(&text);
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if let Some(digits) = text.strip_prefix(prefix) {
                return u64::from_str_radix(digits, radix).ok();
            }
        }
        if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        text.parse().ok().or_else(|| {
            let number: f64 = text.parse().ok()?;
            (number.fract() == 0.0 && number < 1e15).then_some(number as u64)
        })
    }

    /// Returns whether YAML takes it for a number, of any size.
    pub fn is_number(&self) -> bool {
        self.whole_number().is_some()
            || self.plain().is_some_and(|text| {
                text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok()
            })
    }

    /// Returns whether it is `null`, or an empty list or section.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Section(entries) => entries.is_empty(),
            Self::Scalar { .. } => self.is_null(),
        }
    }

    /// The value below a list or a section.
    pub fn child(&self, step: &Step) -> Option<&Place> {
        match (self, step) {
            (Self::List(items), Step::Item(index)) => items.get(*index),
            (_, Step::Key(key)) => self.get(key),
            _ => None,
        }
    }

    /// The last value below a list or a section.
    pub fn last(&self) -> Option<&Place> {
        match self {
            Self::List(items) => items.last(),
            Self::Section(entries) => entries.last().map(|(_, place)| place),
            Self::Scalar { .. } => None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&Place> {
        match self {
            Self::Section(entries) => {
                entries.iter().find(|(name, _)| name == key).map(|(_, place)| place)
            }
            _ => None,
        }
    }
}

/// Why a text cannot be read as a document.
#[derive(Debug)]
pub struct Mistake {
    pub line: usize,
    pub message: String,
}

impl Mistake {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// What the parser says, with the cure where it is known.
fn unreadable(error: &ScanError, text: &str) -> Mistake {
    let said = error.info();
    let (line, cure) = cures::cure(text, error.marker().line(), &said);
    let message = match cure {
        Some(cure) => format!("{said}: {cure}"),
        None => said,
    };
    Mistake { line, message }
}

/// Reads a text that holds one document.
pub fn read(text: &str) -> Result<Place, Mistake> {
    refuse_control_characters(text)?;
    let mut options = Options::default();
    options.simple_key_max_lookahead = MAX_KEY;
    let parser = Parser::with_options(StrInput::new(text), options);
    let mut loader = Loader { text, parser, end: 0, anchors: HashMap::new(), merged: 0 };
    let mut document = None;
    loop {
        let (event, span) = loader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            _ if document.is_some() => {
                return Err(Mistake::new(
                    span.start.line(),
                    "a second document begins (after a line ---); Butler SOS reads files with only one",
                ));
            }
            event => document = Some(loader.place(event, span, 0)?),
        }
    }
    let nothing = || Place {
        line: 1,
        span: 0..0,
        is_inline: false,
        value: Arc::new(Value::Section(Vec::new())),
    };
    Ok(document.unwrap_or_else(nothing))
}

struct Loader<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    /// Where the last scalar that is not empty, or the last bracket, ended, in bytes.
    end: usize,
    anchors: HashMap<usize, Place>,
    /// Keys that `<<` has added so far.
    merged: usize,
}

impl<'t> Loader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Mistake> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, Span::default())),
            Some(event) => event.map_err(|error| unreadable(&error, self.text)),
        }
    }

    /// A value on the line where it begins.
    fn place(&mut self, event: Event<'t>, start: Span, depth: usize) -> Result<Place, Mistake> {
        let line = start.start.line();
        if depth > MAX_DEPTH {
            return Err(Mistake::new(line, "has too many nested levels"));
        }
        let begin = bytes(start.start);
        let mut is_inline = false;
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                self.end = bytes(start.end);
                let anchored = self.anchors.get(&anchor).cloned().ok_or_else(|| {
                    Mistake::new(line, "an alias (*name) is used inside the value that it names")
                })?;
                return Ok(Place { line, ..anchored });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = known_tag(tag.as_deref(), line)? == Some("str");
                let plain = style == ScalarStyle::Plain && !is_text;
                if !(plain && text.is_empty()) {
                    self.end = bytes(start.end);
                }
                (Value::Scalar { text: text.into_owned(), plain }, anchor)
            }
            Event::SequenceStart(style, anchor, tag) => {
                known_tag(tag.as_deref(), line)?;
                is_inline = style == StructureStyle::Flow;
                (Value::List(self.list(depth)?), anchor)
            }
            Event::MappingStart(style, anchor, tag) => {
                known_tag(tag.as_deref(), line)?;
                is_inline = style == StructureStyle::Flow;
                (Value::Section(self.section(depth)?), anchor)
            }
            _ => return Err(Mistake::new(line, "ends where a value was expected")),
        };
        let span = begin..self.end.max(begin);
        let place = Place { line, span, is_inline, value: Arc::new(value) };
        if anchor > 0 {
            self.anchors.insert(anchor, place.clone());
        }
        Ok(place)
    }

    /// Takes the closing bracket of a list or section that has one.
    fn close(&mut self, span: Span) {
        let at = bytes(span.start);
        if self.text.get(at..).is_some_and(|rest| rest.starts_with([']', '}'])) {
            self.end = at + 1;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Place>, Mistake> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                self.close(span);
                return Ok(items);
            }
            items.push(self.place(event, span, depth + 1)?);
        }
    }

    fn section(&mut self, depth: usize) -> Result<Vec<(String, Place)>, Mistake> {
        let (mut entries, mut merged) = (Vec::new(), Vec::new());
        let mut keys: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                self.close(span);
                break;
            }
            let Place { line, value: key, .. } = self.place(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.place(event, span, depth + 1)?;
            let Value::Scalar { text: key, plain } = &*key else {
                // A list or a section as a key: nothing reads such a key.
                continue;
            };
            let place = Place { line, ..value };
            if *plain && key == "<<" {
                merged.push(place);
                continue;
            }
            if let Some(first) = keys.insert(key.clone(), line) {
                return Err(Mistake::new(
                    line,
                    format!(
                        "the key `{key}` appears a second time, first in line {first}; remove one of them"
                    ),
                ));
            }
            entries.push((key.clone(), place));
        }
        self.merge(&mut entries, &merged)?;
        Ok(entries)
    }

    /// `<<: *name` adds the keys that are not there yet.
    fn merge(
        &mut self,
        entries: &mut Vec<(String, Place)>,
        merged: &[Place],
    ) -> Result<(), Mistake> {
        if merged.is_empty() {
            return Ok(());
        }
        let mut keys: HashSet<String> = entries.iter().map(|(key, _)| key.clone()).collect();
        let mut add = |place: &Place| {
            let Value::Section(more) = &*place.value else {
                let message = "`<<` takes sections with keys, by their alias (*name)";
                return Err(Mistake::new(place.line, message));
            };
            self.merged += more.len();
            if self.merged > MAX_MERGED {
                let message = format!("`<<` adds more than {MAX_MERGED} keys in this file");
                return Err(Mistake::new(place.line, message));
            }
            let new = more.iter().filter(|(key, _)| keys.insert(key.clone()));
            entries.extend(new.cloned());
            Ok(())
        };
        merged.iter().try_for_each(|place| match &*place.value {
            Value::List(sections) => sections.iter().try_for_each(&mut add),
            _ => add(place),
        })
    }
}

fn bytes(marker: Marker) -> usize {
    marker.byte_offset().unwrap_or_default()
}

/// js-yaml refuses them wherever they stand.
fn refuse_control_characters(text: &str) -> Result<(), Mistake> {
    let wrong = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
            || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    match text.find(wrong) {
        None => Ok(()),
        Some(place) => {
            let line = 1 + text[..place].matches('\n').count();
            let code = text[place..].chars().next().map_or(0, u32::from);
            Err(Mistake::new(
                line,
                format!("it contains an invisible control character (U+{code:04X}); remove it"),
            ))
        }
    }
}

/// The tags that js-yaml knows.
const TAGS: &[&str] = &[
    "str",
    "int",
    "float",
    "bool",
    "null",
    "map",
    "seq",
    "set",
    "omap",
    "pairs",
    "binary",
    "timestamp",
    "merge",
];

/// The name of a tag that YAML itself knows.
fn known_tag(tag: Option<&Tag>, line: usize) -> Result<Option<&str>, Mistake> {
    match tag {
        None => Ok(None),
        // `! 12` is a text.
        Some(tag) if tag.handle().is_empty() && tag.suffix() == "!" => Ok(Some("str")),
        Some(tag) if tag.handle() == "tag:yaml.org,2002:" && TAGS.contains(&tag.suffix()) => {
            Ok(Some(tag.suffix()))
        }
        Some(_) => Err(Mistake::new(
            line,
            "a plain value begins with !, which makes it a YAML tag; put it in single quotes",
        )),
    }
}
