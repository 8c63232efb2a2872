//! `/subscriptions`: who is told of what (`vnf.md` 6.5).

use axum::Json;
use axum::extract::{Extension, OriginalUri, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::body::Body;
use super::list;
use super::package::id;
use super::version::Version;
use crate::notify;
use crate::problem::Problem;
use crate::records::{Basic, Subscription};
use crate::service::{Edit, MOST, Nfv, new_id};
use crate::view;

pub(super) async fn list(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let state = nfv.inner.state.lock().await;
    let views = state.subscriptions.values().map(|s| view::subscription(s, version.word()));
    list::page(uri.path(), &query, views, nfv.inner.options.page, &["id", "callbackUri", "_links"])
}

pub(super) async fn create(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    body: Body,
) -> Result<Response, Problem> {
    let callback = body.needed("callbackUri")?.to_owned();
    if !callback.starts_with("http://") && !callback.starts_with("https://") {
        return Err(Problem::at("/callbackUri", "a callback is an http or https address"));
    }
    let short = match body.get("verbosity") {
        Some(_) => body.word("verbosity", &["FULL", "SHORT"])? == "SHORT",
        None => false,
    };
    let subscription = Subscription {
        id: new_id(),
        callback,
        filter: Value::Object(body.map("filter")?),
        basic: basic(&body)?,
        short,
        version: version.word().to_owned(),
    };
    let http = nfv.inner.notifier.http()?;
    notify::answers(&http, &subscription.callback, subscription.basic.as_ref())
        .await
        .map_err(|why| Problem::unprocessable(format!("the callback is not taken: {why}")))?;
    let mut state = nfv.inner.state.lock().await;
    if state.subscriptions.len() >= MOST {
        return Err(Problem::conflict(format!("there are {MOST} subscriptions; delete some")));
    }
    nfv.edit(&mut state, vec![Edit::Subscription(subscription.clone())]).await?;
    nfv.inner.notifier.subscribe(subscription.clone())?;
    let location = format!("/vnflcm/{}/subscriptions/{}", version.word(), subscription.id);
    let view = view::subscription(&subscription, version.word());
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// SOL013's `SubscriptionAuthentication`, of which BASIC is known.
fn basic(body: &Body) -> Result<Option<Basic>, Problem> {
    let Some(asked) = body.get("authentication") else { return Ok(None) };
    let types = asked["authType"].as_array().cloned().unwrap_or_default();
    if types.iter().any(|t| t != "BASIC") || types.is_empty() {
        return Err(Problem::at("/authentication/authType", "only BASIC is known here"));
    }
    let word = |name: &str| asked["paramsBasic"][name].as_str().map(str::to_owned);
    match (word("userName"), word("password")) {
        (Some(user), Some(password)) => Ok(Some(Basic { user, password })),
        _ => {
            Err(Problem::at("/authentication/paramsBasic", "`userName` and `password` are needed"))
        }
    }
}

pub(super) async fn show(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(subscription): Path<String>,
) -> Result<Response, Problem> {
    let wanted = id(&subscription)?;
    let state = nfv.inner.state.lock().await;
    let found = state.subscriptions.get(&wanted);
    let found =
        found.ok_or_else(|| Problem::not_found(format!("there is no subscription `{wanted}`")))?;
    Ok(Json(view::subscription(found, version.word())).into_response())
}

pub(super) async fn delete(
    State(nfv): State<Nfv>,
    Path(subscription): Path<String>,
) -> Result<StatusCode, Problem> {
    let wanted = id(&subscription)?;
    let mut state = nfv.inner.state.lock().await;
    if !state.subscriptions.contains_key(&wanted) {
        return Err(Problem::not_found(format!("there is no subscription `{wanted}`")));
    }
    nfv.edit(&mut state, vec![Edit::NoSubscription(wanted)]).await?;
    nfv.inner.notifier.unsubscribe(wanted);
    Ok(StatusCode::NO_CONTENT)
}
