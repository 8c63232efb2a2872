//! A whole host for one test: namespaces of its own, in which the built `vnode` runs.

mod daemon;
mod process;
mod snapshot;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use daemon::Daemon;
pub use process::Process;
pub use snapshot::Snapshot;

use crate::{Output, built_program, eventually, tools};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A host of one test's own.
///
/// It has a network namespace with `lo` up, its own `/proc`, `/sys`, `/run`, host name, process ids and cgroups, and
/// sees the machine's files. Its first process ends when this value is dropped, or when the test's process ends in
/// whatever way, and the kernel ends everything else in it then.
#[derive(Debug)]
pub struct Host {
    holder: Child,
    /// Process id of the host's first process, as the machine counts.
    first: u32,
    dir: tempfile::TempDir,
    groups: Vec<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Host {
    /// Makes the host. Needs root.
    pub fn new() -> Host {
        let dir = tempfile::Builder::new()
            .prefix("vnode-test-")
            .tempdir()
            .expect("a temporary directory");
        let id = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        for (name, text) in
            [("start.sh", include_str!("start.sh")), ("enter.sh", include_str!("enter.sh"))]
        {
            std::fs::write(dir.path().join(name), text).expect("the host's directory is writable");
        }
        let log = std::fs::File::create(dir.path().join("start.log")).expect("the host's log");
        let mut holder = Command::new("sh")
            .arg(dir.path().join("start.sh"))
            .arg(&id)
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("sh starts");
        let mut ready = String::new();
        let stdout = holder.stdout.take().expect("piped");
        let _ = BufReader::new(stdout).read_line(&mut ready); // judged by what it read
        if ready.trim() != "ready" {
            let _ = holder.kill(); // it has ended already, most likely
            let _ = holder.wait();
            let log = std::fs::read_to_string(dir.path().join("start.log")).unwrap_or_default();
            panic!("the host of this test did not start: {log}");
        }
        let first = process::only_child(holder.id());
        let groups =
            std::fs::read_to_string(dir.path().join("groups")).expect("written before ready");
        let groups =
            groups.lines().filter_map(|l| l.split_once(' ')).map(|(_, g)| g.into()).collect();
        std::fs::create_dir(dir.path().join("state")).expect("the host's directory is writable");
        Host { holder, first, dir, groups, environment: Vec::new() }
    }

    /// A directory of the machine's, for the test's files; it goes with the host.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The state directory the host's `vnode` uses.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Process id of the first process, as the machine counts.
    pub fn first_process(&self) -> u32 {
        self.first
    }

    /// A path of the host, which has its own `/run`, `/proc` and `/sys`, seen from the test.
    pub fn seen(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        Path::new("/proc")
            .join(self.first.to_string())
            .join("root")
            .join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Gives every later command of the host this environment variable.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.retain(|(n, _)| n != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Writes a file into the host's directory and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("the host's directory is writable");
        }
        std::fs::write(&path, text).expect("the host's directory is writable");
        path
    }

    /// A command that will run in the host, with no standard input unless the caller gives one.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.arg(self.dir.path().join("enter.sh")).arg(self.dir.path());
        command.arg(self.first.to_string()).arg(program);
        command.stdin(Stdio::null()).envs(self.environment.iter().map(|(n, v)| (n, v)));
        command
    }

    /// A `vnode` command that will run in the host with its state directory.
    pub fn vnode_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(built_program("vnode"));
        command.env("VNODE_STATE_DIR", self.state_dir()).args(args);
        command
    }

    /// Runs a program in the host to its end.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        let output = self.command(program).args(args).output().expect("sh starts");
        Output::new(format!("{program} {}", args.join(" ")), output)
    }

    /// Runs `vnode` in the host to its end.
    pub fn vnode(&self, args: &[&str]) -> Output {
        let output = self.vnode_command(args).output().expect("sh starts");
        Output::new(format!("vnode {}", args.join(" ")), output)
    }

    /// Has `vnode` build the small machine's image in a folder. A host of the tests can fetch nothing: a kernel that this
    /// machine has not installed comes from where the set-up has unpacked it.
    pub fn build_image(&self, folder: &Path) -> Output {
        let folder = folder.display().to_string();
        let packages = tools::kernel().map(|packages| packages.display().to_string());
        let mut args = vec!["image", "build", &folder];
        args.extend(packages.iter().flat_map(|packages| ["--packages", packages.as_str()]));
        self.vnode(&args)
    }

    /// Runs `vnode` with these bytes on its standard input.
    pub fn vnode_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .vnode_command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(&input); // a program may end before it has read everything
        });
        let output = child.wait_with_output().expect("a started child can be waited for");
        writer.join().expect("the writer does not panic");
        Output::new(format!("vnode {}", args.join(" ")), output)
    }

    /// Runs `vnode exec NODE -- ARGV`.
    pub fn exec(&self, node: &str, argv: &[&str]) -> Output {
        self.vnode(&[&["exec", node, "--"], argv].concat())
    }

    /// Whether one echo request from `node` to `address` is answered within two seconds.
    pub fn ping(&self, node: &str, address: &str) -> bool {
        self.exec(node, &["ping", "-c1", "-W2", address]).code == 0
    }

    /// Everything kernel-side of the host, and its files, now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(self)
    }

    /// Waits until nothing is there that was not in `before`; panics with what is left after thirty seconds.
    #[track_caller]
    pub fn assert_nothing_left(&self, before: &Snapshot) {
        self.assert_left(before, |_| false);
    }

    /// As [`assert_nothing_left`](Self::assert_nothing_left), the files of a daemon that runs on aside.
    #[track_caller]
    pub fn assert_nothing_but_files(&self, before: &Snapshot) {
        self.assert_left(before, |line| line.starts_with("new: file "));
    }

    #[track_caller]
    fn assert_left(&self, before: &Snapshot, may_stay: impl Fn(&str) -> bool) {
        let end = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let mut left = before.diff(&self.snapshot());
            left.retain(|line| !may_stay(line));
            if left.is_empty() {
                return;
            }
            assert!(std::time::Instant::now() < end, "left behind:\n  {}", left.join("\n  "));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The processes of the host, its first one left out.
    pub fn processes(&self) -> Vec<Process> {
        process::of_host(self.first)
    }

    /// The daemon's process, when one runs.
    pub fn daemon_process(&self) -> Option<Process> {
        self.processes().into_iter().find(Process::is_daemon)
    }

    /// Kills the daemon, however it was started, and waits until it is gone.
    pub fn kill9_daemon(&self) {
        let Some(daemon) = self.daemon_process() else { return };
        daemon.signal(rustix::process::Signal::KILL);
        eventually("the killed daemon is gone", Duration::from_secs(30), || {
            daemon.is_gone().then_some(())
        });
    }

    /// Starts a daemon by hand, with these extra environment variables, and waits until it answers.
    pub fn start_daemon(&self, environment: &[(&str, &str)]) -> Daemon {
        Daemon::start(self, environment)
    }

    /// Joins the networks of two hosts: each gets an interface of this name, one pair's end, which is down and has no address.
    pub fn wire(&self, other: &Host, name: &str) {
        // Made where it is to be: nothing of it is ever in the machine's own network.
        let [here, there] = [self, other].map(|host| host.first.to_string());
        let output = Command::new("nsenter")
            .args(["-t", &here, "-n", "ip", "link", "add", name, "type", "veth"])
            .args(["peer", "name", name, "netns", &there])
            .output()
            .expect("nsenter starts");
        Output::new(format!("a wire {name} between two hosts"), output).ok();
    }

    /// A TCP port free in the host.
    pub fn free_port(&self) -> u16 {
        // The host's network is the test's own, so nobody else takes one: count up.
        static NEXT: AtomicU32 = AtomicU32::new(20_000);
        u16::try_from(NEXT.fetch_add(1, Ordering::Relaxed))
            .expect("fewer than 40,000 ports are asked for")
    }

    fn remove_groups(&self) -> Result<(), String> {
        let mut left = String::new();
        // Hundreds of nodes that have just been killed take their time on a busy machine.
        for _ in 0..1500 {
            left.clear();
            for group in &self.groups {
                for dir in snapshot::directories_below(group).iter().rev() {
                    if let Err(error) = std::fs::remove_dir(dir) {
                        left.push_str(&format!("{}: {error}\n", dir.display()));
                    }
                }
                match std::fs::remove_dir(group) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => left.push_str(&format!("{}: {error}\n", group.display())),
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(left)
    }
}

impl Default for Host {
    fn default() -> Host {
        Host::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person wants to read first when a test has failed.
            for name in ["daemon.log", "state/daemon.log"] {
                if let Ok(text) = std::fs::read_to_string(self.dir.path().join(name)) {
                    let lines: Vec<&str> = text.lines().collect();
                    println!("--- {name}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
                }
            }
        }
        drop(self.holder.stdin.take());
        let _ = self.holder.kill(); // it has ended by itself when this fails
        let _ = self.holder.wait();
        if let Err(left) = self.remove_groups() {
            let text = format!("the host's cgroups cannot be removed:\n{left}");
            if std::thread::panicking() {
                println!("{text}");
            } else {
                panic!("{text}");
            }
        }
    }
}
