//! What a node's agent is asked.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use vnode_lifecycle::request::AgentCommand;

use crate::error::Problem;
use crate::extract::Body;
use crate::shape;
use crate::state::Api;

/// Asks a node's agent, and gives its answer. Programs are run through it by `exec` with `through: agent`.
#[utoipa::path(post, path = "/v1/nodes/{node}/agent", tag = "nodes", params(("node" = String, Path)),
    request_body = shape::AgentCommand,
    responses((status = 200, description = "as the command has it", body = Object),
        (status = 404, body = Problem),
        (status = 409, description = "the node does not run or has no agent", body = Problem),
        (status = 504, description = "the agent does not answer", body = Problem)))]
pub(crate) async fn ask(
    State(api): State<Api>,
    Path(node): Path<String>,
    Body(command): Body<AgentCommand>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(api.host.agent(&node, command).await?))
}
