//! Scaling: how far an aspect goes, and what its scripts are told.

use std::collections::BTreeMap;

use vnode_vnfpkg::{Aspect, Descriptor};

use super::Ask;
use crate::{
    error::{Failure, Result},
    model::{Instance, Occurrence},
};

/// One way between two levels of an aspect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    name: &'a str,
    aspect: &'a Aspect,
    from: u32,
    to: u32,
}

impl<'a> Way<'a> {
    /// What is asked for, if it can be.
    pub(super) fn asked(
        instance: &Instance,
        descriptor: &'a Descriptor,
        ask: &'a Ask,
    ) -> Result<Self> {
        let (name, shown) = (&instance.name, ask.aspect.escape_debug());
        let aspect = descriptor
            .scaling
            .get(&ask.aspect)
            .ok_or_else(|| Failure::invalid(format!("{name} has no aspect `{shown}` to scale")))?;
        if ask.steps == 0 {
            return Err(Failure::invalid("scaling takes one step or more"));
        }
        let from = instance.scale.get(&ask.aspect).copied().unwrap_or(0);
        let to =
            if ask.scale_in { from.checked_sub(ask.steps) } else { from.checked_add(ask.steps) };
        // One that an older revision brought beyond what this one allows may come back.
        match to.filter(|to| ask.scale_in || *to <= aspect.max_steps) {
            Some(to) => Ok(Self { name: &ask.aspect, aspect, from, to }),
            None => Err(Failure::conflict(format!(
                "{name} is at step {from} of {shown}, of at most {}",
                aspect.max_steps
            ))),
        }
    }

    /// The way back of an operation that has not come to its end.
    fn undone(op: &'a Occurrence, instance: &Instance, descriptor: &'a Descriptor) -> Option<Self> {
        let name = op.params["aspect"].as_str()?;
        let aspect = descriptor.scaling.get(name)?;
        let steps = op.params["steps"].as_u64().and_then(|steps| u32::try_from(steps).ok())?;
        let to = instance.scale.get(name).copied().unwrap_or(0);
        // Down is not undone.
        Some(Self { name, aspect, from: to.checked_add(steps)?, to })
    }

    /// By how many units the aspect grows or shrinks.
    pub(super) fn delta(&self) -> u64 {
        self.aspect.units(self.from).abs_diff(self.aspect.units(self.to))
    }

    /// What scripts are told.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let word = if self.to < self.from { "SCALE_IN" } else { "SCALE_OUT" };
        [
            ("TYPE", word.to_owned()),
            ("ASPECT", self.name.to_owned()),
            ("STEPS", self.from.abs_diff(self.to).to_string()),
            ("DELTA", self.delta().to_string()),
            ("TOTAL", self.aspect.units(self.to).to_string()),
        ]
        .map(|(key, value)| (format!("VNF_SCALE_{key}"), value))
        .into()
    }
}

/// What scripts are told that undo a scaling; nothing of other operations.
pub(crate) fn variables_back(
    op: &Occurrence,
    instance: &Instance,
    descriptor: &Descriptor,
) -> BTreeMap<String, String> {
    let way = Way::undone(op, instance, descriptor);
    way.map_or_else(BTreeMap::new, |way| way.variables())
}
