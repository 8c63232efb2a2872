//! The lock order of R-8 as types: host root, then images, then nodes, then links, then the allocator, then the
//! firewall. A guard gives only locks further down, and lives no longer than the guard above it.

use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::OwnedMutexGuard;

/// A place in the order. The types below are the only ones.
pub trait Level: sealed::Sealed + Send + Sync + std::fmt::Debug + 'static {
    #[doc(hidden)]
    const RANK: usize;
}

/// `Self` stands above `L`: who holds `Self` may take `L`.
pub trait Above<L: Level>: Level {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! levels {
    ($($rank:literal $name:ident: $doc:literal, above $($below:ident)*;)*) => {
        $(
            #[doc = $doc]
            #[derive(Debug)]
            pub enum $name {}
            impl sealed::Sealed for $name {}
            impl Level for $name {
                const RANK: usize = $rank;
            }
            $(impl Above<$below> for $name {})*
        )*
    };
}

levels! {
    6 Nothing: "Nothing is held yet.", above HostRoot Image Node Link Allocator Firewall;
    0 HostRoot: "Once-a-host set-up: forwarding, roots of cgroups, chains.", above Image Node Link Allocator Firewall;
    1 Image: "One image: fetched and unpacked by one at a time.", above Node Link Allocator Firewall;
    2 Node: "One node: one operation at a time.", above Link Allocator Firewall;
    3 Link: "What links do to frames: one change at a time.", above Allocator Firewall;
    4 Allocator: "Addresses, names and numbers being given out.", above Firewall;
    5 Firewall: "Packet filter and name service of the control network.", above;
}

const NAMES: [&str; 6] = ["host-root", "image", "node", "link", "allocator", "firewall"];

/// All locks of one daemon. They live in its memory, so they are gone with its process (T-87); the lock of
/// the store keeps a second daemon away.
#[derive(Debug, Clone, Default)]
pub struct Locks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// One table for each level; the levels without ids use the id "".
    tables: [Table; NAMES.len()],
    counters: [Counters; NAMES.len()],
}

type Table = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

#[derive(Debug, Default)]
struct Counters {
    taken: AtomicU64,
    waited: AtomicU64,
    held_nanos: AtomicU64,
    longest_nanos: AtomicU64,
}

/// How long the locks of one level were held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelStats {
    pub level: &'static str,
    /// Times taken.
    pub taken: u64,
    /// Times someone had to wait.
    pub waited: u64,
    /// Sum of all times held.
    pub held: Duration,
    /// Longest time held.
    pub longest: Duration,
}

impl Locks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Where every taking of locks begins. One for each task at a time: the types order the locks taken
    /// through one guard, not through two.
    pub fn begin(&self) -> Guard<'static, Nothing> {
        Guard {
            locks: self.clone(),
            held: Vec::new(),
            taken: Instant::now(),
            _above: PhantomData,
            _level: PhantomData,
        }
    }

    /// The lock of the host, for whoever holds nothing: what [`begin`](Self::begin) gives, in one.
    pub async fn host_root(&self) -> Guard<'static, HostRoot> {
        self.take(vec![String::new()]).await
    }

    /// The lock of one node, for whoever holds nothing.
    pub async fn node(&self, id: &str) -> Guard<'static, Node> {
        self.take(vec![id.to_owned()]).await
    }

    /// The lock of the links, for whoever holds nothing.
    pub async fn link(&self) -> Guard<'static, Link> {
        self.take(vec![String::new()]).await
    }

    /// The lock of the allocator, for whoever holds nothing.
    pub async fn allocator(&self) -> Guard<'static, Allocator> {
        self.take(vec![String::new()]).await
    }

    /// What each level has cost so far, in the order of the levels.
    pub fn stats(&self) -> Vec<LevelStats> {
        NAMES
            .into_iter()
            .zip(&self.0.counters)
            .map(|(level, counters)| LevelStats {
                level,
                taken: counters.taken.load(Relaxed),
                waited: counters.waited.load(Relaxed),
                held: Duration::from_nanos(counters.held_nanos.load(Relaxed)),
                longest: Duration::from_nanos(counters.longest_nanos.load(Relaxed)),
            })
            .collect()
    }

    async fn take<L: Level>(&self, ids: Vec<String>) -> Guard<'static, L> {
        let mut held = Vec::with_capacity(ids.len());
        for id in ids {
            // The claim comes first: dropped with this future, it takes the unused lock out of the table.
            let claim = Claim::new(self, L::RANK, id);
            let lock = Arc::clone(&claim.lock);
            let guard = match Arc::clone(&lock).try_lock_owned() {
                Ok(guard) => guard,
                Err(_) => {
                    self.0.counters[L::RANK].waited.fetch_add(1, Relaxed);
                    lock.lock_owned().await
                }
            };
            held.push(Held { guard: Some(guard), _claim: claim });
        }
        self.0.counters[L::RANK].taken.fetch_add(1, Relaxed);
        Guard {
            locks: self.clone(),
            held,
            taken: Instant::now(),
            _above: PhantomData,
            _level: PhantomData,
        }
    }
}

/// Keeps a lock in its table as long as someone holds or waits for it.
#[derive(Debug)]
struct Claim {
    locks: Locks,
    rank: usize,
    id: String,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Claim {
    fn new(locks: &Locks, rank: usize, id: String) -> Self {
        let mut table = locks.0.tables[rank].lock().unwrap_or_else(PoisonError::into_inner);
        let lock = Arc::clone(table.entry(id.clone()).or_default());
        Self { locks: locks.clone(), rank, id, lock }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table =
            self.locks.0.tables[self.rank].lock().unwrap_or_else(PoisonError::into_inner);
        // The table's and this one's: nobody else holds or waits, and nobody can come while it is locked.
        if Arc::strong_count(&self.lock) == 2 {
            table.remove(&self.id);
        }
    }
}

#[derive(Debug)]
struct Held {
    /// `None` only while dropping: it must go before the claim looks at the count.
    guard: Option<OwnedMutexGuard<()>>,
    _claim: Claim,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.guard.take());
    }
}

/// Locks of one level, held until this is dropped. Taking a lock below borrows it, so that it cannot be
/// dropped first, and nothing else can be taken beside.
///
/// ```compile_fail
/// # async fn upward(locks: vnode_operation::lock::Locks) {
/// let mut begin = locks.begin();
/// let mut node = begin.node("r1").await;
/// let image = node.image("debian").await; // upward: no such lock to take
/// # }
/// ```
/// ```compile_fail
/// # async fn outer_first(locks: vnode_operation::lock::Locks) {
/// let mut begin = locks.begin();
/// let mut node = begin.node("r1").await;
/// let allocator = node.allocator().await;
/// drop(node); // the inner one is still held
/// drop(allocator);
/// # }
/// ```
/// ```
/// # async fn downward(locks: vnode_operation::lock::Locks) {
/// let mut begin = locks.begin();
/// let mut node = begin.node("r1").await;
/// let allocator = node.allocator().await;
/// drop(allocator);
/// drop(node);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a lock is released when its guard is dropped"]
pub struct Guard<'above, L: Level> {
    locks: Locks,
    held: Vec<Held>,
    taken: Instant,
    _above: PhantomData<&'above mut ()>,
    _level: PhantomData<fn() -> L>,
}

impl<L: Level> Guard<'_, L> {
    /// Takes the lock of the host. Waiting can be cancelled by dropping the future: nothing is held then.
    pub async fn host_root(&mut self) -> Guard<'_, HostRoot>
    where
        L: Above<HostRoot>,
    {
        self.locks.take(vec![String::new()]).await
    }

    /// Takes the lock of one image.
    pub async fn image(&mut self, id: &str) -> Guard<'_, Image>
    where
        L: Above<Image>,
    {
        self.locks.take(vec![id.to_owned()]).await
    }

    /// Takes the lock of one node.
    pub async fn node(&mut self, id: &str) -> Guard<'_, Node>
    where
        L: Above<Node>,
    {
        self.locks.take(vec![id.to_owned()]).await
    }

    /// Takes the locks of several nodes, in the order of their ids whatever order they are given in.
    pub async fn nodes<I>(&mut self, ids: I) -> Guard<'_, Node>
    where
        L: Above<Node>,
        I: IntoIterator<Item = String>,
    {
        let mut ids: Vec<String> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        self.locks.take(ids).await
    }

    /// Takes the lock of the links.
    pub async fn link(&mut self) -> Guard<'_, Link>
    where
        L: Above<Link>,
    {
        self.locks.take(vec![String::new()]).await
    }

    /// Takes the lock of the allocator.
    pub async fn allocator(&mut self) -> Guard<'_, Allocator>
    where
        L: Above<Allocator>,
    {
        self.locks.take(vec![String::new()]).await
    }

    /// Takes the lock of the firewall.
    pub async fn firewall(&mut self) -> Guard<'_, Firewall>
    where
        L: Above<Firewall>,
    {
        self.locks.take(vec![String::new()]).await
    }
}

impl<L: Level> Drop for Guard<'_, L> {
    fn drop(&mut self) {
        let Some(counters) = self.locks.0.counters.get(L::RANK) else { return };
        // The last taken is released first.
        while self.held.pop().is_some() {}
        let nanos = u64::try_from(self.taken.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counters.held_nanos.fetch_add(nanos, Relaxed);
        counters.longest_nanos.fetch_max(nanos, Relaxed);
    }
}

#[cfg(test)]
mod tests;
