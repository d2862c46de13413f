//! From records to numbers: `store` keeps each fact once, `timeline` puts the
//! polls in order, `visits` says who was there when, `count` counts.

mod at_time;
mod count;
mod failures;
mod ranges;
mod report;
mod sessions;
mod spans;
mod store;
mod timeline;
mod users;
mod visits;

pub use count::{Question, count};
pub use report::*;
pub use store::{Store, Time};
