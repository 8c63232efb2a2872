//! How far a node has come, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event as Message, Sse};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::IntoParams;
use vnode_lifecycle::{Level, Readiness};

use super::event::{hand, sse, told};
use super::stream::room;
use crate::error::{Code, Problem};
use crate::extract::Params;
use crate::message::Reached;
use crate::state::Api;

/// What is waited for, and how long.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadinessParams {
    /// The last level wanted: `accepted`, `created`, `started`, `reachable` or `ready`.
    #[serde(default = "ready")]
    #[param(value_type = String, required = false)]
    pub until: Level,
    /// Milliseconds until the wait is over; none: no deadline.
    pub time_ms: Option<u64>,
}

fn ready() -> Level {
    Level::Ready
}

/// Tells each level as the node reaches it, up to the one wanted: messages `level`. A node that fails or ends, and a
/// deadline that passes, end the stream with a `problem`.
#[utoipa::path(get, path = "/v1/nodes/{node}/readiness", tag = "nodes",
    params(("node" = String, Path), ReadinessParams),
    responses((status = 200, description = "`text/event-stream`", body = Reached), (status = 404, body = Problem)))]
pub(crate) async fn follow(
    State(api): State<Api>,
    Path(node): Path<String>,
    Params(params): Params<ReadinessParams>,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Problem> {
    let permit = room(&api)?;
    let levels = api.host.readiness(&node).await?;
    let (sender, receiver) = mpsc::channel(Level::ALL.len() + 1);
    tokio::spawn(async move {
        let _permit = permit;
        tokio::select! {
            () = tell(node, levels, params, &sender) => {}
            () = api.stop.cancelled() => {}
            () = sender.closed() => {}
        }
    });
    Ok(sse(receiver))
}

async fn tell(
    node: String,
    mut levels: Readiness,
    params: ReadinessParams,
    sender: &mpsc::Sender<Message>,
) {
    let mut last = None;
    let reached = async {
        loop {
            let level = match levels.next().await {
                Ok(level) => level,
                Err(error) => {
                    hand(sender, told("problem", &Problem::from(error))).await;
                    return;
                }
            };
            last = Some(level);
            let reached = Reached { node: node.clone(), level: level.as_str().to_owned() };
            if !hand(sender, told("level", &reached)).await || level >= params.until {
                return;
            }
        }
    };
    let Some(limit) = params.time_ms.map(Duration::from_millis) else { return reached.await };
    if tokio::time::timeout(limit, reached).await.is_err() {
        let (wanted, is) = (params.until.as_str(), last.map_or("not there", Level::as_str));
        let text =
            format!("node `{node}` is {is} and not {wanted} after {} s", limit.as_secs_f64());
        let problem = Problem::new(Code::Deadline, text)
            .hint(format!("`vnode inspect {node}` and `vnode logs {node}` tell what it does"));
        hand(sender, told("problem", &problem)).await;
    }
}
