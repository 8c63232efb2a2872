//! Files as they shall be, laid over files as they are: renderers write here, and nothing on disk changes.

use std::collections::BTreeMap;

use crate::view::{Kind, View, ViewError};

/// What shall be at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file. Mode and owner of an existing file are kept, unless the mode is forced.
    File {
        bytes: Vec<u8>,
        /// Mode for a new file.
        mode: u32,
        /// An existing file gets the mode too, and root as its owner.
        force_mode: bool,
    },
    /// A symbolic link with this target.
    Link { target: String },
    /// Nothing.
    Absent,
}

/// A view with changes on top.
pub struct Draft<'a> {
    base: &'a dyn View,
    changes: BTreeMap<String, Content>,
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl<'a> Draft<'a> {
    pub fn new(base: &'a dyn View) -> Self {
        Self { base, changes: BTreeMap::new() }
    }

    /// The files as they are.
    pub fn base(&self) -> &'a dyn View {
        self.base
    }

    /// The content as it shall be; empty when there is no such file.
    pub fn read_or_empty(&self, path: &str) -> Result<Vec<u8>, ViewError> {
        Ok(self.read(path)?.unwrap_or_default())
    }

    /// Writes a file, with mode 0644 if it is new.
    pub fn write(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), ViewError> {
        self.put(path, Content::File { bytes, mode: 0o644, force_mode: false });
        Ok(())
    }

    /// Writes a file that only root may read.
    pub fn write_private(&mut self, path: &str, bytes: Vec<u8>) {
        self.put(path, Content::File { bytes, mode: 0o600, force_mode: true });
    }

    /// Makes a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.changes.insert(path.to_owned(), Content::Link { target: target.to_owned() });
    }

    /// Takes a file or link away.
    pub fn remove(&mut self, path: &str) {
        self.changes.insert(path.to_owned(), Content::Absent);
    }

    /// A file that is a link is written where the link leads.
    fn put(&mut self, path: &str, content: Content) {
        let target = self.target(path);
        self.changes.insert(target, content);
    }

    /// The changes, by path. Some may change nothing.
    pub fn changes(&self) -> &BTreeMap<String, Content> {
        &self.changes
    }
}

impl View for Draft<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ViewError> {
        match self.changes.get(&self.target(path)) {
            Some(Content::File { bytes, .. }) => Ok(Some(bytes.clone())),
            Some(Content::Absent) => Ok(None),
            Some(Content::Link { .. }) | None => self.base.read(path),
        }
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        match self.changes.get(path) {
            Some(Content::File { .. }) => Some(Kind::File),
            Some(Content::Link { .. }) => Some(Kind::Link),
            Some(Content::Absent) => None,
            None => self.base.kind(path),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ViewError> {
        let mut names = self.base.list(folder)?;
        let inside = format!("{}/", folder.trim_end_matches('/'));
        for (path, content) in &self.changes {
            let Some(name) = path.strip_prefix(&inside).filter(|n| !n.contains('/')) else {
                continue;
            };
            names.retain(|other| other != name);
            if *content != Content::Absent {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn link(&self, path: &str) -> Option<String> {
        match self.changes.get(path) {
            Some(Content::Link { target }) => Some(target.clone()),
            Some(_) => None,
            None => self.base.link(path),
        }
    }
}
