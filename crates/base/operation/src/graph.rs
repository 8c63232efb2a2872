//! The dependency graph of a plan, by position in its list of steps.

use std::collections::{HashMap, HashSet};

use crate::plan::Plan;

/// Edges both ways. All vectors have one item for each step.
#[derive(Debug)]
pub(crate) struct Graph {
    /// Steps that this one waits for, whether hard or only in order. Without duplicates.
    pub(crate) prerequisites: Vec<Vec<usize>>,
    /// Steps that cannot be done without this one.
    pub(crate) hard_dependents: Vec<Vec<usize>>,
    /// Steps that only come after this one.
    pub(crate) order_dependents: Vec<Vec<usize>>,
    /// Number of the step's group; a step without one is a group of its own.
    pub(crate) group: Vec<usize>,
    /// Steps of each group.
    pub(crate) members: Vec<Vec<usize>>,
}

impl Graph {
    /// Checks the plan and draws its graph; the error says what is wrong with the plan.
    pub(crate) fn new(plan: &Plan) -> Result<Self, String> {
        let count = plan.steps.len();
        let mut positions = HashMap::with_capacity(count);
        for (position, step) in plan.steps.iter().enumerate() {
            if positions.insert(step.id, position).is_some() {
                return Err(format!("two steps have the id {}", step.id));
            }
        }
        let mut graph = Self {
            prerequisites: Vec::with_capacity(count),
            hard_dependents: vec![Vec::new(); count],
            order_dependents: vec![Vec::new(); count],
            group: Vec::with_capacity(count),
            members: Vec::new(),
        };
        let mut groups: HashMap<&str, usize> = HashMap::new();
        for (position, step) in plan.steps.iter().enumerate() {
            let mut seen = HashSet::with_capacity(step.needs.len() + step.after.len());
            let mut prerequisites = Vec::with_capacity(step.needs.len() + step.after.len());
            // Hard ones first: a step named in both lists is needed.
            let edges = step.needs.iter().map(|id| (id, true));
            for (id, hard) in edges.chain(step.after.iter().map(|id| (id, false))) {
                let Some(&before) = positions.get(id) else {
                    return Err(format!(
                        "step `{}` waits for step {id}, which is not there",
                        step.name
                    ));
                };
                if !seen.insert(before) {
                    continue;
                }
                prerequisites.push(before);
                let dependents =
                    if hard { &mut graph.hard_dependents } else { &mut graph.order_dependents };
                dependents[before].push(position);
            }
            graph.prerequisites.push(prerequisites);
            let group = match &step.group {
                Some(name) => *groups.entry(name).or_insert(graph.members.len()),
                None => graph.members.len(),
            };
            if group == graph.members.len() {
                graph.members.push(Vec::new());
            }
            graph.members[group].push(position);
            graph.group.push(group);
        }
        graph.check_acyclic(plan)?;
        Ok(graph)
    }

    pub(crate) fn dependents(&self, position: usize) -> impl Iterator<Item = usize> + '_ {
        self.hard_dependents[position].iter().chain(&self.order_dependents[position]).copied()
    }

    fn check_acyclic(&self, plan: &Plan) -> Result<(), String> {
        let mut waiting: Vec<usize> = self.prerequisites.iter().map(Vec::len).collect();
        let mut free: Vec<usize> = (0..waiting.len()).filter(|&step| waiting[step] == 0).collect();
        let mut ordered = 0;
        while let Some(step) = free.pop() {
            ordered += 1;
            for dependent in self.dependents(step) {
                waiting[dependent] -= 1;
                if waiting[dependent] == 0 {
                    free.push(dependent);
                }
            }
        }
        if ordered == waiting.len() {
            return Ok(());
        }
        // Every step that still waits, waits for another such: going back ends in the cycle.
        let mut step = waiting.iter().position(|&count| count > 0).unwrap_or_default();
        let mut seen = HashSet::new();
        while seen.insert(step) {
            let before = self.prerequisites[step].iter().find(|&&before| waiting[before] > 0);
            step = before.copied().unwrap_or(step);
        }
        Err(format!("step `{}` waits for itself, by way of others", plan.steps[step].name))
    }
}
