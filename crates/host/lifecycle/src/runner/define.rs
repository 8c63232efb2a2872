//! What a driver makes a node from: its definition with its image, and the files that are written for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vnode_driver::NodeSpec;
use vnode_topology::Node;

use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::names;
use crate::registry::{NodeEntry, lock};
use crate::resolve::{self, Base, Files};

/// What a driver makes a node from.
pub(super) struct Defined {
    pub(super) spec: NodeSpec,
    /// Identity of the image; empty for a machine that has none.
    pub(super) image_id: String,
    /// The image itself, held: until the node's record names it, nothing else keeps it from being collected.
    pub(super) image: Option<vnode_image::Image>,
}

/// The driver's definition of a node, with its image and its files.
pub(super) async fn define(
    inner: &Arc<Inner>,
    lab: &str,
    entry: &NodeEntry,
    operation: &str,
) -> Result<Defined> {
    let record = entry.record();
    let missing = || {
        Error::not_found(format!("node `{}` is not in the topology of lab `{lab}`", record.node))
    };
    // The node alone: a lab of a thousand would be copied a thousand times.
    let node = inner
        .registry
        .lab(lab, |lab| lab.record.lab.node(&record.node).cloned())?
        .ok_or_else(missing)?;
    let base = match record.image.as_str() {
        "" => Found::default(),
        image => base(inner, image, operation).await?,
    };
    if node.vm.is_none() && base.disk.is_some() {
        return Err(Error::usage(format!(
            "node `{}`: image `{}` is the disk of a virtual machine",
            record.node, record.image
        ))
        .hint("write `kind: vm`"));
    }
    if node.vm.is_some() && base.disk.is_none() && !record.image.is_empty() {
        return Err(Error::usage(format!(
            "node `{}`: image `{}` is no disk that a virtual machine boots from",
            record.node, record.image
        )));
    }
    let machine = crate::machine::of(&node, base.disk.as_ref())?;
    let own = write_own_files(inner, lab, &node)?;
    let volumes = volumes(inner, lab, &record.node);
    let files = Files {
        hosts: &own.hosts,
        resolver: &own.resolver,
        hostname: &own.hostname,
        volumes: &volumes,
    };
    let image_id = base.id;
    let user_namespaces = inner.options.user_namespaces && inner.capabilities.user_namespaces;
    let mut spec = inner.registry.lab(lab, |lab| {
        resolve::spec(&lab.record.lab, &node, &record, &base.base, &files, user_namespaces)
    })??;
    spec.uuid = record.uuid.clone();
    // What is there already stays marked as it was made.
    spec.mark = record.spec.as_ref().map(|spec| spec.mark.clone()).unwrap_or_default();
    spec.machine = machine;
    spec.domain = crate::machine::domain(&node);
    crate::agent::install(inner, &node, &own_folder(&inner.lab_dir(lab), &node.name), &mut spec)
        .await?;
    for name in node.binds.iter().filter_map(|bind| bind.volume.as_ref()) {
        make_volume(&volumes, name, spec.security.user_namespace)?;
    }
    Ok(Defined { spec, image_id, image: base.image })
}

/// What of the lab's folder is bound into one node.
///
/// Of each kind there is one folder for all nodes of the lab: a folder for each node is a tenth of what its disk costs.
pub(super) struct OwnFiles {
    hostname: PathBuf,
    resolver: PathBuf,
    /// All nodes'.
    hosts: PathBuf,
}

/// Writes a node's name and its name servers as its definition has them.
pub(super) fn write_own_files(inner: &Inner, lab: &str, node: &Node) -> Result<OwnFiles> {
    let all = inner.lab_dir(lab);
    let [hostname, resolver] = own_files(&all, &node.name);
    let own = OwnFiles { hosts: all.join("hosts"), hostname, resolver };
    let host_resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers: Vec<String> = node.dns.servers.iter().map(ToString::to_string).collect();
    let text = names::resolver(&servers, &node.dns.search, &node.dns.options, &host_resolver);
    let host = node.hostname.as_ref().unwrap_or(&node.name);
    inner
        .make_lab_dir(lab)
        .and_then(|_| names::write_in_place(&own.hostname, &format!("{host}\n")))
        .and_then(|()| names::write_in_place(&own.resolver, &text))
        .map_err(|source| {
            Error::failed(format!("cannot write the files of node `{}`", node.name)).because(source)
        })?;
    if !own.hosts.exists() {
        super::lab::write_names(inner, lab)?;
    }
    Ok(own)
}

/// The node's name, and its name servers.
fn own_files(lab: &Path, node: &str) -> [PathBuf; 2] {
    ["hostname", "resolv.conf"].map(|kind| lab.join(kind).join(node))
}

/// Folder of what else a node has among its lab's files.
pub(crate) fn own_folder(lab: &Path, node: &str) -> PathBuf {
    lab.join("etc").join(node)
}

/// Inverse of [`write_own_files`] and of whatever was put into [`own_folder`].
pub(super) fn remove_own_files(inner: &Inner, lab: &str, node: &str) -> Result<()> {
    let all = inner.lab_dir(lab);
    for path in own_files(&all, node) {
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::failed(format!("cannot remove file `{}`", path.display()))
                    .because(source));
            }
            _ => {}
        }
    }
    super::remove_folder(&own_folder(&all, node))
}

/// Folder of a node's named volumes. They outlive the node's disk, and go when the node leaves its lab.
pub(super) fn volumes(inner: &Inner, lab: &str, node: &str) -> PathBuf {
    inner.lab_dir(lab).join("volumes").join(node)
}

/// An empty folder that belongs to the node's root; one that is there stays as it is.
fn make_volume(folders: &Path, name: &str, ids: Option<vnode_driver::IdMap>) -> Result<()> {
    let folder = folders.join(name);
    if folder.is_dir() {
        return Ok(());
    }
    // Under another name until it is whole, one that no volume can have: a crash leaves none with a wrong owner.
    let begun = folders.join(format!(".{name}"));
    let root = ids.map_or(0, |ids| ids.first);
    std::fs::create_dir_all(&begun)
        .and_then(|()| std::os::unix::fs::chown(&begun, Some(root), Some(root)))
        .and_then(|()| std::fs::rename(&begun, &folder))
        .map_err(|source| {
            Error::failed(format!("cannot make the volume `{}`", folder.display())).because(source)
        })
}

#[derive(Default)]
struct Found {
    id: String,
    base: Base,
    /// The disk, when the image is a machine's.
    disk: Option<vnode_image::DiskFile>,
    image: Option<vnode_image::Image>,
}

/// The image's layers: held by the running operation, else from the catalogue.
async fn base(inner: &Inner, image: &str, operation: &str) -> Result<Found> {
    let held = lock(&inner.images).get(&(operation.to_owned(), image.to_owned())).cloned();
    let made = match held {
        Some(made) => made,
        None => {
            let reference = vnode_image::Reference::parse(image)
                .map_err(|source| Error::usage(vnode_protocol::chain(&source)))?;
            inner
                .catalogue
                .ensure(
                    &reference,
                    vnode_image::PullPolicy::IfNotPresent,
                    &vnode_image::NoProgress,
                    inner.stop.child_token(),
                )
                .await
                .map_err(|source| Error::failed(format!("image `{image}`")).because(source))?
        }
    };
    Ok(Found {
        id: made.id.clone(),
        base: Base {
            layers: made.layers.clone(),
            over: made
                .extra_overlays
                .iter()
                .map(|extra| vnode_driver::Over {
                    target: extra.target.clone(),
                    layers: extra.layers.clone(),
                })
                .collect(),
            config: made.config.clone(),
        },
        disk: made.disk.clone(),
        image: Some(made),
    })
}
