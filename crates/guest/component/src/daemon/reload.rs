//! The folder of instance files: read, compared with what is known, and followed.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tracing::{debug, error, info, warn};
use vnode_protocol::chain;

use super::{
    Shared, data,
    entry::{Entry, Loaded, Phase},
    lifecycle, own,
    watch::Watcher,
};
use crate::definition::{Instance, Severity};

/// Nothing may change in the folder for so long before it is read: who writes in place, empties first.
const SETTLE: Duration = Duration::from_millis(100);
/// But it is read at last after so long.
const LATEST: Duration = Duration::from_secs(1);

/// What a folder holds.
#[derive(Debug, Default)]
struct Found {
    /// By component name.
    good: BTreeMap<String, (PathBuf, Instance)>,
    /// Refused files.
    bad: BTreeMap<PathBuf, String>,
}

/// Reads the folder again whenever it changes, and when asked.
pub(super) async fn follow(shared: Arc<Shared>, mut watcher: Watcher) {
    loop {
        tokio::select! {
            () = shared.reload.notified() => {}
            changed = watcher.changed() => {
                if let Err(error) = changed {
                    error!(%error, "the instance folder cannot be followed any more; SIGHUP still reads it");
                    shared.reload.notified().await;
                } else {
                    let settled = async {
                        while let Ok(Ok(())) = tokio::time::timeout(SETTLE, watcher.changed()).await {}
                    };
                    // Late is as good as settled: what is half written keeps its last good definition.
                    let _ = tokio::time::timeout(LATEST, settled).await;
                }
            }
        }
        load(&shared).await;
    }
}

/// Reads the folder and makes what is known equal to it.
pub(super) async fn load(shared: &Arc<Shared>) {
    let found = match read(&shared.options.folder) {
        Ok(found) => found,
        Err(error) => {
            let folder = shared.options.folder.display();
            error!(%folder, %error, "the instance folder cannot be read; all stays as it is");
            return;
        }
    };
    let mut files_known: HashMap<PathBuf, Arc<Entry>> = HashMap::new();
    for entry in shared.known().components.values() {
        files_known.insert(entry.state().file.clone(), Arc::clone(entry));
    }
    // Their files may be others too.
    shared.yang.forget();
    let instances = || found.good.values().map(|(_, instance)| instance);
    let declared = data::declared(&shared.options, instances());
    let subjects = |instance: &Instance| data::subjects(&shared.options, instance, &declared);
    let mut bad = found.bad;
    let mut changed = Vec::new();
    let mut removed = Vec::new();
    {
        let mut known = shared.known();
        for (name, entry) in &known.components {
            let file = entry.state().file.clone();
            if found.good.contains_key(name) {
                entry.state().broken = None;
            } else if let Some(reason) = bad.remove(&file) {
                // The last good definition is served until the file is mended or removed.
                entry.state().broken = Some(reason);
            } else {
                removed.push(Arc::clone(entry));
            }
        }
        for entry in &removed {
            known.components.remove(&entry.name);
        }
        for (name, (file, instance)) in found.good {
            match known.components.get(&name) {
                None => {
                    let loaded = Arc::new(Loaded::new(instance, shared.options.strict_compat));
                    loaded.learn(subjects(&loaded.instance));
                    known.components.insert(name, Arc::new(Entry::new(loaded, file)));
                }
                Some(entry) => {
                    let same = entry.loaded().instance == instance;
                    entry.state().file = file;
                    if same {
                        entry.loaded().learn(subjects(&instance));
                    } else {
                        changed.push((Arc::clone(entry), instance));
                    }
                }
            }
        }
        known.broken = bad;
    }
    for entry in removed {
        info!(component = entry.name, "its file is gone");
        lifecycle::stop(shared, &entry).await;
    }
    for (entry, instance) in changed {
        let subjects = subjects(&instance);
        let loaded = Loaded::new(instance, shared.options.strict_compat);
        loaded.learn(subjects);
        change(shared, &entry, Arc::new(loaded)).await;
    }
}

async fn change(shared: &Arc<Shared>, entry: &Arc<Entry>, loaded: Arc<Loaded>) {
    if shared.options.strict_compat && entry.state().phase == Phase::Active {
        lifecycle::stop(shared, entry).await;
    }
    match lifecycle::swap(shared, entry, loaded).await {
        Ok(()) => info!(component = entry.name, "its definition is changed"),
        Err(refusal) => {
            let reason = refusal.text();
            warn!(component = entry.name, %reason, "its new definition is not served");
            entry.state().broken = Some(reason);
        }
    }
}

fn read(folder: &Path) -> io::Result<Found> {
    let mut paths = Vec::new();
    for item in std::fs::read_dir(folder)? {
        let path = item?.path();
        let name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.ends_with(".instance") || name.starts_with('.') {
            debug!(file = name, "no instance file");
        } else if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut found = Found::default();
    for path in paths {
        match read_one(&path, &found.good) {
            Ok(instance) => {
                found.good.insert(instance.name.clone(), (path, instance));
            }
            Err(reason) => {
                error!(file = %path.display(), %reason, "refused");
                found.bad.insert(path, reason);
            }
        }
    }
    Ok(found)
}

fn read_one(
    path: &Path,
    others: &BTreeMap<String, (PathBuf, Instance)>,
) -> Result<Instance, String> {
    let bytes = crate::definition::read_file(path).map_err(|error| chain(&error))?;
    let read = Instance::read(&bytes).map_err(|invalid| {
        for finding in invalid.findings.iter().filter(|f| f.severity == Severity::Warning) {
            debug!(file = %path.display(), "{finding}");
        }
        invalid.to_string()
    })?;
    for finding in &read.findings {
        warn!(file = %path.display(), "{finding}");
    }
    let instance = read.value;
    if [own::NAME, own::MODEL].iter().any(|name| instance.names().contains(name)) {
        return Err("its names are the daemon's own".to_owned());
    }
    if let Some((other, _)) = others.get(&instance.name) {
        return Err(format!(
            "component `{}` is defined by {} already",
            instance.name,
            other.display()
        ));
    }
    Ok(instance)
}
