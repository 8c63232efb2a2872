//! The northbound's state: in memory to be read, in the store to last.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vnode_store::{Change, Store, record};

use crate::functions::Functions;
use crate::notify::Notifier;
use crate::problem::Problem;
use crate::records::{Instance, Occurrence, Package, Phase, SCHEMA, Subscription};

/// Prefixes of the store's keys.
pub(crate) const PACKAGE: &str = "nfv/package/";
pub(crate) const INSTANCE: &str = "nfv/instance/";
pub(crate) const OCCURRENCE: &str = "nfv/occurrence/";
pub(crate) const SUBSCRIPTION: &str = "nfv/subscription/";

/// Most occurrences that are kept; the oldest final ones go first.
const MOST_OCCURRENCES: usize = 10_000;
/// Most packages, instances and subscriptions, each.
pub(crate) const MOST: usize = 10_000;

/// How the northbound is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where packages' content is kept; made when it is missing.
    pub folder: PathBuf,
    /// Largest archive that is taken, bytes.
    pub largest_package: u64,
    /// Entries in one answer of a list; the rest is linked to.
    pub page: usize,
}

impl Options {
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, largest_package: 256 << 20, page: 100 }
    }
}

/// The northbound of one daemon. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Nfv {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) functions: Arc<dyn Functions>,
    pub(crate) options: Options,
    /// Held over the store's commit, so that memory and store agree in their order.
    pub(crate) state: tokio::sync::Mutex<State>,
    /// What stops an operation that goes on, by its occurrence.
    running: Mutex<HashMap<Uuid, CancellationToken>>,
    pub(crate) notifier: Notifier,
}

/// Everything remembered.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) packages: BTreeMap<Uuid, Package>,
    pub(crate) instances: BTreeMap<Uuid, Instance>,
    pub(crate) occurrences: BTreeMap<Uuid, Occurrence>,
    pub(crate) subscriptions: BTreeMap<Uuid, Subscription>,
}

/// A change of the records, made in memory when the store has it.
#[derive(Debug)]
pub(crate) enum Edit {
    Package(Package),
    NoPackage(Uuid),
    Instance(Instance),
    NoInstance(Uuid),
    Occurrence(Occurrence),
    Subscription(Subscription),
    NoSubscription(Uuid),
}

impl Edit {
    fn change(&self) -> Result<Change, Problem> {
        fn put<T: Serialize>(prefix: &str, id: Uuid, value: &T) -> Result<Change, Problem> {
            let value = record::encode(SCHEMA, value)
                .map_err(|e| Problem::internal("cannot keep a record", &e))?;
            Ok(Change::put(format!("{prefix}{id}"), value))
        }
        match self {
            Self::Package(p) => put(PACKAGE, p.id, p),
            Self::Instance(i) => put(INSTANCE, i.id, i),
            Self::Occurrence(o) => put(OCCURRENCE, o.id, o),
            Self::Subscription(s) => put(SUBSCRIPTION, s.id, s),
            Self::NoPackage(id) => Ok(Change::delete(format!("{PACKAGE}{id}"))),
            Self::NoInstance(id) => Ok(Change::delete(format!("{INSTANCE}{id}"))),
            Self::NoSubscription(id) => Ok(Change::delete(format!("{SUBSCRIPTION}{id}"))),
        }
    }

    fn apply(self, state: &mut State) {
        match self {
            Self::Package(p) => drop(state.packages.insert(p.id, p)),
            Self::Instance(i) => drop(state.instances.insert(i.id, i)),
            Self::Occurrence(o) => drop(state.occurrences.insert(o.id, o)),
            Self::Subscription(s) => drop(state.subscriptions.insert(s.id, s)),
            Self::NoPackage(id) => drop(state.packages.remove(&id)),
            Self::NoInstance(id) => drop(state.instances.remove(&id)),
            Self::NoSubscription(id) => drop(state.subscriptions.remove(&id)),
        }
    }
}

impl Nfv {
    /// Reads what is remembered, and goes on with what a crash cut off. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The store cannot be read, or the folder cannot be made.
    pub async fn open(
        store: Arc<dyn Store>,
        functions: Arc<dyn Functions>,
        options: Options,
    ) -> Result<Self, Problem> {
        async fn all<T: DeserializeOwned>(
            store: &dyn Store,
            prefix: &str,
        ) -> Result<BTreeMap<Uuid, T>, Problem> {
            let fail = |e| Problem::internal("cannot read the northbound's records", &e);
            let mut found = BTreeMap::new();
            for (key, entry) in store.list(prefix).await.map_err(fail)? {
                let value = record::decode(&entry.value, &[]).map_err(fail)?;
                // A key of another form is none of ours.
                if let Ok(id) = key[prefix.len()..].parse() {
                    found.insert(id, value);
                }
            }
            Ok(found)
        }
        tokio::fs::create_dir_all(&options.folder)
            .await
            .map_err(|e| Problem::internal("cannot make the folder of packages", &e))?;
        let state = State {
            packages: all(&*store, PACKAGE).await?,
            instances: all(&*store, INSTANCE).await?,
            occurrences: all(&*store, OCCURRENCE).await?,
            subscriptions: all(&*store, SUBSCRIPTION).await?,
        };
        let notifier = Notifier::default();
        for subscription in state.subscriptions.values() {
            notifier.subscribe(subscription.clone())?;
        }
        let inner = Arc::new(Inner {
            store,
            functions,
            options,
            state: tokio::sync::Mutex::new(state),
            running: Mutex::default(),
            notifier,
        });
        let nfv = Self { inner };
        nfv.sweep_packages().await?;
        nfv.resume().await?;
        Ok(nfv)
    }

    /// Makes the edits durable and then seen, all or none.
    pub(crate) async fn edit(&self, state: &mut State, edits: Vec<Edit>) -> Result<(), Problem> {
        let mut changes = edits.iter().map(Edit::change).collect::<Result<Vec<_>, _>>()?;
        let old = forgotten(state, &edits);
        changes.extend(old.iter().map(|id| Change::delete(format!("{OCCURRENCE}{id}"))));
        self.inner
            .store
            .commit(changes)
            .await
            .map_err(|e| Problem::internal("cannot keep a record", &e))?;
        for edit in edits {
            edit.apply(state);
        }
        for id in old {
            state.occurrences.remove(&id);
        }
        Ok(())
    }

    pub(crate) fn running(&self) -> MutexGuard<'_, HashMap<Uuid, CancellationToken>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest final occurrence, when a new one would be too many. Identifiers are in the order of time.
fn forgotten(state: &State, edits: &[Edit]) -> Vec<Uuid> {
    let is_new = |edit: &&Edit| matches!(edit, Edit::Occurrence(o) if o.phase == Phase::Starting);
    let coming = edits.iter().filter(is_new).count();
    let over = (state.occurrences.len() + coming).saturating_sub(MOST_OCCURRENCES);
    let finals = state.occurrences.values().filter(|o| o.phase.is_final());
    finals.take(over).map(|o| o.id).collect()
}

/// An identifier; later ones sort after earlier ones.
pub(crate) fn new_id() -> Uuid {
    Uuid::now_v7()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
