//! Speaking HTTP to the daemon: one connection for one command, made without anything that is not used.

mod connect;
mod sse;
mod start;

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, BodyStream, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vnode_api::{Code, Problem};

pub(crate) use connect::Target;
pub(crate) use sse::Messages;
pub(crate) use start::{lock, lock_path, make_folder, open, wait_until_gone};

/// Largest answer taken as a whole; listings of thousands of nodes stay far below it.
const MAX_ANSWER: usize = 256 << 20;

/// What a request's body may be.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// One connection to the daemon.
pub(crate) struct Client {
    sender: SendRequest<Body>,
    authority: String,
    token: Option<String>,
}

impl Client {
    /// Connects; on this host a daemon is started when none runs.
    pub(crate) async fn connect(target: &Target) -> Result<Self, Problem> {
        let stream = match target.open().await {
            Ok(stream) => stream,
            Err(connect::Failure::NoDaemon(state_dir)) => {
                start::start(state_dir).await?;
                target.open().await.map_err(connect::Failure::into_problem)?
            }
            Err(failure) => return Err(failure.into_problem()),
        };
        Self::over(stream, target).await
    }

    /// Connects to a daemon that runs already; `None` when there is none.
    pub(crate) async fn connect_running(target: &Target) -> Result<Option<Self>, Problem> {
        match target.open().await {
            Ok(stream) => Self::over(stream, target).await.map(Some),
            Err(connect::Failure::NoDaemon(_)) => Ok(None),
            Err(failure) => Err(failure.into_problem()),
        }
    }

    async fn over(stream: connect::Stream, target: &Target) -> Result<Self, Problem> {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::spawn(async move {
            // Every error of the connection also ends the request that waits for it, which reports it.
            drop(connection.with_upgrades().await);
        });
        Ok(Self { sender, authority: target.authority(), token: target.token() })
    }

    /// Sends a request; an answer that is an error becomes one.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Body,
    ) -> Result<Response<Incoming>, Problem> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = self.authorized(request).body(body).map_err(malformed)?;
        let response = self.sender.send_request(request).await.map_err(lost)?;
        checked(response).await
    }

    fn authorized(&self, request: hyper::http::request::Builder) -> hyper::http::request::Builder {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// GET of a JSON document.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Problem> {
        let response = self.send(Method::GET, path, None, empty()).await?;
        document(response).await
    }

    /// A request with a JSON body and a JSON answer; `None` when the answer is 204.
    pub(crate) async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Option<T>, Problem> {
        let response = self.send(method, path, Some("application/json"), json(body)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        document(response).await.map(Some)
    }

    /// An answer that is no document, whole.
    pub(crate) async fn bytes(&mut self, path: &str) -> Result<Vec<u8>, Problem> {
        let response = self.send(Method::GET, path, None, empty()).await?;
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
        let body = body.collect().await.map_err(|error| {
            Problem::new(Code::Failed, format!("the daemon's answer broke off: {error}"))
        })?;
        Ok(body.to_bytes().to_vec())
    }

    /// A request without a body.
    pub(crate) async fn act<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
    ) -> Result<Option<T>, Problem> {
        let response = self.send(method, path, None, empty()).await?;
        if matches!(response.status(), StatusCode::NO_CONTENT) {
            return Ok(None);
        }
        document(response).await.map(Some)
    }

    /// The same, where the answer says nothing.
    pub(crate) async fn done(&mut self, method: Method, path: &str) -> Result<(), Problem> {
        self.send(method, path, None, empty()).await.map(drop)
    }

    /// GET of server-sent events.
    pub(crate) async fn events(&mut self, path: &str) -> Result<Messages, Problem> {
        let response = self.send(Method::GET, path, None, empty()).await?;
        Ok(Messages::new(response.into_body()))
    }

    /// Turns the connection into a stream of `vnode_protocol` frames.
    pub(crate) async fn upgrade(
        mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<TokioIo<hyper::upgrade::Upgraded>, Problem> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.authority)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, vnode_api::UPGRADE)
            .header(CONTENT_TYPE, "application/json");
        let request = self.authorized(request).body(json(body)).map_err(malformed)?;
        let response = self.sender.send_request(request).await.map_err(lost)?;
        let response = checked(response).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(odd("the daemon did not switch to a stream"));
        }
        hyper::upgrade::on(response).await.map(TokioIo::new).map_err(lost)
    }
}

async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, Problem> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(response);
    }
    let bytes = whole(response).await?;
    Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim().chars().take(500).collect::<String>();
        odd(&format!("the daemon answered {status}")).cause(text)
    }))
}

async fn document<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Problem> {
    let bytes = whole(response).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        odd("cannot read the daemon's answer").cause(error.to_string()).hint(
            "daemon and command line are of different versions: `vnode daemon stop`, then again",
        )
    })
}

async fn whole(response: Response<Incoming>) -> Result<Vec<u8>, Problem> {
    let mut body = BodyStream::new(response.into_body());
    let mut bytes = Vec::new();
    while let Some(frame) = body.next().await {
        if let Ok(data) = frame.map_err(lost)?.into_data() {
            if bytes.len() + data.len() > MAX_ANSWER {
                return Err(odd("the daemon's answer has no end"));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// A body without bytes.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn json(value: &impl Serialize) -> Body {
    let bytes = serde_json::to_vec(value).expect("messages of the API have a JSON form");
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

/// One segment of a path, so that `lab/node` stays one.
pub(crate) fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            text.push(byte.into());
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
    text
}

/// `?a=1&b=2` of what is there.
pub(crate) fn query(pairs: &[(&str, Option<String>)]) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        if let Some(value) = value {
            text.push(if text.is_empty() { '?' } else { '&' });
            write!(text, "{key}={}", segment(value)).expect("a string takes everything");
        }
    }
    text
}

/// Longest wait for a daemon to be ready or gone.
pub(crate) const DAEMON_TIME: Duration = Duration::from_secs(60);

fn lost(error: hyper::Error) -> Problem {
    Problem::from_error(Code::Unavailable, &error)
        .in_front("lost the connection to the daemon")
        .hint("`vnode daemon status` tells whether it runs; its log is `daemon.log` in the state folder")
}

fn malformed(error: hyper::http::Error) -> Problem {
    Problem::from_error(Code::Usage, &error).in_front("cannot make a request of these arguments")
}

fn odd(text: &str) -> Problem {
    Problem::new(Code::Failed, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_its_lab_is_one_segment() {
        assert_eq!(segment("lab/r1"), "lab%2Fr1");
        assert_eq!(segment("a:eth1--b:eth1"), "a%3Aeth1--b%3Aeth1");
    }

    #[test]
    fn only_what_is_given_is_in_the_query() {
        assert_eq!(query(&[("lab", None), ("dry_run", None)]), "");
        let given = query(&[("lab", Some("a b".into())), ("force", Some("true".into()))]);
        assert_eq!(given, "?lab=a%20b&force=true");
    }
}
