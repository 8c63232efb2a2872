//! State of an open catalogue: what is on disk, what is being brought in, what is in use.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FlockOperation, OFlags};
use tokio::sync::Semaphore;
use vnode_beneath::{Dir, Scope};

use super::flight::Flight;
use super::record::{LayerRecord, Name, Record, Stamp, VERSION};
use super::{DiskFile, Image, ImageInfo, Staged};
use crate::digest::Digest;
use crate::registry::{self, Client};
use crate::{Error, ImageConfig, Options, PullPolicy, Reference};

/// Names looked at in one folder of the catalogue.
const MANY: usize = 1_000_000;
/// Largest record, bytes: a configuration at its limit, and room.
pub(super) const RECORD: u64 = 64 << 20;
/// A record is written anew for its time of last use at most this often.
const USE_GRAIN: SignedDuration = SignedDuration::from_secs(60);

/// The catalogue behind its handle.
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) dir: Dir,
    pub(crate) options: Arc<Options>,
    pub(super) state: Mutex<State>,
    pub(super) flights: Mutex<HashMap<String, Flight>>,
    /// One layer is fetched by one at a time.
    pub(super) layer_locks: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    pub(crate) permits: Semaphore,
    client: OnceLock<Client>,
    next_temporary: AtomicU64,
    /// One mask of the host's root is made at a time.
    pub(crate) mask: Mutex<crate::host::Last>,
    _lock: File,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) records: BTreeMap<Digest, Record>,
    pub(super) layers: HashMap<Digest, LayerRecord>,
    /// Layers that pulls under way count on.
    pub(super) pinned: HashMap<Digest, usize>,
    leases: HashMap<String, Weak<()>>,
}

/// What a source has brought in: its layers are in the catalogue, its record is not yet.
pub(crate) struct Pulled {
    pub(crate) id: Digest,
    pub(crate) manifest_digest: Option<Digest>,
    /// Lowest first.
    pub(crate) layers: Vec<Digest>,
    pub(crate) disk: Option<Staged>,
    pub(crate) config: ImageConfig,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) pins: Pins,
}

/// Keeps layers from collection until the record that names them is written.
pub(crate) struct Pins {
    inner: Arc<Inner>,
    layers: Vec<Digest>,
}

impl Pins {
    /// Takes over what another value keeps.
    pub(crate) fn join(&mut self, mut other: Pins) {
        self.layers.append(&mut other.layers);
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        for layer in &self.layers {
            if let Some(count) = state.pinned.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.pinned.remove(layer);
                }
            }
        }
    }
}

/// A folder below `tmp/`, removed with its value.
pub(crate) struct Temporary<'a> {
    inner: &'a Inner,
    /// Relative to the catalogue's root.
    pub(crate) path: PathBuf,
}

impl Temporary<'_> {
    /// Leaves the folder to the caller, who removes it.
    pub(crate) fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = self.inner.dir.remove_tree(&self.path) {
            // Swept at the next start.
            tracing::warn!(path = %self.path.display(), %error, "temporary folder left behind");
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn open(root: &Path, options: Options) -> Result<Self, Error> {
        std::fs::create_dir_all(root).map_err(Error::disk("make", root))?;
        let root = std::fs::canonicalize(root).map_err(Error::disk("open", root))?;
        let dir = Dir::open_ambient(&root, Scope::Beneath).map_err(Error::dir(&root))?;
        rustix::fs::fchmod(&dir, 0o700.into())
            .map_err(|e| Error::disk("close to others", &root)(e.into()))?;
        let lock = dir
            .open_with("lock", OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW, 0o600)
            .map_err(Error::dir(&root))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy { root }),
            Err(e) => return Err(Error::disk("lock", &root)(e.into())),
        }
        dir.remove_tree("tmp").map_err(Error::dir(&root))?;
        for folder in ["layers", "disks", "images", "tmp", "mask"] {
            dir.mkdir_all(folder, 0o700).map_err(Error::dir(&root))?;
        }
        let permits = Semaphore::new(options.parallel_layers.max(1));
        let this = Self {
            dir,
            options: Arc::new(options),
            state: Mutex::default(),
            flights: Mutex::default(),
            layer_locks: Mutex::default(),
            permits,
            client: OnceLock::new(),
            next_temporary: AtomicU64::new(0),
            mask: Mutex::default(),
            _lock: lock,
            root,
        };
        this.load().map_err(Error::dir(&this.root))?;
        Ok(this)
    }

    /// Reads what is there and sweeps what is incomplete.
    fn load(&self) -> Result<(), vnode_beneath::DirError> {
        let layers = self.dir.open_dir("layers")?;
        let mut found = HashMap::new();
        for name in layers.list(MANY)? {
            let digest = name.to_str().and_then(Digest::from_hex);
            let record = Path::new(&name).join("layer.json");
            let record = layers
                .read_to_limit(&record, RECORD)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<LayerRecord>(&bytes).ok())
                .filter(|record| record.version == VERSION);
            if let (Some(digest), Some(record)) = (digest, record) {
                found.insert(digest, record);
            }
        }
        let images = self.dir.open_dir("images")?;
        let mut records: BTreeMap<Digest, Record> = BTreeMap::new();
        for name in images.list(MANY)? {
            let id = name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(Digest::from_hex);
            let record = images
                .read_to_limit(&name, RECORD)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok())
                .filter(|r| r.version == VERSION && Some(r.id) == id)
                .filter(|r| r.layers.iter().all(|layer| found.contains_key(layer)))
                .filter(|r| r.disk.as_ref().is_none_or(|disk| self.has_disk(disk)));
            match record {
                Some(record) => drop(records.insert(record.id, record)),
                None => {
                    tracing::warn!(name = %name.display(), "image record without use removed");
                    images.remove_file(&name)?;
                }
            }
        }
        drop_superseded_names(&mut records);
        let used: HashSet<Digest> = records.values().flat_map(|r| r.layers.clone()).collect();
        for name in layers.list(MANY)? {
            let digest = name.to_str().and_then(Digest::from_hex);
            if !digest.is_some_and(|d| used.contains(&d) && found.contains_key(&d)) {
                layers.remove_tree(&name)?;
            }
        }
        found.retain(|digest, _| used.contains(digest));
        let disks = self.dir.open_dir("disks")?;
        for name in disks.list(MANY)? {
            let named = |r: &Record| r.disk.as_ref().is_some_and(|d| *name == *d.sha512);
            if !records.values().any(named) {
                disks.remove_file(&name)?;
            }
        }
        let mut state = self.state();
        state.records = records;
        state.layers = found;
        Ok(())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No invariant is broken between two statements that could panic.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn client(&self) -> Result<&Client, registry::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new(self.options.clone())?;
        Ok(self.client.get_or_init(|| client))
    }

    pub(crate) fn temporary(&self) -> Result<Temporary<'_>, vnode_beneath::DirError> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("tmp/{number}"));
        self.dir.mkdir(&path, 0o700)?;
        Ok(Temporary { inner: self, path })
    }

    pub(crate) fn pin(self: &Arc<Self>, layers: &[Digest]) -> Pins {
        let mut state = self.state();
        for layer in layers {
            *state.pinned.entry(*layer).or_default() += 1;
        }
        Pins { inner: self.clone(), layers: layers.to_vec() }
    }

    pub(crate) fn has_layer(&self, layer: &Digest) -> bool {
        self.state().layers.contains_key(layer)
    }

    /// The lock under which one layer is fetched.
    pub(crate) fn layer_lock(&self, layer: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.layer_locks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&layer).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(layer, Arc::downgrade(&lock));
        lock
    }

    pub(crate) fn layer_root(&self, layer: &Digest) -> PathBuf {
        self.root.join("layers").join(layer.hex()).join("root")
    }

    /// Writes the record of what was pulled and lets `name` lead to it.
    pub(crate) fn commit(&self, pulled: Pulled, name: &str) -> Result<Image, Error> {
        // One call makes all the layers' files durable, before a record says that they are there.
        rustix::fs::syncfs(&self.dir).map_err(|e| Error::disk("sync", &self.root)(e.into()))?;
        let now = Timestamp::now();
        let mut state = self.state();
        let mut record = match state.records.get(&pulled.id) {
            Some(record) => record.clone(),
            None => Record {
                version: VERSION,
                id: pulled.id,
                references: BTreeMap::new(),
                manifest_digest: None,
                layers: pulled.layers.clone(),
                size_bytes: 0,
                disk: pulled.disk.as_ref().map(|staged| staged.disk.clone()),
                config: pulled.config,
                warnings: Vec::new(),
                created: now,
                last_used: now,
            },
        };
        record.references.insert(name.to_owned(), Name { since: now, stamp: pulled.stamp });
        record.manifest_digest = pulled.manifest_digest.or(record.manifest_digest);
        record.last_used = now;
        let layers: Vec<_> =
            record.layers.iter().filter_map(|layer| state.layers.get(layer)).collect();
        record.size_bytes = layers.iter().map(|l| l.size_bytes).sum();
        if let Some(staged) = &pulled.disk {
            // Under the lock: collection cannot see the file before the record names it.
            staged.place().map_err(Error::dir(&self.root))?;
            record.size_bytes = staged.disk.size_bytes;
        }
        record.warnings = warnings(&layers);
        self.write_record(&record)?;
        // Then the image that had the name before loses it. A crash between the two is mended at open.
        let id = record.id;
        let before: Vec<Digest> = state
            .records
            .values()
            .filter(|r| r.id != id && r.references.contains_key(name))
            .map(|r| r.id)
            .collect();
        state.records.insert(id, record);
        for other in before {
            if let Some(record) = state.records.get_mut(&other) {
                record.references.remove(name);
                self.write_record(record)?;
            }
        }
        let image = self.image(&mut state, &id, name);
        drop(state);
        drop(pulled.pins);
        image.ok_or_else(|| Error::Unknown { name: name.to_owned() })
    }

    pub(super) fn write_record(&self, record: &Record) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(record)
            .map_err(|e| Error::disk("write the record of", &self.root)(e.into()))?;
        self.dir
            .write_atomic(format!("images/{}.json", record.id.hex()), &bytes, 0o600)
            .map_err(Error::dir(&self.root))
    }

    /// The image of a name, if it is here and still what the name's local file holds.
    pub(super) fn find(
        self: &Arc<Self>,
        reference: &Reference,
        name: &str,
        policy: PullPolicy,
    ) -> Option<Image> {
        let current = reference.path().map(Stamp::of);
        let now = Timestamp::now();
        let mut state = self.state();
        let record = state.records.values_mut().find(|r| r.references.contains_key(name))?;
        let changed = match (current, record.references.get(name)) {
            // A file that is gone does not make the image unusable.
            (Some(Some(current)), Some(known)) => known.stamp != Some(current),
            _ => false,
        };
        if changed && policy == PullPolicy::IfNotPresent {
            return None;
        }
        let id = record.id;
        if now.duration_since(record.last_used) > USE_GRAIN {
            record.last_used = now;
            // Not awaited: who wants the image need not wait for the disk to hear of it.
            let this = self.clone();
            drop(tokio::task::spawn_blocking(move || this.write_use(&id)));
        }
        self.image(&mut state, &id, name)
    }

    /// Writes down when an image was last used. A failure costs an image its place in the order of collection.
    fn write_use(&self, id: &Digest) {
        let state = self.state();
        if let Some(Err(error)) = state.records.get(id).map(|record| self.write_record(record)) {
            tracing::warn!(image = %id, %error, "time of last use not written");
        }
    }

    fn image(&self, state: &mut State, id: &Digest, name: &str) -> Option<Image> {
        let lease = lease(&mut state.leases, &id.to_string());
        let record = state.records.get(id)?;
        Some(Image {
            id: id.to_string(),
            reference: name.to_owned(),
            layers: self.layer_paths(record),
            disk: self.disk_file(record),
            extra_overlays: Vec::new(),
            config: record.config.clone(),
            warnings: record.warnings.clone(),
            lease,
        })
    }

    pub(crate) fn lease(&self, id: &str) -> Arc<()> {
        lease(&mut self.state().leases, id)
    }

    pub(crate) fn leased(&self) -> BTreeSet<String> {
        self.state().leased()
    }

    fn layer_paths(&self, record: &Record) -> Vec<PathBuf> {
        record.layers.iter().rev().map(|layer| self.layer_root(layer)).collect()
    }

    fn disk_file(&self, record: &Record) -> Option<DiskFile> {
        let disk = record.disk.as_ref()?;
        Some(DiskFile {
            path: self.root.join(disk.path()),
            format: disk.format,
            virtual_size: disk.virtual_size,
            size_bytes: disk.size_bytes,
            sha512: disk.sha512.clone(),
        })
    }

    fn info_of(&self, record: &Record) -> ImageInfo {
        ImageInfo {
            id: record.id.to_string(),
            references: record.references.keys().cloned().collect(),
            manifest_digest: record.manifest_digest.map(String::from),
            size_bytes: record.size_bytes,
            layers: self.layer_paths(record),
            disk: self.disk_file(record),
            config: record.config.clone(),
            created: record.created,
            last_used: record.last_used,
        }
    }

    pub(super) fn infos(&self) -> Vec<ImageInfo> {
        self.state().records.values().map(|record| self.info_of(record)).collect()
    }

    pub(super) fn info(&self, id: &Digest) -> Option<ImageInfo> {
        self.state().records.get(id).map(|record| self.info_of(record))
    }

    /// What a user means by `name`: an image, and the reference if it was one.
    pub(super) fn lookup(&self, name: &str) -> Result<(Digest, Option<String>), Error> {
        let state = self.state();
        if let Ok(reference) = Reference::parse(name) {
            let full = reference.normalised(&self.options.default_registry).to_string();
            if let Some(record) = state.records.values().find(|r| r.references.contains_key(&full))
            {
                return Ok((record.id, Some(full)));
            }
        }
        let start = name.strip_prefix("sha256:").unwrap_or(name);
        let unknown = || Error::Unknown { name: name.to_owned() };
        if start.len() < 6 {
            return Err(unknown());
        }
        let mut matching = state.records.keys().filter(|id| id.hex().starts_with(start));
        match (matching.next(), matching.next()) {
            (Some(id), None) => Ok((*id, None)),
            (Some(_), Some(_)) => Err(Error::Ambiguous { name: name.to_owned() }),
            (None, _) => Err(unknown()),
        }
    }
}

impl State {
    pub(super) fn leased(&mut self) -> BTreeSet<String> {
        self.leases.retain(|_, lease| lease.strong_count() > 0);
        self.leases.keys().cloned().collect()
    }
}

fn lease(leases: &mut HashMap<String, Weak<()>>, id: &str) -> Arc<()> {
    if let Some(lease) = leases.get(id).and_then(Weak::upgrade) {
        return lease;
    }
    let lease = Arc::new(());
    leases.insert(id.to_owned(), Arc::downgrade(&lease));
    lease
}

/// A crash while a name moved from one image to another leaves it with both: the later one keeps it.
fn drop_superseded_names(records: &mut BTreeMap<Digest, Record>) {
    let mut latest: HashMap<String, (Timestamp, Digest)> = HashMap::new();
    for record in records.values() {
        for (name, lead) in &record.references {
            let entry = latest.entry(name.clone()).or_insert((lead.since, record.id));
            if lead.since > entry.0 {
                *entry = (lead.since, record.id);
            }
        }
    }
    for record in records.values_mut() {
        let id = record.id;
        record.references.retain(|name, _| latest.get(name).is_some_and(|(_, to)| *to == id));
    }
}

fn warnings(layers: &[&LayerRecord]) -> Vec<String> {
    let mut warnings = Vec::new();
    let devices: u64 = layers.iter().map(|l| l.devices_skipped).sum();
    if devices > 0 {
        warnings.push(format!("{devices} device nodes were left out; a node gets its own /dev"));
    }
    let attributes: u64 = layers.iter().map(|l| l.attributes_skipped).sum();
    if attributes > 0 {
        warnings.push(format!(
            "{attributes} extended attributes were left out; capabilities and user.* are kept"
        ));
    }
    warnings
}
