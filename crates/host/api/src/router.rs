//! All routes with their limits, and the document that describes them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use vnode_idle::Busy;

use crate::error::{Code, Problem};
use crate::metrics::Metrics;
use crate::routes::{
    agent, event, image, lab, link, list, machine, node, operation, readiness, snapshot, stream,
    timeline, token,
};
use crate::serve::Peer;
use crate::state::Api;
use crate::token::Tokens;

/// Largest body of an ordinary request, bytes.
const SMALL_BODY: usize = 256 * 1024;
/// Largest body with a topology in it, bytes.
const TOPOLOGY_BODY: usize = 8 << 20;
/// Time of a request that only looks or begins something.
const SHORT: Duration = Duration::from_secs(30);
/// Time of a request that does something before it answers.
const LONG: Duration = Duration::from_secs(300);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "vnode",
        version = "1",
        description = "Labs of virtual nodes on one host.\n\nOver the unix socket only root is let in. \
            Over TCP every request carries `Authorization: Bearer TOKEN`.\n\nErrors have one form, \
            `Problem`. Long work answers 202 with an operation. A node is named `NODE` where that is \
            unique on the host, else `LAB%2FNODE`.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem)),
    tags(
        (name = "labs"), (name = "nodes"), (name = "links"), (name = "images"), (name = "lists"),
        (name = "operations"), (name = "events"), (name = "machine"), (name = "tokens")
    )
)]
struct Document;

fn all() -> OpenApiRouter<Api> {
    // Answers at once, or begins something and answers.
    let short = OpenApiRouter::new()
        .routes(routes!(lab::list))
        .routes(routes!(lab::show, lab::down))
        .routes(routes!(timeline::show))
        .routes(routes!(timeline::change))
        .routes(routes!(node::list, node::create))
        .routes(routes!(node::show, node::destroy))
        .routes(routes!(node::inspect))
        .routes(routes!(node::stats))
        .routes(routes!(snapshot::list))
        .routes(routes!(snapshot::take, snapshot::remove))
        .routes(routes!(snapshot::restore))
        .routes(routes!(node::boot))
        .routes(routes!(node::halt))
        .routes(routes!(node::reboot))
        .routes(routes!(link::list))
        .routes(routes!(operation::list))
        .routes(routes!(operation::show))
        .routes(routes!(operation::cancel))
        .routes(routes!(image::list))
        .routes(routes!(image::pull))
        .routes(routes!(image::import))
        .routes(routes!(list::list))
        .routes(routes!(list::show, list::unsubscribe))
        .routes(routes!(list::message))
        .routes(routes!(list::endorsers, list::endorser_add))
        .routes(routes!(list::endorser_remove))
        .routes(routes!(list::link, list::unlink))
        .routes(routes!(list::images, list::select))
        .routes(routes!(list::work, list::last))
        .routes(routes!(list::events))
        .routes(routes!(list::retry))
        .routes(routes!(list::settings, list::set_settings))
        .routes(routes!(token::list, token::create))
        .routes(routes!(token::remove))
        .routes(routes!(machine::health))
        .routes(routes!(machine::version))
        .routes(routes!(machine::metrics))
        .routes(routes!(machine::stop))
        .layer(DefaultBodyLimit::max(SMALL_BODY))
        .layer(from_fn(|request: Request, next: Next| within(SHORT, request, next)));
    // Does it before it answers.
    let long = OpenApiRouter::new()
        .routes(routes!(node::pause))
        .routes(routes!(node::resume))
        .routes(routes!(node::save, node::forget_saved))
        .routes(routes!(node::restore))
        .routes(routes!(node::screenshot))
        .routes(routes!(node::mount))
        .routes(routes!(node::unmount))
        .routes(routes!(agent::ask))
        .routes(routes!(link::set))
        .routes(routes!(link::down))
        .routes(routes!(link::up))
        .routes(routes!(link::reset))
        .routes(routes!(list::subscribe))
        .routes(routes!(list::change))
        .routes(routes!(list::migrate))
        .routes(routes!(image::remove))
        .routes(routes!(image::gc))
        .routes(routes!(machine::doctor))
        .routes(routes!(machine::clean))
        .layer(DefaultBodyLimit::max(SMALL_BODY))
        .layer(from_fn(|request: Request, next: Next| within(LONG, request, next)));
    let topology = OpenApiRouter::new()
        .routes(routes!(lab::up, lab::apply))
        .layer(DefaultBodyLimit::max(TOPOLOGY_BODY))
        .layer(from_fn(|request: Request, next: Next| within(LONG, request, next)));
    // Goes on as long as somebody reads, or writes.
    let streams = OpenApiRouter::new()
        .routes(routes!(event::stream))
        .routes(routes!(operation::follow))
        .routes(routes!(readiness::follow))
        .routes(routes!(stream::exec))
        .routes(routes!(stream::console))
        .routes(routes!(stream::logs))
        .routes(routes!(stream::capture))
        .layer(DefaultBodyLimit::max(SMALL_BODY));
    // An archive is as large as what is copied; it is never held in memory.
    let archives = OpenApiRouter::new()
        .routes(routes!(stream::copy_out, stream::copy_in))
        .layer(DefaultBodyLimit::disable());
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(short)
        .merge(long)
        .merge(topology)
        .merge(streams)
        .merge(archives)
}

/// The document that describes every route, as it is served and committed.
#[must_use]
pub fn openapi_json() -> String {
    let mut text = all().into_openapi().to_pretty_json().expect("the document has a JSON form");
    text.push('\n');
    text
}

impl Api {
    /// All routes, ready to serve.
    pub fn router(&self) -> Router {
        let (router, _) = all().split_for_parts();
        let router = router
            .route("/v1/openapi.json", get(document))
            .route("/openapi.json", get(document))
            // Where scrapers look when nobody tells them otherwise.
            .route("/metrics", get(machine::metrics))
            .fallback(nowhere)
            .method_not_allowed_fallback(wrong_method)
            .with_state(self.clone())
            // ETSI's own paths, errors and documents: not in ours.
            .merge(self.functions.router());
        let door = Door {
            tokens: Arc::clone(&self.tokens),
            metrics: Arc::clone(&self.metrics),
            busy: Arc::clone(&self.busy),
        };
        guarded(router, door)
    }
}

/// The door before all routes.
fn guarded(router: Router, door: Door) -> Router {
    router.layer(from_fn_with_state(door, admit))
}

/// What the door needs to know.
#[derive(Clone)]
struct Door {
    tokens: Arc<Tokens>,
    metrics: Arc<Metrics>,
    busy: Arc<Busy>,
}

async fn document() -> Response {
    // Made when asked for: kept, it would be memory that an idle daemon has no use for.
    ([(CONTENT_TYPE, "application/json")], openapi_json()).into_response()
}

async fn nowhere(request: Request) -> Problem {
    Problem::new(Code::NotFound, format!("no route `{}`", request.uri().path()))
        .hint("GET `/v1/openapi.json` describes all routes")
}

async fn wrong_method(request: Request) -> Response {
    let text = format!("`{}` takes no {}", request.uri().path(), request.method());
    let problem =
        Problem::new(Code::Usage, text).hint("GET `/v1/openapi.json` describes all routes");
    (axum::http::StatusCode::METHOD_NOT_ALLOWED, axum::Json(problem)).into_response()
}

/// Lets in who may: over TCP only with a token. Counts the answers. A stream that somebody follows is no work once it
/// has begun.
async fn admit(
    State(door): State<Door>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let _work = door.busy.enter();
    let allowed = match peer {
        Peer::Unix { .. } => true,
        Peer::Tcp(_) => {
            let text = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
            let bearer = text(AUTHORIZATION.as_str())
                .and_then(|value| value.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| token);
            // OpenStack's clients know no other way to show one (`--os-auth-type admin_token`).
            let token = bearer.or_else(|| text("x-auth-token"));
            token.is_some_and(|token| door.tokens.allows(token.trim()))
        }
    };
    let response = if allowed {
        tracing::debug!(method = %request.method(), path = request.uri().path(), "request");
        next.run(request).await
    } else {
        tracing::warn!(?peer, "request refused: no valid token");
        Problem::new(Code::Unauthorized, "a valid token is needed")
            .hint(
                "`vnode token create NAME` on the daemon's host makes one; send it with `--token`",
            )
            .into_response()
    };
    door.metrics.answered(response.status().as_u16());
    response
}

/// Ends a request that takes too long. What it began as an operation goes on.
async fn within(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Code::Deadline, "the request took too long")
            .cause(format!("no answer within {} s", limit.as_secs()))
            .hint("`vnode op ls` shows what it began")
            .into_response(),
    }
}

#[cfg(test)]
mod tests;
