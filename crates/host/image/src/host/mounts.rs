//! File systems mounted below the host's root, which an overlay of the root does not show.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::plan::Plan;
use super::rules::SHOWN;
use super::{ExtraOverlay, failed, real};
use crate::Error;

/// Kinds that hold files people installed. Others are the kernel's own, in memory, or come and go by themselves.
const KINDS: &[&str] = &[
    "bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nfs", "nfs4", "overlay",
    "reiserfs", "squashfs", "xfs", "zfs",
];

/// One overlay for each such mount that is shown, those below others later.
pub(super) fn extra_overlays(
    root: &Path,
    plan: &Plan,
    mask: &Path,
) -> Result<Vec<ExtraOverlay>, Error> {
    // Of this thread, which may be in another mount namespace than the first.
    let table = Path::new("/proc/thread-self/mountinfo");
    let text = std::fs::read(table).map_err(failed(table, "reading"))?;
    let root_path = real(root)?;
    let mut targets: Vec<PathBuf> = mounts(&text)
        .filter(|(_, kind)| KINDS.contains(&kind.as_str()))
        .filter_map(|(path, _)| path.strip_prefix(&root_path).map(Path::to_owned).ok())
        .filter(|inside| SHOWN.iter().any(|shown| inside.starts_with(shown)))
        .filter(|inside| !plan.hides(inside) && root.join(inside).is_dir())
        .collect();
    targets.sort();
    targets.dedup();
    let overlay = |inside: &PathBuf| {
        let above = Some(mask.join(inside)).filter(|part| part.is_dir());
        ExtraOverlay {
            target: Path::new("/").join(inside),
            layers: above.into_iter().chain([root.join(inside)]).collect(),
        }
    };
    Ok(targets.iter().map(overlay).collect())
}

/// Mount points and kinds of file systems, from `proc_pid_mountinfo(5)`.
fn mounts(text: &[u8]) -> impl Iterator<Item = (PathBuf, String)> {
    text.split(|b| *b == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let dash = fields.iter().position(|f| *f == b"-")?;
        let kind = String::from_utf8_lossy(fields.get(dash + 1)?).into_owned();
        Some((PathBuf::from(OsString::from_vec(unescaped(fields.get(4)?))), kind))
    })
}

/// `\040` and the like: octal bytes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escape = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match escape {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_mounts_is_read() {
        let text = b"22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
            23 22 0:5 / /a\\040b rw - tmpfs none rw\n24 22 8:1 / /usr ro master:2 shared:3 - xfs /dev/sda1 ro\n\n";
        let found: Vec<_> = mounts(text).collect();
        assert_eq!(found[0], ("/".into(), "ext4".into()));
        assert_eq!(found[1], ("/a b".into(), "tmpfs".into()));
        assert_eq!(found[2], ("/usr".into(), "xfs".into()));
    }
}
