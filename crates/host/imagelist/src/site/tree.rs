//! Re-serving: messages and files of all lists, in a tree that any web server can give to other sites.
//!
//! ```text
//! FOLDER/http/lists.example.org/PATH       the message of a list, as its endorser signed it
//! FOLDER/https/images.example.org/PATH     the file of a cached image; a hard link where it can be one
//! ```
//!
//! Another site subscribes to the message by the mirror's address and sets the mirror
//! `http://images.example.org/=http://MIRROR/http/images.example.org/`. It need not trust us: the signature and the
//! hashes are the endorser's. Only files of our own making (`.vnode-tree` lists them) are ever removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Component, Path, PathBuf},
};

use reqwest::Url;

use super::SiteError;
use crate::{cache::Cache, fetch, lists::Lists};

const LISTING: &str = ".vnode-tree";

enum Content {
    Message(Vec<u8>),
    File(PathBuf),
}

/// Brings the tree below `folder` to what is here now.
///
/// # Errors
/// When the records cannot be read, or the tree cannot be written.
pub async fn serve_tree(lists: &Lists, cache: &Cache, folder: PathBuf) -> Result<(), SiteError> {
    let mut wanted = BTreeMap::new();
    for subscription in lists.subscriptions().await? {
        let latest = lists.latest(&subscription.identifier).await?;
        if let (Some(path), Some(latest)) = (place(&subscription.uri), latest) {
            wanted.insert(path, Content::Message(latest.message));
        }
    }
    for (name, cached) in cache.cached().await? {
        if let Some(path) = place(&cached.image.uri) {
            wanted.insert(path, Content::File(cache.folders().cache.join(name)));
        }
    }
    let failed = {
        let folder = folder.clone();
        move |source| SiteError::File { path: folder.clone(), source }
    };
    tokio::task::spawn_blocking(move || bring(&folder, &wanted))
        .await
        .map_err(|_| SiteError::Cancelled)?
        .map_err(failed)
}

/// Where an address lies in the tree; `None` for one that is none or would leave it.
fn place(uri: &str) -> Option<PathBuf> {
    let url: Url = fetch::address(uri).ok()?;
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str()?),
        None => url.host_str().unwrap_or("localhost").to_owned(),
    };
    // Percent signs stay as they are: what is in them cannot become a slash.
    let path = Path::new(url.scheme()).join(host).join(url.path().trim_start_matches('/'));
    let plain = path.components().all(|part| match part {
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
        _ => false,
    });
    (plain && path.components().count() > 2).then_some(path)
}

fn bring(folder: &Path, wanted: &BTreeMap<PathBuf, Content>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let listing = folder.join(LISTING);
    let before: BTreeSet<PathBuf> = match fs::read_to_string(&listing) {
        Ok(text) => text.lines().map(PathBuf::from).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    // Written before anything is made: after a crash the next run knows what is ours.
    let ours: BTreeSet<&PathBuf> = before.iter().chain(wanted.keys()).collect();
    write_listing(&listing, ours.iter().copied())?;
    for (path, content) in wanted {
        let to = folder.join(path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        let new = to.with_added_extension("vnode-new");
        match content {
            Content::Message(message) => {
                if fs::read(&to).is_ok_and(|there| there == *message) {
                    continue;
                }
                fs::write(&new, message)?;
            }
            Content::File(file) => {
                use std::os::unix::fs::MetadataExt as _;
                let here = fs::metadata(file)?;
                if fs::symlink_metadata(&to).is_ok_and(|there| {
                    (there.ino(), there.dev()) == (here.ino(), here.dev())
                        || (there.len(), there.mtime()) == (here.len(), here.mtime())
                }) {
                    continue;
                }
                if new.exists() {
                    fs::remove_file(&new)?;
                }
                if fs::hard_link(file, &new).is_err() {
                    fs::copy(file, &new)?;
                    let times = fs::FileTimes::new().set_modified(here.modified()?);
                    fs::File::options().write(true).open(&new)?.set_times(times)?;
                }
            }
        }
        fs::rename(&new, &to)?;
    }
    for path in before.iter().filter(|path| !wanted.contains_key(*path)) {
        match fs::remove_file(folder.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    write_listing(&listing, wanted.keys())
}

fn write_listing<'a>(listing: &Path, paths: impl Iterator<Item = &'a PathBuf>) -> io::Result<()> {
    let text: String = paths.map(|path| format!("{}\n", path.display())).collect();
    if fs::read_to_string(listing).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let new = listing.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_place_and_none_leaves_the_tree() {
        let at = |uri| place(uri).map(|path| path.display().to_string());
        assert_eq!(at("http://a.example:8000/b/c.img?x=1").unwrap(), "http/a.example:8000/b/c.img");
        assert_eq!(at("https://a.example/../../etc/x").unwrap(), "https/a.example/etc/x");
        for none in ["http://a.example/", "http://a.example/.git/x", "ftp://a/b", "x"] {
            assert_eq!(at(none), None, "{none}");
        }
    }
}
