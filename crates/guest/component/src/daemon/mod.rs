//! The daemon: one connection to the bus, on it every name of every active component.
//!
//! * `known`: what is defined, what is active, who owns which name. `entry`: one component.
//! * `call`: from a message to its one answer. `load`: how much there is of them. `lifecycle`: activate and deactivate.
//! * `reload`, `watch`: the folder of instance files. `own`: the daemon's own model. `schema`: the schema service.
//! * `data`: what goes in and out, checked against YANG. `undo`: the configuration of before, after a Set that failed.

mod call;
mod data;
mod entry;
mod known;
mod lifecycle;
mod load;
mod own;
mod reload;
pub(crate) mod schema;
mod undo;
mod watch;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use thiserror::Error;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, Semaphore},
};
use tracing::{debug, error, info, warn};
use zbus::{Connection, MessageStream};

use vnode_protocol::chain;

use crate::{bus, yang::Schemas};
use known::Known;
use schema::Schema;

pub use own::{MODEL as OWN_MODEL, MODULE as OWN_MODULE, NAME as OWN_NAME};
pub use schema::Use as SchemaUse;

/// Folder of the instance files.
pub const DEFAULT_FOLDER: &str = "/lib/vci/ephemera/instances";
/// Folder of the component files.
pub const DEFAULT_COMPONENTS: &str = "/lib/vci/components";
/// How long a stopping daemon or component waits for the calls that are running.
const DRAIN: Duration = Duration::from_secs(10);
/// Waiting between two tries to reach the bus again: first, and most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How the daemon runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of the bus.
    pub bus: String,
    pub folder: PathBuf,
    /// Success and failure as upstream, where ours differ on purpose (`ephemera.md` section 8).
    pub strict_compat: bool,
    /// Come back when the bus does, instead of ending.
    pub reconnect: bool,
    pub schema: SchemaUse,
    /// Folders of YANG modules, for models that name none; none: JSON is all that is asked of their data.
    pub yang: Vec<PathBuf>,
    /// Folder of the component files, which say what modules a model has; read only where `yang` or a model names folders.
    pub components: PathBuf,
    /// Scripts at one time, of all components.
    pub scripts: usize,
}

impl Options {
    /// Upstream's places, our behaviour.
    pub fn new(bus: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Self {
            bus: bus.into(),
            folder: folder.into(),
            strict_compat: false,
            reconnect: false,
            schema: SchemaUse::Auto,
            yang: Vec::new(),
            components: DEFAULT_COMPONENTS.into(),
            scripts: (4 * processors()).max(16),
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Why the daemon ends.
#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot reach the bus at {address}; is its daemon running?")]
    Bus {
        address: String,
        #[source]
        source: zbus::Error,
    },
    #[error("cannot own `{name}` on the bus; is another daemon running?")]
    Name { name: String, reason: String },
    #[error("the bus at {0} is gone")]
    BusGone(String),
    #[error("cannot watch {}", path.display())]
    Watch {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot take signals")]
    Signal(#[source] io::Error),
}

/// What every task of the daemon shares.
#[derive(Debug)]
pub(crate) struct Shared {
    options: Options,
    bus: Mutex<Connection>,
    known: Mutex<Known>,
    scripts: Arc<Semaphore>,
    schema: Schema,
    yang: Schemas,
    /// A reload was asked for.
    reload: Notify,
    load: load::Load,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bus(&self) -> Connection {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs the daemon until it is told to end (`Ok`), or the bus is gone.
///
/// Needs a tokio runtime of one thread with I/O and time. Tells systemd when it is ready.
///
/// # Errors
/// When the bus cannot be reached, its own names are taken, or the bus goes away without `reconnect`.
pub async fn run(options: Options) -> Result<(), Error> {
    // As a task: what wakes the runtime's own future makes it look at all events once more each time.
    match tokio::spawn(work(options)).await {
        Ok(result) => result,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that ends cancels it.
            Err(_) => Ok(()),
        },
    }
}

async fn work(options: Options) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Error::Signal)?;
    let watcher = watch::Watcher::new(&options.folder)
        .map_err(|source| Error::Watch { path: options.folder.clone(), source })?;
    let connection = connect(&options.bus).await?;
    // Before anything can be asked.
    let stream = MessageStream::from(&connection);
    let shared = Arc::new(Shared {
        bus: Mutex::new(connection),
        known: Mutex::new(Known::default()),
        scripts: Arc::new(Semaphore::new(options.scripts)),
        schema: Schema::default(),
        yang: Schemas::default(),
        reload: Notify::new(),
        load: load::Load::default(),
        options,
    });
    reload::load(&shared).await;
    let reloader = tokio::spawn(reload::follow(Arc::clone(&shared), watcher));
    let settler = tokio::spawn(vnode_idle::settle(Arc::clone(&shared.load.busy)));
    let result = serve(&shared, stream, &mut terminate, &mut interrupt, &mut hangup).await;
    reloader.abort();
    settler.abort();
    result
}

async fn connect(address: &str) -> Result<Connection, Error> {
    let failed = |source| Error::Bus { address: address.to_owned(), source };
    bus::socket::connect(address).await.map_err(failed)
}

async fn serve(
    shared: &Arc<Shared>,
    mut stream: MessageStream,
    terminate: &mut Signal,
    interrupt: &mut Signal,
    hangup: &mut Signal,
) -> Result<(), Error> {
    let mut claiming = Box::pin(tokio::spawn(begin(Arc::clone(shared))));
    let mut ready = false;
    loop {
        let stop = tokio::select! {
            message = stream.next() => match message {
                Some(Ok(message)) => {
                    call::dispatch(shared, message);
                    false
                }
                // The end of the stream, or a broken one: the bus is gone.
                _ => {
                    claiming.abort();
                    stream = again(shared, terminate, interrupt).await?;
                    claiming = Box::pin(tokio::spawn(begin(Arc::clone(shared))));
                    ready = false;
                    false
                }
            },
            claimed = &mut claiming, if !ready => {
                ready = true;
                claimed.unwrap_or_else(|error| Err(Error::Name {
                    name: own::NAME.to_owned(),
                    reason: error.to_string(),
                }))?;
                tell_ready();
                if let Err(error) = vnode_idle::let_go() {
                    debug!(%error, "code that only the start needed stays in memory");
                }
                false
            }
            _ = hangup.recv() => {
                shared.reload.notify_one();
                false
            }
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
        };
        if stop {
            break;
        }
    }
    info!("ending: running calls are finished, Stop scripts run");
    let mut stopping = Box::pin(lifecycle::stop_all(shared));
    loop {
        tokio::select! {
            () = &mut stopping => return Ok(()),
            message = stream.next() => match message {
                Some(Ok(message)) => call::dispatch(shared, message),
                _ => {
                    stopping.await;
                    return Ok(());
                }
            },
        }
    }
}

/// Claims the daemon's own names, and those of components that were active on a bus before this one.
async fn begin(shared: Arc<Shared>) -> Result<(), Error> {
    let connection = shared.bus();
    shared.schema.begin(&connection, shared.options.schema).await;
    for name in [own::MODEL, own::NAME] {
        bus::names::claim(&connection, name)
            .await
            .map_err(|error| Error::Name { name: name.to_owned(), reason: chain(&error) })?;
    }
    lifecycle::claim_again(&shared).await;
    Ok(())
}

/// After the bus is gone: a new connection, if that is wanted.
async fn again(
    shared: &Arc<Shared>,
    terminate: &mut Signal,
    interrupt: &mut Signal,
) -> Result<MessageStream, Error> {
    let address = &shared.options.bus;
    if !shared.options.reconnect {
        return Err(Error::BusGone(address.clone()));
    }
    warn!(%address, "the bus is gone; trying until it is back");
    let mut pause = RECONNECT.0;
    loop {
        match connect(address).await {
            Ok(connection) => {
                let stream = MessageStream::from(&connection);
                *shared.bus.lock().unwrap_or_else(PoisonError::into_inner) = connection;
                shared.load.forget_callers();
                info!(%address, "the bus is back");
                return Ok(stream);
            }
            Err(error) => debug!(error = %chain(&error), "the bus is not back yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = terminate.recv() => return Err(Error::BusGone(address.clone())),
            _ = interrupt.recv() => return Err(Error::BusGone(address.clone())),
        }
        pause = (pause * 2).min(RECONNECT.1);
    }
}

/// Tells systemd; without one this does nothing.
fn tell_ready() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        error!(%error, "cannot tell the service manager that we are ready");
    }
}
