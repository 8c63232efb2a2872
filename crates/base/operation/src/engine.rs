//! Takes plans in, keeps them, and answers for them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vnode_event::{Draft, Log};
use vnode_store::Store;

use crate::{
    board::Board,
    error::{Error, Result, StepError},
    fault,
    graph::Graph,
    journal,
    outcome::Outcome,
    plan::{OperationId, Plan, Recovery},
    run::{Run, whole},
    runner::Runner,
    status::{Follow, Status, Summary},
    step::Job,
};

/// How often the records of an end are made anew when their commit conflicts.
const FINISH_TRIES: usize = 16;
/// Time that making those records may take.
const FINISH_DEADLINE: Duration = Duration::from_secs(30);

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
        Self { workers: 16, grace: Duration::from_secs(5), keep: 128, inverse_retries: 2 }
    }
}

/// What [`Engine::recover`] found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Operations that are being rolled back or gone on with; wait for them with [`Engine::wait`].
    pub operations: Vec<OperationId>,
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
    store: Arc<dyn Store>,
    pub(crate) events: Arc<Log>,
    pub(crate) options: Options,
    pub(crate) workers: Arc<Semaphore>,
    /// The engine ends, its operations do not.
    pub(crate) stopping: CancellationToken,
    runners: RwLock<HashMap<String, Arc<dyn Runner>>>,
    running: Mutex<HashMap<OperationId, Arc<Board>>>,
    /// Ids of the ended operations in the store, oldest first.
    ended: OnceCell<Mutex<VecDeque<OperationId>>>,
    tasks: TaskTracker,
    stats: Mutex<BTreeMap<String, StepStats>>,
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Board>>> {
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

    async fn ended(&self) -> Result<&Mutex<VecDeque<OperationId>>> {
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
            None => Ok(Follow::ended(self.kept(id).await?.summary)),
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
                Ok(Some(id)) => recovered.operations.push(id),
                Ok(None) => {}
                Err(reason) => {
                    tracing::error!(key, reason, "an operation cannot be recovered");
                    recovered.unreadable.push((key, reason));
                }
            }
        }
        Ok(recovered)
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

    fn take_up(&self, value: &[u8]) -> std::result::Result<Option<OperationId>, String> {
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
        Ok(Some(board.id))
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

/// Writes the plan down, then lets it run.
async fn begin(
    shared: Arc<Shared>,
    plan: Plan,
    runner: Arc<dyn Runner>,
    graph: Graph,
) -> Result<OperationId> {
    let id = OperationId::new();
    let started = Timestamp::now();
    let mut changes = runner.begin(&plan).await.map_err(|cause| Error::Refused {
        kind: plan.kind.clone(),
        subject: plan.subject.clone(),
        cause: Box::new(cause),
    })?;
    let failed = |source| Error::Store { doing: "write the plan", id, source };
    changes.push(journal::begin(id, started, &plan).map_err(failed)?);
    let event = Draft::new("operation.started", &plan.subject)
        .operation(id)
        .data(serde_json::json!({ "kind": plan.kind, "steps": plan.steps.len() }));
    let mut event = shared.events.changes_for(&[event]).map_err(Error::Event)?;
    changes.extend(event.take_changes());
    shared.store.commit(changes).await.map_err(failed)?;
    event.publish();
    let board = Board::new(id, Arc::new(plan), started, false);
    let mut run = Run::new(Arc::clone(&shared), Arc::clone(&board), Arc::clone(&runner), graph);
    if let Err(error) = fault::point("plan.written") {
        run.undo_after_all(whole(StepError::from_error(&error)));
    }
    shared.running().insert(id, Arc::clone(&board));
    shared.tasks.spawn(drive(Arc::clone(&shared), board, runner, run));
    Ok(id)
}

/// Runs an operation to rest and writes its end.
async fn drive(shared: Arc<Shared>, board: Arc<Board>, runner: Arc<dyn Runner>, mut run: Run) {
    let Some(mut outcome) = run.rest().await else { return };
    let mut written = finish(&shared, &board, runner.as_ref(), &outcome).await;
    if let Err(error) = &written {
        let error = StepError::from_error(error);
        tracing::error!(operation = %board.id, %error, "the end of an operation was not written");
        // What nobody will know of must not stay; a plan that goes on is gone on with by the next daemon.
        if board.plan.recovery == Recovery::RollBack && !matches!(outcome, Outcome::Failed { .. }) {
            run.undo_after_all(whole(error));
            let Some(undone) = run.rest().await else { return };
            outcome = undone;
            written = finish(&shared, &board, runner.as_ref(), &outcome).await;
        }
    }
    let kept = written.is_ok();
    let status = match written {
        Ok(status) => status,
        Err(error) => {
            outcome = Outcome::Failed {
                cause: whole(StepError::from_error(&error)),
                errors: board.errors(),
                left: vec!["the record of its end; the next daemon recovers it".to_owned()],
            };
            board.status_ended(&outcome)
        }
    };
    // First told, then forgotten: who looks in between finds it in either place.
    board.tell_end(&status, &outcome);
    // What the store could not take is known here until this daemon ends.
    if kept {
        shared.running().remove(&board.id);
    }
    runner.ended(board.id, &board.plan, &outcome);
}

/// The second durable write: the records, the end, its event, in one commit.
async fn finish(
    shared: &Shared,
    board: &Board,
    runner: &dyn Runner,
    outcome: &Outcome,
) -> Result<Status> {
    let id = board.id;
    let plan = &board.plan;
    let refused = |cause| Error::Refused {
        kind: plan.kind.clone(),
        subject: plan.subject.clone(),
        cause: Box::new(cause),
    };
    let failed = |source| Error::Store { doing: "write the end", id, source };
    fault::point("finish.before").map_err(|error| refused(StepError::from_error(&error)))?;
    let mut tries = 0;
    loop {
        let records = tokio::time::timeout(FINISH_DEADLINE, runner.finish(id, plan, outcome));
        let mut changes = records
            .await
            .unwrap_or_else(|_| Err(StepError::new("making the records of its end took too long")))
            .map_err(refused)?;
        let status = board.status_ended(outcome);
        changes.extend(journal::end(&status, outcome).map_err(failed)?);
        let too_old = forgettable(shared, id).await?;
        changes.extend(too_old.iter().flat_map(|&old| journal::forget(old)));
        let kind = format!("operation.{}", word(outcome));
        let failures = outcome.failures();
        let data = serde_json::json!({ "kind": plan.kind, "errors": failures });
        let event = Draft::new(kind, &plan.subject).operation(id).data(data);
        let mut event = shared.events.changes_for(&[event]).map_err(Error::Event)?;
        changes.extend(event.take_changes());
        match shared.store.commit(changes).await {
            Ok(_) => {
                event.publish();
                let mut ended =
                    shared.ended().await?.lock().unwrap_or_else(PoisonError::into_inner);
                ended.retain(|other| !too_old.contains(other));
                ended.push_back(id);
                drop(ended);
                // The end is written: an injected error can no longer be one.
                let _ = fault::point("finish.after");
                return Ok(status);
            }
            Err(error) if error.is_conflict() && tries < FINISH_TRIES => tries += 1,
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Ended operations that are more than are kept.
async fn forgettable(shared: &Shared, new: OperationId) -> Result<Vec<OperationId>> {
    let ended = shared.ended().await?.lock().unwrap_or_else(PoisonError::into_inner);
    let excess = (ended.len() + 1).saturating_sub(shared.options.keep.max(1));
    Ok(ended.iter().copied().filter(|&id| id != new).take(excess).collect())
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Partly { .. } => "partly-completed",
        Outcome::RolledBack { .. } => "rolled-back",
        Outcome::Cancelled { .. } => "cancelled",
        Outcome::Failed { .. } => "failed",
    }
}
