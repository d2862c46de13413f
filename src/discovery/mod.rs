//! From a list of the repository service to targets: which address each node has for
//! this machine, and which virtual proxies are polled.

mod comparison;
mod difference;
mod known;
mod matching;
mod node;
mod targets;

pub use comparison::{ComparedNode, Comparison, ListedSite, State};
pub use difference::{Difference, Links};
pub use known::{KnownList, SavedInquiry};
pub use node::{Node, Resolved, list_site, resolve};
pub use targets::{AllTargets, all_targets, hosts_to_resolve};
