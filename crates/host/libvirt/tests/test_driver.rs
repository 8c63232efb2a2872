//! Domains of libvirt's own test driver, which is a hypervisor that lives in this process: nothing is started, nothing is left.

#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::{Bed, until};
use tokio_util::sync::CancellationToken;
use vnode_driver::{DomainSource, Driver, Ended, Error, Phase, Recovered};

/// A hypervisor with one domain, which runs: each file is a hypervisor of its own.
const HOST: &str = "<node><domain type='test'><name>there</name><uuid>11111111-2222-4333-8444-555555555555</uuid>\
    <memory>65536</memory><os><type>hvm</type></os></domain></node>";
const DOMAIN: &str = "<domain type='test'><name>of-the-user</name><memory>32768</memory><os><type>hvm</type></os></domain>";

#[test]
fn lv_01_a_domain_is_defined_booted_paused_rebooted_halted_adopted_by_the_next_daemon_and_gone() {
    bed::run(|bed: std::sync::Arc<Bed>| async move {
        let uri = bed.test_uri(HOST);
        let file = bed.dir.path().join("domain.xml");
        std::fs::write(&file, DOMAIN).unwrap();
        let spec = bed.spec("vm", &uri, DomainSource::Define(file));
        let dir = bed.folder("vm");
        let node = bed.driver().create(&spec, &dir).await.unwrap();
        assert_eq!(node.status().phase, Phase::Stopped);
        node.boot(&spec).await.unwrap();
        assert_eq!((node.status().phase, node.status().boots), (Phase::Running, 1));
        assert!(matches!(node.boot(&spec).await, Err(Error::Running { .. })));
        node.pause().await.unwrap();
        assert_eq!(node.status().phase, Phase::Paused);
        node.resume().await.unwrap();
        assert_eq!(node.status().phase, Phase::Running);
        // A machine too busy to answer shows none.
        let memory = node.stats().unwrap().memory_bytes;
        assert!(memory.is_none_or(|bytes| bytes == 32 << 20), "{memory:?}");

        // Its screen is a picture; its memory is kept, and the next boot goes on from there.
        let cancel = CancellationToken::new();
        let hardware = node.hardware().unwrap();
        let picture = hardware.screenshot().await.unwrap();
        assert!(picture.starts_with(b"\x89PNG\r\n"), "{}", picture.len());
        let exit = hardware.save(&cancel).await.unwrap();
        assert_eq!(node.status().phase, Phase::Stopped);
        assert!(hardware.saved());
        // Asked again, as after a crash of the daemon, it has been done; the next daemon knows it, too.
        assert_eq!(hardware.save(&cancel).await.unwrap(), exit);
        let kept = std::fs::read_to_string(dir.join("libvirt.json")).unwrap();
        assert!(kept.contains("\"saved\":true"), "{kept}");
        // Disks as they were at another time would not go with it.
        let refused = bed.driver().restore(&spec, &dir, "s", &cancel).await.unwrap_err();
        assert!(refused.to_string().contains("--discard"), "{refused}");
        node.boot(&spec).await.unwrap();
        assert!(!hardware.saved());
        hardware.save(&cancel).await.unwrap();
        hardware.forget().await.unwrap();
        hardware.forget().await.unwrap();
        assert!(!hardware.saved());
        assert!(matches!(hardware.save(&cancel).await, Err(Error::NotRunning { .. })));
        assert!(matches!(hardware.screenshot().await, Err(Error::NotRunning { .. })));
        node.boot(&spec).await.unwrap();
        let boots = node.status().boots;

        // A snapshot is of a stopped domain.
        let early = bed.driver().snapshot(&spec, &dir, "s", "m", &cancel).await;
        assert!(matches!(early, Err(Error::Running { .. })), "{early:?}");

        // The daemon is killed: the next one finds it as it is. Destroying needs nothing but the folder.
        drop(node);
        let found = bed.driver().recover(&spec, &dir).await.unwrap();
        let Recovered::Live(node) = found else { panic!("{found:?}") };
        assert_eq!((node.status().phase, node.status().boots), (Phase::Running, boots));

        // The power button; then what a test driver does not have is refused, not ignored.
        let exit = node.halt(Duration::from_secs(60)).await.unwrap();
        assert_eq!(exit.ended, Ended::Poweroff);
        node.boot(&spec).await.unwrap();
        assert!(node.set_limits(&spec.limits).await.is_err());
        let aside = bed.driver().old_disk(&spec, &dir, vnode_driver::OldDisk::SetAside).await;
        assert!(matches!(aside, Err(Error::Unsupported { .. })), "{aside:?}");
        assert!(bed.driver().mount(&spec, &dir).await.is_err());
        let exit = node.kill().await.unwrap();
        assert_eq!(exit.ended, Ended::Killed);
        until(&*node, Phase::Stopped).await;

        let taken = bed.driver().snapshot(&spec, &dir, "s", "m", &cancel).await.unwrap();
        assert_eq!(taken.name, "s");
        let again = bed.driver().snapshot(&spec, &dir, "s", "m", &cancel).await.unwrap();
        assert_eq!(again.name, "s");
        assert!(bed.driver().snapshot(&spec, &dir, "s", "other", &cancel).await.is_err());
        bed.driver().restore(&spec, &dir, "s", &cancel).await.unwrap();
        bed.driver().remove_snapshot(&spec, &dir, "s", Some("other")).await.unwrap();
        assert_eq!(bed.driver().snapshots(&spec, &dir).await.unwrap().len(), 1);
        bed.driver().remove_snapshot(&spec, &dir, "s", Some("m")).await.unwrap();
        assert!(bed.driver().snapshots(&spec, &dir).await.unwrap().is_empty());

        drop(node);
        bed.driver().destroy(&spec, &dir).await.unwrap();
        assert!(!dir.exists());
        // Nothing of it is left in libvirt: a node that adopts it finds none.
        let gone = bed.spec("gone", &uri, DomainSource::Adopt("vnode-lab-vm".into()));
        assert!(bed.driver().create(&gone, &bed.folder("gone")).await.is_err());
        assert!(!bed.folder("gone").exists());
    });
}

#[test]
fn lv_02_an_adopted_domain_is_the_users_and_goes_on_without_us() {
    bed::run(|bed| async move {
        let uri = bed.test_uri(HOST);
        let spec = bed.spec("vm", &uri, DomainSource::Adopt("there".into()));
        let (driver, dir) = (bed.driver(), bed.folder("vm"));
        let node = driver.create(&spec, &dir).await.unwrap();
        // It runs, and becomes the node when it is booted.
        assert_eq!(node.status().phase, Phase::Stopped);
        node.boot(&spec).await.unwrap();
        assert_eq!(node.status().phase, Phase::Running);
        // A second node cannot have the same.
        let uuid = "11111111-2222-4333-8444-555555555555";
        let other = bed.spec("other", &uri, DomainSource::Adopt(uuid.into()));
        let refused = driver.create(&other, &bed.folder("other")).await.unwrap_err();
        assert!(refused.to_string().contains("has the same domain"), "{refused}");
        drop(node);
        driver.destroy(&spec, &dir).await.unwrap();
        assert!(!dir.exists());
        // It is still there, and runs: the next node that adopts it finds it so, and halts it.
        let node = driver.create(&other, &bed.folder("other")).await.unwrap();
        let kept = std::fs::read_to_string(bed.folder("other").join("libvirt.json")).unwrap();
        assert!(kept.contains("\"ran\":true"), "{kept}");
        node.boot(&other).await.unwrap();
        assert_eq!(node.halt(Duration::from_secs(60)).await.unwrap().ended, Ended::Poweroff);
        drop(node);
        driver.destroy(&other, &bed.folder("other")).await.unwrap();
        // One that was off, and was booted as a node, is off when the node is gone.
        let node = driver.create(&spec, &dir).await.unwrap();
        node.boot(&spec).await.unwrap();
        drop(node);
        driver.destroy(&spec, &dir).await.unwrap();
        let node = driver.create(&spec, &dir).await.unwrap();
        let kept = std::fs::read_to_string(dir.join("libvirt.json")).unwrap();
        assert!(kept.contains("\"ran\":false"), "{kept}");
        drop(node);
        driver.destroy(&spec, &dir).await.unwrap();
    });
}

#[test]
fn lv_03_what_cannot_be_is_said_before_anything_is_made() {
    bed::run(|bed| async move {
        let uri = bed.test_uri(HOST);
        let file = bed.dir.path().join("bad.xml");
        for (text, why) in [("", "ends in the middle"), ("<network/>", "not with `domain`")] {
            std::fs::write(&file, text).unwrap();
            let spec = bed.spec("bad", &uri, DomainSource::Define(file.clone()));
            let refused = bed.driver().create(&spec, &bed.folder("bad")).await.unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
        }
        std::fs::write(&file, "x".repeat(2 << 20)).unwrap();
        let spec = bed.spec("bad", &uri, DomainSource::Define(file));
        let refused = bed.driver().create(&spec, &bed.folder("bad")).await.unwrap_err();
        assert!(refused.to_string().contains("larger than"), "{refused}");
        let spec = bed.spec("bad", "nothing:///here", DomainSource::Adopt("there".into()));
        assert!(bed.driver().create(&spec, &bed.folder("bad")).await.is_err());
        let spec = bed.spec("bad", &uri, DomainSource::Adopt("nobody".into()));
        assert!(bed.driver().create(&spec, &bed.folder("bad")).await.is_err());
        assert!(!bed.folder("bad").exists());
    });
}
