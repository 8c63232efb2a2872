//! Unpacking and converting while bytes arrive, on a thread of its own.
//!
//! | what arrives | what is made of it |
//! |---|---|
//! | gzip, bzip2, xz, zstd, zip of one file | the file inside; zeros are not written |
//! | OVA (a tar whose first member is an OVF description) | its one disk, also in a folder |
//! | stream-optimised VMDK, also inside of these | a raw disk |
//! | any other tar, also packed with gzip or zstd | nothing: the catalogue unpacks it itself |
//! | anything else | nothing |
//!
//! Everything is bounded: what comes out by [`Unpack::max_bytes`], members by number and by name. Members are read as
//! streams, one at a time; nothing is ever written under a name that an archive chose.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _},
    path::{Component, Path},
    sync::mpsc::Receiver,
};

use bytes::{Buf as _, Bytes};
use vnode_beneath::archive::{Kind, Reader};

use super::{DownloadError, Unpack};
use crate::disk::{self, Format, HEAD_BYTES};

/// Most members of an OVA.
const MEMBERS: usize = 100;
/// Longest header of a VMDK before its grains.
const VMDK_HEAD: u64 = 4 << 20;
/// A piece of zeros this long is left out of the file.
const HOLE: usize = 64 << 10;

/// What was made.
#[derive(Debug, Clone)]
pub(super) struct Unpacked {
    pub(super) size: u64,
    pub(super) head: Vec<u8>,
}

/// Bytes as they arrive.
pub(super) struct Pieces {
    from: Receiver<Bytes>,
    piece: Bytes,
}

impl Pieces {
    pub(super) fn new(from: Receiver<Bytes>) -> Self {
        Self { from, piece: Bytes::new() }
    }
}

impl Pieces {
    /// A piece as it came; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        self.from.recv().ok()
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.recv() {
                Ok(piece) => self.piece = piece,
                // The download ended, whole or not: its own error says which.
                Err(_) => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Reads everything; makes what can be made of it.
pub(super) fn run(mut pieces: Pieces, unpack: &Unpack) -> Result<Option<Unpacked>, DownloadError> {
    let made = choose(&mut pieces, unpack);
    // The rest is read whatever it is, so that the download is not held up.
    let rest = io::copy(&mut pieces, &mut io::sink()).map_err(unpacking);
    let made = made?;
    rest?;
    Ok(made)
}

fn choose(pieces: &mut Pieces, unpack: &Unpack) -> Result<Option<Unpacked>, DownloadError> {
    let (start, reader) = peek(pieces, 512)?;
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    match start.as_slice() {
        [0x1f, 0x8b, ..] => inside(&mut flate2::bufread::MultiGzDecoder::new(reader), unpack, true),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(reader).map_err(unpacking)?;
            // 128 MiB would break our bound on memory: what `zstd -19` writes without `--long` is 8 MiB.
            decoder.window_log_max(24).map_err(unpacking)?;
            inside(&mut decoder, unpack, true)
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
            inside(&mut bzip2::bufread::MultiBzDecoder::new(reader), unpack, false)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            // 64 MiB, what `xz -9` wants.
            let stream = liblzma::stream::Stream::new_stream_decoder(
                72 << 20,
                liblzma::stream::CONCATENATED,
            )
            .map_err(|error| unpacking(error.into()))?;
            inside(&mut liblzma::bufread::XzDecoder::new_stream(reader, stream), unpack, false)
        }
        [b'P', b'K', 3, 4, ..] => zip(reader, unpack),
        _ if is_ova(&start) => ova(&mut reader, unpack),
        [b'K', b'D', b'M', b'V', ..] if is_stream_optimised(&start) => {
            vmdk(reader, unpack).map(Some)
        }
        _ => Ok(None),
    }
}

/// A stream with the bytes that were looked at put back.
type Peeked<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// The first `length` bytes, and a reader that begins with them.
fn peek<R: Read>(mut reader: R, length: u64) -> Result<(Vec<u8>, Peeked<R>), DownloadError> {
    let mut start = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut start).map_err(unpacking)?;
    Ok((start.clone(), Read::chain(io::Cursor::new(start), reader)))
}

/// What a packing holds. `catalogued`: the catalogue unpacks a tar in it itself.
///
/// Not generic: archives in archives would have no end for the compiler. An OVA in an OVA is copied as it is, so that
/// there is an end for the stack too.
fn inside(
    decoder: &mut dyn Read,
    unpack: &Unpack,
    catalogued: bool,
) -> Result<Option<Unpacked>, DownloadError> {
    let (start, mut reader) = peek(decoder, 512)?;
    if is_ova(&start) {
        return ova(&mut reader, unpack);
    }
    disk_of(&start, reader, unpack, catalogued)
}

fn disk_of(
    start: &[u8],
    reader: impl Read,
    unpack: &Unpack,
    catalogued: bool,
) -> Result<Option<Unpacked>, DownloadError> {
    if start.starts_with(b"KDMV") && is_stream_optimised(start) {
        return vmdk(reader, unpack).map(Some);
    }
    if catalogued && start.get(257..262) == Some(b"ustar") {
        return Ok(None);
    }
    copy(reader, unpack).map(Some)
}

fn is_ova(start: &[u8]) -> bool {
    let name = start.get(..100).unwrap_or_default();
    let name = name.split(|b| *b == 0).next().unwrap_or_default();
    start.get(257..262) == Some(b"ustar") && name.to_ascii_lowercase().ends_with(b".ovf")
}

/// Compressed grains and markers, from the flags of the header.
fn is_stream_optimised(start: &[u8]) -> bool {
    number(start, 8, 4) & 0x3_0000 == 0x3_0000
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.get(at..at + length).unwrap_or_default();
    bytes.iter().rev().fold(0, |n, b| (n << 8) | u64::from(*b))
}

/// A file that takes only so much.
struct Out {
    file: File,
    limit: u64,
    head: Vec<u8>,
}

impl Out {
    fn new(unpack: &Unpack) -> Result<Self, DownloadError> {
        let path = &unpack.path;
        let cannot = |source| DownloadError::File { doing: "make", path: path.clone(), source };
        let file = super::open(path, true).map_err(cannot)?;
        file.set_len(0).map_err(cannot)?;
        Ok(Self { file, limit: unpack.max_bytes, head: Vec::new() })
    }

    fn check(&self, size: u64) -> Result<(), DownloadError> {
        if size > self.limit { Err(DownloadError::Bomb { limit: self.limit }) } else { Ok(()) }
    }

    fn end(self, size: u64) -> Result<Unpacked, DownloadError> {
        let written = |source| DownloadError::Write { source };
        self.file.set_len(size).map_err(written)?;
        self.file.sync_data().map_err(written)?;
        vnode_operation::fault::point("imagelist.unpack.after")
            .map_err(|injected| written(io::Error::other(injected)))?;
        Ok(Unpacked { size, head: self.head })
    }
}

/// The bytes as they are; pieces of zeros become holes.
fn copy(mut reader: impl Read, unpack: &Unpack) -> Result<Unpacked, DownloadError> {
    let mut out = Out::new(unpack)?;
    let mut piece = Vec::with_capacity(HOLE);
    let mut size = 0_u64;
    loop {
        piece.clear();
        reader.by_ref().take(HOLE as u64).read_to_end(&mut piece).map_err(unpacking)?;
        if piece.is_empty() {
            return out.end(size);
        }
        size += piece.len() as u64;
        out.check(size)?;
        let room = HEAD_BYTES - out.head.len();
        out.head.extend_from_slice(&piece[..piece.len().min(room)]);
        let written = if piece.iter().all(|b| *b == 0) {
            out.file.seek(SeekFrom::Current(piece.len() as i64)).map(drop)
        } else {
            out.file.write_all(&piece)
        };
        written.map_err(|source| DownloadError::Write { source })?;
    }
}

/// The one file of a zip (APPNOTE.TXT 4.3), read as a stream.
fn zip(mut reader: impl io::BufRead, unpack: &Unpack) -> Result<Option<Unpacked>, DownloadError> {
    let mut head = [0; 30];
    reader.read_exact(&mut head).map_err(unpacking)?;
    let (flags, method) = (number(&head, 6, 2), number(&head, 8, 2));
    if flags & 1 != 0 {
        return Err(wrong("the zip is encrypted"));
    }
    let mut names = vec![0; (number(&head, 26, 2) + number(&head, 28, 2)) as usize];
    reader.read_exact(&mut names).map_err(unpacking)?;
    let name = &names[..number(&head, 26, 2) as usize];
    if name.ends_with(b"/") {
        return Err(wrong("the zip begins with a folder; it must hold the one file of the image"));
    }
    let made = match method {
        0 if flags & 8 != 0 || number(&head, 18, 4) == 0xffff_ffff => {
            return Err(wrong("the zip stores a file without saying how long it is"));
        }
        0 => inside(&mut reader.by_ref().take(number(&head, 18, 4)), unpack, false)?,
        8 => inside(&mut flate2::bufread::DeflateDecoder::new(&mut reader), unpack, false)?,
        _ => return Err(wrong("the zip is packed in a way that is not known here")),
    };
    // A data descriptor of at most 24 bytes, then the next file, or the central directory.
    let mut next = Vec::new();
    reader.take(28).read_to_end(&mut next).map_err(unpacking)?;
    let found = next.windows(4).find(|four| four.starts_with(b"PK") && four[2..] != [7, 8]);
    match found {
        Some([b'P', b'K', 1, 2]) => Ok(made),
        Some([b'P', b'K', 3, 4]) => Err(wrong("the zip holds more than one file")),
        _ => Err(wrong("the zip is cut off")),
    }
}

/// The one disk of an OVA.
fn ova(reader: &mut dyn Read, unpack: &Unpack) -> Result<Option<Unpacked>, DownloadError> {
    let mut members = Reader::new(reader, 1 << 20);
    let damaged = |error: vnode_beneath::archive::Error| unpacking(io::Error::other(error));
    let mut disk = None;
    for number in 0.. {
        let Some(member) = members.next_member().map_err(damaged)? else { break };
        if number == MEMBERS {
            return Err(wrong("the OVA has more than 100 members"));
        }
        let plain =
            member.path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !plain {
            return Err(wrong("a member of the OVA would leave its folder"));
        }
        match member.kind {
            Kind::Folder => continue,
            Kind::File if member.pieces.is_none() => {}
            _ => return Err(wrong("a member of the OVA is no plain file")),
        }
        if !is_disk(&member.path) {
            continue;
        }
        if disk.is_some() {
            return Err(wrong("the OVA has more than one disk; a node takes one"));
        }
        let (start, reader) = peek(Data(&mut members), 512)?;
        disk = disk_of(&start, reader, unpack, false)?;
    }
    Ok(disk)
}

/// Data of the member an archive is at.
struct Data<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_data(buffer).map_err(io::Error::other)
    }
}

fn is_disk(path: &Path) -> bool {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".vmdk", ".vdi", ".qcow2", ".raw", ".img"].iter().any(|e| name.ends_with(e))
}

/// A raw disk from a stream-optimised VMDK (VMware's "Virtual Disk Format 5.0"): grains follow each other, each with
/// its place on the disk.
fn vmdk(mut reader: impl Read, unpack: &Unpack) -> Result<Unpacked, DownloadError> {
    let mut head = vec![0; 512];
    reader.read_exact(&mut head).map_err(unpacking)?;
    let sectors = |at| number(&head, at, 8).saturating_mul(512);
    let (capacity, grain, begin) = (sectors(12), sectors(20), sectors(64));
    if !(512..=VMDK_HEAD).contains(&begin) || !(4096..=1 << 20).contains(&grain) {
        return Err(wrong("the header of the VMDK is wrong"));
    }
    let mut rest = vec![0; begin as usize - 512];
    reader.read_exact(&mut rest).map_err(unpacking)?;
    head.extend_from_slice(&rest);
    // The descriptor may still name a parent.
    disk::probe(&head)?;
    let mut out = Out::new(unpack)?;
    out.check(capacity)?;
    let mut packed = Vec::new();
    let mut plain = Vec::with_capacity(grain as usize);
    loop {
        let mut marker = [0; 512];
        reader.read_exact(&mut marker).map_err(unpacking)?;
        let (value, size) = (number(&marker, 0, 8), number(&marker, 8, 4));
        if size == 0 {
            match number(&marker, 12, 4) {
                0 => break,
                1..=3 => {
                    let skip = value.checked_mul(512).filter(|n| *n <= capacity + (64 << 20));
                    let skip = skip.ok_or_else(|| wrong("a marker of the VMDK is wrong"))?;
                    let read = io::copy(&mut reader.by_ref().take(skip), &mut io::sink());
                    if read.map_err(unpacking)? != skip {
                        return Err(wrong("the VMDK is cut off"));
                    }
                }
                _ => return Err(wrong("a marker of the VMDK is not known")),
            }
            continue;
        }
        let at = value.checked_mul(512).filter(|at| *at < capacity && at % grain == 0);
        let at = at.ok_or_else(|| wrong("a grain of the VMDK lies outside of its disk"))?;
        if size > 2 * grain {
            return Err(wrong("a grain of the VMDK is too long"));
        }
        let size = size as usize;
        packed.clear();
        packed.extend_from_slice(&marker[12..12 + size.min(500)]);
        if size > 500 {
            // To the end of a sector, counted with the marker's twelve bytes.
            let more = (12 + size).next_multiple_of(512) - 512;
            let before = packed.len();
            packed.resize(before + more, 0);
            reader.read_exact(&mut packed[before..]).map_err(unpacking)?;
            packed.truncate(size);
        }
        plain.clear();
        let inflated = flate2::read::ZlibDecoder::new(packed.as_slice());
        inflated.take(grain + 1).read_to_end(&mut plain).map_err(unpacking)?;
        let room = grain.min(capacity - at);
        if plain.len() as u64 > grain {
            return Err(wrong("a grain of the VMDK unpacks to more than a grain"));
        }
        plain.truncate(room as usize);
        if plain.iter().any(|b| *b != 0) {
            std::os::unix::fs::FileExt::write_all_at(&out.file, &plain, at)
                .map_err(|source| DownloadError::Write { source })?;
        }
    }
    let mut start = vec![0; HEAD_BYTES.min(usize::try_from(capacity).unwrap_or(HEAD_BYTES))];
    out.file.set_len(capacity).map_err(|source| DownloadError::Write { source })?;
    std::os::unix::fs::FileExt::read_exact_at(&out.file, &mut start, 0)
        .map_err(|source| DownloadError::Write { source })?;
    out.head = start;
    out.end(capacity)
}

fn wrong(what: &str) -> DownloadError {
    DownloadError::Unpack { source: io::Error::other(what.to_owned()) }
}

fn unpacking(source: io::Error) -> DownloadError {
    DownloadError::Unpack { source }
}

/// Whether what was unpacked is still a packing, which nobody unpacks further.
pub(super) fn is_packed_twice(format: Format) -> bool {
    format.is_packed() && format != Format::Tar
}
