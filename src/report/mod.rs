//! `report`: recorded events become one page, or its numbers.
//!
//! The folders, in the order in which the data passes through them:
//!
//! | module | does |
//! |---|---|
//! | [`input`] | opens files, unpacks them, reads each line as a [`input::Record`] |
//! | [`totals`] | keeps what the lines say, then counts: a [`totals::Report`] |
//! | [`render`] | writes a report as HTML, JSON or CSV |

pub mod input;
pub mod render;
pub mod totals;
