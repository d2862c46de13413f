//! What a list of the repository service means here: which address each node has
//! from this machine, and which virtual proxies are targets.

mod addresses;
mod node;

pub use addresses::Addresses;
pub use node::{Node, Resolved, resolve};
