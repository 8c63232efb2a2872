//! What watching costs and sees where very much is started, and where very many functions are idle (PW-32, PW-37).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vnode_testkit::Host;

use super::{IDLE, Service, lives};
use crate::program::{busy, floor};
use crate::table::Table;

/// Programs that become others, and how often a second each.
const STORMS: u64 = 4;
const RATE: u64 = 1000;
const SECONDS: u64 = 10;
/// How long the function's process lives each time.
const LIFE: Duration = Duration::from_millis(50);
const FUNCTIONS: usize = 100;

/// 4,000 programs a second for ten seconds, and a function whose process comes and goes meanwhile.
pub(super) fn storm(table: &mut Table, host: &Host, program: &Path, package: &str, target: &Path) {
    let dir = host.dir();
    let storm = floor(host, "storm");
    let service = Service::start(program, dir.join("storm-state"), &[]);
    assert!(service.vnf(&["push", package, "--instantiate"]), "the package is taken");
    let words = [RATE.to_string(), SECONDS.to_string()];
    let storms: Vec<_> = (0..STORMS)
        .map(|_| {
            Command::new(&storm).args(&words).stdout(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    let (before, begun) = (busy(service.child.id()), Instant::now());
    let (mut seen, mut of) = (0, 0);
    while begun.elapsed() < Duration::from_secs(SECONDS) {
        let (now, all) = lives(dir, &service, target, LIFE, 10);
        (seen, of) = (seen + now, of + all);
    }
    let share = (busy(service.child.id()) - before) / begun.elapsed().as_secs_f64() * 100.0;
    let counts = storms.into_iter().map(|storm| {
        let out = storm.wait_with_output().expect("it ends").stdout;
        String::from_utf8_lossy(&out).trim().parse::<f64>().unwrap_or(0.0)
    });
    let rate = counts.sum::<f64>() / SECONDS as f64;
    let name = format!("vnf: beside {rate:.0} programs started a second");
    table.figure(&format!("{name}: processor"), share, "% of a core", 10.0, "-");
    table.row(
        &format!("{name}: lives of {} ms that had their START and TERMINATE", LIFE.as_millis()),
        &format!("{seen} of {of}"),
        "-",
        "all",
        Some(seen >= of),
        serde_json::json!({ "seen": seen, "of": of, "rate": rate }),
    );
}

/// A hundred functions whose processes are not there, and a thousand other processes.
pub(super) fn many(table: &mut Table, dir: &Path, program: &Path, package: &str) {
    let service = Service::start(program, dir.join("many-state"), &[]);
    assert!(service.vnf(&["push", package]), "the package is taken");
    for number in 0..FUNCTIONS {
        let name = format!("f{number}");
        assert!(service.vnf(&["instantiate", "bench", "--name", &name]), "it is instantiated");
    }
    std::thread::sleep(Duration::from_secs(5));
    let before = busy(service.child.id());
    std::thread::sleep(IDLE);
    let share = (busy(service.child.id()) - before) / IDLE.as_secs_f64() * 100.0;
    let name = "vnf: 1,000 processes, 100 functions";
    table.figure(&format!("{name}: idle"), share, "% of a core", 0.5, "-");
    table.figure(&format!("{name}: memory"), service.memory("VmRSS") / 1024.0, "MiB", 16.0, "-");
}
