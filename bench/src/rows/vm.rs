//! A virtual machine: creation, and boot to its init beside the same QEMU command line started by hand; its end as `vnode events`
//! tells it; its throughput beside the same devices wired by hand.

mod ends;
mod throughput;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vnode_testkit::{Host, built_program};

use crate::table::{Limit, Table, median};

const ROUNDS: usize = 11;
/// What the image's first script prints.
const MARK: &str = "vnode: up";
/// The command line of the driver's kernels, and what it adds without KVM.
const LINE: &str = "console=ttyS0 panic=-1 net.ifnames=0 random.trust_cpu=on quiet";
const EMULATED: &str = " no_timer_check";
/// Whatever is waited for longer than this does not come.
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

/// The machine of the driver by hand, but for its serial line and its links.
fn by_hand(mut command: Command, image: &Path, kvm: bool, memory: &str) -> Command {
    let model = if kvm { "q35,accel=kvm,vmport=off" } else { "q35,accel=tcg,vmport=off" };
    command
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-monitor", "none"])
        .args(["-machine", model, "-cpu", if kvm { "host" } else { "max,la57=off" }])
        .args(["-smp", "1", "-m", memory, "-display", "none"])
        .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci,id=ports"])
        .arg("-kernel")
        .arg(image.join("vmlinux"))
        .arg("-initrd")
        .arg(image.join("initrd"))
        .args(["-append", &format!("{LINE}{}", if kvm { "" } else { EMULATED })]);
    command
}

/// A program of the host's that is not waited for without end; what it prints.
fn bounded(host: &Host, program: &[&str]) -> String {
    let mut command = host.command("timeout");
    command.args(["--kill-after=5", &LONG.as_secs().to_string()]).args(program);
    let ran = command.env("VNODE_STATE_DIR", host.state_dir()).output().expect("sh starts");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let end = match ran.status.code() {
        Some(0) => return text,
        Some(124 | 137) => format!("was not over after {} s", LONG.as_secs()),
        code => format!("ended with {code:?}"),
    };
    panic!("`{}` {end}: {text}{said}", program.join(" "));
}

/// `vnode`, which is not waited for without end; what it prints.
fn vnode(host: &Host, args: &[&str]) -> String {
    let program = built_program("vnode").display().to_string();
    bounded(host, &[&[program.as_str()], args].concat())
}

/// Waits for the end of a program, and not for ever.
fn ends(child: &mut Child, what: &str) {
    let start = Instant::now();
    while child.try_wait().expect("a started child can be asked").is_none() {
        if start.elapsed() > LONG {
            child.kill().expect("a started child can be killed");
            child.wait().expect("a started child can be waited for");
            panic!("{what} was not over after {} s", LONG.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn measure(table: &mut Table) {
    if let Some(why) = vnode_testkit::guest::missing() {
        table.missing("virtual machines", &why);
        return;
    }
    let mut host = Host::new();
    // When guests want their end stands in the daemon's log.
    host.set_env("RUST_LOG", "warn,vnode_qemu=debug");
    let image = host.dir().join("image");
    host.build_image(&image).ok();
    let kvm = !vnode(&host, &["doctor"]).contains("by emulation");
    creation(table, &host, &image);
    boot(table, &host, &image, kvm);
    ends::measure(table, &host, &image);
    throughput::measure(table, &host, &image, kvm);
}

fn creation(table: &mut Table, host: &Host, image: &Path) {
    let many = host.write("many.clab.yml", &lab(image, 20)).display().to_string();
    let mut created = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        host.vnode(&["up", "--no-boot", &many, "--quiet"]).ok();
        created.push(start.elapsed().as_secs_f64() * 1e3);
        vnode(host, &["down", "machines"]);
    }
    let note = "20 definitions, no boot";
    table.figure("20 virtual machines created", median(&created), "ms", 1000.0, note);
}

fn boot(table: &mut Table, host: &Host, image: &Path, kvm: bool) {
    let one = host.write("one.clab.yml", &lab(image, 1)).display().to_string();
    vnode(host, &["up", "--no-boot", &one]);
    let log = host.state_dir().join("nodes/machines/m1/console.log");
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // The log of the last boot would be taken for this one's.
        let _ = std::fs::write(&log, "");
        let start = Instant::now();
        host.vnode(&["boot", "m1"]).ok();
        ours.push(init_after(&log, start));
        vnode(host, &["halt", "m1", "--time", "0"]);
        let console = host.dir().join("console");
        let _ = std::fs::remove_file(&console); // the first round has none
        let start = Instant::now();
        let mut child = by_hand(Command::new("qemu-system-x86_64"), image, kvm, "192M")
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("qemu-system-x86_64 starts");
        floor.push(init_after(&console, start));
        child.kill().expect("a started child can be killed");
        child.wait().expect("a started child can be waited for");
    }
    let measure = "a virtual machine: `vnode boot` to the guest's init";
    table.ratio(measure, &ours, "the same QEMU by hand", &floor, Limit::AtMost(1.05));
    vnode(host, &["down", "machines"]);
}
