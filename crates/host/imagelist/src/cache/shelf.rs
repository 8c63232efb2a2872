//! From the cache folder into the catalogue: what nodes are made from.
//!
//! A disk is linked, not copied. A root file system (tar, also packed, an OCI layout, what `docker save` writes) is
//! unpacked into layers, as any other archive is. The name is `list:IDENTIFIER`; it moves from the old image to the
//! new one in one step, and the old one stays as long as nodes are made from it.

use std::{
    collections::HashSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;
use vnode_beneath::{Decoder, archive::Reader};
use vnode_image::{Catalogue, Known, NoProgress, Reference};
use vnode_operation::fault;

use crate::{convert, disk::Format, judge::hex, list::Image};

/// Members of an archive that are looked at to tell what it is.
const LOOKED_AT: usize = 64;

/// Ids of images that nodes are made from.
pub type InUse = Arc<dyn Fn() -> HashSet<String> + Send + Sync>;

/// The catalogue of the host.
#[derive(Clone)]
pub struct Shelf {
    pub catalogue: Catalogue,
    pub in_use: InUse,
    /// Most bytes that a converted disk may have.
    pub max_bytes: u64,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("catalogue", &self.catalogue).finish_non_exhaustive()
    }
}

impl Shelf {
    /// Identifiers of the lists' images that are in the catalogue.
    pub(crate) fn held(&self) -> HashSet<String> {
        let all = self.catalogue.list();
        let names = all.iter().flat_map(|image| image.references.iter());
        names.filter_map(|name| name.strip_prefix("list:")).map(str::to_owned).collect()
    }

    /// Puts what was just verified on the shelf. `file` is where it lies now, `scratch` a
    /// folder for what is made on the way.
    pub(super) async fn put(
        &self,
        image: &Image,
        file: &Path,
        unpacked: Option<(PathBuf, Format)>,
        scratch: &Path,
        cancellation: &CancellationToken,
    ) -> Result<String, String> {
        let said = |error: vnode_image::Error| vnode_protocol::chain(&error);
        let identifier = &image.identifier;
        if let Some((path, format)) = unpacked {
            let taken = if format == Format::Tar {
                self.archive(image, &path, cancellation).await.map_err(said)
            } else {
                self.disk(image, &path, format, true, scratch, cancellation).await
            };
            if let Err(error) = fs::remove_file(&path) {
                // It is swept by the next download of this image.
                tracing::warn!(path = %path.display(), %error, "an unpacked image is left behind");
            }
            return taken.map(|image| image.id);
        }
        let packing = {
            let file = file.to_owned();
            tokio::task::spawn_blocking(move || head(&file)).await
        };
        let head = packing
            .map_err(|_| "the work was cut off".to_owned())?
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let found = crate::disk::probe(&head).map_err(|error| error.to_string())?;
        let taken = if found.format.is_packed() {
            self.archive(image, file, cancellation).await.map_err(said)
        } else {
            self.disk(image, file, found.format, false, scratch, cancellation).await
        };
        tracing::debug!(identifier, usable = taken.is_ok(), "an image was put on the shelf");
        taken.map(|image| image.id)
    }

    /// A disk: as it is, or as qcow2 where the machine's own emulator would have to read it out of order each time.
    /// `made`: it was unpacked from what was signed.
    async fn disk(
        &self,
        image: &Image,
        file: &Path,
        format: Format,
        made: bool,
        scratch: &Path,
        cancellation: &CancellationToken,
    ) -> Result<vnode_image::Image, String> {
        let said = |error: vnode_image::Error| vnode_protocol::chain(&error);
        // Not the hash of these bytes, which nobody signed, but of where they come from.
        let derived = |format: Format| {
            let name = format!("made from sha512:{} as {format:?}", image.sha512);
            Known::Made(hex(&<sha2::Sha512 as sha2::Digest>::digest(name.as_bytes())))
        };
        if matches!(format, Format::Vmdk | Format::Vdi) && convert::is_there() {
            let injected = |error: fault::Injected| error.to_string();
            fault::point("imagelist.convert.before").map_err(injected)?;
            let to = scratch.join(format!("{}.qcow2", image.identifier));
            let converted =
                convert::to_qcow2(file, format, &to, self.max_bytes, cancellation).await;
            fault::point("imagelist.convert.after").map_err(injected)?;
            if let Err(error) = &converted {
                let error = vnode_protocol::chain(error);
                tracing::warn!(identifier = image.identifier, error, "a disk is kept as it is");
            } else {
                let name = derived(Format::Qcow2);
                let taken = self.catalogue.take_in_disk(&to, name, &image.identifier).await;
                fs::remove_file(&to).map_err(|error| format!("{}: {error}", to.display()))?;
                return taken.map_err(said);
            }
        }
        let name = if made { derived(format) } else { Known::Sha512(image.sha512.clone()) };
        self.catalogue.take_in_disk(file, name, &image.identifier).await.map_err(said)
    }

    /// An archive with a root file system.
    async fn archive(
        &self,
        image: &Image,
        file: &Path,
        cancellation: &CancellationToken,
    ) -> Result<vnode_image::Image, vnode_image::Error> {
        let (path, format) = (file.to_owned(), image.format.clone());
        let source = tokio::task::spawn_blocking(move || what_is(&path, format.as_deref()))
            .await
            .unwrap_or_else(|_| Reference::Tarball(file.to_owned()));
        let progress = NoProgress;
        self.catalogue.take_in(&source, &image.identifier, &progress, cancellation.clone()).await
    }

    /// Takes an image's name off the shelf.
    pub(super) async fn remove(&self, identifier: &str) {
        let (catalogue, in_use) = (self.catalogue.clone(), Arc::clone(&self.in_use));
        let name = identifier.to_owned();
        let work = move || catalogue.withdraw(&name, &*in_use);
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(identifier, %error, "an image that ended is still in the catalogue");
            }
            Err(error) => {
                tracing::warn!(identifier, %error, "an image that ended is still in the catalogue");
            }
        }
    }
}

fn head(file: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let file = fs::File::open(file)?;
    io::Read::read_to_end(&mut io::Read::take(file, crate::disk::HEAD_BYTES as u64), &mut head)?;
    Ok(head)
}

/// What kind of archive a file is: as its list says, else by the names at its begin.
fn what_is(path: &Path, format: Option<&str>) -> Reference {
    let tarball = Reference::Tarball(path.to_owned());
    let layout = Reference::Layout { path: path.to_owned(), tag: None };
    let docker = Reference::DockerArchive { path: path.to_owned(), name: None };
    match format.map(str::to_ascii_lowercase).as_deref() {
        Some("oci") => return layout,
        Some("docker" | "docker-archive") => return docker,
        _ => {}
    }
    let Ok(file) = fs::File::open(path) else { return tarball };
    let Ok(decoder) = Decoder::new(file) else { return tarball };
    let mut reader = Reader::new(decoder, 1 << 20);
    for _ in 0..LOOKED_AT {
        match reader.next_member() {
            Ok(Some(member)) => match member.path.to_str().map(|p| p.trim_start_matches("./")) {
                Some("oci-layout" | "index.json") => return layout,
                Some("manifest.json" | "repositories") => return docker,
                _ => {}
            },
            Ok(None) | Err(_) => break,
        }
    }
    tarball
}
