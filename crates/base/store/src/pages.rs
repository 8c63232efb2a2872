//! A store's file read page by page without the engine, for when the engine refuses it.
//!
//! ```text
//! header ─▶ two commit slots ─▶ table of tables ─▶ tree of each table ─▶ leaves with keys and values
//! ```
//!
//! Each pointer goes with the checksum of the page that it names, so that what is reached over right checksums is what
//! was committed. A page whose checksum does not match is tried with each of its bytes changed: where one byte went
//! wrong that gives it back, and its place. Format: file format 3 of redb, in that crate's `docs/design.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::unix::fs::FileExt,
};

use twox_hash::XxHash3_128;

use crate::{MAX_KEY_BYTES, record};

mod layout;

use layout::{
    BRANCH, LEAF, PAGE, REVISION, TABLES, VALUES, Widths, array, count, entry, matches, mend,
    number, separator, suspects,
};

/// What every file begins with: magic number, flags, two bytes that are not used; size of a page, pages in the header of
/// a region, and in a region.
const HEADER: &[u8; 24] = b"redb\x1a\x0a\xa9\x0d\x0a\0\0\0\0\x10\0\0\0\0\0\0\0\0\x10\0";
const MAGIC: usize = 9;
/// Bytes of the magic number that must be right for a file to be taken for a damaged store.
const MAGIC_RIGHT: usize = 5;
const REGION: u64 = 0x10_0000 * PAGE as u64;
/// The byte of flags: which slot is the newest, and whether the last one to write ended without a good-bye.
const FLAGS: usize = 9;
const NEWEST: u8 = 1;
const UNCLEAN: u8 = 2;
/// Where the counts of full regions, and of pages in the last, are.
const COUNTS: usize = 24;
const SLOTS: [usize; 2] = [64, 192];
const SLOT: usize = 128;
/// Bytes of a slot before its checksum.
const SLOT_SUMMED: usize = 112;
/// Where the two roots are in a slot, each with the byte that says whether there is one.
const ROOTS: [(usize, usize); 2] = [(1, 8), (2, 40)];
/// A tree of all that a file could hold is not half as deep.
const DEEPEST: usize = 64;
/// Damaged places that are told; more are counted among the last.
const TOLD: usize = 1000;

/// A place of a file that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// From the beginning of the file, bytes.
    pub offset: u64,
    /// One for a byte that was found; else all of what a checksum stands for.
    pub length: u64,
    /// Whether what stood there is known.
    pub mended: bool,
}

/// A page that another names.
#[derive(Debug, Clone, Copy)]
struct Pointer {
    offset: u64,
    length: usize,
    checksum: u128,
}

/// What a slot says.
#[derive(Debug)]
struct Slot {
    bytes: Vec<u8>,
    wrong: Option<Damage>,
}

/// Keys of a subtree: above the first, up to the second.
type Bounds = (Option<Vec<u8>>, Option<Vec<u8>>);

#[derive(Debug)]
struct Leaf {
    bytes: Vec<u8>,
    /// Its checksum matches, or did once a byte was put right.
    whole: bool,
    bounds: Bounds,
}

/// What one commit left, as far as it can be read.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In order of their offsets.
    pub(crate) damage: Vec<Damage>,
    pub(crate) entries: BTreeMap<String, (u64, Vec<u8>)>,
    /// Keys whose values are not what was written.
    pub(crate) lost: BTreeSet<String>,
    pub(crate) revision: u64,
    /// Whether it is the commit before the newest.
    pub(crate) before: bool,
    /// Whether the table of values was found at all.
    tables: bool,
    /// Whether something of our tables is not what was written, and is not known.
    pub(crate) lacks: bool,
}

/// A file that may be damaged anywhere.
#[derive(Debug)]
pub(crate) struct Pages<'f> {
    file: &'f File,
    length: u64,
    header: Vec<u8>,
    seen: BTreeSet<u64>,
    damage: BTreeSet<Damage>,
    /// Wrong pages whose bytes may still be tried.
    tries: usize,
}

impl<'f> Pages<'f> {
    /// Gives `None` for what was never a store of ours. The bytes of at most `tries` wrong pages are tried, a second each.
    pub(crate) fn open(file: &'f File, tries: usize) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let mut header = vec![0; PAGE];
        let mut read = 0;
        while read < PAGE {
            match file.read_at(&mut header[read..], read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        let right = HEADER[..MAGIC].iter().zip(&header).filter(|(right, is)| right == is).count();
        if right < MAGIC_RIGHT {
            return Ok(None);
        }
        let (seen, damage) = (BTreeSet::new(), BTreeSet::new());
        Ok(Some(Self { file, length, header, seen, damage, tries }))
    }

    /// What of the header no checksum stands for, and is known all the same.
    fn header_damage(&self) -> Vec<Damage> {
        let mut right = HEADER.to_vec();
        right[FLAGS] = self.header[FLAGS];
        // Who has it open changes the counts after the file's length.
        if self.header[FLAGS] & UNCLEAN == 0 && self.length < REGION {
            right.resize(COUNTS + 4, 0);
            let pages = (self.length / PAGE as u64).saturating_sub(1);
            right.extend(u32::try_from(pages).unwrap_or(u32::MAX).to_le_bytes());
        }
        let wrong =
            right.iter().zip(&self.header).enumerate().filter(|(_, (right, is))| right != is);
        wrong.map(|(at, _)| Damage { offset: at as u64, length: 1, mended: true }).collect()
    }

    fn slot(&self, number: usize) -> Slot {
        let bytes = self.header[SLOTS[number]..SLOTS[number] + SLOT].to_vec();
        let whole = |bytes: &[u8]| {
            let checksum = array(bytes, SLOT_SUMMED).map(u128::from_le_bytes);
            checksum == Some(XxHash3_128::oneshot(&bytes[..SLOT_SUMMED]))
        };
        let offset = SLOTS[number] as u64;
        let mut slot = Slot { bytes, wrong: None };
        if !whole(&slot.bytes) {
            let mended = mend(&mut slot.bytes, &(0..SLOT).collect::<Vec<_>>(), whole);
            slot.wrong = Some(match mended {
                Some(at) => Damage { offset: offset + at as u64, length: 1, mended: true },
                None => Damage { offset, length: SLOT as u64, mended: false },
            });
        }
        slot
    }

    /// Reads the newest commit, or the one before where that has all and the newest has not.
    pub(crate) fn read(&mut self) -> io::Result<Found> {
        let newest = usize::from(self.header[FLAGS] & NEWEST != 0);
        let slots = [self.slot(newest), self.slot(1 - newest)];
        let mut found = self.commit(&slots[0])?;
        found.damage.extend(slots[1].wrong);
        found.damage.extend(self.header_damage());
        found.damage.sort_unstable();
        if found.tables && !found.lacks {
            return Ok(found);
        }
        let before = self.commit(&slots[1])?;
        if before.tables && (!before.lacks || !found.tables) {
            // What is wrong with the newest is why.
            let damage = found.damage.into_iter().chain(before.damage).collect::<BTreeSet<_>>();
            return Ok(Found { damage: damage.into_iter().collect(), before: true, ..before });
        }
        Ok(found)
    }

    fn commit(&mut self, slot: &Slot) -> io::Result<Found> {
        self.seen.clear();
        self.damage.clear();
        self.damage.extend(slot.wrong);
        let mut found = Found::default();
        for (present, root) in ROOTS {
            // The engine's own tables come second: their pages must be whole, and hold nothing of ours.
            let ours = root == ROOTS[0].1;
            if slot.bytes[present] == 0 {
                continue;
            }
            let Some(root) = self.header_at(&slot.bytes, root) else { continue };
            for (name, root, widths) in self.tables(root)? {
                for leaf in self.leaves(root, widths)? {
                    match (ours, name.as_slice()) {
                        (true, b"values") => found.take(&leaf),
                        (true, b"meta") => found.take_meta(&leaf),
                        _ => {}
                    }
                }
                found.tables |= ours && name == b"values";
            }
            found.lacks |= ours && self.damage.iter().any(|damage| !damage.mended);
        }
        let newest = found.entries.values().map(|(revision, _)| *revision).max();
        found.revision = found.revision.max(newest.unwrap_or(0));
        found.lost.retain(|key| !found.entries.contains_key(key));
        found.damage = self.damage.iter().copied().collect();
        Ok(found)
    }

    /// Page, checksum and count of a tree, as they stand in slots and tables.
    fn header_at(&self, bytes: &[u8], at: usize) -> Option<Pointer> {
        let page = u64::from_le_bytes(array(bytes, at)?);
        let checksum = u128::from_le_bytes(array(bytes, at + 8)?);
        self.pointer(page, checksum)
    }

    fn pointer(&self, page: u64, checksum: u128) -> Option<Pointer> {
        let order = u32::try_from(page >> 59).ok().filter(|order| *order <= 20)?;
        let (index, region) = (page & (0xf_ffff >> order), page >> 20 & 0xf_ffff);
        let length = (PAGE as u64) << order;
        let offset = PAGE as u64 + region * REGION + index * length;
        let fits = offset.checked_add(length).is_some_and(|end| end <= self.length);
        fits.then_some(Pointer { offset, length: usize::try_from(length).ok()?, checksum })
    }

    /// The tables that a root names: each name, root and widths.
    fn tables(&mut self, root: Pointer) -> io::Result<Vec<(Vec<u8>, Pointer, Widths)>> {
        let mut tables = Vec::new();
        for leaf in self.leaves(root, TABLES)? {
            for at in 0..count(&leaf.bytes).unwrap_or(0) {
                let Some((name, value)) = entry(&leaf.bytes, TABLES, at) else { continue };
                // Kind, count; whether it has a root, which is page, checksum and count; two widths with a byte each.
                let width = |at: usize| match value.get(at) {
                    Some(0) | None => None,
                    Some(_) => number(value, at + 1),
                };
                if value.get(9).is_none_or(|there| *there == 0) {
                    continue;
                }
                let records = name == b"values";
                let widths = Widths { key: width(42), value: width(47), records };
                if let Some(root) = self.header_at(value, 10) {
                    tables.push((name.to_owned(), root, widths));
                }
            }
        }
        Ok(tables)
    }

    /// The leaves of a tree in their order, as far as they are reached.
    fn leaves(&mut self, root: Pointer, widths: Widths) -> io::Result<Vec<Leaf>> {
        let mut leaves = Vec::new();
        let mut to_do = vec![(root, (None, None), 0)];
        while let Some((pointer, bounds, depth)) = to_do.pop() {
            if depth > DEEPEST || !self.seen.insert(pointer.offset) {
                self.wrong(pointer.offset, pointer.length as u64, false);
                continue;
            }
            let (bytes, whole) = self.page(pointer, widths)?;
            if bytes.first() == Some(&LEAF) {
                leaves.push(Leaf { bytes, whole, bounds });
                continue;
            }
            let children = match bytes.first() {
                Some(&BRANCH) => count(&bytes).map_or(0, |count| count + 1),
                _ => 0,
            };
            let below = |at: usize| separator(&bytes, widths, at).map(<[u8]>::to_vec);
            for at in (0..children).rev() {
                let checksum = array(&bytes, 8 + 16 * at).map(u128::from_le_bytes);
                let page = array(&bytes, 8 + 16 * children + 8 * at).map(u64::from_le_bytes);
                let Some(child) =
                    page.zip(checksum).and_then(|(page, checksum)| self.pointer(page, checksum))
                else {
                    self.wrong(pointer.offset, pointer.length as u64, false);
                    continue;
                };
                let low = match at.checked_sub(1) {
                    Some(before) => below(before),
                    None => bounds.0.clone(),
                };
                let high = if at + 1 == children { bounds.1.clone() } else { below(at) };
                to_do.push((child, (low, high), depth + 1));
            }
        }
        Ok(leaves)
    }

    /// A page, put right where one byte of it is wrong; and whether it is what was written.
    fn page(&mut self, pointer: Pointer, widths: Widths) -> io::Result<(Vec<u8>, bool)> {
        let mut bytes = vec![0; pointer.length];
        self.file.read_exact_at(&mut bytes, pointer.offset)?;
        let right = |bytes: &[u8]| matches(bytes, widths, pointer.checksum);
        if right(&bytes) {
            return Ok((bytes, true));
        }
        let mut mended = None;
        if self.tries > 0 {
            self.tries -= 1;
            let places = suspects(&bytes, widths);
            mended = mend(&mut bytes, &places, right);
        }
        match mended {
            Some(at) => self.wrong(pointer.offset + at as u64, 1, true),
            None => self.wrong(pointer.offset, pointer.length as u64, false),
        }
        Ok((bytes, mended.is_some()))
    }

    fn wrong(&mut self, offset: u64, length: u64, mended: bool) {
        if self.damage.len() < TOLD {
            self.damage.insert(Damage { offset, length, mended });
        }
    }
}

impl Found {
    /// Whether the table of values was found at all.
    pub(crate) fn is_readable(&self) -> bool {
        self.tables
    }

    /// Takes what a leaf holds; from one that is not whole, the records that are, under keys that belong there.
    fn take(&mut self, leaf: &Leaf) {
        let mut last: Option<&[u8]> = None;
        for at in 0..count(&leaf.bytes).unwrap_or(0) {
            let Some((key, value)) = entry(&leaf.bytes, VALUES, at) else { continue };
            let (low, high) = &leaf.bounds;
            let belongs = low.as_deref().is_none_or(|low| key > low)
                && high.as_deref().is_none_or(|high| key <= high)
                && last.is_none_or(|last| key > last)
                && (1..=MAX_KEY_BYTES).contains(&key.len());
            let text = std::str::from_utf8(key).ok().filter(|key| !key.contains(char::is_control));
            let (Some(text), Some(revision), Some(bytes)) =
                (text, array(value, 0), value.get(REVISION..))
            else {
                continue;
            };
            if !leaf.whole && !belongs {
                continue;
            }
            last = Some(key);
            if leaf.whole || record::is_whole(bytes) {
                let revision = if leaf.whole { u64::from_le_bytes(revision) } else { 0 };
                self.entries.insert(text.to_owned(), (revision, bytes.to_vec()));
            } else if self.lost.len() < TOLD {
                self.lost.insert(text.to_owned());
            }
        }
    }

    fn take_meta(&mut self, leaf: &Leaf) {
        let widths = Widths { value: Some(8), ..TABLES };
        for at in 0..count(&leaf.bytes).unwrap_or(0) {
            if let Some((b"revision", value)) = entry(&leaf.bytes, widths, at)
                && let (true, Some(revision)) = (leaf.whole, array(value, 0))
            {
                self.revision = u64::from_le_bytes(revision);
            }
        }
    }
}
