//! Runs plans.

use std::{sync::Arc, time::Duration};

use vnode_event::Log;
use vnode_store::Store;

use crate::{
    error::{Error, Result},
    outcome::Outcome,
    plan::{OperationId, Plan},
    runner::Runner,
    status::{Follow, Status, Summary},
};

/// Bounds of the engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Steps that work at the same time, over all operations.
    pub workers: usize,
    /// Time a step has to stop after its deadline or a cancellation; then its future is dropped.
    pub grace: Duration,
    /// Ended operations that are kept.
    pub keep: usize,
    /// Times an inverse is tried again before what it should undo is reported as left.
    pub inverse_retries: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: 16, grace: Duration::from_secs(5), keep: 256, inverse_retries: 2 }
    }
}

/// What [`Engine::recover`] found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Operations that are being rolled back or gone on with; wait for them with [`Engine::wait`].
    pub operations: Vec<OperationId>,
    /// Plans that cannot be recovered by this program, by their key, and why.
    pub unreadable: Vec<(String, String)>,
}

/// Runs plans. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {}

impl Engine {
    /// Must be called in a tokio runtime.
    pub fn new(_store: Arc<dyn Store>, _events: Arc<Log>, _options: Options) -> Self {
        Self {}
    }

    /// Names who runs plans of `kind`. Before [`Engine::recover`].
    pub fn register(&self, _kind: impl Into<String>, _runner: Arc<dyn Runner>) {}

    /// Begins an operation: its plan is durable on return, its steps begin.
    pub async fn submit(&self, _plan: Plan) -> Result<OperationId> {
        Err(Error::Stopping)
    }

    /// Waits for the end.
    pub async fn wait(&self, id: OperationId) -> Result<Outcome> {
        Err(Error::NotFound { id })
    }

    /// Asks the operation to stop; it ends when it is at rest.
    pub async fn cancel(&self, id: OperationId) -> Result<()> {
        Err(Error::NotFound { id })
    }

    /// Running operations and those kept, newest first.
    pub async fn list(&self) -> Result<Vec<Summary>> {
        Ok(Vec::new())
    }

    pub async fn status(&self, id: OperationId) -> Result<Status> {
        Err(Error::NotFound { id })
    }

    /// Follows an operation that runs.
    pub fn follow(&self, id: OperationId) -> Result<Follow> {
        Err(Error::NotFound { id })
    }

    /// At start, after `register`: takes up what an earlier daemon left.
    pub async fn recover(&self) -> Result<Recovered> {
        Ok(Recovered::default())
    }

    /// Stops: no new operations; those that run are dropped where they are, as in a crash, and taken up by
    /// the next daemon's [`Engine::recover`].
    pub async fn stop(&self) {}
}
