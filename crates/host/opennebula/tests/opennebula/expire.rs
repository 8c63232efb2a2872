//! Images that are withdrawn.

use rusqlite::Connection;
use vnode_opennebula::image::State;

use crate::{
    fake::Trouble,
    replace::is_expired_name,
    site::{Site, octal, with},
};

/// A database of vmcatcher's with images and their states; its address.
pub(crate) fn database(site: &Site, images: &[(&str, u8)]) -> String {
    let path = site.folder.path().join("vmcatcher.db");
    let _ = std::fs::remove_file(&path); // It need not be there.
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE subscription (id INTEGER, identifier TEXT, authorised BOOLEAN, imagelist_latest INTEGER);
         CREATE TABLE imageListInstance (id INTEGER, expired DATETIME);
         CREATE TABLE ImageDefinition (id INTEGER, identifier TEXT, latest INTEGER, cache INTEGER, subscription INTEGER);
         CREATE TABLE ImageInstance (id INTEGER, fkIdentifier INTEGER, fkimagelistinstance INTEGER);
         INSERT INTO subscription VALUES (1, 'list-3', 1, 7);
         INSERT INTO imageListInstance VALUES (7, NULL), (6, NULL);",
    )
    .unwrap();
    for (at, (identifier, state)) in images.iter().enumerate() {
        let at = i64::try_from(at).unwrap() + 1;
        let list = if state & 2 == 2 { 7 } else { 6 };
        db.execute(
            "INSERT INTO ImageDefinition VALUES (?1, ?2, ?1, ?3, 1)",
            (at, identifier, state & 1),
        )
        .unwrap();
        db.execute("INSERT INTO ImageInstance VALUES (?1, ?1, ?2)", (at, list)).unwrap();
    }
    format!("sqlite:///{}", path.display())
}

#[test]
fn h50_nothing_to_withdraw_is_no_failure() {
    let site = Site::new();
    site.run(&site.event("ExpirePostfix", "a")).ends(0);
    assert!(site.images().is_empty());
}

#[test]
fn h51_an_image_that_is_still_subscribed_waits_for_its_successor() {
    let site = Site::new();
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let id = site.id.clone();
    let database = database(&site, &[("other", 0), (&id, 3)]);
    let event = with(site.event("ExpirePostfix", "old"), &[("VMCATCHER_RDBMS", &database)]);
    site.run(&event).ends(0);
    let image = site.named();
    assert_eq!((image.id, image.permissions, image.state), (old, octal("640"), State::Ready));
}

#[test]
fn h52_an_image_that_ended_is_withdrawn() {
    for kind in ["ExpirePostfix", "ExpirePosfix"] {
        for state in [Some(0), Some(1), Some(2), None] {
            let site = Site::new();
            let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
            let id = site.id.clone();
            let images: Vec<(&str, u8)> =
                state.map(|state| (id.as_str(), state)).into_iter().collect();
            let database = database(&site, &images);
            let event = with(site.event(kind, "old"), &[("VMCATCHER_RDBMS", &database)]);
            site.run(&event).ends(0);
            let images = site.images();
            assert_eq!((images.len(), images[0].id), (1, old));
            is_expired_name(&images[0].name, &site.id);
            assert_eq!((images[0].uid, images[0].gid), (0, 0));
            assert_eq!((images[0].permissions, images[0].state), (octal("700"), State::Disabled));
            site.is_clean();
        }
    }
}

#[test]
fn h53_an_unreachable_server_ends_with_4() {
    let site = Site::fake();
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    site.server().world().away = true;
    site.run(&site.event("ExpirePostfix", "old")).ends(4);
    site.server().world().away = false;
    assert_eq!(site.kept(old).name, site.id);
}

#[test]
fn h53_a_failure_in_the_middle_is_undone() {
    for (method, nth) in [("one.image.rename", 1), ("one.image.chown", 1), ("one.image.update", 1)]
    {
        let site = Site::fake();
        let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
        let before = site.kept(old);
        let database = database(&site, &[]);
        site.calls();
        site.server().world().troubles.push((method, nth, Trouble::Refuse(512, "no")));
        let event = with(site.event("ExpirePostfix", "old"), &[("VMCATCHER_RDBMS", &database)]);
        site.run(&event).ends(4);
        assert_eq!(site.kept(old), before, "{method}");
        site.is_clean();
    }
}

#[test]
fn h54_without_a_word_of_vmcatcher_nothing_is_withdrawn() {
    let site = Site::fake();
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let before = site.kept(old);
    let programs = site.folder.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    let script = |text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = programs.join("vmcatcher_image");
        // A new file each time: one that runs cannot be written to.
        let _ = std::fs::remove_file(&path); // The first time it is not there.
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let environment = [("PATH", path.as_str())];
    let event = site.event("ExpirePostfix", "old");
    // Not there; failing; a database that is none.
    site.run_with(&event, &[], &environment).ends(4);
    script("#!/bin/sh\necho no database >&2\nexit 1\n");
    let ran = site.run_with(&event, &[], &environment);
    ran.ends(4);
    assert!(ran.log.contains("no database"), "{}", ran.log);
    let nowhere = with(event.clone(), &[("VMCATCHER_RDBMS", "sqlite:////nowhere/a.db")]);
    site.run_with(&nowhere, &[], &environment).ends(4);
    assert_eq!(site.kept(old), before);
    // An answer: still subscribed, then not.
    script(&format!("#!/bin/sh\nprintf '%s\\t3\\tlist\\n' {}\n", site.id));
    site.run_with(&event, &[], &environment).ends(0);
    assert_eq!(site.kept(old), before);
    // A `3` elsewhere in the line is no state.
    script(&format!("#!/bin/sh\nprintf '%s\\t1\\tlist-3\\n' {}\n", site.id));
    site.run_with(&event, &[], &environment).ends(0);
    is_expired_name(&site.kept(old).name, &site.id);
}

#[test]
fn h55_an_image_that_was_withdrawn_is_left_as_it_is() {
    let site = Site::new();
    site.present(&site.id.clone(), (1, 1, "640"), "old");
    let database = database(&site, &[]);
    let event = with(site.event("ExpirePostfix", "old"), &[("VMCATCHER_RDBMS", &database)]);
    site.run(&event).ends(0);
    let first = site.images();
    site.run(&event).ends(0);
    assert_eq!(site.images(), first);
}

#[test]
fn h56_an_image_in_use_is_withdrawn_and_disabled_when_it_is_free() {
    let site = Site::fake();
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let set = |state, running| {
        let mut world = site.server().world();
        let image = world.images.get_mut(&old).unwrap();
        (image.state, image.running) = (state, running);
    };
    set(2, 1);
    let database = database(&site, &[]);
    let event = with(site.event("ExpirePostfix", "old"), &[("VMCATCHER_RDBMS", &database)]);
    site.run(&event).ends(0);
    let image = site.kept(old);
    assert_eq!((image.state, image.octal().as_str()), (2, "700"));
    set(1, 0);
    site.run(&event).ends(0);
    assert_eq!(site.kept(old).state, 3);
}
