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
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, backends::FileBackend,
};
use tokio::sync::oneshot;

use crate::{
    Change, Changes, Entry, Error, Result, Store, Watch,
    lockfile::LockFile,
    memory::{after_prefix, check, validate},
    pages::{Damage, Pages},
    watch::Watchers,
};

const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const VALUES: TableDefinition<'static, &'static str, (u64, &'static [u8])> =
    TableDefinition::new("values");
/// Version of the tables above.
const FORMAT: u64 = 1;
/// Pages kept in memory. The whole state of a thousand nodes is a few MiB.
const CACHE_BYTES: usize = 4 << 20;
/// Requests in one transaction, at most.
const GROUP: usize = 256;
/// Wrong pages of a damaged file whose bytes are tried to tell which one it is; each may take a second.
const TRIES: usize = 2;
/// How long a lazy commit may wait for its fsync.
const LAZY: Duration = Duration::from_secs(1);

/// A store file that this process holds.
pub(crate) struct Engine {
    /// `None` only while dropping: its end tells the writer to stop.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    database: Arc<Database>,
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
        let database = Arc::new(open_whole(path)?);
        let revision = read_meta(&database, path)?;
        let watchers = Arc::new(Watchers::default());
        let (requests, inbox) = mpsc::channel();
        let writer = Writer {
            database: Arc::clone(&database),
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
        let transaction = self.database.begin_read().map_err(engine("begin to read"))?;
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

fn engine<E: Into<redb::Error>>(doing: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Engine { doing, source: Box::new(source.into()) }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    // Without it the engine trusts a file that was altered behind its back, and may panic on it.
    builder.set_check_integrity_on_open(true);
    builder
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a store of these entries under a temporary name, then gives it its own.
pub(crate) fn create(
    path: &Path,
    revision: u64,
    entries: &BTreeMap<String, (u64, Vec<u8>)>,
) -> Result<()> {
    let io = |doing| move |source| Error::Io { doing, path: path.to_owned(), source };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(io("create"))?;
    let database = open_database(path, file, true)?.ok_or_else(|| Error::Damaged {
        path: path.to_owned(),
        reason: "it is not whole though it was just made".to_owned(),
    })?;
    let transaction = database.begin_write().map_err(engine("begin to write"))?;
    {
        let mut meta = transaction.open_table(META).map_err(engine("make its table"))?;
        meta.insert("format", FORMAT).map_err(engine("write its version"))?;
        meta.insert("revision", revision).map_err(engine("write its revision"))?;
        let mut values = transaction.open_table(VALUES).map_err(engine("make its table"))?;
        for (key, (revision, value)) in entries {
            values.insert(key.as_str(), (*revision, value.as_slice())).map_err(engine("write"))?;
        }
    }
    transaction.commit().map_err(engine("commit"))?;
    drop(database);
    fs::rename(&new, path).map_err(io("create"))?;
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(io("create"))
}

/// Opens a file that is there, or says where it is damaged and leaves it as it is.
fn open_whole(path: &Path) -> Result<Database> {
    let io = |doing| move |source| Error::Io { doing, path: path.to_owned(), source };
    let open = || OpenOptions::new().read(true).write(true).open(path).map_err(io("open"));
    let refused = match open_database(path, open()?, false) {
        Ok(Some(database)) => return Ok(database),
        Ok(None) => None,
        Err(error @ (Error::Damaged { .. } | Error::Foreign { source: Some(_), .. })) => {
            Some(error)
        }
        Err(error) => return Err(error),
    };
    let file = open()?;
    let found = match Pages::open(&file, TRIES).map_err(io("read"))? {
        Some(mut pages) => Some(pages.read().map_err(io("read"))?),
        None => None,
    };
    let first = found.as_ref().and_then(|found| found.damage.first());
    let reason = match (refused, first) {
        // No byte of it is altered, it is not there: a crash came while it was written.
        (None, _) if found.as_ref().is_none_or(|found| found.lacks || found.before) => {
            tracing::warn!(store = %path.display(), "the last commit was cut off and is not there");
            let opened = open_database(path, file, true)?;
            return opened.ok_or_else(|| Error::Damaged {
                path: path.to_owned(),
                reason: "no commit in it is whole".to_owned(),
            });
        }
        (_, Some(Damage { offset, length: 1, .. })) => {
            format!("byte {offset} is not what was written")
        }
        (_, Some(Damage { offset, length, .. })) => {
            format!("the {length} bytes from byte {offset} are not what was written")
        }
        (Some(error), None) => return Err(error),
        (None, None) => "its newest commit is not whole".to_owned(),
    };
    Err(Error::Damaged { path: path.to_owned(), reason })
}

/// Opens a file of the engine's. Where the newest commit is not whole it opens the one before if it `may_go_back`, and
/// gives `None` else.
fn open_database(path: &Path, file: File, may_go_back: bool) -> Result<Option<Database>> {
    let foreign = |source: Option<Box<dyn std::error::Error + Send + Sync>>| Error::Foreign {
        path: path.to_owned(),
        source,
    };
    let backend = match FileBackend::new(file) {
        Ok(backend) => backend,
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            return Err(Error::Held { path: path.to_owned(), holder: String::new() });
        }
        Err(error) => return Err(engine("lock its file")(error)),
    };
    let mut builder = builder();
    builder.set_repair_callback(move |session| {
        // The first third is over only where the newest commit was read and is not whole.
        if !may_go_back && session.progress() > 0.0 && session.progress() < 0.5 {
            session.abort();
        }
    });
    // A damaged file must end in an error, not in the end of the daemon.
    let opened = catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend)));
    match opened {
        Ok(Ok(database)) => Ok(Some(database)),
        Ok(Err(DatabaseError::RepairAborted)) => Ok(None),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => {
            Err(Error::Held { path: path.to_owned(), holder: String::new() })
        }
        Ok(Err(DatabaseError::UpgradeRequired(version))) => {
            Err(foreign(Some(Box::new(DatabaseError::UpgradeRequired(version)))))
        }
        Ok(Err(DatabaseError::Storage(StorageError::Io(error))))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            Err(foreign(Some(Box::new(error))))
        }
        Ok(Err(DatabaseError::Storage(StorageError::Corrupted(reason)))) => {
            Err(Error::Damaged { path: path.to_owned(), reason })
        }
        Ok(Err(error)) => Err(engine("open its file")(error)),
        Err(_) => Err(Error::Damaged {
            path: path.to_owned(),
            reason: "the engine gave up on it".to_owned(),
        }),
    }
}

/// Checks that the tables are ours and gives the last revision.
fn read_meta(database: &Database, path: &Path) -> Result<u64> {
    let transaction = database.begin_read().map_err(engine("begin to read"))?;
    let foreign = || Error::Foreign { path: path.to_owned(), source: None };
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(engine("open its table")(error)),
        Err(_) => return Err(foreign()),
    };
    let get = |key| -> Result<Option<u64>> {
        Ok(meta.get(key).map_err(engine("read"))?.map(|found| found.value()))
    };
    let format = get("format")?.ok_or_else(foreign)?;
    if format > FORMAT {
        return Err(Error::Newer {
            what: format!("the store {}", path.display()),
            found: u32::try_from(format).unwrap_or(u32::MAX),
            known: FORMAT as u32,
        });
    }
    match transaction.open_table(VALUES) {
        Ok(_) => {}
        Err(TableError::Storage(error)) => return Err(engine("open its table")(error)),
        Err(_) => return Err(foreign()),
    }
    get("revision")?.ok_or_else(foreign)
}

/// The one that writes.
struct Writer {
    database: Arc<Database>,
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
            // Again in a while, not at once.
            self.dirty_since = Some(Instant::now());
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

    /// One transaction for all of `group`. The inner results are refusals of single requests.
    fn write(&mut self, group: &[Request], durable: bool) -> Result<Vec<Result<u64>>> {
        let mut transaction = self.database.begin_write().map_err(engine("begin to write"))?;
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
