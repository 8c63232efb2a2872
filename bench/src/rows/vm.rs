//! A virtual machine: creation, and boot to its init beside the same QEMU command line started by hand.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vnode_testkit::Host;

use crate::table::{Limit, Table, median};

const ROUNDS: usize = 5;
/// What the image's first script prints.
const MARK: &str = "vnode: up";
/// The command line of the driver's kernels, and what it adds without KVM.
const LINE: &str = "console=ttyS0 panic=-1 net.ifnames=0 random.trust_cpu=on quiet";
const EMULATED: &str = " no_timer_check";
const LONG: Duration = Duration::from_secs(120);

fn lab(image: &Path, nodes: usize) -> String {
    let image = image.display();
    let vm = format!(
        "{{kind: vm, memory: 192MiB, network-mode: none, restart-policy: \"no\", \
         vm: {{kernel: {image}/vmlinux, initrd: {image}/initrd, append: quiet}}}}"
    );
    let nodes: String = (1..=nodes).map(|i| format!("    m{i}: {vm}\n")).collect();
    format!("name: machines\ntopology:\n  nodes:\n{nodes}")
}

/// Milliseconds from `start` until the console says that the guest's init runs.
fn init_after(console: &Path, start: Instant) -> f64 {
    let mark = || std::fs::read(console).is_ok_and(|t| String::from_utf8_lossy(&t).contains(MARK));
    while !mark() {
        assert!(start.elapsed() < LONG, "the guest's init does not run");
        std::thread::sleep(Duration::from_millis(2));
    }
    start.elapsed().as_secs_f64() * 1e3
}

/// The same machine by hand.
fn by_hand(image: &Path, console: &Path, kvm: bool) -> Child {
    let model = if kvm { "q35,accel=kvm,vmport=off" } else { "q35,accel=tcg,vmport=off" };
    Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-monitor", "none"])
        .args(["-machine", model, "-cpu", if kvm { "host" } else { "max,la57=off" }])
        .args(["-smp", "1", "-m", "192M", "-display", "none"])
        .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci,id=ports"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-kernel")
        .arg(image.join("vmlinux"))
        .arg("-initrd")
        .arg(image.join("initrd"))
        .args(["-append", &format!("{LINE}{}", if kvm { "" } else { EMULATED })])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("qemu-system-x86_64 starts")
}

pub(crate) fn measure(table: &mut Table) {
    if let Some(why) = vnode_testkit::guest::missing() {
        table.missing("virtual machines", &why);
        return;
    }
    let host = Host::new();
    let image = host.dir().join("image");
    host.vnode(&["image", "build", &image.display().to_string()]).ok();
    let kvm = !host.vnode(&["doctor"]).stdout.contains("by emulation");

    let many = host.write("many.clab.yml", &lab(&image, 20)).display().to_string();
    let mut created = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        host.vnode(&["up", "--no-boot", &many, "--quiet"]).ok();
        created.push(start.elapsed().as_secs_f64() * 1e3);
        host.vnode(&["down", "machines"]).ok();
    }
    let note = "20 definitions, no boot";
    table.figure("20 virtual machines created", median(&created), "ms", 1000.0, note);

    let one = host.write("one.clab.yml", &lab(&image, 1)).display().to_string();
    host.vnode(&["up", "--no-boot", &one]).ok();
    let log = host.state_dir().join("nodes/machines/m1/console.log");
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // The log of the last boot would be taken for this one's.
        let _ = std::fs::write(&log, "");
        let start = Instant::now();
        host.vnode(&["boot", "m1"]).ok();
        ours.push(init_after(&log, start));
        host.vnode(&["halt", "m1", "--time", "0"]).ok();
        let console = host.dir().join("console");
        let _ = std::fs::remove_file(&console); // the first round has none
        let start = Instant::now();
        let mut child = by_hand(&image, &console, kvm);
        floor.push(init_after(&console, start));
        child.kill().expect("a started child can be killed");
        child.wait().expect("a started child can be waited for");
    }
    let measure = "a virtual machine: `vnode boot` to the guest's init";
    table.ratio(measure, &ours, "the same QEMU by hand", &floor, Limit::AtMost(1.05));
}
