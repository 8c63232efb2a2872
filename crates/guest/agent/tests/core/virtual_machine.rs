//! The agent in a real machine under QEMU: virtio ports, a serial line and vsock, as hosts use them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream as BlockingStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::net::UnixStream;
use vnode_protocol::frame::Frame;
use vnode_testkit::{needs, skip};

use super::support::{Client, PROGRAM, code};
use crate::machine::{Kernel, Tree};

const MODULES: [&str; 3] = ["virtio_pci", "virtio_console", "vsock_loopback"];
/// A boot takes five seconds on a machine of its own.
const BOOT: Duration = Duration::from_secs(180);

/// A running machine; ends with the value.
struct Machine {
    child: Child,
    folder: tempfile::TempDir,
}

impl Machine {
    fn boot(kernel: &Kernel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let tree = Tree::new(folder.path(), kernel, &MODULES);
        tree.program(Path::new(PROGRAM), "usr/sbin/vnode-agent");
        // The other end of a vsock has to be in the machine too: this very program.
        tree.program(&std::env::current_exe().unwrap(), "tests/core");
        tree.file("init", include_str!("virtual_machine/init.sh"), 0o755);
        tree.file("tests/inner.toml", include_str!("virtual_machine/inner.toml"), 0o644);
        tree.file("etc/vnode/agent.toml", include_str!("virtual_machine/agent.toml"), 0o644);
        let initrd = tree.pack();
        let socket = |name: &str| format!("socket,id={name},path={},server=on,wait=off", at(name));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-machine", "q35,accel=tcg", "-m", "512", "-kernel"])
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&initrd)
            .args(["-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on no_timer_check"])
            .args(["-serial", &format!("file:{}", at("console"))])
            .args(["-chardev", &socket("serial"), "-serial", "chardev:serial"])
            .args(["-device", "virtio-serial-pci,id=ports"])
            .args(["-chardev", &socket("qga"), "-chardev", &socket("native")])
            // A socket for each time that port is plugged in: it is let go of late.
            .args(["-chardev", &socket("late0"), "-chardev", &socket("late1")])
            .args(["-device", "virtserialport,bus=ports.0,chardev=qga,name=org.qemu.guest_agent.0"])
            .args(["-device", "virtserialport,bus=ports.0,chardev=native,name=org.vnode.agent.0"])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp"))])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A host's connection to a port or line; QEMU makes the socket when it starts.
    fn connect(&self, name: &str) -> BlockingStream {
        let end = Instant::now() + BOOT;
        loop {
            if let Ok(stream) = BlockingStream::connect(self.path(name)) {
                return stream;
            }
            if Instant::now() > end {
                panic!("`{name}` is not there");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A connection on which the agent answers in QEMU's form: asked until it does, as its clients do at boot.
    fn guest(&self, name: &str) -> Guest {
        let stream = self.connect(name);
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut guest = Guest(BufReader::new(stream));
        let end = Instant::now() + BOOT;
        for id in 1.. {
            if guest.sync(id) {
                break;
            }
            if Instant::now() > end {
                panic!("no answer at `{name}`");
            }
        }
        guest.0.get_ref().set_read_timeout(Some(BOOT)).unwrap();
        guest
    }

    /// A connection on which the agent answers in our own form: asked until it does. What is sent before the agent has
    /// the port waits in it, or is thrown away when another closes it.
    async fn native(&self, name: &str) -> Client {
        let stream = self.connect(name);
        stream.set_nonblocking(true).unwrap();
        let mut client = Client::new(UnixStream::from_std(stream).unwrap());
        let end = Instant::now() + BOOT;
        loop {
            let asked = client.call("ping", Value::Null);
            if let Ok(ended) = tokio::time::timeout(Duration::from_secs(2), asked).await {
                assert_eq!(ended.ok(), &json!({}));
                break;
            }
            assert!(Instant::now() < end, "no answer at `{name}`");
        }
        client
    }

    /// One command of QEMU's own protocol.
    fn qmp(&self, command: &str, arguments: Value) {
        let mut stream = BufReader::new(self.connect("qmp"));
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        for request in [
            json!({"execute": "qmp_capabilities"}),
            json!({"execute": command, "arguments": arguments}),
        ] {
            writeln!(stream.get_mut(), "{request}").unwrap();
            loop {
                line.clear();
                stream.read_line(&mut line).unwrap();
                let answer: Value = serde_json::from_str(&line).unwrap();
                assert!(answer.get("error").is_none(), "{command}: {answer}");
                if answer.get("return").is_some() {
                    break;
                }
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let console = std::fs::read(self.path("console")).unwrap_or_default();
            let console = String::from_utf8_lossy(&console).into_owned();
            let lines: Vec<&str> = console.lines().collect();
            println!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// A client of QEMU's form.
struct Guest<S: Read + Write = BlockingStream>(BufReader<S>);

impl<S: Read + Write> Guest<S> {
    /// Whether the delimited answer to this number came; what else comes before it is dropped.
    fn sync(&mut self, id: u32) -> bool {
        let request = format!(
            "\u{0}{{\"execute\":\"guest-sync-delimited\",\"arguments\":{{\"id\":{id}}}}}\n"
        );
        let mut bytes = request.into_bytes();
        bytes[0] = 0xff;
        if self.0.get_mut().write_all(&bytes).is_err() {
            return false;
        }
        let wanted = format!("{{\"return\": {id}}}\n").into_bytes();
        loop {
            let mut line = Vec::new();
            match self.0.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return false,
                Ok(_) if line.ends_with(&wanted) && line.contains(&0xff) => return true,
                Ok(_) => {}
            }
        }
    }

    /// Runs a script to its end, which must be a good one.
    fn run(&mut self, script: &str) -> Value {
        let run = json!({"path": "sh", "arg": ["-c", script], "capture-output": true});
        let pid = self.call("guest-exec", run)["return"]["pid"].clone();
        loop {
            let status = self.call("guest-exec-status", json!({"pid": pid}))["return"].take();
            if status["exited"] == true {
                assert_eq!(status["exitcode"], 0, "{script}: {status}");
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn call(&mut self, name: &str, arguments: Value) -> Value {
        let request = json!({"execute": name, "arguments": arguments});
        writeln!(self.0.get_mut(), "{request}").unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

/// One machine for all: a boot costs seconds.
#[tokio::test]
async fn channels_of_a_real_machine() {
    needs!(Program("qemu-system-x86_64"), Program("busybox"), Program("modprobe"));
    let Some(kernel) = Kernel::find() else {
        return skip("no Debian kernel: run `cargo xtask setup`");
    };
    let machine = Machine::boot(&kernel);
    qemus_form_over_a_port(&machine);
    our_own_form_over_a_port(&machine).await;
    a_port_that_comes_and_goes(&machine).await;
    a_serial_line(&machine);
    vsock(&machine).await;
    an_agent_beside_init(&machine).await;
    the_clock_and_the_end(machine).await;
}

/// QG-39 over virtio-serial: a client that goes leaves nothing behind, and the next is answered at once.
fn qemus_form_over_a_port(machine: &Machine) {
    let mut guest = machine.guest("qga");
    assert_eq!(guest.call("guest-ping", json!({})), json!({"return": {}}));
    assert_eq!(guest.call("guest-get-osinfo", json!({}))["return"]["id"], "tiny");
    for _ in 0..3 {
        write!(guest.0.get_mut(), "{{\"execute\": \"guest-pi").unwrap();
        drop(guest);
        // A port keeps what a host wrote before it went, and the next host's bytes follow: with the delimiter first.
        guest = machine.guest("qga");
        assert_eq!(guest.call("guest-ping", json!({})), json!({"return": {}}));
    }
    let status = guest.run("dd if=/dev/zero bs=1024 count=1024 2>/dev/null");
    assert_eq!(status["out-data"].as_str().map(str::len), Some((1usize << 20).div_ceil(3) * 4));
}

/// Ends well when no program of the request is left.
const UNTIL_IT_IS_GONE: &str = "while :; do ps -o args > /tmp/ps || exit 9; \
    grep -q '^sleep 4242' /tmp/ps || exit 0; sleep 0.1; done";

/// The port was another's at first. Streams both ways, files, and a host that goes while a program runs.
async fn our_own_form_over_a_port(machine: &Machine) {
    let mut client = machine.native("native").await;
    let ended = client.exec(&["sh", "-c", "uname -s; echo err >&2; exit 3"]).await;
    assert_eq!(
        (&*ended.stdout, &*ended.stderr, code(&ended)),
        (&b"Linux\n"[..], &b"err\n"[..], Some(3))
    );
    let bytes: Vec<u8> =
        (0..3 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let put = super::files::put(&mut client, json!({"path": "/tmp/file"}), &bytes).await;
    client.send(put, Frame::DataEnd).await;
    assert_eq!(client.end(put).await.ok()["bytes"], bytes.len());
    let got = client.call("file-get", json!({"path": "/tmp/file"})).await;
    assert!(got.data == bytes, "{} of {} bytes", got.data.len(), bytes.len());
    for _ in 0..3 {
        client.begin("exec", json!({"argv": ["sleep", "4242"]})).await;
        // A ping is answered after the program was begun.
        assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
        drop(client);
        // Asked over the other port: a host that comes again at once may not be seen as another.
        machine.guest("qga").run(UNTIL_IT_IS_GONE);
        client = machine.native("native").await;
    }
}

/// Plugged in, pulled out, and plugged in again.
async fn a_port_that_comes_and_goes(machine: &Machine) {
    for round in 0..2 {
        let port = json!({"driver": "virtserialport", "id": format!("late{round}"), "bus": "ports.0",
            "chardev": format!("late{round}"), "name": "org.example.late.0"});
        machine.qmp("device_add", port);
        let mut client = machine.native(&format!("late{round}")).await;
        assert_eq!(code(&client.exec(&["true"]).await), Some(0));
        machine.qmp("device_del", json!({"id": format!("late{round}")}));
    }
    let mut guest = machine.guest("qga");
    assert_eq!(guest.call("guest-ping", json!({})), json!({"return": {}}));
}

fn a_serial_line(machine: &Machine) {
    for _ in 0..2 {
        let mut guest = machine.guest("serial");
        assert_eq!(guest.call("guest-ping", json!({})), json!({"return": {}}));
        assert_eq!(guest.call("guest-get-osinfo", json!({}))["return"]["id"], "tiny");
    }
}

/// Runs one of this file's tests in the machine; what it printed.
async fn inside(machine: &Machine, before: &str, test: &str) -> String {
    let mut client = machine.native("native").await;
    let script = format!("{before} /tests/core --exact virtual_machine::{test} --nocapture");
    let environment = json!({"VNODE_INSIDE": "1", "PATH": "/usr/sbin:/bin"});
    let request = json!({"argv": ["sh", "-c", script], "env": environment});
    let ended = client.call("exec", request).await;
    let said = [ended.stdout.clone(), ended.stderr.clone()].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(code(&ended), Some(0), "{said}");
    said
}

async fn vsock(machine: &Machine) {
    let said = inside(machine, "exec", "inside_vsock").await;
    assert!(said.contains("both forms answered"), "{said}");
}

/// `init --serve`: the agent runs as long as the program, and its exit code is the program's.
async fn an_agent_beside_init(machine: &Machine) {
    let mount =
        "mount --bind /tests/inner.toml /etc/vnode/agent.toml && exec vnode-agent init --serve --";
    let quoted = "unshare -m sh -c 'MOUNT \"$@\"' sh".replace("MOUNT", mount);
    let said = inside(machine, &quoted, "inside_init").await;
    assert!(said.contains("the agent beside init answered"), "{said}");
    let mut client = machine.native("native").await;
    let left = client.exec(&["ps", "-o", "args"]).await;
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(left.contains("vnode-agent run --level debug"), "{left}");
    assert!(!left.contains("vnode-agent run --quiet"), "{left}");
}

/// `time` and `shutdown`, whose effects a test must not have on a machine that others use.
async fn the_clock_and_the_end(mut machine: Machine) {
    let mut client = machine.native("native").await;
    let then = 1_800_000_000_000_000_000_u64;
    let answer = client.call("time", json!({"set_ns": then})).await;
    assert!((then..then + 60_000_000_000).contains(&answer.ok()["ns"].as_u64().unwrap()));
    let date = client.exec(&["date", "-u", "+%Y-%m"]).await;
    assert_eq!(date.stdout, b"2027-01\n");
    // Answered first, and then it happens.
    assert_eq!(client.call("shutdown", Value::Null).await.ok(), &json!({}));
    let end = Instant::now() + BOOT;
    while machine.child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            panic!("the machine does not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Run by the agent, in the machine: the client of its vsock.
#[tokio::test]
async fn inside_vsock() {
    if std::env::var_os("VNODE_INSIDE").is_none() {
        return skip("`channels_of_a_real_machine` runs it in its machine");
    }
    let stream = vnode_agent::exchange::FdStream::new(vsock_connect(1024)).unwrap();
    let mut client = Client::new(stream);
    assert_eq!(client.call("ping", Value::Null).await.ok(), &json!({}));
    assert_eq!(client.exec(&["echo", "over vsock"]).await.stdout, b"over vsock\n");
    let mut guest = Guest(BufReader::new(std::fs::File::from(vsock_connect(1025))));
    assert!(guest.sync(7));
    assert_eq!(guest.call("guest-ping", json!({})), json!({"return": {}}));
    // That channel is for the host alone, and we are none.
    let mut cut = Vec::new();
    // Cut off: the end, or a reset.
    let _ = std::fs::File::from(vsock_connect(1026)).read_to_end(&mut cut);
    assert_eq!(cut, b"");
    println!("both forms answered");
}

/// Run by the inner agent's init, in the machine.
#[tokio::test]
async fn inside_init() {
    if std::env::var_os("VNODE_INSIDE").is_none() {
        return skip("`channels_of_a_real_machine` runs it in its machine");
    }
    let end = Instant::now() + BOOT;
    let stream = loop {
        match UnixStream::connect("/tmp/inner.sock").await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(Client::new(stream).call("ping", Value::Null).await.ok(), &json!({}));
    println!("the agent beside init answered");
}

/// A connection to a port of this machine itself.
fn vsock_connect(port: u32) -> std::os::fd::OwnedFd {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: makes a descriptor; touches no memory of ours.
    let socket = unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: it was made just now, and nobody else knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeroes is a valid address of this type.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = libc::VMADDR_CID_LOCAL;
    address.svm_port = port;
    let length = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
    // SAFETY: the address is a `sockaddr_vm` of that length, and lives through the call.
    let done = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    assert!(done == 0, "port {port}: {}", std::io::Error::last_os_error());
    socket
}
