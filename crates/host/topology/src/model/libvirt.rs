//! What is said of a node that is a domain of libvirt.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A domain; one of `domain` and `xml` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Libvirt {
    /// Where its libvirt is; `None` is QEMU's of this machine, `qemu:///system`.
    pub uri: Option<String>,
    /// Name or UUID of a domain that is there, and stays.
    pub domain: Option<String>,
    /// Definition of a domain that comes and goes with the node; absolute.
    pub xml: Option<PathBuf>,
}
