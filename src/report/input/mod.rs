//! From files to records, one line at a time.

mod files;
mod record;

pub use files::{Source, read_lines};
pub use record::{Kind, Record, SessionRecord, Text, parse_time};
