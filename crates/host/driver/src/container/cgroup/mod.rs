//! Control groups of nodes, on whatever tree the machine has.
//!
//! ```text
//!  pure v2     OWN/vnode-INSTANCE/LAB:NODE                  membership, kill, freeze and limits
//!  hybrid      UNIFIED/OWN/vnode-INSTANCE/LAB:NODE          membership, kill, freeze
//!              V1/CONTROLLER/OWN/vnode-INSTANCE/LAB:NODE    limits; made only when a limit asks for it
//!  pure v1     V1/freezer/...                               membership, freeze; the rest as above
//!              V1/devices/...                               devices; on v2 a program confines them
//! ```
//!
//! Programs that work for a node and are none of its own have `LAB:NODE:WHAT` beside the node's.
//!
//! `OWN` is the daemon's own group in that tree: a node's use counts as the daemon's, and whoever limits the
//! daemon limits its nodes. Names say whose a group is, and the attribute [`MARK`] which operation made it (R-15).

mod group;
mod limits;
mod place;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use group::Group;
use place::{Above, Place};
use vnode_processes::Places;

/// Extended attribute of a node's group with its mark. Of the `trusted` ones: no process in a node can write it.
const MARK: &str = "trusted.vnode";

/// v1 controllers that limits are kept in.
const V1_LIMITS: [&str; 4] = ["memory", "cpu", "cpuset", "pids"];
/// v1 controllers of other use.
const V1_OTHERS: [&str; 3] = ["freezer", "cpuacct", "devices"];

/// Where this machine keeps control groups, and where in them this process is.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// The instance's group in the v2 tree.
    v2: Option<Arc<Above>>,
    /// Controllers that groups of nodes can have in the v2 tree.
    v2_controllers: Arc<[String]>,
    /// The instance's group for each v1 controller.
    v1: BTreeMap<&'static str, Arc<Above>>,
}

/// What went wrong and where.
pub(super) type Failure = (String, io::Error);
type Result<T, E = Failure> = std::result::Result<T, E>;

fn at<T>(path: &Path, doing: &str, result: io::Result<T>) -> Result<T> {
    result.map_err(|e| (format!("{doing} {}", path.display()), e))
}

fn write(path: &Path, text: &str) -> Result<()> {
    // Not fs::write: a control file is never to be created.
    let opened = fs::OpenOptions::new().write(true).open(path);
    let written = opened.and_then(|mut f| io::Write::write_all(&mut f, text.as_bytes()));
    at(path, &format!("write `{text}` to"), written)
}

fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A name that is one path component and reads as what it names.
fn component(text: &str) -> String {
    use std::fmt::Write;
    let mut name = String::new();
    for byte in text.bytes() {
        // `.` first would hide it or be the folder itself; `:` parts lab and node.
        if byte.is_ascii_alphanumeric()
            || b"_-".contains(&byte)
            || (byte == b'.' && !name.is_empty())
        {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").expect("a String takes everything");
        }
    }
    name
}

impl Tree {
    /// Looks at the mounts and at our own place.
    pub(super) fn detect(instance: &str) -> Result<Self> {
        let places = Places::detect().map_err(|(path, error)| (format!("read {path}"), error))?;
        let own = places.v2.clone();
        let mut tree = Self::of(places, instance);
        if let Some(own) = own {
            tree.v2_controllers = delegate(&own).into();
            if tree.v2_controllers.is_empty() && tree.v1.is_empty() {
                // Started from somebody's session, whose group holds other processes and so cannot pass
                // controllers on: nodes' groups then stand at the top, where the system's manager has them on.
                let top = top_of(&own);
                tree.v2_controllers = delegated(&top).into();
                if !tree.v2_controllers.is_empty() {
                    tree.v2 = Some(Above::below(&top, instance));
                }
            }
        }
        Ok(tree)
    }

    fn of(Places { v2, v1 }: Places, instance: &str) -> Self {
        let names = V1_LIMITS.into_iter().chain(V1_OTHERS);
        let v1 = names.filter_map(|name| Some((name, Above::below(v1.get(name)?, instance))));
        let v2 = v2.map(|own| Above::below(&own, instance));
        Self { v2, v2_controllers: Arc::default(), v1: v1.collect() }
    }

    /// `v2`, `hybrid`, `v1` or `none`.
    pub(super) fn kind(&self) -> &'static str {
        match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => "v2",
            (Some(_), false) => "hybrid",
            (None, false) => "v1",
            (None, true) => "none",
        }
    }

    /// Limits that can be set.
    pub(super) fn limits(&self) -> Vec<String> {
        V1_LIMITS
            .iter()
            .filter(|c| self.v2_controllers.iter().any(|v| v == *c) || self.v1.contains_key(**c))
            .map(|c| (*c).to_owned())
            .collect()
    }

    /// Whether devices can be confined: by a program on the v2 group, or by the v1 controller.
    pub(super) fn confines_devices(&self) -> bool {
        self.v2.is_some() || self.v1.contains_key("devices")
    }

    /// The groups of one node; nothing is made yet.
    pub(super) fn group(&self, lab: &str, node: &str) -> Group {
        self.named(&format!("{}:{}", component(lab), component(node)))
    }

    /// The groups of programs beside a node.
    pub(super) fn beside(&self, lab: &str, node: &str, what: &str) -> Group {
        self.named(&format!("{}:{}:{}", component(lab), component(node), component(what)))
    }

    fn named(&self, name: &str) -> Group {
        Group {
            v2: self.v2.as_ref().map(|above| above.place(name)),
            v2_controllers: Arc::clone(&self.v2_controllers),
            v1: self.v1.iter().map(|(c, above)| (*c, above.place(name))).collect(),
        }
    }
}

/// The uppermost group that shows from here.
fn top_of(own: &Path) -> PathBuf {
    let groups = own.ancestors().take_while(|dir| dir.join("cgroup.controllers").exists());
    groups.last().unwrap_or(own).to_owned()
}

/// Controllers of limits that a group passes on, switched on where that can be done without moving anybody.
fn delegated(group: &Path) -> Vec<String> {
    let words = |file: &str| -> Vec<String> {
        fs::read_to_string(group.join(file))
            .map(|t| t.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    };
    for controller in words("cgroup.controllers") {
        if V1_LIMITS.contains(&controller.as_str()) {
            // One that cannot be had does not show in what is read back.
            let _ = write(&group.join("cgroup.subtree_control"), &format!("+{controller}"));
        }
    }
    let on = words("cgroup.subtree_control");
    on.into_iter().filter(|c| V1_LIMITS.contains(&c.as_str())).collect()
}

/// Turns controllers on for groups below ours, and gives those that are on. On a pure v2 tree a group with
/// processes may not have them, so this process moves to a leaf of its own first.
fn delegate(own: &Path) -> Vec<String> {
    let words = |file: &str| -> Vec<String> {
        fs::read_to_string(own.join(file))
            .map(|t| t.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let wanted: Vec<String> = words("cgroup.controllers")
        .into_iter()
        .filter(|c| V1_LIMITS.contains(&c.as_str()))
        .collect();
    let on = words("cgroup.subtree_control");
    if wanted.iter().all(|w| on.contains(w)) {
        return wanted;
    }
    let turn_on = || {
        let text: Vec<String> = wanted.iter().map(|w| format!("+{w}")).collect();
        write(&own.join("cgroup.subtree_control"), &text.join(" "))
    };
    if turn_on().is_err() {
        let leaf = own.join("vnode-daemon");
        // What fails here shows in the list read back below: limits that cannot be kept are refused by name.
        let _ = fs::create_dir(&leaf);
        let _ = write(&leaf.join("cgroup.procs"), &std::process::id().to_string());
        let _ = turn_on();
    }
    let on = words("cgroup.subtree_control");
    wanted.into_iter().filter(|w| on.contains(w)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn each_kind_of_tree_is_known_by_what_it_has() {
        let tree = |mounts: &str, own: &str| Tree::of(Places::from_texts(mounts, own), "i");
        let hybrid = tree(HYBRID, "4:memory:/a/b\n1:cpu,cpuacct:/\n5:name=systemd:/\n0::/\n");
        assert_eq!(hybrid.kind(), "hybrid");
        assert_eq!(hybrid.limits(), ["memory", "cpu"]);
        assert_eq!(hybrid.v1.into_keys().collect::<Vec<_>>(), ["cpu", "cpuacct", "memory"]);
        let pure = tree(
            "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "0::/system.slice/vnode.service\n",
        );
        assert_eq!(pure.kind(), "v2");
        assert_eq!(
            pure.v2.as_ref().map(|above| above.own()),
            Some(Path::new("/sys/fs/cgroup/system.slice/vnode.service"))
        );
        assert_eq!(tree("", "0::/\n").kind(), "none");
    }

    #[test]
    fn names_are_one_component_and_distinct() {
        assert_eq!(component("a.b-c_d"), "a.b-c_d");
        assert_eq!(component("../x"), "%2e%2e%2fx".replace("%2e%2e", "%2e."));
        assert_ne!(component("a:b"), component("a/b"));
        assert_eq!(component("."), "%2e");
    }
}
