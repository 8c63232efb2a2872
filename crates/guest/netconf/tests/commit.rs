//! Files changed as one: killed between any two writes, out of space, met by another writer.
#![allow(clippy::unwrap_used, reason = "fixtures fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "the test starts itself, to be killed")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use vnode_beneath::{Dir, Scope};
use vnode_netconf::kernel::{KernelError, State};
use vnode_netconf::render::Program;
use vnode_netconf::{
    Backend, Interface, Nic, Recovered, Settings, System, Wanted, preview, recover, reset,
};
use vnode_testkit::needs;

/// A guest without a kernel of its own: files only. `at` is called at each point between two writes.
struct Files<F: Fn(usize, &str) + Send + Sync> {
    points: AtomicUsize,
    programs: Mutex<Vec<String>>,
    at: F,
}

impl<F: Fn(usize, &str) + Send + Sync> Files<F> {
    fn new(at: F) -> Self {
        Self { points: AtomicUsize::new(0), programs: Mutex::default(), at }
    }
}

impl<F: Fn(usize, &str) + Send + Sync> System for Files<F> {
    async fn run(&self, program: &Program) -> Result<i32, String> {
        self.programs.lock().unwrap().push(program.argv.join(" "));
        Ok(0)
    }

    fn nics(&self) -> Result<Vec<Nic>, KernelError> {
        Ok(g1().1)
    }

    fn state(&self, _: &[String]) -> Result<Option<State>, KernelError> {
        Ok(None)
    }

    fn apply(&self, _: &Interface) -> Result<(), KernelError> {
        Ok(())
    }

    fn flush(&self, _: &str, _: &[ipnet::IpNet]) -> Result<(), KernelError> {
        Ok(())
    }

    fn hostname(&self) -> Option<String> {
        None
    }

    fn point(&self, name: &str) {
        (self.at)(self.points.fetch_add(1, Ordering::SeqCst) + 1, name);
    }
}

fn nothing(_: usize, _: &str) {}

/// Several files of several kinds: new, changed, removed, a link, a folder that is missing.
fn guest(root: &Path) {
    for (path, text) in [
        ("etc/os-release", "ID=centos\nVERSION_ID=7\n"),
        ("etc/hosts", "127.0.0.1 localhost\n192.0.2.42 old\n"),
        ("etc/sysconfig/network", "NETWORKING=yes\n"),
        ("etc/sysconfig/network-scripts/ifcfg-eth0", "BOOTPROTO=dhcp\n"),
        ("etc/sysconfig/network-scripts/ifcfg-eth0:1", "BOOTPROTO=static\n"),
        ("etc/sysconfig/network-scripts/ifcfg-lo", "DEVICE=lo\n"),
        ("etc/real-hostname", "old\n"),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::os::unix::fs::symlink("real-hostname", root.join("etc/hostname")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(root.join("etc/hosts"), mode).unwrap();
}

fn settings() -> Settings {
    Settings { backend: Some(Backend::Ifcfg), ..Settings::default() }
}

fn open(root: &Path) -> Dir {
    Dir::open_ambient(root, Scope::InRoot).unwrap()
}

/// Everything below `etc` with content, mode and kind.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, into: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                walk(&path, into);
            } else if meta.is_symlink() {
                into.insert(
                    path.clone(),
                    format!("-> {}", std::fs::read_link(&path).unwrap().display()),
                );
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                into.insert(path, format!("{:o} {text}", meta.mode() & 0o7777));
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(&root.join("etc"), &mut all);
    all.into_iter()
        .map(|(path, text)| (path.strip_prefix(root).unwrap().to_owned(), text))
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn run(
    root: &Path,
    system: &impl System,
    wanted: &Wanted,
) -> Result<vnode_netconf::Report, String> {
    let result = runtime().block_on(reset(system, &open(root), &settings(), wanted));
    result.map_err(|error| error.to_string())
}

fn recovered(root: &Path) -> Recovered {
    runtime().block_on(recover(&Files::new(nothing), &open(root), &settings())).unwrap()
}

fn has_transaction(root: &Path) -> bool {
    root.join("var/lib/vnode-agent/network/transaction").exists()
}

#[test]
fn ne_02_a_second_reset_touches_nothing() {
    let root = tempfile::tempdir().unwrap();
    guest(root.path());
    let system = Files::new(nothing);
    let report = run(root.path(), &system, &g1().0).unwrap();
    assert_eq!(report.interfaces, ["eth0", "eth1"]);
    let first = tree(root.path());
    assert_eq!(first[Path::new("etc/real-hostname")], "644 web1\n", "written through the link");
    assert_eq!(first[Path::new("etc/hostname")], "-> real-hostname", "the link stays");
    assert!(first[Path::new("etc/hosts")].starts_with("640 "), "R-W4: the mode stays");
    let times = |root: &Path| {
        let of = |p: &PathBuf| std::fs::metadata(root.join(p)).unwrap().modified().unwrap();
        first.keys().map(of).collect::<Vec<_>>()
    };
    let before = times(root.path());
    let second = Files::new(nothing);
    let report = run(root.path(), &second, &g1().0).unwrap();
    assert_eq!(report, vnode_netconf::Report::default());
    assert!(second.programs.lock().unwrap().is_empty());
    assert_eq!(times(root.path()), before);
    // R-W2: one backup of each file, in our folder.
    let backups = root.path().join("var/lib/vnode-agent/network/backup");
    let name = "etc%2Fsysconfig%2Fnetwork-scripts%2Fifcfg-eth0";
    assert_eq!(std::fs::read_to_string(backups.join(name)).unwrap(), "BOOTPROTO=dhcp\n");
    assert!(!has_transaction(root.path()));
}

#[test]
fn r_a9_a_preview_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    guest(root.path());
    let before = tree(root.path());
    let plan = preview(&Files::new(nothing), &open(root.path()), &settings(), &g1().0).unwrap();
    assert!(plan.summary().contains("  /etc/sysconfig/network-scripts/ifcfg-eth0\n"));
    assert_eq!(tree(root.path()), before);
    assert!(!root.path().join("var").exists());
}

#[test]
fn ne_03_a_file_changed_by_another_takes_all_back() {
    let root = tempfile::tempdir().unwrap();
    guest(root.path());
    let before = tree(root.path());
    let renamed = AtomicUsize::new(0);
    let third = root.path().join("etc/sysconfig/network-scripts/ifcfg-eth0:1");
    let system = Files::new(|_, name| {
        if name == "renamed" && renamed.fetch_add(1, Ordering::SeqCst) == 2 {
            std::fs::write(&third, "BOOTPROTO=other\n").unwrap();
        }
    });
    let error = run(root.path(), &system, &g1().0).unwrap_err();
    assert!(error.contains("ifcfg-eth0:1") && error.ends_with("back in place"), "{error}");
    assert!(renamed.load(Ordering::SeqCst) >= 3);
    assert_eq!(tree(root.path()), before);
    assert!(!has_transaction(root.path()));
}

#[test]
fn ne_03_a_full_disk_takes_all_back() {
    needs!(Root);
    let folder = tempfile::tempdir().unwrap();
    // A mount namespace of this thread's own: nothing is left when it ends.
    let path = folder.path().to_owned();
    std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        // SAFETY: only this thread is moved, and it opens nothing it had before.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(c"size=512k")).unwrap();
        guest(&path);
        let before = tree(&path);
        // Less and less room: every write fails once, and all is as it was each time.
        let mut failures = 0;
        for free in 0..64 {
            let filler = path.join("filler");
            let full = std::fs::write(&filler, vec![1; 1 << 20]);
            assert!(full.is_err(), "the disk is full");
            let size = std::fs::metadata(&filler).unwrap().len();
            let file = std::fs::OpenOptions::new().write(true).open(&filler).unwrap();
            file.set_len(size.saturating_sub(free * 4096)).unwrap();
            let result = run(&path, &Files::new(nothing), &g1().0);
            std::fs::remove_file(&filler).unwrap();
            if result.is_ok() {
                break;
            }
            failures += 1;
            // What could not be put back for want of room is put back now.
            recovered(&path);
            assert_eq!(tree(&path), before, "{result:?}");
            assert!(!has_transaction(&path));
        }
        assert!(failures > 5, "{failures} writes failed");
        assert!(tree(&path)[Path::new("etc/hosts")].contains("web1"));
    })
    .join()
    .unwrap();
}

const ROOT: &str = "NETCONF_TEST_ROOT";
const POINT: &str = "NETCONF_TEST_POINT";
const WHAT: &str = "NETCONF_TEST_WHAT";

/// The child of the tests below: resets or recovers, and kills itself at a point.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return };
    let point: usize = std::env::var(POINT).unwrap().parse().unwrap();
    let system = Files::new(|n, _| {
        if n == point {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .unwrap();
        }
    });
    match std::env::var(WHAT).unwrap().as_str() {
        "reset" => {
            run(&root, &system, &g1().0).unwrap();
        }
        _ => {
            runtime().block_on(recover(&system, &open(&root), &settings())).unwrap();
        }
    }
}

/// Runs the child; false when it was killed.
fn lives(root: &Path, what: &str, point: usize) -> bool {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(ROOT, root)
        .env(POINT, point.to_string())
        .env(WHAT, what)
        .output()
        .unwrap();
    if out.status.success() {
        return true;
    }
    let killed = std::os::unix::process::ExitStatusExt::signal(&out.status) == Some(9);
    assert!(killed, "{}", String::from_utf8_lossy(&out.stderr));
    false
}

/// Each file is the old one or the new one, never a part, and none that is in both is missing.
fn assert_whole(
    now: &BTreeMap<PathBuf, String>,
    old: &BTreeMap<PathBuf, String>,
    new: &BTreeMap<PathBuf, String>,
    point: usize,
) {
    for (path, text) in now {
        let staged = path.file_name().unwrap().to_str().unwrap().ends_with(".vnode-agent-new");
        let known = old.get(path) == Some(text) || new.get(path) == Some(text);
        assert!(staged || known, "point {point}: {path:?} is neither old nor new: {text}");
    }
    for path in old.keys().filter(|path| new.contains_key(*path)) {
        assert!(now.contains_key(path), "point {point}: {path:?} is missing");
    }
}

#[test]
fn ne_04_killed_at_every_point_it_is_the_old_or_the_new() {
    let reference = tempfile::tempdir().unwrap();
    guest(reference.path());
    let old = tree(reference.path());
    run(reference.path(), &Files::new(nothing), &g1().0).unwrap();
    let new = tree(reference.path());
    let mut outcomes = Vec::new();
    for point in 1.. {
        let root = tempfile::tempdir().unwrap();
        guest(root.path());
        if lives(root.path(), "reset", point) {
            break;
        }
        assert_whole(&tree(root.path()), &old, &new, point);
        let outcome = recovered(root.path());
        let now = tree(root.path());
        match outcome {
            Recovered::Finished => assert_eq!(now, new, "point {point}"),
            // Killed before the journal, or after its end.
            Recovered::Nothing => assert!(now == old || now == new, "point {point}"),
            Recovered::RolledBack => assert_eq!(now, old, "point {point}"),
        }
        // And then it can be done.
        run(root.path(), &Files::new(nothing), &g1().0).unwrap();
        assert_eq!(tree(root.path()), new, "point {point}");
        assert!(!has_transaction(root.path()));
        outcomes.push(outcome);
    }
    for outcome in [Recovered::Nothing, Recovered::RolledBack, Recovered::Finished] {
        assert!(outcomes.contains(&outcome), "{outcome:?} in {outcomes:?}");
    }
}

#[test]
fn ne_04_killed_while_it_recovers_it_recovers_again() {
    let reference = tempfile::tempdir().unwrap();
    guest(reference.path());
    let old = tree(reference.path());
    let points = Mutex::new(Vec::new());
    let watch = Files::new(|_, name| points.lock().unwrap().push(name.to_owned()));
    run(reference.path(), &watch, &g1().0).unwrap();
    let new = tree(reference.path());
    let names = points.into_inner().unwrap();
    // After the last rename, when most is to be taken back, and in the middle of the end.
    let renamed = names.iter().rposition(|name| name == "renamed").unwrap() + 1;
    let ended = names.iter().position(|name| name == "backed-up").unwrap() + 1;
    for (first, expected) in [(renamed, &old), (ended, &new)] {
        for second in 1.. {
            let root = tempfile::tempdir().unwrap();
            guest(root.path());
            assert!(!lives(root.path(), "reset", first));
            let done = lives(root.path(), "recover", second);
            assert_whole(&tree(root.path()), &old, &new, second);
            recovered(root.path());
            assert_eq!(tree(root.path()), *expected, "points {first}, {second}");
            assert!(!has_transaction(root.path()));
            if done {
                assert!(second > 1, "there was something to be killed in");
                break;
            }
        }
    }
}

#[test]
fn two_at_once_are_refused() {
    let root = tempfile::tempdir().unwrap();
    guest(root.path());
    let dir = open(root.path());
    let folder = settings().state_folder;
    let held = vnode_netconf::commit::State::open(&dir, &folder, "vnode-agent").unwrap();
    let error = run(root.path(), &Files::new(nothing), &g1().0).unwrap_err();
    assert!(error.contains("under way"), "{error}");
    drop(held);
    run(root.path(), &Files::new(nothing), &g1().0).unwrap();
}
