//! What the tests of this crate share: layers, images, a namespace of mounts, a registry.
#![allow(dead_code, unreachable_pub)] // each test program uses a part
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // fixtures: a panic is the right report; they start programs

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use vnode_image::{Catalogue, Error, Image, NoProgress, Options, PullPolicy, Reference};

pub mod liar;
pub mod registry;

/// A tar archive, written member by member.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
    fn add(mut self, kind: tar::EntryType, path: &str, mode: u32, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        header.set_mtime(1_500_000_000);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }
    pub fn file(self, path: &str, data: impl AsRef<[u8]>) -> Self {
        self.add(tar::EntryType::Regular, path, 0o644, "", data.as_ref())
    }
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.add(tar::EntryType::Directory, path, mode, "", b"")
    }
    pub fn symlink(self, path: &str, to: &str) -> Self {
        self.add(tar::EntryType::Symlink, path, 0o777, to, b"")
    }
    pub fn hard_link(self, path: &str, to: &str) -> Self {
        self.add(tar::EntryType::Link, path, 0o644, to, b"")
    }
    pub fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// The blobs of an OCI image.
#[derive(Clone)]
pub struct TestImage {
    pub layers: Vec<Vec<u8>>,
    pub layer_types: Vec<&'static str>,
    pub diff_ids: Vec<String>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

impl TestImage {
    /// Of plain layers, packed with gzip, zstd and not at all in turn.
    pub fn new(plain: &[Vec<u8>]) -> Self {
        let mut layers = Vec::new();
        let mut layer_types = Vec::new();
        for (n, layer) in plain.iter().enumerate() {
            let (packed, ending) = match n % 3 {
                0 => (gzip(layer), "tar+gzip"),
                1 => (zstd::encode_all(&layer[..], 1).unwrap(), "tar+zstd"),
                _ => (layer.clone(), "tar"),
            };
            layers.push(packed);
            layer_types.push(ending);
        }
        Self::assembled(layers, layer_types, plain.iter().map(|l| digest(l)).collect())
    }

    pub fn assembled(
        layers: Vec<Vec<u8>>,
        layer_types: Vec<&'static str>,
        diff_ids: Vec<String>,
    ) -> Self {
        let config = serde_json::to_vec(&serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["A=1"], "User": "7"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }))
        .unwrap();
        let descriptors: Vec<_> = layers
            .iter()
            .zip(&layer_types)
            .map(|(layer, ending)| {
                serde_json::json!({
                    "mediaType": format!("application/vnd.oci.image.layer.v1.{ending}"),
                    "digest": digest(layer), "size": layer.len(),
                })
            })
            .collect();
        let manifest = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                       "digest": digest(&config), "size": config.len()},
            "layers": descriptors,
        }))
        .unwrap();
        Self { layers, layer_types, diff_ids, config, manifest }
    }

    pub fn id(&self) -> String {
        digest(&self.config)
    }

    pub fn blobs(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.layers.iter().chain([&self.config, &self.manifest])
    }

    /// Files of an OCI image layout with this image under a tag.
    pub fn layout(&self, tag: &str) -> Vec<(String, Vec<u8>)> {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&self.manifest), "size": self.manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": tag},
        }]});
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), serde_json::to_vec(&index).unwrap()),
        ];
        for blob in self.blobs() {
            files.push((format!("blobs/{}", digest(blob).replace(':', "/")), blob.clone()));
        }
        files
    }
}

pub fn write_files(at: &Path, files: &[(String, Vec<u8>)]) {
    for (name, content) in files {
        let path = at.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

pub fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    files
        .iter()
        .fold(Layer::new(), |layer, (name, content)| {
            let mut layer = layer;
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            layer.0.append_data(&mut header, name, &content[..]).unwrap();
            layer
        })
        .end()
}

/// A catalogue in a folder of its own, and nothing that waits long.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub catalogue: Catalogue,
}

pub fn quick() -> Options {
    Options {
        stall_time: Duration::from_millis(700),
        total_time: Duration::from_secs(60),
        backoff: Duration::from_millis(5),
        ..Options::default()
    }
}

impl Place {
    pub fn new(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&folder.path().join("images"), options).unwrap();
        Self { folder, catalogue }
    }
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("images")
    }
    pub async fn ensure(&self, reference: &str) -> Result<Image, Error> {
        ensure(&self.catalogue, reference, PullPolicy::IfNotPresent).await
    }
    /// Names below one folder of the catalogue.
    pub fn names(&self, folder: &str) -> Vec<String> {
        names(&self.root().join(folder))
    }
    /// Nothing is in the catalogue, not even a temporary file.
    pub fn assert_empty(&self) {
        for folder in ["layers", "images", "tmp"] {
            assert_eq!(self.names(folder), [""; 0], "left in {folder}");
        }
        assert!(self.catalogue.list().is_empty());
    }
}

pub async fn ensure(
    catalogue: &Catalogue,
    reference: &str,
    policy: PullPolicy,
) -> Result<Image, Error> {
    let reference = Reference::parse(reference).unwrap();
    catalogue.ensure(&reference, policy, &NoProgress, Default::default()).await
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// An error with all its causes, as a person would see it.
pub fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: owners, whiteouts and mounts need root");
    }
    root
}

/// Runs `work` on a thread with a mount namespace of its own, where nothing reaches the host's.
pub fn in_own_mounts(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        use rustix::mount::{MountPropagationFlags, mount_change};
        // SAFETY: only this thread's mount namespace and working directory become its own; it ends with `work`, and
        // threads that `work` starts inherit the namespace.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
        work();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Mounts an overlay of these layers, uppermost first, with a fresh upper layer in `scratch`; answers where.
pub fn overlay(layers: &[PathBuf], scratch: &Path) -> PathBuf {
    let [upper, work, merged] = ["upper", "work", "merged"].map(|n| scratch.join(n));
    for folder in [&upper, &work, &merged] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let lower: Vec<_> = layers.iter().map(|l| l.display().to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    let options = std::ffi::CString::new(options).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("overlay", &merged, "overlay", flags, options.as_c_str()).unwrap();
    merged
}

/// All below a folder: path, kind and mode, content or target.
pub fn tree(at: &Path) -> Vec<String> {
    fn walk(root: &Path, at: &Path, out: &mut Vec<String>) {
        use std::os::unix::fs::MetadataExt;
        for name in names(at) {
            let path = at.join(name);
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_symlink() {
                std::fs::read_link(&path).unwrap().display().to_string()
            } else if meta.is_file() {
                String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()
            } else {
                String::new()
            };
            let inside = path.strip_prefix(root).unwrap().display().to_string();
            out.push(format!("{inside} {:o} {}:{} {content}", meta.mode(), meta.uid(), meta.gid()));
            if meta.is_dir() {
                walk(root, &path, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(at, at, &mut out);
    out
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
