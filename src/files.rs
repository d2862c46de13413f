//! Reads files up to a limit: a wrong path must not fill the memory.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// The operating system's, or that the file is too large.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it has more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}
