//! `vnode import`: makes a topology file of another tool's, without a daemon.

use std::path::PathBuf;

use vnode_api::topology::refused;
use vnode_api::{Code, Problem};
use vnode_topology::{Beside, Format, Input, Name};

use crate::{Context, Result, topology};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Emulab's NS file, netlab's topology, Kathará's lab.conf, CORE's scenario in XML, or a domain of libvirt as
    /// `virsh dumpxml` prints it; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The lab's name; the one the file gives, or the file's own without its ending (the folder's of a lab.conf) when absent
    #[arg(long, short, value_name = "NAME")]
    name: Option<String>,
    /// Whose file it is; told by its name, or by how it begins, when absent
    #[arg(long, short, value_name = "TOOL", value_parser = tool_of)]
    from: Option<Tool>,
}

/// Whose file is imported.
#[derive(Debug, Clone, Copy)]
enum Tool {
    Libvirt,
    Other(Format),
}

fn tool_of(word: &str) -> std::result::Result<Tool, String> {
    if word == "libvirt" {
        return Ok(Tool::Libvirt);
    }
    let found = Format::ALL.iter().find(|(name, _)| *name == word);
    found.map(|(_, format)| Tool::Other(*format)).ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().map(|(name, _)| *name).collect();
        format!("tools are {} and libvirt", names.join(", "))
    })
}

pub(crate) fn run(args: &Args, context: &Context) -> Result {
    let read = topology::read(&args.file)?;
    let otherwise = lab_name(&args.file);
    let file = args.file.display().to_string();
    let tool = args.from.unwrap_or_else(|| {
        // Both are XML; a scenario is CORE's.
        let domain = vnode_libvirt::import::is_definition(&read.text);
        if domain && !read.text.contains("<scenario") {
            Tool::Libvirt
        } else {
            Tool::Other(Format::of(&args.file, &read.text))
        }
    });
    let Tool::Other(format) = tool else {
        return domain(args, context, &read.text, args.name.as_ref().unwrap_or(&otherwise));
    };
    let folder = read.base.clone().unwrap_or_default();
    let input = Input { text: &read.text, file: &file, folder: &folder };
    let name = Name { asked: args.name.as_deref(), otherwise: &otherwise };
    let beside = |name: &str| {
        let kind = read.file.is_some().then(|| std::fs::metadata(folder.join(name)).ok())??;
        kind.is_dir().then_some(Beside::Folder).or_else(|| kind.is_file().then_some(Beside::File))
    };
    let imported = vnode_topology::import(format, input, name, &beside)
        .map_err(|rejected| refused(&file, rejected))?;
    for one in &imported.unmapped {
        context.output.note(&one.to_string());
    }
    if context.output.json {
        let unmapped: Vec<String> = imported.unmapped.iter().map(ToString::to_string).collect();
        context.output.json(&serde_json::json!({
            "topology": imported.text, "lab": imported.parsed.lab, "unmapped": unmapped,
        }))?;
        return Ok(0);
    }
    context.output.text(&imported.text)?;
    Ok(0)
}

/// A domain of libvirt as a lab of one node.
fn domain(args: &Args, context: &Context, text: &str, name: &str) -> Result {
    let file = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    let file = file.display().to_string();
    let imported = vnode_libvirt::import::import(text, &file, name).map_err(|error| {
        Problem::from_error(Code::Usage, &error).in_front(format!("cannot read `{file}`"))
    })?;
    // What it became is read as any other file: the model has one door.
    let input = Input { text: &imported.text, file: "the imported lab", folder: "/".as_ref() };
    let parsed = vnode_topology::parse(input, &vnode_topology::Nothing)
        .map_err(|rejected| refused("the imported lab", rejected))?;
    for one in &imported.unmapped {
        context.output.note(one);
    }
    if context.output.json {
        context.output.json(&serde_json::json!({
            "topology": imported.text, "lab": parsed.lab, "unmapped": imported.unmapped,
        }))?;
        return Ok(0);
    }
    context.output.text(&imported.text)?;
    Ok(0)
}

/// A name for the lab: the file's, or the folder's of a `lab.conf`, with nothing in it that a lab's name cannot have.
fn lab_name(file: &std::path::Path) -> String {
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let own = file.file_name().is_some_and(|name| name == "lab.conf");
    let named = if own { whole.parent().unwrap_or(file) } else { file };
    let stem =
        named.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = stem.chars().map(|c| if good(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() { "imported".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::lab_name;

    #[test]
    fn names_come_from_the_file() {
        for (file, name) in [
            ("a/my lab.ns", "my-lab"),
            ("-", "imported"),
            ("x.y.ns", "x-y"),
            ("/labs/two routers/lab.conf", "two-routers"),
        ] {
            assert_eq!(lab_name(file.as_ref()), name);
        }
    }
}
