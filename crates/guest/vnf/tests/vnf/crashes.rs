//! The service killed at every point (OP-10), and what an earlier life left.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::common::{Gate, Pkg, Service, eventually, is_gone, lives, unique};

fn package(service: &Service, process: &str) -> Pkg {
    let bodies = ["told first", "told second"];
    Pkg::new(service, "x", process)
        .with("INSTANTIATE", json!({}), &[json!({}), json!({})], &bodies)
        .on("START", "told START")
        .on("TERMINATE", "told TERMINATE")
}

/// Everything once; whether the service has lived.
fn all(service: &Service, process: &str) {
    let request = |value| {
        let request = serde_json::from_value(value).expect("a request");
        // It may be killed at any point.
        let _ = service.try_ask(&request);
    };
    let bytes = package(service, process).tar();
    let mut file = tempfile::tempfile().expect("a file");
    std::io::Write::write_all(&mut file, &bytes)
        .and_then(|()| std::io::Seek::rewind(&mut file))
        .expect("written");
    let push = vnode_vnf::Request::Push { length: bytes.len() as u64, instantiate: false };
    let _ =
        vnode_vnf::client::ask(&service.state(), &push, Some((file, bytes.len() as u64)), |_| true);
    request(json!({ "verb": "instantiate", "package": "x" }));
    let running = service.run_as(process);
    let alive = || service.try_ask(&vnode_vnf::Request::Info).is_ok();
    let passed = |word: &str| {
        let begun = std::time::Instant::now();
        while alive()
            && !service.told().iter().any(|line| line == word)
            && begun.elapsed().as_secs() < 60
        {
            if service
                .try_ask(
                    &serde_json::from_value(json!({ "verb": "status", "name": "x" })).expect("one"),
                )
                .is_err()
            {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    passed("START");
    running.stop();
    passed("TERMINATE");
    request(json!({ "verb": "terminate", "name": "x" }));
}

#[test]
fn op_10_killed_at_every_point_instantiate_never_runs_twice() {
    let points = {
        let mut service = Service::with(&[], "trace:/dev/null");
        service.kill();
        let trace = service.path("trace");
        service.run(&[], &format!("trace:{}", trace.display()));
        all(&service, &unique("k"));
        let text = fs::read_to_string(trace).expect("a trace");
        text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert!(points.len() >= 12, "{points:?}");
    // Scripts of hooks pass these as the third and the fourth.
    let of_hooks = ["vnf.run.spawned#3", "vnf.run.ended#4"].map(str::to_owned);
    for point in points.into_iter().chain(of_hooks) {
        let process = unique("k");
        let mut service = Service::with(&[], &format!("kill:{point}"));
        all(&service, &process);
        service.kill();
        service.run(&[], "");
        // Nothing is half there, and nothing hangs.
        assert_eq!(
            fs::read_dir(service.state().join("staging")).expect("a folder").count(),
            0,
            "{point}"
        );
        let listed = service.ask(json!({ "verb": "ls" }));
        let known = listed["packages"].as_array().expect("a list").len();
        let stored = fs::read_dir(service.state().join("packages/x")).map_or(0, Iterator::count);
        assert_eq!(known, stored, "{point}");
        // A hook that the crash interrupted is run again: that takes its time, and comes to an end.
        eventually("operations have come to rest", || {
            let all = service.ask(json!({ "verb": "operations" }));
            let rests = |op: &Value| {
                let state = op["state"].as_str().expect("a state");
                matches!(state, "COMPLETED" | "FAILED_TEMP" | "FAILED")
            };
            all.as_array().expect("a list").iter().all(rests).then_some(())
        });
        eventually("hooks have ended", || {
            let told = service.told();
            let count = |word: &str| told.iter().filter(|line| *line == word).count();
            assert!(
                count("first") <= 1 && count("second") <= 1,
                "{point}: INSTANTIATE ran twice: {told:?}"
            );
            // At least once for what was seen to go.
            (count("START") <= count("TERMINATE") + 1).then_some(())
        });
        if service.ask(json!({ "verb": "ls" }))["instances"].as_array().expect("a list").is_empty()
        {
            continue;
        }
        if service.status("x")["operation"].is_object() {
            assert_eq!(service.status("x")["operation"]["state"], "FAILED_TEMP", "{point}");
            let retried = service.fails(json!({ "verb": "retry", "operation": "x" }));
            assert!(retried.is_ok(), "{point}: {retried:?}");
        }
    }
}

/// Whether the kernel tells how a process ended that is not our child.
fn ends_are_known() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|word| word.parse::<u32>().unwrap_or(0));
    let known = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15);
    if !known {
        println!("skipped in part: Linux {release} does not tell how others' children ended");
    }
    known
}

#[test]
fn op_10_a_script_that_was_running_is_waited_for_and_the_operation_goes_on() {
    let mut service = Service::start();
    let gate = service.gate("gate");
    let first = format!("told $$; echo before; {}; echo after; told first", gate.wait());
    let bodies = [first.as_str(), "told second"];
    service.push(&Pkg::new(&service, "x", "p").with(
        "INSTANTIATE",
        json!({}),
        &[json!({}), json!({})],
        &bodies,
    ));
    service.ask(json!({ "verb": "instantiate", "package": "x", "no_wait": true }));
    let pid = eventually("it runs", || service.told().first().cloned());
    eventually("it has printed", || {
        let lines = service.items(json!({ "verb": "logs", "name": "x" }));
        lines.iter().any(|line| line["data"] == "before\n").then_some(())
    });
    for _ in 0..2 {
        service.kill();
        assert!(lives(&pid), "it outlives the service");
        service.run(&[], "");
        assert!(lives(&pid), "and what comes after it");
        assert_eq!(service.status("x")["operation"]["state"], "PROCESSING");
    }
    assert_eq!(service.refused(json!({ "verb": "instantiate", "package": "x" })), 409);
    gate.release();
    let rests = || {
        let op = service.ask(json!({ "verb": "operations" }))[0].clone();
        (op["state"] != "PROCESSING").then_some(op)
    };
    let op = eventually("it has come to its end", rests);
    if ends_are_known() {
        assert_eq!(op["state"], "COMPLETED", "{op}");
        service.tells(&[pid.as_str(), "first", "second"]);
    } else {
        assert_eq!(
            (&op["state"], &op["error"]["code"]),
            (&json!("FAILED_TEMP"), &json!("interrupted"))
        );
        service.tells(&[pid.as_str(), "first"]);
    }
    let lines = service.items(json!({ "verb": "logs", "name": "x" }));
    assert!(lines.iter().any(|line| line["data"] == "after\n"), "{lines:?}");
    assert!(service.kinds().iter().any(|kind| kind == "vnf.script.adopted"));
}

#[test]
fn op_10_what_ended_while_nobody_looked_is_not_repeated_without_being_told() {
    let mut service = Service::start();
    let body = format!(
        "told $VNF_ATTEMPT $$; test $VNF_ATTEMPT = 2 || read line < {}",
        service.lifeline()
    );
    let options = [json!({ "retries": 3, "retry_delay_ms": 1 })];
    service.push(&Pkg::new(&service, "x", "p").with("INSTANTIATE", json!({}), &options, &[&body]));
    service.ask(json!({ "verb": "instantiate", "package": "x", "no_wait": true }));
    let first = eventually("it runs", || service.told().first().cloned());
    service.kill();
    let pid = first.split(' ').nth(1).expect("a number").to_owned();
    std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill");
    eventually("nobody can ask how it ended", || is_gone(&pid).then_some(()));
    service.run(&[], "");
    let status = service.status("x");
    assert_eq!(status["operation"]["state"], "FAILED_TEMP");
    assert_eq!(status["operation"]["error"]["code"], "interrupted");
    assert_eq!(service.told().len(), 1);
    service.ask(json!({ "verb": "retry", "operation": "x" }));
    assert!(service.told()[1].starts_with("2 "), "{:?}", service.told());
}

#[test]
fn op_10_a_time_limit_goes_on_and_so_does_giving_up() {
    let mut service = Service::start();
    let body = format!("told $$; read line < {}", service.lifeline());
    // Longer than it takes to be begun again, on a busy machine too.
    let limit = json!({ "timeout_s": 15 });
    service.push(&Pkg::new(&service, "slow", "p").with(
        "INSTANTIATE",
        limit,
        &[json!({})],
        &[&body],
    ));
    service.push(&Pkg::new(&service, "long", "q").on("INSTANTIATE", &body));
    for name in ["slow", "long"] {
        service.ask(json!({ "verb": "instantiate", "package": name, "no_wait": true }));
    }
    eventually("both run", || (service.told().len() == 2).then_some(()));
    service.kill();
    service.run(&[], "");
    eventually("both are taken up", || {
        let events = service.items(json!({ "verb": "events" }));
        let kinds = events.iter().filter_map(|event| event["kind"].as_str());
        (kinds.filter(|kind| *kind == "vnf.script.adopted").count() == 2).then_some(())
    });
    let long = service.status("long")["operation"]["id"].clone();
    service.ask(json!({ "verb": "cancel", "operation": long, "force": true }));
    eventually("both rest", || {
        let all = service.ask(json!({ "verb": "operations" }));
        all.as_array().expect("a list").iter().all(|op| op["state"] == "FAILED_TEMP").then_some(())
    });
    assert_eq!(service.status("slow")["operation"]["error"]["timedOut"], true);
    assert_eq!(service.status("long")["operation"]["error"]["code"], "cancelled");
    eventually("nothing is left", || service.told().iter().all(|pid| !lives(pid)).then_some(()));
}

#[test]
fn op_10_a_hook_never_runs_beside_itself_wherever_the_agent_dies() {
    for point in [
        "vnf.run.begun",
        "vnf.run.spawned",
        "vnf.run.recorded",
        "vnf.run.ended",
        "vnf.run.begun#2",
        "vnf.run.spawned#2",
        "vnf.run.recorded#2",
        "vnf.hook.ran",
        "vnf.hook.stored",
        "the script runs",
    ] {
        let process = unique("h");
        let fault = if point.contains('.') { format!("kill:{point}") } else { String::new() };
        let mut service = Service::with(&[], &fault);
        let gates = [service.gate("gate0"), service.gate("gate1")];
        let bodies = [("first", &gates[0]), ("second", &gates[1])];
        let bodies = bodies.map(|(word, gate)| format!("told {word}; {}", gate.wait()));
        let bodies = bodies.each_ref().map(String::as_str);
        let package = Pkg::new(&service, "x", &process)
            .with("START", json!({}), &[json!({}), json!({})], &bodies)
            .on("TERMINATE", "told TERMINATE");
        service.instantiate(&package);
        let running = service.run_as(&process);
        // The script at which the agent dies is held until it is back.
        let before = match point {
            "vnf.hook.ran" | "vnf.hook.stored" => 2,
            point => usize::from(point.ends_with("#2") || point == "vnf.run.ended"),
        };
        gates[..before].iter().for_each(Gate::release);
        if fault.is_empty() {
            eventually("it runs", || (!service.told().is_empty()).then_some(()));
            service.kill();
        } else {
            service.ended();
        }
        service.run(&[], "");
        gates[before..].iter().for_each(Gate::release);
        if ends_are_known() {
            service.tells(&["first", "second"]);
        }
        running.stop();
        eventually("it was seen to go", || {
            service.told().last().is_some_and(|last| last == "TERMINATE").then_some(())
        });
        if ends_are_known() {
            assert_eq!(service.told(), ["first", "second", "TERMINATE"], "{point}");
        }
    }
}

#[test]
fn op_10_a_hook_that_ended_while_nobody_looked_is_run_again() {
    let mut service = Service::start();
    let process = unique("h");
    let body = format!(
        "told $VNF_ATTEMPT $$; test $VNF_ATTEMPT = 2 || read line < {}",
        service.lifeline()
    );
    service.instantiate(&Pkg::new(&service, "x", &process).on("START", &body));
    let _running = service.run_as(&process);
    let first = eventually("it runs", || service.told().first().cloned());
    service.kill();
    let pid = first.split(' ').nth(1).expect("a number").to_owned();
    std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill");
    eventually("nobody can ask how it ended", || is_gone(&pid).then_some(()));
    service.run(&[], "");
    eventually("it is repeated", || {
        service.told().get(1).is_some_and(|line| line.starts_with("2 ")).then_some(())
    });
}

#[test]
fn op_10_our_own_process_is_started_once() {
    let mut service = Service::with(&[], "kill:vnf.process.spawned");
    let process = unique("o");
    let program = service.program(&process);
    let command = json!([program, service.lifeline()]);
    service.push(&Pkg::new(&service, "x", &process).set("start_command", command));
    let request = json!({ "verb": "instantiate", "package": "x" });
    // It dies over it.
    let _ = service.try_ask(&serde_json::from_value(request).expect("a request"));
    service.ended();
    service.run(&[], "");
    assert_eq!(service.status("x")["operation"]["state"], "FAILED_TEMP");
    service.ask(json!({ "verb": "retry", "operation": "x" }));
    let found = service.ask(json!({ "verb": "process", "name": process }));
    assert_eq!((&found["state"], &found["count"]), (&json!("RUNNING"), &json!(1)), "{found}");
    service.ask(json!({ "verb": "terminate", "name": "x" }));
}

#[test]
fn op_10_what_a_script_left_may_print_after_it_and_after_us() {
    let mut service = Service::start();
    let gate = service.gate("gate");
    // More than a pipe holds.
    let print = "head -c 200000 /dev/zero";
    let body = format!(
        "{{ {}; {print}; told one; {}; {print} >&2; told two; }} & exit 0",
        gate.wait(),
        gate.wait()
    );
    service.instantiate(&Pkg::new(&service, "x", "p").on("INSTANTIATE", &body));
    gate.release();
    service.tells(&["one"]);
    service.kill();
    service.run(&[], "");
    gate.release();
    service.tells(&["one", "two"]);
}

/// Leaves a process in a session of its own, that tells its number and heeds nothing but KILL.
fn leaves(service: &Service) -> String {
    let life = service.lifeline();
    let left = format!("trap \"\" TERM HUP; told left $$; read line < {life}");
    let told = service.path("told").display().to_string();
    // What is begun so does not have the functions of the script's shell.
    let left = left.replace("told left $$", &format!("echo left $$ >> {told}"));
    format!("setsid sh -c '{left}' &")
}

/// The number behind a word that was told.
fn told_pid(service: &Service, word: &str) -> String {
    eventually(&format!("{word} is told"), || {
        let told = service.told();
        told.iter().find_map(|line| line.strip_prefix(&format!("{word} "))).map(str::to_owned)
    })
}

#[test]
fn op_10_what_a_script_left_is_killed_by_the_next_life_wherever_the_agent_dies() {
    // Where it dies; `ended`: the script ends by itself while nobody looks.
    for (point, ended) in [("", false), ("", true), ("kill:vnf.run.ended", false)] {
        let mut service = Service::with(&[], point);
        let gate = service.gate("gate");
        let body = format!("{} told script $$; {}; told end", leaves(&service), gate.wait());
        service.push(&Pkg::new(&service, "x", "p").with(
            "INSTANTIATE",
            json!({ "background": "kill" }),
            &[json!({})],
            &[&body],
        ));
        let request = json!({ "verb": "instantiate", "package": "x", "no_wait": true });
        service.ask(request);
        let (script, left) = (told_pid(&service, "script"), told_pid(&service, "left"));
        if point.is_empty() {
            service.kill();
            assert!(lives(&script) && lives(&left), "both outlive the service");
            if ended {
                std::process::Command::new("kill").args(["-KILL", &script]).status().expect("kill");
                eventually("the script is gone", || is_gone(&script).then_some(()));
                assert!(lives(&left), "nobody has looked yet");
            }
        } else {
            gate.release();
            service.ended();
            assert!(lives(&left), "the service died before it killed it");
        }
        service.run(&[], "");
        if point.is_empty() && !ended {
            assert!(lives(&script) && lives(&left), "the script runs on, and what is its");
            gate.release();
        }
        eventually("what it left is gone", || (!lives(&left)).then_some(()));
        let op = eventually("the operation rests", || {
            let op = service.ask(json!({ "verb": "operations" }))[0].clone();
            (op["state"] != "PROCESSING").then_some(op)
        });
        let known = !point.is_empty() || (!ended && ends_are_known());
        assert_eq!(op["state"], if known { "COMPLETED" } else { "FAILED_TEMP" }, "{point}: {op}");
    }
}

#[test]
fn op_10_what_a_hook_left_is_killed_before_it_is_run_again() {
    let mut service = Service::start();
    let process = unique("h");
    let body = format!(
        "test $VNF_ATTEMPT = 2 && {{ told again; exit; }}; {} told script $$; read line < {}",
        leaves(&service),
        service.lifeline()
    );
    // What START leaves stays, but not of an attempt that is repeated: it would run beside itself.
    service.instantiate(&Pkg::new(&service, "x", &process).on("START", &body));
    let _running = service.run_as(&process);
    let (script, left) = (told_pid(&service, "script"), told_pid(&service, "left"));
    service.kill();
    std::process::Command::new("kill").args(["-KILL", &script]).status().expect("kill");
    eventually("nobody can ask how it ended", || is_gone(&script).then_some(()));
    service.run(&[], "");
    eventually("it is repeated", || service.told().contains(&"again".to_owned()).then_some(()));
    eventually("nothing of the first attempt runs beside it", || (!lives(&left)).then_some(()));
}

#[test]
fn rq_31_rq_32_two_services_and_a_stale_socket() {
    let mut service = Service::start();
    let told = service.refuses_another(&[]);
    assert!(told.contains("vnf.redb"), "{told}");
    service.ask(json!({ "verb": "info" }));
    service.kill();
    assert!(service.state().join("vnf.sock").exists(), "stale");
    service.run(&[], "");
    service.ask(json!({ "verb": "info" }));
}
