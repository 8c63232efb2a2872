//! From a resolved definition to what the monitor is told: every decision about a node's confinement.

use std::path::PathBuf;

use vnode_monitor::wire::{self, Source};

use super::cgroup::Group;
use super::devices::{self, Rule};
use super::{caps, seccomp};
use crate::{Error, ExecSpec, MountKind, NodeSpec, PidMode, Result, Seccomp};

const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const STRICTATIME: u64 = 0x20;
const NOSYMFOLLOW: u64 = 0x0020_0000;

const RLIMIT_NOFILE: u32 = 7;
/// `/dev/shm` where the definition does not say.
const SHM_BYTES: u64 = 64 * 1024 * 1024;

/// What is hidden from a node that is not privileged, as the OCI runtimes do.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn invalid(spec: &NodeSpec, what: impl Into<String>) -> Error {
    Error::Invalid { node: spec.node.clone(), what: what.into() }
}

/// Everything the monitor needs to boot the node.
pub(super) fn boot(spec: &NodeSpec, group: &Group) -> Result<wire::Boot> {
    if spec.layers.is_empty() {
        return Err(invalid(spec, "it has no layer to make its root of"));
    }
    if spec.hostname.is_empty() || spec.hostname.len() > 64 {
        return Err(invalid(spec, format!("host name `{}` is not 1 to 64 bytes", spec.hostname)));
    }
    let layers = spec.layers.iter().map(|l| utf8(spec, l)).collect::<Result<_>>()?;
    let over = spec.over.iter().map(|over| {
        let layers = over.layers.iter().map(|l| utf8(spec, l)).collect::<Result<_>>()?;
        Ok(wire::Over { target: utf8(spec, &over.target)?, layers })
    });
    let over = over.collect::<Result<_>>()?;
    let (devices, _) = devices::of(spec)?;
    let privileged = spec.security.privileged;
    let list = |paths: &[&str]| {
        if privileged { Vec::new() } else { paths.iter().map(|p| (*p).to_owned()).collect() }
    };
    Ok(wire::Boot {
        layers,
        over,
        read_only_root: spec.read_only_root,
        hostname: spec.hostname.clone(),
        mounts: mounts(spec)?,
        devices,
        links: devices::links(),
        masked: list(&MASKED),
        read_only: list(&READ_ONLY),
        sysctls: sysctls(spec)?,
        process: wire::Process {
            argv: spec.process.argv.clone(),
            env: spec.process.env.clone(),
            cwd: absolute(spec, "working folder", &spec.process.cwd)?,
            user: spec.process.user.clone(),
            tty: spec.process.tty.then_some((24, 80)),
            ..confined(spec, privileged)?
        },
        pids: pids(spec, group)?,
        cgroup_procs: group.v1_procs(),
        oom_file: group.oom_file(),
        cgroup: false,
        log_limit_bytes: spec.log_limit_bytes,
    })
}

/// Whose process namespace the first process is born in, and how what it leaves there is found.
fn pids(spec: &NodeSpec, group: &Group) -> Result<wire::Pids> {
    let Some(group) = group.membership() else {
        return match spec.pids {
            PidMode::Own => Ok(wire::Pids::Own),
            PidMode::Host | PidMode::Node(_) => Err(Error::Unsupported {
                node: spec.node.clone(),
                what: "it cannot live among other processes: without control groups nothing tells which are its own"
                    .to_owned(),
            }),
        };
    };
    if spec.pids != PidMode::Own && spec.security.user_namespace.is_some() {
        return Err(invalid(spec, "a user namespace needs a process namespace of its own"));
    }
    let group = group.display().to_string();
    Ok(match spec.pids {
        PidMode::Own => wire::Pids::Own,
        PidMode::Host => wire::Pids::Host { group },
        PidMode::Node(_) => wire::Pids::Join { group },
    })
}

/// Everything the monitor needs to run a program in the node.
pub(super) fn exec(spec: &NodeSpec, exec: &ExecSpec, group: &Group) -> Result<wire::Exec> {
    if exec.argv.is_empty() {
        return Err(invalid(spec, "exec: no program is given"));
    }
    // Later settings win, and a program that looks for the first must not find an older one.
    let name = |e: &str| e.split('=').next().unwrap_or(e).to_owned();
    let set: Vec<String> = exec.env.iter().map(|e| name(e)).collect();
    let mut env: Vec<String> =
        spec.process.env.iter().filter(|e| !set.contains(&name(e))).cloned().collect();
    env.extend(exec.env.iter().cloned());
    if exec.tty.is_some() && !env.iter().any(|e| e.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    let cwd = exec.cwd.as_ref().unwrap_or(&spec.process.cwd);
    Ok(wire::Exec {
        process: wire::Process {
            argv: exec.argv.clone(),
            env,
            cwd: absolute(spec, "working folder", cwd)?,
            user: exec.user.clone().unwrap_or_else(|| spec.process.user.clone()),
            tty: exec.tty.map(|t| (t.rows, t.cols)),
            ..confined(spec, exec.privileged || spec.security.privileged)?
        },
        cgroup_procs: group.v1_procs(),
        cgroup: false,
    })
}

/// Rules of the node's device confinement; `None`: it may use every device.
pub(super) fn device_rules(spec: &NodeSpec) -> Result<Option<Vec<Rule>>> {
    if spec.security.privileged {
        return Ok(None);
    }
    devices::of(spec).map(|(_, rules)| Some(rules))
}

fn confined(spec: &NodeSpec, privileged: bool) -> Result<wire::Process> {
    // The daemon's own set does not change while it runs.
    static OURS: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let ours = *OURS.get_or_init(caps::ours);
    let mut bits = 0;
    if privileged {
        bits = ours;
    } else {
        for name in &spec.security.capabilities {
            let bit = caps::bit(name)
                .ok_or_else(|| invalid(spec, format!("capability `{name}` is not known")))?;
            if bit & ours == 0 {
                return Err(Error::Unsupported {
                    node: spec.node.clone(),
                    what: format!(
                        "capability `{name}` cannot be given: the daemon itself does not have it"
                    ),
                });
            }
            bits |= bit;
        }
    }
    if spec.pids != PidMode::Own {
        // reboot(2) is about the namespace: that of the host, or of another node.
        bits &= !caps::bit("SYS_BOOT").unwrap_or(0);
    }
    let filter = match spec.security.seccomp {
        Seccomp::Default if !privileged => profile(bits),
        Seccomp::Default | Seccomp::Unconfined => String::new(),
    };
    Ok(wire::Process {
        caps: caps::sets(bits),
        no_new_privileges: spec.security.no_new_privileges && !privileged,
        seccomp: filter,
        rlimits: vec![open_files()],
        ..wire::Process::default()
    })
}

/// The profile for a set of capabilities, made once for each set that is used.
fn profile(bits: u64) -> String {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex};
    static MADE: LazyLock<Mutex<HashMap<u64, String>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if made.len() > 64 {
        made.clear();
    }
    made.entry(bits).or_insert_with(|| seccomp::default_profile(bits)).clone()
}

/// The usual soft limit of open files whatever the daemon has raised its own to, below the daemon's hard one.
fn open_files() -> (u32, u64, u64) {
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let hard = own.maximum.unwrap_or(1 << 20);
    (RLIMIT_NOFILE, hard.min(1024), hard)
}

fn utf8(spec: &NodeSpec, path: &std::path::Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| invalid(spec, format!("path {} is not UTF-8", path.display())))
}

fn absolute(spec: &NodeSpec, what: &str, path: &str) -> Result<String> {
    match path {
        "" => Ok("/".to_owned()),
        path if path.starts_with('/') => Ok(path.to_owned()),
        path => Err(invalid(spec, format!("{what} `{path}` is not absolute"))),
    }
}

fn new(target: &str, kind: &str, data: &[(&str, &str)], attr: u64) -> wire::Mount {
    wire::Mount {
        target: target.to_owned(),
        what: Source::New {
            kind: kind.to_owned(),
            source: if kind == "tmpfs" && target == "/dev/shm" { "shm" } else { kind }.to_owned(),
            data: data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        },
        attr,
    }
}

fn mounts(spec: &NodeSpec) -> Result<Vec<wire::Mount>> {
    let privileged = spec.security.privileged;
    let shm = format!("{}k", spec.limits.shm_bytes.unwrap_or(SHM_BYTES).div_ceil(1024).max(4));
    let read_only = if privileged { 0 } else { RDONLY };
    let safe = NOSUID | NODEV | NOEXEC;
    let mut list = vec![
        new("/proc", "proc", &[], safe),
        new("/dev", "tmpfs", &[("mode", "755"), ("size", "65536k")], NOSUID | STRICTATIME),
        new(
            "/dev/pts",
            "devpts",
            &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")],
            NOSUID | NOEXEC,
        ),
        new("/dev/shm", "tmpfs", &[("mode", "1777"), ("size", &shm)], safe),
        new("/dev/mqueue", "mqueue", &[], safe),
        new("/sys", "sysfs", &[], safe | read_only),
        new("/sys/fs/cgroup", "cgroup2", &[], safe | read_only),
    ];
    if spec.network == crate::NetworkMode::Host && spec.security.user_namespace.is_some() {
        // sysfs shows the network devices of a namespace, so a stranger to that namespace may not mount it.
        list.retain(|m| m.target != "/sys" && m.target != "/sys/fs/cgroup");
        list.push(wire::Mount {
            target: "/sys".to_owned(),
            what: Source::Bind { path: "/sys".to_owned(), recursive: false },
            attr: safe | RDONLY,
        });
    }
    for mount in &spec.mounts {
        list.push(one(spec, mount)?);
    }
    Ok(list)
}

fn one(spec: &NodeSpec, mount: &crate::Mount) -> Result<wire::Mount> {
    let target = absolute(spec, "mount target", &mount.target)?;
    if target.split('/').all(|part| matches!(part, "" | "." | "..")) {
        return Err(invalid(spec, format!("nothing can be mounted on `{target}`")));
    }
    let mut attr = if mount.read_only { RDONLY } else { 0 };
    let mut data = Vec::new();
    for option in &mount.options {
        match (option.as_str(), option.split_once('=')) {
            ("ro", _) => attr |= RDONLY,
            ("rw" | "private" | "rprivate" | "bind" | "rbind" | "relatime", _) => {}
            ("nosuid", _) => attr |= NOSUID,
            ("nodev", _) => attr |= NODEV,
            ("noexec", _) => attr |= NOEXEC,
            ("nosymfollow", _) => attr |= NOSYMFOLLOW,
            (_, Some((key @ ("size" | "mode" | "uid" | "gid" | "nr_inodes"), value)))
                if mount.kind == MountKind::Tmpfs && !value.is_empty() =>
            {
                data.push((key.to_owned(), value.to_owned()));
            }
            _ => {
                return Err(invalid(
                    spec,
                    format!(
                        "mount on `{target}`: option `{option}` is not one of ro, nosuid, nodev, noexec, \
                         nosymfollow, and for tmpfs size=, mode=, uid=, gid=, nr_inodes="
                    ),
                ));
            }
        }
    }
    let what = match &mount.kind {
        MountKind::Bind { source, recursive } => {
            let path: PathBuf = source.clone();
            if !path.is_absolute() {
                let text = format!("bind source `{}` is not absolute", path.display());
                return Err(invalid(spec, text));
            }
            Source::Bind { path: utf8(spec, &path)?, recursive: *recursive }
        }
        MountKind::Tmpfs => {
            // As the OCI runtimes: a file system that a node can fill has no devices and no privileges.
            attr |= NOSUID | NODEV;
            Source::New { kind: "tmpfs".to_owned(), source: "tmpfs".to_owned(), data }
        }
    };
    Ok(wire::Mount { target, what, attr })
}

/// Keys of `/proc/sys` that a namespace of the node's holds; others are the host's.
fn sysctls(spec: &NodeSpec) -> Result<Vec<(String, String)>> {
    const KERNEL: [&str; 12] = [
        "kernel.domainname",
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg_next_id",
        "kernel.sem",
        "kernel.sem_next_id",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_next_id",
        "kernel.shm_rmid_forced",
    ];
    let mut list = Vec::new();
    for (key, value) in &spec.sysctls {
        // Both `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/...` are in use: the first separator decides.
        let slashed = key.find(['.', '/']).is_some_and(|at| key.as_bytes()[at] == b'/');
        let path: String = if slashed {
            key.clone()
        } else {
            key.chars()
                .map(|c| {
                    if c == '.' {
                        '/'
                    } else if c == '/' {
                        '.'
                    } else {
                        c
                    }
                })
                .collect()
        };
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) || value.contains('\0') {
            return Err(invalid(spec, format!("sysctl `{key}` is not a key")));
        }
        let dotted = path.replace('/', ".");
        let own_network = spec.network != crate::NetworkMode::Host;
        let namespaced = (path.starts_with("net/") && own_network)
            || path.starts_with("fs/mqueue/")
            || KERNEL.contains(&dotted.as_str());
        if !namespaced {
            return Err(invalid(
                spec,
                format!(
                    "sysctl `{key}` belongs to the host, not to the node: only net.* (with a network of \
                     its own), fs.mqueue.* and the IPC keys of kernel.* can be set"
                ),
            ));
        }
        list.push((path, value.clone()));
    }
    Ok(list)
}
