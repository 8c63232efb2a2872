//! Calls to the server, bounded in size and time.
//!
//! A call carries the session (`user:password`) in its body, so redirects are never followed, and neither the body nor
//! the address with a password in it is ever shown.

use std::{fmt, time::Duration};

use reqwest::{Url, redirect};
use thiserror::Error;
use vnode_operation::fault;
use zeroize::Zeroizing;

use crate::rpc::{self, AnswerError, Value};

/// Longest answer, bytes: a pool of about 50,000 images.
pub const ANSWER_BYTES: usize = 64 << 20;

/// Why a call was not done, as far as is known.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    #[error("{url} is no address of OpenNebula: {reason}; write `http://HOST:2633/RPC2`")]
    Address { url: String, reason: String },
    #[error("no client for http can be made; is the package ca-certificates installed?")]
    Client(#[source] reqwest::Error),
    #[error("OpenNebula at {url} does not answer {method}")]
    Transport {
        url: String,
        method: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error("OpenNebula at {url} did not answer {method} within {limit:?}")]
    Time { url: String, method: &'static str, limit: Duration },
    #[error("{url} answers {method} with the HTTP status {status}; is it OpenNebula's address?")]
    Status { url: String, method: &'static str, status: u16 },
    #[error("the answer to {method} is longer than {limit} bytes")]
    TooLong { method: &'static str, limit: usize },
    #[error("{method} failed")]
    Answer {
        method: &'static str,
        #[source]
        source: AnswerError,
    },
    #[error(transparent)]
    Injected(#[from] fault::Injected),
}

impl CallError {
    /// The server's code, when it refused the call.
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Answer { source: AnswerError::Refused { code, .. }, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the server may have done what it was asked to.
    pub fn is_unknown(&self) -> bool {
        !matches!(
            self,
            Self::Address { .. }
                | Self::Client(_)
                | Self::Answer {
                    source: AnswerError::Refused { .. } | AnswerError::Fault { .. },
                    ..
                }
        )
    }
}

/// `user:password`; never shown, wiped when dropped.
#[derive(Clone)]
pub struct Session(Zeroizing<String>);

impl Session {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(***)")
    }
}

/// Speaks to one server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    session: Session,
    time_limit: Duration,
    answer_bytes: usize,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.shown()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server at `url`, `http://HOST:2633/RPC2`. `time_limit` is for one call: registering an image
    /// measures its file while the call waits.
    ///
    /// # Errors
    /// When the address is none, or the system's certificates cannot be read.
    pub fn new(url: &str, session: Session, time_limit: Duration) -> Result<Self, CallError> {
        let wrong = |reason: &str| CallError::Address { url: hide(url), reason: reason.to_owned() };
        let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("it is neither http nor https"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong("it holds a user or password, which belong in the file of ONE_AUTH"));
        }
        let host = parsed.host_str().unwrap_or_default();
        if parsed.scheme() == "http" && !vnode_image::http::is_loopback(host) {
            tracing::warn!(host, "the password goes to OpenNebula in plain text; use https");
        }
        // An error says that the program has chosen its provider already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder();
        if parsed.scheme() == "http" {
            // Nothing leads from here to https: reading the system's certificates would only take time.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .user_agent(concat!("vnode/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10).min(time_limit))
            .no_proxy()
            .build()
            .map_err(CallError::Client)?;
        Ok(Self { http, url: parsed, session, time_limit, answer_bytes: ANSWER_BYTES })
    }

    /// The longest answer taken, bytes; for tests.
    #[must_use]
    pub fn answer_bytes(mut self, limit: usize) -> Self {
        self.answer_bytes = limit;
        self
    }

    fn shown(&self) -> String {
        self.url.to_string()
    }

    /// Calls `method` with the session and `parameters`.
    ///
    /// # Errors
    /// When the server is not reached, its answer is none or too long, or it refuses.
    pub async fn call(
        &self,
        method: &'static str,
        parameters: &[Value],
    ) -> Result<Value, CallError> {
        fault::point_of(method, "before")?;
        let mut all = Vec::with_capacity(parameters.len() + 1);
        all.push(Value::Text(self.session.0.to_string()));
        all.extend_from_slice(parameters);
        let body = rpc::call(method, &all);
        let limit = self.time_limit;
        let exchange = tokio::time::timeout(limit, self.exchange(method, body));
        let bytes =
            exchange.await.map_err(|_| CallError::Time { url: self.shown(), method, limit })??;
        let read = move || rpc::answer(&bytes);
        // A long pool takes a while to be read; a short answer does not repay a thread.
        let answer = read().map_err(|source| CallError::Answer { method, source })?;
        fault::point_of(method, "after")?;
        tracing::debug!(method, "called");
        Ok(answer)
    }

    async fn exchange(&self, method: &'static str, body: String) -> Result<Vec<u8>, CallError> {
        let transport = |source: reqwest::Error| CallError::Transport {
            url: self.shown(),
            method,
            source: source.without_url(),
        };
        let request = self.http.post(self.url.clone()).header("content-type", "text/xml");
        let mut response = request.body(body).send().await.map_err(transport)?;
        if response.status() != reqwest::StatusCode::OK {
            let status = response.status().as_u16();
            return Err(CallError::Status { url: self.shown(), method, status });
        }
        let too_long = CallError::TooLong { method, limit: self.answer_bytes };
        let expected = response.content_length().unwrap_or_default();
        if expected > self.answer_bytes as u64 {
            return Err(too_long);
        }
        // What a server says of its length is a hint, no reason to take memory.
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0).min(1 << 20));
        while let Some(piece) = response.chunk().await.map_err(transport)? {
            if bytes.len() + piece.len() > self.answer_bytes {
                return Err(too_long);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// An address fit to be shown when it cannot even be parsed.
fn hide(url: &str) -> String {
    let shown = match url.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => url.to_owned(),
    };
    shown.chars().take(200).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let session = Session::new("oneadmin:secret");
        assert!(!format!("{session:?}").contains("secret"));
        let client =
            Client::new("http://127.0.0.1:1/RPC2", session.clone(), Duration::from_secs(1))
                .unwrap();
        assert!(!format!("{client:?}").contains("secret"));
        for url in ["http://u:secret@h/RPC2", "ftp://u:secret@h", "//u:secret@h"] {
            let error = Client::new(url, session.clone(), Duration::from_secs(1)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }
}
