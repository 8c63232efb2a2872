//! A file that goes to a client: what the kernel has in memory is read where it is sent; for the disk a thread waits.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    sync::Arc,
    time::UNIX_EPOCH,
};

use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;
use vnode_protocol::frame::{Frame, MAX_PAYLOAD};

use super::{
    super::{Ended, failed, read},
    Transfers, open_failed,
};
use crate::{command::CommandError, context::Place};

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

streamed!(Get, "file-get", "Gives a file.", |context, value, io| {
    let request: GetRequest = read(value)?;
    let Place { folder, below, path } = context.place(&request.path)?;
    let _turn = context.state::<Transfers>().place().await;
    let file = folder.open(&below).map_err(|error| open_failed("open", &path, error))?;
    let data = file.metadata().map_err(|error| failed("look at the file", error))?;
    if data.is_dir() {
        let text = format!("`{}` is a folder", path.display());
        return Err(CommandError::invalid(text));
    }
    let modified = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
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
});

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
        let system = rustix::fs::fstatfs(&file).map(|system| system.f_type);
        let in_memory = regular && system.is_ok_and(|kind| kind == libc::TMPFS_MAGIC);
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
