//! The manager: opened on a state folder, it takes up what an earlier life left.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use vnode_event::{Log, Options as Keep};
use vnode_operation::{Engine, Options};
use vnode_store::Repaired;

use crate::{
    core::{Core, Settings, prepare_folders, put_instance, put_operation},
    error::{Failure, Result},
    model::{Occurrence, Progress, State, Trouble},
    operate::PLAN,
    runner::Runner,
    tree,
    watch::Watcher,
};

/// Events that who follows them may lie behind.
const BACKLOG: usize = 512;
/// Events kept.
const EVENTS: u64 = 10_000;

/// Packages, instances and their processes on this machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Manager {
    pub(crate) core: Arc<Core>,
}

impl Manager {
    /// Opens the state folder, makes an end of operations that were cut off, and follows every function again. Must be
    /// called in a tokio runtime.
    ///
    /// # Errors
    /// When the folder or its store cannot be used, or another process has it.
    pub async fn open(settings: Settings) -> Result<Self> {
        let state = settings.state.clone();
        std::fs::create_dir_all(&state)
            .map_err(|error| Failure::internal(&format!("make `{}`", state.display()), &error))?;
        let failed = |error: vnode_store::Error| {
            Failure::internal(&format!("open the store in `{}`", state.display()), &error)
        };
        let path = state.join("vnf.redb");
        let repaired = match settings.repair {
            true => vnode_store::repair(&path).map_err(failed)?,
            false => None,
        };
        let store = vnode_store::open(&path).map_err(failed)?;
        // Only who holds the store may sweep.
        prepare_folders(&state)?;
        let keep = Keep { keep_count: EVENTS, backlog: BACKLOG, ..Keep::default() };
        let log = Log::open(Arc::clone(&store), keep)
            .await
            .map_err(|error| Failure::internal("open the events", &error))?;
        let watcher = Watcher::start(settings.poll)
            .await
            .map_err(|error| Failure::internal("look at processes", &error))?;
        let core = Arc::new(Core::load(settings, store, log, watcher).await?);
        if let Some(repaired) = &repaired {
            core.tell_of(repaired);
        }
        core.take_over().await?;
        let goes_on: HashMap<String, Option<String>> = {
            let tables = core.tables();
            let left = tables.left.operations.iter();
            left.map(|(op, (begun, _))| (op.clone(), begun.run.clone())).collect()
        };
        let options = Options { keep: 16, grace: Duration::from_secs(15), ..Options::default() };
        let engine = Engine::new(Arc::clone(&core.store), Arc::clone(&core.log), options);
        engine.register(PLAN, Arc::new(Runner(Arc::clone(&core))));
        let recovered = engine
            .recover()
            .await
            .map_err(|error| Failure::internal("take up operations", &error))?;
        // Kept for good: the cell is empty here.
        let _ = core.engine.set(engine.clone());
        for id in recovered.operations {
            // That may take as long as its script does; we serve meanwhile.
            if goes_on.values().any(|run| run.as_ref() == Some(&id.to_string())) {
                continue;
            }
            engine
                .wait(id)
                .await
                .map_err(|error| Failure::internal("take up an operation", &error))?;
        }
        core.settle(&goes_on.into_keys().collect()).await?;
        core.sweep(repaired.as_ref().is_some_and(|repaired| !repaired.is_all));
        let manager = Self { core };
        let instances: Vec<String> = manager.core.tables().instances.keys().cloned().collect();
        for id in instances {
            let resting = manager.core.instance(&id)?.operation.is_some();
            let unwatched = resting
                && manager.core.tables().operations.values().any(|op| {
                    op.instance == id
                        && matches!(
                            op.operation,
                            crate::model::Kind::Terminate | crate::model::Kind::ChangeVnfpkg
                        )
                });
            if !unwatched {
                manager.core.watch_again(&id).await;
            }
        }
        // Ends with the runtime.
        tokio::spawn(vnode_idle::settle(Arc::clone(&manager.core.busy)));
        manager.core.event(
            "service.started",
            "service",
            None,
            json!({ "watch": manager.core.watcher.mechanism() }),
        );
        Ok(manager)
    }

    /// Where everything lies.
    pub fn state(&self) -> PathBuf {
        self.core.paths.state.clone()
    }

    /// Waits for what runs, at most so long, and writes everything down.
    ///
    /// # Errors
    /// When the events cannot be written.
    pub async fn close(&self, patience: Duration) -> Result<()> {
        if let Some(engine) = self.core.engine.get() {
            engine.drain(patience).await;
        }
        self.core.log.close().await.map_err(|error| Failure::internal("write the events", &error))
    }
}

impl Core {
    /// Says what a repair of the store has done.
    fn tell_of(&self, repaired: &Repaired) {
        let damage: Vec<Value> = repaired
            .damage
            .iter()
            .map(|damage| {
                json!({ "offset": damage.offset, "length": damage.length, "mended": damage.mended })
            })
            .collect();
        let kept = repaired.kept.display().to_string();
        let data = json!({
            "kept": kept,
            "damage": damage,
            "entries": repaired.entries,
            "all": repaired.is_all,
            "lost": repaired.lost,
            "went_back": repaired.went_back,
        });
        if repaired.is_all {
            tracing::warn!(kept, "the store was damaged; nothing is lost");
        } else {
            tracing::error!(kept, %data, "the store was damaged, and not all of it is there");
        }
        self.event("store.repaired", "service", None, data);
    }

    /// After the engine has taken up what it knew: hooks that were cut off, and whatever does not fit together; but not
    /// what goes on.
    async fn settle(&self, goes_on: &HashSet<String>) -> Result<()> {
        let mut changes = Vec::new();
        let mut stale = Vec::new();
        {
            let mut tables = self.tables();
            let tables = &mut *tables;
            let hooks = tables.left.hooks.values().map(|(begun, _)| begun.op.clone());
            let goes_on: HashSet<String> = goes_on.iter().cloned().chain(hooks).collect();
            for op in tables.operations.values_mut() {
                if op.state == State::FailedTemp || op.state.is_final() || goes_on.contains(&op.id)
                {
                    continue;
                }
                // A hook: its driver runs it again. (What the engine knew has ended by now.)
                op.state = if op.automatic { State::Failed } else { State::FailedTemp };
                op.entered = Timestamp::now();
                op.error = Some(Trouble::interrupted());
                for step in op.steps.iter_mut().filter(|step| step.progress == Progress::Running) {
                    step.progress = Progress::Failed;
                }
                changes.push(put_operation(op)?);
                if op.state.is_final() {
                    stale.push(op.id.clone());
                }
            }
            tables.operations.retain(|id, op| {
                goes_on.contains(id) || !stale.contains(id) && !op.state.is_final()
            });
            for instance in tables.instances.values_mut() {
                if instance.operation.as_ref().is_some_and(|id| !tables.operations.contains_key(id))
                {
                    instance.operation = None;
                    changes.push(put_instance(instance)?);
                }
            }
        }
        if !changes.is_empty() {
            self.commit(changes).await?;
        }
        Ok(())
    }

    /// Removes what a crash left on the disk and no record names. Where records are lost it is laid aside.
    fn sweep(&self, lay_aside: bool) {
        let tables = self.tables();
        let names = |folder: PathBuf| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
                .collect::<Vec<_>>()
        };
        let mut left = Vec::new();
        for (name, path) in names(self.paths.state.join("packages")) {
            for (revision, path) in names(path) {
                let known = revision
                    .parse()
                    .is_ok_and(|revision| tables.packages.contains_key(&(name.clone(), revision)));
                if !known {
                    left.push(path);
                }
            }
        }
        for (id, path) in names(self.paths.state.join("instances")) {
            if !tables.instances.contains_key(&id) {
                left.push(path);
            }
        }
        drop(tables);
        for path in left {
            let gone = if lay_aside { self.lay_aside(&path) } else { tree::remove(&path) };
            if let Err(error) = gone {
                tracing::warn!(path = %path.display(), %error, "something is left over and cannot be removed");
            }
        }
    }

    /// What no record names may be of one that is lost: its user decides.
    fn lay_aside(&self, path: &Path) -> std::io::Result<()> {
        let relative = path.strip_prefix(&self.paths.state).unwrap_or(path);
        let name = relative.to_string_lossy().replace('/', "-");
        let folder = self.paths.state.join("unnamed");
        std::fs::create_dir_all(&folder)?;
        std::fs::rename(path, folder.join(name))
    }

    /// Waits until an operation is final or rests in FAILED_TEMP.
    ///
    /// # Errors
    /// When there is none, or the store cannot be read.
    pub(crate) async fn wait(&self, id: &str) -> Result<Occurrence> {
        let mut instance = None;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let now = self.tables().operations.get(id).cloned();
            match now {
                Some(op) if op.state == State::FailedTemp => return Ok(op),
                Some(op) => {
                    instance = Some(op.instance);
                    ended.await;
                }
                None => {
                    let Some(instance) = instance else { return self.operation(id).await };
                    let stored = self.stored_operation(&instance, id).await?;
                    return stored.ok_or_else(|| Failure::not_found("the operation is gone"));
                }
            }
        }
    }
}
