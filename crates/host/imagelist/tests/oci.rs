//! Artefacts of a registry followed as lists are: one cache, the same events, the same publishers.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod common;
#[path = "oci/registry.rs"]
mod registry;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::site;
use futures_util::future::BoxFuture;
use openssl::{
    ec::{EcGroup, EcKey},
    nid::Nid,
    pkey::{PKey, Private},
};
use registry::{Registry, digest};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use tokio_util::sync::CancellationToken;
use vnode_image::{Catalogue, NoProgress, Options, PullPolicy, Reference};
use vnode_imagelist::{
    cache::{Cache, Folders, RunOptions, RunReport, Shelf},
    download::{DownloadOptions, Downloader},
    lists::{Report, Subscribe},
    oci::RegistryFetch,
    publish::{ImageChange, PublishError, Publisher},
    record::Settings,
};

/// A disk that cannot be mistaken for another.
fn disk(text: &str) -> Vec<u8> {
    let mut disk = format!("{text}\n").repeat(20_000).into_bytes();
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

#[derive(Debug, Default)]
struct Cloud(Mutex<Vec<String>>);

impl Publisher for Cloud {
    fn name(&self) -> &str {
        "cloud"
    }

    fn publish<'a>(
        &'a self,
        change: &'a ImageChange,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let image = change.image();
        let text =
            format!("{} {} {}", change.kind(), image.image.version, image.image.sha512.len());
        self.0.lock().unwrap().push(text);
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Place {
    site: common::Site,
    registry: Registry,
    cache: Cache,
    catalogue: Catalogue,
    top: tempfile::TempDir,
}

async fn place() -> Place {
    let site = site();
    let registry = Registry::new().await;
    let options = Options { attempts: 2, backoff: Duration::from_millis(10), ..Options::default() };
    let fetch = Arc::new(RegistryFetch::new(options));
    let trust = Arc::new(vnode_imagelist::TrustFolder::new(site.trust.path()));
    site.lists.use_settings(trust, fetch, true);
    let top = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(&top.path().join("catalogue"), Options::default()).unwrap();
    let options = DownloadOptions {
        pause: Duration::from_millis(10),
        keep_free: 0,
        ..DownloadOptions::default()
    };
    let cache = Cache::new(
        site.store.clone(),
        Arc::clone(&site.lists),
        Downloader::new(options).unwrap(),
        Folders::below(top.path().join("cache")),
    )
    .unwrap()
    .shelf(Shelf {
        catalogue: catalogue.clone(),
        in_use: Arc::new(Default::default),
        max_bytes: 1 << 30,
    });
    Place { site, registry, cache, catalogue, top }
}

impl Place {
    fn uri(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.registry.address)
    }

    /// Follows an address and wants all its images; the list's identifier.
    async fn follow(&self, name: &str, settings: Settings) -> Result<String, String> {
        let wanted = Subscribe { uri: self.uri(name), settings, auto_endorse: false };
        let subscribed = self.site.lists.subscribe(&wanted).await;
        let list = subscribed.map_err(|e| format!("{} {}", e.exit_code(), chain(&e)))?.identifier;
        for image in self.site.lists.images(Some(&list)).await.unwrap() {
            self.site.lists.select(&list, &image.identifier, true).await.unwrap();
        }
        Ok(list)
    }

    async fn refresh(&self) -> Result<Report, u8> {
        let mut all = self.site.lists.refresh(None).await.unwrap();
        all.remove(0).result.map_err(|error| error.exit_code())
    }

    async fn run(&self) -> RunReport {
        self.cache.run(&RunOptions::default(), &CancellationToken::new()).await.unwrap()
    }

    /// Events since the last call: kind and SHA-512.
    async fn events(&self) -> Vec<(String, Option<String>)> {
        let all = self.cache.queue().undelivered().await.unwrap();
        for event in &all {
            let key = format!("imagelist/event/{}", event.id);
            self.site.store.commit(vec![vnode_store::Change::delete(key)]).await.unwrap();
        }
        let hash = |environment: &[(String, String)]| {
            let found = environment.iter().find(|(n, _)| n.ends_with("SL_CHECKSUM_SHA512"));
            found.map(|(_, value)| value.clone())
        };
        all.iter().map(|e| (e.kind.to_string(), hash(&e.environment))).collect()
    }

    fn cached(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.top.path().join("cache").join(name)).ok()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    vnode_protocol::chain(error)
}

fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test]
async fn oci_a_tag_is_followed_and_a_moved_one_is_an_update() {
    let place = place().await;
    let (one, two) = (disk("one"), disk("two"));
    let annotations = json!({ "org.opencontainers.image.version": "1.0" });
    place.registry.disk("lab/router", "stable", &one, &annotations);
    let cloud = Arc::new(Cloud::default());
    place.cache.publishers().attach(cloud.clone());
    let list = place.follow("lab/router:stable", Settings::default()).await.unwrap();
    assert!(list.ends_with(".lab.router-stable"), "{list}");
    let name = "lab.router-stable";
    place.run().await;
    assert_eq!(place.cached(name).unwrap(), one);
    let own = Some(sha512(&one));
    let trace = place.events().await;
    let kinds: Vec<&str> = trace.iter().map(|(kind, _)| kind.as_str()).collect();
    let all = ["ProcessPrefix", "AvailablePrefix", "AvailablePostfix", "ProcessPostfix"];
    assert_eq!(kinds, all);
    assert_eq!((&trace[1].1, &trace[2].1), (&own, &own), "handlers compare the list's hash");
    // The same digest: nothing is asked for but the manifest.
    assert!(!place.refresh().await.unwrap().changed);
    assert!(place.run().await.available.is_empty());
    place.events().await;
    let node = Reference::parse(&format!("list:{name}")).unwrap();
    let policy = PullPolicy::IfNotPresent;
    let image = || place.catalogue.ensure(&node, policy, &NoProgress, Default::default());
    let first = image().await.unwrap();
    // The tag moves.
    let annotations = json!({ "org.opencontainers.image.version": "2.0" });
    place.registry.disk("lab/router", "stable", &two, &annotations);
    assert!(place.refresh().await.unwrap().changed);
    place.run().await;
    assert_eq!(place.cached(name).unwrap(), two);
    let kinds: Vec<String> = place.events().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(
        kinds[1..5],
        ["ExpirePrefix", "ExpirePostfix", "AvailablePrefix", "AvailablePostfix"]
    );
    assert_ne!(image().await.unwrap().id, first.id);
    let now = || place.site.lists.now();
    place.cache.publishers().deliver(now, &CancellationToken::new()).await.unwrap();
    assert_eq!(*cloud.0.lock().unwrap(), ["available 1.0 128", "replaced 2.0 128"]);
    // No longer followed, it goes.
    place.site.lists.remove(&list).await.unwrap();
    place.run().await;
    assert!(place.cached(name).is_none() && image().await.is_err());
}

#[tokio::test]
async fn oci_w14_a_broken_transfer_goes_on_and_wrong_bytes_leave_the_old_ones() {
    let place = place().await;
    let one = disk("one");
    place.registry.disk("lab/router", "1", &one, &json!({}));
    let blob = format!("/v2/lab/router/blobs/{}", digest(&one));
    place.registry.content.lock().unwrap().cuts.insert(blob.clone(), vec![1000, 5000]);
    place.follow("lab/router:1", Settings::default()).await.unwrap();
    let report = place.run().await;
    assert!(report.failed.is_empty(), "{report:?}");
    let ranges: Vec<_> = {
        let content = place.registry.content.lock().unwrap();
        content.seen.iter().filter(|(path, _)| *path == blob).map(|(_, r)| r.clone()).collect()
    };
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=1000-"));
    assert_eq!(ranges[2].as_deref(), Some("bytes=6000-"));
    assert_eq!(place.cached("lab.router-1").unwrap(), one);
    // A registry that has other bytes under the digest than it says.
    let two = disk("two");
    place.registry.disk("lab/router", "1", &two, &json!({}));
    place.registry.put(&format!("/v2/lab/router/blobs/{}", digest(&two)), &one);
    assert!(place.refresh().await.unwrap().changed);
    let report = place.run().await;
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert_eq!(place.cached("lab.router-1").unwrap(), one, "the old one stays");
    // What is no disk, and what is not there, is no list.
    place.registry.manifest("lab/router", "image", &json!({ "layers": [] }));
    for (name, code) in [("lab/router:image", "10"), ("lab/none:1", "10"), ("lab/UP", "10")] {
        let error = place.follow(name, Settings::default()).await.unwrap_err();
        assert!(error.starts_with(code), "{name}: {error}");
    }
}

fn key_file(place: &Place, key: &PKey<Private>) -> PathBuf {
    let path = place.top.path().join("key.pub");
    fs::write(&path, key.public_key_to_pem().unwrap()).unwrap();
    path
}

#[tokio::test]
async fn oci_w26_with_a_key_only_what_it_signed_counts() {
    let place = place().await;
    let (own, other) = (key(), key());
    let settings = || Settings { key: Some(key_file(&place, &own)), ..Settings::default() };
    let refused = async |why: &str| {
        let error = place.follow("lab/router:1", settings()).await.unwrap_err();
        assert!(error.starts_with("11 ") && error.contains(why), "{error}");
    };
    let manifest = place.registry.disk("lab/router", "1", &disk("one"), &json!({}));
    refused("nobody signed").await;
    place.registry.sign("lab/router", &manifest, &manifest, &other);
    refused("not made with the key").await;
    // A signature of ours, of something else.
    place.registry.sign("lab/router", &manifest, &digest(b"other"), &own);
    refused("of another image").await;
    place.registry.sign("lab/router", &manifest, &manifest, &own);
    let list = place.follow("lab/router:1", settings()).await.unwrap();
    place.run().await;
    assert_eq!(place.cached("lab.router-1").unwrap(), disk("one"));
    // Moved to what nobody signed: the last good one stays, until the next is signed.
    let next = place.registry.disk("lab/router", "1", &disk("two"), &json!({}));
    assert_eq!(place.refresh().await, Err(11));
    place.run().await;
    assert_eq!(place.cached("lab.router-1").unwrap(), disk("one"));
    place.registry.sign("lab/router", &next, &next, &own);
    assert!(place.refresh().await.unwrap().changed);
    place.run().await;
    assert_eq!(place.cached("lab.router-1").unwrap(), disk("two"));
    // The key that was used is shown; one that is none is told.
    let current = place.site.lists.subscription(&list).await.unwrap().current.unwrap();
    assert!(current.signer.subject.starts_with("key sha256:"), "{}", current.signer.subject);
    fs::write(key_file(&place, &own), "no key").unwrap();
    assert_eq!(place.refresh().await, Err(10));
}

fn egi(tag: &str, title: &str) -> Value {
    json!({
        "eu.egi.cloud.tag": tag,
        "eu.egi.cloud.image.title": title,
        "org.openstack.glance.disk_format": "qcow2",
        "org.openstack.glance.os_distro": "ubuntu",
        "org.openstack.glance.os_version": "22.04",
        "org.openstack.glance.architecture": "x86_64",
    })
}

#[tokio::test]
async fn oci_egis_catalogue_is_followed_as_a_whole() {
    let place = place().await;
    let registry = &place.registry;
    let tags = |repository: &str, tags: &[&str]| {
        let text = json!({ "name": repository, "tags": tags }).to_string();
        registry.put(&format!("/v2/{repository}/tags/list"), text.as_bytes());
    };
    let own = key();
    let ubuntu = "egi_vm_images/ubuntu";
    let first = registry.disk(ubuntu, "22.04", &disk("u1"), &egi("2025-01-01-aaaa", "Ubuntu"));
    registry.disk(ubuntu, "22.04-2025-01-01-aaaa", &disk("u1"), &egi("2025-01-01-aaaa", "Ubuntu"));
    registry.disk(ubuntu, "22.04-2024-01-01-bbbb", &disk("u0"), &egi("2024-01-01-bbbb", "Ubuntu"));
    let signature = format!("{}.sig", first.replace(':', "-"));
    tags(ubuntu, &["22.04", "22.04-2025-01-01-aaaa", "22.04-2024-01-01-bbbb", &signature]);
    let alma = "egi_vm_images/alma";
    let second = registry.disk(alma, "9", &disk("a1"), &egi("2025-02-02-cccc", "Alma"));
    tags(alma, &["9", "test"]);
    registry.disk(alma, "test", &disk("t"), &json!({}));
    registry.disk("other/thing", "1", &disk("x"), &egi("x", "not of the project"));
    for (repository, digest) in [(ubuntu, &first), (alma, &second)] {
        registry.sign(repository, digest, digest, &own);
    }
    let all = json!({ "repositories": [alma, "other/thing", ubuntu] }).to_string();
    registry.put("/v2/_catalog", all.as_bytes());
    let settings = Settings { key: Some(key_file(&place, &own)), ..Settings::default() };
    let list = place.follow("egi_vm_images/", settings).await.unwrap();
    let names = async || -> Vec<(String, String)> {
        let images = place.site.lists.images(Some(&list)).await.unwrap();
        let there = images.into_iter().filter(|i| i.in_list);
        there.map(|i| (i.identifier, i.latest.unwrap().title)).collect()
    };
    let (a, u) = ("egi_vm_images.alma-9", "egi_vm_images.ubuntu-22.04");
    let pair = |name: &str, title: &str| (name.to_owned(), title.to_owned());
    assert_eq!(names().await, [pair(a, "Alma"), pair(u, "Ubuntu")]);
    let report = place.run().await;
    assert_eq!(report.available, [a, u]);
    let image = place.cache.cached().await.unwrap().remove(u).unwrap().image;
    assert_eq!((image.version.as_str(), image.os.as_str()), ("2025-01-01-aaaa", "ubuntu"));
    assert_eq!(image.format.as_deref(), Some("QCOW2"));
    let place_of = format!("{}/{ubuntu}:22.04-{first}", registry.address);
    assert_eq!(image.text("ad:mpuri"), Some(place_of.as_str()));
    // One of two moves to what is not signed: it is told, and stays as it was.
    let third = registry.disk(ubuntu, "22.04", &disk("u2"), &egi("2025-03-03-dddd", "Ubuntu"));
    let report = place.refresh().await.unwrap();
    assert!(report.dropped.iter().any(|d| d.identifier.as_deref() == Some(u)), "{report:?}");
    assert_eq!(names().await, [pair(a, "Alma"), pair(u, "Ubuntu")]);
    assert!(place.run().await.available.is_empty());
    assert_eq!(place.cached(u).unwrap(), disk("u1"));
    // Signed later, it counts, though no byte of it changed.
    registry.sign(ubuntu, &third, &third, &own);
    assert!(place.refresh().await.unwrap().changed);
    assert_eq!(place.run().await.available, [u]);
    assert_eq!(place.cached(u).unwrap(), disk("u2"));
    // Harbor tells its projects itself. One repository went: its image goes.
    let harbor = json!([{ "name": ubuntu }]).to_string();
    registry.put("/api/v2.0/projects/egi_vm_images/repositories", harbor.as_bytes());
    place.refresh().await.unwrap();
    assert_eq!(names().await, [pair(u, "Ubuntu")]);
    assert_eq!(place.run().await.expired, [a]);
    // Nothing at all is no catalogue that went: the registry is asked again.
    registry.content.lock().unwrap().files.clear();
    assert_eq!(place.refresh().await, Err(10));
    assert_eq!(names().await, [pair(u, "Ubuntu")]);
}
