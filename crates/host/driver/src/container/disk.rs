//! What is done to the disk of a node that does not run.

use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;
use vnode_monitor::overlay::{self, Part};
use vnode_monitor::wire;

use super::connection::{connect_in, open_dir};
use super::instance::{self, Container};
use super::snapshot::Snapshots;
use super::{ContainerDriver, destroy, followed, make_disk, make_folder, over};
use crate::{Error, Instance, NodeSpec, Result};

impl ContainerDriver {
    /// Makes sure that nothing uses a node's disk.
    async fn at_rest(&self, spec: &NodeSpec, dir: &Path) -> Result<()> {
        let live = match self.live(&Self::key(spec)) {
            Some(live) => Some(live),
            None if connect_in(dir).is_ok() => {
                let (connection, state) = followed::again(&spec.node, dir).await?;
                let group = self.tree.group(&spec.lab, &spec.node);
                Some(Container::new(spec, dir.to_owned(), group, connection, &state, &self.live))
            }
            None => None,
        };
        let running = match &live {
            Some(live) => live.pid().is_some(),
            None => destroy::record(dir).is_some_and(|r| {
                r.init.is_some_and(|i| wire::start_time(i.pid).is_ok_and(|s| s == i.start))
            }),
        };
        if running {
            return Err(Error::Running { node: spec.node.clone() });
        }
        if let Some(live) = live {
            live.settle().await?;
        }
        Ok(())
    }

    /// Work on the disk of a node that neither runs nor is mounted. Dropped, it is cancelled.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        spec: &NodeSpec,
        dir: &Path,
        cancel: &CancellationToken,
        work: impl FnOnce(Snapshots, CancellationToken) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.at_rest(spec, dir).await?;
        if overlay::is_attached(dir).map_err(|e| Error::io("look at the root", e))? {
            return Err(Error::Mounted { node: spec.node.clone(), path: dir.join(wire::ROOT) });
        }
        let snapshots = Snapshots::new(&spec.node, dir, &spec.layers);
        let cancel = cancel.child_token();
        let _cancelled_with_us = cancel.clone().drop_guard();
        instance::blocking(move || work(snapshots, cancel)).await?
    }

    pub(super) async fn mount_now(&self, spec: &NodeSpec, dir: &Path) -> Result<PathBuf> {
        self.at_rest(spec, dir).await?;
        make_folder(spec, dir)?;
        make_disk(spec, dir)?;
        over::prepare(spec, dir)?;
        let (spec, at) = (spec.clone(), dir.to_owned());
        let mounted = instance::blocking(move || {
            let io = |(doing, e): overlay::Failure| Error::io(doing, e);
            let root = at.join(wire::ROOT);
            match std::fs::DirBuilder::new().mode(0o700).create(&root) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::io(format!("make folder {}", root.display()), e));
                }
                _ => {}
            }
            if overlay::is_attached(&at).map_err(|e| Error::io("look at the root", e))? {
                return Ok(root);
            }
            let folder =
                open_dir(&at).map_err(|e| Error::io(format!("open {}", at.display()), e))?;
            let over = over::make(&spec, folder.as_fd()).map_err(io)?;
            let (layers, upper, work) =
                overlay::open_parts(folder.as_fd(), &spec.layers, Part::Root).map_err(io)?;
            let overlay = overlay::make(folder.as_fd(), &layers, &upper, &work).map_err(io)?;
            let target =
                open_dir(&root).map_err(|e| Error::io(format!("open {}", root.display()), e))?;
            let mounted = overlay::attach(overlay, target.as_fd()).map_err(io)?;
            let rest = || {
                // Where the host shares its mounts with others, this one is not for them.
                rustix::mount::mount_change(&root, rustix::mount::MountPropagationFlags::PRIVATE)
                    .map_err(|e| Error::io(format!("make {} private", root.display()), e))?;
                over::attach(&spec, over, mounted.as_fd()).map_err(io)
            };
            if let Err(error) = rest() {
                // A part of the root is worse than none; what cannot be taken away is found by the next unmount.
                let _ = overlay::detach(&at);
                return Err(error);
            }
            Ok(root)
        });
        mounted.await?
    }

    pub(super) async fn unmount_now(&self, dir: &Path) -> Result<()> {
        let at = dir.to_owned();
        let detached = instance::blocking(move || overlay::detach(&at));
        detached
            .await?
            .map_err(|e| Error::io(format!("unmount {}", dir.join(wire::ROOT).display()), e))
    }
}

/// Puts an empty writable layer in the place of the old one, then removes the old one: a crash leaves either
/// the one or the other, and at most a folder that the next call or the node's end removes.
pub(super) fn fresh_disk(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let (upper, work, old) = (dir.join(wire::UPPER), dir.join(wire::WORK), dir.join("upper.old"));
    let remove = |path: &Path| match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    remove(&old)?;
    let kept = match std::fs::metadata(&upper) {
        Ok(kept) => kept,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    std::fs::rename(&upper, &old)?;
    std::fs::create_dir(&upper)?;
    std::os::unix::fs::chown(&upper, Some(kept.uid()), Some(kept.gid()))?;
    std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(kept.mode() & 0o7777))?;
    // The overlay makes its own folder in it again.
    remove(&work.join("work"))?;
    remove(&old)
}
