#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]

use std::path::PathBuf;

use super::*;
use crate::definition::Instance;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/yang")
}

/// What is known of a model with these keys and one RPC.
fn subject(keys: &str) -> Option<Subject> {
    let text = format!("[Component]\nName=a.b\n[Model a.b.v1]\n{keys}\nRPC/vnode-test/move=/x\n");
    let instance = Instance::read(text.as_bytes()).unwrap().value;
    Subject::of(&instance.models[0], &[folder()], None)
}

fn name(name: &str) -> Name<'_> {
    Name { module: "vnode-test", name }
}

fn valid(kind: Kind<'_>, text: &str) {
    let schemas = Schemas::default();
    let subject = subject("X-Modules=vnode-test, ietf-interfaces").unwrap();
    assert_eq!(schemas.problem(&subject), None);
    assert_eq!(schemas.check(&subject, kind, text), Ok(()), "{text}");
}

/// Tag, app-tag and path of the record.
#[track_caller]
fn refused(schemas: &Schemas, kind: Kind<'_>, text: &str, wanted: [&str; 3]) -> RpcError {
    let subject = subject("X-Modules=vnode-test, ietf-interfaces").unwrap();
    let error = *schemas.check(&subject, kind, text).expect_err(text);
    assert_eq!([&error.tag, &error.app_tag, &error.path], wanted, "{text}: {error:?}");
    assert!(!error.message.is_empty());
    error
}

/// The inside of the test module's container.
fn of_box(inside: &str) -> String {
    format!(r#"{{"vnode-test:box":{{{inside}}}}}"#)
}

#[test]
fn what_the_model_allows_passes() {
    let all = r#""low":3,"high":5,"big":"18446744073709551615","flag":[null],"name":"abc","odd":7,"port":1,"only":"x",
        "round":[null],"entry":[{"id":1,"need":"x","label":"a"},{"id":2,"need":"y"}]"#;
    let config = of_box(all);
    valid(Kind::Candidate, &config);
    valid(Kind::Running, &config);
    for empty in ["{}", &of_box("")] {
        valid(Kind::Candidate, empty);
        valid(Kind::Running, empty);
    }
    valid(Kind::Running, "null");
    valid(Kind::State, "{}");
    valid(Kind::State, &of_box(r#""counters":{"in":3,"out":2,"seen":["a"],"on":"eth7"}"#));
    let rpc = Kind::Input(name("move"));
    valid(rpc, r#"{"vnode-test:from":3,"vnode-test:to":4}"#);
    valid(Kind::Output(name("move")), r#"{"vnode-test:steps":1}"#);
    for nothing in ["{}", "null"] {
        valid(Kind::Output(name("nothing")), nothing);
    }
    valid(Kind::Input(name("nothing")), "{}");
    valid(Kind::Notification(name("moved")), r#"{"vnode-test:to":4,"vnode-test:why":"asked"}"#);
}

#[test]
fn every_rule_has_its_tag_and_path() {
    let schemas = Schemas::default();
    let at = |path: &str| format!("/vnode-test:box{path}");
    for (inside, tag, app_tag, path) in [
        (r#""low":11"#, "invalid-value", "", "/low"),
        (r#""high":11"#, "invalid-value", "out-of-box", "/high"),
        (r#""low":5,"high":3"#, "operation-failed", "low-above-high", ""),
        (r#""big":5"#, "invalid-value", "", "/big"),
        (r#""flag":true"#, "invalid-value", "", "/flag"),
        (r#""name":"ABC""#, "invalid-value", "", "/name"),
        (r#""name":"abcabcabca""#, "invalid-value", "", "/name"),
        (r#""odd":4"#, "operation-failed", "must-violation", "/odd"),
        (r#""port":4"#, "data-missing", "instance-required", "/port"),
        (r#""only":"x""#, "unknown-element", "", "/only"),
        (r#""entry":[{"id":1}]"#, "data-missing", "", "/entry[id='1']/need"),
        (r#""entry":[{"id":1,"need":"x"},{"need":"x"}]"#, "missing-element", "", "/entry[2]/id"),
        (r#""low":1,"low":2"#, "bad-element", "", "/low"),
        (
            r#""entry":[{"id":1,"need":"x","label":"l"},{"id":2,"need":"x","label":"l"}]"#,
            "operation-failed",
            "data-not-unique",
            "/entry[id='2']",
        ),
        (
            r#""entry":[{"id":1,"need":"x"},{"id":2,"need":"x"},{"id":3,"need":"x"},{"id":4,"need":"x"}]"#,
            "operation-failed",
            "too-many-elements",
            "/entry[id='4']",
        ),
        (r#""counters":{"in":1}"#, "unknown-element", "", "/counters"),
        (r#""nothing":1"#, "unknown-element", "", "/nothing"),
        (r#""entry":{"id":1}"#, "invalid-value", "", "/entry"),
    ] {
        refused(&schemas, Kind::Candidate, &of_box(inside), [tag, app_tag, &at(path)]);
        // The same of a program's output: the caller is not to blame.
        let app_tag = if app_tag.is_empty() { "exec-output" } else { app_tag };
        let wanted = ["operation-failed", app_tag, &at(path)];
        let error = refused(&schemas, Kind::Running, &of_box(inside), wanted);
        assert!(error.message.starts_with("what the program printed"), "{error}");
    }
    let both = of_box(r#""round":[null],"square":[null]"#);
    refused(&schemas, Kind::Candidate, &both, ["bad-element", "", ""]);
    let error = refused(
        &schemas,
        Kind::Candidate,
        r#"{"vnode-test:must-choose":{}}"#,
        ["data-missing", "missing-choice", "/vnode-test:must-choose"],
    );
    assert_eq!(error.info[0].0.1, "missing-choice");
    assert_eq!(error.info[0].1, "way");
    let error = refused(
        &schemas,
        Kind::Candidate,
        &of_box(r#""nothing":1"#),
        ["unknown-element", "", "/vnode-test:box/nothing"],
    );
    assert_eq!((error.info[0].0.1.as_str(), error.info[0].1.as_str()), ("bad-element", "nothing"));
}

#[test]
fn what_is_no_data_of_the_model_at_all() {
    let schemas = Schemas::default();
    let deep = "[".repeat(101) + &"]".repeat(101);
    for (text, wanted) in [
        (r#"{"other:x":1}"#, ["unknown-namespace", "", "/other:x"]),
        (&of_box(r#""other:x":1"#), ["unknown-namespace", "", "/vnode-test:box"]),
        (r#"{"box":{}}"#, ["unknown-element", "", "/box"]),
        (r#"{"vnode-test:nothing":{}}"#, ["unknown-element", "", "/vnode-test:nothing"]),
        (r#"{"vnode-test:none":{}}"#, ["unknown-element", "", "/vnode-test:none"]),
        ("[1]", ["invalid-value", "", ""]),
        ("null", ["invalid-value", "", ""]),
        (&deep, ["too-big", "", ""]),
    ] {
        refused(&schemas, Kind::Candidate, text, wanted);
    }
}

#[test]
fn operations_are_checked_with_mandatory_and_must() {
    let schemas = Schemas::default();
    let input = Kind::Input(name("move"));
    for (text, wanted) in [
        ("{}", ["missing-element", "", "/vnode-test:move/from"]),
        (r#"{"vnode-test:from":300}"#, ["invalid-value", "", "/vnode-test:move/from"]),
        (
            r#"{"vnode-test:from":3,"vnode-test:to":3}"#,
            ["operation-failed", "must-violation", "/vnode-test:move/to"],
        ),
        (
            r#"{"vnode-test:from":3,"vnode-test:x":1}"#,
            ["unknown-element", "", "/vnode-test:move/x"],
        ),
        (r#"{"from":3}"#, ["unknown-element", "", "/vnode-test:move/from"]),
    ] {
        refused(&schemas, input, text, wanted);
    }
    refused(&schemas, Kind::Input(name("none")), "{}", ["unknown-element", "", "/vnode-test:none"]);
    let output = Kind::Output(name("move"));
    for text in ["{}", "null"] {
        let wanted = ["operation-failed", "exec-output", "/vnode-test:move/steps"];
        refused(&schemas, output, text, wanted);
    }
    let told = Kind::Notification(name("moved"));
    refused(&schemas, told, "{}", ["missing-element", "", "/vnode-test:moved/to"]);
    refused(
        &schemas,
        told,
        r#"{"vnode-test:to":3,"vnode-test:why":"no"}"#,
        ["invalid-value", "", "/vnode-test:moved/why"],
    );
}

#[test]
fn state_is_not_held_to_what_configuration_must_have() {
    // A leaf without the others it needs, a reference to what is not there, a list entry without its mandatory leaf.
    let loose = r#""odd":2,"port":3,"entry":[{"id":1}]"#;
    valid(Kind::State, &of_box(&format!(r#"{loose},"counters":{{"in":1,"seen":["a"]}}"#)));
    let schemas = Schemas::default();
    let counters = |inside: &str| of_box(&format!(r#"{loose},"counters":{{{inside}}}"#));
    for (inside, app_tag, path) in [
        (r#""seen":["a"]"#, "exec-output", "/in"),
        (r#""in":1"#, "too-few-elements", "/seen"),
        (r#""in":1,"out":2,"seen":["a"]"#, "must-violation", "/out"),
        (r#""in":"x","seen":["a"]"#, "exec-output", "/in"),
    ] {
        let path = format!("/vnode-test:box/counters{path}");
        refused(&schemas, Kind::State, &counters(inside), ["operation-failed", app_tag, &path]);
    }
}

#[test]
fn the_internets_own_modules() {
    let schemas = Schemas::default();
    let subject = subject("X-Modules=ietf-interfaces,ietf-ip,vnode-test").unwrap();
    let good = r#"{"ietf-interfaces:interfaces":{"interface":[{"name":"eth0","type":"vnode-test:wire",
        "ietf-ip:ipv4":{"address":[{"ip":"10.0.0.1","prefix-length":24}]}}]}}"#;
    assert_eq!(schemas.check(&subject, Kind::Candidate, good), Ok(()));
    for (from, to, tag, path) in [
        ("10.0.0.1", "10.0.0.256", "invalid-value", "/ietf-ip:ipv4/address[1]/ip"),
        ("24", "33", "invalid-value", "/ietf-ip:ipv4/address[ip='10.0.0.1']/prefix-length"),
        ("vnode-test:wire", "vnode-test:rope", "invalid-value", "/type"),
    ] {
        let error = *schemas.check(&subject, Kind::Candidate, &good.replace(from, to)).unwrap_err();
        assert_eq!(error.tag, tag, "{error:?}");
        assert!(error.path.ends_with(path), "{error:?}");
    }
}

#[test]
fn what_is_known_of_a_model() {
    // The RPC's module only: data of others cannot be judged.
    let of_rpc = subject("").unwrap();
    assert_eq!(of_rpc.modules(), ["vnode-test"]);
    let schemas = Schemas::default();
    assert_eq!(schemas.check(&of_rpc, Kind::Candidate, r#"{"other:x":1}"#), Ok(()));
    let bad = of_box(r#""low":11"#);
    assert!(schemas.check(&of_rpc, Kind::Candidate, &bad).is_err());
    assert!(subject("X-Validate=none").is_none());
    let input = subject("X-Validate=input").unwrap();
    assert!(input.checks(Direction::Input) && !input.checks(Direction::Output));
    assert!(subject("X-Yang=/nowhere").is_none());
    // A module that demands something at its top does so when all is taken away; not of what a program tells.
    let needs = subject("X-Modules=vnode-test-needs").unwrap();
    let error = schemas.check(&needs, Kind::Candidate, "{}").unwrap_err();
    assert_eq!((error.tag.as_str(), error.path.as_str()), ("data-missing", "/owner"));
    assert_eq!(schemas.check(&needs, Kind::Running, "{}"), Ok(()));
    // The other model of the same folder does not demand it.
    assert_eq!(schemas.check(&of_rpc, Kind::Candidate, "{}"), Ok(()));
}

#[test]
fn modules_that_cannot_be_used_leave_the_data_unchecked_and_say_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.yang"), "module broken { yang-version 1.1; }")
        .unwrap();
    let subject =
        subject(&format!("X-Yang={}\nX-Modules=broken", folder.path().display())).unwrap();
    let schemas = Schemas::default();
    assert_eq!(schemas.check(&subject, Kind::Candidate, "{}"), Ok(()));
    let problem = schemas.problem(&subject).unwrap();
    assert!(problem.contains("`broken`"), "{problem}");
    // Mended, it is read when the daemon reads its files again.
    let text =
        "module broken { yang-version 1.1; namespace urn:b; prefix b; leaf x { type int8; } }";
    std::fs::write(folder.path().join("broken.yang"), text).unwrap();
    assert!(schemas.problem(&subject).is_some());
    schemas.forget();
    assert_eq!(schemas.problem(&subject), None);
    assert!(schemas.check(&subject, Kind::Candidate, r#"{"broken:x":300}"#).is_err());
}

#[test]
fn many_threads_check_at_once_and_each_gets_its_own_errors() {
    let schemas = Schemas::default();
    let subject = subject("").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (schemas, subject) = (&schemas, &subject);
            scope.spawn(move || {
                for round in 0..50 {
                    let value = 11 + thread * 50 + round;
                    let text = of_box(&format!(r#""low":{value}"#));
                    let error = schemas.check(subject, Kind::Candidate, &text).unwrap_err();
                    assert!(error.message.contains(&format!("\"{value}\"")), "{error}");
                }
            });
        }
    });
}

#[test]
fn submodules_come_with_their_modules() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "whole.yang",
        "module whole { yang-version 1.1; namespace urn:w; prefix w; include part; }",
    );
    write(
        "part@2026-01-01.yang",
        "// a part\n/* of it */ submodule part { yang-version 1.1; belongs-to whole { prefix w; } leaf x { type int8; } }",
    );
    let keys = format!("X-Yang={}\nX-Modules=whole, part", folder.path().display());
    let subject = subject(&keys).unwrap();
    assert_eq!(subject.modules(), ["whole"]);
    let schemas = Schemas::default();
    assert_eq!(schemas.problem(&subject), None);
    assert_eq!(schemas.check(&subject, Kind::Candidate, r#"{"whole:x":1}"#), Ok(()));
    assert!(schemas.check(&subject, Kind::Candidate, r#"{"whole:x":300}"#).is_err());
}
