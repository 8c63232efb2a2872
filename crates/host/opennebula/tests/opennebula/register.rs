//! First registrations, and those that fail.

use std::time::Duration;

use vnode_opennebula::image::State;

use crate::{
    fake::Trouble,
    site::{Site, listing, octal, raw, wait, with},
};

#[test]
fn h31_a_first_image_is_registered_private_under_its_identifier() {
    let site = Site::new();
    let path = site.disk(b"first");
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    let image = site.named();
    assert_eq!(image.state, State::Ready);
    assert_eq!(image.permissions, octal("600"));
    let attribute = |name: &str| image.attribute(&format!("VMCATCHER_EVENT_{name}"));
    assert_eq!(attribute("DC_IDENTIFIER"), Some(site.id.as_str()));
    assert_eq!(attribute("AD_MPURI"), Some("https://market.example.org/image/1/"));
    assert_eq!(attribute("VO"), Some("demo.example.org"));
    assert_eq!(attribute("TYPE"), Some("AvailablePostfix"));
    assert_eq!(image.attribute("DESCRIPTION"), Some("Demonstration image"));
    assert!(path.exists(), "the cache's file stays");
    site.is_clean();
}

#[test]
fn h31_the_calls_are_few_and_permissions_are_left_alone() {
    let site = Site::fake();
    site.disk(b"first");
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    let calls = site.calls();
    assert_eq!(
        calls,
        [
            "one.imagepool.info",
            "one.datastorepool.info",
            "one.image.allocate",
            "one.image.info",
            "one.image.info",
            "one.image.rename"
        ]
    );
    let image = site.kept(site.named().id);
    assert_eq!(image.content, Some(raw(b"first")));
    assert_eq!(image.datastore, 1);
    // Every attribute is there, the empty ones too.
    for name in ["HV_SIZE", "HV_URI", "SL_COMMENTS", "SL_OS", "SL_OSVERSION", "SL_ARCH"] {
        assert_eq!(image.attribute(&format!("VMCATCHER_EVENT_{name}")), Some(""), "{name}");
    }
}

#[test]
fn h26_the_description_falls_back_to_the_title() {
    let site = Site::new();
    site.disk(b"x");
    let event = site.event("AvailablePostfix", "a1");
    site.run(&with(event, &[("VMCATCHER_EVENT_DC_DESCRIPTION", "")])).ends(0);
    let image = site.named();
    assert_eq!(image.attribute("DESCRIPTION"), Some("Demo"));
    assert_eq!(image.attribute("VMCATCHER_EVENT_DC_DESCRIPTION"), None);
}

#[test]
fn h27_hostile_values_are_stored_unchanged() {
    let site = Site::new();
    site.disk(b"x");
    let hostile = "a \"quoted\" \\ back <b> & `id` $(id) é 漢 'x' #{y}\n]]> end\ttab";
    let event = site.event("AvailablePostfix", "a1");
    site.run(&with(
        event,
        &[
            ("VMCATCHER_EVENT_DC_TITLE", hostile),
            ("VMCATCHER_EVENT_SL_COMMENTS", "bell\u{7}, escape\u{1b}"),
        ],
    ))
    .ends(0);
    let image = site.named();
    let stored = hostile.replace("]]>", "]] >");
    assert_eq!(image.attribute("VMCATCHER_EVENT_DC_TITLE"), Some(stored.as_str()));
    assert_eq!(image.attribute("VMCATCHER_EVENT_SL_COMMENTS"), Some("bell, escape"));
}

#[test]
fn h30_an_unreachable_server_ends_with_4_and_the_event_works_later() {
    let site = Site::fake();
    site.disk(b"x");
    let present = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let before = site.kept(present);
    site.server().world().away = true;
    let ran = site.run(&site.event("AvailablePostfix", "a1"));
    ran.ends(4);
    assert!(ran.log.contains("does not answer one.imagepool.info"), "{}", ran.log);
    site.server().world().away = false;
    assert_eq!(site.kept(present), before);
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    assert_ne!(site.named().id, present);
}

#[test]
fn h38_h39_a_refused_registration_is_told_and_changes_nothing() {
    for with_present in [false, true] {
        for (code, text) in [(16384, "Not enough space in datastore"), (8192, "internal")] {
            let site = Site::fake();
            site.disk(b"x");
            let present =
                with_present.then(|| site.present(&site.id.clone(), (1, 1, "640"), "old"));
            let before = present.map(|id| site.kept(id));
            // The count of calls begins anew when they are taken.
            site.calls();
            site.server().world().troubles.push((
                "one.image.allocate",
                1,
                Trouble::Refuse(code, text),
            ));
            let ran = site.run(&site.event("AvailablePostfix", "a1"));
            ran.ends(4);
            assert!(ran.log.contains(text), "{}", ran.log);
            assert_eq!(present.map(|id| site.kept(id)), before);
            assert_eq!(site.images().len(), usize::from(with_present));
            site.is_clean();
        }
    }
}

#[test]
fn h40_an_image_that_ends_in_error_is_deleted_and_the_reason_told() {
    let site = Site::fake();
    site.disk(b"x");
    let present = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let before = site.kept(present);
    site.server().world().copy_fails = Some("Error copying image: No space left on device");
    let ran = site.run(&site.event("AvailablePostfix", "a1"));
    ran.ends(4);
    assert!(ran.log.contains("No space left on device"), "{}", ran.log);
    assert_eq!(site.kept(present), before);
    assert_eq!(site.images().len(), 1);
    site.is_clean();
    // The next try finds nothing in its way.
    site.server().world().copy_fails = None;
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    assert_ne!(site.named().id, present);
}

#[test]
fn h40_a_file_outside_of_the_safe_folders_is_told_with_the_way_out() {
    let site = Site::fake();
    site.disk(b"x");
    site.server().world().safe = vec!["/var/tmp/elsewhere".into()];
    let ran = site.run(&site.event("AvailablePostfix", "a1"));
    ran.ends(4);
    assert!(ran.log.contains("SAFE_DIRS"), "{}", ran.log);
    assert!(site.images().is_empty());
}

#[test]
fn h43_a_datastore_that_is_not_there_is_told_before_anything_is_done() {
    let site = Site::new();
    site.disk(b"x");
    for name in ["no-such-store", "system"] {
        site.settings(&format!("datastore = \"{name}\"\n"));
        let ran = site.run(&site.event("AvailablePostfix", "a1"));
        ran.ends(4);
        assert!(ran.log.contains(name), "{}", ran.log);
        assert!(site.images().is_empty());
    }
}

#[test]
fn organisations_have_datastore_group_and_permissions_of_their_own() {
    let site = Site::fake();
    site.disk(b"x");
    site.settings(
        "[vo.\"demo.example.org\"]\ndatastore = \"vo-images\"\ngroup = \"users\"\npermissions = \"640\"\n",
    );
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    let image = site.kept(site.named().id);
    assert_eq!((image.datastore, image.uid, image.gid), (105, 0, 1));
    assert_eq!(image.octal(), "640");
    // The site's own choice later wins over the settings.
    wait(site.cloud().chmod(image.id, octal("600"))).unwrap();
    site.disk(b"y");
    site.run(&site.event("AvailablePostfix", "a2")).ends(0);
    assert_eq!(site.kept(site.named().id).octal(), "600");
    site.settings("[vo.\"demo.example.org\"]\ngroup = \"nobody-here\"\n");
    site.disk(b"z");
    let ran = site.run(&site.event("AvailablePostfix", "a3"));
    ran.ends(4);
    assert!(ran.log.contains("nobody-here"), "{}", ran.log);
}

#[test]
fn a_registration_without_an_answer_leaves_nothing_behind() {
    for trouble in [Trouble::Unanswered, Trouble::Cut] {
        let site = Site::fake();
        site.disk(b"x");
        site.server().world().troubles.push(("one.image.allocate", 1, trouble));
        site.run(&site.event("AvailablePostfix", "a1")).ends(4);
        assert!(site.images().is_empty(), "{:#?}", site.images());
        site.is_clean();
        site.run(&site.event("AvailablePostfix", "a1")).ends(0);
        site.named();
    }
}

#[test]
fn a_server_that_copies_for_ever_is_given_up_and_its_image_deleted() {
    for needs_force in [false, true] {
        let site = Site::fake();
        site.disk(b"x");
        site.settings("ready-limit = 1\n");
        site.server().world().locked = u32::MAX;
        site.server().world().delete_needs_force = needs_force;
        let ran = site.run(&site.event("AvailablePostfix", "a1"));
        ran.ends(4);
        assert!(ran.log.contains("ready-limit"), "{}", ran.log);
        assert!(site.images().is_empty());
        site.is_clean();
    }
}

#[test]
fn a_server_that_is_begun_again_while_it_copies_is_waited_for() {
    let site = Site::fake();
    site.disk(b"x");
    site.server().world().locked = 4;
    site.server().world().troubles.push(("one.image.info", 2, Trouble::Unanswered));
    site.server().world().troubles.push(("one.image.info", 3, Trouble::Status("503 Busy")));
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    site.named();
}

#[test]
fn told_to_end_it_undoes_what_it_began() {
    let site = Site::fake();
    site.disk(b"x");
    let present = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let before = site.kept(present);
    site.server().world().locked = u32::MAX;
    site.calls();
    let event = site.event("AvailablePostfix", "a1");
    let child = site.command(&event, &[], &[]).spawn().unwrap();
    while !site.server().world().calls.iter().any(|call| call == "one.image.info") {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    crate::site::finished(child.wait_with_output().unwrap()).ends(4);
    assert_eq!(site.kept(present), before);
    assert_eq!(site.images().len(), 1);
    site.is_clean();
}

#[test]
fn h12_the_work_folder_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    site.disk(b"x");
    site.run(&site.event("AvailablePostfix", "a1")).ends(0);
    let mode = std::fs::metadata(site.work()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(listing(&site.work()), [".journal"]);
}
