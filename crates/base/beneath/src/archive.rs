//! Members of a tar stream: headers, long names, extended attributes and sparse maps, each bounded.
//!
//! Formats: POSIX.1-2001 (pax) and ustar, GNU `L`, `K` and `S` records, GNU sparse 1.0 in pax form. Fields of the
//! 512 byte header are read by the `tar` crate. Extension records are read here, because the crate holds them in
//! memory whatever size they claim, and cuts pax values at line ends, which binary attributes contain.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar::{EntryType, Header};

mod extension;

use extension::Extension;

const BLOCK: usize = 512;

/// Why a stream could not be read as a tar archive. Offsets count decompressed bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the archive ends in the middle, after {offset} bytes; fetch or make it again")]
    Truncated { offset: u64 },
    #[error("no tar header at byte {offset}: the file is damaged or not a tar archive")]
    NotATar { offset: u64 },
    #[error("damaged tar header at byte {offset}: {what}")]
    Damaged { offset: u64, what: &'static str },
    #[error("extension header at byte {offset} is larger than {limit} bytes")]
    ExtensionTooLarge { offset: u64, limit: u64 },
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Symlink,
    HardLink,
    CharacterDevice,
    BlockDevice,
    Fifo,
}

/// One member as the archive describes it; nothing in it is trusted yet.
#[derive(Debug, Clone)]
pub struct Member {
    pub path: PathBuf,
    pub kind: Kind,
    /// Size of the file once unpacked, holes included.
    pub size: u64,
    /// Bytes of data that follow in the stream.
    pub stored_size: u64,
    /// Where those bytes begin.
    pub data_offset: u64,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Target of a link.
    pub link: Option<PathBuf>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    pub attributes: Vec<(OsString, Vec<u8>)>,
    /// Pieces of a sparse file, offset and length, ascending; `None` when it has no holes.
    pub pieces: Option<Vec<(u64, u64)>>,
}

/// Reads members one after the other.
pub struct Reader<R> {
    reader: R,
    skip: fn(&mut R, u64) -> io::Result<u64>,
    position: u64,
    /// Bytes of the current member's data, and of its padding, not read yet.
    data_left: u64,
    padding_left: u64,
    extension_limit: u64,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("position", &self.position).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads a stream from its beginning; extension headers of more than `extension_limit` bytes are refused.
    pub fn new(reader: R, extension_limit: u64) -> Self {
        Self {
            reader,
            skip: |reader, n| io::copy(&mut reader.take(n), &mut io::sink()),
            position: 0,
            data_left: 0,
            padding_left: 0,
            extension_limit,
        }
    }

    /// The next member, or `None` after the end mark. Data of the one before that was not read is skipped.
    pub fn next_member(&mut self) -> Result<Option<Member>, Error> {
        let mut extension = Extension::default();
        loop {
            self.skip_rest()?;
            let offset = self.position;
            let Some(header) = self.header()? else { return Ok(None) };
            let damaged = |what| Error::Damaged { offset, what };
            let size = header.entry_size().map_err(|_| damaged("size"))?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let content = self.extension(offset, size)?;
                    extension.read_pax(&content).map_err(damaged)?;
                }
                EntryType::GNULongName => {
                    extension.path = Some(until_nul(self.extension(offset, size)?));
                }
                EntryType::GNULongLink => {
                    extension.link = Some(until_nul(self.extension(offset, size)?));
                }
                // Defaults for the rest of the archive; in practice a comment (`git archive`). Read for its bound only.
                EntryType::XGlobalHeader => {
                    self.extension(offset, size)?;
                }
                kind => return self.member(&header, kind, extension, size, offset).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: &Header,
        entry_type: EntryType,
        extension: Extension,
        size: u64,
        offset: u64,
    ) -> Result<Member, Error> {
        let damaged = |what| Error::Damaged { offset, what };
        let mut path = match extension.path {
            Some(path) => path,
            None => header.path_bytes().into_owned(),
        };
        let link = extension.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
        let kind = match entry_type {
            // Before POSIX, a folder was a file whose name ends in a slash.
            EntryType::Regular if path.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::HardLink,
            EntryType::Char => Kind::CharacterDevice,
            EntryType::Block => Kind::BlockDevice,
            EntryType::Fifo => Kind::Fifo,
            _ => return Err(damaged("unknown kind of member")),
        };
        // POSIX: only files have data, whatever size the header of a link or folder gives.
        let mut stored_size = if kind == Kind::File { extension.size.unwrap_or(size) } else { 0 };
        self.begin_data(stored_size);
        let mut real_size = stored_size;
        let mut pieces = None;
        if entry_type == EntryType::GNUSparse {
            let map = self.old_sparse_map(header, offset)?;
            real_size = header
                .as_gnu()
                .and_then(|gnu| gnu.real_size().ok())
                .ok_or_else(|| damaged("size of a sparse file"))?;
            pieces = Some(map);
        } else if let Some(sparse) = extension.sparse {
            if sparse.major != Some(1) || kind != Kind::File {
                return Err(damaged("sparse form other than GNU's old one and 1.0"));
            }
            real_size = sparse.real_size.ok_or_else(|| damaged("size of a sparse file"))?;
            if let Some(name) = sparse.name {
                path = name;
            }
            pieces = Some(self.sparse_map(offset)?);
            stored_size = self.data_left;
        }
        if let Some(pieces) = &pieces {
            check_pieces(pieces, real_size, stored_size).map_err(damaged)?;
        }
        let number = |value: io::Result<Option<u32>>| value.ok().flatten().unwrap_or(0);
        let device = (number(header.device_major()), number(header.device_minor()));
        Ok(Member {
            path: PathBuf::from(OsString::from_vec(path)),
            kind,
            size: real_size,
            stored_size,
            data_offset: self.position,
            mode: if is_blank(&header.as_old().mode) {
                0
            } else {
                header.mode().map_err(|_| damaged("mode"))? & 0o7777
            },
            uid: match extension.uid {
                Some(uid) => uid,
                None if is_blank(&header.as_old().uid) => 0,
                None => header.uid().map_err(|_| damaged("owner"))?,
            },
            gid: match extension.gid {
                Some(gid) => gid,
                None if is_blank(&header.as_old().gid) => 0,
                None => header.gid().map_err(|_| damaged("group"))?,
            },
            // A time that cannot be read is not worth an error.
            mtime: extension.mtime.or_else(|| header.mtime().ok()).unwrap_or(0),
            link: link.filter(|l| !l.is_empty()).map(|l| PathBuf::from(OsString::from_vec(l))),
            device,
            attributes: extension.attributes,
            pieces,
        })
    }

    /// Bytes read from the stream so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The stream, to read on after the end mark.
    pub fn into_inner(self) -> R {
        self.reader
    }

    fn begin_data(&mut self, size: u64) {
        self.data_left = size;
        self.padding_left = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// The next header, checked; `None` at the end mark.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let offset = self.position;
        let mut block = [0; BLOCK];
        if self.fill(&mut block)? < BLOCK {
            return Err(if offset == 0 {
                Error::NotATar { offset }
            } else {
                Error::Truncated { offset: self.position }
            });
        }
        if block.iter().all(|b| *b == 0) {
            // The mark is two empty blocks; a lone one at the very end is met in practice.
            let got = self.fill(&mut block)?;
            if got == 0 || (got == BLOCK && block.iter().all(|b| *b == 0)) {
                return Ok(None);
            }
            return Err(Error::Damaged { offset, what: "a lone empty block" });
        }
        let header = Header::from_byte_slice(&block);
        let claimed = header.cksum().ok();
        let sum: u32 =
            block[..148].iter().chain(&block[156..]).map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        if claimed != Some(sum) {
            return Err(Error::NotATar { offset });
        }
        Ok(Some(header.clone()))
    }

    fn extension(&mut self, offset: u64, size: u64) -> Result<Vec<u8>, Error> {
        if size > self.extension_limit {
            return Err(Error::ExtensionTooLarge { offset, limit: self.extension_limit });
        }
        self.begin_data(size);
        let mut content = vec![0; size as usize];
        self.read_exact_data(&mut content)?;
        Ok(content)
    }

    /// The map of GNU's `S` members: four pieces in the header, then blocks of 21.
    fn old_sparse_map(&mut self, header: &Header, offset: u64) -> Result<Vec<(u64, u64)>, Error> {
        let damaged = || Error::Damaged { offset, what: "map of a sparse file" };
        let gnu = header.as_gnu().ok_or_else(damaged)?;
        let mut pieces = Vec::new();
        let mut add = |sparse: &tar::GnuSparseHeader| {
            if !sparse.is_empty() {
                let at = sparse.offset().map_err(|_| damaged())?;
                pieces.push((at, sparse.length().map_err(|_| damaged())?));
            }
            Ok::<_, Error>(pieces.len() as u64)
        };
        for sparse in &gnu.sparse {
            add(sparse)?;
        }
        let mut more = gnu.is_extended();
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            if self.fill(block.as_mut_bytes())? < BLOCK {
                return Err(Error::Truncated { offset: self.position });
            }
            for sparse in &block.sparse {
                if add(sparse)? > self.extension_limit / 24 {
                    return Err(Error::ExtensionTooLarge { offset, limit: self.extension_limit });
                }
            }
            more = block.is_extended();
        }
        Ok(pieces)
    }

    /// The map of GNU sparse 1.0: decimal lines at the start of the data, padded to a block.
    fn sparse_map(&mut self, offset: u64) -> Result<Vec<(u64, u64)>, Error> {
        let damaged = || Error::Damaged { offset, what: "map of a sparse file" };
        let mut read: u64 = 0;
        let mut block: VecDeque<u8> = VecDeque::new();
        let mut number = |this: &mut Self| -> Result<u64, Error> {
            let mut value: u64 = 0;
            loop {
                if block.is_empty() {
                    read += BLOCK as u64;
                    if read > this.extension_limit {
                        return Err(Error::ExtensionTooLarge {
                            offset,
                            limit: this.extension_limit,
                        });
                    }
                    let mut next = [0; BLOCK];
                    if this.data_left < BLOCK as u64 {
                        return Err(damaged());
                    }
                    this.read_exact_data(&mut next)?;
                    block.extend(next);
                }
                match block.pop_front() {
                    Some(b'\n') => return Ok(value),
                    Some(digit @ b'0'..=b'9') => {
                        value = value
                            .checked_mul(10)
                            .and_then(|v| v.checked_add(u64::from(digit - b'0')))
                            .ok_or_else(damaged)?;
                    }
                    _ => return Err(damaged()),
                }
            }
        };
        let count = number(self)?;
        let mut pieces = Vec::new();
        for _ in 0..count {
            // Bounded by the bytes read: a line of a piece has at least four.
            pieces.push((number(self)?, number(self)?));
        }
        Ok(pieces)
    }

    fn read_exact_data(&mut self, mut into: &mut [u8]) -> Result<(), Error> {
        while !into.is_empty() {
            let n = self.read_data(into)?;
            if n == 0 {
                return Err(Error::Damaged { offset: self.position, what: "data" });
            }
            into = &mut into[n..];
        }
        Ok(())
    }

    /// Reads the current member's data; 0 when it is at its end.
    pub fn read_data(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let most = into.len().min(usize::try_from(self.data_left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let n = loop {
            match self.reader.read(&mut into[..most]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => break other.map_err(stream_error(self.position))?,
            }
        };
        if n == 0 {
            return Err(Error::Truncated { offset: self.position });
        }
        self.position += n as u64;
        self.data_left -= n as u64;
        Ok(n)
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        let rest = self.data_left.saturating_add(self.padding_left);
        if rest > 0 {
            let skipped =
                (self.skip)(&mut self.reader, rest).map_err(stream_error(self.position))?;
            self.position += skipped;
            if skipped < rest {
                return Err(Error::Truncated { offset: self.position });
            }
        }
        self.data_left = 0;
        self.padding_left = 0;
        Ok(())
    }

    /// Fills `into` as far as the stream goes.
    fn fill(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let mut got = 0;
        while got < into.len() {
            match self.reader.read(&mut into[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(stream_error(self.position)(e)),
            }
        }
        self.position += got as u64;
        Ok(got)
    }
}

impl<R: Read + Seek> Reader<R> {
    /// As [`new`](Self::new), but data is skipped by seeking: for listing a large file.
    pub fn seeking(reader: R, extension_limit: u64) -> Self {
        let mut this = Self::new(reader, extension_limit);
        this.skip = |reader, n| {
            let here = reader.stream_position()?;
            let end = reader.seek(SeekFrom::End(0))?;
            let to = here.saturating_add(n).min(end);
            reader.seek(SeekFrom::Start(to))?;
            Ok(to.saturating_sub(here))
        };
        this
    }
}

/// A decompressor tells of a cut stream in its own way.
fn stream_error(offset: u64) -> impl Fn(io::Error) -> Error {
    move |e| match e.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated { offset },
        _ => Error::Read(e),
    }
}

/// A number that was not written is zero; old archivers leave fields empty.
fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|b| matches!(b, 0 | b' '))
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn check_pieces(pieces: &[(u64, u64)], size: u64, stored: u64) -> Result<(), &'static str> {
    let mut end = 0;
    let mut sum: u64 = 0;
    for (offset, length) in pieces {
        let next = offset.checked_add(*length);
        match next {
            Some(next) if *offset >= end && next <= size => end = next,
            _ => return Err("map of a sparse file: pieces overlap or lie outside"),
        }
        sum += length;
    }
    if sum == stored { Ok(()) } else { Err("map of a sparse file: sizes disagree") }
}
