//! Where a path of the host's leads to, and whether it may be written.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FileType, Stat};
use vnode_beneath::{Dir, DirError};

/// Links followed, as many as the kernel follows.
const LINKS_MAX: usize = 40;
/// Longest path, bytes; the kernel's limit.
const PATH_MAX: usize = 4096;

/// Why a path is not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the path cannot be written to")]
    Path,
    #[error("the link `{link}` {why}")]
    Link { link: PathBuf, why: &'static str },
    #[error(transparent)]
    Dir(#[from] DirError),
}

/// A file's place: no link is on the way any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Folders to make, the uppermost first.
    pub(super) missing: Vec<PathBuf>,
}

/// A name still to walk, and the link it came from, if from one.
type Step = (OsString, Option<PathBuf>);

impl Place {
    /// Walks the path. A link as the last name is followed inside of its own folder only, and so is a link that
    /// others than root could have put where it is.
    pub(super) fn find(root: &Dir, path: &Path, deny: &[PathBuf]) -> Result<Self, Refused> {
        if !is_plain(path) {
            return Err(Refused::Path);
        }
        let mut steps: VecDeque<Step> = names(path, None).collect();
        let mut place = Self { path: PathBuf::from("/"), missing: Vec::new() };
        // A link, and the folder it must not lead out of.
        let mut bounds: Vec<(PathBuf, PathBuf)> = Vec::new();
        let mut links = 0;
        while let Some((name, from)) = steps.pop_front() {
            if name == ".." {
                place.path.pop();
                continue;
            }
            let folder = place.path.clone();
            place.path.push(&name);
            let last = steps.is_empty();
            let stat = match root.stat(&place.path) {
                _ if !place.missing.is_empty() => None,
                Ok(stat) => Some(stat),
                Err(error) if error.is_not_found() => None,
                Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
                    return Err(Refused::Path);
                }
                Err(error) => return Err(error.into()),
            };
            let Some(stat) = stat else {
                if let Some(link) = from {
                    return Err(Refused::Link { link, why: "leads to nothing" });
                }
                if !last {
                    place.missing.push(place.path.clone());
                }
                continue;
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        let why = "leads to too many others";
                        return Err(Refused::Link { link: place.path, why });
                    }
                    let link = place.path.clone();
                    if last || is_writable_by_others(&root.stat(&folder)?) {
                        bounds.push((link.clone(), folder.clone()));
                    }
                    let target = root.read_link(&link)?;
                    place.path = if target.is_absolute() { "/".into() } else { folder };
                    let walked: Vec<Step> = names(&target, Some(&link)).collect();
                    for step in walked.into_iter().rev() {
                        steps.push_front(step);
                    }
                }
                FileType::Directory if !last => {}
                FileType::RegularFile if last => {}
                _ => return Err(Refused::Path),
            }
        }
        for (link, folder) in bounds {
            if !place.path.starts_with(folder) {
                return Err(Refused::Link { link, why: "leads out of its folder" });
            }
        }
        let denied = |path: &Path| deny.iter().any(|denied| path.starts_with(denied));
        if denied(&place.path) || denied(path) || place.path.file_name().is_none() {
            return Err(Refused::Path);
        }
        Ok(place)
    }
}

/// Absolute, names a file, without `..` and NUL (R-F1).
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    path.is_absolute()
        && bytes.len() < PATH_MAX
        && !bytes.contains(&0)
        && !bytes.ends_with(b"/")
        && !bytes.ends_with(b"/.")
        && path.components().all(|part| {
            matches!(part, Component::RootDir)
                || matches!(part, Component::Normal(name) if name.as_bytes().len() <= 255)
        })
}

fn names<'a>(path: &'a Path, from: Option<&'a Path>) -> impl Iterator<Item = Step> + 'a {
    path.components().filter_map(move |part| {
        let name = match part {
            Component::Normal(name) => name,
            Component::ParentDir => OsStr::new(".."),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => return None,
        };
        Some((name.to_owned(), from.map(Path::to_owned)))
    })
}

fn is_writable_by_others(folder: &Stat) -> bool {
    folder.st_uid != 0 || folder.st_mode & 0o022 != 0
}
