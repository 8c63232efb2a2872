//! The files of a machine that does not run. No guest is booted: a disk is made by hand, and read again.

#![allow(clippy::unwrap_used)]
// Disks are made, and what stands is looked at, as a user would.
#![allow(clippy::disallowed_methods)]

mod bed;

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bed::Bed;
use tokio::io::AsyncReadExt;
use vnode_action::CancellationToken;
use vnode_driver::{BaseDisk, DiskFormat, Driver, Error, NodeSpec, OldDisk};

const SECTOR: usize = 512;
/// Where the partition begins, and how long it is, in sectors.
const START: usize = 2048;
const LENGTH: usize = 32 << 11;

fn program(words: &[&str]) -> String {
    let out = std::process::Command::new(words[0]).args(&words[1..]).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{words:?}: {text}");
    text
}

/// A disk with one partition.
fn disk(path: &Path) {
    let mut bytes = vec![0; START * SECTOR];
    bytes[446 + 4] = 0x83;
    bytes[446 + 8..446 + 12].copy_from_slice(&(START as u32).to_le_bytes());
    bytes[446 + 12..446 + 16].copy_from_slice(&(LENGTH as u32).to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes.resize((START + LENGTH) * SECTOR, 0);
    std::fs::write(path, bytes).unwrap();
}

/// The same with a file system on it.
fn ext4(path: &Path) {
    disk(path);
    let offset = format!("offset={}", START * SECTOR);
    let blocks = format!("{}k", LENGTH / 2);
    program(&[
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-E",
        &offset,
        &path.display().to_string(),
        &blocks,
    ]);
}

/// A machine over this image, made and not booted. Its kernel is never read.
async fn machine(bed: &Arc<Bed>, name: &str, image: Option<(&Path, DiskFormat)>) -> NodeSpec {
    let folder = bed.dir.path().join("image");
    std::fs::create_dir_all(&folder).unwrap();
    for file in [vnode_qemu::build::KERNEL, vnode_qemu::build::INITRD] {
        std::fs::write(folder.join(file), "none").unwrap();
    }
    let mut spec = bed.spec(name).await;
    spec.machine.as_mut().unwrap().disk = image.map(|(image, format)| BaseDisk {
        image: image.to_owned(),
        format,
        // Larger than its image, as a node's disk may be.
        size_bytes: ((START + LENGTH) * SECTOR * 2) as u64,
    });
    bed.create(&spec).await.unwrap();
    spec
}

fn missing() -> bool {
    let missing = vnode_qemu::missing_to_mount();
    if let Some(why) = &missing {
        println!("skipped: {why}");
    }
    missing.is_some()
}

/// Process ids of the two programs.
fn servers(folder: &Path) -> Vec<i32> {
    let pid = |name: &str| std::fs::read_to_string(folder.join("opened").join(name)).ok();
    ["disk.pid", "files.pid"].iter().filter_map(|name| pid(name)?.trim().parse().ok()).collect()
}

/// Folders of the control group that both are in.
fn groups(bed: &Bed) -> Vec<PathBuf> {
    fn below(folder: &Path, end: &Path, depth: u32, found: &mut Vec<PathBuf>) {
        // Other tests make and remove groups meanwhile.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.ends_with(end) {
                found.push(path);
            } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below(&path, end, depth - 1, found);
            }
        }
    }
    let end = PathBuf::from(format!("vnode-{}", bed.instance)).join("lab:vm:files");
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), &end, 12, &mut found);
    found
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

async fn mount(bed: &Bed, spec: &NodeSpec) -> Result<PathBuf, Error> {
    bed.driver().mount(spec, &bed.folder(&spec.node)).await
}

async fn unmount(bed: &Bed, spec: &NodeSpec) -> Result<(), Error> {
    bed.driver().unmount(spec, &bed.folder(&spec.node)).await
}

#[test]
fn t35_t36_t38_t39_t40_the_root_of_a_stopped_machine_is_mounted_outside_the_kernel() {
    if missing() {
        return;
    }
    bed::run(|bed| async move {
        let raw = bed.dir.path().join("base.raw");
        ext4(&raw);
        // Over a qcow2 image, as most are.
        let base = bed.dir.path().join("base.qcow2");
        let [from, to] = [&raw, &base].map(|path| path.display().to_string());
        program(&["qemu-img", "convert", "-O", "qcow2", &from, &to]);
        let of_image = std::fs::read(&base).unwrap();
        let spec = machine(&bed, "vm", Some((&base, DiskFormat::Qcow2))).await;
        let folder = bed.folder("vm");

        // T-35, T-38: written to, and mounted again it is the same place.
        let root = mount(&bed, &spec).await.unwrap();
        assert_eq!(mount(&bed, &spec).await.unwrap(), root);
        std::fs::create_dir(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/hostname"), "from outside\n").unwrap();
        std::os::unix::fs::chown(root.join("etc/hostname"), Some(1234), Some(5)).unwrap();
        let big = vec![7; 3 << 20];
        std::fs::write(root.join("big"), &big).unwrap();

        // Who reads what the guest wrote can do nothing else.
        let pids = servers(&folder);
        assert_eq!(pids.len(), 2);
        for pid in &pids {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let field =
                |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
            assert_eq!(field("Uid:").split_whitespace().nth(1), Some("1073807360"), "{status}");
            assert!(field("CapPrm:").ends_with("0000000000000000"), "{status}");
            assert!(field("NoNewPrivs:").ends_with('1'), "{status}");
            // Forbidden calls are refused by the kernel, and its use is counted and bounded apart.
            assert!(field("Seccomp:").ends_with('2'), "{status}");
            let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            assert!(groups.lines().any(|line| line.ends_with("/lab:vm:files")), "{groups}");
            let own = |what: &str| std::fs::read_link(format!("/proc/{pid}/ns/{what}")).unwrap();
            for what in ["net", "mnt", "ipc"] {
                assert_ne!(own(what), std::fs::read_link(format!("/proc/self/ns/{what}")).unwrap());
            }
        }
        let groups = groups(&bed);
        assert!(!groups.is_empty());
        // No file system of the kernel's lies there, and nothing in it is a program or a device.
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line =
            mounts.lines().find(|line| line.contains(&format!(" {} ", root.display()))).unwrap();
        assert!(line.contains(" fuse ") && line.contains("nosuid,nodev,noexec"), "{line}");

        // What is in the way of it is refused.
        let vm = bed.driver().recover(&spec, &folder).await.unwrap();
        let vnode_driver::Recovered::Live(vm) = vm else { panic!("it is gone") };
        let cancel = CancellationToken::new();
        assert!(matches!(vm.boot(&spec).await, Err(Error::Mounted { .. })));
        for what in [OldDisk::SetAside, OldDisk::PutBack] {
            let moved = bed.driver().old_disk(&spec, &folder, what).await;
            assert!(matches!(moved, Err(Error::Mounted { .. })), "{moved:?}");
        }
        let snapshot = bed.driver().snapshot(&spec, &folder, "one", "me", &cancel).await;
        assert!(matches!(snapshot, Err(Error::Mounted { .. })), "{snapshot:?}");

        // T-39: the daemon is killed; the next one finds it as it was.
        drop(vm);
        bed.forget();
        bed.open().await;
        assert_eq!(mount(&bed, &spec).await.unwrap(), root);
        assert_eq!(servers(&folder), pids);
        unmount(&bed, &spec).await.unwrap();
        unmount(&bed, &spec).await.unwrap();
        assert!(!root.join("etc").exists() && !folder.join("opened").exists());
        assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
        assert!(!Path::new(&format!("/proc/{}", pids[0])).join("exe").exists());

        // All of it is on the disk, and the file system is whole, for another reader too. Its image never changed.
        let plain = bed.dir.path().join("plain.raw");
        let own = folder.join("upper/disks/disk0.qcow2").display().to_string();
        let whole = |own: &str| {
            let backing = format!(
                "driver=qcow2,file.driver=file,file.filename={own},backing.driver=qcow2,backing.file.driver=file,backing.file.filename={}",
                base.display()
            );
            let plain = plain.display().to_string();
            program(&["qemu-img", "convert", "--image-opts", &backing, "-O", "raw", &plain]);
            let part = format!("{plain}?offset={}", START * SECTOR);
            program(&["e2fsck", "-f", "-n", &part]);
            program(&["debugfs", "-R", "stat /etc/hostname", &part])
        };
        let shown = whole(&own);
        assert!(shown.contains("User:  1234") && shown.contains("Group:     5"), "{shown}");
        assert_eq!(std::fs::read(&base).unwrap(), of_image);

        // T-36: links in it lead nowhere outside. T-40: the same again and again.
        let outside = bed.dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let mut before: Option<Vec<(String, u64)>> = None;
        for round in 0..5 {
            let root = mount(&bed, &spec).await.unwrap();
            if round == 0 {
                symlink(&outside, root.join("link")).unwrap();
            }
            let mut archive = tar(&[("note", "for the node\n")]);
            let written = bed
                .driver()
                .archive_in(&spec, &root, "/link", Box::pin(std::mem::take(&mut archive)))
                .await;
            assert!(written.is_err(), "there is no such folder in the machine");
            bed.driver()
                .archive_in(&spec, &root, "/etc", Box::pin(tar(&[("note", "well met\n")])))
                .await
                .unwrap();
            let mut out = Vec::new();
            bed.driver()
                .archive_out(&spec, &root, "/big")
                .unwrap()
                .read_to_end(&mut out)
                .await
                .unwrap();
            assert!(out.len() > big.len());
            let mut names: Vec<(String, u64)> = std::fs::read_dir(root.join("etc"))
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|entry| {
                    (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().size())
                })
                .collect();
            names.sort();
            assert_eq!(*before.get_or_insert_with(|| names.clone()), names);
            assert_eq!(
                std::fs::read_to_string(root.join("etc/hostname")).unwrap(),
                "from outside\n"
            );
            unmount(&bed, &spec).await.unwrap();
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        whole(&own);

        // A program that dies is told of once; then all is as it was, and it can be mounted again.
        for which in [1, 0] {
            mount(&bed, &spec).await.unwrap();
            kill(servers(&folder)[which]);
            let error = unmount(&bed, &spec).await.unwrap_err();
            assert!(error.to_string().contains("write back the disk"), "{error:?}");
            unmount(&bed, &spec).await.unwrap();
        }
        // Both died unseen: what is left is cleared away.
        mount(&bed, &spec).await.unwrap();
        servers(&folder).into_iter().for_each(kill);
        let end = std::time::Instant::now() + bed::PATIENCE;
        // A process that is killed takes a moment to be gone.
        let text = loop {
            let root = mount(&bed, &spec).await.unwrap();
            match std::fs::read_to_string(root.join("etc/hostname")) {
                Ok(text) => break text,
                Err(error) => assert!(std::time::Instant::now() < end, "{error}"),
            }
        };
        assert_eq!(text, "from outside\n");
        // It stays mounted: its end is destroyed all the same.
    });
}

/// A tar stream of these files.
fn tar(files: &[(&str, &str)]) -> std::io::Cursor<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, text) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", text.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.extend(header);
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    std::io::Cursor::new(bytes)
}

#[test]
fn t37_a_disk_that_cannot_be_mounted_is_told_by_what_is_on_it() {
    if missing() {
        return;
    }
    bed::run(|bed| async move {
        let refused = async |spec: &NodeSpec, reason: &str| {
            let error = mount(&bed, spec).await.unwrap_err();
            let text = vnode_protocol::chain(&error);
            assert!(text.contains(reason), "{text}");
            let folder = bed.folder(&spec.node);
            assert!(!folder.join("opened").exists(), "{text}");
        };
        let none = machine(&bed, "none", None).await;
        refused(&none, "no disk").await;

        let image = bed.dir.path().join("other.raw");
        disk(&image);
        let empty = machine(&bed, "empty", Some((&image, DiskFormat::Raw))).await;
        refused(&empty, "no file system that is known").await;

        let image = bed.dir.path().join("xfs.raw");
        disk(&image);
        let mut bytes = std::fs::read(&image).unwrap();
        bytes[START * SECTOR..][..4].copy_from_slice(b"XFSB");
        std::fs::write(&image, bytes).unwrap();
        let xfs = machine(&bed, "xfs", Some((&image, DiskFormat::Raw))).await;
        refused(&xfs, "xfs in partition 1").await;

        // One whose superblock is a lie.
        let image = bed.dir.path().join("lie.raw");
        disk(&image);
        let mut bytes = std::fs::read(&image).unwrap();
        bytes[START * SECTOR + 1024..][..1024].fill(0xff);
        bytes[START * SECTOR + 1024 + 56..][..2].copy_from_slice(&[0x53, 0xef]);
        std::fs::write(&image, bytes).unwrap();
        let lie = machine(&bed, "lie", Some((&image, DiskFormat::Raw))).await;
        refused(&lie, "fuse2fs").await;

        // With its memory kept the disk has to stay as it is.
        let disks = bed.folder("lie").join("upper/disks");
        std::fs::write(disks.join("memory.json"), "{}").unwrap();
        refused(&lie, "its memory is kept").await;
    });
}
