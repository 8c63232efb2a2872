//! Network namespaces held by descriptor.
//!
//! A netlink socket belongs to the namespace of the thread that opened it, for ever. One worker thread of the process enters
//! namespaces to open sockets and kernel parameters, and returns home after each visit, so that it holds no namespace alive
//! and no other thread ever changes its own.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::netlink::{Batch, Failure, Socket, rtnl};
use crate::{Error, Result};

/// A network namespace. Cheap to clone; the last clone closes the descriptor, and a namespace nobody holds or lives in goes.
#[derive(Debug, Clone)]
pub struct Ns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    id: (u64, u64),
    /// Of whom, for errors.
    what: String,
    /// Made at first use.
    route: Mutex<Option<Socket>>,
    netfilter: Mutex<Option<Socket>>,
}

impl Ns {
    /// Takes over a descriptor of a namespace file (`/proc/PID/ns/net`).
    ///
    /// # Errors
    /// When the descriptor is of something else.
    pub fn from_fd(fd: OwnedFd) -> Result<Ns> {
        Ns::named(fd, "a node".into())
    }

    /// The namespace of an rtnetlink socket, which is used for it from here on.
    ///
    /// # Errors
    /// When the descriptor is of something else, or the kernel does not tell.
    pub fn of_socket(route: OwnedFd) -> Result<Ns> {
        let wrap = |source| Error::Namespace { what: "a node".into(), source };
        // SAFETY: SIOCGSKNS takes no argument and gives a new descriptor of the socket's namespace.
        let fd = unsafe { libc::ioctl(route.as_raw_fd(), SIOCGSKNS) };
        if fd < 0 {
            return Err(wrap(io::Error::last_os_error()));
        }
        // SAFETY: the kernel has just given it to us.
        let ns = Ns::from_fd(unsafe { OwnedFd::from_raw_fd(fd) })?;
        *lock(&ns.inner.route) = Some(Socket::of(route).map_err(wrap)?);
        Ok(ns)
    }

    fn named(fd: OwnedFd, what: String) -> Result<Ns> {
        let wrap = |source| Error::Namespace { what: what.clone(), source };
        // SAFETY: NS_GET_NSTYPE takes no argument and returns the type of a namespace descriptor.
        let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
        if kind != libc::CLONE_NEWNET {
            let text = "the descriptor is not of a network namespace";
            return Err(wrap(io::Error::new(io::ErrorKind::InvalidInput, text)));
        }
        let stat = rustix::fs::fstat(&fd).map_err(|error| wrap(error.into()))?;
        let inner = Inner {
            fd,
            id: (stat.st_dev, stat.st_ino),
            what,
            route: Mutex::new(None),
            netfilter: Mutex::new(None),
        };
        Ok(Ns { inner: Arc::new(inner) })
    }

    /// The namespace process `pid` lives in.
    pub fn open_pid(pid: u32) -> Result<Ns> {
        Ns::open(&format!("/proc/{pid}/ns/net"), format!("process {pid}"))
    }

    /// The namespace this process was started in (that of its main thread): the host's.
    pub fn host() -> Result<Ns> {
        Ns::open("/proc/self/ns/net", "the host".into())
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Ns> {
        Ns::open("/proc/thread-self/ns/net", "this thread".into())
    }

    fn open(path: &str, what: String) -> Result<Ns> {
        match File::open(path) {
            Ok(file) => Ns::named(file.into(), what),
            Err(source) => Err(Error::Namespace { what, source }),
        }
    }

    /// Makes a namespace that lasts as long as somebody holds it. Its loopback interface is up, as in those that nodes'
    /// monitors make.
    pub fn create() -> Result<Ns> {
        let wrap = |source| Error::Namespace { what: "a new node".into(), source };
        let (fd, socket) = visit(None, || {
            // SAFETY: unshare of the network namespace affects the worker thread alone, which goes home afterwards.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
            let file = File::open("/proc/thread-self/ns/net")?;
            Ok((OwnedFd::from(file), Socket::open(libc::NETLINK_ROUTE, 0)?))
        })
        .map_err(wrap)?;
        let ns = Ns::named(fd, "a node".into())?;
        *lock(&ns.inner.route) = Some(socket);
        ns.loopback_up()?;
        Ok(ns)
    }

    /// Device and inode number of the namespace: equal for two handles of one namespace.
    pub fn id(&self) -> (u64, u64) {
        self.inner.id
    }

    /// Value of a parameter below `/proc/sys/net` in this namespace, without the final newline.
    /// `path` is as `net.ipv4.ip_forward` or, where a part has a dot in it, `net/ipv4/conf/eth0.5/rp_filter`.
    ///
    /// # Errors
    /// [`Error::Sysctl`]; [`Error::Invalid`] for a path that is not below `net`.
    pub fn sysctl_read(&self, path: &str) -> Result<String> {
        let file = sysctl_path(path)?;
        let value = visit(Some(self), move || fs::read_to_string(file));
        match value {
            Ok(value) => Ok(value.trim_end().to_owned()),
            Err(source) => Err(Error::Sysctl { path: path.into(), source }),
        }
    }

    /// Sets a parameter below `/proc/sys/net` in this namespace.
    ///
    /// # Errors
    /// [`Error::Sysctl`]; [`Error::Invalid`] for a path that is not below `net`.
    pub fn sysctl_write(&self, path: &str, value: &str) -> Result<()> {
        self.sysctl_write_all(&[(path, value)])
    }

    /// Sets several parameters in one visit of the namespace, in order.
    ///
    /// # Errors
    /// As [`Ns::sysctl_write`]; those before the failing one are set.
    pub fn sysctl_write_all(&self, values: &[(&str, &str)]) -> Result<()> {
        let mut files = Vec::with_capacity(values.len());
        for (path, value) in values {
            files.push((path.to_string(), sysctl_path(path)?, value.to_string()));
        }
        let written = visit(Some(self), move || {
            for (path, file, value) in files {
                // Not fs::write: it would create and truncate, which files of /proc do not know.
                let done = File::options()
                    .write(true)
                    .open(&file)
                    .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
                if let Err(source) = done {
                    return Ok(Some((path, source)));
                }
            }
            Ok(None)
        });
        match written.map_err(|source| self.namespace_error(source))? {
            None => Ok(()),
            Some((path, source)) => Err(Error::Sysctl { path, source }),
        }
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it. Meant for work that sleeps; the calls of
    /// this crate do not need it.
    ///
    /// # Errors
    /// When the namespace cannot be entered. A panic of `work` is passed on.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let ns = self.clone();
        let enter = move || -> io::Result<T> {
            move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        let thread = thread::Builder::new().name("in-namespace".into()).spawn(enter);
        match thread.map(thread::JoinHandle::join) {
            Ok(Ok(result)) => result.map_err(|source| self.namespace_error(source)),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(source) => Err(self.namespace_error(source)),
        }
    }

    /// Takes the loopback interface up; what makes a node's namespace has done so.
    fn loopback_up(&self) -> Result<()> {
        let mut batch = Batch::new();
        rtnl::loopback_up(&mut batch);
        self.change(&batch)
    }

    /// Whether an interface of this name is there.
    pub fn has_interface(&self, name: &str) -> Result<bool> {
        Ok(self.index(name)?.is_some())
    }

    /// Closes the netlink sockets kept for this namespace; they are made again when needed. Saves two descriptors for a
    /// node at rest.
    pub fn close_sockets(&self) {
        *lock(&self.inner.route) = None;
        *lock(&self.inner.netfilter) = None;
    }

    /// Sends changes to rtnetlink.
    ///
    /// # Errors
    /// The first refusal; the others of the batch have been tried all the same.
    pub(crate) fn change(&self, batch: &Batch) -> Result<()> {
        first_failure(self.attempt(batch)?)
    }

    /// As [`Ns::change`], every refusal told.
    pub(crate) fn attempt(&self, batch: &Batch) -> Result<Vec<Failure>> {
        self.with_route(|socket| socket.run(batch))
    }

    /// Asks rtnetlink for data.
    pub(crate) fn ask(
        &self,
        batch: &Batch,
        what: &str,
        each: impl FnMut(u16, &[u8]),
    ) -> Result<()> {
        let answer = self.with_route(|socket| socket.ask(batch, each))?;
        answer.map_err(|source| Error::Refused { action: what.into(), source })
    }

    pub(crate) fn with_route<T>(
        &self,
        work: impl FnOnce(&mut Socket) -> io::Result<T>,
    ) -> Result<T> {
        self.with(&self.inner.route, libc::NETLINK_ROUTE, work)
    }

    pub(crate) fn with_netfilter<T>(
        &self,
        work: impl FnOnce(&mut Socket) -> io::Result<T>,
    ) -> Result<T> {
        self.with(&self.inner.netfilter, libc::NETLINK_NETFILTER, work)
    }

    fn with<T>(
        &self,
        slot: &Mutex<Option<Socket>>,
        protocol: i32,
        work: impl FnOnce(&mut Socket) -> io::Result<T>,
    ) -> Result<T> {
        let mut slot = lock(slot);
        if slot.is_none() {
            *slot = Some(self.socket(protocol, 0)?);
        }
        let socket = slot.as_mut().expect("filled just above");
        work(socket).map_err(|source| {
            // Answers to a conversation that broke off must not be taken for those of the next.
            *slot = None;
            Error::Socket { what: format!("the network of {}", self.inner.what), source }
        })
    }

    /// A netlink socket made inside the namespace, for the caller alone.
    pub(crate) fn socket(&self, protocol: i32, groups: u32) -> Result<Socket> {
        visit(Some(self), move || Socket::open(protocol, groups))
            .map_err(|source| self.namespace_error(source))
    }

    /// Runs something short on the worker thread inside the namespace.
    pub(crate) fn visit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        visit(Some(self), work)
    }

    pub(crate) fn namespace_error(&self, source: io::Error) -> Error {
        Error::Namespace { what: self.inner.what.clone(), source }
    }

    /// Of whom the namespace is, for errors.
    pub(crate) fn what(&self) -> &str {
        &self.inner.what
    }
}

impl AsFd for Ns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

/// The first refusal as an error.
pub(crate) fn first_failure(failures: Vec<Failure>) -> Result<()> {
    match failures.into_iter().next() {
        None => Ok(()),
        Some(failure) => Err(Error::Refused { action: failure.what, source: failure.refused }),
    }
}

/// `SIOCGSKNS` of `linux/sockios.h`: the namespace of a socket.
const SIOCGSKNS: libc::Ioctl = 0x894c;
/// `_IO(0xb7, 3)` of `linux/nsfs.h`: type of a namespace descriptor.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What the mutexes guard is whole at any time; a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sysctl_path(path: &str) -> Result<PathBuf> {
    let separator = if path.contains('/') { '/' } else { '.' };
    let parts: Vec<&str> = path.split(separator).collect();
    let bad = |part: &&str| part.is_empty() || matches!(*part, "." | "..") || part.contains('\0');
    if parts.len() < 2 || parts[0] != "net" || parts.iter().any(bad) {
        return Err(Error::Invalid {
            what: format!("kernel parameter `{}`", path.chars().take(80).collect::<String>()),
            reason: "a parameter of a network namespace begins with `net.`".into(),
        });
    }
    Ok(std::iter::once("/proc/sys").chain(parts).collect())
}

type Job = Box<dyn FnOnce(&File) + Send>;

static WORKER: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Runs `work` on the worker thread, inside `ns` (at home without), and waits for its result.
fn visit<T: Send + 'static>(
    ns: Option<&Ns>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (answer, result) = mpsc::sync_channel(1);
    let ns = ns.cloned();
    let job: Job = Box::new(move |home| {
        let entered = match &ns {
            Some(ns) => move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network)),
            None => Ok(()),
        };
        let outcome = entered.map_err(io::Error::from).and_then(|()| work());
        drop(ns);
        if let Err(error) =
            move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))
        {
            // A worker that cannot go home must not serve anybody else: ending it makes the next visit start another.
            let text = format!("cannot return from a network namespace: {error}");
            std::panic::panic_any(Box::new(text) as Box<dyn Any + Send>);
        }
        // Nobody waits any more only when the waiting thread was ended.
        let _ = answer.send(outcome);
    });
    let mut worker = lock(&WORKER);
    let undelivered = match worker.as_ref() {
        Some(sender) => sender.send(job).err().map(|failed| failed.0),
        None => Some(job),
    };
    if let Some(job) = undelivered {
        let sender = start_worker()?;
        sender.send(job).map_err(|_| io::Error::other("the namespace worker has just ended"))?;
        *worker = Some(sender);
    }
    drop(worker);
    result.recv().map_err(|_| io::Error::other("the namespace worker ended in its work"))?
}

fn start_worker() -> io::Result<Sender<Job>> {
    // The main thread's namespace: that of the thread which happens to be here may be a test's own.
    let home = File::open("/proc/self/ns/net")?;
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new().name("namespaces".into()).spawn(move || {
        move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
        for job in jobs {
            job(&home);
        }
        io::Result::Ok(())
    })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_outside_net_are_refused() {
        for path in ["kernel.hostname", "net", "net..x", "net/../kernel/hostname", "/net/x", ""] {
            assert!(sysctl_path(path).is_err(), "{path}");
        }
        let path = sysctl_path("net/ipv4/conf/eth0.5/rp_filter").unwrap();
        assert_eq!(path, PathBuf::from("/proc/sys/net/ipv4/conf/eth0.5/rp_filter"));
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        assert!(Ns::from_fd(File::open("/proc/self/ns/mnt").unwrap().into()).is_err());
        assert!(Ns::from_fd(File::open("/proc/self/status").unwrap().into()).is_err());
    }
}
