//! Where arriving bytes go: one pass for the hash, the file, the first bytes, and what is packed in them.

use std::{
    fs::File,
    io::{self, Read as _, Write},
    path::Path,
};

use sha2::{Digest as _, Sha512};

use super::{DownloadError, Unpack};
use crate::{
    disk::{self, Disk, Format, HEAD_BYTES},
    judge::hex,
};

/// Bytes read at a time when a part that is here already is read again.
const PIECE_BYTES: usize = 256 << 10;

/// What a whole pass found.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub(super) size: u64,
    pub(super) sha512: String,
    pub(super) head: Vec<u8>,
    /// Size and first bytes of what was unpacked.
    pub(super) unpacked: Option<(u64, Vec<u8>)>,
}

impl Passed {
    /// What the image is, and what is inside of it.
    pub(super) fn probe(&self) -> Result<(Disk, Option<Disk>), DownloadError> {
        let outer = disk::probe(&self.head)?;
        let inner = self.unpacked.as_ref().map(|(_, head)| disk::probe(head)).transpose()?;
        Ok((outer, inner))
    }
}

/// Takes the bytes of one file.
pub(super) struct Sink {
    file: File,
    hasher: Sha512,
    size: u64,
    limit: u64,
    head: Vec<u8>,
    unpack: Option<Unpack>,
    unpacker: Option<Unpacker>,
}

impl Sink {
    /// A sink for `part`; its first `have` bytes are kept, and read again, for they are part of the hash.
    pub(super) fn open(
        part: &Path,
        have: u64,
        limit: u64,
        unpack: Option<Unpack>,
    ) -> Result<Self, DownloadError> {
        let cannot =
            |doing| move |source| DownloadError::File { doing, path: part.to_owned(), source };
        let mut file = super::open(part, true).map_err(cannot("open"))?;
        file.set_len(have).map_err(cannot("shorten"))?;
        let mut sink = Self {
            file: file.try_clone().map_err(cannot("open"))?,
            hasher: Sha512::new(),
            size: 0,
            limit,
            head: Vec::new(),
            unpack,
            unpacker: None,
        };
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = file.read(&mut piece).map_err(cannot("read"))?;
            if read == 0 {
                break;
            }
            sink.take(&piece[..read])?;
        }
        // Both handles share one position, which is now the end.
        Ok(sink)
    }

    /// Adds bytes that have arrived.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.file.write_all(bytes).map_err(|source| DownloadError::Write { source })?;
        self.take(bytes)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(DownloadError::Size { expected: self.limit, found: self.size });
        }
        self.hasher.update(bytes);
        let before = self.head.len();
        let room = HEAD_BYTES - before;
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        match &mut self.unpacker {
            Some(unpacker) => unpacker.write(bytes),
            // Enough to know the packing; what came before is in the head, whole.
            None if self.unpack.is_some() && before < 6 && self.head.len() >= 6 => {
                let Some(unpack) = self.unpack.take() else { return Ok(()) };
                self.unpacker = Unpacker::new(&self.head, unpack)?;
                let Some(unpacker) = &mut self.unpacker else { return Ok(()) };
                let begun = self.head[..before].to_vec();
                unpacker.write(&begun)?;
                unpacker.write(bytes)
            }
            None => Ok(()),
        }
    }

    /// Bytes taken so far, those that were here included.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Ends the pass; everything is on the disk on return.
    pub(super) fn finish(self) -> Result<Passed, DownloadError> {
        self.file.sync_data().map_err(|source| DownloadError::Write { source })?;
        Ok(Passed {
            size: self.size,
            sha512: hex(&self.hasher.finalize()),
            head: self.head,
            unpacked: self.unpacker.map(Unpacker::finish).transpose()?,
        })
    }
}

/// Unpacks into a file while bytes arrive.
enum Unpacker {
    Gzip(Box<flate2::write::MultiGzDecoder<Bounded>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Bounded>>),
}

impl Unpacker {
    /// `None` when the bytes are not packed, or packed in a way that is not unpacked here.
    fn new(head: &[u8], unpack: Unpack) -> Result<Option<Self>, DownloadError> {
        let format = disk::probe(head).map_or(Format::Raw, |disk| disk.format);
        if !matches!(format, Format::Gzip | Format::Zstd) {
            return Ok(None);
        }
        let path = &unpack.path;
        let cannot = |source| DownloadError::File { doing: "make", path: path.clone(), source };
        let file = super::open(path, true).map_err(cannot)?;
        file.set_len(0).map_err(cannot)?;
        let out = Bounded { file, written: 0, limit: unpack.max_bytes, head: Vec::new() };
        Ok(Some(if format == Format::Gzip {
            Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(out)))
        } else {
            let mut decoder = zstd::stream::write::Decoder::new(out).map_err(cannot)?;
            // 128 MiB, as for layers: what `zstd --ultra` writes without `--long`.
            decoder.window_log_max(27).map_err(cannot)?;
            Self::Zstd(Box::new(decoder))
        }))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
        .map_err(unpacking)
    }

    fn finish(self) -> Result<(u64, Vec<u8>), DownloadError> {
        let out = match self {
            Self::Gzip(decoder) => (*decoder).finish().map_err(unpacking)?,
            Self::Zstd(decoder) => (*decoder).finish().map_err(unpacking)?,
        };
        out.file.sync_data().map_err(|source| DownloadError::Write { source })?;
        Ok((out.written, out.head))
    }
}

fn unpacking(error: io::Error) -> DownloadError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Bomb>()) {
        Some(bomb) => DownloadError::Bomb { limit: bomb.limit },
        None if error.raw_os_error().is_some() => DownloadError::Write { source: error },
        None => DownloadError::Unpack { source: error },
    }
}

/// A file that takes only so much.
struct Bounded {
    file: File,
    written: u64,
    limit: u64,
    head: Vec<u8>,
}

/// More came out than may.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {limit} bytes")]
struct Bomb {
    limit: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.limit - self.written < bytes.len() as u64 {
            return Err(io::Error::other(Bomb { limit: self.limit }));
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        let room = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&bytes[..written.min(room)]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
