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

/// A signed image list to follow.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ListSubscribe {
    /// `http`, `https` or `file`.
    pub uri: String,
    /// Make an endorser of whoever signed it, when there is none with that certificate.
    pub auto_endorse: bool,
    /// Identifiers of images to keep in the cache.
    pub want: Vec<String>,
    /// Keep all of them in the cache.
    pub want_all: bool,
    pub change: ListChange,
}

/// What a site chooses for one list; what is absent stays as it is.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ListChange {
    /// What is done with images the list did not have: `refuse`, `accept`, `subscribe`.
    pub new_images: Option<String>,
    /// Not refreshed; its images stay as they are.
    pub paused: Option<bool>,
    /// File of the daemon's host whose first line is `user:password`; empty for none.
    pub credential_file: Option<String>,
    /// File of the daemon's host with the public key (PEM) that artefacts of a registry must be signed with; empty for
    /// none.
    pub key_file: Option<String>,
    /// User and password themselves; kept in the daemon's store, never shown.
    pub credential: Option<(String, String)>,
    /// Withdraw what has expired.
    pub enforce_expiry: Option<bool>,
    /// Fetch from where the list says it is, on the same host.
    pub follow_list_uri: Option<bool>,
    /// Accept signatures over SHA-1.
    pub allow_sha1: Option<bool>,
    /// Accept signers whose certificate is for servers or clients.
    pub allow_any_eku: Option<bool>,
    /// Refuse another message of the same version.
    pub strict_version: Option<bool>,
}

impl std::fmt::Debug for ListChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListChange").finish_non_exhaustive()
    }
}

/// Somebody who may sign lists.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EndorserNew {
    pub id: String,
    /// Subject and issuer of each certificate, in OpenSSL's one-line form.
    pub principals: Vec<(String, String)>,
}

/// Images of lists to want, or to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ListImages {
    pub images: Vec<ImageSelection>,
    /// Keep them in the cache (the default), or no longer.
    pub subscribed: Option<bool>,
    /// Instead: list images that the policy for new images refused, or forget listed ones.
    pub admitted: Option<bool>,
}

/// Images by what is given of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImageSelection {
    pub list: Option<String>,
    pub identifier: Option<String>,
    pub sha512: Option<String>,
}

/// An installation of vmcatcher on the daemon's host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Migrate {
    /// Path of its SQLite database.
    pub database: String,
    /// Its cache folder; the files that can be believed are moved.
    pub cache: Option<String>,
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

/// A level that a node has reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reached {
    pub node: String,
    /// `accepted`, `created`, `started`, `reachable`, `ready`.
    pub level: String,
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

/// What to clean.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CleanParams {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Give up this lab's records that cannot be read, and all that they may speak of: disks too.
    pub lab: Option<String>,
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
    /// Have the node's agent do it, instead of doing it from outside.
    #[serde(default)]
    #[param(required = false)]
    pub agent: bool,
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
