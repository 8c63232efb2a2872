//! The service with a damaged store, under fewer rights, and for a long time (OP-12, SY-02, SY-03).

use std::fs;

use serde_json::json;

use crate::common::{Pkg, Service, eventually, unique};

/// Lives of a process, unless `VNODE_TEST_CYCLES` says how many; the specification asks for 100,000, which takes an hour.
const LIVES: usize = 120;
/// Of those, how many until nothing may grow any more, at most: a log of each hook is kept, up to 2000.
const SETTLED: usize = 1500;
/// Logs of an instance that are kept (`log.rs`).
const LOGS: usize = 2000;

#[test]
fn sy_02_lives_leave_neither_descriptors_nor_memory_nor_files() {
    let lives = std::env::var("VNODE_TEST_CYCLES").ok().and_then(|n| n.parse().ok());
    let lives: usize = lives.unwrap_or(LIVES);
    let settled = (lives / 2).min(SETTLED);
    let service = Service::start();
    let name = unique("g");
    service.instantiate(&Pkg::watched(&service, "lives", &name).calm());
    let id = service.status("lives")["id"].as_str().expect("an id").to_owned();
    let entries = |path: &std::path::Path| fs::read_dir(path).map_or(0, Iterator::count);
    // Without the connector, a descriptor for each process stays open, through which its name is looked at.
    let open = || {
        let all = fs::read_dir(format!("/proc/{}/fd", service.pid())).expect("it runs").flatten();
        let targets = all.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| !target.ends_with("comm")).count()
    };
    let size = |path: &std::path::Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let store = service.state().join("vnf.redb");
    let mut before = (0, 0, 0);
    let mut bytes = 0;
    for life in 0..lives {
        if life == settled {
            // Which asks for all events, as at the end.
            service.settled();
            before = (open(), service.memory("RssAnon"), size(&store));
        }
        let running = service.run_as(&name);
        bytes += "START\n".len();
        waits(&service, bytes);
        running.stop();
        bytes += "TERMINATE\n".len();
        waits(&service, bytes);
    }
    service.settled();
    // Those of the last life are just being closed.
    eventually(&format!("no more descriptors after {lives} lives than after {settled}"), || {
        (open() <= before.0 + 4).then_some(())
    });
    let after = (open(), service.memory("RssAnon"), size(&store));
    println!(
        "{lives} lives; descriptors, anonymous KiB, bytes of the store: {before:?}, {after:?}"
    );
    // Ten thousand events are kept, some ten of each life, and were all asked for: each takes some hundred bytes then.
    let events = 8 * (lives.min(1000) - settled.min(1000)) as u64;
    assert!(after.1 <= before.1 + 2048 + events, "its memory grows: {before:?}, {after:?}");
    assert!(after.2 <= before.2.max(8 << 20) * 2, "its store grows: {before:?}, {after:?}");
    let instance = service.state().join("instances").join(id);
    eventually("nothing of a run that is over", || {
        // But the one file that the next takes.
        let runs = instance.join("runs");
        (entries(&runs) == 1 && runs.join("spare").is_file()).then_some(())
    });
    assert!(entries(&instance.join("logs")) <= LOGS + 1, "the oldest logs are taken away");
    let operations = service.ask(json!({ "verb": "operations" }));
    assert!(operations.as_array().expect("a list").len() <= 101, "the oldest are forgotten");
}

/// Until hooks have told so many bytes.
fn waits(service: &Service, bytes: usize) {
    let told = service.path("told");
    eventually("the hook has told", || {
        fs::metadata(&told).is_ok_and(|told| told.len() >= bytes as u64).then_some(())
    });
}

#[test]
fn op_12_a_byte_that_was_altered_is_refused_with_its_offset_and_repaired() {
    let mut service = Service::start();
    service.instantiate(&Pkg::new(&service, "x", "p").on("INSTANTIATE", "told once"));
    service.kill();
    let path = service.state().join("vnf.redb");
    let whole = fs::read(&path).expect("it is there");
    // Of the places where the package's record is, which were written one after the other, the one that counts.
    let name = b"\"start_command\"";
    let places = (0..whole.len() - name.len()).filter(|at| whole[*at..].starts_with(name));
    let (at, damaged) = places
        .filter_map(|at| {
            let mut bytes = whole.clone();
            bytes[at + 3] ^= 0x20;
            fs::write(&path, &bytes).expect("written");
            let refused = vnode_store::open(&path).is_err();
            refused.then_some((at + 3, bytes))
        })
        .next_back()
        .expect("one of them counts");
    fs::write(&path, &damaged).expect("written");
    let refused = service.refuses_another(&[]);
    assert!(refused.contains("vnf.redb") && refused.contains(&format!("byte {at} ")), "{refused}");
    assert!(refused.contains("--repair"), "{refused}");
    assert_eq!(fs::read(&path).expect("it is there"), damaged, "a refusal changes nothing");
    service.run(&["--repair"], "");
    assert_eq!(service.status("x")["state"], "INSTANTIATED");
    assert_eq!(fs::read(path.with_extension("redb.damaged")).expect("it is kept"), damaged);
    let events = service.items(json!({ "verb": "events" }));
    let repaired = events.iter().find(|event| event["kind"] == "vnf.store.repaired");
    let data = &repaired.expect("it is told")["data"];
    let wanted = json!([{ "offset": at, "length": 1, "mended": true }]);
    assert_eq!((&data["damage"], &data["all"]), (&wanted, &json!(true)), "{data}");
    service.tells(&["once"]);
    // Whole, it is opened as ever, with the option or without.
    service.kill();
    service.run(&["--repair"], "");
    service.kill();
    service.run(&[], "");
    assert!(!path.with_extension("redb.damaged-2").exists());
}

#[test]
fn op_12_what_a_repair_cannot_name_is_laid_aside() {
    let mut service = Service::start();
    service.instantiate(&Pkg::new(&service, "x", "p").on("INSTANTIATE", "told once"));
    let id = service.status("x")["id"].as_str().expect("an id").to_owned();
    service.kill();
    let path = service.state().join("vnf.redb");
    let mut bytes = fs::read(&path).expect("it is there");
    // The instance's record, wherever it was ever written.
    let key = format!("\"id\":\"{id}\"");
    for at in 0..bytes.len() - key.len() {
        if bytes[at..].starts_with(key.as_bytes()) {
            bytes[at..at + key.len()].fill(b'?');
        }
    }
    fs::write(&path, bytes).expect("written");
    let refused = service.refuses_another(&[]);
    assert!(refused.contains("damaged"), "{refused}");
    service.run(&["--repair"], "");
    assert_eq!(service.refused(json!({ "verb": "status", "name": "x" })), 404);
    let events = service.items(json!({ "verb": "events" }));
    let repaired = events.iter().find(|event| event["kind"] == "vnf.store.repaired");
    let data = &repaired.expect("it is told")["data"];
    assert_eq!(data["all"], false, "{data}");
    let lost = data["lost"].to_string();
    assert!(lost.contains(&format!("vnf/instance/{id}")), "{data}");
    let aside = service.state().join("unnamed").join(format!("instances-{id}"));
    assert!(aside.is_dir(), "its folder is laid aside");
    // The package is there, and the name is free again.
    service.ask(json!({ "verb": "instantiate", "package": "x" }));
    service.tells(&["once", "once"]);
}

#[test]
fn sy_03_with_few_rights_it_does_what_it_may() {
    let words = ["setpriv", "--no-new-privs", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin"];
    let service = Service::behind(|_| words.map(str::to_owned).to_vec());
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).expect("it runs");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line");
    let effective = u64::from_str_radix(effective.trim(), 16).expect("a number");
    assert_eq!(effective >> 21 & 1, 0, "CAP_SYS_ADMIN is gone");
    let name = unique("f");
    service
        .instantiate(&Pkg::watched(&service, "few", &name).on("INSTANTIATE", "told INSTANTIATE"));
    let running = service.run_as(&name);
    service.tells(&["INSTANTIATE", "START"]);
    running.stop();
    service.tells(&["INSTANTIATE", "START", "TERMINATE"]);
    // How it watches is told, whatever it may.
    let info = service.ask(json!({ "verb": "info" }));
    assert!(["connector", "polling"].contains(&info["watch"].as_str().expect("a word")), "{info}");
}
