//! The connections of this daemon: one for each URI, opened again when it is lost, its events for everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use vnode_driver::{Error, Result};

use crate::domain::Domain;
use crate::typed::{self, Connection, Event, VirError};

/// Events that a slow node may be behind; then it asks for its state instead.
const BEHIND: usize = 1024;
/// Where QEMU's libvirt of this machine is.
const HERE: &str = "qemu:///system";
/// Between two attempts to reach a libvirt that is gone.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// The version of the libvirt library of this machine, such as `9.0.0`; opens it.
///
/// # Errors
/// A sentence that says why there is none.
pub fn version() -> std::result::Result<String, String> {
    typed::version()
}

/// What of libvirt this machine has, for a person to read: the library, and whether a daemon of it answers.
///
/// # Errors
/// A sentence that says why there is no library.
pub async fn found() -> std::result::Result<String, String> {
    /// A daemon that does not answer in this time is told as one that does not.
    const PATIENCE: Duration = Duration::from_secs(3);
    let library = tokio::task::spawn_blocking(version).await.map_err(|e| e.to_string())??;
    let open = || Connection::open(HERE, Box::new(|_| ())).map(drop);
    let daemon = match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(open)).await {
        Ok(Ok(Ok(()))) => format!("`{HERE}` answers"),
        Ok(Ok(Err(error))) => format!("no daemon at `{HERE}` ({error})"),
        Ok(Err(error)) => format!("`{HERE}`: {error}"),
        Err(_) => format!("`{HERE}` does not answer"),
    };
    Ok(format!("library {library}, {daemon}"))
}

/// What libvirt refused, as a driver's error about a node.
pub(crate) fn refused(node: &str, doing: &str, error: VirError) -> Error {
    let node = node.to_owned();
    if error.is_unsupported() {
        return Error::Unsupported { node, what: format!("cannot {doing}: {}", error.message) };
    }
    Error::Io { doing: format!("{doing} of node `{node}`"), source: std::io::Error::other(error) }
}

/// Lets a connection go, off the runtime's threads: closing it waits for a libvirt that may hang.
fn close(connection: Option<Arc<Connection>>) {
    drop(tokio::task::spawn_blocking(move || drop(connection)));
}

/// One libvirt, reached by its URI.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) uri: String,
    current: tokio::sync::Mutex<Option<Arc<Connection>>>,
    events: broadcast::Sender<Event>,
}

impl Hub {
    fn new(uri: &str) -> Arc<Self> {
        let (events, _) = broadcast::channel(BEHIND);
        Arc::new(Self { uri: uri.to_owned(), current: tokio::sync::Mutex::new(None), events })
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The connection, opened when there is none that lives.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>> {
        let mut held = self.current.lock().await;
        if let Some(connection) = held.as_ref() {
            let asked = Arc::clone(connection);
            if crate::blocking(move || asked.is_alive()).await? {
                return Ok(Arc::clone(connection));
            }
        }
        let (uri, hub) = (self.uri.clone(), Arc::downgrade(self));
        let runtime = tokio::runtime::Handle::current();
        let tell: typed::Tell = Box::new(move |event| {
            let Some(hub) = hub.upgrade() else { return };
            if event == Event::Closed {
                runtime.spawn(hub.reopen());
            } else {
                // Nobody listens when no node is there.
                let _ = hub.events.send(event);
            }
        });
        let opened = crate::blocking(move || Connection::open(&uri, tell)).await?;
        let opened = Arc::new(opened.map_err(|error| Error::Io {
            doing: format!("connect to libvirt at `{}`", self.uri),
            source: std::io::Error::other(error),
        })?);
        close(held.replace(Arc::clone(&opened)));
        // Nobody listens when no node is there.
        let _ = self.events.send(Event::Opened);
        Ok(opened)
    }

    /// Makes the connection anew after its end, for as long as a node wants it.
    fn reopen(self: Arc<Self>) -> vnode_driver::BoxFuture<'static, ()> {
        Box::pin(async move {
            tracing::warn!(uri = self.uri, "the connection to libvirt is gone");
            close(self.current.lock().await.take());
            let weak = Arc::downgrade(&self);
            drop(self);
            for attempt in 0.. {
                tokio::time::sleep(AGAIN[AGAIN.len().min(attempt + 1) - 1]).await;
                let Some(hub) = weak.upgrade() else { return };
                if hub.events.receiver_count() == 0 {
                    return;
                }
                match hub.connection().await {
                    Ok(_) => return,
                    Err(error) => tracing::debug!(uri = hub.uri, %error, "libvirt is not back yet"),
                }
            }
        })
    }

    /// Does something with a connection, off the runtime's threads.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        node: &str,
        doing: &'static str,
        work: impl FnOnce(&Arc<Connection>) -> typed::Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = self.connection().await?;
        let done = crate::blocking(move || work(&connection)).await?;
        done.map_err(|error| refused(node, doing, error))
    }

    /// Does something with the domain of this UUID.
    pub(crate) async fn domain<T: Send + 'static>(
        self: &Arc<Self>,
        (node, uuid): (&str, &str),
        doing: &'static str,
        work: impl FnOnce(&Domain) -> typed::Result<T> + Send + 'static,
    ) -> Result<T> {
        let uuid = uuid.to_owned();
        self.run(node, doing, move |connection| work(&connection.by_uuid(&uuid)?)).await
    }
}

/// All connections of a driver.
#[derive(Debug, Default)]
pub(crate) struct Hubs(Mutex<HashMap<String, Arc<Hub>>>);

impl Hubs {
    pub(crate) fn of(&self, uri: &str) -> Arc<Hub> {
        let mut hubs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hubs.entry(uri.to_owned()).or_insert_with(|| Hub::new(uri)))
    }
}

/// Whether the libvirt behind a URI is this machine's: only then do its domains' interfaces meet our links.
pub(crate) fn is_local(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else { return false };
    rest.starts_with('/') && (!scheme.contains('+') || scheme.ends_with("+unix"))
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_domains_of_this_machine_are_linked() {
        for uri in ["qemu:///system", "lxc:///", "xen:///system", "qemu+unix:///system?socket=/x"] {
            assert!(is_local(uri), "{uri}");
        }
        for uri in ["qemu+ssh://root@host/system", "qemu://host/system", "qemu+tls://h/", "qemu"] {
            assert!(!is_local(uri), "{uri}");
        }
    }
}
