//! From text to model: substitution, YAML, inheritance, checks.

mod binds;
mod check;
mod event;
mod fields;
mod impair;
mod layers;
mod libvirt;
mod link;
mod mgmt;
mod network;
mod node;
mod placement;
mod preconfig;
mod stage;
mod vm;
mod wiring;

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, Rejected, Severity};
use crate::keys;
use crate::model::{Lab, Node};
use crate::report::{At, Report};
use crate::source::{Piece, Source};
use crate::substitute::substitute;
use crate::world::World;
use crate::yaml::{self, Entry, Node as Yaml};
use crate::{Input, Parsed};

pub(crate) use fields::short;
use fields::{Fields, text};
use layers::Shared;
use wiring::Wiring;
pub(crate) use wiring::is_interface;

/// Largest file, and largest text after substitution.
pub const MOST_BYTES: usize = 4 << 20;
/// Most nodes of one lab.
pub const MOST_NODES: usize = 20_000;
/// Most bytes that all nodes' texts come to, inherited ones counted for each node.
const MOST_INHERITED: usize = 128 << 20;

/// Reads a topology file.
///
/// # Errors
/// [`Rejected`] holds every error found, each with its place; nothing of the file is dropped silently.
pub fn parse(input: Input<'_>, world: &dyn World) -> Result<Parsed, Rejected> {
    let refuse = |text: &str, hint: &str| {
        Err(Rejected {
            errors: vec![Diagnostic {
                severity: Severity::Error,
                text: text.to_owned(),
                hint: Some(hint.to_owned()),
                file: input.file.to_owned(),
                at: None,
                also: Vec::new(),
            }],
            warnings: Vec::new(),
        })
    };
    if input.file.ends_with(".gotmpl") {
        return refuse(
            "the file is a Go template, which vnode does not read",
            "render it first, with gomplate for instance, then bring the result up",
        );
    }
    if input.text.len() > MOST_BYTES {
        return refuse("the file is longer than 4 MiB", "a topology file holds one lab");
    }
    let written = input.text;
    let mut substituted = substitute(written, world, MOST_BYTES);
    if substituted.too_long {
        return refuse(
            "the file is longer than 4 MiB after substitution",
            "look at the variables it names",
        );
    }
    if substituted.pieces.is_empty() {
        substituted.pieces.push(Piece { out: 0, from: 0, to: written.len(), replaced: false });
    }
    let source = Source::new(written, substituted.text, substituted.pieces);
    let mut report = Report::new(&source, input.file);
    let Some(document) = yaml::parse(&mut report) else {
        return Err(rejected(report));
    };
    // Comments are substituted too, which harms nobody; what is wrong in them is not told.
    let comments: Vec<At> =
        document.comments.iter().map(|at| source.written_range(at.clone())).collect();
    let in_comment = |at: &At| {
        let next = comments.partition_point(|comment| comment.start <= at.start);
        next > 0 && comments[next - 1].end >= at.start
    };
    for (name, at) in substituted.undefined {
        if !in_comment(&at) {
            let text = format!(
                "the environment variable `{}` is not set; nothing is put in its place",
                short(&name)
            );
            report.at_written(
                Severity::Warning,
                at,
                text,
                "set it, give a default as in `${NAME:-default}`, or write `$$` for a dollar",
            );
        }
    }
    for (why, at) in substituted.bad {
        if !in_comment(&at) {
            report.at_written(
                Severity::Error,
                at,
                why.to_owned(),
                "write `${NAME}`, `${NAME:-default}`, or `$$` for a dollar",
            );
        }
    }
    let lab = lab(&document.root, input, world, &mut report);
    let warnings = report.finish()?;
    match lab {
        Some(lab) => Ok(Parsed { lab, warnings }),
        None => refuse("the file holds no lab", "it needs `name` and `topology`"),
    }
}

fn rejected(report: Report<'_>) -> Rejected {
    match report.finish() {
        Err(rejected) => rejected,
        // The YAML reader reports before it gives up.
        Ok(warnings) => Rejected { errors: Vec::new(), warnings },
    }
}

fn lab(
    root: &yaml::Value,
    input: Input<'_>,
    world: &dyn World,
    report: &mut Report<'_>,
) -> Option<Lab> {
    if root.is_null() {
        report.error_with(&root.at, "the file is empty", "it needs `name` and `topology`");
        return None;
    }
    let top = Fields::read(root, "the file", keys::TOP, report);
    let name = name(&top, root, world, report);
    let prefix = prefix(&top, report);
    let mgmt = mgmt::read(top.get("mgmt").map(|entry| &*entry.value), report);
    let topology = match top.get("topology") {
        Some(entry) => Fields::read(&entry.value, "`topology`", keys::TOPOLOGY, report),
        None => {
            report.error_with(
                &root.at,
                "the file has no `topology`",
                "write `topology: {nodes: {...}}`",
            );
            return None;
        }
    };
    let shared = Shared::read(&topology, report);
    let mut reader = node::Reader {
        world,
        folder: input.folder,
        lab: &name,
        home: world.env("HOME"),
        waits: Vec::new(),
        env_files: HashMap::new(),
    };
    let entries = nodes(&topology, root, report)?;
    let mut nodes = Vec::with_capacity(entries.len());
    let mut places = Vec::with_capacity(entries.len());
    let mut bytes = 0;
    for entry in entries {
        node_name(entry, report);
        let (node, place) = reader.node(entry, &shared, report);
        bytes += weight(&node);
        if bytes > MOST_INHERITED {
            report.error_with(
                &entry.key_at,
                "what the nodes inherit comes to more than 128 MiB",
                "long values of `defaults`, `kinds`, `groups` or `env-files` count for each node",
            );
            return None;
        }
        nodes.push(node);
        places.push(place);
    }
    let mut lab = Lab {
        name: name.clone(),
        prefix,
        mgmt,
        folder: input.folder.to_path_buf(),
        ..Lab::default()
    };
    check::shared_namespaces(&mut nodes, &places, &|node| lab.full_name(node), report);
    check::addresses(&nodes, &places, &lab.mgmt, report);
    check::ports(&nodes, &places, report);
    check::names(&nodes, &places, report);
    stage::check(&nodes, &reader.waits, report);
    let mut wiring = Wiring::new(&nodes);
    let links = link::read(topology.get("links"), &nodes, &mut wiring, report);
    lab.networks = network::read(topology.get("networks"), &nodes, &mut wiring, report);
    lab.events = event::read(top.get("events"), &links, &lab.networks, report);
    lab.links = links.links;
    lab.nodes = nodes;
    Some(lab)
}

/// Bytes of the node's texts, about.
fn weight(node: &Node) -> usize {
    let maps = [&node.env, &node.labels, &node.sysctls];
    let maps =
        maps.iter().flat_map(|map| map.iter()).map(|(key, value)| 64 + key.len() + value.len());
    let lists = [&node.exec, &node.tmpfs, &node.aliases, &node.security_opts, &node.dns.search];
    let lists = lists.iter().flat_map(|list| list.iter()).map(|item| 32 + item.len());
    let one = [&node.cmd, &node.entrypoint, &node.image, &node.user, &node.group];
    let one = one.iter().filter_map(|text| text.as_ref()).map(String::len);
    let stages = node.stages.values().map(|stage| 64 * (stage.wait_for.len() + stage.exec.len()));
    let files = (node.binds.len() + node.devices.len()) * 256 + node.ports.len() * 32;
    maps.sum::<usize>() + lists.sum::<usize>() + one.sum::<usize>() + stages.sum::<usize>() + files
}

/// Entries of `nodes`, at least one.
fn nodes<'v>(
    topology: &Fields<'v>,
    root: &yaml::Value,
    report: &mut Report<'_>,
) -> Option<&'v [Entry]> {
    let Some(entry) = topology.get("nodes") else {
        let at = if topology.at.is_empty() { &root.at } else { &topology.at };
        report.error_with(at, "`topology` has no `nodes`", "write `nodes: {r1: {kind: linux}}`");
        return None;
    };
    let Yaml::Map(entries) = &entry.value.node else {
        report.error_with(
            &entry.value.at,
            format!("`nodes` is a map, not {}", entry.value.describe()),
            "write each node's name, a colon, and its keys below it",
        );
        return None;
    };
    if entries.is_empty() {
        report.error(&entry.value.at, "`nodes` is empty");
    }
    if entries.len() > MOST_NODES {
        let text = format!("the lab has {} nodes, more than {MOST_NODES}", entries.len());
        report.error(&entry.key_at, text);
        return None;
    }
    Some(entries)
}

fn name(
    top: &Fields<'_>,
    root: &yaml::Value,
    world: &dyn World,
    report: &mut Report<'_>,
) -> String {
    let Some(entry) = top.get("name") else {
        report.error_with(
            &root.at,
            "the lab has no `name`",
            "write `name: mylab` on the first line",
        );
        return String::new();
    };
    let Some(given) = text(&entry.value, "name", report) else { return String::new() };
    let mut name = given.to_owned();
    for (word, value) in [("__gitBranch__", world.git_branch()), ("__gitHash__", world.git_hash())]
    {
        if name.contains(word) {
            match value {
                // Branches have slashes, names have not.
                Some(value) => name = name.replace(word, &value.replace('/', "-")),
                None => {
                    report.error(
                        &entry.value.at,
                        format!("`{word}` stands for nothing: the file is in no git checkout"),
                    );
                    return String::new();
                }
            }
        }
    }
    if !is_name(&name, 64) {
        report.error_with(
            &entry.value.at,
            format!("`{}` is no name for a lab", short(&name)),
            "a letter or digit, then also `-`, `.`, `_`, at most 64",
        );
    }
    name
}

fn prefix(top: &Fields<'_>, report: &mut Report<'_>) -> Option<String> {
    let entry = top.get("prefix")?;
    let given = text(&entry.value, "prefix", report)?;
    if !given.is_empty() && given != "__lab-name" && !is_name(given, 64) {
        report.error(&entry.value.at, format!("`{}` is no prefix for names", short(given)));
    }
    Some(given.to_owned())
}

fn node_name(entry: &Entry, report: &mut Report<'_>) {
    let name: &str = &entry.key;
    let good = is_name(&name.replace('|', "-"), 128) && !name.starts_with('|');
    if !good {
        report.error_with(
            &entry.key_at,
            format!("`{}` is no name for a node", short(name)),
            "a letter or digit, then also `-`, `.`, `_`, `|`, at most 128",
        );
    } else if matches!(name, "mgmt-net" | "macvlan") {
        report.error_with(
            &entry.key_at,
            format!("no node can be called `{name}`"),
            "in an endpoint, the name leads out of the lab",
        );
    }
}

/// A letter or digit, then also `-`, `.`, `_`.
pub(crate) fn is_name(text: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}
