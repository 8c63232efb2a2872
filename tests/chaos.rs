//! What nobody wrote a case for: random commands from several people at once, with the daemon, monitors and first processes
//! killed in between. Whatever happened, an `apply` of each lab's file then brings about what it says, and nothing is left
//! when all are down.
//!
//! `VNODE_CHAOS_SECONDS` (15) and `VNODE_CHAOS_SEED` (a fixed one) say how long, and which way; the seed decides what is done,
//! not when each of it ends.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::fmt::Write;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use vnode_testkit::{Host, Output, eventually, needs};
use vnode_tests::{SOON, nodes};

const LABS: [&str; 3] = ["x", "y", "z"];
/// Who does something at once.
const PEOPLE: u64 = 3;
/// Between two looks whether all is as the files say.
const ROUND: Duration = Duration::from_secs(8);

fn given(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn file(host: &Host, lab: &str) -> String {
    host.dir().join(format!("{lab}.clab.yml")).display().to_string()
}

/// Some topology of the lab, written into its file.
fn topology(host: &Host, rng: &mut Rng, lab: &str) -> String {
    let count = rng.usize(1..6);
    let names: Vec<String> = (0..count).map(|i| format!("{lab}{i}")).collect();
    let mut used = vec![0; count];
    let mut interface = |i: usize| {
        used[i] += 1;
        format!("{}:eth{}", names[i], used[i])
    };
    let mut text = format!(
        "name: {lab}\ntopology:\n  defaults: {{kind: linux, image: host, cmd: 'sh -c \"trap exit TERM; sleep infinity & wait\"'}}\n  nodes:\n"
    );
    for (i, name) in names.iter().enumerate() {
        let port = 20_000 + 100 * usize::from(lab.as_bytes()[0] - b'x') + i;
        let mut keys: Vec<String> = Vec::new();
        for (one_in, key) in [
            (3, format!("env: {{X: '{}'}}", rng.u8(0..4))),
            (5, format!("ports: [\"{port}:80\"]")),
            (5, "restart-policy: 'no'".to_owned()),
            (5, "network-mode: none".to_owned()),
            (5, "exec: ['true']".to_owned()),
            (5, "healthcheck: {test: [CMD, 'true'], interval: 1}".to_owned()),
            (10, format!("resources: {{cpu-weight: {}}}", rng.u8(50..200))),
        ] {
            if rng.u8(0..one_in) == 0 {
                keys.push(key);
            }
        }
        if i > 0 && rng.u8(0..5) == 0 {
            let stage = ["create", "configure", "healthy"][rng.usize(0..3)];
            keys.push(format!(
                "stages: {{create: {{wait-for: [{{node: {}, stage: {stage}}}]}}}}",
                names[0]
            ));
        }
        writeln!(text, "    {name}: {{{}}}", keys.join(", ")).unwrap();
    }
    let mut links = String::new();
    for _ in 0..if count > 1 { rng.usize(0..5) } else { 0 } {
        let a = rng.usize(0..count);
        let b = (a + rng.usize(1..count)) % count;
        let (a, b) = (interface(a), interface(b));
        writeln!(links, "    - endpoints: [\"{a}\", \"{b}\"]").unwrap();
        if rng.bool() {
            writeln!(links, "      impair: {{rate: {}mbit}}", rng.u8(1..50)).unwrap();
        }
    }
    if rng.u8(0..5) == 0 {
        let end = interface(rng.usize(0..count));
        writeln!(links, "    - endpoints: [\"{end}\", \"host:{lab}h{}\"]", rng.u8(0..4)).unwrap();
    }
    text.push_str(if links.is_empty() { "  links: []\n" } else { "  links:\n" });
    text.push_str(&links);
    if count > 1 && rng.bool() {
        text.push_str("  networks:\n");
        for lan in 0..rng.usize(1..3) {
            let mut all: Vec<usize> = (0..count).collect();
            rng.shuffle(&mut all);
            all.truncate(rng.usize(1..=count));
            let members: Vec<String> =
                all.into_iter().map(|i| format!("\"{}\"", interface(i))).collect();
            writeln!(text, "    lan{lan}: {{members: [{}]}}", members.join(", ")).unwrap();
        }
    }
    let name = format!("{lab}.clab.yml");
    host.write(&name, &text).display().to_string()
}

fn some<'a, T>(rng: &mut Rng, of: &'a [T]) -> Option<&'a T> {
    (!of.is_empty()).then(|| &of[rng.usize(0..of.len())])
}

/// What is listed now; nothing when the daemon died under the question.
fn list(host: &Host, args: &[&str]) -> Vec<serde_json::Value> {
    let out = host.vnode(args);
    let read: Option<serde_json::Value> = serde_json::from_str(&out.stdout).ok();
    read.and_then(|all| all.as_array().cloned()).unwrap_or_default()
}

/// One thing that somebody does, or that happens.
fn act(host: &Host, rng: &mut Rng) {
    let lab = LABS[rng.usize(0..LABS.len())];
    let signal = |found: Option<vnode_testkit::Process>, signal: Signal| {
        if let Some(process) = found {
            process.signal(signal);
        }
    };
    match rng.u8(0..100) {
        0..25 => drop(host.vnode(&["up", &topology(host, rng, lab)])),
        25..50 => drop(host.vnode(&["apply", &topology(host, rng, lab)])),
        50..60 => drop(host.vnode(&["down", lab])),
        60..68 => {
            let verb = ["boot", "halt", "reboot", "destroy", "inspect", "logs"][rng.usize(0..6)];
            if let Some(node) = some(rng, &list(host, &["ps", "--json"])) {
                let name =
                    format!("{}/{}", node["lab"].as_str().unwrap(), node["node"].as_str().unwrap());
                host.vnode(&[verb, &name]);
            }
        }
        68..78 => {
            let verb = ["down", "up", "reset", "set"][rng.usize(0..4)];
            if let Some(link) = some(rng, &list(host, &["link", "ls", "--json"])) {
                let mut args = vec!["link", verb, link["link"].as_str().unwrap()];
                if verb == "set" {
                    args.push("rate=5mbit");
                }
                host.vnode(&args);
            }
        }
        78..82 => drop(host.vnode(&["clean"])),
        82..85 => drop(host.vnode(&["image", "gc", "--unused", "0"])),
        85..93 => signal(host.daemon_process(), Signal::KILL),
        93..95 => signal(host.daemon_process(), Signal::TERM),
        95..98 => {
            let monitors = host.processes().into_iter().filter(|p| p.is_monitor());
            signal(some(rng, &monitors.collect::<Vec<_>>()).cloned(), Signal::KILL);
        }
        _ => {
            let first = |p: &vnode_testkit::Process| p.argv.first().is_some_and(|a| a == "sh");
            let found: Vec<_> = host.processes().into_iter().filter(first).collect();
            signal(some(rng, &found).cloned(), Signal::KILL);
        }
    }
}

/// Tries a command until the daemon has come to rest.
fn at_last(host: &Host, args: &[&str]) -> Output {
    let mut last = None;
    let end = Instant::now() + SOON;
    loop {
        let out = host.vnode(args);
        if out.code == 0 {
            return out;
        }
        let text = last.insert(out).all();
        assert!(Instant::now() < end, "{args:?}: {text}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Every lab is brought to what its file says, and is it.
fn converges(host: &Host, rng: &mut Rng) {
    eventually("operations end", SOON, || {
        let all = host.vnode(&["op", "ls", "--json"]).stdout;
        (!all.is_empty() && !all.contains("\"running\"")).then_some(())
    });
    for lab in LABS {
        let file = file(host, lab);
        if !std::path::Path::new(&file).exists() {
            topology(host, rng, lab);
        }
        let text = std::fs::read_to_string(&file).unwrap();
        // Halted by hand, or killed: `apply` starts nobody again, and says of one without a monitor to boot it.
        let idle = || {
            let of_lab =
                |node: &serde_json::Value| node["lab"] == lab && node["state"] != "running";
            let name =
                |node: serde_json::Value| format!("{lab}/{}", node["node"].as_str().unwrap());
            nodes(host).into_iter().filter(of_lab).map(name).collect::<Vec<_>>()
        };
        for node in idle() {
            // It may have failed for what the file no longer says.
            host.vnode(&["boot", &node]);
        }
        at_last(host, &["apply", &file]);
        for node in idle() {
            at_last(host, &["boot", &node]);
        }
        let again = host.vnode(&["apply", &file, "--dry-run"]).ok().all();
        assert!(again.contains("nothing differs"), "{again}\n{text}");
    }
    for link in list(host, &["link", "ls", "--json"]) {
        let ends = link["ends"].as_array().cloned().unwrap_or_default();
        assert!(ends.iter().all(|end| end["drift"] != true), "{link}");
    }
    for node in nodes(host) {
        let name = format!("{}/{}", node["lab"].as_str().unwrap(), node["node"].as_str().unwrap());
        assert_eq!(node["state"], "running", "{node}");
        host.exec(&name, &["true"]).ok();
    }
    let stray = host.vnode(&["clean", "--dry-run", "--json"]).ok().json();
    assert_eq!(stray["removed"].as_array().map(Vec::len), Some(0), "{stray}");
}

#[test]
fn t23_whatever_is_done_and_killed_labs_come_to_what_their_files_say_and_go() {
    needs!(Root, Program("nft"));
    let seed = given("VNODE_CHAOS_SEED", 1);
    println!("VNODE_CHAOS_SEED={seed}");
    let host = Host::new();
    let before = host.snapshot();
    let mut rng = Rng::with_seed(seed);
    let end = Instant::now() + Duration::from_secs(given("VNODE_CHAOS_SECONDS", 15));
    while Instant::now() < end {
        let stop = Instant::now() + ROUND.min(end.saturating_duration_since(Instant::now()));
        std::thread::scope(|scope| {
            for _ in 0..PEOPLE {
                let (mut rng, host) = (rng.fork(), &host);
                scope.spawn(move || {
                    while Instant::now() < stop {
                        act(host, &mut rng);
                    }
                });
            }
        });
        converges(&host, &mut rng);
    }
    for lab in LABS {
        at_last(&host, &["down", lab]);
    }
    host.assert_nothing_but_files(&before);
}
