//! Activation, reload, the end of the bus and of the daemon: section 4.6 of the specification.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![allow(clippy::disallowed_methods, reason = "tests start the programs they test")]

mod support;

use std::fs;

use rustix::process::Signal;
use support::{Bus, World, eventually};
use vnode_component::client::{Client, Error};

const ONE: &str =
    "[Component]\nName=a.b\nStart=@/start\nStop=@/stop\n[Model a.b.v1]\nState/Get=/bin/echo 1\n";

async fn one() -> World {
    let world = World::start(&[("one.instance", ONE)]).await;
    world.script("start", "echo start >>@/trace");
    world.script("stop", "echo stop >>@/trace");
    world
}

async fn phase(client: &Client, name: &str) -> Option<String> {
    let list = client.list().await.unwrap();
    let found = list.iter().find(|component| component["name"] == *name)?;
    Some(found["phase"].as_str().unwrap().to_owned())
}

fn is(result: &Result<String, Error>, wanted: &str) -> bool {
    matches!(result, Err(Error::Refused { name, .. }) if name.ends_with(wanted))
}

#[tokio::test]
async fn l01_unknown_components() {
    let world = one().await;
    let client = world.client().await;
    for result in [client.activate("no.such").await, client.deactivate("no.such").await] {
        let Err(Error::Refused { name, text }) = result else { panic!("{result:?}") };
        assert!(name.ends_with(".Failed") && text.contains("no.such"));
    }
}

#[tokio::test]
async fn r03_l02_l03_l06_start_and_stop_run_once_each() {
    let world = one().await;
    let client = world.client().await;
    assert!(is(&client.state("a.b.v1").await, "ServiceUnknown"));
    client.deactivate("a.b").await.unwrap();
    client.activate("a.b").await.unwrap();
    client.activate("a.b").await.unwrap();
    assert_eq!(client.state("a.b.v1").await.unwrap(), "1");
    client.deactivate("a.b").await.unwrap();
    client.deactivate("a.b").await.unwrap();
    assert!(is(&client.state("a.b.v1").await, "ServiceUnknown"));
    client.activate("a.b").await.unwrap();
    assert_eq!(world.read("trace"), "start\nstop\nstart\n");
}

#[tokio::test]
async fn l04_a_start_that_fails_fails_the_activation() {
    let world = one().await;
    let client = world.client().await;
    world.script("start", "echo broken >&2; exit 1");
    let Err(Error::Failed(error)) = client.activate("a.b").await else { panic!() };
    assert_eq!(error.message, "broken\n");
    assert!(is(&client.state("a.b.v1").await, "ServiceUnknown"));
    world.write("one.instance", &ONE.replace("Start=", "X-StartRequired=false\nStart="));
    eventually("the definition is changed", async || client.activate("a.b").await.is_ok()).await;
}

#[tokio::test]
async fn l05_a_slow_start_holds_up_nobody_else() {
    let world = one().await;
    world.script("start", "mkfifo @/gate; cat @/gate");
    world.write("two.instance", "[Component]\nName=c.d\n[Model c.d.v1]\nState/Get=/bin/echo 2\n");
    let client = world.client().await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.activate("a.b").await }
    });
    eventually("Start runs", async || world.path("gate").exists()).await;
    eventually("the second is known", async || client.activate("c.d").await.is_ok()).await;
    assert_eq!(client.state("c.d.v1").await.unwrap(), "2");
    assert!(!slow.is_finished());
    fs::write(world.path("gate"), "").unwrap();
    slow.await.unwrap().unwrap();
}

#[tokio::test]
async fn l07_deactivation_lets_calls_end() {
    let world = World::start(&[("one.instance", &ONE.replace("/bin/echo 1", "@/get"))]).await;
    world.script("start", "true");
    world.script("stop", "true");
    world.script("get", "mkfifo @/gate; cat @/gate");
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.state("a.b.v1").await }
    });
    eventually("the call runs", async || world.path("gate").exists()).await;
    let stop = tokio::spawn({
        let client = client.clone();
        async move { client.deactivate("a.b").await }
    });
    eventually("it stops", async || phase(&client, "a.b").await.as_deref() == Some("stopping"))
        .await;
    assert!(is(&client.state("a.b.v1").await, "Failed"));
    fs::write(world.path("gate"), "7").unwrap();
    assert_eq!(call.await.unwrap().unwrap(), "7");
    stop.await.unwrap().unwrap();
}

#[tokio::test]
async fn l08_l09_input_of_activate() {
    let world = one().await;
    let client = world.client().await;
    let own = "net.vyatta.vci.ephemera.v1";
    for input in ["{}", "{\"component\":\"a.b\"}", "[]", "null"] {
        let Err(Error::Failed(error)) =
            client.rpc(own, "ephemerad-v1", "activate", "{}", input).await
        else {
            panic!("{input}")
        };
        assert_eq!(error.tag, "invalid-value");
    }
    let raw = world.raw().await;
    let body = ("no metadata", "{\"ephemerad-v1:component\":\"a.b\"}");
    let interface = Some("yang.module.EphemeradV1.RPC");
    let reply = raw
        .call_method(Some(own), "/ephemerad_v1/rpc", interface, "Activate", &body)
        .await
        .unwrap();
    assert_eq!(reply.body().deserialize::<(String,)>().unwrap().0, "{}");
}

#[tokio::test]
async fn l10_l11_l13_what_means_the_same_changes_nothing() {
    let world = one().await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    let file = world.instances().join("one.instance");
    let text = fs::read_to_string(&file).unwrap();
    // In place: emptied first.
    fs::write(&file, "").unwrap();
    fs::write(&file, &text).unwrap();
    world.write("one.instance", &format!("# a note\n{ONE}\n"));
    // Another file tells when the folder was read.
    world.write("two.instance", "[Component]\nName=c.d\n");
    eventually("the second is known", async || phase(&client, "c.d").await.is_some()).await;
    assert_eq!(phase(&client, "a.b").await.as_deref(), Some("active"));
    assert_eq!(world.read("trace"), "start\n");
}

#[tokio::test]
async fn l12_l17_a_changed_definition_is_swapped_in_place() {
    let world = one().await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    let changed =
        format!("{}[Model a.b.v2]\nState/Get=/bin/echo 3\n", ONE.replace("echo 1", "echo 2"));
    world.write("one.instance", &changed);
    // No call fails while it is swapped.
    eventually("the new command runs", async || {
        let answer = client.state("a.b.v1").await.unwrap();
        assert!(["1", "2"].contains(&answer.as_str()));
        answer == "2"
    })
    .await;
    eventually("the new name is claimed", async || client.state("a.b.v2").await.is_ok()).await;
    world.write("one.instance", &changed.replace("a.b.v1", "a.b.v3"));
    eventually("the old name is gone", async || {
        is(&client.state("a.b.v1").await, "ServiceUnknown")
    })
    .await;
    assert_eq!(client.state("a.b.v3").await.unwrap(), "2");
    assert_eq!(world.read("trace"), "start\n");
}

#[tokio::test]
async fn l14_l15_broken_files_keep_the_last_good_removed_ones_stop() {
    let world = one().await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    world.write("one.instance", "broken");
    eventually("the file is seen", async || {
        client.list().await.unwrap()[0]["broken"]
            .as_str()
            .is_some_and(|reason| reason.contains("line 1"))
    })
    .await;
    assert_eq!(client.state("a.b.v1").await.unwrap(), "1");
    fs::remove_file(world.instances().join("one.instance")).unwrap();
    eventually("it is forgotten", async || phase(&client, "a.b").await.is_none()).await;
    eventually("its name is gone", async || is(&client.state("a.b.v1").await, "ServiceUnknown"))
        .await;
    eventually("Stop ran", async || world.read("trace") == "start\nstop\n").await;
}

#[tokio::test]
async fn l16_another_folder_takes_the_place() {
    let world = one().await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    let (new, old) = (world.path("new"), world.path("old"));
    fs::create_dir(&new).unwrap();
    fs::copy(world.instances().join("one.instance"), new.join("one.instance")).unwrap();
    fs::rename(world.instances(), old).unwrap();
    fs::rename(new, world.instances()).unwrap();
    world.write("two.instance", "[Component]\nName=c.d\n");
    eventually("the new folder is read", async || phase(&client, "c.d").await.is_some()).await;
    assert_eq!(phase(&client, "a.b").await.as_deref(), Some("active"));
    world.write("three.instance", "[Component]\nName=e.f\n");
    eventually("the new folder is followed", async || phase(&client, "e.f").await.is_some()).await;
}

#[tokio::test]
async fn l18_without_the_bus_the_daemon_fails() {
    let mut world = one().await;
    world.bus.kill();
    assert_eq!(world.ended(), Some(1));
    assert!(world.log().contains("is gone"), "{}", world.log());
}

#[tokio::test]
async fn l18_with_reconnect_it_comes_back_with_its_names() {
    let mut world = World::start_with(&[("one.instance", ONE)], &["--reconnect"]).await;
    world.script("start", "echo start >>@/trace");
    world.client().await.activate("a.b").await.unwrap();
    world.bus.kill();
    world.bus = Bus::start(world.folder.path());
    let client = world.client().await;
    eventually("its names are back", async || client.state("a.b.v1").await.is_ok()).await;
    assert_eq!(world.read("trace"), "start\n");
}

#[tokio::test]
async fn l20_told_to_end_it_stops_its_components() {
    let mut world = one().await;
    world.client().await.activate("a.b").await.unwrap();
    world.signal(Signal::TERM);
    assert_eq!(world.ended(), Some(0));
    assert_eq!(world.read("trace"), "start\nstop\n");
}

#[tokio::test]
async fn l21_hangup_reads_the_folder_now() {
    let world = one().await;
    world.signal(Signal::HUP);
    let client = world.client().await;
    assert_eq!(phase(&client, "a.b").await.as_deref(), Some("inactive"));
    let reload =
        client.rpc("net.vyatta.vci.ephemera.v1", "vnode-component-v1", "reload", "{}", "{}").await;
    assert_eq!(reload.unwrap(), "{}");
}

#[tokio::test]
async fn b11_a_name_that_another_owns_is_an_error() {
    let world = one().await;
    let other = world.raw().await;
    other.request_name("a.b").await.unwrap();
    let client = world.client().await;
    let Err(Error::Refused { text, .. }) = client.activate("a.b").await else { panic!() };
    assert!(text.contains("`a.b`"), "{text}");
    // The model's name, claimed before, is given back, and Stop has run.
    assert!(is(&client.state("a.b.v1").await, "ServiceUnknown"));
    assert_eq!(world.read("trace"), "start\nstop\n");
    other.release_name("a.b").await.unwrap();
    client.activate("a.b").await.unwrap();
}

#[tokio::test]
async fn i17_i21_i22_of_a_folder_with_everything_the_good_is_served() {
    let files = [
        ("a.instance", "[Component]\nName=a.b\n[Model a.b.v1]\nState/Get=/bin/echo 1\n"),
        ("b.instance", "[Component]\nName=a.b\n[Model a.b.v1]\nState/Get=/bin/echo 2\n"),
        ("c.instance", "broken"),
        ("d.instance~", "[Component]\nName=c.d\n"),
        (".e.instance", "[Component]\nName=c.e\n"),
        ("README", "hello"),
    ];
    let world = World::start(&files).await;
    let client = world.client().await;
    let names: Vec<_> = client.list().await.unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["a.b"]);
    client.activate("a.b").await.unwrap();
    assert_eq!(client.state("a.b.v1").await.unwrap(), "1");
    assert!(world.log().contains("defined by"));
}
