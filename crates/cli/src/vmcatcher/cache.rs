//! `vmcatcher_cache`

use std::path::PathBuf;

use clap::Parser;
use clap::builder::FalseyValueParser;
use vnode_imagelist::cache::Folders;
use vnode_imagelist::event::CacheFolders;
use vnode_imagelist::site::{HandlerSettings, Request};

use super::{Common, Daemon, End, Result, absolute};
use crate::commands::image::worked;

/// Withdraws what ended and fetches what is wanted
#[derive(Debug, Parser)]
#[command(name = "vmcatcher_cache", version)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// The cache folder
    #[arg(
        short = 'C',
        long,
        value_name = "FOLDER",
        env = "VMCATCHER_CACHE_DIR_CACHE",
        default_value = "cache"
    )]
    cache_dir: PathBuf,
    /// Where images are while they arrive; `partial` in the cache folder when absent
    #[arg(short, long, value_name = "FOLDER", env = "VMCATCHER_CACHE_DIR_DOWNLOAD")]
    partial_dir: Option<PathBuf>,
    /// Where withdrawn images are; `expired` in the cache folder when absent
    #[arg(short, long, value_name = "FOLDER", env = "VMCATCHER_CACHE_DIR_EXPIRE")]
    expired_dir: Option<PathBuf>,
    /// Withdraw
    #[arg(short = 'E', long, env = "VMCATCHER_CACHE_ACTION_EXPIRE", value_parser = FalseyValueParser::new())]
    expire: bool,
    /// Check hashes
    #[arg(short = 's', long, env = "VMCATCHER_CACHE_ACTION_CHECK", value_parser = FalseyValueParser::new())]
    sha512: bool,
    /// Fetch
    #[arg(short = 'D', long, env = "VMCATCHER_CACHE_ACTION_DOWNLOAD", value_parser = FalseyValueParser::new())]
    download: bool,
    /// Command that is told of events
    #[arg(short = 'x', long, value_name = "COMMAND", env = "VMCATCHER_CACHE_EVENT")]
    execute: Option<String>,
    /// Trust folder
    #[arg(short, long, value_name = "FOLDER", env = "VMCATCHER_DIR_CERT")]
    cert_dir: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, daemon: Daemon) -> Result {
    args.common.check()?;
    let partial = args.partial_dir.clone().unwrap_or_else(|| args.cache_dir.join("partial"));
    let expired = args.expired_dir.clone().unwrap_or_else(|| args.cache_dir.join("expired"));
    for folder in [&args.cache_dir, &partial, &expired] {
        if !folder.is_dir() {
            return Err(End::usage(format!("the folder `{}` is not there", folder.display())));
        }
    }
    daemon.trust(args.cert_dir.as_deref()).await?;
    let none = !(args.expire || args.sha512 || args.download);
    let shown = |path: &PathBuf| path.display().to_string();
    let request = Request {
        refresh: false,
        cache: true,
        check: args.sha512,
        download: args.download || none,
        session: Some(CacheFolders {
            database: args.common.database.clone(),
            cache: shown(&args.cache_dir),
            download: shown(&partial),
            expire: shown(&expired),
        }),
        folders: Some(Folders {
            cache: absolute(&args.cache_dir)?,
            partial: absolute(&partial)?,
            expired: absolute(&expired)?,
        }),
        handler: args.execute.as_ref().map(|command| handler(command)),
        ..Request::default()
    };
    let mut client = daemon.client().await?;
    let done = worked(&mut client, &request, &daemon.context).await?;
    if let Some((_, summary)) = done {
        for failed in &summary.failed {
            args.common.say(&format!("{}: {}", failed.identifier, failed.error));
        }
    }
    Ok(0)
}

/// A handler with the environment of its caller, as the original runs it.
pub(crate) fn handler(command: &str) -> HandlerSettings {
    HandlerSettings {
        command: command.to_owned(),
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        ..HandlerSettings::default()
    }
}
