//! Descriptors that a child needs no more.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

/// Closed by the exec all together instead of by a call for each, of which a node's mounts would take fifty.
#[derive(Debug, Default)]
pub(super) struct Later(RefCell<Vec<OwnedFd>>);

impl Later {
    /// As many are kept: a node of many mounts must not run out of descriptors.
    const MOST: usize = 128;

    pub(super) fn close(&self, fd: OwnedFd) {
        let mut all = self.0.borrow_mut();
        if all.len() >= Self::MOST {
            all.clear();
        }
        all.push(fd);
    }
}

impl From<Vec<OwnedFd>> for Later {
    fn from(all: Vec<OwnedFd>) -> Self {
        Self(RefCell::new(all))
    }
}
