//! What a step does, as it stands in a plan.

use serde::{Deserialize, Serialize};

use crate::record::{Before, ControlEnd, EndRecord, LinkRecord};

/// The work of one step. Names lead to records; what will no longer be recorded is carried whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Work {
    /// Kernel parameters of the host; inverse: put back, when this was the last lab.
    HostPrepare,
    HostRestore,
    /// The control network's bridge and rules, the lab's hosts file.
    ControlEnsure {
        lab: String,
    },
    ControlRemove {
        lab: String,
    },
    ImageEnsure {
        lab: String,
        image: String,
        policy: vnode_image::PullPolicy,
        /// Who is made from it, for people.
        #[serde(default)]
        nodes: Vec<String>,
    },
    ImageImport {
        reference: String,
        name: String,
    },
    /// Signed lists: refresh, then a run of the cache.
    ImageLists {
        request: Box<vnode_imagelist::site::Request>,
    },
    /// `keep`: the node was here before this operation, so its disk is not this operation's to remove.
    NodeCreate {
        lab: String,
        node: String,
        #[serde(default)]
        keep: bool,
    },
    /// `control`: what the node has now, where its record says already what it shall have.
    NodeDestroy {
        lab: String,
        node: String,
        #[serde(default)]
        control: Option<Box<ControlEnd>>,
    },
    /// The node's interface on the control network.
    NodeControl {
        lab: String,
        node: String,
    },
    NodeBoot {
        lab: String,
        node: String,
    },
    NodeHalt {
        lab: String,
        node: String,
        grace_ms: Option<u64>,
    },
    /// A machine's memory is kept with its disk, and it ends.
    NodeSave {
        lab: String,
        node: String,
    },
    /// Startup commands and stage hooks.
    NodeConfigure {
        lab: String,
        node: String,
    },
    /// Waits until the node's health check passes.
    NodeHealthy {
        lab: String,
        node: String,
    },
    /// Waits until the node's first process ends.
    NodeExited {
        lab: String,
        node: String,
    },
    /// New definition, fresh disk; namespace and links stay. A node that does not come up so becomes what it was before.
    NodeRenew {
        lab: String,
        node: String,
        before: Box<Before>,
    },
    NodeLimits {
        lab: String,
        node: String,
    },
    LinkCreate {
        lab: String,
        link: String,
    },
    LinkRemove {
        record: Box<LinkRecord>,
    },
    /// Parameters to those of the record, in place.
    LinkSet {
        lab: String,
        link: String,
    },
    LanEnsure {
        lab: String,
        lan: String,
    },
    /// Nothing but the sign that the members of a large LAN have joined: their nodes boot after it.
    LanWired {
        lab: String,
        lan: String,
    },
    LanJoin {
        lab: String,
        lan: String,
        end: usize,
    },
    LanLeave {
        lab: String,
        #[serde(default)]
        lan: String,
        end: Box<EndRecord>,
    },
    LanRemove {
        record: Box<LinkRecord>,
    },
    /// A copy of a stopped node's disk under a name; inverse: removed, when this operation took it.
    NodeSnapshot {
        lab: String,
        node: String,
        name: String,
    },
    NodeRestore {
        lab: String,
        node: String,
        name: String,
    },
    SnapshotRemove {
        lab: String,
        node: String,
        name: String,
    },
    /// Waits until the kernel has let go of all that was removed.
    Settle {
        ports: Vec<String>,
    },
}

impl Work {
    /// Class of the step, for fault points and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HostPrepare => "host.prepare",
            Self::HostRestore => "host.restore",
            Self::ControlEnsure { .. } => "control.ensure",
            Self::ControlRemove { .. } => "control.remove",
            Self::ImageEnsure { .. } => "image.ensure",
            Self::ImageImport { .. } => "image.import",
            Self::ImageLists { .. } => "image.lists",
            Self::NodeCreate { .. } => "node.create",
            Self::NodeDestroy { .. } => "node.destroy",
            Self::NodeControl { .. } => "node.control",
            Self::NodeBoot { .. } => "node.boot",
            Self::NodeHalt { .. } => "node.halt",
            Self::NodeSave { .. } => "node.save",
            Self::NodeConfigure { .. } => "node.configure",
            Self::NodeHealthy { .. } => "node.healthy",
            Self::NodeExited { .. } => "node.exited",
            Self::NodeRenew { .. } => "node.renew",
            Self::NodeLimits { .. } => "node.limits",
            Self::NodeSnapshot { .. } => "node.snapshot",
            Self::NodeRestore { .. } => "node.restore",
            Self::SnapshotRemove { .. } => "snapshot.remove",
            Self::LinkCreate { .. } => "link.create",
            Self::LinkRemove { .. } => "link.remove",
            Self::LinkSet { .. } => "link.set",
            Self::LanEnsure { .. } => "lan.ensure",
            Self::LanWired { .. } => "lan.wired",
            Self::LanJoin { .. } => "lan.join",
            Self::LanLeave { .. } => "lan.leave",
            Self::LanRemove { .. } => "lan.remove",
            Self::Settle { .. } => "lab.settle",
        }
    }

    /// For people.
    pub fn name(&self) -> String {
        match self {
            Self::HostPrepare => "prepare the host".to_owned(),
            Self::HostRestore => "restore the host".to_owned(),
            Self::ControlEnsure { lab } => format!("control network of lab `{lab}`"),
            Self::ControlRemove { lab } => format!("remove control network of lab `{lab}`"),
            Self::ImageEnsure { image, nodes, .. } => match nodes.as_slice() {
                [] => format!("image `{image}`"),
                [node] => format!("image `{image}` of node `{node}`"),
                [node, others @ ..] if others.len() > 3 => {
                    format!("image `{image}` of node `{node}` and {} others", others.len())
                }
                nodes => format!("image `{image}` of nodes `{}`", nodes.join("`, `")),
            },
            Self::ImageImport { reference, name } => format!("import `{reference}` as `{name}`"),
            Self::ImageLists { request } if request.refresh => {
                "signed lists and their images".to_owned()
            }
            Self::ImageLists { .. } => "images of signed lists".to_owned(),
            Self::NodeCreate { node, .. } => format!("create node `{node}`"),
            Self::NodeDestroy { node, .. } => format!("destroy node `{node}`"),
            Self::NodeControl { node, .. } => format!("control interface of node `{node}`"),
            Self::NodeBoot { node, .. } => format!("boot node `{node}`"),
            Self::NodeHalt { node, .. } => format!("halt node `{node}`"),
            Self::NodeSave { node, .. } => format!("save node `{node}`"),
            Self::NodeConfigure { node, .. } => format!("configure node `{node}`"),
            Self::NodeHealthy { node, .. } => format!("wait for node `{node}` to be healthy"),
            Self::NodeExited { node, .. } => format!("wait for node `{node}` to exit"),
            Self::NodeRenew { node, .. } => format!("renew node `{node}`"),
            Self::NodeLimits { node, .. } => format!("set limits of node `{node}`"),
            Self::NodeSnapshot { node, name, .. } => format!("snapshot `{name}` of node `{node}`"),
            Self::NodeRestore { node, name, .. } => {
                format!("restore node `{node}` from snapshot `{name}`")
            }
            Self::SnapshotRemove { node, name, .. } => {
                format!("remove snapshot `{name}` of node `{node}`")
            }
            Self::LinkCreate { link, .. } => format!("link `{link}`"),
            Self::LinkRemove { record } => format!("remove link `{}`", record.link),
            Self::LinkSet { link, .. } => format!("set link `{link}`"),
            Self::LanEnsure { lan, .. } => format!("LAN `{lan}`"),
            Self::LanWired { lan, .. } => format!("members of LAN `{lan}`"),
            Self::LanJoin { lan, end, .. } => format!("member {end} of LAN `{lan}`"),
            Self::LanLeave { end, .. } => format!("`{}` leaves its LAN", end.name()),
            Self::LanRemove { record } => format!("remove LAN `{}`", record.link),
            Self::Settle { .. } => "wait for the kernel to let go".to_owned(),
        }
    }
}

/// The group of the step that brings an image.
pub(crate) fn group_of_image(image: &str) -> String {
    format!("image {image}")
}

/// The image that the step of this group brings.
pub(crate) fn image_of(group: &str) -> Option<&str> {
    group.strip_prefix("image ")
}
