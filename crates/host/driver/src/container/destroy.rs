//! The end of a node: by its definition and folder alone, however far it had come.
//!
//! Where its monitor answers, the monitor's end and the folder's removal go side by side, and the overlay, whose disk is
//! gone by then, ends behind them: see [`release`](super::release).

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
use super::stream::watch;
use super::{release, spawner};
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
    let monitor = find_monitor(dir, live).await?;
    // Taken away in the end, whatever comes between.
    let root = Root(monitor.root);
    let remove = {
        let (at, group) = (dir.to_owned(), group.clone());
        move || {
            let mut left = group.remove();
            if let Err(e) = overlay::detach(&at) {
                left.push(format!("mount {}: {e}", at.join(wire::ROOT).display()));
            } else if let Err(e) = remove_folder(&at) {
                left.push(format!("folder {}: {e}", at.display()));
            }
            left
        }
    };
    if monitor.done {
        // It has nothing more to do with the folder and the groups.
        let (ended, removed) = tokio::join!(end_processes(monitor.processes), blocking(remove));
        left.extend(ended?);
        left.extend(removed?);
    } else {
        left.extend(end_processes(monitor.processes).await?);
        left.extend(blocking(remove).await?);
    }
    drop(root);
    if let Some(live) = live {
        live.closed();
    }
    if left.is_empty() { Ok(()) } else { Err(Error::Left { node: node.to_owned(), left }) }
}

/// The root of a node's last run; given up where nobody waits.
struct Root(Option<OwnedFd>);

impl Drop for Root {
    fn drop(&mut self) {
        if let Some(root) = self.0.take() {
            release::later(root);
        }
    }
}

/// What of a node is still to end.
struct Ending {
    processes: Vec<(&'static str, Found)>,
    /// The monitor has said that it is done with the node.
    done: bool,
    root: Option<OwnedFd>,
}

/// Finds a node's processes and asks its monitor to end.
async fn find_monitor(dir: &Path, live: Option<&Container>) -> Result<Ending> {
    let (mut found, mut done, mut root) = (None, false, None);
    if let Some(live) = live {
        found = by_record(live.monitor());
        if found.is_some() {
            // What it cannot be asked any more is done by a signal.
            let asked = live.ask(Ask::Quit { kill: true, hand_over: true }, &[]);
            match tokio::time::timeout(QUIT_PATIENCE, asked).await {
                Ok(Ok(reply)) => {
                    done = true;
                    root = reply.fds.into_iter().next();
                }
                Ok(Err(error)) => tracing::debug!(%error, "monitor of a node that is destroyed"),
                Err(_) => {}
            }
        }
    } else if let Ok(socket) = connect_in(dir) {
        // Whoever listens there is the monitor, record or no record.
        let peer = rustix::net::sockopt::socket_peercred(&socket);
        let pid = peer.map(|p| p.pid.as_raw_nonzero().get().cast_unsigned());
        found = pid.ok().and_then(|pid| spawner::pidfd(pid).ok()).map(|pidfd| Found { pidfd });
        let request = wire::Request { id: 1, ask: Ask::Quit { kill: true, hand_over: false } };
        if let Err(error) = packet::send(&socket, &request, &[]) {
            tracing::debug!(%error, "monitor of a node that is destroyed");
        } else if let Some(found) = &found {
            let pidfd = found.pidfd.try_clone().map_err(|e| Error::io("hold a process", e))?;
            end_of(pidfd, QUIT_PATIENCE).await?;
        }
    }
    // One that is done has seen the end of the first process.
    let recorded = if done { None } else { record(dir) };
    let found = found.or_else(|| recorded.as_ref().and_then(|r| by_record(r.monitor)));
    // A first process whose monitor was killed, where no control group knows it.
    let init = recorded.and_then(|r| r.init).and_then(by_record);
    let processes = [("monitor", found), ("first process", init)];
    let processes = processes.into_iter().filter_map(|(what, p)| Some((what, p?))).collect();
    Ok(Ending { processes, done, root })
}

/// Waits for the end of processes, which is helped where it does not come; what is left.
async fn end_processes(processes: Vec<(&'static str, Found)>) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for (what, Found { pidfd }) in processes {
        let again = || pidfd.try_clone().map_err(|e| Error::io("hold a process", e));
        // A monitor is asked already, and needs a moment to go.
        let patience = match what {
            "monitor" => Duration::from_millis(500),
            _ => Duration::ZERO,
        };
        if end_of(again()?, patience).await? {
            continue;
        }
        if let Err(e) = spawner::kill(&pidfd) {
            left.push(format!("{what}: {e}"));
        } else if !end_of(pidfd, QUIT_PATIENCE).await? {
            left.push(format!("{what}: does not end after SIGKILL"));
        }
    }
    Ok(left)
}

/// Removes a folder, if it is there; a reader of one of its files does not hold it up.
pub(super) fn remove_folder(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
