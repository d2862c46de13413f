//! Files, plain or packed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
};

use encoding_rs_io::DecodeReaderBytes;
use flate2::bufread::MultiGzDecoder;

/// How much of a file is read at once.
const BUFFER_BYTES: usize = 256 * 1024;

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

    /// Its text in UTF-8.
    ///
    /// # Errors
    /// When it cannot be opened, or its first bytes cannot be read.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Stdin => unpacked(BufReader::with_capacity(BUFFER_BYTES, io::stdin())),
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

/// Unpacks a compressed source, and converts UTF-16 to UTF-8. The first bytes decide,
/// not the name: stdin has none, and agents give rotated files any name.
fn unpacked(mut packed: impl BufRead + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut first = Vec::new();
    packed.by_ref().take(4).read_to_end(&mut first)?;
    let is_gzip = first.starts_with(&[0x1f, 0x8b]);
    let is_zstd = first == [0x28, 0xb5, 0x2f, 0xfd];
    let is_utf16 = first.starts_with(&[0xff, 0xfe]) || first.starts_with(&[0xfe, 0xff]);
    let whole = Cursor::new(first).chain(packed);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if is_zstd {
        Box::new(zstd::stream::read::Decoder::with_buffer(whole)?)
    } else if is_utf16 {
        // As the `>` of Windows PowerShell 5.1 writes it.
        Box::new(DecodeReaderBytes::new(whole))
    } else {
        Box::new(whole)
    })
}
