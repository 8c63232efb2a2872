//! Why a machine ended. QEMU's exit status says little: a guest that powers off and one that reboots both end it with 0.
//! So QEMU traces its shutdown requests to a file in the node's folder, which is read when it has ended, by whichever
//! daemon is there then. With `-no-reboot` a reset ends the machine without such a request.

use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use vnode_driver::{Ended, Exit};

use crate::shell::FOLDER;

pub(crate) const TRACE: &str = "qemu.trace";
/// What is traced.
pub(crate) const EVENT: &str = "qemu_system_shutdown_request";
/// `SHUTDOWN_CAUSE_GUEST_SHUTDOWN` and `SHUTDOWN_CAUSE_GUEST_PANIC` of QEMU's `qapi/run-state.json`, by their numbers.
const GUEST_SHUTDOWN: u32 = 6;
const GUEST_PANIC: u32 = 8;

/// The end of QEMU as the end of the machine.
pub(crate) fn classify(dir: &Path, exit: Exit) -> Exit {
    if exit.ended != Ended::Exited || exit.code != Some(0) {
        return exit;
    }
    let mut text = String::new();
    let read =
        open(&dir.join(FOLDER)).and_then(|file| file.take(64 * 1024).read_to_string(&mut text));
    if read.is_err() {
        // Whatever it was, nobody can tell any more.
        return Exit { ended: Ended::Unknown, code: None, ..exit };
    }
    match reason(&text) {
        None => Exit { ended: Ended::Reboot, code: None, ..exit },
        Some(GUEST_SHUTDOWN) => Exit { ended: Ended::Poweroff, code: None, ..exit },
        Some(GUEST_PANIC) => Exit { ended: Ended::Exited, code: Some(1), ..exit },
        // Asked by us.
        Some(_) => exit,
    }
}

/// The folder is QEMU's to write: a link or a pipe in the trace's place is none.
fn open(folder: &Path) -> std::io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(folder.join(TRACE), flags, Mode::empty())?;
    Ok(file.into())
}

/// The last request for the machine's end; `None`: there was none.
fn reason(trace: &str) -> Option<u32> {
    let asked = trace.lines().rev().find_map(|line| line.split_once(EVENT))?;
    let number: String = asked.1.chars().filter(char::is_ascii_digit).collect();
    Some(number.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_read_from_the_trace() {
        assert_eq!(reason(""), None);
        assert_eq!(reason("qemu_system_shutdown_request reason=6\n"), Some(6));
        assert_eq!(reason("12@3.4:qemu_system_shutdown_request reason=2\nx\n"), Some(2));
    }

    #[test]
    fn the_end_of_the_machine_is_told_from_that_of_qemu() {
        let dir = tempfile::tempdir().unwrap();
        let vm = dir.path().join(FOLDER);
        std::fs::create_dir(&vm).unwrap();
        let exit = |code| Exit {
            ended: Ended::Exited,
            code: Some(code),
            signal: None,
            at_unix_ms: 1,
            oom_killed: false,
        };
        assert_eq!(classify(dir.path(), exit(0)).ended, Ended::Unknown);
        std::fs::write(vm.join(TRACE), "").unwrap();
        assert_eq!(classify(dir.path(), exit(0)).ended, Ended::Reboot);
        assert_eq!(classify(dir.path(), exit(1)), exit(1));
        std::fs::write(vm.join(TRACE), "qemu_system_shutdown_request reason=6").unwrap();
        assert_eq!(classify(dir.path(), exit(0)).ended, Ended::Poweroff);
        std::fs::write(vm.join(TRACE), "qemu_system_shutdown_request reason=2").unwrap();
        assert_eq!(classify(dir.path(), exit(0)), exit(0));
    }
}
