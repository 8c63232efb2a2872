//! What nodes cost, and that nothing of them stays. One test at a time: they count what the process holds.

// A test stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

mod bed;

use std::sync::Mutex;

use bed::{exit_of, run};

static ALONE: Mutex<()> = Mutex::new(());

/// What could be left behind by nodes.
fn counts(instance: &str) -> (usize, usize, usize, usize) {
    let lines = |path: &str| std::fs::read_to_string(path).unwrap().lines().count();
    let mut groups = 0;
    let mut look = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = look.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                groups += usize::from(entry.file_name().to_string_lossy().contains(instance));
                look.push(entry.path());
            }
        }
    }
    let children = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|e| {
            std::fs::read_to_string(e.path().join("comm")).is_ok_and(|c| c.starts_with("vnode:cyc"))
        })
        .count();
    (
        lines("/proc/self/mountinfo"),
        std::fs::read_dir("/proc/self/fd").unwrap().count(),
        groups,
        children,
    )
}

#[test]
fn cycles_leave_every_count_where_it_was() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    run(|bed| async move {
        let mut spec = bed.sh("cyc", "true");
        spec.limits.memory_bytes = Some(64 << 20);
        let before = {
            let node = bed.boot(&spec).await;
            exit_of(&node).await;
            drop(node);
            bed.destroy(&spec).await;
            // The first node's monitor is not yet reaped: that moment is no measure.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while counts(&bed.instance).3 != 0 && std::time::Instant::now() < deadline {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            counts(&bed.instance)
        };
        for _ in 0..200 {
            let node = bed.boot(&spec).await;
            exit_of(&node).await;
            drop(node);
            bed.destroy(&spec).await;
        }
        // An ended monitor is reaped by its parent a moment after it has ended, and an overlay let go of: the first one
        // perhaps after it was counted.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let more = |now: (usize, usize, usize, usize)| {
            now.0 > before.0 || now.1 > before.1 || now.2 > before.2 || now.3 > before.3
        };
        while more(counts(&bed.instance)) {
            let now = counts(&bed.instance);
            assert!(std::time::Instant::now() < deadline, "{before:?} has become {now:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_node_costs_the_daemon_few_descriptors_and_its_monitor_little_memory() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    run(|bed| async move {
        let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = fds();
        let mut nodes = Vec::new();
        for index in 0..10 {
            let spec = bed.spec(&format!("n{index}"));
            nodes.push(bed.boot(&spec).await);
        }
        let each = (fds() - before) as f64 / 10.0;
        assert!(each <= 6.0, "{each} descriptors a node");
        let text = std::fs::read(bed.path("n3").join("state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let monitor = state["monitor"]["pid"].as_u64().unwrap();
        let rollup = std::fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap();
        let private: u64 = rollup
            .lines()
            .filter(|l| l.starts_with("Private_"))
            .map(|l| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
            .sum();
        println!("monitor: {private} KiB private; daemon: {each} descriptors a node");
        assert!(private <= 1024, "{rollup}");
    });
}
