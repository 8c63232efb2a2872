//! Subscriptions: what the cases of section 3.4 say of lists and states, and the move from vmcatcher.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod common;

use std::{collections::BTreeMap, fs};

use common::{LIST, ONE, OTHER_LIST, Site, TWO, URI, message, site};
use vnode_imagelist::{
    Principal, Refusal,
    event::{Kind, Queue},
    lists::{Error, Report, Subscribe},
    record::{Credential, NewImages, Settings},
};

const BOB: &str = "http://lists.example.org/bob.list";

async fn subscribe(site: &Site, uri: &str) {
    let wanted = Subscribe { uri: uri.to_owned(), auto_endorse: true, ..Subscribe::default() };
    site.lists.subscribe(&wanted).await.unwrap();
}

/// Exit codes of a refresh of all, in order of lists.
async fn refresh(site: &Site) -> Vec<u8> {
    site.lists.refresh(None).await.unwrap().iter().map(|r| r.exit_code()).collect()
}

async fn states(site: &Site) -> BTreeMap<String, u8> {
    let subscriptions = site.lists.subscriptions().await.unwrap();
    let now = site.clock.now();
    let images = site.lists.images(None).await.unwrap();
    let state = |i: &vnode_imagelist::record::ImageRecord| {
        i.state(subscriptions.iter().find(|s| s.identifier == i.list).unwrap(), now)
    };
    images.iter().map(|i| (i.identifier.clone(), state(i))).collect()
}

fn both(one: u8, two: u8) -> BTreeMap<String, u8> {
    [(ONE.to_owned(), one), (TWO.to_owned(), two)].into()
}

#[tokio::test]
async fn an_image_is_wanted_once_it_is_selected() {
    let site = site();
    subscribe(&site, URI).await;
    assert_eq!(states(&site).await, both(2, 2));
    assert!(site.lists.select(LIST, ONE, true).await.unwrap());
    assert!(!site.lists.select(LIST, "nothing", true).await.unwrap());
    assert_eq!(states(&site).await, both(3, 2));
    let wanted = site.wanted().await;
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].vo.as_deref(), Some("demo.example.org"));
    // e07: no longer selected.
    site.lists.select(LIST, ONE, false).await.unwrap();
    assert_eq!(states(&site).await, both(2, 2));
    assert!(site.wanted().await.is_empty());
}

#[tokio::test]
async fn e04_e05_e06_versions_go_up_only() {
    let site = site();
    subscribe(&site, URI).await;
    site.lists.select(LIST, ONE, true).await.unwrap();
    site.lists.select(LIST, TWO, true).await.unwrap();
    assert_eq!(refresh(&site).await, [0], "unchanged");
    site.served.put(URI, "v2");
    assert_eq!(refresh(&site).await, [0]);
    assert_eq!(site.wanted().await[0].image.version, "2.0");
    site.served.put(URI, "v2-same");
    let same = site.lists.refresh(Some(LIST)).await.unwrap().remove(0).result.unwrap();
    assert!(same.same_version && same.changed);
    assert_eq!(states(&site).await, both(3, 1));
    site.served.put(URI, "v1");
    assert_eq!(refresh(&site).await, [17]);
    assert_eq!(states(&site).await, both(3, 1), "a refused list changes no state");
    site.served.put(URI, "v3-drop");
    assert_eq!(refresh(&site).await, [0]);
    assert_eq!(states(&site).await, both(3, 1));
    // An empty list takes 3 to 1 and 2 to 0.
    site.lists.select(LIST, TWO, false).await.unwrap();
    site.served.put(URI, "empty");
    assert_eq!(refresh(&site).await, [0]);
    assert_eq!(states(&site).await, both(1, 0));
}

#[tokio::test]
async fn strict_version_refuses_other_bytes_of_the_same_version() {
    let site = site();
    site.served.put(URI, "v2");
    subscribe(&site, URI).await;
    let mut settings = Settings::default();
    settings.rules.strict_version = true;
    site.lists.configure(LIST, settings).await.unwrap();
    site.served.put(URI, "v2-same");
    assert_eq!(refresh(&site).await, [16]);
}

#[tokio::test]
async fn e09_e10_e11_new_images_follow_the_policy() {
    let site = site();
    site.served.put(URI, "v2-same");
    subscribe(&site, URI).await;
    let queue = Queue::new(site.store.clone());
    site.served.put(URI, "v2");
    assert_eq!(refresh(&site).await, [32]);
    assert_eq!(refresh(&site).await, [0], "the same bytes again");
    let events = queue.undelivered().await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, Kind::SubscriptionImageNew);
    let names: Vec<&str> = events[0].environment.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(
        names,
        [
            "VMCATCHER_EVENT_TYPE",
            "VMCATCHER_EVENT_UUID_SESSION",
            "VMCATCHER_EVENT_DC_IDENTIFIER",
            "VMCATCHER_EVENT_DC_TITLE",
            "VMCATCHER_EVENT_DC_DESCRIPTION",
            "VMCATCHER_EVENT_HV_HYPERVISOR",
            "VMCATCHER_EVENT_HV_SIZE",
            "VMCATCHER_EVENT_HV_URI",
            "VMCATCHER_EVENT_HV_VERSION",
            "VMCATCHER_EVENT_SL_ARCH",
            "VMCATCHER_EVENT_SL_CHECKSUM_SHA512",
            "VMCATCHER_EVENT_SL_OS",
            "VMCATCHER_EVENT_SL_OSVERSION",
        ],
        "no format, market place, vo, list or file name"
    );
    assert_eq!(states(&site).await.get(TWO), None, "refused images are not listed");
    let set = |new_images| Settings { new_images, ..Settings::default() };
    let report: Report = site.lists.configure(LIST, set(NewImages::Accept)).await.unwrap();
    assert_eq!(report.new_images.len(), 1);
    assert_eq!(states(&site).await, both(2, 2), "the list in force is read again at once");
    assert!(site.lists.admit(LIST, TWO, false).await.unwrap());
    site.lists.configure(LIST, set(NewImages::Subscribe)).await.unwrap();
    assert_eq!(states(&site).await, both(2, 3));
    assert_eq!(queue.undelivered().await.unwrap().len(), 3);
}

#[tokio::test]
async fn e18_w10_an_expired_list_takes_its_images_away_until_a_newer_comes() {
    let site = site();
    subscribe(&site, URI).await;
    site.lists.select(LIST, ONE, true).await.unwrap();
    // The fixtures' lists end in 2499, after their certificates; so the copy is asked, not the server.
    let subscription = site.lists.subscription(LIST).await.unwrap();
    let late = "2500-01-01T00:00:00Z".parse().unwrap();
    let images = site.lists.images(Some(LIST)).await.unwrap();
    let one = images.iter().find(|i| i.identifier == ONE).unwrap();
    assert_eq!(one.state(&subscription, site.clock.now()), 3);
    assert_eq!(one.state(&subscription, late), 1);
    let mut lenient = subscription.clone();
    lenient.settings.enforce_expiry = false;
    assert_eq!(one.state(&lenient, late), 3);
    // What is offered when it is over is refused as expired, and the stored list stays.
    site.served.put(URI, "past");
    assert_eq!(refresh(&site).await, [34]);
    assert_eq!(states(&site).await, both(3, 2));
    // An image's own end.
    site.served.put(URI, "img-expired");
    assert_eq!(refresh(&site).await, [0]);
    assert_eq!(states(&site).await, both(1, 0));
}

#[tokio::test]
async fn w11_one_bad_list_stops_no_other() {
    let site = site();
    site.served.put(BOB, "other-list");
    subscribe(&site, BOB).await;
    subscribe(&site, URI).await;
    for (bad, code) in [
        ("dn-mismatch", 12),
        ("v1-text", 37),
        ("v1-json-only", 11),
        ("by-bob", 13),
        ("other-list", 31),
        ("future", 33),
    ] {
        site.served.put(URI, bad);
        assert_eq!(refresh(&site).await, [code, 0], "{bad}");
        let last = site.lists.subscription(LIST).await.unwrap().last.unwrap();
        assert_eq!(last.exit_code, code);
        assert!(last.error.is_some());
    }
    site.served.forget(URI);
    site.served.put(BOB, "v1-tampered");
    assert_eq!(refresh(&site).await, [10, 11]);
    site.served.put(URI, "v2");
    assert_eq!(refresh(&site).await, [0, 11]);
}

#[tokio::test]
async fn w12_w29_what_cannot_be_fetched_or_is_refused_leaves_nothing() {
    let site = site();
    let ask = |uri: &str, auto_endorse| Subscribe {
        uri: uri.to_owned(),
        auto_endorse,
        ..Subscribe::default()
    };
    let code = async |wanted| site.lists.subscribe(&wanted).await.unwrap_err().exit_code();
    assert_eq!(code(ask("http://lists.example.org/none", true)).await, 10);
    assert_eq!(code(ask("ftp://lists.example.org/x", true)).await, 10);
    assert_eq!(code(ask("http://u:p@lists.example.org/x", true)).await, 10);
    assert_eq!(code(ask("http://lists.example.org/x;touch y z", true)).await, 10);
    assert_eq!(code(ask(URI, false)).await, 13, "an unknown endorser");
    for (bad, exit) in [("v1-sha1", 11), ("past", 34), ("dn-mismatch", 12)] {
        site.served.put(URI, bad);
        assert_eq!(code(ask(URI, true)).await, exit, "{bad}");
    }
    assert!(site.lists.subscriptions().await.unwrap().is_empty());
    assert!(site.lists.endorsers().await.unwrap().is_empty());
    site.served.put(URI, "v1");
    subscribe(&site, URI).await;
    assert_eq!(code(ask(URI, true)).await, 15, "followed already");
}

#[tokio::test]
async fn an_endorser_that_is_unlinked_no_longer_counts() {
    let site = site();
    let alice = Principal::new(
        "/DC=org/DC=example/OU=People/CN=Alice Endorser",
        "/DC=org/DC=example/CN=Example Test Issuing CA 1",
    );
    site.lists.create_endorser("alice", vec![alice.clone()]).await.unwrap();
    let taken = site.lists.create_endorser("again", vec![alice]).await.unwrap_err();
    assert!(matches!(taken, Error::SubjectTaken { .. }), "{taken}");
    site.lists.subscribe(&Subscribe { uri: URI.to_owned(), ..Subscribe::default() }).await.unwrap();
    site.lists.link("alice", LIST, false).await.unwrap();
    assert_eq!(refresh(&site).await, [13], "also for the bytes that are stored");
    site.lists.link("alice", LIST, true).await.unwrap();
    assert_eq!(refresh(&site).await, [0]);
    assert!(site.lists.delete_endorser("alice").await.unwrap());
    assert!(!site.lists.delete_endorser("alice").await.unwrap());
    assert_eq!(refresh(&site).await, [13]);
}

#[tokio::test]
async fn a_signer_revoked_meanwhile_is_seen_though_the_list_is_unchanged() {
    let site = site();
    subscribe(&site, URI).await;
    for entry in fs::read_dir(common::data("ca-revokedissuing")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), site.trust.path().join(entry.file_name())).unwrap();
    }
    let sent = site.served.sent.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(refresh(&site).await, [11]);
    assert_eq!(site.served.sent.load(std::sync::atomic::Ordering::Relaxed), sent, "not sent again");
}

#[tokio::test]
async fn w25_a_list_cannot_take_the_name_of_another_lists_image() {
    let site = site();
    site.served.put(BOB, "other-list");
    subscribe(&site, BOB).await;
    subscribe(&site, URI).await;
    site.lists.select(LIST, ONE, true).await.unwrap();
    let wanted = site.wanted().await;
    assert_eq!((wanted.len(), wanted[0].list.as_str()), (1, LIST));
    let images = site.lists.images(None).await.unwrap();
    assert_eq!(images.iter().filter(|i| i.identifier == ONE).count(), 2);
    // e08: a list that is removed takes its own images with it, no other's.
    assert!(site.lists.remove(LIST).await.unwrap());
    assert!(!site.lists.remove(LIST).await.unwrap());
    assert_eq!(site.lists.images(None).await.unwrap().len(), 1);
    assert!(site.lists.images(Some(OTHER_LIST)).await.unwrap().len() == 1);
}

#[tokio::test]
async fn w22_the_sites_address_stays_and_a_paused_list_is_left_alone() {
    let site = site();
    let own = "http://mirror.example.org/copy.list";
    site.served.put(own, "v1");
    subscribe(&site, own).await;
    let subscription = site.lists.subscription(LIST).await.unwrap();
    assert_eq!(subscription.uri, own);
    assert_ne!(subscription.list_uri, own);
    // The list says it is on another host: not followed, even when the site allows it.
    let follow = Settings { follow_list_uri: true, ..Settings::default() };
    site.lists.configure(LIST, follow).await.unwrap();
    site.served.put(own, "v2");
    assert_eq!(refresh(&site).await, [0]);
    let paused = Settings { paused: true, ..Settings::default() };
    site.lists.configure(LIST, paused).await.unwrap();
    site.served.forget(own);
    assert_eq!(refresh(&site).await, [0]);
    assert!(site.lists.refresh(None).await.unwrap()[0].result.as_ref().unwrap().paused);
}

#[test]
fn w23_passwords_are_not_shown() {
    let credential = Credential::Stored { user: "me".into(), password: "hunter2".into() };
    let shown = format!("{:?}", Settings { credential: Some(credential), ..Settings::default() });
    assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
}

/// The tables of section 2.6, with one list in force and an older one.
fn old_database(path: &std::path::Path, message: &[u8], hash: &str) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch(
        "CREATE TABLE endorser (id INTEGER PRIMARY KEY, identifier TEXT);
         CREATE TABLE endorserPrincible (id INTEGER PRIMARY KEY, hv_dn TEXT, hv_ca TEXT, endorser INTEGER);
         CREATE TABLE subscription (id INTEGER PRIMARY KEY, identifier TEXT, description TEXT, uri TEXT,
            authorised BOOLEAN, imagelist_latest INTEGER, updated DATETIME, trustAnchor INTEGER,
            userName TEXT, password TEXT, updateMode INTEGER);
         CREATE TABLE subscriptionAuth (id INTEGER PRIMARY KEY, subscription INTEGER, endorser INTEGER, authorised BOOLEAN);
         CREATE TABLE ImageDefinition (id INTEGER PRIMARY KEY, identifier TEXT, latest INTEGER, cache INTEGER, subscription INTEGER);
         CREATE TABLE imageListInstance (id INTEGER PRIMARY KEY, data BLOB, data_hash TEXT, expired DATETIME,
            sub_auth INTEGER, imported DATETIME, created DATETIME, expires DATETIME, version TEXT);
         INSERT INTO endorser VALUES (1, 'alice');
         INSERT INTO endorserPrincible VALUES (1, '/DC=org/DC=example/OU=People/CN=Alice Endorser',
            '/DC=org/DC=example/CN=Example Test Issuing CA 1', 1);
         INSERT INTO subscription VALUES (7, '6f2b1f0e-0d5b-4c53-9a7c-5a1f3c9d1e01', 'd',
            'http://tok:x-oauth-basic@lists.example.org/image.list', 1, 22, NULL, 0, NULL, NULL, 1);
         INSERT INTO subscription VALUES (8, '../evil', 'd', 'http://h/', 1, NULL, NULL, 0, NULL, NULL, 0);
         INSERT INTO subscriptionAuth VALUES (3, 7, 1, 1);
         INSERT INTO ImageDefinition VALUES (1, '0b0a2c1e-7b1e-4b57-8d55-1f5f3c2f7a11', NULL, 1, 7);
         INSERT INTO ImageDefinition VALUES (2, '0b0a2c1e-7b1e-4b57-8d55-1f5f3c2f7a22', NULL, 0, 7);
         INSERT INTO ImageDefinition VALUES (3, '../../x', NULL, 1, 7);
         INSERT INTO imageListInstance VALUES (21, x'00', 'aa', NULL, 3, NULL, NULL, NULL, '20200101000000');",
    )
    .unwrap();
    db.execute(
        "INSERT INTO imageListInstance VALUES (22, ?1, ?2, NULL, 3, NULL, NULL, NULL, '20200201000000')",
        (message, hash),
    )
    .unwrap();
}

#[tokio::test]
async fn a_site_moves_over_from_vmcatcher() {
    use sha2::{Digest, Sha512};
    let site = site();
    let old = tempfile::tempdir().unwrap();
    let message = message("v2");
    let hash: String = Sha512::digest(&message).iter().map(|b| format!("{b:02x}")).collect();
    let database = old.path().join("vmcatcher.db");
    old_database(&database, &message, &hash);
    let cache = old.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join(ONE), b"12345").unwrap();
    let entry = |id: &str, file: &str, size: u64| {
        serde_json::json!({"dc:identifier": id, "filename": file, "size": size.to_string(),
            "sha512": "A".repeat(128), "hv:imagelist.dc:identifier": LIST})
    };
    let index = serde_json::json!({
        ONE: entry(ONE, ONE, 5), TWO: entry(TWO, TWO, 5), "evil": entry("evil", "../vmcatcher.db", 5),
    });
    fs::write(cache.join("cache.index"), index.to_string()).unwrap();

    let imported = site.lists.import_vmcatcher(&database, Some(&cache)).await.unwrap();
    assert_eq!(imported.endorsers, ["alice"]);
    assert_eq!(imported.subscriptions, [LIST]);
    assert_eq!(imported.images, 2);
    assert_eq!(imported.notes.len(), 2, "{:?}", imported.notes);
    assert_eq!(imported.cached.len(), 1);
    assert_eq!(imported.cached[0].path, cache.join(ONE));
    assert_eq!(states(&site).await, both(3, 2));
    let subscription = site.lists.subscription(LIST).await.unwrap();
    assert_eq!(subscription.uri, URI);
    let token = Credential::Stored { user: "tok".into(), password: "x-oauth-basic".into() };
    assert_eq!(subscription.settings.credential, Some(token));
    assert_eq!(subscription.settings.new_images, NewImages::Accept);
    assert_eq!(subscription.stored.unwrap().version, "20200201000000");
    assert!(Queue::new(site.store.clone()).undelivered().await.unwrap().is_empty());
    // The server has an older one: no way back.
    assert_eq!(refresh(&site).await, [17]);
    // Once more changes nothing.
    let again = site.lists.import_vmcatcher(&database, None).await.unwrap();
    assert!(again.subscriptions.is_empty() && again.endorsers.is_empty());
    assert_eq!(states(&site).await, both(3, 2));
}

#[tokio::test]
async fn a_message_of_an_old_database_is_not_believed() {
    let site = site();
    let old = tempfile::tempdir().unwrap();
    let database = old.path().join("vmcatcher.db");
    old_database(&database, &message("v1-tampered"), "00");
    let imported = site.lists.import_vmcatcher(&database, None).await.unwrap();
    assert_eq!(imported.notes.len(), 3, "{:?}", imported.notes);
    assert_eq!(states(&site).await, both(1, 0), "known, wanted, but nothing is in force");
    site.served.put(URI, "v3-drop");
    assert_eq!(refresh(&site).await, [0]);
    assert_eq!(states(&site).await, both(3, 0));
    assert!(matches!(
        site.lists.import_vmcatcher(&common::data("expected.tsv"), None).await,
        Err(vnode_imagelist::lists::ImportError::Database { .. })
    ));
}

#[tokio::test]
async fn a_refusal_keeps_its_kind() {
    let site = site();
    site.served.put(URI, "by-bob");
    let wanted = Subscribe { uri: URI.to_owned(), ..Subscribe::default() };
    let error = site.lists.subscribe(&wanted).await.unwrap_err();
    assert!(matches!(error, Error::Refused { source: Refusal::NotEndorsed { .. }, .. }), "{error}");
}
