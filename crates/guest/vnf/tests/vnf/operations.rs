//! Operations (OP-01 to OP-16).

use serde_json::json;

use crate::common::{Pkg, Service, eventually, unique};

#[test]
fn op_01_op_05_op_06_from_the_first_to_the_last() {
    let service = Service::start();
    let package = Pkg::new(&service, "x", "p")
        .on("INSTANTIATE", "told once; test -e /nonexistent-of-this-test")
        .on("REMOVE", "told REMOVE");
    service.push(&package);
    service.fails(json!({ "verb": "instantiate", "package": "x" })).expect_err("it fails");
    let back = service.ask(json!({ "verb": "rollback", "operation": "x" }));
    assert_eq!(back["state"], "ROLLED_BACK");
    service.tells(&["once", "REMOVE"]);
    let work = service.ask(json!({ "verb": "show", "name": "x" }))["work_dir"]
        .as_str()
        .expect("a folder")
        .to_owned();
    assert!(!std::path::Path::new(&work).exists());
    assert_eq!(service.status("x")["state"], "NOT_INSTANTIATED");
    service.fails(json!({ "verb": "instantiate", "package": "x" })).expect_err("it fails again");
    let failed = service.ask(json!({ "verb": "fail", "operation": "x" }));
    assert_eq!(failed["state"], "FAILED");
    // Free for the next: another revision that works.
    service.push(&Pkg::watched(&service, "x", "p").on("INSTANTIATE", "told fine"));
    let done = service.ask(json!({ "verb": "instantiate", "package": "x" }));
    assert_eq!(done["state"], "COMPLETED");
    assert_eq!(service.ask(json!({ "verb": "terminate", "name": "x" }))["state"], "COMPLETED");
    assert_eq!(service.refused(json!({ "verb": "terminate", "name": "x" })), 409, "OP-03");
    service.ask(json!({ "verb": "rm", "name": "x" }));
    assert_eq!(service.refused(json!({ "verb": "status", "name": "x" })), 404);
}

#[test]
fn op_09_cancelling_after_the_script_and_at_once() {
    let service = Service::start();
    let gate = service.gate("go");
    let first = format!("told begun; {}; told ended", gate.wait());
    let bodies = [first.as_str(), "told second"];
    let package = Pkg::new(&service, "x", "p").with(
        "INSTANTIATE",
        json!({}),
        &[json!({}), json!({})],
        &bodies,
    );
    service.push(&package);
    service.ask(json!({ "verb": "instantiate", "package": "x", "no_wait": true }));
    service.tells(&["begun"]);
    let op = service.ask(json!({ "verb": "cancel", "operation": "x", "force": true }));
    assert_eq!(
        (op["state"].as_str(), op["error"]["code"].as_str()),
        (Some("FAILED_TEMP"), Some("cancelled"))
    );
    service.tells(&["begun"]);
    // Once more, and gracefully.
    std::thread::scope(|scope| {
        let retry = scope.spawn(|| service.fails(json!({ "verb": "retry", "operation": "x" })));
        service.tells(&["begun", "begun"]);
        let cancel = scope.spawn(|| service.ask(json!({ "verb": "cancel", "operation": "x" })));
        eventually("it is being cancelled", || {
            let all = service.ask(json!({ "verb": "operations", "name": "x" }));
            (!all[0]["cancel"].is_null()).then_some(())
        });
        gate.release();
        assert_eq!(cancel.join().expect("no panic")["state"], "FAILED_TEMP");
        retry.join().expect("no panic").expect_err("it was cancelled");
    });
    service.tells(&["begun", "begun", "ended"]);
}

#[test]
fn op_13_an_upgrade_and_one_that_goes_back() {
    let service = Service::start();
    let (old, new) = (unique("o"), unique("n"));
    let of = |version: &str, process: &str| {
        Pkg::new(&service, "x", process).set("version", json!(version))
    };
    service.instantiate(
        &of("1.0.0", &old)
            .on("INSTANTIATE", "told install $VNF_VERSION")
            .on("ROLLBACK", "told ROLLBACK $VNF_VERSION"),
    );
    service.push(
        &of("1.1.0", &new)
            .on("UPDATE", "told update $VNF_PREVIOUS_VERSION $VNF_VERSION; exit 1")
            .on("START", "told START"),
    );
    service.fails(json!({ "verb": "update", "name": "x" })).expect_err("it fails");
    assert_eq!(service.status("x")["version"], "1.0.0", "the old one stays");
    assert_eq!(
        service.ask(json!({ "verb": "rollback", "operation": "x" }))["state"],
        "ROLLED_BACK"
    );
    service.tells(&["install 1.0.0", "update 1.0.0 1.1.0", "ROLLBACK 1.0.0"]);
    service.push(&of("1.2.0", &new).on("UPDATE", "told update").on("START", "told START"));
    assert_eq!(service.ask(json!({ "verb": "update", "name": "x" }))["state"], "COMPLETED");
    assert_eq!(service.status("x")["version"], "1.2.0");
    // The new rule is the one that is followed.
    let _running = service.run_as(&new);
    eventually("START of the new revision", || {
        service.told().contains(&"START".to_owned()).then_some(())
    });
    assert_eq!(
        service.refused(json!({ "verb": "rm", "name": "x", "package": true })),
        409,
        "in use"
    );
}

#[test]
fn op_15_health_heals() {
    let service = Service::start();
    let package = Pkg::new(&service, "x", "p")
        .set(
            "health",
            json!({ "kind": "exec", "interval_s": 1, "fail_after": 2, "action": "heal" }),
        )
        .on("HEALTH", "test -e healthy")
        .on("HEAL", "told HEAL; touch healthy");
    service.instantiate(&package);
    service.tells(&["HEAL"]);
    eventually("it is well", || (service.status("x")["healthy"] == true).then_some(()));
    // The check may see the service well before the operation is written down as ended.
    let heal = eventually("it has ended", || {
        let all = service.ask(json!({ "verb": "operations", "name": "x" }));
        let heal = all.as_array()?.iter().find(|op| op["operation"] == "HEAL")?.clone();
        (heal["state"] == "COMPLETED").then_some(heal)
    });
    assert_eq!(heal["automatic"], true);
}

#[test]
fn op_16_pw_40_start_command_restart_and_stop() {
    let service = Service::start();
    let name = unique("c");
    let program = service.program(&name);
    let package = Pkg::watched(&service, "x", &name)
        .set("start_command", json!([program, service.lifeline()]))
        .set("restart", json!({ "policy": "on-failure", "delay_ms": 10, "max_attempts": 2 }))
        .calm();
    service.instantiate(&package);
    let mut expected = vec!["START"];
    service.tells(&expected);
    for _ in 0..2 {
        kill(&service);
        expected.extend(["TERMINATE", "START"]);
        service.tells(&expected);
    }
    // Twice was enough.
    kill(&service);
    expected.push("TERMINATE");
    service.tells(&expected);
    eventually("it is given up", || {
        service.kinds().contains(&"vnf.restart.given-up".to_owned()).then_some(())
    });
    service.ask(json!({ "verb": "start", "name": "x" }));
    expected.push("START");
    service.tells(&expected);
    service.ask(json!({ "verb": "stop", "name": "x" }));
    expected.push("TERMINATE");
    service.tells(&expected);
    service.ask(json!({ "verb": "start", "name": "x" }));
    expected.push("START");
    service.tells(&expected);
    service.ask(json!({ "verb": "terminate", "name": "x" }));
    expected.push("TERMINATE");
    service.tells(&expected);
    assert_eq!(service.ask(json!({ "verb": "process", "name": name }))["state"], "DOWN");
}

fn kill(service: &Service) {
    let pid = eventually("it runs", || service.status("x")["pids"][0].as_i64());
    std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill");
}

#[test]
fn scaling_configuring_and_the_managed_mode() {
    let service = Service::start();
    let package = Pkg::new(&service, "x", &unique("p"))
        .set("mode", json!("managed"))
        .set("scaling", json!({ "workers": { "max_steps": 2 } }))
        .set("parameters", json!({ "port": { "type": "integer", "default": "80" } }))
        .on("START", "told START")
        .on("STOP", "told STOP")
        .on("TERMINATE", "told TERMINATE")
        .on("CONFIGURE", "told CONFIGURE $VNF_PARAM_port")
        .on("SCALE", "told $VNF_SCALE_TYPE $VNF_SCALE_ASPECT $VNF_SCALE_STEPS");
    service.instantiate(&package);
    let scale = |steps: u32, down: bool| {
        service.fails(json!({ "verb": "scale", "name": "x", "aspect": "workers", "steps": steps, "in": down }))
    };
    scale(2, false).expect("it scales");
    assert_eq!(scale(1, false).expect_err("no further").status, 409);
    scale(1, true).expect("it scales");
    assert_eq!(service.ask(json!({ "verb": "show", "name": "x" }))["scale"]["workers"], 1);
    service.ask(json!({ "verb": "configure", "name": "x", "parameters": { "port": "8080" } }));
    assert_eq!(
        service
            .refused(json!({ "verb": "configure", "name": "x", "parameters": { "port": "many" } })),
        400
    );
    service.ask(json!({ "verb": "heal", "name": "x" }));
    service.ask(json!({ "verb": "terminate", "name": "x" }));
    service.tells(&[
        "CONFIGURE 80",
        "START",
        "SCALE_OUT workers 2",
        "SCALE_IN workers 1",
        "CONFIGURE 8080",
        "STOP",
        "START",
        "STOP",
        "TERMINATE",
    ]);
}

#[test]
fn a_scale_by_steps_is_told_in_units_and_undone_the_other_way() {
    let service = Service::start();
    let told = "told $VNF_SCALE_TYPE $VNF_SCALE_STEPS $VNF_SCALE_DELTA $VNF_SCALE_TOTAL";
    let package = Pkg::new(&service, "x", &unique("p"))
        .set("mode", json!("managed"))
        .set("scaling", json!({ "workers": { "step_deltas": [1, 2, 4] } }))
        .on("SCALE", &format!("{told}; test ! -e broken"));
    service.instantiate(&package);
    let scale = |steps: u32, down: bool| {
        service.fails(json!({ "verb": "scale", "name": "x", "aspect": "workers", "steps": steps, "in": down }))
    };
    assert_eq!(scale(2, false).expect("it scales")["params"]["delta"], 3);
    for (steps, down, status) in
        [(2, false, 409), (3, true, 409), (u32::MAX, false, 409), (0, false, 400), (0, true, 400)]
    {
        assert_eq!(scale(steps, down).expect_err("refused").status, status, "{steps} {down}");
    }
    scale(1, true).expect("it scales");
    // What fails is undone by the same script, which is told that it goes down.
    let work = service.ask(json!({ "verb": "show", "name": "x" }))["work_dir"].clone();
    let broken = std::path::Path::new(work.as_str().expect("a folder")).join("broken");
    std::fs::write(&broken, "").expect("written");
    scale(2, false).expect_err("it fails");
    std::fs::remove_file(&broken).expect("it is there");
    let back = service.ask(json!({ "verb": "rollback", "operation": "x" }));
    assert_eq!(back["state"], "ROLLED_BACK");
    assert_eq!(service.ask(json!({ "verb": "show", "name": "x" }))["scale"]["workers"], 1);
    scale(2, false).expect("it scales");
    service.tells(&[
        "SCALE_OUT 2 3 3",
        "SCALE_IN 1 2 1",
        "SCALE_OUT 2 6 7",
        "SCALE_IN 2 6 1",
        "SCALE_OUT 2 6 7",
    ]);
}

#[test]
fn a_value_that_is_not_of_its_pattern_is_refused_before_anything_runs() {
    let service = Service::start();
    let of = |pattern: &str, version: &str| {
        let port = json!({ "pattern": pattern, "secret": true, "default": "80" });
        Pkg::new(&service, "x", &unique("p"))
            .set("version", json!(version))
            .set("parameters", json!({ "port": port }))
            .on("INSTANTIATE", "told INSTANTIATE $VNF_PARAM_port")
            .on("CONFIGURE", "told CONFIGURE $VNF_PARAM_port")
            .on("UPDATE", "told UPDATE $VNF_PARAM_port")
    };
    service.push(&of("[0-9]{1,5}", "1.0.0"));
    let with = |verb: &str, port: &str| {
        let mut ask = json!({ "verb": verb, "parameters": { "port": port } });
        ask[if verb == "instantiate" { "package" } else { "name" }] = json!("x");
        service.fails(ask)
    };
    let refused = with("instantiate", "80; reboot").expect_err("it is refused");
    assert_eq!((refused.status, refused.code.as_str()), (400, "invalid"));
    // The parameter, its pattern, the way out, and not the value: it is secret.
    for word in ["`port`", "`[0-9]{1,5}`", "port=VALUE"] {
        assert!(refused.detail.contains(word), "{refused}");
    }
    assert!(!refused.detail.contains("reboot"), "{refused}");
    with("instantiate", "8080").expect("it is of the pattern");
    with("configure", "none").expect_err("it is refused");
    // What an instance has is compared with the new revision's pattern.
    service.push(&of("[0-9]{1,3}", "2.0.0"));
    assert_eq!(service.refused(json!({ "verb": "update", "name": "x" })), 400);
    with("update", "443").expect("it is of the new pattern");
    service.tells(&["INSTANTIATE 8080", "CONFIGURE 8080", "UPDATE 443", "CONFIGURE 443"]);
}

#[test]
fn op_14_what_must_run_before_another_is_started_first_and_stopped_last() {
    let service = Service::start();
    let package = |name: &str| {
        let tell = |event: &str| format!("told {name} {event}");
        Pkg::new(&service, name, &format!("no-such-{name}"))
            .set("mode", json!("managed"))
            .on("START", &tell("START"))
            .on("STOP", &tell("STOP"))
    };
    let needs = |name: &str| json!({ name: { "start_before": true } });
    service.push(&package("db"));
    service.push(&package("app").set("requires", needs("db")));
    // Both ways to it: and yet it starts once.
    let both = json!({ "app": { "start_before": true }, "db": { "start_before": true } });
    service.push(&package("web").set("requires", both));
    for name in ["db", "app", "web"] {
        service.ask(json!({ "verb": "instantiate", "package": name }));
    }
    service.ask(json!({ "verb": "stop", "name": "db" }));
    let all_stopped = ["db START", "app START", "web START", "web STOP", "app STOP", "db STOP"];
    service.tells(&all_stopped);
    service.ask(json!({ "verb": "start", "name": "web" }));
    let all_started: Vec<&str> = all_stopped.iter().chain(&all_stopped[..3]).copied().collect();
    service.tells(&all_started);
    // What nothing needs stops alone, and another of the kind does as well.
    service.ask(json!({ "verb": "stop", "name": "web" }));
    service.ask(json!({ "verb": "instantiate", "package": "db", "name": "second" }));
    service.ask(json!({ "verb": "stop", "name": "db" }));
    let more: Vec<&str> =
        all_started.iter().chain(&["web STOP", "db START", "db STOP"]).copied().collect();
    service.tells(&more);
    let ops = service.ask(json!({ "verb": "operations", "name": "app" }));
    assert!(ops.as_array().expect("a list").iter().any(|op| op["cause"] == "dependency"));
}
