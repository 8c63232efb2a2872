//! What may be done when, and what it makes of an instance (`vnf.md` 4.1 and 4.2).

use serde_json::{Value, json};

use super::usable;
use crate::functions::{Ask, Task};
use crate::problem::Problem;
use crate::records::{Instance, Occurrence, Operation, Package, Phase};
use crate::service::State;

pub(super) fn task(target: &Instance, ask: Ask) -> Option<Task> {
    let in_node = target.instantiated
        || !matches!(
            ask,
            Ask::Configure { .. } | Ask::Retry | Ask::Rollback | Ask::Fail | Ask::Settle
        )
        || target.node.is_some();
    let idle = matches!(&ask, Ask::Configure { parameters } if parameters.is_empty() || !target.instantiated);
    let node = target.node.clone().filter(|_| in_node && !idle)?;
    Some(Task { node, function: target.function(), ask })
}

pub(super) fn steps(params: &Value) -> u32 {
    params["numberOfSteps"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1)
}

pub(super) fn removable(instance: &Instance) -> Result<(), Problem> {
    if instance.instantiated {
        return Err(Problem::conflict(format!(
            "instance `{}` is INSTANTIATED; terminate it first",
            instance.id
        )));
    }
    if let Some(busy) = instance.busy {
        return Err(Problem::conflict(format!("operation `{busy}` of the instance is not final")));
    }
    Ok(())
}

pub(super) fn failed_for_now(found: &Occurrence) -> Result<(), Problem> {
    if found.phase == Phase::FailedTemp {
        return Ok(());
    }
    Err(Problem::conflict(format!("operation `{}` is not in FAILED_TEMP", found.id)))
}

/// Whether the operation may begin in the instance's state.
pub(super) fn permitted(
    state: &State,
    target: &Instance,
    operation: Operation,
    params: &Value,
) -> Result<(), Problem> {
    if let Some(busy) = target.busy {
        return Err(Problem::conflict(format!(
            "operation `{busy}` of the instance is not final; wait for it, or retry, roll back or fail it"
        )));
    }
    let id = target.id;
    match operation {
        Operation::Instantiate if target.instantiated => {
            return Err(Problem::conflict(format!("instance `{id}` is INSTANTIATED already")));
        }
        Operation::Instantiate | Operation::ModifyInfo => {}
        _ if !target.instantiated => {
            return Err(Problem::conflict(format!("instance `{id}` is NOT_INSTANTIATED")));
        }
        _ => {}
    }
    match operation {
        Operation::Scale => {
            let aspect = params["aspectId"].as_str().unwrap_or_default();
            let Some(&most) = target.product.aspects.get(aspect) else {
                return Err(Problem::at(
                    "/aspectId",
                    format!("the function has no aspect `{aspect}`"),
                ));
            };
            let level = i64::from(target.levels.get(aspect).copied().unwrap_or(0));
            let step = i64::from(steps(params));
            let after = if params["type"] == "SCALE_IN" { level - step } else { level + step };
            if !(0..=i64::from(most)).contains(&after) {
                return Err(Problem::conflict(format!(
                    "aspect `{aspect}` is at {level} of {most}; {step} steps lead out of it"
                )));
            }
        }
        Operation::ChangeVnfpkg => {
            usable(state, params["vnfdId"].as_str().unwrap_or_default())?;
        }
        _ => {}
    }
    Ok(())
}

/// What a completed operation made of its instance.
pub(super) fn completed(state: &State, target: &mut Instance, found: &Occurrence) {
    let params = &found.params;
    match found.operation {
        Operation::Instantiate => {
            target.instantiated = true;
            target.started = true;
            target.flavour = params["flavourId"].as_str().unwrap_or("default").to_owned();
        }
        Operation::Terminate => {
            target.instantiated = false;
            target.started = false;
            target.levels.clear();
        }
        Operation::Operate => target.started = params["changeStateTo"] != "STOPPED",
        Operation::Heal => target.started = true,
        Operation::Scale => {
            let aspect = params["aspectId"].as_str().unwrap_or_default().to_owned();
            let level = target.levels.entry(aspect).or_default();
            *level = match params["type"] == "SCALE_IN" {
                true => level.saturating_sub(steps(params)),
                false => level.saturating_add(steps(params)),
            };
        }
        Operation::ModifyInfo => modified(target, params),
        Operation::ChangeVnfpkg => {
            let package = usable(state, params["vnfdId"].as_str().unwrap_or_default());
            if let Ok(Package { id, product: Some(product), .. }) = package {
                target.package = *id;
                target.product = product.clone();
            }
        }
    }
}

/// RFC 7396: what is there replaces, null takes away.
fn modified(target: &mut Instance, params: &Value) {
    if let Some(name) = params["vnfInstanceName"].as_str() {
        name.clone_into(&mut target.name);
    }
    if let Some(description) = params["vnfInstanceDescription"].as_str() {
        description.clone_into(&mut target.description);
    }
    for (key, map) in [
        ("metadata", &mut target.metadata),
        ("vnfConfigurableProperties", &mut target.configurable),
    ] {
        for (name, value) in params[key].as_object().into_iter().flatten() {
            if value.is_null() {
                map.remove(name);
            } else {
                map.insert(name.clone(), value.clone());
            }
        }
    }
}

/// The body of a request that an occurrence keeps: without what SOL003 lets a client send and nobody here reads.
pub(crate) fn kept(mut params: Value, ignored: &[&str]) -> Value {
    if let Some(map) = params.as_object_mut() {
        map.retain(|key, _| !ignored.contains(&key.as_str()));
    }
    if params.is_null() { json!({}) } else { params }
}
