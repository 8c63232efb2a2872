//! The drivers of this host as one: each node goes to the driver of its kind.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vnode_driver::{
    BoxFuture, Capabilities, Driver, Instance, Limits, NodeSpec, OldDisk, Reader, Recovered,
    Result, Snapshot,
};
use vnode_libvirt::LibvirtDriver;
use vnode_qemu::QemuDriver;

/// Containers, virtual machines, domains of libvirt.
#[derive(Debug)]
pub(crate) struct Drivers {
    container: Arc<dyn Driver>,
    qemu: Arc<QemuDriver>,
    libvirt: LibvirtDriver,
}

impl Drivers {
    pub(crate) fn new(
        container: Arc<dyn Driver>,
        qemu: Arc<QemuDriver>,
        libvirt: LibvirtDriver,
    ) -> Self {
        Self { container, qemu, libvirt }
    }

    fn of(&self, spec: &NodeSpec, dir: &Path) -> &dyn Driver {
        if self.libvirt.owns(spec, dir) {
            &self.libvirt
        } else if self.qemu.owns(spec, dir) {
            &*self.qemu
        } else {
            &*self.container
        }
    }
}

impl Driver for Drivers {
    fn name(&self) -> &'static str {
        self.container.name()
    }

    /// Those of containers; a machine's are in its driver.
    fn capabilities(&self) -> Capabilities {
        self.container.capabilities()
    }

    fn check<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        self.of(spec, dir).check(spec, dir)
    }

    fn create<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Instance>>> {
        self.of(spec, dir).create(spec, dir)
    }

    fn recover<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Recovered>> {
        self.of(spec, dir).recover(spec, dir)
    }

    fn destroy<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        self.of(spec, dir).destroy(spec, dir)
    }

    fn mount<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<PathBuf>> {
        self.of(spec, dir).mount(spec, dir)
    }

    fn unmount<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        self.of(spec, dir).unmount(spec, dir)
    }

    fn snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: &'a str,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Snapshot>> {
        self.of(spec, dir).snapshot(spec, dir, name, mark, cancel)
    }

    fn restore<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<()>> {
        self.of(spec, dir).restore(spec, dir, name, cancel)
    }

    fn remove_snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: Option<&'a str>,
    ) -> BoxFuture<'a, Result<()>> {
        self.of(spec, dir).remove_snapshot(spec, dir, name, mark)
    }

    fn snapshots<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<Snapshot>>> {
        self.of(spec, dir).snapshots(spec, dir)
    }

    fn old_disk<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        what: OldDisk,
    ) -> BoxFuture<'a, Result<()>> {
        self.of(spec, dir).old_disk(spec, dir, what)
    }

    fn has_old_disk(&self, spec: &NodeSpec, dir: &Path) -> bool {
        self.of(spec, dir).has_old_disk(spec, dir)
    }

    fn archive_out(&self, spec: &NodeSpec, root: &Path, path: &str) -> Result<Reader> {
        // A machine's disk is never mounted, so nothing of one comes here.
        if spec.domain.is_some() {
            return self.libvirt.archive_out(spec, root, path);
        }
        if spec.machine.is_some() {
            return self.qemu.archive_out(spec, root, path);
        }
        self.container.archive_out(spec, root, path)
    }

    fn archive_in<'a>(
        &'a self,
        spec: &'a NodeSpec,
        root: &'a Path,
        path: &'a str,
        tar: Reader,
    ) -> BoxFuture<'a, Result<()>> {
        if spec.domain.is_some() {
            return self.libvirt.archive_in(spec, root, path, tar);
        }
        if spec.machine.is_some() {
            return self.qemu.archive_in(spec, root, path, tar);
        }
        self.container.archive_in(spec, root, path, tar)
    }

    // Of a node of whatever kind: groups are the container driver's.
    fn group_beside<'a>(
        &'a self,
        spec: &'a NodeSpec,
        what: &'a str,
        limits: &'a Limits,
    ) -> BoxFuture<'a, Result<Vec<PathBuf>>> {
        self.container.group_beside(spec, what, limits)
    }

    fn end_beside<'a>(&'a self, spec: &'a NodeSpec, what: &'a str) -> BoxFuture<'a, Result<()>> {
        self.container.end_beside(spec, what)
    }
}
