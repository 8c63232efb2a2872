//! The image `host`: the machine's own root, read-only under an overlay, with its secrets masked.
//!
//! The image has two layers: `/`, and above it a small generated *mask* that holds whiteouts, empty folders and
//! sanitised files. Nothing is copied or downloaded. The mask is made anew when what it depends on has changed, and is
//! found by the digest of its plan; a node keeps the mask it was made with.
//!
//! Two facts of overlayfs shape this:
//!
//! * A layer must not lie inside another layer of the same overlay. The catalogue lies below `/`, so there the mask is
//!   kept on a small file system in memory, mounted at `ROOT/mask` when it is first needed, and taken away by
//!   [`Catalogue::gc`](crate::Catalogue::gc) with the last mask. After a restart of the machine
//!   [`ensure`](crate::Catalogue::ensure) makes it again, under the same path.
//! * An overlay shows no file system mounted below its layer. Folders that are mounts of their own (`/usr`, `/var`) are
//!   reported as [`ExtraOverlay`]s.
//!
//! What is shown: the folders at the top whose content is the distribution's (`/usr`, `/etc`, `/var`, `/opt` and the
//! `/bin` kind), without what [`rules`] lists; everything else at the top is there and empty. Not recognised are
//! secrets in files that every user of the host may read: `HostOptions::hide` is for those.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use crate::catalogue::{InUse, Inner};
use crate::{Error, HostOptions, Image, ImageConfig};

mod accounts;
mod build;
mod listing;
mod mounts;
mod plan;
pub mod rules;

use plan::Plan;

/// A mask made this short a time ago is not looked over again: the nodes of one lab are made in a burst.
const FRESH: Duration = Duration::from_secs(2);
/// Enough for some thousand masks.
const FILE_SYSTEM: &std::ffi::CStr = c"size=64m,mode=0700";

/// A folder of the host's root that lies on another file system, which an overlay of `/` does not show.
///
/// Whoever makes the node's root mounts, after the root and in this order, one more overlay of `layers` at `target`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraOverlay {
    /// Absolute path inside the node, e.g. `/usr`.
    pub target: PathBuf,
    /// Uppermost first.
    pub layers: Vec<PathBuf>,
}

/// What the mask does to one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskAction {
    /// The folder is there and empty.
    Emptied,
    /// The file is gone.
    Removed,
    /// The file is there with its secrets taken out.
    Sanitised,
}

/// One line of the mask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskEntry {
    /// Absolute, with all links followed.
    pub path: PathBuf,
    pub action: MaskAction,
    /// Why, for people.
    pub why: String,
}

/// What was looked at last, and when.
#[derive(Debug, Default)]
pub(crate) struct Last {
    /// For a mask that is about to be asked for.
    plan: Option<(Instant, Plan)>,
    made: Option<(Instant, Image)>,
}

impl Last {
    fn image(&self) -> Option<&Image> {
        let (at, image) = self.made.as_ref()?;
        let there = || image.layers.first().is_some_and(|mask| mask.exists());
        (at.elapsed() < FRESH && there()).then_some(image)
    }
}

/// All that the image `host` hides on this machine, for `vnode doctor` and the documentation. Changes nothing. Blocks.
pub fn describe_host_mask(options: &HostOptions) -> Result<Vec<MaskEntry>, Error> {
    Ok(Plan::make(options, &[])?.entries())
}

/// Looks the host's root over for an [`ensure`] that is about to come and would wait for it. Makes nothing, so that there is
/// nothing to undo when none comes. Blocks.
pub(crate) fn foresee(inner: &Inner) -> Result<(), Error> {
    let mut last = inner.mask.lock().unwrap_or_else(PoisonError::into_inner);
    if last.image().is_none() {
        last.plan = Some(look_over(inner)?);
    }
    Ok(())
}

fn look_over(inner: &Inner) -> Result<(Instant, Plan), Error> {
    let at = Instant::now();
    Ok((at, Plan::make(&inner.options.host, std::slice::from_ref(&inner.root))?))
}

/// The image of the host's root as it is now.
pub(crate) async fn ensure(inner: &Arc<Inner>) -> Result<Image, Error> {
    let worker = inner.clone();
    let made = tokio::task::spawn_blocking(move || make(&worker)).await;
    made.unwrap_or_else(|panic| {
        Err(failed(&inner.options.host.root, "computing the mask")(std::io::Error::other(panic)))
    })
}

fn make(inner: &Inner) -> Result<Image, Error> {
    let mut last = inner.mask.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(image) = last.image() {
        return Ok(image.clone());
    }
    let options = &inner.options.host;
    let foreseen = last.plan.take().filter(|(at, _)| at.elapsed() < FRESH);
    let (looked, plan) = match foreseen {
        Some(foreseen) => foreseen,
        None => look_over(inner)?,
    };
    let name = plan.digest().hex();
    let id = format!("host-{}", &name[..32]);
    let folder = inner.root.join("mask");
    if inner.root.starts_with(real(&options.root)?) {
        mount_in_memory(&folder)?;
    }
    let mask = folder.join(&name[..32]).join("root");
    // The lease comes before the look, as gc takes away what has none; gc takes the same lock as well.
    let lease = inner.lease(&id);
    if !mask.exists() {
        build::build(inner, &plan, &name[..32])?;
    }
    let extra_overlays = mounts::extra_overlays(&options.root, &plan, &mask)?;
    let image = Image {
        id,
        reference: "host".into(),
        disk: None,
        extra_overlays,
        layers: vec![mask, options.root.clone()],
        config: ImageConfig {
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            ..ImageConfig::default()
        },
        warnings: Vec::new(),
        lease,
    };
    last.made = Some((looked, image.clone()));
    Ok(image)
}

/// Mounts a file system in memory on `folder`, unless it is one already.
fn mount_in_memory(folder: &Path) -> Result<(), Error> {
    if is_mounted(folder)? {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("vnode-mask", folder, "tmpfs", flags, FILE_SYSTEM)
        .map_err(|e| failed(folder, "mounting a file system in memory")(e.into()))
}

fn is_mounted(folder: &Path) -> Result<bool, Error> {
    let look =
        |path: &Path| rustix::fs::stat(path).map_err(|e| failed(path, "looking at it")(e.into()));
    let above = folder.parent().unwrap_or(Path::new("/"));
    Ok(look(folder)?.st_dev != look(above)?.st_dev)
}

/// Takes away masks that nobody uses, and with the last of them their file system.
pub(crate) fn collect(inner: &Inner, in_use: InUse<'_>) -> Result<(), Error> {
    let mut last = inner.mask.lock().unwrap_or_else(PoisonError::into_inner);
    // What is remembered for the next to ask is not a use.
    *last = Last::default();
    // In this order: who lets an image go has written it down before.
    let (leased, in_use) = (inner.leased(), in_use());
    let masks = inner.dir.open_dir("mask").map_err(Error::dir(&inner.root))?;
    let mut left = 0;
    for name in masks.list(100_000).map_err(Error::dir(&inner.root))? {
        let id = format!("host-{}", name.to_string_lossy());
        if in_use.contains(&id) || leased.contains(&id) {
            left += 1;
        } else {
            masks.remove_tree(&name).map_err(Error::dir(&inner.root))?;
        }
    }
    let folder = inner.root.join("mask");
    drop(masks);
    if left == 0 && is_mounted(&folder)? {
        rustix::mount::unmount(&folder, UnmountFlags::DETACH)
            .map_err(|e| failed(&folder, "unmounting")(e.into()))?;
    }
    Ok(())
}

fn real(path: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).map_err(failed(path, "finding its real path"))
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Mask { path, action, source: Arc::new(source) }
}
