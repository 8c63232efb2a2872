//! Moving over from vmcatcher: its database (SQLite) and its cache folder.
//!
//! Nothing of the old installation is changed. What the database says of an image is not believed: the stored message
//! is judged again, and only an accepted one is in force; else the subscription waits for its next refresh. The
//! highest version ever seen comes along, so that nobody can go back by way of the move.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use reqwest::Url;
use rusqlite::{Connection, OpenFlags};
use thiserror::Error as ThisError;
use vnode_store::Change;

use super::{Error, Lists, create, encode, read};
use crate::{
    MAX_MESSAGE_BYTES,
    judge::Stored,
    list::{Image, is_identifier},
    name::Principal,
    record::{
        Credential, ENDORSERS, EndorserRecord, ImageRecord, NewImages, SUBSCRIPTIONS, Settings,
        Subscription, Validators, image_key,
    },
    version,
};

/// Most rows of a table that are read.
const MAX_ROWS: usize = 1_000_000;
/// Longest `cache.index`, bytes: it holds the whole message once for each image.
const MAX_INDEX_BYTES: u64 = 512 << 20;

/// Why an installation cannot be taken over.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ImportError {
    #[error("{path} is no database of vmcatcher (SQLite)")]
    Database {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("{path} has more than {MAX_ROWS} rows in a table; is it vmcatcher's?")]
    TooLarge { path: PathBuf },
    #[error("cannot read {path}")]
    Index {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no index of a cache folder: {reason}")]
    NotAnIndex { path: PathBuf, reason: String },
    #[error(transparent)]
    Lists(#[from] Error),
}

/// What was taken over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imported {
    /// Ids of endorsers.
    pub endorsers: Vec<String>,
    /// Identifiers of lists.
    pub subscriptions: Vec<String>,
    /// How many images a site knew of them.
    pub images: usize,
    /// What was left out or waits, and why.
    pub notes: Vec<String>,
    /// Files of the cache folder whose index entry can be believed so far; their hash is not checked yet.
    pub cached: Vec<CachedFile>,
}

/// A file of an old cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedFile {
    pub list: Option<String>,
    pub identifier: String,
    pub path: PathBuf,
    pub size: u64,
    /// Hexadecimal, lower case.
    pub sha512: String,
}

/// The old database, as far as it is wanted.
#[derive(Debug, Default)]
struct Old {
    endorsers: Vec<EndorserRecord>,
    subscriptions: Vec<OldSubscription>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct OldSubscription {
    subscription: Subscription,
    /// Identifiers, and whether each is wanted in the cache.
    images: BTreeMap<String, bool>,
    message: Option<Vec<u8>>,
}

impl Lists {
    /// Takes over endorsers, subscriptions, credentials, selections and versions; and says which files of the cache
    /// folder belong to them. What is known here already is left as it is, so that it can be done again.
    ///
    /// # Errors
    /// When database or index cannot be read. A single subscription that cannot be taken over is a note.
    pub async fn import_vmcatcher(
        &self,
        database: &Path,
        cache: Option<&Path>,
    ) -> Result<Imported, ImportError> {
        let path = database.to_owned();
        let folder = cache.map(Path::to_owned);
        let read_all = move || -> Result<_, ImportError> {
            let old = read_database(&path)?;
            let cached = folder.map(|folder| read_index(&folder)).transpose()?;
            Ok((old, cached.unwrap_or_default()))
        };
        let (old, cached) =
            tokio::task::spawn_blocking(read_all).await.map_err(|_| Error::Stopped)??;
        let mut imported = Imported { notes: old.notes, cached, ..Imported::default() };
        let _changing = self.changing.lock().await;
        for endorser in old.endorsers {
            let key = format!("{ENDORSERS}{}", endorser.id);
            if self.store.get(&key).await.map_err(read)?.is_some() {
                imported.notes.push(format!("the endorser `{}` is known already", endorser.id));
                continue;
            }
            match self.endorser_change(&endorser.id, endorser.principals).await {
                Ok(change) => self.commit(vec![change]).await?,
                Err(error @ Error::Store { .. }) => return Err(error.into()),
                Err(error) => {
                    imported.notes.push(error.to_string());
                    continue;
                }
            }
            imported.endorsers.push(endorser.id);
        }
        for old in old.subscriptions {
            self.take_over(old, &mut imported).await?;
        }
        Ok(imported)
    }

    async fn take_over(&self, old: OldSubscription, imported: &mut Imported) -> Result<(), Error> {
        let mut subscription = old.subscription;
        let list = subscription.identifier.clone();
        let key = format!("{SUBSCRIPTIONS}{list}");
        if self.store.get(&key).await.map_err(read)?.is_some() {
            imported.notes.push(format!("the list `{list}` is followed already"));
            return Ok(());
        }
        let mut changes = vec![create(&key, &subscription)?];
        imported.images += old.images.len();
        for (identifier, subscribed) in old.images {
            let record = ImageRecord::<Image> {
                list: list.clone(),
                identifier: identifier.clone(),
                subscribed,
                latest: None,
                in_list: false,
            };
            changes.push(create(&image_key(&list, &identifier), &record)?);
        }
        self.commit(changes).await?;
        imported.subscriptions.push(list.clone());
        let Some(message) = old.message else {
            imported.notes.push(format!("the list `{list}` has no message; refresh it"));
            return Ok(());
        };
        match self.judge_again(&mut subscription, message).await {
            Ok((_, mut changes)) => {
                changes.push(Change::put(key, encode(&subscription)?));
                self.commit(changes).await
            }
            Err(error @ Error::Store { .. }) => Err(error),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                imported.notes.push(format!(
                    "the stored message of `{list}` is not accepted ({}); refresh it",
                    cause.unwrap_or_else(|| error.to_string())
                ));
                Ok(())
            }
        }
    }
}

fn read_database(path: &Path) -> Result<Old, ImportError> {
    let wrong = |source| ImportError::Database { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(wrong)?;
    let rows = |count: usize| {
        if count > MAX_ROWS {
            return Err(ImportError::TooLarge { path: path.to_owned() });
        }
        Ok(())
    };
    let mut old = Old::default();
    let mut endorsers: BTreeMap<i64, EndorserRecord> = BTreeMap::new();
    for (id, identifier) in query(&db, "SELECT id, identifier FROM endorser ORDER BY id", |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })
    .map_err(wrong)?
    {
        endorsers.insert(id, EndorserRecord { id: identifier, principals: Vec::new() });
        rows(endorsers.len())?;
    }
    let principals =
        query(&db, "SELECT endorser, hv_dn, hv_ca FROM endorserPrincible ORDER BY id", |row| {
            Ok((row.get::<_, i64>(0)?, Principal::new(text(row, 1)?, text(row, 2)?)))
        });
    for (endorser, principal) in principals.map_err(wrong)? {
        if let Some(endorser) = endorsers.get_mut(&endorser) {
            endorser.principals.push(principal);
        }
    }
    let subscriptions = query(
        &db,
        "SELECT id, identifier, description, uri, authorised, imagelist_latest, updateMode, userName, password \
         FROM subscription ORDER BY id",
        |row| {
            Ok(Row {
                id: row.get(0)?,
                identifier: text(row, 1)?,
                description: text(row, 2)?,
                uri: text(row, 3)?,
                authorised: row.get::<_, Option<bool>>(4)?.unwrap_or(false),
                latest: row.get(5)?,
                mode: row.get::<_, Option<i64>>(6)?.unwrap_or(0),
                user: text(row, 7)?,
                password: text(row, 8)?,
            })
        },
    );
    for row in subscriptions.map_err(wrong)? {
        if !is_identifier(&row.identifier) {
            let shown: String =
                row.identifier.chars().take(40).flat_map(char::escape_default).collect();
            old.notes.push(format!(
                "the list `{shown}` cannot be taken over: its identifier is no safe name"
            ));
            continue;
        }
        let read = read_subscription(&db, row, &endorsers, &mut old.notes).map_err(wrong)?;
        rows(read.images.len())?;
        old.subscriptions.push(read);
    }
    old.endorsers = endorsers.into_values().collect();
    Ok(old)
}

/// A row of the table `subscription`.
struct Row {
    id: i64,
    identifier: String,
    description: String,
    uri: String,
    authorised: bool,
    latest: Option<i64>,
    mode: i64,
    user: String,
    password: String,
}

fn read_subscription(
    db: &Connection,
    row: Row,
    endorsers: &BTreeMap<i64, EndorserRecord>,
    notes: &mut Vec<String>,
) -> rusqlite::Result<OldSubscription> {
    let linked = db
        .prepare("SELECT endorser FROM subscriptionAuth WHERE subscription = ?1 AND authorised")?
        .query_map([row.id], |row| row.get::<_, i64>(0))?
        .collect::<rusqlite::Result<BTreeSet<_>>>()?;
    let versions = db
        .prepare(
            "SELECT l.id, l.version, l.data_hash FROM imageListInstance l \
             JOIN subscriptionAuth a ON a.id = l.sub_auth WHERE a.subscription = ?1",
        )?
        .query_map([row.id], |row| Ok((row.get::<_, i64>(0)?, text(row, 1)?, text(row, 2)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    // Of two lists with the highest version the one in force counts.
    let highest = versions.into_iter().max_by(|a, b| {
        version::compare(&a.1, &b.1).then_with(|| {
            let latest = |id| row.latest == Some(id);
            latest(a.0).cmp(&latest(b.0))
        })
    });
    let message = match row.latest {
        None => None,
        Some(id) => {
            db.prepare("SELECT data FROM imageListInstance WHERE id = ?1 AND length(data) <= ?2")?
                .query_map((id, MAX_MESSAGE_BYTES as i64), |row| match row.get_ref(0)? {
                    rusqlite::types::ValueRef::Blob(bytes)
                    | rusqlite::types::ValueRef::Text(bytes) => Ok(bytes.to_vec()),
                    _ => Ok(Vec::new()),
                })?
                .next()
                .transpose()?
        }
    };
    let mut images = BTreeMap::new();
    let mut definitions =
        db.prepare("SELECT identifier, cache FROM ImageDefinition WHERE subscription = ?1")?;
    for image in
        definitions.query_map([row.id], |row| Ok((text(row, 0)?, row.get::<_, Option<i64>>(1)?)))?
    {
        let (identifier, cache) = image?;
        if is_identifier(&identifier) {
            images.insert(identifier, cache.unwrap_or(0) != 0);
        } else {
            let shown: String =
                identifier.chars().take(40).flat_map(char::escape_default).collect();
            notes.push(format!(
                "the image `{shown}` of `{}` is left out: its identifier is no safe name",
                row.identifier
            ));
        }
    }
    let (uri, credential) = credential(&row);
    let subscription = Subscription {
        identifier: row.identifier,
        title: String::new(),
        description: row.description,
        list_uri: uri.clone(),
        uri,
        endorsers: linked.iter().filter_map(|id| endorsers.get(id)).map(|e| e.id.clone()).collect(),
        settings: Settings {
            new_images: match row.mode & 3 {
                0 => NewImages::Refuse,
                1 => NewImages::Accept,
                _ => NewImages::Subscribe,
            },
            paused: !row.authorised,
            credential,
            ..Settings::default()
        },
        stored: highest.map(|(_, version, hash)| Stored {
            version,
            message_sha512: hash.to_ascii_lowercase(),
        }),
        current: None,
        validators: Validators::default(),
        last: None,
    };
    Ok(OldSubscription { subscription, images, message: message.filter(|m| !m.is_empty()) })
}

/// The address without user and password, and these: from the address or from the columns.
fn credential(row: &Row) -> (String, Option<Credential>) {
    let stored = |user: &str, password: &str| {
        (!user.is_empty())
            .then(|| Credential::Stored { user: user.to_owned(), password: password.to_owned() })
    };
    let from_columns = stored(&row.user, &row.password);
    let Ok(url) = Url::parse(&row.uri) else { return (row.uri.clone(), from_columns) };
    let from_uri = stored(url.username(), url.password().unwrap_or_default());
    (crate::fetch::without_password(&row.uri), from_columns.or(from_uri))
}

fn query<T>(
    db: &Connection,
    sql: &str,
    row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare(sql)?.query_map([], row)?.take(MAX_ROWS + 1).collect()
}

/// A text, empty for null; Python 2 may have stored bytes.
fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<String> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(column)? {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
    })
}

/// Reads `cache.index` and looks which of its files are there with their size.
fn read_index(folder: &Path) -> Result<Vec<CachedFile>, ImportError> {
    let path = folder.join("cache.index");
    let cannot = |source| ImportError::Index { path: path.clone(), source };
    let wrong = |reason: String| ImportError::NotAnIndex { path: path.clone(), reason };
    let mut bytes = Vec::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(MAX_INDEX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_INDEX_BYTES {
        return Err(wrong(format!("it is longer than {MAX_INDEX_BYTES} bytes")));
    }
    let index: BTreeMap<String, serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    let mut files = Vec::new();
    for (key, entry) in index {
        let text = |names: &[&str]| {
            names.iter().find_map(|name| match entry.get(*name)? {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
        };
        let identifier = text(&["dc:identifier", "uuid"]).unwrap_or_else(|| key.clone());
        let name = text(&["filename"]).unwrap_or_else(|| identifier.clone());
        let size = text(&["size", "hv:size"]).and_then(|size| size.parse::<u64>().ok());
        let sha512 = text(&["sha512", "sl:checksum:sha512"]).map(|hash| hash.to_ascii_lowercase());
        let (Some(size), Some(sha512)) = (size, sha512) else { continue };
        if !is_identifier(&identifier) || !is_identifier(&name) || sha512.len() != 128 {
            continue;
        }
        let path = folder.join(&name);
        // Not followed: a link in the folder is not a file of the cache.
        let there = std::fs::symlink_metadata(&path);
        if there.is_ok_and(|meta| meta.is_file() && meta.size() == size) {
            let list = text(&["hv:imagelist.dc:identifier"]).filter(|list| is_identifier(list));
            files.push(CachedFile { list, identifier, path, size, sha512 });
        }
    }
    Ok(files)
}
