//! Making the file of a store, and opening it, or saying where it is damaged.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition, TableError,
    backends::FileBackend,
};

use crate::{
    Error, Result,
    pages::{Damage, Pages},
};

pub(super) const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
pub(super) const VALUES: TableDefinition<'static, &'static str, (u64, &'static [u8])> =
    TableDefinition::new("values");
/// Version of the tables above.
const FORMAT: u64 = 1;
/// Pages kept in memory. The whole state of a thousand nodes is a few MiB.
const CACHE_BYTES: usize = 4 << 20;
/// Wrong pages of a damaged file whose bytes are tried to tell which one it is; each may take a second.
const TRIES: usize = 2;

pub(super) fn engine<E: Into<redb::Error>>(doing: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Engine { doing, source: Box::new(source.into()) }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    // Without it the engine trusts a file that was altered behind its back, and may panic on it.
    builder.set_check_integrity_on_open(true);
    builder
}

pub(super) fn folder_of(path: &Path) -> &Path {
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
pub(super) fn open_whole(path: &Path) -> Result<Database> {
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
pub(super) fn read_meta(database: &Database, path: &Path) -> Result<u64> {
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
