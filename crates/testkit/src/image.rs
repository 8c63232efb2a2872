//! Small images for tests: a busybox root, as a directory, a tarball, an OCI layout or a `docker save` archive.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What goes into a test image.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    /// Extra files: path without a leading slash, content, mode.
    pub files: Vec<(String, Vec<u8>, u32)>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub user: String,
    pub working_dir: String,
    /// Put busybox and its names in. Without it the image has only `files`.
    pub busybox: bool,
}

impl Default for ImageSpec {
    fn default() -> ImageSpec {
        ImageSpec {
            files: Vec::new(),
            entrypoint: Vec::new(),
            cmd: vec!["/bin/sleep".into(), "infinity".into()],
            env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".into()],
            user: String::new(),
            working_dir: String::new(),
            busybox: true,
        }
    }
}

impl ImageSpec {
    /// The default image with one more file.
    pub fn with_file(mut self, path: &str, content: &str, mode: u32) -> ImageSpec {
        self.files.push((path.to_owned(), content.as_bytes().to_vec(), mode));
        self
    }
}

/// An image as the bytes a registry serves.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The layer, a gzipped tarball.
    pub layer: Vec<u8>,
    /// The layer's tarball before gzip.
    pub layer_tar: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

/// `sha256:...` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The root file system as a tarball. Panics when Debian's `busybox-static` is not installed.
pub fn root_tar(spec: &ImageSpec) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let directory = |builder: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32| {
        let mut header = header(tar::EntryType::Directory, 0, mode);
        builder.append_data(&mut header, path, std::io::empty()).expect("a vector takes it");
    };
    for path in
        ["bin/", "etc/", "proc/", "sys/", "dev/", "root/", "run/", "var/", "var/log/", "mnt/"]
    {
        directory(&mut builder, path, 0o755);
    }
    directory(&mut builder, "tmp/", 0o1777);
    if spec.busybox {
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        append_file(&mut builder, "bin/busybox", &busybox, 0o755);
        for applet in applets() {
            let mut header = header(tar::EntryType::Symlink, 0, 0o777);
            builder
                .append_link(&mut header, format!("bin/{applet}"), "busybox")
                .expect("a short link");
        }
        append_file(
            &mut builder,
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n",
            0o644,
        );
        append_file(&mut builder, "etc/group", b"root:x:0:\nuser:x:1000:\n", 0o644);
    }
    for (path, content, mode) in &spec.files {
        append_file(&mut builder, path, content, *mode);
    }
    builder.into_inner().expect("a vector takes it")
}

fn header(kind: tar::EntryType, size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}

fn append_file(builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) {
    let mut header = header(tar::EntryType::Regular, content.len(), mode);
    builder.append_data(&mut header, path, content).expect("a vector takes it");
}

/// The names busybox answers to, `busybox` itself left out.
pub fn applets() -> Vec<String> {
    let out = std::process::Command::new("/bin/busybox").arg("--list").output();
    let out = out.expect("busybox-static is installed");
    let list = String::from_utf8_lossy(&out.stdout).into_owned();
    list.lines().filter(|l| *l != "busybox").map(str::to_owned).collect()
}

/// The image as a registry serves it, with one layer.
pub fn build(spec: &ImageSpec) -> BuiltImage {
    let layer_tar = root_tar(spec);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layer_tar).expect("a vector takes it");
    let layer = gzip.finish().expect("a vector takes it");
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {
            "Entrypoint": spec.entrypoint, "Cmd": spec.cmd, "Env": spec.env,
            "User": spec.user, "WorkingDir": spec.working_dir,
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer_tar)] },
    });
    let config = serde_json::to_vec(&config).expect("a JSON value is serialised");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
    });
    let manifest = serde_json::to_vec(&manifest).expect("a JSON value is serialised");
    BuiltImage { layer, layer_tar, config, manifest }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "size": bytes.len(), "digest": digest(bytes) })
}

/// Writes the root file system as a directory.
pub fn write_root(spec: &ImageSpec, dir: &Path) {
    tar::Archive::new(&root_tar(spec)[..]).unpack(dir).expect("our own tarball unpacks");
}

/// Writes the root file system as a tarball and returns its path.
pub fn write_tarball(spec: &ImageSpec, path: &Path) -> PathBuf {
    std::fs::write(path, root_tar(spec)).expect("the test's directory is writable");
    path.to_owned()
}

/// The files of an OCI layout of one image named `reference`.
fn layout_files(image: &BuiltImage, reference: &str) -> BTreeMap<String, Vec<u8>> {
    let blob = |bytes: &[u8]| format!("blobs/{}", digest(bytes).replace(':', "/"));
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &image.manifest);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": reference });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    BTreeMap::from([
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index.to_string().into_bytes()),
        (blob(&image.layer), image.layer.clone()),
        (blob(&image.config), image.config.clone()),
        (blob(&image.manifest), image.manifest.clone()),
    ])
}

/// Writes an OCI layout directory of one image.
pub fn write_oci_layout(image: &BuiltImage, reference: &str, dir: &Path) {
    for (name, content) in layout_files(image, reference) {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("a path below dir"))
            .expect("the test's directory is writable");
        std::fs::write(path, content).expect("the test's directory is writable");
    }
}

/// Writes an OCI layout as one tarball.
pub fn write_oci_archive(image: &BuiltImage, reference: &str, path: &Path) {
    write_tar(layout_files(image, reference), path);
}

/// Writes what `docker save` writes: `manifest.json`, the config, and the layer as a plain tarball.
pub fn write_docker_archive(image: &BuiltImage, reference: &str, path: &Path) {
    let config = format!("{}.json", &digest(&image.config)["sha256:".len()..]);
    let layer = format!("{}/layer.tar", &digest(&image.layer_tar)["sha256:".len()..]);
    let manifest = json!([{ "Config": config, "RepoTags": [reference], "Layers": [layer] }]);
    let files = BTreeMap::from([
        ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
        (config, image.config.clone()),
        (layer, image.layer_tar.clone()),
    ]);
    write_tar(files, path);
}

fn write_tar(files: BTreeMap<String, Vec<u8>>, path: &Path) {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        append_file(&mut builder, &name, &content, 0o644);
    }
    std::fs::write(path, builder.into_inner().expect("a vector takes it"))
        .expect("the test's directory is writable");
}
