//! Kept memory of a machine: what QEMU's migration writes, in a file beside the disks it belongs to.
//!
//! ```text
//!  disks/memory       the stream; only the daemon's to open, QEMU is handed a descriptor
//!  disks/memory.json  written last: what machine it is of; without it there is no kept memory
//! ```
//!
//! It lies with the disks because it is worth nothing without them as they were at that moment: a snapshot takes both, a
//! restore brings both back, an empty disk has none. It is gone before the machine runs on, since the disks change then.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vnode_driver::{Error, NodeSpec, Result};
use vnode_monitor::wire;

use crate::accel::Accelerators;
use crate::command;
use crate::disk::DISKS;
use crate::nic::Nic;
use crate::shell::io;

const STREAM: &str = "memory";
const ABOUT: &str = "memory.json";

/// What a stream of memory fits: the same machine by the same QEMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    qemu: String,
    /// The command line, but for the names of taps, which are the host's.
    argv: Vec<String>,
}

impl About {
    pub(crate) fn of(spec: &NodeSpec, accelerators: &Accelerators, nics: &[Nic]) -> Result<Self> {
        let nameless: Vec<Nic> =
            nics.iter().map(|nic| Nic { tap: String::new(), ..nic.clone() }).collect();
        let argv = command::build(spec, accelerators, &nameless)?.argv;
        Ok(Self { qemu: accelerators.qemu.clone().unwrap_or_default(), argv })
    }
}

fn folder(dir: &Path) -> PathBuf {
    dir.join(wire::UPPER).join(DISKS)
}

/// Whether a machine has kept memory.
pub(crate) fn there(dir: &Path) -> bool {
    folder(dir).join(ABOUT).exists()
}

/// A new file for the stream.
pub(crate) fn begin(dir: &Path) -> Result<File> {
    remove(dir)?;
    let path = folder(dir).join(STREAM);
    let made = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
    made.map_err(io(format!("make {}", path.display())))
}

/// The stream is whole: it is on the disk, with what it fits, when this is over.
pub(crate) fn finish(dir: &Path, stream: &File, about: &About) -> Result<()> {
    let folder = folder(dir);
    let (path, new) = (folder.join(ABOUT), folder.join("memory.json.new"));
    let work = || {
        stream.sync_all()?;
        let file = File::create(&new)?;
        serde_json::to_writer(&file, about)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(&folder)?.sync_all()
    };
    work().map_err(io(format!("keep the memory in {}", folder.display())))
}

/// The kept memory, when it is of this machine; `None`: there is none.
pub(crate) fn open(spec: &NodeSpec, dir: &Path, about: &About) -> Result<Option<File>> {
    let folder = folder(dir);
    let text = match std::fs::read(folder.join(ABOUT)) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(format!("read {}", folder.join(ABOUT).display()))(e)),
    };
    if serde_json::from_slice::<About>(&text).ok().as_ref() != Some(about) {
        return Err(Error::Invalid {
            node: spec.node.clone(),
            what: "its memory was saved as another machine's: its definition, its interfaces or QEMU have changed since; \
                   put them back, or throw it away with `vnode save --discard`"
                .to_owned(),
        });
    }
    let path = folder.join(STREAM);
    File::open(&path).map(Some).map_err(io(format!("open {}", path.display())))
}

/// Throws it away; idempotent. First what says that it is there. It does not come back when the host loses its power.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    let folder = folder(dir);
    let mut removed = false;
    for name in [ABOUT, STREAM] {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Ok(()) => removed = true,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io(format!("remove {}", path.display()))(e)),
        }
    }
    if removed {
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        synced.map_err(io(format!("write {}", folder.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_stream_is_no_kept_memory_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        assert!(remove(dir.path()).is_ok(), "there is not even a folder");
        std::fs::create_dir_all(folder(dir.path())).unwrap();
        begin(dir.path()).unwrap();
        assert!(!there(dir.path()));
        remove(dir.path()).unwrap();
        assert!(!folder(dir.path()).join(STREAM).exists());
    }
}
