//! Topology files as the command line takes them.

use std::io::Read;
use std::path::{Path, PathBuf};

use vnode_api::message::Topology;
use vnode_api::topology::{folder, mentioned};
use vnode_api::{Code, Problem};

use crate::{Result, git};

/// Largest topology file taken, bytes.
const MAX_FILE: u64 = 4 << 20;

/// Reads a topology file (`-`: standard input) with what it may ask of its surroundings.
pub(crate) fn read(file: &Path) -> Result<Topology> {
    let from_stdin = file == Path::new("-");
    let fail = |error: &std::io::Error| {
        Problem::from_error(Code::Failed, error)
            .in_front(format!("cannot read topology `{}`", file.display()))
    };
    let text = if from_stdin {
        bounded(std::io::stdin().lock())
    } else {
        std::fs::File::open(file).and_then(bounded)
    };
    let text = text.map_err(|error| fail(&error))?;
    let base = if from_stdin { std::env::current_dir() } else { folder(file) };
    let base = base.map_err(|error| fail(&error))?;
    let name = file.file_name().map_or_else(|| PathBuf::from("-"), PathBuf::from);
    let (git_branch, git_hash) =
        if text.contains("__git") { git::checkout(&base) } else { (None, None) };
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Topology {
        environment: mentioned(&text, variables),
        file: (!from_stdin).then(|| base.join(name)),
        base: Some(base),
        git_branch,
        git_hash,
        boot: true,
        text,
    })
}

fn bounded(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    if from.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 > MAX_FILE {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 4 MiB"));
    }
    Ok(text)
}

/// Name of the lab that `FILE|LAB` means.
pub(crate) fn lab_name(argument: &str) -> Result<String> {
    let path = Path::new(argument);
    let looks = argument == "-"
        || argument.contains('/')
        || argument.ends_with(".yml")
        || argument.ends_with(".yaml");
    if !looks && !path.is_file() {
        return Ok(argument.to_owned());
    }
    let topology = read(path)?;
    let parsed = vnode_api::topology::parse(&topology)
        .map_err(|problem| problem.hint("give the lab's name instead; `vnode ps` shows it"))?;
    Ok(parsed.lab.name)
}
