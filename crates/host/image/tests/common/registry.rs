//! Debian's `docker-registry`, started for a test and filled by a client that is not ours.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;

use super::TestImage;

pub struct Registry {
    child: Child,
    pub address: String,
    folder: tempfile::TempDir,
    auth: RegistryAuth,
}

impl Registry {
    /// `login`: user, password, and the line of htpasswd for them. `None` when the program is not there.
    pub fn start(login: Option<(&str, &str, &str)>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
            folder.path().join("storage").display()
        );
        if let Some((_, _, line)) = login {
            let path = folder.path().join("htpasswd");
            std::fs::write(&path, line).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path.display());
        }
        let path = folder.path().join("config.yml");
        // The registry does not say which port it was given, so one is found first.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(&path, config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(e) => {
                println!("skipped: no docker-registry ({e})");
                return None;
            }
        };
        let auth = match login {
            Some((user, password, _)) => RegistryAuth::Basic(user.into(), password.into()),
            None => RegistryAuth::Anonymous,
        };
        let this = Self { child, address: format!("127.0.0.1:{port}"), folder, auth };
        let begun = Instant::now();
        while std::net::TcpStream::connect(&this.address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the registry does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(this)
    }

    /// Pushes with oci-client, a client that shares no code with ours.
    pub async fn push(&self, name: &str, image: &TestImage) {
        // An error says that it is installed already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = oci_client::Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            use_monolithic_push: true,
            ..ClientConfig::default()
        });
        let reference: oci_client::Reference = format!("{}/{name}", self.address).parse().unwrap();
        let operation = oci_client::RegistryOperation::Push;
        client.auth(&reference, &self.auth, operation).await.unwrap();
        for blob in image.layers.iter().chain([&image.config]) {
            client.push_blob(&reference, blob.clone(), &super::digest(blob)).await.unwrap();
        }
        let media_type = "application/vnd.oci.image.manifest.v1+json".parse().unwrap();
        client.push_manifest_raw(&reference, image.manifest.clone(), media_type).await.unwrap();
    }

    /// How often each blob was asked for with success.
    pub fn blob_requests(&self, blob: &[u8]) -> usize {
        let wanted = format!("blobs/{}", super::digest(blob));
        let log = std::fs::File::open(self.folder.path().join("log")).unwrap();
        BufReader::new(log)
            .lines()
            .map(Result::unwrap)
            .filter(|line| {
                line.contains("\"GET ") && line.contains(&wanted) && line.contains("\" 200 ")
            })
            .count()
    }

    pub fn blob_path(&self, blob: &[u8]) -> PathBuf {
        let digest = super::digest(blob);
        let hex = &digest[7..];
        let blobs = "storage/docker/registry/v2/blobs/sha256";
        self.folder.path().join(blobs).join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
