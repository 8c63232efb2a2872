//! What becomes of a domain when its node goes: what vnode defined goes; what was there stays as it was found.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vnode_driver::NodeSpec;
use vnode_network::Ns;

use crate::container::LXC;
use crate::domain::{Domain, State};
use crate::kept::Kept;
use crate::nic;
use crate::typed::{Connection, Result, VirError};

/// Whose interfaces are taken off a domain.
pub(crate) struct Owner<'a> {
    pub(crate) host: &'a Ns,
    pub(crate) instance: &'a str,
    pub(crate) spec: &'a NodeSpec,
}

/// The end of a node's hold on its domain.
pub(crate) fn let_go(
    connection: &Arc<Connection>,
    kept: &Kept,
    grace: Duration,
    owner: &Owner<'_>,
) -> Result<()> {
    let domain = match connection.by_uuid(&kept.uuid) {
        Ok(domain) => domain,
        Err(error) if error.is_absent() => return Ok(()),
        Err(error) => return Err(error),
    };
    // One that crashed and is preserved holds its disks, as one that runs does.
    let run = domain.run();
    if !kept.adopted {
        if run.is_some() {
            domain.destroy()?;
        }
        return match domain.undefine() {
            Err(error) if error.is_absent() => Ok(()),
            other => other,
        };
    }
    // Another run than vnode's is somebody else's.
    let ends = !kept.ran && run.is_some() && run == kept.run;
    if ends {
        end(connection, &domain, grace)?;
    }
    unplug(connection, &domain, &kept.wires, run.is_some() && !ends, owner);
    Ok(())
}

/// Takes the node's interfaces off a domain of the user's: off its run, and out of its definition, into which somebody may
/// have written what ran. Without them the wires behind go, and a definition that names them could not be started.
pub(crate) fn unplug(
    connection: &Connection,
    domain: &Domain,
    wires: &[String],
    runs: bool,
    Owner { host, instance, spec }: &Owner<'_>,
) {
    let told = |error: VirError| {
        if error.is_without_device() {
            tracing::debug!(%error, "an interface that is not there");
        } else {
            // A guest may keep what is plugged in.
            tracing::warn!(%error, "unplug an interface");
        }
    };
    for wire in wires {
        if runs
            && connection.kind == LXC
            && let Err(error) = nic::stand_in(host, wire, instance, spec)
        {
            tracing::warn!(%error, "unplug an interface");
        }
        if runs && let Err(error) = domain.detach(wire) {
            told(error);
        }
        if let Err(error) = domain.strike(wire) {
            told(error);
        }
    }
}

/// Ends a domain of the user's that vnode had started: asked first, for its disks are the user's.
fn end(connection: &Arc<Connection>, domain: &Domain, grace: Duration) -> Result<()> {
    /// Between two looks whether it has ended.
    const LOOK: Duration = Duration::from_millis(100);
    let until = Instant::now() + grace;
    let runs = || match domain.state() {
        Err(error) if error.is_absent() => Ok(false),
        other => other.map(|state| state == State::Running),
    };
    if runs()?
        && let Err(error) = domain.shutdown()
    {
        tracing::debug!(%error, "ask a domain to end");
    }
    while runs()? && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
    match connection.by_uuid(&domain.uuid()?) {
        Ok(domain) if domain.run().is_some() => domain.destroy(),
        // A transient one is gone with its run.
        Err(error) if !error.is_absent() => Err(error),
        _ => Ok(()),
    }
}
