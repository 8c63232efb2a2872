//! Bodies of requests and answers that are the API's own. What the lifecycle shows (`vnode_lifecycle::view`)
//! and takes (`vnode_lifecycle::request`) goes through as it is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::Problem;
use crate::shape;

/// Bring a lab up, or make one what its topology says.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Topology {
    /// Text of the topology file.
    pub text: String,
    /// Where the text comes from, for messages and for `vnode ps`; an absolute path on the daemon's host.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub file: Option<PathBuf>,
    /// Folder that relative paths in the file start from; an absolute path on the daemon's host.
    /// Without it a relative path is an error.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub base: Option<PathBuf>,
    /// Variables for `${NAME}` in the text.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Branch checked out around the file, for `__gitBranch__`.
    #[serde(default)]
    pub git_branch: Option<String>,
    /// Commit checked out around the file, for `__gitHash__`.
    #[serde(default)]
    pub git_hash: Option<String>,
    /// Start the nodes as well; `false` makes and wires them only.
    #[serde(default = "yes")]
    pub boot: bool,
}

fn yes() -> bool {
    true
}

/// Long work that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Its operation: `GET /v1/operations/{id}/follow`.
    pub operation: String,
    /// What should be known but stops nothing, e.g. findings in the topology file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How an operation ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Ended {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub summary: vnode_operation::Summary,
    /// Why it is not wholly done; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What `apply` does, or would do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    #[schema(value_type = Vec<shape::ChangeView>)]
    pub changes: Vec<vnode_lifecycle::view::ChangeView>,
    /// Absent when nothing differs, and with `dry-run`.
    pub operation: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The folder a node's root is mounted at.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Mounted {
    pub path: String,
}

/// An image to bring in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Pull {
    /// e.g. `docker.io/library/debian:12`.
    pub image: String,
}

/// An archive of the daemon's host to bring in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Import {
    /// Absolute path of a tarball, an OCI layout or a `docker save` archive.
    pub path: String,
    /// Name it is known by from now on.
    pub name: String,
}

/// Images that went.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    pub removed: Vec<String>,
}

/// A token to make.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenName {
    pub name: String,
}

/// What runs here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Of the daemon.
    pub version: String,
    /// Of this API; grows with every addition, `v1` in the path does not.
    pub api: u32,
    /// Process id of the daemon.
    pub pid: u32,
    /// Seconds the daemon has been running.
    pub uptime_s: u64,
    #[serde(default)]
    pub state_dir: String,
}

/// Restricts a listing to one lab.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfLab {
    /// Only this lab.
    pub lab: Option<String>,
}

/// How to take a lab down.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DownParams {
    /// Ask the nodes to end and wait their grace first; otherwise they are killed.
    #[serde(default)]
    pub graceful: bool,
}

/// How far to go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DryRun {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// How to halt.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HaltParams {
    /// Milliseconds between asking and killing; the node's own when absent.
    pub grace_ms: Option<u64>,
}

/// How to reboot.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RebootParams {
    /// Kill instead of asking.
    #[serde(default)]
    pub hard: bool,
}

/// How to destroy.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DestroyParams {
    /// Also a node in state `unknown`.
    #[serde(default)]
    pub force: bool,
}

/// Which part of the console log.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogParams {
    /// Go on until the node is destroyed.
    #[serde(default)]
    pub follow: bool,
    /// Only the last bytes.
    pub tail_bytes: Option<u64>,
}

/// A path in a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FileParams {
    /// Absolute path inside the node.
    pub path: String,
}

/// What to capture.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CaptureParams {
    /// Interface as the node calls it.
    pub interface: String,
    /// Bytes kept of each frame; 262144 when absent.
    pub snap_length: Option<u32>,
}

/// Which images go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GcParams {
    /// Those that nobody used for so many seconds; 0 is all unused.
    #[serde(default)]
    pub unused_s: u64,
}
