//! Scripts that say whether they may be run again, and an agent that does not learn how they ended (OP-10).

use serde_json::{Value, json};

use crate::common::{Pkg, Service, eventually, is_gone, unique};

/// Waits at its first attempt; others end well.
fn body(service: &Service) -> String {
    format!("told $VNF_ATTEMPT $$; test $VNF_ATTEMPT != 1 || read line < {}", service.lifeline())
}

/// Kills the service, and then the script that has told its number: nobody knows how that ended.
fn lose_the_script(service: &mut Service) {
    let first = eventually("it runs", || service.told().first().cloned());
    service.kill();
    let pid = first.split(' ').nth(1).expect("a number").to_owned();
    std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill");
    eventually("nobody can ask how it ended", || is_gone(&pid).then_some(()));
}

fn attempts(service: &Service) -> Vec<String> {
    let told = service.told();
    told.iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn op_10_an_idempotent_script_is_run_again_when_nobody_knows_how_it_ended() {
    let mut service = Service::start();
    let options = [json!({ "idempotent": true }), json!({})];
    let bodies = [body(&service), "told second".to_owned()];
    let bodies = bodies.each_ref().map(String::as_str);
    service.push(&Pkg::new(&service, "x", "p").with("INSTANTIATE", json!({}), &options, &bodies));
    service.ask(json!({ "verb": "instantiate", "package": "x", "no_wait": true }));
    lose_the_script(&mut service);
    service.run(&[], "");
    let op = eventually("it has gone on", || {
        let op = service.ask(json!({ "verb": "operations", "name": "x" }))[0].clone();
        (op["state"] != "PROCESSING").then_some(op)
    });
    assert_eq!(op["state"], "COMPLETED", "{op}");
    assert_eq!(attempts(&service), ["1", "2", "second"]);
    let step = |op: &Value| {
        let steps = op["steps"].as_array().expect("a list").clone();
        steps.into_iter().find(|step| step["name"] == "INSTANTIATE instantiate0.sh")
    };
    assert_eq!(step(&op).expect("its step")["attempts"], 2, "{op}");
}

#[test]
fn op_10_an_idempotent_script_runs_whatever_came_between_its_record_and_its_end() {
    for point in ["vnf.run.begun", "vnf.run.spawned", "vnf.run.recorded", "vnf.run.ended"] {
        let mut service = Service::with(&[], &format!("kill:{point}"));
        let options = [json!({ "idempotent": true })];
        let package = Pkg::new(&service, "x", "p").with(
            "INSTANTIATE",
            json!({}),
            &options,
            &["told $VNF_ATTEMPT"],
        );
        service.push(&package);
        let request = json!({ "verb": "instantiate", "package": "x" });
        // It dies over it.
        let _ = service.try_ask(&serde_json::from_value(request).expect("a request"));
        service.ended();
        service.run(&[], "");
        let op = eventually("it has gone on", || {
            let op = service.ask(json!({ "verb": "operations", "name": "x" }))[0].clone();
            (op["state"] != "PROCESSING").then_some(op)
        });
        assert_eq!(op["state"], "COMPLETED", "{point}: {op}");
        let told = service.told();
        // Once more than it was seen, and never twice under one number.
        assert!(
            matches!(
                told.iter().map(String::as_str).collect::<Vec<_>>()[..],
                ["1"] | ["2"] | ["1", "2"]
            ),
            "{point}: {told:?}"
        );
    }
}

#[test]
fn op_10_a_hook_that_is_not_idempotent_is_not_run_again() {
    let mut service = Service::start();
    let process = unique("h");
    let options = [json!({ "idempotent": false, "on_error": "continue" }), json!({})];
    let bodies = [body(&service), "told second".to_owned()];
    let bodies = bodies.each_ref().map(String::as_str);
    service.instantiate(&Pkg::new(&service, "x", &process).with(
        "START",
        json!({}),
        &options,
        &bodies,
    ));
    let _running = service.run_as(&process);
    lose_the_script(&mut service);
    service.run(&[], "");
    eventually("the next one has run", || {
        service.told().last().is_some_and(|line| line == "second").then_some(())
    });
    service.settled();
    assert_eq!(attempts(&service), ["1", "second"]);
    let events = service.items(json!({ "verb": "events" }));
    let failed =
        events.iter().find(|event| event["kind"] == "vnf.hook.failed").expect("it is told");
    let detail = failed["data"]["detail"].as_str().expect("a text");
    assert!(detail.contains("start0.sh") && detail.contains("not known"), "{detail}");
}
