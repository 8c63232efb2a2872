//! `vmcatcher_image`

use std::path::PathBuf;

use clap::Parser;
use hyper::Method;
use serde_json::{Value, json};
use vnode_api::message::{ImageSelection, ListImages};

use super::{Common, Daemon, End, Format, Result, line, one_of, text};

/// Which images of the lists are kept in the cache
#[derive(Debug, Parser)]
#[command(name = "vmcatcher_image", version)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Keep images in the cache
    #[arg(short, long)]
    add: bool,
    /// Keep images no longer
    #[arg(short, long)]
    remove: bool,
    /// List images
    #[arg(short, long)]
    list: bool,
    /// Show images
    #[arg(short, long)]
    info: bool,
    /// Images by identifier; may be repeated
    #[arg(short, long, value_name = "IDENTIFIER")]
    uuid: Vec<String>,
    /// Images by hash; may be repeated
    #[arg(short, long, value_name = "SHA512")]
    sha512: Vec<String>,
    /// Form of what is shown
    #[arg(short, long, value_enum, env = "VMCATCHER_OUTPUT_FORMAT", default_value = "lines")]
    format: Format,
    /// Output files, one for each image shown
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// Trust folder
    #[arg(short, long, value_name = "FOLDER", env = "VMCATCHER_DIR_CERT")]
    cert_dir: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, daemon: Daemon) -> Result {
    args.common.check()?;
    one_of(&[args.add, args.remove, args.list, args.info])?;
    if !args.uuid.is_empty() && !args.sha512.is_empty() {
        return Err(End::usage("give images by identifier or by hash, not both"));
    }
    let mut client = daemon.client().await?;
    if args.add || args.remove {
        if args.uuid.is_empty() && args.sha512.is_empty() {
            return Err(End::usage("give images with -u or -s"));
        }
        let by_id = args
            .uuid
            .iter()
            .map(|id| ImageSelection { identifier: Some(id.clone()), ..ImageSelection::default() });
        let by_hash = args
            .sha512
            .iter()
            .map(|hash| ImageSelection { sha512: Some(hash.clone()), ..ImageSelection::default() });
        let request = ListImages {
            images: by_id.chain(by_hash).collect(),
            subscribed: Some(args.add),
            admitted: None,
        };
        let _: Option<Value> = client.call(Method::POST, "/v1/list-images", &request).await?;
        return Ok(0);
    }
    let all: Value = client.get("/v1/list-images").await?;
    let mut outputs = args.output.iter();
    for view in all.as_array().into_iter().flatten() {
        let (id, list) = (text(&view["identifier"]), text(&view["list"]));
        if args.list {
            line(&format!("{id}\t{}\t{list}", view["state"]))?;
            continue;
        }
        let hash = view["image"]["sha512"].as_str().unwrap_or_default();
        if !args.uuid.contains(&id) && !args.sha512.iter().any(|s| s.eq_ignore_ascii_case(hash)) {
            continue;
        }
        let shown = match args.format {
            Format::Json => serde_json::to_string(&view["image"]["attributes"])
                .map_err(|error| End::usage(error.to_string()))?,
            Format::Smime | Format::Message => {
                return Err(End::usage("images are shown as `lines` or `json`"));
            }
            Format::Lines => {
                let mut lines = vec![
                    format!("imagedef.dc:identifier={id}"),
                    format!("imagedef.cache={}", u8::from(view["subscribed"] == json!(true))),
                    format!("imagelist.dc:identifier={list}"),
                ];
                let attributes = view["image"]["attributes"].as_object();
                for (key, value) in attributes.into_iter().flatten() {
                    lines.push(format!("image.{key}={}", text(value)));
                }
                lines.join("\n")
            }
        };
        match outputs.next() {
            Some(path) => std::fs::write(path, format!("{shown}\n"))
                .map_err(|error| End::usage(format!("{}: {error}", path.display())))?,
            None => line(&shown)?,
        }
    }
    Ok(0)
}
