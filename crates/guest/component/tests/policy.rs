//! The packaged bus configuration: cases B12 to B15 of the specification.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![allow(clippy::disallowed_methods, reason = "tests start real clients")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use support::{Bus, World};
use vnode_component::{client::Error, install::policy_text};

const INSTANCE: &str = "[Component]\nName=a.b\nStop=@/stop\n[Model a.b.v1]\nConfig/Set=@/set\nState/Get=/bin/echo 1\n\
    RPC/m/x=/bin/cat\n";

/// The packaged bus, with policy files for these names.
async fn world(names: &[&str]) -> Option<World> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the policy speaks of root");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let policy = folder.path().join("bus.d");
    fs::create_dir(&policy).unwrap();
    for name in names.iter().chain(&["net.vyatta.vci.ephemera", "net.vyatta.vci.ephemera.v1"]) {
        fs::write(policy.join(format!("{name}.conf")), policy_text(name)).unwrap();
    }
    let config = include_str!("../packaging/vyatta-vci-bus.conf")
        .replace("/var/run/vci/vci_bus_socket", &folder.path().join("bus").display().to_string())
        .replace("/etc/vci/bus.d", &policy.display().to_string());
    let bus = Bus::start_with(folder.path(), &config);
    let mut world = World { daemon: None, bus, folder };
    fs::create_dir(world.instances()).unwrap();
    world.write("a.instance", INSTANCE);
    world.script("set", "touch @/ran");
    world.script("stop", "touch @/stopped");
    world.serve(&[]).await;
    Some(world)
}

#[tokio::test]
async fn b12_a_name_that_the_policy_refuses() {
    let Some(world) = world(&["a.b.v1"]).await else { return };
    let client = world.client().await;
    let Err(Error::Refused { name, .. }) = client.activate("a.b").await else { panic!() };
    assert_eq!(name, "org.freedesktop.DBus.Error.AccessDenied");
    assert!(world.path("stopped").exists());
    let Err(Error::Refused { name, .. }) = client.state("a.b.v1").await else { panic!() };
    assert!(name.ends_with("ServiceUnknown"), "{name}");
}

#[tokio::test]
async fn b13_b14_only_the_configuration_daemon_writes() {
    let Some(world) = world(&["a.b", "a.b.v1"]).await else { return };
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    let Err(Error::Refused { name, .. }) = client.set("a.b.v1", "{}").await else { panic!() };
    assert_eq!(name, "org.freedesktop.DBus.Error.AccessDenied");
    assert!(!world.path("ran").exists());
    let configd = world.raw().await;
    configd.request_name("net.vyatta.configd").await.unwrap();
    let write = Some("net.vyatta.vci.config.write");
    configd.call_method(Some("a.b.v1"), "/running", write, "Set", &("{}",)).await.unwrap();
    assert!(world.path("ran").exists());
}

#[tokio::test]
async fn b15_users_may_look_but_not_call() {
    let Some(world) = world(&["a.b", "a.b.v1"]).await else { return };
    world.client().await.activate("a.b").await.unwrap();
    let call = |path: &str, method: &str, arguments: &[&str]| {
        let out = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "dbus-send"])
            .args([
                &format!("--bus={}", world.bus.address),
                "--print-reply",
                "--dest=a.b.v1",
                path,
                method,
            ])
            .args(arguments)
            .output()
            .unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (ok, error) = call("/", "org.freedesktop.DBus.Introspectable.Introspect", &[]);
    assert!(ok, "{error}");
    let (ok, error) = call("/state", "net.vyatta.vci.config.read.Get", &[]);
    assert!(!ok && error.contains("AccessDenied"), "{error}");
    let (ok, error) = call("/m/rpc", "yang.module.M.RPC.X", &["string:{}", "string:{}"]);
    assert!(!ok && error.contains("AccessDenied"), "{error}");
}
