//! `vnode image`, as far as it is about signed lists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};
use vnode_api::message::{
    Accepted, EndorserNew, ImageSelection, ListChange, ListImages, ListSubscribe, Migrate,
};
use vnode_api::{Code, Problem};
use vnode_imagelist::site::{HandlerSettings, Request, Settings, Summary};

use crate::client::{Client, segment};
use crate::output::table::Rows;
use crate::{Context, Result};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Follow a signed image list, or a tag or catalogue of a registry
    Subscribe {
        /// Where it is: http, https or file; oci://HOST/REPOSITORY:TAG for a tag, oci://HOST/PROJECT/ for a catalogue
        uri: String,
        /// Trust whoever signed it from now on
        #[arg(long)]
        auto_endorse: bool,
        /// Keep this image of it in the cache; may be repeated
        #[arg(long, value_name = "IDENTIFIER")]
        want: Vec<String>,
        /// Keep all its images in the cache, new ones too
        #[arg(long, conflicts_with = "want")]
        all: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Stop following a list; its images are withdrawn
    Unsubscribe {
        /// Identifier of the list
        #[arg(required = true)]
        list: Vec<String>,
    },
    /// List the signed lists that are followed
    Lists,
    /// Change what was chosen for a list
    Configure {
        /// Identifier of the list
        list: String,
        #[command(flatten)]
        change: Change,
    },
    /// Leave a list alone: not refreshed, its images stay
    Pause {
        /// Identifier of the list
        list: String,
    },
    /// Refresh a list again
    Resume {
        /// Identifier of the list
        list: String,
    },
    /// Who may sign lists
    Endorser {
        #[command(subcommand)]
        command: Endorser,
    },
    /// Ask whether lists changed, withdraw what ended, fetch what is wanted
    Refresh {
        /// Only this list
        list: Option<String>,
        /// Read every cached file again and compare its hash
        #[arg(long)]
        check: bool,
    },
    /// List the images that signed lists offer, and which are here
    Listed,
    /// Keep images of lists in the cache, and fetch them
    Want {
        /// Identifier of the image
        #[arg(required = true)]
        image: Vec<String>,
        /// Only of this list
        #[arg(long)]
        list: Option<String>,
    },
    /// Keep images of lists no longer, and withdraw them
    Expire {
        /// Identifier of the image; without any, only what has ended is withdrawn
        image: Vec<String>,
    },
    /// List an image that the policy for new images refused
    Accept {
        /// Identifier of the list
        list: String,
        /// Identifier of the image
        image: String,
    },
    /// Show one list, or one image of a list
    Show {
        /// Identifier
        name: String,
    },
    /// Events that a handler or a cloud was not told of yet
    Events {
        /// Offer those again that were given up
        #[arg(long)]
        retry: bool,
    },
    /// Show or change what is chosen for all lists
    Settings(Box<SettingsArgs>),
    /// Take over a vmcatcher installation
    Migrate {
        /// Its SQLite database, a path or `sqlite:///PATH`
        #[arg(long, value_name = "FILE")]
        database: String,
        /// Its cache folder; files that can be believed are moved
        #[arg(long, value_name = "FOLDER")]
        cache: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Endorser {
    /// List endorsers
    Ls,
    /// Make an endorser
    Add {
        /// Any name
        id: String,
        /// Subject of a certificate, as `openssl x509 -nameopt compat` writes it; may be repeated
        #[arg(long, required = true, value_name = "DN")]
        subject: Vec<String>,
        /// Issuer; once for all subjects, or once for each
        #[arg(long, required = true, value_name = "DN")]
        issuer: Vec<String>,
    },
    /// Remove an endorser and its links
    Rm {
        /// Its name
        id: String,
    },
    /// Let an endorser sign a list
    Link {
        /// Name of the endorser
        id: String,
        /// Identifier of the list
        list: String,
    },
    /// No longer let an endorser sign a list
    Unlink {
        /// Name of the endorser
        id: String,
        /// Identifier of the list
        list: String,
    },
}

/// What is done with images that a list did not have before.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NewImages {
    /// Tell of them
    Refuse,
    /// List them
    Accept,
    /// List and fetch them
    Subscribe,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    /// What is done with images the list did not have before
    #[arg(long, value_enum, value_name = "POLICY")]
    new_images: Option<NewImages>,
    /// File whose first line is `user:password` for the list's server; empty for none
    #[arg(long, value_name = "FILE")]
    credential: Option<PathBuf>,
    /// Public key (PEM) that artefacts of a registry must be signed with, as cosign signs; empty for none
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Withdraw expired lists and images
    #[arg(long, value_name = "BOOL")]
    enforce_expiry: Option<bool>,
    /// Fetch from where the list says it is, on the same host
    #[arg(long, value_name = "BOOL")]
    follow_list_uri: Option<bool>,
    /// Accept signatures over SHA-1
    #[arg(long, value_name = "BOOL")]
    allow_sha1: Option<bool>,
    /// Accept signers whose certificate is for servers or clients
    #[arg(long, value_name = "BOOL")]
    allow_any_eku: Option<bool>,
    /// Refuse another message of the same version
    #[arg(long, value_name = "BOOL")]
    strict_version: Option<bool>,
}

/// What is chosen for all lists; what is not given stays. Without any it is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct SettingsArgs {
    /// CA certificates, CRLs and namespaces, in IGTF's layout
    #[arg(long, value_name = "FOLDER")]
    trust: Option<PathBuf>,
    /// The cache folder
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Command that is told of the cache's events; empty for none
    #[arg(long, value_name = "COMMAND")]
    handler: Option<String>,
    /// Command that is told of images new in a list; empty for none
    #[arg(long, value_name = "COMMAND")]
    subscription_handler: Option<String>,
    /// Hours between two refreshes by the daemon; 0: only when asked
    #[arg(long, value_name = "HOURS")]
    refresh_every: Option<f64>,
    /// Proxy for http and https; empty for none
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Certificates (PEM) of servers' authorities beside the system's; empty for none
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// Ask TO first for addresses that begin with FROM; replaces the mirrors; `none` for none
    #[arg(long, value_name = "FROM=TO")]
    mirror: Vec<String>,
    /// Bytes a second for all downloads together; 0: no limit
    #[arg(long, value_name = "BYTES")]
    bandwidth: Option<u64>,
    /// Downloads at a time
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// Most bytes a packed image may unpack to
    #[arg(long, value_name = "BYTES")]
    max_virtual_size: Option<u64>,
    /// Days that withdrawn files are kept; negative: for ever
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    keep_expired: Option<i64>,
    /// Keep a tree of lists and files here, for a web server that serves them to other sites; empty for none
    #[arg(long, value_name = "FOLDER")]
    serve_tree: Option<PathBuf>,
}

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
        Command::Lists => lists(&client.get("/v1/lists").await?, context),
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
        Command::Endorser { command } => endorser(command, client, context).await,
        Command::Refresh { list, check } => {
            work(client, &Request { list, check, ..Request::default() }, context).await
        }
        Command::Listed => listed(&client.get("/v1/list-images").await?, context),
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
            events(&client.get("/v1/list-events").await?, context)
        }
        Command::Settings(args) => settings(client, *args, context).await,
        Command::Migrate { database, cache } => {
            let path = database.strip_prefix("sqlite:///").unwrap_or(database.as_str());
            let request = Migrate {
                database: absolute(Path::new(path))?,
                cache: cache.as_deref().map(absolute).transpose()?,
            };
            let done: Option<Value> =
                client.call(Method::POST, "/v1/list-migrate", &request).await?;
            migrated(&done.unwrap_or_default(), context)
        }
    }
}

/// A file's path becomes an address; relative paths are taken from here.
fn address(uri: &str) -> Result<String> {
    if uri.contains("://") || !Path::new(uri).exists() {
        return Ok(uri.to_owned());
    }
    Ok(format!("file://{}", absolute(Path::new(uri))?))
}

fn absolute(path: &Path) -> Result<String> {
    let absolute = path.canonicalize().map_err(|error| {
        Problem::from_error(Code::Usage, &error)
            .in_front(format!("cannot use `{}`", path.display()))
    })?;
    absolute.into_os_string().into_string().map_err(|path| {
        Problem::new(Code::Usage, format!("the path `{}` is not UTF-8", path.display()))
    })
}

impl Change {
    fn message(self) -> Result<ListChange> {
        let policy = |new_images| {
            match new_images {
                NewImages::Refuse => "refuse",
                NewImages::Accept => "accept",
                NewImages::Subscribe => "subscribe",
            }
            .to_owned()
        };
        let file = |path: Option<PathBuf>| match path {
            Some(path) if path.as_os_str().is_empty() => Ok(Some(String::new())),
            Some(path) => absolute(&path).map(Some),
            None => Ok(None),
        };
        Ok(ListChange {
            new_images: self.new_images.map(policy),
            paused: None,
            credential_file: file(self.credential)?,
            key_file: file(self.key)?,
            credential: None,
            enforce_expiry: self.enforce_expiry,
            follow_list_uri: self.follow_list_uri,
            allow_sha1: self.allow_sha1,
            allow_any_eku: self.allow_any_eku,
            strict_version: self.strict_version,
        })
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
        return crate::commands::nothing(context);
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

async fn endorser(command: Endorser, mut client: Client, context: &Context) -> Result {
    let path = |id: &str, list: &str| {
        format!("/v1/list-endorsers/{}/lists/{}", segment(id), segment(list))
    };
    match command {
        Endorser::Ls => {
            let all: Value = client.get("/v1/list-endorsers").await?;
            if context.output.json {
                context.output.json(&all)?;
                return Ok(0);
            }
            let mut rows = Rows::new(&["ENDORSER", "SUBJECT", "ISSUER"]);
            for endorser in all.as_array().into_iter().flatten() {
                for principal in endorser["principals"].as_array().into_iter().flatten() {
                    rows.add(vec![
                        text(&endorser["id"]),
                        text(&principal["subject"]),
                        text(&principal["issuer"]),
                    ]);
                }
            }
            rows.print(&context.output)?;
            Ok(0)
        }
        Endorser::Add { id, subject, issuer } => {
            let principals = pairs(&subject, &issuer)?;
            let request = EndorserNew { id: id.clone(), principals };
            let _: Option<Value> =
                client.call(Method::POST, "/v1/list-endorsers", &request).await?;
            crate::commands::done(&id, "add", context)
        }
        Endorser::Rm { id } => {
            client.done(Method::DELETE, &format!("/v1/list-endorsers/{}", segment(&id))).await?;
            crate::commands::done(&id, "rm", context)
        }
        Endorser::Link { id, list } => {
            client.done(Method::PUT, &path(&id, &list)).await?;
            crate::commands::done(&id, "link", context)
        }
        Endorser::Unlink { id, list } => {
            client.done(Method::DELETE, &path(&id, &list)).await?;
            crate::commands::done(&id, "unlink", context)
        }
    }
}

/// Subjects with their issuers: one issuer serves all subjects.
pub(crate) fn pairs(subjects: &[String], issuers: &[String]) -> Result<Vec<(String, String)>> {
    match issuers {
        [issuer] => Ok(subjects.iter().map(|s| (s.clone(), issuer.clone())).collect()),
        issuers if issuers.len() == subjects.len() => {
            Ok(subjects.iter().cloned().zip(issuers.iter().cloned()).collect())
        }
        _ => Err(Problem::new(Code::Usage, "give one issuer, or one for each subject")),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn lists(all: &Value, context: &Context) -> Result {
    if context.output.json {
        context.output.json(all)?;
        return Ok(0);
    }
    let mut rows = Rows::new(&["LIST", "TITLE", "VERSION", "EXPIRES", "STATE", "ADDRESS"]);
    for list in all.as_array().into_iter().flatten() {
        let state = if list["settings"]["paused"] == json!(true) {
            "paused".to_owned()
        } else if list["expired"] == json!(true) {
            "expired".to_owned()
        } else {
            match list["last"]["exit_code"].as_u64() {
                Some(0 | 32) if list["ends_soon"] == json!(true) => "ends soon".to_owned(),
                Some(0 | 32) => "good".to_owned(),
                Some(code) => format!("refused ({code})"),
                None => String::new(),
            }
        };
        rows.add(vec![
            text(&list["identifier"]),
            text(&list["title"]),
            text(&list["current"]["version"]),
            expires(&list["current"]["expires"]),
            state,
            text(&list["uri"]),
        ]);
    }
    rows.print(&context.output)?;
    Ok(0)
}

fn listed(all: &Value, context: &Context) -> Result {
    if context.output.json {
        context.output.json(all)?;
        return Ok(0);
    }
    let mut rows = Rows::new(&["IMAGE", "TITLE", "VERSION", "SIZE", "STATE", "LIST"]);
    for view in all.as_array().into_iter().flatten() {
        let is = |key: &str| view[key] == json!(true);
        let state = match (is("cached"), is("subscribed"), is("available")) {
            (true, ..) if !view["unusable"].is_null() => "cached, no node can use it",
            (true, ..) => "cached",
            (_, true, true) if is("outdated") => "wanted, an older one is cached",
            (_, true, true) => "wanted",
            (_, _, true) => "offered",
            (_, true, false) => "wanted, not offered",
            _ => "",
        };
        rows.add(vec![
            text(&view["identifier"]),
            text(&view["image"]["title"]),
            text(&view["image"]["version"]),
            view["image"]["size"].as_u64().map(super::bytes).unwrap_or_default(),
            state.to_owned(),
            text(&view["list"]),
        ]);
    }
    rows.print(&context.output)?;
    Ok(0)
}

/// A tag of a registry has no end; its list is given the last day there is.
fn expires(time: &Value) -> String {
    let time = text(time);
    if time.starts_with("9999-") { "never".to_owned() } else { time }
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

fn events(all: &Value, context: &Context) -> Result {
    if context.output.json {
        context.output.json(all)?;
        return Ok(0);
    }
    let mut rows = Rows::new(&["FOR", "EVENT", "IMAGE", "QUEUED", "TRIES", "STATE", "ERROR"]);
    let state = |event: &Value| {
        if event["given_up"] == json!(true) { "given up" } else { "waits" }.to_owned()
    };
    for event in all["handler"].as_array().into_iter().flatten() {
        let variables = event["environment"].as_array().into_iter().flatten();
        let image = variables.filter(|v| v[0] == json!("VMCATCHER_EVENT_DC_IDENTIFIER"));
        rows.add(vec![
            "handler".to_owned(),
            text(&event["kind"]),
            image.map(|v| text(&v[1])).next().unwrap_or_default(),
            text(&event["queued"]),
            text(&event["attempts"]),
            state(event),
            text(&event["error"]),
        ]);
    }
    for event in all["publishers"].as_array().into_iter().flatten() {
        let change = &event["change"];
        let image = if change["new"].is_null() { &change["image"] } else { &change["new"] };
        rows.add(vec![
            text(&event["publisher"]),
            text(&change["change"]),
            text(&image["image"]["identifier"]),
            text(&event["queued"]),
            text(&event["attempts"]),
            state(event),
            text(&event["error"]),
        ]);
    }
    rows.print(&context.output)?;
    Ok(0)
}

async fn settings(mut client: Client, args: SettingsArgs, context: &Context) -> Result {
    let mut settings: Settings = client.get("/v1/list-settings").await?;
    let before = settings.clone();
    let folder = |path: PathBuf| -> Result<Option<PathBuf>> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        std::path::absolute(&path).map(Some).map_err(|error| {
            Problem::from_error(Code::Usage, &error)
                .in_front(format!("cannot use `{}`", path.display()))
        })
    };
    let handler = |command: String| {
        (!command.is_empty()).then(|| HandlerSettings { command, ..HandlerSettings::default() })
    };
    if let Some(path) = args.trust.map(folder).transpose()? {
        settings.trust_folder = path.unwrap_or_else(|| Settings::default().trust_folder);
    }
    if let Some(path) = args.cache.map(folder).transpose()? {
        settings.cache = path;
    }
    if let Some(path) = args.serve_tree.map(folder).transpose()? {
        settings.serve_tree = path;
    }
    if let Some(path) = args.authorities.map(folder).transpose()? {
        settings.extra_authorities = path;
    }
    if let Some(command) = args.handler {
        settings.handler = handler(command);
    }
    if let Some(command) = args.subscription_handler {
        settings.subscription_handler = handler(command);
    }
    if let Some(hours) = args.refresh_every {
        if !(0.0..=8784.0).contains(&hours) {
            return Err(Problem::new(Code::Usage, "`--refresh-every` takes 0 to 8784 hours"));
        }
        settings.refresh_every_s = (hours * 3600.0) as u64;
    }
    if let Some(proxy) = args.proxy {
        settings.proxy = (!proxy.is_empty()).then_some(proxy);
    }
    if !args.mirror.is_empty() {
        settings.mirrors.clear();
    }
    for mirror in args.mirror.iter().filter(|mirror| *mirror != "none") {
        let (from, to) = mirror.split_once('=').ok_or_else(|| {
            Problem::new(Code::Usage, "a mirror is written FROM=TO, or `none` for none")
        })?;
        let (from, to) = (from.to_owned(), to.to_owned());
        settings.mirrors.push(vnode_imagelist::cache::Mirror { from, to });
    }
    if let Some(bandwidth) = args.bandwidth {
        settings.bandwidth = (bandwidth > 0).then_some(bandwidth);
    }
    settings.at_once = args.parallel.unwrap_or(settings.at_once);
    settings.max_virtual_size = args.max_virtual_size.unwrap_or(settings.max_virtual_size);
    if let Some(days) = args.keep_expired {
        settings.keep_expired_days = u32::try_from(days).ok();
    }
    if settings != before {
        let _: Option<Value> = client.call(Method::PUT, "/v1/list-settings", &settings).await?;
    }
    context.output.json(&settings)?;
    Ok(0)
}

fn migrated(done: &Value, context: &Context) -> Result {
    if context.output.json {
        context.output.json(done)?;
        return Ok(0);
    }
    let count = |key: &str| done[key].as_array().map_or(0, Vec::len);
    context.output.line(&format!(
        "{} subscriptions, {} endorsers, {} images, {} cached files",
        count("subscriptions"),
        count("endorsers"),
        done["images"],
        count("cached"),
    ))?;
    for note in done["notes"].as_array().into_iter().flatten() {
        context.output.note(&text(note));
    }
    Ok(0)
}
