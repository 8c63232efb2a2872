//! Answers of a server that is broken, or no server of OpenNebula at all.

use std::time::Duration;

use vnode_opennebula::{
    client::{CallError, Client, Session},
    cloud::Cloud,
};

use crate::{
    fake::{SESSION, Trouble},
    site::{Site, wait},
};

fn envelope(inner: &str) -> Vec<u8> {
    format!(
        "<methodResponse><params><param><value><array><data><value><boolean>1</boolean></value>\
         <value><string>{}</string></value><value><i4>0</i4></value></data></array></value></param></params></methodResponse>",
        vnode_opennebula::xml::escape(inner)
    )
    .into_bytes()
}

fn answers() -> Vec<(&'static str, Vec<u8>)> {
    let bomb =
        "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\">]><a>&b;</a>";
    let outside = "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>";
    vec![
        ("nothing", Vec::new()),
        ("a page", b"<html><body>It works!</body></html>".to_vec()),
        ("no XML", b"\x00\x01\x02\xff".to_vec()),
        ("a bomb", bomb.as_bytes().to_vec()),
        ("a bomb within", envelope(bomb)),
        ("a file", outside.as_bytes().to_vec()),
        ("a file within", envelope(outside)),
        ("depth", b"<a>".repeat(200_000)),
        ("depth within", envelope(&"<a>".repeat(200_000))),
        ("breadth", format!("<methodResponse>{}</methodResponse>", "<a/>".repeat(500_000)).into_bytes()),
        ("half", envelope("<IMAGE_POOL><IMAGE><ID>1</ID>")),
        ("no number", envelope("<IMAGE_POOL><IMAGE><ID>x</ID></IMAGE></IMAGE_POOL>")),
        ("another list", envelope("<VM_POOL><VM><ID>1</ID></VM></VM_POOL>")),
        ("a number", b"<methodResponse><params><param><value><i4>5</i4></value></param></params></methodResponse>".to_vec()),
        ("a fault", b"<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>-506</int></value></member><member><name>faultString</name><value><string>Method not defined</string></value></member></struct></value></fault></methodResponse>".to_vec()),
    ]
}

#[test]
fn wrong_answers_to_every_call_change_nothing_that_is_there() {
    for (what, bytes) in answers() {
        let site = Site::fake();
        site.disk(b"new");
        let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
        let before = site.kept(old);
        site.calls();
        site.server().world().troubles.push(("one.imagepool.info", 0, Trouble::Answer(bytes)));
        let ran = site.run(&site.event("AvailablePostfix", "a1"));
        ran.ends(4);
        assert_eq!(site.kept(old), before, "{what}");
        assert_eq!(site.calls(), ["one.imagepool.info"], "{what}");
    }
}

#[test]
fn a_wrong_answer_to_any_call_is_undone() {
    for method in [
        "one.datastorepool.info",
        "one.image.allocate",
        "one.image.info",
        "one.image.rename",
        "one.image.chown",
        "one.image.chmod",
        "one.image.update",
        "one.image.enable",
    ] {
        for trouble in [
            Trouble::Cut,
            Trouble::Unanswered,
            Trouble::Status("500 Oops"),
            Trouble::Answer(b"<html/>".to_vec()),
        ] {
            let site = Site::fake();
            site.disk(b"new");
            site.settings("call-limit = 1\n");
            let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
            let before = site.kept(old);
            site.calls();
            site.server().world().troubles.push((method, 1, trouble.clone()));
            let ran = site.run(&site.event("AvailablePostfix", "a1"));
            let why = format!("{method} {trouble:?}: {}", ran.log);
            if method == "one.image.info" {
                // Asked again: looking changes nothing.
                assert_eq!(ran.code, Some(0), "{why}");
                continue;
            }
            assert_eq!(ran.code, Some(4), "{why}");
            assert_eq!(site.kept(old), before, "{why}");
            assert_eq!(site.images().len(), 1, "{why}");
            site.is_clean();
        }
    }
}

fn cloud(site: &Site, limit: Duration, bytes: usize) -> Cloud {
    let client = Client::new(&site.server().url(), Session::new(SESSION), limit).unwrap();
    Cloud::new(client.answer_bytes(bytes))
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let site = Site::fake();
    site.server().world().troubles.push(("one.imagepool.info", 0, Trouble::Endless));
    let error = wait(cloud(&site, Duration::from_secs(60), 1 << 20).images()).unwrap_err();
    assert!(matches!(error, CallError::TooLong { .. }), "{error}");
    let long = Trouble::Answer(vec![b' '; 2 << 20]);
    site.server().world().troubles = vec![("one.imagepool.info", 0, long)];
    let error = wait(cloud(&site, Duration::from_secs(60), 1 << 20).images()).unwrap_err();
    assert!(matches!(error, CallError::TooLong { .. }), "{error}");
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
    let site = Site::fake();
    let slow = Trouble::Slow(Duration::from_secs(5));
    site.server().world().troubles.push(("one.imagepool.info", 0, slow));
    let error = wait(cloud(&site, Duration::from_millis(100), 1 << 20).images()).unwrap_err();
    assert!(matches!(error, CallError::Time { .. }), "{error}");
}

#[test]
fn a_redirect_does_not_carry_the_password_elsewhere() {
    let site = Site::fake();
    let elsewhere = Site::fake();
    let line = format!("307 Go there\r\nLocation: {}", elsewhere.server().url());
    let trouble = Trouble::Status(Box::leak(line.into_boxed_str()));
    site.server().world().troubles.push(("one.imagepool.info", 0, trouble));
    let error = wait(cloud(&site, Duration::from_secs(10), 1 << 20).images()).unwrap_err();
    assert!(matches!(error, CallError::Status { status: 307, .. }), "{error}");
    assert!(elsewhere.calls().is_empty());
}

#[test]
fn a_pool_of_more_than_ten_megabytes_is_read() {
    let site = Site::fake();
    site.present(&site.id.clone(), (1, 1, "640"), "old");
    {
        let mut world = site.server().world();
        let mut one = world.images.values().next().unwrap().clone();
        one.template = vec![("FILL".to_owned(), "x".repeat(1000))];
        for id in 100..10_100 {
            one.id = id;
            one.name = format!("other-{id}");
            world.images.insert(id, one.clone());
        }
    }
    let images = wait(site.cloud().images()).unwrap();
    assert_eq!(images.len(), 10_001);
    // Attributes of images that are of no list are not kept.
    assert_eq!(images.iter().filter(|image| !image.template.is_empty()).count(), 1);
}

#[test]
fn a_wrong_password_is_told_as_such() {
    let site = Site::fake();
    std::fs::write(site.folder.path().join("one_auth"), "oneadmin:wrong\n").unwrap();
    site.disk(b"x");
    let ran = site.run(&site.event("AvailablePostfix", "a1"));
    ran.ends(4);
    assert!(ran.log.contains("authenticated"), "{}", ran.log);
    std::fs::write(site.folder.path().join("one_auth"), "no colon\n").unwrap();
    site.run(&site.event("AvailablePostfix", "a1")).ends(1);
}
