//! A client of the OCI distribution protocol: manifests and blobs, by GET only.
//!
//! Our own and not a library's, because what a server sends must be bounded: the libraries at hand read manifests
//! and tokens of any size into memory, and do not go on where a broken transfer ended.
//!
//! A registry is asked at its mirrors first, in order, then itself. Requests that failed for a reason that may pass
//! (connection, stall, 429, 5xx) are tried again with growing pauses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{ACCEPT, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use tokio_util::sync::CancellationToken;

use crate::digest::Digest;
use crate::http::{self, is_loopback};
use crate::reference::{DOCKER, RegistryReference};
use crate::{Options, manifest};

mod auth;
mod blob;
mod catalogue;

use auth::Authorisation;

/// Why a registry did not give what was asked for. Every text names the registry or mirror.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot make a client for registries")]
    Client(#[source] http::Error),
    #[error("`{registry}` is not a registry's address: {why}")]
    Address { registry: String, why: String },
    #[error("{registry} cannot be reached{hint}")]
    Unreachable {
        registry: String,
        hint: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "{registry} wants a login for {what} (401); give credentials for it in the daemon's settings or an auth file"
    )]
    LoginWanted { registry: String, what: String },
    #[error(
        "{registry} does not accept the credentials given for {what} ({status}); check user, password and rights"
    )]
    LoginRefused { registry: String, what: String, status: u16 },
    #[error(
        "{registry} has no {what} (404); check the name and the tag, or log in if it is private"
    )]
    NotFound { registry: String, what: String },
    #[error("{registry} answered {status} for {what}{}", if detail.is_empty() { String::new() } else { format!(": {detail}") })]
    Status { registry: String, what: String, status: u16, detail: String },
    #[error("{registry} sent nothing for {} s in the middle of {what}", limit.as_secs())]
    Stalled { registry: String, what: String, limit: Duration },
    #[error("{registry} broke off {what} after {received} of {expected} bytes, {attempts} times")]
    Truncated { registry: String, what: String, received: u64, expected: u64, attempts: u32 },
    #[error("{registry} sent more than {limit} bytes for {what}")]
    TooLarge { registry: String, what: String, limit: u64 },
    #[error(
        "{registry} sent {what} with digest {actual}, not {expected}; it was damaged or changed on the way"
    )]
    Digest { registry: String, what: String, expected: String, actual: String },
    #[error("{registry} answered for {what} with what is no answer: {why}")]
    Answer { registry: String, what: String, why: String },
    #[error("cannot use the certificates in `{path}`: {why}")]
    Certificates { path: std::path::PathBuf, why: String },
    #[error("cannot read the credentials in `{path}`: {why}")]
    AuthFile { path: std::path::PathBuf, why: String },
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// True when the same request may do better later.
    pub fn may_pass(&self) -> bool {
        match self {
            Error::Unreachable { source, .. } => !source.is_redirect() && !source.is_builder(),
            Error::Stalled { .. } | Error::Truncated { .. } => true,
            Error::Status { status, .. } => matches!(*status, 408 | 416 | 429) || *status >= 500,
            _ => false,
        }
    }
}

/// A registry or mirror, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// As the user wrote it: what credentials are kept under, and what errors name.
    pub(crate) name: String,
    /// `https://host:port/v2/` or `.../v2/prefix/`.
    base: String,
}

impl Endpoint {
    /// What stands before the names of repositories there: nothing, or `prefix/`.
    fn prefix(&self) -> &str {
        self.base.split_once("/v2/").map_or("", |(_, prefix)| prefix)
    }
}

/// A client; clones share connections and tokens.
#[derive(Clone)]
pub(crate) struct Client(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    options: Arc<Options>,
    /// Endpoint name and repository → what the server wanted to see last time.
    authorisations: Mutex<HashMap<(String, String), Authorisation>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// One thing to be fetched.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) repository: &'a str,
    /// `manifests/latest`, `blobs/sha256:...`.
    pub(crate) path: String,
    /// For people.
    pub(crate) what: String,
}

impl Client {
    pub(crate) fn new(options: Arc<Options>) -> Result<Self, Error> {
        let extra_certificates = match &options.extra_certificates {
            Some(path) => Some(
                auth::read_small(path)
                    .map_err(|e| Error::Certificates { path: path.clone(), why: e.to_string() })?,
            ),
            None => None,
        };
        let http = http::client(&http::Options {
            connect_limit: options.stall_time.min(Duration::from_secs(30)),
            proxy: options.proxy.clone(),
            extra_certificates,
        })
        .map_err(|error| match error {
            http::Error::Certificates { why } => {
                let path = options.extra_certificates.clone().unwrap_or_default();
                Error::Certificates { path, why }
            }
            error => Error::Client(error),
        })?;
        Ok(Self(Arc::new(Inner { http, options, authorisations: Mutex::default() })))
    }

    /// Mirrors of the reference's registry, then the registry.
    pub(crate) fn endpoints(&self, reference: &RegistryReference) -> Result<Vec<Endpoint>, Error> {
        let mirrors = self.0.options.mirrors.get(&reference.registry);
        let own = Some(&reference.registry);
        mirrors.into_iter().flatten().chain(own).map(|name| self.endpoint(name)).collect()
    }

    fn endpoint(&self, name: &str) -> Result<Endpoint, Error> {
        let (scheme, rest) = match name.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => {
                return Err(Error::Address {
                    registry: name.into(),
                    why: "its scheme is neither http nor https".into(),
                });
            }
            None => (None, name),
        };
        let rest = rest.trim_end_matches('/');
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let insecure = || self.0.options.insecure_registries.iter().any(|r| r == host);
        let loopback = || {
            let bare = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
            is_loopback(bare.map_or(host, |(bare, _)| bare))
        };
        let scheme = scheme.unwrap_or(if insecure() || loopback() { "http" } else { "https" });
        // docker.io is a name only; this is where it answers.
        let host = if host == DOCKER { "registry-1.docker.io" } else { host };
        let slash = if prefix.is_empty() { "" } else { "/" };
        let base = format!("{scheme}://{host}/v2/{prefix}{slash}");
        match Url::parse(&base) {
            Ok(_) => Ok(Endpoint { name: rest.to_owned(), base }),
            Err(e) => Err(Error::Address { registry: name.into(), why: e.to_string() }),
        }
    }

    /// A manifest, verified: against the digest that was asked for, and the one the server claims.
    pub(crate) async fn manifest(
        &self,
        endpoints: &[Endpoint],
        repository: &str,
        tag_or_digest: &str,
        cancel: &CancellationToken,
    ) -> Result<(Vec<u8>, Digest), Error> {
        let request = Request {
            repository,
            path: format!("manifests/{tag_or_digest}"),
            what: format!("manifest `{repository}:{tag_or_digest}`"),
        };
        self.document(endpoints, &request, tag_or_digest.parse().ok(), cancel).await
    }

    /// A small blob (an image configuration), whole and verified.
    pub(crate) async fn small_blob(
        &self,
        endpoints: &[Endpoint],
        repository: &str,
        digest: Digest,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, Error> {
        let request = Request {
            repository,
            path: format!("blobs/{digest}"),
            what: format!("configuration {digest}"),
        };
        self.document(endpoints, &request, Some(digest), cancel).await.map(|(bytes, _)| bytes)
    }

    async fn document(
        &self,
        endpoints: &[Endpoint],
        request: &Request<'_>,
        expected: Option<Digest>,
        cancel: &CancellationToken,
    ) -> Result<(Vec<u8>, Digest), Error> {
        let mut last = None;
        for endpoint in endpoints {
            let mut attempt = 1;
            loop {
                let fetched = tokio::select! {
                    fetched = self.document_once(endpoint, request, expected) => fetched,
                    () = cancel.cancelled() => return Err(Error::Cancelled),
                };
                match fetched {
                    Ok(document) => return Ok(document),
                    Err(e) if e.may_pass() && attempt < self.0.options.attempts => {
                        self.pause(attempt, &e, cancel).await?;
                        attempt += 1;
                    }
                    Err(e) => {
                        last = Some(e);
                        break;
                    }
                }
            }
            if let (Some(e), true) = (&last, endpoints.len() > 1) {
                tracing::info!(endpoint = %endpoint.name, error = %e, "registry or mirror passed over");
            }
        }
        // The registry itself stands last, and its answer counts. There is always at least that one.
        Err(last.unwrap_or(Error::Cancelled))
    }

    async fn document_once(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        expected: Option<Digest>,
    ) -> Result<(Vec<u8>, Digest), Error> {
        let limit = self.0.options.limits.manifest_bytes;
        let too_large = || Error::TooLarge {
            registry: endpoint.name.clone(),
            what: request.what.clone(),
            limit,
        };
        let response = self.get(endpoint, request, 0).await?;
        if response.content_length().is_some_and(|n| n > limit) {
            return Err(too_large());
        }
        let claimed = response
            .headers()
            .get("docker-content-digest")
            .and_then(|v| v.to_str().ok()?.parse::<Digest>().ok());
        let bytes =
            self.body(endpoint, &request.what, response, limit).await?.ok_or_else(too_large)?;
        let actual = Digest::of(&bytes);
        for digest in [expected, claimed].into_iter().flatten() {
            if digest != actual {
                return Err(Error::Digest {
                    registry: endpoint.name.clone(),
                    what: request.what.clone(),
                    expected: digest.to_string(),
                    actual: actual.to_string(),
                });
            }
        }
        Ok((bytes, actual))
    }

    /// A body of at most `limit` bytes; `None` when it is longer.
    async fn body(
        &self,
        endpoint: &Endpoint,
        what: &str,
        response: Response,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = self.unless_stalled(endpoint, what, stream.next()).await? {
            let chunk = chunk.map_err(|e| self.unreachable(endpoint, e))?;
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                return Ok(None);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    async fn unless_stalled<T>(
        &self,
        endpoint: &Endpoint,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let limit = self.0.options.stall_time;
        tokio::time::timeout(limit, future).await.map_err(|_| Error::Stalled {
            registry: endpoint.name.clone(),
            what: what.to_owned(),
            limit,
        })
    }

    fn unreachable(&self, endpoint: &Endpoint, source: reqwest::Error) -> Error {
        let mut causes =
            std::iter::successors(std::error::Error::source(&source), |error| error.source());
        let hint = if causes.any(|error| error.to_string().contains("dns error")) {
            "; its name is not known here: `vnode daemon --registry-mirror` names another that has its images"
        } else if source.is_connect() && endpoint.base.starts_with("https") {
            // A plain server answers a TLS greeting with nonsense, which is the usual cause of this.
            "; if it speaks plain http, list it among the insecure registries"
        } else {
            ""
        };
        Error::Unreachable { registry: endpoint.name.clone(), hint, source: source.without_url() }
    }

    /// One GET from `offset` on, logged in where the server wants it; the answer is a success.
    pub(crate) async fn get(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        offset: u64,
    ) -> Result<Response, Error> {
        let url = format!("{}{}/{}", endpoint.base, request.repository, request.path);
        self.get_url(endpoint, request, &url, offset).await
    }

    /// As [`get`](Self::get), from an address that may lie beside the protocol's.
    async fn get_url(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        url: &str,
        offset: u64,
    ) -> Result<Response, Error> {
        let key = (endpoint.name.clone(), request.repository.to_owned());
        let known = self.authorisations().get(&key).cloned();
        let mut authorisation = known.clone();
        for login in [true, false] {
            let mut builder = self.0.http.get(url).header(ACCEPT, manifest::ACCEPTED);
            if offset > 0 {
                builder = builder.header(RANGE, format!("bytes={offset}-"));
            }
            if let Some(authorisation) = &authorisation {
                builder = authorisation.apply(builder);
            }
            let response = self
                .unless_stalled(endpoint, &request.what, builder.send())
                .await?
                .map_err(|e| self.unreachable(endpoint, e))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && login {
                let challenges: Vec<String> = response
                    .headers()
                    .get_all(WWW_AUTHENTICATE)
                    .iter()
                    .filter_map(|v| v.to_str().ok().map(Into::into))
                    .collect();
                let fresh = self.log_in(endpoint, request, &challenges).await?;
                self.authorisations().insert(key.clone(), fresh.clone());
                authorisation = Some(fresh);
                continue;
            }
            return Err(self.refusal(endpoint, request, response, authorisation.is_some()).await);
        }
        Err(Error::LoginWanted { registry: endpoint.name.clone(), what: request.what.clone() })
    }

    fn authorisations(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<(String, String), Authorisation>> {
        self.0.authorisations.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn refusal(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        response: Response,
        logged_in: bool,
    ) -> Error {
        let (registry, what) = (endpoint.name.clone(), request.what.clone());
        let status = response.status();
        let credentials = self.credential(&endpoint.name).ok().flatten().is_some();
        match status {
            StatusCode::NOT_FOUND => Error::NotFound { registry, what },
            StatusCode::UNAUTHORIZED if !credentials => Error::LoginWanted { registry, what },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if logged_in && credentials => {
                Error::LoginRefused { registry, what, status: status.as_u16() }
            }
            _ => {
                let wait = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
                // The text is for people only; without it the number says enough.
                let body = self.body(endpoint, &what, response, 4096).await.ok().flatten();
                let mut detail: String = String::from_utf8_lossy(&body.unwrap_or_default())
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(200)
                    .collect();
                if let Some(wait) = wait {
                    detail.push_str(&format!(" (try again in {wait} s)"));
                }
                Error::Status { registry, what, status: status.as_u16(), detail }
            }
        }
    }

    /// Waits before the next try: doubling, at most half a minute.
    async fn pause(
        &self,
        attempt: u32,
        error: &Error,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.0.options.backoff.saturating_mul(factor).min(Duration::from_secs(30));
        tracing::info!(%error, attempt, wait_ms = wait.as_millis() as u64, "trying again");
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = cancel.cancelled() => Err(Error::Cancelled),
        }
    }
}
