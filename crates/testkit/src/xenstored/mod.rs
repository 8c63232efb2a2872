//! A real XenStore daemon without Xen: Debian's C `xenstored`, unpacked, with a library before it that stands in
//! for the hypervisor. Every connection is domain 0's.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{eventually, find_program, tools};

const DAEMON: &str = "usr/lib/xen-4.17/bin/xenstored";
const STAND_IN: &str = include_str!("noxen.c");

/// A running daemon with a folder of its own. Dropping the value ends it.
#[derive(Debug)]
pub struct Xenstored {
    dir: tempfile::TempDir,
    child: Child,
}

impl Xenstored {
    /// Why no daemon can run here, or `None` when one can.
    pub fn missing() -> Option<String> {
        if find_program("gcc").is_none() {
            return Some("the program `gcc` is not installed".to_owned());
        }
        tools::path(DAEMON).err()
    }

    /// Compiles the stand-in and starts the daemon. Ask [`missing`](Self::missing) before.
    pub fn start() -> Xenstored {
        let dir = tempfile::Builder::new()
            .prefix("vnode-xenstored-")
            .tempdir()
            .expect("a temporary directory");
        for name in ["run", "fake", "root"] {
            std::fs::create_dir(dir.path().join(name)).expect("the directory is ours");
        }
        let write = |name: &str, content: &[u8]| {
            std::fs::write(dir.path().join(name), content).expect("the directory is ours");
        };
        write("noxen.c", STAND_IN.as_bytes());
        write("fake/xsd_port", b"1\n");
        write("fake/xsd_kva", &[0; 4096]);
        let out = Command::new("gcc")
            .args(["-O1", "-shared", "-fPIC", "-o", "noxen.so", "noxen.c", "-ldl"])
            .current_dir(dir.path())
            .output()
            .expect("gcc starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let child = spawn(dir.path());
        let mut daemon = Xenstored { dir, child };
        daemon.wait_until_it_answers();
        daemon
    }

    /// The daemon's run directory: what clients are given as `XENSTORED_RUNDIR`.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("socket")
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One of Xen's own clients: `xenstore-write`, ready to be given arguments.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(find_program(program).expect("xenstore-utils is installed"));
        command.env("XENSTORED_RUNDIR", self.run_dir());
        command
    }

    /// Standard output of one of Xen's clients; `None` when it fails.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let out = self.client(program).args(arguments).output().expect("the client starts");
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
    }

    /// Every message of the daemon so far, one a line.
    pub fn trace(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("trace.log")).unwrap_or_default()
    }

    /// Ends the daemon. What it stored is gone.
    pub fn stop(&mut self) {
        // It may have ended by itself, which is what is wanted.
        let _ = self.child.kill();
        self.child.wait().expect("a started child can be waited for");
        // The next one makes it anew.
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts it again at the same place.
    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(self.dir.path());
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        eventually("xenstored answers", Duration::from_secs(30), || {
            if let Some(status) = self.child.try_wait().expect("a started child can be asked") {
                let log = std::fs::read_to_string(self.dir.path().join("daemon.log"));
                panic!("xenstored ended with {status}: {}", log.unwrap_or_default());
            }
            std::os::unix::net::UnixStream::connect(self.socket()).ok().map(drop)
        });
    }
}

fn spawn(dir: &Path) -> Child {
    let log = std::fs::File::create(dir.join("daemon.log")).expect("the directory is ours");
    let mut command = tools::command(DAEMON).expect("asked before: Xenstored::missing");
    command
        .args(["-N", "--internal-db=on", "-T"])
        .arg(dir.join("trace.log"))
        .env("NOXEN_DIR", dir.join("fake"))
        .env("LD_PRELOAD", dir.join("noxen.so"))
        .env("XENSTORED_RUNDIR", dir.join("run"))
        .env("XENSTORED_ROOTDIR", dir.join("root"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor can be duplicated"))
        .stderr(log)
        .spawn()
        .expect("the daemon starts")
}

impl Drop for Xenstored {
    fn drop(&mut self) {
        self.stop();
    }
}
