//! Scripts that hang, flood, fork and come in crowds: section 4.7 of the specification.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![allow(clippy::disallowed_methods, reason = "tests start the programs they test")]

mod support;

use std::fs;

use futures_util::future::join_all;
use support::{World, eventually};
use vnode_component::client::{Client, Error};

const MODEL: &str = "a.b.v1";

async fn world(keys: &str, options: &[&str]) -> (World, Client) {
    let text = format!(
        "[Component]\nName=a.b\n{keys}\n[Model a.b.v1]\nConfig/Set=@/set\nConfig/Check=@/check\nState/Get=@/state\n\
         RPC/m/echo=/bin/cat\nRPC/m/bad=@/bad\n"
    );
    let other = "[Component]\nName=c.d\n[Model c.d.v1]\nState/Get=/bin/echo 1\n";
    let world = World::start_with(&[("a.instance", &text), ("c.instance", other)], options).await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    client.activate("c.d").await.unwrap();
    (world, client)
}

/// Whether a process is gone, or only waits to be reaped.
fn is_gone(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[tokio::test]
async fn x1_x2_a_script_that_hangs_is_answered_for_and_gone() {
    let (world, client) = world("X-Timeout=500ms", &[]).await;
    world.script("state", "trap '' TERM; sleep 1000 & echo $! >@/pid; wait; sleep 1000");
    let Err(Error::Failed(error)) = client.state(MODEL).await else { panic!() };
    assert_eq!(error.app_tag, "exec-timeout");
    eventually("its child is gone", async || is_gone(&world.read("pid"))).await;
    assert_eq!(client.state("c.d.v1").await.unwrap(), "1");
}

#[tokio::test]
async fn x3_a_flood_costs_no_memory() {
    let (world, client) = world("X-MaxOutput=4M", &[]).await;
    let resident = || {
        let pid = world.daemon.as_ref().unwrap().child.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    client.state("c.d.v1").await.unwrap();
    let before = resident();
    world.script("state", "head -c 1000000000 /dev/zero");
    let Err(Error::Failed(error)) = client.state(MODEL).await else { panic!() };
    assert_eq!(error.tag, "too-big");
    assert!(resident() - before < 2 * 4096, "{} KiB more", resident() - before);
}

#[tokio::test]
async fn x5_no_more_scripts_at_one_time_than_allowed() {
    let (world, client) = world("X-Concurrency=100", &["--scripts", "7"]).await;
    // Each says how many there are, and goes when it has.
    world.script(
        "state",
        "mkdir @/running.$$; ls -d @/running.* | wc -l; sleep 0.05; rmdir @/running.$$",
    );
    let answers = join_all((0..200).map(|_| client.state(MODEL))).await;
    for answer in answers {
        let running: u32 = answer.unwrap().parse().unwrap();
        assert!((1..=7).contains(&running), "{running} at one time");
    }
}

#[tokio::test]
async fn x6_sets_and_checks_of_a_model_run_in_their_order() {
    let (world, client) = world("", &[]).await;
    let step = "read value; mkdir @/busy || exit 1; echo $value >>@/trace; rmdir @/busy";
    world.script("set", step);
    world.script("check", step);
    let raw = world.raw().await;
    // Sent on one connection, none waited for: the order is that of the messages.
    for number in 0..40 {
        let member = if number % 2 == 0 { "Set" } else { "Check" };
        let call = zbus::Message::method_call("/running", member)
            .destination(MODEL)
            .interface("net.vyatta.vci.config.write")
            .build(&(number.to_string(),))
            .unwrap();
        raw.send(&call).await.unwrap();
    }
    let expected: String = (0..40).map(|number| format!("{number}\n")).collect();
    eventually("all have run", async || world.read("trace").lines().count() == 40).await;
    assert_eq!(world.read("trace"), expected);
    drop(client);
}

#[tokio::test]
async fn x6_one_that_is_refused_lets_nobody_past_those_before_it() {
    let (world, client) = world("", &[]).await;
    world.script(
        "set",
        "read value; mkdir @/busy || exit 1; sleep 0.05; echo $value >>@/trace; rmdir @/busy",
    );
    let raw = world.raw().await;
    for number in 0..20 {
        // Every other one is no JSON, and is refused at once.
        let (member, text) =
            if number % 2 == 0 { ("Set", number.to_string()) } else { ("Check", "{".to_owned()) };
        let call = zbus::Message::method_call("/running", member)
            .destination(MODEL)
            .interface("net.vyatta.vci.config.write")
            .build(&(text,))
            .unwrap();
        raw.send(&call).await.unwrap();
    }
    let expected: String = (0..20).step_by(2).map(|number| format!("{number}\n")).collect();
    eventually("all have run", async || world.read("trace").lines().count() == 10).await;
    assert_eq!(world.read("trace"), expected);
    drop(client);
}

#[tokio::test]
async fn x7_a_fork_bomb_is_ended_with_its_group() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, to give the script a user of its own");
        return;
    }
    let (world, client) = world("X-User=54321\nX-MaxProcesses=20\nX-Timeout=1", &[]).await;
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(world.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    world.script("state", "bomb() { bomb | bomb & }; bomb; sleep 1000");
    assert!(matches!(client.state(MODEL).await, Err(Error::Failed(_))));
    assert_eq!(client.state("c.d.v1").await.unwrap(), "1");
    eventually("none is left", async || {
        fs::read_dir("/proc").unwrap().flatten().all(|entry| {
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            !status.contains("\nUid:\t54321\t") || status.contains("\nState:\tZ")
        })
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_good_and_bad_calls_lose_none() {
    let (world, client) = world("", &[]).await;
    world.script("bad", "exit 1");
    let raw = world.raw().await;
    let (mut good, mut bad) = (0, 0);
    for round in 0..100 {
        let calls = (0..100).map(|number| {
            let (client, raw) = (&client, &raw);
            async move {
                // A few run a script: the point is that every call is answered, not how fast sh starts.
                match (round + number) % 10 {
                    0 if number < 50 => client.rpc(MODEL, "m", "echo", "{}", "[1]").await.is_ok(),
                    1 if number < 50 => client.rpc(MODEL, "m", "bad", "{}", "{}").await.is_ok(),
                    2 | 3 => client.set(MODEL, "{").await.is_ok(),
                    4 => {
                        raw.call_method(Some(MODEL), "/no", None::<&str>, "Get", &()).await.is_ok()
                    }
                    5 => client.rpc(MODEL, "m", "echo", "x", "{}").await.is_ok(),
                    _ => {
                        let peer = Some("org.freedesktop.DBus.Peer");
                        raw.call_method(Some(MODEL), "/", peer, "Ping", &()).await.is_ok()
                    }
                }
            }
        });
        for ok in join_all(calls).await {
            if ok { good += 1 } else { bad += 1 }
        }
    }
    assert_eq!(good + bad, 10_000);
    assert!(good > 4000 && bad > 3000, "{good} good, {bad} bad");
}
