//! Tokens of the TCP listener. Only through the unix socket: a token makes no other.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};

use crate::error::{Code, Problem};
use crate::extract::Body;
use crate::message::TokenName;
use crate::serve::Peer;
use crate::state::Api;
use crate::token::{NewToken, Token, TokenError};

/// Tokens, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens",
    responses((status = 200, body = [Token]), (status = 403, body = Problem)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Vec<Token>>, Problem> {
    local(peer)?;
    Ok(Json(api.tokens.list()))
}

/// Makes a token; the answer shows its secret, once.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = TokenName,
    responses((status = 201, body = NewToken), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<TokenName>,
) -> Result<(StatusCode, Json<NewToken>), Problem> {
    local(peer)?;
    // A clock before 1970 gives 0: the time is for people to read only.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let made = blocking(move || api.tokens.create(&request.name, now)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Forgets a token.
#[utoipa::path(delete, path = "/v1/tokens/{name}", tag = "tokens", params(("name" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn remove(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    local(peer)?;
    blocking(move || api.tokens.remove(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The list is written to disk with fsync, which is no work for the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TokenError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Problem::from),
        Err(error) => Err(Problem::from_error(Code::Internal, &error)),
    }
}

/// Refuses what only a process of this host may ask.
pub(crate) fn local(peer: Peer) -> Result<(), Problem> {
    match peer {
        Peer::Unix { .. } => Ok(()),
        Peer::Tcp(_) => {
            Err(Problem::new(Code::Forbidden, "this is done on the daemon's own host only")
                .hint("use the unix socket: run `vnode` there without `--host`"))
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let code = match &error {
            TokenError::Exists(_) => Code::Conflict,
            TokenError::Unknown(_) => Code::NotFound,
            TokenError::Name(_) => Code::Usage,
            _ => Code::Failed,
        };
        Self::from_error(code, &error)
    }
}
