//! Files in both directions, at full speed. One that comes is written by a thread, which may wait for the disk while frames
//! come over the connection; one that goes is in [`get`].

use std::{
    fs::File,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};
use vnode_beneath::Dir;
use vnode_protocol::frame::MAX_PAYLOAD;

use super::{Ended, StreamIo, failed, read};
use crate::{
    command::{Class, CommandError},
    context::Place,
    parser::native::Input,
};

mod get;

pub(super) use get::Get;

/// Transfers at a time; others wait. Each has at most three payloads in memory.
const TRANSFERS: usize = 4;
/// What a client may send ahead of what is written.
const AHEAD: usize = 4 * MAX_PAYLOAD;

#[derive(Debug)]
struct Transfers(Arc<Semaphore>);

impl Default for Transfers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TRANSFERS)))
    }
}

impl Transfers {
    async fn place(&self) -> tokio::sync::OwnedSemaphorePermit {
        let place = Arc::clone(&self.0).acquire_owned().await;
        place.expect("the semaphore is never closed")
    }
}

pub(super) fn open_failed(
    action: &str,
    path: &Path,
    error: vnode_beneath::DirError,
) -> CommandError {
    let class = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Class::NotFound,
        // A link that leads out of the channel's folder, or one that never ends.
        Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::EXDEV | libc::ELOOP) => Class::Denied,
        _ => Class::Failed,
    };
    CommandError::new(class, format!("cannot {action} `{}`", path.display())).with_source(error)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutRequest {
    path: String,
    /// Rights of the new file.
    #[serde(default = "default_mode")]
    mode: u32,
    uid: Option<u32>,
    gid: Option<u32>,
    /// Adds to the file that is there, in place, instead of replacing it whole at the end.
    #[serde(default)]
    append: bool,
    /// With `append`: how long the file must be now, so that what was cut off goes on where it was.
    offset: Option<u64>,
    /// SHA-256 of what is sent, in hexadecimal digits: another content never takes the file's place.
    sha256: Option<String>,
    /// Makes missing folders above it, mode 0755.
    #[serde(default)]
    folders: bool,
    /// Answers only when the file is on the disk.
    #[serde(default)]
    sync: bool,
}

fn default_mode() -> u32 {
    0o644
}

/// The new file until it takes its place: removed when it never does.
struct Temporary<'a> {
    folder: &'a Dir,
    path: Option<PathBuf>,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = self.folder.remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "a part of a file is left");
        }
    }
}

streamed!(Put, "file-put", "Takes a file.", |context, value, io| {
    let request: PutRequest = read(value)?;
    let place = context.place(&request.path)?;
    let digest = digest_of(&request)?;
    let _turn = context.state::<Transfers>().place().await;
    let (file, mut temporary) = open_for_put(&request, &place)?;
    let Place { folder, below, path } = &place;
    let granted = io.outbox.grant(&io.inbox, AHEAD).await;
    granted.map_err(|error| failed("answer", error))?;
    let (to_write, pieces) = mpsc::channel::<Vec<u8>>(1);
    let (written, mut back) = mpsc::channel::<Vec<u8>>(4);
    let sync = request.sync;
    let hashed = digest.is_some();
    let writing = spawn_blocking(move || write_all(file, sync, hashed, pieces, written));
    let mut bytes = 0_u64;
    let ended = loop {
        tokio::select! {
            biased;
            piece = back.recv() => match piece {
                Some(piece) => {
                    let length = piece.len();
                    io.inbox.recycle(piece);
                    let granted = io.outbox.grant(&io.inbox, length).await;
                    granted.map_err(|error| failed("answer", error))?;
                }
                // It failed, and says why below.
                None => break false,
            },
            input = next(&io, &to_write) => match input {
                Some((Input::Bytes(piece), place)) => {
                    bytes += piece.len() as u64;
                    place.send(piece);
                }
                _ => break true,
            },
        }
    };
    drop(to_write);
    if ended {
        // What is written on goes back to nobody; the thread must not wait for room.
        while back.recv().await.is_some() {}
    }
    let wrote = writing.await.map_err(|error| failed("write the file", error))?;
    let found = wrote.map_err(|error| failed(&format!("write `{}`", path.display()), error))?;
    if digest.is_some() && digest != found {
        let text = format!("what was sent for `{}` has another SHA-256", path.display());
        return Err(CommandError::invalid(text));
    }
    if let Some(from) = &temporary.path {
        let renamed = folder.rename(from, below);
        renamed.map_err(|error| open_failed("put in place", path, error))?;
        temporary.path = None;
        if request.sync {
            let synced = match parent(below) {
                Some(above) => folder.open_dir(above).and_then(|folder| folder.sync()),
                None => folder.sync(),
            };
            synced.map_err(|error| open_failed("sync the folder of", path, error))?;
        }
    }
    Ok(Ended::Response(json!({ "bytes": bytes })))
});

/// The next piece, once the writing thread has room for it. Cancel-safe.
async fn next<'a>(
    io: &StreamIo,
    to_write: &'a mpsc::Sender<Vec<u8>>,
) -> Option<(Input, mpsc::Permit<'a, Vec<u8>>)> {
    let place = to_write.reserve().await.ok()?;
    Some((io.inbox.next_bytes().await, place))
}

/// The folder above, unless that is the one the path begins at.
fn parent(below: &Path) -> Option<&Path> {
    below.parent().filter(|above| !above.as_os_str().is_empty())
}

/// The digest that is wanted.
fn digest_of(request: &PutRequest) -> Result<Option<String>, CommandError> {
    if request.offset.is_some() && !request.append {
        let text = "`offset` is where `append` goes on, and nothing is appended";
        return Err(CommandError::invalid(text));
    }
    let Some(digest) = &request.sha256 else { return Ok(None) };
    if request.append {
        let text = "`sha256` is of a whole file, and `append` adds to one";
        return Err(CommandError::invalid(text));
    }
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(CommandError::invalid("`sha256` is 64 hexadecimal digits"));
    }
    Ok(Some(digest.to_lowercase()))
}

fn open_for_put<'a>(
    request: &PutRequest,
    place: &'a Place,
) -> Result<(File, Temporary<'a>), CommandError> {
    let Place { folder: root, below, path } = place;
    let Some(name) = below.file_name() else {
        return Err(CommandError::invalid(format!("`{}` names no file", path.display())));
    };
    if request.folders
        && let Some(above) = parent(below)
    {
        root.mkdir_all(above, 0o755).map_err(|error| open_failed("make", above, error))?;
    }
    let mut temporary = Temporary { folder: root, path: None };
    let file = if request.append {
        use rustix::fs::OFlags;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY;
        root.open_with(below, flags | OFlags::NONBLOCK, request.mode & 0o777)
    } else {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let short: String = name.to_string_lossy().chars().take(32).collect();
        let new = format!(".vnode-{}-{number}-{short}", std::process::id());
        let new = parent(below).map_or_else(|| PathBuf::from(&new), |above| above.join(&new));
        let file = root.create(&new, 0o600);
        if file.is_ok() {
            temporary.path = Some(new);
        }
        file
    };
    let file = file.map_err(|error| open_failed("open", path, error))?;
    if let Some(offset) = request.offset.filter(|_| request.append) {
        let now = file.metadata().map_err(|error| failed("look at the file", error))?.len();
        if now != offset {
            let text = format!("`{}` has {now} bytes, not {offset}", path.display());
            return Err(CommandError::new(Class::Failed, text));
        }
    }
    if !request.append {
        if request.uid.is_some() || request.gid.is_some() {
            std::os::unix::fs::fchown(&file, request.uid, request.gid)
                .map_err(|error| failed("give the file to its owner", error))?;
        }
        let rights = std::fs::Permissions::from_mode(request.mode & 0o7777);
        file.set_permissions(rights).map_err(|error| failed("set the file's rights", error))?;
    }
    Ok((file, temporary))
}

/// Writes pieces until there are no more; gives each back when it is written, and in the end their digest if wanted.
fn write_all(
    mut file: File,
    sync: bool,
    hashed: bool,
    mut pieces: mpsc::Receiver<Vec<u8>>,
    written: mpsc::Sender<Vec<u8>>,
) -> std::io::Result<Option<String>> {
    let mut digest = hashed.then(Sha256::new);
    while let Some(piece) = pieces.blocking_recv() {
        file.write_all(&piece)?;
        if let Some(digest) = &mut digest {
            digest.update(&piece);
        }
        // Nobody takes it back once the request has ended.
        let _ = written.blocking_send(piece);
    }
    if sync {
        file.sync_all()?;
    }
    Ok(digest.map(|digest| digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}
