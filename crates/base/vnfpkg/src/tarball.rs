//! Tar, read strictly: whatever two readers could understand in two ways is refused.
//!
//! v7, ustar, pax and GNU long names. Of pax records `path`, `linkpath`, `size` and `mtime` mean something; those that
//! say whose a file is or when it was read are passed over; attributes, access lists and sparse maps are refused.

use std::io::Read;

use crate::{
    decode::Unpacked,
    limits::Limits,
    path::normalise,
    problem::{Code, Problem},
    tree::{Entry, Kind, Visit, escaped},
};

const BLOCK: usize = 512;
/// Longest extension record.
const EXTENSION: u64 = 64 << 10;

/// The checksum of a header, its own field taken as blanks.
pub(crate) fn checksum(header: &[u8]) -> u32 {
    header
        .iter()
        .take(BLOCK)
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum()
}

/// What extension headers say of the file that follows.
#[derive(Default)]
struct Pending {
    pax: bool,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    long_name: bool,
    long_link: bool,
}

/// Walks the archive: each member in its order.
pub(crate) fn walk<R: Read + 'static>(
    from: &mut Unpacked<R>,
    limits: &Limits,
    visit: &mut dyn Visit,
) -> Result<(), Problem> {
    let mut pending = Pending::default();
    let mut entries = 0usize;
    let mut total = 0u64;
    let mut header = [0; BLOCK];
    loop {
        block(from, &mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            block(from, &mut header)?;
            if header.iter().any(|byte| *byte != 0) {
                return Err(Problem::new(Code::Trailing, "one zero block, and then no second one"));
            }
            return end(from);
        }
        let head = tar::Header::from_byte_slice(&header);
        let sum = head.cksum().map_err(|_| damaged("the checksum of a header is no number"))?;
        if sum != checksum(&header) {
            return Err(damaged("the checksum of a header does not fit"));
        }
        let size = head.entry_size().map_err(|_| damaged("the size of a member is no number"))?;
        let flag = header[156];
        match flag {
            b'x' => {
                if std::mem::replace(&mut pending.pax, true)
                    || pending.long_name
                    || pending.long_link
                {
                    return Err(ambiguous("two extension headers for one member"));
                }
                let record = extension(from, size)?;
                pax(&record, &mut pending)?;
                continue;
            }
            b'g' => {
                let record = extension(from, size)?;
                if records(&record)?.iter().any(|(key, _)| *key != "comment") {
                    return Err(ambiguous("a global extension header that changes members"));
                }
                continue;
            }
            b'L' | b'K' => {
                let seen =
                    if flag == b'L' { &mut pending.long_name } else { &mut pending.long_link };
                if std::mem::replace(seen, true) || pending.pax {
                    return Err(ambiguous("two extension headers for one member"));
                }
                let mut name = extension(from, size)?;
                let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
                name.truncate(length);
                if flag == b'L' {
                    pending.path = Some(name)
                } else {
                    pending.link = Some(name)
                }
                continue;
            }
            _ => {}
        }
        let told = std::mem::take(&mut pending);
        if told.size.is_some_and(|told| told != size) {
            return Err(ambiguous("an extension header names another size than the header"));
        }
        let raw = told.path.unwrap_or_else(|| head.path_bytes().into_owned());
        let shown = escaped(&raw);
        entries += 1;
        if entries > limits.entries {
            let what = format!("more than {} entries", limits.entries);
            return Err(Problem::new(Code::TooMany, what).entry(shown));
        }
        let folder = flag == b'5' || (matches!(flag, 0 | b'0' | b'7') && raw.ends_with(b"/"));
        let kind = match flag {
            _ if folder => Kind::Folder,
            0 | b'0' | b'7' => Kind::File,
            b'1' | b'2' => {
                let link = told.link.or_else(|| head.link_name_bytes().map(|l| l.into_owned()));
                let link = String::from_utf8(link.unwrap_or_default()).map_err(|_| {
                    Problem::new(Code::NameEncoding, "the target of a link is not UTF-8")
                        .entry(&shown)
                })?;
                if flag == b'2' { Kind::Symlink(link) } else { Kind::HardLink(link) }
            }
            other => {
                let what = match other {
                    b'3' => "a character device",
                    b'4' => "a block device",
                    b'6' => "a fifo",
                    b'S' => "a sparse file",
                    b'M' => "a part of a file of several volumes",
                    _ => "an entry of unknown type",
                };
                let what = format!(
                    "{what} (type flag {:?}); only files, folders and links are packed",
                    char::from(other)
                );
                return Err(Problem::new(Code::Type, what).entry(shown));
            }
        };
        let path = normalise(&raw, limits)?;
        let mode = head.mode().unwrap_or(0);
        if kind == Kind::File && mode & 0o7000 != 0 {
            return Err(Problem::new(Code::Mode, "setuid, setgid or sticky on a file").entry(path));
        }
        if kind != Kind::File && size != 0 {
            return Err(ambiguous("a member that is no file has data").entry(path));
        }
        if path.is_empty() && kind != Kind::Folder {
            return Err(Problem::new(Code::Path, "the path is empty").entry(shown));
        }
        // A header may say any number.
        total = total.saturating_add(size);
        if total > limits.total_bytes {
            let code = if from.is_packed() { Code::Bomb } else { Code::Size };
            let what = format!("all files together have more than {} bytes", limits.total_bytes);
            return Err(Problem::new(code, what).entry(path));
        }
        if size > limits.file_bytes {
            let what = format!("{size} bytes, and a file may have {}", limits.file_bytes);
            return Err(Problem::new(Code::Size, what).entry(path));
        }
        let entry = Entry { path, kind, size };
        let mut data = Data { from, left: size };
        let visited = visit.entry(&entry, &mut data);
        let left = data.left;
        visited?;
        skip(from, left)?;
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        skip(from, padding)?;
    }
}

/// The bytes of one member.
struct Data<'a, R: Read> {
    from: &'a mut Unpacked<R>,
    left: u64,
}

impl<R: Read + 'static> Read for Data<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self
            .from
            .read(&mut into[..most])
            .map_err(|error| crate::decode::wrapped(self.from.problem(error)))?;
        if read == 0 {
            let what = "the archive ends in the middle of a file";
            return Err(crate::decode::wrapped(Problem::new(Code::Truncated, what)));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn damaged(what: &str) -> Problem {
    Problem::new(Code::Checksum, format!("{what}: the archive is damaged; send it again"))
}

fn ambiguous(what: &str) -> Problem {
    Problem::new(Code::Ambiguous, format!("{what}: readers would not agree; pack it again"))
}

fn block<R: Read + 'static>(from: &mut Unpacked<R>, into: &mut [u8; BLOCK]) -> Result<(), Problem> {
    exact(from, into)
}

fn exact<R: Read + 'static>(from: &mut Unpacked<R>, into: &mut [u8]) -> Result<(), Problem> {
    let mut filled = 0;
    while filled < into.len() {
        let read = from.read(&mut into[filled..]).map_err(|error| from.problem(error))?;
        if read == 0 {
            return Err(Problem::new(
                Code::Truncated,
                "the archive ends in the middle; send it again",
            ));
        }
        filled += read;
    }
    Ok(())
}

fn skip<R: Read + 'static>(from: &mut Unpacked<R>, mut left: u64) -> Result<(), Problem> {
    let mut scrap = [0; 4096];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(scrap.len());
        exact(from, &mut scrap[..most])?;
        left -= most as u64;
    }
    Ok(())
}

/// After the end only zeros may come.
fn end<R: Read + 'static>(from: &mut Unpacked<R>) -> Result<(), Problem> {
    let mut scrap = [0; 4096];
    loop {
        let read = from.read(&mut scrap).map_err(|error| from.problem(error))?;
        if read == 0 {
            return Ok(());
        }
        if scrap[..read].iter().any(|byte| *byte != 0) {
            return Err(Problem::new(
                Code::Trailing,
                "other bytes follow the end of the tar archive",
            ));
        }
    }
}

fn extension<R: Read + 'static>(from: &mut Unpacked<R>, size: u64) -> Result<Vec<u8>, Problem> {
    if size > EXTENSION {
        let what = format!("an extension header of {size} bytes; at most {EXTENSION} are read");
        return Err(Problem::new(Code::Size, what));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    exact(from, &mut bytes)?;
    skip(from, (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64)?;
    Ok(bytes)
}

/// The records of a pax header: `LENGTH KEY=VALUE\n`.
fn records(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, Problem> {
    let wrong = || ambiguous("an extension header that is no list of records");
    let mut rest = bytes;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let blank = rest.iter().take(12).position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let digits = str::from_utf8(&rest[..blank]).map_err(|_| wrong())?;
        let length: usize = digits.parse().map_err(|_| wrong())?;
        let record = rest.get(blank + 1..length).ok_or_else(wrong)?;
        let Some((b'\n', record)) = record.split_last() else { return Err(wrong()) };
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let key = str::from_utf8(&record[..equals]).map_err(|_| wrong())?;
        if found.iter().any(|(other, _)| *other == key) {
            return Err(ambiguous("a record of an extension header is there twice"));
        }
        found.push((key, &record[equals + 1..]));
        rest = &rest[length..];
    }
    Ok(found)
}

fn pax(bytes: &[u8], pending: &mut Pending) -> Result<(), Problem> {
    for (key, value) in records(bytes)? {
        match key {
            "path" => pending.path = Some(value.to_owned()),
            "linkpath" => pending.link = Some(value.to_owned()),
            "size" => {
                let number = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                pending.size = Some(number.ok_or_else(|| ambiguous("a size that is no number"))?);
            }
            "hdrcharset" => {
                return Err(Problem::new(Code::NameEncoding, "names in another character set"));
            }
            _ if key.starts_with("GNU.sparse") => {
                return Err(Problem::new(Code::Type, "a sparse file; pack it without holes"));
            }
            _ if key.starts_with("SCHILY.xattr")
                || key.starts_with("SCHILY.acl")
                || key.starts_with("LIBARCHIVE.xattr") =>
            {
                return Err(Problem::new(
                    Code::Type,
                    format!("attributes of a file ({key}); pack it without them"),
                ));
            }
            // Whose it is and when it was touched: not taken over.
            _ => {}
        }
    }
    Ok(())
}
