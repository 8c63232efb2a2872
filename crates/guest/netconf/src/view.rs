//! Reading a guest's files, from a folder or from memory. Paths are absolute inside the guest.

use std::collections::BTreeMap;

use vnode_beneath::{Dir, DirError};

/// Largest configuration file that is read.
pub(crate) const MAX_FILE: u64 = 1 << 20;
/// Most entries of one folder.
const MAX_ENTRIES: usize = 10_000;
/// Most links followed for one path.
const MAX_LINKS: usize = 16;

/// What lies at a path, itself and not what it points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// A file of the guest could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{path}` of the guest")]
pub struct ViewError {
    pub path: String,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A read-only view of a guest's root file system.
pub trait View {
    /// The content of a file, links followed inside the root; `None` when there is none.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ViewError>;
    /// What is at the path; `None` when nothing is.
    fn kind(&self, path: &str) -> Option<Kind>;
    /// The names in a folder, sorted; none when there is no folder. Names that are not UTF-8 are left out.
    fn list(&self, folder: &str) -> Result<Vec<String>, ViewError>;
    /// Where the path ends when links are followed, as a path inside the guest. It need not exist.
    fn target(&self, path: &str) -> String {
        let mut at = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(link) = self.link(&at) else { break };
            at = joined(&at, &link);
        }
        at
    }

    /// The target of a symbolic link, as stored.
    fn link(&self, path: &str) -> Option<String>;

    /// Something is at the path, links followed.
    fn exists(&self, path: &str) -> bool {
        self.kind(&self.target(path)).is_some()
    }

    /// The path itself is a symbolic link.
    fn is_link(&self, path: &str) -> bool {
        self.kind(path) == Some(Kind::Link)
    }

    /// True when one of the folders programs lie in has it.
    fn has_program(&self, name: &str) -> bool {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"]
            .iter()
            .any(|folder| self.exists(&format!("{folder}/{name}")))
    }
}

impl View for Dir {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ViewError> {
        match self.read_to_limit(path, MAX_FILE) {
            Ok(content) => Ok(Some(content)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(ViewError { path: path.to_owned(), source: Box::new(error) }),
        }
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        let stat = self.stat(path).ok()?;
        Some(match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::RegularFile => Kind::File,
            rustix::fs::FileType::Directory => Kind::Folder,
            rustix::fs::FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ViewError> {
        let failed =
            |error: DirError| ViewError { path: folder.to_owned(), source: Box::new(error) };
        match self.open_dir(folder) {
            Ok(dir) => {
                let names = Dir::list(&dir, MAX_ENTRIES).map_err(failed)?;
                Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
            }
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }

    fn link(&self, path: &str) -> Option<String> {
        self.read_link(path).ok()?.into_os_string().into_string().ok()
    }
}

/// Nothing there: also when a folder on the way is a file.
fn is_absent(error: &DirError) -> bool {
    error.is_not_found() || error.raw_os_error() == Some(libc::ENOTDIR)
}

/// The path a link at `path` points at.
fn joined(path: &str, link: &str) -> String {
    if link.starts_with('/') {
        return link.to_owned();
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{link}")
}

/// A guest's files in memory: for tests, and for rendering without a guest.
#[derive(Debug, Clone, Default)]
pub struct MemoryView {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Links by path, with their targets.
    pub links: BTreeMap<String, String>,
}

impl MemoryView {
    /// Adds a file.
    pub fn with(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.to_owned(), content.as_ref().to_vec());
        self
    }

    /// Adds a symbolic link.
    pub fn with_link(mut self, path: &str, target: &str) -> Self {
        self.links.insert(path.to_owned(), target.to_owned());
        self
    }
}

impl View for MemoryView {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.files.get(&self.target(path)).cloned())
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        if self.links.contains_key(path) {
            return Some(Kind::Link);
        }
        if self.files.contains_key(path) {
            return Some(Kind::File);
        }
        let inside = format!("{}/", path.trim_end_matches('/'));
        let mut all = self.files.keys().chain(self.links.keys());
        all.any(|name| name.starts_with(&inside)).then_some(Kind::Folder)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ViewError> {
        let inside = format!("{}/", folder.trim_end_matches('/'));
        let mut names: Vec<String> = self
            .files
            .keys()
            .chain(self.links.keys())
            .filter_map(|name| name.strip_prefix(&inside))
            .map(|rest| rest.split('/').next().unwrap_or(rest).to_owned())
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn link(&self, path: &str) -> Option<String> {
        self.links.get(path).cloned()
    }
}
