//! A connection to a bus on a Unix socket that is woken when there is something to read, and for nothing else.
//!
//! zbus' own socket is also told each time the bus has read what we sent, and reads a message in two pieces. With
//! sixteen callers at a time that costs as much as all we do with a message.
#![allow(unsafe_code)]

use std::{
    io,
    os::{fd::OwnedFd, linux::net::SocketAddrExt, unix::net},
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixStream,
};
use zbus::{
    Connection,
    connection::{
        Builder,
        socket::{ReadHalf, Socket, Split, WriteHalf},
    },
    export::async_trait::async_trait,
};

/// Bytes read ahead: many messages.
const AHEAD: usize = 8 << 10;

/// Connects to a bus.
///
/// # Errors
/// When its address is none, it does not listen there, or does not let us in.
pub(crate) async fn connect(address: &str) -> zbus::Result<Connection> {
    let Some(place) = place(address) else { return Builder::address(address).build().await };
    let failed = |error: io::Error| zbus::Error::InputOutput(Arc::new(error));
    let stream = match place {
        Place::Path(path) => UnixStream::connect(path).await,
        Place::Abstract(name) => net::SocketAddr::from_abstract_name(name).and_then(|address| {
            let stream = net::UnixStream::connect_addr(&address)?;
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        }),
    };
    // Taken out of the runtime again, which is told below what we want to know of it.
    let stream = stream.and_then(UnixStream::into_std).map_err(failed)?;
    // SAFETY: an `OwnedFd` gives the same open descriptor as long as it lives, and `AsyncFd` owns it from here.
    let socket =
        unsafe { AsyncFd::register_with_interest(OwnedFd::from(stream), Interest::READABLE) };
    let socket = Arc::new(socket.map_err(|error| failed(error.into_parts().1))?);
    Builder::socket(Unix(socket)).build().await
}

/// Where a bus listens.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Path(&'a str),
    Abstract(&'a str),
}

/// The one place of an address that names one, in letters that mean themselves; all else is zbus'.
fn place(address: &str) -> Option<Place<'_>> {
    let keys = address.strip_prefix("unix:")?;
    if keys.contains([';', '%']) {
        return None;
    }
    // That the bus is the one of that number nobody here needs to know.
    let mut keys = keys.split(',').filter(|key| !key.starts_with("guid="));
    let (key, None) = (keys.next()?, keys.next()) else { return None };
    match key.split_once('=')? {
        ("path", path) => Some(Place::Path(path)),
        ("abstract", name) => Some(Place::Abstract(name)),
        _ => None,
    }
}

type Shared = Arc<AsyncFd<OwnedFd>>;

struct Unix(Shared);

impl Socket for Unix {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let buffer = vec![0; AHEAD].into_boxed_slice();
        Split::new(Reader { socket: Arc::clone(&self.0), buffer, from: 0, to: 0 }, Writer(self.0))
    }
}

#[derive(Debug)]
struct Reader {
    socket: Shared,
    buffer: Box<[u8]>,
    /// What was read ahead lies between these.
    from: usize,
    to: usize,
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, into: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        if self.from == self.to {
            let large = into.len() >= self.buffer.len();
            let target = if large { &mut *into } else { &mut *self.buffer };
            let count = receive(&self.socket, target).await?;
            if large {
                return Ok((count, Vec::new()));
            }
            (self.from, self.to) = (0, count);
        }
        let count = into.len().min(self.to - self.from);
        into[..count].copy_from_slice(&self.buffer[self.from..self.from + count]);
        self.from += count;
        Ok((count, Vec::new()))
    }
}

async fn receive(socket: &AsyncFd<OwnedFd>, into: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = socket.readable().await?;
        match rustix::net::recv(socket.get_ref(), &mut *into, RecvFlags::DONTWAIT) {
            Ok((count, _)) => {
                // Less than there was room for is all there was: we are told when there is more. Zero is the end.
                if count < into.len() && count > 0 {
                    ready.clear_ready();
                }
                return Ok(count);
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[derive(Debug)]
struct Writer(Shared);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(
        &mut self,
        bytes: &[u8],
        _: &[std::os::fd::BorrowedFd<'_>],
    ) -> io::Result<usize> {
        let socket = self.0.get_ref();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match rustix::net::send(socket, bytes, flags) {
                Ok(count) => return Ok(count),
                Err(Errno::AGAIN) => {
                    // Only now do we want to know when the bus has read; a second descriptor can be asked that alone.
                    let second = rustix::io::fcntl_dupfd_cloexec(socket, 3)?;
                    let second = UnixStream::from_std(net::UnixStream::from(second))?;
                    second.writable().await?;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.0.get_ref(), Shutdown::Both)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_place_are_ours() {
        assert_eq!(place("unix:path=/run/bus"), Some(Place::Path("/run/bus")));
        assert_eq!(place("unix:path=/run/bus,guid=0123"), Some(Place::Path("/run/bus")));
        assert_eq!(place("unix:abstract=/tmp/dbus-x"), Some(Place::Abstract("/tmp/dbus-x")));
        for other in
            ["unix:path=/a;unix:path=/b", "unix:path=/a%20b", "tcp:host=x", "unix:runtime=yes"]
        {
            assert_eq!(place(other), None, "{other}");
        }
    }
}
