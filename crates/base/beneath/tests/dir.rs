//! Nothing given to a `Dir` leads out of it.
#![allow(clippy::unwrap_used)] // fixtures of tests: a panic is the right report

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::FileType;
use vnode_beneath::{Dir, DirError, Scope};

fn fixture() -> (tempfile::TempDir, Dir, Dir) {
    let outer = tempfile::tempdir().unwrap();
    std::fs::write(outer.path().join("secret"), "outside").unwrap();
    let root = outer.path().join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/name"), "inside").unwrap();
    symlink("/etc/name", root.join("absolute")).unwrap();
    symlink("../secret", root.join("up")).unwrap();
    symlink("../../../../secret", root.join("etc/far-up")).unwrap();
    symlink("..", root.join("folder-up")).unwrap();
    let beneath = Dir::open_ambient(&root, Scope::Beneath).unwrap();
    let in_root = Dir::open_ambient(&root, Scope::InRoot).unwrap();
    (outer, beneath, in_root)
}

#[test]
fn beneath_refuses_every_way_out() {
    let (outer, dir, _) = fixture();
    for path in [
        "../secret",
        "up",
        "etc/far-up",
        "absolute",
        "/etc/name",
        "folder-up/secret",
        "etc/../../secret",
    ] {
        let e = dir.read_to_limit(path, 100).unwrap_err();
        assert!(matches!(e, DirError::Escapes { .. }), "{path}: {e:?}");
        assert!(dir.create(format!("{path}/x"), 0o600).is_err(), "{path}");
    }
    assert!(matches!(dir.mkdir("..", 0o755), Err(DirError::NoName { .. })));
    assert!(matches!(dir.remove_tree("."), Err(DirError::NoName { .. })));
    assert!(matches!(dir.remove_tree("etc/.."), Err(DirError::NoName { .. })));
    assert!(dir.mkdir("folder-up/new", 0o755).is_err());
    assert!(dir.rename("etc/name", "../stolen").is_err());
    assert!(dir.hard_link("../secret", "mine").is_err());
    assert!(!outer.path().join("new").exists() && !outer.path().join("stolen").exists());
    assert_eq!(dir.read_to_limit("etc/../etc/name", 100).unwrap(), b"inside");
}

#[test]
fn in_root_understands_links_as_after_chroot() {
    let (outer, _, dir) = fixture();
    assert_eq!(dir.read_to_limit("absolute", 100).unwrap(), b"inside");
    assert_eq!(dir.read_to_limit("/../../etc/name", 100).unwrap(), b"inside");
    // `..` stops at the root, where there is no `secret`.
    for path in ["up", "etc/far-up", "../secret"] {
        assert!(dir.read_to_limit(path, 100).unwrap_err().is_not_found(), "{path}");
    }
    dir.mkdir_all("folder-up/a/b", 0o755).unwrap();
    assert!(outer.path().join("root/a/b").is_dir());
    dir.write_atomic("absolute", b"replaced", 0o644).unwrap();
    assert_eq!(std::fs::read(outer.path().join("root/etc/name")).unwrap(), b"inside");
    assert_eq!(std::fs::read(outer.path().join("root/absolute")).unwrap(), b"replaced");
}

#[test]
fn magic_links_of_proc_are_not_followed() {
    let proc = Dir::open_ambient("/proc/self", Scope::InRoot).unwrap();
    assert!(proc.open("root/etc/passwd").is_err());
    assert!(proc.open("exe").is_err());
}

#[test]
fn reads_are_bounded_and_of_files_only() {
    let (outer, dir, _) = fixture();
    assert_eq!(dir.read_to_limit("etc/name", 6).unwrap(), b"inside");
    assert!(matches!(dir.read_to_limit("etc/name", 5), Err(DirError::TooLarge { limit: 5, .. })));
    assert!(dir.read_to_limit("etc", 5).is_err());
    // A FIFO without a writer would block for ever if it were opened as a file is.
    rustix::fs::mkfifoat(rustix::fs::CWD, outer.path().join("root/fifo"), 0o600.into()).unwrap();
    assert!(dir.read_to_limit("fifo", 5).is_err());
    assert!(dir.list(1).is_err());
    assert!(dir.list(100).unwrap().iter().any(|n| n == "fifo"));
}

#[test]
fn what_is_listed_says_its_kind_and_is_looked_at_by_a_single_name() {
    let (_outer, dir, _) = fixture();
    let found = dir.list_kinds(100).unwrap();
    let kind = |name: &str| found.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(kind("etc"), FileType::Directory);
    assert_eq!(kind("up"), FileType::Symlink);
    let names: Vec<_> = found.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, dir.list(100).unwrap());
    let link = dir.stat_entry("up".as_ref()).unwrap().unwrap();
    assert_eq!(FileType::from_raw_mode(link.st_mode), FileType::Symlink);
    assert!(dir.stat_entry("gone".as_ref()).unwrap().is_none());
    for name in ["..", "etc/name", "up/..", "/etc"] {
        let refused = dir.stat_entry(name.as_ref());
        assert!(matches!(refused, Err(DirError::NoName { .. })), "{name}");
    }
}

#[test]
fn create_never_writes_through_a_link() {
    let (outer, dir, in_root) = fixture();
    symlink("../planted", outer.path().join("root/dangling")).unwrap();
    for dir in [&dir, &in_root] {
        let e = dir.create("dangling", 0o600).unwrap_err();
        assert!(e.already_exists(), "{e:?}");
    }
    assert!(!outer.path().join("planted").exists());
}

#[test]
fn remove_tree_takes_links_not_what_they_lead_to() {
    let (outer, _, _) = fixture();
    let dir = Dir::open_ambient(outer.path(), Scope::Beneath).unwrap();
    dir.remove_tree("root").unwrap();
    dir.remove_tree("root").unwrap();
    assert!(!outer.path().join("root").exists());
    assert_eq!(std::fs::read(outer.path().join("secret")).unwrap(), b"outside");
}

#[test]
fn remove_tree_of_a_tree_deeper_than_the_descriptor_table() {
    let outer = tempfile::tempdir().unwrap();
    let dir = Dir::open_ambient(outer.path(), Scope::Beneath).unwrap();
    dir.mkdir("tree", 0o755).unwrap();
    let mut here = dir.open_dir("tree").unwrap();
    for depth in 0..3000 {
        here.mkdir("d", 0o755).unwrap();
        drop(here.create(format!("file-{depth}"), 0o600).unwrap());
        here = here.open_dir("d").unwrap();
    }
    drop(here);
    dir.remove_tree("tree").unwrap();
    assert!(dir.list(10).unwrap().is_empty());
}

#[test]
fn remove_tree_stops_at_a_mount_point() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting needs root");
        return;
    }
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().to_owned();
    // A thread may leave the mount namespace of its process; the mounts go with it.
    let tested = std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        // SAFETY: the thread shares no descriptor table or memory by this call, only its mount namespace and
        // working directory become its own, and it ends with this closure.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
        std::fs::create_dir_all(path.join("tree/a/mounted")).unwrap();
        mount("none", path.join("tree/a/mounted"), c"tmpfs", MountFlags::empty(), None).unwrap();
        std::fs::write(path.join("tree/a/mounted/precious"), "x").unwrap();
        let dir = Dir::open_ambient(&path, Scope::Beneath).unwrap();
        let e = dir.remove_tree("tree").unwrap_err();
        assert!(matches!(e, DirError::MountPoint { .. }), "{e:?}");
        assert!(Path::new(&path.join("tree/a/mounted/precious")).exists());
    });
    tested.join().unwrap();
}
