//! `vnode image`, as far as it is about signed lists.

mod args;
mod endorser;
mod print;
mod settings;

use std::collections::BTreeSet;
use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};
use vnode_api::message::{
    Accepted, ImageSelection, ListChange, ListImages, ListSubscribe, Migrate,
};
use vnode_api::{Code, Problem};
use vnode_imagelist::site::{Request, Summary};

use self::args::{absolute, address};
pub(crate) use self::{args::Command, endorser::pairs};
use crate::client::{Client, segment};
use crate::{Context, Result};

pub(crate) async fn run(command: Command, mut client: Client, context: &Context) -> Result {
    match command {
        Command::Subscribe { uri, auto_endorse, want, all, change } => {
            let mut change = change.message()?;
            if all && change.new_images.is_none() {
                change.new_images = Some("subscribe".to_owned());
            }
            let wants = all || !want.is_empty();
            let request =
                ListSubscribe { uri: address(&uri)?, auto_endorse, want, want_all: all, change };
            let done: Option<Value> = client.call(Method::POST, "/v1/lists", &request).await?;
            let done = done.unwrap_or_default();
            if !context.output.json {
                let text = |key: &str| done[key].as_str().unwrap_or_default().to_owned();
                context.output.line(&format!("{}  {}", text("identifier"), text("title")))?;
            }
            if wants {
                let request = Request { refresh: false, ..Request::default() };
                return work(client, &request, context).await;
            }
            if context.output.json {
                context.output.json(&done)?;
            } else {
                context
                    .output
                    .note("`vnode image listed` shows its images, `vnode image want` fetches");
            }
            Ok(0)
        }
        Command::Unsubscribe { list } => {
            for list in &list {
                client.done(Method::DELETE, &format!("/v1/lists/{}", segment(list))).await?;
            }
            let request = Request { refresh: false, download: false, ..Request::default() };
            work(client, &request, context).await
        }
        Command::Lists => print::lists(&client.get("/v1/lists").await?, context),
        Command::Configure { list, change } => {
            patch(client, &list, &change.message()?, context).await
        }
        Command::Pause { list } => {
            let change = ListChange { paused: Some(true), ..ListChange::default() };
            patch(client, &list, &change, context).await
        }
        Command::Resume { list } => {
            let change = ListChange { paused: Some(false), ..ListChange::default() };
            patch(client, &list, &change, context).await
        }
        Command::Endorser { command } => endorser::run(command, client, context).await,
        Command::Refresh { list, check } => {
            work(client, &Request { list, check, ..Request::default() }, context).await
        }
        Command::Listed => print::listed(&client.get("/v1/list-images").await?, context),
        Command::Want { image, list } => {
            let wish = |identifier: &String| ImageSelection {
                list: list.clone(),
                identifier: Some(identifier.clone()),
                sha512: None,
            };
            let wanted =
                ListImages { images: image.iter().map(wish).collect(), ..ListImages::default() };
            select(&mut client, &wanted, &image).await?;
            let only = Some(image.into_iter().collect::<BTreeSet<_>>());
            let request = Request { refresh: false, only, ..Request::default() };
            work(client, &request, context).await
        }
        Command::Expire { image } => {
            if !image.is_empty() {
                let wish = |identifier: &String| ImageSelection {
                    identifier: Some(identifier.clone()),
                    ..ImageSelection::default()
                };
                let unwanted = ListImages {
                    images: image.iter().map(wish).collect(),
                    subscribed: Some(false),
                    admitted: None,
                };
                select(&mut client, &unwanted, &image).await?;
            }
            let request = Request { refresh: false, download: false, ..Request::default() };
            work(client, &request, context).await
        }
        Command::Accept { list, image } => {
            let one =
                ImageSelection { list: Some(list), identifier: Some(image.clone()), sha512: None };
            let message = ListImages { images: vec![one], subscribed: None, admitted: Some(true) };
            let _: Option<Value> = client.call(Method::POST, "/v1/list-images", &message).await?;
            crate::commands::done(&image, "accept", context)
        }
        Command::Show { name } => show(&mut client, &name, context).await,
        Command::Events { retry } => {
            if retry {
                let _: Option<Value> = client.act(Method::POST, "/v1/list-events/retry").await?;
            }
            print::events(&client.get("/v1/list-events").await?, context)
        }
        Command::Settings(args) => settings::run(client, *args, context).await,
        Command::Migrate { database, cache } => {
            let path = database.strip_prefix("sqlite:///").unwrap_or(database.as_str());
            let request = Migrate {
                database: absolute(Path::new(path))?,
                cache: cache.as_deref().map(absolute).transpose()?,
            };
            let done: Option<Value> =
                client.call(Method::POST, "/v1/list-migrate", &request).await?;
            print::migrated(&done.unwrap_or_default(), context)
        }
    }
}

async fn patch(mut client: Client, list: &str, change: &ListChange, context: &Context) -> Result {
    let path = format!("/v1/lists/{}", segment(list));
    let done: Option<Value> = client.call(Method::PATCH, &path, change).await?;
    if context.output.json {
        context.output.json(&done.unwrap_or_default())?;
    }
    Ok(0)
}

async fn select(client: &mut Client, wanted: &ListImages, named: &[String]) -> Result<()> {
    let done: Option<Vec<Value>> = client.call(Method::POST, "/v1/list-images", wanted).await?;
    let done = done.unwrap_or_default();
    match named.iter().find(|name| !done.iter().any(|d| d["identifier"] == json!(name))) {
        None => Ok(()),
        Some(name) => Err(Problem::new(Code::NotFound, format!("no list has an image `{name}`"))
            .hint("`vnode image listed` shows what the lists offer")),
    }
}

/// Begins work, follows it, and tells how it ended: 3 when a list or an image failed.
pub(crate) async fn work(mut client: Client, request: &Request, context: &Context) -> Result {
    let Some((code, summary)) = worked(&mut client, request, context).await? else {
        return crate::commands::nothing("unchanged", context);
    };
    if context.output.json {
        context.output.json(&summary)?;
        return Ok(if code == 0 && summary.is_partly() { 3 } else { code });
    }
    for list in &summary.lists {
        match &list.error {
            Some(error) => context.output.note(&format!("list {}: {error}", list.list)),
            None if list.changed => context.output.line(&format!("changed {}", list.list))?,
            None => {}
        }
        for image in &list.refused {
            context.output.note(&format!(
                "list {}: new image {image} is not listed; `vnode image accept {} {image}`",
                list.list, list.list
            ));
        }
        for dropped in &list.dropped {
            context.output.note(&format!("list {}: {dropped}", list.list));
        }
    }
    for image in &summary.expired {
        context.output.line(&format!("expired {image}"))?;
    }
    for image in &summary.available {
        context.output.line(&format!("available {image}"))?;
    }
    for failed in &summary.failed {
        context.output.note(&format!("image {}: {}", failed.identifier, failed.error));
    }
    for image in &summary.unusable {
        context
            .output
            .note(&format!("no node can be made from {}: {}", image.identifier, image.why));
    }
    Ok(if code == 0 && summary.is_partly() { 3 } else { code })
}

/// Begins work and follows it; the operation's exit code, and the summary.
pub(crate) async fn worked(
    client: &mut Client,
    request: &Request,
    context: &Context,
) -> Result<Option<(u8, Summary)>> {
    let before: Option<Summary> = client.get("/v1/list-work").await?;
    let accepted: Option<Accepted> = client.call(Method::POST, "/v1/list-work", request).await?;
    let Some(accepted) = accepted else { return Ok(None) };
    // With `--json` one document is printed: the summary.
    let quiet = Context {
        global: context.global.clone(),
        output: crate::output::Output {
            json: false,
            quiet: context.output.quiet || context.output.json,
            ..context.output
        },
    };
    let follower = context.client().await?;
    let code = crate::operation::follow(follower, &accepted.operation, &quiet).await?;
    // The daemon lets go of a connection over which nothing is asked for seconds.
    *client = context.client().await?;
    let last: Option<Summary> = client.get("/v1/list-work").await?;
    // Idle work leaves the summary of the work before.
    let summary = if last == before { Summary::default() } else { last.unwrap_or_default() };
    Ok(Some((code, summary)))
}

async fn show(client: &mut Client, name: &str, context: &Context) -> Result {
    let path = format!("/v1/lists/{}", segment(name));
    match client.get::<Value>(&path).await {
        Ok(list) => {
            context.output.json(&list)?;
            return Ok(0);
        }
        Err(problem) if problem.code == Code::NotFound => {}
        Err(problem) => return Err(problem),
    }
    let images: Value = client.get("/v1/list-images").await?;
    let mut found =
        images.as_array().into_iter().flatten().filter(|i| i["identifier"] == json!(name));
    let Some(first) = found.next() else {
        return Err(Problem::new(Code::NotFound, format!("no list and no list's image `{name}`"))
            .hint("`vnode image lists` and `vnode image listed` show what there is"));
    };
    context.output.json(first)?;
    for other in found {
        context.output.json(other)?;
    }
    Ok(0)
}
