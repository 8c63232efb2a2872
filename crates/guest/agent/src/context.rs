//! What a command may reach. Nothing of the agent is global: all of it comes through here.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use vnode_action::{CancellationToken, Output, Spec};
use vnode_beneath::{Dir, Scope};

use crate::command::{Class, CommandError, CommandSet};

/// Tells the time; a stand-in in tests.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> SystemTime;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Runs programs to their end; a recorder in tests.
pub trait Programs: Send + Sync + fmt::Debug {
    /// As [`vnode_action::run`].
    fn run<'a>(
        &'a self,
        spec: Spec,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, vnode_action::Result<Output>>;
}

/// Programs run for real.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealPrograms;

impl Programs for RealPrograms {
    fn run<'a>(
        &'a self,
        spec: Spec,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, vnode_action::Result<Output>> {
        Box::pin(vnode_action::run(spec, cancel))
    }
}

/// What two commands must not change at the same time (R-D5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    Network,
    Accounts,
    Files,
    FileSystems,
}

/// Where a file lies.
#[derive(Debug)]
pub struct Place {
    /// The folder that it stays in.
    pub folder: Dir,
    /// Its path from there.
    pub below: PathBuf,
    /// As the client gave it.
    pub path: PathBuf,
}

/// Work that is done after the answer has left: what ends or replaces the agent.
pub type After = BoxFuture<'static, ()>;

type States = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

#[derive(Debug)]
struct Shared {
    root: Dir,
    root_path: PathBuf,
    clock: Box<dyn Clock>,
    programs: Box<dyn Programs>,
    options: Mutex<HashMap<String, Value>>,
    states: Mutex<States>,
    locks: [Arc<tokio::sync::Mutex<()>>; 4],
}

/// What a command may reach. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    channel: Arc<str>,
    peer: Arc<str>,
    commands: Arc<CommandSet>,
    cancel: CancellationToken,
    after: Arc<Mutex<Vec<After>>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("channel", &self.channel)
            .field("root", &self.shared.root_path)
            .finish_non_exhaustive()
    }
}

/// Makes a [`Context`].
#[derive(Debug)]
pub struct Builder {
    root: PathBuf,
    clock: Box<dyn Clock>,
    programs: Box<dyn Programs>,
    options: HashMap<String, Value>,
}

impl Builder {
    /// The clock, instead of the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Who runs programs, instead of `vnode-action`.
    #[must_use]
    pub fn programs(mut self, programs: impl Programs + 'static) -> Self {
        self.programs = Box::new(programs);
        self
    }

    /// The table `[command.NAME]` of the configuration.
    #[must_use]
    pub fn options(mut self, name: impl Into<String>, options: Value) -> Self {
        self.options.insert(name.into(), options);
        self
    }

    /// # Errors
    /// When the root folder cannot be opened.
    pub fn build(self) -> Result<Context, vnode_beneath::DirError> {
        Ok(Context {
            shared: Arc::new(Shared {
                root: Dir::open_ambient(&self.root, Scope::InRoot)?,
                root_path: self.root,
                clock: self.clock,
                programs: self.programs,
                options: Mutex::new(self.options),
                states: Mutex::default(),
                locks: Default::default(),
            }),
            channel: Arc::from(""),
            peer: Arc::from(""),
            commands: Arc::default(),
            cancel: CancellationToken::new(),
            after: Arc::default(),
        })
    }
}

impl Context {
    /// A context whose files lie below `root`: `/`, or a temporary folder in tests.
    pub fn builder(root: impl Into<PathBuf>) -> Builder {
        Builder {
            root: root.into(),
            clock: Box::new(SystemClock),
            programs: Box::new(RealPrograms),
            options: HashMap::new(),
        }
    }

    /// The root folder. Absolute paths and links are understood as after `chroot`.
    pub fn root(&self) -> &Dir {
        &self.shared.root
    }

    /// Where the root folder is: `/` on a real machine.
    pub fn root_path(&self) -> &Path {
        &self.shared.root_path
    }

    /// Whether files are those of the running system, so that programs may be asked about it.
    pub fn is_live(&self) -> bool {
        self.shared.root_path == Path::new("/")
    }

    /// The time.
    pub fn now(&self) -> SystemTime {
        self.shared.clock.now()
    }

    /// Runs a program to its end; ends it when the request is cancelled.
    ///
    /// # Errors
    /// As [`vnode_action::run`].
    pub async fn run(&self, spec: Spec) -> vnode_action::Result<Output> {
        self.shared.programs.run(spec, &self.cancel).await
    }

    /// The same for a program that is to end by itself, whatever becomes of the request.
    ///
    /// # Errors
    /// As [`vnode_action::run`].
    pub async fn run_detached(&self, spec: Spec) -> vnode_action::Result<Output> {
        self.shared.programs.run(spec, &CancellationToken::new()).await
    }

    /// The configuration's table `[command.NAME]`, or the default when there is none.
    ///
    /// # Errors
    /// When the table does not fit the type.
    pub fn options<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, CommandError> {
        let options = self.shared.options.lock().unwrap_or_else(PoisonError::into_inner);
        let value = options.get(name).cloned();
        drop(options);
        match value {
            None => Ok(T::default()),
            Some(value) => serde_json::from_value(value).map_err(|error| {
                CommandError::failed(format!("the settings of `{name}` are wrong: {error}"))
            }),
        }
    }

    /// Replaces all tables `[command.NAME]`: the configuration was read again.
    pub fn set_options(&self, options: impl IntoIterator<Item = (String, Value)>) {
        let mut all = self.shared.options.lock().unwrap_or_else(PoisonError::into_inner);
        *all = options.into_iter().collect();
    }

    /// State that outlives a request and is shared by all channels: one value of each type, made by its
    /// `Default` when it is first asked for.
    ///
    /// # Panics
    /// Never: the map is keyed by type.
    pub fn state<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut states = self.shared.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(state).downcast().expect("a value is stored under its own type")
    }

    /// Waits for a resource. [`CommandSet::call`] does it for what [`crate::command::Command::resource`] names.
    pub async fn lock(&self, resource: Resource) -> OwnedMutexGuard<()> {
        Arc::clone(&self.shared.locks[resource as usize]).lock_owned().await
    }

    /// The name of the channel the request came by; empty outside of one.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Who is at the other end of the connection, as far as the exchange knows; empty outside of one.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// What this channel may use.
    pub fn commands(&self) -> &CommandSet {
        &self.commands
    }

    /// Cancelled when the request is given up or the agent stops.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Has something done after the answer has left (R-X5). Runs even when the client is gone.
    pub fn after_reply(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.after.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(work));
    }

    /// The same for a channel.
    #[must_use]
    pub fn for_channel(&self, name: &str, commands: Arc<CommandSet>) -> Self {
        Self { channel: Arc::from(name), commands, ..self.for_request(&self.cancel) }
    }

    /// The same for the client of one connection.
    #[must_use]
    pub fn for_peer(&self, peer: &str) -> Self {
        Self { peer: Arc::from(peer), ..self.clone() }
    }

    /// Where a file of a client lies: below one of the channel's folders, out of which no link leads, where it has such;
    /// else anywhere below the root folder.
    ///
    /// # Errors
    /// When the path is not absolute, or leads elsewhere.
    pub fn place(&self, path: &str) -> Result<Place, CommandError> {
        let shown = path.escape_debug();
        if !path.starts_with('/') || path.contains('\0') {
            return Err(CommandError::invalid(format!("`{shown}` is no absolute path")));
        }
        self.place_of(path)
    }

    /// The same for a path that may be relative where the channel has no folders: then it is the root's.
    ///
    /// # Errors
    /// As [`Context::place`].
    pub(crate) fn place_of(&self, path: &str) -> Result<Place, CommandError> {
        let shown = path.escape_debug();
        let cannot = |error| {
            CommandError::failed("cannot open the folder of the channel's files").with_source(error)
        };
        let roots = self.commands.roots();
        let path = PathBuf::from(path);
        if roots.is_empty() {
            let folder = self.root().try_clone().map_err(cannot)?;
            return Ok(Place { folder, below: path.clone(), path });
        }
        if path.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(CommandError::invalid(format!("`{shown}` has `..` in it")));
        }
        let root = roots.iter().filter(|root| path.starts_with(root) && path != **root);
        let Some(root) = root.max_by_key(|root| root.as_os_str().len()) else {
            let text = format!("`{shown}` is in no folder of this channel");
            return Err(CommandError::new(Class::Denied, text));
        };
        let folder = self.root().open_dir(root).map_err(cannot)?.with_scope(Scope::Beneath);
        let below = path.strip_prefix(root).map_err(|error| {
            CommandError::failed("cannot understand the path").with_source(error)
        })?;
        Ok(Place { folder, below: below.to_owned(), path })
    }

    /// The same for one request, cancelled with `parent` or by itself.
    #[must_use]
    pub fn for_request(&self, parent: &CancellationToken) -> Self {
        Self { cancel: parent.child_token(), after: Arc::default(), ..self.clone() }
    }

    /// What [`Context::after_reply`] collected.
    pub fn take_after(&self) -> Vec<After> {
        std::mem::take(&mut *self.after.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
