//! Serves a store on Unix sockets, each for one domain.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    sync::Notify,
    task::JoinHandle,
};

use super::{Connection, Limits, Store};
use crate::{
    access::Io,
    wire::{Kind, Message, first},
};

/// What shall go wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// So many commits are answered `EAGAIN`.
    pub failing_commits: u32,
    /// Answers carry another request id than was asked with, as on some kernels' device.
    pub other_request_ids: bool,
}

/// One message that was handled: enough to tell the order of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    pub kind: u32,
    pub transaction: u32,
    /// As it was given.
    pub path: String,
    /// The domain of the connection.
    pub domain: u32,
}

/// Most messages kept in the trace.
const TRACE_MAX: usize = 100_000;

#[derive(Debug)]
struct Shared {
    store: Store,
    faults: Faults,
    trace: Vec<Handled>,
    wake: BTreeMap<Connection, Arc<Notify>>,
}

/// A store that connections can be made to. Its tasks end with it.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Mutex<Shared>>,
    tasks: Arc<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks(Mutex<Vec<JoinHandle<()>>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl Server {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let shared = Shared {
            store: Store::new(limits),
            faults: Faults::default(),
            trace: Vec::new(),
            wake: BTreeMap::new(),
        };
        Self { shared: Arc::new(Mutex::new(shared)), tasks: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what a tool stack makes for a domain.
    pub fn introduce(&self, domain: u32) {
        self.lock().store.introduce(domain);
    }

    /// What shall go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        let mut shared = self.lock();
        shared.store.failing_commits = faults.failing_commits;
        shared.faults = faults;
    }

    /// What was asked so far.
    #[must_use]
    pub fn trace(&self) -> Vec<Handled> {
        self.lock().trace.clone()
    }

    /// How many nodes a domain owns.
    #[must_use]
    pub fn nodes_of(&self, domain: u32) -> usize {
        self.lock().store.nodes_of(domain)
    }

    /// Listens on a socket whose connections are of that domain. An end of [`Server`] or of [`hang_up`](Self::hang_up)
    /// ends the listening.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(&self, path: &Path, domain: u32) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        let shared = Arc::clone(&self.shared);
        let accept = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        connections.spawn(serve(Arc::clone(&shared), Box::new(stream), domain));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the store in this process accepts no more");
                        return;
                    }
                }
            }
        });
        self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).push(accept);
        Ok(())
    }

    /// Serves one connection of that domain on any bytes; a device's other end, for one.
    pub fn attach(&self, stream: Box<dyn Io>, domain: u32) {
        let task = tokio::spawn(serve(Arc::clone(&self.shared), stream, domain));
        self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Drops all connections and stops listening, as a daemon that ends. The nodes stay.
    pub fn hang_up(&self) {
        for task in self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// Ends the store's side of a connection however the task ends.
struct Attached {
    shared: Arc<Mutex<Shared>>,
    connection: Connection,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.store.disconnect(self.connection);
        shared.wake.remove(&self.connection);
    }
}

async fn serve(shared: Arc<Mutex<Shared>>, mut stream: Box<dyn Io>, domain: u32) {
    let wake = Arc::new(Notify::new());
    let attached = {
        let mut inner = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = inner.store.connect(domain);
        inner.wake.insert(connection, Arc::clone(&wake));
        Attached { shared: Arc::clone(&shared), connection }
    };
    let mut buffer = Vec::new();
    loop {
        let outgoing = {
            let mut inner = shared.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match Message::take(&mut buffer) {
                    Ok(Some(message)) => handle(&mut inner, attached.connection, domain, &message),
                    Ok(None) => break,
                    // As the daemon: who sends too much is dropped at once.
                    Err(_) => return,
                }
            }
            let other_ids = inner.faults.other_request_ids;
            let mut bytes = Vec::new();
            for mut message in inner.store.take(attached.connection) {
                if other_ids && message.kind != Kind::WatchEvent as u32 {
                    message.request = message.request.wrapping_add(1000);
                }
                bytes.extend_from_slice(&message.encode());
            }
            bytes
        };
        if !outgoing.is_empty() {
            if stream.write_all(&outgoing).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            () = wake.notified() => {}
            read = stream.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
        }
    }
}

fn handle(inner: &mut Shared, connection: Connection, domain: u32, message: &Message) {
    if inner.trace.len() < TRACE_MAX {
        inner.trace.push(Handled {
            kind: message.kind,
            transaction: message.transaction,
            path: String::from_utf8_lossy(first(&message.payload)).into_owned(),
            domain,
        });
    }
    inner.store.handle(connection, message);
    // Events may have come up for anybody.
    for (other, wake) in &inner.wake {
        if *other != connection {
            wake.notify_one();
        }
    }
}
