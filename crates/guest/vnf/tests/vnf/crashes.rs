//! The service killed at every point (OP-10), and what an earlier life left.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::common::{Pkg, Service, eventually, unique};

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
    for point in points {
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

#[test]
fn op_10_a_script_that_was_running_does_not_go_on_behind_our_back() {
    let mut service = Service::start();
    service.push(
        &Pkg::new(&service, "x", "p").on("INSTANTIATE", "told $$; while sleep 0.05; do :; done"),
    );
    service.ask(json!({ "verb": "instantiate", "package": "x", "no_wait": true }));
    let pid = eventually("it runs", || service.told().first().cloned());
    service.kill();
    assert!(fs::metadata(format!("/proc/{pid}")).is_ok(), "it outlives the service");
    service.run(&[], "");
    eventually("it is ended", || fs::metadata(format!("/proc/{pid}")).is_err().then_some(()));
    let status = service.status("x");
    assert_eq!(status["operation"]["state"], "FAILED_TEMP");
    assert_eq!(status["operation"]["error"]["code"], "interrupted");
}

#[test]
fn rq_31_rq_32_two_services_and_a_stale_socket() {
    let mut service = Service::start();
    let words = format!("--state-dir\n{}\nserve", service.state().display());
    let second = std::process::Command::new(std::env::current_exe().expect("us"))
        .args(["--exact", "service_of_the_tests", "--ignored", "--nocapture"])
        .env("VNF_TEST_SERVICE", words)
        .output()
        .expect("it runs");
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("vnf.redb"), "{second:?}");
    service.ask(json!({ "verb": "info" }));
    service.kill();
    assert!(service.state().join("vnf.sock").exists(), "stale");
    service.run(&[], "");
    service.ask(json!({ "verb": "info" }));
}
