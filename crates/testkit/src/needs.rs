//! What a test needs of the machine, and how it says that it cannot run.
//!
//! A skipped test passes as far as the runner knows. So that nobody mistakes it for one that ran, it also writes a
//! line into the file named by `VNODE_TEST_REPORT`; `make test` takes those lines off the passed and counts them as skipped.

use std::io::Write;
use std::path::Path;

/// One thing a test can need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// User id 0 and the right to make namespaces.
    Root,
    /// The netem queueing discipline.
    Netem,
    /// A cgroup v2 tree with the memory, cpu and pids controllers.
    CgroupV2,
    /// cgroup v1 hierarchies with limits.
    CgroupV1,
    /// A capability, by its number in `capabilities(7)`, and its name for people.
    Capability(u32, &'static str),
    /// A kind of link the kernel can make: `dummy`.
    LinkKind(&'static str),
    /// A program on the search path.
    Program(&'static str),
    /// A file of the unpacked packages, see [`tools`](crate::tools): `usr/sbin/qemu-ga`.
    Tool(&'static str),
}

impl Need {
    /// Why the need is not met, or `None` when it is.
    pub fn missing(self) -> Option<String> {
        match self {
            Need::Root => {
                (!rustix::process::geteuid().is_root()).then(|| "not run as root".to_owned())
            }
            Need::Netem => (!kernel_has_netem()).then(|| "the kernel has no netem".to_owned()),
            Need::CgroupV2 => {
                let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
                let all = controllers.is_ok_and(|have| {
                    ["memory", "cpu", "pids"]
                        .iter()
                        .all(|c| have.split_whitespace().any(|h| h == *c))
                });
                (!all).then(|| "no cgroup v2 tree with its controllers".to_owned())
            }
            Need::CgroupV1 => (!Path::new("/sys/fs/cgroup/memory/tasks").exists())
                .then(|| "no cgroup v1 hierarchies".to_owned()),
            Need::Capability(number, name) => {
                let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
                let set = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
                let has = set.is_some_and(|set| set & (1 << number) != 0);
                (!has).then(|| format!("this root user lacks {name}"))
            }
            Need::LinkKind(kind) => {
                (!kernel_has_link(kind)).then(|| format!("the kernel has no links of kind {kind}"))
            }
            Need::Program(name) => crate::find_program(name)
                .is_none()
                .then(|| format!("the program `{name}` is not installed")),
            Need::Tool(name) => crate::tools::path(name).err(),
        }
    }
}

/// Whether `tc` can be given a netem discipline: asked of the kernel in a network namespace of its own, once.
fn kernel_has_netem() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| {
        let (Some(unshare), Some(tc)) = (crate::find_program("unshare"), crate::find_program("tc"))
        else {
            return false;
        };
        std::process::Command::new(unshare)
            .arg("-n")
            .arg(tc)
            .args(["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"])
            .output()
            .is_ok_and(|out| out.status.success())
    })
}

/// Whether a link of that kind can be made: tried in a network namespace of its own.
fn kernel_has_link(kind: &str) -> bool {
    let (Some(unshare), Some(ip)) = (crate::find_program("unshare"), crate::find_program("ip"))
    else {
        return false;
    };
    std::process::Command::new(unshare)
        .arg("-n")
        .arg(ip)
        .args(["link", "add", "probe0", "type", kind])
        .output()
        .is_ok_and(|out| out.status.success())
}

/// True inside the guest that [`crate::guest`] boots.
pub fn in_guest() -> bool {
    std::env::var_os("VNODE_TEST_GUEST").is_some()
}

fn report(kind: &str, why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    println!("{kind}: {test}: {why}");
    let Some(path) = std::env::var_os("VNODE_TEST_REPORT") else { return };
    let line = format!("{kind}\t{test}\t{why}\n");
    // One write of a short line to a file opened for appending is not torn by other tests.
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("cannot append to {}: {error}", Path::new(&path).display()));
}

/// Says that the running test is skipped. Use [`needs!`](crate::needs), which also returns.
pub fn skip(why: &str) {
    report("skipped", why);
}

/// Says that the running test is left to the guest tier, where the same test runs under another kernel.
pub fn skip_to_guest(why: &str) {
    report(if in_guest() { "skipped" } else { "deferred" }, why);
}

/// Returns from the test, visibly skipped, unless all the needs are met: `needs!(Root, Program("nft"))`.
#[macro_export]
macro_rules! needs {
    ($($need:ident $(($($arg:expr),+))?),+ $(,)?) => {
        $(if let Some(why) = $crate::Need::$need $(($($arg),+))?.missing() {
            $crate::skip(&why);
            return;
        })+
    };
}

/// Like [`needs!`](crate::needs), for tests that the guest tier runs when this kernel cannot.
#[macro_export]
macro_rules! needs_or_guest {
    ($($need:ident $(($($arg:expr),+))?),+ $(,)?) => {
        $(if let Some(why) = $crate::Need::$need $(($($arg),+))?.missing() {
            $crate::skip_to_guest(&why);
            return;
        })+
    };
}
