//! A site with a catalogue: what comes from a list becomes an image, publishers are told, trees are kept.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod common;

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use common::{LIST, ONE, URI, site};
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use vnode_image::{Catalogue, NoProgress, Options, PullPolicy, Reference};
use vnode_imagelist::{
    cache::{Cache, Folders, Mirror, RunOptions, Shelf},
    download::{DownloadOptions, Downloader},
    fetch::{ClientOptions, HttpFetch},
    lists::Subscribe,
    publish::{ImageChange, PublishError, Publisher},
    site::serve_tree,
};

#[derive(Debug, Default)]
struct Cloud {
    seen: Mutex<Vec<String>>,
    /// How often it fails before it does not.
    failures: Mutex<Vec<bool>>,
}

impl Publisher for Cloud {
    fn name(&self) -> &str {
        "cloud"
    }

    fn publish<'a>(
        &'a self,
        change: &'a ImageChange,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let failure = self.failures.lock().unwrap().pop();
        let error = std::io::Error::other("the cloud is away");
        let result = match failure {
            Some(true) => Err(PublishError::later(&error)),
            Some(false) => Err(PublishError::never(&error)),
            None => {
                let version = &change.image().image.version;
                let there = change.image().file.exists();
                let text = format!("{} {version} {there}", change.kind());
                self.seen.lock().unwrap().push(text);
                Ok(())
            }
        };
        Box::pin(std::future::ready(result))
    }
}

struct Place {
    site: common::Site,
    cache: Cache,
    catalogue: Catalogue,
    top: tempfile::TempDir,
}

async fn place() -> Place {
    let site = site();
    let wanted = Subscribe { uri: URI.to_owned(), auto_endorse: true, ..Subscribe::default() };
    site.lists.subscribe(&wanted).await.unwrap();
    site.lists.select(LIST, ONE, true).await.unwrap();
    let top = tempfile::tempdir().unwrap();
    let images = top.path().join("images");
    fs::create_dir(&images).unwrap();
    fs::write(images.join("demo-1.raw"), "tiny test image, version one\n".repeat(4096)).unwrap();
    fs::write(images.join("demo-2.raw"), "tiny test image, version two\n".repeat(5120)).unwrap();
    let catalogue = Catalogue::open(&top.path().join("catalogue"), Options::default()).unwrap();
    let options = DownloadOptions { retries: 0, keep_free: 0, ..DownloadOptions::default() };
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
    })
    .mirrors(vec![Mirror {
        from: "http://127.0.0.1:8000/images/".to_owned(),
        to: format!("file://{}/", images.display()),
    }]);
    Place { site, cache, catalogue, top }
}

impl Place {
    async fn run(&self, options: RunOptions) {
        let options = RunOptions { events: false, ..options };
        let report = self.cache.run(&options, &CancellationToken::new()).await.unwrap();
        assert!(report.failed.is_empty(), "{report:?}");
    }

    async fn image(&self) -> Result<vnode_image::Image, vnode_image::Error> {
        let reference = Reference::parse(&format!("list:{ONE}")).unwrap();
        let policy = PullPolicy::IfNotPresent;
        self.catalogue.ensure(&reference, policy, &NoProgress, Default::default()).await
    }

    async fn deliver(&self) -> usize {
        let now = || self.site.lists.now();
        self.cache.publishers().deliver(now, &CancellationToken::new()).await.unwrap()
    }
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn an_image_of_a_list_is_in_the_one_catalogue_and_its_name_moves_on() {
    let place = place().await;
    place.run(RunOptions::default()).await;
    let first = place.image().await.unwrap();
    let disk = first.disk.clone().unwrap();
    // Written once: the file of the cache and that of the catalogue are one.
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(fs::metadata(&disk.path).unwrap().nlink(), 2);
    place.site.served.put(URI, "v2");
    place.site.lists.refresh(None).await.unwrap();
    place.run(RunOptions::default()).await;
    let second = place.image().await.unwrap();
    assert_ne!(first.id, second.id);
    assert!(disk.path.exists(), "whoever has the old one keeps it");
    // Collected there, it comes back from the cache folder, without a download.
    drop((first, second));
    place.catalogue.gc(&HashSet::new, Default::default()).unwrap();
    assert!(place.image().await.is_err());
    fs::remove_dir_all(place.top.path().join("images")).unwrap();
    place.run(RunOptions::default()).await;
    place.image().await.unwrap();
    // Not wanted any more, it goes.
    place.site.lists.select(LIST, ONE, false).await.unwrap();
    place.run(RunOptions::default()).await;
    assert!(place.image().await.is_err());
}

#[tokio::test]
async fn publishers_are_told_in_order_and_again_until_they_have_it() {
    let place = place().await;
    let cloud = Arc::new(Cloud::default());
    place.cache.publishers().attach(cloud.clone());
    place.run(RunOptions::default()).await;
    // It is away: nothing is lost, and the update does not overtake.
    *cloud.failures.lock().unwrap() = vec![true];
    assert_eq!(place.deliver().await, 0);
    place.site.served.put(URI, "v2");
    place.site.lists.refresh(None).await.unwrap();
    place.run(RunOptions::default()).await;
    assert_eq!(place.deliver().await, 0, "not before its pause");
    assert_eq!(place.cache.publishers().waiting().await.unwrap().len(), 2);
    place.site.clock.set("2026-12-01T00:10:00Z");
    assert_eq!(place.deliver().await, 2);
    place.site.lists.select(LIST, ONE, false).await.unwrap();
    place.run(RunOptions::default()).await;
    // One that cannot pass waits for an operator.
    *cloud.failures.lock().unwrap() = vec![false];
    assert_eq!(place.deliver().await, 0);
    place.site.clock.set("2026-12-02T00:10:00Z");
    assert_eq!(place.deliver().await, 0);
    assert!(place.cache.publishers().waiting().await.unwrap()[0].tries.given_up);
    assert_eq!(place.cache.publishers().retry_given_up(place.site.lists.now()).await.unwrap(), 1);
    assert_eq!(place.deliver().await, 1);
    let seen = cloud.seen.lock().unwrap().clone();
    assert_eq!(seen, ["available 1.0 true", "replaced 2.0 true", "expired 2.0 true"]);
}

#[tokio::test]
async fn publishers_attached_later_are_told_what_they_missed() {
    let place = place().await;
    let cloud = Arc::new(Cloud::default());
    let publishers = place.cache.publishers();
    let seen = || std::mem::take(&mut *cloud.seen.lock().unwrap());
    place.run(RunOptions::default()).await;
    // An image that is here already.
    publishers.attach(cloud.clone());
    assert_eq!(place.cache.catch_up().await.unwrap(), 1);
    assert_eq!(place.cache.catch_up().await.unwrap(), 0, "once");
    assert_eq!(place.deliver().await, 1);
    assert_eq!(seen(), ["available 1.0 true"]);
    // One that was replaced while it was away.
    publishers.detach("cloud");
    place.site.served.put(URI, "v2");
    place.site.lists.refresh(None).await.unwrap();
    place.run(RunOptions::default()).await;
    publishers.attach(cloud.clone());
    place.cache.catch_up().await.unwrap();
    // Attached again before it could be told: what waits counts as told.
    publishers.attach(cloud.clone());
    assert_eq!(place.cache.catch_up().await.unwrap(), 0);
    assert_eq!(place.deliver().await, 1);
    assert_eq!(seen(), ["replaced 2.0 true"]);
    // One that went.
    publishers.detach("cloud");
    place.site.lists.select(LIST, ONE, false).await.unwrap();
    place.run(RunOptions::default()).await;
    publishers.attach(cloud.clone());
    assert_eq!(place.cache.catch_up().await.unwrap(), 1);
    assert_eq!(place.deliver().await, 1);
    assert_eq!(seen(), ["expired 2.0 false"]);
    publishers.attach(cloud.clone());
    assert_eq!(place.cache.catch_up().await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_here_is_served_on_and_another_site_needs_nothing_else() {
    let place = place().await;
    place.run(RunOptions::default()).await;
    let tree = place.top.path().join("tree");
    let serve = || serve_tree(&place.site.lists, &place.cache, tree.clone());
    serve().await.unwrap();
    let message = tree.join("http/lists.example.org/image.list");
    assert_eq!(fs::read(&message).unwrap(), common::message("v1"));
    let images = tree.join("http/127.0.0.1:8000/images");
    // The other site has no way to the servers, and does not trust this one: only the endorser.
    let other = site();
    let fetch = HttpFetch::new(&ClientOptions::default()).unwrap();
    let trust = Arc::new(vnode_imagelist::TrustFolder::new(other.trust.path()));
    other.lists.use_settings(trust, Arc::new(fetch), false);
    let uri = format!("file://{}", message.display());
    let wanted = Subscribe { uri, auto_endorse: true, ..Subscribe::default() };
    other.lists.subscribe(&wanted).await.unwrap();
    other.lists.select(LIST, ONE, true).await.unwrap();
    let options = DownloadOptions { retries: 0, keep_free: 0, ..DownloadOptions::default() };
    let folders = Folders::below(place.top.path().join("other"));
    let downloader = Downloader::new(options).unwrap();
    let cache =
        Cache::new(other.store.clone(), Arc::clone(&other.lists), downloader, folders).unwrap();
    let cache = cache.mirrors(vec![Mirror {
        from: "http://127.0.0.1:8000/images/".to_owned(),
        to: format!("file://{}/", images.display()),
    }]);
    let report = cache.run(&RunOptions::default(), &CancellationToken::new()).await.unwrap();
    assert_eq!(report.available, [ONE], "{report:?}");
    // An update takes the place of what it replaces; what others put there stays.
    fs::write(images.join("not ours"), "x").unwrap();
    place.site.served.put(URI, "v2");
    place.site.lists.refresh(None).await.unwrap();
    place.run(RunOptions::default()).await;
    serve().await.unwrap();
    assert_eq!(fs::read(&message).unwrap(), common::message("v2"));
    let mut names: Vec<_> =
        fs::read_dir(&images).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["demo-2.raw", "not ours"]);
}

#[tokio::test]
async fn w21_withdrawn_files_are_kept_for_their_time() {
    let place = place().await;
    place.run(RunOptions::default()).await;
    place.site.lists.select(LIST, ONE, false).await.unwrap();
    let kept = || RunOptions {
        keep_expired: Some(std::time::Duration::from_secs(3600)),
        ..RunOptions::default()
    };
    place.run(kept()).await;
    let expired = place.top.path().join("cache/expired");
    assert_eq!(count(&expired), 1);
    fs::write(expired.join("not ours"), "x").unwrap();
    place.site.clock.set("2026-12-01T02:00:00Z");
    place.run(kept()).await;
    assert_eq!(count(&expired), 1, "what is not named as we name is left alone");
}
