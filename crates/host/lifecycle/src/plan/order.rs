//! What comes after what: stages that wait for each other, and nodes among the processes of others.

use std::collections::{BTreeSet, HashMap};

use vnode_topology::{Lab, PidMode, StageName};

use super::Planner;
use super::judge::{Fate, Judged};
use crate::wanted::Records;
use crate::work::Work;

impl Planner {
    /// A node among the processes of another is started after it, and again when that one is.
    pub(super) fn processes(&mut self, lab: &Lab, judged: &Judged) {
        for node in &lab.nodes {
            let Some(PidMode::Node(owner)) = &node.pid_mode else { continue };
            let start = |name: &String| self.entered.get(&(name.clone(), StageName::Configure));
            let Some(begun) = start(owner).cloned() else { continue };
            match start(&node.name).cloned() {
                Some(own) => {
                    for (id, other) in own.iter().flat_map(|id| begun.iter().map(move |o| (id, o)))
                    {
                        self.need(*id, *other);
                    }
                }
                None if matches!(judged.nodes.get(&node.name), Some(Fate::Same | Fate::Limits)) => {
                    // Whoever starts the owner starts this one; see `follow`.
                    let because = format!("the processes of `{owner}` begin anew");
                    self.change("restart", format!("node {}", node.name), because);
                }
                None => {}
            }
        }
    }

    /// `wait-for`: the first steps of a stage need the last ones of another node's stage.
    pub(super) fn stages(&mut self, new: &Records) {
        for node in new.lab.lab.nodes.iter().filter(|node| node.kind.is_run()) {
            for (stage, definition) in &node.stages {
                for wait in &definition.wait_for {
                    let Some(entered) = self.entered.get(&(node.name.clone(), *stage)).cloned()
                    else {
                        continue;
                    };
                    for other in self.finished(new, &wait.node, wait.stage) {
                        for id in &entered {
                            self.need(*id, other);
                        }
                    }
                }
            }
        }
    }

    /// The last steps of a node's stage. A node that is not made now has gone through its stages but for what it does by
    /// itself: whether it is healthy by now, or has ended, is waited for in a step of its own.
    fn finished(&mut self, new: &Records, node: &str, stage: StageName) -> Vec<u32> {
        let key = (node.to_owned(), stage);
        if let Some(finished) = self.finished.get(&key) {
            return finished.clone();
        }
        // Whoever was halted becomes healthy when somebody boots it, which may be never.
        let runs = new.nodes.get(node).is_some_and(|record| record.made && record.wanted);
        let (lab, name) = (self.lab.clone(), node.to_owned());
        let work = match stage {
            StageName::Healthy if runs => Work::NodeHealthy { lab, node: name },
            StageName::Exit if runs => Work::NodeExited { lab, node: name },
            _ => return Vec::new(),
        };
        let begun = self.finished.get(&(node.to_owned(), StageName::Configure)).cloned();
        let id = self.push(&work, None, &begun.unwrap_or_default(), &[]);
        self.finished.insert(key, vec![id]);
        vec![id]
    }
}

/// For each node, the nodes whose creation or wiring waits for one of its stages, directly or by way of others.
pub(super) fn late(lab: &Lab) -> HashMap<String, BTreeSet<String>> {
    let mut late: HashMap<String, BTreeSet<String>> = HashMap::new();
    for node in &lab.nodes {
        for stage in [StageName::Create, StageName::CreateLinks] {
            for wait in node.stages.get(&stage).iter().flat_map(|stage| &stage.wait_for) {
                late.entry(wait.node.clone()).or_default().insert(node.name.clone());
            }
        }
    }
    loop {
        let mut grown = false;
        for name in late.keys().cloned().collect::<Vec<_>>() {
            let further: BTreeSet<String> = late[&name]
                .iter()
                .filter_map(|other| late.get(other))
                .flatten()
                .filter(|other| **other != name)
                .cloned()
                .collect();
            let own = late.entry(name).or_default();
            let before = own.len();
            own.extend(further);
            grown |= own.len() > before;
        }
        if !grown {
            return late;
        }
    }
}
