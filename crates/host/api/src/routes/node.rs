//! Nodes: the lifecycle operations, and what is known of them.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use vnode_lifecycle::request::Create;
use vnode_lifecycle::view::{NodeView, StatsView};

use super::lab::{accepted, accepted_or_absent};
use crate::error::Problem;
use crate::extract::{Body, Params};
use crate::message::{Accepted, DestroyParams, HaltParams, Mounted, OfLab, RebootParams};
use crate::shape;
use crate::state::Api;

/// Nodes of this host.
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes", params(OfLab),
    responses((status = 200, body = [shape::NodeView])))]
pub(crate) async fn list(State(api): State<Api>, Params(of): Params<OfLab>) -> Json<Vec<NodeView>> {
    Json(api.host.nodes(of.lab.as_deref()).await)
}

/// Begins to make a node that stands alone.
#[utoipa::path(post, path = "/v1/nodes", tag = "nodes", request_body = shape::Create,
    responses((status = 202, body = Accepted), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(api): State<Api>,
    Body(request): Body<Create>,
) -> Result<Response, Problem> {
    Ok(super::lab::accepted_or_absent(api.host.create(request).await?))
}

/// One node. Asking has no side effect.
#[utoipa::path(get, path = "/v1/nodes/{node}", tag = "nodes",
    params(("node" = String, Path, description = "`NODE` where unique on the host, else `LAB%2FNODE`")),
    responses((status = 200, body = shape::NodeView), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, Problem> {
    Ok(Json(api.host.node(&node).await?))
}

/// One node with its interfaces, resolved definition and limits.
#[utoipa::path(get, path = "/v1/nodes/{node}/inspect", tag = "nodes", params(("node" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = Problem)))]
pub(crate) async fn inspect(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Json<serde_json::Value>, Problem> {
    Ok(Json(api.host.inspect(&node).await?))
}

/// What a node uses of processor, memory and processes.
#[utoipa::path(get, path = "/v1/nodes/{node}/stats", tag = "nodes", params(("node" = String, Path)),
    responses((status = 200, body = shape::StatsView), (status = 404, body = Problem),
        (status = 409, description = "the node has no monitor", body = Problem)))]
pub(crate) async fn stats(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Json<StatsView>, Problem> {
    Ok(Json(api.host.stats(&node).await?))
}

/// Begins to boot a node. A running one is left as it is.
#[utoipa::path(post, path = "/v1/nodes/{node}/boot", tag = "nodes", params(("node" = String, Path)),
    responses((status = 202, body = Accepted), (status = 409, body = Problem)))]
pub(crate) async fn boot(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Response, Problem> {
    Ok(accepted(api.host.boot(&node).await?))
}

/// Begins to halt a node: asks, and kills after the grace. A node that is not there is no error.
#[utoipa::path(post, path = "/v1/nodes/{node}/halt", tag = "nodes",
    params(("node" = String, Path), HaltParams),
    responses((status = 202, body = Accepted), (status = 204, description = "no such node"),
        (status = 409, body = Problem)))]
pub(crate) async fn halt(
    State(api): State<Api>,
    Path(node): Path<String>,
    Params(params): Params<HaltParams>,
) -> Result<Response, Problem> {
    let grace = params.grace_ms.map(Duration::from_millis);
    Ok(accepted_or_absent(api.host.halt(&node, grace).await?))
}

/// Begins to reboot a node; its namespace, links and addresses stay.
#[utoipa::path(post, path = "/v1/nodes/{node}/reboot", tag = "nodes",
    params(("node" = String, Path), RebootParams),
    responses((status = 202, body = Accepted), (status = 409, body = Problem)))]
pub(crate) async fn reboot(
    State(api): State<Api>,
    Path(node): Path<String>,
    Params(params): Params<RebootParams>,
) -> Result<Response, Problem> {
    Ok(accepted(api.host.reboot(&node, params.hard).await?))
}

/// Begins to destroy a node and its disk. A node that is not there is no error.
#[utoipa::path(delete, path = "/v1/nodes/{node}", tag = "nodes",
    params(("node" = String, Path), DestroyParams),
    responses((status = 202, body = Accepted), (status = 204, description = "no such node")))]
pub(crate) async fn destroy(
    State(api): State<Api>,
    Path(node): Path<String>,
    Params(params): Params<DestroyParams>,
) -> Result<Response, Problem> {
    Ok(accepted_or_absent(api.host.destroy(&node, params.force).await?))
}

/// Stops a node's processes where they are.
#[utoipa::path(post, path = "/v1/nodes/{node}/pause", tag = "nodes", params(("node" = String, Path)),
    responses((status = 204), (status = 409, body = Problem)))]
pub(crate) async fn pause(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<StatusCode, Problem> {
    api.host.pause(&node).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a paused node go on.
#[utoipa::path(post, path = "/v1/nodes/{node}/resume", tag = "nodes", params(("node" = String, Path)),
    responses((status = 204), (status = 409, body = Problem)))]
pub(crate) async fn resume(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<StatusCode, Problem> {
    api.host.resume(&node).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins to keep a machine's memory with its disk and to end it; the next boot goes on from there.
#[utoipa::path(post, path = "/v1/nodes/{node}/save", tag = "nodes", params(("node" = String, Path)),
    responses((status = 202, body = Accepted), (status = 409, body = Problem),
        (status = 422, description = "the node is no machine", body = Problem)))]
pub(crate) async fn save(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Response, Problem> {
    Ok(accepted(api.host.save(&node).await?))
}

/// Throws a machine's saved memory away; idempotent.
#[utoipa::path(delete, path = "/v1/nodes/{node}/save", tag = "nodes", params(("node" = String, Path)),
    responses((status = 204), (status = 422, description = "the node is no machine", body = Problem)))]
pub(crate) async fn forget_saved(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<StatusCode, Problem> {
    api.host.forget_saved(&node).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins to boot a machine from the memory that was saved. As `boot`, but nothing else will do.
#[utoipa::path(post, path = "/v1/nodes/{node}/restore", tag = "nodes", params(("node" = String, Path)),
    responses((status = 202, body = Accepted),
        (status = 409, description = "nothing was saved", body = Problem),
        (status = 422, description = "the node is no machine", body = Problem)))]
pub(crate) async fn restore(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Response, Problem> {
    Ok(accepted(api.host.restore_saved(&node).await?))
}

/// A running machine's screen.
#[utoipa::path(get, path = "/v1/nodes/{node}/screenshot", tag = "nodes", params(("node" = String, Path)),
    responses((status = 200, description = "PNG", content_type = "image/png"),
        (status = 409, body = Problem),
        (status = 422, description = "the node has no screen", body = Problem)))]
pub(crate) async fn screenshot(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Response, Problem> {
    let picture = api.host.screenshot(&node).await?;
    Ok(([(axum::http::header::CONTENT_TYPE, "image/png")], picture).into_response())
}

/// Mounts a stopped node's root on the host. Repeating gives the same folder.
#[utoipa::path(post, path = "/v1/nodes/{node}/mount", tag = "nodes", params(("node" = String, Path)),
    responses((status = 200, body = Mounted), (status = 409, body = Problem)))]
pub(crate) async fn mount(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Json<Mounted>, Problem> {
    let path = api.host.mount(&node).await?;
    Ok(Json(Mounted { path: path.to_string_lossy().into_owned() }))
}

/// The inverse of `mount`; idempotent.
#[utoipa::path(post, path = "/v1/nodes/{node}/unmount", tag = "nodes", params(("node" = String, Path)),
    responses((status = 204), (status = 409, body = Problem)))]
pub(crate) async fn unmount(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<StatusCode, Problem> {
    api.host.unmount(&node).await?;
    Ok(StatusCode::NO_CONTENT)
}
