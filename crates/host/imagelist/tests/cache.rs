//! The golden traces of section 3.4: what a handler is told in each case, and what is in the folders then.
//!
//! The handler notes each event and where the image's file was when it was told.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod common;

use std::{fs, path::Path, sync::Arc, time::Duration};

use common::{LIST, ONE, OTHER_LIST, Site, TWO, URI, site};
use tokio_util::sync::CancellationToken;
use vnode_imagelist::{
    cache::{Cache, CacheError, Folders, MAX_TRIES, Mirror, RunOptions, RunReport},
    download::{DownloadOptions, Downloader},
    event::{Handler, Kind},
    lists::{CachedFile, Subscribe},
    record::{NewImages, Settings},
};

struct Host {
    site: Site,
    cache: Cache,
    top: tempfile::TempDir,
}

const FIRST: (&str, usize) = ("tiny test image, version one\n", 4096);
const SECOND: (&str, usize) = ("tiny test image, version two\n", 5120);
const OTHER: (&str, usize) = ("second image\n", 2048);

/// A site that follows the list in version `list`, and a cache that finds the images in a folder.
async fn host(list: &str) -> Host {
    let site = site();
    site.served.put(URI, list);
    let wanted = Subscribe { uri: URI.to_owned(), auto_endorse: true, ..Subscribe::default() };
    site.lists.subscribe(&wanted).await.unwrap();
    let top = tempfile::tempdir().unwrap();
    let images = top.path().join("images");
    fs::create_dir(&images).unwrap();
    for (name, (text, times)) in
        [("demo-1.raw", FIRST), ("demo-2.raw", SECOND), ("other-1.raw", OTHER)]
    {
        fs::write(images.join(name), text.repeat(times)).unwrap();
    }
    let options = DownloadOptions {
        retries: 0,
        keep_free: 0,
        pause: Duration::from_millis(1),
        ..DownloadOptions::default()
    };
    let cache = Cache::new(
        site.store.clone(),
        Arc::clone(&site.lists),
        Downloader::new(options).unwrap(),
        Folders::below(top.path().join("cache")),
    )
    .unwrap()
    .mirrors(vec![Mirror {
        from: "http://127.0.0.1:8000/images/".to_owned(),
        to: format!("file://{}/", images.display()),
    }]);
    Host { site, cache, top }
}

impl Host {
    async fn select(&self, image: &str, subscribed: bool) {
        assert!(self.site.lists.select(LIST, image, subscribed).await.unwrap());
    }

    async fn refresh(&self, list: &str) -> u8 {
        self.site.served.put(URI, list);
        self.site.lists.refresh(Some(LIST)).await.unwrap()[0].exit_code()
    }

    /// Runs the cache; the trace is as in the table, with the image's version: `P X-1@1.0 X+1@1.0 p`.
    async fn run_with(&self, check: bool, exit: u8) -> (String, RunReport) {
        let seen = self.top.path().join("seen");
        fs::write(&seen, "").unwrap();
        let cache = self.cache.folders().cache.display().to_string();
        let command = format!(
            "f=in; for d in '{cache}' '{cache}/partial' '{cache}/expired'; do \
               test -n \"$VMCATCHER_EVENT_FILENAME\" -a -f \"$d/$VMCATCHER_EVENT_FILENAME\" && f=$f-$(basename \"$d\"); done; \
             echo $VMCATCHER_EVENT_TYPE $VMCATCHER_EVENT_DC_IDENTIFIER $VMCATCHER_EVENT_HV_VERSION $f >> '{}'; exit {exit}",
            seen.display()
        );
        let handler = Handler::new(command);
        // A refresh has a handler of its own; here it is the same.
        let (queue, now) = (self.cache.queue(), || self.site.lists.now());
        let never = CancellationToken::new();
        queue.deliver_only(Kind::is_of_subscription, &handler, now, &never).await.unwrap();
        let options = RunOptions { check, handler: Some(handler), ..RunOptions::default() };
        let report = self.cache.run(&options, &CancellationToken::new()).await.unwrap();
        let text = fs::read_to_string(&seen).unwrap();
        let trace: Vec<String> = text.lines().map(short).collect();
        (trace.join(" "), report)
    }

    async fn run(&self) -> String {
        self.run_with(false, 0).await.0
    }

    fn file(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.cache.folders().cache.join(name)).ok()
    }
}

/// One line of the handler as the table writes it; where the file was is checked here.
fn short(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mark = match words[0] {
        "ProcessPrefix" => return "P".to_owned(),
        "ProcessPostfix" => return "p".to_owned(),
        "ExpirePrefix" => "X-",
        "ExpirePostfix" => "X+",
        "AvailablePrefix" => "A-",
        "AvailablePostfix" => "A+",
        other => return other.to_owned(),
    };
    let [_, image, version, place] = words[..] else { panic!("{line}") };
    let expected = match mark {
        "X-" | "A+" => "cache",
        "X+" => "expired",
        _ => "partial",
    };
    // The new file may be in `partial` already while the old one is withdrawn.
    let note = if place.split('-').any(|p| p == expected) { "" } else { "!gone" };
    format!("{mark}{}@{version}{note}", if image == ONE { "1" } else { "2" })
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn e01_e02_e03_an_image_comes_stays_and_is_replaced() {
    let host = host("v1").await;
    host.select(ONE, true).await;
    assert_eq!(host.run().await, "P A-1@1.0 A+1@1.0 p", "e01");
    assert_eq!(host.file(ONE).unwrap(), FIRST.0.repeat(FIRST.1).as_bytes());
    assert_eq!(host.run().await, "P p", "e02");
    assert_eq!(host.refresh("v2").await, 0);
    assert_eq!(host.run().await, "P X-1@1.0 X+1@1.0 A-1@2.0 A+1@2.0 p", "e03");
    assert_eq!(host.file(ONE).unwrap(), SECOND.0.repeat(SECOND.1).as_bytes());
    let expired = names(&host.cache.folders().expired);
    assert_eq!(expired, [format!("{ONE}.2026-12-01_00-00-00")]);
    assert!(names(&host.cache.folders().partial).is_empty());
    assert_eq!(host.refresh("v2-same").await, 0);
    assert_eq!(host.run().await, "P X-1@2.0 X+1@2.0 A-1@1.0 A+1@1.0 p", "e04");
    assert_eq!(host.refresh("v1").await, 17);
    assert_eq!(host.run().await, "P p", "e05");
    // The index beside the images, for old handlers.
    let index: serde_json::Value =
        serde_json::from_slice(&host.file("cache.index").unwrap()).unwrap();
    assert_eq!(index[ONE]["filename"], ONE);
    assert_eq!(index[ONE]["hv:imagelist.ad:vo"], "demo.example.org");
    assert_eq!(index[ONE]["hv:image.sl:osname"], "Demo OS");
}

#[tokio::test]
async fn e06_e07_e08_images_go_when_nobody_wants_them() {
    let host = host("v2").await;
    host.select(ONE, true).await;
    host.select(TWO, true).await;
    assert_eq!(host.run().await, "P A-1@2.0 A+1@2.0 A-2@1.0 A+2@1.0 p");
    assert_eq!(host.refresh("v3-drop").await, 0);
    assert_eq!(host.run().await, "P X-2@1.0 X+2@1.0 p", "e06");
    host.select(ONE, false).await;
    assert_eq!(host.run().await, "P X-1@2.0 X+1@2.0 p", "e07");
    host.select(ONE, true).await;
    assert_eq!(host.run().await, "P A-1@2.0 A+1@2.0 p");
    assert!(host.site.lists.remove(LIST).await.unwrap());
    assert_eq!(host.run().await, "P X-1@2.0 X+1@2.0 p", "e08");
    assert!(host.cache.cached().await.unwrap().is_empty());
}

#[tokio::test]
async fn e09_e11_a_new_image_is_told_of_and_fetched_when_the_site_wants_all() {
    let host = host("v2-same").await;
    assert_eq!(host.refresh("v2").await, 32);
    assert_eq!(host.refresh("v2").await, 0);
    assert_eq!(host.run().await, "SubscriptionImageNew P p", "e09");
    let all = Settings { new_images: NewImages::Subscribe, ..Settings::default() };
    host.site.lists.configure(LIST, all).await.unwrap();
    assert_eq!(host.run().await, "SubscriptionImageNew P A-2@1.0 A+2@1.0 p", "e11");
}

#[tokio::test]
async fn e12_an_image_that_is_not_there_is_tried_five_times_for_one_list() {
    let host = host("v1").await;
    host.select(ONE, true).await;
    fs::remove_file(host.top.path().join("images/demo-1.raw")).unwrap();
    for _ in 0..MAX_TRIES {
        let (trace, report) = host.run_with(false, 0).await;
        assert_eq!(trace, "P p");
        assert!(matches!(report.failed[0].error, CacheError::Download(_)));
    }
    let (_, report) = host.run_with(false, 0).await;
    assert!(matches!(report.failed[0].error, CacheError::GivenUp { tries: 5 }));
    host.refresh("v2").await;
    assert_eq!(host.run().await, "P A-1@2.0 A+1@2.0 p", "a new list is tried again");
}

#[tokio::test]
async fn e13_e21_w13_the_old_image_stays_until_the_new_one_is_verified() {
    let host = host("v1").await;
    host.select(ONE, true).await;
    host.run().await;
    host.refresh("v2").await;
    let second = host.top.path().join("images/demo-2.raw");
    fs::write(&second, SECOND.0.repeat(SECOND.1).to_uppercase()).unwrap();
    assert_eq!(host.run().await, "P p", "e13: the wrong hash");
    fs::write(&second, "short").unwrap();
    assert_eq!(host.run().await, "P p", "e13: the wrong size");
    assert_eq!(host.file(ONE).unwrap(), FIRST.0.repeat(FIRST.1).as_bytes(), "e21");
    assert!(names(&host.cache.folders().partial).is_empty());
    fs::write(&second, SECOND.0.repeat(SECOND.1)).unwrap();
    assert_eq!(host.run().await, "P X-1@1.0 X+1@1.0 A-1@2.0 A+1@2.0 p", "e21");
}

#[tokio::test]
async fn e14_a_failing_handler_does_not_keep_the_image_out() {
    let host = host("v1").await;
    host.select(ONE, true).await;
    let (trace, _) = host.run_with(false, 7).await;
    assert_eq!(trace, "P A-1@1.0 A+1@1.0 p");
    assert!(host.file(ONE).is_some());
    let waiting = host.cache.queue().undelivered().await.unwrap();
    assert_eq!(waiting.len(), 4, "none is lost");
}

#[tokio::test]
async fn e15_e16_e17_lost_files_are_fetched_again() {
    let host = host("v1").await;
    host.select(ONE, true).await;
    host.run().await;
    let file = host.cache.folders().cache.join(ONE);
    fs::write(&file, FIRST.0.repeat(FIRST.1).to_uppercase()).unwrap();
    assert_eq!(host.run().await, "P p", "the size is right, so nobody looks");
    let (trace, report) = host.run_with(true, 0).await;
    assert_eq!(trace, "P A-1@1.0 A+1@1.0 p", "e15, in one run");
    assert_eq!(report.lost, [ONE]);
    fs::remove_file(&file).unwrap();
    assert_eq!(host.run().await, "P A-1@1.0 A+1@1.0 p", "e16");
    fs::remove_file(&file).unwrap();
    host.refresh("v2").await;
    let (trace, report) = host.run_with(false, 0).await;
    assert_eq!(trace, "P X-1@1.0!gone X+1@1.0!gone A-1@2.0 A+1@2.0 p", "e17");
    assert_eq!(report.lost, [ONE]);
}

#[tokio::test]
async fn e18_w10_images_of_an_ended_image_go() {
    let host = host("v1").await;
    host.select(ONE, true).await;
    host.run().await;
    assert_eq!(host.refresh("past").await, 34);
    assert_eq!(host.run().await, "P p", "the stored list is still good");
    assert_eq!(host.refresh("img-expired").await, 0);
    assert_eq!(host.run().await, "P X-1@1.0 X+1@1.0 p");
}

#[tokio::test]
async fn e19_w27_strangers_are_moved_aside_and_folders_stay() {
    let host = host("v1").await;
    let cache = &host.cache.folders().cache;
    fs::create_dir(cache.join("templates")).unwrap();
    fs::write(cache.join("templates/x.one"), "x").unwrap();
    fs::write(cache.join("stranger"), "x").unwrap();
    let (trace, report) = host.run_with(false, 0).await;
    assert_eq!((trace.as_str(), report.strays), ("P p", 1));
    assert_eq!(names(cache), ["cache.index", "expired", "partial", "templates"]);
    assert_eq!(names(&host.cache.folders().expired), ["stray.stranger.2026-12-01_00-00-00"]);
}

#[tokio::test]
async fn w19_w25_two_runs_and_two_lists_do_not_mix() {
    let host = host("v1").await;
    host.select(ONE, true).await;
    let bob = "http://lists.example.org/bob.list";
    host.site.served.put(bob, "other-list");
    let wanted = Subscribe { uri: bob.to_owned(), auto_endorse: true, ..Subscribe::default() };
    host.site.lists.subscribe(&wanted).await.unwrap();
    assert!(host.site.lists.select(OTHER_LIST, ONE, true).await.unwrap());
    let (options, never) = (RunOptions::default(), CancellationToken::new());
    let (one, two) =
        tokio::join!(host.cache.run(&options, &never), host.cache.run(&options, &never));
    assert!(matches!(two, Err(CacheError::Busy)));
    let report = one.unwrap();
    assert_eq!(report.available, [ONE]);
    assert!(matches!(report.failed[0].error, CacheError::Clash { .. }));
    assert_eq!(host.cache.cached().await.unwrap()[ONE].list, LIST);
}

#[tokio::test]
async fn files_of_an_old_cache_are_taken_over_when_their_hash_is_right() {
    let host = host("v1").await;
    host.select(ONE, true).await;
    let old = host.top.path().join("old");
    fs::write(&old, FIRST.0.repeat(FIRST.1)).unwrap();
    let image = host.site.lists.wanted().await.unwrap().remove(0).image;
    let file = CachedFile {
        list: Some(LIST.to_owned()),
        identifier: ONE.to_owned(),
        path: old.clone(),
        size: image.size,
        sha512: image.sha512,
    };
    assert!(
        !host.cache.adopt(&CachedFile { list: Some("x".into()), ..file.clone() }).await.unwrap()
    );
    assert!(host.cache.adopt(&file).await.unwrap());
    assert!(!old.exists());
    assert_eq!(host.run().await, "P p");
}
