//! Network namespaces held by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::error::not_built;
use crate::{Error, Result};

/// A network namespace. Cheap to clone; the last clone closes the descriptor, and a namespace nobody holds or lives in goes.
#[derive(Debug, Clone)]
pub struct Ns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
}

impl Ns {
    /// Takes over a descriptor of a namespace file (`/proc/PID/ns/net`).
    ///
    /// # Errors
    /// When the descriptor is of something else.
    pub fn from_fd(fd: OwnedFd) -> Result<Ns> {
        Ok(Ns { inner: Arc::new(Inner { fd }) })
    }

    /// The namespace process `pid` lives in.
    pub fn open_pid(_pid: u32) -> Result<Ns> {
        not_built("ns")
    }

    /// The namespace this process was started in (that of its main thread): the host's.
    pub fn host() -> Result<Ns> {
        not_built("ns")
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Ns> {
        not_built("ns")
    }

    /// Makes a namespace that lasts as long as somebody holds it. Its loopback interface is down.
    pub fn create() -> Result<Ns> {
        not_built("ns")
    }

    /// Device and inode number of the namespace: equal for two handles of one namespace.
    pub fn id(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Value of a parameter below `/proc/sys/net` in this namespace, without the final newline.
    /// `path` is as `net.ipv4.ip_forward` or `net/ipv4/conf/eth0.5/rp_filter`.
    pub fn sysctl_read(&self, _path: &str) -> Result<String> {
        not_built("ns")
    }

    /// Sets a parameter below `/proc/sys/net` in this namespace.
    ///
    /// # Errors
    /// [`Error::Sysctl`]; [`Error::Invalid`] for a path that is not below `net`.
    pub fn sysctl_write(&self, _path: &str, _value: &str) -> Result<()> {
        not_built("ns")
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it. Meant for work that sleeps; the calls of
    /// this crate do not need it.
    pub fn run<T: Send + 'static>(&self, _work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        not_built("ns")
    }

    /// Takes the loopback interface up.
    pub fn loopback_up(&self) -> Result<()> {
        not_built("ns")
    }

    /// Whether an interface of this name is there.
    pub fn has_interface(&self, _name: &str) -> Result<bool> {
        not_built("ns")
    }

    /// Closes the netlink sockets kept for this namespace; they are made again when needed. Saves two descriptors for a
    /// node at rest.
    pub fn close_sockets(&self) {}
}

impl AsFd for Ns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

const _: fn(Error) = drop;
