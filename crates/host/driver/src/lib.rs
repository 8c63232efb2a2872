//! Drivers: what turns a resolved node definition into a running virtual node.
//!
//! A driver knows nothing of labs, topology files, links or the store. It is given a [`NodeSpec`] with every
//! default filled in and a folder of its own, and answers with an [`Instance`] handle. Adding a driver is
//! adding a folder beside `container/` and one arm in [`open`](registry).

pub mod spec;

pub use spec::*;
