//! Disk formats, told by their headers; images that refer to other files are refused.
//!
//! A disk image may name another file as the place of its data: a backing file, an external data file, the extents of a
//! descriptor. A program that opens such an image opens that file, on this host, with its rights (CVE-2022-47951,
//! CVE-2024-32498). So the header is read here, before any other program sees the image, and the format found is given
//! to that program: it must never guess.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How much of the beginning [`probe`] wants to see, bytes; a shorter image is given whole.
pub const HEAD_BYTES: usize = 128 << 10;

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// No header that is known: the disk itself.
    Raw,
    Qcow2,
    /// Sparse VMDK, also stream-optimised.
    Vmdk,
    Vdi,
    /// A tar archive: OVA.
    Tar,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    Zip,
}

impl Format {
    /// Whether it is a packing around a disk, not a disk.
    pub fn is_packed(self) -> bool {
        !matches!(self, Self::Raw | Self::Qcow2 | Self::Vmdk | Self::Vdi)
    }
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub format: Format,
    /// Size of the disk a node sees, bytes; `None` for raw disks and packings.
    pub virtual_size: Option<u64>,
}

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DiskError {
    #[error(
        "the {format} image refers to another file: {what}; its publisher must make it stand alone"
    )]
    Refers { format: &'static str, what: String },
    #[error("the header of the {format} image is wrong: {what}")]
    Header { format: &'static str, what: String },
    #[error("disks of the format {format} are not known here; convert it to raw or qcow2")]
    Unknown { format: &'static str },
}

/// Tells what an image is by its first [`HEAD_BYTES`].
///
/// # Errors
/// When the image refers to another file, its header cannot be read, or its format may hide such a reference.
pub fn probe(head: &[u8]) -> Result<Disk, DiskError> {
    let packed = |format| Ok(Disk { format, virtual_size: None });
    match head {
        [b'Q', b'F', b'I', 0xfb, ..] => qcow2(head),
        [b'K', b'D', b'M', b'V', ..] => vmdk(head),
        [b'C', b'O', b'W', b'D', ..] => Err(DiskError::Unknown { format: "VMDK 3" }),
        [b'Q', b'E', b'D', 0, ..] => Err(DiskError::Unknown { format: "QED" }),
        _ if head.starts_with(b"vhdxfile") => Err(DiskError::Unknown { format: "VHDX" }),
        _ if head.starts_with(b"conectix") => Err(DiskError::Unknown { format: "VHD" }),
        _ if head.starts_with(b"WithoutFreeSpace") || head.starts_with(b"WithouFreSpacExt") => {
            Err(DiskError::Unknown { format: "Parallels" })
        }
        _ if is_descriptor(head) => Err(DiskError::Refers {
            format: "VMDK",
            what: "it is a descriptor, its disk is in other files".to_owned(),
        }),
        _ if head.get(0x40..0x44) == Some(&[0x7f, 0x10, 0xda, 0xbe]) => vdi(head),
        [0x1f, 0x8b, ..] => packed(Format::Gzip),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => packed(Format::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => packed(Format::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => packed(Format::Zstd),
        [b'P', b'K', 3, 4, ..] => packed(Format::Zip),
        _ if head.get(257..262) == Some(b"ustar") => packed(Format::Tar),
        _ => packed(Format::Raw),
    }
}

fn number(head: &[u8], at: usize, bytes: usize, big: bool) -> Option<u64> {
    let digits = head.get(at..at.checked_add(bytes)?)?;
    let shift = |n: u64, d: &u8| (n << 8) | u64::from(*d);
    Some(if big { digits.iter().fold(0, shift) } else { digits.iter().rev().fold(0, shift) })
}

/// QEMU's `docs/interop/qcow2.txt`.
fn qcow2(head: &[u8]) -> Result<Disk, DiskError> {
    let wrong = |what: &str| DiskError::Header { format: "qcow2", what: what.to_owned() };
    let refers = |what: &str| DiskError::Refers { format: "qcow2", what: what.to_owned() };
    let field = |at, bytes| number(head, at, bytes, true).ok_or_else(|| wrong("it is cut off"));
    let version = field(4, 4)?;
    if !(2..=3).contains(&version) {
        return Err(wrong(&format!("version {version} is neither 2 nor 3")));
    }
    if field(8, 8)? != 0 || field(16, 4)? != 0 {
        return Err(refers("it has a backing file"));
    }
    if !(9..=21).contains(&field(20, 4)?) {
        return Err(wrong("its clusters have no usual size"));
    }
    let size = field(24, 8)?;
    let mut end_of_header = 72;
    if version == 3 {
        let incompatible = field(72, 8)?;
        if incompatible & 4 != 0 {
            return Err(refers("its data is in an external file"));
        }
        // Dirty, corrupt, compression type, extended L2 entries are known; others might mean anything.
        if incompatible & !0b1_1011 != 0 {
            return Err(wrong("it has features that are not known here"));
        }
        end_of_header = field(100, 4)?;
        if !(104..=4096).contains(&end_of_header) {
            return Err(wrong("the length of its header is none"));
        }
    }
    let mut at = usize::try_from(end_of_header).map_err(|_| wrong("its header is too long"))?;
    // Extensions end with type 0; older programs wrote none, and then the first word of what follows is 0 too.
    for _ in 0..64 {
        let (Some(kind), Some(length)) = (number(head, at, 4, true), number(head, at + 4, 4, true))
        else {
            return Err(wrong("it is cut off"));
        };
        match kind {
            0 => return Ok(Disk { format: Format::Qcow2, virtual_size: Some(size) }),
            0x4441_5441 => return Err(refers("it names an external data file")),
            _ => {}
        }
        let length = usize::try_from(length).map_err(|_| wrong("an extension is too long"))?;
        at = length
            .checked_next_multiple_of(8)
            .and_then(|length| at.checked_add(8)?.checked_add(length))
            .filter(|at| *at < HEAD_BYTES)
            .ok_or_else(|| wrong("an extension is too long"))?;
    }
    Err(wrong("it has too many extensions"))
}

fn is_descriptor(head: &[u8]) -> bool {
    let start = head.trim_ascii_start();
    let start = &start[..start.len().min(64)];
    start.to_ascii_lowercase().starts_with(b"# disk descriptorfile")
}

/// VMware's "Virtual Disk Format 5.0": the sparse extent header and the descriptor embedded in it.
fn vmdk(head: &[u8]) -> Result<Disk, DiskError> {
    let wrong = |what: &str| DiskError::Header { format: "VMDK", what: what.to_owned() };
    let refers = |what: String| DiskError::Refers { format: "VMDK", what };
    let field = |at, bytes| number(head, at, bytes, false).ok_or_else(|| wrong("it is cut off"));
    let version = field(4, 4)?;
    if !(1..=3).contains(&version) {
        return Err(wrong(&format!("version {version} is not known")));
    }
    let size = field(12, 8)?.checked_mul(512).ok_or_else(|| wrong("its size is too large"))?;
    let begin = field(28, 8)?.checked_mul(512).and_then(|at| usize::try_from(at).ok());
    let length = field(36, 8)?.checked_mul(512).and_then(|n| usize::try_from(n).ok());
    let (Some(begin), Some(length)) = (begin, length) else {
        return Err(wrong("its descriptor is too far away"));
    };
    if begin == 0 || length == 0 {
        return Err(refers("it is one extent of a disk of several files".to_owned()));
    }
    let descriptor = begin
        .checked_add(length)
        .and_then(|end| head.get(begin..end))
        .ok_or_else(|| wrong("its descriptor is too far away or cut off"))?;
    let text = String::from_utf8_lossy(descriptor);
    let mut extents = 0;
    for line in text.trim_end_matches('\0').lines().map(str::trim) {
        let lower = line.to_ascii_lowercase();
        if let Some(parent) = lower.strip_prefix("parentcid=")
            && parent.trim() != "ffffffff"
        {
            return Err(refers("it is a difference to a parent".to_owned()));
        }
        if lower.starts_with("parentfilenamehint") {
            return Err(refers("it names a parent".to_owned()));
        }
        if ["rw ", "rdonly ", "noaccess "].iter().any(|access| lower.starts_with(access)) {
            extents += 1;
            if lower.split_whitespace().nth(2) != Some("sparse") {
                return Err(refers("an extent of it is no part of this file".to_owned()));
            }
            // The name of the one sparse extent is the file's own, by whatever name it was made.
            if lower.contains('/') || lower.contains('\\') {
                return Err(refers("an extent of it is in another folder".to_owned()));
            }
        }
    }
    if extents != 1 {
        return Err(refers(format!("it has {extents} extents instead of one")));
    }
    Ok(Disk { format: Format::Vmdk, virtual_size: Some(size) })
}

/// VirtualBox's `VDICore.h`, version 1.1.
fn vdi(head: &[u8]) -> Result<Disk, DiskError> {
    let wrong = |what: &str| DiskError::Header { format: "VDI", what: what.to_owned() };
    let field = |at, bytes| number(head, at, bytes, false).ok_or_else(|| wrong("it is cut off"));
    if field(0x44, 4)? >> 16 != 1 {
        return Err(wrong("its version is not known"));
    }
    if !(1..=2).contains(&field(0x4c, 4)?) {
        let what = "it is a difference to a parent".to_owned();
        return Err(DiskError::Refers { format: "VDI", what });
    }
    // UUID of the image it links to.
    if field(0x1a8, 8)? != 0 || field(0x1b0, 8)? != 0 {
        let what = "it links to a parent".to_owned();
        return Err(DiskError::Refers { format: "VDI", what });
    }
    Ok(Disk { format: Format::Vdi, virtual_size: Some(field(0x170, 8)?) })
}

#[cfg(test)]
mod tests;
