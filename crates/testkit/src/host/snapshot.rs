//! Everything a lab could leave behind: "nothing left" of the specification's section 4, as a value to compare.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Host;

/// Kernel objects, processes and files of a host at one time; each as one line of text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    pub(super) fn take(host: &Host) -> Snapshot {
        let mut lines = BTreeSet::new();
        let mut add = |kind: &str, what: String| {
            lines.insert(format!("{kind} {what}"));
        };
        for name in names_in(&host.seen("/sys/class/net")) {
            add("interface", name);
        }
        let own = std::fs::read_link(format!("/proc/{}/ns/net", host.first_process()));
        let own = own.unwrap_or_default().to_string_lossy().into_owned();
        let processes = host.processes();
        for process in &processes {
            // The daemon may come and go between two snapshots; it and its spawner, a monitor that holds no
            // node, are no part of a lab.
            let spawner = process.is_monitor() && process.net == own;
            if !process.is_daemon() && !spawner {
                add("process", format!("{} ({})", process.argv.join(" "), process.inner));
            }
            if process.net != own {
                add("network namespace", process.net.clone());
            }
        }
        let mounts = std::iter::once(host.first_process()).chain(processes.iter().map(|p| p.pid));
        for pid in mounts {
            let text =
                std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            for line in text.lines() {
                let fields: Vec<&str> = line.split(' ').collect();
                let kind =
                    line.split_once(" - ").and_then(|(_, r)| r.split(' ').next()).unwrap_or("");
                add("mount", format!("{} {kind}", fields.get(4).unwrap_or(&"")));
            }
        }
        for group in &host.groups {
            for dir in directories_below(group) {
                add("cgroup", dir.display().to_string());
            }
        }
        for (kind, program, args) in [
            ("nft", "nft", &["list", "ruleset"][..]),
            ("rule", "ip", &["rule"]),
            ("rule6", "ip", &["-6", "rule"]),
            ("route", "ip", &["route", "show", "table", "all"]),
            ("address", "ip", &["-o", "addr"]),
        ] {
            for line in host.run(program, args).stdout.lines() {
                // Whether a bridge has carrier at this moment, and what the kernel then gives it by itself, is no
                // object that was made.
                if line.contains(" fe80:") || line.starts_with("fe80:") {
                    continue;
                }
                add(kind, line.trim().replace(" linkdown", "").replace(" tentative", ""));
            }
        }
        for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/default/forwarding"]
        {
            let value = host.run("cat", &[&format!("/proc/sys/net/{name}")]).stdout;
            add("sysctl", format!("{name}={}", value.trim()));
        }
        for root in [host.state_dir(), host.seen("/run")] {
            for path in files_below(&root) {
                let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
                add(
                    "file",
                    format!("{}:{shown}", root.file_name().unwrap_or_default().to_string_lossy()),
                );
            }
        }
        Snapshot { lines }
    }

    /// What stands in `after` and not here, and what is missing there: each a line.
    pub fn diff(&self, after: &Snapshot) -> Vec<String> {
        let new = after.lines.difference(&self.lines).map(|l| format!("new: {l}"));
        let gone = self.lines.difference(&after.lines).map(|l| format!("gone: {l}"));
        // A file that went (an old log segment) is no trace; a rule or an interface that went is foreign damage.
        new.chain(gone.filter(|l| !l.starts_with("gone: file "))).collect()
    }

    /// The lines that start with `kind`.
    pub fn of(&self, kind: &str) -> Vec<&str> {
        self.lines.iter().filter_map(|l| l.strip_prefix(kind)?.strip_prefix(' ')).collect()
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect()
}

/// The directories below `top`, parents before children.
pub(super) fn directories_below(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = vec![top.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                found.push(entry.path());
                rest.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// The paths below `top`, four levels deep, so that an unpacked image is one entry and not thousands.
fn files_below(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = vec![(top.to_owned(), 0)];
    while let Some((dir, depth)) = rest.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            found.push(entry.path());
            if depth < 3 && entry.file_type().is_ok_and(|t| t.is_dir()) {
                rest.push((entry.path(), depth + 1));
            }
        }
    }
    found
}
