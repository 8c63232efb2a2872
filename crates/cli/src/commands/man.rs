//! `vnode man`: the man pages, from the same source as the help texts.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use vnode_api::{Code, Problem};

use crate::args::Cli;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder to write into; made when it is not there
    folder: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result {
    let fail = |path: &Path, error: &std::io::Error| {
        Problem::from_error(Code::Failed, error)
            .in_front(format!("cannot write `{}`", path.display()))
    };
    std::fs::create_dir_all(&args.folder).map_err(|error| fail(&args.folder, &error))?;
    let mut written = Vec::new();
    for (name, page) in pages() {
        let path = args.folder.join(&name);
        std::fs::write(&path, page).map_err(|error| fail(&path, &error))?;
        if !context.output.json {
            context.output.note(&name);
        }
        written.push(path);
    }
    if context.output.json {
        context.output.json(&serde_json::json!({ "written": written }))?;
    }
    Ok(0)
}

/// File name and text of every page: one for the program, one for each command.
pub(crate) fn pages() -> Vec<(String, Vec<u8>)> {
    let mut command = Cli::command().display_name("vnode");
    // The version in the page's footer would change every page with every release.
    command = command.version("").propagate_version(false);
    command.build();
    let mut pages = Vec::new();
    add(&command, "vnode", &mut pages);
    pages
}

fn add(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) {
    pages.push((format!("{name}.1"), page(command.clone(), name)));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        add(sub, &format!("{name}-{}", sub.get_name()), pages);
    }
}

fn page(command: clap::Command, name: &str) -> Vec<u8> {
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let man = clap_mangen::Man::new(command.display_name(name))
        .title(name.to_uppercase())
        .source("vnode")
        .manual("vnode");
    let mut text = Vec::new();
    man.render(&mut text).expect("writing to memory does not fail");
    text
}
