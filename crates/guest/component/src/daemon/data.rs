//! A model's data checked against its YANG modules, where they are known.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, PoisonError},
};

use tracing::{debug, warn};
use vnode_protocol::chain;

use super::{Options, Shared, entry::Loaded};
use crate::{
    bus::refusal::Refusal,
    definition::{Component, Instance, Operation, read_file},
    yang::{Direction, Kind, Name, Subject},
};

/// Longest text that is checked while everything else waits, in bytes: some 10 ms.
const LARGE: usize = 256 << 10;

/// Modules of models, as the component files have them.
pub(super) type Declared = HashMap<String, Vec<String>>;

/// What the component files say of the modules of models. Read only when somebody knows where modules are.
pub(super) fn declared<'a>(
    options: &Options,
    mut instances: impl Iterator<Item = &'a Instance>,
) -> Declared {
    let mut declared = Declared::new();
    let named =
        |instance: &Instance| instance.models.iter().any(|model| model.settings.yang.is_some());
    if options.yang.is_empty() && !instances.any(named) {
        return declared;
    }
    let items = match std::fs::read_dir(&options.components) {
        Ok(items) => items,
        Err(error) => {
            debug!(folder = %options.components.display(), %error, "no component files");
            return declared;
        }
    };
    for path in items.flatten().map(|item| item.path()) {
        if path.extension().is_some_and(|extension| extension == "component") {
            match read_component(&path) {
                Ok(component) => declared
                    .extend(component.models.into_iter().map(|model| (model.name, model.modules))),
                Err(reason) => warn!(file = %path.display(), %reason, "its modules are not known"),
            }
        }
    }
    declared
}

fn read_component(path: &Path) -> Result<Component, String> {
    let bytes = read_file(path).map_err(|error| chain(&error))?;
    Component::read(&bytes).map(|read| read.value).map_err(|invalid| invalid.to_string())
}

/// Of each model, what is known of its modules.
pub(super) fn subjects(
    options: &Options,
    instance: &Instance,
    declared: &Declared,
) -> Vec<Option<Arc<Subject>>> {
    let subject = |model: &crate::definition::Model| {
        let declared = declared.get(&model.name).map(Vec::as_slice);
        Subject::of(model, &options.yang, declared).map(Arc::new)
    };
    instance.models.iter().map(subject).collect()
}

/// Whether RPCs of a module are checked here, so that the schema service need not be asked.
pub(super) fn knows(loaded: &Loaded, model: usize, module: &str) -> bool {
    loaded.subject(model).is_some_and(|subject| {
        subject.checks(Direction::Input) && subject.modules().iter().any(|known| known == module)
    })
}

/// One text of a model's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datum {
    pub(super) model: usize,
    pub(super) operation: Operation,
    /// Of an RPC, its number.
    pub(super) rpc: Option<usize>,
    pub(super) direction: Direction,
}

/// Checks a text, which is JSON.
///
/// # Errors
/// The record of the first violation.
pub(super) async fn check(
    shared: &Arc<Shared>,
    loaded: &Arc<Loaded>,
    datum: Datum,
    text: &str,
) -> Result<(), Refusal> {
    let Some(subject) =
        loaded.subject(datum.model).filter(|subject| subject.checks(datum.direction))
    else {
        return Ok(());
    };
    if text.len() <= LARGE && shared.yang.is_ready(&subject) {
        return judge(shared, loaded, &subject, datum, text);
    }
    let (shared, loaded, text) = (Arc::clone(shared), Arc::clone(loaded), text.to_owned());
    let checked =
        tokio::task::spawn_blocking(move || judge(&shared, &loaded, &subject, datum, &text));
    checked.await.unwrap_or_else(|_| Err(Refusal::failed("the daemon has a defect, see its log")))
}

fn judge(
    shared: &Shared,
    loaded: &Loaded,
    subject: &Subject,
    datum: Datum,
    text: &str,
) -> Result<(), Refusal> {
    let model = &loaded.instance.models[datum.model];
    let rpc = datum.rpc.map(|number| &model.rpcs[number]);
    let rpc = rpc.map(|rpc| Name { module: &rpc.module, name: &rpc.name });
    let kind = match (datum.operation, datum.direction, rpc) {
        (Operation::Set | Operation::Check, Direction::Input, _) => Kind::Candidate,
        (Operation::Get, Direction::Output, _) => Kind::Running,
        (Operation::State, Direction::Output, _) => Kind::State,
        (Operation::Rpc, Direction::Input, Some(rpc)) => Kind::Input(rpc),
        (Operation::Rpc, Direction::Output, Some(rpc)) => Kind::Output(rpc),
        // No other operation has data.
        _ => return Ok(()),
    };
    let known = |name: &Name<'_>| subject.modules().iter().any(|module| module == name.module);
    if rpc.as_ref().is_some_and(|rpc| !known(rpc)) {
        return Ok(());
    }
    shared.yang.check(subject, kind, text).map_err(Refusal::Record)
}

impl Loaded {
    /// What is known of a model's modules.
    pub(super) fn subject(&self, model: usize) -> Option<Arc<Subject>> {
        let subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        subjects.get(model).cloned().flatten()
    }

    /// The modules of the models are others, or elsewhere.
    pub(super) fn learn(&self, subjects: Vec<Option<Arc<Subject>>>) {
        *self.subjects.lock().unwrap_or_else(PoisonError::into_inner) = subjects;
    }
}
