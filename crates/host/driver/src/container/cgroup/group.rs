//! The groups of one node: made, frozen, killed, removed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::devices::Rule;
use super::{MARK, Place, Result, at, write};
use crate::Limits;

/// The control groups of one node, found by its name alone.
#[derive(Debug, Clone)]
pub(in crate::container) struct Group {
    pub(in crate::container) v2: Option<Place>,
    pub(in crate::container) v2_controllers: Arc<[String]>,
    pub(in crate::container) v1: BTreeMap<&'static str, Place>,
}

impl Group {
    /// Makes the groups and sets the limits.
    pub(in crate::container) fn create(&self, limits: &Limits) -> Result<()> {
        let new = match self.membership() {
            Some(place) => place.ensure()?,
            None => false,
        };
        let common = limits.memory_bytes.is_some()
            || limits.cpus.is_some()
            || limits.cpu_set.is_some()
            || limits.pids.is_some();
        // A new group has no limits, but a v1 group may be left of an earlier life.
        if common || !new || self.v1.values().any(Place::may_be_there) {
            self.set_common(limits)?;
        }
        let rare = limits.memory_high_bytes.is_some()
            || limits.swap_bytes.is_some()
            || limits.cpu_weight.is_some();
        if rare { self.set_rare(limits) } else { Ok(()) }
    }

    /// Says on the group of membership whose it is (R-15). Its name does already, so where the kernel keeps no attribute, or
    /// we may not write it, that is all there is.
    pub(in crate::container) fn mark(&self, mark: &str) {
        use rustix::fs::{XattrFlags, setxattr};
        let Some(dir) = self.membership().filter(|_| !mark.is_empty()) else { return };
        if let Err(error) = setxattr(&**dir, MARK, mark.as_bytes(), XattrFlags::empty()) {
            tracing::debug!(group = %dir.display(), %error, "bears no mark");
        }
    }

    /// Confines devices by the v1 controller; `false` where there is none. For a new group: rules are only added.
    pub(in crate::container) fn confine_devices(&self, rules: &[Rule]) -> Result<bool> {
        let Some(dir) = self.v1.get("devices") else { return Ok(false) };
        dir.ensure()?;
        write(&dir.join("devices.deny"), "a")?;
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        for rule in rules {
            let (major, minor) = (number(rule.major), number(rule.minor));
            let line = format!("{} {major}:{minor} {}", rule.kind, rule.access);
            write(&dir.join("devices.allow"), &line)?;
        }
        Ok(true)
    }

    /// The v2 group, to be born into.
    pub(in crate::container) fn open_v2(&self) -> Result<Option<OwnedFd>> {
        use rustix::fs::{Mode, OFlags};
        let Some(v2) = &self.v2 else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&**v2, flags, Mode::empty());
        at(v2, "open", opened.map_err(io::Error::from)).map(Some)
    }

    /// `cgroup.procs` files of v1 groups that processes of the node must enter themselves.
    pub(in crate::container) fn v1_procs(&self) -> Vec<String> {
        self.v1
            .values()
            .filter(|place| place.is_there())
            .map(|place| place.join("cgroup.procs").display().to_string())
            .collect()
    }

    /// The file with the count of out-of-memory kills.
    pub(in crate::container) fn oom_file(&self) -> Option<String> {
        let v2 = self.v2_with("memory").map(|place| place.join("memory.events"));
        let v1 = self.v1.get("memory").filter(|place| place.may_be_there());
        let v1 = v1.map(|place| place.join("memory.oom_control"));
        v2.into_iter().chain(v1).find(|p| p.exists()).map(|p| p.display().to_string())
    }

    pub(in crate::container) fn v2_with(&self, controller: &str) -> Option<&Place> {
        self.v2.as_ref().filter(|_| self.v2_controllers.iter().any(|c| c == controller))
    }

    /// Brings every process of the node into a group that was made after they were.
    pub(in crate::container) fn move_all_to(&self, dir: &Path) -> Result<()> {
        let procs = dir.join("cgroup.procs");
        // A process may fork while it is moved: go on until nobody new is found.
        for _ in 0..64 {
            let inside = pids_of(&procs);
            let missing: Vec<i32> =
                self.members().into_iter().filter(|p| !inside.contains(p)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            for pid in missing {
                match write(&procs, &pid.to_string()) {
                    // It has ended.
                    Err((_, e)) if e.raw_os_error() == Some(libc::ESRCH) => {}
                    other => other?,
                }
            }
        }
        Err((format!("move processes to {}", dir.display()), io::Error::from(ErrorKind::TimedOut)))
    }

    /// The folders that a process has to enter to be in it.
    pub(in crate::container) fn folders(&self) -> Vec<PathBuf> {
        self.there().map(|place| place.to_path_buf()).collect()
    }

    /// Those that are there.
    fn there(&self) -> impl Iterator<Item = &Place> {
        self.v2.iter().chain(self.v1.values()).filter(|place| place.is_there())
    }

    pub(in crate::container) fn membership(&self) -> Option<&Place> {
        self.v2.as_ref().or_else(|| self.v1.get("freezer"))
    }

    pub(in crate::container) fn members(&self) -> Vec<i32> {
        self.membership().map(|dir| pids_of(&dir.join("cgroup.procs"))).unwrap_or_default()
    }

    /// Kills every process of the node. A group that is not there has none.
    pub(in crate::container) fn kill(&self) -> Result<()> {
        let Some(dir) = self.membership() else { return Ok(()) };
        if self.v2.is_some() {
            match write(&dir.join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                // Kernels before 5.14 have no such file, and the group may be gone.
                Err((_, e)) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        self.kill_each()
    }

    /// Kills the processes of the node one by one, without `cgroup.kill`, after which a group may be of no use any more.
    pub(in crate::container) fn kill_each(&self) -> Result<()> {
        if !self.membership().is_some_and(Place::is_there) {
            return Ok(());
        }
        // Frozen they cannot fork, so none escapes; a killed one dies as it thaws. One that cannot be frozen in time is in the
        // kernel, and dies when it comes out.
        let frozen = self.freeze(true);
        for pid in self.members() {
            // SAFETY: plain system call; the pid is a member of the node's frozen group.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        self.freeze(false).and(frozen)
    }

    /// Freezes or thaws, and waits until it is so.
    pub(in crate::container) fn freeze(&self, freeze: bool) -> Result<()> {
        if let Some(v2) = &self.v2 {
            write(&v2.join("cgroup.freeze"), if freeze { "1" } else { "0" })?;
            return wait_for(v2, if freeze { "frozen 1" } else { "frozen 0" });
        }
        let Some(freezer) = self.v1.get("freezer") else {
            return Err(("freeze: no cgroup".to_owned(), io::Error::from(ErrorKind::Unsupported)));
        };
        let (state, file) =
            (if freeze { "FROZEN" } else { "THAWED" }, freezer.join("freezer.state"));
        write(&file, state)?;
        let deadline = Instant::now() + Duration::from_secs(2);
        while at(&file, "read", fs::read_to_string(&file))?.trim() != state {
            if Instant::now() > deadline {
                return Err((format!("freeze {}", freezer.display()), ErrorKind::TimedOut.into()));
            }
            // v1 tells of it by no event.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether SIGKILL ends processes that are frozen.
    pub(in crate::container) fn kills_frozen(&self) -> bool {
        self.v2.is_some()
    }

    pub(in crate::container) fn is_frozen(&self) -> bool {
        let file = match &self.v2 {
            Some(v2) => v2.join("cgroup.freeze"),
            None => match self.v1.get("freezer") {
                Some(freezer) => freezer.join("freezer.state"),
                None => return false,
            },
        };
        fs::read_to_string(file).is_ok_and(|t| matches!(t.trim(), "1" | "FROZEN" | "FREEZING"))
    }

    /// Whether any group of the node is there.
    pub(in crate::container) fn exists(&self) -> bool {
        self.there().next().is_some()
    }

    /// Removes the groups, and the instance's when this was its last node. Blocks until dying processes have
    /// left, two seconds at most.
    pub(in crate::container) fn remove(&self) -> Vec<String> {
        let mut left = Vec::new();
        let v1 = self.v1.values().map(|place| (place, false));
        for (place, v2) in self.v2.iter().map(|place| (place, true)).chain(v1) {
            if !place.may_be_there() {
                continue;
            }
            match remove(place, v2) {
                Ok(()) => place.leave(),
                Err(e) => left.push(format!("cgroup {}: {e}", place.display())),
            }
        }
        left
    }
}

fn pids_of(procs: &Path) -> Vec<i32> {
    fs::read_to_string(procs)
        .map(|t| t.lines().filter_map(|l| l.parse().ok()).collect())
        .unwrap_or_default()
}

/// Waits for a line in `cgroup.events`, which the kernel tells changes of.
fn wait_for(dir: &Path, line: &str) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let path = dir.join("cgroup.events");
    let file = at(&path, "open", fs::File::open(&path))?;
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let mut text = [0_u8; 256];
        let got = at(&path, "read", std::os::unix::fs::FileExt::read_at(&file, &mut text, 0))?;
        let text = String::from_utf8_lossy(&text[..got]).into_owned();
        if text.lines().any(|l| l == line) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let what = format!("wait for `{line}` in {}", path.display());
            return Err((what, ErrorKind::TimedOut.into()));
        }
        let mut fds = [PollFd::new(&file, PollFlags::PRI)];
        let left = Timespec { tv_sec: 0, tv_nsec: left.as_nanos().min(999_999_999) as i64 };
        match poll(&mut fds, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return at(&path, "poll", Err(e.into())),
        }
    }
}

/// Removes a group and those the node has made in it.
fn remove(dir: &Path, v2: bool) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                remove_below(dir, 0)?;
                if v2 {
                    // Its failure shows in the next attempt.
                    let _ = wait_for(dir, "populated 0");
                } else {
                    // v1 tells of it by no event.
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Err(e) => return Err(e),
        }
    }
}

fn remove_below(dir: &Path, depth: u32) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if depth < 64 {
                remove_below(&entry.path(), depth + 1)?;
            }
            match fs::remove_dir(entry.path()) {
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's own programs")]
mod tests {
    use super::super::Tree;
    use super::*;

    /// As on a machine of cgroup v1 alone.
    #[test]
    fn devices_are_confined_by_the_v1_controller_too() {
        // SAFETY: plain system call.
        let root = unsafe { libc::geteuid() } == 0;
        let tree = Tree::detect(&format!("test-{}", std::process::id()));
        let Some(mut group) = tree.ok().map(|tree| tree.group("lab", "node")) else { return };
        group.v2 = None;
        group.v1.retain(|controller, _| *controller == "devices");
        if !root || group.v1.is_empty() {
            println!("skipped: needs root and cgroup v1's devices controller");
            return;
        }
        let rule = |kind, major, minor, access: &str| Rule {
            kind,
            major: Some(major),
            minor,
            access: access.to_owned(),
        };
        assert!(
            group
                .confine_devices(&[rule('c', 1, Some(5), "r"), rule('c', 5, None, "rwm")])
                .unwrap()
        );
        let procs = group.v1_procs().remove(0);
        let run = |what: &str| {
            let script = format!("echo 0 > {procs} && {what}");
            std::process::Command::new("sh").args(["-c", &script]).output().unwrap()
        };
        assert!(run("head -c 1 < /dev/zero").status.success());
        let refused = run(": > /dev/zero");
        assert!(!refused.status.success(), "may be read only");
        assert!(!run(": < /dev/urandom").status.success(), "is not in the list");
        assert_eq!(group.remove(), Vec::<String>::new());
    }
}
