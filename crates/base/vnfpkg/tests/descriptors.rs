//! `lifecycle.json`: what is refused, and under which code (BX-44 to BX-55, BX-67 to BX-74), and the schema.

use serde_json::{Value, json};
use vnode_vnfpkg::{Code, Event, Limits, SCHEMA, descriptor};

fn code(text: &[u8]) -> Code {
    descriptor(text, &Limits::default()).expect_err("it is to be refused").code()
}

fn base() -> Value {
    json!({ "name": "fw", "VNFprocess": "fwd", "lifecycle_event": [] })
}

/// The base with one member set, or taken away by null.
fn with(key: &str, value: Value) -> Value {
    let mut all = base();
    if value.is_null() {
        all.as_object_mut().expect("an object").remove(key);
    } else {
        all[key] = value;
    }
    all
}

#[track_caller]
fn refused(value: &Value) -> Code {
    code(value.to_string().as_bytes())
}

fn second(key: &str, value: Value) -> Value {
    let mut all = with("schema", 2.into());
    all[key] = value;
    all
}

#[test]
fn bx_44_to_bx_48_what_is_no_json_or_no_object() {
    for text in [
        r#"{"name":"a",}"#,
        "{/* */}",
        "{'name':'a'}",
        "",
        "\u{feff}{}",
        r#"{"name":"a","name":"b"}"#,
    ] {
        assert_eq!(code(text.as_bytes()), Code::Json, "{text}");
    }
    let place =
        descriptor(b"{\n  \"name\": }", &Limits::default()).expect_err("refused").to_string();
    assert!(place.contains("line 2 column"), "{place}");
    assert_eq!(code(b"\xff\xfe{\0}\0"), Code::Json);
    assert_eq!(code(b"{\"name\": \"\xff\"}"), Code::Json);
    for text in ["[]", "\"x\"", "null"] {
        assert_eq!(code(text.as_bytes()), Code::Schema);
    }
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(257 << 10));
    assert_eq!(code(large.as_bytes()), Code::Schema);
    assert_eq!(
        code(format!("{{\"x\":{}{}}}", "[".repeat(33), "]".repeat(33)).as_bytes()),
        Code::Schema
    );
    assert_eq!(code(format!("{{\"x\":{}", "[".repeat(100_000)).as_bytes()), Code::Json);
}

#[test]
fn bx_49_bx_50_names() {
    let wrong = ["", "my vnf", "a-b", "../evil", ".", "a/b", "é", "１２", "trailing\n"];
    for name in
        wrong.iter().map(|name| json!(name)).chain([json!(1), json!("a".repeat(65)), Value::Null])
    {
        assert_eq!(refused(&with("name", name.clone())), Code::Name, "{name}");
    }
}

#[test]
fn bx_51_processes() {
    for process in [
        Value::Null,
        json!(""),
        json!(" "),
        json!("a/b"),
        json!("a\0"),
        json!(7),
        json!("p".repeat(256)),
    ] {
        assert_eq!(refused(&with("VNFprocess", process.clone())), Code::Process, "{process}");
    }
}

#[test]
fn bx_52_to_bx_55_events() {
    for events in [Value::Null, json!({}), json!("x"), json!(["x"])] {
        assert_eq!(refused(&with("lifecycle_event", events)), Code::Schema);
    }
    for event in [json!("REBOOT"), json!("start"), json!(""), json!(1)] {
        let events = json!([{ "event": event, "lifecycle_events": [] }]);
        let refused =
            descriptor(with("lifecycle_event", events).to_string().as_bytes(), &Limits::default());
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code(), Code::Event, "{event}");
        assert!(event != "start" || refused.to_string().contains("START"));
        assert_eq!(refused.problems[0].pointer.as_deref(), Some("/lifecycle_event/0/event"));
    }
    let twice = json!([{ "event": "START", "lifecycle_events": [] }, { "event": "START", "lifecycle_events": [] }]);
    assert_eq!(refused(&with("lifecycle_event", twice)), Code::EventDuplicate);
    for scripts in [Value::Null, json!("x"), json!([1]), json!([""])] {
        let events = json!([{ "event": "START", "lifecycle_events": scripts }]);
        assert_eq!(refused(&with("lifecycle_event", events)), Code::Schema);
    }
}

#[test]
fn bx_67_bx_68_unknown_keys_and_numbers() {
    let found = descriptor(second("limitz", json!({})).to_string().as_bytes(), &Limits::default())
        .expect_err("refused");
    assert_eq!(found.code(), Code::Schema);
    assert!(found.to_string().contains("`limits`"), "{found}");
    for (key, value) in [
        ("timeout_s", json!(0)),
        ("timeout_s", json!(-1)),
        ("timeout_s", json!(86401)),
        ("timeout_s", json!("10")),
        ("retries", json!(11)),
    ] {
        let script = json!({ "script": "a", key: value });
        let events = json!([{ "event": "START", "lifecycle_events": [script] }]);
        assert_eq!(refused(&second("lifecycle_event", events)), Code::Schema, "{key} {value}");
    }
}

#[test]
fn bx_70_bx_71_bx_73_bx_74_the_second_schema() {
    for name in ["LD_PRELOAD", "A=B", "1A", "PATH", "VNF_NAME"] {
        assert_eq!(refused(&second("environment", json!({ name: "x" }))), Code::Env, "{name}");
    }
    assert_eq!(refused(&second("environment", json!({ "A": "x".repeat(33 << 10) }))), Code::Env);
    assert_eq!(refused(&second("requires", json!({ "fw": {} }))), Code::Cycle);
    assert_eq!(refused(&second("limits", json!({ "pids_max": -1 }))), Code::Limits);
    assert_eq!(refused(&second("limits", json!({ "memory_max": "12X" }))), Code::Limits);
    for limits in [
        json!({ "cpu_max": 0 }),
        json!({ "cpu_max": -1 }),
        json!({ "cpu_max": 0.001 }),
        json!({ "cpu_max": 1025 }),
        json!({ "cpu_max": "50%" }),
        json!({ "io_weight": 0 }),
        json!({ "io_weight": 10001 }),
        json!({ "io_weight": 1.5 }),
    ] {
        assert_eq!(refused(&second("limits", limits.clone())), Code::Limits, "{limits}");
    }
    for version in ["1.2", "v1.2.3", "1.02.3"] {
        assert_eq!(refused(&second("version", json!(version))), Code::Version, "{version}");
    }
}

/// What is wrong with a member of the second schema: the code, the place, the words.
#[track_caller]
fn wrong(key: &str, value: Value) -> (Code, String, String) {
    let text = second(key, value).to_string();
    let refused = descriptor(text.as_bytes(), &Limits::default()).expect_err("it is to be refused");
    let [problem] = &refused.problems[..] else { panic!("{refused}") };
    (refused.code(), problem.pointer.clone().unwrap_or_default(), refused.to_string())
}

#[test]
fn patterns_of_parameters_are_told_by_their_place() {
    let of = |more: Value| json!({ "port": more });
    for (parameter, place) in [
        (json!({ "pattern": "(" }), "/parameters/port/pattern"),
        (json!({ "pattern": "" }), "/parameters/port/pattern"),
        (json!({ "pattern": 7 }), "/parameters/port/pattern"),
        (json!({ "pattern": "a".repeat(1025) }), "/parameters/port/pattern"),
        (json!({ "pattern": "(a{100}){100}" }), "/parameters/port/pattern"),
        (json!({ "pattern": "[0-9]+", "default": "80x" }), "/parameters/port/default"),
        (json!({ "type": "integer", "default": "many" }), "/parameters/port/default"),
        (json!({ "patern": "x" }), "/parameters/port/patern"),
    ] {
        let (code, pointer, _) = wrong("parameters", of(parameter.clone()));
        assert_eq!((code, pointer.as_str()), (Code::Schema, place), "{parameter}");
    }
    let process = json!({ "by": "pgrep", "name": "fw[" });
    assert_eq!(wrong("process", process).1, "/process/name");
    for unit in ["nginx", ".service", "a b.service", "nginx.socket", "é.service"] {
        let process = json!({ "by": "unit", "name": unit });
        let (code, pointer, _) = wrong("process", process);
        assert_eq!((code, &*pointer), (Code::Process, "/process/name"), "{unit}");
    }
    let fine = of(json!({ "type": "integer", "pattern": "[0-9]{1,5}", "default": 80 }));
    let text = second("parameters", fine).to_string();
    let found = descriptor(text.as_bytes(), &Limits::default()).expect("it is fine").descriptor;
    assert_eq!(found.parameters["port"].pattern.as_deref(), Some("[0-9]{1,5}"));
}

#[test]
fn deltas_of_steps_are_one_for_all_or_one_for_each() {
    let of = |more: Value| json!({ "workers": more });
    for aspect in [
        json!({ "step_deltas": 2 }),
        json!({ "step_deltas": [] }),
        json!({ "step_deltas": [0] }),
        json!({ "step_deltas": [1, 10001] }),
        json!({ "step_deltas": ["delta_1"] }),
        json!({ "max_steps": 3, "step_deltas": [1, 2] }),
    ] {
        let (code, pointer, _) = wrong("scaling", of(aspect.clone()));
        assert_eq!((code, &*pointer), (Code::Schema, "/scaling/workers/step_deltas"), "{aspect}");
    }
    for (aspect, most, units) in [
        (json!({ "max_steps": 3 }), 3, [0, 1, 2, 3]),
        (json!({ "max_steps": 3, "step_deltas": [4] }), 3, [0, 4, 8, 12]),
        // As many steps as deltas.
        (json!({ "step_deltas": [1, 2, 4] }), 3, [0, 1, 3, 7]),
        (json!({ "max_steps": 3, "step_deltas": [5, 1, 1] }), 3, [0, 5, 6, 7]),
    ] {
        let text = second("scaling", of(aspect)).to_string();
        let found = descriptor(text.as_bytes(), &Limits::default()).expect("it is fine").descriptor;
        let workers = &found.scaling["workers"];
        assert_eq!(workers.max_steps, most);
        assert_eq!([0, 1, 2, 3].map(|step| workers.units(step)), units);
    }
}

#[test]
fn a_script_says_whether_it_may_be_repeated() {
    let of = |more: Value| {
        let mut script = json!({ "script": "a" });
        script.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        json!([{ "event": "START", "lifecycle_events": [script] }])
    };
    for (more, key) in [
        (json!({ "idempotent": "yes" }), "idempotent"),
        (json!({ "idempotent": false, "retries": 1 }), "retries"),
    ] {
        let (code, pointer, _) = wrong("lifecycle_event", of(more));
        assert_eq!(code, Code::Schema);
        assert_eq!(pointer, format!("/lifecycle_event/0/lifecycle_events/0/{key}"));
    }
    for (more, repeats, once) in [
        (json!({}), false, false),
        (json!({ "idempotent": true, "retries": 1 }), true, false),
        (json!({ "idempotent": false, "retries": 0 }), false, true),
    ] {
        let text = second("lifecycle_event", of(more)).to_string();
        let found = descriptor(text.as_bytes(), &Limits::default()).expect("it is fine").descriptor;
        let script = &found.scripts(Event::Start)[0];
        assert_eq!((script.repeats(), script.runs_once()), (repeats, once));
    }
}

#[test]
fn security_is_told_by_its_place_and_is_strict_when_it_is_there() {
    for (security, place) in [
        (json!([]), "/security"),
        (json!({ "capabilites": [] }), "/security/capabilites"),
        (json!({ "capabilities": "CAP_NET_ADMIN" }), "/security/capabilities"),
        (json!({ "capabilities": ["CAP_NET_RAW", "NET_ADMIN"] }), "/security/capabilities/1"),
        (json!({ "capabilities": ["cap_net_admin"] }), "/security/capabilities/0"),
        (json!({ "read_only_paths": ["/etc", "usr"] }), "/security/read_only_paths/1"),
        (json!({ "read_only_paths": ["/a/../b"] }), "/security/read_only_paths/0"),
        (json!({ "read_only_paths": vec!["/a"; 65] }), "/security/read_only_paths"),
        (json!({ "private_tmp": "yes" }), "/security/private_tmp"),
        (json!({ "network": 0 }), "/security/network"),
        (json!({ "no_new_privileges": null }), "/security/no_new_privileges"),
    ] {
        let (code, pointer, _) = wrong("security", security.clone());
        assert_eq!((code, pointer.as_str()), (Code::Schema, place), "{security}");
    }
    let of = |security: Value| {
        let text = second("security", security).to_string();
        let found = descriptor(text.as_bytes(), &Limits::default()).expect("it is fine").descriptor;
        found.security.expect("there")
    };
    let strict = of(json!({}));
    assert!(strict.no_new_privileges && strict.network && !strict.private_tmp);
    assert_eq!((strict.capabilities, strict.read_only_paths.len()), (0, 0));
    assert_eq!(of(json!({ "capabilities": ["CAP_CHOWN", "CAP_NET_RAW"] })).capabilities, 0x2001);
}

#[test]
fn pk_21_the_example_of_the_second_schema() {
    let text = r#"{
      "schema": 2, "name": "edgefw", "version": "1.4.0", "VNFprocess": "edgefwd",
      "process": {"by": "name", "gone_ms": 200, "already_running": "start"},
      "user": "vnf", "environment": {"MODE": "prod"},
      "parameters": {"uplink": {"type": "string", "required": true}},
      "limits": {"memory_max": "512M", "pids_max": 256},
      "health": {"kind": "tcp", "target": "127.0.0.1:8443", "action": "heal"},
      "lifecycle_event": [
        {"event": "INSTANTIATE", "lifecycle_events": ["install.sh", {"script": "seed.sh", "timeout_s": 30}]},
        {"event": "START", "lifecycle_events": ["start.sh"]},
        {"event": "TERMINATE", "lifecycle_events": ["terminate.sh"]},
        {"event": "UPDATE", "lifecycle_events": ["migrate.sh"]}
      ]
    }"#;
    let checked = descriptor(text.as_bytes(), &Limits::default())
        .unwrap_or_else(|refused| panic!("{refused}"));
    let found = checked.descriptor;
    assert_eq!(found.scripts(Event::Instantiate)[1].timeout_s, 30);
    assert_eq!(found.process.expect("one").gone_ms, 200);
    assert_eq!(found.limits.memory_max, Some(512 << 20));
    // Who reads the first schema reads it too.
    let plain: Value = serde_json::from_str(text).expect("JSON");
    let mut first = json!({});
    for key in ["name", "VNFprocess"] {
        first[key] = plain[key].clone();
    }
    first["lifecycle_event"] = json!([{ "event": "START", "lifecycle_events": ["start.sh"] }]);
    assert!(descriptor(first.to_string().as_bytes(), &Limits::default()).is_ok());
}

#[test]
fn the_published_schema_names_every_event() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let events =
        schema["properties"]["lifecycle_event"]["items"]["properties"]["event"]["enum"].to_string();
    for (name, _) in Event::ALL {
        assert!(events.contains(&format!("\"{name}\"")), "{name}");
    }
}
