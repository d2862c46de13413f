//! From numbers to text.

mod chart;
mod csv;
mod html;
mod scale;

pub use csv::write_csv;

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::totals::Report;

/// Writes a report as one HTML page.
///
/// # Errors
/// When it cannot be written.
pub fn write_html(report: &Report, zone: &TimeZone, out: &mut impl Write) -> io::Result<()> {
    out.write_all(html::page(report, zone).as_bytes())
}

/// Writes a report as one JSON object.
///
/// # Errors
/// When it cannot be written.
pub fn write_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}
