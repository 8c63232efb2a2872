//! Removal, ages, crashes: what the catalogue keeps and what it gives back.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a panic is the right report; a test starts itself again

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use common::{Layer, Place, TestImage, digest, ensure, quick, text, write_files};
use vnode_image::{Catalogue, Error, GcPolicy, PullPolicy};

/// An image of a shared layer and one of its own, `size` bytes large.
async fn add(place: &Place, name: &str, size: usize) -> String {
    let shared = Layer::new().file("shared", vec![1; 100]).end();
    let own = Layer::new().file(name, vec![2; size]).end();
    let at = place.folder.path().join(name);
    write_files(&at, &TestImage::new(&[shared, own]).layout("x"));
    place.ensure(&format!("oci:{}", at.display())).await.unwrap().id
}

/// Rewrites when an image was last used, with the catalogue closed.
fn age(place: &Place, id: &str, hours: i64) {
    let path = place.root().join("images").join(format!("{}.json", &id[7..]));
    let mut record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
    record["last_used"] = then.to_string().into();
    std::fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
}

fn reopen(place: Place) -> Place {
    let Place { folder, catalogue } = place;
    drop(catalogue);
    let catalogue = Catalogue::open(&folder.path().join("images"), quick()).unwrap();
    Place { folder, catalogue }
}

#[tokio::test]
async fn t20_gc_takes_the_least_recently_used_first_and_nothing_that_is_used_or_young() {
    let place = Place::new(quick());
    let [a, b, c, d] = [
        add(&place, "a", 1000).await,
        add(&place, "b", 1000).await,
        add(&place, "c", 1000).await,
        add(&place, "d", 1000).await,
    ];
    for (id, hours) in [(&a, 40), (&b, 30), (&c, 20), (&d, 1)] {
        age(&place, id, hours);
    }
    let place = reopen(place);
    let names = || place.catalogue.list().into_iter().map(|i| i.id).collect::<HashSet<_>>();
    assert_eq!(names(), HashSet::from([a.clone(), b.clone(), c.clone(), d.clone()]));
    // In use, the oldest stays; enough room, and nothing more goes.
    let in_use = HashSet::from([a.clone()]);
    let old = Duration::from_secs(10 * 3600);
    let policy = GcPolicy { unused_for: old, keep_bytes: Some(3100) };
    let report = place.catalogue.gc(&|| in_use.clone(), policy).unwrap();
    assert_eq!((report.images, report.layers, report.freed_bytes), (vec![b.clone()], 1, 1000));
    // The age limit holds back what is young, however full it is.
    let report = place
        .catalogue
        .gc(&|| in_use.clone(), GcPolicy { unused_for: old, keep_bytes: Some(0) })
        .unwrap();
    assert_eq!(report.images, std::slice::from_ref(&c));
    assert_eq!(names(), HashSet::from([a.clone(), d.clone()]));
    // An `Image` in somebody's hands counts as use.
    let at = place.folder.path().join("d");
    let held = ensure(&place.catalogue, &format!("oci:{}", at.display()), PullPolicy::Never)
        .await
        .unwrap();
    let report = place.catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap();
    assert_eq!(report.images, [a]);
    assert!(held.layers.iter().all(|l| l.is_dir()), "the shared layer stays");
    let e = place.catalogue.remove(&d, &HashSet::new).unwrap_err();
    assert!(matches!(e, Error::InUse { .. }), "{e:?}");
    drop(held);
    place.catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap();
    place.assert_empty();
}

#[tokio::test]
async fn one_process_at_a_time_and_everything_is_there_after_reopening() {
    let place = Place::new(quick());
    let id = add(&place, "a", 10).await;
    let e = Catalogue::open(&place.root(), quick()).unwrap_err();
    assert!(matches!(e, Error::Busy { .. }) && text(&e).contains("--state-dir"), "{e:?}");
    let before = place.catalogue.inspect(&id).unwrap();
    let place = reopen(place);
    assert_eq!(place.catalogue.inspect(&id).unwrap(), before);
}

#[tokio::test]
async fn what_a_crash_or_a_hand_left_is_swept_at_open() {
    let place = Place::new(quick());
    let keep = add(&place, "keep", 10).await;
    let cut = add(&place, "cut", 10).await;
    let root = place.root();
    // Half a pull, a layer without a record, a record cut short, a record whose layer is gone.
    std::fs::create_dir_all(root.join("tmp/77/root/etc")).unwrap();
    let orphan = root.join("layers").join(&digest(b"orphan")[7..]);
    std::fs::create_dir_all(orphan.join("root")).unwrap();
    std::fs::write(root.join("images").join(format!("{}.json", &cut[7..])), "{\"version\":1,")
        .unwrap();
    std::fs::write(root.join("images/.new-x.json"), "{").unwrap();
    let gone = add(&place, "gone", 10).await;
    let layer = place.catalogue.inspect(&gone).unwrap().layers[0].clone();
    std::fs::remove_dir_all(layer.parent().unwrap()).unwrap();
    let place = reopen(place);
    let ids: Vec<_> = place.catalogue.list().into_iter().map(|i| i.id).collect();
    assert_eq!(ids, [keep]);
    assert_eq!(place.names("layers").len(), 2);
    assert!(place.names("tmp").is_empty() && !orphan.exists());
    assert_eq!(place.names("images").len(), 1);
    // What was lost comes in again.
    assert_eq!(add(&place, "cut", 10).await, cut);
}

/// Run by the next test as a program of its own; does nothing otherwise.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(root) = std::env::var("VNODE_IMAGE_CHILD") else { return };
    let root = Path::new(&root);
    let catalogue = Catalogue::open(&root.join("images"), quick()).unwrap();
    for n in 0.. {
        let name = format!("oci:{}/layout-{}", root.display(), n % 3);
        ensure(&catalogue, &name, PullPolicy::Always).await.unwrap();
        catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap();
    }
}

#[test]
fn t14_killed_at_any_moment_it_leaves_whole_images_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let content = |n: usize, f: usize| format!("{n} {f} ").repeat(2000);
    for n in 0..3 {
        let files = |from: usize| {
            (from..from + 40)
                .fold(Layer::new(), |l, f| l.file(&format!("f{f}"), content(n, f)))
                .end()
        };
        let image = TestImage::new(&[files(0), files(40)]);
        write_files(&folder.path().join(format!("layout-{n}")), &image.layout("x"));
    }
    for round in 0..25 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed"])
            .env("VNODE_IMAGE_CHILD", folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Spread over the start and several rounds of coming and going.
        std::thread::sleep(Duration::from_millis(15 + round * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        let catalogue = Catalogue::open(&folder.path().join("images"), quick()).unwrap();
        for image in catalogue.list() {
            let files: usize = image.layers.iter().map(|l| common::names(l).len()).sum();
            assert_eq!(files, 80, "round {round}: {image:?}");
            let n: usize = image.references[0].rsplit('-').next().unwrap().parse().unwrap();
            for f in 0..80 {
                let layer = &image.layers[1 - f / 40];
                assert_eq!(
                    std::fs::read_to_string(layer.join(format!("f{f}"))).unwrap(),
                    content(n, f)
                );
            }
        }
        let layers: usize = catalogue.list().iter().map(|i| i.layers.len()).sum();
        assert_eq!(common::names(&folder.path().join("images/layers")).len(), layers);
        assert!(common::names(&folder.path().join("images/tmp")).is_empty());
    }
}
