//! Limits that control groups keep, for all processes of an instance together (BX-73).

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use vnode_processes::Places;

use crate::common::{Pkg, Service, read, unique};

/// The instance's own groups among those of a `cgroup` of one of its processes.
fn groups(text: &str, id: &str) -> Vec<PathBuf> {
    let Places { v2, v1 } = Places::from_texts(&read(Path::new("/proc/self/mountinfo")), text);
    let mut all: Vec<PathBuf> = v2.into_iter().chain(v1.into_values()).collect();
    all.retain(|folder| folder.ends_with(format!("vnode-vnf-{id}")));
    all
}

/// The first of these files that is there.
fn first(groups: &[PathBuf], files: &[&str]) -> Option<String> {
    let mut paths = groups.iter().flat_map(|group| files.iter().map(move |file| group.join(file)));
    let text = fs::read_to_string(paths.find(|path| path.exists())?).expect("it can be read");
    Some(text.trim().to_owned())
}

fn warnings(op: &Value, limit: &str) -> usize {
    let all = op["warnings"].as_array().into_iter().flatten();
    all.filter(|warning| warning.as_str().expect("a text").starts_with(limit)).count()
}

#[test]
fn bx_73_processor_time_and_disks_are_limited_for_the_whole_instance_or_it_is_told() {
    let service = Service::start();
    let name = unique("l");
    let command = json!([service.program(&name), service.lifeline()]);
    // Longer than its share of one period, whatever the processor.
    let busy = "cat /proc/self/cgroup > groups; i=0; while test $i -lt 100000; do i=$((i+1)); done";
    let of = |version: &str, limits: Value| {
        Pkg::new(&service, "x", &name)
            .set("version", json!(version))
            .set("start_command", command.clone())
            .set("limits", limits)
            .on("INSTANTIATE", busy)
            .on("UPDATE", "true")
            .on("TEST", "true")
    };
    let op = service.instantiate(&of("1.0.0", json!({ "cpu_max": 0.1, "io_weight": 250 })));
    let shown = service.ask(json!({ "verb": "show", "name": "x" }));
    let id = shown["id"].as_str().expect("an id");
    let work = shown["work_dir"].as_str().expect("a folder");
    let groups = groups(&read(Path::new(&format!("{work}/groups"))), id);
    let places = Places::detect().expect("/proc is there");
    let root = rustix::process::geteuid().is_root();
    // Two scripts and a process of one operation, which warns once.
    let told = |limit: &str| warnings(&op, &format!("limits.{limit} is not kept: "));
    let has = |controller: &str| root && places.v1.contains_key(controller);
    if told("cpu_max") == 0 {
        let quota = first(&groups, &["cpu.max", "cpu.cfs_quota_us"]).expect("it is limited");
        assert!(quota == "10000 100000" || quota == "10000", "{quota}");
        let stat = first(&groups, &["cpu.stat"]).expect("it is counted");
        let held = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok());
        assert!(held.is_some_and(|held: u64| held > 0), "{stat}");
    } else {
        assert!(!has("cpu"), "{op}");
        println!("skipped in part: {}", op["warnings"]);
        assert_eq!(told("cpu_max"), 1, "{op}");
    }
    if told("io_weight") == 0 {
        let files = ["io.weight", "io.bfq.weight", "blkio.bfq.weight", "blkio.weight"];
        let weight = first(&groups, &files).expect("it has a weight");
        assert!(weight == "default 250" || weight == "250", "{weight}");
    } else {
        println!("skipped in part: {}", op["warnings"]);
        assert_eq!(told("io_weight"), 1, "{op}");
    }
    // What it started itself is in the same groups.
    let pid = service.status("x")["pids"][0].to_string();
    for group in &groups {
        let inside = read(&group.join("cgroup.procs"));
        assert!(inside.lines().any(|line| line == pid), "{pid} in {}: {inside}", group.display());
    }
    // A revision without limits takes them away from what runs on.
    service.push(&of("2.0.0", json!({})));
    service.ask(json!({ "verb": "update", "name": "x" }));
    let quota = first(&groups, &["cpu.max", "cpu.cfs_quota_us"]);
    assert!(quota.as_deref().is_none_or(|quota| matches!(quota, "max 100000" | "-1")), "{quota:?}");
    service.ask(json!({ "verb": "terminate", "name": "x" }));
    for group in groups {
        assert!(!group.exists(), "{} is left", group.display());
    }
}
