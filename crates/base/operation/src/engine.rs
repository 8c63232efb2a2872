//! Takes plans in, keeps them, and answers for them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vnode_event::Log;
use vnode_store::Store;

use crate::{
    board::Board,
    drive::{begin, drive},
    error::{Error, Result, StepError},
    graph::Graph,
    journal,
    outcome::Outcome,
    plan::{OperationId, Plan, Recovery},
    pressure::Throttle,
    run::{Run, whole},
    runner::Runner,
    status::{Follow, Status, Summary},
    step::Job,
};

/// Bounds of the engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Steps that work at the same time, over all operations; fewer while the machine is short of memory or its disks lag.
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
        Self { workers: 16, grace: Duration::from_secs(5), keep: 128, inverse_retries: 2 }
    }
}

/// What [`Engine::recover`] found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Operations that are being rolled back or gone on with; wait for them with [`Engine::wait`].
    pub operations: Vec<OperationId>,
    /// Those of them that are being rolled back.
    pub undone: Vec<OperationId>,
    /// Plans that cannot be recovered by this program, by their key, and why. They stay in the store.
    pub unreadable: Vec<(String, String)>,
}

/// What the steps of one kind have cost since the engine began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StepStats {
    pub done: u64,
    pub failed: u64,
    pub undone: u64,
    pub undo_failed: u64,
    /// Sum and maximum of the time of steps, without inverses.
    pub total: Duration,
    pub longest: Duration,
}

/// Runs plans. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

/// What all operations share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) events: Arc<Log>,
    pub(crate) options: Options,
    pub(crate) workers: Arc<Semaphore>,
    /// How many of them one operation may use now.
    pub(crate) throttle: Throttle,
    /// The engine ends, its operations do not.
    pub(crate) stopping: CancellationToken,
    runners: RwLock<HashMap<String, Arc<dyn Runner>>>,
    running: Mutex<HashMap<OperationId, Arc<Board>>>,
    /// Ids of the ended operations in the store, oldest first.
    ended: OnceCell<Mutex<VecDeque<OperationId>>>,
    pub(crate) tasks: TaskTracker,
    stats: Mutex<BTreeMap<String, StepStats>>,
}

impl Shared {
    pub(crate) fn running(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Board>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, kind: &str, job: Job, took: Duration, failed: bool) {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        if !stats.contains_key(kind) {
            stats.insert(kind.to_owned(), StepStats::default());
        }
        let Some(stats) = stats.get_mut(kind) else { return };
        match (job, failed) {
            (Job::Apply, false) => stats.done += 1,
            (Job::Apply, true) => stats.failed += 1,
            (Job::Invert, false) => stats.undone += 1,
            (Job::Invert, true) => stats.undo_failed += 1,
        }
        if job == Job::Apply {
            stats.total += took;
            stats.longest = stats.longest.max(took);
        }
    }

    pub(crate) async fn ended(&self) -> Result<&Mutex<VecDeque<OperationId>>> {
        self.ended
            .get_or_try_init(|| async {
                let entries = self.store.list(journal::ENDED).await.map_err(Error::Read)?;
                let ids = entries.iter().filter_map(|(key, _)| id_of(key, journal::ENDED));
                Ok(Mutex::new(ids.collect()))
            })
            .await
    }
}

fn id_of(key: &str, prefix: &str) -> Option<OperationId> {
    key.strip_prefix(prefix)?.parse().ok()
}

impl Engine {
    /// An engine on `store`. Its methods must be called in a tokio runtime.
    pub fn new(store: Arc<dyn Store>, events: Arc<Log>, options: Options) -> Self {
        let workers = Arc::new(Semaphore::new(options.workers.max(1)));
        let options = Options { workers: options.workers.max(1), ..options };
        Self {
            shared: Arc::new(Shared {
                store,
                events,
                throttle: Throttle::new(options.workers),
                options,
                workers,
                stopping: CancellationToken::new(),
                runners: RwLock::default(),
                running: Mutex::default(),
                ended: OnceCell::new(),
                tasks: TaskTracker::new(),
                stats: Mutex::default(),
            }),
        }
    }

    /// Names who runs plans of `kind`. Before [`Engine::recover`].
    pub fn register(&self, kind: impl Into<String>, runner: Arc<dyn Runner>) {
        let mut runners = self.shared.runners.write().unwrap_or_else(PoisonError::into_inner);
        runners.insert(kind.into(), runner);
    }

    /// Begins an operation: its plan is durable on return, its steps begin. A caller that stops waiting
    /// does not stop the operation.
    ///
    /// # Errors
    /// When the plan is wrong, the runner refuses it, or the store cannot take it; then nothing was done.
    pub async fn submit(&self, plan: Plan) -> Result<OperationId> {
        if self.shared.stopping.is_cancelled() {
            return Err(Error::Stopping);
        }
        let runner = self.runner(&plan.kind)?;
        let graph =
            Graph::new(&plan).map_err(|reason| Error::Plan { kind: plan.kind.clone(), reason })?;
        let shared = Arc::clone(&self.shared);
        // A task of its own: once the plan is written, the operation must run.
        let begun = self.shared.tasks.spawn(begin(shared, plan, runner, graph));
        begun.await.map_err(|_| Error::Stopping)?
    }

    /// Waits for the end; also of an operation that ended before and is still kept. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Stopping`] when the engine stops first.
    pub async fn wait(&self, id: OperationId) -> Result<Outcome> {
        let board = self.shared.running().get(&id).cloned();
        if let Some(board) = board {
            let mut outcome = board.outcome();
            tokio::select! {
                biased;
                ended = outcome.wait_for(Option::is_some) => {
                    if let Ok(outcome) = ended && let Some(outcome) = outcome.clone() {
                        return Ok(outcome);
                    }
                }
                () = self.shared.stopping.cancelled() => {}
            }
            return Err(Error::Stopping);
        }
        self.kept(id).await?.outcome.ok_or(Error::NotFound { id })
    }

    /// Begins an operation and waits for its end.
    ///
    /// # Errors
    /// As [`Engine::submit`] and [`Engine::wait`].
    pub async fn perform(&self, plan: Plan) -> Result<(OperationId, Outcome)> {
        let id = self.submit(plan).await?;
        Ok((id, self.wait(id).await?))
    }

    /// Asks the operation to stop; it ends when it is at rest. Asking twice is no error.
    ///
    /// # Errors
    /// [`Error::Ended`] or [`Error::NotFound`].
    pub async fn cancel(&self, id: OperationId) -> Result<()> {
        let board = self.shared.running().get(&id).cloned();
        match board {
            Some(board) if board.outcome().borrow().is_none() => {
                board.cancel.cancel();
                Ok(())
            }
            Some(_) => Err(Error::Ended { id }),
            None => {
                self.kept(id).await?;
                Err(Error::Ended { id })
            }
        }
    }

    /// Running operations and those kept, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Summary>> {
        let running: Vec<_> = self.shared.running().values().cloned().collect();
        let mut summaries: Vec<Summary> = running.iter().map(|board| board.summary()).collect();
        for (key, entry) in self.shared.store.list(journal::ENDED).await.map_err(Error::Read)? {
            match journal::read_end(&entry.value) {
                Ok(end) => summaries.push(end.summary),
                Err(error) => tracing::error!(key, %error, "an ended operation cannot be read"),
            }
        }
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.id));
        // One may have ended in between.
        summaries.dedup_by_key(|summary| summary.id);
        Ok(summaries)
    }

    /// All that is known of an operation.
    ///
    /// # Errors
    /// [`Error::NotFound`], or when the store cannot be read.
    pub async fn status(&self, id: OperationId) -> Result<Status> {
        let board = self.shared.running().get(&id).cloned();
        match board {
            Some(board) => Ok(board.status()),
            None => self.kept(id).await,
        }
    }

    /// Follows an operation; one that has ended gives one last summary.
    ///
    /// # Errors
    /// [`Error::NotFound`], or when the store cannot be read.
    pub async fn follow(&self, id: OperationId) -> Result<Follow> {
        let board = self.shared.running().get(&id).cloned();
        match board {
            Some(board) => Ok(board.follow()),
            None => Ok(Follow::ended(self.kept(id).await?)),
        }
    }

    /// What steps have cost, by their kind.
    pub fn step_stats(&self) -> BTreeMap<String, StepStats> {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// At start, after [`Engine::register`]: takes up what an earlier daemon left unfinished.
    ///
    /// # Errors
    /// When the store cannot be read. A plan that cannot be taken up is in [`Recovered::unreadable`].
    pub async fn recover(&self) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        for (key, entry) in self.shared.store.list(journal::PLANS).await.map_err(Error::Read)? {
            match self.take_up(&entry.value) {
                Ok(Some((id, recovery))) => {
                    recovered.operations.push(id);
                    if recovery == Recovery::RollBack {
                        recovered.undone.push(id);
                    }
                }
                Ok(None) => {}
                Err(reason) => {
                    tracing::error!(key, reason, "an operation cannot be recovered");
                    recovered.unreadable.push((key, reason));
                }
            }
        }
        Ok(recovered)
    }

    /// Whether an operation has not come to its end yet.
    pub fn is_running(&self, id: OperationId) -> bool {
        self.shared.running().contains_key(&id)
    }

    /// Waits until nothing runs, or until `limit` has passed; true when nothing runs.
    pub async fn drain(&self, limit: Duration) -> bool {
        let boards: Vec<_> = self.shared.running().values().cloned().collect();
        let all = async {
            for board in boards {
                // An error says that the sender is gone, and so is the operation.
                let _ = board.outcome().wait_for(Option::is_some).await;
            }
        };
        tokio::time::timeout(limit, all).await.is_ok()
    }

    /// Stops the engine where it is, as a crash would: operations that run are dropped, and the next
    /// daemon's [`Engine::recover`] takes them up. For an end in order, [`Engine::drain`] first.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.running().clear();
    }

    fn runner(&self, kind: &str) -> Result<Arc<dyn Runner>> {
        let runners = self.shared.runners.read().unwrap_or_else(PoisonError::into_inner);
        runners.get(kind).cloned().ok_or_else(|| Error::Plan {
            kind: kind.to_owned(),
            reason: "this program does not know the kind".to_owned(),
        })
    }

    fn take_up(
        &self,
        value: &[u8],
    ) -> std::result::Result<Option<(OperationId, Recovery)>, String> {
        let stored = journal::read_plan(value).map_err(|error| error.to_string())?;
        if self.shared.running().contains_key(&stored.id) {
            return Ok(None);
        }
        let runner = self.runner(&stored.plan.kind).map_err(|error| error.to_string())?;
        let graph = Graph::new(&stored.plan)?;
        let recovery = stored.plan.recovery;
        let board = Board::new(stored.id, Arc::new(stored.plan), stored.started, true);
        let mut run =
            Run::new(Arc::clone(&self.shared), Arc::clone(&board), Arc::clone(&runner), graph);
        if recovery == Recovery::RollBack {
            let cause = StepError::new("the daemon ended while the operation ran");
            run.undo_everything(whole(cause));
        }
        self.shared.running().insert(board.id, Arc::clone(&board));
        self.shared.tasks.spawn(drive(Arc::clone(&self.shared), Arc::clone(&board), runner, run));
        Ok(Some((board.id, recovery)))
    }

    /// The status of an operation that has ended.
    async fn kept(&self, id: OperationId) -> Result<Status> {
        let read = |doing| move |source| Error::Store { doing, id, source };
        let store = &self.shared.store;
        let entry = store.get(&journal::key(journal::ENDED, id)).await.map_err(Error::Read)?;
        let entry = entry.ok_or(Error::NotFound { id })?;
        let end = journal::read_end(&entry.value).map_err(read("read the end"))?;
        let steps = store.get(&journal::key(journal::STEPS, id)).await.map_err(Error::Read)?;
        let steps = match steps {
            Some(entry) => journal::read_steps(&entry.value).map_err(read("read the steps"))?,
            None => Vec::new(),
        };
        Ok(Status {
            summary: end.summary,
            steps,
            errors: end.errors,
            outcome: Some(end.outcome),
            counts: end.counts,
        })
    }
}
