//! Where on a disk the root file system lies, by its partition table and the marks file systems have. All of it is the
//! guest's to write: every number is checked, every list is bounded, and nothing but these few sectors is read.
//!
//! Formats: UEFI specification 2.10, section 5 (GPT, protective and plain MBR); `Documentation/filesystems/ext4/super.rst`;
//! marks of the others as in libblkid's `superblocks/`.

use std::io;

/// Of a virtio disk, whatever the host's.
const SECTOR: u64 = 512;
/// Partitions looked at; a GPT has 128.
const MOST: usize = 128;
/// Where ext2, ext3 and ext4 have their superblock, and what is read of it.
const SUPERBLOCK: u64 = 1024;
/// `s_state` of it: written back whole when the file system was let go.
const VALID: u16 = 1;

/// Types of a GPT partition that is the root of an x86-64 machine, as the Discoverable Partitions Specification has it:
/// 4f68bce3-e8cd-4db1-96e7-fbcaf984b709, as it stands on the disk.
const ROOT: [u8; 16] = [
    0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09,
];

/// What is read from.
pub(super) trait Disk {
    /// Fills `bytes` from `offset` on.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

impl Disk for std::fs::File {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, bytes, offset)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Partition {
    number: usize,
    /// Bytes.
    start: u64,
    length: u64,
    is_root: bool,
}

/// The offset of the root file system in bytes; or, in words, what was found instead.
pub(super) fn root(disk: &impl Disk, length: u64) -> io::Result<Result<u64, String>> {
    if let Some(kind) = kind(disk, 0, length)? {
        return Ok(if kind == EXT { Ok(0) } else { Err(format!("{kind} on the whole disk")) });
    }
    let mut found = Vec::new();
    let mut ext = Vec::new();
    for partition in partitions(disk, length)? {
        match kind(disk, partition.start, partition.length)? {
            Some(EXT) => ext.push(partition),
            Some(kind) => found.push(format!("{kind} in partition {}", partition.number)),
            None => {}
        }
    }
    // The one that says that it is the root, or the largest: what lies beside a root is small (`/boot`).
    let best = ext.iter().max_by_key(|one| (one.is_root, one.length));
    Ok(match best {
        Some(partition) => Ok(partition.start),
        None if found.is_empty() => Err("no file system that is known".to_owned()),
        None => Err(found.join(", ")),
    })
}

/// Whether the ext file system at `offset` was written back whole by the last who had it open.
pub(super) fn is_clean(disk: &impl Disk, offset: u64) -> io::Result<bool> {
    let mut bytes = [0; 2];
    disk.read(offset.saturating_add(SUPERBLOCK + 58), &mut bytes)?;
    Ok(u16::from_le_bytes(bytes) & VALID != 0)
}

const EXT: &str = "ext4";

/// The file system that begins at `start`; `None`: none that is known.
fn kind(disk: &impl Disk, start: u64, length: u64) -> io::Result<Option<&'static str>> {
    /// Offset, mark, name. What would stand in the same place as another's comes first.
    const MARKS: &[(u64, &[u8], &str)] = &[
        (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
        (512, b"LABELONE", "a volume group (LVM)"),
        (SUPERBLOCK + 56, &[0x53, 0xef], EXT),
        (0, b"XFSB", "xfs"),
        (65_536 + 64, b"_BHRfS_M", "btrfs"),
        (0, b"hsqs", "squashfs"),
        (SUPERBLOCK, &[0x10, 0x20, 0xf5, 0xf2], "f2fs"),
        (3, b"NTFS    ", "ntfs"),
        (82, b"FAT32   ", "vfat"),
        (54, b"FAT1", "vfat"),
        (32_769, b"CD001", "iso9660"),
    ];
    for (offset, mark, name) in MARKS {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..mark.len()];
        if offset + mark.len() as u64 > length {
            continue;
        }
        disk.read(start.saturating_add(*offset), bytes)?;
        if bytes == *mark {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The partitions that lie on the disk.
fn partitions(disk: &impl Disk, length: u64) -> io::Result<Vec<Partition>> {
    let mut sector = [0; SECTOR as usize];
    if length < 3 * SECTOR {
        return Ok(Vec::new());
    }
    disk.read(SECTOR, &mut sector)?;
    let mut all = if sector.starts_with(b"EFI PART") {
        of_gpt(disk, length, &sector)?
    } else {
        disk.read(0, &mut sector)?;
        of_mbr(disk, length, &sector)?
    };
    all.retain(|one| {
        let end = one.start.checked_add(one.length);
        one.start > 0 && one.length > 0 && end.is_some_and(|end| end <= length)
    });
    Ok(all)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |b| b.iter().rev().fold(0, |all, b| all << 8 | u64::from(*b)))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 4).map_or(0, |b| b.iter().rev().fold(0, |all, b| all << 8 | u64::from(*b)))
}

fn of_gpt(disk: &impl Disk, length: u64, header: &[u8]) -> io::Result<Vec<Partition>> {
    let (table, count, size) = (long(header, 72), word(header, 80), word(header, 84));
    let mut all = Vec::new();
    if !(128..=4096).contains(&size) {
        return Ok(all);
    }
    let count = usize::try_from(count).unwrap_or(MOST).min(MOST);
    for number in 0..count {
        let at = table.saturating_mul(SECTOR).saturating_add(number as u64 * size);
        if at.saturating_add(size) > length {
            break;
        }
        let mut entry = [0; 56];
        disk.read(at, &mut entry)?;
        let (first, last) = (long(&entry, 32), long(&entry, 40));
        let sectors = last.checked_sub(first).and_then(|n| n.checked_add(1)).unwrap_or(0);
        if entry[..16] != [0; 16] {
            all.push(Partition {
                number: number + 1,
                start: first.saturating_mul(SECTOR),
                length: sectors.saturating_mul(SECTOR),
                is_root: entry[..16] == ROOT,
            });
        }
    }
    Ok(all)
}

fn of_mbr(disk: &impl Disk, length: u64, first: &[u8]) -> io::Result<Vec<Partition>> {
    /// Types of a partition that holds a chain of others.
    const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
    let entry = |sector: &[u8], number: usize| {
        let at = 446 + 16 * number;
        (sector[at + 4], word(sector, at + 8) * SECTOR, word(sector, at + 12) * SECTOR)
    };
    let mut all = Vec::new();
    if first[510..512] != [0x55, 0xaa] {
        return Ok(all);
    }
    let mut chain = None;
    for number in 0..4 {
        let (kind, start, size) = entry(first, number);
        if EXTENDED.contains(&kind) {
            chain = chain.or(Some(start));
        } else if kind != 0 {
            all.push(Partition { number: number + 1, start, length: size, is_root: false });
        }
    }
    let Some(begin) = chain else { return Ok(all) };
    let mut at = begin;
    // A chain may lead in a circle.
    for number in 5..5 + MOST {
        let mut sector = [0; SECTOR as usize];
        if at.saturating_add(SECTOR) > length {
            break;
        }
        disk.read(at, &mut sector)?;
        if sector[510..512] != [0x55, 0xaa] {
            break;
        }
        let (kind, start, size) = entry(&sector, 0);
        if kind != 0 {
            let start = at.saturating_add(start);
            all.push(Partition { number, start, length: size, is_root: false });
        }
        let (next_kind, next, _) = entry(&sector, 1);
        if !EXTENDED.contains(&next_kind) || next == 0 {
            break;
        }
        at = begin.saturating_add(next);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Bytes(Vec<u8>);

    impl Disk for Bytes {
        fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            let end = offset.checked_add(bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            let from = self.0.get(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?;
            bytes.copy_from_slice(from);
            Ok(())
        }
    }

    impl Bytes {
        fn new(sectors: usize) -> Self {
            Self(vec![0; sectors * 512])
        }

        fn put(&mut self, at: usize, bytes: &[u8]) {
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
        }

        fn ext(&mut self, sector: usize) {
            self.put(sector * 512 + 1080, &[0x53, 0xef, 1, 0]);
        }

        fn entry(&mut self, table: usize, number: usize, kind: u8, start: u32, sectors: u32) {
            let at = table * 512 + 446 + 16 * number;
            self.0[at + 4] = kind;
            self.put(at + 8, &start.to_le_bytes());
            self.put(at + 12, &sectors.to_le_bytes());
            self.put(table * 512 + 510, &[0x55, 0xaa]);
        }

        fn root(&self) -> Result<u64, String> {
            root(self, self.0.len() as u64).unwrap()
        }
    }

    #[test]
    fn the_root_is_found_on_a_whole_disk_and_in_both_kinds_of_tables() {
        let mut disk = Bytes::new(64);
        assert_eq!(disk.root(), Err("no file system that is known".to_owned()));
        disk.ext(0);
        assert_eq!(disk.root(), Ok(0));
        assert!(is_clean(&disk, 0).unwrap());

        // The largest of a plain table, also where it is in the chain of an extended partition.
        let mut disk = Bytes::new(256);
        disk.entry(0, 0, 0x83, 16, 16);
        disk.entry(0, 1, 0x05, 64, 128);
        disk.ext(16);
        assert_eq!(disk.root(), Ok(16 * 512));
        disk.entry(64, 0, 0x83, 8, 32);
        disk.entry(64, 1, 0x05, 64, 40);
        disk.entry(128, 0, 0x83, 8, 40);
        disk.entry(128, 1, 0x05, 64, 40);
        disk.ext(72);
        disk.ext(136);
        assert_eq!(disk.root(), Ok(136 * 512));

        // The one that says it is the root, however small; others are named.
        let mut disk = Bytes::new(256);
        disk.put(512, b"EFI PART");
        disk.put(512 + 72, &2_u64.to_le_bytes());
        disk.put(512 + 80, &4_u32.to_le_bytes());
        disk.put(512 + 84, &128_u32.to_le_bytes());
        let mut partition = |number: usize, kind: [u8; 16], first: u64, last: u64| {
            let at = 1024 + 128 * number;
            disk.put(at, &kind);
            disk.put(at + 32, &first.to_le_bytes());
            disk.put(at + 40, &last.to_le_bytes());
        };
        partition(0, [7; 16], 32, 95);
        partition(1, ROOT, 96, 111);
        partition(2, [7; 16], 112, 127);
        disk.put(112 * 512, b"XFSB");
        assert_eq!(disk.root(), Err("xfs in partition 3".to_owned()));
        disk.ext(32);
        assert_eq!(disk.root(), Ok(32 * 512));
        disk.ext(96);
        assert_eq!(disk.root(), Ok(96 * 512));
    }

    #[test]
    fn a_partition_that_does_not_lie_on_the_disk_is_none() {
        let mut disk = Bytes::new(64);
        disk.entry(0, 0, 0x83, 16, 1_000);
        disk.entry(0, 1, 0x83, u32::MAX, u32::MAX);
        disk.ext(16);
        assert!(disk.root().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_lead_out_of_the_disk(mut bytes in proptest::collection::vec(any::<u8>(), 0..4096), gpt: bool) {
            if gpt && bytes.len() > 600 {
                bytes[512..520].copy_from_slice(b"EFI PART");
                bytes[596..600].copy_from_slice(&128_u32.to_le_bytes());
            } else if bytes.len() > 512 {
                bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
            }
            let length = bytes.len() as u64;
            prop_assert!(root(&Bytes(bytes), length).is_ok());
        }
    }
}
