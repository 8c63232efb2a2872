//! Our own form: requests, streams, terminals, cancelling.

use serde_json::{Value, json};
use vnode_protocol::frame::{Frame, WINDOW};

use super::support::{Agent, Client, code};

#[tokio::test]
async fn ping_and_info_answer() {
    let agent = Agent::start("block = [\"shutdown\"]\n");
    let mut client = agent.connect().await;
    assert_eq!(client.call("ping", Value::Null).await.ok(), &json!({}));
    let info = client.call("info", Value::Null).await;
    assert_eq!(info.ok()["agent"], "vnode-agent");
    let commands = info.ok()["commands"].as_array().unwrap();
    let enabled = |name: &str| {
        commands.iter().find(|c| c["name"] == name).map(|c| c["enabled"].as_bool().unwrap())
    };
    assert_eq!(enabled("exec"), Some(true));
    assert_eq!(enabled("shutdown"), Some(false));
}

#[tokio::test]
async fn errors_have_the_daemons_form() {
    let agent = Agent::start("block = [\"metrics\"]\n");
    let mut client = agent.connect().await;
    for (command, value, code) in [
        ("nonsense", json!(null), "unsupported"),
        ("metrics", json!(null), "forbidden"),
        ("exec", json!({"argv": 5}), "usage"),
        ("exec", json!({"argv": ["/no/such/program"]}), "not-found"),
        ("exec", json!({"argv": ["true"], "user": "nobody-of-this-name"}), "not-found"),
        ("file-get", json!({"path": "/no/such/file"}), "not-found"),
        ("file-get", json!({"path": "relative"}), "usage"),
        ("file-get", json!({"path": "/etc"}), "usage"),
        ("time", json!({"set_ns": "x"}), "usage"),
    ] {
        let ended = client.call(command, value).await;
        assert_eq!(ended.error()["code"], code, "{command}: {ended:?}");
    }
}

#[tokio::test]
async fn network_metrics_and_time_are_told() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let network = client.call("network", Value::Null).await;
    let interfaces = network.ok()["interfaces"].as_array().unwrap();
    assert!(interfaces.iter().any(|interface| interface["name"] == "lo"), "{network:?}");
    let metrics = client.call("metrics", Value::Null).await;
    assert!(metrics.ok()["memory"]["total_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(metrics.ok()["processors"].as_array().is_some_and(|list| !list.is_empty()));
    let time = client.call("time", Value::Null).await;
    assert!(time.ok()["ns"].as_u64().unwrap() > 1_600_000_000_000_000_000);
}

#[tokio::test]
async fn a_program_has_its_streams_apart_and_its_exit_code() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let script = "echo out; echo err >&2; exit 3";
    let ended = client.exec(&["sh", "-c", script]).await;
    assert_eq!((&ended.stdout[..], &ended.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(code(&ended), Some(3));
    let ended = client.exec(&["sh", "-c", "kill -9 $$"]).await;
    assert_eq!(ended.exit.unwrap().signal, Some(9));
    let value = json!({"argv": ["sh", "-c", "pwd; echo $A"], "folder": "/usr", "env": {"A": "b"}});
    assert_eq!(client.call("exec", value).await.stdout, b"/usr\nb\n");
}

#[tokio::test]
async fn input_goes_to_the_program_as_it_takes_it() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let request = client.begin("exec", json!({"argv": ["sha256sum"], "stdin": true})).await;
    let piece = vec![b'x'; 32 << 10];
    let mut window = WINDOW as usize;
    for _ in 0..64 {
        while window < piece.len() {
            let tagged = client.next().await.unwrap();
            let Frame::Credit(bytes) = tagged.frame else { panic!("{tagged:?}") };
            window += bytes as usize;
        }
        window -= piece.len();
        client.send(request, Frame::Stdin(piece.clone())).await;
    }
    client.send(request, Frame::StdinEnd).await;
    let ended = client.end(request).await;
    let expected = std::process::Command::new("sh")
        .args(["-c", "head -c 2097152 /dev/zero | tr '\\0' x | sha256sum"])
        .output()
        .unwrap();
    assert_eq!(ended.stdout, expected.stdout);
}

#[tokio::test]
async fn rq_27_ten_mebibytes_through_cat_come_back_and_nobody_waits_for_the_other() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let request = client.begin("exec", json!({"argv": ["cat"], "stdin": true})).await;
    let piece: Vec<u8> = (0..=255).cycle().take(32 << 10).collect();
    let (mut window, mut came) = (WINDOW as usize, Vec::new());
    let mut take = async |client: &mut Client, window: &mut usize| {
        let tagged = client.next().await.unwrap();
        match tagged.frame {
            Frame::Credit(bytes) => *window += bytes as usize,
            Frame::Stdout(bytes) => {
                let credit = Frame::Credit(bytes.len() as u32);
                came.extend(bytes);
                client.send(request, credit).await;
            }
            Frame::Exit(exit) => return Some(exit),
            other => panic!("{other:?}"),
        }
        None
    };
    for _ in 0..320 {
        while window < piece.len() {
            assert_eq!(take(&mut client, &mut window).await, None);
        }
        window -= piece.len();
        client.send(request, Frame::Stdin(piece.clone())).await;
    }
    client.send(request, Frame::StdinEnd).await;
    let exit = loop {
        if let Some(exit) = take(&mut client, &mut window).await {
            break exit;
        }
    };
    assert_eq!(exit.code, Some(0));
    assert!(came == piece.repeat(320));
}

#[tokio::test]
async fn rq_11_a_gibibyte_of_output_arrives_and_takes_no_memory() {
    const ALL: u64 = 1 << 30;
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let value = json!({"argv": ["head", "-c", ALL.to_string(), "/dev/zero"]});
    let before = agent.memory("RssAnon");
    let request = client.begin("exec", value).await;
    let (mut came, mut looked, mut most) = (0, 0, 0);
    let exit = loop {
        match client.next().await.unwrap().frame {
            Frame::Stdout(bytes) => {
                came += bytes.len() as u64;
                let credit = Frame::Credit(bytes.len() as u32);
                client.reader.recycle(bytes);
                client.send(request, credit).await;
                if came >= looked {
                    most = most.max(agent.memory("RssAnon"));
                    looked += ALL / 16;
                }
            }
            Frame::Exit(exit) => break exit,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((exit.code, came), (Some(0), ALL));
    assert!(most < before + (32 << 20), "{before} bytes, then {most}");
}

#[tokio::test]
async fn who_sends_more_than_granted_is_cut() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let request = client.begin("exec", json!({"argv": ["sleep", "1000"], "stdin": true})).await;
    // The program reads nothing; its pipe holds 64 KiB, for which more is granted.
    let mut cut = false;
    for _ in 0..16 {
        let frame = Frame::Stdin(vec![0; WINDOW as usize]);
        let bytes = vnode_protocol::frame::Tagged { request, frame }.encode();
        if tokio::io::AsyncWriteExt::write_all(&mut client.writer, &bytes).await.is_err() {
            cut = true;
            break;
        }
    }
    while !cut {
        cut = client.reader.next().await.ok().flatten().is_none();
    }
    // Others are served on.
    let mut other = agent.connect().await;
    assert!(other.call("ping", Value::Null).await.result.unwrap().is_ok());
}

#[tokio::test]
async fn a_terminal_has_a_size_that_changes_and_takes_keys() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let script = "stty size; read line; stty size; echo got $line; tty -s && echo terminal";
    let value = json!({
        "argv": ["sh", "-c", script],
        "terminal": {"rows": 24, "columns": 80},
        "stdin": true,
    });
    let request = client.begin("exec", value).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("24 80") {
        if let Frame::Stdout(bytes) = client.next().await.unwrap().frame {
            seen.extend(bytes);
        }
    }
    client.send(request, Frame::Resize { rows: 50, columns: 132 }).await;
    client.send(request, Frame::Signal(libc::SIGCONT)).await;
    // The size is set when this second frame's effect can be seen; the line comes after both.
    client.call("ping", Value::Null).await;
    client.send(request, Frame::Stdin(b"hello\n".to_vec())).await;
    let ended = client.end(request).await;
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(text.contains("50 132"), "{text}");
    assert!(text.contains("got hello") && text.contains("terminal"), "{text}");
    assert_eq!(code(&ended), Some(0));
}

#[tokio::test]
async fn control_c_on_a_terminal_interrupts() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let value = json!({
        "argv": ["sh", "-c", "echo ready; exec sleep 1000"],
        "terminal": {"rows": 24, "columns": 80},
    });
    let request = client.begin("exec", value).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("ready") {
        if let Frame::Stdout(bytes) = client.next().await.unwrap().frame {
            seen.extend(bytes);
        }
    }
    client.send(request, Frame::Stdin(vec![3])).await;
    let ended = client.end(request).await;
    assert_eq!(ended.exit.unwrap().signal, Some(libc::SIGINT));
}

#[tokio::test]
async fn a_cancelled_request_ends_at_once_and_its_program_with_it() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let value = json!({"argv": ["sh", "-c", "echo $$; exec sleep 1000"]});
    let request = client.begin("exec", value).await;
    let Frame::Stdout(text) = client.next().await.unwrap().frame else { panic!("no output") };
    let pid: i32 = String::from_utf8(text).unwrap().trim().parse().unwrap();
    client.send(request, Frame::Cancel).await;
    assert_eq!(client.end(request).await.error()["code"], "cancelled");
    gone(pid).await;
}

#[tokio::test]
async fn programs_end_with_their_clients_connection() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    client.begin("exec", json!({"argv": ["sh", "-c", "echo $$; exec sleep 1000"]})).await;
    let Frame::Stdout(text) = client.next().await.unwrap().frame else { panic!("no output") };
    let pid: i32 = String::from_utf8(text).unwrap().trim().parse().unwrap();
    drop(client);
    gone(pid).await;
}

async fn gone(pid: i32) {
    for _ in 0..1200 {
        // SAFETY: signal 0 only asks.
        if unsafe { libc::kill(pid, 0) } != 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("process {pid} is still there");
}

#[tokio::test]
async fn a_time_limit_ends_the_program() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let value = json!({"argv": ["sleep", "1000"], "time_limit_seconds": 1});
    assert_eq!(client.call("exec", value).await.error()["code"], "deadline");
}

#[tokio::test]
async fn rq_24_a_program_that_stands_still_is_told_and_ends_at_its_time_limit() {
    let agent = Agent::start("");
    let (mut client, mut watcher) = (agent.connect().await, agent.connect().await);
    watcher.begin("events", json!({"follow": true})).await;
    let script = "echo $$; kill -STOP $$; echo never";
    let value = json!({"argv": ["sh", "-c", script], "time_limit_seconds": 45});
    let running = client.begin("exec", value).await;
    let Frame::Stdout(text) = client.next().await.unwrap().frame else { panic!("no output") };
    let pid: i32 = String::from_utf8(text).unwrap().trim().parse().unwrap();
    let event = loop {
        if let Frame::Progress(text) = watcher.next().await.unwrap().frame {
            break serde_json::from_slice::<Value>(&text).unwrap();
        }
    };
    let data = &event["data"];
    assert_eq!((&event["kind"], &data["pid"]), (&json!("agent.stopped"), &json!(pid)), "{event}");
    assert_eq!((&data["command"], &data["seconds"]), (&json!("exec"), &json!(30)), "{event}");
    let ended = client.end(running).await;
    let error = ended.error();
    assert_eq!(error["code"], "deadline");
    assert!(error["text"].as_str().unwrap().contains("stands still"), "{error}");
    gone(pid).await;
}

#[tokio::test]
async fn a_slow_request_delays_no_other_on_the_same_connection() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let slow = client.begin("exec", json!({"argv": ["sh", "-c", "read x"], "stdin": true})).await;
    for _ in 0..20 {
        assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
    }
    client.send(slow, Frame::StdinEnd).await;
    assert_eq!(code(&client.end(slow).await), Some(1));
}

#[tokio::test]
async fn more_requests_than_may_run_are_refused_and_not_queued() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let mut running = Vec::new();
    for _ in 0..16 {
        running.push(client.begin("exec", json!({"argv": ["cat"], "stdin": true})).await);
    }
    let refused = client.call("ping", Value::Null).await;
    assert_eq!(refused.error()["code"], "unavailable");
    client.send(running[0], Frame::StdinEnd).await;
    client.end(running[0]).await;
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
}

#[tokio::test]
async fn output_that_nobody_takes_waits_in_the_program() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let value = json!({"argv": ["sh", "-c", "head -c 1000000 /dev/zero; echo end"]});
    let request = client.begin("exec", value).await;
    // Nothing is granted: no more than the window comes.
    let mut came = 0;
    while came < WINDOW as usize {
        let Frame::Stdout(bytes) = client.next().await.unwrap().frame else { panic!("no output") };
        came += bytes.len();
    }
    assert_eq!(came, WINDOW as usize);
    client.call("ping", Value::Null).await;
    client.send(request, Frame::Credit(WINDOW)).await;
    let ended = client.end(request).await;
    assert_eq!(came + ended.stdout.len(), 1_000_004);
    assert!(ended.stdout.ends_with(b"end\n"));
}
