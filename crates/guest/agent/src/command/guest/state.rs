//! What guest commands remember between requests: open files, programs, the freeze.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{CommandError, Options, dir_reason, exec::Execs, file::Files};
use crate::context::Context;

/// Shared by all channels; see [`Context::state`].
#[derive(Debug, Default)]
pub(super) struct GuestState {
    files: Mutex<Files>,
    execs: Mutex<Execs>,
}

impl GuestState {
    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn execs(&self) -> MutexGuard<'_, Execs> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The settings, as the configuration last read has them.
pub(super) fn options(context: &Context) -> Result<Options, CommandError> {
    context.options::<Options>(Options::NAME)
}

/// A file of the state folder, relative to the root.
pub(super) fn path(options: &Options, name: &str) -> PathBuf {
    let dir = options.state_dir.strip_prefix("/").unwrap_or(&options.state_dir);
    dir.join(name)
}

/// Writes a file of the state folder, which is made when it is missing.
pub(super) fn write(context: &Context, path: &Path, content: &[u8]) -> Result<(), CommandError> {
    let failed = |error: vnode_beneath::DirError| {
        CommandError::failed(format!(
            "failed to commit persistent state to disk: {}",
            dir_reason(&error)
        ))
        .with_source(error)
    };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        context.root().mkdir_all(parent, 0o755).map_err(failed)?;
    }
    context.root().write_atomic(path, content, 0o600).map_err(failed)
}
