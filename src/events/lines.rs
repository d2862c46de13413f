//! JSON lines, whole or not at all, and none longer than the limit.

use serde::Serialize;

use super::{frame::Frame, id::EventId};

/// Bytes that are reserved at once: enough for all that is sent at once, so that the
/// buffer never has to grow.
const ROOM: usize = 64 * 1024;

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

    /// Most bytes of a line, its line end included.
    pub fn max_line(&self) -> usize {
        self.max_line
    }

    /// The bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the lines out.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Adds an event as a line. Returns false where that would be too long; then
    /// nothing is added.
    pub fn add(&mut self, event: &impl Serialize) -> bool {
        self.add_line(|bytes| serde_json::to_writer(bytes, event))
    }

    /// As [`Lines::add`], for an event whose JSON is mostly written already.
    pub fn add_framed(&mut self, frame: &Frame, id: EventId, keys: &impl Serialize) -> bool {
        self.add_line(|bytes| frame.write(bytes, id, keys))
    }

    fn add_line(&mut self, write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> bool {
        if self.bytes.is_empty() {
            self.bytes.reserve(ROOM);
        }
        let start = self.bytes.len();
        write(&mut self.bytes)
            .expect("texts, numbers and maps of them are JSON, and memory takes them");
        self.bytes.push(b'\n');
        let fits = self.bytes.len() - start <= self.max_line;
        if !fits {
            self.bytes.truncate(start);
        }
        fits
    }

    /// How many of these names, as a JSON list, fit into a line that has `used`
    /// bytes without them.
    pub fn names_that_fit(&self, names: &[&str], used: usize) -> usize {
        let mut free = self.max_line.saturating_sub(used);
        names
            .iter()
            .take_while(|name| {
                // A comma, or the brackets of the list, besides.
                let needed = serde_json::to_string(name).map_or(usize::MAX, |json| json.len() + 1);
                let fits = needed <= free;
                free = free.saturating_sub(needed);
                fits
            })
            .count()
    }
}
