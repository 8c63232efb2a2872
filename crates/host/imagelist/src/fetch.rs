//! Fetching a signed message: `http`, `https` and `file`.
//!
//! Server certificates are verified always; passwords go only where they were given for, never along a redirect to
//! another host (reqwest strips them).

use std::{io::Read as _, path::PathBuf, sync::OnceLock, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture};
use reqwest::{StatusCode, Url, header};
use thiserror::Error;
use vnode_image::artefact::Blob;

use crate::{
    MAX_MESSAGE_BYTES,
    error::Refusal,
    list::Image,
    oci::Offer,
    record::{Credential, Validators},
};

/// Why a message could not be fetched. Texts name the address without user and password.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    #[error("`{uri}` is no address of a list: {reason}; give an http, https, file or oci address")]
    Address { uri: String, reason: String },
    #[error("no client for http can be made")]
    Client(#[source] vnode_image::http::Error),
    #[error("{uri} cannot be fetched")]
    Transport {
        uri: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{uri} answered {status}")]
    Status { uri: String, status: u16 },
    #[error("{uri} is longer than {limit} bytes")]
    TooLong { uri: String, limit: usize },
    #[error("cannot read {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the registry of {uri} does not give it")]
    Registry {
        uri: String,
        #[source]
        source: Box<vnode_image::PullError>,
    },
    #[error("the key {path} is of no use: {reason}; it must be a public key, PEM")]
    Key { path: PathBuf, reason: String },
    #[error(
        "the credential file {path} is of no use: {reason}; its first line must be `user:password`"
    )]
    Credential { path: PathBuf, reason: String },
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Request {
    pub uri: String,
    pub credential: Option<Credential>,
    /// Public key that artefacts of a registry must be signed with.
    pub key: Option<PathBuf>,
    /// Of the message that is here already.
    pub validators: Validators,
}

/// What came.
#[derive(Debug, Clone, PartialEq)]
pub enum Fetched {
    /// The server says that what is here is what it has.
    Unchanged,
    Message {
        bytes: Vec<u8>,
        validators: Validators,
    },
    /// What a registry has. Judged by whoever fetched it: there is no message to judge.
    Offer(Box<Offer>),
    /// It is there, and does not count.
    Refused(Refusal),
}

/// Something that fetches messages; tests and other transports put their own in.
pub trait Fetch: Send + Sync + std::fmt::Debug {
    fn fetch<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Fetched, FetchError>>;

    /// Where the bytes of a registry's image are.
    ///
    /// # Errors
    /// When no registry is spoken to here.
    fn blobs(
        &self,
        image: &Image,
        _credential: Option<&Credential>,
    ) -> Result<Vec<Blob>, FetchError> {
        let reason = "registries are not spoken to here".to_owned();
        Err(FetchError::Address { uri: image.uri.clone(), reason })
    }
}

/// How servers are spoken to.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// For a message, from begin to end.
    pub time_limit: Duration,
    /// For a connection to come about.
    pub connect_limit: Duration,
    /// `http://host:port`; loopback is always reached directly.
    pub proxy: Option<String>,
    /// PEM certificates of servers' authorities beside the system's.
    pub extra_authorities: Option<Vec<u8>>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            time_limit: Duration::from_secs(60),
            connect_limit: Duration::from_secs(20),
            proxy: None,
            extra_authorities: None,
        }
    }
}

/// A client with bounds: ten redirects, none from https to http.
///
/// # Errors
/// [`FetchError::Client`].
pub fn client(options: &ClientOptions) -> Result<reqwest::Client, FetchError> {
    vnode_image::http::client(&vnode_image::http::Options {
        connect_limit: options.connect_limit,
        proxy: options.proxy.clone(),
        extra_certificates: options.extra_authorities.clone(),
    })
    .map_err(FetchError::Client)
}

/// The client of a cell, made when it is not there.
pub(crate) fn once<'a>(
    cell: &'a OnceLock<reqwest::Client>,
    options: &ClientOptions,
) -> Result<&'a reqwest::Client, FetchError> {
    if let Some(client) = cell.get() {
        return Ok(client);
    }
    let made = client(options)?;
    Ok(cell.get_or_init(|| made))
}

/// Parses an address; user and password in it are refused, for they would be shown and stored.
pub(crate) fn address(uri: &str) -> Result<Url, FetchError> {
    let wrong = |reason: String| FetchError::Address { uri: without_password(uri), reason };
    if uri.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return Err(wrong("it has a space or a control character in it".to_owned()));
    }
    let url = Url::parse(uri).map_err(|e| wrong(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https" | "file") {
        return Err(wrong(format!("`{}` is not spoken here", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds a user or password; give them as a credential".to_owned()));
    }
    if url.scheme() == "file" && url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err(wrong("a file of another host".to_owned()));
    }
    Ok(url)
}

/// Whether two addresses are of one host, asked the same way.
pub(crate) fn same_host(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (address(one), address(other)) else { return false };
    one.scheme() == other.scheme() && one.host_str() == other.host_str()
}

/// An address fit to be shown.
pub(crate) fn without_password(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            // Fails only for addresses that have no host, which have no user either.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        }
        Ok(_) => uri.to_owned(),
        Err(_) => uri.chars().take(200).flat_map(char::escape_default).collect(),
    }
}

/// User and password, read when they are needed.
pub(crate) fn secret(
    credential: Option<&Credential>,
) -> Result<Option<(String, String)>, FetchError> {
    match credential {
        None => Ok(None),
        Some(Credential::Stored { user, password }) => Ok(Some((user.clone(), password.clone()))),
        Some(Credential::File(path)) => {
            let wrong = |reason: String| FetchError::Credential { path: path.clone(), reason };
            let mut text = String::new();
            std::fs::File::open(path)
                .and_then(|file| file.take(4096).read_to_string(&mut text))
                .map_err(|e| wrong(e.to_string()))?;
            let line = text.lines().next().unwrap_or_default();
            let (user, password) =
                line.split_once(':').ok_or_else(|| wrong("it has no colon".to_owned()))?;
            Ok(Some((user.to_owned(), password.to_owned())))
        }
    }
}

/// Fetches with reqwest.
#[derive(Debug, Clone)]
pub struct HttpFetch {
    client: OnceLock<reqwest::Client>,
    options: ClientOptions,
}

impl HttpFetch {
    /// # Errors
    /// As [`client`].
    pub fn new(options: &ClientOptions) -> Result<Self, FetchError> {
        let this = Self::lazy(options);
        once(&this.client, &this.options)?;
        Ok(this)
    }

    /// As [`new`](Self::new), without a client until the first message is fetched.
    pub fn lazy(options: &ClientOptions) -> Self {
        Self { client: OnceLock::new(), options: options.clone() }
    }

    async fn get(&self, request: &Request) -> Result<Fetched, FetchError> {
        let url = address(&request.uri)?;
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| FetchError::Address {
                uri: request.uri.clone(),
                reason: "it has no path".to_owned(),
            })?;
            return read_file(path).await;
        }
        let uri = url.to_string();
        let transport = |source: reqwest::Error| FetchError::Transport {
            uri: uri.clone(),
            source: source.without_url(),
        };
        let client = once(&self.client, &self.options)?;
        let mut get = client.get(url).timeout(self.options.time_limit);
        if let Some((user, password)) = secret(request.credential.as_ref())? {
            get = get.basic_auth(user, Some(password));
        }
        if let Some(etag) = &request.validators.etag {
            get = get.header(header::IF_NONE_MATCH, etag);
        } else if let Some(time) = &request.validators.last_modified {
            get = get.header(header::IF_MODIFIED_SINCE, time);
        }
        let response = get.send().await.map_err(transport)?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Fetched::Unchanged);
        }
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status {
                uri: uri.clone(),
                status: response.status().as_u16(),
            });
        }
        let text = |name| {
            let value = response.headers().get(name).and_then(|v| v.to_str().ok());
            value.filter(|v| v.len() <= 1024).map(str::to_owned)
        };
        let validators =
            Validators { etag: text(header::ETAG), last_modified: text(header::LAST_MODIFIED) };
        let mut bytes = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.map_err(transport)?);
            if bytes.len() > MAX_MESSAGE_BYTES {
                return Err(FetchError::TooLong { uri: uri.clone(), limit: MAX_MESSAGE_BYTES });
            }
        }
        Ok(Fetched::Message { bytes, validators })
    }
}

impl Fetch for HttpFetch {
    fn fetch<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(self.get(request))
    }
}

async fn read_file(path: PathBuf) -> Result<Fetched, FetchError> {
    let read = move || {
        let cannot = |source| FetchError::File { path: path.clone(), source };
        let mut bytes = Vec::new();
        let file = rustix::fs::open(
            &path,
            // A FIFO must not hold us up.
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|e| cannot(e.into()))?;
        std::fs::File::from(file)
            .take(MAX_MESSAGE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(cannot)?;
        if bytes.len() > MAX_MESSAGE_BYTES {
            let uri = path.display().to_string();
            return Err(FetchError::TooLong { uri, limit: MAX_MESSAGE_BYTES });
        }
        Ok(Fetched::Message { bytes, validators: Validators::default() })
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| {
        Err(FetchError::File {
            path: PathBuf::new(),
            source: std::io::Error::other(error.to_string()),
        })
    })
}
