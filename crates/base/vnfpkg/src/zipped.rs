//! Zip, read strictly: the list at the end and the header before each file must say the same, and the file must
//! consist of nothing else.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use crate::{
    decode::wrapped,
    limits::Limits,
    path::normalise,
    problem::{Code, Problem},
    tree::{Entry, Kind, Visit, escaped},
};

const END: usize = 22;
const CENTRAL: usize = 46;
const LOCAL: usize = 30;
/// Bytes of the list, at most.
const LIST: u64 = 4 << 20;

struct Central {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    mode: u32,
    offset: u64,
}

fn ambiguous(what: &str) -> Problem {
    Problem::new(Code::Ambiguous, format!("{what}: readers would not agree; pack it again"))
}

fn truncated() -> Problem {
    Problem::new(Code::Truncated, "the zip archive ends in the middle; send it again")
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn at(file: &mut File, offset: u64, length: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(|_| truncated())?;
    Ok(bytes)
}

/// Walks the archive in the order of its list.
pub(crate) fn walk(file: &mut File, limits: &Limits, visit: &mut dyn Visit) -> Result<(), Problem> {
    let length = file.seek(SeekFrom::End(0)).map_err(|_| truncated())?;
    let entries = list(file, length, limits)?;
    let mut total = 0u64;
    for central in &entries {
        let shown = escaped(&central.name);
        let begin = check_local(file, central)?;
        let folder = central.name.ends_with(b"/");
        let path = normalise(&central.name, limits)?;
        let kind = match central.mode & 0o170_000 {
            _ if folder => Kind::Folder,
            0 | 0o100_000 => Kind::File,
            0o120_000 => {
                if central.size > 4096 {
                    return Err(
                        Problem::new(Code::Link, "the target of a link is too long").entry(path)
                    );
                }
                let mut target = Vec::new();
                let mut data = Data::new(file, begin, central)?;
                data.read_to_end(&mut target).map_err(|error| {
                    crate::decode::problem_of(error, crate::Packing::Zip, true).entry(&path)
                })?;
                Kind::Symlink(String::from_utf8(target).map_err(|_| {
                    Problem::new(Code::NameEncoding, "the target of a link is not UTF-8")
                        .entry(&path)
                })?)
            }
            _ => return Err(Problem::new(Code::Type, "no file, folder or link").entry(path)),
        };
        if kind == Kind::File && central.mode & 0o7000 != 0 {
            return Err(Problem::new(Code::Mode, "setuid, setgid or sticky on a file").entry(path));
        }
        if folder && central.size != 0 {
            return Err(ambiguous("a folder has data").entry(path));
        }
        if path.is_empty() && kind != Kind::Folder {
            return Err(Problem::new(Code::Path, "the path is empty").entry(shown));
        }
        // A header may say any number.
        total = total.saturating_add(central.size);
        if total > limits.total_bytes {
            let what = format!("all files together have more than {} bytes", limits.total_bytes);
            return Err(Problem::new(Code::Bomb, what).entry(path));
        }
        if central.size > limits.file_bytes {
            let what = format!("{} bytes, and a file may have {}", central.size, limits.file_bytes);
            return Err(Problem::new(Code::Size, what).entry(path));
        }
        if central.size > limits.ratio_from && central.size / limits.ratio > central.packed {
            return Err(
                Problem::new(Code::Bomb, "it unpacks to far more than it is packed").entry(path)
            );
        }
        let size = if kind == Kind::File { central.size } else { 0 };
        let entry = Entry { path, kind, size };
        if entry.kind == Kind::File {
            let mut data = Data::new(file, begin, central)?;
            visit.entry(&entry, &mut data)?;
        } else {
            visit.entry(&entry, &mut io::empty())?;
        }
    }
    Ok(())
}

fn list(file: &mut File, length: u64, limits: &Limits) -> Result<Vec<Central>, Problem> {
    if length < END as u64 {
        return Err(truncated());
    }
    let end = at(file, length - END as u64, END)?;
    if &end[..4] != b"PK\x05\x06" {
        // Somewhere before, with something behind it?
        let from = length.saturating_sub(END as u64 + 65_535);
        let bytes = at(file, from, usize::try_from(length - from).unwrap_or(0))?;
        return Err(if bytes.windows(4).any(|window| window == b"PK\x05\x06") {
            Problem::new(Code::Trailing, "something follows the end of the zip archive")
        } else {
            truncated()
        });
    }
    let (disk, start_disk) = (short(&end, 4), short(&end, 6));
    let (here, count) = (short(&end, 8), short(&end, 10));
    let (size, offset) = (number(&end, 12, 4), number(&end, 16, 4));
    if disk != 0 || start_disk != 0 || here != count {
        return Err(Problem::new(Code::Format, "a zip archive of several volumes"));
    }
    if count == u16::MAX || offset == u64::from(u32::MAX) {
        return Err(Problem::new(Code::Format, "zip64 is for more than a package may hold"));
    }
    if usize::from(count) > limits.entries {
        return Err(Problem::new(Code::TooMany, format!("more than {} entries", limits.entries)));
    }
    if offset + size != length - END as u64 || size > LIST {
        return Err(ambiguous("the list of the zip archive is not where its end says"));
    }
    let bytes = at(file, offset, usize::try_from(size).unwrap_or(0))?;
    let mut rest = bytes.as_slice();
    let mut entries = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        if rest.len() < CENTRAL || &rest[..4] != b"PK\x01\x02" {
            return Err(ambiguous("the list of the zip archive is damaged"));
        }
        let lengths = [28, 30, 32].map(|at| usize::from(short(rest, at)));
        let whole = CENTRAL + lengths.iter().sum::<usize>();
        if rest.len() < whole {
            return Err(ambiguous("the list of the zip archive is damaged"));
        }
        let name = rest[CENTRAL..CENTRAL + lengths[0]].to_vec();
        let extra = &rest[CENTRAL + lengths[0]..CENTRAL + lengths[0] + lengths[1]];
        let shown = escaped(&name);
        if has_unicode_path(extra) {
            return Err(ambiguous("an entry has a second name").entry(shown));
        }
        let flags = short(rest, 8);
        if flags & 0x2041 != 0 {
            return Err(Problem::new(Code::Encrypted, "the entry is encrypted").entry(shown));
        }
        let method = short(rest, 10);
        if !matches!(method, 0 | 8) {
            let what = format!("compression method {method}; stored and deflate are read");
            return Err(Problem::new(Code::Format, what).entry(shown));
        }
        let made_by_unix = rest[5] == 3;
        entries.push(Central {
            name,
            flags,
            method,
            crc: number(rest, 16, 4) as u32,
            packed: number(rest, 20, 4),
            size: number(rest, 24, 4),
            mode: if made_by_unix { number(rest, 40, 2) as u32 } else { 0 },
            offset: number(rest, 42, 4),
        });
        rest = &rest[whole..];
    }
    if !rest.is_empty() {
        return Err(ambiguous("the list of the zip archive holds more than its end says"));
    }
    cover(file, &mut entries, offset)?;
    Ok(entries)
}

fn has_unicode_path(mut extra: &[u8]) -> bool {
    while extra.len() >= 4 {
        if short(extra, 0) == 0x7075 {
            return true;
        }
        extra = extra.get(4 + usize::from(short(extra, 2))..).unwrap_or_default();
    }
    false
}

/// Entries must lie one behind the other, from the first byte to the list.
fn cover(file: &mut File, entries: &mut [Central], list: u64) -> Result<(), Problem> {
    let mut order: Vec<&Central> = entries.iter().collect();
    order.sort_by_key(|central| central.offset);
    let mut expected = 0;
    for central in order {
        let wrong = |what| ambiguous(what).entry(escaped(&central.name));
        if central.offset != expected {
            return Err(wrong("entries overlap, or something lies between them"));
        }
        let begin = check_local(file, central)?;
        let mut end = begin + central.packed;
        if central.flags & 8 != 0 {
            let left = usize::try_from(list.saturating_sub(end)).unwrap_or(0).min(16);
            let told = at(file, end, left)?;
            let fits = |from: usize| {
                told.len() >= from + 12
                    && number(&told, from, 4) as u32 == central.crc
                    && number(&told, from + 4, 4) == central.packed
                    && number(&told, from + 8, 4) == central.size
            };
            end += match () {
                () if told.starts_with(b"PK\x07\x08") && fits(4) => 16,
                () if fits(0) => 12,
                () => return Err(wrong("what follows the entry does not fit the list")),
            };
        }
        expected = end;
    }
    if expected != list {
        return Err(ambiguous("something lies between the entries and their list"));
    }
    Ok(())
}

/// Compares the header before the data with the list; gives where the data begins.
fn check_local(file: &mut File, central: &Central) -> Result<u64, Problem> {
    let wrong = |what: &str| ambiguous(what).entry(escaped(&central.name));
    let header = at(file, central.offset, LOCAL)?;
    if &header[..4] != b"PK\x03\x04" {
        return Err(wrong("no entry begins where the list says"));
    }
    let name_length = usize::from(short(&header, 26));
    let extra_length = usize::from(short(&header, 28));
    let rest = at(file, central.offset + LOCAL as u64, name_length + extra_length)?;
    if rest[..name_length] != central.name[..] {
        return Err(wrong("the entry has another name than the list"));
    }
    if has_unicode_path(&rest[name_length..]) {
        return Err(wrong("the entry has a second name"));
    }
    if short(&header, 8) != central.method || (short(&header, 6) ^ central.flags) & 0x2049 != 0 {
        return Err(wrong("the entry is packed in another way than the list says"));
    }
    let later = central.flags & 8 != 0;
    let same = |at, value: u64| {
        let told = number(&header, at, 4);
        told == value || (later && told == 0)
    };
    if !same(14, u64::from(central.crc)) || !same(18, central.packed) || !same(22, central.size) {
        return Err(wrong("the entry has another size or checksum than the list"));
    }
    Ok(central.offset + (LOCAL + name_length + extra_length) as u64)
}

enum Packed<'a> {
    Stored(io::Take<&'a mut File>),
    Deflated(Box<flate2::read::DeflateDecoder<io::Take<&'a mut File>>>),
}

/// The bytes of one entry, checked against its size and checksum at their end.
struct Data<'a> {
    from: Packed<'a>,
    crc: flate2::Crc,
    expected: u32,
    left: u64,
    done: bool,
}

impl<'a> Data<'a> {
    fn new(file: &'a mut File, begin: u64, central: &Central) -> Result<Self, Problem> {
        file.seek(SeekFrom::Start(begin)).map_err(|_| truncated())?;
        let raw = file.take(central.packed);
        let from = if central.method == 8 {
            Packed::Deflated(Box::new(flate2::read::DeflateDecoder::new(raw)))
        } else {
            Packed::Stored(raw)
        };
        Ok(Self {
            from,
            crc: flate2::Crc::new(),
            expected: central.crc,
            left: central.size,
            done: false,
        })
    }
}

impl Read for Data<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let damaged = |what: &str| wrapped(Problem::new(Code::Checksum, what));
        if self.done || into.is_empty() {
            return Ok(0);
        }
        let read = match &mut self.from {
            Packed::Stored(raw) => raw.read(into),
            Packed::Deflated(decoder) => decoder.read(into),
        };
        let read = read.map_err(|error| damaged(&format!("the entry is damaged ({error})")))?;
        if read == 0 {
            self.done = true;
            if self.left > 0 {
                return Err(damaged("the entry is shorter than the list says"));
            }
            if self.crc.sum() != self.expected {
                return Err(damaged("the checksum of the entry does not fit"));
            }
            return Ok(0);
        }
        if read as u64 > self.left {
            return Err(wrapped(ambiguous("the entry is longer than the list says")));
        }
        self.left -= read as u64;
        self.crc.update(&into[..read]);
        Ok(read)
    }
}
