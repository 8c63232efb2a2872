//! Programs and their clients: ended with them, or detached from them (RQ-18).

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use vnode_protocol::frame::Frame;

use super::support::{Agent, Client, PROGRAM, code, eventually};

/// An agent that keeps its detached programs in its own folder, which may be there before it.
fn start(more: &str) -> Agent {
    Agent::with(|folder| configuration(folder, folder, more))
}

fn configuration(folder: &Path, state: &Path, more: &str) -> String {
    format!(
        "defaults = false\n[command.exec]\nstate-dir = \"{}/exec\"\n[[channel]]\nname = \"native\"\n\
         exchange = \"unix\"\nparser = \"native\"\npath = \"{}/agent.sock\"\n{more}",
        state.display(),
        folder.display()
    )
}

/// Begins a detached program; gives what is told of it.
async fn detach(client: &mut Client, mut value: Value) -> Value {
    value["detach"] = true.into();
    client.call("exec", value).await.ok().clone()
}

fn sh(script: &str) -> Value {
    json!({ "argv": ["sh", "-c", script] })
}

fn id(program: &Value) -> String {
    program["id"].as_str().unwrap().to_owned()
}

async fn show(client: &mut Client, id: &str) -> Value {
    client.call("exec-show", json!({ "id": id })).await.ok().clone()
}

fn state(value: &Value) -> &str {
    value["state"].as_str().unwrap()
}

fn lives(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn number(path: &Path) -> Option<i64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Removes all that an agent keeps, so that nothing outlives the test.
async fn remove_all(client: &mut Client) {
    for program in client.call("exec-list", json!({})).await.ok()["programs"].as_array().unwrap() {
        client.call("exec-remove", json!({ "id": program["id"] })).await.ok();
    }
}

#[tokio::test]
async fn rq_18_with_its_client_goes_all_that_a_program_started_in_three_steps() {
    let agent = start("");
    let seen = agent.path("seen");
    let [own, child, apart] = ["own", "child", "apart"].map(|name| agent.path(name));
    // A leader that tells what it is sent, a grandchild in a session of its own that ignores all it can, and one that
    // nobody waits for, which ends at the hang-up.
    let script = format!(
        "exec 2> /dev/null; trap 'echo hup >> {seen}' HUP; trap 'echo term >> {seen}' TERM\n\
         (trap '' HUP TERM; exec setsid sh -c 'trap \"\" HUP TERM; echo $$ > {apart}; while :; do sleep 1; done') &\n\
         sleep 1000 & echo $! > {child}\n\
         echo $$ > {own}\n\
         while :; do sleep 0.1; done",
        seen = seen.display(),
        apart = apart.display(),
        child = child.display(),
        own = own.display(),
    );
    let mut client = agent.connect().await;
    client.begin("exec", sh(&script)).await;
    let pids = || [&own, &child, &apart].map(|path| number(path));
    eventually("all have begun", || pids().iter().all(Option::is_some));
    let [own, child, apart] = pids().map(Option::unwrap);
    assert!([own, child, apart].into_iter().all(lives));
    drop(client);
    eventually("the hang-up came", || std::fs::read_to_string(&seen).is_ok_and(|s| s == "hup\n"));
    eventually("the child ended at it", || !lives(child));
    eventually("TERM came", || std::fs::read_to_string(&seen).is_ok_and(|s| s == "hup\nterm\n"));
    assert!(lives(own) && lives(apart), "killed before its time");
    eventually("all are gone", || !lives(own) && !lives(apart));
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), "hup\nterm\n");
}

#[tokio::test]
async fn rq_18_a_detached_program_outlives_its_client_and_is_attached_to_with_all_it_printed() {
    let agent = start("");
    let mut client = agent.connect().await;
    let script = "echo one; echo two >&2; read line; echo got $line; exit 7";
    let mut value = sh(script);
    value["stdin"] = true.into();
    let program = detach(&mut client, value).await;
    let id = id(&program);
    assert_eq!((state(&program), &program["alive"]), ("running", &json!(true)), "{program}");
    assert_eq!(program["argv"], json!(["sh", "-c", script]));
    drop(client);

    let (mut first, mut second) = (agent.connect().await, agent.connect().await);
    let attach = json!({ "id": id });
    let requests = [
        first.begin("exec-attach", attach.clone()).await,
        second.begin("exec-attach", attach).await,
    ];
    // Nothing is mixed: each is told all of it, in its order.
    for client in [&mut first, &mut second] {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while (out.len(), err.len()) != (4, 4) {
            match client.next().await.unwrap().frame {
                Frame::Stdout(bytes) => out.extend(bytes),
                Frame::Stderr(bytes) => err.extend(bytes),
                Frame::Progress(text) => {
                    let value: Value = serde_json::from_slice(&text).unwrap();
                    assert_eq!(value, json!({"from": 0, "lost": 0}));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((&out[..], &err[..]), (&b"one\n"[..], &b"two\n"[..]));
    }
    first.send(requests[0], Frame::Stdin(b"it\n".to_vec())).await;
    for (client, request) in [(&mut first, requests[0]), (&mut second, requests[1])] {
        let ended = client.end(request).await;
        assert_eq!((code(&ended), &ended.stdout[..]), (Some(7), &b"got it\n"[..]));
    }
    // What it printed and how it ended is kept, from any place on.
    let shown = show(&mut first, &id).await;
    assert_eq!((state(&shown), &shown["code"], &shown["bytes"]), ("ended", &json!(7), &json!(15)));
    let ended = first.call("exec-attach", json!({ "id": id, "from": 5 })).await;
    assert_eq!((code(&ended), &ended.stderr[..]), (Some(7), &b"wo\n"[..]));
    assert_eq!(ended.stdout, b"got it\n");
    assert_eq!(ended.progress, [json!({"from": 5, "lost": 0})]);
    let refused = first.call("exec-attach", json!({ "id": id, "from": 16 })).await;
    assert_eq!(refused.error()["code"], "usage");
    remove_all(&mut first).await;
}

#[tokio::test]
async fn rq_18_a_detached_program_on_a_terminal_takes_keys_sizes_and_signals() {
    let agent = start("");
    let mut client = agent.connect().await;
    let script =
        "trap 'echo usr1' USR1; read a; stty size; until read b; do :; done; echo $a$b; exit 3";
    let mut value = sh(script);
    value["terminal"] = json!({"rows": 24, "columns": 80});
    let program = detach(&mut client, value).await;
    let id = id(&program);
    drop(client);
    let size = |wanted: &str| {
        let terminal = format!("/proc/{}/fd/0", program["pid"]);
        let told = Command::new("stty").args(["-F", &terminal, "size"]).output().unwrap();
        String::from_utf8(told.stdout).unwrap() == wanted
    };
    eventually("its size is as it was asked for", || size("24 80\n"));
    let mut client = agent.connect().await;
    let attach = json!({ "id": id, "terminal": {"rows": 30, "columns": 90} });
    let request = client.begin("exec-attach", attach).await;
    assert!(matches!(client.next().await.unwrap().frame, Frame::Progress(_)));
    eventually("its size is that of who attached", || size("30 90\n"));
    client.send(request, Frame::Resize { rows: 50, columns: 132 }).await;
    client.call("ping", Value::Null).await;
    eventually("its size has changed", || size("50 132\n"));
    let mut seen = String::new();
    let mut until = async |client: &mut Client, text: &str| {
        while !seen.contains(text) {
            if let Frame::Stdout(bytes) = client.next().await.unwrap().frame {
                seen.push_str(&String::from_utf8(bytes).unwrap());
            }
        }
    };
    client.send(request, Frame::Stdin(b"x\n".to_vec())).await;
    until(&mut client, "50 132").await;
    client.send(request, Frame::Signal(libc::SIGUSR1)).await;
    until(&mut client, "usr1").await;
    let ended = client.call("exec-signal", json!({ "id": id, "signal": 9999 })).await;
    assert_eq!(ended.error()["code"], "usage");
    client.send(request, Frame::Stdin(b"y\n".to_vec())).await;
    let ended = client.end(request).await;
    let text = format!("{seen}{}", String::from_utf8_lossy(&ended.stdout));
    assert!(text.contains("xy"), "{text}");
    assert_eq!(code(&ended), Some(3));
    remove_all(&mut client).await;
}

#[tokio::test]
async fn rq_18_of_more_output_than_is_kept_the_last_is_there_and_the_rest_is_told_as_lost() {
    let agent = start("");
    let mut client = agent.connect().await;
    let go = agent.path("go");
    let script = format!(
        "head -c 3000000 /dev/zero | tr '\\0' a; echo; while [ ! -e {go} ]; do sleep 0.1; done; echo end",
        go = go.display()
    );
    let id = id(&detach(&mut client, sh(&script)).await);
    // Nobody reads, and it goes on all the same.
    let lost = 3_000_001 - (1 << 20);
    loop {
        let request = client.begin("exec-attach", json!({ "id": id, "from": 0 })).await;
        let Frame::Progress(text) = client.next().await.unwrap().frame else { panic!("no word") };
        client.send(request, Frame::Cancel).await;
        client.end(request).await;
        let told: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(told["from"], told["lost"]);
        if told["lost"] == lost {
            break;
        }
    }
    std::fs::write(&go, "").unwrap();
    let ended = client.call("exec-attach", json!({ "id": id })).await;
    assert_eq!(ended.progress[0], json!({"from": lost, "lost": lost}));
    let (most, end) = ended.stdout.split_at(ended.stdout.len() - 5);
    assert_eq!(end, b"\nend\n");
    assert!(most.len() >= (1 << 20) - 5 && most.iter().all(|byte| *byte == b'a'));
    let shown = show(&mut client, &id).await;
    assert_eq!((&shown["bytes"], &shown["lost"]), (&json!(3_000_005), &json!(lost + 4)));
    remove_all(&mut client).await;
}

#[tokio::test]
async fn rq_18_an_agent_that_was_killed_finds_its_detached_programs_again() {
    let mut killed = start("");
    let mut client = killed.connect().await;
    let mut value = sh("echo before; read line; echo $line; kill -TERM $$");
    value["stdin"] = true.into();
    let program = detach(&mut client, value).await;
    let id = id(&program);
    killed.signal(libc::SIGKILL);
    killed.wait();
    let state_dir = killed.folder.path().to_owned();
    let again = Agent::with(|folder| configuration(folder, &state_dir, ""));
    let mut client = again.connect().await;
    let listed = client.call("exec-list", json!({})).await;
    assert_eq!(listed.ok()["programs"], json!([show(&mut client, &id).await]));
    assert_eq!(listed.ok()["programs"][0]["pid"], program["pid"]);
    let request = client.begin("exec-attach", json!({ "id": id })).await;
    client.send(request, Frame::Stdin(b"after\n".to_vec())).await;
    let ended = client.end(request).await;
    assert_eq!(ended.stdout, b"before\nafter\n");
    assert_eq!(ended.exit.unwrap().signal, Some(libc::SIGTERM));
    assert_eq!(show(&mut client, &id).await["signal"], libc::SIGTERM);
    remove_all(&mut client).await;
}

/// The keeper that holds a program of this agent's: the parent of the program.
#[tokio::test]
async fn rq_18_an_agent_that_was_killed_leaves_the_next_to_end_what_clients_attended() {
    let mut agent = start("");
    let [own, apart, over] = ["own", "apart", "over"].map(|name| agent.path(name));
    let mut client = agent.connect().await;
    // What a program that has ended left behind in a session of its own is nobody's to end.
    let script =
        format!("setsid sh -c 'echo $$ > {}; exec sleep 1000' & sleep 0.2", over.display());
    let ended = client.call("exec", sh(&script)).await;
    assert_eq!(code(&ended), Some(0));
    let script = format!(
        "setsid sh -c 'echo $$ > {}; exec sleep 1000' & echo $$ > {}; sleep 1000",
        apart.display(),
        own.display()
    );
    client.begin("exec", sh(&script)).await;
    let pids = || [&own, &apart, &over].map(|path| number(path));
    eventually("all have begun", || pids().iter().all(Option::is_some));
    let [own, apart, over] = pids().map(Option::unwrap);
    agent.signal(libc::SIGKILL);
    agent.wait();
    assert!([own, apart, over].into_iter().all(lives));
    let state = agent.path("");
    let mut next = Agent::with(|folder| configuration(folder, &state, ""));
    let mut client = next.connect().await;
    eventually("the next has ended them", || !lives(own) && !lives(apart));
    assert!(lives(over));
    // Its own programs are none of an earlier life.
    assert_eq!(code(&client.call("exec", sh("exit 5")).await), Some(5));
    let killed = Command::new("kill").arg(over.to_string()).status().unwrap();
    assert!(killed.success());
    drop(client);
    next.signal(libc::SIGTERM);
    next.wait();
    assert_eq!(std::fs::read_dir(state.join("exec")).unwrap().count(), 0, "no record is left");
}

fn keeper_of(program: &Value) -> i32 {
    let pid = program["pid"].as_i64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn rq_18_a_program_whose_keeper_was_killed_is_told_as_lost_and_can_be_ended() {
    let agent = start("");
    let mut client = agent.connect().await;
    let program = detach(&mut client, sh("trap '' HUP TERM; while :; do sleep 1; done")).await;
    let (id, pid) = (id(&program), program["pid"].as_i64().unwrap());
    let request = client.begin("exec-attach", json!({ "id": id })).await;
    assert!(matches!(client.next().await.unwrap().frame, Frame::Progress(_)));
    // SAFETY: the keeper is ours, by way of the agent, and its child lives.
    assert_eq!(unsafe { libc::kill(keeper_of(&program), libc::SIGKILL) }, 0);
    let ended = client.end(request).await;
    assert!(ended.error()["text"].as_str().unwrap().contains("keeper"), "{ended:?}");
    let shown = show(&mut client, &id).await;
    assert_eq!((state(&shown), &shown["alive"]), ("lost", &json!(true)));
    let ended = client.call("exec-signal", json!({ "id": id, "signal": 10 })).await;
    assert!(ended.error()["text"].as_str().unwrap().contains("exec-end"), "{ended:?}");
    let ended = client.call("exec-end", json!({ "id": id })).await;
    assert_eq!((state(ended.ok()), &ended.ok()["alive"]), ("lost", &json!(false)));
    assert!(!lives(pid));
    remove_all(&mut client).await;
}

#[tokio::test]
async fn rq_18_what_is_removed_leaves_nothing_and_what_cannot_begin_neither() {
    let agent = start("");
    let folder = agent.path("exec");
    let mut client = agent.connect().await;
    let program = detach(&mut client, sh("sleep 1000 & setsid sleep 1000 & wait")).await;
    let (id, keeper) = (id(&program), keeper_of(&program));
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.clone()), 0o700);
    assert_eq!(mode(folder.join(&id)), 0o700);
    assert_eq!(mode(folder.join(&id).join("socket")), 0o600);
    assert_eq!(mode(folder.join(&id).join("record.json")), 0o600);
    client.call("exec-remove", json!({ "id": id })).await.ok();
    assert!(!lives(program["pid"].as_i64().unwrap()));
    eventually("its keeper has ended", || !Path::new(&format!("/proc/{keeper}")).exists());
    assert_eq!(marked(&id), 0, "something with its mark is left");
    for command in ["exec-show", "exec-attach", "exec-end", "exec-remove"] {
        let refused = client.call(command, json!({ "id": id })).await;
        assert_eq!(refused.error()["code"], "not-found", "{command}");
    }
    let value = json!({ "argv": ["/no/such/program"], "detach": true });
    assert_eq!(client.call("exec", value).await.error()["code"], "not-found");
    let value = json!({ "argv": ["true"], "detach": true, "user": "nobody-of-this-name" });
    assert_eq!(client.call("exec", value).await.error()["code"], "not-found");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    // A name is a name, and no path.
    let refused = client.call("exec-remove", json!({ "id": "../exec" })).await;
    assert_eq!(refused.error()["code"], "not-found");
    assert!(folder.is_dir());
}

/// Processes that bear a program's mark.
fn marked(id: &str) -> usize {
    let mark = format!("VNODE_EXEC={id}");
    let environments = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments
        .filter(|text| text.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()))
        .count()
}

#[tokio::test]
async fn rq_18_a_time_limit_holds_for_detached_programs_too() {
    let agent = start("");
    let mut client = agent.connect().await;
    let mut value = sh("trap '' HUP TERM; setsid sleep 1000 & while :; do sleep 1; done");
    value["time_limit_seconds"] = 1.into();
    let id = id(&detach(&mut client, value).await);
    let ended = client.call("exec-attach", json!({ "id": id })).await;
    assert_eq!(ended.exit.unwrap().signal, Some(libc::SIGKILL));
    let shown = show(&mut client, &id).await;
    assert_eq!((state(&shown), &shown["timed_out"]), ("ended", &json!(true)));
    assert_eq!(marked(&id), 0);
    remove_all(&mut client).await;
}

#[tokio::test]
async fn rq_18_no_more_than_64_run_and_the_last_32_results_are_kept() {
    let agent = start("");
    let mut client = agent.connect().await;
    let mut programs = Vec::new();
    for _ in 0..64 {
        programs.push(id(&detach(&mut client, json!({"argv": ["sleep", "1000"]})).await));
    }
    let refused = client.call("exec", json!({"argv": ["true"], "detach": true})).await;
    assert_eq!(refused.error()["code"], "unavailable");
    assert!(refused.error()["text"].as_str().unwrap().contains("64"), "{refused:?}");
    // The one that has ended makes room; so do all of them.
    for id in &programs {
        let ended = client.call("exec-end", json!({ "id": id })).await;
        assert_eq!(state(ended.ok()), "ended");
    }
    let last = id(&detach(&mut client, json!({"argv": ["true"]})).await);
    client.call("exec-attach", json!({ "id": last })).await;
    let listed = client.call("exec-list", json!({})).await;
    let listed = listed.ok()["programs"].as_array().unwrap().clone();
    let ids: Vec<String> = listed.iter().map(id).collect();
    assert_eq!(ids[..31], programs[33..]);
    assert_eq!(ids[31..], [last]);
    remove_all(&mut client).await;
}

#[tokio::test]
async fn rq_18_who_may_not_exec_may_not_attach_and_all_of_it_is_audited() {
    let agent = Agent::with(|folder| {
        let other = format!(
            "[[channel]]\nname = \"other\"\nexchange = \"unix\"\nparser = \"native\"\n\
             path = \"{}/other.sock\"\nblock = [\"exec\"]\n",
            folder.display()
        );
        configuration(folder, folder, &other)
    });
    let mut client = agent.connect().await;
    let id = id(&detach(&mut client, json!({"argv": ["sleep", "1000"]})).await);
    let stream = tokio::net::UnixStream::connect(agent.path("other.sock")).await.unwrap();
    let mut other = Client::new(stream);
    let named = json!({ "id": id });
    for (command, value) in [
        ("exec-list", json!({})),
        ("exec-show", named.clone()),
        ("exec-attach", named.clone()),
        ("exec-signal", json!({ "id": id, "signal": 15 })),
        ("exec-end", named.clone()),
        ("exec-remove", named.clone()),
    ] {
        let refused = other.call(command, value).await;
        assert_eq!(refused.error()["code"], "forbidden", "{command}");
    }
    assert_eq!(state(&show(&mut client, &id).await), "running");
    client.call("exec-remove", named).await.ok();
    let told = client.call("events", json!({})).await.progress;
    let of = |command: &str, target: &str| {
        let is = |event: &&Value| {
            event["data"]["command"] == command && event["data"]["target"] == target
        };
        told.iter().filter(is).map(|event| event["data"]["result"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("exec", "sleep 1000"), ["ok"]);
    assert_eq!(of("exec-attach", &id), ["disabled"]);
    assert_eq!(of("exec-remove", &id), ["disabled", "ok"]);
}

#[tokio::test]
async fn rq_18_a_keeper_takes_little_memory_and_ends_without_its_folder() {
    let agent = start("");
    let mut client = agent.connect().await;
    let program = detach(&mut client, json!({"argv": ["sleep", "1000"]})).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", keeper_of(&program))).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let agents = agent.memory("RssAnon") >> 10;
    assert!(kib < agents + 256, "{kib} KiB, and the agent has {agents}");
    remove_all(&mut client).await;
    // Without the folder that it was to keep, one ends at once.
    let mut lost = Command::new(PROGRAM)
        .args(["keep-exec", "/no/such/folder"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(lost.wait().unwrap().success());
}
