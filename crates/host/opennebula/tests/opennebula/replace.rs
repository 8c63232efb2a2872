//! One version takes the place of another.

use vnode_opennebula::{
    image::{Permissions, State},
    names,
};

use crate::{
    fake::{Kept, Trouble},
    site::{Site, octal, raw, wait, with},
};

/// The name of an image that was withdrawn, in the original's form.
#[track_caller]
pub(crate) fn is_expired_name(name: &str, id: &str) {
    let rest = name.strip_prefix(&format!("{id}_EXPIRED_")).expect(name);
    let shape: String = rest.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert!(
        ["0000-00-00_00-00-00_+0000-CET", "0000-00-00_00-00-00_+0000-CEST"]
            .contains(&shape.as_str()),
        "{name}"
    );
}

#[test]
fn h32_the_new_one_gets_what_the_old_one_had() {
    let site = Site::new();
    site.disk(b"new");
    let old = site.present(&site.id.clone(), (1, 1, "644"), "old");
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    let new = site.named();
    assert_ne!(new.id, old);
    assert_eq!((new.uid, new.gid, new.permissions, new.state), (1, 1, octal("644"), State::Ready));
    let old = wait(site.cloud().image(old)).unwrap().unwrap();
    is_expired_name(&old.name, &site.id);
    assert_eq!((old.uid, old.gid, old.permissions), (0, 0, Permissions::WITHDRAWN));
    assert_eq!(old.state, State::Disabled);
    assert!(old.attribute(names::EXPIRED).is_some());
    assert_eq!(old.attribute("SITE_WORD"), Some("of the site's own"));
    site.is_clean();
}

/// Usable: enabled, copied, and its owner may use it.
fn answers<'a>(images: &'a [Kept], id: &str) -> Vec<&'a Kept> {
    images.iter().filter(|i| i.name == id && [1, 2].contains(&i.state) && i.bits[0] == 1).collect()
}

#[test]
fn h32_at_every_moment_but_between_two_renames_one_image_answers() {
    let site = Site::fake();
    site.disk(b"new");
    site.server().world().locked = 3;
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    site.server().world().history.clear();
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    let world = site.server().world();
    let mut gaps = 0;
    for (at, (method, images)) in world.history.iter().enumerate() {
        let answering = answers(images, &site.id);
        if answering.is_empty() {
            gaps += 1;
            assert_eq!(method, "one.image.rename");
            assert_eq!(world.history[at + 1].0, "one.image.rename");
            // The new one was whole before the old one lost its name.
            let new = images.iter().find(|image| image.id != old).unwrap();
            assert_eq!((new.state, new.octal().as_str(), new.uid, new.gid), (1, "640", 1, 1));
            assert_eq!(new.content, Some(raw(b"new")));
            continue;
        }
        assert_eq!(answering.len(), 1, "after {method}: {answering:#?}");
        assert_eq!(answering[0].octal(), "640", "after {method}");
    }
    assert_eq!(gaps, 1);
}

#[test]
fn h33_h34_a_disabled_image_has_a_disabled_successor_however_long_copying_takes() {
    let site = Site::new();
    site.disk(b"new");
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    wait(site.cloud().enable(old, false)).unwrap();
    if std::env::var("VNODE_ONE_LIVE").is_err() {
        site.server().world().locked = 5;
    }
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    let new = site.named();
    assert_ne!(new.id, old);
    assert_eq!(new.state, State::Disabled);
    assert_eq!(new.permissions, octal("640"));
}

#[test]
fn h35_h36_an_image_in_use_is_replaced_and_disabled_when_it_is_free() {
    let site = Site::fake();
    site.disk(b"new");
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let used = |running| {
        let mut world = site.server().world();
        let image = world.images.get_mut(&old).unwrap();
        image.running = running;
        image.state = if running > 0 { 2 } else { 1 };
    };
    used(2);
    let ran = site.run(&site.event("AvailablePostfix", "a1"));
    ran.ends(0);
    assert!(ran.log.contains("WARNING"), "{}", ran.log);
    assert_eq!(site.named().state, State::Ready);
    let kept = site.kept(old);
    assert_eq!((kept.state, kept.octal().as_str(), kept.uid), (2, "700", 0));
    is_expired_name(&kept.name, &site.id);
    used(0);
    // Whatever event of the image comes next: here, the same again.
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    assert_eq!(site.kept(old).state, 3);
}

#[test]
fn h37_what_fails_is_undone_to_the_bit() {
    for (method, nth) in [
        ("one.image.rename", 1),
        ("one.image.rename", 2),
        ("one.image.chown", 1),
        ("one.image.chown", 2),
        ("one.image.chmod", 1),
        ("one.image.chmod", 2),
        ("one.image.update", 1),
    ] {
        let site = Site::fake();
        site.disk(b"new");
        let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
        let before = site.kept(old);
        site.calls();
        site.server().world().troubles.push((method, nth, Trouble::Refuse(512, "Not authorized")));
        let ran = site.run(&site.event("AvailablePostfix", "a1"));
        ran.ends(4);
        assert!(ran.log.contains("all is as it was"), "{method} {nth}: {}", ran.log);
        assert_eq!(site.kept(old), before, "{method} {nth}");
        assert_eq!(site.images().len(), 1, "{method} {nth}");
        site.is_clean();
        // And the same event works when the trouble is over.
        site.server().world().troubles.clear();
        site.run(&site.event("AvailablePostfix", "a1")).ends(0);
        assert_ne!(site.named().id, old);
    }
}

#[test]
fn a_server_that_goes_away_in_the_middle_is_put_right_by_the_next_run() {
    let site = Site::fake();
    site.disk(b"new");
    site.settings("undo-retries = 1\n");
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let before = site.kept(old);
    site.calls();
    // From the first rename on nothing is done any more, undoing neither.
    for nth in 2..10 {
        site.server().world().troubles.push((
            "one.image.rename",
            nth,
            Trouble::Refuse(8192, "gone"),
        ));
    }
    site.server().world().troubles.push(("one.image.delete", 0, Trouble::Refuse(8192, "gone")));
    let ran = site.run(&with(site.event("AvailablePostfix", "a1"), &[]));
    ran.ends(4);
    assert_ne!(site.kept(old), before, "{}", ran.log);
    assert!(ran.log.contains("the next run undoes"), "{}", ran.log);
    site.server().world().troubles.clear();
    // An event of no image is enough.
    site.run(&site.event("ProcessPostfix", "")).ends(0);
    assert_eq!(site.kept(old), before);
    assert_eq!(site.images().len(), 1);
    site.is_clean();
}

#[test]
fn h41_the_third_version_replaces_the_second_in_either_order_of_the_pool() {
    for ascending in [false, true] {
        let site = Site::fake();
        site.server().world().ascending = ascending;
        for version in ["v1", "v2", "v3", "v4"] {
            site.disk(version.as_bytes());
            site.run(&site.event("AvailablePostfix", version)).ends(0);
            let new = site.named();
            assert_eq!(site.kept(new.id).content, Some(raw(version.as_bytes())));
            assert_eq!(new.permissions, octal("600"));
        }
        assert_eq!(site.images().len(), 4);
    }
}

#[test]
fn h41_versions_are_told_apart_on_any_server() {
    let site = Site::new();
    for version in ["v1", "v2", "v3"] {
        site.disk(version.as_bytes());
        site.run(&site.event("AvailablePostfix", version)).ends(0);
        let sha512 =
            site.named().attribute("VMCATCHER_EVENT_SL_CHECKSUM_SHA512").map(str::to_owned);
        assert_eq!(sha512.as_deref(), Some(version));
    }
}

#[test]
fn h42_what_an_image_was_is_known_after_it_was_withdrawn() {
    let site = Site::fake();
    site.disk(b"one");
    let old = site.present(&site.id.clone(), (1, 1, "644"), "old");
    // Withdrawn: vmcatcher does not know it any more.
    let database = crate::expire::database(&site, &[]);
    site.run(&with(site.event("ExpirePostfix", "old"), &[("VMCATCHER_RDBMS", &database)])).ends(0);
    assert_eq!(site.kept(old).octal(), "700");
    // And back again: not the administrator's, not 700.
    site.run(&site.event("AvailablePostfix", "new")).ends(0);
    let new = site.kept(site.named().id);
    assert_eq!((new.uid, new.gid, new.octal().as_str(), new.state), (1, 1, "644", 1));
}

#[test]
fn h44_the_same_file_again_is_metadata_only() {
    let site = Site::new();
    site.disk(b"x");
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    let first = site.named();
    let words = [("VMCATCHER_EVENT_DC_DESCRIPTION", "other words")];
    site.run(&with(site.event("AvailablePostfix", "a1"), &words)).ends(0);
    let again = site.named();
    assert_eq!(again.id, first.id);
    assert_eq!(again.attribute("DESCRIPTION"), Some("other words"));
    assert_eq!(site.images().len(), 1);
}

#[test]
fn h45_an_image_renamed_by_the_site_is_found_and_its_name_kept_when_wanted() {
    for keep in [false, true] {
        let site = Site::new();
        site.disk(b"new");
        site.settings(&format!("keep-site-name = {keep}\n"));
        let name = format!("site's choice {}", site.id).replace('\'', "");
        let old = site.present(&name, (1, 1, "640"), "old");
        site.run(&site.event("AvailablePostfix", "a1")).ends(0);
        let images = site.images();
        let new = images.iter().find(|image| image.id != old).unwrap();
        assert_eq!(new.name, if keep { name } else { site.id.clone() });
        assert_eq!((new.uid, new.permissions), (1, octal("640")));
        let old = images.iter().find(|image| image.id == old).unwrap();
        is_expired_name(&old.name, &site.id);
    }
}

#[test]
fn h46_two_at_once_make_one_image() {
    let site = Site::fake();
    site.disk(b"new");
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    site.server().world().locked = 4;
    let event = site.event("AvailablePostfix", "a1");
    let children: Vec<_> =
        (0..3).map(|_| site.command(&event, &[], &[]).spawn().unwrap()).collect();
    for child in children {
        crate::site::finished(child.wait_with_output().unwrap()).ends(0);
    }
    assert_eq!(site.images().len(), 2);
    assert_ne!(site.named().id, old);
    let allocated = site.calls().iter().filter(|c| *c == "one.image.allocate").count();
    assert_eq!(allocated, 2, "the present one and one new one");
    site.is_clean();
}

#[test]
fn h46_who_waits_too_long_says_so() {
    let site = Site::fake();
    site.disk(b"new");
    site.settings("lock-limit = 0\n");
    let work = vnode_opennebula::Work::open(&site.work()).unwrap();
    let lock = work.try_lock(&site.id).unwrap().unwrap();
    let ran = site.run(&site.event("AvailablePostfix", "a1"));
    ran.ends(4);
    assert!(ran.log.contains("lock-limit"), "{}", ran.log);
    lock.finish().unwrap();
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
}

#[test]
fn a_name_that_is_taken_is_told_before_the_copying() {
    let site = Site::fake();
    site.disk(b"new");
    let name = format!("renamed {}", site.id);
    site.present(&name, (1, 1, "640"), "old");
    {
        let mut world = site.server().world();
        let mut other = world.images.values().next().unwrap().clone();
        other.id = 5;
        other.name = site.id.clone();
        other.template.clear();
        world.images.insert(5, other);
    }
    site.calls();
    let ran = site.run(&site.event("AvailablePostfix", "a1"));
    ran.ends(4);
    assert!(ran.log.contains("image 5"), "{}", ran.log);
    assert!(!site.calls().iter().any(|call| call == "one.image.allocate"));
}

#[test]
fn old_versions_go_when_the_settings_say_so() {
    let site = Site::fake();
    site.settings("keep-versions = 2\n");
    for version in ["v1", "v2", "v3", "v4", "v5"] {
        site.disk(version.as_bytes());
        site.run(&site.event("AvailablePostfix", version)).ends(0);
    }
    let left: Vec<String> = site
        .images()
        .iter()
        .map(|i| i.attribute("VMCATCHER_EVENT_SL_CHECKSUM_SHA512").unwrap().to_owned())
        .collect();
    assert_eq!(left, ["v3", "v4", "v5"]);
    // Never one that is in use.
    let oldest = site.images()[0].id;
    {
        let mut world = site.server().world();
        let image = world.images.get_mut(&oldest).unwrap();
        image.running = 1;
        image.state = 2;
    }
    site.settings("keep-expired = 0\n");
    site.disk(b"v6");
    site.run(&site.event("AvailablePostfix", "v6")).ends(0);
    let left: Vec<i64> = site.images().iter().map(|image| image.id).collect();
    assert_eq!(left.len(), 2);
    assert_eq!(left[0], oldest);
}

#[test]
fn a_registration_whose_journal_was_lost_is_deleted_by_the_next_run() {
    let site = Site::fake();
    site.disk(b"new");
    let event = site.event("AvailablePostfix", "a1");
    let ran = site.run_with(&event, &[], &[("VNODE_FAULT", "kill:opennebula.ready.before")]);
    assert_eq!(ran.code, None);
    std::fs::remove_dir_all(site.work()).unwrap();
    assert_eq!(site.images().len(), 1);
    site.run(&event).ends(0);
    site.named();
    assert_eq!(site.images().len(), 1);
    site.is_clean();
}
