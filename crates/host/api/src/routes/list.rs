//! Signed image lists: subscriptions, endorsers, the images they offer, the work on them.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use vnode_imagelist::lists::{self, Subscribe};
use vnode_imagelist::record::{Credential, Settings as ListSettings, Subscription};
use vnode_imagelist::site::{Request, Settings, SiteError};
use vnode_imagelist::{Lists, Principal};

use super::lab::accepted;
use crate::error::{Code, Problem};
use crate::extract::Body;
use crate::message::{
    Accepted, EndorserNew, ImageSelection, ListChange, ListImages, ListSubscribe, Migrate,
};
use crate::serve::Peer;
use crate::state::Api;

type Answer = Result<Json<Value>, Problem>;

fn lists(api: &Api) -> &Lists {
    api.host.image_lists().lists()
}

fn list_problem(error: lists::Error) -> Problem {
    use lists::Error as E;
    let code = match &error {
        E::Unknown { .. } => Code::NotFound,
        E::Exists { .. } | E::SubjectTaken { .. } => Code::Conflict,
        E::EndorserId { .. } => Code::Usage,
        _ => Code::Failed,
    };
    Problem::from_error(code, &error)
}

fn site_problem(error: SiteError) -> Problem {
    match error {
        SiteError::Lists(error) => list_problem(error),
        error @ (SiteError::Settings(_) | SiteError::File { .. } | SiteError::Import(_)) => {
            Problem::from_error(Code::Usage, &error)
        }
        error @ SiteError::NotOffered { .. } => Problem::from_error(Code::NotFound, &error),
        error => Problem::from_error(Code::Failed, &error),
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(|error| Problem::from_error(Code::Internal, &error))
}

/// A subscription as it is shown: a password that came with an old database is not (W-23).
fn shown(api: &Api, subscription: &Subscription) -> Result<Value, Problem> {
    let mut value = to_json(subscription)?;
    if let Some(Credential::Stored { user, .. }) = &subscription.settings.credential {
        value["settings"]["credential"] = json!({ "stored": { "user": user } });
    }
    let now = lists(api).now();
    value["expired"] = json!(subscription.is_expired(now));
    value["ends_soon"] = json!(subscription.ends_soon(now));
    Ok(value)
}

/// Subscriptions, by the list's identifier.
#[utoipa::path(get, path = "/v1/lists", tag = "lists",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(State(api): State<Api>) -> Answer {
    let all = lists(&api).subscriptions().await.map_err(list_problem)?;
    let all: Vec<Value> = all.iter().map(|s| shown(&api, s)).collect::<Result<_, _>>()?;
    Ok(Json(Value::Array(all)))
}

/// Fetches a list, checks it, and follows it from now on.
#[utoipa::path(post, path = "/v1/lists", tag = "lists", request_body = ListSubscribe,
    responses((status = 201, body = serde_json::Value), (status = 400, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn subscribe(
    State(api): State<Api>,
    Body(request): Body<ListSubscribe>,
) -> Result<Response, Problem> {
    let settings = ListSettings::default();
    let settings = changed(settings, request.change)?;
    let wanted = Subscribe { uri: request.uri, settings, auto_endorse: request.auto_endorse };
    let subscription = lists(&api).subscribe(&wanted).await.map_err(list_problem)?;
    let list = &subscription.identifier;
    if request.want_all || !request.want.is_empty() {
        let images = lists(&api).images(Some(list)).await.map_err(list_problem)?;
        for image in images {
            if request.want_all || request.want.contains(&image.identifier) {
                lists(&api).select(list, &image.identifier, true).await.map_err(list_problem)?;
            }
        }
    }
    Ok((StatusCode::CREATED, Json(shown(&api, &subscription)?)).into_response())
}

/// One subscription, with the images of the list in force.
#[utoipa::path(get, path = "/v1/lists/{list}", tag = "lists",
    params(("list" = String, Path, description = "identifier of the list")),
    responses((status = 200, body = serde_json::Value), (status = 404, body = Problem)))]
pub(crate) async fn show(State(api): State<Api>, Path(list): Path<String>) -> Answer {
    let subscription = lists(&api).subscription(&list).await.map_err(list_problem)?;
    let mut value = shown(&api, &subscription)?;
    let latest = lists(&api).latest(&list).await.map_err(list_problem)?;
    value["latest"] = to_json(&latest.map(|latest| latest.list))?;
    Ok(Json(value))
}

/// Changes what the site chose for a list. A new policy for new images is applied to the list in force at once.
#[utoipa::path(patch, path = "/v1/lists/{list}", tag = "lists", request_body = ListChange,
    params(("list" = String, Path, description = "identifier of the list")),
    responses((status = 200, body = serde_json::Value), (status = 404, body = Problem)))]
pub(crate) async fn change(
    State(api): State<Api>,
    Path(list): Path<String>,
    Body(change): Body<ListChange>,
) -> Answer {
    let subscription = lists(&api).subscription(&list).await.map_err(list_problem)?;
    let settings = changed(subscription.settings, change)?;
    let report = lists(&api).configure(&list, settings).await.map_err(list_problem)?;
    let new: Vec<&str> = report.new_images.iter().map(|i| i.identifier.as_str()).collect();
    Ok(Json(json!({ "list": list, "new": new, "refused": report.refused })))
}

fn changed(mut settings: ListSettings, change: ListChange) -> Result<ListSettings, Problem> {
    let read = |value: Value| {
        serde_json::from_value(value).map_err(|error| {
            Problem::from_error(Code::Usage, &error)
                .in_front("`new-images` is none of `refuse`, `accept`, `subscribe`")
        })
    };
    if let Some(policy) = change.new_images {
        settings.new_images = read(Value::String(policy))?;
    }
    if let Some(path) = change.credential_file {
        if !path.is_empty() && !path.starts_with('/') {
            return Err(Problem::new(Code::Usage, "a credential file's path must be absolute"));
        }
        settings.credential = (!path.is_empty()).then(|| Credential::File(path.into()));
    }
    if let Some(path) = change.key_file {
        if !path.is_empty() && !path.starts_with('/') {
            return Err(Problem::new(Code::Usage, "a key file's path must be absolute"));
        }
        settings.key = (!path.is_empty()).then(|| path.into());
    }
    if let Some((user, password)) = change.credential {
        settings.credential = Some(Credential::Stored { user, password });
    }
    settings.paused = change.paused.unwrap_or(settings.paused);
    settings.enforce_expiry = change.enforce_expiry.unwrap_or(settings.enforce_expiry);
    settings.follow_list_uri = change.follow_list_uri.unwrap_or(settings.follow_list_uri);
    settings.rules.allow_sha1 = change.allow_sha1.unwrap_or(settings.rules.allow_sha1);
    settings.rules.allow_any_eku = change.allow_any_eku.unwrap_or(settings.rules.allow_any_eku);
    settings.rules.strict_version = change.strict_version.unwrap_or(settings.rules.strict_version);
    Ok(settings)
}

/// Stops following a list; its images are withdrawn by the next work.
#[utoipa::path(delete, path = "/v1/lists/{list}", tag = "lists",
    params(("list" = String, Path, description = "identifier of the list")),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn unsubscribe(
    State(api): State<Api>,
    Path(list): Path<String>,
) -> Result<StatusCode, Problem> {
    if !lists(&api).remove(&list).await.map_err(list_problem)? {
        let text = format!("there is no subscription `{list}`");
        return Err(Problem::new(Code::NotFound, text));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The last accepted message of a list, as its endorser signed it: to be served to other sites.
#[utoipa::path(get, path = "/v1/lists/{list}/message", tag = "lists",
    params(("list" = String, Path, description = "identifier of the list")),
    responses((status = 200, content_type = "multipart/signed"), (status = 404, body = Problem)))]
pub(crate) async fn message(
    State(api): State<Api>,
    Path(list): Path<String>,
) -> Result<Response, Problem> {
    let latest = lists(&api).latest(&list).await.map_err(list_problem)?;
    let Some(latest) = latest else {
        let text = format!("there is no message of a list `{list}`");
        return Err(Problem::new(Code::NotFound, text));
    };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], latest.message).into_response())
}

/// Those who may sign lists.
#[utoipa::path(get, path = "/v1/list-endorsers", tag = "lists",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn endorsers(State(api): State<Api>) -> Answer {
    Ok(Json(to_json(&lists(&api).endorsers().await.map_err(list_problem)?)?))
}

/// Makes an endorser of certificates' subjects and issuers.
#[utoipa::path(post, path = "/v1/list-endorsers", tag = "lists", request_body = EndorserNew,
    responses((status = 204), (status = 409, body = Problem)))]
pub(crate) async fn endorser_add(
    State(api): State<Api>,
    Body(request): Body<EndorserNew>,
) -> Result<StatusCode, Problem> {
    let principals =
        request.principals.into_iter().map(|(subject, issuer)| Principal::new(subject, issuer));
    lists(&api).create_endorser(&request.id, principals.collect()).await.map_err(list_problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes an endorser and its links.
#[utoipa::path(delete, path = "/v1/list-endorsers/{endorser}", tag = "lists",
    params(("endorser" = String, Path, description = "id of the endorser")),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn endorser_remove(
    State(api): State<Api>,
    Path(endorser): Path<String>,
) -> Result<StatusCode, Problem> {
    if !lists(&api).delete_endorser(&endorser).await.map_err(list_problem)? {
        let text = format!("there is no endorser `{endorser}`");
        return Err(Problem::new(Code::NotFound, text));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Lets an endorser sign a subscription's list.
#[utoipa::path(put, path = "/v1/list-endorsers/{endorser}/lists/{list}", tag = "lists",
    params(("endorser" = String, Path, description = "id of the endorser"),
        ("list" = String, Path, description = "identifier of the list")),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn link(
    State(api): State<Api>,
    Path((endorser, list)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    lists(&api).link(&endorser, &list, true).await.map_err(list_problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// No longer lets an endorser sign a subscription's list.
#[utoipa::path(delete, path = "/v1/list-endorsers/{endorser}/lists/{list}", tag = "lists",
    params(("endorser" = String, Path, description = "id of the endorser"),
        ("list" = String, Path, description = "identifier of the list")),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn unlink(
    State(api): State<Api>,
    Path((endorser, list)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    lists(&api).link(&endorser, &list, false).await.map_err(list_problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Images of all followed lists: what is offered, wanted, and here.
#[utoipa::path(get, path = "/v1/list-images", tag = "lists",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn images(State(api): State<Api>) -> Answer {
    Ok(Json(to_json(&api.host.image_lists().views().await.map_err(site_problem)?)?))
}

/// Wants images, or no longer; lists or forgets images that a policy refused. Answers those that there were.
#[utoipa::path(post, path = "/v1/list-images", tag = "lists", request_body = ListImages,
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn select(State(api): State<Api>, Body(request): Body<ListImages>) -> Answer {
    let mut done = Vec::new();
    if let Some(admitted) = request.admitted {
        for ImageSelection { list, identifier, .. } in &request.images {
            let (Some(list), Some(identifier)) = (list, identifier) else {
                let text = "to list or forget an image its list and identifier are needed";
                return Err(Problem::new(Code::Usage, text));
            };
            if lists(&api).admit(list, identifier, admitted).await.map_err(list_problem)? {
                done.push(json!({ "list": list, "identifier": identifier }));
            }
        }
        return Ok(Json(Value::Array(done)));
    }
    let subscribed = request.subscribed.unwrap_or(true);
    for image in lists(&api).images(None).await.map_err(list_problem)? {
        let chosen = request.images.iter().any(|wish| {
            wish.list.as_ref().is_none_or(|list| *list == image.list)
                && wish.identifier.as_ref().is_none_or(|id| *id == image.identifier)
                && wish.sha512.as_ref().is_none_or(|hash| {
                    image.latest.as_ref().is_some_and(|i| i.sha512.eq_ignore_ascii_case(hash))
                })
                && (wish.identifier.is_some() || wish.sha512.is_some() || wish.list.is_some())
        });
        if chosen
            && lists(&api)
                .select(&image.list, &image.identifier, subscribed)
                .await
                .map_err(list_problem)?
        {
            done.push(json!({ "list": image.list, "identifier": image.identifier }));
        }
    }
    Ok(Json(Value::Array(done)))
}

/// Begins work on the lists: asks whether they changed, withdraws and fetches images. The body is a request as
/// `docs/reference/imagelist.md` describes it.
#[utoipa::path(post, path = "/v1/list-work", tag = "lists", request_body = serde_json::Value,
    responses((status = 202, body = Accepted), (status = 400, body = Problem)))]
pub(crate) async fn work(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<Request>,
) -> Result<Response, Problem> {
    if request.handler.is_some() || request.subscription_handler.is_some() {
        local(peer)?;
    }
    Ok(accepted(api.host.image_lists_work(request).await?))
}

/// How the last work ended that did something; `null` before the first.
#[utoipa::path(get, path = "/v1/list-work", tag = "lists",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn last(State(api): State<Api>) -> Answer {
    Ok(Json(to_json(&api.host.image_lists().last().await.map_err(site_problem)?)?))
}

/// What handlers and publishers were not told yet.
#[utoipa::path(get, path = "/v1/list-events", tag = "lists",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn events(State(api): State<Api>) -> Answer {
    let site = api.host.image_lists();
    let events = site
        .queue()
        .undelivered()
        .await
        .map_err(|error| Problem::from_error(Code::Failed, &error))?;
    let publishers = site
        .publishers()
        .waiting()
        .await
        .map_err(|error| Problem::from_error(Code::Failed, &error))?;
    Ok(Json(json!({ "handler": to_json(&events)?, "publishers": to_json(&publishers)? })))
}

/// Offers what was given up again.
#[utoipa::path(post, path = "/v1/list-events/retry", tag = "lists",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn retry(State(api): State<Api>) -> Answer {
    Ok(Json(json!({ "offered": api.host.image_lists().retry().await.map_err(site_problem)? })))
}

/// What the site chose for all its lists.
#[utoipa::path(get, path = "/v1/list-settings", tag = "lists",
    responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn settings(State(api): State<Api>) -> Answer {
    Ok(Json(to_json(&api.host.image_lists().settings())?))
}

/// Chooses anew for all lists; handlers only over the unix socket, for they are commands on this host.
#[utoipa::path(put, path = "/v1/list-settings", tag = "lists", request_body = serde_json::Value,
    responses((status = 204), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(crate) async fn set_settings(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Body(settings): Body<Settings>,
) -> Result<StatusCode, Problem> {
    let site = api.host.image_lists();
    let before = site.settings();
    if settings.handler != before.handler
        || settings.subscription_handler != before.subscription_handler
    {
        local(peer)?;
    }
    site.set_settings(settings).await.map_err(site_problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes over a vmcatcher installation of the daemon's host.
#[utoipa::path(post, path = "/v1/list-migrate", tag = "lists", request_body = Migrate,
    responses((status = 200, body = serde_json::Value), (status = 400, body = Problem)))]
pub(crate) async fn migrate(State(api): State<Api>, Body(request): Body<Migrate>) -> Answer {
    let cache = request.cache.as_ref().map(std::path::PathBuf::from);
    let (imported, adopted) = api
        .host
        .image_lists()
        .migrate(std::path::Path::new(&request.database), cache.as_deref())
        .await
        .map_err(site_problem)?;
    Ok(Json(json!({
        "endorsers": imported.endorsers,
        "subscriptions": imported.subscriptions,
        "images": imported.images,
        "cached": adopted,
        "notes": imported.notes,
    })))
}

fn local(peer: Peer) -> Result<(), Problem> {
    match peer {
        Peer::Unix { .. } => Ok(()),
        Peer::Tcp(_) => Err(Problem::new(
            Code::Forbidden,
            "an event handler is a command on this host; it can be set only from this host",
        )),
    }
}
