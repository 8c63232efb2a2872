//! The daemon and its machine: version, health, metrics, doctor, clean, stop.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use vnode_lifecycle::request;
use vnode_lifecycle::view::{Check, Cleaned};

use super::token::local;
use crate::error::Problem;
use crate::extract::Params;
use crate::message::{CleanParams, Version};
use crate::serve::Peer;
use crate::shape;
use crate::state::{Api, MAX_STREAMS};

/// Grows with every addition to the API; each has a line in `docs/reference/api-extensions.md`.
pub(crate) const API_LEVEL: u32 = 7;

/// Answers when the daemon answers at all.
#[utoipa::path(get, path = "/v1/health", tag = "machine",
    responses((status = 200, description = "alive", body = str)))]
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// What runs here.
#[utoipa::path(get, path = "/v1/version", tag = "machine", responses((status = 200, body = Version)))]
pub(crate) async fn version(State(api): State<Api>) -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").into(),
        api: API_LEVEL,
        pid: std::process::id(),
        uptime_s: api.started.elapsed().as_secs(),
        state_dir: api.state_dir.to_string_lossy().into_owned(),
    })
}

/// Numbers in the Prometheus text form.
#[utoipa::path(get, path = "/v1/metrics", tag = "machine",
    responses((status = 200, description = "OpenMetrics text", body = str)))]
pub(crate) async fn metrics(State(api): State<Api>) -> Response {
    let counts = api.host.counts().await;
    let streams = MAX_STREAMS - api.streams.available_permits();
    let text = api.metrics.page(&counts, streams);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// What this machine can do, what not, and how to mend it.
#[utoipa::path(get, path = "/v1/doctor", tag = "machine",
    responses((status = 200, body = [shape::Check])))]
pub(crate) async fn doctor(State(api): State<Api>) -> Json<Vec<Check>> {
    Json(api.host.doctor().await)
}

/// Removes what bears our mark and belongs to nothing.
#[utoipa::path(post, path = "/v1/clean", tag = "machine", params(CleanParams),
    responses((status = 200, body = shape::Cleaned)))]
pub(crate) async fn clean(
    State(api): State<Api>,
    Params(params): Params<CleanParams>,
) -> Result<Json<Cleaned>, Problem> {
    let CleanParams { dry_run, lab } = params;
    Ok(Json(api.host.clean(request::Clean { dry_run, lab }).await?))
}

/// Stops the daemon; nodes go on. Through the unix socket only.
#[utoipa::path(post, path = "/v1/stop", tag = "machine",
    responses((status = 202, description = "stopping"), (status = 403, body = Problem)))]
pub(crate) async fn stop(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
) -> Result<StatusCode, Problem> {
    local(peer)?;
    tracing::info!("asked to stop");
    api.stop.cancel();
    Ok(StatusCode::ACCEPTED)
}
