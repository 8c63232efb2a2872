//! Processes that come and go (PW-01 to PW-40), and the seed's status question (RQ-01).

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::json;

use crate::common::{Pkg, Process, Service, eventually, read, unique};

fn watch(service: &Service, state: &str, name: &str) {
    eventually(&format!("{name} is {state}"), || {
        (service.status(name)["watch"] == state).then_some(())
    });
}

#[test]
fn pw_03_many_starts_are_as_many_hooks() {
    let service = Service::start();
    let name = unique("m");
    service.instantiate(&Pkg::watched(&service, "many", &name).calm());
    let mut expected = Vec::new();
    for round in 0..100_u64 {
        let running = service.run_as(&name);
        expected.push("START");
        service.tells(&expected);
        // The hook is over, or just ending, or has long been when the process goes, and when the next comes.
        std::thread::sleep(std::time::Duration::from_millis(round * 7 % 13));
        running.stop();
        expected.push("TERMINATE");
        service.tells(&expected);
        std::thread::sleep(std::time::Duration::from_millis(round * 5 % 11));
    }
    service.settled();
    assert_eq!(service.told(), expected);
}

/// One after the other, each by its name, with a watcher that is shared.
fn names(options: &[&str]) {
    let service = Service::with(options, "");
    let base = unique("n");
    let long = format!("{base}-with-a-long-name");
    let near = format!("{base}-with-a-long-other");
    service.instantiate(&Pkg::watched(&service, "exact", &base));
    service.instantiate(&Pkg::new(&service, "long", &long).on("START", "told LONG"));
    service.instantiate(
        &Pkg::new(&service, "pattern", "p")
            .set("process", json!({ "by": "pgrep", "name": &base[1..] }))
            .on("START", "told PATTERN"),
    );
    service.instantiate(
        &Pkg::new(&service, "argument", "p")
            .set("process", json!({ "by": "argv0", "name": format!("{base}-fake") }))
            .on("START", "told ARGUMENT"),
    );
    // PW-04: a name that only contains it; PW-05: another with the same first 15 bytes.
    let other = service.run_as(&format!("x{base}"));
    service.tells(&["PATTERN"]);
    other.stop();
    watch(&service, "ABSENT", "pattern");
    let other = service.run_as(&near);
    eventually("it is seen by the pattern", || (service.told().len() == 2).then_some(()));
    assert_eq!(service.status("long")["watch"], "ABSENT");
    other.stop();
    watch(&service, "ABSENT", "pattern");
    fs::remove_file(service.path("told")).expect("there");
    let running = service.run_as(&long);
    eventually("the long name", || service.told().contains(&"LONG".to_owned()).then_some(()));
    running.stop();
    // PW-07: a false first argument.
    let path = service.program(&unique("z"));
    let line = format!("exec -a {base}-fake {}", path.display());
    let fake = Process::start(Command::new("/bin/bash").args(["-c", &line]));
    eventually("the argument", || service.told().contains(&"ARGUMENT".to_owned()).then_some(()));
    assert_eq!(service.status("exact")["watch"], "ABSENT");
    fake.stop();
    // PW-06: scripts, by the name of the script.
    for first in ["#!/bin/sh", "#!/usr/bin/env python3"] {
        if first.contains("python") && !std::path::Path::new("/usr/bin/python3").exists() {
            println!("skipped: no python3");
            continue;
        }
        let path = service.path(&base);
        let body = if first.contains("python") {
            "import sys\nsys.stdin.readline()\n"
        } else {
            "read line\n"
        };
        fs::write(&path, format!("{first}\n{body}")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        // Nothing of it is left when it is ended: it has no children.
        let running = Process::start(&mut Command::new(&path));
        watch(&service, "PRESENT", "exact");
        running.stop();
        watch(&service, "ABSENT", "exact");
    }
    // PW-09, PW-10, PW-11: a shell that becomes it; two at once.
    fs::remove_file(service.path(&base)).expect("there");
    let line = format!("read line; exec {}", service.program(&base).display());
    let mut first = Process::start(Command::new("/bin/sh").args(["-c", &line]));
    first.line();
    watch(&service, "PRESENT", "exact");
    let second = service.run_as(&base);
    first.stop();
    eventually("the second alone", || {
        (service.status("exact")["pids"] == json!([second.0.id()])).then_some(())
    });
    second.stop();
    watch(&service, "ABSENT", "exact");
    // The watch sees it gone before the script that it runs then has said so.
    let hooks = eventually("the last TERMINATE", || {
        let mut hooks = service.told();
        hooks.retain(|word| matches!(word.as_str(), "START" | "TERMINATE"));
        hooks.len().is_multiple_of(2).then_some(hooks)
    });
    assert!(hooks.chunks(2).all(|pair| pair == ["START", "TERMINATE"]), "{hooks:?}");
}

#[test]
fn pw_04_to_pw_11_names() {
    names(&[]);
}

#[test]
fn pw_33_pw_34_the_same_without_a_connector() {
    names(&["--poll"]);
}

#[test]
fn pw_08_pw_12_pw_13_pw_31_renaming_counts_zombies_and_exits() {
    let service = Service::start();
    let (two, ends, renamed) = (unique("t"), unique("e"), unique("r"));
    service.instantiate(
        &Pkg::watched(&service, "two", &two).set("process", json!({ "min_instances": 2 })),
    );
    let first = service.run_as(&two);
    eventually("one is seen", || {
        (service.ask(json!({ "verb": "process", "name": two }))["count"] == 1).then_some(())
    });
    assert_eq!(service.status("two")["watch"], "ABSENT");
    let second = service.run_as(&two);
    service.tells(&["START"]);
    first.stop();
    service.tells(&["START", "TERMINATE"]);
    second.stop();
    fs::remove_file(service.path("told")).expect("there");
    let exits = "told code=$VNF_EXIT_CODE signal=$VNF_EXIT_SIGNAL";
    service.instantiate(&Pkg::new(&service, "ends", &ends).on("TERMINATE", exits));
    let mut expected = Vec::new();
    for (how, line) in [
        ("exit 7", "code=7 signal="),
        ("kill -KILL $$", "code= signal=9"),
        ("kill -SEGV $$", "code= signal=11"),
    ] {
        let path = service.path(&ends);
        fs::write(&path, format!("#!/bin/sh\nread line\n{how}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        let mut child =
            Command::new(&path).stdin(std::process::Stdio::piped()).spawn().expect("it starts");
        watch(&service, "PRESENT", "ends");
        // Ended and not reaped: TERMINATE comes all the same (PW-13).
        drop(child.stdin.take());
        expected.push(line);
        service.tells(&expected);
        service.settled();
        child.wait().expect("it is ours");
    }
    fs::remove_file(service.path("told")).expect("there");
    if !std::path::Path::new("/usr/bin/python3").exists() {
        println!("skipped: no python3");
        return;
    }
    service.instantiate(&Pkg::watched(&service, "renamed", &renamed));
    let code = format!(
        "import sys\nfor name in ['{renamed}', 'away']:\n  sys.stdin.readline()\n  open('/proc/self/comm', 'w').write(name)\nsys.stdin.readline()"
    );
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", &code])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut input, b"\n").expect("it reads");
    service.tells(&["START"]);
    std::io::Write::write_all(&mut input, b"\n").expect("it reads");
    service.tells(&["START", "TERMINATE"]);
    drop(input);
    child.wait().expect("it is ours");
}

#[test]
fn pw_10_pw_14_daemons_and_threads() {
    let service = Service::start();
    let name = unique("d");
    service.instantiate(&Pkg::watched(&service, "daemon", &name));
    // Forks and does not exec, and its parent ends: the child has its name.
    let program = service.copy_of("/bin/sh", &name);
    // It stays until its standard input, which is ours, is closed (that of what a shell puts aside is /dev/null).
    let mut parent = Command::new(program)
        .args(["-c", "exec 3<&0; (read line <&3) & exit 0"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let input = parent.stdin.take().expect("a pipe");
    parent.wait().expect("it is ours");
    service.tells(&["START"]);
    drop(input);
    service.tells(&["START", "TERMINATE"]);
}

#[test]
fn pw_17_pw_18_what_runs_already_and_what_instantiate_starts() {
    let service = Service::start();
    let (adopt, start, own) = (unique("a"), unique("s"), unique("o"));
    let one = service.run_as(&adopt);
    let two = service.run_as(&start);
    service.instantiate(&Pkg::watched(&service, "adopt", &adopt));
    watch(&service, "PRESENT", "adopt");
    assert_eq!(service.told(), Vec::<String>::new());
    one.stop();
    service.tells(&["TERMINATE"]);
    service.instantiate(
        &Pkg::watched(&service, "start", &start)
            .set("process", json!({ "already_running": "start" })),
    );
    service.tells(&["TERMINATE", "START"]);
    two.stop();
    service.tells(&["TERMINATE", "START", "TERMINATE"]);
    let program = service.program(&own);
    let gate = service.gate("go");
    let package = Pkg::watched(&service, "own", &own).on(
        "INSTANTIATE",
        &format!(
            "{} {} & told pid $!; {}; told end",
            program.display(),
            service.lifeline(),
            gate.wait()
        ),
    );
    service.push(&package);
    service.ask(json!({ "verb": "instantiate", "package": "own", "no_wait": true }));
    eventually("the process runs, and INSTANTIATE too", || {
        (service.ask(json!({ "verb": "process", "name": own }))["count"] == 1).then_some(())
    });
    gate.release();
    eventually("START after INSTANTIATE", || (service.told().len() == 6).then_some(()));
    assert_eq!(service.told()[4..], ["end", "START"]);
    let pid = service.told()[3].replace("pid ", "");
    Command::new("kill").arg(pid).status().expect("kill");
}

#[test]
fn pw_17_one_that_took_its_name_after_the_last_look_at_all() {
    let service = Service::start();
    let name = unique("n");
    let rename = format!("read line; printf %s {name} >/proc/$$/comm; read line");
    let mut elder = Process::start(Command::new("sh").args(["-c", &rename]));
    service.instantiate(&Pkg::watched(&service, "first", &unique("f")));
    // From now on a look need not be one at all: of the elder's new name it is told.
    std::thread::sleep(std::time::Duration::from_millis(150));
    service.instantiate(&Pkg::watched(&service, "second", &unique("g")));
    elder.line();
    let comm = format!("/proc/{}/comm", elder.0.id());
    eventually("it has its name", || (read(Path::new(&comm)).trim() == name).then_some(()));
    service.instantiate(&Pkg::watched(&service, "adopts", &name));
    watch(&service, "PRESENT", "adopts");
    assert_eq!(service.told(), Vec::<String>::new());
    elder.stop();
    service.tells(&["TERMINATE"]);
}

#[test]
fn pw_24_pw_25_pw_27_pw_29_while_a_hook_runs() {
    let service = Service::start();
    let (name, other) = (unique("w"), unique("v"));
    let gate = service.gate("go");
    let body = format!("told START; {}; exit 1", gate.wait());
    service.instantiate(
        &Pkg::new(&service, "waits", &name).on("START", &body).on("TERMINATE", "told TERMINATE"),
    );
    service.instantiate(&Pkg::new(&service, "other", &other).on("START", "told OTHER"));
    let running = service.run_as(&name);
    service.tells(&["START"]);
    // PW-27: another function's hook does not wait for it.
    let _other = service.run_as(&other);
    service.tells(&["START", "OTHER"]);
    // PW-25: it dies and returns meanwhile.
    running.stop();
    watch(&service, "ABSENT", "waits");
    let running = service.run_as(&name);
    watch(&service, "PRESENT", "waits");
    // This one, and the next.
    gate.release();
    gate.release();
    service.tells(&["START", "OTHER", "TERMINATE", "START"]);
    // PW-24, PW-29: it dies meanwhile, and START has failed.
    running.stop();
    service.tells(&["START", "OTHER", "TERMINATE", "START", "TERMINATE"]);
    assert!(service.kinds().contains(&"vnf.hook.failed".to_owned()));
}

/// Its processes come and go as the view has it, whether or not hooks are held.
fn sees(service: &Service, some: bool, name: &str) {
    eventually(&format!("{name} has processes: {some}"), || {
        let pids = service.status(name)["pids"].as_array().map_or(0, Vec::len);
        ((pids > 0) == some).then_some(())
    });
}

/// START and TERMINATE in turn, and the last of them is as it ends.
fn last_told(service: &Service, last: &str) -> Vec<String> {
    let told = eventually(&format!("the last is {last}"), || {
        Some(service.told()).filter(|told| told.last().is_some_and(|word| word == last))
    });
    let turn = |(at, word): (usize, &String)| word == ["START", "TERMINATE"][at % 2];
    assert!(told.iter().enumerate().all(turn), "{told:?}");
    told
}

#[test]
fn pw_26_flapping_is_damped() {
    let service = Service::start();
    let name = unique("f");
    let flap = json!({ "flap": { "transitions": 6, "window_s": 600, "hold_s": 2 } });
    service.instantiate(&Pkg::watched(&service, "flaps", &name).set("process", flap));
    // Each is seen to come and to go, however slow this machine is.
    for _ in 0..4 {
        let running = service.run_as(&name);
        sees(&service, true, "flaps");
        running.stop();
        sees(&service, false, "flaps");
    }
    eventually("it is told", || {
        service.kinds().contains(&"vnf.process.flapping".to_owned()).then_some(())
    });
    let running = service.run_as(&name);
    eventually("it is calm", || {
        service.kinds().contains(&"vnf.process.calm".to_owned()).then_some(())
    });
    watch(&service, "PRESENT", "flaps");
    let told = last_told(&service, "START");
    // It may have been calm once between the last that went and the last that came.
    assert!(told.len() <= 9, "at most 6 transitions and what is so after the calm: {told:?}");
    running.stop();
}

#[test]
fn pw_26_a_process_that_flaps_a_hundred_times_a_second() {
    let service = Service::start();
    let name = unique("h");
    let flap = json!({ "flap": { "transitions": 6, "window_s": 600, "hold_s": 1 } });
    service.instantiate(&Pkg::watched(&service, "flaps", &name).set("process", flap));
    // As fast as a shell can: each reads the end of its input and is gone.
    let program = service.program(&name);
    let line = format!(
        "i=0; while test $i -lt 300; do {} < /dev/null; i=$((i+1)); done",
        program.display()
    );
    assert!(Command::new("/bin/sh").args(["-c", &line]).status().expect("sh").success());
    let running = service.run_as(&name);
    watch(&service, "PRESENT", "flaps");
    let told = last_told(&service, "START");
    let calm = service.kinds().iter().filter(|kind| *kind == "vnf.process.calm").count();
    // Six before it is held, and after each calm six again.
    assert!(told.len() <= 8 * (calm + 1), "{calm} times calm: {told:?}");
    running.stop();
    last_told(&service, "TERMINATE");
    // Nothing is left of those that came and went.
    assert_eq!(service.status("flaps")["pids"], json!([]));
    service.ask(json!({ "verb": "terminate", "name": "flaps" }));
}

/// What a program is told of the time of day, an hour late as long as a file is there. The machine's own clock is everybody's.
const AN_HOUR_BACK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *into) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, into);
    const char *file = getenv("VNF_TEST_BACK");
    if (result == 0 && clock == CLOCK_REALTIME && file && access(file, F_OK) == 0)
        into->tv_sec -= 3600;
    return result;
}
"#;

#[test]
fn pw_38_a_clock_that_is_set_back_runs_no_hook_and_stalls_none() {
    if Command::new("cc").arg("--version").output().is_err() {
        println!("skipped: no cc");
        return;
    }
    let service = Service::behind(|service| {
        let (source, library) = (service.path("back.c"), service.path("back.so"));
        fs::write(&source, AN_HOUR_BACK).expect("written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl");
        assert!(compiler.status().expect("cc").success(), "it is compiled");
        let back = service.path("back");
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("VNF_TEST_BACK={}", back.display()),
        ]
    });
    let name = unique("c");
    service.instantiate(&Pkg::watched(&service, "clock", &name).calm());
    let first = service.run_as(&name);
    service.tells(&["START"]);
    let time = |service: &Service| {
        let events = service.items(json!({ "verb": "events" }));
        let last = events.last().expect("it told of itself")["time"].clone();
        last.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time")
    };
    service.settled();
    let before = time(&service);
    fs::write(service.path("back"), "").expect("written");
    first.stop();
    service.tells(&["START", "TERMINATE"]);
    service.settled();
    let after = time(&service);
    assert!(after < before, "the service was told another time: {before}, {after}");
    let second = service.run_as(&name);
    service.tells(&["START", "TERMINATE", "START"]);
    // And forward again.
    fs::remove_file(service.path("back")).expect("it is there");
    second.stop();
    service.tells(&["START", "TERMINATE", "START", "TERMINATE"]);
}

#[test]
fn pw_30_a_script_named_as_the_process_is_not_it() {
    let service = Service::start();
    let name = unique("own");
    let mut package = Pkg::new(&service, "named", &name).on("TERMINATE", "told TERMINATE");
    package.descriptor["lifecycle_event"] = json!([{ "event": "INSTANTIATE", "lifecycle_events": [name] }, { "event": "START", "lifecycle_events": ["s.sh"] }]);
    let told = service.path("told").display().to_string();
    let gate = service.gate("go");
    package = package
        .file(&name, &format!("#!/bin/sh\necho begun >> {told}\n{}\n", gate.wait()))
        .file("s.sh", &format!("#!/bin/sh\necho START >> {told}\n"));
    let other = unique("o");
    service.instantiate(&Pkg::new(&service, "other", &other).on("START", "told OTHER"));
    service.push(&package);
    let op = service.ask(json!({ "verb": "instantiate", "package": "named", "no_wait": true }));
    service.tells(&["begun"]);
    // What was begun after the script is seen: so the script was.
    let _other = service.run_as(&other);
    service.tells(&["begun", "OTHER"]);
    assert_eq!(service.ask(json!({ "verb": "process", "name": name }))["state"], "DOWN");
    gate.release();
    eventually("it ends", || {
        (service.ask(json!({ "verb": "operation", "id": op["id"] }))["state"] == "COMPLETED")
            .then_some(())
    });
    watch(&service, "ABSENT", "named");
    let events = service.items(json!({ "verb": "events" }));
    let appeared = events.iter().filter(|event| event["kind"] == "vnf.process.appeared");
    assert!(appeared.clone().all(|event| event["subject"] == "vnf/other"), "{events:?}");
}

#[test]
fn rq_01_the_status_of_a_process() {
    let service = Service::start();
    let name = unique("q");
    let ask = |name: &str| service.fails(json!({ "verb": "process", "name": name }));
    assert_eq!(ask(&name).expect("an answer")["state"], "DOWN");
    let running = service.run_as(&name);
    let found = eventually("it runs", || {
        Some(ask(&name).expect("an answer")).filter(|found| found["state"] == "RUNNING")
    });
    assert_eq!(found["processes"][0]["pid"], running.0.id());
    assert_eq!(ask("").expect_err("no name").status, 400);
    assert_eq!(ask("a/b").expect_err("no name").status, 400);
}

#[test]
fn pw_19_to_pw_23_while_the_service_is_down() {
    let mut service = Service::start();
    let names = ["stays", "goes", "comes", "replaced"].map(unique);
    let packages = ["stays", "goes", "comes", "replaced"];
    for (package, name) in packages.iter().zip(&names) {
        let tell = |event: &str| format!("told {package} {event} $VNF_CAUSE");
        service.instantiate(
            &Pkg::new(&service, package, name)
                .on("START", &tell("START"))
                .on("TERMINATE", &tell("TERMINATE")),
        );
    }
    let stays = service.run_as(&names[0]);
    let goes = service.run_as(&names[1]);
    let replaced = service.run_as(&names[3]);
    eventually("three are there", || (service.told().len() == 3).then_some(()));
    service.settled();
    service.kill();
    fs::remove_file(service.path("told")).expect("there");
    goes.stop();
    replaced.stop();
    let _again = service.run_as(&names[3]);
    let _comes = service.run_as(&names[2]);
    service.run(&[], "");
    eventually("all is told", || (service.told().len() == 4).then_some(()));
    let mut told = service.told();
    told.sort();
    assert_eq!(
        told,
        [
            "comes START process-start",
            "goes TERMINATE while-down",
            "replaced START process-start",
            "replaced TERMINATE replaced"
        ]
    );
    drop(stays);
    eventually("and the one that stayed", || (service.told().len() == 5).then_some(()));
}
