//! Files of the cache folder. All of it blocks on the disk.

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha512};

use super::{CacheError, Folders};
use crate::judge::hex;

/// Whether the file of an image is there with its size. A link is none.
pub(super) fn is_there(path: &Path, size: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.size() == size)
}

/// Whether a file has a hash; what cannot be read has none.
pub(super) fn has_hash(path: &Path, sha512: &str) -> bool {
    let hash = || -> io::Result<String> {
        let mut file = fs::File::open(path)?;
        let mut hasher = Sha512::new();
        let mut piece = vec![0; 1 << 20];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(hex(&hasher.finalize())),
                read => hasher.update(&piece[..read]),
            }
        }
    };
    match hash() {
        Ok(found) => found == sha512,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a cached file cannot be read");
            false
        }
    }
}

/// The name of a withdrawn file: `NAME.2026-11-21_10-00-00`, UTC.
pub(super) fn expired_name(name: &str, now: Timestamp) -> String {
    format!("{name}.{}", now.strftime("%Y-%m-%d_%H-%M-%S"))
}

/// Moves a file; over a border of file systems it is copied. False when it was not there.
pub(super) fn rename(from: &Path, to: &Path) -> Result<bool, CacheError> {
    let failed = |source| CacheError::File { doing: "move", path: from.to_owned(), source };
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // Under another name first: a crash must not leave half a file under the right one.
            let half = to.with_extension("moving");
            fs::copy(from, &half)
                .and_then(|_| fs::File::open(&half)?.sync_all())
                .and_then(|()| fs::rename(&half, to))
                .and_then(|()| fs::remove_file(from))
                .map_err(failed)?;
            Ok(true)
        }
        Err(error) => Err(failed(error)),
    }
}

pub(super) fn remove(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CacheError::File { doing: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Moves files that nobody knows aside, into the expired folder; gives their names. Folders stay, and files whose
/// names begin with a dot.
pub(super) fn put_strays_aside(
    folders: &Folders,
    known: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Result<Vec<PathBuf>, CacheError> {
    let failed = |source| CacheError::File { doing: "read", path: folders.cache.clone(), source };
    let mut strays = Vec::new();
    for entry in fs::read_dir(&folders.cache).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if entry.file_type().map_err(failed)?.is_dir() || text.starts_with('.') || known(&text) {
            continue;
        }
        let aside = folders.expired.join(expired_name(&format!("stray.{text}"), now));
        if rename(&entry.path(), &aside)? {
            tracing::warn!(file = %entry.path().display(), aside = %aside.display(), "a file of the cache folder belongs to no image; it was moved aside");
            strays.push(entry.path());
        }
    }
    Ok(strays)
}

/// Removes withdrawn files older than `age`, by the time in their names; gives their number.
pub(super) fn purge(
    expired: &Path,
    age: std::time::Duration,
    now: Timestamp,
) -> Result<usize, CacheError> {
    let failed = |source| CacheError::File { doing: "read", path: expired.to_owned(), source };
    let age = jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX);
    let mut purged = 0;
    for entry in fs::read_dir(expired).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let ended = name.to_str().and_then(ended_at);
        if ended.is_some_and(|ended| now.duration_since(ended) > age) {
            remove(&entry.path())?;
            purged += 1;
        }
    }
    Ok(purged)
}

/// The time at the end of a withdrawn file's name.
fn ended_at(name: &str) -> Option<Timestamp> {
    let at = name.len().checked_sub("2026-11-21_10-00-00".len())?;
    let text = name.get(at..).filter(|_| at > 1 && name.as_bytes()[at - 1] == b'.')?;
    let time = jiff::civil::DateTime::strptime("%Y-%m-%d_%H-%M-%S", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}
