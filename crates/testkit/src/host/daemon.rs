//! A daemon started by hand.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::Host;
use crate::{built_program, eventually};

/// A `vnode daemon` in the foreground. Dropping the value kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    pub(super) fn start(host: &Host, environment: &[(&str, &str)]) -> Daemon {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(host.dir().join("daemon.log"))
            .expect("the host's directory is writable");
        // On a pure v2 tree only a group without other processes can hand controllers down: give the daemon one
        // of its own, as a service manager does.
        let group = "if [ -e /sys/fs/cgroup/cgroup.controllers ]; then g=/sys/fs/cgroup/daemon-$$; \
                     mkdir \"$g\" && echo $$ >\"$g/cgroup.procs\"; fi; exec \"$@\"";
        let child = host
            .command("sh")
            .args(["-c", group, "sh"])
            .arg(built_program("vnode"))
            .arg("daemon")
            .env("VNODE_STATE_DIR", host.state_dir())
            .envs(environment.iter().copied())
            .stdout(log.try_clone().expect("a descriptor can be duplicated"))
            .stderr(log)
            .spawn()
            .expect("sh starts");
        let mut daemon = Daemon { child };
        eventually("the daemon answers or has ended", Duration::from_secs(60), || {
            if daemon.has_ended() {
                return Some(());
            }
            (host
                .vnode_command(&["daemon", "status"])
                .output()
                .expect("sh starts")
                .status
                .success())
            .then_some(())
        });
        daemon
    }

    /// Whether the daemon has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a started child can be asked").is_some()
    }

    /// Waits until the daemon has ended.
    pub fn wait(&mut self, timeout: Duration) {
        eventually("the daemon has ended", timeout, || self.has_ended().then_some(()));
    }

    /// Lets the daemon run on by itself.
    pub fn leave(mut self) {
        self.child =
            std::process::Command::new("true").stdout(Stdio::null()).spawn().expect("true starts");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The child is nsenter; the daemon itself ends with the host, or by `kill9_daemon`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
