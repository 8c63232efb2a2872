//! Memory that is kept and comes back, a screen, and what goes wrong around a machine that runs: one guest for all.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use vnode_action::CancellationToken;
use vnode_driver::{Driver, Error, Exec, Hardware, Instance, Phase, Start};

use crate::bed::{Bed, answers, exec, link, until};
use crate::words;

/// Room for the node's folder: its disk, a copy of its memory, and a snapshot with both.
const ROOM: u64 = 3 << 30;

fn hardware(vm: &dyn Instance) -> &dyn Hardware {
    vm.hardware().expect("a machine has hardware")
}

async fn boot_id(vm: &dyn Instance) -> String {
    exec(vm, &["cat", "/proc/sys/kernel/random/boot_id"]).await.1
}

/// Gives the file system at `folder` another size.
fn resize(folder: &std::path::Path, bytes: u64) {
    let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
    rustix::mount::mount_remount(folder, rustix::mount::MountFlags::empty(), options).unwrap();
}

fn used(folder: &std::path::Path) -> u64 {
    let found = rustix::fs::statvfs(folder).unwrap();
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

pub(crate) async fn cases(bed: Arc<Bed>) {
    let nodes = bed.dir.path().join("nodes");
    std::fs::create_dir(&nodes).unwrap();
    let options = std::ffi::CString::new(format!("size={ROOM}")).unwrap();
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &nodes, "tmpfs", none, options.as_c_str()).unwrap();
    // Mounts that monitors made beneath have their own life: this one goes with the last of them.
    with_room(&bed, &nodes).await;
    bed.clean(false).await;
    rustix::mount::unmount(&nodes, rustix::mount::UnmountFlags::DETACH).unwrap();
}

async fn with_room(bed: &Bed, nodes: &std::path::Path) {
    let mut spec = bed.spec("saved").await;
    let machine = spec.machine.as_mut().unwrap();
    machine.vnc = true;
    machine.disks = vec![64 << 20];
    let vm = bed.create(&spec).await.unwrap();
    let far = link(&*vm, "eth1", "10.9.0.1/24", "10.9.0.2/24");
    let cancel = CancellationToken::new();
    assert!(matches!(hardware(&*vm).save(&cancel).await, Err(Error::NotRunning { .. })));
    vm.boot(&spec).await.unwrap();
    let first = boot_id(&*vm).await;

    // Its screen is a picture.
    let picture = hardware(&*vm).screenshot().await.unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n") && picture.len() > 100, "{picture:?}");

    // And a server of it, on a socket that is nobody's but root's and the machine's.
    let mut screen =
        tokio::net::UnixStream::connect(bed.folder("saved").join("vm/vnc.sock")).await.unwrap();
    let mut greeting = [0; 12];
    screen.read_exact(&mut greeting).await.unwrap();
    assert!(greeting.starts_with(b"RFB 003."), "{greeting:?}");
    drop(screen);

    // A root that is memory shows that memory was kept: saved, the machine is gone; booted, it goes on.
    assert_eq!(exec(&*vm, &["sh", "-c", "echo kept >/root/word"]).await.0, 0);
    let exit = hardware(&*vm).save(&cancel).await.unwrap();
    assert_eq!((vm.status().phase, vm.pid()), (Phase::Stopped, None));
    assert!(hardware(&*vm).saved());
    // Asked again, as after a crash of the daemon, it has been done.
    assert_eq!(hardware(&*vm).save(&cancel).await.unwrap(), exit);
    // A snapshot takes disk and memory, which belong together.
    let (driver, folder) = (bed.driver(), bed.folder("saved"));
    driver.snapshot(&spec, &folder, "warm", "me", &cancel).await.unwrap();
    // What is another machine now cannot have this one's memory, and does not harm it.
    let mut other = spec.clone();
    other.machine.as_mut().unwrap().cpus = 2;
    let error = vm.boot(&other).await.unwrap_err().to_string();
    assert!(error.contains("saved as another machine's"), "{error}");
    vm.boot(&spec).await.unwrap();
    assert!(!hardware(&*vm).saved());
    assert_eq!(boot_id(&*vm).await, first);
    assert_eq!(exec(&*vm, &["cat", "/root/word"]).await.1, "kept\n");
    answers(&far, "10.9.0.1");

    // A QEMU that hangs is told of in time, and is none the worse for it.
    let qemu = Pid::from_raw(vm.pid().unwrap().cast_signed()).unwrap();
    kill_process(qemu, Signal::STOP).unwrap();
    let error = vm.pause().await.unwrap_err();
    kill_process(qemu, Signal::CONT).unwrap();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    // The question it was asked is answered all the same, later.
    until(&*vm, Phase::Paused).await;
    vm.resume().await.unwrap();

    // No room for the memory: that is said, nothing is left of it, and the machine goes on.
    resize(nodes, used(nodes) + (8 << 20));
    let error = hardware(&*vm).save(&cancel).await.unwrap_err().to_string();
    assert!(error.contains("save the memory"), "{error}");
    assert!(!hardware(&*vm).saved());
    assert_eq!((vm.status().phase, boot_id(&*vm).await), (Phase::Running, first.clone()));
    // Cancelled before it began, it goes on too.
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    assert!(hardware(&*vm).save(&cancelled).await.is_err());
    assert_eq!(boot_id(&*vm).await, first);

    // No room for what the guest writes: it stands still until there is, and loses nothing.
    let write = words(&["dd", "if=/dev/zero", "of=/dev/vda", "bs=1M", "count=32", "conv=fsync"]);
    let mut writing: Exec = vm.exec(&write).await.unwrap();
    drop(writing.stdin.take());
    until(&*vm, Phase::Paused).await;
    resize(nodes, ROOM);
    vm.resume().await.unwrap();
    assert_eq!(writing.wait().await.unwrap().shell_code(), 0);

    // Back to the snapshot: the same run of the guest, its disk as it was. Thrown away, memory is gone for good.
    vm.kill().await.unwrap();
    driver.restore(&spec, &folder, "warm", &cancel).await.unwrap();
    assert!(hardware(&*vm).saved());
    vm.boot(&spec).await.unwrap();
    assert_eq!(boot_id(&*vm).await, first);
    vm.kill().await.unwrap();
    driver.restore(&spec, &folder, "warm", &cancel).await.unwrap();
    hardware(&*vm).forget().await.unwrap();
    hardware(&*vm).forget().await.unwrap();

    // A machine without a screen, and with an agent that never comes: only QEMU has to run.
    let mut bare = spec.clone();
    let machine = bare.machine.as_mut().unwrap();
    (machine.vnc, machine.ready) = (false, vnode_driver::Ready::Started);
    let Start::Kernel { append, .. } = &mut machine.start else { unreachable!() };
    *append = "quiet rdinit=/bin/cat".into();
    vm.boot(&bare).await.unwrap();
    let error = hardware(&*vm).screenshot().await.unwrap_err().to_string();
    assert!(error.contains("no screen"), "{error}");
    vm.halt(Duration::ZERO).await.unwrap();
}
