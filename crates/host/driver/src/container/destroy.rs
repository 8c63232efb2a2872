//! The end of a node: by its definition and folder alone, however far it had come.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use vnode_monitor::wire::{self, Ask, STATE, State};
use vnode_monitor::{overlay, packet};

use super::cgroup::Group;
use super::connection::connect_in;
use super::instance::{Container, blocking};
use super::spawner;
use super::stream::watch;
use crate::{Error, Result};

/// A monitor ends within this of its node's last process.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);

/// The monitor of a node that is to end: held by descriptor, so that no other process is ever meant.
struct Found {
    pidfd: OwnedFd,
}

/// The state record in a node's folder.
pub(super) fn record(dir: &Path) -> Option<State> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(dir.join(STATE)).ok()?.take(64 * 1024).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// A process that was recorded, if it still is the same one.
fn by_record(pid: wire::Pid) -> Option<Found> {
    let pidfd = spawner::pidfd(pid.pid).ok()?;
    // After the descriptor was opened: the same start time means that it is that process' descriptor.
    let start = wire::start_time(pid.pid).ok()?;
    (start == pid.start && pid.pid != 0).then_some(Found { pidfd })
}

/// Waits for a process' end.
async fn end_of(pidfd: OwnedFd, patience: Duration) -> Result<bool> {
    let watched =
        watch(pidfd, Interest::READABLE).map_err(|e| Error::io("watch a monitor's end", e))?;
    Ok(tokio::time::timeout(patience, watched.readable()).await.is_ok())
}

/// Ends and removes everything of a node.
pub(super) async fn destroy(
    node: &str,
    dir: &Path,
    group: &Group,
    live: Option<&Container>,
) -> Result<()> {
    let mut left = Vec::new();
    if let Some(live) = live {
        live.close();
    }
    if group.exists() {
        // Also what a killed monitor has left behind.
        if let Err((doing, e)) = group.kill() {
            left.push(format!("processes ({doing}: {e})"));
        }
    }
    end_monitor(dir, live, &mut left).await?;
    if let Some(live) = live {
        live.closed();
    }
    let (at, group) = (dir.to_owned(), group.clone());
    let removed = blocking(move || {
        let mut left = group.remove();
        if let Err(e) = overlay::detach(&at) {
            left.push(format!("mount {}: {e}", at.join(wire::ROOT).display()));
        } else if let Err(e) = remove_folder(&at) {
            left.push(format!("folder {}: {e}", at.display()));
        }
        left
    });
    left.extend(removed.await?);
    if left.is_empty() { Ok(()) } else { Err(Error::Left { node: node.to_owned(), left }) }
}

async fn end_monitor(dir: &Path, live: Option<&Container>, left: &mut Vec<String>) -> Result<()> {
    let mut found = None;
    if let Some(live) = live {
        found = by_record(live.monitor());
        if found.is_some() {
            // What it cannot be asked any more is done by the signal below.
            let asked = live.ask(Ask::Quit { kill: true }, &[]);
            if let Ok(Err(error)) = tokio::time::timeout(QUIT_PATIENCE, asked).await {
                tracing::debug!(%error, "monitor of a node that is destroyed");
            }
        }
    } else if let Ok(socket) = connect_in(dir) {
        // Whoever listens there is the monitor, record or no record.
        let peer = rustix::net::sockopt::socket_peercred(&socket);
        let pid = peer.map(|p| p.pid.as_raw_nonzero().get().cast_unsigned());
        found = pid.ok().and_then(|pid| spawner::pidfd(pid).ok()).map(|pidfd| Found { pidfd });
        let request = wire::Request { id: 1, ask: Ask::Quit { kill: true } };
        if let Err(error) = packet::send(&socket, &request, &[]) {
            tracing::debug!(%error, "monitor of a node that is destroyed");
        } else if let Some(found) = &found {
            let pidfd = found.pidfd.try_clone().map_err(|e| Error::io("hold a process", e))?;
            end_of(pidfd, QUIT_PATIENCE).await?;
        }
    }
    let recorded = record(dir);
    let found = found.or_else(|| recorded.as_ref().and_then(|r| by_record(r.monitor)));
    // A first process whose monitor was killed, where no control group knows it.
    let init = recorded.and_then(|r| r.init).and_then(by_record);
    for (what, process) in [("monitor", found), ("first process", init)] {
        let Some(Found { pidfd }) = process else { continue };
        if end_of(pidfd.try_clone().map_err(|e| Error::io("hold a process", e))?, Duration::ZERO)
            .await?
        {
            continue;
        }
        let ended = match what {
            // Asked already: it needs a moment to go.
            "monitor" => {
                let again = pidfd.try_clone().map_err(|e| Error::io("hold a process", e))?;
                end_of(again, Duration::from_millis(500)).await?
            }
            _ => false,
        };
        if ended {
            continue;
        }
        if let Err(e) = spawner::kill(&pidfd) {
            left.push(format!("{what}: {e}"));
        } else if !end_of(pidfd, QUIT_PATIENCE).await? {
            left.push(format!("{what}: does not end after SIGKILL"));
        }
    }
    Ok(())
}

/// Removes the folder; a reader of one of its files does not hold it up.
fn remove_folder(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
