//! What a list of the repository service means here: which address each node has
//! from this machine, and which virtual proxies are targets.

mod known;
mod matching;
mod node;
mod targets;

pub use known::{KnownList, SavedInquiry};
pub use matching::{is_same, is_same_host};
pub use node::{Node, Resolved, list_site, resolve};
pub use targets::{all_targets, hosts_to_resolve};
