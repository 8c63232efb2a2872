//! The end of a node whose processes are among others': they do not end with the first one by themselves.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::{pidfd_open, signal};

/// Rounds, and the pause after each: a killed process is gone within a second, unless the kernel is stuck.
const ROUNDS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);
/// Groups the node may have made below its own; more are looked at in the next round.
const GROUPS: usize = 4096;

/// Kills every process of a control group and of those below it, and waits until they are gone. What is left after a
/// second is left to the group's own end.
pub(crate) fn sweep(group: &str) {
    let group = Path::new(group);
    for _ in 0..ROUNDS {
        if !any(group) {
            return;
        }
        // Frozen they cannot fork, so none escapes; on v1 they die as they thaw.
        freeze(group, true);
        let mut groups = GROUPS;
        kill(group, &mut groups);
        freeze(group, false);
        std::thread::sleep(PAUSE);
    }
}

fn members(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process that this one cannot name.
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect()
}

fn below(group: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path())
}

fn any(group: &Path) -> bool {
    // v2 tells of all that is below at once.
    match fs::read_to_string(group.join("cgroup.events")) {
        Ok(text) => text.lines().any(|line| line == "populated 1"),
        Err(_) => !members(group).is_empty() || below(group).any(|group| any(&group)),
    }
}

fn freeze(group: &Path, freeze: bool) {
    let v1 = if freeze { "FROZEN" } else { "THAWED" };
    let v2 = if freeze { "1" } else { "0" };
    for (file, text) in [("cgroup.freeze", v2), ("freezer.state", v1)] {
        // One of the two is there. Without either the rounds alone must do.
        if let Ok(mut file) = fs::OpenOptions::new().write(true).open(group.join(file)) {
            let _ = file.write_all(text.as_bytes());
        }
    }
}

fn kill(group: &Path, groups: &mut usize) {
    if *groups == 0 {
        return;
    }
    *groups -= 1;
    let held: Vec<_> =
        members(group).into_iter().filter_map(|pid| Some((pid, pidfd_open(pid).ok()?))).collect();
    // Still there after its descriptor was opened, so that is the descriptor of a member.
    let still = members(group);
    for (_, process) in held.iter().filter(|(pid, _)| still.contains(pid)) {
        // It may have ended by itself.
        let _ = signal(process, libc::SIGKILL);
    }
    for group in below(group) {
        kill(&group, groups);
    }
}
