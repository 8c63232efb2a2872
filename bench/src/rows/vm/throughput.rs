//! Bytes a second from a machine to a container on a LAN, beside the same devices wired by hand, in turn. In both machines the
//! same web server sends a file that is all holes by sendfile(2), so that the guest has little to do but to send.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;
use vnode_testkit::Host;

use super::{LONG, MARK, bounded, by_hand, ends, vnode};
use crate::table::{Table, median};

const ROUNDS: usize = 15;
const MIB: u32 = 128;
/// What a machine of either kind does once. Not over before it serves: who is left in the group of a program that has ended is
/// killed, also a server that has not come to leave it.
const SERVE: &str = "truncate -s 128M /tmp/big; httpd -p 80 -h /tmp </dev/null >/dev/null 2>&1; \
                     until netstat -ltn | grep -q :80; do sleep 0.1; done";
/// Both machines have it, each on a LAN of its own.
const URL: &str = "http://10.9.0.1/big";
const MAC: &str = "02:00:00:00:09:01";

/// No seed: the machine by hand has none, and neither needs it.
const LAB: &str = r#"name: through
topology:
  nodes:
    h1: {kind: linux, image: host, cmd: sleep infinity, network-mode: none}
    m1: {kind: vm, memory: 448MiB, network-mode: none, vm: {kernel: IMAGE/vmlinux, initrd: IMAGE/initrd, append: quiet, ready: agent, seed: none}}
  networks:
    lan0:
      mtu: 1500
      members:
        - {node: h1, interface: eth1, ipv4: 10.9.0.2/24}
        - {node: m1, interface: eth1, ipv4: 10.9.0.1/24}
"#;

/// Fetches the file in the network namespace of process `pid` of the host; Mbit/s.
fn fetched(host: &Host, pid: &str) -> f64 {
    let limit = LONG.as_secs().to_string();
    let text = bounded(
        host,
        &[
            "nsenter",
            "-t",
            pid,
            "-n",
            "curl",
            "-sS",
            "-f",
            "-o",
            "/dev/null",
            "--retry",
            "5",
            "--retry-connrefused",
            "--max-time",
            &limit,
            "-w",
            "%{size_download} %{speed_download}",
            URL,
        ],
    );
    let (size, speed) = text.trim().split_once(' ').expect("curl prints both");
    assert_eq!(size.parse(), Ok(u64::from(MIB) << 20), "the whole file has come");
    speed.parse::<f64>().expect("a number") * 8e-6
}

pub(super) fn measure(table: &mut Table, host: &Host, image: &Path, kvm: bool) {
    if vnode_testkit::find_program("curl").is_none() {
        table.missing("a machine to a container on a LAN", "curl is not installed");
        return;
    }
    let text = LAB.replace("IMAGE", &image.display().to_string());
    let file = host.write("through.clab.yml", &text).display().to_string();
    vnode(host, &["up", &file]);
    let nodes: serde_json::Value =
        serde_json::from_str(&vnode(host, &["ps", "--json"])).expect("JSON");
    let h1 = nodes.as_array().and_then(|all| all.iter().find(|n| n["node"] == "h1"));
    let pid = h1.and_then(|n| n["pid"].as_i64()).expect("h1 runs").to_string();
    vnode(host, &["exec", "m1", "--", "sh", "-c", SERVE]);
    let hand = Hand::start(host, image, kvm);
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (one, other) = (fetched(host, &pid), fetched(host, &hand.pid));
        // The first of each warms the emulator up.
        if round > 0 {
            ours.push(one);
            floor.push(other);
        }
    }
    hand.end(host);
    vnode(host, &["down", "through"]);
    let share = median(&ours) / median(&floor);
    table.row(
        "a machine to a container on a LAN (TCP)",
        &format!("{:.0} Mbit/s", median(&ours)),
        &format!("the same devices by hand: {:.0} Mbit/s; {:.0} %", median(&floor), share * 100.0),
        "at least 95 % of the same devices by hand",
        Some(share >= 0.95),
        json!({ "ours_mbit": ours, "by_hand_mbit": floor }),
    );
}

/// A tap in a bridge, a pair into another namespace, and the same QEMU.
struct Hand {
    /// The process that holds the other namespace, as the host counts.
    pid: String,
    far: Child,
    qemu: Child,
    line: ChildStdin,
}

impl Hand {
    fn start(host: &Host, image: &Path, kvm: bool) -> Self {
        let mut far = host
            .command("unshare")
            .args(["-n", "sh", "-c", "echo $$; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let said = listen(far.stdout.take().expect("piped"));
        let pid = heard(&said, "the other namespace", &["\n"]).trim().to_owned();
        for words in [
            "ip link add handbr type bridge",
            "ip link set handbr up",
            "ip tuntap add dev handtap mode tap vnet_hdr",
            "ip link set handtap master handbr up",
            "ip link add handveth type veth peer name handpeer",
            "ip link set handveth master handbr up",
            &format!("ip link set handpeer netns {pid}"),
            &format!("nsenter -t {pid} -n ip addr add 10.9.0.2/24 dev handpeer"),
            &format!("nsenter -t {pid} -n ip link set handpeer up"),
        ] {
            bounded(host, &words.split(' ').collect::<Vec<_>>());
        }
        let lines = format!("hostname hand\nlink {MAC} eth1 1500\naddress eth1 10.9.0.1/24\n");
        let lines = host.write("hand.network", &lines).display().to_string();
        let mut qemu = by_hand(host.command("qemu-system-x86_64"), image, kvm, "448M");
        qemu.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            .args(["-fw_cfg", &format!("name=opt/vnode/network,file={lines}")])
            .args(["-netdev", "tap,id=net0,ifname=handtap,script=no,downscript=no"])
            .args(["-device"])
            .arg(format!("virtio-net-pci,host_mtu=1500,netdev=net0,mac={MAC},romfile="));
        let mut qemu = qemu
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("qemu-system-x86_64 starts");
        let mut line = qemu.stdin.take().expect("piped");
        let console = listen(qemu.stdout.take().expect("piped"));
        // What is typed before a shell reads is lost when the serial port is set up.
        heard(&console, "the prompt of the machine's shell", &[MARK, "# "]);
        // The words stand apart in what is typed, which is echoed.
        let typed = format!("{SERVE}; echo SER''VES\n");
        line.write_all(typed.as_bytes()).expect("QEMU reads its console");
        heard(&console, "the machine's web server", &["SERVES"]);
        Self { pid, far, qemu, line }
    }

    fn end(mut self, host: &Host) {
        self.line.write_all(b"poweroff -f\n").expect("QEMU reads its console");
        ends(&mut self.qemu, "the machine by hand, which was told to power off,");
        drop(self.far.stdin.take());
        ends(&mut self.far, "what holds the other namespace");
        for name in ["handbr", "handtap"] {
            bounded(host, &["ip", "link", "del", name]);
        }
    }
}

/// What a program prints, as it comes. The reader ends with the program.
fn listen(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, pieces) = mpsc::channel();
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(n) = from.read(&mut some) {
            let piece = String::from_utf8_lossy(&some[..n]).into_owned();
            if n == 0 || sender.send(piece).is_err() {
                return;
            }
        }
    });
    pieces
}

/// Waits until the words come, one after the other; all that came with them.
fn heard(pieces: &mpsc::Receiver<String>, what: &str, words: &[&str]) -> String {
    let (start, mut seen) = (Instant::now(), String::new());
    let all = |seen: &str| {
        words.iter().try_fold(seen, |rest, word| rest.split_once(word).map(|(_, r)| r)).is_some()
    };
    while !all(&seen) {
        let left: Duration = LONG.saturating_sub(start.elapsed());
        match pieces.recv_timeout(left) {
            Ok(piece) => seen.push_str(&piece),
            Err(error) => panic!("waiting for {what}: {error}; it printed: {seen}"),
        }
    }
    seen
}
