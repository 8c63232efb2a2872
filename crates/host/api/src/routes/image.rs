//! Images in the catalogue.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::lab::accepted;
use crate::error::{Code, Problem};
use crate::extract::{Body, Params};
use crate::message::{Accepted, GcParams, Import, Pull, Removed};
use crate::state::Api;

/// Images, with the nodes that use each.
#[utoipa::path(get, path = "/v1/images", tag = "images",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<serde_json::Value>, Problem> {
    Ok(Json(api.host.images().await?))
}

/// Begins to bring an image in from a registry.
#[utoipa::path(post, path = "/v1/images/pull", tag = "images", request_body = Pull,
    responses((status = 202, body = Accepted), (status = 400, body = Problem)))]
pub(crate) async fn pull(
    State(api): State<Api>,
    Body(request): Body<Pull>,
) -> Result<Response, Problem> {
    Ok(accepted(api.host.image_pull(&request.image).await?))
}

/// Begins to bring an archive of the daemon's host in.
#[utoipa::path(post, path = "/v1/images/import", tag = "images", request_body = Import,
    responses((status = 202, body = Accepted), (status = 400, body = Problem)))]
pub(crate) async fn import(
    State(api): State<Api>,
    Body(request): Body<Import>,
) -> Result<Response, Problem> {
    if !request.path.starts_with('/') {
        let text = format!("cannot import `{}`: the path is not absolute", request.path);
        return Err(Problem::new(Code::Usage, text));
    }
    Ok(accepted(api.host.image_import(&request.path, &request.name).await?))
}

/// Removes an image that no node uses.
#[utoipa::path(delete, path = "/v1/images/{image}", tag = "images",
    params(("image" = String, Path, description = "reference or digest, `/` as `%2F`")),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn remove(
    State(api): State<Api>,
    Path(image): Path<String>,
) -> Result<StatusCode, Problem> {
    api.host.image_remove(&image).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes images that nobody used for a time.
#[utoipa::path(post, path = "/v1/images/gc", tag = "images", params(GcParams),
    responses((status = 200, body = Removed)))]
pub(crate) async fn gc(
    State(api): State<Api>,
    Params(params): Params<GcParams>,
) -> Result<Json<Removed>, Problem> {
    let removed = api.host.image_gc(Duration::from_secs(params.unused_s)).await?;
    Ok(Json(Removed { removed }))
}
