//! Stages, what they wait for, and that they do not wait for each other in a circle (T-34).

use std::collections::{BTreeMap, HashMap};

use crate::keys;
use crate::model::{
    NetworkMode, Node, Phase, PidMode, Stage, StageExec, StageExecTarget, StageName, WaitFor,
};
use crate::parse::fields::{Fields, short, text, texts};
use crate::report::{At, Report};
use crate::yaml::{self, Entry};

/// Where each wait is written: (node, its stage, node waited for, that one's stage).
pub(crate) type Waits = Vec<(String, StageName, WaitFor, At)>;

/// Reads the stages of one node from its layers, most specific first; a stage is taken whole from
/// the first layer that has it.
pub(crate) fn read(
    layers: &[&Entry],
    node: &str,
    waits: &mut Waits,
    report: &mut Report<'_>,
) -> BTreeMap<StageName, Stage> {
    let mut stages = BTreeMap::new();
    for layer in layers {
        let fields = Fields::read(&layer.value, "`stages`", keys::STAGES, report);
        for name in StageName::ALL {
            if let Some(entry) = fields.get(name.as_str())
                && !stages.contains_key(&name)
            {
                stages.insert(name, stage(entry, node, name, waits, report));
            }
        }
    }
    stages
}

fn stage(
    entry: &Entry,
    node: &str,
    name: StageName,
    waits: &mut Waits,
    report: &mut Report<'_>,
) -> Stage {
    let fields = Fields::read(&entry.value, "a stage", keys::STAGE, report);
    let mut stage = Stage::default();
    if let Some(list) = fields.get("wait-for") {
        let yaml::Node::List(items) = &list.value.node else {
            report.error_with(
                &list.value.at,
                "`wait-for` is a list",
                "write `- {node: name, stage: create}` below it",
            );
            return stage;
        };
        for item in items {
            let wait = Fields::read(item, "`wait-for`", keys::WAIT_FOR, report);
            let of = wait.get("node").and_then(|e| text(&e.value, "node", report));
            let at_stage = wait.get("stage").and_then(|e| stage_name(e, report));
            match (of, at_stage) {
                (Some(of), Some(stage_waited)) => {
                    let wait = WaitFor { node: of.to_owned(), stage: stage_waited };
                    waits.push((node.to_owned(), name, wait.clone(), item.at.clone()));
                    stage.wait_for.push(wait);
                }
                (None, _) if wait.get("node").is_none() => {
                    report.error(&item.at, "`wait-for` names no `node`");
                }
                (_, None) if wait.get("stage").is_none() => {
                    report.error(&item.at, "`wait-for` names no `stage`");
                }
                _ => {}
            }
        }
    }
    if let Some(entry) = fields.get("exec") {
        stage.exec = exec(entry, report);
    }
    stage
}

fn stage_name(entry: &Entry, report: &mut Report<'_>) -> Option<StageName> {
    let given = text(&entry.value, "stage", report)?;
    let dashed = given.replace('_', "-");
    let found = StageName::ALL.into_iter().find(|name| name.as_str() == dashed);
    if found.is_none() {
        report.error_with(
            &entry.value.at,
            format!("there is no stage `{}`", short(given)),
            "stages are create, create-links, configure, healthy and exit",
        );
    }
    found
}

/// Both forms: a list of {command, target, phase}, and the older {on-enter: [], on-exit: []}.
fn exec(entry: &Entry, report: &mut Report<'_>) -> Vec<StageExec> {
    let items = match &entry.value.node {
        yaml::Node::List(items) => items,
        _ => {
            let fields =
                Fields::read(&entry.value, "`exec` of a stage", keys::STAGE_EXEC_OLD, report);
            let mut all = Vec::new();
            for (key, phase) in [("on-enter", Phase::OnEnter), ("on-exit", Phase::OnExit)] {
                if let Some(list) = fields.get(key) {
                    all.extend(texts(&list.value, key, report).into_iter().map(|(command, _)| {
                        StageExec {
                            command: command.to_owned(),
                            target: StageExecTarget::Container,
                            phase,
                        }
                    }));
                }
            }
            return all;
        }
    };
    let mut all = Vec::new();
    for item in items {
        let fields = Fields::read(item, "`exec` of a stage", keys::STAGE_EXEC, report);
        let Some(command) = fields.get("command") else {
            report.error(&item.at, "`exec` of a stage names no `command`");
            continue;
        };
        let Some(command) = text(&command.value, "command", report) else { continue };
        let target =
            fields.get("target").and_then(|e| Some((e, text(&e.value, "target", report)?)));
        let target = match target {
            None | Some((_, "container")) => StageExecTarget::Container,
            Some((_, "host")) => StageExecTarget::Host,
            Some((entry, other)) => {
                report.error(
                    &entry.value.at,
                    format!("`target` is container or host, not `{}`", short(other)),
                );
                continue;
            }
        };
        let phase = fields.get("phase").and_then(|e| Some((e, text(&e.value, "phase", report)?)));
        let phase = match phase.map(|(e, given)| (e, given.replace('_', "-"))) {
            None => Phase::OnEnter,
            Some((_, given)) if given == "on-enter" => Phase::OnEnter,
            Some((_, given)) if given == "on-exit" => Phase::OnExit,
            Some((entry, other)) => {
                report.error(
                    &entry.value.at,
                    format!("`phase` is on-enter or on-exit, not `{}`", short(&other)),
                );
                continue;
            }
        };
        all.push(StageExec { command: command.to_owned(), target, phase });
    }
    all
}

/// Checks that all waits are for nodes of the lab, and that none waits, over others, for itself.
pub(crate) fn check(nodes: &[Node], waits: &Waits, report: &mut Report<'_>) {
    let index: HashMap<&str, usize> =
        nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    // One point for the end of each stage of each node: it needs the end of the stage before it,
    // and of what it waits for.
    let stages = StageName::ALL.len();
    let mut needs: Vec<Vec<(usize, Option<At>)>> = vec![Vec::new(); nodes.len() * stages];
    for (at, needs) in needs.iter_mut().enumerate() {
        if at % stages > 0 {
            needs.push((at - 1, None));
        }
    }
    for (node, stage, wait, at) in waits {
        match (index.get(node.as_str()), index.get(wait.node.as_str())) {
            (Some(node), Some(other)) => needs[node * stages + *stage as usize]
                .push((other * stages + wait.stage as usize, Some(at.clone()))),
            (_, None) => {
                report.error(
                    at,
                    format!(
                        "node `{node}` waits for `{}`, which is no node of this lab",
                        short(&wait.node)
                    ),
                );
            }
            (None, _) => {}
        }
    }
    for (at, node) in nodes.iter().enumerate() {
        // A node in the network of another is made after it.
        if let NetworkMode::Node(owner) = &node.network_mode
            && let Some(owner) = index.get(owner.as_str())
        {
            needs[at * stages].push((owner * stages, None));
        }
        // One among the processes of another is started after it, and "configured" begins with the start.
        if let Some(PidMode::Node(owner)) = &node.pid_mode
            && let Some(owner) = index.get(owner.as_str())
        {
            let configure = StageName::Configure as usize;
            needs[at * stages + configure].push((owner * stages + configure, None));
        }
    }
    if let Some(cycle) = find_cycle(&needs) {
        let name = |point: usize| {
            let stage = StageName::ALL[point % stages];
            format!("{}:{}", nodes[point / stages].name, stage.as_str())
        };
        // Steps from stage to stage of one node are what everybody knows; the waits are told.
        let mut told: Vec<(String, At)> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for (point, at) in &cycle {
            names.push(name(*point));
            if let Some(at) = at {
                told.push((format!("`{}` waits here", name(*point)), at.clone()));
            }
        }
        names.push(name(cycle[0].0));
        let text = format!("nodes wait for each other in a circle: {}", names.join(" waits for "));
        match told.is_empty() {
            true => report.error_nowhere(text, "take one of the waits away"),
            false => {
                let (_, first) = told.remove(0);
                report.error_along(
                    &first,
                    text,
                    Some("take one of the waits away".to_owned()),
                    told,
                );
            }
        }
    }
}

/// A circle in the graph: its points in order, each with the place of the wait that leads on.
fn find_cycle(needs: &[Vec<(usize, Option<At>)>]) -> Option<Vec<(usize, Option<At>)>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; needs.len()];
    // A stack of our own: a chain of waits may be as long as the lab.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for start in 0..needs.len() {
        if marks[start] != Mark::New {
            continue;
        }
        stack.push((start, 0));
        marks[start] = Mark::Open;
        while let Some((point, next)) = stack.last_mut() {
            let Some((to, _)) = needs[*point].get(*next) else {
                marks[*point] = Mark::Done;
                stack.pop();
                continue;
            };
            *next += 1;
            match marks[*to] {
                Mark::Done => {}
                Mark::New => {
                    marks[*to] = Mark::Open;
                    stack.push((*to, 0));
                }
                Mark::Open => {
                    let to = *to;
                    let from = stack.iter().position(|(point, _)| *point == to).unwrap_or(0);
                    return Some(
                        stack[from..]
                            .iter()
                            .map(|(point, next)| (*point, needs[*point][next - 1].1.clone()))
                            .collect(),
                    );
                }
            }
        }
    }
    None
}
