//! Fetching the file of an image: bounded, resumed, verified while it arrives.
//!
//! ```text
//! sources (the list's address, mirrors) ─▶ GET, Range with If-Range ─▶ channel of a few pieces ─▶ one blocking pass:
//!                                                                        file, header; SHA-512 and unpacking beside it
//! ```
//!
//! A part that is here is gone on with only when the server still has the same file, by its validator. Whatever a
//! server says of lengths and ranges, the size and the hash of the list decide. What arrived stays for the next try,
//! unless it was wrong.

mod part;
mod pipe;
mod sink;
mod unpack;

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use vnode_image::artefact::Blob;

use crate::{
    disk::{Disk, DiskError},
    fetch::{self, FetchError},
    list::is_identifier,
    record::Credential,
};

/// Why a file is not here. Texts name addresses without user and password.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DownloadError {
    #[error("`{name}` cannot name a file")]
    Name { name: String },
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{uri} sent nothing for {} s", limit.as_secs())]
    Stalled { uri: String, limit: Duration },
    #[error("{uri} ended after {found} of {expected} bytes")]
    Short { uri: String, expected: u64, found: u64 },
    #[error(
        "the list says {expected} bytes, but {found} came; the publisher must correct one of them"
    )]
    Size { expected: u64, found: u64 },
    #[error("the file from {uri} is not the one that was signed: its hash is {found}")]
    Hash { uri: String, found: String },
    #[error("it unpacks to more than {limit} bytes; raise max-virtual-size if it should")]
    Bomb { limit: u64 },
    #[error("what is packed in it cannot be unpacked")]
    Unpack {
        #[source]
        source: io::Error,
    },
    #[error(
        "{wanted} bytes are wanted in {folder}, {free} are free; make room or choose another folder"
    )]
    Space { folder: PathBuf, wanted: u64, free: u64 },
    #[error("cannot {doing} {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the file cannot be written")]
    Write {
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Registry(#[from] vnode_image::registry::Error),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the download was cancelled")]
    Cancelled,
}

impl DownloadError {
    /// Whether trying again, perhaps elsewhere, may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Fetch(FetchError::Transport { .. })
            | Self::Stalled { .. }
            | Self::Short { .. } => true,
            Self::Registry(error) => error.may_pass(),
            Self::Fetch(FetchError::Status { status, .. }) => {
                matches!(status, 408 | 425 | 429 | 500..=599)
            }
            _ => false,
        }
    }

    /// Whether another source may have what this one has not.
    fn other_source_may_help(&self) -> bool {
        self.may_pass()
            || matches!(
                self,
                Self::Fetch(_) | Self::Registry(_) | Self::Size { .. } | Self::Hash { .. }
            )
    }
}

/// How files are fetched.
#[derive(Debug, Clone)]
pub struct DownloadOptions {
    pub client: fetch::ClientOptions,
    /// Files fetched at a time.
    pub at_once: usize,
    /// Longest silence of a server.
    pub stall_limit: Duration,
    /// How often all sources are tried again.
    pub retries: u32,
    /// Pause before the first of these; doubled for each, a minute at most.
    pub pause: Duration,
    /// Bytes a second, of all files together.
    pub bandwidth: Option<u64>,
    /// Bytes of the folder's file system that stay free.
    pub keep_free: u64,
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self {
            client: fetch::ClientOptions::default(),
            at_once: 4,
            stall_limit: Duration::from_secs(60),
            retries: 5,
            pause: Duration::from_secs(1),
            bandwidth: None,
            keep_free: 64 << 20,
        }
    }
}

/// A file that is wanted.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name in the folder: an identifier.
    pub name: String,
    /// Where it is, asked in this order.
    pub sources: Vec<String>,
    /// Where it is in registries; asked first.
    pub blobs: Vec<Blob>,
    /// An address, and user and password for the sources on its host; no other gets them.
    pub credential: Option<(String, Credential)>,
    /// Bytes.
    pub size: u64,
    /// Hexadecimal, lower case. Not compared where `sha256` is given.
    pub sha512: String,
    /// What a registry knows it by.
    pub sha256: Option<String>,
    /// Unpack what is packed in it in the same pass.
    pub unpack: Option<Unpack>,
}

/// Where gzip and zstd go that are found while the file arrives.
#[derive(Debug, Clone)]
pub struct Unpack {
    pub path: PathBuf,
    /// More than this is refused.
    pub max_bytes: u64,
}

/// A file that is here, whole, and the one that was signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    pub path: PathBuf,
    pub size: u64,
    pub sha512: String,
    pub disk: Disk,
    /// What was packed in it, when it was unpacked: path, size, kind.
    pub unpacked: Option<(PathBuf, u64, Disk)>,
    /// Bytes that were not fetched because they were here.
    pub resumed: u64,
}

/// Told how far a download is; called for every piece.
pub trait Progress: Send + Sync {
    /// Bytes here, of the whole.
    fn at(&self, here: u64, of: u64);
}

impl Progress for () {
    fn at(&self, _here: u64, _of: u64) {}
}

/// One place to fetch from.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Address(&'a str),
    Blob(&'a Blob),
}

/// Fetches files.
#[derive(Debug)]
pub struct Downloader {
    client: OnceLock<reqwest::Client>,
    options: DownloadOptions,
    slots: Semaphore,
    /// When the next byte may come, under a bandwidth limit.
    next: Mutex<Instant>,
}

impl Downloader {
    /// # Errors
    /// When no client can be made.
    pub fn new(options: DownloadOptions) -> Result<Self, FetchError> {
        let this = Self::lazy(options);
        this.client()?;
        Ok(this)
    }

    /// As [`new`](Self::new), without a client until the first download: reading the system's certificates takes
    /// longer than all else that a daemon does when it starts.
    pub fn lazy(options: DownloadOptions) -> Self {
        Self {
            client: OnceLock::new(),
            slots: Semaphore::new(options.at_once.max(1)),
            next: Mutex::new(Instant::now()),
            options,
        }
    }

    fn client(&self) -> Result<&reqwest::Client, FetchError> {
        fetch::once(&self.client, &self.options.client)
    }

    /// Fetches a file into `folder`, as `NAME.part` while it arrives, and verifies it; then it is `NAME`.
    ///
    /// Waits while as many as allowed are fetched already.
    ///
    /// # Errors
    /// The last error of the last source. What arrived stays when going on may help.
    pub async fn fetch(
        &self,
        job: &Job,
        folder: &Path,
        progress: &dyn Progress,
        cancellation: &CancellationToken,
    ) -> Result<Verified, DownloadError> {
        if !is_identifier(&job.name) {
            let name = job.name.chars().take(40).flat_map(char::escape_default).collect();
            return Err(DownloadError::Name { name });
        }
        tokio::select! {
            biased;
            () = cancellation.cancelled() => Err(DownloadError::Cancelled),
            result = async {
                // Never closed.
                let _slot = self.slots.acquire().await.map_err(|_| DownloadError::Cancelled)?;
                self.try_all(job, folder, progress).await
            } => result,
        }
    }

    async fn try_all(
        &self,
        job: &Job,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Verified, DownloadError> {
        let blobs = job.blobs.iter().map(Source::Blob);
        let mut sources: Vec<Source<'_>> =
            blobs.chain(job.sources.iter().map(|uri| Source::Address(uri))).collect();
        let mut pause = self.options.pause;
        let mut tries = 0;
        let mut last = DownloadError::Fetch(FetchError::Address {
            uri: String::new(),
            reason: "no source is given".to_owned(),
        });
        loop {
            let mut kept = Vec::new();
            for source in sources {
                let error = match self.try_one(job, source, folder, progress).await {
                    Ok(verified) => return Ok(verified),
                    Err(error) => error,
                };
                tracing::warn!(name = job.name, %error, "a source of an image failed");
                if !error.other_source_may_help() {
                    return Err(error);
                }
                if error.may_pass() {
                    kept.push(source);
                }
                last = error;
            }
            if kept.is_empty() || tries == self.options.retries {
                return Err(last);
            }
            sources = kept;
            tries += 1;
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_secs(60));
        }
    }

    /// Files fetched at a time.
    pub fn at_once(&self) -> usize {
        self.options.at_once.max(1)
    }

    /// Waits until `bytes` more may come.
    async fn throttle(&self, bytes: usize) {
        let Some(rate) = self.options.bandwidth.filter(|rate| *rate > 0) else { return };
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let until = {
            let mut next = self.next.lock().await;
            *next = (*next).max(Instant::now()) + cost;
            *next
        };
        tokio::time::sleep_until(until).await;
    }
}

/// Opens a file of ours: made when it is not there, never through a link. Who gets to its folder may read it, as with
/// vmcatcher: handlers and virtual machines are users of their own.
fn open(path: &Path, write: bool) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(write)
        .create(write)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)?;
    if write {
        // Whatever mask we were started with.
        file.set_permissions(Permissions::from_mode(0o644))?;
    }
    Ok(file)
}
