//! Machines that are reached by vsock, on a host that has it: Debian's kernel, in the guest tier.

// A test stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

mod bed;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use vnode_driver::{Phase, Ready, Start};
use vnode_guest::{ExecSpec, Guest};

/// Where the agent of `vnode_testkit::guest::build_inner` listens.
const PORT: u32 = 1024;
/// A machine that is emulated in one that is emulated takes its time.
const LONG: Duration = Duration::from_secs(300);

/// A connection to the port of the machine with that context id.
fn connect(cid: u32) -> std::io::Result<UnixStream> {
    // SAFETY: makes a descriptor; touches no memory of ours.
    let socket = unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: it was made just now, and nobody else knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeroes is a valid address of this type.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    (address.svm_cid, address.svm_port) = (cid, PORT);
    let length = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
    // SAFETY: the address is a `sockaddr_vm` of that length, and lives through the call.
    let done = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if done < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // The library has no type for it, and reads and writes any stream by its descriptor.
    Ok(UnixStream::from(socket))
}

async fn agent(cid: u32) -> Result<Guest, String> {
    let stream = connect(cid).map_err(|e| e.to_string())?;
    stream.set_nonblocking(true).map_err(|e| e.to_string())?;
    let stream = tokio::net::UnixStream::from_std(stream).map_err(|e| e.to_string())?;
    vnode_guest::probe(stream).await.map_err(|e| e.to_string())
}

#[test]
fn vm_a_program_runs_in_a_machine_that_is_reached_by_vsock() {
    if !vnode_testkit::in_guest() {
        vnode_testkit::skip_to_guest("vhost-vsock is in the kernel of the guest tier");
        return;
    }
    bed::run(|bed| async move {
        let begun = Instant::now();
        let mut spec = bed.spec("vm").await;
        let machine = spec.machine.as_mut().unwrap();
        (machine.vsock, machine.ready, machine.memory_bytes) = (true, Ready::Started, 128 << 20);
        if let Start::Kernel { append, .. } = &mut machine.start {
            // Neither tests of ciphers nor detours for processors that are not there.
            append.push_str(" cryptomgr.notests mitigations=off");
        }
        // On this host the device is root's alone; the machine's QEMU is nobody, and has it all the same.
        let device = std::fs::metadata("/dev/vhost-vsock").unwrap();
        assert_eq!((device.uid(), device.mode() & 0o077), (0, 0));
        let vm = bed.create(&spec).await.unwrap();
        vm.boot(&spec).await.unwrap();
        println!("QEMU runs after {:?}", begun.elapsed());
        let status = std::fs::read_to_string(format!("/proc/{}/status", vm.pid().unwrap()));
        let status = status.unwrap();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
        assert!(uid.split_whitespace().all(|id| id.parse::<u32>().unwrap() > 65_535), "{uid}");

        let cid = spec.vmid + 3;
        let end = Instant::now() + LONG;
        let mut told = String::new();
        let guest = loop {
            match agent(cid).await {
                Ok(guest) => break guest,
                Err(error) if error != told => {
                    println!("after {:?}: {error}", begun.elapsed());
                    told = error;
                }
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        println!("its agent answers by vsock after {:?}", begun.elapsed());
        let argv = ["sh", "-c", "cat /proc/cmdline; exit 7"].map(str::to_owned).to_vec();
        let mut exec = guest.exec(ExecSpec { argv, ..ExecSpec::default() }).await.unwrap();
        let mut out = String::new();
        exec.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
        assert!(out.contains("console=ttyS0"), "{out}");
        assert_eq!(exec.wait().await.unwrap().shell_code(), 7);
        assert!(connect(cid + 1).is_err(), "nobody has the next context id");
        vm.kill().await.unwrap();
        bed::until(&*vm, Phase::Stopped).await;
        assert!(connect(cid).is_err(), "it is off");
        println!("all is over after {:?}", begun.elapsed());
    });
}
