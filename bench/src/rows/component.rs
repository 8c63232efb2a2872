//! Components: what one request costs beside the bus and the program it runs, and what the daemon needs of memory.

mod bus;

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use vnode_testkit::{Host, built_program};

use crate::program::busy;
use crate::table::{Table, median};
use bus::{Bus, Call, Caller};

/// Calls of each kind for the cost of one.
const CALLS: usize = 400;
/// Callers at one time, and calls of each.
const CALLERS: usize = 16;
const CALLS_EACH: usize = 60;
/// After the start, before memory is measured: what only the start needed is let go of when it is ready.
const STARTED: Duration = Duration::from_millis(200);
/// After the last call, before memory is measured.
const SETTLED: Duration = Duration::from_secs(3);
/// Rounds in which ours and the floors take turns.
const ROUNDS: usize = 5;
const INPUT: &str = "{\"bench:text\":\"hello\"}";

/// The daemon on a bus of its own; ends with the value.
struct Daemon {
    child: Child,
    bus: Bus,
    /// From its start to its word that it is ready.
    ready: Duration,
}

impl Daemon {
    /// With `files` components in its folder.
    fn start(folder: &Path, files: usize, keys: &str) -> Daemon {
        let instances = folder.join("instances");
        std::fs::create_dir_all(&instances).expect("the host's directory is writable");
        for number in 0..files {
            let text = format!(
                "[Component]\nName=bench.c{number}\n{keys}\n[Model bench.c{number}.v1]\nX-Concurrency=64\n\
                 RPC/bench/echo={}\n",
                script(folder).display()
            );
            let path = instances.join(format!("{number:03}.instance"));
            std::fs::write(path, text).expect("the host's directory is writable");
        }
        let bus = Bus::start(folder);
        // The bus reads its groups and tables when the first one comes: that is not ours.
        drop(Caller::connect(&bus.socket));
        let notify = folder.join("notify");
        let _ = std::fs::remove_file(&notify); // of the daemon before
        let socket = UnixDatagram::bind(&notify).expect("the host's directory is writable");
        let mut command = Command::new(built_program("vnode-agent"));
        command.args(["component", "serve", "--log", "warn", "-instance-dir"]).arg(&instances);
        command.args(["--bus", &bus.address(), "--scripts", "64"]).env("NOTIFY_SOCKET", &notify);
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut told = [0; 64];
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time that is not zero");
        let count = socket.recv(&mut told).expect("it becomes ready");
        assert!(told[..count].starts_with(b"READY=1"), "it is ready");
        Daemon { child, bus, ready: began.elapsed() }
    }

    fn activate(&self, count: usize) {
        let mut caller = Caller::connect(&self.bus.socket);
        for number in 0..count {
            let input = format!("{{\"ephemerad-v1:component\":\"bench.c{number}\"}}");
            let (path, interface) = ("/ephemerad_v1/rpc", "yang.module.EphemeradV1.RPC");
            let to = "net.vyatta.vci.ephemera.v1";
            caller.call(&mut Call::new(to, path, interface, "Activate", &["{}", &input]));
        }
    }

    /// MiB.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 =
            line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or_default();
        kib / 1024.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// A shell script that prints its input: the smallest handler there is.
fn script(folder: &Path) -> PathBuf {
    let path = folder.join("echo");
    if !path.exists() {
        std::fs::write(&path, "#!/bin/sh\nread -r line\necho \"$line\"\n")
            .expect("the host's directory is writable");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("it is ours");
    }
    path
}

fn echo() -> Call {
    Call::new("bench.c0.v1", "/bench/rpc", "yang.module.Bench.RPC", "Echo", &["{}", INPUT])
}

fn ping() -> Call {
    Call::new("bench.c0.v1", "/bench/rpc", "org.freedesktop.DBus.Peer", "Ping", &[])
}

/// The same program, run by hand: its input given, its output and errors read, its end waited for.
fn spawn(script: &Path) {
    let mut child = Command::new(script)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the script starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(INPUT.as_bytes()).expect("the script reads");
    drop(stdin);
    let out = child.wait_with_output().expect("the script ends");
    assert!(out.status.success() && out.stdout.starts_with(INPUT.as_bytes()));
}

pub(crate) fn measure(table: &mut Table) {
    if vnode_testkit::find_program("dbus-daemon").is_none() {
        table.missing("components", "dbus-daemon is not installed");
        return;
    }
    let host = Host::new();
    let folder = |name: &str| {
        let folder = host.dir().join(name);
        std::fs::create_dir_all(&folder).expect("the host's directory is writable");
        folder
    };
    sizes(table, &folder("one"), 1, 5.0, "upstream, measured once: 13 MB after some calls");
    sizes(table, &folder("hundred"), 100, 8.0, "upstream, measured once: 14.4 MB, 101 connections");
    readiness(table, &folder);
    let folder = folder("calls");
    let daemon = Daemon::start(&folder, 1, "");
    daemon.activate(1);
    cost(table, &daemon, &script(&folder));
    crowd(table, &daemon, &script(&folder));
    let calls = CALLS + ROUNDS * CALLERS * CALLS_EACH;
    let beside = format!("after {calls} calls; upstream, measured once, after 2000: 13 MB");
    let resident = daemon.resident();
    table.figure("components: resident memory after all of this", resident, "MiB", 8.0, &beside);
}

fn sizes(table: &mut Table, folder: &Path, count: usize, most: f64, beside: &str) {
    let daemon = Daemon::start(folder, count, "");
    std::thread::sleep(STARTED);
    let started = daemon.resident();
    daemon.activate(count);
    let mut caller = Caller::connect(&daemon.bus.socket);
    caller.call(&mut echo());
    // What only the start needed is let go of a second after it.
    std::thread::sleep(SETTLED);
    let what = if count == 1 { "one component".to_owned() } else { format!("{count} components") };
    let row = format!("components: resident memory, {what} known, just after the start");
    table.figure(&row, started, "MiB", most, "");
    table.figure(
        &format!(
            "components: resident memory, {what} active, {} s after a call",
            SETTLED.as_secs()
        ),
        daemon.resident(),
        "MiB",
        most,
        beside,
    );
}

fn readiness(table: &mut Table, folder: &dyn Fn(&str) -> PathBuf) {
    let (mut hundred, mut none) = (Vec::new(), Vec::new());
    for round in 0..10 {
        for (files, times) in [(100, &mut hundred), (0, &mut none)] {
            let daemon = Daemon::start(&folder(&format!("ready-{files}-{round}")), files, "");
            times.push(daemon.ready.as_secs_f64() * 1e3);
        }
    }
    table.figure(
        "components: ready with 100 instance files",
        median(&hundred),
        "ms",
        10.0,
        &format!("with none: {:.2} ms", median(&none)),
    );
}

/// One request at a time: what is ours of it.
fn cost(table: &mut Table, daemon: &Daemon, script: &Path) {
    let mut caller = Caller::connect(&daemon.bus.socket);
    let (mut echo, mut ping) = (echo(), ping());
    let micros = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e6
    };
    let mut times = [const { Vec::new() }; 3];
    for round in 0..CALLS + 20 {
        let took = [
            micros(&mut || caller.call(&mut echo)),
            micros(&mut || caller.call(&mut ping)),
            micros(&mut || spawn(script)),
        ];
        // The first ones warm.
        if round >= 20 {
            for (all, took) in times.iter_mut().zip(took) {
                all.push(took);
            }
        }
    }
    let [whole, trip, bare] = times.map(|all| median(&all));
    table.figure(
        "components: our own cost of an RPC",
        whole - trip - bare,
        "µs",
        150.0,
        &format!("the RPC {whole:.0} µs; a ping over the same bus {trip:.0} µs; the script run by hand {bare:.0} µs"),
    );
}

/// Sixteen at a time: how many in a second.
fn crowd(table: &mut Table, daemon: &Daemon, script: &Path) {
    let rate = |work: &(dyn Fn() -> Box<dyn FnMut()> + Sync)| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(move || {
                    let mut one = work();
                    for _ in 0..CALLS_EACH {
                        one();
                    }
                });
            }
        });
        (CALLERS * CALLS_EACH) as f64 / start.elapsed().as_secs_f64()
    };
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let spent = || [daemon.child.id(), daemon.bus.pid()].map(busy);
    let before = spent();
    for _ in 0..ROUNDS {
        ours.push(rate(&|| {
            let (mut caller, mut call) = (Caller::connect(&daemon.bus.socket), echo());
            Box::new(move || caller.call(&mut call))
        }));
        let script = script.to_owned();
        bare.push(rate(&|| {
            let script = script.clone();
            Box::new(move || spawn(&script))
        }));
    }
    let (ours, bare) = (median(&ours), median(&bare));
    let calls = (ROUNDS * CALLERS * CALLS_EACH) as f64;
    let micros = |at: usize| (spent()[at] - before[at]) * 1e6 / calls;
    table.row(
        &format!("components: {CALLERS} callers at a time"),
        &format!("{ours:.0} calls/s"),
        &format!(
            "the script run by hand, {CALLERS} at a time: {bare:.0}/s; {:.2} of it; processor time a call: ours {:.0} µs, the bus {:.0} µs",
            ours / bare,
            micros(0),
            micros(1)
        ),
        "at least 0.9 of it",
        Some(ours >= 0.9 * bare),
        json!({ "ours_per_s": ours, "bare_per_s": bare }),
    );
}
