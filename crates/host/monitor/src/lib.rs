//! The monitor of one node, and the words it is spoken to with.
//!
//! The library half holds what daemon and monitor share: [`wire`] (requests, answers, events), [`packet`]
//! (one JSON text and descriptors in one SEQPACKET message) and [`overlay`] (the root of a node from its
//! layers). The program half is `vnode-monitor`: started once by the daemon as *spawner*, it forks one
//! *monitor* for each node, which outlives spawner and daemon.

pub mod overlay;
pub mod packet;
pub mod wire;
