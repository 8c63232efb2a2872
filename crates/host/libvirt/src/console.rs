//! A domain's console: one stream from libvirt, for as many as want it, with what was printed lately.
//!
//! libvirt lends a console to one at a time. It is taken when the node boots, if vnode defined the domain; of an adopted one
//! only when somebody attaches, and given back with the last.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast;
use vnode_driver::{Console, LogPaths};

use crate::domain::Stream;

/// What was printed lately and is shown to who attaches.
const SCROLLBACK: usize = 64 << 10;
/// Pieces that one who is slow may be behind; what is older is left out for him.
const BEHIND: usize = 256;

/// The files a console is kept in.
pub(crate) fn logs(dir: &Path) -> LogPaths {
    LogPaths { current: dir.join("console.log"), previous: dir.join("console.log.1") }
}

/// One console in use.
#[derive(Debug)]
pub(crate) struct Shared {
    stream: Arc<Stream>,
    printed: broadcast::Sender<Arc<[u8]>>,
    recent: Mutex<VecDeque<u8>>,
    ended: tokio_util::sync::CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The reader's thread comes back, and lets the stream go. libvirt may take its time to answer.
        let stream = Arc::clone(&self.stream);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || stream.abort())),
            Err(_) => stream.abort(),
        }
    }
}

impl Shared {
    pub(crate) fn open(stream: Stream, dir: &Path, limit: u64) -> std::io::Result<Arc<Self>> {
        let (printed, _) = broadcast::channel(BEHIND);
        let stream = Arc::new(stream);
        let ended = tokio_util::sync::CancellationToken::new();
        let shared = Arc::new(Self {
            stream: Arc::clone(&stream),
            printed,
            recent: Mutex::default(),
            ended: ended.clone(),
        });
        let (weak, log) = (Arc::downgrade(&shared), Log::new(logs(dir), limit));
        std::thread::Builder::new().name("libvirt-console".to_owned()).spawn(move || {
            read(&stream, &weak, log);
            ended.cancel();
        })?;
        Ok(shared)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    fn show(&self, bytes: &[u8]) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.extend(bytes);
        let over = recent.len().saturating_sub(SCROLLBACK);
        recent.drain(..over);
        // Under the lock: who attaches gets each byte once. Nobody listening is no error.
        let _ = self.printed.send(bytes.into());
    }

    /// Somebody more. The console stays in use as long as one of them, or the node, holds it.
    pub(crate) fn attach(self: &Arc<Self>) -> Console {
        let (recent, mut printed) = {
            let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            (recent.iter().copied().collect::<Vec<u8>>(), self.printed.subscribe())
        };
        let (mut to, output) = tokio::io::duplex(SCROLLBACK);
        let held = Arc::clone(self);
        let ended = self.ended.clone();
        tokio::spawn(async move {
            let _held = held;
            if to.write_all(&recent).await.is_err() {
                return;
            }
            loop {
                let mut nothing = [0];
                let piece = tokio::select! {
                    biased;
                    piece = printed.recv() => piece,
                    () = ended.cancelled() => return,
                    // Nothing ever comes this way but its end: whoever attached has gone, and gives the console back.
                    _ = to.read(&mut nothing) => return,
                };
                match piece {
                    Ok(bytes) => {
                        if to.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        let (input, mut typed) = tokio::io::duplex(4096);
        let stream = Arc::clone(&self.stream);
        tokio::spawn(async move {
            let mut buffer = vec![0; 1024];
            while let Ok(length @ 1..) = typed.read(&mut buffer).await {
                let (stream, bytes) = (Arc::clone(&stream), buffer[..length].to_vec());
                if !matches!(crate::blocking(move || stream.send_all(&bytes)).await, Ok(Ok(()))) {
                    return;
                }
            }
        });
        Console { input: Box::pin(input), output: Box::pin(output) }
    }
}

/// Reads until the domain or the last user ends.
fn read(stream: &Stream, shared: &Weak<Shared>, mut log: Log) {
    let mut buffer = vec![0; 4096];
    while let Ok(length @ 1..) = stream.receive(&mut buffer) {
        let Some(shared) = shared.upgrade() else { return };
        let bytes = &buffer[..length];
        if let Err(error) = log.write(bytes) {
            tracing::warn!(path = %log.paths.current.display(), %error, "write a console's log");
        }
        shared.show(bytes);
    }
}

/// What a console printed, in a file that is put aside once when it is full.
struct Log {
    paths: LogPaths,
    limit: u64,
}

impl Log {
    fn new(paths: LogPaths, limit: u64) -> Self {
        Self { paths, limit }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let path: &PathBuf = &self.paths.current;
        let mut file = std::fs::File::options().append(true).create(true).open(path)?;
        if file.metadata()?.len() + bytes.len() as u64 > self.limit.max(4096) {
            std::fs::rename(path, &self.paths.previous)?;
            file = std::fs::File::options().append(true).create(true).open(path)?;
        }
        file.write_all(bytes)
    }
}
