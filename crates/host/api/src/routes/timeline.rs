//! A lab's timeline: what its `events` do to its links, and when.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::ToSchema;
use vnode_lifecycle::TimelineVerb;
use vnode_lifecycle::view::TimelineView;

use crate::error::Problem;
use crate::shape;
use crate::state::Api;

/// What can be done to a timeline.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verb {
    Pause,
    Resume,
    Stop,
    Start,
}

/// A lab's timeline.
#[utoipa::path(get, path = "/v1/labs/{lab}/timeline", tag = "labs",
    params(("lab" = String, Path, description = "its name")),
    responses((status = 200, body = shape::TimelineView), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(api): State<Api>,
    Path(lab): Path<String>,
) -> Result<Json<TimelineView>, Problem> {
    Ok(Json(api.host.timeline(&lab).await?))
}

/// Pauses the clock, resumes it, stops the timeline for good, or starts it from its beginning. What is so already
/// is no error.
#[utoipa::path(post, path = "/v1/labs/{lab}/timeline/{verb}", tag = "labs",
    params(("lab" = String, Path, description = "its name"), ("verb" = inline(Verb), Path)),
    responses((status = 200, body = shape::TimelineView), (status = 404, body = Problem),
        (status = 409, description = "it is over, stopped, or has no events", body = Problem)))]
pub(crate) async fn change(
    State(api): State<Api>,
    Path((lab, verb)): Path<(String, Verb)>,
) -> Result<Json<TimelineView>, Problem> {
    let verb = match verb {
        Verb::Pause => TimelineVerb::Pause,
        Verb::Resume => TimelineVerb::Resume,
        Verb::Stop => TimelineVerb::Stop,
        Verb::Start => TimelineVerb::Start,
    };
    Ok(Json(api.host.timeline_change(&lab, verb).await?))
}
