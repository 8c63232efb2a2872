//! A registry that has what a test gives it, and cuts bodies off when told so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    hash::MessageDigest,
    pkey::{PKey, Private},
    sign::Signer,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// What a registry has, by path; what it does wrong with the next request of a path.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Ends a body after so many bytes.
    pub(crate) cuts: BTreeMap<String, Vec<usize>>,
    /// Paths and ranges.
    pub(crate) seen: Vec<(String, Option<String>)>,
}

#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) address: String,
    pub(crate) content: Arc<Mutex<Content>>,
}

impl Registry {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let this = Self { address, content: Arc::default() };
        let own = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                // A client that goes away in the middle is part of the tests.
                tokio::spawn(async move { drop(own.answer(stream).await) });
            }
        });
        this
    }

    pub(crate) async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut path, mut range) = (String::new(), None);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("GET ") {
                path = rest.split(' ').next().unwrap().to_owned();
            } else if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("range")
            {
                range = Some(value.to_owned());
            }
        }
        let own = path.split('?').next().unwrap().to_owned();
        let (body, cut) = {
            let mut content = self.content.lock().unwrap();
            content.seen.push((own.clone(), range.clone()));
            let cuts = content.cuts.entry(own.clone()).or_default();
            let cut = (!cuts.is_empty()).then(|| cuts.remove(0));
            // A second page of names is asked for with the last of the first.
            let body = content.files.get(&own).filter(|_| !path.contains("last=")).cloned();
            (body, cut)
        };
        let Some(body) = body else {
            let empty: &[u8] = match () {
                () if path.contains("tags/list?") => b"{\"tags\":null}",
                () if path.contains("_catalog?") && path.contains("last=") => b"{}",
                () => b"",
            };
            let status = if empty.is_empty() { "404 N" } else { "200 O" };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                empty.len()
            );
            stream.write_all(head.as_bytes()).await?;
            return stream.write_all(empty).await;
        };
        let from: usize = range
            .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
            .unwrap_or(0);
        let status = if from > 0 { "206 P" } else { "200 O" };
        let kind = if own.contains("/manifests/") { TYPE } else { "application/octet-stream" };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
             content-range: bytes {from}-{}/{}\r\nconnection: close\r\n\r\n",
            body.len() - from,
            body.len().max(1) - 1,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let end = cut.map_or(body.len(), |cut| (from + cut).min(body.len()));
        stream.write_all(&body[from..end]).await
    }

    pub(crate) fn put(&self, path: &str, body: &[u8]) {
        self.content.lock().unwrap().files.insert(path.to_owned(), body.to_vec());
    }

    /// Pushes a manifest under a tag; its digest.
    pub(crate) fn manifest(&self, repository: &str, tag: &str, manifest: &Value) -> String {
        let text = manifest.to_string().into_bytes();
        let digest = digest(&text);
        self.put(&format!("/v2/{repository}/manifests/{tag}"), &text);
        self.put(&format!("/v2/{repository}/manifests/{digest}"), &text);
        digest
    }

    pub(crate) fn blob(&self, repository: &str, bytes: &[u8]) -> Value {
        self.put(&format!("/v2/{repository}/blobs/{}", digest(bytes)), bytes);
        json!({ "digest": digest(bytes), "size": bytes.len() })
    }

    /// Pushes a disk as ORAS does, with these annotations of its layer; the manifest's digest.
    pub(crate) fn disk(
        &self,
        repository: &str,
        tag: &str,
        disk: &[u8],
        annotations: &Value,
    ) -> String {
        let mut layer = self.blob(repository, disk);
        layer["mediaType"] = json!("application/x-qemu-disk");
        layer["annotations"] = annotations.clone();
        let mut config = self.blob(repository, b"{}");
        config["mediaType"] = json!("application/vnd.oci.empty.v1+json");
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": TYPE, "config": config, "layers": [layer] });
        self.manifest(repository, tag, &manifest)
    }

    /// Signs a manifest as cosign does.
    pub(crate) fn sign(&self, repository: &str, signed: &str, says: &str, key: &PKey<Private>) {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": format!("registry/{repository}") },
                "image": { "docker-manifest-digest": says },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = payload.to_string().into_bytes();
        let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
        let signature = STANDARD.encode(signer.sign_oneshot_to_vec(&payload).unwrap());
        let mut layer = self.blob(repository, &payload);
        layer["mediaType"] = json!("application/vnd.dev.cosign.simplesigning.v1+json");
        layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": signature });
        let mut config = self.blob(repository, b"{}");
        config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": TYPE, "config": config, "layers": [layer] });
        self.manifest(repository, &format!("{}.sig", signed.replace(':', "-")), &manifest);
    }
}
