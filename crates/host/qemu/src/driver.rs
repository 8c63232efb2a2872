//! The driver: a machine is made, found again and destroyed as its shell is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vnode_driver::{
    Accelerator, BoxFuture, Capabilities, Driver, Error, Instance, Machine, NetworkMode, NodeSpec,
    OldDisk, Reader, Recovered, Result, Snapshot,
};

use crate::accel::{self, Accelerators};
use crate::instance::Vm;
use crate::shell;
use crate::{blocking, command, disk, files, seed};

/// How the driver is opened.
#[derive(Debug)]
pub struct Options {
    /// The driver that runs the shells.
    pub container: Arc<dyn Driver>,
    /// A folder of the driver's own.
    pub folder: PathBuf,
}

/// Virtual machines by QEMU.
#[derive(Debug)]
pub struct QemuDriver {
    container: Arc<dyn Driver>,
    folder: PathBuf,
    /// Found out when the first machine, or a user, asks.
    accelerators: tokio::sync::OnceCell<Arc<Accelerators>>,
}

impl QemuDriver {
    pub fn new(options: Options) -> Self {
        let Options { container, folder } = options;
        Self { container, folder, accelerators: tokio::sync::OnceCell::new() }
    }

    /// What machines run on here; found out by running QEMU once.
    ///
    /// # Errors
    /// The driver's folder cannot be made.
    pub async fn accelerators(&self) -> Result<Arc<Accelerators>> {
        let found = self.accelerators.get_or_try_init(|| async {
            self.layer()?;
            Ok::<_, Error>(Arc::new(accel::probe(&self.folder).await))
        });
        found.await.cloned()
    }

    /// `kvm` or `tcg`, where it has been found out.
    pub fn runs_on(&self, machine: &Machine) -> Option<&'static str> {
        let kvm = match machine.accelerator {
            Accelerator::Kvm => true,
            Accelerator::Tcg => false,
            Accelerator::Auto => self.accelerators.get()?.kvm,
        };
        Some(if kvm { "kvm" } else { "tcg" })
    }

    fn layer(&self) -> Result<PathBuf> {
        shell::make_layer(&self.folder)
    }

    fn shell(&self, spec: &NodeSpec, dir: &Path) -> Result<NodeSpec> {
        shell::bare(spec, dir, &self.folder.join("root"))
    }

    /// The definition of the shell, of a machine that can be booted as far as is known before.
    fn checked(
        &self,
        spec: &NodeSpec,
        dir: &Path,
        accelerators: &Accelerators,
    ) -> Result<NodeSpec> {
        if spec.network != NetworkMode::Own {
            return Err(Error::Unsupported {
                node: spec.node.clone(),
                what: "a virtual machine has a network of its own: leave `network-mode` out, or write `none`"
                    .to_owned(),
            });
        }
        let bare = shell::bare(spec, dir, &self.layer()?)?;
        command::build(spec, accelerators, &[])?;
        disk::check(spec)?;
        seed::check(spec)?;
        Ok(bare)
    }

    async fn create_now(&self, spec: &NodeSpec, dir: &Path) -> Result<Arc<dyn Instance>> {
        let accelerators = self.accelerators().await?;
        let layer = self.layer()?;
        // What cannot be booted is refused before anything is made.
        let bare = self.checked(spec, dir, &accelerators)?;
        let new = !dir.exists();
        let made = self.container.create(&bare, dir).await?;
        let (node, at) = (spec.clone(), dir.to_owned());
        let rest = blocking(move || {
            shell::make_folders(&node, &at)?;
            disk::ensure(&node, &at)
        })
        .await
        .and_then(|done| done);
        if let Err(error) = rest {
            if new && let Err(left) = self.container.destroy(&bare, dir).await {
                tracing::warn!(node = spec.node, error = %left, "after a failed create");
            }
            return Err(error);
        }
        Ok(Vm::new(spec, dir.to_owned(), layer, made, accelerators))
    }

    async fn recover_now(&self, spec: &NodeSpec, dir: &Path) -> Result<Recovered> {
        // A node whose definition was not yet written down has the names, which are all that is needed here.
        match self.container.recover(spec, dir).await? {
            Recovered::Live(made) => {
                let layer = self.layer()?;
                let accelerators = self.accelerators().await?;
                let vm = Vm::new(spec, dir.to_owned(), layer, made, accelerators);
                vm.learn().await;
                Ok(Recovered::Live(vm))
            }
            Recovered::Gone { last_exit } => Ok(Recovered::Gone { last_exit }),
        }
    }
}

impl Driver for QemuDriver {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            mount_root: files::missing().is_none(),
            pause: true,
            user_namespaces: false,
            ..self.container.capabilities()
        }
    }

    fn check<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let accelerators = self.accelerators().await?;
            let bare = self.checked(spec, dir, &accelerators)?;
            self.container.check(&bare, dir).await
        })
    }

    fn create<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Instance>>> {
        Box::pin(self.create_now(spec, dir))
    }

    fn recover<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Recovered>> {
        Box::pin(self.recover_now(spec, dir))
    }

    fn destroy<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        // All that a machine has lies in its shell's folder, group and namespace, but for who has its disk open.
        Box::pin(async move {
            if let Err(error) = files::close(spec, dir, &*self.container).await {
                // What could not be written back goes with the disk; what is left in the way is named below.
                tracing::warn!(node = spec.node, %error, "close the disk of a machine that is destroyed");
            }
            self.container.destroy(spec, dir).await
        })
    }

    fn mount<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<PathBuf>> {
        Box::pin(async move {
            let helpers = self.folder.join("mount");
            files::open(spec, dir, &helpers, &*self.container).await
        })
    }

    fn unmount<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(files::close(spec, dir, &*self.container))
    }

    fn snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: &'a str,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Snapshot>> {
        Box::pin(async move {
            files::refuse(&spec.node, dir)?;
            let shell = self.shell(spec, dir)?;
            self.container.snapshot(&shell, dir, name, mark, cancel).await
        })
    }

    fn restore<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            files::refuse(&spec.node, dir)?;
            let shell = self.shell(spec, dir)?;
            disk::check_snapshot(spec, dir, name)?;
            self.container.restore(&shell, dir, name, cancel).await
        })
    }

    fn remove_snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: Option<&'a str>,
    ) -> BoxFuture<'a, Result<()>> {
        self.container.remove_snapshot(spec, dir, name, mark)
    }

    fn snapshots<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<Snapshot>>> {
        self.container.snapshots(spec, dir)
    }

    fn old_disk<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        what: OldDisk,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if what != OldDisk::Drop {
                files::refuse(&spec.node, dir)?;
            }
            self.container.old_disk(&self.shell(spec, dir)?, dir, what).await
        })
    }

    fn has_old_disk(&self, spec: &NodeSpec, dir: &Path) -> bool {
        self.container.has_old_disk(spec, dir)
    }

    fn archive_out(&self, spec: &NodeSpec, root: &Path, path: &str) -> Result<Reader> {
        self.container.archive_out(spec, root, path)
    }

    fn archive_in<'a>(
        &'a self,
        spec: &'a NodeSpec,
        root: &'a Path,
        path: &'a str,
        tar: Reader,
    ) -> BoxFuture<'a, Result<()>> {
        self.container.archive_in(spec, root, path, tar)
    }
}

/// Whether a node's folder is a machine's: its definition may not have been written down when a daemon was killed.
pub(crate) fn is_machine(dir: &Path) -> bool {
    dir.join(shell::FOLDER).exists()
}

impl QemuDriver {
    /// Whether a node is one of this driver's, by definition or by what lies in its folder.
    pub fn owns(&self, spec: &NodeSpec, dir: &Path) -> bool {
        spec.machine.is_some() || is_machine(dir)
    }
}
