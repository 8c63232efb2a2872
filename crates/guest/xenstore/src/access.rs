//! Where a store is, and the bytes to and from it.

use std::{
    env,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::fs::OFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd},
    net::UnixStream,
};

use crate::error::Error;

/// Devices of a guest, in the order they are tried: Linux, older Linux with xenfs, FreeBSD.
const DEVICES: &[&str] = &["/dev/xen/xenbus", "/proc/xen/xenbus", "/dev/xen/xenstore"];
/// The daemon's socket where nothing says otherwise.
const SOCKET: &str = "/var/run/xenstored/socket";

/// The longest pause of one who waits for a place in the daemon's queue.
const FULL: Duration = Duration::from_secs(1);

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// The daemon's Unix socket.
    Socket(PathBuf),
    /// The kernel's device inside a guest.
    Device(PathBuf),
}

impl Access {
    /// What is there: the place named by `XENSTORED_PATH` or the directory by `XENSTORED_RUNDIR` (as Xen's own
    /// clients look), else the guest's device, else the daemon's socket. The caller gives the variables: no
    /// library reads the environment.
    ///
    /// # Errors
    /// When nothing is there.
    pub fn find(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, Error> {
        let mut tried = Vec::new();
        if let Some(path) = variable("XENSTORED_PATH") {
            tried.push(path);
        } else if let Some(dir) = variable("XENSTORED_RUNDIR") {
            tried.push(dir.join("socket"));
        } else {
            tried.extend(DEVICES.iter().map(PathBuf::from));
            tried.push(PathBuf::from(SOCKET));
        }
        match tried.iter().find(|path| path.exists()) {
            Some(path) => Ok(Self::at(path)),
            None => Err(Error::Absent { tried }),
        }
    }

    /// [`find`](Self::find) with this process's environment, for a program's `main`.
    ///
    /// # Errors
    /// When nothing is there.
    pub fn from_environment() -> Result<Self, Error> {
        Self::find(|name| env::var_os(name).map(PathBuf::from))
    }

    /// What lies at that path: a socket when it is one, a device otherwise.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let socket = path.metadata().is_ok_and(|m| m.file_type().is_socket());
        if socket { Self::Socket(path.to_owned()) } else { Self::Device(path.to_owned()) }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Socket(path) | Self::Device(path) => path,
        }
    }

    /// Opens it.
    pub(crate) async fn open(&self) -> Result<Box<dyn Io>, Error> {
        let failed = |source| Error::Open { path: self.path().to_owned(), source };
        match self {
            Self::Socket(path) => Ok(Box::new(connect(path).await.map_err(failed)?) as Box<dyn Io>),
            Self::Device(path) => open_device(path).map_err(failed),
        }
    }
}

/// Connects to the socket. The C daemon lets only one or two wait to be accepted; who comes then is told to try
/// again, however it would wait.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && pause < FULL => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            other => return other,
        }
    }
}

/// Opens the device for waiting by readiness; one whose driver cannot tell readiness is served by two threads.
fn open_device(path: &Path) -> io::Result<Box<dyn Io>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
    // SAFETY: a `File` owns its descriptor and closes it when it is dropped, not before.
    match unsafe { AsyncFd::register(file) } {
        Ok(fd) => Ok(Box::new(Device { fd })),
        Err(error) => {
            let (file, cause) = error.into_parts();
            tracing::debug!(path = %path.display(), %cause, "no readiness of the device: threads serve it");
            Ok(Box::new(by_threads(file)?))
        }
    }
}

/// A device that tells when it can be read.
struct Device {
    fd: AsyncFd<File>,
}

impl AsyncRead for Device {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            match guard.try_io(|fd| fd.get_ref().read(buf.initialize_unfilled())) {
                Ok(Ok(read)) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Device {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            match guard.try_io(|fd| fd.get_ref().write(bytes)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(done) => return Poll::Ready(done),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Two threads copy between a blocking device and a pair of sockets.
///
/// The writing thread ends when the returned socket is dropped. The reading one is stuck in the device until its
/// next message and ends then; reconnecting to a device is rare enough for that.
fn by_threads(device: File) -> io::Result<UnixStream> {
    let flags = rustix::fs::fcntl_getfl(&device)?;
    rustix::fs::fcntl_setfl(&device, flags - OFlags::NONBLOCK)?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (mut from, mut to) = (device.try_clone()?, theirs.try_clone()?);
    let (mut back, mut into) = (theirs, device);
    let thread =
        |name: &str| std::thread::Builder::new().name(name.to_owned()).stack_size(64 << 10);
    thread("xenstore-read").spawn(move || {
        // The end of either side ends the copy; the client sees it as a closed connection.
        let _ = copy(&mut from, &mut to);
        // Fails only when the other end is gone, which is what it is for.
        let _ = to.shutdown(std::net::Shutdown::Both);
    })?;
    thread("xenstore-write").spawn(move || {
        // As above.
        let _ = copy(&mut back, &mut into);
        let _ = back.shutdown(std::net::Shutdown::Both);
    })?;
    UnixStream::from_std(ours)
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; crate::wire::HEADER + crate::wire::PAYLOAD_MAX];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_place_first() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let by_dir = |name: &str| (name == "XENSTORED_RUNDIR").then(|| dir.path().to_owned());
        assert_eq!(Access::find(by_dir).unwrap(), Access::Socket(socket.clone()));
        let missing = |name: &str| (name == "XENSTORED_PATH").then(|| dir.path().join("none"));
        let error = Access::find(missing).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
        assert!(error.to_string().contains("XENSTORED_PATH"), "{error}");
    }

    #[tokio::test]
    async fn threads_serve_a_device_without_readiness() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (device, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut stream = by_threads(File::from(std::os::fd::OwnedFd::from(device))).unwrap();
        far.set_nonblocking(true).unwrap();
        let mut far = UnixStream::from_std(far).unwrap();
        stream.write_all(b"question").await.unwrap();
        let mut got = [0; 8];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"question");
        far.write_all(b"answer").await.unwrap();
        let mut got = [0; 6];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"answer");
        drop(far);
        assert_eq!(stream.read(&mut got).await.unwrap(), 0, "the device's end is the connection's");
    }
}
