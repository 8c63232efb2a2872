//! Container nodes: namespaces, an overlay root and a monitor process for each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{BoxFuture, Capabilities, Driver, Error, Instance, NodeSpec, Recovered, Result};

/// How the container driver is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `vnode-monitor` program; see [`beside_this_program`](Options::beside_this_program).
    pub monitor_program: PathBuf,
    /// Name of this daemon's instance; part of the name of every cgroup it makes.
    pub instance: String,
}

impl Options {
    /// Options with the monitor program that lies beside the running executable.
    ///
    /// # Errors
    /// The path of the running program cannot be read.
    pub fn beside_this_program(instance: impl Into<String>) -> std::io::Result<Self> {
        let own = std::env::current_exe()?;
        Ok(Self { monitor_program: own.with_file_name("vnode-monitor"), instance: instance.into() })
    }
}

/// The container driver. Needs a tokio runtime.
#[derive(Debug)]
pub struct ContainerDriver {
    options: Options,
}

impl ContainerDriver {
    /// Starts the spawner of monitors and finds out what this machine's cgroups can do.
    ///
    /// # Errors
    /// The monitor program cannot be started, or no cgroup can be made.
    pub async fn open(options: Options) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { options }))
    }

    fn not_built(&self) -> Error {
        Error::Spawner {
            program: self.options.monitor_program.clone(),
            what: "not built yet".to_owned(),
        }
    }
}

impl Driver for ContainerDriver {
    fn name(&self) -> &'static str {
        "container"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            mount_root: true,
            exec: true,
            console: true,
            pause: true,
            limits: Vec::new(),
            cgroup: "none".to_owned(),
            user_namespaces: false,
            devices: false,
            snapshot: false,
        }
    }

    fn create<'a>(
        &'a self,
        _: &'a NodeSpec,
        _: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Instance>>> {
        Box::pin(async { Err(self.not_built()) })
    }

    fn recover<'a>(&'a self, _: &'a NodeSpec, _: &'a Path) -> BoxFuture<'a, Result<Recovered>> {
        Box::pin(async { Err(self.not_built()) })
    }

    fn destroy<'a>(&'a self, _: &'a NodeSpec, _: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(self.not_built()) })
    }

    fn mount<'a>(&'a self, _: &'a NodeSpec, _: &'a Path) -> BoxFuture<'a, Result<PathBuf>> {
        Box::pin(async { Err(self.not_built()) })
    }

    fn unmount<'a>(&'a self, _: &'a NodeSpec, _: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(self.not_built()) })
    }
}
