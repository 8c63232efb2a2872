//! Data checked against YANG modules: X9 and W20 of the specification, on a real bus.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![cfg(feature = "yang")]

mod support;

use std::{fs, path::Path};

use support::{World, eventually};
use vnode_component::{
    client::{Client, Error},
    definition::Instance,
    rpc_error::RpcError,
    yang::{Kind, Schemas, Subject},
};

const MODEL: &str = "a.b.v1";

fn modules() -> String {
    format!("{}/tests/yang", env!("CARGO_MANIFEST_DIR"))
}

/// A model of the test module, active; the keys go into its section.
async fn world(keys: &str, options: &[&str]) -> (World, Client) {
    let text = format!(
        "[Component]\nName=a.b\n[Model a.b.v1]\nConfig/Set=@/set\nConfig/Check=@/check\nConfig/Get=@/get\n\
         State/Get=@/state\nRPC/vnode-test/move=@/move\n{keys}\n"
    );
    let world = World::start_with(&[("a.instance", &text)], options).await;
    for name in ["set", "check"] {
        world.script(name, &format!("cat >@/{name}.in"));
    }
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    (world, client)
}

fn record<T: std::fmt::Debug>(result: Result<T, Error>) -> RpcError {
    match result {
        Err(Error::Failed(record)) => *record,
        other => panic!("not a record: {other:?}"),
    }
}

fn of_box(inside: &str) -> String {
    format!(r#"{{"vnode-test:box":{{{inside}}}}}"#)
}

#[tokio::test]
async fn x9_output_that_violates_the_model_never_reaches_the_caller() {
    let (world, client) = world(&format!("X-Yang={}", modules()), &[]).await;
    let wrong = of_box(r#""low":11"#);
    world.script("get", &format!("echo '{wrong}'"));
    let error = record(client.get(MODEL).await);
    assert_eq!((error.tag.as_str(), error.app_tag.as_str()), ("operation-failed", "exec-output"));
    assert_eq!(error.path, "/vnode-test:box/low");
    world.script("state", &format!("echo '{}'", of_box(r#""counters":{"seen":["a"]}"#)));
    assert_eq!(record(client.state(MODEL).await).path, "/vnode-test:box/counters/in");
    world.script("move", "echo '{}'");
    let from = r#"{"vnode-test:from":1}"#;
    let answer = client.rpc(MODEL, "vnode-test", "move", "{}", from).await;
    assert_eq!(record(answer).path, "/vnode-test:move/steps");
    // What is right comes as it was printed.
    let right = of_box(r#""low":1,"high":2"#);
    world.script("get", &format!("echo '{right}'"));
    assert_eq!(client.get(MODEL).await.unwrap(), right);
    world.script("get", "true");
    assert_eq!(client.get(MODEL).await.unwrap(), "{}");
    world.script("move", "echo '{\"vnode-test:steps\": 2}'");
    let answer = client.rpc(MODEL, "vnode-test", "move", "{}", from).await;
    assert_eq!(answer.unwrap(), r#"{"vnode-test:steps":2}"#);
}

#[tokio::test]
async fn w20_r25_input_that_violates_the_model_never_reaches_the_script() {
    let (world, client) = world(&format!("X-Yang={}", modules()), &[]).await;
    for (inside, tag, app_tag, path) in [
        (r#""entry":[{"id":1}]"#, "data-missing", "", "/entry[id='1']/need"),
        (r#""low":3,"high":2"#, "operation-failed", "low-above-high", ""),
        (r#""high":200"#, "invalid-value", "out-of-box", "/high"),
        (r#""port":1"#, "data-missing", "instance-required", "/port"),
    ] {
        for error in [
            record(client.check(MODEL, &of_box(inside)).await),
            record(client.set(MODEL, &of_box(inside)).await),
        ] {
            assert_eq!((error.tag.as_str(), error.app_tag.as_str()), (tag, app_tag), "{error:?}");
            assert_eq!(error.path, format!("/vnode-test:box{path}"));
            assert!(!error.message.is_empty());
        }
    }
    for other in ["null", "[1]", "\"s\""] {
        assert_eq!(record(client.set(MODEL, other).await).tag, "invalid-value");
    }
    let error = record(client.rpc(MODEL, "vnode-test", "move", "{}", "{}").await);
    assert_eq!(
        (error.tag.as_str(), error.path.as_str()),
        ("missing-element", "/vnode-test:move/from")
    );
    assert!(!world.path("set.in").exists() && !world.path("check.in").exists());
    let config = of_box(r#""low": 1, "big": "7""#);
    client.set(MODEL, &config).await.unwrap();
    assert_eq!(world.read("set.in"), config);
    // Much data are checked beside everything else.
    let label = "x".repeat(300 << 10);
    let large = of_box(&format!(r#""entry":[{{"id":1,"need":"x","label":"{label}"}}]"#));
    client.set(MODEL, &large).await.unwrap();
    assert_eq!(
        record(client.set(MODEL, &large.replace("need", "knead")).await).tag,
        "unknown-element"
    );
}

#[tokio::test]
async fn the_daemons_folder_and_the_component_file_say_what_a_model_has() {
    let components = tempfile::tempdir().unwrap();
    let component = "[Vyatta Component]\nName=a.b\nDescription=x\nEphemeral=true\n\
                     [Model a.b.v1]\nModules=vnode-test,ietf-interfaces\nModelSets=vyatta-v1\n";
    fs::write(components.path().join("a.component"), component).unwrap();
    fs::write(components.path().join("broken.component"), "broken").unwrap();
    let (folder, modules) = (components.path().display().to_string(), modules());
    let options = ["--yang-dir", &modules, "--component-dir", &folder];
    let (world, client) = world("", &options).await;
    let other =
        r#"{"ietf-interfaces:interfaces":{"interface":[{"name":"e","type":"vnode-test:wire"}]}}"#;
    client.set(MODEL, other).await.unwrap();
    assert_eq!(
        record(client.set(MODEL, &other.replace("wire", "rope")).await).tag,
        "invalid-value"
    );
    let error = record(client.set(MODEL, r#"{"ietf-ip:x":{}}"#).await);
    assert_eq!((error.tag.as_str(), error.path.as_str()), ("unknown-namespace", "/ietf-ip:x"));
    let shown: serde_json::Value =
        serde_json::from_slice(&world.component(&["show", "a.b", "--json"]).stdout).unwrap();
    assert_eq!(shown["model"][0]["module"][1], "ietf-interfaces");
}

#[tokio::test]
async fn without_the_component_file_the_modules_of_the_rpcs_are_known() {
    let (world, client) = world("", &["--yang-dir", &modules()]).await;
    client.set(MODEL, r#"{"other:anything":[1,2]}"#).await.unwrap();
    assert_eq!(record(client.set(MODEL, &of_box(r#""low":0"#)).await).tag, "invalid-value");
    world.script("state", "echo '[1]'");
    assert!(client.state(MODEL).await.is_err());
    assert!(world.log().contains("a.b"));
}

#[tokio::test]
async fn modules_that_cannot_be_read_are_told_and_mended_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("vnode-test.yang");
    fs::write(&module, "module vnode-test { }").unwrap();
    let (world, client) = world(&format!("X-Yang={}", folder.path().display()), &[]).await;
    let wrong = of_box(r#""low":11"#);
    client.set(MODEL, &wrong).await.unwrap();
    let show = || String::from_utf8(world.component(&["show", "a.b"]).stdout).unwrap();
    assert!(show().contains("\"unchecked\": \"module `vnode-test` cannot be used"), "{}", show());
    let check = world.component(&["check", world.instances().join("a.instance").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&check.stdout).contains("is not checked"), "{check:?}");
    for entry in fs::read_dir(modules()).unwrap().flatten() {
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    world.signal(rustix::process::Signal::HUP);
    eventually("the module is read", async || client.set(MODEL, &wrong).await.is_err()).await;
    assert!(!show().contains("unchecked"));
    // A definition that names an RPC its module has not.
    let text = format!(
        "[Component]\nName=c.d\n[Model c.d.v1]\nX-Yang={}\nRPC/vnode-test/fly=/bin/true\n",
        modules()
    );
    let file = world.path("c.instance");
    fs::write(&file, text).unwrap();
    let check = world.component(&["check", "--json", file.to_str().unwrap()]);
    let text = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.success() && text.contains("no such RPC"), "{text}");
}

#[tokio::test]
async fn where_modules_are_known_the_schema_service_is_not_asked() {
    let (world, client) = world(&format!("X-Yang={}", modules()), &[]).await;
    world.script("move", "echo '{\"vnode-test:steps\":1}'");
    // A service that never answers.
    let schema = world.raw().await;
    schema.request_name("net.vyatta.vci.config.yangd.v1").await.unwrap();
    let answer = client.rpc(MODEL, "vnode-test", "move", "{}", r#"{"vnode-test:from":1}"#).await;
    assert_eq!(answer.unwrap(), r#"{"vnode-test:steps":1}"#);
}

#[tokio::test]
async fn notifications_are_checked_before_they_are_sent() {
    let (world, client) = world("", &[]).await;
    let mut watch = client.watch(Some("vnode-test")).await.unwrap();
    let modules = modules();
    let emit = |data: &str, more: &[&str]| {
        let mut line = vec!["emit", "vnode-test:moved", data];
        line.extend(more);
        world.component(&line)
    };
    let out = emit(r#"{"vnode-test:to":300}"#, &["--yang-dir", &modules, "--json"]);
    assert_eq!(out.status.code(), Some(1));
    let error: serde_json::Value = serde_json::from_slice(&out.stderr).unwrap();
    assert_eq!(error["error-path"], "/vnode-test:moved/to");
    assert_eq!(error["error-tag"], "invalid-value");
    assert!(emit(r#"{"vnode-test:to":1}"#, &["--yang-dir", &modules]).status.success());
    assert_eq!(watch.next().await.unwrap().data, r#"{"vnode-test:to":1}"#);
    assert!(emit(r#"{"wrong":1}"#, &["--yang-dir", &modules, "--unchecked"]).status.success());
    assert_eq!(watch.next().await.unwrap().data, r#"{"wrong":1}"#);
}

#[tokio::test]
async fn w22_the_daemons_own_state_fits_its_own_model() {
    let (world, client) = world(&format!("X-Yang={}", modules()), &[]).await;
    world.write("broken.instance", "broken");
    world.script("state", "exit 1");
    assert!(client.state(MODEL).await.is_err());
    world.signal(rustix::process::Signal::HUP);
    let state = async || client.state("net.vyatta.vci.ephemera.v1").await.unwrap();
    eventually("the broken file is seen", async || state().await.contains("broken.instance")).await;
    let state = state().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let text = "[Component]\nName=x.y\n[Model x.y.v1]\nX-Modules=vnode-component-v1,ephemerad-v1\n";
    let instance = Instance::read(text.as_bytes()).unwrap().value;
    let subject = Subject::of(&instance.models[0], &[folder], None).unwrap();
    let schemas = Schemas::default();
    assert_eq!(schemas.problem(&subject), None);
    schemas.check(&subject, Kind::State, &state).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let component = &state["vnode-component-v1:components"]["component"][0];
    assert_eq!((&component["calls"], &component["failures"]), (&"1".into(), &"1".into()));
    assert_eq!(component["phase"], "active");
}
