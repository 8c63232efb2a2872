//! Data checked against YANG, where a model's modules are known. libyang does the work.
//!
//! * [`Subject`]: which modules a model has, and where they are. [`Schemas`]: modules that were read, and the check.
//! * `library`: libyang's functions (`absent` in a program built without). `complaint`: its errors as RFC 6241 has
//!   them. `shape`: what is looked at before.
//!
//! Modules are read when data are checked for the first time; a program that knows none never touches libyang. Models
//! whose modules are in the same folders share what was read.

#[cfg(not(feature = "yang"))]
mod absent;
mod complaint;
#[cfg(feature = "yang")]
mod library;
mod shape;
mod subject;

#[cfg(not(feature = "yang"))]
use absent as library;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use crate::rpc_error::RpcError;
pub use subject::{Direction, Subject};

/// An RPC or a notification of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    pub module: &'a str,
    pub name: &'a str,
}

/// What a text is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A configuration to be checked or set: everything the modules demand, mandatory nodes included.
    Candidate,
    /// A configuration as a program tells it: the same, but a module may have no data at all.
    Running,
    /// Operational state, RFC 8342 section 5.3: what is demanded of configuration nodes does not count, since they are
    /// not in it.
    State,
    Input(Name<'a>),
    Output(Name<'a>),
    Notification(Name<'a>),
}

impl<'a> Kind<'a> {
    /// Whether it goes into a program or comes out.
    pub fn direction(self) -> Direction {
        match self {
            Self::Candidate | Self::Input(_) | Self::Notification(_) => Direction::Input,
            Self::Running | Self::State | Self::Output(_) => Direction::Output,
        }
    }

    fn operation(self) -> Option<Name<'a>> {
        match self {
            Self::Input(name) | Self::Output(name) | Self::Notification(name) => Some(name),
            _ => None,
        }
    }
}

/// Modules of one list of folders.
#[derive(Debug, Default)]
struct Shelf {
    context: RwLock<Option<library::Context>>,
    /// Modules that cannot be read, and why.
    refused: Mutex<HashMap<String, String>>,
}

impl Shelf {
    fn is_ready(&self, subject: &Subject) -> bool {
        // Somebody reads modules just now: then they are not.
        let Ok(context) = self.context.try_read() else { return false };
        context
            .as_ref()
            .is_some_and(|context| subject.modules().iter().all(|module| context.has(module)))
    }
}

/// All modules that were read.
#[derive(Debug, Default)]
pub struct Schemas {
    shelves: Mutex<HashMap<Vec<PathBuf>, Arc<Shelf>>>,
}

impl Schemas {
    /// Reads everything anew when it is needed next: the files may be others.
    pub fn forget(&self) {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the modules of a model are read already, so that a check takes no time to speak of.
    pub fn is_ready(&self, subject: &Subject) -> bool {
        self.shelf(subject).is_ready(subject)
    }

    /// Checks a text, which is one JSON value. Data of which nothing is known are valid: [`Schemas::problem`] tells.
    ///
    /// # Errors
    /// The record for the caller, of the first violation.
    pub fn check(
        &self,
        subject: &Subject,
        kind: Kind<'_>,
        text: &str,
    ) -> Result<(), Box<RpcError>> {
        // No output is an empty one.
        let text =
            if text == "null" && kind.direction() == Direction::Output { "{}" } else { text };
        let Ok(shelf) = self.prepare(subject) else { return Ok(()) };
        if !shape::check(subject, kind, text)? {
            return Ok(());
        }
        let whole = match kind.operation() {
            Some(Name { module, name }) => &format!("{{\"{module}:{name}\":{text}}}"),
            None => text,
        };
        let context = shelf.context.read().unwrap_or_else(PoisonError::into_inner);
        let Some(context) = context.as_ref() else { return Ok(()) };
        let found = context.check(kind, subject.modules(), whole);
        let counts = |complaint: &complaint::Complaint, path: &str| {
            kind != Kind::State
                || complaint.stage == complaint::Stage::Form
                || (complaint.app_tag != "instance-required"
                    && context.is_state(&complaint::without_keys(path)).unwrap_or(true))
        };
        let mut records = found.iter().filter_map(|complaint| {
            let record = complaint.record(kind, whole);
            counts(complaint, &record.path).then_some(record)
        });
        records.next().map_or(Ok(()), |record| Err(Box::new(record)))
    }

    /// Why the data of a model are not checked, if they are not; reads its modules.
    pub fn problem(&self, subject: &Subject) -> Option<String> {
        self.prepare(subject).err()
    }

    /// Whether a module has this RPC, notification or data node at its top; reads the modules.
    pub fn defines(&self, subject: &Subject, module: &str, name: &str) -> bool {
        let Ok(shelf) = self.prepare(subject) else { return false };
        let context = shelf.context.read().unwrap_or_else(PoisonError::into_inner);
        context
            .as_ref()
            .is_some_and(|context| context.is_state(&format!("/{module}:{name}")).is_some())
    }

    /// Why the data of a model are not checked, as far as that came out already.
    pub fn known_problem(&self, subject: &Subject) -> Option<String> {
        let shelf = self.shelf(subject);
        let refused = shelf.refused.try_lock().ok()?;
        subject.modules().iter().find_map(|module| refused.get(module).cloned())
    }

    /// Sees to it that the modules of a model are read; gives where they are, whatever is forgotten meanwhile.
    fn prepare(&self, subject: &Subject) -> Result<Arc<Shelf>, String> {
        let shelf = self.shelf(subject);
        if shelf.is_ready(subject) {
            return Ok(shelf);
        }
        let mut refused = shelf.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = subject.modules().iter().find_map(|module| refused.get(module)) {
            return Err(reason.clone());
        }
        let mut context = shelf.context.write().unwrap_or_else(PoisonError::into_inner);
        let read = match &mut *context {
            Some(context) => context,
            none => none.insert(library::Context::new(subject.folders())?),
        };
        for module in subject.modules() {
            if let Err(reason) = read.load(module) {
                let reason = format!("module `{module}` cannot be used: {reason}");
                tracing::warn!(%reason, "data are not checked");
                refused.insert(module.clone(), reason.clone());
                return Err(reason);
            }
        }
        drop((context, refused));
        Ok(shelf)
    }

    fn shelf(&self, subject: &Subject) -> Arc<Shelf> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        match shelves.get(subject.folders()) {
            Some(shelf) => Arc::clone(shelf),
            None => Arc::clone(shelves.entry(subject.folders().to_vec()).or_default()),
        }
    }
}

#[cfg(all(test, feature = "yang"))]
#[path = "tests.rs"]
mod tests;
