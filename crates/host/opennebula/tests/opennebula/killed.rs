//! SIGKILL at every point of publishing and of withdrawing: afterwards the old or the new image is whole, names are
//! right, nothing is left.

use vnode_opennebula::image::State;

use crate::{
    expire::database,
    fake::Kept,
    site::{Site, octal, raw, with},
};

/// The points a run passes, each once.
fn points(site: &Site, event: &[(String, String)]) -> Vec<String> {
    let trace = site.folder.path().join("trace");
    let faults = format!("trace:{}", trace.display());
    site.run_with(event, &[], &[("VNODE_FAULT", &faults)]).ends(0);
    let mut points: Vec<String> =
        std::fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect();
    // A point that is passed twice is killed at the first and at the second time.
    let names = points.clone();
    for (at, point) in points.iter_mut().enumerate() {
        let nth = names[..=at].iter().filter(|name| *name == point).count();
        *point = format!("{point}#{nth}");
    }
    // Before a call everything outside is as it was after the one before that.
    points.retain(|point| !(point.starts_with("one.") && point.contains(".before")));
    points
}

/// The old image exactly as it was, or the new one in its place and the old one withdrawn.
fn is_whole(site: &Site, before: &Kept, point: &str) {
    let old = site.kept(before.id);
    if old == *before {
        assert_eq!(site.images().len(), 1, "{point}: {:#?}", site.images());
        return;
    }
    assert_eq!(old.octal(), "700", "{point}");
    let new = site.named();
    assert_ne!(new.id, before.id, "{point}");
    assert_eq!((new.uid, new.gid, new.permissions), (1, 1, octal("640")), "{point}");
    assert_eq!(new.state, State::Ready, "{point}");
    assert_eq!(site.kept(new.id).content, Some(raw(b"new")), "{point}");
}

fn updating() -> (Site, Kept, Vec<(String, String)>) {
    let site = Site::fake();
    site.disk(b"new");
    let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
    let event = site.event("AvailablePostfix", "a1");
    let before = site.kept(old);
    site.calls();
    (site, before, event)
}

#[test]
fn publishing_is_killed_at_every_point() {
    let (site, _, event) = updating();
    let points = points(&site, &event);
    assert!(points.len() > 25, "{points:?}");
    for point in &points {
        let (site, before, event) = updating();
        let ran = site.run_with(&event, &[], &[("VNODE_FAULT", &format!("kill:{point}"))]);
        assert_eq!(ran.code, None, "{point}: {}", ran.log);
        // The end of the next run of the cache puts things right; after a call it is left to the event itself.
        if !point.starts_with("one.") {
            site.run(&site.event("ProcessPostfix", "")).ends(0);
            is_whole(&site, &before, point);
            site.is_clean();
        }
        // And the event, offered again, comes to its end.
        site.run(&event).ends(0);
        assert_ne!(site.kept(before.id), before, "{point}");
        is_whole(&site, &before, point);
        assert_eq!(site.images().len(), 2, "{point}");
        site.is_clean();
    }
}

#[test]
fn the_undoing_is_killed_at_every_point() {
    // Undoing begins when the very last call is refused.
    let fault = "error:opennebula.withdraw.after";
    let (site, before, event) = updating();
    let trace = site.folder.path().join("trace");
    let faults = format!("{fault},trace:{}", trace.display());
    site.run_with(&event, &[], &[("VNODE_FAULT", &faults)]).ends(4);
    assert_eq!(site.kept(before.id), before);
    let text = std::fs::read_to_string(trace).unwrap();
    let inverses: Vec<&str> = text.lines().filter(|line| line.contains(".inverse.")).collect();
    assert!(inverses.len() >= 10, "{inverses:?}");
    for point in inverses {
        let (site, before, event) = updating();
        let faults = format!("{fault},kill:{point}");
        let ran = site.run_with(&event, &[], &[("VNODE_FAULT", &faults)]);
        assert_eq!(ran.code, None, "{point}: {}", ran.log);
        site.run(&site.event("ProcessPrefix", "")).ends(0);
        assert_eq!(site.kept(before.id), before, "{point}");
        assert_eq!(site.images().len(), 1, "{point}");
        site.is_clean();
    }
}

#[test]
fn withdrawing_is_killed_at_every_point() {
    let ending = || {
        let site = Site::fake();
        let old = site.present(&site.id.clone(), (1, 1, "640"), "old");
        let database = database(&site, &[]);
        let event = with(site.event("ExpirePostfix", "old"), &[("VMCATCHER_RDBMS", &database)]);
        let before = site.kept(old);
        site.calls();
        (site, before, event)
    };
    let (site, _, event) = ending();
    for point in points(&site, &event) {
        let (site, before, event) = ending();
        let ran = site.run_with(&event, &[], &[("VNODE_FAULT", &format!("kill:{point}"))]);
        assert_eq!(ran.code, None, "{point}: {}", ran.log);
        site.run(&site.event("ProcessPostfix", "")).ends(0);
        let now = site.kept(before.id);
        assert!(now == before || (now.octal() == "700" && now.state == 3), "{point}: {now:#?}");
        site.run(&event).ends(0);
        let now = site.kept(before.id);
        assert_eq!((now.octal().as_str(), now.state, now.uid), ("700", 3, 0), "{point}");
        site.is_clean();
    }
}

#[test]
fn a_prepared_disk_does_not_stay_after_a_kill() {
    for point in ["opennebula.prepare.after", "opennebula.ready.before", "opennebula.tidy.before"] {
        let site = Site::fake();
        site.file(&crate::files::gzip(&raw(b"packed")));
        let event = site.event("AvailablePostfix", "a1");
        let ran = site.run_with(&event, &[], &[("VNODE_FAULT", &format!("kill:{point}"))]);
        assert_eq!(ran.code, None, "{point}");
        assert!(site.work().join(&site.id).is_dir(), "{point}");
        site.run(&site.event("ProcessPostfix", "")).ends(0);
        assert!(site.images().is_empty(), "{point}");
        site.is_clean();
    }
}
