//! The image `host`: the machine's own root, read-only under an overlay, with its secrets masked.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalogue::Inner;
use crate::{Error, HostOptions, Image};

/// A folder of the host's root that lies on another file system, which an overlay of `/` does not show.
///
/// Whoever makes the node's root mounts, after the root and in this order, one more overlay of `layers` at `target`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraOverlay {
    /// Absolute path inside the node, e.g. `/usr`.
    pub target: PathBuf,
    /// Uppermost first.
    pub layers: Vec<PathBuf>,
}

/// What the mask does to one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskAction {
    /// The folder is there and empty.
    Emptied,
    /// The file is gone.
    Removed,
    /// The file is there with its secrets taken out.
    Sanitised,
}

/// One line of the mask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskEntry {
    pub path: PathBuf,
    pub action: MaskAction,
    /// Why, for people.
    pub why: String,
}

/// All that the image `host` hides on this machine, for `vnode doctor` and the documentation. Changes nothing.
pub fn describe_host_mask(_options: &HostOptions) -> Result<Vec<MaskEntry>, Error> {
    Ok(Vec::new())
}
pub(crate) async fn ensure(_inner: &Arc<Inner>) -> Result<Image, Error> {
    Err(Error::Unknown { name: "host".into() })
}
pub(crate) fn collect(_inner: &Inner, _in_use: &HashSet<String>) -> Result<(), Error> {
    Ok(())
}
