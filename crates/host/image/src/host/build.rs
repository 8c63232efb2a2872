//! Writes a plan as a layer.

use std::io::Write;
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, Uid, XattrFlags};
use vnode_beneath::{Dir, DirError};

use super::failed;
use super::plan::{Item, Meta, Plan};
use crate::Error;
use crate::catalogue::Inner;

/// Builds the layer beside its place and renames it there: it is whole or not there.
pub(super) fn build(inner: &Inner, plan: &Plan, name: &str) -> Result<(), Error> {
    let masks = inner.dir.open_dir("mask").map_err(Error::dir(&inner.root))?;
    let new = format!(".new-{name}");
    masks.remove_tree(&new).map_err(Error::dir(&inner.root))?;
    let made = write(&masks, plan, Path::new(&new))
        .and_then(|()| masks.rename(&new, name).map_err(Error::dir(&inner.root)));
    if made.is_err()
        && let Err(error) = masks.remove_tree(&new)
    {
        tracing::warn!(%error, "half a mask left behind; the next one takes its place");
    }
    made
}

fn write(masks: &Dir, plan: &Plan, new: &Path) -> Result<(), Error> {
    masks.mkdir(new, 0o700).map_err(at(new))?;
    let root = new.join("root");
    masks.mkdir(&root, 0o700).map_err(at(&root))?;
    let root = masks.open_dir(&root).map_err(at(&root))?;
    describe(&root, Path::new("/"), plan.top)?;
    // Parents sort before what is in them.
    for (path, item) in &plan.items {
        match item {
            Item::Folder(meta) | Item::Empty(meta) => {
                root.mkdir(path, 0o700).map_err(at(path))?;
                let folder = root.open_dir(path).map_err(at(path))?;
                describe(&folder, path, *meta)?;
                if matches!(item, Item::Empty(_)) {
                    let name = "trusted.overlay.opaque";
                    rustix::fs::fsetxattr(&folder, name, b"y", XattrFlags::empty())
                        .map_err(|e| failed(path, "setting trusted.overlay.opaque")(e.into()))?;
                }
            }
            Item::Whiteout => {
                let above = path.parent().unwrap_or(Path::new(""));
                let above = root.open_dir(above).map_err(at(path))?;
                let name = path.file_name().unwrap_or_default();
                let kind = FileType::CharacterDevice;
                rustix::fs::mknodat(&above, name, kind, Mode::from_raw_mode(0o600), 0)
                    .map_err(|e| failed(path, "making a whiteout")(e.into()))?;
            }
            Item::File(meta, content) => {
                let mut file = root.create(path, 0o600).map_err(at(path))?;
                file.write_all(content).map_err(failed(path, "writing"))?;
                describe(&file, path, *meta)?;
            }
        }
    }
    Ok(())
}

fn describe(file: impl std::os::fd::AsFd, path: &Path, meta: Meta) -> Result<(), Error> {
    rustix::fs::fchown(&file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))
        .and_then(|()| rustix::fs::fchmod(&file, Mode::from_raw_mode(meta.mode)))
        .map_err(|e| failed(path, "setting owner and mode")(e.into()))
}

fn at(path: &Path) -> impl FnOnce(DirError) -> Error {
    let path = path.to_owned();
    move |e| failed(&path, "building the mask")(std::io::Error::other(e))
}
