//! A source as blocks of whole lines, so that several threads can read lines.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use super::Source;

/// About how large a block is: small enough to stay in a processor's cache until it is
/// parsed.
const BLOCK_BYTES: u64 = 256 * 1024;

/// Longest line that can be an event: many times what `maxLineBytes` is by
/// default. Longer ones are cut, so that a file of another kind does not fill memory.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// Messages about the progress begin after this time.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// Time between two messages about the progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// The blocks of one source, in order.
pub struct Blocks<'a> {
    reader: Box<dyn Read + Send>,
    /// The beginning of a line whose end is not in the latest block.
    rest: Vec<u8>,
    /// Why nothing more can be read, until that is reported.
    error: Option<io::Error>,
    is_at_end: bool,
    number: usize,
    progress: &'a mut Progress,
    source: &'a Source,
}

impl<'a> Blocks<'a> {
    /// Opens a source.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(source: &'a Source, progress: &'a mut Progress) -> io::Result<Self> {
        Ok(Self {
            reader: source.open()?,
            rest: Vec::new(),
            error: None,
            is_at_end: false,
            number: 0,
            progress,
            source,
        })
    }

    /// Replaces the block by the next one. Returns its number; none at the end.
    ///
    /// # Errors
    /// When the source cannot be read, after the whole lines before that.
    pub fn next(&mut self, block: &mut Vec<u8>) -> io::Result<Option<usize>> {
        block.clear();
        block.append(&mut self.rest);
        while !self.is_at_end {
            let start = block.len();
            match self.reader.by_ref().take(BLOCK_BYTES).read_to_end(block) {
                Ok(length) => self.is_at_end = length == 0,
                Err(error) => {
                    self.is_at_end = true;
                    self.error = Some(error);
                }
            }
            self.progress.add(self.source, block.len() - start);
            let line_end = memchr::memrchr(b'\n', &block[start..]).map(|at| start + at + 1);
            if let Some(end) = line_end {
                self.rest = block.split_off(end);
            }
            if line_end.is_some() || block.len() >= MAX_LINE_BYTES {
                return Ok(Some(self.take_number()));
            }
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok((!block.is_empty()).then(|| self.take_number())),
        }
    }

    fn take_number(&mut self) -> usize {
        self.number += 1;
        self.number - 1
    }
}

/// Logs the progress, where reading all sources takes longer than a second.
#[derive(Debug)]
pub struct Progress {
    next: Instant,
    bytes: usize,
}

impl Default for Progress {
    fn default() -> Self {
        Self { next: Instant::now() + PROGRESS_AFTER, bytes: 0 }
    }
}

impl Progress {
    fn add(&mut self, source: &Source, bytes: usize) {
        self.bytes += bytes;
        if Instant::now() >= self.next {
            self.next = Instant::now() + PROGRESS_EVERY;
            tracing::info!("read {} MB, now {source}", self.bytes / 1_000_000);
        }
    }
}
