//! How scripts are run (EX-01 to EX-19).

use std::fs;

use serde_json::{Value, json};

use crate::common::{Pkg, Service, eventually, read, unique};

fn work(service: &Service, name: &str) -> String {
    service.ask(json!({ "verb": "show", "name": name }))["work_dir"]
        .as_str()
        .expect("a folder")
        .to_owned()
}

#[test]
fn ex_01_both_streams_are_whole_in_the_log() {
    let service = Service::start();
    // Ten mebibytes to each, besides.
    let body = "i=0; while test $i -lt 2000; do echo out $i; echo err $i >&2; i=$((i+1)); done
        lots() { head -c 10485760 /dev/zero | tr '\\0' $1 | fold -w 1023; }
        lots x & lots y >&2; wait";
    service.instantiate(&Pkg::new(&service, "loud", "p").on("INSTANTIATE", body));
    let lines = service.items(json!({ "verb": "logs", "name": "loud" }));
    let of = |stream: &str| -> String {
        lines
            .iter()
            .filter(|line| line["stream"] == stream)
            .map(|line| line["data"].as_str().unwrap_or_default())
            .collect()
    };
    let numbered = |word: &str| (0..2000).map(|i| format!("{word} {i}\n")).collect::<String>();
    for (stream, word, letter) in [("stdout", "out", "x"), ("stderr", "err", "y")] {
        let all = of(stream);
        let rest = all.strip_prefix(&numbered(word)).expect("in its order");
        assert!(rest.replace('\n', "") == letter.repeat(10 << 20), "{stream}");
    }
}

#[test]
fn ex_02_op_03_op_04_op_08_a_script_that_fails_is_mended_and_tried_again() {
    let service = Service::start();
    let bodies = ["told first", "told second; echo broken >&2; exit 3", "told third"];
    let options = vec![json!({}); 3];
    let package = Pkg::new(&service, "bad", "p").with("INSTANTIATE", json!({}), &options, &bodies);
    service.push(&package);
    let failed =
        service.fails(json!({ "verb": "instantiate", "package": "bad" })).expect_err("it fails");
    assert_eq!((failed.status, failed.code.as_str()), (500, "script-failed"));
    service.tells(&["first", "second"]);
    let op =
        service.ask(json!({ "verb": "operation", "id": failed.operation.expect("an operation") }));
    assert_eq!(
        (op["state"].as_str(), op["error"]["exitCode"].as_i64()),
        (Some("FAILED_TEMP"), Some(3))
    );
    assert_eq!(
        (op["error"]["script"].as_str(), op["error"]["stderrTail"].as_str()),
        (Some("instantiate1.sh"), Some("broken\n"))
    );
    // It blocks everything but a decision.
    for verb in [
        json!({ "verb": "instantiate", "package": "bad" }),
        json!({ "verb": "terminate", "name": "bad" }),
        json!({ "verb": "rm", "name": "bad" }),
    ] {
        assert_eq!(service.refused(verb), 409);
    }
    fs::write(
        format!("{}/instantiate1.sh", work(&service, "bad")),
        format!("#!/bin/sh\necho mended $VNF_ATTEMPT >> {}\n", service.path("told").display()),
    )
    .expect("written");
    let done = service.ask(json!({ "verb": "retry", "operation": "bad" }));
    assert_eq!(done["state"], "COMPLETED");
    service.tells(&["first", "second", "mended 2", "third"]);
    // OP-02, OP-03, OP-07: what is no state for it.
    assert_eq!(service.refused(json!({ "verb": "instantiate", "package": "bad" })), 409);
    assert_eq!(service.refused(json!({ "verb": "rm", "name": "bad" })), 409);
    for verb in ["retry", "rollback", "fail"] {
        assert_eq!(service.refused(json!({ "verb": verb, "operation": done["id"] })), 409);
    }
}

#[test]
fn ex_03_ex_04_ex_15_going_on_signals_and_tries() {
    let service = Service::start();
    let options = [
        json!({ "on_error": "continue" }),
        json!({ "retries": 2, "retry_delay_ms": 1 }),
        json!({}),
    ];
    let bodies = ["exit 1", "told try $VNF_ATTEMPT; test $VNF_ATTEMPT = 3", "kill -SEGV $$"];
    service.push(&Pkg::new(&service, "x", "p").with("INSTANTIATE", json!({}), &options, &bodies));
    let failed = service
        .fails(json!({ "verb": "instantiate", "package": "x" }))
        .expect_err("the third fails");
    service.tells(&["try 1", "try 2", "try 3"]);
    let op = service.ask(json!({ "verb": "operation", "id": failed.operation }));
    assert_eq!(op["error"]["signal"], 11);
    assert!(op["warnings"][0].as_str().expect("one").contains("exited with 1"));
}

#[test]
fn ex_05_ex_06_time_limits_and_what_stays() {
    let service = Service::start();
    let life = service.lifeline();
    let body = format!(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; read line < {life}' & told $!; read line < {life}"
    );
    let slow = Pkg::new(&service, "slow", "p").with(
        "INSTANTIATE",
        json!({ "timeout_s": 1 }),
        &[json!({})],
        &[&body],
    );
    service.push(&slow);
    let failed = service
        .fails(json!({ "verb": "instantiate", "package": "slow" }))
        .expect_err("it is ended");
    let op = service.ask(json!({ "verb": "operation", "id": failed.operation }));
    assert_eq!(op["error"]["timedOut"], true);
    let child = service.told()[0].clone();
    eventually("its child in another session is gone", || {
        read_state(&child).is_none_or(|state| state == 'Z').then_some(())
    });
    // A daemon stays after INSTANTIATE, and not after TEST.
    let keeps = &format!("cat {life} & told $!; exit 0");
    service
        .instantiate(&Pkg::new(&service, "keeps", "p").on("INSTANTIATE", keeps).on("TEST", keeps));
    service.ask(json!({ "verb": "test", "name": "keeps" }));
    let pids = service.told();
    assert!(read_state(&pids[1]).is_some(), "it lives on");
    eventually("the other does not", || {
        read_state(&pids[2]).is_none_or(|state| state == 'Z').then_some(())
    });
    std::process::Command::new("kill").arg(&pids[1]).status().expect("kill");
}

fn read_state(pid: &str) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text[text.rfind(')')? + 2..].chars().next()
}

#[test]
fn ex_07_to_ex_11_ex_19_what_a_script_finds() {
    let service = Service::start();
    let body = "ls /proc/self/fd > fds; cat > stdin; echo $? >> stdin; env > environment; \
                (: < /dev/tty) 2>/dev/null; echo $? > tty; { umask; pwd; id -u; } > place; \
                { wc -c < lib/large.deb; wc -c < \"${0%/*}/lib/large.deb\"; } > sizes; \
                while read -r line; do case $line in SigBlk*) echo \"$line\";; esac; done < /proc/$$/status > signals";
    let package = Pkg::new(&service, "finds", "proc1")
        .set("environment", json!({ "MODE": "prod" }))
        .set("parameters", json!({ "uplink": { "required": true } }))
        .file("lib/large.deb", &"x".repeat(5 << 20))
        .on("INSTANTIATE", body);
    service.push(&package);
    assert_eq!(
        service.refused(json!({ "verb": "instantiate", "package": "finds" })),
        400,
        "a parameter is missing"
    );
    service.ask(
        json!({ "verb": "instantiate", "package": "finds", "parameters": { "uplink": "a 'b'" } }),
    );
    let work = work(&service, "finds");
    let file = |name: &str| read(format!("{work}/{name}").as_ref());
    // What `ls` itself opens is the fourth.
    assert_eq!(file("fds"), "0\n1\n2\n3\n");
    assert_eq!(file("stdin"), "0\n", "the end at once");
    // PK-12: both ways to a file of the package.
    assert_eq!(file("sizes"), "5242880\n5242880\n");
    assert_ne!(file("tty"), "0\n");
    assert_eq!(file("place"), format!("0022\n{work}\n0\n"));
    let environment = file("environment");
    let mut names: Vec<&str> =
        environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !matches!(*name, "PWD" | "_" | "SHLVL" | "OLDPWD"));
    names.sort_unstable();
    let mut expected = vec![
        "HOME",
        "LANG",
        "MODE",
        "PATH",
        "USER",
        "VNF_ATTEMPT",
        "VNF_CAUSE",
        "VNF_EVENT",
        "VNF_INSTANCE_ID",
        "VNF_NAME",
        "VNF_OP_ID",
        "VNF_OUTPUT_FILE",
        "VNF_PACKAGE_DIR",
        "VNF_PARAM_uplink",
        "VNF_PREVIOUS_VERSION",
        "VNF_PROCESS",
        "VNF_SCRIPT_COUNT",
        "VNF_SCRIPT_INDEX",
        "VNF_VERSION",
        "VNF_WORK_DIR",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(environment.contains("VNF_PARAM_uplink=a 'b'"));
    assert!(file("params.sh").contains(r"uplink='a '\''b'\'''"));
    // Read by the shell itself: one that starts a program (vfork) has all blocked until that runs.
    assert_eq!(file("signals"), "SigBlk:\t0000000000000000\n");
}

#[test]
fn ex_12_ex_14_ex_16_ex_18_copies_secrets_values_and_dependants() {
    let service = Service::start();
    let provider = Pkg::new(&service, "db", "p")
        .set("type", json!("data-base"))
        .set("parameters", json!({ "key": { "secret": true, "default": "hunter2" } }))
        .on("INSTANTIATE", "echo port=5432 > $VNF_OUTPUT_FILE; echo changed >> lifecycle.json; echo $VNF_PARAM_key; echo $VNF_PARAM_key >&2")
        .on("TEST", "echo $VNF_PARAM_key >&2; exit 1");
    let before = service.push(&provider);
    let op = service.ask(json!({ "verb": "instantiate", "package": "db" }));
    assert_eq!(op["outputs"]["port"], "5432");
    assert_eq!(op["params"]["parameters"]["key"], "***");
    let log = Value::from(service.items(json!({ "verb": "logs", "name": "db" }))).to_string();
    assert!(log.contains("***") && !log.contains("hunter2"), "{log}");
    let failed = service.fails(json!({ "verb": "test", "name": "db" })).expect_err("it fails");
    assert!(!format!("{failed:?}").contains("hunter2"), "{failed:?}");
    // The stored revision and a second instance have not changed.
    service.ask(json!({ "verb": "instantiate", "package": "db", "name": "db-2" }));
    assert!(
        read(format!("{}/lifecycle.json", work(&service, "db")).as_ref()).ends_with("changed\n")
    );
    let content = service.state().join("packages/db/1/content/lifecycle.json");
    assert!(!read(&content).contains("changed"));
    assert_eq!(service.push(&provider)["digest"], before["digest"]);
    // Who requires it finds its values; who requires what is not there is refused.
    let user = Pkg::new(&service, "app", "p")
        .set("requires", json!({ "data-base": {} }))
        .on("INSTANTIATE", "told $data_base_port");
    service.instantiate(&user);
    service.tells(&["5432"]);
    service.push(&Pkg::new(&service, "lone", "p").set("requires", json!({ "nothing": {} })));
    let refused =
        service.fails(json!({ "verb": "instantiate", "package": "lone" })).expect_err("refused");
    assert_eq!(refused.code, "E-DEPENDENCY", "BX-72");
}

#[test]
fn ex_11_ex_17_another_user_and_its_limits() {
    let service = Service::start();
    let package = Pkg::new(&service, "small", &unique("p"))
        .set("user", json!("nobody"))
        .set("limits", json!({ "files_max": 30, "pids_max": 50000 }))
        .on("INSTANTIATE", "{ id -un; ulimit -n; } > place; echo done=1 > $VNF_OUTPUT_FILE");
    let op = service.instantiate(&package);
    assert_eq!(read(format!("{}/place", work(&service, "small")).as_ref()), "nobody\n30\n");
    assert_eq!(op["outputs"]["done"], "1");
    // Ten processes, and no more, of a user that has no others.
    let line = service.lifeline();
    let forks = format!(
        "(i=0; while test $i -lt 100; do cat {line} & i=$((i+1)); echo $i > forks; done) 2> errors; echo $? > ended"
    );
    let package = Pkg::new(&service, "forks", &unique("p"))
        .set("user", json!("games"))
        .set("limits", json!({ "pids_max": 10 }))
        .with("INSTANTIATE", json!({ "background": "kill" }), &[json!({})], &[&forks]);
    service.instantiate(&package);
    let file = |name: &str| read(format!("{}/{name}", work(&service, "forks")).as_ref());
    assert_ne!(file("ended"), "0\n");
    assert!(file("errors").to_lowercase().contains("fork"), "{}", file("errors"));
    let forks: u32 = file("forks").trim().parse().expect("a number");
    assert!((1..10).contains(&forks), "{forks}");
}
