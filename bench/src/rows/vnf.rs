//! Network functions: how soon a hook follows its process, what watching costs, how long instantiating takes.

mod by_host;
mod copies;
mod load;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vnode_testkit::{Host, built_program, eventually};

use crate::program::busy;
use crate::table::{Limit, Table};

/// Processes on the machine besides.
const PROCESSES: usize = 1000;
const HOOKS: usize = 100;
const POLLED: usize = 20;
const INSTANTIATIONS: usize = 10;
/// Lives of so many milliseconds, one after the other.
const BRIEF: usize = 50;
const BRIEF_MS: u64 = 5;
/// How long the hooks of one may take before it counts as not seen.
const BRIEF_PATIENCE: Duration = Duration::from_secs(3);
/// `O_NONBLOCK` on Linux.
const NONBLOCK: i32 = 0o4000;
const IDLE: Duration = Duration::from_secs(10);

/// A service on a state folder of its own.
struct Service<'a> {
    program: &'a Path,
    state: PathBuf,
    child: Child,
}

impl<'a> Service<'a> {
    fn start(program: &'a Path, state: PathBuf, options: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(["vnf", "--state-dir"]).arg(&state).arg("serve").args(options);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let service = Service { program, state, child };
        eventually("the service serves", Duration::from_secs(30), || {
            service.vnf(&["info"]).then_some(())
        });
        service
    }

    fn vnf(&self, words: &[&str]) -> bool {
        let mut command = Command::new(self.program);
        command.args(["vnf", "--state-dir"]).arg(&self.state).args(words);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it runs").success()
    }

    /// A number of `/proc/PID/status`, KiB.
    fn memory(&self, field: &str) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = text.unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

pub(crate) fn measure(table: &mut Table) {
    let host = Host::new();
    let dir = host.dir();
    let program = built_program("vnode-agent");
    let mut sleepers: Vec<Child> = (0..PROCESSES)
        .map(|_| Command::new("/bin/sleep").arg("100000").spawn().expect("it starts"))
        .collect();
    // A name of 15 bytes at most that nobody else on the machine has.
    let name = format!("bench{}", std::process::id() % 1_000_000);
    let target = dir.join(&name);
    std::fs::copy("/bin/sleep", &target).expect("the host's directory is writable");
    let package = package(dir, &name);

    let service = Service::start(&program, dir.join("state"), &[]);
    assert!(service.vnf(&["push", &package, "--instantiate"]), "the package is taken");
    hooks(table, dir, &target, "", HOOKS, (1.0, 2.0));
    std::thread::sleep(Duration::from_secs(2));
    let before = busy(service.child.id());
    std::thread::sleep(IDLE);
    let share = (busy(service.child.id()) - before) / IDLE.as_secs_f64() * 100.0;
    table.figure("vnf: idle, 1,000 processes", share, "% of a core", 0.5, "-");
    table.figure("vnf: resident memory", service.memory("VmRSS") / 1024.0, "MiB", 4.0, "-");
    instantiate(table, dir, &service);
    brief(table, dir, &service, &target);
    drop(service);
    load::storm(table, &host, &program, &package, &target);
    load::many(table, dir, &program, &package);

    copies::measure(table, dir, &program);
    by_host::measure(table, dir, &program, &package, &target);

    let service = Service::start(&program, dir.join("polled"), &["--poll"]);
    assert!(service.vnf(&["push", &package, "--instantiate"]), "the package is taken");
    hooks(table, dir, &target, " (polling)", POLLED, (300.0, 20.0));
    drop(service);
    for sleeper in &mut sleepers {
        sleeper.kill().and_then(|()| sleeper.wait()).expect("it is ours");
    }
}

/// Lives of a few milliseconds, while somebody else starts programs without end: how many had their START.
fn brief(table: &mut Table, dir: &Path, service: &Service<'_>, target: &Path) {
    let mut load = Command::new("sh");
    load.args(["-c", "while :; do /bin/true; done"]).stdin(Stdio::null());
    let mut load = load.spawn().expect("it starts");
    let (seen, of) = lives(dir, service, target, Duration::from_millis(BRIEF_MS), BRIEF);
    load.kill().and_then(|()| load.wait()).expect("it is ours");
    table.row(
        &format!("vnf: lives of {BRIEF_MS} ms that had their START, under load"),
        &format!("{seen} of {of}"),
        "-",
        "all",
        Some(seen >= of),
        serde_json::json!({ "seen": seen, "of": of }),
    );
}

/// Lives of a function's process, one after the other: how many had both hooks, and of how many.
fn lives(
    dir: &Path,
    service: &Service<'_>,
    target: &Path,
    life: Duration,
    of: usize,
) -> (usize, usize) {
    let hooks = |event: &str| {
        let mut command = Command::new(service.program);
        command.args(["vnf", "--state-dir"]).arg(&service.state).args(["events", "--json"]);
        let out = command.output().expect("it runs").stdout;
        let text = String::from_utf8_lossy(&out).into_owned();
        let event = format!("\"{event}\"");
        text.lines()
            .filter(|line| line.contains("\"vnf.script.ended\"") && line.contains(&event))
            .count()
    };
    // Hooks tell on a fifo: somebody must listen, or they wait.
    let mut fifo = File::options();
    std::os::unix::fs::OpenOptionsExt::custom_flags(fifo.read(true).write(true), NONBLOCK);
    let mut fifo = fifo.open(dir.join("told")).expect("it is there");
    let (starts, ends) = (hooks("START"), hooks("TERMINATE"));
    let seconds = format!("{:.3}", life.as_secs_f64());
    for _ in 0..of {
        let mut child = Command::new(target).arg(&seconds).spawn().expect("it starts");
        child.wait().expect("it is ours");
        // What comes while a hook runs is one more, however many they are: both hooks of this life have told first.
        let (mut lines, until) = (0, Instant::now() + BRIEF_PATIENCE);
        while lines < 2 && Instant::now() < until {
            let mut bytes = [0; 16];
            match fifo.read(&mut bytes) {
                Ok(read) => lines += read,
                // Nothing has come yet.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        // The end of the hook must be on record before the next.
        std::thread::sleep(Duration::from_millis(30));
    }
    std::thread::sleep(Duration::from_millis(500));
    drop(fifo);
    ((hooks("START") - starts).min(hooks("TERMINATE") - ends), of)
}

/// A package whose hooks tell on a fifo.
fn package(dir: &Path, process: &str) -> String {
    let folder = dir.join("package");
    std::fs::create_dir_all(&folder).expect("the host's directory is writable");
    let fifo = dir.join("told");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let script = format!("#!/bin/sh\necho > {}\n", fifo.display());
    let descriptor = format!(
        "{{\"schema\":2,\"name\":\"bench\",\"VNFprocess\":\"{process}\",\"process\":{{\"flap\":{{\"transitions\":1000,\"window_s\":1,\"hold_s\":1}}}},\
         \"lifecycle_event\":[{{\"event\":\"START\",\"lifecycle_events\":[\"s.sh\"]}},{{\"event\":\"TERMINATE\",\"lifecycle_events\":[\"s.sh\"]}}]}}"
    );
    archive(&folder, &descriptor, &[("s.sh", script.as_bytes())])
}

fn archive(folder: &Path, descriptor: &str, files: &[(&str, &[u8])]) -> String {
    std::fs::write(folder.join("lifecycle.json"), descriptor).expect("it is writable");
    for (name, data) in files {
        let path = folder.join(name);
        std::fs::write(&path, data).expect("it is writable");
        let rights = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, rights).expect("it is ours");
    }
    let path = folder.with_extension("tar").display().to_string();
    let status = Command::new("tar").arg("-C").arg(folder).args(["-cf", &path, "."]).status();
    assert!(status.expect("tar").success());
    path
}

/// Waits until somebody has written to the fifo.
fn told(fifo: &Path) -> Instant {
    let mut byte = [0];
    File::open(fifo).and_then(|mut fifo| fifo.read(&mut byte)).expect("it can be read");
    Instant::now()
}

/// From the beginning of the process, and from its end, until the hook's script has told; beside a shell that does the same.
fn hooks(table: &mut Table, dir: &Path, target: &Path, how: &str, rounds: usize, most: (f64, f64)) {
    let fifo = dir.join("told");
    let (mut appear, mut vanish, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    let milliseconds = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
    for _ in 0..rounds {
        let mut process = Command::new(target).arg("1000").spawn().expect("it starts");
        // It has its name only when its program is there, and then the kernel lets us go on, before it tells others.
        let begun = Instant::now();
        appear.push(milliseconds(begun, told(&fifo)));
        // The end of the hook must be on record before the next.
        std::thread::sleep(Duration::from_millis(30));
        let begun = Instant::now();
        process.kill().and_then(|()| process.wait()).expect("it is ours");
        vanish.push(milliseconds(begun, told(&fifo)));
        std::thread::sleep(Duration::from_millis(30));
        let begun = Instant::now();
        let script = format!("echo > {}", fifo.display());
        let mut child = Command::new("/bin/sh").args(["-c", &script]).spawn().expect("it starts");
        floor.push(milliseconds(begun, told(&fifo)));
        child.wait().expect("it is ours");
    }
    for (what, times, most) in
        [("appears, START", &appear, most.0), ("gone, TERMINATE", &vanish, most.1)]
    {
        let measure = format!("vnf{how}: {what} has told, 1,000 processes");
        table.ratio(&measure, times, "a shell that tells", &floor, Limit::None);
        let mut sorted = times.clone();
        sorted.sort_by(f64::total_cmp);
        let late = sorted[sorted.len() * 99 / 100] - crate::table::median(&floor);
        let middle = crate::table::median(times) - crate::table::median(&floor);
        table.figure(
            &format!("vnf{how}: {what}, without the shell: median"),
            middle,
            "ms",
            most,
            "-",
        );
        let most = if how.contains("polling") { 300.0 } else { most * 10.0 };
        table.figure(
            &format!("vnf{how}: {what}, without the shell: 99th percentile"),
            late,
            "ms",
            most,
            "-",
        );
    }
}

/// 1 MiB and three scripts that do nothing, beside unpacking, syncing five times, and starting the three scripts, in the
/// environment that they have from us.
fn instantiate(table: &mut Table, dir: &Path, service: &Service<'_>) {
    let folder = dir.join("large");
    std::fs::create_dir_all(&folder).expect("the host's directory is writable");
    let data: Vec<u8> =
        (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let descriptor = "{\"name\":\"large\",\"VNFprocess\":\"none-of-that-name\",\"lifecycle_event\":[{\"event\":\"INSTANTIATE\",\"lifecycle_events\":[\"a.sh\",\"b.sh\",\"c.sh\"]}]}";
    let empty: &[u8] = b"#!/bin/true\n";
    let path = archive(
        &folder,
        descriptor,
        &[("a.sh", empty), ("b.sh", empty), ("c.sh", empty), ("data", &data)],
    );
    assert!(service.vnf(&["push", &path]), "the package is taken");
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..INSTANTIATIONS {
        let name = format!("large{round}");
        let begun = Instant::now();
        assert!(service.vnf(&["instantiate", "large", "--name", &name]), "it is instantiated");
        ours.push(begun.elapsed().as_secs_f64() * 1e3);
        let place = dir.join(format!("floor{round}"));
        std::fs::create_dir(&place).expect("the host's directory is writable");
        let begun = Instant::now();
        let run = |command: &mut Command| assert!(command.status().expect("it runs").success());
        run(Command::new("tar").arg("-C").arg(&place).args(["-xf", &path]));
        for _ in 0..5 {
            let file = File::create(place.join("journal")).expect("it is writable");
            file.sync_all().expect("it can be synced");
        }
        for script in ["a.sh", "b.sh", "c.sh"] {
            run(Command::new(place.join(script)).env_clear().env("LANG", "C.UTF-8"));
        }
        floor.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let name = "unpacking, syncing, starting the three scripts";
    table.ratio(
        "vnf: instantiate 1 MiB with three empty scripts",
        &ours,
        name,
        &floor,
        Limit::AtMost(2.0),
    );
}
