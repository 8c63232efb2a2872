//! Commands of a topology file that are run on the host for a node: in a control group beside the node's, by which
//! whatever they have started is found and ended, by the next daemon as well.

use std::path::PathBuf;
use std::time::Duration;

use vnode_action::{CancellationToken, ExitStatus, Spec};
use vnode_driver::{Limits, NodeSpec};

use crate::error::{Error, Result};
use crate::inner::{Inner, driver_error};

/// Time of one command.
const LIMIT: Duration = Duration::from_secs(300);
/// Most of a command's output that is kept in its event, bytes a stream.
pub(super) const OUTPUT: usize = 4096;

/// What commands are run for, which names their group.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// Programs that are given the node's root before it boots.
    Preconfig,
    /// Hooks of the node's stages.
    Stage,
}

impl Purpose {
    fn group(self) -> &'static str {
        match self {
            Self::Preconfig => "preconfig",
            Self::Stage => "stage",
        }
    }
}

/// Makes the group, once what is left in it is ended; gives its folders. [`end`] is its inverse.
pub(super) async fn begin(
    inner: &Inner,
    spec: &NodeSpec,
    purpose: Purpose,
) -> Result<Vec<PathBuf>> {
    let mut spec = spec.clone();
    // Programs of the host: no device of it is kept from them.
    spec.security.privileged = true;
    let made = inner.driver.group_beside(&spec, purpose.group(), &Limits::default()).await;
    made.map_err(driver_error)
}

/// Ends all that was started in the group, and takes it away.
pub(crate) async fn end(inner: &Inner, spec: &NodeSpec, purpose: Purpose) -> Result<()> {
    inner.driver.end_beside(spec, purpose.group()).await.map_err(driver_error)
}

/// A command that is run in a group.
pub(super) fn command(argv: Vec<String>, group: &[PathBuf]) -> Spec {
    let spec = Spec::new(argv)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .capture(OUTPUT)
        .time_limit(LIMIT);
    group.iter().fold(spec, |spec, folder| spec.enter(folder))
}

/// Runs it; gives its status as a shell has it, and what it printed.
pub(super) async fn run(spec: Spec, cancellation: &CancellationToken) -> Result<(i32, String)> {
    let output = vnode_action::run(spec, cancellation).await.map_err(|source| {
        Error::failed("cannot run a command of the topology on the host").because(source)
    })?;
    let text = [output.stdout, output.stderr].concat();
    let status = match output.status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128 + signal,
    };
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}
