//! One component: its definition, whether it is active, and what it has done.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore, oneshot};
use vnode_action::CancellationToken;

use crate::{
    bus::object::{self, Object},
    definition::Instance,
    yang::Subject,
};

/// A definition made ready to serve.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) instance: Instance,
    /// Of each model, in its order.
    pub(super) objects: Vec<Vec<Object>>,
    /// Scripts of this component at one time.
    pub(super) slots: Arc<Semaphore>,
    /// Of each model, what is known of its YANG modules.
    pub(super) subjects: Mutex<Vec<Option<Arc<Subject>>>>,
}

impl Loaded {
    pub(super) fn new(instance: Instance, strict: bool) -> Self {
        let objects = instance.models.iter().map(|model| object::of_model(model, strict)).collect();
        let slots = Arc::new(Semaphore::new(instance.settings.concurrency()));
        Self { instance, objects, slots, subjects: Mutex::default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Inactive,
    Starting,
    Active,
    /// Calls that run are finished, new ones refused.
    Stopping,
}

impl Phase {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Stopping => "stopping",
        }
    }
}

/// What it has done since it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) busy: Duration,
    pub(super) last: Duration,
    pub(super) last_error: Option<String>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) loaded: Arc<Loaded>,
    pub(super) file: PathBuf,
    pub(super) phase: Phase,
    /// Why its file as it is now is not what is served.
    pub(super) broken: Option<String>,
    pub(super) counters: Counters,
    /// Ends the scripts of this activation.
    pub(super) cancelled: CancellationToken,
    /// The last Set or Check of a model that came: the next one waits for it.
    order: HashMap<String, oneshot::Receiver<()>>,
    cache: HashMap<String, (Instant, String)>,
    /// Of models that undo, what was set last.
    applied: HashMap<String, String>,
}

/// One component.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Held while it is activated, deactivated or changed: one at a time.
    pub(super) lifecycle: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    running: AtomicU32,
    idle: Notify,
}

/// A place in the order of a model's Sets and Checks; the next may go when this is dropped and those before it are done.
#[derive(Debug)]
pub(super) struct Place {
    before: Option<oneshot::Receiver<()>>,
    done: Option<oneshot::Sender<()>>,
}

impl Drop for Place {
    /// One that was refused, or had nothing to run, never waited: the next waits in its stead.
    fn drop(&mut self) {
        let (before, done) = (self.before.take(), self.done.take());
        if let (Some(before), Ok(runtime)) = (before, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = before.await;
                drop(done);
            });
        }
    }
}

impl Place {
    pub(super) async fn wait(&mut self) {
        if let Some(before) = self.before.take() {
            // The one before never sends: that its end is gone is the message.
            let _ = before.await;
        }
    }
}

/// A call that is running; deactivation waits for it.
#[derive(Debug)]
pub(super) struct Running(Arc<Entry>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Entry {
    pub(super) fn new(loaded: Arc<Loaded>, file: PathBuf) -> Self {
        Self {
            name: loaded.instance.name.clone(),
            lifecycle: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                loaded,
                file,
                phase: Phase::Inactive,
                broken: None,
                counters: Counters::default(),
                cancelled: CancellationToken::new(),
                order: HashMap::new(),
                cache: HashMap::new(),
                applied: HashMap::new(),
            }),
            running: AtomicU32::new(0),
            idle: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.state().loaded)
    }

    /// Notes a call that begins.
    pub(super) fn enter(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(self))
    }

    /// Waits until no call runs, at most so long. Gives whether none does.
    pub(super) async fn wait_idle(&self, limit: Duration) -> bool {
        let wait = async {
            loop {
                let mut idle = std::pin::pin!(self.idle.notified());
                idle.as_mut().enable();
                if self.running.load(Ordering::Acquire) == 0 {
                    return;
                }
                idle.await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }

    /// Takes the next place in the order of a model's Sets and Checks.
    pub(super) fn queue(&self, model: &str) -> Place {
        let (done, next) = oneshot::channel();
        let before = self.state().order.insert(model.to_owned(), next);
        Place { before, done: Some(done) }
    }

    /// State read a moment ago, when the definition allows that.
    pub(super) fn cached(&self, model: &str, age: Duration) -> Option<String> {
        let state = self.state();
        let (read, data) = state.cache.get(model)?;
        (read.elapsed() < age).then(|| data.clone())
    }

    pub(super) fn keep(&self, model: &str, data: &str) {
        self.state().cache.insert(model.to_owned(), (Instant::now(), data.to_owned()));
    }

    /// The configuration that was set last, or read since.
    pub(super) fn applied(&self, model: &str) -> Option<String> {
        self.state().applied.get(model).cloned()
    }

    pub(super) fn apply(&self, model: &str, data: String) {
        self.state().applied.insert(model.to_owned(), data);
    }

    /// After a Set, or with another definition: what was read is not true any more.
    pub(super) fn forget(&self) {
        self.state().cache.clear();
    }

    /// When it is not active any more, others may configure what it did.
    pub(super) fn unlearn(&self) {
        self.state().applied.clear();
    }

    pub(super) fn count(&self, took: Duration, error: Option<String>) {
        let counters = &mut self.state().counters;
        counters.calls += 1;
        counters.busy += took;
        counters.last = took;
        if let Some(error) = error {
            counters.failures += 1;
            counters.last_error = Some(error.chars().take(200).collect());
        }
    }
}
