//! Paths of members, made harmless.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::{Error, Limits};

/// Takes a path from the root whatever it says: leading slashes and `.` go, `..` goes one up; one that
/// would leave the root is refused: no honest archive has it.
/// The result is relative, has only plain names, and is empty for the root itself.
pub(super) fn from_root(path: &Path, limits: &Limits) -> Result<PathBuf, Error> {
    let mut names: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => {
                if names.pop().is_none() {
                    let why = "its path leads out of the archive's root";
                    return Err(Error::Refused { path: path.to_owned(), why });
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    bounded(names, path, limits)
}

/// Takes only a relative path without `..`.
pub(super) fn plain(path: &Path, limits: &Limits) -> Result<PathBuf, Error> {
    let refused = |why| Error::Refused { path: path.to_owned(), why };
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err(refused("its path contains `..`")),
            Component::RootDir | Component::Prefix(_) => {
                return Err(refused("its path is absolute"));
            }
        }
    }
    bounded(names, path, limits)
}

fn bounded(names: Vec<&OsStr>, path: &Path, limits: &Limits) -> Result<PathBuf, Error> {
    let too_long = |what, limit| Error::PathTooLong { path: shown(path), what, limit };
    if names.len() > limits.depth {
        return Err(too_long("folders", limits.depth));
    }
    if names.iter().any(|n| n.len() > limits.name_length) {
        return Err(too_long("bytes in one name", limits.name_length));
    }
    let made: PathBuf = names.iter().collect();
    if made.as_os_str().len() > limits.path_length {
        return Err(too_long("bytes", limits.path_length));
    }
    if made.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::Refused { path: shown(path), why: "its path contains a zero byte" });
    }
    Ok(made)
}

/// The start of a path that may be a megabyte long.
fn shown(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    match text.char_indices().nth(200) {
        Some((end, _)) => PathBuf::from(format!("{}...", &text[..end])),
        None => path.to_owned(),
    }
}

/// True when a relative link at `at` can only lead to places below the root, whatever else is there.
pub(super) fn link_stays_inside(at: &Path, target: &Path) -> bool {
    let mut depth = at.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_from_the_root_and_refused_when_it_leads_out() {
        let limits = Limits::default();
        for (given, taken) in
            [("a/b", "a/b"), ("/a/b", "a/b"), ("./a//b/", "a/b"), ("a/../b", "b"), ("/", "")]
        {
            assert_eq!(from_root(Path::new(given), &limits).unwrap(), Path::new(taken), "{given}");
        }
        for given in ["..", "../../a", "a/../../../b", "/.."] {
            let e = from_root(Path::new(given), &limits).unwrap_err();
            assert!(matches!(e, Error::Refused { .. }), "{given}: {e:?}");
        }
    }

    #[test]
    fn a_link_is_followed_on_paper_only() {
        for (at, target, inside) in [
            ("a", "b", true),
            ("a/b", "../c", true),
            ("a", "../c", false),
            ("a/b", "/c", false),
            ("a/b", "../../c", false),
            ("a/b", "x/../../../c", false),
        ] {
            assert_eq!(
                link_stays_inside(Path::new(at), Path::new(target)),
                inside,
                "{at} {target}"
            );
        }
    }
}
