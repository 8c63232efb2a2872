//! Scripts and peers that do everything wrong: no call is left without its answer, nobody else is disturbed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![allow(clippy::disallowed_methods, reason = "tests start the programs they test")]

mod support;

use std::{
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use futures_util::{StreamExt, future::join_all};
use support::{World, eventually};
use vnode_component::client::{Client, Error};

const MODEL: &str = "a.b.v1";

async fn world(keys: &str) -> (World, Client) {
    let text = format!(
        "[Component]\nName=a.b\n{keys}\n[Model a.b.v1]\nConfig/Set=@/set\nConfig/Get=@/get\nState/Get=@/state\n\
         RPC/m/echo=/bin/cat\nRPC/m/run=@/run\n"
    );
    let other = "[Component]\nName=c.d\n[Model c.d.v1]\nState/Get=/bin/echo 1\n";
    let world = World::start(&[("a.instance", &text), ("c.instance", other)]).await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    client.activate("c.d").await.unwrap();
    (world, client)
}

/// Processes in whose environment the daemon of this world put the mark.
fn left(mark: &str) -> usize {
    let marked = |entry: &fs::DirEntry| {
        let environment = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(mark)
    };
    fs::read_dir("/proc").unwrap().flatten().filter(marked).count()
}

#[tokio::test]
async fn w02_w03_whatever_a_script_does_its_call_is_answered_and_nothing_is_left() {
    let (world, client) = world("X-Timeout=1\nX-MaxOutput=64K").await;
    // A name that no other process has, for what the scripts leave behind.
    let mark = format!("{}/sleeper", world.folder.path().display());
    std::os::unix::fs::symlink("/bin/sleep", world.path("sleeper")).unwrap();
    let sleep = format!("{mark} 1000");
    for script in [
        // Output of every wrong kind.
        "echo no".to_owned(),
        "echo '{} {}'".to_owned(),
        "echo '{\"a\":1'".to_owned(),
        "echo '{\"a\":01}'".to_owned(),
        r"printf '\377\376'".to_owned(),
        r"printf '\000'".to_owned(),
        "head -c 1000000 /dev/zero".to_owned(),
        "yes".to_owned(),
        // Error output of every wrong kind.
        "echo '{}' >&2; exit 1".to_owned(),
        "echo null >&2; exit 1".to_owned(),
        "echo '[]' >&2; exit 1".to_owned(),
        "echo '[1]' >&2; exit 1".to_owned(),
        "echo '{\"error-type\":\"\"}' >&2; exit 1".to_owned(),
        "echo '{\"error-type\":\"a.b c\"}' >&2; exit 1".to_owned(),
        r#"printf '{"error-message":"\\u0000"}' >&2; exit 1"#.to_owned(),
        r"printf '\377\000' >&2; exit 255".to_owned(),
        "yes >&2".to_owned(),
        "head -c 1000000 /dev/zero >&2; exit 1".to_owned(),
        // Ends of every kind.
        "kill -9 $$".to_owned(),
        "kill -SEGV $$".to_owned(),
        "exit 77".to_owned(),
        // Those that do not end, or leave something behind.
        sleep.clone(),
        format!("trap '' TERM INT HUP; {sleep}; {sleep}"),
        format!("{sleep} & {sleep} & wait"),
        format!("exec >&- 2>&-; {sleep}"),
    ] {
        world.script("run", &script);
        let answer = client.rpc(MODEL, "m", "run", "{}", "{}").await;
        let Err(Error::Failed(error)) = answer else { panic!("{script}: {answer:?}") };
        assert!(!error.tag.is_empty() && !error.message.is_empty(), "{script}: {error:?}");
    }
    // These do their work; what they leave behind is ended.
    for script in [
        format!("{sleep} & echo 1"),
        format!("{sleep} >/dev/null 2>&1 & echo 1"),
        format!("({sleep} &) ; echo 1"),
        format!("trap '' TERM; {sleep} & echo 1"),
    ] {
        world.script("run", &script);
        assert_eq!(client.rpc(MODEL, "m", "run", "{}", "{}").await.unwrap(), "1", "{script}");
    }
    assert_eq!(client.state("c.d.v1").await.unwrap(), "1");
    eventually("no process is left", async || left(&mark) == 0).await;
}

#[tokio::test]
async fn x7_w17_a_component_whose_scripts_hang_holds_up_itself_only() {
    let (world, client) = world("X-Timeout=2\nX-Concurrency=2").await;
    world.script("state", "sleep 1000");
    let hanging = join_all((0..6).map(|_| client.state(MODEL)));
    let others = async {
        let mut answered = 0;
        for _ in 0..50 {
            answered += usize::from(client.state("c.d.v1").await.is_ok());
        }
        answered
    };
    let (hanging, answered) = tokio::join!(hanging, others);
    assert_eq!(answered, 50);
    assert!(hanging.iter().all(|answer| matches!(answer, Err(Error::Failed(_)))));
}

#[tokio::test]
async fn r26_scripts_run_side_by_side() {
    let (world, client) = world("").await;
    // Each waits until all eight have begun: one after another they would never end.
    world.script(
        "state",
        "mkdir @/begun.$$; while [ $(ls -d @/begun.* | wc -l) -lt 8 ]; do sleep 0.01; done; echo 1",
    );
    for answer in join_all((0..8).map(|_| client.state(MODEL))).await {
        assert_eq!(answer.unwrap(), "1");
    }
}

#[tokio::test]
async fn l12_w11_no_call_is_lost_while_definitions_change() {
    let (world, client) = world("").await;
    let text = |number: u32| {
        format!(
            "[Component]\nName=a.b\n[Model a.b.v1]\nState/Get=/bin/echo {number}\nRPC/m/echo=/bin/cat\n"
        )
    };
    world.write("a.instance", &text(0));
    eventually("the first is served", async || {
        client.state(MODEL).await.as_deref().ok() == Some("0")
    })
    .await;
    let (done, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    let caller = async || {
        while !done.load(Ordering::Relaxed) {
            let answer = client.state(MODEL).await;
            assert!(answer.is_ok(), "{answer:?}");
            client.rpc(MODEL, "m", "echo", "{}", "[1]").await.unwrap();
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    let writer = async {
        for number in 1..=10 {
            world.write("a.instance", &text(number));
            world.signal(rustix::process::Signal::HUP);
            let wanted = number.to_string();
            eventually("the new one is served", async || {
                client.state(MODEL).await.unwrap() == wanted
            })
            .await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(caller(), caller(), caller(), writer);
    assert!(calls.load(Ordering::Relaxed) > 10);
}

#[tokio::test]
async fn w24_a_set_that_fails_half_way_is_undone() {
    let (world, client) = world("X-Abort=replay").await;
    // It does half of its work before it finds what is wrong.
    world.script("set", "cat >@/config; grep -q bad @/config && exit 1; exit 0");
    world.script("get", "cat @/config");
    fs::write(world.path("config"), "[0]").unwrap();
    // What nobody set here is read before.
    assert!(client.set(MODEL, "\"bad\"").await.is_err());
    assert_eq!(client.get(MODEL).await.unwrap(), "[0]");
    client.set(MODEL, "[1]").await.unwrap();
    assert!(client.set(MODEL, "\"bad\"").await.is_err());
    assert_eq!(client.get(MODEL).await.unwrap(), "[1]");

    // A program of its own; and without the key all stays as it is.
    for (key, wanted) in [("X-Abort=@/undo", "[\"undone\",[2]]"), ("", "\"bad\"")] {
        let text = format!(
            "[Component]\nName=e.f\n{key}\n[Model e.f.v1]\nConfig/Set=@/set\nConfig/Get=@/get\n"
        );
        world.script("undo", "printf '[\"undone\",%s]' \"$(cat)\" >@/config");
        world.write("e.instance", &text);
        world.signal(rustix::process::Signal::HUP);
        eventually("it is known", async || client.activate("e.f").await.is_ok()).await;
        client.set("e.f.v1", "[2]").await.unwrap();
        eventually("its definition is served", async || {
            assert!(client.set("e.f.v1", "\"bad\"").await.is_err());
            client.get("e.f.v1").await.unwrap() == wanted
        })
        .await;
    }
}

#[tokio::test]
async fn w25_all_components_share_one_connection() {
    let file = |n: u32| {
        (
            format!("{n}.instance"),
            format!("[Component]\nName=t.c{n}\n[Model t.c{n}.v1]\nState/Get=/bin/echo {n}\n"),
        )
    };
    let files: Vec<(String, String)> = (0..20).map(file).collect();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let world = World::start(&files).await;
    let (client, raw) = (world.client().await, world.raw().await);
    let mut owners = std::collections::BTreeSet::new();
    for n in 0..20 {
        client.activate(&format!("t.c{n}")).await.unwrap();
        for name in [format!("t.c{n}"), format!("t.c{n}.v1")] {
            let bus = "org.freedesktop.DBus";
            let reply = raw
                .call_method(
                    Some(bus),
                    "/org/freedesktop/DBus",
                    Some(bus),
                    "GetNameOwner",
                    &(name,),
                )
                .await;
            owners.insert(reply.unwrap().body().deserialize::<(String,)>().unwrap().0);
        }
    }
    assert_eq!(owners.len(), 1, "{owners:?}");
}

#[tokio::test]
async fn l18_w06_the_bus_goes_while_scripts_run() {
    let (mut world, client) = world("X-Timeout=60").await;
    world.script("state", "echo $$ >@/pid.new; mv @/pid.new @/pid; exec sleep 1000");
    let waiting = tokio::spawn(async move { client.state(MODEL).await });
    eventually("the script runs", async || world.path("pid").exists()).await;
    world.bus.kill();
    assert_eq!(world.ended(), Some(1));
    assert!(waiting.await.unwrap().is_err());
    let pid = world.read("pid");
    eventually("the script is gone", async || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    })
    .await;
}

#[tokio::test]
async fn l19_w05_without_a_log_to_write_to_it_works_all_the_same() {
    let (mut world, _) = world("").await;
    world.daemon = None;
    // Nobody reads its error output, and there is no syslog here: upstream crashed at its first line.
    let mut command = Command::new(env!("CARGO_BIN_EXE_vnode-component"));
    command.args(["serve", "--log", "debug", "-instance-dir"]).arg(world.instances());
    command.args(["--bus", &world.bus.address]).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(child.stderr.take());
    world.daemon = Some(support::Daemon { child });
    let client = world.client().await;
    eventually("it serves", async || client.list().await.is_ok()).await;
    client.activate("c.d").await.unwrap();
    assert_eq!(client.state("c.d.v1").await.unwrap(), "1");
    assert!(client.activate("no.such").await.is_err());
    assert_eq!(client.state("c.d.v1").await.unwrap(), "1");
}

#[tokio::test]
async fn b08_a_client_that_looks_up_describes_and_calls() {
    let (world, client) = world("").await;
    // The stand-in for the schema service knows one module.
    let schema = world.raw().await;
    let mut stream = zbus::MessageStream::from(&schema);
    schema.request_name("net.vyatta.vci.config.yangd.v1").await.unwrap();
    let serving = schema.clone();
    let served = tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            let header = message.header();
            let reply = match header.member().map(|member| member.as_str().to_owned()).as_deref() {
                Some("LookupRpcDestinationByModuleName") => {
                    let text = format!("{{\"yangd-v1:destination\":\"{MODEL}\"}}");
                    zbus::Message::method_return(&header).build(&(text,))
                }
                Some("ValidateRpcInput") => {
                    zbus::Message::method_return(&header).build(&("{\"yangd-v1:valid\":true}",))
                }
                _ => continue,
            };
            serving.send(&reply.unwrap()).await.unwrap();
        }
    });
    let raw = world.raw().await;
    let text = |message: zbus::Message| message.body().deserialize::<(String,)>().unwrap().0;
    let found = raw
        .call_method(
            Some("net.vyatta.vci.config.yangd.v1"),
            "/yangd_v1/rpc",
            Some("yang.module.YangdV1.RPC"),
            "LookupRpcDestinationByModuleName",
            &("{}", "{\"yangd-v1:module-name\":\"m\"}"),
        )
        .await;
    let found: serde_json::Value = serde_json::from_str(&text(found.unwrap())).unwrap();
    let model = found["yangd-v1:destination"].as_str().unwrap();
    let introspectable = Some("org.freedesktop.DBus.Introspectable");
    let described = raw.call_method(Some(model), "/m/rpc", introspectable, "Introspect", &()).await;
    let described = text(described.unwrap());
    // As the client decides: interface and method must be elements of the object's own node.
    let methods = described.split("<interface name=\"yang.module.M.RPC\">").nth(1).unwrap();
    let methods = methods.split("</interface>").next().unwrap();
    for member in ["Echo", "Run"] {
        assert!(methods.contains(&format!("<method name=\"{member}\">")), "{described}");
    }
    assert!(!methods.contains("\"Other\""));
    let answer = raw
        .call_method(Some(model), "/m/rpc", Some("yang.module.M.RPC"), "Echo", &("{}", "[1]"))
        .await;
    assert_eq!(text(answer.unwrap()), "[1]");
    served.abort();
    drop(client);
}

#[tokio::test]
async fn b17_who_listens_twice_and_who_stops_listening() {
    let (world, client) = world("").await;
    let mut first = client.watch(Some("m")).await.unwrap();
    let again = client.watch(Some("m")).await.unwrap();
    let other = world.client().await;
    let mut second = other.watch(Some("m")).await.unwrap();
    client.emit("m", "told", "1").await.unwrap();
    // Each handler hears it once, although the connection asked twice.
    assert_eq!(first.next().await.unwrap().data, "1");
    assert_eq!(second.next().await.unwrap().data, "1");
    drop(again);
    drop(second);
    drop(other);
    client.emit("m", "told", "2").await.unwrap();
    assert_eq!(first.next().await.unwrap().data, "2");
    // Not what was never asked for.
    client.emit("n", "told", "3").await.unwrap();
    client.emit("m", "told", "4").await.unwrap();
    assert_eq!(first.next().await.unwrap().data, "4");
}
