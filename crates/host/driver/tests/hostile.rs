//! What a hostile image, definition or node tries, and where it ends.

// A test stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

mod bed;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use bed::{exec, run};
use tokio::io::AsyncReadExt;
use vnode_driver::*;

fn bind(source: PathBuf, target: &str, read_only: bool) -> Mount {
    Mount {
        target: target.into(),
        kind: MountKind::Bind { source, recursive: true },
        read_only,
        options: vec![],
    }
}

#[test]
fn t36_links_in_the_image_do_not_lead_a_mount_out_of_the_node() {
    run(|bed| async move {
        let outside = bed.dir.path().join("outside");
        std::fs::create_dir_all(outside.join("data")).unwrap();
        std::fs::write(outside.join("data/file"), "bound").unwrap();
        let image = bed.dir.path().join("image");
        // Absolute links, links upwards, and links through the kernel's own magic.
        symlink(bed.dir.path().join("secret"), image.join("absolute")).unwrap();
        symlink("../../../../../../../..", image.join("up")).unwrap();
        symlink("/proc/self/fd/3", image.join("magic")).unwrap();
        let mut spec = bed.spec("a");
        let up = format!("/up{}", bed.dir.path().join("secret2").display());
        for target in ["/absolute/x", up.as_str()] {
            spec.mounts.push(bind(outside.join("data"), target, false));
        }
        let node = bed.boot(&spec).await;
        let (code, out, err) =
            exec(&node, &format!("cat /absolute/x/file {up}/file /up/etc/passwd | head -c 9"))
                .await;
        assert_eq!((code, out.as_str()), (0, "boundboun"), "{err}");
        assert!(!bed.dir.path().join("secret").exists());
        assert!(!bed.dir.path().join("secret2").exists());
        node.kill().await.unwrap();

        spec.mounts = vec![bind(outside.join("data"), "/magic/x", false)];
        let error = node.boot(&spec).await.unwrap_err();
        assert!(matches!(error, Error::Boot { .. }), "{error}");
        assert!(error.to_string().contains("on /magic/x"), "{error}");
    });
}

#[test]
fn a_program_is_not_looked_up_through_what_the_monitor_has_open() {
    use std::os::unix::fs::PermissionsExt;
    run(|bed| async move {
        let outside = bed.dir.path().join("outside");
        std::fs::create_dir_all(&outside).unwrap();
        let program = outside.join("program");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let image = bed.dir.path().join("image");
        let numbers = 3..40;
        for number in numbers.clone() {
            let up = "../".repeat(16);
            let link =
                format!("/proc/self/fd/{number}/{up}{}", &program.display().to_string()[1..]);
            symlink(link, image.join(format!("e{number}"))).unwrap();
        }
        let node = bed.boot(&bed.spec("a")).await;
        for number in numbers {
            let argv = vec![format!("/e{number}")];
            let request = ExecSpec { argv: argv.clone(), ..ExecSpec::default() };
            let refused = node.exec(&request).await.map(drop).unwrap_err();
            assert!(matches!(refused, Error::Exec { .. }), "{number}: {refused}");
            // The first processes of more nodes than this would say nothing new.
            if number < 16 {
                let mut spec = bed.spec(&format!("n{number}"));
                spec.process.argv = argv;
                let driver = bed.driver();
                let other = driver.create(&spec, &bed.path(&spec.node)).await.unwrap();
                let refused = other.boot(&spec).await.unwrap_err();
                assert!(matches!(refused, Error::Boot { .. }), "{number}: {refused}");
            }
        }
    });
}

#[test]
fn an_image_whose_proc_dev_and_sys_are_links_is_mounted_inside() {
    run(|bed| async move {
        let image = bed.dir.path().join("image");
        for name in ["proc", "dev", "sys"] {
            std::fs::remove_dir(image.join(name)).unwrap();
            symlink(format!("/elsewhere/{name}"), image.join(name)).unwrap();
        }
        let spec = bed.spec("a");
        let dir = bed.path("a");
        // Links that dangle in the node: what they point at is made there, not taken from the host.
        let node = bed.boot(&spec).await;
        assert!(dir.join("upper/elsewhere/dev").is_dir());
        let (_, out, _) = exec(&node, "readlink /proc/self; ls /elsewhere/dev/null").await;
        assert!(out.contains("/elsewhere/dev/null"), "{out}");
    });
}

#[test]
fn read_only_binds_are_read_only_with_all_below_them() {
    run(|bed| async move {
        let source = bed.dir.path().join("source");
        std::fs::create_dir_all(source.join("below")).unwrap();
        rustix::mount::mount(
            "none",
            source.join("below"),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            None::<&std::ffi::CStr>,
        )
        .unwrap();
        std::fs::write(source.join("file"), "x").unwrap();
        let mut spec = bed.spec("a");
        spec.mounts = vec![
            bind(source.clone(), "/data", true),
            bind(source.join("file"), "/etc/one", true),
            Mount {
                target: "/scratch".into(),
                kind: MountKind::Tmpfs,
                read_only: false,
                options: vec!["size=64k".into(), "noexec".into()],
            },
        ];
        let node = bed.boot(&spec).await;
        let (_, out, _) = exec(
            &node,
            "touch /data/x 2>&1; touch /data/below/x 2>&1; echo y 2>&1 > /etc/one; cat /etc/one; \
             mount -o remount,rw /data 2>&1; stat -f -c %b /scratch",
        )
        .await;
        assert_eq!(out.matches("Read-only file system").count(), 3, "{out}");
        assert!(out.contains("x") && out.trim_end().ends_with("16"), "{out}");
        node.kill().await.unwrap();
        rustix::mount::unmount(source.join("below"), rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn definitions_that_reach_for_the_host_are_refused_by_name() {
    run(|bed| async move {
        let refused = |change: fn(&mut NodeSpec), word: &'static str| {
            let bed = std::sync::Arc::clone(&bed);
            async move {
                let mut spec = bed.spec("a");
                change(&mut spec);
                let error = bed.driver().create(&spec, &bed.path("a")).await.unwrap_err();
                assert!(error.to_string().contains(word), "{error}");
                assert!(!bed.path("a").exists(), "{word}");
            }
        };
        refused(|s| drop(s.sysctls.insert("kernel.panic".into(), "1".into())), "`kernel.panic`")
            .await;
        refused(|s| drop(s.sysctls.insert("net.../../x".into(), "1".into())), "is not a key").await;
        refused(|s| s.security.capabilities.push("ALL_OF_THEM".into()), "`ALL_OF_THEM`").await;
        refused(
            |s| {
                s.mounts.push(Mount {
                    target: "/x".into(),
                    kind: MountKind::Tmpfs,
                    read_only: false,
                    options: vec!["suid".into()],
                });
            },
            "`suid`",
        )
        .await;
        refused(|s| s.mounts.push(bind("/etc".into(), "/../..", false)), "nothing can be mounted")
            .await;
        refused(|s| s.layers.clear(), "no layer").await;
        refused(
            |s| {
                s.devices.push(Device {
                    source: "/etc/passwd".into(),
                    target: "/dev/x".into(),
                    access: "rw".into(),
                    mode: None,
                });
            },
            "is not a device",
        )
        .await;
    });
}

#[test]
fn a_sysctl_of_the_nodes_network_is_set_and_is_the_nodes_alone() {
    run(|bed| async move {
        let mut spec = bed.spec("a");
        let key = "net.ipv4.conf.all.forwarding";
        spec.sysctls.insert(key.into(), "1".into());
        spec.sysctls.insert("kernel.msgmax".into(), "4096".into());
        let before = std::fs::read("/proc/sys/net/ipv4/conf/all/forwarding").unwrap();
        let node = bed.boot(&spec).await;
        let (_, out, _) =
            exec(&node, "cat /proc/sys/net/ipv4/conf/all/forwarding /proc/sys/kernel/msgmax").await;
        assert_eq!(out, "1\n4096\n");
        assert_eq!(std::fs::read("/proc/sys/net/ipv4/conf/all/forwarding").unwrap(), before);
    });
}

#[test]
fn devices_are_confined_unless_the_definition_names_them() {
    run(|bed| async move {
        if !bed.driver().capabilities().devices {
            println!("skipped: devices cannot be confined here");
            return;
        }
        let mut spec = bed.spec("a");
        // The loop control device, by its numbers: to be made is allowed, to be used is not.
        let script = "mknod /tmp/d c 10 237; head -c 1 /tmp/d";
        let node = bed.boot(&spec).await;
        let (code, _, err) = exec(&node, script).await;
        assert!(code != 0 && err.contains("Operation not permitted"), "{err}");
        assert_eq!(exec(&node, "head -c 4 /dev/urandom | wc -c").await.1, "4\n");
        node.kill().await.unwrap();
        bed.destroy(&spec).await;
        if std::path::Path::new("/dev/net/tun").exists() {
            spec.devices = vec![Device {
                source: "/dev/net/tun".into(),
                target: "/dev/net/tun".into(),
                access: "rw".into(),
                mode: None,
            }];
            let node = bed.boot(&spec).await;
            let (code, out, err) =
                exec(&node, "stat -c %t:%T /dev/net/tun; exec 3<>/dev/net/tun && echo open").await;
            assert_eq!((code, out.as_str()), (0, "a:c8\nopen\n"), "{err}");
        }
    });
}

#[test]
fn a_read_only_root_is_read_only_and_its_mounts_are_not() {
    run(|bed| async move {
        let mut spec = bed.spec("a");
        spec.read_only_root = true;
        spec.mounts.push(Mount {
            target: "/var/run/x".into(),
            kind: MountKind::Tmpfs,
            read_only: false,
            options: vec![],
        });
        let node = bed.boot(&spec).await;
        let (_, out, _) = exec(&node, "touch /x 2>&1; touch /var/run/x/y && echo written").await;
        assert!(out.contains("Read-only file system") && out.ends_with("written\n"), "{out}");
    });
}

#[test]
fn long_paths_and_odd_names_work() {
    run(|bed| async move {
        let mut spec = bed.spec("a");
        spec.lab = "lab with spaces/and:colons".into();
        spec.node = "é.x".into();
        let mut dir = bed.dir.path().to_owned();
        for _ in 0..10 {
            dir = dir.join("a-folder-with-a-long-name, and a comma:colon");
        }
        std::fs::create_dir_all(&dir).unwrap();
        let dir = dir.join("n");
        let driver = bed.driver();
        let node = driver.create(&spec, &dir).await.unwrap();
        node.boot(&spec).await.unwrap();
        assert_eq!(exec(&node, "echo fine").await.1, "fine\n");
        drop(node);
        let Recovered::Live(node) = driver.recover(&spec, &dir).await.unwrap() else {
            panic!("not found again")
        };
        node.halt(Duration::ZERO).await.unwrap();
        driver.destroy(&spec, &dir).await.unwrap();
    });
}

async fn read_all(mut reader: Reader) -> Vec<u8> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    all
}

#[test]
fn files_are_copied_both_ways_and_never_out_of_the_node() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let node = bed.boot(&spec).await;
        exec(
            &node,
            "mkdir -p /data/sub; echo one > /data/one; echo two > /data/sub/two; chmod 640 /data/one; \
             ln -s /etc/passwd /data/link; ln -s / /data/up",
        )
        .await;
        let bytes = read_all(node.archive_out("/data").await.unwrap()).await;
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|e| {
                let e = e.unwrap();
                if e.path().unwrap().ends_with("one") {
                    assert_eq!(e.header().mode().unwrap(), 0o640);
                }
                e.path().unwrap().display().to_string()
            })
            .collect();
        names.sort();
        assert_eq!(names, ["data", "data/link", "data/one", "data/sub", "data/sub/two", "data/up"]);

        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o755);
        // Through a link in the node that points up and out.
        builder.append_data(&mut header, "up/tmp/new", &b"new"[..]).unwrap();
        let put: Reader = Box::pin(std::io::Cursor::new(builder.into_inner().unwrap()));
        node.archive_in("/data", put).await.unwrap();
        let (_, out, _) = exec(&node, "cat /data/tmp/new; stat -c %a /data/tmp/new").await;
        assert_eq!(out, "new755\n", "a link leads to the folder that was put into, no higher");

        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"../../bad");
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, std::io::empty()).unwrap();
        let put: Reader = Box::pin(std::io::Cursor::new(builder.into_inner().unwrap()));
        let error = node.archive_in("/data", put).await.unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
        let error = node.archive_out("/nothing").await.err().unwrap();
        assert!(error.to_string().contains("`/nothing`"), "{error}");
    });
}

#[test]
fn root_of_a_user_namespace_is_nobody_outside_and_master_of_its_network() {
    run(|bed| async move {
        if !bed.driver().capabilities().user_namespaces {
            println!("skipped: no identity-mapped overlay layers in this kernel");
            return;
        }
        let mut spec = bed.spec("a");
        spec.security.user_namespace = Some(IdMap { first: 100_000, size: 65_536 });
        spec.security.capabilities.push("NET_ADMIN".into());
        let node = bed.boot(&spec).await;
        let pid = node.pid().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Uid:\t100000\t100000"), "{status}");
        let (code, out, err) = exec(
            &node,
            "id -u; cat /proc/self/uid_map | tr -s ' '; touch /root/mine; stat -c %u:%g /root/mine /bin/busybox; \
             echo 1 > /dev/null; head -c 1 /dev/zero | wc -c; grep CapEff /proc/self/status",
        )
        .await;
        assert_eq!(code, 0, "{err}");
        assert!(out.starts_with("0\n 0 100000 65536\n0:0\n0:0\n1\n"), "{out} {err}");
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::metadata(bed.path("a").join("upper/root/mine")).unwrap();
        assert_eq!((file.uid(), file.gid()), (0, 0));
        // Its network namespace belongs to its user namespace.
        let netns = node.netns().unwrap();
        // SAFETY: plain ioctl that gives a new descriptor.
        let owner = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&netns), 0xb701) };
        assert!(owner >= 0);
        let inode = |path: String| std::fs::metadata(path).unwrap().ino();
        assert_eq!(inode(format!("/proc/self/fd/{owner}")), inode(format!("/proc/{pid}/ns/user")));
        // SAFETY: opened just above.
        unsafe { libc::close(owner) };

        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o600);
        builder.append_data(&mut header, "sub/put", &b"in"[..]).unwrap();
        let put: Reader = Box::pin(std::io::Cursor::new(builder.into_inner().unwrap()));
        node.archive_in("/root", put).await.unwrap();
        let (_, out, _) = exec(&node, "cat /root/sub/put; stat -c %u /root/sub/put").await;
        assert_eq!(out, "in0\n");
        node.halt(Duration::from_millis(50)).await.unwrap();
        node.boot(&spec).await.unwrap();
        assert_eq!(exec(&node, "ls /root/mine").await.1, "/root/mine\n");
    });
}
