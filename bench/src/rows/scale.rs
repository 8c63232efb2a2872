//! A thousand nodes: cost of each, memory, listing, idling, adoption, and how soon an exit is known.

use std::time::{Duration, Instant};

use vnode_testkit::{Host, Process, eventually};

use super::star;
use crate::api::{Api, socket};
use crate::program::Shell;
use crate::table::{Limit, Table, median};

const FEW: usize = 100;
const MANY: usize = 1000;
/// After so long without a request the daemon has let go of what the work needed (`vnode_idle::settle`).
const IDLE: Duration = Duration::from_secs(12);
const LONG: Duration = Duration::from_secs(120);

fn daemon(host: &Host) -> Process {
    host.daemon_process().expect("the daemon runs")
}

pub(crate) fn measure(table: &mut Table) {
    let host = Host::new();
    host.vnode(&["ps"]).ok();
    std::thread::sleep(IDLE);
    let empty = daemon(&host).memory_kib("VmRSS");
    table.figure(
        "daemon, empty: resident",
        empty as f64 / 1024.0,
        "MiB",
        20.0,
        "12 s after it was last asked",
    );

    let few = host.write("few.clab.yml", &star("few", FEW)).display().to_string();
    let many = host.write("many.clab.yml", &star("many", MANY)).display().to_string();
    let mut shell = Shell::start(&host, "true");
    let mut of_few = Vec::new();
    for round in 0..=3 {
        let time = shell.vnode(&format!("up {few} --quiet"));
        // The first warms.
        if round > 0 {
            of_few.push(time / FEW as f64);
        }
        shell.vnode(&format!("down {few} --quiet"));
    }
    eprintln!("  {MANY} nodes");
    let of_many = vec![shell.vnode(&format!("up {many} --quiet")) / MANY as f64];
    table.ratio("a node of 1,000: up", &of_many, "a node of 100", &of_few, Limit::AtMost(2.0));

    eprintln!("  memory");
    std::thread::sleep(IDLE);
    let grown = daemon(&host).memory_kib("VmRSS").saturating_sub(empty);
    table.figure(
        "daemon, for each idle node: resident",
        grown as f64 / MANY as f64,
        "KiB",
        64.0,
        "at 1,000 nodes, 12 s after it was last asked",
    );
    let monitors: Vec<Process> = host.processes().into_iter().filter(Process::is_monitor).collect();
    let private: Vec<f64> = monitors
        .iter()
        .take(50)
        .map(|p| (p.memory_kib("Private_Dirty") + p.memory_kib("Private_Clean")) as f64 / 1024.0)
        .collect();
    table.figure("a node's monitor: private", median(&private), "MiB", 1.0, "median of 50");

    eprintln!("  listing, idling");
    shell.vnode("ps");
    let listing: Vec<f64> = (0..10).map(|_| shell.vnode("ps")).collect();
    table.figure("`vnode ps` of 1,000 nodes", median(&listing), "ms", 100.0, "median of 10");

    let busy = idle_share(&daemon(&host));
    table.figure("idle daemon with 1,000 nodes", busy * 100.0, "% of a core", 0.5, "over 20 s");

    eprintln!("  exits");
    exits(&host, table);
    eprintln!("  adoption");
    adoption(&host, table);
    eprintln!("  down");
    let down = shell.vnode(&format!("down {many} --quiet")) / MANY as f64;
    table.ratio("a node of 1,000: down", &[down], "its up", &of_many, Limit::AtMost(1.0));
}

/// Share of one processor that a process uses while nothing is asked of it.
fn idle_share(process: &Process) -> f64 {
    let ticks = || {
        let stat = std::fs::read_to_string(process.proc("stat")).unwrap_or_default();
        let fields: Vec<f64> = stat
            .rsplit_once(')')
            .map_or("", |(_, r)| r)
            .split_whitespace()
            .filter_map(|f| f.parse().ok())
            .collect();
        // After the state come ppid, pgrp, ...: user and system time are the 11th and 12th numbers.
        fields.get(10).copied().unwrap_or(0.0) + fields.get(11).copied().unwrap_or(0.0)
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(20));
    // 100 ticks a second, on every Linux of this kind.
    (ticks() - before) / 100.0 / 20.0
}

/// From a node's death to the event that tells it.
fn exits(host: &Host, table: &mut Table) {
    let nodes = host.vnode(&["ps", "--json"]).ok().json();
    let socket = socket(&host.state_dir());
    let mut times = Vec::new();
    let victims: Vec<(String, u64)> = nodes
        .as_array()
        .into_iter()
        .flatten()
        .take(20)
        .filter_map(|n| Some((n["node"].as_str()?.to_owned(), n["pid"].as_u64()?)))
        .collect();
    let processes = host.processes();
    for (name, pid) in victims {
        let (ready, waiting) = std::sync::mpsc::channel();
        let socket = socket.clone();
        let subject = name.clone();
        let watcher = std::thread::spawn(move || {
            let mut api = Api::connect(&socket);
            ready.send(()).expect("the main thread waits");
            api.events("/v1/events?follow=true&after=0", |event| {
                event.contains(&subject)
                    && (event.contains("exited")
                        || event.contains("stopped")
                        || event.contains("failed"))
            });
            Instant::now()
        });
        waiting.recv().expect("the watcher is ready");
        std::thread::sleep(Duration::from_millis(50)); // its request has arrived
        let process =
            processes.iter().find(|p| u64::from(p.inner) == pid).expect("the node's first process");
        let start = Instant::now();
        process.kill();
        let seen = watcher.join().expect("the watcher ends");
        times.push(seen.duration_since(start).as_secs_f64() * 1e3);
    }
    table.figure(
        "exit of a node known (event received)",
        median(&times),
        "ms",
        10.0,
        "median of 20",
    );
}

/// From the start of a daemon to its answer that all nodes run.
fn adoption(host: &Host, table: &mut Table) {
    let running = || {
        let answer = host.vnode(&["ps", "--json"]).ok().json();
        answer.as_array().map_or(0, |l| l.iter().filter(|n| n["state"] == "running").count())
    };
    let before = running();
    host.kill9_daemon();
    let start = Instant::now();
    let after = eventually("the next daemon answers", LONG, || {
        let output = host.vnode(&["ps", "--names"]);
        (output.code == 0).then_some(output.stdout.lines().count())
    });
    let time = start.elapsed().as_secs_f64();
    let adopted = running();
    table.figure(
        "adoption of 1,000 nodes",
        time,
        "s",
        2.0,
        &format!("{after} nodes listed, {adopted} of {before} running adopted"),
    );
}
