//! Operations: what was asked for, how far it is, how it ended.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event as Message, Sse};
use futures_util::Stream;
use tokio::sync::mpsc;
use vnode_operation::{OperationId, Status, Summary};

use super::event::{hand, sse, told};
use super::stream::room;
use crate::error::{Code, Problem};
use crate::message::Ended;
use crate::state::Api;

/// Operations that run and those that ended lately, newest first.
#[utoipa::path(get, path = "/v1/operations", tag = "operations",
    responses((status = 200, body = [serde_json::Value])))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<Vec<Summary>>, Problem> {
    Ok(Json(api.host.operations().list().await?))
}

/// One operation with its steps.
#[utoipa::path(get, path = "/v1/operations/{id}", tag = "operations", params(("id" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Status>, Problem> {
    Ok(Json(api.host.operations().status(parse(&id)?).await?))
}

/// Follows an operation: `progress` messages with its summary, at last one `ended` with how it ended.
#[utoipa::path(get, path = "/v1/operations/{id}/follow", tag = "operations", params(("id" = String, Path)),
    responses((status = 200, description = "`text/event-stream`", body = Ended), (status = 404, body = Problem)))]
pub(crate) async fn follow(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Problem> {
    let id = parse(&id)?;
    let permit = room(&api)?;
    let mut summaries = api.host.operations().follow(id).await?;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let _permit = permit;
        let pumped = async {
            let end = loop {
                match summaries.next().await {
                    Some(last) if last.state.is_ended() => {
                        let outcome = summaries.outcome();
                        break told("ended", &Ended::new(Summary::clone(&last), outcome.as_ref()));
                    }
                    Some(summary) => {
                        if !hand(&sender, told("progress", &*summary)).await {
                            return;
                        }
                    }
                    // The engine stopped.
                    None => match api.host.operations().status(id).await {
                        Ok(status) => break told("ended", &Ended::from(status)),
                        Err(error) => break told("problem", &Problem::from(error)),
                    },
                }
            };
            hand(&sender, end).await;
        };
        tokio::select! {
            () = pumped => {}
            () = api.stop.cancelled() => {}
            () = sender.closed() => {}
        }
    });
    Ok(sse(receiver))
}

/// Asks an operation to stop and to undo what it did.
#[utoipa::path(post, path = "/v1/operations/{id}/cancel", tag = "operations", params(("id" = String, Path)),
    responses((status = 202, description = "it will end; follow it"), (status = 404, body = Problem),
        (status = 409, description = "it has ended", body = Problem)))]
pub(crate) async fn cancel(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    api.host.operations().cancel(parse(&id)?).await?;
    Ok(StatusCode::ACCEPTED)
}

fn parse(id: &str) -> Result<OperationId, Problem> {
    id.parse().map_err(|error: _| {
        Problem::from_error(Code::NotFound, &error)
            .in_front(format!("no operation `{id}`"))
            .hint("`vnode op ls` lists them")
    })
}
