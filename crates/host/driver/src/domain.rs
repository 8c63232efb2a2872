//! What a node that is a domain of libvirt is made of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A domain, every default filled in, every path absolute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    /// Where its libvirt is, such as `qemu:///system`.
    pub uri: String,
    pub source: DomainSource,
    /// Virtual processors, in place of what the file says.
    pub cpus: Option<u32>,
    /// Memory, in place of what the file says.
    pub memory_bytes: Option<u64>,
    pub ready: crate::Ready,
    /// How long a boot waits for [`Domain::ready`], milliseconds.
    pub ready_timeout_ms: u64,
}

/// Where a domain comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainSource {
    /// It is there, under this name or UUID, and stays when the node is destroyed.
    Adopt(String),
    /// It is defined from this file, and undefined when the node is destroyed.
    Define(PathBuf),
}
