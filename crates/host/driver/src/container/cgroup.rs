//! Control groups of nodes, on whatever tree the machine has.
//!
//! ```text
//!  pure v2     OWN/vnode-INSTANCE/LAB:NODE                  membership, kill, freeze and limits
//!  hybrid      UNIFIED/OWN/vnode-INSTANCE/LAB:NODE          membership, kill, freeze
//!              V1/CONTROLLER/OWN/vnode-INSTANCE/LAB:NODE    limits; made only when a limit asks for it
//!  pure v1     V1/freezer/...                               membership, freeze; the rest as above
//! ```
//!
//! `OWN` is the daemon's own group in that tree: a node's use counts as the daemon's, and whoever limits the
//! daemon limits its nodes. Names say whose a group is (R-15).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Limits, Stats};

/// Period of processor quotas, microseconds.
const PERIOD: u64 = 100_000;
/// v1 controllers that limits are kept in.
const V1_LIMITS: [&str; 4] = ["memory", "cpu", "cpuset", "pids"];

/// Where this machine keeps control groups, and where in them this process is.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// Our own group in the v2 tree.
    v2: Option<PathBuf>,
    /// Controllers that groups of nodes can have in the v2 tree.
    v2_controllers: Vec<String>,
    /// Our own group for each v1 controller.
    v1: BTreeMap<String, PathBuf>,
    instance: String,
}

/// What went wrong and where.
pub(super) type Failure = (String, io::Error);
type Result<T, E = Failure> = std::result::Result<T, E>;

fn at<T>(path: &Path, doing: &str, result: io::Result<T>) -> Result<T> {
    result.map_err(|e| (format!("{doing} {}", path.display()), e))
}

fn write(path: &Path, text: &str) -> Result<()> {
    // Not fs::write: a control file is never to be created.
    let opened = fs::OpenOptions::new().write(true).open(path);
    let written = opened.and_then(|mut f| io::Write::write_all(&mut f, text.as_bytes()));
    at(path, &format!("write `{text}` to"), written)
}

fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A name that is one path component and reads as what it names.
fn component(text: &str) -> String {
    use std::fmt::Write;
    let mut name = String::new();
    for byte in text.bytes() {
        // `.` first would hide it or be the folder itself; `:` parts lab and node.
        if byte.is_ascii_alphanumeric()
            || b"_-".contains(&byte)
            || (byte == b'.' && !name.is_empty())
        {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").expect("a String takes everything");
        }
    }
    name
}

impl Tree {
    /// Looks at the mounts and at our own place.
    pub(super) fn detect(instance: &str) -> Result<Self> {
        let read = |path: &str| at(Path::new(path), "read", fs::read_to_string(path));
        let mut tree =
            Self::from_texts(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        tree.instance = component(instance);
        if let Some(own) = tree.v2.clone() {
            tree.v2_controllers = delegate(&own);
            if tree.v2_controllers.is_empty() && tree.v1.is_empty() {
                // Started from somebody's session, whose group holds other processes and so cannot pass
                // controllers on: nodes' groups then stand at the top, where the system's manager has them on.
                let top = top_of(&own);
                tree.v2_controllers = delegated(&top);
                if !tree.v2_controllers.is_empty() {
                    tree.v2 = Some(top);
                }
            }
        }
        Ok(tree)
    }

    fn from_texts(mountinfo: &str, own: &str) -> Self {
        let mut own_of = BTreeMap::new();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            if let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            {
                for controller in controllers.split(',') {
                    own_of.insert(controller.to_owned(), path.to_owned());
                }
            }
        }
        let mut tree = Self {
            v2: None,
            v2_controllers: Vec::new(),
            v1: BTreeMap::new(),
            instance: String::new(),
        };
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let before: Vec<&str> = before.split(' ').collect();
            let after: Vec<&str> = after.split(' ').collect();
            let (Some(root), Some(point), Some(kind)) =
                (before.get(3), before.get(4), after.first())
            else {
                continue;
            };
            let place = |controller: &str| {
                let own = own_of.get(controller)?;
                // A mount may show a part of the tree only (in a container); what is above is not ours to see.
                let below = if *root == "/" { own.as_str() } else { own.strip_prefix(root)? };
                Some(Path::new(point).join(below.trim_start_matches('/')))
            };
            match *kind {
                "cgroup2" if tree.v2.is_none() => tree.v2 = place(""),
                "cgroup" => {
                    for option in after.get(2).unwrap_or(&"").split(',') {
                        let known =
                            V1_LIMITS.contains(&option) || ["freezer", "cpuacct"].contains(&option);
                        if known && let Some(path) = place(option) {
                            tree.v1.entry(option.to_owned()).or_insert(path);
                        }
                    }
                }
                _ => {}
            }
        }
        tree
    }

    /// `v2`, `hybrid`, `v1` or `none`.
    pub(super) fn kind(&self) -> &'static str {
        match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => "v2",
            (Some(_), false) => "hybrid",
            (None, false) => "v1",
            (None, true) => "none",
        }
    }

    /// Limits that can be set.
    pub(super) fn limits(&self) -> Vec<String> {
        V1_LIMITS
            .iter()
            .filter(|c| self.v2_controllers.iter().any(|v| v == *c) || self.v1.contains_key(**c))
            .map(|c| (*c).to_owned())
            .collect()
    }

    /// Whether devices can be confined by a program on the v2 group.
    pub(super) fn has_v2(&self) -> bool {
        self.v2.is_some()
    }

    /// The groups of one node; nothing is made yet.
    pub(super) fn group(&self, lab: &str, node: &str) -> Group {
        let name = format!("{}:{}", component(lab), component(node));
        let parent = format!("vnode-{}", self.instance);
        let below = |own: &PathBuf| own.join(&parent).join(&name);
        Group {
            v2: self.v2.as_ref().map(below),
            v2_controllers: self.v2_controllers.clone(),
            v1: self.v1.iter().map(|(c, own)| (c.clone(), below(own))).collect(),
        }
    }
}

/// The uppermost group that shows from here.
fn top_of(own: &Path) -> PathBuf {
    let groups = own.ancestors().take_while(|dir| dir.join("cgroup.controllers").exists());
    groups.last().unwrap_or(own).to_owned()
}

/// Controllers of limits that a group passes on, switched on where that can be done without moving anybody.
fn delegated(group: &Path) -> Vec<String> {
    let words = |file: &str| -> Vec<String> {
        fs::read_to_string(group.join(file))
            .map(|t| t.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    };
    for controller in words("cgroup.controllers") {
        if V1_LIMITS.contains(&controller.as_str()) {
            // One that cannot be had does not show in what is read back.
            let _ = write(&group.join("cgroup.subtree_control"), &format!("+{controller}"));
        }
    }
    let on = words("cgroup.subtree_control");
    on.into_iter().filter(|c| V1_LIMITS.contains(&c.as_str())).collect()
}

/// Turns controllers on for groups below ours, and gives those that are on. On a pure v2 tree a group with
/// processes may not have them, so this process moves to a leaf of its own first.
fn delegate(own: &Path) -> Vec<String> {
    let words = |file: &str| -> Vec<String> {
        fs::read_to_string(own.join(file))
            .map(|t| t.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let wanted: Vec<String> = words("cgroup.controllers")
        .into_iter()
        .filter(|c| V1_LIMITS.contains(&c.as_str()))
        .collect();
    let on = words("cgroup.subtree_control");
    if wanted.iter().all(|w| on.contains(w)) {
        return wanted;
    }
    let turn_on = || {
        let text: Vec<String> = wanted.iter().map(|w| format!("+{w}")).collect();
        write(&own.join("cgroup.subtree_control"), &text.join(" "))
    };
    if turn_on().is_err() {
        let leaf = own.join("vnode-daemon");
        // What fails here shows in the list read back below: limits that cannot be kept are refused by name.
        let _ = fs::create_dir(&leaf);
        let _ = write(&leaf.join("cgroup.procs"), &std::process::id().to_string());
        let _ = turn_on();
    }
    let on = words("cgroup.subtree_control");
    wanted.into_iter().filter(|w| on.contains(w)).collect()
}

/// The control groups of one node, found by its name alone.
#[derive(Debug, Clone)]
pub(super) struct Group {
    v2: Option<PathBuf>,
    v2_controllers: Vec<String>,
    v1: BTreeMap<String, PathBuf>,
}

impl Group {
    /// Makes the groups and sets the limits.
    pub(super) fn create(&self, limits: &Limits) -> Result<()> {
        if let Some(v2) = &self.v2 {
            ensure(v2)?;
        } else if let Some(freezer) = self.v1.get("freezer") {
            ensure(freezer)?;
        }
        self.set(limits)
    }

    /// The v2 group, to be born into.
    pub(super) fn open_v2(&self) -> Result<Option<OwnedFd>> {
        use rustix::fs::{Mode, OFlags};
        let Some(v2) = &self.v2 else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(v2, flags, Mode::empty());
        at(v2, "open", opened.map_err(io::Error::from)).map(Some)
    }

    /// `cgroup.procs` files of v1 groups that processes of the node must enter themselves.
    pub(super) fn v1_procs(&self) -> Vec<String> {
        self.v1
            .values()
            .filter(|dir| dir.is_dir())
            .map(|dir| dir.join("cgroup.procs").display().to_string())
            .collect()
    }

    /// The file with the count of out-of-memory kills.
    pub(super) fn oom_file(&self) -> Option<String> {
        let v2 = self.v2.iter().map(|d| d.join("memory.events"));
        let v1 = self.v1.get("memory").map(|d| d.join("memory.oom_control"));
        v2.chain(v1).find(|p| p.exists()).map(|p| p.display().to_string())
    }

    fn v2_with(&self, controller: &str) -> Option<&PathBuf> {
        self.v2.as_ref().filter(|_| self.v2_controllers.iter().any(|c| c == controller))
    }

    /// Sets all limits; `None` is unlimited. Works live.
    pub(super) fn set(&self, limits: &Limits) -> Result<()> {
        let quota = limits.cpus.map(|c| ((c * PERIOD as f64) as u64).max(1000));
        let text = |v: Option<u64>| v.map(|v| v.to_string());
        self.set_one("memory", text(limits.memory_bytes), |v| {
            let max = v.unwrap_or("max");
            vec![("memory.max", max.to_owned())]
        })?;
        self.set_one("cpu", text(quota), |v| {
            vec![("cpu.max", format!("{} {PERIOD}", v.unwrap_or("max")))]
        })?;
        self.set_one("cpuset", limits.cpu_set.clone(), |v| {
            vec![("cpuset.cpus", v.unwrap_or("\n").to_owned())]
        })?;
        self.set_one("pids", text(limits.pids), |v| {
            vec![("pids.max", v.unwrap_or("max").to_owned())]
        })
    }

    fn set_one(
        &self,
        controller: &str,
        value: Option<String>,
        v2_files: impl Fn(Option<&str>) -> Vec<(&'static str, String)>,
    ) -> Result<()> {
        if let Some(dir) = self.v2_with(controller) {
            for (file, text) in v2_files(value.as_deref()) {
                write(&dir.join(file), &text)?;
            }
            return Ok(());
        }
        let Some(dir) = self.v1.get(controller) else {
            return match value {
                None => Ok(()),
                Some(_) => Err((
                    format!("limit `{controller}`: this machine has no such controller for us"),
                    io::Error::from(ErrorKind::Unsupported),
                )),
            };
        };
        if value.is_none() && !dir.is_dir() {
            return Ok(());
        }
        let made = ensure(dir)?;
        match controller {
            "memory" => {
                write(&dir.join("memory.limit_in_bytes"), value.as_deref().unwrap_or("-1"))?;
            }
            "cpu" => {
                write(&dir.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
                write(&dir.join("cpu.cfs_quota_us"), value.as_deref().unwrap_or("-1"))?;
            }
            "cpuset" => {
                inherit_cpuset(dir)?;
                let parent = dir.parent().unwrap_or(dir).join("cpuset.cpus");
                let all = at(&parent, "read", fs::read_to_string(&parent))?;
                write(&dir.join("cpuset.cpus"), value.as_deref().unwrap_or(all.trim()))?;
            }
            _ => write(&dir.join("pids.max"), value.as_deref().unwrap_or("max"))?,
        }
        if made { self.move_all_to(dir) } else { Ok(()) }
    }

    /// Brings every process of the node into a group that was made after they were.
    fn move_all_to(&self, dir: &Path) -> Result<()> {
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

    fn membership(&self) -> Option<&PathBuf> {
        self.v2.as_ref().or_else(|| self.v1.get("freezer"))
    }

    fn members(&self) -> Vec<i32> {
        self.membership().map(|dir| pids_of(&dir.join("cgroup.procs"))).unwrap_or_default()
    }

    /// Kills every process of the node. A group that is not there has none.
    pub(super) fn kill(&self) -> Result<()> {
        let Some(dir) = self.membership() else { return Ok(()) };
        if self.v2.is_some() {
            match write(&dir.join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                // Kernels before 5.14 have no such file, and the group may be gone.
                Err((_, e)) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        if !dir.is_dir() {
            return Ok(());
        }
        // Frozen they cannot fork, so none escapes; a killed one dies as it thaws.
        self.freeze(true)?;
        for pid in self.members() {
            // SAFETY: plain system call; the pid is a member of the node's frozen group.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        self.freeze(false)
    }

    /// Freezes or thaws, and waits until it is so.
    pub(super) fn freeze(&self, freeze: bool) -> Result<()> {
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
    pub(super) fn kills_frozen(&self) -> bool {
        self.v2.is_some()
    }

    pub(super) fn is_frozen(&self) -> bool {
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
    pub(super) fn exists(&self) -> bool {
        self.v2.iter().chain(self.v1.values()).any(|d| d.is_dir())
    }

    /// Removes the groups, and the instance's when this was its last node. Blocks until dying processes have
    /// left, two seconds at most.
    pub(super) fn remove(&self) -> Vec<String> {
        let mut left = Vec::new();
        for dir in self.v2.iter().chain(self.v1.values()) {
            if let Err(e) = remove(dir, self.v2.as_ref() == Some(dir)) {
                left.push(format!("cgroup {}: {e}", dir.display()));
            } else if let Some(parent) = dir.parent() {
                // Other nodes' groups in it keep it.
                let _ = fs::remove_dir(parent);
            }
        }
        left
    }

    pub(super) fn stats(&self) -> Stats {
        let v2 = self.v2.as_ref();
        let v1 = |controller: &str, file: &str| {
            self.v1.get(controller).and_then(|d| number_in(&d.join(file)))
        };
        let cpu_usec = v2
            .and_then(|d| fs::read_to_string(d.join("cpu.stat")).ok())
            .and_then(|t| {
                t.lines().find_map(|l| l.strip_prefix("usage_usec ")?.trim().parse().ok())
            })
            .or_else(|| v1("cpuacct", "cpuacct.usage").map(|ns| ns / 1000));
        let memory_bytes = v2
            .and_then(|d| number_in(&d.join("memory.current")))
            .or_else(|| v1("memory", "memory.usage_in_bytes"));
        let pids = v2
            .and_then(|d| number_in(&d.join("pids.current")))
            .or_else(|| v1("pids", "pids.current"))
            .or_else(|| self.membership().map(|_| self.members().len() as u64));
        Stats { cpu_usec, memory_bytes, pids }
    }

    /// Limits as the kernel has them.
    pub(super) fn limits(&self) -> Limits {
        let read = |controller: &str, v2: &str, v1: &str| {
            let path = match (self.v2_with(controller), self.v1.get(controller)) {
                (Some(dir), _) => dir.join(v2),
                (None, Some(dir)) => dir.join(v1),
                (None, None) => return None,
            };
            fs::read_to_string(path).ok().map(|t| t.trim().to_owned())
        };
        let number = |text: Option<String>| text.and_then(|t| t.parse::<u64>().ok());
        // v1 writes "unlimited" as the largest multiple of a page.
        let memory_bytes =
            number(read("memory", "memory.max", "memory.limit_in_bytes")).filter(|v| *v < 1 << 62);
        let cpus = read("cpu", "cpu.max", "cpu.cfs_quota_us").and_then(|t| {
            let quota: f64 = t.split(' ').next()?.parse().ok()?;
            (quota > 0.0).then_some(quota / PERIOD as f64)
        });
        Limits {
            memory_bytes,
            cpus,
            cpu_set: read("cpuset", "cpuset.cpus", "cpuset.cpus").filter(|t| !t.is_empty()),
            pids: number(read("pids", "pids.max", "pids.max")),
            shm_bytes: None,
        }
    }
}

fn pids_of(procs: &Path) -> Vec<i32> {
    fs::read_to_string(procs)
        .map(|t| t.lines().filter_map(|l| l.parse().ok()).collect())
        .unwrap_or_default()
}

/// Makes a group and the instance's above it; true when it was not there.
fn ensure(dir: &Path) -> Result<bool> {
    // The instance's group may be removed by the end of another node at any moment.
    for _ in 0..100 {
        // Whoever made it may not have come as far: a node's group is made only in one that passes its
        // controllers on.
        if let Some(parent) = dir.parent()
            && parent.is_dir()
        {
            match pass_on(parent) {
                Err(_) if !parent.is_dir() => {}
                other => other?,
            }
        }
        match fs::create_dir(dir) {
            Ok(()) => return Ok(true),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return at(dir, "make cgroup", Err(e)),
        }
        let Some(parent) = dir.parent() else { break };
        match fs::create_dir(parent) {
            Ok(()) => pass_on(parent)?,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return at(parent, "make cgroup", Err(e)),
        }
    }
    at(dir, "make cgroup", Err(ErrorKind::NotFound.into()))
}

/// Gives a new instance's group what nodes' groups need of it.
fn pass_on(parent: &Path) -> Result<()> {
    if parent.join("cpuset.mems").exists() && !parent.join("cgroup.controllers").exists() {
        return inherit_cpuset(parent);
    }
    if let Ok(controllers) = fs::read_to_string(parent.join("cgroup.controllers")) {
        let wanted: Vec<String> = controllers
            .split_whitespace()
            .filter(|c| V1_LIMITS.contains(c))
            .map(|c| format!("+{c}"))
            .collect();
        if !wanted.is_empty() {
            return write(&parent.join("cgroup.subtree_control"), &wanted.join(" "));
        }
    }
    Ok(())
}

/// A new v1 cpuset has neither processors nor memory, and nothing can enter it.
fn inherit_cpuset(dir: &Path) -> Result<()> {
    for file in ["cpuset.mems", "cpuset.cpus"] {
        let own = dir.join(file);
        if at(&own, "read", fs::read_to_string(&own))?.trim().is_empty() {
            let above = dir.parent().unwrap_or(dir).join(file);
            let value = at(&above, "read", fs::read_to_string(&above))?;
            write(&own, value.trim())?;
        }
    }
    Ok(())
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
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn our_own_place_is_found_in_each_tree() {
        let tree = Tree::from_texts(HYBRID, "4:memory:/a/b\n1:cpu,cpuacct:/\n0::/\n");
        assert_eq!(tree.kind(), "hybrid");
        assert_eq!(tree.v1["memory"], Path::new("/sys/fs/cgroup/memory/a/b"));
        assert_eq!(tree.v1["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(tree.limits(), ["memory", "cpu"]);
        let pure = Tree::from_texts(
            "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "0::/system.slice/vnode.service\n",
        );
        assert_eq!(pure.kind(), "v2");
        assert_eq!(
            pure.v2.as_deref(),
            Some(Path::new("/sys/fs/cgroup/system.slice/vnode.service"))
        );
        assert_eq!(Tree::from_texts("", "0::/\n").kind(), "none");
    }

    #[test]
    fn names_are_one_component_and_distinct() {
        assert_eq!(component("a.b-c_d"), "a.b-c_d");
        assert_eq!(component("../x"), "%2e%2e%2fx".replace("%2e%2e", "%2e."));
        assert_ne!(component("a:b"), component("a/b"));
        assert_eq!(component("."), "%2e");
    }
}
