//! Taking packages in: what the service adds to the format (PK-01 to PK-03, PK-13, BX-69, BX-71, BX-75 to BX-77, BX-79).

use std::{io::Write, os::unix::net::UnixStream};

use serde_json::json;

use crate::common::{Pkg, Service, unique};

/// The seed's own README, typed in.
#[test]
fn pk_01_pw_01_pw_02_the_package_of_the_seeds_readme() {
    let service = Service::start();
    let process = unique("seed");
    let descriptor = json!({
        "name": "NameOfTheVNF", "VNFprocess": process,
        "lifecycle_event": [
            { "event": "INSTANTIATE", "lifecycle_events": ["install.sh", "configure.sh"] },
            { "event": "START", "lifecycle_events": ["start.sh"] },
            { "event": "TERMINATE", "lifecycle_events": ["terminate.sh"] },
        ],
    });
    let mut package = Pkg::new(&service, "x", "x");
    package.descriptor = descriptor;
    for script in ["install", "configure", "start", "terminate"] {
        package = package.file(
            &format!("{script}.sh"),
            &format!("#!/bin/sh\necho {script} >> {}\n", service.path("told").display()),
        );
    }
    let op = service.instantiate(&package);
    assert_eq!(op["state"], "COMPLETED");
    service.tells(&["install", "configure"]);
    let running = service.run_as(&process);
    service.tells(&["install", "configure", "start"]);
    assert_eq!(service.status("NameOfTheVNF")["watch"], "PRESENT");
    running.stop();
    service.tells(&["install", "configure", "start", "terminate"]);
    let kinds = service.kinds();
    for kind in [
        "vnf.package.onboarded",
        "vnf.process.appeared",
        "vnf.process.vanished",
        "vnf.script.started",
        "vnf.script.ended",
    ] {
        assert!(kinds.iter().any(|other| other == kind), "{kind} in {kinds:?}");
    }
}

#[test]
fn pk_02_pk_03_pk_13_events_left_out_and_the_order_of_scripts() {
    let service = Service::start();
    let (one, two, three) = (unique("a"), unique("b"), unique("c"));
    service.instantiate(&Pkg::new(&service, "one", &one).on("INSTANTIATE", "told once"));
    service.tells(&["once"]);
    let running = service.run_as(&one);
    service.instantiate(&Pkg::watched(&service, "two", &two));
    service.tells(&["once"]);
    running.stop();
    let bodies = ["told z", "told a", "told m", "told b", "told y"];
    let options = vec![json!({}); 5];
    service.instantiate(&Pkg::new(&service, "three", &three).with(
        "START",
        json!({}),
        &options,
        &bodies,
    ));
    let _running = service.run_as(&three);
    service.tells(&["once", "z", "a", "m", "b", "y"]);
}

#[test]
fn bx_69_bx_71_bx_75_pushing_again_and_what_the_machine_does_not_have() {
    let service = Service::with(&["--no-root"], "");
    let code = |package: &Pkg| service.push_bytes(&package.tar()).expect_err("refused").code;
    let base = |name: &str| Pkg::new(&service, name, "p");
    assert_eq!(code(&base("a").set("user", json!("nobodyofthatname"))), "E-USER");
    assert_eq!(code(&base("a").set("user", json!("root"))), "E-USER");
    assert_eq!(code(&base("a").set("limits", json!({ "memory_max": "900000G" }))), "E-LIMITS");
    let first = base("a").set("version", json!("1.2.0"));
    assert_eq!(service.push(&first)["known"], false);
    assert_eq!(service.push(&first)["known"], true, "the same bytes are the same revision");
    let mut other = first.clone().file("more", "x");
    assert_eq!(code(&other), "E-EXISTS");
    other = other.set("version", json!("1.1.9"));
    assert_eq!(code(&other), "E-VERSION");
    service.push(&other.set("version", json!("1.3.0")));
    // Without a version a counter is one.
    service.push(&base("b"));
    assert_eq!(service.push(&base("b").file("more", "x"))["version"], "0.0.0+r2");
    // In a circle.
    service.push(&base("c").set("requires", json!({ "d": {} })));
    assert_eq!(code(&base("d").set("requires", json!({ "c": {} }))), "E-CYCLE");
    // Removal.
    assert_eq!(service.refused(json!({ "verb": "rm", "name": "nothing", "package": true })), 404);
    service.ask(json!({ "verb": "rm", "name": "b", "package": true }));
    assert_eq!(std::fs::read_dir(service.state().join("packages/b")).expect("a folder").count(), 0);
}

#[test]
fn bx_76_bx_77_while_an_operation_runs_and_half_a_package() {
    let service = Service::start();
    let gate = service.gate("go");
    let package =
        Pkg::new(&service, "slow", "p").on("INSTANTIATE", &format!("told begun; {}", gate.wait()));
    service.push(&package);
    let op = service.ask(json!({ "verb": "instantiate", "package": "slow", "no_wait": true }));
    service.tells(&["begun"]);
    let more = package.clone().file("more", "x").tar();
    assert_eq!(service.push_bytes(&more).expect_err("refused").code, "E-BUSY");
    gate.release();
    crate::common::eventually("it ends", || {
        (service.ask(json!({ "verb": "operation", "id": op["id"] }))["state"] == "COMPLETED")
            .then_some(())
    });
    // The client goes away in the middle.
    let mut stream = UnixStream::connect(service.state().join("vnf.sock")).expect("it listens");
    stream
        .write_all(format!("{{\"verb\":\"push\",\"length\":{}}}\n", more.len()).as_bytes())
        .expect("sent");
    stream.write_all(&more[..more.len() / 2]).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("it answers");
    assert!(answer.contains("E-ABORTED"), "{answer}");
    assert_eq!(std::fs::read_dir(service.state().join("staging")).expect("a folder").count(), 0);
    // BX-40: too long is said before any byte is read.
    let mut stream = UnixStream::connect(service.state().join("vnf.sock")).expect("it listens");
    stream.write_all(b"{\"verb\":\"push\",\"length\":268435457}\n").expect("sent");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("it answers");
    assert!(answer.contains("E-SIZE") && answer.contains("413"), "{answer}");
}

#[test]
fn bx_79_a_full_store_keeps_what_is_there() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting wants root");
        return;
    }
    use rustix::mount::{MountPropagationFlags, mount_change};
    let test = std::thread::spawn(|| {
        // SAFETY: only this thread's mount namespace and working directory become its own; it ends with the test.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
            .expect("a mount namespace");
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .expect("they are ours");
        full();
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

fn full() {
    let service = Service::on_a_small_disk(c"size=24m");
    let old = Pkg::new(&service, "fw", "p").on("INSTANTIATE", "told old");
    service.push(&old);
    // One that does not fit as it is sent, and one that does not fit beside what was sent.
    for mib in [32, 13] {
        let large = "x".repeat(mib << 20);
        let new = old.clone().file("large", &large).tar();
        let failure = service.push_bytes(&new).expect_err("there is no room");
        assert_eq!((failure.status, failure.code.as_str()), (507, "E-NOSPACE"), "{mib} MiB");
        let staging = std::fs::read_dir(service.state().join("staging")).expect("a folder");
        assert_eq!(staging.count(), 0, "{mib} MiB");
    }
    let revisions = std::fs::read_dir(service.state().join("packages/fw")).expect("a folder");
    assert_eq!(revisions.count(), 1);
    assert_eq!(service.push(&old)["known"], true);
    let op = service.ask(json!({ "verb": "instantiate", "package": "fw" }));
    assert_eq!(op["state"], "COMPLETED");
    service.tells(&["old"]);
    service.push(&old.file("more", "x"));
}
