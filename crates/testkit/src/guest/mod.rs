//! A guest with Debian's kernel, for tests of what the machine's own kernel lacks: netem, cgroup v2 limits.
//!
//! QEMU under software emulation boots the kernel with an initramfs made here: busybox, the modules, the programs the
//! tests call, the built `vnode`, and test programs of this workspace. [`run`] runs tests one by one in it, each in a
//! process of its own, and tells what became of each. One boot serves them all: it costs some seconds, and everything
//! inside runs three to ten times slower than outside, by a clock of its own.

mod cpio;
mod files;
mod kernel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::find_program;

/// A test program of this workspace and which of its tests to run in the guest.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Name of the test target: `impairments` for `tests/impairments.rs`.
    pub target: String,
    /// Run only tests whose names contain one of these; empty runs all.
    pub filters: Vec<String>,
}

/// Clients of registries want the machine's certificates, even for a registry without TLS.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What became of one test in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// With the reason the test gave.
    Skipped(String),
    /// With the exit code, or `None` when the guest ended before the test did.
    Failed(Option<i32>),
}

/// One test's result.
#[derive(Debug, Clone)]
pub struct Case {
    /// `target::test_name`.
    pub name: String,
    pub outcome: Outcome,
    /// Everything the test printed.
    pub output: String,
}

/// Why no guest can run here, or `None` when one can.
pub fn missing() -> Option<String> {
    for program in [
        "qemu-system-x86_64",
        "xz",
        "ldd",
        "busybox",
        "unshare",
        "nsenter",
        "ip",
        "tc",
        "nft",
        "ping",
    ] {
        if find_program(program).is_none() {
            return Some(format!("the program `{program}` is not installed"));
        }
    }
    kernel::Kernel::find().err()
}

/// Debian's agent in the place of ours in a small image: what its service starts.
const QEMU_GA: &str = "#!/bin/sh\nexec /usr/sbin/qemu-ga --method=virtio-serial \
    --path=/dev/virtio-ports/org.qemu.guest_agent.0 --statedir=/run\n";

/// Puts Debian's own guest agent (`needs!(Tool("usr/sbin/qemu-ga"))`) into the initial RAM disk of an image that
/// `vnode image build` has made, in the place of ours.
///
/// # Panics
/// When it is not unpacked, or the file cannot be written.
pub fn put_qemu_ga(initrd: &Path) {
    let root = crate::tools::root().expect("asked before");
    let mut tree = files::Tree::empty();
    tree.add_program_of(&root, &root.join("usr/sbin/qemu-ga"), "/usr/sbin/qemu-ga");
    tree.add_text("/etc/agent", QEMU_GA, 0o755);
    tree.add_text("/usr/bin/vnode-agent", "", 0o644);
    tree.append(initrd);
}

/// Where a guest that runs machines has their image.
pub const IMAGE: &str = "/vnode/image";

/// First process of the machine within a machine: no more than its agent needs, which is Debian's, by vsock.
const INNER_INIT: &str = "#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod $module; done
echo 'the agent is started' >/dev/console
exec /usr/sbin/qemu-ga --method=vsock-listen --path=4294967295:1024 --statedir=/run
";

/// Makes the smallest machine that answers by vsock, at port 1024: kernel and initial RAM disk, with the names that images
/// of `vnode image build` have. It is emulated in one that is emulated, where everything takes a hundred times as long.
///
/// # Panics
/// When there is no kernel or agent (`missing`, `needs!(Tool("usr/sbin/qemu-ga"))`), or a file cannot be written.
pub fn build_inner(folder: &Path) {
    let cache = cache_dir();
    std::fs::create_dir_all(&cache).expect("the target directory is writable");
    std::fs::create_dir_all(folder).expect("the folder can be made");
    let kernel = kernel::Kernel::find().expect("asked before");
    std::fs::copy(kernel.vmlinux(&cache), folder.join("vmlinux")).expect("the folder is writable");
    let root = crate::tools::root().expect("asked before");
    let mut tree = files::Tree::new();
    tree.add_program_of(&root, &root.join("usr/sbin/qemu-ga"), "/usr/sbin/qemu-ga");
    tree.add_busybox();
    tree.add_modules(kernel.files_of(&["virtio_pci", "vmw_vsock_virtio_transport"]));
    tree.add_text("/init", INNER_INIT, 0o755);
    tree.write(&folder.join("initrd"));
}

/// What a guest is besides its tests.
#[derive(Debug, Clone)]
pub struct Shape<'a> {
    /// Programs of this machine to put in, beside those every guest has.
    pub programs: &'a [&'a str],
    /// Files of this machine and where they are in the guest.
    pub files: &'a [(PathBuf, String)],
    /// Modules to load besides.
    pub modules: &'a [&'a str],
    /// QEMU, to run machines within.
    pub qemu: bool,
    pub memory_mib: u32,
    pub processors: u32,
    /// Its time is that of the instructions it executes, see [`CLOCK`]; otherwise it is this machine's.
    pub own_clock: bool,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Shape {
            programs: &[],
            files: &[],
            modules: &[],
            qemu: false,
            memory_mib: 1536,
            processors: 1,
            own_clock: true,
        }
    }
}

/// Boots one guest, runs the tests of `suites` in it and ends it.
///
/// # Panics
/// When the guest cannot be built; a guest that dies later gives failed cases instead.
pub fn run(
    suites: &[Suite],
    shape: &Shape<'_>,
    case_timeout: Duration,
    timeout: Duration,
) -> Vec<Case> {
    let cache = cache_dir();
    std::fs::create_dir_all(&cache).expect("the target directory is writable");
    // A second guest at the same time would take both processors from the first: wait for it.
    let lock = std::fs::File::create(cache.join("lock")).expect("the target directory is writable");
    lock.lock().expect("the target directory takes locks");
    let dir =
        tempfile::Builder::new().prefix("vnode-guest-").tempdir().expect("a temporary directory");
    let mut names = Vec::new();
    let mut tree = files::Tree::new();
    let mut plan = String::new();
    let mut unbuilt = Vec::new();
    for suite in suites {
        let built = test_programs(&suite.target);
        // Another package may have a test target of that name.
        let found = built.iter().find_map(|program| {
            let tests = tests_of(program, &suite.filters);
            (!tests.is_empty()).then_some((program, tests))
        });
        let Some((program, tests)) = found else {
            let outcome = if built.is_empty() {
                Outcome::Skipped("the test program is not built; `make test` builds all".into())
            } else {
                Outcome::Failed(None)
            };
            let output =
                format!("no built program of that name has a test like {:?}", suite.filters);
            unbuilt.push(Case { name: suite.target.clone(), outcome, output });
            continue;
        };
        tree.add_program(program, &format!("/tests/{}", suite.target));
        for test in tests {
            plan.push_str(&format!("{} {} {test}\n", case_timeout.as_secs(), suite.target));
            names.push(format!("{}::{test}", suite.target));
        }
    }
    for program in ["vnode", "vnode-core", "vnode-monitor", "vnode-agent"] {
        // Not built: tests that want it say so inside.
        let path = crate::program::program_dir().join(program);
        if path.exists() {
            tree.add_program(&path, &format!("/vnode/{program}"));
        }
    }
    let kernel = kernel::Kernel::find().expect("asked before");
    tree.add_tools(shape.programs);
    tree.add_modules(kernel.module_files(shape.modules));
    if shape.qemu {
        tree.add_qemu();
    }
    for (from, to) in shape.files {
        tree.add_file(from, to);
    }
    if let Ok(certificates) = std::fs::read_to_string(CERTIFICATES) {
        tree.add_text(CERTIFICATES, &certificates, 0o644);
    }
    tree.add_text("/plan", &plan, 0o644);
    tree.add_text("/init", include_str!("init.sh"), 0o755);
    tree.add_text("/second", include_str!("second.sh"), 0o755);
    let initrd = dir.path().join("initrd");
    tree.write(&initrd);
    let mut qemu = Qemu::boot(&kernel.vmlinux(&cache), &initrd, dir.path(), shape);
    let text = qemu.wait_for_end(timeout);
    let mut cases = read_results(&names, &text);
    if cases.iter().any(|c| c.outcome == Outcome::Failed(None)) {
        println!("--- the guest's console\n{}", qemu.console());
    }
    cases.append(&mut unbuilt);
    cases
}

/// Writes each case as a line for the summary of `make test` and for a reader, and returns the names of the failed.
pub fn report(cases: &[Case]) -> Vec<String> {
    use std::io::Write;
    let mut failed = Vec::new();
    let mut lines = String::new();
    for case in cases {
        match &case.outcome {
            Outcome::Passed => {
                println!("guest: passed {}", case.name);
                lines.push_str(&format!("guest-passed\t{}\t\n", case.name));
            }
            Outcome::Skipped(why) => {
                println!("guest: skipped {}: {why}", case.name);
                lines.push_str(&format!("guest-skipped\t{}\t{why}\n", case.name));
            }
            Outcome::Failed(code) => {
                println!("guest: FAILED {} (exit {code:?})\n{}", case.name, case.output);
                lines.push_str(&format!("guest-failed\t{}\t\n", case.name));
                failed.push(case.name.clone());
            }
        }
    }
    if let Some(path) = std::env::var_os("VNODE_TEST_REPORT") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut f| f.write_all(lines.as_bytes()))
            .expect("the report can be appended to");
    }
    failed
}

/// Where the unpacked kernel is kept: `guest/` in the target directory.
fn cache_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    // target/debug/deps/test
    test.ancestors().nth(3).unwrap_or(Path::new("/tmp")).join("guest")
}

/// The built test programs of that target, the newest first.
fn test_programs(target: &str) -> Vec<PathBuf> {
    let test = std::env::current_exe().expect("the running test has a path");
    let deps = test.parent().expect("a program lies in a directory");
    let mut found: Vec<_> = std::fs::read_dir(deps)
        .expect("the target directory is readable")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.to_owned();
            let (stem, hash) = name.rsplit_once('-')?;
            let program = stem == target && hash.chars().all(|c| c.is_ascii_hexdigit());
            program.then(|| (path.metadata().and_then(|m| m.modified()).ok(), path))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// The names of a test program's tests, ignored ones left out.
fn tests_of(program: &Path, filters: &[String]) -> Vec<String> {
    let out = Command::new(program).args(["--list", "--format", "terse"]).args(filters).output();
    let out = out
        .unwrap_or_else(|error| panic!("cannot list the tests of {}: {error}", program.display()));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().filter_map(|l| l.strip_suffix(": test").map(str::to_owned)).collect()
}

/// Cuts what came out of the guest into cases; names without a result are failed ones.
fn read_results(names: &[String], text: &str) -> Vec<Case> {
    let mut found: BTreeMap<String, (i32, String)> = BTreeMap::new();
    let mut current: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("@begin ") {
            current = Some((name.to_owned(), String::new()));
        } else if let Some(code) = line.strip_prefix("@end ") {
            if let Some((name, output)) = current.take() {
                found.insert(name, (code.trim().parse().unwrap_or(-1), output));
            }
        } else if let Some((_, output)) = &mut current {
            output.push_str(line);
            output.push('\n');
        }
    }
    let case = |name: &String| {
        let Some((code, output)) = found.remove(name) else {
            return Case {
                name: name.clone(),
                outcome: Outcome::Failed(None),
                output: String::new(),
            };
        };
        let skipped = output.lines().find_map(|l| {
            let (_, rest) = l.split_once("skipped: ")?;
            Some(rest.to_owned())
        });
        let outcome = match (code, skipped) {
            (0, Some(why)) => Outcome::Skipped(why),
            (0, None) => Outcome::Passed,
            (code, _) => Outcome::Failed(Some(code)),
        };
        Case { name: name.clone(), outcome, output }
    };
    names.iter().map(case).collect()
}

/// The guest's clock counts instructions, each two nanoseconds, and leaps over what would be idle. So what is measured
/// inside holds on a host that has other things to do: with the host's clock a rate of 10 Mbit/s was 6.3 beside other
/// tests. It also means one processor, and one that cannot wait for another in vain.
pub const CLOCK: &str = "shift=1,sleep=off";

/// A running QEMU; killed with the value.
#[derive(Debug)]
struct Qemu {
    child: Child,
    dir: PathBuf,
}

impl Qemu {
    fn boot(vmlinux: &Path, initrd: &Path, dir: &Path, shape: &Shape<'_>) -> Qemu {
        let memory = shape.memory_mib.to_string();
        let processors = shape.processors.to_string();
        let clock: &[&str] = if shape.own_clock { &["-icount", CLOCK] } else { &[] };
        let results = format!("file,id=results,path={}", dir.join("results").display());
        let log =
            std::fs::File::create(dir.join("qemu.log")).expect("the guest's directory is writable");
        // KVM is not asked for: where the device exists it need not be able to boot this kernel.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-machine", "q35,accel=tcg", "-smp", &processors, "-m", &memory])
            .args(clock)
            .arg("-kernel")
            .arg(vmlinux)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on"])
            .arg("-serial")
            .arg(format!("file:{}", dir.join("console").display()))
            .args([
                "-device",
                "virtio-serial-pci",
                "-device",
                "virtio-rng-pci",
                "-chardev",
                &results,
            ])
            .args(["-device", "virtserialport,chardev=results,name=results"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("setpriv starts");
        Qemu { child, dir: dir.to_owned() }
    }

    /// Waits until the guest has powered off; kills it after `timeout`. Returns what it has written.
    fn wait_for_end(&mut self, timeout: Duration) -> String {
        let end = Instant::now() + timeout;
        while self.child.try_wait().expect("a started child can be asked").is_none() {
            if Instant::now() > end {
                println!("the guest did not end within {timeout:?}: killed");
                let _ = self.child.kill(); // it has just ended when this fails
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let bytes = std::fs::read(self.dir.join("results")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn console(&self) -> String {
        let read = |name: &str| std::fs::read(self.dir.join(name)).unwrap_or_default();
        let text = [read("qemu.log"), read("console")].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(90)..].join("\n")
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended already in the ordinary case
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_apart() {
        let text = "noise\n@begin a::x\nrunning\n@end 0\n@begin a::y\nskipped: y: no netem\n@end 0\n@begin a::z\npanicked\n@end 101\n@begin a::w\n";
        let names = ["a::x", "a::y", "a::z", "a::w"].map(str::to_owned);
        let outcomes: Vec<_> = read_results(&names, text).into_iter().map(|c| c.outcome).collect();
        let expected = [
            Outcome::Passed,
            Outcome::Skipped("y: no netem".into()),
            Outcome::Failed(Some(101)),
            Outcome::Failed(None),
        ];
        assert_eq!(outcomes, expected);
    }
}
