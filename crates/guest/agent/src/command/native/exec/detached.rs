//! Beginning a detached program: its keeper is started, and tells how that went.

use std::{
    fs::File,
    io::{self, ErrorKind, Seek, SeekFrom, Write},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    fs::MemfdFlags,
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions},
};
use serde_json::Value;
use tokio::{io::AsyncReadExt, net::unix::pipe, time::timeout};
use vnode_action::{Spec, Stdin, Stream};

use super::{
    failed,
    keeper::{KEEP, Started},
    program::Request,
    record::{Place, Store},
    tree::Kin,
};
use crate::{
    command::{Class, CommandError},
    context::Context,
};

/// Detached programs that run at a time.
const MOST: usize = 64;
/// How long a keeper may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);
/// This very program, also when another version has taken its place among the files.
const OURSELVES: &str = "/proc/self/exe";

/// Begins a program that outlives its client and us; gives what is on record of it.
pub(super) async fn begin(context: &Context, request: &Request) -> Result<Value, CommandError> {
    let store = Store::of(context)?;
    let Some((id, place)) = store.create(MOST)? else {
        let text = format!(
            "{MOST} detached programs run already, no more are kept; `exec-list` names them, `exec-end` ends one"
        );
        return Err(CommandError::new(Class::Busy, text));
    };
    match started(&place, request).await {
        Ok(Started::Record(record)) => Ok(record.view(false)),
        Ok(Started::Wrong(wrong, text)) => {
            place.remove()?;
            Err(CommandError::new(wrong.into(), text))
        }
        Err(error) => {
            // Its keeper is dead: what it may have begun is not to be found by anybody else.
            Kin::new(None, &id).kill().await;
            place.remove()?;
            Err(error)
        }
    }
}

async fn started(place: &Place, request: &Request) -> Result<Started, CommandError> {
    let cannot = |error| failed("start the program's keeper", error);
    let (told, tells) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| cannot(e.into()))?;
    let mut told = pipe::Receiver::from_owned_fd(told).map_err(cannot)?;
    let spec = Spec::new([OURSELVES, KEEP])
        .arg(&place.0)
        .folder("/")
        .stdin(Stdin::Fd(written(request).map_err(cannot)?))
        .stdout(Stream::Fd(tells));
    let pid = vnode_action::spawn_detached(spec);
    let pid = pid.map_err(|error| failed("start the program's keeper", error))?;
    let pid = Pid::from_raw(pid.cast_signed()).ok_or_else(|| cannot(ErrorKind::NotFound.into()))?;
    let held = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK);
    let held = held.map_err(|error| cannot(error.into()))?;
    reap_when_ended(held.try_clone().map_err(cannot)?).map_err(cannot)?;
    let mut text = Vec::new();
    let read = timeout(PATIENCE, told.read_to_end(&mut text)).await;
    if let Ok(Ok(_)) = read
        && let Ok(started) = serde_json::from_slice(&text)
    {
        return Ok(started);
    }
    // It may have ended by itself.
    let _ = rustix::process::pidfd_send_signal(&held, Signal::KILL);
    match read {
        Ok(Ok(_)) => {
            Err(CommandError::failed("the program's keeper was killed before it told of it"))
        }
        Ok(Err(error)) => Err(cannot(error)),
        Err(_) => {
            let text = "the program's keeper does not say whether it has begun";
            Err(CommandError::new(Class::TimedOut, text))
        }
    }
}

/// The request in memory, to be read from its beginning.
fn written(request: &Request) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("exec", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(request)?)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

/// Takes the keeper's exit status when there is one: as long as we live it is our child.
fn reap_when_ended(held: OwnedFd) -> io::Result<()> {
    let held = vnode_processes::watched(held)?;
    tokio::spawn(async move {
        while let Ok(mut ready) = held.readable().await {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            match rustix::process::waitid(WaitId::PidFd(held.get_ref().as_fd()), options) {
                Ok(None) => ready.clear_ready(),
                Ok(Some(_)) | Err(_) => return,
            }
        }
    });
    Ok(())
}
