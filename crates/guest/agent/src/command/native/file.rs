//! Files in both directions, at full speed: what the kernel has in memory is read where it is sent; for the disk a thread
//! waits, and it writes while frames come over the connection.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};
use vnode_beneath::Dir;
use vnode_protocol::frame::{Frame, MAX_PAYLOAD};

use super::{Ended, StreamIo, Streaming, failed, read};
use crate::{
    command::{Class, CommandError},
    context::{Context, Place},
    parser::native::Input,
};

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

/// Gives a file.
#[derive(Debug)]
pub(super) struct Get;
streamed!(Get, "file-get");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetRequest {
    path: String,
    /// First byte wanted.
    #[serde(default)]
    offset: u64,
    /// Bytes wanted at most; default: to the end.
    length: Option<u64>,
}

impl Streaming for Get {
    fn stream<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
        io: StreamIo,
    ) -> BoxFuture<'a, Result<Ended, CommandError>> {
        Box::pin(async move {
            let request: GetRequest = read(value)?;
            let Place { folder, below, path } = context.place(&request.path)?;
            let _turn = context.state::<Transfers>().place().await;
            let file = folder.open(&below).map_err(|error| open_failed("open", &path, error))?;
            let data = file.metadata().map_err(|error| failed("look at the file", error))?;
            if data.is_dir() {
                let text = format!("`{}` is a folder", path.display());
                return Err(CommandError::invalid(text));
            }
            let modified =
                data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let about = json!({
                "size": data.len(),
                "mode": data.permissions().mode() & 0o7777,
                "uid": data.uid(),
                "gid": data.gid(),
                "modified_s": modified.map(|time| time.as_secs()),
            });
            io.outbox.progress(&about).await.map_err(|error| failed("answer", error))?;
            let (offset, length) = (request.offset, request.length.unwrap_or(u64::MAX));
            let mut source = Source::new(file, data.is_file(), offset);
            let mut buffer = Vec::with_capacity(MAX_PAYLOAD);
            let mut sent = 0_u64;
            while sent < length {
                let want = usize::try_from(length - sent).unwrap_or(usize::MAX).min(MAX_PAYLOAD);
                buffer = source
                    .read(buffer, want)
                    .await
                    .map_err(|error| failed(&format!("read `{}`", path.display()), error))?;
                if buffer.is_empty() {
                    break;
                }
                sent += buffer.len() as u64;
                let back = io.outbox.bytes(&Frame::Data(Vec::new()), buffer).await;
                buffer = back.map_err(|error| failed("send the file", error))?;
            }
            io.outbox.data_end().await.map_err(|error| failed("send the file", error))?;
            Ok(Ended::Response(json!({ "bytes": sent })))
        })
    }
}

/// A file that is read a piece at a time: at once as far as the kernel has it in memory, else by a thread that may wait
/// for a disk.
///
/// Bytes that are read where they are encrypted are still in that processor's cache; those that a thread brings are
/// fetched from another's, which costs a third of the speed over TLS.
struct Source {
    file: Arc<File>,
    regular: bool,
    /// There is no disk to wait for.
    in_memory: bool,
    at: u64,
}

impl Source {
    fn new(file: File, regular: bool, at: u64) -> Self {
        let system = rustix::fs::fstatfs(&file).map(|system| i64::from(system.f_type));
        let in_memory = regular && system.is_ok_and(|kind| kind == i64::from(libc::TMPFS_MAGIC));
        Self { file: Arc::new(file), regular, in_memory, at }
    }

    /// At most `want` bytes in place of what `buffer` holds; none at the end.
    async fn read(&mut self, mut buffer: Vec<u8>, want: usize) -> std::io::Result<Vec<u8>> {
        buffer.resize(want, 0);
        let read = match self.at_once(&mut buffer) {
            Some(read) => read,
            None => {
                let (file, regular, at) = (Arc::clone(&self.file), self.regular, self.at);
                let read = spawn_blocking(move || {
                    let read = waiting(&file, regular, at, &mut buffer)?;
                    Ok::<_, std::io::Error>((read, buffer))
                });
                let (read, back) = read.await??;
                buffer = back;
                read
            }
        };
        buffer.truncate(read);
        self.at += read as u64;
        Ok(buffer)
    }

    /// What can be read without waiting.
    fn at_once(&self, buffer: &mut [u8]) -> Option<usize> {
        if self.in_memory {
            return self.file.read_at(buffer, self.at).ok();
        }
        let mut into = [std::io::IoSliceMut::new(buffer)];
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        // Some file systems do not know of it, and what is not regular is read as it comes.
        self.regular.then(|| rustix::io::preadv2(&self.file, &mut into, self.at, flags).ok())?
    }
}

fn waiting(file: &File, regular: bool, at: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        // Files of /proc and devices are read as they come.
        let mut stream = file;
        let read = if regular { file.read_at(buffer, at) } else { stream.read(buffer) };
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Takes a file.
#[derive(Debug)]
pub(super) struct Put;
streamed!(Put, "file-put");

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

impl Streaming for Put {
    fn stream<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
        io: StreamIo,
    ) -> BoxFuture<'a, Result<Ended, CommandError>> {
        Box::pin(async move {
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
            let found =
                wrote.map_err(|error| failed(&format!("write `{}`", path.display()), error))?;
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
        })
    }
}

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
