//! guest-fsfreeze-*: file systems held still while the host takes a snapshot.

use std::{os::fd::OwnedFd, path::Path, sync::atomic::Ordering, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::Value;
use vnode_action::Spec;

use super::{
    Args, CommandError, Guest,
    mounts::{self, Mount},
    reason, state,
};
use crate::{
    command::Frozen,
    context::{Context, Resource},
};

/// There while file systems may be frozen by us, so that the next start thaws them.
const MARK: &str = "qga.state.isfrozen";
/// From `linux/fs.h`: `_IOWR('X', 119, int)` and `_IOWR('X', 120, int)`.
const FIFREEZE: u32 = 0xC004_5877;
const FITHAW: u32 = 0xC004_5878;
/// How long the hook may take.
const HOOK_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn commands() -> Vec<Guest> {
    vec![
        Guest::now("guest-fsfreeze-status", status).while_frozen(),
        Guest::later("guest-fsfreeze-freeze", freeze_all).changes(Resource::FileSystems),
        Guest::later("guest-fsfreeze-freeze-list", freeze_list).changes(Resource::FileSystems),
        Guest::later("guest-fsfreeze-thaw", thaw).changes(Resource::FileSystems).while_frozen(),
    ]
}

fn is_frozen(context: &Context) -> bool {
    context.state::<Frozen>().0.load(Ordering::Relaxed)
}

fn status(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    Ok(if is_frozen(context) { "frozen" } else { "thawed" }.into())
}

fn freeze_all(context: &Context, args: Args) -> BoxFuture<'_, Result<Value, CommandError>> {
    Box::pin(async move {
        args.finish()?;
        freeze(context, None).await
    })
}

fn freeze_list(context: &Context, mut args: Args) -> BoxFuture<'_, Result<Value, CommandError>> {
    Box::pin(async move {
        let points = args.opt_texts("mountpoints")?;
        args.finish()?;
        freeze(context, points).await
    })
}

async fn freeze(context: &Context, points: Option<Vec<String>>) -> Result<Value, CommandError> {
    // Asked for while another request's freeze was waited for.
    if is_frozen(context) {
        return Err(CommandError::frozen("guest-fsfreeze-freeze"));
    }
    hook(context, "freeze").await?;
    let wanted = |mount: &Mount| points.as_ref().is_none_or(|points| points.contains(&mount.point));
    let mounts = mounts::on_devices(context)?.into_iter().filter(wanted).rev().collect::<Vec<_>>();
    set_frozen(context, true)?;
    let opened = open_all(context, &mounts);
    let count = match opened {
        Ok(opened) => blocking(move || freeze_opened(&opened)).await,
        Err(error) => Err(error),
    };
    match count {
        Ok(0) => {
            // Nothing is held: the agent stays of use.
            set_frozen(context, false)?;
            hook_after(context).await;
            Ok(0.into())
        }
        Ok(count) => {
            watch(context)?;
            Ok(count.into())
        }
        Err(error) => {
            // Whatever was frozen before the error: back to where it was.
            let undone = thaw_all(context).await;
            set_frozen(context, false)?;
            hook_after(context).await;
            undone?;
            Err(error)
        }
    }
}

fn open_all(context: &Context, mounts: &[Mount]) -> Result<Vec<(String, OwnedFd)>, CommandError> {
    let open = |mount: &Mount| match mount.open(context) {
        Ok(fd) => Ok((mount.point.clone(), fd)),
        Err(e) => {
            Err(CommandError::failed(format!("failed to open {}: {}", mount.point, reason(&e))))
        }
    };
    mounts.iter().map(open).collect()
}

/// Freezing waits for what is being written: not on the agent's own thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(CommandError::failed("the work was given up").with_source(error)),
    }
}

fn freeze_opened(mounts: &[(String, OwnedFd)]) -> Result<i64, CommandError> {
    let mut count = 0;
    for (point, fd) in mounts {
        match fs_ioctl(fd, FIFREEZE) {
            Ok(()) => count += 1,
            // Frozen already (mounted a second time, or by someone else), or a kind that cannot be.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EBUSY | libc::EOPNOTSUPP | libc::ENOTTY)
                ) => {}
            Err(error) => {
                let why = reason(&error);
                return Err(CommandError::failed(format!("failed to freeze {point}: {why}")));
            }
        }
    }
    Ok(count)
}

fn fs_ioctl(fd: &OwnedFd, request: u32) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: both requests take a number that the kernel ignores, and no pointer; the descriptor is open.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, 0) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn thaw(context: &Context, args: Args) -> BoxFuture<'_, Result<Value, CommandError>> {
    Box::pin(async move {
        args.finish()?;
        thaw_now(context).await.map(Value::from)
    })
}

async fn thaw_now(context: &Context) -> Result<i64, CommandError> {
    let count = thaw_all(context).await?;
    set_frozen(context, false)?;
    hook(context, "thaw").await?;
    Ok(count)
}

/// Thaws each file system as often as it was frozen.
async fn thaw_all(context: &Context) -> Result<i64, CommandError> {
    let mounts = mounts::on_devices(context)?;
    // What cannot be opened was not frozen by us.
    let opened: Vec<OwnedFd> = mounts.iter().filter_map(|m| m.open(context).ok()).collect();
    blocking(move || {
        let mut count = 0;
        for fd in &opened {
            if fs_ioctl(fd, FITHAW).is_ok() {
                count += 1;
                while fs_ioctl(fd, FITHAW).is_ok() {}
            }
        }
        Ok(count)
    })
    .await
}

/// Sets the state and its mark. The mark is made before anything is frozen, and goes after all is thawed.
fn set_frozen(context: &Context, frozen: bool) -> Result<(), CommandError> {
    let mark = state::path(&state::options(context)?, MARK);
    if frozen {
        state::write(context, &mark, b"")?;
    }
    context.state::<Frozen>().0.store(frozen, Ordering::Relaxed);
    if !frozen {
        match context.root().remove_file(&mark) {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                tracing::warn!(%error, "the frozen mark stays: the next start will thaw once more");
            }
        }
    }
    Ok(())
}

/// Thaws what an earlier run of the agent, killed in between, has left frozen. To be called before any channel opens.
///
/// # Errors
/// When the mark is there and the mount table cannot be read.
pub async fn thaw_at_start(context: &Context) -> Result<(), CommandError> {
    let mark = state::path(&state::options(context)?, MARK);
    if context.root().stat(&mark).is_err() {
        return Ok(());
    }
    let count = thaw_now(context).await?;
    tracing::warn!(count, "thawed what an earlier run left frozen");
    Ok(())
}

/// Thaws after the limit, if one is set.
fn watch(context: &Context) -> Result<(), CommandError> {
    let Some(limit) = state::options(context)?.freeze_limit_s else { return Ok(()) };
    let context = context.clone();
    let until = Duration::from_secs(limit);
    tokio::spawn(async move {
        tokio::time::sleep(until).await;
        let _held = context.lock(Resource::FileSystems).await;
        if is_frozen(&context) {
            match thaw_now(&context).await {
                Ok(count) => tracing::warn!(count, limit, "frozen for too long: thawed"),
                Err(error) => tracing::error!(%error, "frozen for too long, and cannot be thawed"),
            }
        }
    });
    Ok(())
}

async fn hook_after(context: &Context) {
    if let Err(error) = hook(context, "thaw").await {
        tracing::warn!(%error, "after a freeze that did not hold");
    }
}

async fn hook(context: &Context, word: &str) -> Result<(), CommandError> {
    let Some(hook) = state::options(context)?.fsfreeze_hook else { return Ok(()) };
    if !is_program(&hook) {
        return Err(CommandError::failed(format!(
            "can't access fsfreeze hook '{}'",
            hook.display()
        )));
    }
    let spec = Spec::new([hook.as_os_str(), word.as_ref()])
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .time_limit(HOOK_LIMIT);
    match context.run(spec).await {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(CommandError::failed(format!(
            "fsfreeze hook has failed with status {:?}",
            output.status
        ))),
        Err(error) => {
            Err(CommandError::failed(format!("fsfreeze hook: {error}")).with_source(error))
        }
    }
}

fn is_program(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
