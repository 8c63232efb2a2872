//! Who a process is: its threads, its number given to another, another boot, another namespace; and what lies beside it
//! in the state folder (PW-14 to PW-16, PW-23, PW-28, PW-36).

use std::{fs, io::Write, os::unix::process::CommandExt, path::Path, process::Command};

use serde_json::json;

use crate::common::{Pkg, Process, Service, eventually, read, unique};

/// What `process_of_the_tests` does: each step at a line of its standard input.
pub(crate) fn process() {
    let how = std::env::var("VNF_TEST_PROCESS").expect("who starts it says how");
    let line = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("it is a pipe");
    };
    line();
    match how.split_once(' ') {
        // This thread is not the first one, which waits for it.
        Some(("exec", program)) => panic!("{}", Command::new(program).exec()),
        _ => end_first_thread(),
    }
    line();
    // SAFETY: it ends the process, all of its threads.
    unsafe { libc::_exit(7) }
}

/// The first thread ends, and no other.
fn end_first_thread() {
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: it ends the thread that handles the signal, which holds nothing that others wait for.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let own = std::process::id();
    // SAFETY: the handler does nothing but a system call, and the thread is our own process' first.
    unsafe {
        libc::signal(libc::SIGUSR1, end as extern "C" fn(libc::c_int) as libc::sighandler_t);
        libc::syscall(libc::SYS_tgkill, own, own, libc::SIGUSR1);
    }
}

/// What has the service see what was begun before: another function's process is told of after it.
fn all_is_seen(service: &Service, expected: &[&str]) {
    let other = unique("o");
    service.instantiate(&Pkg::new(service, "other", &other).on("START", "told OTHER"));
    let _other = service.run_as(&other);
    service.tells(expected);
}

#[test]
fn pw_14_a_program_whose_first_thread_has_ended_is_there() {
    let service = Service::start();
    let name = unique("t");
    let package = Pkg::new(&service, "threads", &name)
        .on("START", "told START")
        .on("TERMINATE", "told TERMINATE $VNF_EXIT_CODE");
    service.instantiate(&package);
    let mut running = service.run_ourselves(&name, "threads");
    service.tells(&["START"]);
    running.line();
    let stat = format!("/proc/{}/stat", running.0.id());
    eventually("its first thread has ended", || {
        read(Path::new(&stat)).contains(") Z ").then_some(())
    });
    all_is_seen(&service, &["START", "OTHER"]);
    assert_eq!(service.status("threads")["watch"], "PRESENT");
    let found = service.ask(json!({ "verb": "process", "name": name }));
    assert_eq!(found["state"], "RUNNING", "{found}");
    running.line();
    service.tells(&["START", "OTHER", "TERMINATE 7"]);
}

#[test]
fn pw_15_another_thread_becomes_another_program() {
    let service = Service::start();
    let name = unique("e");
    service.instantiate(&Pkg::watched(&service, "threads", &name));
    let other = service.program(&unique("x"));
    let mut running = service.run_ourselves(&name, &format!("exec {}", other.display()));
    service.tells(&["START"]);
    running.line();
    service.tells(&["START", "TERMINATE"]);
    let pid = running.0.id();
    assert_eq!(fs::read_link(format!("/proc/{pid}/exe")).expect("it runs"), other);
    assert_eq!(service.status("threads")["pids"], json!([]));
}

/// The only child of a process.
fn child_of(pid: u32) -> u32 {
    eventually("it has a child", || {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    })
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.expect("kill").success());
}

#[test]
fn pw_16_a_number_that_was_given_to_another_of_the_name() {
    if !Path::new("/proc/sys/kernel/ns_last_pid").exists() {
        return println!("skipped: the kernel lets nobody choose the next number");
    }
    // Numbers of its own, so that nobody else is given one meanwhile.
    let words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let service = Service::behind(|_| words.map(str::to_owned).to_vec());
    let name = unique("u");
    service.instantiate(&Pkg::watched(&service, "reused", &name));
    let inside = child_of(service.pid());
    let target = inside.to_string();
    let enter = ["--pid", "--mount", "--target", &target, "--", "sh"];
    let mut shell = Process::start(Command::new("nsenter").args(enter));
    let mut say = |line: &str| {
        let input = shell.0.stdin.as_mut().expect("a pipe");
        writeln!(input, "{line}").expect("the shell reads");
    };
    let (told, life) = (service.path("numbers"), service.lifeline());
    let program = service.program(&name);
    // Told when it has its name: until then it is a shell.
    let named = format!("until read -r is < /proc/$!/comm && [ \"$is\" = {name:.15} ]; do :; done");
    let begin = format!("{} {life} & {named}; echo $! >> {}", program.display(), told.display());
    say(&begin);
    service.tells(&["START"]);
    service.settled();
    signal(inside, "-STOP");
    say("pid=$!; kill -9 $pid; wait $pid; echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid");
    say(&begin);
    let numbers = eventually("another one runs", || {
        let text = fs::read_to_string(&told).unwrap_or_default();
        (text.lines().count() == 2).then_some(text)
    });
    signal(inside, "-CONT");
    let numbers: Vec<&str> = numbers.lines().collect();
    assert_eq!(numbers[0], numbers[1], "it has the other's number");
    service.tells(&["START", "TERMINATE", "START"]);
    let events = service.items(json!({ "verb": "events" }));
    let replaced = events.iter().filter(|event| event["data"]["cause"] == "replaced");
    assert!(replaced.count() > 0, "{events:?}");
}

#[test]
fn pw_23_another_boot() {
    let mut service = Service::behind(|service| {
        let boot = service.path("boot");
        fs::write(&boot, "11111111-0000-4000-8000-000000000000\n").expect("written");
        let mount = format!(
            "mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$@\"",
            boot.display()
        );
        ["unshare", "--mount", "sh", "-c", &mount, "sh"].map(str::to_owned).to_vec()
    });
    let (run, reset) = (unique("b"), unique("c"));
    for (package, name) in [("run", &run), ("reset", &reset)] {
        let tell = |event: &str| format!("told {package} {event} $VNF_CAUSE");
        service.instantiate(
            &Pkg::new(&service, package, name)
                .set("process", json!({ "after_reboot": package }))
                .on("START", &tell("START"))
                .on("TERMINATE", &tell("TERMINATE")),
        );
    }
    let _running = [&run, &reset].map(|name| service.run_as(name));
    eventually("both are there", || (service.told().len() == 2).then_some(()));
    service.settled();
    service.kill();
    fs::remove_file(service.path("told")).expect("there");
    fs::write(service.path("boot"), "22222222-0000-4000-8000-000000000000\n").expect("written");
    service.run(&[], "");
    let mut told =
        eventually("both are there again", || Some(service.told()).filter(|told| told.len() == 3));
    told.sort();
    let expected = ["reset START process-start", "run START process-start", "run TERMINATE reboot"];
    assert_eq!(told, expected);
    // The same boot once more: nothing has happened. (The last events of the first life may have died with it.)
    eventually("all hooks have ended", || {
        let all = service.ask(json!({ "verb": "operations" }));
        let ended = |op: &serde_json::Value| op["state"] == "COMPLETED";
        all.as_array().expect("a list").iter().all(ended).then_some(())
    });
    let told = service.told();
    service.kill();
    service.run(&[], "");
    let expected: Vec<&str> = told.iter().map(String::as_str).chain(["OTHER"]).collect();
    all_is_seen(&service, &expected);
}

#[test]
fn pw_28_what_does_not_belong_there_is_told_and_the_others_are_watched() {
    let mut service = Service::start();
    let name = unique("w");
    service.instantiate(&Pkg::watched(&service, "watched", &name));
    service.kill();
    let state = service.state();
    fs::write(state.join("instances/foreign"), "x").expect("written");
    fs::create_dir(state.join("packages/foreign")).expect("made");
    fs::write(state.join("unreadable"), "x").expect("written");
    fs::set_permissions(
        state.join("unreadable"),
        std::os::unix::fs::PermissionsExt::from_mode(0o000),
    )
    .expect("it is ours");
    {
        let store = vnode_store::open(&state.join("vnf.redb")).expect("nobody has it");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let damaged = ["vnf/instance/damaged", "vnf/package/damaged/00000001", "vnf/op/x/damaged"];
        let changes = damaged.map(|key| vnode_store::Change::put(key, b"no record".to_vec()));
        let commit = store.commit(changes.to_vec());
        runtime.expect("a runtime").block_on(commit).expect("it is taken");
    }
    service.run(&[], "");
    let events = service.items(json!({ "verb": "events" }));
    let damaged = events.iter().filter(|event| event["kind"] == "vnf.store.damaged");
    let keys: Vec<&str> = damaged.filter_map(|event| event["data"]["key"].as_str()).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    let running = service.run_as(&name);
    service.tells(&["START"]);
    running.stop();
    service.tells(&["START", "TERMINATE"]);
}

#[test]
fn pw_36_a_process_in_a_namespace_below_is_not_it_unless_the_scope_says_so() {
    let service = Service::start();
    let name = unique("s");
    service.instantiate(&Pkg::watched(&service, "host", &name));
    let wide = Pkg::new(&service, "container", &name)
        .set("process", json!({ "scope": "container" }))
        .on("START", "told INSIDE $VNF_PID");
    service.instantiate(&wide);
    let words = ["--pid", "--fork", "--kill-child"];
    let program = service.program(&name);
    let inside = Process::start(Command::new("unshare").args(words).arg(program));
    // By the number that it has here.
    let pid = child_of(inside.0.id());
    let told = format!("INSIDE {pid}");
    service.tells(&[&told]);
    all_is_seen(&service, &[&told, "OTHER"]);
    assert_eq!(service.status("host")["watch"], "ABSENT");
    assert_eq!(service.status("container")["pids"], json!([pid]));
}
