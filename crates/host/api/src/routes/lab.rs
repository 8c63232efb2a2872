//! Labs: up, apply, down, and what there is.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use vnode_lifecycle::request;
use vnode_lifecycle::view::LabView;

use crate::error::Problem;
use crate::extract::{Body, Params};
use crate::message::{Accepted, Applied, DownParams, DryRun, Topology};
use crate::shape;
use crate::state::Api;
use crate::topology;

/// Labs of this host.
#[utoipa::path(get, path = "/v1/labs", tag = "labs",
    responses((status = 200, body = [shape::LabView])))]
pub(crate) async fn list(State(api): State<Api>) -> Json<Vec<LabView>> {
    Json(api.host.labs().await)
}

/// One lab with its nodes and links.
#[utoipa::path(get, path = "/v1/labs/{lab}", tag = "labs",
    params(("lab" = String, Path, description = "its name")),
    responses((status = 200, body = shape::LabView), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(api): State<Api>,
    Path(lab): Path<String>,
) -> Result<Json<LabView>, Problem> {
    Ok(Json(api.host.lab(&lab).await?))
}

/// Begins to bring a lab up from the text of a topology file.
#[utoipa::path(post, path = "/v1/labs", tag = "labs", request_body = Topology,
    responses((status = 202, body = Accepted), (status = 409, body = Problem),
        (status = 422, description = "the topology has errors; `details` say where", body = Problem)))]
pub(crate) async fn up(
    State(api): State<Api>,
    Body(topology): Body<Topology>,
) -> Result<Response, Problem> {
    let (request, warnings) = topology::request(topology).await?;
    let operation = api.host.up(request).await?.to_string();
    Ok((StatusCode::ACCEPTED, Json(Accepted { operation, warnings })).into_response())
}

/// Begins to make a lab what its topology says: only the difference.
#[utoipa::path(put, path = "/v1/labs", tag = "labs", request_body = Topology, params(DryRun),
    responses((status = 200, description = "nothing to do, or `dry_run`", body = Applied),
        (status = 202, body = Applied), (status = 422, body = Problem)))]
pub(crate) async fn apply(
    State(api): State<Api>,
    Params(params): Params<DryRun>,
    Body(topology): Body<Topology>,
) -> Result<Response, Problem> {
    let (request, warnings) = topology::request(topology).await?;
    let (changes, operation) = api.host.apply(request, params.dry_run).await?;
    let operation = operation.map(|operation| operation.to_string());
    let status = if operation.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(Applied { changes, operation, warnings })).into_response())
}

/// Begins to take a lab down. A lab that is not there is no error.
#[utoipa::path(delete, path = "/v1/labs/{lab}", tag = "labs",
    params(("lab" = String, Path, description = "its name"), DownParams),
    responses((status = 202, body = Accepted), (status = 204, description = "no such lab")))]
pub(crate) async fn down(
    State(api): State<Api>,
    Path(lab): Path<String>,
    Params(params): Params<DownParams>,
) -> Result<Response, Problem> {
    let request = request::Down { graceful: params.graceful };
    let operation = api.host.down(&lab, request).await?;
    Ok(accepted_or_absent(operation))
}

/// 202 with the operation, or 204 where there was nothing to do it to.
pub(crate) fn accepted_or_absent(operation: Option<vnode_operation::OperationId>) -> Response {
    match operation {
        Some(operation) => accepted(operation),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// 202 with the operation.
pub(crate) fn accepted(operation: vnode_operation::OperationId) -> Response {
    let body = Accepted { operation: operation.to_string(), warnings: vec![] };
    (StatusCode::ACCEPTED, Json(body)).into_response()
}
