//! What the tests of lists share: the fixtures, a time within their validity, servers of messages.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod server;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use vnode_imagelist::{
    Lists, TrustFolder,
    fetch::{Fetch, FetchError, Fetched, Request},
    lists::Wanted,
    record::Validators,
};
use vnode_store::Store;

pub(crate) const LIST: &str = "6f2b1f0e-0d5b-4c53-9a7c-5a1f3c9d1e01";
pub(crate) const OTHER_LIST: &str = "6f2b1f0e-0d5b-4c53-9a7c-5a1f3c9d1e99";
pub(crate) const ONE: &str = "0b0a2c1e-7b1e-4b57-8d55-1f5f3c2f7a11";
pub(crate) const TWO: &str = "0b0a2c1e-7b1e-4b57-8d55-1f5f3c2f7a22";
pub(crate) const URI: &str = "http://lists.example.org/image.list";

pub(crate) fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

pub(crate) fn message(name: &str) -> Vec<u8> {
    fs::read(data("lists").join(format!("{name}.list"))).unwrap()
}

/// What "servers" hold, by address; an address without a message answers 404.
#[derive(Debug, Default)]
pub(crate) struct Served {
    messages: Mutex<BTreeMap<String, Vec<u8>>>,
    /// How many messages were sent whole.
    pub(crate) sent: std::sync::atomic::AtomicUsize,
}

impl Served {
    pub(crate) fn put(&self, uri: &str, name: &str) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.insert(uri.to_owned(), message(name));
    }

    pub(crate) fn forget(&self, uri: &str) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).remove(uri);
    }
}

impl Fetch for Served {
    fn fetch<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async {
            let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(bytes) = messages.get(&request.uri) else {
                return Err(FetchError::Status { uri: request.uri.clone(), status: 404 });
            };
            let etag = Some(format!("{}", bytes.iter().map(|b| u64::from(*b)).sum::<u64>()));
            if request.validators.etag == etag {
                return Ok(Fetched::Unchanged);
            }
            self.sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let validators = Validators { etag, last_modified: None };
            Ok(Fetched::Message { bytes: bytes.clone(), validators })
        })
    }
}

/// A clock that stands until it is set.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Arc<Mutex<Timestamp>>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new("2026-12-01T00:00:00Z".parse().unwrap())))
    }

    pub(crate) fn set(&self, time: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = time.parse().unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Site {
    pub(crate) lists: Arc<Lists>,
    pub(crate) served: Arc<Served>,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) trust: tempfile::TempDir,
}

impl Site {
    /// What shall be in the cache, in full.
    pub(crate) async fn wanted(&self) -> Vec<Wanted> {
        let mut all = Vec::new();
        for brief in self.lists.wanted().await.unwrap() {
            all.extend(self.lists.wanted_in_full(&brief).await.unwrap());
        }
        all
    }
}

/// A site that trusts the fixtures' CAs, and a server that has `v1`.
pub(crate) fn site() -> Site {
    let trust = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data("ca")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), trust.path().join(entry.file_name())).unwrap();
    }
    let served = Arc::new(Served::default());
    served.put(URI, "v1");
    let store = vnode_store::memory();
    let clock = Clock::new();
    let lists = Lists::new(
        Arc::clone(&store),
        Arc::new(TrustFolder::new(trust.path())),
        Arc::clone(&served) as Arc<dyn Fetch>,
    );
    let own = clock.clone();
    let lists = Arc::new(lists.clock(Arc::new(move || own.now())));
    Site { lists, served, clock, store, trust }
}
