//! Measures a node's life, create to first process to gone, and an exec in a running node.
//!
//! `floor ROOTFS [N=50] [PROGRAM=/bin/true]`, as root; ROOTFS holds PROGRAM. Compare with a bare clone3 +
//! namespaces + overlay + pivot_root + exec of the same root, measured in the same minute.

// An example prints, and stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Instant;

use vnode_driver::container::{ContainerDriver, Options};
use vnode_driver::*;

fn report(name: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    println!(
        "{name:<44} median {:7.2} ms  min {:7.2}  p95 {:7.2}",
        times[times.len() / 2],
        times[0],
        times[times.len() * 95 / 100]
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root =
        std::path::PathBuf::from(arguments.next().expect("usage: floor ROOTFS [N] [PROGRAM]"));
    let n: usize = arguments.next().map_or(50, |n| n.parse().unwrap());
    let program = arguments.next().unwrap_or_else(|| "/bin/true".into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let own = std::env::current_exe().unwrap();
        // Examples lie one folder deeper than programs.
        let beside = own.parent().and_then(|p| p.parent()).unwrap().join("vnode-monitor");
        let driver = ContainerDriver::open(Options {
            monitor_program: beside,
            instance: format!("floor-{}", std::process::id()),
        })
        .await
        .unwrap();
        let base = std::env::temp_dir().join(format!("vnode-floor-{}", std::process::id()));
        std::fs::create_dir(&base).unwrap();
        let mut spec = NodeSpec {
            lab: "floor".into(),
            node: "n".into(),
            vmid: 1,
            uuid: "0".into(),
            hostname: "n".into(),
            layers: vec![root],
            read_only_root: false,
            process: Process {
                argv: vec![program.clone()],
                env: vec!["PATH=/usr/bin:/bin".into()],
                cwd: "/".into(),
                user: String::new(),
                tty: false,
            },
            mounts: vec![],
            sysctls: BTreeMap::new(),
            devices: vec![],
            security: Security {
                privileged: false,
                capabilities: ["CHOWN", "KILL", "NET_BIND_SERVICE", "NET_RAW", "SETUID", "SETGID"]
                    .map(String::from)
                    .to_vec(),
                seccomp: Seccomp::Default,
                user_namespace: None,
                no_new_privileges: false,
            },
            limits: Limits::default(),
            network: NetworkMode::Own,
            stop_signal: 15,
            stop_grace_ms: 1000,
            log_limit_bytes: 1 << 20,
        };
        let (mut create, mut boot, mut end, mut destroy, mut all) =
            (vec![], vec![], vec![], vec![], vec![]);
        let dir = base.join("n");
        let since = |from: Instant| from.elapsed().as_secs_f64() * 1e3;
        for _ in 0..=n {
            let t0 = Instant::now();
            let node = driver.create(&spec, &dir).await.unwrap();
            let t1 = Instant::now();
            node.boot(&spec).await.unwrap();
            let t2 = Instant::now();
            node.watch().wait_for(|s| s.phase == Phase::Stopped).await.unwrap();
            let t3 = Instant::now();
            driver.destroy(&spec, &dir).await.unwrap();
            drop(node);
            create.push((t1 - t0).as_secs_f64() * 1e3);
            boot.push((t2 - t1).as_secs_f64() * 1e3);
            end.push((t3 - t2).as_secs_f64() * 1e3);
            destroy.push(since(t3));
            all.push(since(t0));
        }
        for (name, times) in [
            ("create", create),
            ("boot", boot),
            ("first process until its end is known", end),
            ("destroy", destroy),
            ("create to gone", all),
        ] {
            report(name, times[1..].to_vec());
        }
        spec.process.argv = vec![];
        let node = driver.create(&spec, &dir).await.unwrap();
        node.boot(&spec).await.unwrap();
        let mut exec = vec![];
        for _ in 0..=n {
            let t = Instant::now();
            let request = ExecSpec { argv: vec![program.clone()], ..ExecSpec::default() };
            assert_eq!(node.exec(&request).await.unwrap().wait().await.unwrap().code, Some(0));
            exec.push(since(t));
        }
        report("exec", exec[1..].to_vec());
        driver.destroy(&spec, &dir).await.unwrap();
        std::fs::remove_dir(&base).unwrap();
    });
}
