//! The guest agent beside QEMU's own, on unix sockets of this machine, in turn in one run.

pub(super) mod client;
mod xenstore;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use vnode_testkit::{Host, built_program, eventually, tools};

use crate::table::{Table, median};
use client::{Guest, Native};

const PINGS: usize = 3000;
const RUNS: usize = 300;
/// How long nothing is asked, to see whether the agent sleeps.
const IDLE: Duration = Duration::from_secs(10);
/// How often a client that polls asks for a program's result.
const POLL: Duration = Duration::from_millis(1);
const MIB: usize = 1 << 20;
/// QEMU's agent is slow: its rate is taken of a part of the file.
const SLOW_SHARE: usize = 8;
/// Bytes asked for at a time from QEMU's agent: the most that libvirt lets through.
const SLOW_PIECE: usize = 4 * MIB;

/// An agent that runs; ends with the value.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(mut command: Command, socket: PathBuf) -> Agent {
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        eventually("the agent listens", Duration::from_secs(30), || {
            UnixStream::connect(&socket).ok()
        });
        Agent { child, socket }
    }

    /// A number of `/proc/PID/status`, in its unit.
    fn status(&self, field: &str) -> f64 {
        field_of(&format!("/proc/{}/status", self.child.id()), field)
    }

    /// How often any of its threads was given a processor.
    fn switches(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let tasks = tasks.expect("it runs").flatten().map(|task| task.path().join("status"));
        tasks
            .map(|path| {
                let path = path.display().to_string();
                field_of(&path, "voluntary_ctxt_switches")
                    + field_of(&path, "nonvoluntary_ctxt_switches")
            })
            .sum()
    }
}

fn field_of(path: &str, field: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|v| v.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

pub(crate) fn measure(table: &mut Table) {
    let host = Host::new();
    let dir = host.dir();
    let theirs = match tools::command("usr/sbin/qemu-ga") {
        Ok(mut command) => {
            let socket = dir.join("qemu-ga.sock");
            command.args(["-m", "unix-listen", "-p"]).arg(&socket).arg("-t").arg(dir);
            Agent::start(command, socket)
        }
        Err(why) => {
            table.missing("the guest agent beside qemu-ga", &why);
            return;
        }
    };
    let program = built_program("vnode-agent");
    let (native, guest) = (dir.join("native.sock"), dir.join("guest.sock"));
    let config = dir.join("agent.toml");
    let text = format!(
        "defaults = false\n\
         [log]\nlevel = \"warn\"\n\
         [[channel]]\nname = \"native\"\nexchange = \"unix\"\nparser = \"native\"\npath = {native:?}\n\
         [[channel]]\nname = \"guest\"\nexchange = \"unix\"\nparser = \"guest\"\npath = {guest:?}\n\
         [[channel]]\nname = \"virtio\"\nexchange = \"virtio\"\nparser = \"guest\"\n\
         path = \"/dev/virtio-ports/org.qemu.guest_agent.0\"\n\
         [command.guest]\nstate-dir = {dir:?}\n"
    );
    std::fs::write(&config, text).expect("the host's directory is writable");
    let mut command = Command::new(&program);
    command.args(["run", "--quiet", "--config"]).arg(&config);
    let ours = Agent::start(command, guest);

    idle(table, &ours, &theirs);
    pings(table, &ours, &theirs);
    programs(table, &native, &ours, &theirs);
    files(table, dir, &native, &theirs);
    let peak = ours.status("VmHWM") / 1024.0;
    table.figure("the agent's memory at its highest, after all of this", peak, "MiB", 16.0, "-");
    // Within ten seconds after the last request the agent lets go of what it does not use.
    std::thread::sleep(IDLE + Duration::from_secs(3));
    memory(table, "the agent idle again", &ours, &theirs);
    xenstore::measure(table, &host, &program);
}

/// Memory and wake-ups while nobody asks: first of all, before a request has left anything behind.
fn idle(table: &mut Table, ours: &Agent, theirs: &Agent) {
    // The connections that told of their start have to be seen as gone first, and ours gives memory back once, five to six
    // seconds after the last: that belongs to them.
    let before = eventually("both are quiet", Duration::from_secs(60), || {
        let once = (ours.switches(), theirs.switches());
        std::thread::sleep(Duration::from_secs(7));
        ((ours.switches(), theirs.switches()) == once).then_some(once)
    });
    std::thread::sleep(IDLE);
    let woken = (ours.switches() - before.0, theirs.switches() - before.1);
    table.figure(
        &format!("the agent idle: wake-ups in {} s", IDLE.as_secs()),
        woken.0,
        "",
        0.0,
        &format!("qemu-ga: {}", woken.1),
    );
    memory(table, "the agent idle", ours, theirs);
}

/// What both hold.
fn memory(table: &mut Table, when: &str, ours: &Agent, theirs: &Agent) {
    for (what, field, most) in [("resident", "VmRSS", 4.0), ("anonymous", "RssAnon", 1.0)] {
        let of = |agent: &Agent| agent.status(field) / 1024.0;
        let beside = format!("qemu-ga: {:.2} MiB", of(theirs));
        table.figure(&format!("{when}: {what} memory"), of(ours), "MiB", most, &beside);
    }
}

/// Round trips of `guest-ping`, free and with all three processes on one processor.
fn pings(table: &mut Table, ours: &Agent, theirs: &Agent) {
    let all = [std::process::id(), ours.child.id(), theirs.child.id()];
    for (how, cpus) in [("", "0-1023"), (", all on one processor", "0")] {
        for pid in all {
            let mut taskset = Command::new("taskset");
            taskset.args(["-a", "-c", "-p", cpus, &pid.to_string()]).stdout(Stdio::null());
            let status = taskset.status().expect("taskset is installed");
            assert!(status.success(), "taskset of {pid}");
        }
        let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
        // In turn, so that the machine's other work meets both.
        for _ in 0..5 {
            for (agent, times) in [(ours, &mut our_times), (theirs, &mut their_times)] {
                let mut guest = Guest::connect(&agent.socket);
                for _ in 0..PINGS / 10 {
                    guest.ping();
                }
                times.extend((0..PINGS / 5).map(|_| {
                    let start = Instant::now();
                    guest.ping();
                    start.elapsed().as_secs_f64() * 1e6
                }));
            }
        }
        table.times(
            &format!("`guest-ping` on a unix socket{how}"),
            "µs",
            &our_times,
            "qemu-ga",
            &their_times,
            Some(0.5),
        );
    }
    for pid in all {
        let mut taskset = Command::new("taskset");
        taskset.args(["-a", "-c", "-p", "0-1023", &pid.to_string()]).stdout(Stdio::null());
        taskset.status().expect("taskset is installed");
    }
}

/// An empty program and its result.
fn programs(table: &mut Table, native: &Path, ours: &Agent, theirs: &Agent) {
    let mut own = Native::connect(native);
    let (mut our_guest, mut their_guest) =
        (Guest::connect(&ours.socket), Guest::connect(&theirs.socket));
    let mut times = [const { Vec::new() }; 3];
    for round in 0..=RUNS {
        let took = [
            time(|| own.exec("/bin/true")),
            time(|| our_guest.exec("/bin/true", POLL)),
            time(|| their_guest.exec("/bin/true", POLL)),
        ];
        // The first round warms.
        if round > 0 {
            for (all, took) in times.iter_mut().zip(took) {
                all.push(took * 1e3);
            }
        }
    }
    let [own, our_guest, their_guest] = times;
    let polled = "qemu-ga asked every ms";
    table.times(
        "an empty program run and its result fetched, own form",
        "ms",
        &own,
        polled,
        &their_guest,
        Some(0.6),
    );
    table.times("the same, qemu-ga's form", "ms", &our_guest, polled, &their_guest, Some(1.0));
}

fn time(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// A large file: `VNODE_BENCH_FILE_MIB`, by default 256.
fn files(table: &mut Table, dir: &Path, native: &Path, theirs: &Agent) {
    let size = std::env::var("VNODE_BENCH_FILE_MIB").ok().and_then(|text| text.parse().ok());
    let size: usize = size.unwrap_or(256);
    // In memory: it is not the disk that is measured.
    let path = PathBuf::from(format!("/dev/shm/vnode-bench-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).expect("/dev/shm is writable");
    let piece: Vec<u8> = (0..MIB).map(|n| (n * 31 % 251) as u8).collect();
    for _ in 0..size {
        file.write_all(&piece).expect("/dev/shm has room");
    }
    drop(file);
    let rate = |bytes: usize, seconds: f64| bytes as f64 / MIB as f64 / seconds;
    let (mut own, mut plain, mut slow) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut client = Native::connect(native);
        let mut got = 0;
        own.push(rate(size * MIB, time(|| got = client.get(&path))));
        assert_eq!(got, size * MIB, "the whole file comes");
        plain.push(rate(size * MIB, plain_copy(dir, &path, size * MIB)));
        let part = (size / SLOW_SHARE).max(1) * MIB;
        let mut guest = Guest::connect(&theirs.socket);
        slow.push(rate(part, time(|| guest.get(&path, part, SLOW_PIECE))));
    }
    let _ = std::fs::remove_file(&path); // memory of this run only
    let (own_rate, plain, slow) = (median(&own), median(&plain), median(&slow));
    table.row(
        &format!("a file of {size} MiB from the agent, own form"),
        &format!("{own_rate:.0} MiB/s"),
        &format!(
            "qemu-ga (a part of it, {} MiB at a time): {slow:.0} MiB/s; {:.1} times",
            SLOW_PIECE / MIB,
            own_rate / slow
        ),
        "at least 10 times qemu-ga",
        Some(own_rate >= 10.0 * slow),
        json!({ "ours_mib_s": own, "qemu_ga_mib_s": slow }),
    );
    table.row(
        "the same",
        &format!("{own_rate:.0} MiB/s"),
        &format!("plain copy over a unix socket: {plain:.0} MiB/s; {:.2} of it", own_rate / plain),
        "at least half of a plain socket copy",
        Some(own_rate >= 0.5 * plain),
        json!({ "plain_mib_s": plain }),
    );
}

/// Reads a file and writes it to a socket, 256 KiB at a time, while another process's worth of reading goes on.
fn plain_copy(dir: &Path, path: &Path, size: usize) -> f64 {
    let socket = dir.join("plain.sock");
    let _ = std::fs::remove_file(&socket); // the one of the round before
    let listener = UnixListener::bind(&socket).expect("the host's directory is writable");
    let path = path.to_owned();
    let server = std::thread::spawn(move || {
        let (mut to, _) = listener.accept().expect("a client comes");
        let mut from = std::fs::File::open(path).expect("the file is there");
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = from.read(&mut buffer).expect("it is read");
            if count == 0 {
                break;
            }
            to.write_all(&buffer[..count]).expect("the client reads");
        }
    });
    let took = time(|| {
        let mut from = UnixStream::connect(&socket).expect("the server listens");
        let mut buffer = vec![0; 256 << 10];
        let mut got = 0;
        while got < size {
            let count = from.read(&mut buffer).expect("the server writes");
            assert!(count > 0, "the whole file comes");
            got += count;
        }
    });
    server.join().expect("the server ends");
    took
}
