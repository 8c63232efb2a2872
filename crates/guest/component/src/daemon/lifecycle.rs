//! Activating and deactivating components.

use std::{path::Path, sync::Arc};

use futures_util::future::join_all;
use tracing::{debug, info, warn};
use vnode_action::CancellationToken;
use vnode_protocol::chain;

use super::{
    DRAIN, Shared,
    entry::{Entry, Loaded, Phase},
};
use crate::{
    bus::{names, refusal::Refusal},
    definition::{Command, Operation},
    rpc_error::RpcError,
    script::{self, Caller, Request},
};

/// Runs Start, then serves and claims the names. Active already is success.
pub(super) async fn activate(shared: &Arc<Shared>, name: &str) -> Result<(), Refusal> {
    let entry = find(shared, name)?;
    let _turn = entry.lifecycle.lock().await;
    if entry.state().phase == Phase::Active {
        return Ok(());
    }
    if shared.known().ending {
        return Err(Refusal::failed("the daemon is ending: nothing is activated any more"));
    }
    let loaded = {
        let mut state = entry.state();
        state.phase = Phase::Starting;
        state.cancelled = CancellationToken::new();
        Arc::clone(&state.loaded)
    };
    let result = start(shared, &entry, &loaded).await;
    entry.state().phase = if result.is_ok() { Phase::Active } else { Phase::Inactive };
    match &result {
        Ok(()) => info!(component = name, "active"),
        Err(refusal) => warn!(component = name, error = refusal.text(), "not activated"),
    }
    result
}

async fn start(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    loaded: &Arc<Loaded>,
) -> Result<(), Refusal> {
    let instance = &loaded.instance;
    if let Err(error) = run(shared, entry, loaded, Operation::Start).await {
        let required = instance.settings.start_required.unwrap_or(!shared.options.strict_compat);
        if required {
            return Err(Refusal::Record(error));
        }
        warn!(component = entry.name, %error, "Start failed, which this component allows");
    }
    let claimed = claim(shared, entry, loaded).await;
    if claimed.is_err()
        && let Err(error) = run(shared, entry, loaded, Operation::Stop).await
    {
        warn!(component = entry.name, %error, "Stop failed");
    }
    claimed
}

/// Serves and claims every name; none, when one is refused.
async fn claim(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    loaded: &Arc<Loaded>,
) -> Result<(), Refusal> {
    let bus = shared.bus();
    let wanted = loaded.instance.names();
    {
        let mut known = shared.known();
        if let Some(name) = wanted.iter().find(|name| known.is_taken(name, entry)) {
            return Err(Refusal::failed(format!(
                "the bus name `{name}` belongs to another component"
            )));
        }
        // Before the claim: the first call may come with its answer.
        known.serve(entry, loaded);
    }
    for (number, name) in wanted.iter().enumerate() {
        if let Err(error) = names::claim(&bus, name).await {
            shared.known().silence(entry);
            release(shared, &wanted[..number]).await;
            return Err(match &error {
                names::Error::Bus { source, .. } => match Refusal::of_bus(source) {
                    Refusal::Named(kind, text) => Refusal::Named(kind, format!("`{name}`: {text}")),
                    record => record,
                },
                names::Error::Taken(_) => Refusal::failed(chain(&error)),
            });
        }
    }
    Ok(())
}

async fn release(shared: &Arc<Shared>, wanted: &[&str]) {
    let bus = shared.bus();
    for name in wanted {
        if let Err(error) = names::release(&bus, name).await {
            // Only a bus that is gone refuses, and then the name is gone too.
            debug!(name, %error, "a name is not given back");
        }
    }
}

/// Finishes what runs, runs Stop, gives the names back. Not active is success.
pub(super) async fn deactivate(shared: &Arc<Shared>, name: &str) -> Result<(), Refusal> {
    let entry = find(shared, name)?;
    stop(shared, &entry).await;
    Ok(())
}

pub(super) async fn stop(shared: &Arc<Shared>, entry: &Arc<Entry>) {
    let _turn = entry.lifecycle.lock().await;
    let (loaded, cancelled) = {
        let mut state = entry.state();
        if state.phase != Phase::Active {
            return;
        }
        state.phase = Phase::Stopping;
        (Arc::clone(&state.loaded), state.cancelled.clone())
    };
    if !entry.wait_idle(DRAIN).await {
        cancelled.cancel();
        entry.wait_idle(DRAIN).await;
    }
    entry.state().cancelled = CancellationToken::new();
    if let Err(error) = run(shared, entry, &loaded, Operation::Stop).await {
        warn!(component = entry.name, %error, "Stop failed");
    }
    release(shared, &loaded.instance.names()).await;
    shared.known().silence(entry);
    entry.forget();
    entry.unlearn();
    entry.state().phase = Phase::Inactive;
    info!(component = entry.name, "not active any more");
}

/// Stops every active component; nothing is activated after.
pub(super) async fn stop_all(shared: &Arc<Shared>) {
    let entries: Vec<Arc<Entry>> = {
        let mut known = shared.known();
        known.ending = true;
        known.components.values().cloned().collect()
    };
    join_all(entries.iter().map(|entry| stop(shared, entry))).await;
}

/// Replaces the definition of a component that is active: its next call runs what is new. When a new name is
/// refused, all stays as it was.
pub(super) async fn swap(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    new: Arc<Loaded>,
) -> Result<(), Refusal> {
    let _turn = entry.lifecycle.lock().await;
    let old = entry.loaded();
    if entry.state().phase == Phase::Active {
        let (before, after) = (old.instance.names(), new.instance.names());
        if let Err(refusal) = claim(shared, entry, &new).await {
            // `claim` gave back all it asked for, those of before among them.
            if let Err(worse) = claim(shared, entry, &old).await {
                warn!(component = entry.name, error = worse.text(), "its old names are lost");
            }
            return Err(refusal);
        }
        let gone: Vec<&str> = before.into_iter().filter(|name| !after.contains(name)).collect();
        release(shared, &gone).await;
    }
    entry.state().loaded = new;
    entry.forget();
    Ok(())
}

/// On another bus than before: claims the names of what is active.
pub(super) async fn claim_again(shared: &Arc<Shared>) {
    let entries: Vec<Arc<Entry>> = shared.known().components.values().cloned().collect();
    for entry in entries {
        let _turn = entry.lifecycle.lock().await;
        if entry.state().phase != Phase::Active {
            continue;
        }
        if let Err(refusal) = claim(shared, &entry, &entry.loaded()).await {
            warn!(component = entry.name, error = refusal.text(), "not active any more");
            entry.state().phase = Phase::Inactive;
        }
    }
}

fn find(shared: &Arc<Shared>, name: &str) -> Result<Arc<Entry>, Refusal> {
    let found = shared.known().components.get(name).cloned();
    found.ok_or_else(|| Refusal::failed(format!("there is no component `{name}`")))
}

async fn run(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    loaded: &Arc<Loaded>,
    operation: Operation,
) -> Result<(), Box<RpcError>> {
    let instance = &loaded.instance;
    let command: &Option<Command> =
        if operation == Operation::Start { &instance.start } else { &instance.stop };
    let Some(command) = command else { return Ok(()) };
    // Upstream's own example has it so, and it works there: what cannot be run is no Start that fails.
    if command.argv.first().is_some_and(|program| Path::new(program).is_dir()) {
        warn!(component = entry.name, "`{operation}` names a folder: as if it were not there");
        return Ok(());
    }
    let request = Request {
        operation,
        message: operation.word(),
        component: &instance.name,
        model: "",
        command,
        settings: &instance.settings,
        input: None,
        metadata: None,
        caller: Caller::default(),
        bus: &shared.options.bus,
        strict: shared.options.strict_compat,
    };
    let cancelled = entry.state().cancelled.clone();
    script::run(request, &cancelled).await.map(drop)
}
