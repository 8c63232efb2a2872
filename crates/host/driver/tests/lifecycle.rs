//! Life of a container node, with real ones.

// A test stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::{exec, exit_of, run};
use vnode_driver::*;

#[test]
fn t22_a_created_node_is_stopped_boots_and_ends_without_a_trace() {
    run(|bed| async move {
        let spec = bed.sh("a", "exit 7");
        let node = bed.create(&spec).await;
        assert_eq!(node.status().phase, Phase::Stopped);
        node.netns().unwrap();
        node.boot(&spec).await.unwrap();
        let exit = exit_of(&node).await;
        assert_eq!((exit.ended, exit.code), (Ended::Exited, Some(7)));
        assert_eq!(node.status().boots, 1);
        bed.destroy(&spec).await;
        assert!(!bed.path("a").exists());
        // T-51: twice is once.
        bed.destroy(&spec).await;
    });
}

#[test]
fn t44_exec_gives_status_streams_and_environment() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let node = bed.boot(&spec).await;
        let (code, out, err) = exec(&node, "echo out; echo err >&2; hostname; exit 3").await;
        assert_eq!((code, out.as_str(), err.as_str()), (3, "out\na\n", "err\n"));
        let (code, out, _) = exec(&node, "kill -9 $$").await;
        assert_eq!((code, out.as_str()), (137, ""));
        node.halt(Duration::from_millis(100)).await.unwrap();
        let error = node.exec(&ExecSpec { argv: vec!["true".into()], ..Default::default() }).await;
        assert!(matches!(error, Err(Error::NotRunning { .. })), "{error:?}");
    });
}

#[test]
fn t44_exec_passes_stdin_and_kills_what_is_abandoned() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    run(|bed| async move {
        let spec = bed.spec("a");
        let node = bed.boot(&spec).await;
        let cat = ExecSpec { argv: vec!["cat".into()], ..Default::default() };
        let mut exec = node.exec(&cat).await.unwrap();
        let mut stdin = exec.stdin.take().unwrap();
        stdin.write_all(b"through").await.unwrap();
        drop(stdin);
        let mut out = String::new();
        exec.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "through");
        assert_eq!(exec.wait().await.unwrap().code, Some(0));
        assert_eq!(exec.wait().await.unwrap().code, Some(0));

        // A background process in the program's session goes with it.
        let argv = ["sh", "-c", "sleep 777 & sleep 778"].map(String::from).to_vec();
        let abandoned = node.exec(&ExecSpec { argv, ..Default::default() }).await.unwrap();
        let pids = || node.stats().unwrap().pids.unwrap();
        bed::eventually("both sleep", || pids() >= 3).await;
        drop(abandoned);
        bed::eventually("both are gone", || pids() == 1).await;
    });
}

#[test]
fn exec_of_what_is_not_there_names_it_and_the_path() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let node = bed.boot(&spec).await;
        let argv = vec!["no-such-program".into()];
        let error = node.exec(&ExecSpec { argv, ..Default::default() }).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`no-such-program`: not found in the node's PATH (/bin)"), "{text}");
        let user = ExecSpec {
            argv: vec!["true".into()],
            user: Some("ghost".into()),
            ..Default::default()
        };
        let text = node.exec(&user).await.unwrap_err().to_string();
        assert!(text.contains("`ghost`"), "{text}");
    });
}

#[test]
fn boot_of_what_is_not_there_is_an_error_and_the_node_can_be_booted_again() {
    run(|bed| async move {
        let mut spec = bed.spec("a");
        let good = spec.clone();
        spec.process.argv = vec!["/sbin/nothing".into()];
        let node = bed.create(&spec).await;
        let error = node.boot(&spec).await.unwrap_err();
        assert!(matches!(error, Error::Boot { .. }), "{error}");
        assert!(error.to_string().contains("/sbin/nothing"), "{error}");
        assert_eq!(node.status().phase, Phase::Stopped);
        node.boot(&good).await.unwrap();
        assert_eq!(node.status().phase, Phase::Running);
        // T-42 is the caller's; here a second boot is refused, not ignored.
        assert!(matches!(node.boot(&good).await, Err(Error::Running { .. })));
    });
}

#[test]
fn users_groups_and_folders_are_the_nodes_own() {
    run(|bed| async move {
        let mut spec = bed.spec("a");
        spec.process.user = "app".into();
        spec.process.cwd = "/srv/made".into();
        let node = bed.boot(&spec).await;
        let (_, out, err) =
            bed::exec_as(&node, "id; pwd; echo $HOME; grep CapEff /proc/self/status", |s| {
                s.user = None;
            })
            .await;
        assert!(out.contains("uid=1000(app) gid=1001(app) groups=1002(more)"), "{out} {err}");
        assert!(out.contains("\n/srv/made\n/tmp\n"), "{out}");
        assert!(out.contains("0000000000000000"), "{out}");
        let (_, out, _) = bed::exec_as(&node, "id -u", |s| s.user = Some("0".into())).await;
        assert_eq!(out, "0\n");
    });
}

#[test]
fn a_user_of_a_node_in_a_user_namespace_has_its_streams() {
    run(|bed| async move {
        if !bed.driver().capabilities().user_namespaces {
            return println!("skipped: no user namespaces over mapped layers");
        }
        let mut spec = bed.sh("a", "echo out >/dev/stdout; echo err >&2; sleep 1000");
        spec.process.user = "app".into();
        spec.security.user_namespace = Some(IdMap { first: 100_000, size: 65_536 });
        let node = bed.boot(&spec).await;
        let log = node.logs().current;
        bed::eventually("what it prints is kept", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.contains("out") && text.contains("err")
        })
        .await;
        let (code, out, err) =
            bed::exec_as(&node, "id -u; echo more >/dev/stdout", |s| s.user = Some("app".into()))
                .await;
        assert_eq!((code, out.as_str()), (0, "1000\nmore\n"), "{err}");
        // What is mounted among the host's mounts for it is nobody's peer, and its own group is the root of what it sees.
        let (_, mounts, _) = bed::exec_as(&node, "cat /proc/1/mountinfo", |s| s.user = None).await;
        assert!(!mounts.is_empty() && !mounts.contains("shared:"), "{mounts}");
    });
}

#[test]
fn a_nodes_own_control_group_is_the_root_of_what_it_sees() {
    run(|bed| async move {
        let node = bed.boot(&bed.spec("a")).await;
        let (_, groups, _) = bed::exec(&node, "cat /proc/1/cgroup").await;
        let its_root = |line: &&str| line.ends_with(":/");
        let foreign: Vec<&str> = groups.lines().filter(|line| !its_root(line)).collect();
        assert_eq!(foreign, Vec::<&str>::new(), "{groups}");
    });
}

#[test]
fn t46_a_first_process_that_ignores_the_request_is_killed_after_the_grace() {
    run(|bed| async move {
        let spec = bed.sh("a", "trap '' TERM; while true; do sleep 1; done");
        let node = bed.boot(&spec).await;
        let exit = node.halt(Duration::from_millis(200)).await.unwrap();
        assert_eq!((exit.ended, exit.signal), (Ended::Killed, Some(9)));
        // Again: the same answer.
        assert_eq!(node.halt(Duration::from_millis(200)).await.unwrap(), exit);
        let polite = bed.sh("b", "trap 'exit 5' TERM; echo ready; while true; do sleep 0.05; done");
        let node = bed.boot(&polite).await;
        let log = node.logs().current;
        bed::eventually("ready", || std::fs::read(&log).is_ok_and(|t| t == b"ready\n")).await;
        let exit = node.halt(Duration::from_secs(15)).await.unwrap();
        assert_eq!((exit.ended, exit.code), (Ended::Exited, Some(5)));
    });
}

#[test]
fn t45_what_was_written_is_there_after_halt_and_boot_and_the_namespace_is_the_same() {
    run(|bed| async move {
        use std::os::unix::fs::MetadataExt;
        let spec = bed.spec("a");
        let node = bed.boot(&spec).await;
        let inode = |fd| std::fs::File::from(fd).metadata().unwrap().ino();
        let before = inode(node.netns().unwrap());
        exec(&node, "echo kept > /root/file").await;
        node.halt(Duration::ZERO).await.unwrap();
        assert_eq!(inode(node.netns().unwrap()), before);
        node.boot(&spec).await.unwrap();
        assert_eq!(exec(&node, "cat /root/file; readlink /proc/self/ns/net").await.1, {
            format!("kept\nnet:[{before}]\n")
        });
        assert_eq!(node.status().boots, 2);
    });
}

#[test]
fn t47_t49_reboot_and_poweroff_inside_are_told_apart() {
    run(|bed| async move {
        for (call, ended) in [("reboot", Ended::Reboot), ("poweroff", Ended::Poweroff)] {
            let mut spec = bed.sh(call, &format!("{call} -f"));
            spec.security.capabilities.push("SYS_BOOT".into());
            let node = bed.boot(&spec).await;
            assert_eq!(exit_of(&node).await.ended, ended);
        }
        // Without the capability nothing happens.
        let spec = bed.sh("c", "reboot -f; exit 4");
        let node = bed.boot(&spec).await;
        assert_eq!(exit_of(&node).await.code, Some(4));
    });
}

#[test]
fn the_built_in_first_process_reaps_and_ends_when_asked() {
    run(|bed| async move {
        let mut spec = bed.spec("a");
        spec.process.argv = vec![];
        let node = bed.boot(&spec).await;
        // An orphan that ends is reaped.
        let (code, out, err) = exec(&node, "(sleep 0.05 &) ; sleep 0.3; for i in $(seq 200); do ps -o stat | grep Z || exit 0; sleep 0.1; done; exit 1").await;
        assert_eq!(code, 0, "{out}{err}");
        let (_, out, _) = exec(&node, "ls -l /proc/1/fd | wc -l").await;
        // Three streams and a heading.
        assert_eq!(out.trim(), "4");
        let exit = node.halt(Duration::from_secs(15)).await.unwrap();
        assert_eq!((exit.ended, exit.code), (Ended::Exited, Some(0)));
    });
}

#[test]
fn a_paused_node_stands_still_and_is_resumed_by_halt() {
    run(|bed| async move {
        let spec = bed.sh("a", "while true; do echo x; sleep 0.01; done");
        let node = bed.boot(&spec).await;
        let log = node.logs().current;
        let size = || std::fs::metadata(&log).map_or(0, |m| m.len());
        bed::eventually("it prints", || size() > 4).await;
        node.pause().await.unwrap();
        assert_eq!(node.status().phase, Phase::Paused);
        // What was printed before may still be on its way into the log. A tenth of a second would have been ten lines.
        bed::eventually("it stands still", || {
            let before = size();
            std::thread::sleep(Duration::from_millis(100));
            size() == before
        })
        .await;
        let before = size();
        node.resume().await.unwrap();
        bed::eventually("it prints again", || size() > before).await;
        node.pause().await.unwrap();
        node.halt(Duration::ZERO).await.unwrap();
    });
}

#[test]
fn t38_the_root_of_a_stopped_node_is_mounted_once_and_written_to() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let dir = bed.path("a");
        let node = bed.create(&spec).await;
        let driver = bed.driver();
        let root = driver.mount(&spec, &dir).await.unwrap();
        assert_eq!(driver.mount(&spec, &dir).await.unwrap(), root);
        std::fs::write(root.join("etc/put"), "in").unwrap();
        assert!(matches!(node.boot(&spec).await, Err(Error::Mounted { .. })));
        driver.unmount(&spec, &dir).await.unwrap();
        driver.unmount(&spec, &dir).await.unwrap();
        node.boot(&spec).await.unwrap();
        assert_eq!(exec(&node, "cat /etc/put").await.1, "in");
        assert!(matches!(driver.mount(&spec, &dir).await, Err(Error::Running { .. })));
        // T-39: destroyed while mounted.
        node.halt(Duration::ZERO).await.unwrap();
        driver.mount(&spec, &dir).await.unwrap();
        bed.destroy(&spec).await;
        assert!(!std::fs::read_to_string("/proc/self/mounts").unwrap().contains("vnode-driver-"));
    });
}

#[test]
fn limits_are_set_read_back_changed_live_and_felt() {
    run(|bed| async move {
        let mut spec = bed.spec("a");
        spec.limits = Limits {
            memory_bytes: Some(64 << 20),
            cpus: Some(0.5),
            cpu_set: Some("0".into()),
            pids: Some(20),
            shm_bytes: Some(1 << 20),
            ..Limits::default()
        };
        let missing: Vec<&str> = ["memory", "cpu", "cpuset", "pids"]
            .into_iter()
            .filter(|l| !bed.driver().capabilities().limits.iter().any(|have| have == l))
            .collect();
        if !missing.is_empty() {
            println!("skipped: no controller for {missing:?} here");
            return;
        }
        let node = bed.boot(&spec).await;
        assert_eq!(node.limits().unwrap(), spec.limits);
        let (_, out, _) = exec(
            &node,
            "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done 2>/dev/null; echo survived; kill %1",
        )
        .await;
        assert!(!out.contains("survived") || node.stats().unwrap().pids.unwrap() <= 20, "{out}");
        let (_, out, _) = exec(&node, "stat -f -c '%S %b' /dev/shm").await;
        assert_eq!(out, "4096 256\n");
        let more = Limits { memory_bytes: None, pids: Some(30), ..Limits::default() };
        node.set_limits(&more).await.unwrap();
        let now = node.limits().unwrap();
        assert_eq!((now.memory_bytes, now.cpus, now.pids), (None, None, Some(30)));
        assert!(node.stats().unwrap().cpu_usec.unwrap() > 0);

        // A node without limits gets them while it runs.
        let plain = bed.spec("b");
        let node = bed.boot(&plain).await;
        assert_eq!(node.limits().unwrap(), Limits::default());
        node.set_limits(&Limits { memory_bytes: Some(32 << 20), ..Limits::default() })
            .await
            .unwrap();
        assert_eq!(node.limits().unwrap().memory_bytes, Some(32 << 20));
        assert!(node.stats().unwrap().memory_bytes.is_some());
    });
}

#[test]
fn a_kill_for_want_of_memory_is_named_in_the_exit() {
    run(|bed| async move {
        let mut spec = bed.sh("a", "exec dd if=/dev/zero of=/dev/null bs=128M count=1");
        spec.limits.memory_bytes = Some(16 << 20);
        if !bed.driver().capabilities().limits.contains(&"memory".to_owned()) {
            println!("skipped: no memory controller here");
            return;
        }
        let node = bed.boot(&spec).await;
        let exit = exit_of(&node).await;
        assert!(exit.oom_killed, "{exit:?}");
        assert_eq!(exit.signal, Some(9));
    });
}
