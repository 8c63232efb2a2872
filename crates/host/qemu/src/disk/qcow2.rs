//! Empty qcow2 images, written by us: creating a node starts no program.
//!
//! Format: QEMU's `docs/interop/qcow2.txt`, version 3. Four clusters of 64 KiB: header, refcount table, one refcount block,
//! first-level table; nothing else is allocated.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

const CLUSTER: u64 = 1 << 16;
/// Bytes one entry of the first-level table covers: a cluster of eight-byte entries, a cluster each.
const PER_ENTRY: u64 = CLUSTER / 8 * CLUSTER;
/// Largest disk: the first-level table has one cluster.
pub(crate) const MOST_BYTES: u64 = CLUSTER / 8 * PER_ENTRY;
/// `QCOW2_EXT_MAGIC_BACKING_FORMAT`.
const BACKING_FORMAT: u32 = 0xE279_2ACA;

/// Image another one lies under: its name and format, as QEMU will see them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backing<'a> {
    pub(crate) name: &'a str,
    pub(crate) format: &'a str,
}

/// Writes an image of `size` bytes, a multiple of 512 and at most [`MOST_BYTES`].
pub(crate) fn write(path: &Path, size: u64, backing: Option<Backing<'_>>) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).open(path)?;
    file.write_all_at(&header(size, backing), 0)?;
    // Refcount table: one block, in the third cluster.
    file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER)?;
    // The four clusters are used once each; sixteen bits an entry.
    let counts: Vec<u8> = [1u16; 4].iter().flat_map(|count| count.to_be_bytes()).collect();
    file.write_all_at(&counts, 2 * CLUSTER)?;
    file.set_len(4 * CLUSTER)?;
    (&file).flush()
}

fn header(size: u64, backing: Option<Backing<'_>>) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(backing) = backing {
        extensions.extend(BACKING_FORMAT.to_be_bytes());
        extensions.extend((backing.format.len() as u32).to_be_bytes());
        extensions.extend(backing.format.as_bytes());
        extensions.resize(extensions.len().next_multiple_of(8), 0);
    }
    // End of the extensions.
    extensions.extend([0; 8]);
    let name_at = 104 + extensions.len() as u64;
    let (name_at, name) = backing.map_or((0, ""), |backing| (name_at, backing.name));
    let mut header = Vec::with_capacity(name_at as usize + name.len());
    let word = |header: &mut Vec<u8>, value: u32| header.extend(value.to_be_bytes());
    let double = |header: &mut Vec<u8>, value: u64| header.extend(value.to_be_bytes());
    word(&mut header, 0x5146_49fb); // QFI, 0xfb
    word(&mut header, 3);
    double(&mut header, name_at);
    word(&mut header, name.len() as u32);
    word(&mut header, 16); // cluster bits
    double(&mut header, size);
    word(&mut header, 0); // no encryption
    word(&mut header, size.div_ceil(PER_ENTRY) as u32);
    double(&mut header, 3 * CLUSTER); // first-level table
    double(&mut header, CLUSTER); // refcount table
    word(&mut header, 1); // clusters of it
    word(&mut header, 0); // snapshots
    double(&mut header, 0);
    double(&mut header, 0); // incompatible features
    double(&mut header, 0); // compatible features
    double(&mut header, 0); // autoclear features
    word(&mut header, 4); // refcounts of 16 bits
    word(&mut header, 104); // length of this header
    header.extend(extensions);
    header.extend(name.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_an_overlay_of_a_known_format() {
        let header = header(10 << 30, Some(Backing { name: "/image/disk", format: "raw" }));
        assert_eq!(&header[..8], b"QFI\xfb\0\0\0\x03");
        let number = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().unwrap());
        assert_eq!(number(24), 10 << 30);
        let name = number(8) as usize;
        assert_eq!(&header[name..], b"/image/disk");
        assert_eq!(&header[112..115], b"raw");
        assert_eq!(u32::from_be_bytes(header[36..40].try_into().unwrap()), 20);
    }
}
