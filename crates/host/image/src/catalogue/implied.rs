//! Folders that a layer's archive holds things in without holding the folder itself.
//!
//! Many builders write such layers. Unpacked alone, the folder gets an owner and mode out of thin air, and in an
//! overlay the uppermost layer's count: `/tmp` of the base would be closed by a layer that only adds `/tmp/x`. So
//! where the guess differs from what the layers below say, one more small layer of bare folders goes on top.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Gid, Mode, Uid};
use vnode_beneath::{Dir, DirError};

use super::inner::{Inner, Pins};
use super::record::{LayerRecord, VERSION};
use crate::digest::Digest;
use crate::error::PullError;

/// Folders looked after in one image; an image with more of them is made to keep us busy.
const FOLDERS: usize = 20_000;

/// Mode, owner, group.
type Meta = (u32, u32, u32);

/// What one layer has at a path.
enum Found {
    /// Nothing; what is below shows.
    Nothing,
    /// Nothing, and what is below is hidden.
    Hidden,
    Folder {
        meta: Meta,
        opaque: bool,
    },
}

struct Layer {
    root: Dir,
    implied: BTreeSet<PathBuf>,
}

impl Inner {
    /// The layer to put on top of these (lowest first), if one is needed; in the catalogue, and pinned. Blocks.
    pub(crate) fn correct_implied_folders(
        self: &Arc<Self>,
        layers: &[Digest],
    ) -> Result<Option<(Digest, Pins)>, PullError> {
        let mut opened = Vec::new();
        for layer in layers.iter().rev() {
            let root = self.dir.open_dir(format!("layers/{}/root", layer.hex()))?;
            let state = self.state();
            let implied = state.layers.get(layer).map(|r| r.implied_folders.iter().cloned());
            opened.push(Layer { root, implied: implied.into_iter().flatten().collect() });
        }
        let implied: BTreeSet<&PathBuf> =
            opened.iter().flat_map(|l| &l.implied).take(FOLDERS).collect();
        let mut corrections: BTreeMap<PathBuf, Meta> = BTreeMap::new();
        for path in implied {
            let Some((shown, meant)) = merged(&opened, path)? else { continue };
            if shown == meant {
                continue;
            }
            corrections.insert(path.clone(), meant);
            for above in path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
                if let Some((_, meant)) = merged(&opened, above)? {
                    corrections.insert(above.to_owned(), meant);
                }
            }
        }
        if corrections.is_empty() {
            return Ok(None);
        }
        self.write_folders(&corrections).map(Some)
    }

    fn write_folders(
        self: &Arc<Self>,
        folders: &BTreeMap<PathBuf, Meta>,
    ) -> Result<(Digest, Pins), PullError> {
        // Found by what it consists of, as layers are.
        let digest = Digest::of(format!("folders 1\n{folders:?}").as_bytes());
        let pins = self.pin(&[digest]);
        if self.has_layer(&digest) {
            return Ok((digest, pins));
        }
        let temporary = self.temporary()?;
        let root = self.layer_folder(&temporary)?;
        for (path, (mode, uid, gid)) in folders {
            root.mkdir(path, 0o700)?;
            let folder = root.open_dir(path)?;
            rustix::fs::fchown(&folder, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
                .and_then(|()| rustix::fs::fchmod(&folder, Mode::from_raw_mode(*mode)))
                .map_err(|e| PullError::disk("set owner and mode of", path)(e.into()))?;
        }
        let record = LayerRecord { entries: folders.len() as u64, ..LayerRecord::empty() };
        self.put_layer(&temporary, digest, record)?;
        Ok((digest, pins))
    }
}

impl LayerRecord {
    fn empty() -> Self {
        Self {
            version: VERSION,
            size_bytes: 0,
            entries: 0,
            devices_skipped: 0,
            attributes_skipped: 0,
            implied_folders: Vec::new(),
        }
    }
}

/// Owner and mode of a folder as the overlay shows it, and as the archives meant it; `None` when it does not show.
/// Layers come uppermost first.
fn merged(layers: &[Layer], path: &Path) -> Result<Option<(Meta, Meta)>, DirError> {
    let mut shown = None;
    for layer in layers {
        match look(&layer.root, path)? {
            Found::Nothing => {}
            Found::Hidden => break,
            Found::Folder { meta, opaque } => {
                let first = *shown.get_or_insert(meta);
                if !layer.implied.contains(path) {
                    return Ok(Some((first, meta)));
                }
                if opaque {
                    break;
                }
            }
        }
    }
    // No archive says: the guess stands.
    Ok(shown.map(|shown| (shown, shown)))
}

fn look(root: &Dir, path: &Path) -> Result<Found, DirError> {
    let mut above: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
    above.reverse();
    let mut opaque = false;
    for part in above {
        // None of the parts before is a link, as each was looked at.
        let stat = match root.stat(part) {
            Ok(stat) => stat,
            Err(e) if e.is_not_found() => {
                return Ok(if opaque { Found::Hidden } else { Found::Nothing });
            }
            Err(e) => return Err(e),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Found::Hidden);
        }
        let folder = root.open_dir(part)?;
        let mut value = [0; 8];
        // An attribute that is not there, or cannot be, is no mark.
        opaque |= rustix::fs::fgetxattr(&folder, "trusted.overlay.opaque", &mut value[..])
            .is_ok_and(|n| &value[..n] == b"y");
        if part == path {
            let meta = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
            return Ok(Found::Folder { meta, opaque });
        }
    }
    Ok(Found::Nothing)
}
