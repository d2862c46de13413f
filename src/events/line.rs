//! JSON lines, whole or not at all, and none longer than the limit.

use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;

use super::{TIMES, id::EventId};
use crate::snapshot::UserName;

/// Whole lines, ready to be written.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    max_line: usize,
}

impl Lines {
    /// No lines yet; none will have more than `max_line` bytes.
    pub fn new(max_line: usize) -> Self {
        Self { bytes: Vec::new(), max_line }
    }

    /// The bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the lines out; makes room for as many again and a line more.
    pub fn take(&mut self) -> Vec<u8> {
        let room = Vec::with_capacity(self.bytes.len() * 9 / 8);
        std::mem::replace(&mut self.bytes, room)
    }

    /// Begins a line with its [`head`] and the event's id.
    pub(super) fn begin(&mut self, head: &[u8], id: &EventId) -> Line<'_> {
        let start = self.bytes.len();
        let max = self.max_line;
        let mut line = Line { bytes: Bytes::Shared(&mut self.bytes), start, max };
        line.raw(head);
        line.raw(id.as_bytes());
        line.raw(b"\"");
        line
    }
}

/// What the lines of all events of one kind and time begin with.
pub(super) fn head(timestamp: &str, event: &str) -> Vec<u8> {
    format!(r#"{{"timestamp":"{timestamp}","event":"{event}","event_id":""#).into_bytes()
}

#[derive(Debug)]
enum Bytes<'l> {
    Shared(&'l mut Vec<u8>),
    Own(Vec<u8>),
}

fn needs_no_escapes(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

const ESCAPED_BACKSLASH: &[u8] = br"\\";

/// Where a text stands in the line that is being written, without its quotes.
#[derive(Debug)]
pub(super) struct Written(Range<usize>);

/// A line that is being written.
#[derive(Debug)]
pub(super) struct Line<'l> {
    bytes: Bytes<'l>,
    start: usize,
    max: usize,
}

impl Line<'_> {
    /// Keys that are rendered once and put into many lines.
    pub fn fragment() -> Line<'static> {
        Line { bytes: Bytes::Own(Vec::new()), start: 0, max: usize::MAX }
    }

    /// The fragment.
    pub fn into_bytes(self) -> Vec<u8> {
        match self.bytes {
            Bytes::Own(bytes) => bytes,
            Bytes::Shared(bytes) => bytes.clone(),
        }
    }

    #[inline]
    fn buffer(&mut self) -> &mut Vec<u8> {
        match &mut self.bytes {
            Bytes::Shared(bytes) => bytes,
            Bytes::Own(bytes) => bytes,
        }
    }

    /// JSON as it is.
    #[inline]
    pub fn raw(&mut self, json: &[u8]) {
        self.buffer().extend_from_slice(json);
    }

    /// `,"key":`; keys need no escapes. They are short and known when this is
    /// compiled: to copy them then needs no call.
    #[inline(always)]
    fn key(&mut self, key: &str) {
        let buffer = self.buffer();
        buffer.reserve(key.len() + 4);
        buffer.extend_from_slice(b",\"");
        buffer.extend_from_slice(key.as_bytes());
        buffer.extend_from_slice(b"\":");
    }

    /// Anything that serde can write.
    pub fn json<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        self.key(key);
        serde_json::to_writer(self.buffer(), value)
            .expect("texts, numbers and maps of them are JSON, and memory takes them");
    }

    /// A text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.text_of(key, value, false);
    }

    /// A text that is known to need no escapes where it `is_plain`. Answers where
    /// it stands.
    #[inline(always)]
    pub fn text_of(&mut self, key: &str, value: &str, is_plain: bool) -> Written {
        self.key(key);
        self.raw(b"\"");
        let start = self.buffer().len();
        self.inside_quotes(value, is_plain);
        let end = self.buffer().len();
        self.raw(b"\"");
        Written(start..end)
    }

    /// A text without its quotes. Nearly every text is JSON as it is, and to
    /// look at all its bytes at once is cheaper than serde_json's one by one.
    #[inline]
    fn inside_quotes(&mut self, text: &str, is_plain: bool) {
        if is_plain || needs_no_escapes(text) {
            self.raw(text.as_bytes());
        } else {
            let quoted = serde_json::to_string(text).expect("every text is JSON");
            self.raw(&quoted.as_bytes()[1..quoted.len() - 1]);
        }
    }

    /// A time.
    pub fn time(&mut self, key: &str, time: Timestamp) {
        self.key(key);
        self.raw(b"\"");
        TIMES
            .print_timestamp(&time, self.buffer())
            .expect("every timestamp has a text, and memory takes it");
        self.raw(b"\"");
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: u64) {
        self.json(key, &value);
    }

    /// `DIRECTORY\id`, of texts that this line has already.
    pub fn user(&mut self, key: &str, directory: Written, id: Written) {
        self.key(key);
        self.raw(b"\"");
        self.buffer().extend_from_within(directory.0);
        self.raw(ESCAPED_BACKSLASH);
        self.buffer().extend_from_within(id.0);
        self.raw(b"\"");
    }

    /// A list of users as far as the line limit allows, and under `omitted` how
    /// many it does not.
    pub fn list_that_fits(&mut self, key: &str, users: &[UserName<'_>], omitted: &str) -> usize {
        // `]`, `,"users_omitted":` with its number, `}` and the line end.
        let reserve = omitted.len() + 30;
        self.key(key);
        self.raw(b"[");
        let mut written = 0;
        for user in users {
            let before = self.buffer().len();
            if written > 0 {
                self.raw(b",");
            }
            self.raw(b"\"");
            self.inside_quotes(user.directory, user.is_plain);
            self.raw(ESCAPED_BACKSLASH);
            self.inside_quotes(user.id, user.is_plain);
            self.raw(b"\"");
            if self.buffer().len() - self.start + reserve > self.max {
                self.buffer().truncate(before);
                break;
            }
            written += 1;
        }
        self.raw(b"]");
        self.number(omitted, (users.len() - written) as u64);
        users.len() - written
    }

    /// Ends the line, or takes it back where it is too long.
    pub fn end(mut self) -> bool {
        self.raw(b"}\n");
        let (start, max) = (self.start, self.max);
        let fits = self.buffer().len() - start <= max;
        if !fits {
            self.buffer().truncate(start);
        }
        fits
    }
}
