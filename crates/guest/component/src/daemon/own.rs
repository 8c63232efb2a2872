//! The daemon's own component: activate, deactivate, reload, and the state of all.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Shared, entry::Loaded, lifecycle, reload};
use crate::{
    bus::{
        object::{self, Method, Object, Own, Target},
        refusal::Refusal,
    },
    json, names,
    rpc_error::RpcError,
};

/// Component name; upstream's.
pub const NAME: &str = "net.vyatta.vci.ephemera";
/// Model name; upstream's.
pub const MODEL: &str = "net.vyatta.vci.ephemera.v1";
/// Module of activate and deactivate; upstream's.
pub const MODULE: &str = "ephemerad-v1";
/// Module of what upstream does not have.
pub(crate) const EXTENSION: &str = "vnode-component-v1";

/// Its objects.
#[derive(Debug)]
pub(super) struct Objects(Vec<Object>);

impl Default for Objects {
    fn default() -> Self {
        let mut objects = vec![object::state()];
        for (module, name, own) in [
            (MODULE, "activate", Own::Activate),
            (MODULE, "deactivate", Own::Deactivate),
            (EXTENSION, "reload", Own::Reload),
        ] {
            let (path, interface) = (names::rpc_path(module), names::rpc_interface(module));
            object::add(&mut objects, &path, &interface, Method::rpc(name, Target::Own(own)));
        }
        Self(objects)
    }
}

impl Objects {
    pub(super) fn all(&self) -> &[Object] {
        &self.0
    }
}

/// Does what is asked of the daemon itself. The metadata are ignored, as upstream.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    target: Target,
    input: &str,
) -> Result<String, Refusal> {
    match target {
        Target::State => return Ok(state(shared).to_string()),
        Target::Own(Own::Reload) => reload::load(shared).await,
        Target::Own(Own::Activate) => lifecycle::activate(shared, &component(input)?).await?,
        Target::Own(Own::Deactivate) => lifecycle::deactivate(shared, &component(input)?).await?,
        _ => return Err(Refusal::unknown_method("the daemon has no such operation")),
    }
    Ok("{}".to_owned())
}

/// The component an input names. A name that is no string is read as the empty one, as upstream.
fn component(input: &str) -> Result<String, Refusal> {
    const LEAF: &str = "ephemerad-v1:component";
    let input = json::exact(input).map_err(|error| Refusal::failed(error.to_string()))?;
    // The depth is bounded by the parser.
    let input: Value =
        serde_json::from_str(input).map_err(|error| Refusal::failed(error.to_string()))?;
    match input.get(LEAF) {
        Some(name) => Ok(name.as_str().unwrap_or_default().to_owned()),
        None => {
            let message = format!("the input has no `{LEAF}`, which names the component");
            Err(RpcError::invalid_value(message).at("/ephemerad-v1:component").into())
        }
    }
}

fn model(shared: &Shared, loaded: &Loaded, number: usize) -> Value {
    let model = &loaded.instance.models[number];
    let rpcs = model.rpcs.iter().map(|rpc| format!("{}:{}", rpc.module, rpc.name));
    let mut value = json!({
        "name": model.name,
        "check": model.check.is_some(),
        "set": model.set.is_some(),
        "get": model.get.is_some(),
        "state": model.state.is_some(),
        "rpc": rpcs.collect::<Vec<_>>(),
    });
    if let Some(subject) = loaded.subject(number) {
        value["module"] = json!(subject.modules());
        if let Some(problem) = shared.yang.known_problem(&subject) {
            value["unchecked"] = json!(problem);
        }
    }
    value
}

/// What is loaded, active, broken. 64-bit numbers are strings, RFC 7951 section 6.1.
fn state(shared: &Arc<Shared>) -> Value {
    let known = shared.known();
    let components: Vec<Value> = known
        .components
        .values()
        .map(|entry| {
            let state = entry.state();
            let instance = &state.loaded.instance;
            let counters = &state.counters;
            let mut value = json!({
                "name": entry.name,
                "phase": state.phase.word(),
                "file": state.file.display().to_string(),
                "model": (0..instance.models.len())
                    .map(|number| model(shared, &state.loaded, number))
                    .collect::<Vec<_>>(),
                "calls": counters.calls.to_string(),
                "failures": counters.failures.to_string(),
                "busy-microseconds": counters.busy.as_micros().to_string(),
                "last-microseconds": counters.last.as_micros().to_string(),
            });
            if let Some(error) = &counters.last_error {
                value["last-error"] = json!(error);
            }
            if let Some(reason) = &state.broken {
                value["broken"] = json!(reason);
            }
            value
        })
        .collect();
    let broken: Vec<Value> = known
        .broken
        .iter()
        .map(|(file, reason)| json!({ "file": file.display().to_string(), "reason": reason }))
        .collect();
    json!({ "vnode-component-v1:components": { "component": components, "refused": broken } })
}
