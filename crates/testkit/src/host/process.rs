//! The processes of a test's host, seen from the machine.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

/// One process of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id as the machine counts.
    pub pid: u32,
    /// Process id as the host's first process counts.
    pub inner: u32,
    pub argv: Vec<String>,
    /// Inode number of its network namespace.
    pub net: String,
}

impl Process {
    /// Whether this is `vnode daemon`.
    pub fn is_daemon(&self) -> bool {
        let program = self.argv.first().map(|a| a.rsplit('/').next().unwrap_or(a));
        program == Some("vnode") && self.argv.iter().any(|a| a == "daemon")
    }

    /// Whether this is a monitor, or the spawner that monitors are forked from.
    pub fn is_monitor(&self) -> bool {
        self.argv.first().is_some_and(|a| a.contains("vnode-monitor"))
    }

    /// Sends a signal; a process that is gone already is no fault.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("a process id");
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => panic!("cannot send {signal:?} to process {}: {error}", self.pid),
        }
    }

    /// Sends SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Whether nothing of the process is left, its open files included: the first of its threads is a zombie before the
    /// last has closed them.
    pub fn is_gone(&self) -> bool {
        let tasks = std::fs::read_dir(self.proc("task")).into_iter().flatten().count();
        let state = status_field(self.pid, "State").unwrap_or_default();
        tasks == 0 || (tasks == 1 && (state.is_empty() || state.starts_with('Z')))
    }

    /// A file of this process in `/proc`.
    pub fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    /// A figure of `/proc/PID/smaps_rollup` or `status`, in KiB: `Private_Dirty`, `VmRSS`.
    pub fn memory_kib(&self, field: &str) -> u64 {
        ["status", "smaps_rollup"]
            .iter()
            .filter_map(|file| std::fs::read_to_string(self.proc(file)).ok())
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| {
                let (name, rest) = line.split_once(':')?;
                (name == field).then(|| rest.split_whitespace().next()?.parse().ok())?
            })
            .next()
            .unwrap_or(0)
    }
}

fn status_field(pid: u32, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| Some(l.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
}

fn all_pids() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .expect("/proc is readable")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The one child of `parent`; waits for it.
pub(super) fn only_child(parent: u32) -> u32 {
    crate::eventually("the host's first process", std::time::Duration::from_secs(30), || {
        all_pids().find(|pid| status_field(*pid, "PPid").is_some_and(|p| p == parent.to_string()))
    })
}

/// All processes in the process namespace of `first` and in those below, without `first` itself and zombies.
pub(super) fn of_host(first: u32) -> Vec<Process> {
    let depth = |pid: u32| status_field(pid, "NSpid").map(|f| f.split_whitespace().count());
    let Some(level) = depth(first) else { return Vec::new() };
    // A process belongs to the host when the directory of its inner number exists in the host's own /proc and is it:
    // the machine's number and the host's stand in the same line.
    let inner_dir = PathBuf::from(format!("/proc/{first}/root/proc"));
    let mut found = Vec::new();
    for pid in all_pids() {
        let Some(numbers) = status_field(pid, "NSpid") else { continue };
        let numbers: Vec<u32> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let Some(&inner) = numbers.get(level - 1) else { continue };
        if pid == first || status_field(pid, "State").is_none_or(|s| s.starts_with('Z')) {
            continue;
        }
        let started = |path: PathBuf| {
            let stat = std::fs::read_to_string(path).ok()?;
            stat.rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(19).map(str::to_owned))
        };
        let here = started(PathBuf::from(format!("/proc/{pid}/stat")));
        let there = started(inner_dir.join(inner.to_string()).join("stat"));
        let same_name = || {
            let name = |path: PathBuf| std::fs::read_link(path).ok();
            name(PathBuf::from(format!("/proc/{pid}/ns/pid")))
                == name(inner_dir.join(inner.to_string()).join("ns/pid"))
        };
        if here.is_none() || here != there || !same_name() {
            continue;
        }
        let argv = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let argv = argv.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned());
        let net = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap_or_default();
        found.push(Process {
            pid,
            inner,
            argv: argv.filter(|a| !a.is_empty()).collect(),
            net: net.to_string_lossy().into_owned(),
        });
    }
    found
}
