//! One node from the host's root, by this crate alone: folder, monitor, namespaces, root, first process, and all of it
//! gone again. For each round a line: the whole, create, boot, until the first process' end is known, destroy, and an
//! exec in another node that runs all the while; milliseconds each.
//!
//! `one_node FOLDER [ROUNDS=50] [PROGRAM=/bin/true] [--host-ids]`, as root. `vnode-bench` runs it beside a bare clone3 +
//! namespaces + overlay + pivot_root + exec of the same root.

// An example prints, and stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use vnode_driver::container::{ContainerDriver, Options};
use vnode_driver::*;
use vnode_image::{Catalogue, HostOptions, NoProgress, PullPolicy, Reference};

/// A user namespace's first id outside, and how many it has.
const IDS: IdMap = IdMap { first: 1 << 20, size: 1 << 16 };

fn main() {
    let (flags, arguments): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let mut arguments = arguments.into_iter();
    let usage = "usage: one_node FOLDER [ROUNDS] [PROGRAM] [--host-ids]";
    let folder = PathBuf::from(arguments.next().expect(usage));
    let rounds: usize = arguments.next().map_or(50, |n| n.parse().expect(usage));
    let program = arguments.next().unwrap_or_else(|| "/bin/true".into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&folder, rounds, &program, flags.is_empty()));
}

async fn measure(folder: &Path, rounds: usize, program: &str, map_ids: bool) {
    let own = std::env::current_exe().unwrap();
    // Examples lie one folder deeper than programs.
    let monitor = own.parent().and_then(Path::parent).unwrap().join("vnode-monitor");
    let instance = format!("one-node-{}", std::process::id());
    let driver =
        ContainerDriver::open(Options { monitor_program: monitor, instance }).await.unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let options = vnode_image::Options {
        host: HostOptions { state_dirs: vec![folder.to_owned()], ..HostOptions::default() },
        ..vnode_image::Options::default()
    };
    let catalogue = Catalogue::open(&folder.join("images"), options).unwrap();
    let image = catalogue
        .ensure(&Reference::Host, PullPolicy::IfNotPresent, &NoProgress, Default::default())
        .await
        .unwrap();
    let map = map_ids && driver.capabilities().user_namespaces;
    let spec = node("n", vec![program.to_owned()], image.layers.clone(), map.then_some(IDS));
    let beside = node("beside", Vec::new(), image.layers.clone(), map.then_some(IDS));
    // Where the daemon has them: each node here is the only one of its lab, whose folder goes with it.
    let lab = folder.join("nodes/one");
    let dir = lab.join("n");
    let beside_dir = folder.join("nodes/two/beside");
    let running = driver.create(&beside, &beside_dir).await.unwrap();
    running.boot(&beside).await.unwrap();
    let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
    for _ in 0..rounds {
        let start = Instant::now();
        let node = driver.create(&spec, &dir).await.unwrap();
        let created = Instant::now();
        node.boot(&spec).await.unwrap();
        let booted = Instant::now();
        node.watch().wait_for(|s| s.phase == Phase::Stopped).await.unwrap();
        let ended = Instant::now();
        driver.destroy(&spec, &dir).await.unwrap();
        std::fs::remove_dir(&lab).unwrap();
        let gone = Instant::now();
        let request = ExecSpec { argv: vec![program.to_owned()], ..ExecSpec::default() };
        assert_eq!(running.exec(&request).await.unwrap().wait().await.unwrap().code, Some(0));
        let executed = Instant::now();
        println!(
            "{:.3} {:.3} {:.3} {:.3} {:.3} {:.3}",
            ms(start, gone),
            ms(start, created),
            ms(created, booted),
            ms(booted, ended),
            ms(ended, gone),
            ms(gone, executed)
        );
    }
    driver.destroy(&beside, &beside_dir).await.unwrap();
    drop(image);
    catalogue.release_host_masks(&HashSet::new).unwrap();
}

fn node(
    name: &str,
    argv: Vec<String>,
    layers: Vec<PathBuf>,
    user_namespace: Option<IdMap>,
) -> NodeSpec {
    NodeSpec {
        layers,
        process: Process { argv, env: vec!["PATH=/usr/bin:/bin".into()], ..Process::default() },
        security: Security {
            capabilities: ["CHOWN", "KILL", "NET_BIND_SERVICE", "NET_RAW", "SETUID", "SETGID"]
                .map(String::from)
                .to_vec(),
            user_namespace,
            no_new_privileges: false,
            ..Security::default()
        },
        stop_grace_ms: 1000,
        log_limit_bytes: 1 << 20,
        ..NodeSpec::bare("one", name, 1, "0")
    }
}
