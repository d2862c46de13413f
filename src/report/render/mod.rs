//! From numbers to text.

mod csv;

pub use csv::write_csv;

use std::io::{self, Write};

use super::totals::Report;

/// Writes a report as one JSON object.
///
/// # Errors
/// When it cannot be written.
pub fn write_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}
