//! A listening unix socket: mode 0600, and only users that are named may connect.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    },
    path::PathBuf,
};

use futures_util::future::BoxFuture;
use tokio::net::{UnixListener, UnixStream};

use super::{Connection, ExchangeError, Io, Peer, StreamExchange};

/// The exchange.
#[derive(Debug)]
pub struct Unix {
    path: PathBuf,
    users: Vec<u32>,
    refusal: Vec<u8>,
    listener: Option<Listening>,
}

/// The listener, and its file's identity, so that only our own is removed.
#[derive(Debug)]
struct Listening {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for Listening {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.inode) {
            // Nobody is told of the rest of a socket that cannot be removed: the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &std::path::Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().map(|data| (data.dev(), data.ino()))
}

impl Unix {
    /// Listens at `path`; `users` may connect besides root and our own user.
    pub fn new(path: impl Into<PathBuf>, users: Vec<u32>) -> Self {
        Self { path: path.into(), users, refusal: Vec::new(), listener: None }
    }

    /// What is said to a user who may not connect, before the connection is closed; by default nothing.
    #[must_use]
    pub fn refusing(self, refusal: Vec<u8>) -> Self {
        Self { refusal, ..self }
    }

    fn bind(&self) -> Result<Listening, ExchangeError> {
        let failed = |action| {
            let exchange = self.name();
            move |source| ExchangeError::Io { exchange, action, source }
        };
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
            made.map_err(failed("make the folder of the socket"))?;
        }
        match self.path.symlink_metadata() {
            Ok(data) if data.file_type().is_socket() => {
                // A socket that answers belongs to another agent.
                if std::os::unix::net::UnixStream::connect(&self.path).is_ok() {
                    return Err(failed("listen: another process does")(
                        io::ErrorKind::AddrInUse.into(),
                    ));
                }
                std::fs::remove_file(&self.path).map_err(failed("remove the old socket"))?;
            }
            Ok(_) => {
                let reason = "its path is taken by something that is no socket".to_owned();
                return Err(ExchangeError::Config { exchange: self.name(), reason });
            }
            Err(_) => {}
        }
        // Nobody else can connect between `bind` and `chmod`: the file is made under this mask, and this thread
        // is the only one that makes files.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(&self.path);
        rustix::process::umask(before);
        let listener = bound.map_err(failed("listen"))?;
        let rights = if self.users.is_empty() { 0o600 } else { 0o666 };
        std::fs::set_permissions(&self.path, PermissionsExt::from_mode(rights))
            .map_err(failed("set the mode of the socket"))?;
        let inode = identity(&self.path).map_err(failed("look at the socket"))?;
        Ok(Listening { listener, path: self.path.clone(), inode })
    }

    fn may(&self, uid: u32) -> bool {
        uid == 0 || uid == rustix::process::getuid().as_raw() || self.users.contains(&uid)
    }
}

impl StreamExchange for Unix {
    fn name(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>> {
        Box::pin(async {
            self.listener = None;
            self.listener = Some(self.bind()?);
            Ok(())
        })
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Connection, ExchangeError>> {
        Box::pin(async {
            let failed =
                |source| ExchangeError::Io { exchange: self.name(), action: "accept", source };
            loop {
                let Some(listening) = &self.listener else {
                    return Err(failed(io::ErrorKind::NotConnected.into()));
                };
                let (stream, _) = listening.listener.accept().await.map_err(failed)?;
                // A peer that is gone already has no credentials, and needs none.
                let Ok(peer) = stream.peer_cred() else { continue };
                if !self.may(peer.uid()) {
                    tracing::warn!(
                        exchange = self.name(),
                        uid = peer.uid(),
                        "user may not connect"
                    );
                    // A new socket takes so little at once. Who has gone is refused all the same.
                    let _ = stream.try_write(&self.refusal);
                    continue;
                }
                return Ok(Connection {
                    peer: Peer::Process {
                        uid: peer.uid(),
                        gid: peer.gid(),
                        pid: peer.pid().unwrap_or(0),
                    },
                    stream: Box::new(stream),
                });
            }
        })
    }
}

impl Io for UnixStream {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}
