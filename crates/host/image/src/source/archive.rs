//! Archives and folders that images are read from: files by name, out of a folder or a tar.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use vnode_beneath::archive::{Kind, Reader};
use vnode_beneath::{Compression, Decoder, Dir, Scope};

use crate::catalogue::Inner;
use crate::error::PullError;
use crate::progress::Meter;

/// Members of an archive of an image that are looked at.
const MEMBERS: usize = 100_000;
/// Links followed from one member to the next.
const LINKS: usize = 8;

/// Files by name.
pub(super) enum Archive {
    Folder(Dir),
    Tar { file: Arc<File>, members: HashMap<PathBuf, Place> },
}

/// Where a member's content is.
pub(super) enum Place {
    Data { offset: u64, size: u64 },
    Link(PathBuf),
}

/// Opens a regular file that may be on any file system; a FIFO does not block.
pub(super) fn open_file(path: &Path) -> Result<(File, u64), PullError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|e| PullError::disk("open", path)(e.into()))?;
    let file = File::from(file);
    let meta = file.metadata().map_err(PullError::disk("look at", path))?;
    if !meta.is_file() {
        return Err(PullError::disk("read", path)(io::Error::other("not a regular file")));
    }
    Ok((file, meta.len()))
}

impl Archive {
    /// Opens a folder or a tar; a packed tar is unpacked to a temporary file first, within the limits. Blocks.
    pub(super) fn open(inner: &Inner, path: &Path) -> Result<Self, PullError> {
        let meta = std::fs::metadata(path).map_err(PullError::disk("open", path))?;
        if meta.is_dir() {
            return Ok(Archive::Folder(Dir::open_ambient(path, Scope::Beneath)?));
        }
        let (file, _) = open_file(path)?;
        let decoder = Decoder::new(&file).map_err(PullError::disk("read", path))?;
        let file = if decoder.compression() == Compression::None {
            drop(decoder);
            (&file).seek(SeekFrom::Start(0)).map_err(PullError::disk("read", path))?;
            file
        } else {
            let limit = inner.options.limits.packed_bytes;
            let copy = unnamed_file(inner)?;
            let n = io::copy(&mut decoder.take(limit + 1), &mut &copy)
                .map_err(PullError::disk("unpack", path))?;
            if n > limit {
                let why = format!("it holds more than {limit} bytes");
                return Err(PullError::disk("unpack", path)(io::Error::other(why)));
            }
            (&copy).seek(SeekFrom::Start(0)).map_err(PullError::disk("unpack", path))?;
            copy
        };
        let members = index(&file, inner.options.limits.unpack.extension_bytes)?;
        Ok(Archive::Tar { file: Arc::new(file), members })
    }

    fn place(&self, name: &Path) -> Option<(u64, u64)> {
        let Archive::Tar { members, .. } = self else { return None };
        let mut name = normal(name)?;
        for _ in 0..LINKS {
            match members.get(&name)? {
                Place::Data { offset, size } => return Some((*offset, *size)),
                Place::Link(to) => name.clone_from(to),
            }
        }
        None
    }

    /// Opens a file of the archive, with its size.
    pub(super) fn file(&self, name: &str) -> Result<(Box<dyn Read + Send>, u64), PullError> {
        let missing = || PullError::Missing { what: format!("`{name}`") };
        match self {
            Archive::Folder(dir) => {
                let file = match dir.open(name) {
                    Err(e) if e.is_not_found() => return Err(missing()),
                    other => other?,
                };
                let meta = file.metadata().map_err(PullError::disk("look at", Path::new(name)))?;
                if !meta.is_file() {
                    return Err(missing());
                }
                let size = meta.len();
                Ok((Box::new(file), size))
            }
            Archive::Tar { file, .. } => {
                let (offset, size) = self.place(Path::new(name)).ok_or_else(missing)?;
                Ok((Box::new(Window { file: file.clone(), offset, left: size }), size))
            }
        }
    }

    /// A small file, whole.
    pub(super) fn small_file(&self, name: &str, limit: u64) -> Result<Vec<u8>, PullError> {
        let (reader, size) = self.file(name)?;
        let failed = PullError::disk("read", Path::new(name));
        if size > limit {
            return Err(failed(io::Error::other(format!("it is larger than {limit} bytes"))));
        }
        let mut content = Vec::new();
        reader.take(limit).read_to_end(&mut content).map_err(failed)?;
        Ok(content)
    }
}

/// A part of a file, read by offset, so that several can be read at once.
struct Window {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Window {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buf[..most], self.offset)?;
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// A file that vanishes with its descriptor.
fn unnamed_file(inner: &Inner) -> Result<File, PullError> {
    let temporary = inner.temporary()?;
    let path = temporary.path.join("archive");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    Ok(inner.dir.open_with(&path, flags, 0o600)?)
}

/// Bytes of all names and targets of links in an archive.
const NAMES: usize = 32 << 20;

fn index(file: &File, extension_limit: u64) -> Result<HashMap<PathBuf, Place>, PullError> {
    let mut reader = Reader::seeking(file, extension_limit);
    let mut members = HashMap::new();
    let mut names = 0;
    while let Some(member) = reader.next_member().map_err(PullError::Archive)? {
        let Some(name) = normal(&member.path) else { continue };
        let place = match (member.kind, &member.link) {
            (Kind::File, _) if member.pieces.is_none() => {
                Place::Data { offset: member.data_offset, size: member.size }
            }
            // Old archives of docker store a layer once and link to it.
            (Kind::Symlink, Some(to)) => {
                let from = name.parent().unwrap_or(Path::new(""));
                match normal(&from.join(to)) {
                    Some(to) => Place::Link(to),
                    None => continue,
                }
            }
            (Kind::HardLink, Some(to)) => match normal(to) {
                Some(to) => Place::Link(to),
                None => continue,
            },
            _ => continue,
        };
        names += name.as_os_str().len();
        if let Place::Link(to) = &place {
            names += to.as_os_str().len();
        }
        if members.len() == MEMBERS || names > NAMES {
            let why = format!(
                "it has more than {MEMBERS} members, or {NAMES} bytes of names; is it an image?"
            );
            return Err(PullError::disk("read", Path::new("archive"))(io::Error::other(why)));
        }
        members.insert(name, place);
    }
    Ok(members)
}

/// A path on paper: `a/../b` is `b`; out of the archive is nowhere.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.into_iter().collect())
}

/// Tells how much has been read.
pub(super) struct Metered<R> {
    reader: R,
    meter: Meter,
    untold: u64,
}

impl<R> Metered<R> {
    pub(super) fn new(reader: R, meter: &Meter) -> Self {
        Self { reader, meter: meter.clone(), untold: 0 }
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        self.untold += n as u64;
        if self.untold >= 1 << 20 || n == 0 {
            self.meter.bytes(std::mem::take(&mut self.untold));
        }
        Ok(n)
    }
}
