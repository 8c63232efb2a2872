//! `vmcatcher_subscribe`

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};
use vnode_api::Code;
use vnode_api::message::{ImageSelection, ListChange, ListImages, ListSubscribe};
use vnode_imagelist::site::Request;

use super::{Common, Daemon, End, Format, Result, line, one_of, text};
use crate::client::{Client, segment};
use crate::commands::image::worked;

/// Follows signed image lists
#[derive(Debug, Parser)]
#[command(name = "vmcatcher_subscribe", version)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Follow the list at this address; may be repeated
    #[arg(short, long, value_name = "URL")]
    subscribe: Vec<String>,
    /// Trust whoever signed it
    #[arg(short = 'e', long = "auto-endorse", visible_alias = "create-endorser")]
    auto_endorse: bool,
    /// Ask whether the lists changed
    #[arg(short = 'U', long)]
    update: bool,
    /// List subscriptions
    #[arg(short, long)]
    list: bool,
    /// Show subscriptions
    #[arg(short, long)]
    info: bool,
    /// Stop following
    #[arg(short = 'D', long)]
    delete: bool,
    /// Subscriptions by identifier; may be repeated
    #[arg(short, long, value_name = "ID")]
    uuid: Vec<String>,
    /// Subscriptions by address; may be repeated
    #[arg(short = 'r', long, value_name = "URI")]
    uri: Vec<String>,
    /// List the images a subscription knows
    #[arg(long)]
    image_list: bool,
    /// List an image of a subscription
    #[arg(long, value_name = "ID")]
    image_accept: Vec<String>,
    /// Forget an image of a subscription
    #[arg(long, value_name = "ID")]
    image_refuse: Vec<String>,
    /// Tell of images that are new in a list
    #[arg(long)]
    imagelist_newimage_refuse: bool,
    /// List images that are new in a list
    #[arg(long)]
    imagelist_newimage_accept: bool,
    /// List and keep images that are new in a list
    #[arg(long)]
    imagelist_newimage_subscribe: bool,
    /// Server certificates are verified always; `igtf` and `browser` and `none` are taken
    #[arg(long, value_enum, value_name = "ANCHOR")]
    uri_trustanchor_set: Option<Anchor>,
    /// User for the list's server
    #[arg(long, value_name = "USER")]
    uri_username_set: Option<String>,
    #[arg(long)]
    uri_username_clear: bool,
    /// Password for the list's server
    #[arg(long, value_name = "PASSWORD")]
    uri_password_set: Option<String>,
    #[arg(long)]
    uri_password_clear: bool,
    /// Form of what is shown
    #[arg(short, long, value_enum, env = "VMCATCHER_OUTPUT_FORMAT", default_value = "lines")]
    format: Format,
    /// Output files, one for each subscription shown
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// Command that is told of images that are new in a list
    #[arg(short = 'x', long, value_name = "COMMAND", env = "VMCATCHER_SUB_EVENT")]
    execute: Option<String>,
    /// Trust folder
    #[arg(short, long, value_name = "FOLDER", env = "VMCATCHER_DIR_CERT")]
    cert_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Anchor {
    None,
    Browser,
    Igtf,
}

pub(crate) async fn run(args: Args, daemon: Daemon) -> Result {
    args.common.check()?;
    let policy = [
        (args.imagelist_newimage_refuse, "refuse"),
        (args.imagelist_newimage_accept, "accept"),
        (args.imagelist_newimage_subscribe, "subscribe"),
    ];
    let credential = args.uri_username_set.is_some()
        || args.uri_password_set.is_some()
        || args.uri_username_clear
        || args.uri_password_clear;
    let chosen =
        policy.iter().any(|(given, _)| *given) || args.uri_trustanchor_set.is_some() || credential;
    let subscribing = !args.subscribe.is_empty();
    one_of(&[
        subscribing,
        args.update,
        args.list,
        args.info,
        args.delete,
        args.image_list,
        !args.image_accept.is_empty(),
        !args.image_refuse.is_empty(),
        // With a subscription these go along.
        chosen && !subscribing,
    ])?;
    if !args.uuid.is_empty() && !args.uri.is_empty() {
        return Err(End::usage("give subscriptions by identifier or by address, not both"));
    }
    daemon.trust(args.cert_dir.as_deref()).await?;
    let mut client = daemon.client().await?;
    let new_images = policy.iter().find(|(given, _)| *given).map(|(_, name)| (*name).to_owned());
    if args.update {
        return update(&args, &daemon, &mut client).await;
    }
    if subscribing {
        let mut code = 0;
        for url in &args.subscribe {
            let (uri, inside) = without_credential(url);
            let given = args.uri_username_set.clone().map(|user| {
                (user, args.uri_password_set.clone().unwrap_or_else(|| "x-oauth-basic".into()))
            });
            let request = ListSubscribe {
                uri,
                auto_endorse: args.auto_endorse,
                change: ListChange {
                    new_images: new_images.clone(),
                    credential: given.or(inside),
                    ..ListChange::default()
                },
                ..ListSubscribe::default()
            };
            let done: std::result::Result<Option<Value>, _> =
                client.call(Method::POST, "/v1/lists", &request).await;
            if let Err(problem) = done {
                let end = End::from(problem);
                args.common.say(&end.text);
                // A list that fails a check ends with 1, one that cannot be fetched with 10 (W-12).
                code = if end.code == 10 { 10 } else { 1 };
            }
        }
        return Ok(code);
    }
    let all: Value = client.get("/v1/lists").await?;
    let selected: Vec<&Value> = all
        .as_array()
        .into_iter()
        .flatten()
        .filter(|list| {
            args.list
                || args.uuid.contains(&text(&list["identifier"]))
                || args.uri.contains(&text(&list["uri"]))
        })
        .collect();
    if !args.list && args.uuid.is_empty() && args.uri.is_empty() {
        return Err(End::usage("give a subscription with -u or -r"));
    }
    let mut outputs = args.output.iter();
    for list in selected {
        let id = text(&list["identifier"]);
        let path = format!("/v1/lists/{}", segment(&id));
        if args.list {
            line(&format!("{id}\tTrue\tIGTF\t{}", text(&list["uri"])))?;
        } else if args.delete {
            client.done(Method::DELETE, &path).await?;
        } else if args.info {
            let shown = info(args.format, list, &mut client).await?;
            match outputs.next() {
                Some(file) => std::fs::write(file, shown)
                    .map_err(|error| End::usage(format!("{}: {error}", file.display())))?,
                None => line(shown.trim_end_matches('\n'))?,
            }
        } else if args.image_list {
            let images: Value = client.get("/v1/list-images").await?;
            for image in images.as_array().into_iter().flatten().filter(|i| i["list"] == json!(id))
            {
                line(&text(&image["identifier"]))?;
            }
        } else if chosen {
            let credential = credential_of(&args, list);
            let change = ListChange {
                new_images: new_images.clone(),
                credential_file: (args.uri_username_clear || args.uri_password_clear)
                    .then(String::new),
                credential,
                ..ListChange::default()
            };
            let done: Option<Value> = client.call(Method::PATCH, &path, &change).await?;
            deliver(&args, &daemon, &mut client, &id).await?;
            let refused =
                done.is_some_and(|d| d["refused"].as_array().is_some_and(|r| !r.is_empty()));
            if refused {
                return Ok(32);
            }
        } else {
            let admitted = !args.image_accept.is_empty();
            let images = if admitted { &args.image_accept } else { &args.image_refuse };
            let one = |identifier: &String| ImageSelection {
                list: Some(id.clone()),
                identifier: Some(identifier.clone()),
                sha512: None,
            };
            let request = ListImages {
                images: images.iter().map(one).collect(),
                subscribed: None,
                admitted: Some(admitted),
            };
            let _: Option<Value> = client.call(Method::POST, "/v1/list-images", &request).await?;
        }
    }
    Ok(0)
}

/// Asks all lists; ends with the code of the last that failed.
async fn update(args: &Args, daemon: &Daemon, client: &mut Client) -> Result {
    let request = Request {
        cache: false,
        subscription_handler: args.execute.as_deref().map(super::cache::handler),
        ..Request::default()
    };
    let Some((_, summary)) = worked(client, &request, &daemon.context).await? else {
        return Ok(0);
    };
    let mut code = 0;
    for list in &summary.lists {
        if let Some(error) = &list.error {
            args.common.say(&format!("{}: {error}", list.list));
        }
        for image in &list.refused {
            args.common.say(&format!("{}: new image refused: {image}", list.list));
        }
        if list.same_version {
            args.common.say(&format!("{}: another list of the same version was taken", list.list));
        }
        if list.exit_code != 0 {
            code = list.exit_code;
        }
    }
    Ok(code)
}

/// Tells the handler of images that a new policy brought.
async fn deliver(args: &Args, daemon: &Daemon, client: &mut Client, list: &str) -> Result<()> {
    let Some(command) = &args.execute else { return Ok(()) };
    let request = Request {
        list: Some(list.to_owned()),
        cache: false,
        subscription_handler: Some(super::cache::handler(command)),
        ..Request::default()
    };
    worked(client, &request, &daemon.context).await?;
    Ok(())
}

fn credential_of(args: &Args, list: &Value) -> Option<(String, String)> {
    if args.uri_username_set.is_none() && args.uri_password_set.is_none() {
        return None;
    }
    let known = text(&list["settings"]["credential"]["stored"]["user"]);
    let user = args.uri_username_set.clone().unwrap_or(known);
    // AppDB's tokens go in as user name.
    let password = args.uri_password_set.clone().unwrap_or_else(|| "x-oauth-basic".to_owned());
    Some((user, password))
}

/// `https://user:password@host/` in two.
fn without_credential(url: &str) -> (String, Option<(String, String)>) {
    let split = || {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (inside, host) = rest[..end].rsplit_once('@')?;
        let (user, password) = inside.split_once(':').unwrap_or((inside, "x-oauth-basic"));
        let uri = format!("{scheme}://{host}{}", &rest[end..]);
        Some((uri, (user.to_owned(), password.to_owned())))
    };
    match split() {
        Some((uri, credential)) => (uri, Some(credential)),
        None => (url.to_owned(), None),
    }
}

async fn info(format: Format, list: &Value, client: &mut Client) -> Result<String> {
    let id = text(&list["identifier"]);
    Ok(match format {
        Format::Smime | Format::Message => {
            let message = client.bytes(&format!("/v1/lists/{}/message", segment(&id))).await;
            let message = match message {
                Ok(message) => message,
                Err(problem) if problem.code == Code::NotFound => return Ok(String::new()),
                Err(problem) => return Err(problem.into()),
            };
            if format == Format::Smime {
                String::from_utf8_lossy(&message).into_owned()
            } else {
                let parts = vnode_imagelist::envelope::split(&message)
                    .map_err(|error| End::usage(error.to_string()))?;
                let Some(content) = parts.content else {
                    return Err(End::usage("its content is inside the signature; take `-f SMIME`"));
                };
                String::from_utf8_lossy(&content).into_owned()
            }
        }
        Format::Json => list.to_string(),
        Format::Lines => {
            let current = &list["current"];
            [
                ("subscription.dc:identifier", text(&list["identifier"])),
                ("subscription.dc:description", text(&list["description"])),
                ("subscription.sl:authorised", "True".to_owned()),
                ("subscription.hv:uri", text(&list["uri"])),
                ("imagelist.dc:date:imported", text(&current["imported"])),
                ("imagelist.dc:date:created", text(&current["created"])),
                ("imagelist.dc:date:expires", text(&current["expires"])),
                ("imagelist.hv:version", text(&current["version"])),
                ("imagelist.endorser.hv:dn", text(&current["signer"]["subject"])),
                ("imagelist.endorser.hv:ca", text(&current["signer"]["issuer"])),
            ]
            .map(|(key, value)| format!("{key}={value}"))
            .join("\n")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::without_credential;

    #[test]
    fn a_password_in_an_address_is_taken_out() {
        let (uri, credential) = without_credential("https://bob:se:cret@lists.example.org/a@b");
        assert_eq!(uri, "https://lists.example.org/a@b");
        assert_eq!(credential, Some(("bob".into(), "se:cret".into())));
        let (_, token) = without_credential("https://token@lists.example.org/");
        assert_eq!(token, Some(("token".into(), "x-oauth-basic".into())));
        assert_eq!(without_credential("file:///a@b").1, None);
    }
}
