//! A whole machine, from its creation to its end. One guest serves many cases: each boot costs seconds of emulation.

#![allow(clippy::unwrap_used)]

mod bed;
mod forms;
mod memory;

use std::time::Duration;

use bed::{PATIENCE, answers, exec, link, silent, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vnode_action::CancellationToken;
use vnode_driver::{BaseDisk, DiskFormat, Driver, Ended, OldDisk, Phase, Ready, Recovered, Start};

#[test]
fn vm_t41_t47_t55_a_machine_boots_is_linked_spoken_to_paused_adopted_rebooted_and_gone() {
    bed::run(|bed| async move {
        let mut spec = bed.spec("vm").await;
        let base = bed.dir.path().join("base.raw");
        let mut bytes = b"the image's own bytes".to_vec();
        bytes.resize(1 << 20, 0);
        std::fs::write(&base, &bytes).unwrap();
        let machine = spec.machine.as_mut().unwrap();
        // Grown to twice its image; and a second, empty disk.
        let size_bytes = 2 << 20;
        machine.disk = Some(BaseDisk { image: base.clone(), format: DiskFormat::Raw, size_bytes });
        machine.disks = vec![4 << 20];
        machine.cpus = 2;
        machine.queues = 2;
        machine.watchdog = true;
        let vm = bed.create(&spec).await.unwrap();
        assert_eq!(vm.status().phase, Phase::Stopped);
        let far = link(&*vm, "eth1", "10.9.0.1/24", "10.9.0.2/24");
        // It waits for the agent (T-41).
        vm.boot(&spec).await.unwrap();
        assert_eq!(vm.status().phase, Phase::Running);

        // Name and address came in; frames go out and come back through tap and pair.
        assert_eq!(exec(&*vm, &["hostname"]).await, (0, "vm\n".to_owned()));
        let (_, text) = exec(&*vm, &["ip", "address", "show", "eth1"]).await;
        assert!(text.contains("10.9.0.1/24"), "{text}");
        answers(&far, "10.9.0.1");
        assert_eq!(exec(&*vm, &["ping", "-c", "1", "-W", "60", "10.9.0.2"]).await.0, 0);
        assert_eq!(exec(&*vm, &["false"]).await.0, 1);

        // What it was ordered with: processors, queues of the interface, a source of randomness, a watchdog.
        assert_eq!(exec(&*vm, &["nproc"]).await.1, "2\n");
        let (_, text) = exec(&*vm, &["ls", "/sys/class/net/eth1/queues"]).await;
        assert_eq!(text.split_whitespace().filter(|queue| queue.starts_with("tx-")).count(), 2);
        let kinds = "cat /sys/bus/virtio/devices/*/device /sys/bus/pci/devices/*/device";
        let (_, text) = exec(&*vm, &["sh", "-c", kinds]).await;
        assert!(text.contains("0x0004\n") && text.contains("0x25ab\n"), "{text}");

        // Its disks: the image's bytes under an overlay of the size that was asked for.
        let sectors = |disk: &str| format!("cat /sys/block/{disk}/size; head -c 21 /dev/{disk}");
        let (_, text) = exec(&*vm, &["sh", "-c", &sectors("vda")]).await;
        assert_eq!(text, "4096\nthe image's own bytes");
        let (_, text) = exec(&*vm, &["sh", "-c", "cat /sys/block/vdb/size"]).await;
        assert_eq!(text, "8192\n");
        let write =
            |word: &str| format!("printf {word} | dd of=/dev/vda conv=notrunc 2>/dev/null; sync");
        assert_eq!(exec(&*vm, &["sh", "-c", &write("first")]).await.0, 0);
        // The seed is there, and says what the topology said.
        let seed = "mkdir -p /mnt; mount -t vfat -o ro /dev/vdc /mnt && cat /mnt/network-config";
        let (_, text) = exec(&*vm, &["sh", "-c", seed]).await;
        assert!(text.contains("10.9.0.1/24") && text.contains("eth1"), "{text}");

        // The console is a shell on the serial line.
        let mut console = vm.console().await.unwrap();
        console.input.write_all(b"\necho $((6 * 7))answer\n").await.unwrap();
        let mut seen = String::new();
        while !seen.contains("42answer") {
            let mut some = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, console.output.read(&mut some));
            let n = read.await.expect("the console answers").unwrap();
            assert!(n > 0, "the console ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&some[..n]));
        }
        // What was printed before comes first.
        assert!(seen.contains("vnode: up"), "{seen}");
        drop(console);

        // QEMU runs as nobody in particular, in a root with nothing of the host's but /usr.
        let pid = vm.pid().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
        };
        assert_eq!(field("Uid:").split_whitespace().nth(1), Some("1073807360"), "{status}");
        assert!(field("CapEff:").ends_with("0000000000000000"));
        assert!(field("NoNewPrivs:").ends_with('1') && field("Seccomp:").ends_with('2'));
        assert!(!bed::exists(format!("/proc/{pid}/root/etc/shadow").as_ref()));
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(groups.lines().any(|line| line.ends_with("/lab:vm")), "{groups}");

        // Paused, its time stands still and it answers nobody.
        vm.pause().await.unwrap();
        assert_eq!(vm.status().phase, Phase::Paused);
        assert!(silent(&far, "10.9.0.1"));

        // T-55: the daemon is killed and another one comes; the machine has gone on, paused as it was.
        drop(vm);
        bed.forget();
        bed.open().await;
        let Recovered::Live(vm) = bed.driver().recover(&spec, &bed.folder("vm")).await.unwrap()
        else {
            panic!("the machine is gone");
        };
        assert_eq!((vm.status().phase, vm.pid()), (Phase::Paused, Some(pid)));
        vm.resume().await.unwrap();
        assert_eq!(exec(&*vm, &["true"]).await.0, 0);
        answers(&far, "10.9.0.1");

        // R-7, T-47: a reboot inside, here by a watchdog that is not fed, is told as one; interfaces and their neighbours stay.
        let boots = vm.status().boots;
        // Held until it has ended: dropping an exec ends its program, which may not have got to the reboot yet. Its end
        // takes the connection along, so whether it was seen to start says nothing.
        let rebooting = vm.exec(&words(&["sh", "-c", WATCHDOG])).await;
        let status = until(&*vm, Phase::Stopped).await;
        drop(rebooting);
        assert_eq!(status.last_exit.unwrap().ended, Ended::Reboot);
        assert!(far.has_interface("far").unwrap());
        // What was written is kept under a name, while the machine is stopped; not while it runs.
        let (driver, folder, cancel) = (bed.driver(), bed.folder("vm"), CancellationToken::new());
        driver.snapshot(&spec, &folder, "one", "me", &cancel).await.unwrap();
        vm.boot(&spec).await.unwrap();
        assert_eq!(vm.status().boots, boots + 1);
        answers(&far, "10.9.0.1");
        let read = ["sh", "-c", "head -c 5 /dev/vda"];
        assert_eq!(exec(&*vm, &read).await.1, "first");
        assert_eq!(exec(&*vm, &["sh", "-c", &write("other")]).await.0, 0);
        assert!(driver.snapshot(&spec, &folder, "two", "me", &cancel).await.is_err());

        // It ends when it is asked to.
        let exit = vm.halt(PATIENCE).await.unwrap();
        assert_eq!(exit.ended, Ended::Poweroff, "{exit:?}");
        // A second halt succeeds (T-46).
        vm.halt(Duration::from_secs(1)).await.unwrap();

        // The snapshot comes back; an image that was changed under its overlay is refused, and its own image never was.
        driver.restore(&spec, &folder, "one", &cancel).await.unwrap();
        vm.boot(&spec).await.unwrap();
        assert_eq!(exec(&*vm, &read).await.1, "first");
        assert_eq!(std::fs::read(&base).unwrap(), bytes);
        // QEMU is killed: that is no power-off.
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(vm.pid().unwrap() as i32).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        assert_eq!(until(&*vm, Phase::Stopped).await.last_exit.unwrap().ended, Ended::Killed);
        std::fs::write(&base, b"something else").unwrap();
        let error = vm.boot(&spec).await.unwrap_err();
        assert!(error.to_string().contains("another image"), "{error}");

        // An empty disk over the image as it is now.
        driver.old_disk(&spec, &folder, OldDisk::SetAside).await.unwrap();
        driver.old_disk(&spec, &folder, OldDisk::Drop).await.unwrap();
        let mut deaf = spec.clone();
        let machine = deaf.machine.as_mut().unwrap();
        machine.ready = Ready::Started;
        // No agent, and nobody who knows the button: its first process does nothing but read.
        let Start::Kernel { append, .. } = &mut machine.start else { unreachable!() };
        *append = "quiet rdinit=/bin/cat".into();
        vm.boot(&deaf).await.unwrap();
        // A guest that ignores the button is ended in time (T-46).
        let exit = vm.halt(Duration::from_millis(500)).await.unwrap();
        assert_eq!(exit.ended, Ended::Killed);
    });
}

/// Starts the i6300esb without a driver, by its registers: two stages of a tick each, then the enabling bit of its
/// configuration space. QEMU's `hw/watchdog/wdt_i6300esb.c` has what they mean.
const WATCHDOG: &str = "
for device in /sys/bus/pci/devices/*; do
    [ \"$(cat $device/device)\" = 0x25ab ] && break
done
echo 1 >$device/enable
read -r base rest <$device/resource
base=$((base))
for stage in 0 4; do
    devmem $((base + 12)) 16 0x80
    devmem $((base + 12)) 16 0x86
    devmem $((base + stage)) 32 1
done
printf '\\002' | dd of=$device/config bs=1 seek=104 conv=notrunc 2>/dev/null
sleep 60
";

#[test]
fn vm_t46_memory_is_kept_a_screen_is_seen_and_full_disks_and_hung_machines_are_borne() {
    bed::run(memory::cases);
}

#[test]
fn vm_a_microvm_with_a_config_drive_and_a_machine_that_starts_by_uefi() {
    bed::run(forms::cases);
}

fn words(words: &[&str]) -> vnode_driver::ExecSpec {
    vnode_driver::ExecSpec {
        argv: words.iter().map(|&word| word.to_owned()).collect(),
        ..vnode_driver::ExecSpec::default()
    }
}
