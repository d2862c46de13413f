//! From files to records: one line is one record, and several threads read them.

mod blocks;
mod files;
mod read;
mod record;

pub use blocks::Progress;
pub use files::Source;
pub use read::read_records;
pub use record::{Kind, Record, SessionRecord, Text, parse_time};
