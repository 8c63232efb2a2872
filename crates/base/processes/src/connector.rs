//! The kernel's process connector: told of each exec and each change of a name as it happens.
//!
//! Messages are those of `linux/cn_proc.h` in a `cn_msg` of `linux/connector.h`. The kernel must acknowledge that we
//! listen: in a child namespace it ignores the request without an error, and may still send what others asked for. It
//! sends acknowledgements to all who listen, so one counts only when it answers the request that was ours.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{self, SocketAddrNetlink},
    sockopt,
};
use rustix::rand::GetRandomFlags;
use tokio::{io::unix::AsyncFd, time::timeout};

use crate::watched;

const IDX_PROC: u32 = 1;
const LISTEN: u32 = 1;
const NONE: u32 = 0;
const EXEC: u32 = 0x2;
const COMM: u32 = 0x200;
const BUFFER_BYTES: usize = 8 << 20;
/// How long the acknowledgement may take.
const PATIENCE: Duration = Duration::from_millis(250);

/// A socket that listens, acknowledged.
#[derive(Debug)]
pub struct Connector {
    socket: AsyncFd<OwnedFd>,
}

/// What the kernel told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// This process may be another program, or have another name, now.
    Changed(i32),
    /// Events were lost: look at everything.
    Lost,
}

impl Connector {
    /// Listens.
    ///
    /// # Errors
    /// When the kernel has no connector, refuses us, or does not acknowledge.
    pub async fn open() -> io::Result<Self> {
        let connector = Self::bound()?;
        let mut question = [0; 4];
        rustix::rand::getrandom(&mut question, GetRandomFlags::empty())?;
        let question = u32::from_ne_bytes(question);
        connector.ask(question, &[LISTEN])?;
        match timeout(PATIENCE, connector.acknowledged(question.wrapping_add(1))).await {
            Ok(result) => result?,
            Err(_) => {
                let error = io::ErrorKind::TimedOut;
                return Err(io::Error::new(error, "the kernel does not acknowledge"));
            }
        }
        // Kernels from 6.6 leave out what is not asked for, acknowledgements too; older ones do not know the longer request,
        // and leave it be.
        connector.ask(0, &[LISTEN, EXEC | COMM])?;
        Ok(connector)
    }

    fn ask(&self, number: u32, words: &[u32]) -> io::Result<()> {
        let request = message(number, words);
        rustix::net::send(self.socket.get_ref(), &request, SendFlags::empty())?;
        Ok(())
    }

    async fn acknowledged(&self, wanted: u32) -> io::Result<()> {
        let mut answer = None;
        loop {
            self.receive(|message| {
                if let Message::Acknowledged { number, error } = message
                    && number == wanted
                {
                    answer = Some(error);
                }
            })
            .await?;
            match answer {
                Some(0) => return Ok(()),
                Some(error) => return Err(io::Error::from_raw_os_error(error.cast_signed())),
                None => {}
            }
        }
    }

    /// A socket of the group that the kernel tells; nobody has asked it to.
    fn bound() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(netlink::CONNECTOR),
        )?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES)?;
        }
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, IDX_PROC))?;
        Ok(Self { socket: watched(socket)? })
    }

    /// Waits for what the kernel tells. Cancel-safe.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn next(&self, into: &mut Vec<Told>) -> io::Result<()> {
        told(self.receive(|message| into.extend(message.told())).await)
            .map(|lost| into.extend(lost))
    }

    async fn receive(&self, each: impl FnMut(Message)) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        if take_in(self.socket.get_ref(), each)? {
            ready.clear_ready();
        }
        Ok(())
    }

    /// The socket, for who waits for it otherwise.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket.into_inner()
    }
}

/// A message of the kernel's that is of use to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    /// Of a request, whoever made it: the number after the one that it had, and an `errno` or 0.
    Acknowledged { number: u32, error: u32 },
    /// A thread group has called exec, or its leader has another name.
    Changed(u32),
}

impl Message {
    fn told(self) -> Option<Told> {
        match self {
            Self::Changed(group) => Some(Told::Changed(group.cast_signed())),
            Self::Acknowledged { .. } => None,
        }
    }
}

/// That the kernel had more to tell than room for it is something told, and no error.
fn told(received: io::Result<()>) -> io::Result<Option<Told>> {
    match received {
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Some(Told::Lost)),
        other => other.map(|()| None),
    }
}

/// Takes in what waits at a connector's socket, for who has been told that something does.
pub(crate) fn waiting(socket: &OwnedFd, mut each: impl FnMut(Told)) -> io::Result<()> {
    let received = take_in(socket, |message| message.told().into_iter().for_each(&mut each));
    told(received.map(drop)).map(|lost| lost.into_iter().for_each(each))
}

/// Takes in at most some thousand messages. `true`: no more wait.
fn take_in(socket: &OwnedFd, mut each: impl FnMut(Message)) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    for _ in 0..1024 {
        match rustix::net::recv(socket, &mut buffer, RecvFlags::empty()) {
            Ok((length, _)) => {
                if let Some(message) = parse(&buffer[..length.min(4096)]) {
                    each(message);
                }
            }
            Err(rustix::io::Errno::AGAIN) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// A netlink message with a connector message in it, whose acknowledgement will have the number after this one.
fn message(number: u32, words: &[u32]) -> Vec<u8> {
    const DONE: u16 = 3;
    let data = 4 * words.len();
    let length = 16 + 20 + data;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(DONE.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(IDX_PROC.to_ne_bytes());
    bytes.extend(1u32.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(number.to_ne_bytes());
    bytes.extend((data as u16).to_ne_bytes());
    bytes.extend([0; 2]);
    words.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
    bytes
}

fn parse(bytes: &[u8]) -> Option<Message> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if word(16)? != IDX_PROC {
        return None;
    }
    // 16 netlink, 20 connector (index, value, a count of the kernel's, number, ..); then what, cpu, time, and what the event
    // tells: process, thread group.
    match word(36)? {
        NONE => Some(Message::Acknowledged { number: word(28)?, error: word(52)? }),
        EXEC => Some(Message::Changed(word(56)?)),
        // Only the leader's name is the process's.
        COMM if word(52)? == word(56)? => Some(Message::Changed(word(56)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_another_asked_is_acknowledged_to_all_and_taken_by_who_asked() {
        let silent = Connector::bound().expect("a socket");
        if let Err(error) = Connector::open().await {
            return println!("skipped: no process connector here: {error}");
        }
        // Told to all of the group, also to one that asked nothing: it must not take it for an answer to its own question.
        let own = 77;
        let waited = timeout(PATIENCE, silent.acknowledged(own)).await;
        assert!(waited.is_err(), "nobody has answered {own}: {waited:?}");
        let mut heard = Vec::new();
        let other = Connector::open().await.expect("as before");
        while heard.is_empty() {
            silent
                .receive(|message| {
                    if let Message::Acknowledged { number, error: 0 } = message {
                        heard.push(number);
                    }
                })
                .await
                .expect("it goes on");
        }
        assert!(!heard.contains(&own), "{heard:?}");
        drop(other);
    }

    #[tokio::test]
    async fn only_what_was_asked_for_is_told_by_a_kernel_that_knows_how() {
        let connector = match Connector::open().await {
            Ok(connector) => connector,
            Err(error) => return println!("skipped: no process connector here: {error}"),
        };
        let release = rustix::system::uname();
        let release = release.release().to_string_lossy().into_owned();
        let mut parts = release
            .split(|c: char| !c.is_ascii_digit())
            .map(|part| part.parse::<u32>().unwrap_or(0));
        if (parts.next(), parts.next()) < (Some(6), Some(6)) {
            return println!("skipped: a kernel before 6.6 tells everything: {release}");
        }
        // What came before it was told what we want.
        while !take_in(connector.socket.get_ref(), |_| {}).expect("it goes on") {}
        std::thread::spawn(|| {}).join().expect("it ends");
        std::fs::write("/proc/self/comm", std::fs::read("/proc/self/comm").expect("we have one"))
            .expect("ours");
        let mut buffer = [0; 4096];
        let mut kinds = std::collections::BTreeSet::new();
        while !kinds.contains(&COMM) {
            connector.socket.readable().await.expect("it goes on").clear_ready();
            while let Ok((length, _)) =
                rustix::net::recv(connector.socket.get_ref(), &mut buffer, RecvFlags::empty())
            {
                kinds.extend(
                    buffer[..length.min(4096)]
                        .get(36..40)
                        .map(|word| u32::from_ne_bytes(word.try_into().expect("four"))),
                );
            }
        }
        kinds.remove(&EXEC);
        assert_eq!(kinds, [COMM].into());
    }

    #[tokio::test]
    async fn pw_35_more_than_there_is_room_for_is_told_once_and_what_comes_after_it() {
        let connector = match Connector::open().await {
            Ok(connector) => connector,
            Err(error) => return println!("skipped: no process connector here: {error}"),
        };
        // What the kernel makes of the least.
        sockopt::set_socket_recv_buffer_size(connector.socket.get_ref(), 1).expect("it may");
        let name = std::fs::read("/proc/thread-self/comm").expect("we have one");
        let rename = || std::fs::write("/proc/thread-self/comm", &name).expect("it is ours");
        for _ in 0..1000 {
            rename();
        }
        let mut all = Vec::new();
        while !all.contains(&Told::Lost) {
            connector.next(&mut all).await.expect("it goes on");
        }
        // The socket is of use again.
        let mut more = Vec::new();
        while more.is_empty() {
            std::fs::write("/proc/self/comm", &name).expect("it is ours");
            connector.next(&mut more).await.expect("it goes on");
        }
    }
}
