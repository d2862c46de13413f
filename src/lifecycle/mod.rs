//! Who came and who left: the difference between a target's successive good
//! answers, and the file that keeps what was seen across restarts.

mod known;
mod lock;
mod state;

pub use known::{Changes, Known, KnownSession, Seen};
pub use state::{
    RecentChanges, Saved, SavedTarget, SiteState, StateError, StateFile, TargetId, TargetState,
};
