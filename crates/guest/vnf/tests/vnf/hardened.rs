//! The service with a damaged store, under fewer rights, and for a long time (OP-12, SY-02, SY-03).

use std::fs;

use serde_json::json;

use crate::common::{Pkg, Service, eventually, unique};

/// Lives of a process; the specification asks for 100,000, which takes hours.
const LIVES: usize = 120;
/// Of those, how many until nothing may grow any more: as many operations are kept of each instance.
const SETTLED: usize = 60;

#[test]
fn sy_02_lives_leave_neither_descriptors_nor_files() {
    let service = Service::start();
    let name = unique("g");
    service.instantiate(&Pkg::watched(&service, "lives", &name).calm());
    let id = service.status("lives")["id"].as_str().expect("an id").to_owned();
    let entries = |path: &std::path::Path| fs::read_dir(path).map_or(0, Iterator::count);
    let open = || entries(format!("/proc/{}/fd", service.pid()).as_ref());
    let (mut before, mut told) = (0, 0);
    for life in 0..LIVES {
        if life == SETTLED {
            before = open();
        }
        let running = service.run_as(&name);
        told += 1;
        waits(&service, told);
        running.stop();
        told += 1;
        waits(&service, told);
    }
    service.settled();
    // Those of the last life are just being closed.
    eventually(&format!("no more descriptors after {LIVES} lives than after {SETTLED}"), || {
        (open() <= before + 4).then_some(())
    });
    let instance = service.state().join("instances").join(id);
    eventually("nothing of a run that is over", || {
        (entries(&instance.join("runs")) == 0).then_some(())
    });
    let operations = service.ask(json!({ "verb": "operations" }));
    assert!(operations.as_array().expect("a list").len() <= 101, "the oldest are forgotten");
}

fn waits(service: &Service, told: usize) {
    eventually("the hook has told", || (service.told().len() >= told).then_some(()));
}

#[test]
fn op_12_a_store_that_was_damaged_is_refused_by_name() {
    let mut service = Service::start();
    service.instantiate(&Pkg::new(&service, "x", "p").on("INSTANTIATE", "told once"));
    service.kill();
    let path = service.state().join("vnf.redb");
    let whole = fs::read(&path).expect("it is there");
    let mut damaged = whole.clone();
    damaged[4096..].iter_mut().for_each(|byte| *byte = !*byte);
    fs::write(&path, damaged).expect("written");
    let told = service.refuses_another(&[]);
    assert!(told.contains("vnf.redb"), "{told}");
    // What was laid aside is taken up again.
    fs::write(&path, whole).expect("written");
    service.run(&[], "");
    assert_eq!(service.status("x")["state"], "INSTANTIATED");
    service.tells(&["once"]);
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
