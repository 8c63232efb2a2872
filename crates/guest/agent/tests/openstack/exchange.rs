//! XS-1 to XS-14.

use std::time::Duration;

use serde_json::{Value, json};
use vnode_testkit::{Xenstored, skip};
use vnode_xenstore::memory::Faults;

use super::agent::{HOME, Host, Start, Store};

/// Longer than any test: what happens, happens because of the watch.
const NEVER: Option<Duration> = Some(Duration::from_secs(3600));

fn start(store: &Store) -> Start {
    let mut settings = store.settings();
    settings.poll = NEVER;
    Start::new(settings)
}

fn note(value: &str) -> String {
    json!({"name": "note", "value": value}).to_string()
}

/// Waits until a condition of the host's holds.
async fn until(what: &str, host: &mut Host, mut holds: impl AsyncFnMut(&mut Host) -> bool) {
    let begin = tokio::time::Instant::now();
    while !holds(host).await {
        assert!(begin.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

macro_rules! both {
    ($($(#[$doc:meta])* async fn $name:ident($store:ident) $body:block)+) => {
        $(
            $(#[$doc])*
            async fn $name(#[allow(unused_mut)] mut $store: Store) $body
        )+
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Store::memory()).await;
            })+
        }
        mod xenstored {
            $(#[tokio::test]
            async fn $name() {
                if let Some(why) = super::Xenstored::missing() {
                    super::skip(&why);
                    return;
                }
                super::$name(super::Store::Real(super::Xenstored::start())).await;
            })+
        }
    };
}

both! {
    async fn xs_01_a_request_is_answered_and_removed(store) {
        let _agent = start(&store).run();
        let mut host = store.host().await;
        let answer = host.call("abc", "version", json!("agent")).await;
        assert_eq!(answer.0, "0");
        assert_eq!(host.list("data/host").await, Vec::<String>::new());
        assert!(host.list("data").await.contains(&"host".to_owned()), "the folder stays");
    }

    async fn xs_02_twenty_at_once_are_each_executed_once(store) {
        let agent = start(&store).run();
        let mut host = store.host().await;
        for n in 0..20 {
            host.request(&n.to_string(), note(&n.to_string())).await;
        }
        for n in 0..20 {
            assert_eq!(host.wait(&n.to_string()).await["returncode"], "0");
            assert_eq!(agent.deeds.count(&n.to_string()), 1);
        }
        assert_eq!(host.list("data/host").await, Vec::<String>::new());
    }

    async fn xs_03_bad_bodies_are_refused_and_removed_without_spinning(store) {
        let _agent = start(&store).run();
        let mut host = store.host().await;
        host.call("first", "version", json!("")).await;
        let before = store.messages();
        let noise: Vec<u8> = (0..4000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let bodies: [&[u8]; 5] = [b"[1]", b"null", b"5", b"", &noise];
        for (n, body) in bodies.iter().enumerate() {
            let id = format!("bad-{n}");
            host.request(&id, body).await;
            let answer = host.wait(&id).await;
            assert_eq!(answer, json!({"message": "Request is malformed", "returncode": "500"}));
        }
        until("all removed", &mut host, async |host| host.list("data/host").await.is_empty()).await;
        // Ours wait by asking too; the original asked thousands of times a second.
        let mut asked = 0;
        if let Store::Memory { server, .. } = &store {
            asked = server.trace()[before..].iter().filter(|handled| handled.domain == 5).count();
        }
        assert!(asked < 150, "{asked} messages for five requests");
    }

    async fn xs_04_a_request_taken_back_is_not_executed(store) {
        let mut start = start(&store);
        start.at_once = 1;
        let agent = start.run();
        let mut host = store.host().await;
        host.request("1", r#"{"name":"slow","value":"1"}"#).await;
        agent.deeds.begun.notified().await;
        host.request("2", note("taken-back")).await;
        host.withdraw("2").await;
        agent.deeds.release.add_permits(1);
        host.wait("1").await;
        host.call("3", "note", json!("after")).await;
        assert_eq!(agent.deeds.count("taken-back"), 0);
        assert_eq!(host.answer("2").await, None);
    }

    async fn xs_05_a_request_taken_back_while_it_runs_is_answered(store) {
        let mut begin = start(&store);
        begin.settings.keep = Some(Duration::from_millis(300));
        let agent = begin.run();
        let mut host = store.host().await;
        host.request("1", r#"{"name":"slow"}"#).await;
        agent.deeds.begun.notified().await;
        host.withdraw("1").await;
        agent.deeds.release.add_permits(1);
        assert_eq!(host.wait("1").await["message"], "at last");
        until("the answer is collected", &mut host, async |host| host.answer("1").await.is_none())
            .await;
    }

    async fn xs_06_a_restarted_daemon_is_found_again(store) {
        let _agent = start(&store).run();
        let mut host = store.host().await;
        host.call("1", "version", json!("")).await;
        drop(host);
        store.restart();
        let mut host = store.host().await;
        assert_eq!(host.call("2", "version", json!("")).await.0, "0");
        assert_eq!(host.call("3", "version", json!("")).await.0, "0");
    }

    async fn xs_06_an_answer_waits_for_the_daemon(store) {
        let agent = start(&store).run();
        let mut host = store.host().await;
        host.request("1", r#"{"name":"slow"}"#).await;
        agent.deeds.begun.notified().await;
        drop(host);
        store.restart();
        agent.deeds.release.add_permits(1);
        let mut host = store.host().await;
        assert_eq!(host.wait("1").await["message"], "at last");
        assert_eq!(agent.deeds.count(""), 1);
    }

    async fn xs_08_answers_do_not_pile_up(store) {
        let _agent = start(&store).run();
        let mut host = store.host().await;
        for n in 0..200 {
            let id = format!("00000000-0000-0000-0000-{n:012}");
            assert_eq!(host.call(&id, "version", json!("")).await.0, "0");
        }
        let kept = host.list("data/guest").await.len();
        assert!((1..=40).contains(&kept), "{kept} answers are kept");
    }

    async fn xs_09_a_long_answer_is_cut(store) {
        let _agent = start(&store).run();
        let mut host = store.host().await;
        host.request("1", r#"{"name":"long"}"#).await;
        host.wait("1").await;
        let text = host.answer("1").await.unwrap();
        assert!(text.len() < 2000 && text.len() > 1900, "{}", text.len());
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer["message"].as_str().unwrap().ends_with("..."));
    }

    /// Latencies are measured in `bench/`; here a thousand in sequence come by the watch alone.
    async fn xs_10_a_thousand_in_sequence(store) {
        let _agent = start(&store).run();
        let mut host = store.host().await;
        for n in 0..1000 {
            assert_eq!(host.call(&n.to_string(), "version", json!("")).await.0, "0");
        }
    }

    async fn xs_12_what_was_begun_by_a_killed_agent_is_not_repeated(store) {
        let state = tempfile::tempdir().unwrap();
        let mut begin = start(&store);
        begin.settings.state = Some(state.path().to_owned());
        let agent = begin.run();
        let mut host = store.host().await;
        host.request("reset", r#"{"name":"slow","value":"reset"}"#).await;
        agent.deeds.begun.notified().await;
        drop(agent);
        assert_eq!(host.list("data/host").await, ["reset"]);
        let mut begin = start(&store);
        begin.settings.state = Some(state.path().to_owned());
        let second = begin.run();
        let answer = host.wait("reset").await;
        assert_eq!(answer["returncode"], "500");
        assert_eq!(second.deeds.count("reset"), 0, "not repeated");
        until("removed", &mut host, async |host| host.list("data/host").await.is_empty()).await;
        // Answered for good: the same id may be used for something else.
        host.request("reset", note("other")).await;
        until("executed", &mut host, async |_| second.deeds.count("other") == 1).await;
    }

    async fn xs_13_three_hundred_wait(store) {
        let mut host = store.host().await;
        let id = |n: usize| format!("00000000-0000-0000-0000-{n:012}");
        for n in 0..300 {
            host.request(&id(n), note(&n.to_string())).await;
        }
        let agent = start(&store).run();
        until("all are removed", &mut host, async |host| host.list("data/host").await.is_empty())
            .await;
        for n in 0..300 {
            assert_eq!(agent.deeds.count(&n.to_string()), 1, "{n}");
        }
        let kept = host.list("data/guest").await;
        assert!(kept.contains(&id(299)) && kept.len() <= 40, "{kept:?}");
    }

    /// R-X5: the same id with the same content again is answered, and not executed.
    async fn the_same_again_is_not_executed_twice(store) {
        let agent = start(&store).run();
        let mut host = store.host().await;
        host.call("1", "note", json!("once")).await;
        host.client.rm(vnode_xenstore::Transaction::NONE, &format!("{HOME}/data/guest/1")).await.unwrap();
        assert_eq!(host.call("1", "note", json!("once")).await.0, "0");
        assert_eq!(agent.deeds.count("once"), 1);
        host.call("1", "note", json!("another")).await;
        until("executed", &mut host, async |_| agent.deeds.count("another") == 1).await;
    }

    /// R-D5: what is quick does not wait for what is slow.
    async fn version_is_answered_while_another_command_runs(store) {
        let agent = start(&store).run();
        let mut host = store.host().await;
        host.request("1", r#"{"name":"slow"}"#).await;
        agent.deeds.begun.notified().await;
        assert_eq!(host.call("2", "version", json!("")).await.0, "0");
        assert_eq!(host.answer("1").await, None, "absent until it is ready, never empty");
        agent.deeds.release.add_permits(1);
        host.wait("1").await;
    }

    /// R-X8: what an earlier agent left is collected too.
    async fn answers_of_an_earlier_agent_are_collected(store) {
        let first = start(&store).run();
        let mut host = store.host().await;
        host.call("old", "version", json!("")).await;
        drop(first);
        let mut begin = start(&store);
        begin.settings.keep = Some(Duration::from_millis(50));
        let _second = begin.run();
        until("collected", &mut host, async |host| host.answer("old").await.is_none()).await;
    }

    /// R-X2: without the watch's help, the slow poll finds it. The folder that is watched is removed by the host.
    async fn a_removed_folder_is_made_again(store) {
        let mut begin = start(&store);
        begin.settings.poll = Some(Duration::from_millis(50));
        let _agent = begin.run();
        let mut host = store.host().await;
        host.call("1", "version", json!("")).await;
        host.client.rm(vnode_xenstore::Transaction::NONE, &format!("{HOME}/data/host")).await.unwrap();
        until("made again", &mut host, async |host| {
            host.list("data").await.contains(&"host".to_owned())
        })
        .await;
        assert_eq!(host.call("2", "version", json!("")).await.0, "0");
    }
}

/// XS-1 as the specification words it: by Xen's own command-line clients.
#[tokio::test]
async fn xs_01_by_the_command_line_clients() {
    if let Some(why) = Xenstored::missing().or_else(|| {
        vnode_testkit::find_program("xenstore-write").is_none().then(|| "no xenstore-utils".into())
    }) {
        skip(&why);
        return;
    }
    let store = Store::Real(Xenstored::start());
    let _agent = start(&store).run();
    let mut host = store.host().await;
    let Store::Real(daemon) = &store else { unreachable!() };
    let request = format!("{HOME}/data/host/abc");
    let body = r#"{"name":"version","value":"agent"}"#;
    let mut write = daemon.client("xenstore-write");
    // In another thread: the agent lives in this one.
    let written =
        tokio::task::spawn_blocking(move || write.args([request.as_str(), body]).status());
    assert!(written.await.unwrap().unwrap().success());
    host.wait("abc").await;
    let answer = daemon.ask("xenstore-read", &[&format!("{HOME}/data/guest/abc")]).unwrap();
    assert_eq!(answer, r#"{"message": "2.0.1.0", "returncode": "0"}"#);
    assert_eq!(daemon.ask("xenstore-read", &[&format!("{HOME}/data/host/abc")]), None);
    assert_eq!(daemon.ask("xenstore-exists", &[&format!("{HOME}/data/host")]).as_deref(), Some(""));
}

/// XS-7: a commit that meets another change again and again.
#[tokio::test]
async fn xs_07_commits_that_fail() {
    for failing_commits in [1, 3, 9, 10, 100] {
        let store = Store::memory();
        let agent = start(&store).run();
        let mut host = store.host().await;
        host.call("warm", "version", json!("")).await;
        let Store::Memory { server, .. } = &store else { unreachable!() };
        server.set_faults(Faults { failing_commits, ..Faults::default() });
        assert_eq!(host.call("1", "note", json!("x")).await.0, "0");
        until("removed", &mut host, async |host| host.list("data/host").await.is_empty()).await;
        assert_eq!(agent.deeds.count("x"), 1);
    }
}

/// XS-11: replies with other request ids, as some kernels' device gives.
#[tokio::test]
async fn xs_11_other_request_ids() {
    let store = Store::memory();
    let Store::Memory { server, .. } = &store else { unreachable!() };
    server.set_faults(Faults { other_request_ids: true, ..Faults::default() });
    let _agent = start(&store).run();
    let mut host = store.host().await;
    assert_eq!(host.call("1", "version", json!("")).await.0, "0");
}

/// R-X10: the guest was moved; its number is another, and its watches are gone.
#[tokio::test]
async fn a_moved_domain_is_noticed() {
    let store = Store::memory();
    let mut begin = start(&store);
    begin.settings.poll = Some(Duration::from_millis(20));
    let _agent = begin.run();
    let mut host = store.host().await;
    host.call("1", "version", json!("")).await;
    let watches = |store: &Store| {
        let Store::Memory { server, .. } = store else { unreachable!() };
        server.trace().iter().filter(|h| h.kind == 4 && h.domain == 5).count()
    };
    let before = watches(&store);
    host.client
        .write(vnode_xenstore::Transaction::NONE, &format!("{HOME}/domid"), b"6")
        .await
        .unwrap();
    until("watched anew", &mut host, async |_| watches(&store) > before).await;
    assert_eq!(host.call("2", "version", json!("")).await.0, "0");
}

/// R-X11: answers are not read, requests not written.
#[tokio::test]
async fn answers_are_not_read_and_requests_not_written() {
    let store = Store::memory();
    let _agent = start(&store).run();
    let mut host = store.host().await;
    host.call("1", "version", json!("")).await;
    let Store::Memory { server, .. } = &store else { unreachable!() };
    for handled in server.trace().iter().filter(|h| h.domain == 5) {
        assert!(!(handled.kind == 2 && handled.path.starts_with("data/guest")), "{handled:?}");
        assert!(!(handled.kind == 11 && handled.path.starts_with("data/host")), "{handled:?}");
    }
}

/// The store's quota: other nodes of the guest's leave no room, so old answers make it.
#[tokio::test]
async fn a_full_store_loses_no_answer() {
    let store = Store::memory();
    let _agent = start(&store).run();
    let mut host = store.host().await;
    for n in 0..20 {
        host.call(&format!("early-{n}"), "version", json!("")).await;
    }
    let mut made = 0;
    let Store::Memory { server, .. } = &store else { unreachable!() };
    // Up to the guest's last node: what the host makes below its folders is the guest's.
    while server.nodes_of(5) < 1000 {
        let path = format!("{HOME}/data/fill/{}/{made}", made / 50);
        host.client.write(vnode_xenstore::Transaction::NONE, &path, b"").await.unwrap();
        made += 1;
    }
    assert_eq!(host.call("late", "version", json!("")).await.0, "0");
}
