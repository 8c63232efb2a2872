//! From the moment a guest reboots or powers off, by the time QEMU puts on its own event of it, to the line in
//! `vnode events -f`: QEMU's own end, the monitor, the daemon and the command are in it. The guest's own way down, which is
//! slow in emulation and nobody's of ours, is not.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use vnode_testkit::{Host, eventually};

use super::{LONG, ends, vnode};
use crate::table::{Table, median};

const ROUNDS: usize = 4;
/// What the command is in the guest, and what `vnode events` says of it.
const WAYS: [(&str, &str); 2] = [("reboot", "rebooted inside"), ("poweroff", "powered off inside")];

/// When the guests of this host wanted their ends, in the order in which they did.
fn wanted(host: &Host) -> Vec<Duration> {
    let log = std::fs::read_to_string(host.state_dir().join("daemon.log")).unwrap_or_default();
    let at = |line: &str| {
        let (_, rest) = line.split_once("machine shuts down")?.1.split_once(" at=")?;
        let number = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        number.parse().ok().map(Duration::from_micros)
    };
    log.lines().filter_map(at).collect()
}

pub(super) fn measure(table: &mut Table, host: &Host, image: &Path) {
    // The agent is in the machine's root, which has half of its memory.
    let lab = super::lab(image, 1)
        .replace("append: quiet", "append: quiet, ready: agent")
        .replace("192MiB", "448MiB");
    let file = host.write("ends.clab.yml", &lab).display().to_string();
    vnode(host, &["up", &file]);
    let mut listener = host
        .vnode_command(&["events", "-f", "--json", "--kind", "node.exited"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("vnode starts");
    let lines = BufReader::new(listener.stdout.take().expect("piped"));
    let (sender, told) = mpsc::channel();
    // Ends with the listener, which ends with the host at the latest.
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if sender.send((SystemTime::now(), line)).is_err() {
                return;
            }
        }
    });
    let mut late = Vec::new();
    let before = wanted(host).len();
    for (round, (way, words)) in [WAYS; ROUNDS].concat().into_iter().enumerate() {
        // A boot by command waits for the agent; one after a reboot inside may still go on, and what ends before it is over
        // is the end of that boot.
        eventually("the machine runs, and its agent answers", LONG, || {
            let runs = host.vnode(&["state", "m1"]).stdout.trim() == "running";
            (runs && host.exec("m1", &["true"]).code == 0).then_some(())
        });
        let mut asked = host.vnode_command(&["exec", "m1", "--", way, "-f"]);
        let mut asked =
            asked.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("vnode starts");
        let begun = Instant::now();
        let arrived = loop {
            let left = LONG.saturating_sub(begun.elapsed());
            match told.recv_timeout(left) {
                Ok((at, line)) if line.contains(words) => break at,
                // Of the boots before.
                Ok(_) => {}
                Err(error) => panic!("`vnode events` does not tell of the {way}: {error}"),
            }
        };
        let at = eventually("QEMU has told when the guest wanted its end", LONG, || {
            wanted(host).get(before + round).copied()
        });
        let arrived = arrived.duration_since(UNIX_EPOCH).expect("it is later than 1970");
        late.push(arrived.saturating_sub(at).as_secs_f64() * 1e3);
        ends(&mut asked, "`vnode exec` of a machine that is gone");
        if way == "poweroff" {
            vnode(host, &["boot", "m1"]);
        }
    }
    // The child leads into the host; the client is in it.
    for client in host.processes().iter().filter(|p| p.argv.iter().any(|a| a == "node.exited")) {
        client.kill();
    }
    ends(&mut listener, "`vnode events -f`, which was killed,");
    vnode(host, &["down", "machines"]);
    let most = late.iter().copied().fold(0.0, f64::max);
    table.row(
        "a machine reboots or powers off inside, until `vnode events`",
        &format!("{:.2} ms (most {most:.2})", median(&late)),
        "from the time on QEMU's own SHUTDOWN event; QEMU's own end is in it",
        "at most 20 ms",
        Some(median(&late) <= 20.0),
        json!({ "ms": late }),
    );
}
