//! What streams: programs and consoles in a node as frames, logs, captures and archives as bodies.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE as UPGRADE_HEADER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::{ReaderStream, StreamReader};
use vnode_lifecycle::request::Exec;

use crate::error::{Code, Problem};
use crate::extract::{Body, Params};
use crate::message::{CaptureParams, FileParams, LogParams};
use crate::session;
use crate::shape;
use crate::state::Api;

/// The protocol that exec and console switch to.
pub const UPGRADE: &str = "vnode-frames";
/// Bytes of each frame captured when nobody says how many.
const SNAP_LENGTH: u32 = 262_144;
/// Largest archive taken, bytes. What it unpacks to is bounded where it is unpacked.
const MAX_ARCHIVE: u64 = 64 << 30;
/// Bytes read from a node at once.
const PIECE: usize = 64 * 1024;

/// A place among the streams that may be open at once.
pub(crate) fn room(api: &Api) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&api.streams).try_acquire_owned().map_err(|_| {
        Problem::new(Code::Unavailable, "too many streams are open")
            .hint("close some of those of `vnode exec`, `events -f`, `logs -f` and `capture`")
    })
}

/// The other half of the connection, before the body is read.
pub(crate) struct Upgrade(OnUpgrade);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _state: &S,
    ) -> Result<Self, Problem> {
        let asked = parts.headers.get(UPGRADE_HEADER).is_some_and(|value| value == UPGRADE);
        match parts.extensions.remove::<OnUpgrade>() {
            Some(upgrade) if asked => Ok(Self(upgrade)),
            _ => Err(Problem::new(Code::Usage, "this route switches protocols")
                .hint(format!("send `Connection: upgrade` and `Upgrade: {UPGRADE}`"))),
        }
    }
}

fn switching() -> Response {
    let headers = [(CONNECTION, "upgrade"), (UPGRADE_HEADER, UPGRADE)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Runs a program in a running node; the connection becomes a stream of frames.
///
/// `Connection: upgrade` and `Upgrade: vnode-frames` go with the request. A frame is one byte of kind, four
/// of length (big endian) and the payload. To the program: 1 standard input, 2 its end, 3 signal (i32),
/// 4 rows and columns (u16 each). From it: 17 standard output, 18 standard error, 19 exit (0 and code, or
/// 1 and signal; i32), 20 error (`Problem`), 35 how many bytes of output before what follows are lost
/// (`{"lost": N}`: of a program that was attached to only the last is kept). Closing the connection kills the program; one that
/// was attached to is left as it is.
#[utoipa::path(post, path = "/v1/nodes/{node}/exec", tag = "nodes", request_body = shape::Exec,
    params(("node" = String, Path)),
    responses((status = 101, description = "frames follow"), (status = 404, body = Problem),
        (status = 409, description = "the node does not run", body = Problem)))]
pub(crate) async fn exec(
    State(api): State<Api>,
    Path(node): Path<String>,
    Upgrade(upgrade): Upgrade,
    Body(request): Body<Exec>,
) -> Result<Response, Problem> {
    let permit = room(&api)?;
    if request.argv.is_empty() == request.attach.is_none() {
        let text = match request.attach {
            None => "there is no program to run",
            Some(_) => "who attaches to a program names no other to run",
        };
        return Err(Problem::new(Code::Usage, text));
    }
    let exec = api.host.exec(&node, request).await?;
    tokio::spawn(async move {
        let _permit = permit;
        match upgrade.await {
            // A program that is not detached dies with `exec` when the daemon stops or the client goes.
            Ok(stream) => tokio::select! {
                () = session::exec(TokioIo::new(stream), exec) => {}
                () = api.stop.cancelled() => {}
            },
            Err(error) => tracing::debug!(%error, "a client went before its program ran"),
        }
    });
    Ok(switching())
}

/// Attaches to a node's console; the connection becomes a stream of frames, as for exec.
#[utoipa::path(post, path = "/v1/nodes/{node}/console", tag = "nodes", params(("node" = String, Path)),
    responses((status = 101, description = "frames follow"), (status = 404, body = Problem),
        (status = 409, description = "the node does not run", body = Problem)))]
pub(crate) async fn console(
    State(api): State<Api>,
    Path(node): Path<String>,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Problem> {
    let permit = room(&api)?;
    let console = api.host.console(&node).await?;
    tokio::spawn(async move {
        let _permit = permit;
        match upgrade.await {
            Ok(stream) => {
                let resize =
                    async |rows, columns| Ok(api.host.console_resize(&node, rows, columns).await?);
                tokio::select! {
                    () = session::console(TokioIo::new(stream), console, resize) => {}
                    () = api.stop.cancelled() => {}
                }
            }
            Err(error) => tracing::debug!(%error, "a client went before it saw the console"),
        }
    });
    Ok(switching())
}

/// What a node's first process printed.
#[utoipa::path(get, path = "/v1/nodes/{node}/logs", tag = "nodes",
    params(("node" = String, Path), LogParams),
    responses((status = 200, description = "bytes as they were printed", body = str),
        (status = 404, body = Problem)))]
pub(crate) async fn logs(
    State(api): State<Api>,
    Path(node): Path<String>,
    Params(params): Params<LogParams>,
) -> Result<Response, Problem> {
    let permit = room(&api)?;
    let reader = api.host.logs(&node, params.follow, params.tail_bytes).await?;
    Ok(streamed("text/plain; charset=utf-8", reader, &api, permit))
}

/// Frames of a node's interface as pcap, as they pass.
#[utoipa::path(get, path = "/v1/nodes/{node}/capture", tag = "nodes",
    params(("node" = String, Path), CaptureParams),
    responses((status = 200, description = "pcap", content_type = "application/vnd.tcpdump.pcap"),
        (status = 404, body = Problem)))]
pub(crate) async fn capture(
    State(api): State<Api>,
    Path(node): Path<String>,
    Params(params): Params<CaptureParams>,
) -> Result<Response, Problem> {
    let permit = room(&api)?;
    let length = params.snap_length.unwrap_or(SNAP_LENGTH).clamp(1, SNAP_LENGTH);
    let reader = api.host.capture(&node, &params.interface, length).await?;
    Ok(streamed("application/vnd.tcpdump.pcap", reader, &api, permit))
}

/// A file or folder of a node as a tar archive.
#[utoipa::path(get, path = "/v1/nodes/{node}/files", tag = "nodes",
    params(("node" = String, Path), FileParams),
    responses((status = 200, description = "tar", content_type = "application/x-tar"),
        (status = 404, body = Problem)))]
pub(crate) async fn copy_out(
    State(api): State<Api>,
    Path(node): Path<String>,
    Params(params): Params<FileParams>,
) -> Result<Response, Problem> {
    let permit = room(&api)?;
    let reader = api.host.copy_out(&node, &params.path, params.agent).await?;
    Ok(streamed("application/x-tar", reader, &api, permit))
}

/// Unpacks a tar archive into a folder of a node. Nothing is written outside the node's root.
#[utoipa::path(put, path = "/v1/nodes/{node}/files", tag = "nodes",
    params(("node" = String, Path), FileParams),
    request_body(content_type = "application/x-tar", description = "tar"),
    responses((status = 204), (status = 404, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn copy_in(
    State(api): State<Api>,
    Path(node): Path<String>,
    Params(params): Params<FileParams>,
    headers: HeaderMap,
    request: Request,
) -> Result<StatusCode, Problem> {
    let _permit = room(&api)?;
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > MAX_ARCHIVE) {
        return Err(too_large());
    }
    let mut left = MAX_ARCHIVE;
    let pieces = request.into_body().into_data_stream().map_err(std::io::Error::other);
    let pieces = pieces.map(move |piece| {
        let piece = piece?;
        left = left
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| std::io::Error::other("the archive is too large"))?;
        Ok::<_, std::io::Error>(piece)
    });
    let tar = Box::pin(StreamReader::new(pieces));
    api.host.copy_in(&node, &params.path, tar, params.agent).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn too_large() -> Problem {
    Problem::new(Code::TooLarge, format!("the archive is larger than {MAX_ARCHIVE} bytes"))
}

/// A body that ends with its reader or with the daemon. It is read only as fast as the client reads.
fn streamed(
    kind: &'static str,
    reader: vnode_lifecycle::Reader,
    api: &Api,
    permit: OwnedSemaphorePermit,
) -> Response {
    let stop = api.stop.clone().cancelled_owned();
    let pieces = ReaderStream::with_capacity(reader, PIECE).take_until(stop).map(move |piece| {
        // The place among the streams goes with the body.
        let _held = &permit;
        piece
    });
    ([(CONTENT_TYPE, kind)], HttpBody::from_stream(pieces)).into_response()
}
