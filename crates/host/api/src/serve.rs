//! Listening, admitting and ending connections.
//!
//! Over the unix socket only this daemon's own user and root are let in; over TCP every connection is
//! TLS and every request carries a bearer token. [`Api::serve`] returns after its token is cancelled and
//! the connections have ended: idle ones at once, streams by their own watch on the same token,
//! the rest after [`GRACE`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time running requests get when the daemon stops.
pub const GRACE: Duration = Duration::from_secs(5);
/// Time to send a request's head, and to finish the TLS handshake.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Connections at once over each kind of listener; further ones wait in the backlog.
const MAX_CONNECTIONS: usize = 512;

/// Who sent a request; an extension of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process of this host.
    Unix { uid: u32 },
    /// Somebody over TLS, who has to show a token.
    Tcp(SocketAddr),
}

/// What to listen on. At least one of the two.
#[derive(Debug, Default)]
pub struct Listeners {
    pub unix: Vec<std::os::unix::net::UnixListener>,
    pub tcp: Vec<(std::net::TcpListener, Arc<rustls::ServerConfig>)>,
}

/// Serves until `stop` is cancelled and connections have ended or [`GRACE`] is over.
pub async fn serve(
    router: Router,
    listeners: Listeners,
    stop: CancellationToken,
) -> io::Result<()> {
    let tasks = TaskTracker::new();
    let own = rustix::process::geteuid().as_raw();
    for listener in listeners.unix {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        tasks.spawn(accept_unix(listener, own, router.clone(), stop.clone(), tasks.clone()));
    }
    for (listener, config) in listeners.tcp {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let tls = TlsAcceptor::from(config);
        tasks.spawn(accept_tcp(listener, tls, router.clone(), stop.clone(), tasks.clone()));
    }
    stop.cancelled().await;
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "connections cut off after the grace");
    }
    Ok(())
}

async fn accept_unix(
    listener: UnixListener,
    own: u32,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Some(permit) = permit(&room, &stop).await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                refused(&error).await;
                continue;
            }
        };
        let uid = match stream.peer_cred() {
            Ok(peer) if peer.uid() == 0 || peer.uid() == own => peer.uid(),
            Ok(peer) => {
                tracing::warn!(uid = peer.uid(), "connection refused: not root");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "connection refused: its user cannot be told");
                continue;
            }
        };
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            connection(stream, Peer::Unix { uid }, router, stop).await;
            drop(permit);
        });
    }
}

async fn accept_tcp(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Some(permit) = permit(&room, &stop).await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, address) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                refused(&error).await;
                continue;
            }
        };
        let (router, stop, tls) = (router.clone(), stop.clone(), tls.clone());
        tasks.spawn(async move {
            match tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await {
                Ok(Ok(stream)) => connection(stream, Peer::Tcp(address), router, stop).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
            }
            drop(permit);
        });
    }
}

async fn permit(
    room: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<tokio::sync::OwnedSemaphorePermit> {
    tokio::select! {
        permit = Arc::clone(room).acquire_owned() => permit.ok(),
        () = stop.cancelled() => None,
    }
}

/// Out of descriptors, mostly: accepting again at once would only burn a processor.
async fn refused(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn connection<S>(stream: S, peer: Peer, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        hyper::service::Service::call(&service, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?peer, %error, "connection ended early");
    }
}
