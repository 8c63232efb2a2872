//! A port of a virtio console: `/dev/virtio-ports/NAME`.
//!
//! A port opens once only (EBUSY), may answer ENXIO until the device is set up, appears when it is plugged in and
//! is gone when it is pulled out. While no host is connected it reads as ended, polls with HUP, and takes no bytes.
//! The port stays open the whole time; a connection is what is between a host's coming and its going.

use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll},
    fs::{Mode, OFlags},
    io::Errno,
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

use super::{Connection, ExchangeError, Io, Peer, StreamExchange, appear};

/// How often a port that answers ENXIO or EBUSY is tried again, and how many times: the device is there and will
/// be ready in a moment, of which nothing tells.
const SETTLE: (Duration, u32) = (Duration::from_millis(100), 50);

/// The exchange.
#[derive(Debug)]
pub struct Virtio {
    path: PathBuf,
    port: Option<Arc<Port>>,
}

/// The open port. tokio keeps a hang-up for ever once it has seen one, but a port's passes: so the port is
/// registered with an epoll instance of its own, and tokio waits for that, which only ever becomes readable.
#[derive(Debug)]
struct Port {
    fd: OwnedFd,
    /// One for who reads and one for who writes: tokio wakes one waiter of each.
    reads: AsyncFd<OwnedFd>,
    writes: AsyncFd<OwnedFd>,
}

/// An epoll instance that watches the port alone.
fn events(fd: &OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    // Edge-triggered: a hang-up that lasts does not wake us again; its end does, as bytes do.
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(&events, fd, epoll::EventData::new_u64(0), flags)?;
    super::fd::watch(events, Interest::READABLE)
}

impl Port {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { reads: events(&fd)?, writes: events(&fd)?, fd })
    }

    /// What the port is ready for at this moment; with ERR when it was pulled out.
    fn now(&self) -> io::Result<PollFlags> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN | PollFlags::OUT)];
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let now = fds[0].revents();
        // A port without a host and one that is no more both poll with HUP. Reading nothing tells them apart.
        if now.contains(PollFlags::HUP)
            && rustix::io::read(&self.fd, &mut [0_u8; 0]) == Err(Errno::NODEV)
        {
            return Ok(now | PollFlags::ERR);
        }
        Ok(now)
    }

    /// Waits on one of the two until `is_ready` is true of what the port is ready for.
    fn poll_until(
        &self,
        events: &AsyncFd<OwnedFd>,
        context: &mut Context<'_>,
        is_ready: impl Fn(PollFlags) -> bool,
    ) -> Poll<io::Result<PollFlags>> {
        loop {
            // Takes the events off first, so that what comes after the look at the port wakes us.
            let mut buffer = [std::mem::MaybeUninit::uninit(); 1];
            let mut guard = match events.poll_read_ready(context)? {
                Poll::Ready(guard) => guard,
                Poll::Pending => {
                    let now = self.now()?;
                    return if is_ready(now) { Poll::Ready(Ok(now)) } else { Poll::Pending };
                }
            };
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let (taken, _) = epoll::wait(events.get_ref(), &mut buffer[..], Some(&zero))?;
            if taken.is_empty() {
                guard.clear_ready();
            }
            let now = self.now()?;
            if is_ready(now) {
                return Poll::Ready(Ok(now));
            }
        }
    }
}

impl Virtio {
    /// The port at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), port: None }
    }

    async fn open_port(&self) -> Result<Port, ExchangeError> {
        let failed = |action| {
            let exchange = self.name();
            move |source| ExchangeError::Io { exchange, action, source }
        };
        appear::appear(&self.path).await.map_err(failed("wait for the port"))?;
        let mut tries = 0;
        loop {
            match open(&self.path) {
                Ok(fd) => return Port::new(fd).map_err(failed("watch the port")),
                Err(Errno::NXIO | Errno::BUSY | Errno::NODEV) if tries < SETTLE.1 => {
                    tries += 1;
                    tokio::time::sleep(SETTLE.0).await;
                }
                Err(error) => return Err(failed("open the port")(error.into())),
            }
        }
    }
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty())
}

impl StreamExchange for Virtio {
    fn name(&self) -> String {
        format!("virtio:{}", self.path.display())
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>> {
        Box::pin(async {
            // Closed first: it opens once only.
            self.port = None;
            self.port = Some(Arc::new(self.open_port().await?));
            Ok(())
        })
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Connection, ExchangeError>> {
        Box::pin(async {
            let failed = |source| ExchangeError::Io {
                exchange: self.name(),
                action: "wait for the host",
                source,
            };
            let Some(port) = &self.port else {
                return Err(failed(io::ErrorKind::NotConnected.into()));
            };
            let connected = |now: PollFlags| !now.contains(PollFlags::HUP) || broken(now);
            let now = poll_fn(|context| port.poll_until(&port.reads, context, connected))
                .await
                .map_err(failed)?;
            // The device is there no more.
            if broken(now) || !self.path.exists() {
                return Err(failed(io::ErrorKind::NotFound.into()));
            }
            let stream = Box::new(PortStream(Arc::clone(port)));
            Ok(Connection { stream, peer: Peer::Host })
        })
    }

    fn one_at_a_time(&self) -> bool {
        true
    }
}

fn broken(now: PollFlags) -> bool {
    now.intersects(PollFlags::ERR | PollFlags::NVAL)
}

/// One host's connection.
#[derive(Debug)]
struct PortStream(Arc<Port>);

impl AsyncRead for PortStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match rustix::io::read(&self.0.fd, buffer.initialize_unfilled()) {
                // No host: the end of this connection.
                Ok(0) | Err(Errno::NODEV | Errno::PIPE) => return Poll::Ready(Ok(())),
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let some = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
                    ready!(self.0.poll_until(&self.0.reads, context, |now| now.intersects(some)))?;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for PortStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match rustix::io::write(&self.0.fd, bytes) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let some = PollFlags::OUT | PollFlags::HUP | PollFlags::ERR;
                    let now = ready!(
                        self.0.poll_until(&self.0.writes, context, |now| now.intersects(some))
                    )?;
                    if now.contains(PollFlags::HUP) {
                        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                    }
                }
                Err(error) => return Poll::Ready(Err(error.into())),
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

impl Io for PortStream {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.fd.as_fd())
    }
}
