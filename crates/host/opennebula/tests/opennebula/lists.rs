//! A site of this program's own, and the list of cases.

use std::path::Path;

use tokio_util::sync::CancellationToken;
use vnode_imagelist::{
    list::Image,
    publish::{ImageChange, PublishedImage, Publisher as _},
};
use vnode_opennebula::{OpenNebula, image::State, publisher::Following, settings::Settings};

use crate::site::{Site, octal, raw, wait};

fn image(site: &Site, file: &Path, sha512: &str) -> PublishedImage {
    PublishedImage {
        list: "list".to_owned(),
        vo: Some("demo.example.org".to_owned()),
        image: Image {
            identifier: site.id.clone(),
            title: "Demo".to_owned(),
            description: "described".to_owned(),
            uri: "https://example.org/demo".to_owned(),
            size: 4096,
            version: "1".to_owned(),
            hypervisor: "KVM".to_owned(),
            arch: "x86_64".to_owned(),
            os: "Linux".to_owned(),
            os_version: "1".to_owned(),
            comments: String::new(),
            sha512: sha512.to_owned(),
            sha256: None,
            format: Some("RAW".to_owned()),
            expires: None,
            attributes: serde_json::Map::new(),
        },
        message_sha512: "m".to_owned(),
        file: file.to_owned(),
        disk: None,
    }
}

#[test]
fn a_site_of_our_own_is_followed() {
    let site = Site::new();
    let publisher =
        Following::new(OpenNebula::new(site.cloud(), Settings::default(), Vec::new()), site.work());
    let token = CancellationToken::new();
    let told = |change: &ImageChange| wait(publisher.publish(change, &token));
    let first = image(&site, &site.disk(b"one"), "s1");
    let available = ImageChange::Available { image: first.clone() };
    told(&available).unwrap();
    let one = site.named();
    wait(site.cloud().chmod(one.id, octal("644"))).unwrap();
    // Told twice, it is one image.
    told(&available).unwrap();
    assert_eq!(site.named().id, one.id);
    let second = image(&site, &site.disk(b"two"), "s2");
    told(&ImageChange::Replaced { old: first.into(), new: second.clone().into() }).unwrap();
    let two = site.named();
    assert_ne!(two.id, one.id);
    assert_eq!(two.permissions, octal("644"));
    // No database is asked: who tells of it knows that it has ended.
    let expired = ImageChange::Expired { image: second.clone() };
    told(&expired).unwrap();
    told(&expired).unwrap();
    let now = site.images();
    assert!(now.iter().all(|i| i.state == State::Disabled && i.permissions == octal("700")));
    site.is_clean();
    // A file that is gone may come back; one that is no disk never does.
    let mut gone = second;
    gone.file = site.cache().join("gone");
    assert!(told(&ImageChange::Available { image: gone.clone() }).unwrap_err().may_pass);
    gone.file = site.cache().join("words");
    gone.image.format = None;
    std::fs::write(&gone.file, "words").unwrap();
    assert!(!told(&ImageChange::Available { image: gone }).unwrap_err().may_pass);
}

#[test]
fn a_daemon_that_was_killed_is_put_right_by_the_next() {
    let site = Site::fake();
    let file = site.disk(b"new");
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let event = site.event("AvailablePostfix", "s2");
    let faults = [("VNODE_FAULT", "kill:opennebula.promote.before")];
    assert_eq!(site.run_with(&event, &[], &faults).code, None);
    let publisher =
        Following::new(OpenNebula::new(site.cloud(), Settings::default(), Vec::new()), site.work());
    let token = CancellationToken::new();
    let change = ImageChange::Available { image: image(&site, &file, "s2") };
    wait(publisher.publish(&change, &token)).unwrap();
    let new = site.kept(site.named().id);
    assert_ne!(new.id, old);
    assert_eq!((new.uid, new.octal().as_str()), (1, "640"));
    assert_eq!(new.content, Some(raw(b"new")));
    assert_eq!(site.images().len(), 2);
    site.is_clean();
}

/// All sources of this crate, as one text.
fn sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_list_of_cases_has_every_case_and_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("tests/CASES.md")).unwrap();
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
    let cases = (1..=5).chain(10..=27).chain(30..=46).chain(50..=57);
    for number in cases {
        let start = format!("| H-{number:02} | ");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&start)).collect();
        let [row] = rows[..] else { panic!("{} rows for H-{number:02}", rows.len()) };
        let tests: Vec<&str> = row.split('`').filter(|word| word.contains("::h")).collect();
        let remark = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        assert!(!tests.is_empty() || !remark.is_empty(), "{row}: neither a test nor a reason");
        for test in tests {
            let name = test.rsplit("::").next().unwrap();
            assert!(all.contains(&format!("fn {name}(")), "H-{number:02}: no test {test}");
        }
    }
}
