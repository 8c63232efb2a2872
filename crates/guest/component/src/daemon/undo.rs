//! A Set that failed half way is undone, where the model wants that (`X-Abort`): the configuration of before is set again.

use tracing::{info, warn};
use vnode_action::CancellationToken;

use super::{
    Shared,
    entry::{Entry, Loaded},
};
use crate::{
    definition::{Abort, Command, Operation},
    script::{self, Caller, Request},
};

/// The key of the instance file, as the program of an undo is told it.
const MESSAGE: &str = "X-Abort";

/// Before a Set: sees to it that the configuration of now is known. What was set last is; else it is read.
pub(super) async fn remember(shared: &Shared, entry: &Entry, loaded: &Loaded, number: usize) {
    let model = &loaded.instance.models[number];
    if model.settings.abort.is_none() || entry.applied(&model.name).is_some() {
        return;
    }
    let Some(command) = &model.get else { return };
    match run(
        shared,
        (entry, loaded),
        number,
        (Operation::Get, Operation::Get.word()),
        command,
        None,
    )
    .await
    {
        Ok(data) => entry.apply(&model.name, data),
        Err(error) => warn!(model = model.name, %error, "what is configured now is not known"),
    }
}

/// After a Set that succeeded.
pub(super) fn applied(entry: &Entry, loaded: &Loaded, number: usize, input: &str) {
    let model = &loaded.instance.models[number];
    if model.settings.abort.is_some() {
        entry.apply(&model.name, input.to_owned());
    }
}

/// After a Set that failed.
pub(super) async fn undo(shared: &Shared, entry: &Entry, loaded: &Loaded, number: usize) {
    let model = &loaded.instance.models[number];
    let (command, message) = match (&model.settings.abort, &model.set) {
        (Some(Abort::Replay), Some(set)) => (set, Operation::Set.word()),
        (Some(Abort::Command(command)), _) => (command, MESSAGE),
        _ => return,
    };
    let Some(before) = entry.applied(&model.name) else {
        warn!(model = model.name, "not undone: what was configured before is not known");
        return;
    };
    let done =
        run(shared, (entry, loaded), number, (Operation::Set, message), command, Some(before))
            .await;
    match done {
        Ok(_) => info!(model = model.name, "the configuration of before is set again"),
        Err(error) => warn!(model = model.name, %error, "undoing failed too"),
    }
}

async fn run(
    shared: &Shared,
    (entry, loaded): (&Entry, &Loaded),
    number: usize,
    (operation, message): (Operation, &str),
    command: &Command,
    input: Option<String>,
) -> Result<String, Box<crate::rpc_error::RpcError>> {
    let model = &loaded.instance.models[number];
    let request = Request {
        operation,
        message,
        component: &loaded.instance.name,
        model: &model.name,
        command,
        settings: &model.settings,
        input,
        metadata: None,
        caller: Caller::default(),
        bus: &shared.options.bus,
        strict: false,
    };
    let cancelled: CancellationToken = entry.state().cancelled.clone();
    script::run(request, &cancelled).await
}
