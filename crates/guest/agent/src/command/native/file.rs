//! Files in both directions, at full speed: a thread reads or writes the disk while frames go over the connection.

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
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};
use vnode_protocol::frame::{Frame, MAX_PAYLOAD};

use super::{Ended, StreamIo, Streaming, failed, needs_stream, read};
use crate::{
    command::{Class, Command, CommandError, Form},
    context::Context,
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

/// A path as clients give it: absolute, and meant below the root folder.
fn checked(path: &str) -> Result<PathBuf, CommandError> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(CommandError::invalid(format!("`{path}` is no absolute path")));
    }
    Ok(PathBuf::from(path))
}

fn open_failed(action: &str, path: &Path, error: vnode_beneath::DirError) -> CommandError {
    let class = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Class::NotFound,
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => Class::Denied,
        _ => Class::Failed,
    };
    CommandError::new(class, format!("cannot {action} `{}`", path.display())).with_source(error)
}

macro_rules! streamed {
    ($type:ty, $name:literal) => {
        impl Command for $type {
            fn name(&self) -> &str {
                $name
            }

            fn form(&self) -> Form {
                Form::Native
            }

            fn run<'a>(
                &'a self,
                _: &'a Context,
                _: Value,
            ) -> BoxFuture<'a, Result<Value, CommandError>> {
                Box::pin(async { Err(needs_stream()) })
            }

            fn streaming(&self) -> Option<&dyn Streaming> {
                Some(self)
            }
        }
    };
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
            let path = checked(&request.path)?;
            let _place = context.state::<Transfers>().place().await;
            let file =
                context.root().open(&path).map_err(|error| open_failed("open", &path, error))?;
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
            // Two buffers go round: one is read into while the other is sent.
            let (full, mut to_send) = mpsc::channel::<Vec<u8>>(1);
            let (free, to_fill) = mpsc::channel::<Vec<u8>>(2);
            for _ in 0..2 {
                let buffer = Vec::with_capacity(MAX_PAYLOAD);
                free.try_send(buffer).map_err(|error| failed("begin", error))?;
            }
            let (offset, length) = (request.offset, request.length.unwrap_or(u64::MAX));
            let regular = data.is_file();
            let reading =
                spawn_blocking(move || read_all(file, regular, offset, length, to_fill, full));
            let mut sent = 0_u64;
            while let Some(buffer) = to_send.recv().await {
                sent += buffer.len() as u64;
                let back = io.outbox.bytes(&Frame::Data(Vec::new()), buffer).await;
                let back = back.map_err(|error| failed("send the file", error))?;
                // The reader has ended: it wants no more buffers.
                let _ = free.send(back).await;
            }
            let read = reading.await.map_err(|error| failed("read the file", error))?;
            read.map_err(|error| failed(&format!("read `{}`", path.display()), error))?;
            io.outbox.data_end().await.map_err(|error| failed("send the file", error))?;
            Ok(Ended::Response(json!({ "bytes": sent })))
        })
    }
}

/// Reads until the end, until enough, or until nobody takes it any more.
fn read_all(
    mut file: File,
    regular: bool,
    offset: u64,
    length: u64,
    mut to_fill: mpsc::Receiver<Vec<u8>>,
    full: mpsc::Sender<Vec<u8>>,
) -> std::io::Result<()> {
    let mut done = 0;
    while done < length {
        let Some(mut buffer) = to_fill.blocking_recv() else { return Ok(()) };
        let want = usize::try_from(length - done).unwrap_or(usize::MAX).min(MAX_PAYLOAD);
        buffer.resize(want, 0);
        let read = loop {
            let read = if regular {
                file.read_at(&mut buffer, offset + done)
            } else {
                // Files of /proc and devices are read as they come.
                file.read(&mut buffer)
            };
            match read {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        buffer.truncate(read);
        done += read as u64;
        if read == 0 || full.blocking_send(buffer).is_err() {
            return Ok(());
        }
    }
    Ok(())
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
    context: &'a Context,
    path: Option<PathBuf>,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = self.context.root().remove_file(&path)
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
            let path = checked(&request.path)?;
            let _place = context.state::<Transfers>().place().await;
            let (file, mut temporary) = open_for_put(context, &request, &path)?;
            let granted = io.outbox.grant(&io.inbox, AHEAD).await;
            granted.map_err(|error| failed("answer", error))?;
            let (to_write, pieces) = mpsc::channel::<Vec<u8>>(1);
            let (written, mut back) = mpsc::channel::<Vec<u8>>(4);
            let sync = request.sync;
            let writing = spawn_blocking(move || write_all(file, sync, pieces, written));
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
            wrote.map_err(|error| failed(&format!("write `{}`", path.display()), error))?;
            if let Some(from) = &temporary.path {
                let renamed = context.root().rename(from, &path);
                renamed.map_err(|error| open_failed("put in place", &path, error))?;
                temporary.path = None;
                if request.sync {
                    let folder = path.parent().unwrap_or(Path::new("/"));
                    let synced = context.root().open_dir(folder).and_then(|folder| folder.sync());
                    synced.map_err(|error| open_failed("sync the folder of", &path, error))?;
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

fn open_for_put<'a>(
    context: &'a Context,
    request: &PutRequest,
    path: &Path,
) -> Result<(File, Temporary<'a>), CommandError> {
    let root = context.root();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let Some(name) = path.file_name() else {
        return Err(CommandError::invalid(format!("`{}` names no file", path.display())));
    };
    if request.folders {
        root.mkdir_all(folder, 0o755).map_err(|error| open_failed("make", folder, error))?;
    }
    let mut temporary = Temporary { context, path: None };
    let file = if request.append {
        use rustix::fs::OFlags;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY;
        root.open_with(path, flags | OFlags::NONBLOCK, request.mode & 0o777)
    } else {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let short: String = name.to_string_lossy().chars().take(32).collect();
        let new = format!(".vnode-{}-{number}-{short}", std::process::id());
        let new = folder.join(new);
        let file = root.create(&new, 0o600);
        if file.is_ok() {
            temporary.path = Some(new);
        }
        file
    };
    let file = file.map_err(|error| open_failed("open", path, error))?;
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

/// Writes pieces until there are no more; gives each back when it is written.
fn write_all(
    mut file: File,
    sync: bool,
    mut pieces: mpsc::Receiver<Vec<u8>>,
    written: mpsc::Sender<Vec<u8>>,
) -> std::io::Result<()> {
    while let Some(piece) = pieces.blocking_recv() {
        file.write_all(&piece)?;
        // Nobody takes it back once the request has ended.
        let _ = written.blocking_send(piece);
    }
    if sync { file.sync_all() } else { Ok(()) }
}
