//! An image registry in a test's host: Debian's `docker-registry` over a storage directory that the test fills.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::image::{BuiltImage, digest};
use crate::{Host, eventually};

/// A running registry. It listens on the host's loopback and ends with this value.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    storage: PathBuf,
    log: PathBuf,
}

impl Registry {
    /// Starts the registry in `host`. Needs `docker-registry`.
    pub fn start(host: &Host) -> Registry {
        let address = format!("127.0.0.1:{}", host.free_port());
        let storage = host.dir().join("registry");
        let config = host.write(
            "registry.yml",
            &format!(
                "version: 0.1\nlog: {{level: info, accesslog: {{disabled: false}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"{address}\"}}\n",
                storage.display()
            ),
        );
        std::fs::create_dir_all(&storage).expect("the host's directory is writable");
        let log = host.dir().join("registry.log");
        let file = std::fs::File::create(&log).expect("the host's directory is writable");
        let child = host
            .command("docker-registry")
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor can be duplicated"))
            .stderr(file)
            .spawn()
            .expect("sh starts");
        let registry = Registry { child, address, storage, log };
        eventually("the registry listens", Duration::from_secs(60), || {
            registry.log().contains("listening on").then_some(())
        });
        registry
    }

    /// Puts an image into the registry's storage as `name:tag`, as a push would.
    pub fn push(&self, name: &str, tag: &str, image: &BuiltImage) {
        let top = self.storage.join("docker/registry/v2");
        for bytes in [&image.layer, &image.config, &image.manifest] {
            let digest = digest(bytes);
            let hex = &digest["sha256:".len()..];
            write(&top.join("blobs/sha256").join(&hex[..2]).join(hex).join("data"), bytes);
        }
        let repository = top.join("repositories").join(name);
        let link = |dir: PathBuf, digest: &str| write(&dir.join("link"), digest.as_bytes());
        let below = |digest: &str| PathBuf::from(digest.replace(':', "/"));
        for bytes in [&image.layer, &image.config] {
            let digest = digest(bytes);
            link(repository.join("_layers").join(below(&digest)), &digest);
        }
        let digest = digest(&image.manifest);
        link(repository.join("_manifests/revisions").join(below(&digest)), &digest);
        let tag = repository.join("_manifests/tags").join(tag);
        link(tag.join("current"), &digest);
        link(tag.join("index").join(below(&digest)), &digest);
    }

    /// The file that holds a blob, for a test that damages it.
    pub fn blob_path(&self, bytes: &[u8]) -> PathBuf {
        let digest = digest(bytes);
        let hex = &digest["sha256:".len()..];
        self.storage.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// What the registry has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often the blob of these bytes was asked for.
    pub fn downloads(&self, bytes: &[u8]) -> usize {
        let request = "\"GET /v2/";
        let digest = digest(bytes);
        self.log()
            .lines()
            .filter(|l| l.contains(request) && l.contains(&format!("/blobs/{digest}")))
            .count()
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a path below the storage"))
        .expect("the storage is writable");
    std::fs::write(path, bytes).expect("the storage is writable");
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill(); // the registry itself ends with its host at the latest
        let _ = self.child.wait();
    }
}
