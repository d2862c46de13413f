//! Files, plain or packed, as lines.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use encoding_rs_io::DecodeReaderBytes;
use flate2::bufread::MultiGzDecoder;

/// How much is read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Longest line that can be an event: many times what `maxLineBytes` is by
/// default. More is skipped, so that a file of another kind takes no memory.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

/// A file shorter than this to read needs no word about it.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// Time between two words about the progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// How often the clock is asked.
const LINES_PER_LOOK: u64 = 10_000;

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input, `-` on the command line.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// A source as named on the command line.
    pub fn new(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdin } else { Self::File(path.to_owned()) }
    }

    fn open(&self) -> io::Result<Box<dyn BufRead>> {
        match self {
            Self::Stdin => unpacked(io::stdin().lock()),
            Self::File(path) => unpacked(BufReader::with_capacity(BUFFER_BYTES, File::open(path)?)),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Unpacks what is packed, and makes UTF-8 of UTF-16. The first bytes decide, not
/// the name: stdin has none, and agents rotate files under any.
fn unpacked(mut packed: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut first = Vec::new();
    packed.by_ref().take(4).read_to_end(&mut first)?;
    let is_gzip = first.starts_with(&[0x1f, 0x8b]);
    let is_zstd = first == [0x28, 0xb5, 0x2f, 0xfd];
    let is_utf16 = first.starts_with(&[0xff, 0xfe]) || first.starts_with(&[0xfe, 0xff]);
    let whole = Cursor::new(first).chain(packed);
    Ok(if is_gzip {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole)))
    } else if is_zstd {
        let decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
        Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
    } else if is_utf16 {
        // As the `>` of Windows PowerShell 5.1 writes it.
        Box::new(BufReader::with_capacity(BUFFER_BYTES, DecodeReaderBytes::new(whole)))
    } else {
        Box::new(whole)
    })
}

/// Hands every line that is not blank to `each`.
///
/// # Errors
/// When the source cannot be opened, or ends in the middle of a packed stream.
/// The lines before that were handed over.
pub fn read_lines(source: &Source, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut lines = source.open()?;
    let mut line = Vec::new();
    let mut progress = Progress::new(source);
    loop {
        line.clear();
        let length = lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        progress.line(length);
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
        if !text.is_empty() {
            each(text);
        }
    }
}

struct Progress<'a> {
    source: &'a Source,
    next: Instant,
    lines: u64,
    bytes: u64,
}

impl<'a> Progress<'a> {
    fn new(source: &'a Source) -> Self {
        Self { source, next: Instant::now() + PROGRESS_AFTER, lines: 0, bytes: 0 }
    }

    fn line(&mut self, length: usize) {
        self.lines += 1;
        self.bytes += length as u64;
        if self.lines.is_multiple_of(LINES_PER_LOOK) && Instant::now() >= self.next {
            self.next = Instant::now() + PROGRESS_EVERY;
            let megabytes = self.bytes / 1_000_000;
            tracing::info!("reading {}: {} lines, {megabytes} MB", self.source, self.lines);
        }
    }
}
