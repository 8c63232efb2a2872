//! Nodes outlive the daemon, and nothing outlives their destruction.

// A test stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::{eventually, exec, exit_of, run};
use vnode_driver::*;

fn state(bed: &bed::Bed, node: &str) -> serde_json::Value {
    let text = std::fs::read(bed.path(node).join("state.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn kill(pid: u64) {
    // SAFETY: plain system call; the test's own monitor or node.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

fn alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|t| !t.contains(") Z "))
}

#[test]
fn t55_nodes_go_on_without_a_daemon_and_are_found_again() {
    run(|bed| async move {
        let running = bed.sh("running", "while true; do sleep 0.05; done");
        let ends = bed.sh("ends", "sleep 0.2; exit 6");
        let first = bed.boot(&running).await;
        let pid = first.pid().unwrap();
        let second = bed.boot(&ends).await;
        drop((first, second));
        bed.reopen().await;
        eventually("the end is recorded", || state(&bed, "ends")["last_exit"].is_object()).await;
        let driver = bed.driver();
        let found = driver.recover(&running, &bed.path("running")).await.unwrap();
        let Recovered::Live(node) = found else { panic!("{found:?}") };
        assert_eq!((node.status().phase, node.pid()), (Phase::Running, Some(pid)));
        assert_eq!(exec(&node, "echo adopted").await.1, "adopted\n");
        let found = driver.recover(&ends, &bed.path("ends")).await.unwrap();
        let Recovered::Live(ended) = found else { panic!("{found:?}") };
        assert_eq!(ended.status().last_exit.unwrap().code, Some(6));
        assert_eq!(ended.status().phase, Phase::Stopped);
        ended.boot(&ends).await.unwrap();
        assert_eq!(exit_of(&ended).await.code, Some(6));
        node.kill().await.unwrap();
    });
}

#[test]
fn no_signal_but_kill_ends_a_monitor() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let node = bed.boot(&spec).await;
        let monitor = state(&bed, "a")["monitor"]["pid"].as_u64().unwrap();
        for signal in [1, 2, 3, 10, 12, 15] {
            // SAFETY: plain system call; the test's own monitor.
            unsafe { libc::kill(monitor as i32, signal) };
        }
        assert_eq!(exec(&node, "echo there").await.1, "there\n");
    });
}

#[test]
fn a_killed_monitor_is_a_lost_node_that_can_be_destroyed() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let node = bed.boot(&spec).await;
        let pid = u64::from(node.pid().unwrap());
        kill(state(&bed, "a")["monitor"]["pid"].as_u64().unwrap());
        let mut watch = node.watch();
        watch.wait_for(|s| s.phase == Phase::Lost).await.unwrap();
        assert!(alive(pid));
        let found = bed.driver().recover(&spec, &bed.path("a")).await.unwrap();
        let Recovered::Gone { last_exit: Some(exit) } = found else { panic!("{found:?}") };
        assert_eq!(exit.ended, Ended::Unknown);
        bed.destroy(&spec).await;
        assert!(!alive(pid));
        assert!(!bed.path("a").exists());
    });
}

#[test]
fn t23_destroy_without_a_daemon_leaves_nothing_at_any_stage() {
    run(|bed| async move {
        for stage in ["folder", "created", "running", "paused", "ended", "mounted", "no-record"] {
            let spec = if stage == "ended" { bed.sh(stage, "true") } else { bed.spec(stage) };
            let dir = bed.path(stage);
            let mut pid = None;
            if stage == "folder" {
                std::fs::create_dir_all(dir.join("upper/x")).unwrap();
            } else {
                let node = bed.create(&spec).await;
                if stage != "created" && stage != "mounted" {
                    node.boot(&spec).await.unwrap();
                    pid = node.pid();
                }
                match stage {
                    "paused" => node.pause().await.unwrap(),
                    "ended" => drop(exit_of(&node).await),
                    "mounted" => drop(bed.driver().mount(&spec, &dir).await.unwrap()),
                    "no-record" => std::fs::remove_file(dir.join("state.json")).unwrap(),
                    _ => {}
                }
            }
            let monitor = (dir.join("state.json").exists())
                .then(|| state(&bed, stage)["monitor"]["pid"].as_u64().unwrap());
            bed.reopen().await;
            bed.destroy(&spec).await;
            assert!(!dir.exists(), "{stage}");
            for pid in pid.map(u64::from).into_iter().chain(monitor) {
                assert!(!alive(pid), "{stage}: process {pid}");
            }
            bed.destroy(&spec).await;
        }
    });
}

#[test]
fn destroy_names_what_is_left_and_can_be_repeated() {
    run(|bed| async move {
        // T-52: a folder that is a mount of somebody else's.
        let spec = bed.spec("a");
        bed.create(&spec).await;
        let busy = bed.path("a").join("upper/busy");
        std::fs::create_dir(&busy).unwrap();
        rustix::mount::mount(
            "none",
            &busy,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            None::<&std::ffi::CStr>,
        )
        .unwrap();
        let error = bed.driver().destroy(&spec, &bed.path("a")).await.unwrap_err();
        assert!(error.to_string().contains("left: folder"), "{error}");
        rustix::mount::unmount(&busy, rustix::mount::UnmountFlags::empty()).unwrap();
        bed.destroy(&spec).await;
    });
}

#[test]
fn a_node_may_share_the_network_of_another() {
    run(|bed| async move {
        let first = bed.spec("first");
        let mut second = bed.spec("second");
        second.network = NetworkMode::Node("first".into());
        let error = bed.driver().create(&second, &bed.path("second")).await.unwrap_err();
        assert!(error.to_string().contains("`first`"), "{error}");
        assert!(!bed.path("second").exists());
        let (first, second) = (bed.boot(&first).await, bed.boot(&second).await);
        let namespace = "readlink /proc/self/ns/net";
        assert_eq!(exec(&first, namespace).await.1, exec(&second, namespace).await.1);
        first.kill().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(exec(&second, "true").await.0, 0);
    });
}
