//! Runs an operation in the journal of its image, and undoes what an earlier run left.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use vnode_event::Log;
use vnode_operation::{
    Engine, OperationId, Options, Outcome, Plan, Runner, Step, StepContext, StepError,
};
use vnode_store::{Change, Store, record};

use super::{
    Job, PUBLISH, UNDO, WITHDRAW,
    journal::{JournalError, Lock},
};
use crate::{cloud::Cloud, names::Standing, settings::Settings};

const SCHEMA: u32 = 1;
const JOB: &str = "opennebula/job";
const NEW: &str = "opennebula/new";
const OLD: &str = "opennebula/old";
/// Longest time the end of a cancelled operation is waited for.
const END: Duration = Duration::from_secs(600);

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Done,
    /// Everything is as it was.
    Undone(StepError),
    /// Not everything could be undone; the next run will try again.
    Left(StepError, Vec<String>),
}

/// What a withdrawn image was, as it is written down before anything of it is changed.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Old {
    pub(super) id: i64,
    pub(super) standing: Standing,
    /// All its attributes.
    pub(super) template: String,
}

/// Does the steps; see `steps.rs`.
#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) cloud: Cloud,
    pub(super) settings: Arc<Settings>,
    pub(super) store: Arc<dyn Store>,
    /// The prepared disk.
    pub(super) disk: Mutex<Option<std::path::PathBuf>>,
    /// Whether a registration was asked for whose answer did not come.
    pub(super) unanswered: std::sync::atomic::AtomicBool,
}

impl Publishing {
    pub(super) async fn new_id(&self) -> Result<Option<i64>, StepError> {
        self.read(NEW).await
    }

    pub(super) async fn set_new_id(&self, id: i64) -> Result<(), StepError> {
        self.write(NEW, &id).await
    }

    pub(super) async fn old(&self) -> Result<Option<Old>, StepError> {
        self.read(OLD).await
    }

    pub(super) async fn set_old(&self, old: &Old) -> Result<(), StepError> {
        self.write(OLD, old).await
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, StepError> {
        let entry = self.store.get(key).await.map_err(|e| StepError::from_error(&e))?;
        entry
            .map(|entry| record::decode(&entry.value, &[]))
            .transpose()
            .map_err(|e| StepError::from_error(&e))
    }

    async fn write<T: serde::Serialize>(&self, key: &str, value: &T) -> Result<(), StepError> {
        let value = record::encode(SCHEMA, value).map_err(|e| StepError::from_error(&e))?;
        let commit = self.store.commit(vec![Change::put(key, value)]).await;
        commit.map(drop).map_err(|e| StepError::from_error(&e))
    }

    pub(super) fn set_disk(&self, path: std::path::PathBuf) {
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
    }
}

fn job_of(plan: &Plan) -> Result<Job, StepError> {
    serde_json::from_value(plan.data.clone())
        .map_err(|error| StepError::new(format!("the plan cannot be read: {error}")))
}

impl Runner for Publishing {
    fn begin<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        Box::pin(async move {
            if plan.kind == UNDO {
                return Ok(Vec::new());
            }
            let job = job_of(plan)?;
            let value = record::encode(SCHEMA, &job).map_err(|e| StepError::from_error(&e))?;
            Ok(vec![Change::create(JOB, value)])
        })
    }

    fn apply<'a>(
        &'a self,
        context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let job = job_of(context.plan())?;
            if step.kind == UNDO {
                for kind in job.kinds().iter().rev() {
                    self.invert_step(&job, kind).await?;
                }
                return Ok(());
            }
            self.apply_step(&job, &step.kind, context.cancellation()).await
        })
    }

    fn invert<'a>(
        &'a self,
        context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let job = job_of(context.plan())?;
            // Undoing is not undone: the next run goes on with it.
            if step.kind == UNDO { Ok(()) } else { self.invert_step(&job, &step.kind).await }
        })
    }

    fn finish<'a>(
        &'a self,
        _: OperationId,
        plan: &'a Plan,
        outcome: &'a Outcome,
        _: &'a [u32],
    ) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        Box::pin(async move {
            let over = match outcome {
                Outcome::Completed => true,
                Outcome::RolledBack { .. } | Outcome::Cancelled { .. } => plan.kind != UNDO,
                _ => false,
            };
            Ok(if over { [JOB, NEW, OLD].map(Change::delete).to_vec() } else { Vec::new() })
        })
    }
}

/// What a journal's operations run in.
struct Room {
    engine: Engine,
    log: Arc<Log>,
    store: Arc<dyn Store>,
}

async fn room(lock: &Lock, cloud: &Cloud, settings: &Arc<Settings>) -> Result<Room, JournalError> {
    let failed = |source| JournalError::Store { identifier: lock.identifier().to_owned(), source };
    let store = lock.open()?;
    let options = vnode_event::Options { keep_count: 1000, ..vnode_event::Options::default() };
    let log = Log::open(Arc::clone(&store), options).await.map_err(|error| match error {
        vnode_event::Error::Store { source, .. } => failed(source),
        other => failed(vnode_store::Error::Invalid { reason: other.to_string() }),
    })?;
    let engine = Engine::new(
        Arc::clone(&store),
        Arc::clone(&log),
        Options { inverse_retries: settings.undo_retries, ..Options::default() },
    );
    let runner = Arc::new(Publishing {
        cloud: cloud.clone(),
        settings: Arc::clone(settings),
        store: Arc::clone(&store),
        disk: Mutex::default(),
        unanswered: false.into(),
    });
    for kind in [PUBLISH, WITHDRAW, UNDO] {
        engine.register(kind, Arc::clone(&runner) as Arc<dyn Runner>);
    }
    Ok(Room { engine, log, store })
}

impl Room {
    /// Lets go of the journal.
    async fn close(self) {
        self.engine.stop().await;
        if let Err(error) = self.log.close().await {
            tracing::debug!(%error, "events of a publication were not kept");
        }
    }

    async fn run(&self, plan: Plan, cancellation: &CancellationToken) -> Ended {
        let id = match self.engine.submit(plan).await {
            Ok(id) => id,
            Err(error) => return Ended::Undone(StepError::from_error(&error)),
        };
        let mut wait = std::pin::pin!(self.engine.wait(id));
        let outcome = tokio::select! {
            biased;
            outcome = &mut wait => outcome,
            () = cancellation.cancelled() => {
                // An error says that it has ended, which the wait tells too.
                drop(self.engine.cancel(id).await);
                match tokio::time::timeout(END, wait).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(vnode_operation::Error::Stopping),
                }
            }
        };
        match outcome {
            Ok(outcome) => ended(outcome),
            Err(error) => Ended::Left(StepError::from_error(&error), Vec::new()),
        }
    }
}

fn ended(outcome: Outcome) -> Ended {
    match outcome {
        Outcome::Completed => Ended::Done,
        Outcome::RolledBack { cause, .. } => Ended::Undone(cause.error),
        Outcome::Cancelled { .. } => Ended::Undone(StepError::cancelled()),
        Outcome::Failed { cause, left, errors } => {
            for error in &errors {
                tracing::error!(%error, "not undone");
            }
            Ended::Left(cause.error, left)
        }
        other => Ended::Left(StepError::new(format!("it ended as {other:?}")), Vec::new()),
    }
}

/// Does a job whole or not at all. The journal goes when nothing is left to be done.
pub(crate) async fn perform(
    lock: Lock,
    job: &Job,
    cloud: &Cloud,
    settings: &Arc<Settings>,
    cancellation: &CancellationToken,
) -> Result<Ended, JournalError> {
    let plan = match job.plan(settings) {
        Ok(plan) => plan,
        Err(error) => return Ok(Ended::Undone(StepError::from_error(&error))),
    };
    let room = room(&lock, cloud, settings).await?;
    let ended = room.run(plan, cancellation).await;
    room.close().await;
    if !matches!(ended, Ended::Left(..)) {
        lock.finish()?;
    }
    Ok(ended)
}

/// Undoes what an earlier run left of an image; nothing left is no error. Gives the lock back for what comes next.
pub(crate) async fn undo(
    lock: Lock,
    cloud: &Cloud,
    settings: &Arc<Settings>,
    cancellation: &CancellationToken,
) -> Result<(Lock, Ended), JournalError> {
    if !lock.is_unfinished() {
        return Ok((lock, Ended::Done));
    }
    tracing::info!(identifier = lock.identifier(), "undoing what an earlier run left unfinished");
    let room = room(&lock, cloud, settings).await?;
    let failed = |source| JournalError::Store { identifier: lock.identifier().to_owned(), source };
    let recovered = room.engine.recover().await;
    let mut last = Ended::Done;
    match recovered {
        Ok(recovered) => {
            for id in recovered.operations {
                match room.engine.wait(id).await {
                    Ok(outcome) => last = ended(outcome),
                    Err(error) => last = Ended::Left(StepError::from_error(&error), Vec::new()),
                }
            }
        }
        Err(error) => last = Ended::Left(StepError::from_error(&error), Vec::new()),
    }
    // What could not be undone then, may be now.
    let open = room.store.get(JOB).await.map_err(failed)?;
    if let Some(entry) = open {
        let job: Job = record::decode(&entry.value, &[]).map_err(failed)?;
        last = match job.undoing(settings) {
            Ok(plan) => room.run(plan, cancellation).await,
            Err(error) => Ended::Left(StepError::from_error(&error), Vec::new()),
        };
    }
    let open = room.store.get(JOB).await.map_err(failed)?.is_some();
    room.close().await;
    Ok(match (open, last) {
        (false, _) => (lock, Ended::Done),
        (true, Ended::Undone(error) | Ended::Left(error, _)) => {
            (lock, Ended::Left(error, Vec::new()))
        }
        (true, Ended::Done) => {
            (lock, Ended::Left(StepError::new("its journal is not closed"), Vec::new()))
        }
    })
}
