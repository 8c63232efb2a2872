//! What is done to the disk of a node that does not run.

use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;
use vnode_monitor::overlay::{self, Part};
use vnode_monitor::wire;

use super::connection::{connect_in, open_dir};
use super::instance::{self, Container};
use super::snapshot::Snapshots;
use super::{ContainerDriver, aside, destroy, fail, followed, make, make_folder, over};
use crate::{Error, Instance, NodeSpec, OldDisk, Result};

impl ContainerDriver {
    /// Makes sure that nothing uses a node's disk.
    async fn at_rest(&self, spec: &NodeSpec, dir: &Path) -> Result<()> {
        let live = match self.live(&Self::key(spec)) {
            Some(live) => Some(live),
            None if connect_in(dir).is_ok() => {
                let (connection, state) = followed::again(&spec.node, dir).await?;
                let group = self.tree.group(&spec.lab, &spec.node);
                let frozen = group.is_frozen();
                let dir = dir.to_owned();
                Some(Container::new(spec, dir, group, connection, &state, &self.live, frozen))
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
        self.at_rest_unmounted(spec, dir).await?;
        let snapshots = Snapshots::new(&spec.node, dir, &spec.layers);
        let cancel = cancel.child_token();
        let _cancelled_with_us = cancel.clone().drop_guard();
        instance::blocking(move || work(snapshots, cancel)).await?
    }

    /// The root is not mounted, and no overlay of an earlier run holds the disk.
    async fn at_rest_unmounted(&self, spec: &NodeSpec, dir: &Path) -> Result<()> {
        self.at_rest(spec, dir).await?;
        if overlay::is_attached(dir).map_err(|e| Error::io("look at the root", e))? {
            return Err(Error::Mounted { node: spec.node.clone(), path: dir.join(wire::ROOT) });
        }
        Ok(())
    }

    pub(super) async fn old_disk_now(
        &self,
        spec: &NodeSpec,
        dir: &Path,
        what: OldDisk,
    ) -> Result<()> {
        if what != OldDisk::Drop {
            self.at_rest_unmounted(spec, dir).await?;
        }
        let (spec, dir) = (spec.clone(), dir.to_owned());
        let work = move || match what {
            OldDisk::SetAside => aside::set(&spec, &dir),
            OldDisk::PutBack => aside::put_back(&spec.node, &dir),
            OldDisk::Drop => aside::forget(&spec.node, &dir),
        };
        instance::blocking(work).await?
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
            let overlay =
                overlay::make(overlay::Naming::Descriptor, folder.as_fd(), &layers, &upper, &work)
                    .map_err(io)?;
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

/// Makes the parts of a node's disk that are not there.
pub(super) fn make_disk(spec: &NodeSpec, dir: &Path) -> Result<()> {
    let upper = dir.join(wire::UPPER);
    if make(&upper, 0o755)? {
        // The root folder of the node is the writable layer's: it looks as the uppermost layer's does.
        if let Some(found) = spec.layers.first().and_then(|l| std::fs::metadata(l).ok()) {
            std::fs::set_permissions(
                &upper,
                std::fs::Permissions::from_mode(found.mode() & 0o7777),
            )
            .and_then(|()| std::os::unix::fs::chown(&upper, Some(found.uid()), Some(found.gid())))
            .map_err(|e| fail(&upper, e))?;
        }
    }
    make(&dir.join(wire::WORK), 0o700).map(drop)
}
