//! The group of one node in one tree, and the instance's group above it.
//!
//! Most nodes have a group in one tree of many, and most of what can be asked of a group's folder is known without a look
//! at it: each look that finds nothing costs as much as one that does.

use std::fs;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::inherit_cpuset;
use super::{Result, V1_LIMITS, at, component, write};

/// The instance's group above those of its nodes, in one tree.
#[derive(Debug)]
pub(super) struct Above {
    dir: PathBuf,
    /// Whether groups of nodes can be there: it was there when this process began, or has been made since.
    used: AtomicBool,
    /// Whether it passes on what groups of nodes need of it, held while groups are made: one that is made elsewhere
    /// meanwhile would lack controllers.
    passes_on: Mutex<bool>,
}

impl Above {
    /// The group of an instance below our own.
    pub(super) fn below(own: &Path, instance: &str) -> Arc<Self> {
        let dir = own.join(format!("vnode-{}", component(instance)));
        let used = AtomicBool::new(dir.is_dir());
        Arc::new(Self { dir, used, passes_on: Mutex::new(false) })
    }

    /// The group that it is below.
    #[cfg(test)]
    pub(super) fn own(&self) -> &Path {
        self.dir.parent().expect("it was joined to it")
    }

    pub(super) fn place(self: &Arc<Self>, name: &str) -> Place {
        Place { dir: self.dir.join(name), above: Arc::clone(self) }
    }
}

/// The group of one node in one tree, whether it is there or not.
#[derive(Debug, Clone)]
pub(in crate::container) struct Place {
    dir: PathBuf,
    above: Arc<Above>,
}

impl Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.dir
    }
}

impl Place {
    /// Whether the group is there.
    pub(super) fn is_there(&self) -> bool {
        self.may_be_there() && self.dir.is_dir()
    }

    /// `false`: neither this group nor any other of the instance's is there.
    pub(super) fn may_be_there(&self) -> bool {
        self.above.used.load(Ordering::Acquire)
    }

    /// Makes the group and the instance's above it; true when it was not there.
    pub(super) fn ensure(&self) -> Result<bool> {
        let mut passes_on = self.above.passes_on.lock().unwrap_or_else(PoisonError::into_inner);
        self.above.used.store(true, Ordering::Release);
        let parent = &self.above.dir;
        // The instance's group may be removed by the end of another node at any moment.
        for _ in 0..100 {
            // An earlier process of ours may not have come as far.
            if !*passes_on && parent.is_dir() {
                match pass_on(parent) {
                    Err(_) if !parent.is_dir() => {}
                    other => {
                        other?;
                        *passes_on = true;
                    }
                }
            }
            match fs::create_dir(&self.dir) {
                Ok(()) => return Ok(true),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return at(&self.dir, "make cgroup", Err(e)),
            }
            match fs::create_dir(parent) {
                Ok(()) => *passes_on = false,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return at(parent, "make cgroup", Err(e)),
            }
        }
        at(&self.dir, "make cgroup", Err(ErrorKind::NotFound.into()))
    }

    /// Takes the instance's group away if this was its last node's.
    pub(super) fn leave(&self) {
        // Other nodes' groups in it keep it.
        let _ = fs::remove_dir(&self.above.dir);
    }
}

/// Gives a new instance's group what nodes' groups need of it.
fn pass_on(parent: &Path) -> Result<()> {
    if parent.join("cpuset.mems").exists() && !parent.join("cgroup.controllers").exists() {
        return inherit_cpuset(parent);
    }
    if let Ok(controllers) = fs::read_to_string(parent.join("cgroup.controllers")) {
        let wanted: Vec<String> = controllers
            .split_whitespace()
            .filter(|c| V1_LIMITS.contains(c))
            .map(|c| format!("+{c}"))
            .collect();
        if !wanted.is_empty() {
            return write(&parent.join("cgroup.subtree_control"), &wanted.join(" "));
        }
    }
    Ok(())
}
