//! `/vnf_lcm_op_occs` (`vnf.md` 6.5).

use axum::Json;
use axum::extract::{Extension, OriginalUri, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::body::Body;
use super::list;
use super::package::id;
use super::version::Version;
use crate::lifecycle::Decision;
use crate::problem::Problem;
use crate::service::Nfv;
use crate::view;

/// Members that no selector takes away.
const ALWAYS: &[&str] = &[
    "id",
    "operationState",
    "stateEnteredTime",
    "startTime",
    "vnfInstanceId",
    "operation",
    "_links",
];

pub(super) async fn list(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let all = nfv.occurrences().await;
    let views = all.iter().map(|occurrence| view::occurrence(occurrence, version.word()));
    list::page(uri.path(), &query, views, nfv.inner.options.page, ALWAYS)
}

pub(super) async fn show(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(occurrence): Path<String>,
) -> Result<Response, Problem> {
    let occurrence = nfv.occurrence(id(&occurrence)?).await?;
    Ok(Json(view::occurrence(&occurrence, version.word())).into_response())
}

pub(super) async fn retry(
    State(nfv): State<Nfv>,
    Path(occurrence): Path<String>,
) -> Result<StatusCode, Problem> {
    nfv.decide(id(&occurrence)?, Decision::Retry).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn rollback(
    State(nfv): State<Nfv>,
    Path(occurrence): Path<String>,
) -> Result<StatusCode, Problem> {
    nfv.decide(id(&occurrence)?, Decision::Rollback).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn fail(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(occurrence): Path<String>,
) -> Result<Response, Problem> {
    let occurrence = nfv.give_up(id(&occurrence)?).await?;
    Ok(Json(view::occurrence(&occurrence, version.word())).into_response())
}

pub(super) async fn cancel(
    State(nfv): State<Nfv>,
    Path(occurrence): Path<String>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let mode = body.word("cancelMode", &["GRACEFUL", "FORCEFUL"])?;
    nfv.cancel(id(&occurrence)?, mode == "FORCEFUL").await?;
    Ok(StatusCode::ACCEPTED)
}
