//! Words that more than one part of vnode speaks: impairments of links, frames of a running command, how an error reads.
//!
//! Pure data: nothing here does I/O on its own or knows what a node is.

mod chain;
pub mod frame;
pub mod impairment;

pub use chain::chain;
