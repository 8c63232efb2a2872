//! The example, from its own script on a bus that it starts: what its README says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![allow(clippy::disallowed_methods, reason = "tests start the programs they test")]

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use vnode_component::{
    client::{Client, Error},
    definition::{Component, Instance},
};

const MODEL: &str = "net.vyatta.eng.vci.example.ephemeral.toaster.v1";

#[tokio::test]
async fn the_toaster_works_as_its_readme_says() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/toaster");
    let read = |name: &str| {
        let text = std::fs::read_to_string(example.join("component").join(name)).unwrap();
        text.replace("@FOLDER@", "/x").into_bytes()
    };
    assert_eq!(Component::read(&read("toaster.component")).unwrap().findings, []);
    assert_eq!(Instance::read(&read("toaster.instance")).unwrap().findings, []);

    let folder = tempfile::tempdir().unwrap();
    // `vnode-agent component VERB` is `vnode-component VERB`.
    let programs = tempfile::tempdir().unwrap();
    let agent = programs.path().join("vnode-agent");
    let text = format!("#!/bin/sh\nshift\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_vnode-component"));
    std::fs::write(&agent, text).unwrap();
    std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut served = Command::new(example.join("serve.sh"))
        .arg(folder.path())
        .env("VNODE_AGENT", &agent)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(served.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let client = Client::connect(address.trim()).await.unwrap();

    let state = client.state(MODEL).await.unwrap();
    assert_eq!(
        state,
        r#"{"toaster:toaster":{"toaster-status":"up","toasts-made":0,"slices-left":10}}"#
    );
    let rpc = async |name: &str, input: &str| client.rpc(MODEL, "toaster", name, "{}", input).await;
    let mut watch = client.watch(Some("toaster")).await.unwrap();
    let mut told = async || watch.next().await.unwrap().data;
    for _ in 0..10 {
        assert_eq!(rpc("make-toast", "{}").await.unwrap(), "{}");
        assert_eq!(told().await, r#"{"toaster:toast-status":"done"}"#);
    }
    let Err(Error::Failed(error)) = rpc("make-toast", "{}").await else { panic!() };
    assert_eq!(error.tag, "resource-denied");
    assert_eq!(told().await, r#"{"toaster:toast-status":"out-of-bread"}"#);
    let Err(Error::Failed(error)) = rpc("restock-toaster", "{}").await else { panic!() };
    assert_eq!(error.path, "/toaster:restock-toaster/amount-of-bread");
    rpc("restock-toaster", r#"{"toaster:amount-of-bread": 5}"#).await.unwrap();
    assert!(client.state(MODEL).await.unwrap().contains("\"slices-left\":5"));
    assert!(rpc("cancel-toast", "{}").await.is_err());
    let config = r#"{"toaster:toaster":{"darkness":7}}"#;
    client.set(MODEL, config).await.unwrap();
    assert_eq!(client.get(MODEL).await.unwrap(), config);
    let Err(Error::Failed(error)) = client.set(MODEL, &config.replace('7', "11")).await else {
        panic!()
    };
    assert_eq!(
        (error.tag.as_str(), error.path.as_str()),
        ("invalid-value", "/toaster:toaster/darkness")
    );
    assert_eq!(client.get(MODEL).await.unwrap(), config);
    // What only the script can know.
    let make = r#"{"toaster:toaster":{"manufacturer":"acme"}}"#;
    let Err(Error::Failed(error)) = client.check(MODEL, make).await else { panic!() };
    assert_eq!(error.path, "/toaster:toaster/manufacturer");

    let pid = rustix::process::Pid::from_raw(i32::try_from(served.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(served.wait().unwrap().success());
}

/// Checks the skeleton's script with its own test.
#[tokio::test]
async fn a_new_component_passes_its_own_test() {
    if Command::new("/usr/bin/python3").arg("--version").output().is_err() {
        println!("skipped: /usr/bin/python3 is not there");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = vnode_component::skeleton::create(folder.path(), "greeter").unwrap();
    let agent = folder.path().join("vnode-agent");
    let text = format!("#!/bin/sh\nshift\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_vnode-component"));
    std::fs::write(&agent, text).unwrap();
    std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let out = Command::new(made.join("test")).env("PATH", path).output().unwrap();
    assert!(out.status.success(), "{out:?}");
}
