//! One connection to a store.

use std::{collections::VecDeque, fmt, io, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    access::{Access, Io},
    error::{Errno, Error},
    wire::{Kind, Message, PAYLOAD_MAX, Part, first, strings, terminated},
};

/// How long an answer may take. The daemon answers from memory; only a stopped one takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events kept for who does not ask for them. More than that says nothing new.
const EVENTS_MAX: usize = 256;
/// How often a list that changes while its parts are read is read anew.
const RELISTS: usize = 16;
/// Most names a list may have: a domain may own 1000 nodes, dom0 more.
const NAMES_MAX: usize = 16 * 1024;

/// Something below a watched path changed, or the watch was just set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What changed; relative when the watched path was.
    pub path: String,
    /// The watch's.
    pub token: String,
}

/// An open transaction of this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction(u32);

impl Transaction {
    /// No transaction: each request by itself.
    pub const NONE: Self = Self(0);

    /// Its number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// One connection. One request is in flight at a time: some kernels answer on the device with another request id
/// than was asked with, so the next answer that is no event is taken for ours, whatever its id.
pub struct Client {
    io: Box<dyn Io>,
    buffer: Vec<u8>,
    events: VecDeque<Event>,
    last_request: u32,
    in_flight: bool,
    patience: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("last_request", &self.last_request)
            .field("events", &self.events.len())
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Opens the store.
    ///
    /// # Errors
    /// When the socket or device cannot be opened.
    pub async fn connect(access: &Access) -> Result<Self, Error> {
        Ok(Self::over(access.open().await?))
    }

    /// A connection over any bytes.
    #[must_use]
    pub fn over(io: Box<dyn Io>) -> Self {
        Self {
            io,
            buffer: Vec::new(),
            events: VecDeque::new(),
            last_request: 0,
            in_flight: false,
            patience: PATIENCE,
        }
    }

    /// How long an answer may take, instead of ten seconds.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The value of a node.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, or a broken connection.
    pub async fn read(&mut self, within: Transaction, path: &str) -> Result<Vec<u8>, Error> {
        Ok(self.ask(Kind::Read, "read", within, path, &terminated(&[path])).await?.payload)
    }

    /// Sets the value of a node; it and those above it are made when they are missing.
    ///
    /// # Errors
    /// `EACCES`, `ENOSPC`, or a broken connection.
    pub async fn write(
        &mut self,
        within: Transaction,
        path: &str,
        value: &[u8],
    ) -> Result<(), Error> {
        let mut payload = terminated(&[path]);
        payload.extend_from_slice(value);
        self.ask(Kind::Write, "write", within, path, &payload).await.map(drop)
    }

    /// Makes a node without a value; one that is there stays as it is.
    ///
    /// # Errors
    /// `EACCES`, `ENOSPC`, or a broken connection.
    pub async fn mkdir(&mut self, within: Transaction, path: &str) -> Result<(), Error> {
        self.ask(Kind::Mkdir, "mkdir", within, path, &terminated(&[path])).await.map(drop)
    }

    /// Removes a node with all below it. Not an error when only the node itself is missing.
    ///
    /// # Errors
    /// `ENOENT` when what is above is missing too, `EACCES`, or a broken connection.
    pub async fn rm(&mut self, within: Transaction, path: &str) -> Result<(), Error> {
        self.ask(Kind::Rm, "rm", within, path, &terminated(&[path])).await.map(drop)
    }

    /// Permissions of a node: `n5`, `r0`; the first names the owner and everybody else's rights.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, or a broken connection.
    pub async fn permissions(
        &mut self,
        within: Transaction,
        path: &str,
    ) -> Result<Vec<String>, Error> {
        let reply =
            self.ask(Kind::GetPerms, "get-permissions", within, path, &terminated(&[path])).await?;
        texts(&reply.payload)
    }

    /// Sets the permissions of a node.
    ///
    /// # Errors
    /// `EPERM` for who does not own it, `EINVAL`, or a broken connection.
    pub async fn set_permissions(
        &mut self,
        within: Transaction,
        path: &str,
        permissions: &[&str],
    ) -> Result<(), Error> {
        let parts: Vec<&str> = [path].into_iter().chain(permissions.iter().copied()).collect();
        let payload = terminated(&parts);
        self.ask(Kind::SetPerms, "set-permissions", within, path, &payload).await.map(drop)
    }

    /// Names of the nodes directly below. A list longer than one message is read in parts.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, or a broken connection; `EAGAIN` when the list never stays the same long enough.
    pub async fn list(&mut self, within: Transaction, path: &str) -> Result<Vec<String>, Error> {
        let whole = self.ask(Kind::Directory, "list", within, path, &terminated(&[path])).await;
        match whole {
            Ok(reply) => texts(&reply.payload),
            Err(error) if error.errno() == Some(Errno::TooBig) => {
                self.list_in_parts(within, path).await
            }
            Err(error) => Err(error),
        }
    }

    async fn list_in_parts(
        &mut self,
        within: Transaction,
        path: &str,
    ) -> Result<Vec<String>, Error> {
        'again: for _ in 0..RELISTS {
            let mut names = Vec::new();
            let mut offset = 0;
            let mut generation = None;
            loop {
                let payload = terminated(&[path, &offset.to_string()]);
                let reply = self.ask(Kind::DirectoryPart, "list", within, path, &payload).await?;
                let part = Part::decode(&reply.payload).ok_or_else(|| {
                    Error::Protocol(format!("a part of the list of `{path}` is not well-formed"))
                })?;
                if generation.get_or_insert_with(|| part.generation.clone()) != &part.generation {
                    continue 'again;
                }
                offset += part.bytes;
                names.extend(part.names);
                if names.len() > NAMES_MAX {
                    return Err(Error::Protocol(format!(
                        "`{path}` holds more than {NAMES_MAX} names"
                    )));
                }
                if part.last {
                    return Ok(names);
                }
            }
        }
        Err(Error::Refused { operation: "list", path: path.to_owned(), errno: Errno::Again })
    }

    /// Has the daemon tell changes of a node and all below it; the first event comes at once.
    ///
    /// # Errors
    /// `EEXIST`, `E2BIG` when the domain has too many, or a broken connection.
    pub async fn watch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        let payload = terminated(&[path, token]);
        self.ask(Kind::Watch, "watch", Transaction::NONE, path, &payload).await.map(drop)
    }

    /// Ends a watch. Events of it that have come stay to be read.
    ///
    /// # Errors
    /// `ENOENT`, or a broken connection.
    pub async fn unwatch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        let payload = terminated(&[path, token]);
        self.ask(Kind::Unwatch, "unwatch", Transaction::NONE, path, &payload).await.map(drop)
    }

    /// Ends all watches and transactions of the connection.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn reset_watches(&mut self) -> Result<(), Error> {
        self.ask(Kind::ResetWatches, "reset-watches", Transaction::NONE, "", &[0]).await.map(drop)
    }

    /// Where a domain's relative paths start.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn domain_path(&mut self, domain: u32) -> Result<String, Error> {
        let number = domain.to_string();
        let payload = terminated(&[&number]);
        let reply =
            self.ask(Kind::GetDomainPath, "get-domain-path", Transaction::NONE, &number, &payload);
        text(first(&reply.await?.payload))
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// `ENOSPC` when the domain has too many open, or a broken connection.
    pub async fn start(&mut self) -> Result<Transaction, Error> {
        let reply = self.ask(Kind::TransactionStart, "start", Transaction::NONE, "", &[0]).await?;
        let number = text(first(&reply.payload))?;
        let number = number
            .parse()
            .ok()
            .filter(|n| *n != 0)
            .ok_or_else(|| Error::Protocol(format!("`{number}` for a transaction")))?;
        Ok(Transaction(number))
    }

    /// Makes the transaction's changes, all at once.
    ///
    /// # Errors
    /// `EAGAIN` when others changed what it has read: nothing was changed, do all of it again. Or a broken
    /// connection.
    pub async fn commit(&mut self, transaction: Transaction) -> Result<(), Error> {
        self.end(transaction, "T").await
    }

    /// Forgets the transaction's changes.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn abort(&mut self, transaction: Transaction) -> Result<(), Error> {
        self.end(transaction, "F").await
    }

    async fn end(&mut self, transaction: Transaction, how: &str) -> Result<(), Error> {
        let payload = terminated(&[how]);
        self.ask(Kind::TransactionEnd, "end", transaction, "", &payload).await.map(drop)
    }

    /// The next event of a watch. Cancel-safe.
    ///
    /// Events that say the same as one not yet read are left out, and so are more than a few hundred: an event
    /// says "look", not "this happened once".
    ///
    /// # Errors
    /// A broken connection.
    pub async fn next_event(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if self.in_flight {
                return Err(Error::Interrupted);
            }
            let message = self.receive().await?;
            match event_of(&message)? {
                Some(event) => self.keep(event),
                None => tracing::debug!(kind = message.kind, "an answer nobody waits for"),
            }
        }
    }

    /// Sends a request and waits for its answer. Not cancel-safe: dropped in between, the connection is spent.
    async fn ask(
        &mut self,
        kind: Kind,
        operation: &'static str,
        within: Transaction,
        path: &str,
        payload: &[u8],
    ) -> Result<Message, Error> {
        if self.in_flight {
            return Err(Error::Interrupted);
        }
        if payload.len() > PAYLOAD_MAX {
            return Err(Error::TooLong {
                operation,
                path: path.to_owned(),
                bytes: payload.len(),
                limit: PAYLOAD_MAX,
            });
        }
        self.last_request = self.last_request.wrapping_add(1).max(1);
        let request = Message::new(kind, self.last_request, within.0, payload.to_vec());
        self.in_flight = true;
        let limit = self.patience;
        let reply = tokio::time::timeout(limit, self.converse(&request))
            .await
            .map_err(|_| Error::TimedOut { operation, limit })??;
        self.in_flight = false;
        if let Some(errno) = reply.errno() {
            return Err(Error::Refused { operation, path: path.to_owned(), errno });
        }
        if reply.kind != kind as u32 {
            self.in_flight = true;
            return Err(Error::Protocol(format!("kind {} answers {operation}", reply.kind)));
        }
        if reply.request != request.request {
            tracing::trace!(asked = request.request, answered = reply.request, "other request id");
        }
        Ok(reply)
    }

    async fn converse(&mut self, request: &Message) -> Result<Message, Error> {
        self.io.write_all(&request.encode()).await.map_err(broken)?;
        self.io.flush().await.map_err(broken)?;
        loop {
            let message = self.receive().await?;
            match event_of(&message)? {
                Some(event) => self.keep(event),
                None => return Ok(message),
            }
        }
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX && !self.events.contains(&event) {
            self.events.push_back(event);
        }
    }

    /// The next message. Cancel-safe: what has come of one stays in the buffer.
    async fn receive(&mut self) -> Result<Message, Error> {
        loop {
            let message =
                Message::take(&mut self.buffer).map_err(|e| Error::Protocol(e.to_string()))?;
            if let Some(message) = message {
                if self.buffer.is_empty() {
                    // An idle connection keeps no buffer.
                    self.buffer = Vec::new();
                }
                return Ok(message);
            }
            match self.io.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(Error::Closed),
                Ok(_) => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

/// The daemon's dropping the connection shows in several ways.
fn broken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::Io(error),
    }
}

fn event_of(message: &Message) -> Result<Option<Event>, Error> {
    if message.kind() != Some(Kind::WatchEvent) {
        return Ok(None);
    }
    let mut parts = strings(&message.payload);
    match (parts.next(), parts.next()) {
        (Some(path), Some(token)) => Ok(Some(Event { path: text(path)?, token: text(token)? })),
        _ => Err(Error::Protocol("an event without path or token".to_owned())),
    }
}

fn text(bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Error::Protocol("a name that is no text".to_owned()))
}

fn texts(payload: &[u8]) -> Result<Vec<String>, Error> {
    strings(payload).map(text).collect()
}

/// Waits between attempts to connect: 0.1 s, doubled each time, at most 5 s.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(5);

    #[must_use]
    pub fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// How long to wait before the next attempt.
    pub fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(Self::LAST);
        now
    }

    /// After an attempt that worked.
    pub fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}
