//! The image `host`: what nodes made from it see, in a real overlay.
#![allow(clippy::unwrap_used)] // a panic is the right report

mod common;

use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::{in_own_mounts, is_root, overlay, quick, runtime};
use vnode_image::{
    Catalogue, GcPolicy, HostOptions, MaskAction, Options, PullPolicy, describe_host_mask,
};

const SECRET: &str = "PLANTED-SECRET";

/// A root like that of a machine in use, each secret marked.
fn plant(root: &Path) -> Vec<PathBuf> {
    let mut planted = Vec::new();
    let mut secret = |path: &str, mode: u32| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, SECRET).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        planted.push(path);
    };
    for path in [
        "root/.ssh/id_ed25519",
        "home/ann/.ssh/id_rsa",
        "home/ann/notes",
        "data/people/bob/key",
        "srv/db",
        "etc/ssh/ssh_host_rsa_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "etc/ssl/private/server.key",
        "etc/sudoers",
        "etc/sudoers.d/ann",
        "etc/krb5.keytab",
        "etc/machine-id",
        "var/lib/dbus/machine-id",
        "etc/wireguard/wg0.conf",
        "etc/ipsec.secrets",
        "etc/openvpn/client.key",
        "etc/ppp/chap-secrets",
        "etc/NetworkManager/system-connections/wifi",
        "etc/docker/config.json",
        "etc/containers/auth.json",
        "var/lib/docker/volumes/x",
        "var/lib/containerd/x",
        "var/lib/containers/x",
        "var/lib/libvirt/x",
        "var/lib/lxc/x",
        "var/lib/mysql/x",
        "var/lib/postgresql/15/x",
        "var/lib/cloud/instance/user-data.txt",
        "var/lib/vnode/token",
        "var/spool/cron/crontabs/root",
        "var/mail/ann",
        "var/log/auth.log",
        "var/log/nginx/access.log",
        "run/secrets/token",
        "tmp/session",
        "var/tmp/session",
        "boot/grub.key",
        "var/backups/shadow.bak",
        "swapfile",
        "mnt/usb/x",
        "hidden/here",
        "opt/app/chosen",
        "etc/security/opasswd",
        "opt/state/deep/vnode.redb",
    ] {
        secret(path, 0o644);
    }
    // Found by their modes alone.
    secret("etc/unheard-of/api.token", 0o600);
    secret("etc/frr/frr.conf", 0o640);
    std::fs::write(root.join("etc/frr/daemons"), "bgpd=no").unwrap();
    std::fs::set_permissions(root.join("etc/frr/daemons"), std::fs::Permissions::from_mode(0o640))
        .unwrap();
    std::fs::set_permissions(root.join("etc/frr"), std::fs::Permissions::from_mode(0o750)).unwrap();
    secret("var/lib/unheard-of/data", 0o644);
    std::fs::set_permissions(
        root.join("var/lib/unheard-of"),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    // The same where packages and people put what they like, at any depth.
    for path in ["opt/app/etc/token", "usr/local/etc/vpn.key", "var/lib/app/15/main/token"] {
        secret(path, 0o600);
    }
    for path in ["var/lib/data/15/main/table", "opt/vendor/private/ca/key"] {
        secret(path, 0o644);
        let closed = root.join(path).parent().unwrap().to_owned();
        std::fs::set_permissions(closed, std::fs::Permissions::from_mode(0o750)).unwrap();
    }
    secret("var/cache/app/group", 0o640);
    secret("var/spool/socket-of-one", 0o600);
    // The home of a person elsewhere, by a link; logs moved to another place.
    symlink("/data/people", root.join("people")).unwrap();
    // What must be seen.
    for (path, content) in [
        ("usr/bin/tool", "tool"),
        ("etc/hosts", "127.0.0.1 localhost"),
        (
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/people/bob:/x\n\
            lost:x:1002:1002::/usr:/x\ntop:x:1003:1003::/:/x\n",
        ),
        (
            "etc/shadow",
            "root:$y$PLANTED-SECRET:1::::::\nann:!PLANTED-SECRET:1::::::\nbin:*:1::::::\n",
        ),
        ("etc/shadow-", "root:$6$PLANTED-SECRET:1::::::\n"),
        ("etc/gshadow", "wheel:PLANTED-SECRET::ann\n"),
        ("etc/gshadow-", "wheel:*::\n"),
        ("var/lib/dpkg/status", "Package: x"),
        ("opt/app/program", "program"),
        ("opt/vendor/bin/program", "program"),
        ("usr/local/bin/program", "program"),
        ("var/lib/app/15/main/open", "open"),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    for name in ["shadow", "shadow-", "gshadow", "gshadow-"] {
        let closed = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(root.join("etc").join(name), closed).unwrap();
    }
    symlink("usr/bin", root.join("bin")).unwrap();
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    rustix::fs::chown(root.join("home/ann"), Some(rustix::fs::Uid::from_raw(1000)), None).unwrap();
    planted
}

/// Every file that shows anywhere below, with its content.
fn files(at: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            files(&path, into);
        } else if meta.is_file() {
            into.push((
                path.clone(),
                String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned(),
            ));
        }
    }
}

fn options(root: &Path) -> Options {
    Options {
        host: HostOptions {
            root: root.to_owned(),
            state_dirs: vec![root.join("opt/state/deep")],
            hide: vec![root.join("opt/app/chosen"), "/not/there".into()],
            show: vec![],
        },
        ..quick()
    }
}

#[test]
fn planted_secrets_do_not_show_in_a_node() {
    if !is_root() {
        return;
    }
    in_own_mounts(|| {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("machine");
        let planted = plant(&root);
        let catalogue = Catalogue::open(&place.path().join("images"), options(&root)).unwrap();
        let image = runtime()
            .block_on(common::ensure(&catalogue, "host", PullPolicy::IfNotPresent))
            .unwrap();
        assert_eq!(image.layers.len(), 2);
        assert_eq!(image.layers[1], root);
        let node = overlay(&image.layers, place.path());
        let mut seen = Vec::new();
        files(&node, &mut seen);
        for (path, content) in &seen {
            assert!(!content.contains(SECRET), "{} shows", path.display());
        }
        // They are all still on the machine: nothing was changed there.
        assert!(planted.iter().all(|p| std::fs::read_to_string(p).unwrap() == SECRET));

        let read = |path: &str| std::fs::read_to_string(node.join(path)).unwrap();
        assert_eq!(read("bin/tool"), "tool");
        assert_eq!(read("etc/hosts"), "127.0.0.1 localhost");
        assert_eq!(read("etc/frr/daemons"), "bgpd=no");
        assert_eq!(read("opt/app/program"), "program");
        for path in ["opt/vendor/bin/program", "usr/local/bin/program"] {
            assert_eq!(read(path), "program");
        }
        assert_eq!(read("var/lib/app/15/main/open"), "open");
        assert!(node.join("var/lib/data/15/main").is_dir(), "its owner finds it, empty");
        assert_eq!(read("var/lib/dpkg/status"), "Package: x");
        assert_eq!(read("etc/shadow"), "root:*:1::::::\nann:!:1::::::\nbin:*:1::::::\n");
        assert_eq!(read("etc/shadow-"), "root:*:1::::::\n");
        assert_eq!(read("etc/gshadow"), "wheel:*::ann\n");
        assert_eq!(read("etc/gshadow-"), "wheel:*::\n");
        assert_eq!(read("etc/machine-id"), "");
        assert!(read("etc/passwd").contains("/people/bob"));

        let meta = |path: &str| std::fs::metadata(node.join(path)).unwrap();
        assert_eq!(meta("tmp").mode() & 0o7777, 0o1777);
        assert_eq!(meta("home/ann").uid(), 1000, "a person finds an empty home");
        assert!(meta("var/log/nginx").is_dir(), "services find their log folders");
        assert!(meta("root").is_dir() && meta("run").is_dir());
        assert!(std::fs::symlink_metadata(node.join("swapfile")).is_err());
        assert_eq!(meta("etc").mode(), std::fs::metadata(root.join("etc")).unwrap().mode());
        // A node may make its own where something was hidden.
        std::fs::write(node.join("etc/sudoers"), "mine").unwrap();
        std::fs::write(node.join("root/file"), "mine").unwrap();
        assert!(!root.join("root/file").exists());
    });
}

#[test]
fn the_mask_follows_the_host_and_is_shared_while_nothing_changes() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("machine");
    plant(&root);
    let catalogue = Catalogue::open(&place.path().join("images"), options(&root)).unwrap();
    let ensure =
        || runtime().block_on(common::ensure(&catalogue, "host", PullPolicy::Never)).unwrap();
    let first = ensure();
    assert_eq!(first.id, ensure().id);
    std::fs::write(root.join("etc/shadow"), "root:$6$other:1::::::\nnew:$6$x:1::::::\n").unwrap();
    // Forgets the mask made a moment ago; the first is still in use.
    catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap();
    let second = ensure();
    assert_ne!(first.id, second.id);
    assert!(first.layers[0].exists() && second.layers[0].exists());
    let second_id = second.id.clone();
    drop(first);
    drop(second);
    catalogue.gc(&|| HashSet::from([second_id.clone()]), GcPolicy::default()).unwrap();
    let masks = common::names(&place.path().join("images/mask"));
    assert_eq!(masks.len(), 1, "{masks:?}");
    catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap();
    assert!(common::names(&place.path().join("images/mask")).is_empty());
}

#[test]
fn the_machines_own_root_works_as_an_overlay_although_the_catalogue_lies_in_it() {
    if !is_root() {
        return;
    }
    in_own_mounts(|| {
        let place = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&place.path().join("images"), quick()).unwrap();
        let image =
            runtime().block_on(common::ensure(&catalogue, "host", PullPolicy::Always)).unwrap();
        let node = overlay(&image.layers, place.path());
        assert!(node.join("usr/bin").is_dir());
        let shadow = std::fs::read_to_string(node.join("etc/shadow")).unwrap_or_default();
        assert!(!shadow.contains('$'), "a hash shows");
        assert!(common::names(&node.join("root")).is_empty());
        assert!(common::names(&node.join("tmp")).is_empty(), "the catalogue itself shows");
        rustix::mount::unmount(&node, rustix::mount::UnmountFlags::DETACH).unwrap();
        let mask = place.path().join("images/mask");
        drop(image);
        catalogue.gc(&HashSet::new, GcPolicy::default()).unwrap();
        let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!table.contains(mask.to_str().unwrap()), "the mask's file system is left behind");
        drop(catalogue);
        place.close().unwrap();
    });
}

#[test]
fn folders_on_other_file_systems_are_reported_with_their_part_of_the_mask() {
    if !is_root() {
        return;
    }
    in_own_mounts(|| {
        use rustix::mount::{MountFlags, mount, mount_bind};
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("machine");
        plant(&root);
        // A file system of a kind that holds installed files: an overlay will do.
        for name in ["var", "usr"] {
            let (at, content) = (root.join(name), place.path().join(format!("content-{name}")));
            std::fs::rename(&at, &content).unwrap();
            std::fs::create_dir(&at).unwrap();
            let work = place.path().join(format!("work-{name}"));
            std::fs::create_dir_all(work.join("u")).unwrap();
            std::fs::create_dir_all(work.join("w")).unwrap();
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                content.display(),
                work.join("u").display(),
                work.join("w").display()
            );
            let options = std::ffi::CString::new(options).unwrap();
            mount("overlay", &at, "overlay", MountFlags::empty(), options.as_c_str()).unwrap();
        }
        mount_bind(root.join("etc"), root.join("mnt/usb")).unwrap();
        let catalogue = Catalogue::open(&place.path().join("images"), options(&root)).unwrap();
        let image =
            runtime().block_on(common::ensure(&catalogue, "host", PullPolicy::Always)).unwrap();
        let targets: Vec<_> = image.extra_overlays.iter().map(|e| e.target.clone()).collect();
        assert_eq!(targets, [Path::new("/usr"), Path::new("/var")]);
        let node = overlay(&image.layers, place.path());
        assert!(!node.join("usr/bin/tool").exists(), "an overlay does not show mounts below it");
        for extra in &image.extra_overlays {
            let scratch = place.path().join(format!("extra{}", extra.target.display()));
            std::fs::create_dir_all(&scratch).unwrap();
            let merged = overlay(&extra.layers, &scratch);
            mount_bind(merged, node.join(extra.target.strip_prefix("/").unwrap())).unwrap();
        }
        assert!(node.join("usr/bin/tool").exists());
        assert!(node.join("var/lib/dpkg/status").exists());
        let mut seen = Vec::new();
        files(&node, &mut seen);
        assert!(seen.iter().all(|(_, content)| !content.contains(SECRET)));
    });
}

#[test]
fn what_is_too_large_to_be_looked_over_does_not_show_and_stops_nothing() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("machine");
    for folder in ["etc", "opt/huge/deep", "opt/small"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("opt/small/key"), SECRET).unwrap();
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(root.join("opt/small/key"), closed).unwrap();
    // Names of one file: as many as may be looked at, and one folder.
    let first = root.join("opt/huge/first");
    std::fs::write(&first, "").unwrap();
    for number in 0..50_000 {
        std::fs::hard_link(&first, root.join(format!("opt/huge/deep/{number}"))).unwrap();
    }
    let entries = describe_host_mask(&options(&root).host).unwrap();
    let find = |path: &str| entries.iter().find(|e| e.path == Path::new(path));
    let huge = find("/opt/huge").unwrap();
    assert_eq!((huge.action, huge.why.as_str()), (MaskAction::Emptied, vnode_image::TOO_LARGE));
    assert_eq!(find("/opt/small/key").unwrap().action, MaskAction::Removed);
}

#[test]
fn the_mask_can_be_told_to_people() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("machine");
    plant(&root);
    let entries = describe_host_mask(&options(&root).host).unwrap();
    let find = |path: &str| entries.iter().find(|e| e.path == Path::new(path)).map(|e| e.action);
    assert_eq!(find("/root"), Some(MaskAction::Emptied));
    assert_eq!(find("/etc/shadow"), Some(MaskAction::Sanitised));
    assert_eq!(find("/etc/sudoers"), Some(MaskAction::Removed));
    assert_eq!(find("/var/lib/docker"), Some(MaskAction::Emptied));
    assert_eq!(find("/opt/state/deep"), Some(MaskAction::Emptied));
    assert_eq!(find("/usr"), None);
    assert!(entries.iter().all(|e| !e.why.is_empty()));
}
