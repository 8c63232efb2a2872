//! A folder of processes that is killed whole.
use crate::error::Result;
use std::path::{Path, PathBuf};

/// A cgroup v2 folder of our own.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
