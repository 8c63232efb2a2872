//! Nodes of kind `vm`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{lab, read};
use vnode_topology::{NodeChange, NodeKind, export};

const WHOLE: &str = "\
name: m
topology:
  kinds:
    vm: {memory: 1GiB, vm: {seed: config-drive, ready: agent}}
  nodes:
    r:
      kind: vm
      image: ./disk.qcow2
      cpu: 2
      vm: {firmware: uefi, disk: 20GiB, disks: [1GiB], queues: 2, ready: reachable, vnc: true}
    h:
  links:
    - endpoints: [\"r:eth1\", \"h:eth1\"]
";

#[test]
fn a_machine_has_the_keys_of_its_layers_and_paths_from_the_files_folder() {
    let lab = lab(WHOLE);
    let node = lab.node("r").unwrap();
    assert_eq!(node.kind, NodeKind::Vm);
    let image = lab.folder.join("disk.qcow2").display().to_string();
    assert_eq!(node.image.as_deref(), Some(image.as_str()));
    let vm = node.vm.as_ref().unwrap();
    assert_eq!(
        (vm.seed.as_deref(), vm.ready.as_deref()),
        (Some("config-drive"), Some("reachable"))
    );
    assert_eq!((vm.disk_bytes, vm.disks_bytes.as_slice()), (Some(20 << 30), &[1 << 30][..]));
    assert!(lab.node("h").unwrap().vm.is_none());
    // T-100
    let again = support::lab(&export(&lab));
    assert_eq!(again.node("r"), lab.node("r"));
}

#[test]
fn what_makes_no_sense_is_told_at_its_place() {
    // Errors, or else warnings.
    let of = |keys: &str| match read(&format!(
        "name: m\ntopology:\n  nodes:\n    r: {{kind: vm, {keys}}}\n"
    )) {
        Ok(parsed) => parsed.warnings.iter().map(|w| format!("{w}\n")).collect(),
        Err(rejected) => rejected.to_string(),
    };
    let told = |keys: &str, text: &str| {
        let all: String = of(keys);
        assert!(all.contains(text), "{keys}: {all}");
    };
    told("cpu: 1", "has nothing to boot");
    told("image: host", "no disk that a machine boots from");
    told("image: a.qcow2, vm: {machine: pc}", "`machine` is one of q35, microvm");
    told("image: a.qcow2, vm: {initrd: x}", "`initrd` goes with `kernel`");
    told("vm: {kernel: k, firmware: uefi}", "booted without firmware");
    told("image: a.qcow2, vm: {disks: [many]}", "`many` is no size");
    told("image: a.qcow2, binds: ['/a:/b']", "`binds` has no meaning for a virtual machine");
    told("image: a.qcow2, vm: {colour: red}", "colour");
    assert!(of("vm: {kernel: k}").is_empty());
}

#[test]
fn a_change_of_size_waits_for_a_boot_and_of_the_machine_takes_its_disk() {
    let old = lab(WHOLE);
    let change = |from: &str, to: &str| {
        let new = lab(&WHOLE.replace(from, to));
        old.node("r").unwrap().change_to(new.node("r").unwrap())
    };
    assert_eq!(change("cpu: 2", "cpu: 3"), NodeChange::Limits);
    assert!(matches!(change("vnc: true", "vnc: false"), NodeChange::Renew { .. }));
    // Its own `vm` means nothing for a container, and is warned of.
    let container =
        read(&WHOLE.replace("kind: vm\n      image: ./disk.qcow2", "kind: linux")).unwrap();
    let change = old.node("r").unwrap().change_to(container.lab.node("r").unwrap());
    assert!(matches!(change, NodeChange::Recreate { .. }));
}
