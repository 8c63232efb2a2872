//! `vnode image build`: a small machine's kernel and initial RAM disk. It needs no daemon.

use std::path::PathBuf;

use vnode_api::{Code, Problem};
use vnode_qemu::build::{BuildSpec, STEPS, build};

use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// Folder the files `vmlinux` and `initrd` are put in; it is made
    folder: PathBuf,
    /// The agent to put in; `vnode-agent` beside this program when absent
    #[arg(long, value_name = "PROGRAM")]
    agent: Option<PathBuf>,
    /// Folder in which Debian's kernel, and busybox-static, were unpacked: for hosts that can fetch nothing
    #[arg(long, value_name = "FOLDER")]
    packages: Option<PathBuf>,
    /// Put no agent in
    #[arg(long, conflicts_with = "agent")]
    no_agent: bool,
}

pub(crate) async fn run(args: Build, context: &Context) -> Result {
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.with_file_name("vnode-agent")).filter(|path| path.exists())
    };
    let agent = match (args.no_agent, args.agent) {
        (true, _) => None,
        (false, Some(agent)) => Some(agent),
        (false, None) => Some(beside().ok_or_else(|| {
            let text = "there is no `vnode-agent` beside this program";
            Problem::new(Code::Usage, text)
                .hint("name it with `--agent`, or leave it out with `--no-agent`")
        })?),
    };
    let spec = BuildSpec { folder: args.folder.clone(), agent, packages: args.packages };
    let cancel = tokio_util::sync::CancellationToken::new();
    let stop = cancel.clone();
    let interrupted = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    let quiet = context.output.json;
    let progress = |what: &str, step: u64| {
        if !quiet && step < STEPS {
            context.output.note(&format!("{}/{STEPS} {what}", step + 1));
        }
    };
    let built = build(&spec, &cancel, &progress).await;
    interrupted.abort();
    built.map_err(|error| {
        Problem::from_error(Code::Failed, &error)
            .in_front(format!("cannot build the image `{}`", args.folder.display()))
    })?;
    super::super::done(&args.folder.display().to_string(), "build", context)
}
