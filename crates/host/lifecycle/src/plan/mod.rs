//! From what is to what shall be: the difference of two [`Records`] as a plan of steps.
//!
//! ```text
//! up:    prepare ─▶ control ─┐
//!        image ─▶ create ────┴▶ control interface ─┐
//!                   └─▶ links, LANs ──(order only)─┴▶ boot ─▶ configure ─▶ healthy
//! apply: remove links ─▶ destroy nodes ─▶ remove LANs, then as up, for what is new only
//! ```

mod judge;
mod order;
mod remove;
mod whole;

pub use whole::{down, restore};

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use vnode_operation::{Plan, Recovery, Step};
use vnode_topology::StageName;

use self::judge::{Fate, Judged};
use crate::record::{Before, LARGE_LAN, LinkKind, LinkRecord};
use crate::runner::Was;
use crate::view::ChangeView;
use crate::wanted::Records;
use crate::work::{Work, group_of_image};

/// A plan, and what it changes in words.
#[derive(Debug)]
pub struct Difference {
    pub plan: Plan,
    pub changes: Vec<ChangeView>,
}

/// Time limits of steps that wait for the outside.
const IMAGE: Duration = Duration::from_secs(3600);
/// Longest work on signed lists: many images of many gigabytes.
const LISTS: Duration = Duration::from_secs(7 * 24 * 3600);
const BOOT: Duration = Duration::from_secs(24 * 3600);
const HEALTHY: Duration = Duration::from_secs(600);
const DEFAULT: Duration = Duration::from_secs(60);

/// Plans the way from `old` to `new`. Steps with side effects only where the two differ.
pub fn difference(old: Option<&Records>, new: &Records, boot: bool) -> Difference {
    let kind = if old.is_none() { "lab.up" } else { "lab.apply" };
    let mut plan = Plan::new(kind, format!("lab/{}", new.lab.name));
    // A lab that is new leaves nothing behind when it cannot be made whole; a change of a lab that runs
    // goes on, for half of it may already be gone.
    plan.recovery = if old.is_none() { Recovery::RollBack } else { Recovery::GoOn };
    let mut planner = Planner {
        plan,
        changes: Vec::new(),
        lab: new.lab.name.clone(),
        boot,
        was: Was::default(),
        removed: HashMap::new(),
        ends: HashMap::new(),
        late: HashMap::new(),
        entered: HashMap::new(),
        finished: HashMap::new(),
    };
    let judged = judge::judge(old, new);
    planner.remove(old, new, &judged);
    planner.create(old, new, &judged);
    if old.is_some_and(|old| old.lab.lab.events != new.lab.lab.events) {
        // No step: whoever carries the plan out goes on with the new timeline.
        planner.change("update", "timeline".to_owned(), "its events differ");
    }
    planner.plan.data = planner.was.data();
    Difference { plan: planner.plan, changes: planner.changes }
}

/// A step for `work` with its usual deadline.
pub fn step(work: &Work) -> Step {
    let deadline = match work {
        Work::ImageEnsure { .. } | Work::ImageImport { .. } => IMAGE,
        // As long as its servers go on sending: a stalled one is given up by the download itself.
        Work::ImageLists { .. } => LISTS,
        // What has a limit of its own, the node's: `startup-delay`, `boot-timeout` and `ready-timeout`; or as many gigabytes as a machine has.
        Work::NodeBoot { .. }
        | Work::NodeSave { .. }
        | Work::NodeRenew { .. }
        | Work::NodeSnapshot { .. }
        | Work::NodeRestore { .. } => BOOT,
        Work::NodeHealthy { .. } | Work::NodeConfigure { .. } | Work::NodeExited { .. } => HEALTHY,
        Work::NodeHalt { grace_ms, .. } => {
            DEFAULT + Duration::from_millis(grace_ms.unwrap_or(10_000))
        }
        _ => DEFAULT,
    };
    let data = serde_json::to_value(work).expect("a step's work is plain data");
    Step::new(work.kind(), work.name()).deadline(deadline).data(data)
}

struct Planner {
    plan: Plan,
    changes: Vec<ChangeView>,
    lab: String,
    boot: bool,
    /// What is changed, as it was.
    was: Was,
    /// Steps that remove something of a node or link, by subject, or that free what can be had only once ([`remove`]).
    removed: HashMap<String, Vec<u32>>,
    /// Steps of links with the nodes at their ends.
    ends: HashMap<u32, Vec<String>>,
    /// For each node, those that are made or wired only after one of its stages.
    late: HashMap<String, BTreeSet<String>>,
    /// First step of a node's stage, and the step that finishes it.
    entered: HashMap<(String, StageName), Vec<u32>>,
    finished: HashMap<(String, StageName), Vec<u32>>,
}

impl Planner {
    fn change(&mut self, change: &str, subject: String, because: impl Into<String>) {
        self.changes.push(ChangeView {
            change: change.to_owned(),
            subject,
            because: because.into(),
        });
    }

    fn push(&mut self, work: &Work, group: Option<String>, needs: &[u32], after: &[u32]) -> u32 {
        let mut step = step(work).needs(needs.iter().copied()).after(after.iter().copied());
        step.group = group;
        // One bad node does not keep the others down (T-33); a link that cannot be made as declared does:
        // a lab that silently lacks an impairment is worse than none (T-75).
        if self.plan.recovery == Recovery::GoOn
            || matches!(work.kind(), "image.ensure" | "node.create" | "node.boot" | "node.control")
            || matches!(work.kind(), "node.configure" | "node.healthy" | "node.exited")
        {
            step = step.isolate();
        }
        if matches!(work, Work::NodeHealthy { .. } | Work::NodeExited { .. }) {
            step = step.waits();
        }
        self.plan.push(step)
    }

    fn create(&mut self, old: Option<&Records>, new: &Records, judged: &Judged) {
        let lab = self.lab.clone();
        let anything = judged.create.iter().next().is_some()
            || judged.nodes.values().any(|fate| *fate != Fate::Same);
        let prepare =
            if old.is_none() { Some(self.push(&Work::HostPrepare, None, &[], &[])) } else { None };
        let control_is_new =
            new.lab.control.is_some() && old.is_none_or(|old| old.lab.control.is_none());
        let control_differs =
            new.lab.control.is_some() && old.is_some_and(|old| old.lab.control != new.lab.control);
        if control_differs && !control_is_new {
            self.change("update", "control network".to_owned(), "its definition differs");
        }
        let control = if new.lab.control.is_some()
            && (control_is_new || control_differs || (anything && old.is_some()))
        {
            let needs: Vec<u32> = prepare.into_iter().collect();
            Some(self.push(&Work::ControlEnsure { lab: lab.clone() }, None, &needs, &[]))
        } else {
            None
        };
        let images = self.images(new, judged);
        let mut created: HashMap<&str, u32> = HashMap::new();
        let mut wired: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut shared: Vec<(&str, &str)> = Vec::new();
        for (name, record) in &new.nodes {
            let fate = &judged.nodes[name];
            if matches!(fate, Fate::Same | Fate::Limits | Fate::Renew(_)) {
                continue;
            }
            if *fate == Fate::Create {
                self.change("create", format!("node {name}"), "");
            }
            let node = new.lab.lab.node(name);
            let mut needs: Vec<u32> = prepare.into_iter().collect();
            needs.extend(images.get(&record.image));
            let after = self.removed.get(&format!("node {name}")).cloned().unwrap_or_default();
            let work = Work::NodeCreate { lab: lab.clone(), node: name.clone(), keep: false };
            let group = Some(format!("node {name}"));
            let create = self.push(&work, group.clone(), &needs, &after);
            created.insert(name, create);
            self.entered.insert((name.clone(), StageName::Create), vec![create]);
            self.finished.insert((name.clone(), StageName::Create), vec![create]);
            if record.control.is_some() {
                let needs: Vec<u32> = std::iter::once(create).chain(control).collect();
                let work = Work::NodeControl { lab: lab.clone(), node: name.clone() };
                let after = self.after_control(record.control.as_ref());
                let id = self.push(&work, group, &needs, &after);
                wired.entry(name).or_default().push(id);
            }
            if let Some(vnode_topology::NetworkMode::Node(other)) =
                node.map(|node| &node.network_mode)
            {
                shared.push((name, other));
            }
        }
        for (name, other) in shared {
            if let (Some(&id), Some(&other)) = (created.get(name), created.get(other)) {
                self.need(id, other);
            }
        }
        self.late = order::late(&new.lab.lab);
        self.links(old, new, judged, &created, &mut wired, prepare);
        self.boots(old, new, judged, &created, &wired, &images);
        self.processes(&new.lab.lab, judged);
        self.stages(new);
    }

    /// One step for each image that a new or renewed node is made from.
    fn images(&mut self, new: &Records, judged: &Judged) -> HashMap<String, u32> {
        let mut images = HashMap::new();
        let renewed = |name: &str| !matches!(judged.nodes[name], Fate::Same | Fate::Limits);
        for (name, record) in &new.nodes {
            // A machine that boots a kernel alone has no image.
            let none = record.image.is_empty();
            if none || !renewed(name) || images.contains_key(&record.image) {
                continue;
            }
            let policy = new.lab.lab.node(name).map(|node| node.image_pull_policy);
            let policy = match policy {
                Some(vnode_topology::ImagePullPolicy::Never) => vnode_image::PullPolicy::Never,
                Some(vnode_topology::ImagePullPolicy::Always) => vnode_image::PullPolicy::Always,
                Some(vnode_topology::ImagePullPolicy::IfNotPresent) | None => {
                    vnode_image::PullPolicy::IfNotPresent
                }
            };
            let users = new.nodes.iter().filter(|(_, other)| other.image == record.image);
            let nodes = users.map(|(name, _)| name.clone()).filter(|name| renewed(name)).collect();
            let (lab, image) = (self.lab.clone(), record.image.clone());
            let work = Work::ImageEnsure { lab, image, policy, nodes };
            let id = self.push(&work, Some(group_of_image(&record.image)), &[], &[]);
            images.insert(record.image.clone(), id);
        }
        images
    }

    fn links<'a>(
        &mut self,
        old: Option<&Records>,
        new: &'a Records,
        judged: &Judged,
        created: &HashMap<&'a str, u32>,
        wired: &mut HashMap<&'a str, Vec<u32>>,
        prepare: Option<u32>,
    ) {
        let lab = self.lab.clone();
        for (name, link) in &new.links {
            let before = old.and_then(|old| old.links.get(name));
            let after = self.removed.get(&format!("link {name}")).cloned().unwrap_or_default();
            if link.kind == LinkKind::Lan {
                let is_new = judged.create.contains(name);
                let mut bridge = None;
                if is_new {
                    if before.is_none_or(|before| !before.made) {
                        self.change("create", subject_of(link), "");
                    }
                    let needs: Vec<u32> = prepare.into_iter().collect();
                    let work = Work::LanEnsure { lab: lab.clone(), lan: name.clone() };
                    bridge = Some(self.push(&work, None, &needs, &after));
                } else if judged.set.contains(name) {
                    self.change("update", subject_of(link), "members or impairments differ");
                    self.was.links.extend(before.map(|before| (name.clone(), before.clone())));
                    let work = Work::LanEnsure { lab: lab.clone(), lan: name.clone() };
                    bridge = Some(self.push(&work, None, &[], &after));
                }
                let mut joins = Vec::new();
                for (index, end) in link.ends.iter().enumerate() {
                    let node = created.get(end.node.as_str());
                    if !is_new && node.is_none() && end.made {
                        continue;
                    }
                    let needs: Vec<u32> = bridge.into_iter().chain(node.copied()).collect();
                    let work = Work::LanJoin { lab: lab.clone(), lan: name.clone(), end: index };
                    let group = Some(format!("member {} of {name}", end.name()));
                    let mut after = after.clone();
                    after.extend(self.after_end(&new.lab.lab, end));
                    let id = self.push(&work, group, &needs, &after);
                    joins.push((end.node.as_str(), id));
                }
                if link.ends.len() >= LARGE_LAN && !joins.is_empty() && self.late.is_empty() {
                    // Before the first of them boots, the kernels of all have said most of what they say of their own.
                    let ids: Vec<u32> = joins.iter().map(|(_, id)| *id).collect();
                    let work = Work::LanWired { lab: lab.clone(), lan: name.clone() };
                    let all = self.push(&work, None, &[], &ids);
                    joins.iter_mut().for_each(|(_, id)| *id = all);
                }
                for (node, id) in joins {
                    wired.entry(node).or_default().push(id);
                }
                if judged.set.contains(name) {
                    let work = Work::LinkSet { lab: lab.clone(), link: name.clone() };
                    let joins: BTreeSet<u32> = wired.values().flatten().copied().collect();
                    let joins: Vec<u32> = joins.into_iter().collect();
                    self.push(&work, None, &[], &joins);
                }
                continue;
            }
            if judged.create.contains(name) {
                if before.is_none_or(|before| !before.made) {
                    self.change("create", subject_of(link), "");
                }
                let mut needs: Vec<u32> = prepare.into_iter().collect();
                needs.extend(link.ends.iter().filter_map(|end| created.get(end.node.as_str())));
                let work = Work::LinkCreate { lab: lab.clone(), link: name.clone() };
                let mut after = after;
                for end in &link.ends {
                    after.extend(self.after_end(&new.lab.lab, end));
                }
                let id = self.push(&work, Some(format!("link {name}")), &needs, &after);
                self.ends.insert(id, link.ends.iter().map(|end| end.node.clone()).collect());
                for end in &link.ends {
                    wired.entry(end.node.as_str()).or_default().push(id);
                }
            } else if judged.set.contains(name) {
                self.change("update", subject_of(link), "its impairments differ");
                self.was.links.extend(before.map(|before| (name.clone(), before.clone())));
                let work = Work::LinkSet { lab: lab.clone(), link: name.clone() };
                self.push(&work, None, &[], &[]);
            }
        }
    }

    fn boots(
        &mut self,
        old: Option<&Records>,
        new: &Records,
        judged: &Judged,
        created: &HashMap<&str, u32>,
        wired: &HashMap<&str, Vec<u32>>,
        images: &HashMap<String, u32>,
    ) {
        let lab = self.lab.clone();
        for (name, record) in &new.nodes {
            let node = new.lab.lab.node(name);
            let mut wires = wired.get(name.as_str()).cloned().unwrap_or_default();
            if let Some(late) = self.late.get(name) {
                // A link to a node that waits for this one comes with that node; waiting for it here would be
                // waiting for ourselves.
                let ends = &self.ends;
                wires.retain(|id| {
                    !ends.get(id).is_some_and(|ends| ends.iter().any(|end| late.contains(end)))
                });
            }
            let key = |stage| (name.clone(), stage);
            // Without links the stage is over as soon as the node is there.
            let linked = if wires.is_empty() {
                created.get(name.as_str()).copied().into_iter().collect()
            } else {
                wires.clone()
            };
            self.entered.insert(key(StageName::CreateLinks), linked.clone());
            self.finished.insert(key(StageName::CreateLinks), linked);
            let group = Some(format!("node {name}"));
            match &judged.nodes[name] {
                Fate::Same => continue,
                Fate::Limits => {
                    self.change("update", format!("node {name}"), "its limits differ");
                    self.was.nodes.insert(name.clone(), before(old, name));
                    let work = Work::NodeLimits { lab: lab.clone(), node: name.clone() };
                    self.push(&work, group, &[], &[]);
                    continue;
                }
                Fate::Renew(because) => {
                    self.change("recreate", format!("node {name}"), because.clone());
                    let needs: Vec<u32> = images.get(&record.image).copied().into_iter().collect();
                    let before = Box::new(before(old, name));
                    let work = Work::NodeRenew { lab: lab.clone(), node: name.clone(), before };
                    let renew = self.push(&work, group.clone(), &needs, &wires);
                    let work = Work::NodeConfigure { lab: lab.clone(), node: name.clone() };
                    let configure = self.push(&work, group, &[renew], &[]);
                    self.entered.insert(key(StageName::Configure), vec![renew]);
                    self.finished.insert(key(StageName::Configure), vec![configure]);
                    continue;
                }
                Fate::Create | Fate::Recreate(_) => {}
            }
            if !self.boot {
                continue;
            }
            let create = created[name.as_str()];
            let work = Work::NodeBoot { lab: lab.clone(), node: name.clone() };
            let boot = self.push(&work, group.clone(), &[create], &wires);
            self.entered.insert(key(StageName::Configure), vec![boot]);
            self.finished.insert(key(StageName::Configure), vec![boot]);
            let mut last = boot;
            if node.is_some_and(|node| !node.exec.is_empty() || !node.stages.is_empty()) {
                let work = Work::NodeConfigure { lab: lab.clone(), node: name.clone() };
                last = self.push(&work, group.clone(), &[boot], &[]);
                self.finished.insert(key(StageName::Configure), vec![last]);
                // What a stage runs belongs to it, and is run where a process is: only then is the stage over.
                for stage in [StageName::Create, StageName::CreateLinks] {
                    let runs = node.and_then(|node| node.stages.get(&stage));
                    if runs.is_some_and(|stage| !stage.exec.is_empty()) {
                        self.finished.insert(key(stage), vec![last]);
                    }
                }
            }
            let awaited = |stage| {
                new.lab.lab.nodes.iter().flat_map(|other| other.stages.values()).any(|other| {
                    other.wait_for.iter().any(|wait| wait.node == *name && wait.stage == stage)
                })
            };
            if awaited(StageName::Healthy)
                || node.is_some_and(|node| node.stages.contains_key(&StageName::Healthy))
            {
                let work = Work::NodeHealthy { lab: lab.clone(), node: name.clone() };
                let id = self.push(&work, None, &[last], &[]);
                self.entered.insert(key(StageName::Healthy), vec![id]);
                self.finished.insert(key(StageName::Healthy), vec![id]);
            }
            if awaited(StageName::Exit) {
                let work = Work::NodeExited { lab: lab.clone(), node: name.clone() };
                let id = self.push(&work, None, &[boot], &[]);
                self.finished.insert(key(StageName::Exit), vec![id]);
            }
        }
    }

    fn need(&mut self, id: u32, other: u32) {
        let step = &mut self.plan.steps[id as usize];
        if !step.needs.contains(&other) {
            step.needs.push(other);
        }
    }
}

/// What a node that is to be changed is now.
fn before(old: Option<&Records>, name: &str) -> Before {
    let found = old.and_then(|old| {
        let (node, record) = (old.lab.lab.node(name)?.clone(), old.nodes.get(name)?.clone());
        Some(Before { node, record })
    });
    found.expect("only a node that is there is judged to be changed")
}

fn subject_of(link: &LinkRecord) -> String {
    match link.kind {
        LinkKind::Lan => format!("network {}", link.link),
        _ => format!("link {}", link.link),
    }
}
