use serde_json::json;
use vnode_driver::{BaseDisk, DiskFormat, Machine};

use super::*;

fn here(kvm: bool) -> Accelerators {
    Accelerators { qemu: Some("7.2.22".to_owned()), kvm, reason: "a test says so".to_owned() }
}

fn spec(change: impl FnOnce(&mut Machine)) -> NodeSpec {
    let kernel = json!({ "kernel": { "kernel": "/k", "initrd": "/i", "append": "quiet" } });
    let mut machine: Machine = serde_json::from_value(json!({
        "model": "q35", "accelerator": "auto", "start": kernel, "cpus": 4, "memory_bytes": 768 << 20, "disk": null,
        "disks": [], "nic": "virtio", "queues": 1, "seed": "nocloud", "user_data": null, "ready": "started",
        "ready_timeout_ms": 1, "vnc": false, "watchdog": false, "vsock": false,
    }))
    .unwrap();
    change(&mut machine);
    let bare = NodeSpec::bare("lab", "vm,1", 7, "00000000-0000-4000-8000-000000000001");
    NodeSpec { machine: Some(machine), ..bare }
}

fn nic() -> Nic {
    Nic {
        name: "eth1".to_owned(),
        tap: "vnt-3".to_owned(),
        mac: "02:00:00:00:00:01".parse().unwrap(),
        mtu: 9500,
        addresses: Vec::new(),
        gateways: Vec::new(),
    }
}

/// The line, with a blank between any two words and at both ends.
fn line(change: impl FnOnce(&mut Machine)) -> String {
    format!(" {} ", build(&spec(change), &here(false), &[nic()]).unwrap().argv.join(" "))
}

fn refusal(change: impl FnOnce(&mut Machine), accelerators: &Accelerators) -> String {
    build(&spec(change), accelerators, &[]).err().expect("it is refused").to_string()
}

#[test]
fn a_machine_has_what_was_ordered_is_confined_and_has_nothing_else() {
    let plain = line(|_| {});
    for words in [
        " -name vm,,1 -nodefaults -no-user-config -no-reboot ",
        " -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny ",
        " -machine q35,accel=tcg,vmport=off -cpu max,la57=off ",
        " -smp 4 -m 768M ",
        " -device virtio-rng-pci -device virtio-serial-pci,id=ports ",
        "name=org.vnode.agent.0 ",
        "name=org.qemu.guest_agent.0 ",
        " -chardev stdio,id=console,signal=off -serial chardev:console ",
        " -kernel /image/kernel -initrd /image/initrd -append console=ttyS0 ",
        " -netdev tap,id=net0,ifname=vnt-3,script=no,downscript=no \
         -device virtio-net-pci,host_mtu=9500,id=nic0,netdev=net0,mac=02:00:00:00:00:01,romfile= ",
        " -display none ",
    ] {
        assert!(plain.contains(words), "{words} is not in {plain}");
    }
    for word in ["VGA", "-vnc", "watchdog", "i6300esb", "vsock", "pflash", "queues=", "mq=on"] {
        assert!(!plain.contains(word), "{word} is in {plain}");
    }
}

#[test]
fn queues_screen_watchdog_and_sockets_of_the_host_come_when_they_are_asked_for() {
    let all = line(|machine| {
        (machine.queues, machine.vnc, machine.watchdog, machine.vsock) = (4, true, true, true);
        machine.disks = vec![1 << 20];
    });
    for words in [
        "script=no,downscript=no,queues=4 ",
        "romfile=,mq=on,vectors=10 ",
        " -device VGA,vgamem_mb=16 -vnc unix:/vm/vnc.sock ",
        " -device i6300esb -action watchdog=reset ",
        // A guest's address is its node's, beyond those that mean something else.
        " -device vhost-vsock-pci,guest-cid=10 ",
        " -device virtio-blk-pci,id=blk1,drive=disk1,",
    ] {
        assert!(all.contains(words), "{words} is not in {all}");
    }
    assert!(!all.contains("-display none"), "{all}");
    // What the emulated card cannot do is not asked of it.
    let old = line(|machine| (machine.nic, machine.queues) = (NicModel::E1000, 4));
    assert!(old.contains(" -device e1000,id=nic0,netdev=net0,") && !old.contains("mq=on"));
}

#[test]
fn a_disk_is_booted_by_either_firmware_and_a_microvm_has_a_kernel() {
    let disk = |machine: &mut Machine| {
        let (image, format) = ("/d".into(), DiskFormat::Qcow2);
        machine.disk = Some(BaseDisk { image, format, size_bytes: 1 << 20 });
    };
    let bios = line(|machine| {
        machine.start = Start::Bios;
        disk(machine);
    });
    assert!(bios.contains("file.filename=/disks/disk0.qcow2") && bios.contains("bootindex=1"));
    // The driver is named: what a guest writes into its disk does not decide how it is read.
    assert!(bios.contains(" -blockdev driver=qcow2,node-name=disk0,"), "{bios}");
    assert!(!bios.contains("pflash") && bios.contains(" -device VGA,"), "{bios}");
    let uefi = line(|machine| {
        machine.start = Start::Uefi;
        disk(machine);
    });
    assert!(uefi.contains(" -machine pflash0=code,pflash1=vars "), "{uefi}");
    assert!(uefi.contains("OVMF_CODE_4M.fd,read-only=on ") && uefi.contains("/disks/uefi.fd "));
    let small = line(|machine| machine.model = MachineModel::Microvm);
    assert!(small.contains(" -machine microvm,accel=tcg,acpi=on,pit=on,pic=on "), "{small}");
    assert!(small.contains(" -device virtio-rng-device ") && !small.contains("-pci"), "{small}");

    type Change = fn(&mut Machine);
    let microvm: [(Change, &str); 5] = [
        (|machine| machine.start = Start::Bios, "kernel"),
        (|machine| machine.watchdog = true, "watchdog"),
        (|machine| machine.vnc = true, "screen"),
        (|machine| machine.seed = Seed::Metadata, "metadata"),
        (|machine| machine.nic = NicModel::E1000, "virtio"),
    ];
    for (change, reason) in microvm {
        let told = refusal(
            |machine| {
                machine.model = MachineModel::Microvm;
                change(machine);
            },
            &here(false),
        );
        assert!(told.contains(reason) && told.contains("q35"), "{told}");
    }
}

#[test]
fn without_kvm_machines_are_emulated_and_who_insists_is_told() {
    let told = refusal(|machine| machine.accelerator = Accelerator::Kvm, &here(false));
    assert!(told.contains("KVM") && told.contains("a test says so"), "{told}");
    let none = Accelerators { qemu: None, ..here(false) };
    assert!(refusal(|_| {}, &none).contains("a test says so"));
    let emulated = spec(|machine| machine.accelerator = Accelerator::Tcg);
    assert!(!uses_kvm(&emulated, &here(true)).unwrap());
    assert!(uses_kvm(&spec(|_| {}), &here(true)).unwrap());
    assert_eq!(model(MachineModel::Q35, true), "q35,accel=kvm,vmport=off");
    assert_eq!(cpu(false, true), "host");
    assert!(!kernel_line(false, true, "").contains("no_timer_check"));
}
