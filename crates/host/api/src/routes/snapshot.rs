//! Snapshots of a node's disk.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use vnode_lifecycle::view::SnapshotView;

use super::lab::accepted;
use crate::error::Problem;
use crate::shape;
use crate::state::Api;

/// A node's snapshots, oldest first.
#[utoipa::path(get, path = "/v1/nodes/{node}/snapshots", tag = "nodes", params(("node" = String, Path)),
    responses((status = 200, body = [shape::SnapshotView]), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Json<Vec<SnapshotView>>, Problem> {
    Ok(Json(api.host.snapshots(&node).await?))
}

/// Begins to take a snapshot of a stopped node's disk, under a name that is free.
#[utoipa::path(put, path = "/v1/nodes/{node}/snapshots/{name}", tag = "nodes",
    params(("node" = String, Path), ("name" = String, Path)),
    responses((status = 202, body = crate::message::Accepted), (status = 404, body = Problem)))]
pub(crate) async fn take(
    State(api): State<Api>,
    Path((node, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    Ok(accepted(api.host.snapshot(&node, &name).await?))
}

/// Begins to make a stopped node's disk what it was when the snapshot was taken.
#[utoipa::path(post, path = "/v1/nodes/{node}/snapshots/{name}/restore", tag = "nodes",
    params(("node" = String, Path), ("name" = String, Path)),
    responses((status = 202, body = crate::message::Accepted), (status = 404, body = Problem)))]
pub(crate) async fn restore(
    State(api): State<Api>,
    Path((node, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    Ok(accepted(api.host.restore_snapshot(&node, &name).await?))
}

/// Begins to remove a snapshot. One that is not there is no error.
#[utoipa::path(delete, path = "/v1/nodes/{node}/snapshots/{name}", tag = "nodes",
    params(("node" = String, Path), ("name" = String, Path)),
    responses((status = 202, body = crate::message::Accepted), (status = 404, body = Problem)))]
pub(crate) async fn remove(
    State(api): State<Api>,
    Path((node, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    Ok(accepted(api.host.remove_snapshot(&node, &name).await?))
}
