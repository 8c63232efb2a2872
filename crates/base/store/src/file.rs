//! The engine in one redb file.
//!
//! ```text
//! callers ──requests──▶ writer thread: takes all that wait ──one transaction, one fsync──▶ file
//!    ▲                                   │
//!    └──────────── replies ◀─────────────┘        readers: redb's snapshots, no lock
//! ```
//!
//! Tables: `meta` (`format`, `revision`) and `values` (key to revision and bytes). The file is made under
//! another name and renamed, so that a crash while it is made leaves nothing half made.

use std::{
    collections::BTreeMap,
    fmt,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageError};
use tokio::sync::oneshot;

use crate::{
    Change, Changes, Entry, Error, Result, Store, Watch,
    lockfile::LockFile,
    memory::{after_prefix, check, validate},
    watch::Watchers,
};

mod opening;

pub(crate) use opening::create;
use opening::{META, VALUES, engine, folder_of, open_whole, read_meta};

/// Requests in one transaction, at most.
const GROUP: usize = 256;
/// How long a lazy commit may wait for its fsync.
const LAZY: Duration = Duration::from_secs(1);

/// The file as it is open. After a failed write, as on a full disk, redb writes nothing more until it is opened again;
/// `None` when that has failed so far.
type Open = Arc<RwLock<Option<Database>>>;

/// A store file that this process holds.
pub(crate) struct Engine {
    /// `None` only while dropping: its end tells the writer to stop.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    database: Open,
    watchers: Arc<Watchers>,
    path: PathBuf,
    /// Last field: released after the database is closed.
    _lock: LockFile,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Request {
    changes: Vec<Change>,
    durable: bool,
    reply: oneshot::Sender<Result<u64>>,
}

impl Engine {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |doing| move |source| Error::Io { doing, path: path.to_owned(), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder_of(path))
            .map_err(io("make the folder of"))?;
        let lock = LockFile::take(path)?;
        if !path.try_exists().map_err(io("look for"))? {
            create(path, 0, &BTreeMap::new())?;
        }
        let database = open_whole(path)?;
        let revision = read_meta(&database, path)?;
        let database = Arc::new(RwLock::new(Some(database)));
        let watchers = Arc::new(Watchers::default());
        let (requests, inbox) = mpsc::channel();
        let writer = Writer {
            database: Arc::clone(&database),
            path: path.to_owned(),
            watchers: Arc::clone(&watchers),
            revision,
            dirty_since: None,
        };
        let writer = thread::Builder::new()
            .name("vnode-store".to_owned())
            .stack_size(512 << 10)
            .spawn(move || writer.run(&inbox))
            .map_err(io("start the writer of"))?;
        Ok(Self {
            requests: Some(requests),
            writer: Some(writer),
            database,
            watchers,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    async fn request(&self, changes: Vec<Change>, durable: bool) -> Result<u64> {
        validate(&changes)?;
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(Error::Closed)?;
        requests.send(Request { changes, durable, reply }).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    fn read<T>(
        &self,
        work: impl FnOnce(
            &redb::ReadOnlyTable<&'static str, (u64, &'static [u8])>,
        ) -> std::result::Result<T, StorageError>,
    ) -> Result<T> {
        // Held to the end: the file is not opened again below a reader.
        let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.as_ref().ok_or_else(unopened)?;
        let transaction = database.begin_read().map_err(engine("begin to read"))?;
        let table = transaction.open_table(VALUES).map_err(engine("open its table"))?;
        work(&table).map_err(engine("read"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(store = %self.path.display(), "the writer of the store panicked");
        }
    }
}

impl Store for Engine {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move {
            self.read(|table| {
                Ok(table.get(key)?.map(|found| {
                    let (revision, value) = found.value();
                    Entry { value: value.to_vec(), revision }
                }))
            })
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        from: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>>> {
        Box::pin(async move {
            self.read(|table| {
                let mut entries = Vec::new();
                for item in table.range(prefix.max(from)..)?.take(limit) {
                    let (key, found) = item?;
                    if !key.value().starts_with(prefix) {
                        break;
                    }
                    let (revision, value) = found.value();
                    let entry = Entry { value: value.to_vec(), revision };
                    entries.push((key.value().to_owned(), entry));
                }
                Ok(entries)
            })
        })
    }

    fn last<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Option<(String, Entry)>>> {
        Box::pin(async move {
            self.read(|table| {
                let end = after_prefix(prefix);
                let mut range = match &end {
                    Some(end) => table.range(prefix..end.as_str())?,
                    None => table.range(prefix..)?,
                };
                let Some(item) = range.next_back() else { return Ok(None) };
                let (key, found) = item?;
                let (revision, value) = found.value();
                Ok(Some((key.value().to_owned(), Entry { value: value.to_vec(), revision })))
            })
        })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.request(changes, true))
    }

    fn commit_lazily(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.request(changes, false))
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.watchers.watch(prefix)
    }

    fn changes(&self, prefix: &str) -> Changes {
        self.watchers.changes(prefix)
    }
}

fn unopened() -> Error {
    Error::Write { reason: "the store could not be opened again after a failed write".to_owned() }
}

/// The one that writes.
struct Writer {
    database: Open,
    path: PathBuf,
    watchers: Arc<Watchers>,
    revision: u64,
    /// Since when there are lazy commits that no fsync has covered.
    dirty_since: Option<Instant>,
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Request>) {
        loop {
            let first = match self.dirty_since {
                None => match inbox.recv() {
                    Ok(request) => request,
                    Err(mpsc::RecvError) => return,
                },
                Some(since) => match inbox.recv_timeout(LAZY.saturating_sub(since.elapsed())) {
                    Ok(request) => request,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        self.flush();
                        continue;
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => return self.flush(),
                },
            };
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(request) = inbox.try_recv()
            {
                group.push(request);
            }
            self.answer(group);
            if self.dirty_since.is_some_and(|since| since.elapsed() >= LAZY) {
                self.flush();
            }
        }
    }

    /// Makes lazy commits durable.
    fn flush(&mut self) {
        if let Err(error) = self.write(&[], true) {
            tracing::error!(%error, "entries committed lazily are not durable yet");
        }
    }

    /// Writes a group and answers each request of it.
    fn answer(&mut self, group: Vec<Request>) {
        let durable = group.iter().any(|request| request.durable);
        match self.write(&group, durable) {
            Ok(verdicts) => {
                for (request, verdict) in group.into_iter().zip(verdicts) {
                    // The caller may have stopped waiting: the commit stands all the same.
                    let _ = request.reply.send(verdict);
                }
            }
            Err(error) => {
                let text = vnode_protocol::chain(&error);
                tracing::error!(error = %text, "cannot write the store");
                for request in group {
                    let _ = request.reply.send(Err(Error::Write { reason: text.clone() }));
                }
            }
        }
    }

    /// Opens the file again after a write has failed. What was committed lazily and not yet made durable is lost, as it is
    /// when the machine stops.
    fn reopen(&mut self) {
        let mut open = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // It holds the file, and must let go first.
        drop(open.take());
        self.dirty_since = None;
        let opened = open_whole(&self.path)
            .and_then(|database| Ok((read_meta(&database, &self.path)?, database)));
        match opened {
            Ok((revision, database)) => {
                self.revision = revision;
                *open = Some(database);
            }
            Err(error) => {
                tracing::error!(error = %vnode_protocol::chain(&error), "cannot open the store again");
            }
        }
    }

    /// As [`Self::transact`]; the file is ready for the next one also when this one fails.
    fn write(&mut self, group: &[Request], durable: bool) -> Result<Vec<Result<u64>>> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen();
        }
        let written = self.transact(group, durable);
        if written.is_err() {
            self.reopen();
        }
        written
    }

    /// One transaction for all of `group`. The inner results are refusals of single requests.
    fn transact(&mut self, group: &[Request], durable: bool) -> Result<Vec<Result<u64>>> {
        let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.as_ref().ok_or_else(unopened)?;
        let mut transaction = database.begin_write().map_err(engine("begin to write"))?;
        let durability = if durable { Durability::Immediate } else { Durability::None };
        transaction.set_durability(durability).map_err(engine("choose durability"))?;
        let mut revision = self.revision;
        let mut verdicts = Vec::with_capacity(group.len());
        {
            let mut values = transaction.open_table(VALUES).map_err(engine("open its table"))?;
            for request in group {
                let mut refused = None;
                for change in &request.changes {
                    if change.expect() == crate::Expect::Any {
                        continue;
                    }
                    let found = values.get(change.key()).map_err(engine("read"))?;
                    let found = found.map(|found| found.value().0);
                    if let Err(error) = check(change, found) {
                        refused = Some(error);
                        break;
                    }
                }
                if let Some(error) = refused {
                    verdicts.push(Err(error));
                    continue;
                }
                revision += 1;
                for change in &request.changes {
                    match change {
                        Change::Put { key, value, .. } => {
                            values
                                .insert(key.as_str(), (revision, value.as_slice()))
                                .map_err(engine("write"))?;
                        }
                        Change::Delete { key, .. } => {
                            values.remove(key.as_str()).map_err(engine("delete"))?;
                        }
                    }
                }
                verdicts.push(Ok(revision));
            }
            let mut meta = transaction.open_table(META).map_err(engine("open its table"))?;
            meta.insert("revision", revision).map_err(engine("write its revision"))?;
        }
        transaction.commit().map_err(engine("commit"))?;
        self.revision = revision;
        self.dirty_since =
            if durable { None } else { self.dirty_since.or_else(|| Some(Instant::now())) };
        if self.watchers.any() {
            for (request, verdict) in group.iter().zip(&verdicts) {
                if let Ok(revision) = verdict {
                    let keys = request.changes.iter().map(|change| change.key().to_owned());
                    self.watchers.tell(*revision, keys.collect());
                }
            }
        }
        Ok(verdicts)
    }
}
