//! The one disk in a tar or zip archive, read as a stream; nothing else of it is ever written.

use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    path::{Component, Path},
};

use tokio_util::sync::CancellationToken;
use vnode_beneath::archive::{Error, Kind, Member, Reader};

use super::{Bounds, PrepareError, open, ovf, unpack::copy};

/// Most members.
const MEMBERS: usize = 100;
/// Longest extension header of a tar member, bytes.
const EXTENSION: u64 = 1 << 20;
/// Endings of disks, and of those the original took.
const DISKS: &[&str] = &["vmdk", "vdi", "raw", "img", "qcow", "qcow2"];
const FIRST_DISKS: &[&str] = &["disk1.vmdk", "disk1.vdi", "disk1.raw", "disk1.img", "disk1.qcow"];

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// Its place in the archive.
    index: usize,
    name: String,
}

/// Which member of a tar archive is the disk.
pub(super) fn choose_in_tar(path: &Path) -> Result<usize, PrepareError> {
    choose_tar(path).map(|found| found.index)
}

fn choose_tar(path: &Path) -> Result<Found, PrepareError> {
    let mut reader = Reader::seeking(BufReader::new(open(path)?), EXTENSION);
    let wrong = |error: Error| unreadable(path, &error);
    let mut files = Vec::new();
    let mut descriptor = None;
    let mut index = 0;
    while let Some(member) = reader.next_member().map_err(wrong)? {
        if index == MEMBERS {
            return Err(too_many(path));
        }
        if let Some(name) = file_name(&member) {
            if descriptor.is_none() && has_ending(&name, "ovf") && member.size <= ovf::MAX_BYTES {
                let mut text = Vec::new();
                let mut block = [0; 8192];
                loop {
                    match reader.read_data(&mut block).map_err(wrong)? {
                        0 => break,
                        got => text.extend_from_slice(&block[..got]),
                    }
                }
                descriptor = Some((name.clone(), text));
            }
            files.push(Found { index, name });
        }
        index += 1;
    }
    choose(path, &files, index, descriptor)
}

/// Copies the disk of a tar archive to the new file `to`. True when its name says that it is a disk.
pub(super) fn take_from_tar(
    path: &Path,
    to: &Path,
    bounds: &Bounds,
    cancellation: &CancellationToken,
) -> Result<bool, PrepareError> {
    let chosen = choose_tar(path)?;
    let mut reader = Reader::seeking(BufReader::new(open(path)?), EXTENSION);
    for index in 0.. {
        let member = reader.next_member().map_err(|error| unreadable(path, &error))?;
        let Some(member) = member else { break };
        if index == chosen.index {
            let data = Data { reader: &mut reader };
            copy(data, path, member.stored_size, to, bounds, cancellation)?;
            return Ok(is_disk(&chosen.name));
        }
    }
    Err(unreadable(path, &Error::Truncated { offset: 0 }))
}

/// Which member of a zip archive is the disk.
pub(super) fn choose_in_zip(path: &Path) -> Result<usize, PrepareError> {
    choose_zip(path, &mut zip_of(path)?).map(|found| found.index)
}

fn zip_of(path: &Path) -> Result<zip::ZipArchive<BufReader<File>>, PrepareError> {
    zip::ZipArchive::new(BufReader::new(open(path)?)).map_err(|error| unreadable(path, &error))
}

fn choose_zip<R: Read + Seek>(
    path: &Path,
    archive: &mut zip::ZipArchive<R>,
) -> Result<Found, PrepareError> {
    if archive.len() > MEMBERS {
        return Err(too_many(path));
    }
    let mut files = Vec::new();
    let mut descriptor = None;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(|error| unreadable(path, &error))?;
        // Names in another encoding than UTF-8 are no names of disks.
        let name = match member.name() {
            Ok(name) if member.is_file() => plain(Path::new(name.as_ref())),
            _ => None,
        };
        let Some(name) = name else { continue };
        if descriptor.is_none() && has_ending(&name, "ovf") {
            let mut text = Vec::new();
            member
                .by_ref()
                .take(ovf::MAX_BYTES)
                .read_to_end(&mut text)
                .map_err(PrepareError::file("read", path))?;
            descriptor = Some((name.clone(), text));
        }
        files.push(Found { index, name });
    }
    choose(path, &files, archive.len(), descriptor)
}

/// As [`take_from_tar`].
pub(super) fn take_from_zip(
    path: &Path,
    to: &Path,
    bounds: &Bounds,
    cancellation: &CancellationToken,
) -> Result<bool, PrepareError> {
    let mut archive = zip_of(path)?;
    let chosen = choose_zip(path, &mut archive)?;
    let member = archive.by_index(chosen.index).map_err(|error| unreadable(path, &error))?;
    let length = member.compressed_size();
    copy(member, path, length, to, bounds, cancellation)?;
    Ok(is_disk(&chosen.name))
}

/// The descriptor decides; then the names the original took; then the only disk.
fn choose(
    path: &Path,
    files: &[Found],
    members: usize,
    descriptor: Option<(String, Vec<u8>)>,
) -> Result<Found, PrepareError> {
    let none = |reason: String| PrepareError::NoDisk { path: path.to_owned(), reason };
    if let Some((name, text)) = descriptor {
        let text = String::from_utf8(text)
            .map_err(|_| none(format!("its descriptor {name:?} is not UTF-8")))?;
        let href = ovf::first_disk(&text)
            .map_err(|error| none(format!("its descriptor {name:?}: {error}")))?;
        if let Some(href) = href {
            let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
            let wanted = plain(&folder.join(&href));
            return wanted
                .and_then(|wanted| files.iter().find(|file| file.name == wanted).cloned())
                .ok_or_else(|| none(format!("the disk {href:?} of its descriptor is not in it")));
        }
    }
    let mut firsts: Vec<&Found> = files
        .iter()
        .filter(|file| FIRST_DISKS.iter().any(|ending| file.name.ends_with(ending)))
        .collect();
    firsts.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(first) = firsts.first() {
        return Ok((*first).clone());
    }
    let disks: Vec<&Found> = files.iter().filter(|file| is_disk(&file.name)).collect();
    match (disks[..].len(), files) {
        (1, _) => Ok(disks[0].clone()),
        // An archive of one file, whatever its name: its header will say what it is.
        (0, [only]) if members == 1 => Ok(only.clone()),
        (0, _) => Err(none("none of its files is named like a disk".to_owned())),
        (count, _) => Err(none(format!("it has {count} disks and no descriptor"))),
    }
}

/// The name of a member that may be taken: a whole regular file, within the archive.
fn file_name(member: &Member) -> Option<String> {
    let regular = member.kind == Kind::File && member.pieces.is_none();
    regular.then(|| plain(&member.path)).flatten()
}

/// A path without `.`; none that leaves its archive.
fn plain(path: &Path) -> Option<String> {
    let mut name = String::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => {
                if !name.is_empty() {
                    name.push('/');
                }
                name.push_str(part.to_str()?);
            }
            _ => return None,
        }
    }
    (!name.is_empty()).then_some(name)
}

fn has_ending(name: &str, ending: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, own)| own.eq_ignore_ascii_case(ending))
}

fn is_disk(name: &str) -> bool {
    DISKS.iter().any(|ending| has_ending(name, ending))
}

fn unreadable(path: &Path, error: &(dyn std::error::Error + 'static)) -> PrepareError {
    PrepareError::Archive { path: path.to_owned(), reason: vnode_protocol::chain(error) }
}

fn too_many(path: &Path) -> PrepareError {
    let reason = format!("it has more than {MEMBERS} members");
    PrepareError::Archive { path: path.to_owned(), reason }
}

/// The data of a tar member as a stream.
struct Data<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read_data(into).map_err(std::io::Error::other)
    }
}
