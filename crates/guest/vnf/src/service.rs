//! Answering requests on a unix socket.
//!
//! A connection carries one request: a line of JSON `{"verb": VERB, ...}`, at most 256 KiB; after `push` as many bytes
//! as its `length` says. The answer is lines of JSON: any number of `{"item": ...}`, then one `{"result": ...}` or
//! `{"error": {...}}` ([`Failure`]). Root and the service's own user may ask; the kernel tells who it is.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Failure, Result},
    manager::Manager,
    verbs::{self, Request},
};

/// Requests at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// Bytes of a request.
const REQUEST: u64 = 256 << 10;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the service of a state folder listens.
pub fn socket(state: &Path) -> PathBuf {
    state.join("vnf.sock")
}

/// The writing half of an answer.
#[derive(Debug)]
pub(crate) struct Answer<W> {
    to: W,
}

impl<W: tokio::io::AsyncWrite + Unpin> Answer<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to }
    }

    pub(crate) async fn line(&mut self, value: &Value) -> io::Result<()> {
        let mut text = value.to_string();
        text.push('\n');
        // Who does not read for so long is not there.
        let written = timeout(Duration::from_secs(30), self.to.write_all(text.as_bytes())).await;
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// One piece of a longer answer.
    pub(crate) async fn item(&mut self, item: Value) -> Result<()> {
        let written = self.line(&json!({ "item": item })).await;
        written.map_err(|error| Failure::internal("answer", &error))
    }
}

/// Serves until told to stop. The socket file of a service that died is replaced: who holds the store may.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(manager: &Manager, stop: CancellationToken, ready: impl FnOnce()) -> Result<()> {
    let path = socket(&manager.state());
    let failed =
        |error: io::Error| Failure::internal(&format!("listen on `{}`", path.display()), &error);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    ready();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let manager = manager.clone();
                    tokio::spawn(async move {
                        if let Err(error) = connection(&manager, stream).await {
                            tracing::debug!(%error, "a client went away");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = stop.cancelled() => {
                // A next service would replace it anyway.
                let _ = std::fs::remove_file(&path);
                return Ok(());
            }
        }
    }
}

async fn connection(manager: &Manager, stream: UnixStream) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let (from, to) = stream.into_split();
    let mut answer = Answer { to };
    let mut from = BufReader::new(from);
    if peer.uid() != 0 && peer.uid() != rustix::process::geteuid().as_raw() {
        let mut denied = Failure::refused("only root and the user of the service may ask");
        denied.status = 403;
        return answer.line(&json!({ "error": denied })).await;
    }
    let mut line = Vec::new();
    let read = timeout(PATIENCE, (&mut from).take(REQUEST).read_until(b'\n', &mut line)).await;
    if read.is_err() || !line.ends_with(b"\n") {
        let wrong = Failure::invalid(format!(
            "no request: one line of at most {REQUEST} bytes within {} s",
            PATIENCE.as_secs()
        ));
        return answer.line(&json!({ "error": wrong })).await;
    }
    let result = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => verbs::perform(manager, request, &mut from, &mut answer, peer.uid()).await,
        Err(error) => Err(Failure::invalid(format!("no request: {error}"))),
    };
    let last = match result {
        Ok(value) => json!({ "result": value }),
        Err(failure) => json!({ "error": failure }),
    };
    answer.line(&last).await
}
