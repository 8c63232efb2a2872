//! Where arriving bytes go: one pass for the hash, the file, the first bytes, and what is packed in them.
//!
//! Hashing and unpacking have threads of their own, so that neither holds up the other or the disk; a few pieces wait
//! between them, which bounds the memory.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::Path,
    sync::mpsc::{SyncSender, sync_channel},
    thread::JoinHandle,
};

use bytes::Bytes;
use openssl::sha::{Sha256, Sha512};

use super::{
    DownloadError, Job, Unpack,
    unpack::{self, Pieces, Unpacked},
};
use crate::{
    disk::{self, Disk, HEAD_BYTES},
    judge::hex,
};

/// Bytes read at a time when a part that is here already is read again.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait for a thread.
const WAITING: usize = 8;

/// Bytes after which the disk is told to begin.
const FLUSH_BYTES: u64 = 64 << 20;

/// What a whole pass found.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub(super) size: u64,
    pub(super) sha512: String,
    /// When it was asked for.
    pub(super) sha256: Option<String>,
    pub(super) head: Vec<u8>,
    /// What was unpacked, if anything was.
    pub(super) unpacked: Option<Unpacked>,
}

impl Passed {
    /// Whether this is the file that is wanted.
    pub(super) fn is(&self, job: &Job) -> bool {
        match &job.sha256 {
            Some(sha256) => self.sha256.as_ref() == Some(sha256),
            None => self.sha512 == job.sha512,
        }
    }

    /// What the image is, and what is inside of it.
    pub(super) fn probe(&self) -> Result<(Disk, Option<Disk>), DownloadError> {
        let outer = disk::probe(&self.head)?;
        let inner = self.unpacked.as_ref().map(|made| disk::probe(&made.head)).transpose()?;
        if let Some(inner) = inner.filter(|inner| unpack::is_packed_twice(inner.format)) {
            let what = format!("what is packed in it is packed again ({:?})", inner.format);
            return Err(DownloadError::Unpack { source: std::io::Error::other(what) });
        }
        Ok((outer, inner))
    }
}

/// Takes the bytes of one file.
pub(super) struct Sink {
    file: File,
    size: u64,
    limit: u64,
    head: Vec<u8>,
    hash: Worker<String>,
    sha256: Option<Worker<String>>,
    /// Told to bring to the disk what was written so far, so that the end has little to wait for.
    flush: Flush,
    flushed: u64,
    unpack: Option<Worker<Result<Option<Unpacked>, DownloadError>>>,
}

/// A thread that brings the file to the disk.
struct Flush {
    ask: SyncSender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

/// A thread that takes pieces and ends with a value.
struct Worker<T> {
    pieces: SyncSender<Bytes>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Worker<T> {
    fn start(
        name: &str,
        work: impl FnOnce(Pieces) -> T + Send + 'static,
    ) -> Result<Self, DownloadError> {
        let (pieces, from) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(Pieces::new(from)))
            .map_err(|source| DownloadError::Write { source })?;
        Ok(Self { pieces, thread })
    }

    fn end(self) -> Result<T, DownloadError> {
        drop(self.pieces);
        self.thread.join().map_err(|_| DownloadError::Cancelled)
    }
}

impl Sink {
    /// A sink for `part`; its first `have` bytes are kept, and read again, for they are part of the hash.
    pub(super) fn open(
        part: &Path,
        have: u64,
        limit: u64,
        also_sha256: bool,
        unpack: Option<Unpack>,
    ) -> Result<Self, DownloadError> {
        let cannot =
            |doing| move |source| DownloadError::File { doing, path: part.to_owned(), source };
        let mut file = super::open(part, true).map_err(cannot("open"))?;
        file.set_len(have).map_err(cannot("shorten"))?;
        let hash = Worker::start("hash", |mut pieces: Pieces| {
            let mut hasher = Sha512::new();
            while let Some(piece) = pieces.next() {
                hasher.update(&piece);
            }
            hex(&hasher.finish())
        })?;
        let sha256 = match also_sha256 {
            true => Some(Worker::start("hash-256", |mut pieces: Pieces| {
                let mut hasher = Sha256::new();
                while let Some(piece) = pieces.next() {
                    hasher.update(&piece);
                }
                hex(&hasher.finish())
            })?),
            false => None,
        };
        let (flush, asked) = sync_channel::<()>(1);
        let own = file.try_clone().map_err(cannot("open"))?;
        let flush = Flush {
            ask: flush,
            thread: std::thread::Builder::new()
                .name("flush".to_owned())
                .spawn(move || {
                    while asked.recv().is_ok() {
                        // The kernel tells of a failure once: who asks later would not hear of it.
                        own.sync_data()?;
                    }
                    own.sync_data()
                })
                .map_err(|source| DownloadError::Write { source })?,
        };
        let unpack = match unpack {
            Some(to) => Some(Worker::start("unpack", move |pieces| unpack::run(pieces, &to))?),
            None => None,
        };
        let mut sink = Self {
            file: file.try_clone().map_err(cannot("open"))?,
            size: 0,
            limit,
            head: Vec::new(),
            hash,
            sha256,
            flush,
            flushed: have,
            unpack,
        };
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = file.read(&mut piece).map_err(cannot("read"))?;
            if read == 0 {
                break;
            }
            piece.truncate(read);
            sink.take(piece.into())?;
        }
        // Both handles share one position, which is now the end.
        Ok(sink)
    }

    /// Adds bytes that have arrived.
    pub(super) fn write(&mut self, bytes: Bytes) -> Result<(), DownloadError> {
        let file = self.file.write_all(&bytes);
        self.take(bytes)?;
        if self.size - self.flushed >= FLUSH_BYTES {
            self.flushed = self.size;
            // One that is under way has most of it.
            let _ = self.flush.ask.try_send(());
        }
        file.map_err(|source| DownloadError::Write { source })
    }

    fn take(&mut self, bytes: Bytes) -> Result<(), DownloadError> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(DownloadError::Size { expected: self.limit, found: self.size });
        }
        let room = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        // A thread that has ended early says why in the end; unpacking then reads no more.
        if let Some(unpack) = &self.unpack {
            let _ = unpack.pieces.send(bytes.clone());
        }
        if let Some(sha256) = &self.sha256 {
            let _ = sha256.pieces.send(bytes.clone());
        }
        let _ = self.hash.pieces.send(bytes);
        Ok(())
    }

    /// Bytes taken so far, those that were here included.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Ends the pass; everything is on the disk on return.
    pub(super) fn finish(self) -> Result<Passed, DownloadError> {
        drop(self.flush.ask);
        let synced = self.flush.thread.join().map_err(|_| DownloadError::Cancelled)?;
        let sha512 = self.hash.end()?;
        let sha256 = self.sha256.map(Worker::end).transpose()?;
        let unpacked = match self.unpack {
            Some(unpack) => Some(unpack.end()?),
            None => None,
        };
        synced.map_err(|source| DownloadError::Write { source })?;
        Ok(Passed {
            size: self.size,
            sha512,
            sha256,
            head: self.head,
            unpacked: unpacked.transpose()?.flatten(),
        })
    }
}
