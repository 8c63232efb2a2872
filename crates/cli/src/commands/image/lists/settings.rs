//! What is chosen for all lists.

use std::path::PathBuf;

use hyper::Method;
use serde_json::Value;
use vnode_api::{Code, Problem};
use vnode_imagelist::site::{HandlerSettings, Settings};

use crate::client::Client;
use crate::{Context, Result};

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

pub(super) async fn run(mut client: Client, args: SettingsArgs, context: &Context) -> Result {
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
