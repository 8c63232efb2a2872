//! Links and what they do to frames.

use axum::Json;
use axum::extract::{Path, State};
use vnode_lifecycle::request::LinkSet;
use vnode_lifecycle::view::LinkView;

use crate::error::Problem;
use crate::extract::{Body, Params};
use crate::message::OfLab;
use crate::shape;
use crate::state::Api;

type Answer = Result<Json<LinkView>, Problem>;

/// Links with their declared and current impairments.
#[utoipa::path(get, path = "/v1/links", tag = "links", params(OfLab),
    responses((status = 200, body = [shape::LinkView])))]
pub(crate) async fn list(
    State(api): State<Api>,
    Params(of): Params<OfLab>,
) -> Result<Json<Vec<LinkView>>, Problem> {
    Ok(Json(api.host.links(of.lab.as_deref()).await?))
}

/// Changes the named impairments and keeps the others.
#[utoipa::path(patch, path = "/v1/links/{link}", tag = "links", request_body = shape::LinkSet,
    params(("link" = String, Path, description = "`a:eth1--b:eth1`, a LAN's name, or one end; `LAB%2F...` where not unique")),
    responses((status = 200, body = shape::LinkView), (status = 404, body = Problem),
        (status = 422, description = "this kernel cannot do it", body = Problem)))]
pub(crate) async fn set(
    State(api): State<Api>,
    Path(link): Path<String>,
    Body(request): Body<LinkSet>,
) -> Answer {
    Ok(Json(api.host.link_set(&link, request).await?))
}

/// Lets nothing through until `up`.
#[utoipa::path(post, path = "/v1/links/{link}/down", tag = "links",
    params(("link" = String, Path)), responses((status = 200, body = shape::LinkView)))]
pub(crate) async fn down(State(api): State<Api>, Path(link): Path<String>) -> Answer {
    Ok(Json(api.host.link_down(&link).await?))
}

/// Lets frames through again, with the impairments remembered.
#[utoipa::path(post, path = "/v1/links/{link}/up", tag = "links",
    params(("link" = String, Path)), responses((status = 200, body = shape::LinkView)))]
pub(crate) async fn up(State(api): State<Api>, Path(link): Path<String>) -> Answer {
    Ok(Json(api.host.link_up(&link).await?))
}

/// Back to the impairments the topology declares.
#[utoipa::path(post, path = "/v1/links/{link}/reset", tag = "links",
    params(("link" = String, Path)), responses((status = 200, body = shape::LinkView)))]
pub(crate) async fn reset(State(api): State<Api>, Path(link): Path<String>) -> Answer {
    Ok(Json(api.host.link_reset(&link).await?))
}
