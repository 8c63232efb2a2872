//! What is in a page of a store's file: keys and values, or the pages below; and which byte of it is wrong.
//!
//! The form is in `docs/design.md` of redb, "B+tree pages". Nothing here takes a page for whole.

use twox_hash::XxHash3_128;

use crate::record;

/// Bytes of a page of the smallest size, which most have.
pub(super) const PAGE: usize = 4096;
/// First byte of a page with keys and values.
pub(super) const LEAF: u8 = 1;
/// First byte of one with other pages.
pub(super) const BRANCH: u8 = 2;
/// Bytes of a page larger than most that are tried.
const FRONT: usize = 512;

/// Widths of keys and values in bytes, where all have the same; and whether values are a revision and a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widths {
    pub(super) key: Option<usize>,
    pub(super) value: Option<usize>,
    pub(super) records: bool,
}

/// Tables of tables.
pub(super) const TABLES: Widths = Widths { key: None, value: None, records: false };
/// The values of a store.
pub(super) const VALUES: Widths = Widths { records: true, ..TABLES };
/// Bytes of a revision, before its record.
pub(super) const REVISION: usize = 8;

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(array(bytes, at)?)).ok()
}

pub(super) fn count(page: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(array(page, 2)?)))
}

/// Where the keys of a leaf end, and its values.
fn leaf_ends(page: &[u8], widths: Widths, at: usize) -> Option<(usize, usize)> {
    let count = count(page)?;
    let table = |width: Option<usize>| if width.is_none() { 4 * count } else { 0 };
    let keys = 4 + table(widths.key) + table(widths.value);
    let key_end = |at: usize| match widths.key {
        Some(width) => Some(keys + width * (at + 1)),
        None => number(page, 4 + 4 * at),
    };
    let value_end = match widths.value {
        Some(width) => key_end(count.checked_sub(1)?)? + width * (at + 1),
        None => number(page, 4 + table(widths.key) + 4 * at)?,
    };
    Some((key_end(at)?, value_end))
}

/// A key of a leaf and its value.
pub(super) fn entry(page: &[u8], widths: Widths, at: usize) -> Option<(&[u8], &[u8])> {
    let count = count(page)?;
    let table = |width: Option<usize>| if width.is_none() { 4 * count } else { 0 };
    let (key_end, value_end) = leaf_ends(page, widths, at)?;
    let (key, value) = match at.checked_sub(1) {
        Some(before) => leaf_ends(page, widths, before)?,
        None => (
            4 + table(widths.key) + table(widths.value),
            leaf_ends(page, widths, count.checked_sub(1)?)?.0,
        ),
    };
    Some((page.get(key..key_end)?, page.get(value..value_end)?))
}

/// Where the key of a branch ends.
fn branch_end(page: &[u8], widths: Widths, at: usize) -> Option<usize> {
    let count = count(page)?;
    let keys = 8 + 24 * (count + 1);
    match widths.key {
        Some(width) => Some(keys + width * (at + 1)),
        None => number(page, keys + 4 * at),
    }
}

/// A key of a branch: the subtree before it holds keys up to it, the next ones above.
pub(super) fn separator(page: &[u8], widths: Widths, at: usize) -> Option<&[u8]> {
    let count = count(page)?;
    let begin = match at.checked_sub(1) {
        Some(before) => branch_end(page, widths, before)?,
        None => 8 + 24 * (count + 1) + if widths.key.is_none() { 4 * count } else { 0 },
    };
    page.get(begin..branch_end(page, widths, at)?)
}

/// Whether a page is the one of that checksum, which covers all up to the end of its last value or key.
pub(super) fn matches(page: &[u8], widths: Widths, checksum: u128) -> bool {
    let last = count(page).and_then(|count| count.checked_sub(1));
    let end = last.and_then(|last| match page.first() {
        Some(&LEAF) => Some(leaf_ends(page, widths, last)?.1),
        Some(&BRANCH) => branch_end(page, widths, last),
        _ => None,
    });
    end.and_then(|end| page.get(..end))
        .is_some_and(|summed| XxHash3_128::oneshot(summed) == checksum)
}

/// Where the one wrong byte of a page can be. Records have checksums of their own: a byte of one makes that one wrong, a
/// byte of the keys, or of where values end, none of them, or the last, or two.
pub(super) fn suspects(page: &[u8], widths: Widths) -> Vec<usize> {
    let entries = count(page).unwrap_or(0);
    if !widths.records || page.first() != Some(&LEAF) {
        // A larger page holds one value; its keys are in front, and trying all of it would take minutes.
        return (0..if page.len() == PAGE { PAGE } else { FRONT }).collect();
    }
    let ends = |at| leaf_ends(page, widths, at).map(|(_, end)| end.min(page.len()));
    let first = entries.checked_sub(1).and_then(|last| leaf_ends(page, widths, last));
    let first = first.map_or(FRONT, |(keys, _)| keys.min(page.len()));
    let mut begins = first;
    let (mut wrong, mut revisions) = (Vec::new(), Vec::<usize>::new());
    for at in 0..entries {
        let end = ends(at).unwrap_or(page.len()).max(begins);
        let value = page.get(begins..end).and_then(|value| value.get(REVISION..));
        if value.is_some_and(record::is_whole) {
            revisions.extend(begins..begins + REVISION);
        } else {
            wrong.push(begins..end);
        }
        begins = end;
    }
    match &wrong[..] {
        [] => (0..first).chain(revisions).collect(),
        [one] => one.clone().chain(0..first).collect(),
        _ => (0..first).collect(),
    }
}

/// Puts the one byte of those places right that makes `is_right` so, and gives its place.
pub(super) fn mend(
    bytes: &mut [u8],
    places: &[usize],
    is_right: impl Fn(&[u8]) -> bool,
) -> Option<usize> {
    // A bit, or all of a byte: what mostly happens comes first.
    let bits = (0..8).map(|bit| 1 << bit).chain([0xff]);
    let others = (1..0xff_u8).filter(|way| !way.is_power_of_two());
    let length = bytes.len();
    for way in bits.chain(others) {
        for at in places.iter().copied().filter(|at| *at < length) {
            bytes[at] ^= way;
            if is_right(bytes) {
                return Some(at);
            }
            bytes[at] ^= way;
        }
    }
    None
}
