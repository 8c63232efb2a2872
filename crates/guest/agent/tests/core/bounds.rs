//! What a client cannot do: take memory, or keep others waiting.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use vnode_protocol::frame::{Frame, MAX_PAYLOAD, Tagged};

use super::support::{Agent, PATIENCE};

/// What the agent may take on top of its idle memory, whatever clients do. The program of a test run is not the
/// optimised static one, whose own share is measured in bench/.
const GROWTH: u64 = 12 << 20;

/// Only what is ours: the pages of the program's file are shared and go when memory is short.
fn anonymous(agent: &Agent) -> u64 {
    agent.memory("Anonymous")
}

#[tokio::test]
async fn oversize_truncated_deep_and_broken_input_is_answered_or_cut_and_costs_nothing() {
    let agent = Agent::start("");
    let before = anonymous(&agent);
    let request =
        |text: &[u8]| Tagged { request: 1, frame: Frame::Request(text.to_vec()) }.encode();
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let many = format!("[{}0]", "0,".repeat(100_000));
    let mut unknown = request(b"{}");
    unknown[0] = 0xff;
    let refused: [&[u8]; 6] = [
        b"abc",
        &deep,
        many.as_bytes(),
        b"\xff\xfe{\"command\":\"ping\"}",
        b"[1]",
        br#"{"command": "ping", "surplus": 1}"#,
    ];
    for text in refused {
        let mut client = agent.connect().await;
        client.send(1, Frame::Request(text.to_vec())).await;
        let ended = client.end(1).await;
        assert_eq!(ended.error()["code"], "usage", "{ended:?}");
    }
    let cut: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        // A length without its bytes, and one beyond all bounds.
        &[0x80 | 33, 0, 3, 0xff, 0xff, 0, 0, 0, 1, b'{'],
        &[0x80 | 33, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1],
        &unknown,
        &request(b"{}")[..4],
    ];
    for bytes in cut {
        let mut stream = agent.stream().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // Reset or ended: cut.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is cut");
        assert!(rest.is_empty());
    }
    let mut client = agent.connect().await;
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
    assert!(anonymous(&agent) < before + GROWTH);
}

#[tokio::test]
async fn clients_that_never_read_are_cut_and_take_little() {
    let agent = Agent::start("stall-seconds = 1\n");
    let before = anonymous(&agent);
    let mut stuck = Vec::new();
    for _ in 0..7 {
        let mut client = agent.connect().await;
        for _ in 0..4 {
            let value = json!({"argv": ["sh", "-c", "cat /dev/zero"]});
            let request = client.begin("exec", value).await;
            client.send(request, Frame::Credit(1 << 29)).await;
        }
        let request = client.begin("file-get", json!({"path": "/dev/zero"})).await;
        client.send(request, Frame::Credit(1 << 29)).await;
        stuck.push(client);
    }
    // One more is served meanwhile.
    let mut client = agent.connect().await;
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
    drop(client);
    let mut most = 0;
    for client in &mut stuck {
        // Its bytes come to an end without the frames that a client would get: it is cut.
        let mut bytes = 0_u64;
        loop {
            most = most.max(anonymous(&agent));
            // Waits for the stall first, so that nothing is read before it.
            tokio::time::sleep(Duration::from_millis(10)).await;
            if bytes == 0 && !hung_up(client).await {
                continue;
            }
            match timeout(PATIENCE, client.reader.next()).await.expect("it is cut") {
                Ok(Some(tagged)) => bytes += u64::from(matches!(tagged.frame, Frame::Data(_))),
                _ => break,
            }
            bytes += 1;
        }
    }
    assert!(most < before + GROWTH, "{most} bytes, {before} before");
    // All places are free again.
    let mut client = agent.connect().await;
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
}

/// Whether the agent has closed the connection: writing tells, without reading.
async fn hung_up(client: &mut super::support::Client) -> bool {
    let bytes = Tagged { request: 9999, frame: Frame::Cancel }.encode();
    client.writer.write_all(&bytes).await.is_err()
}

#[tokio::test]
async fn more_connections_than_are_served_wait() {
    let agent = Agent::start("connections = 2\n");
    let mut first = agent.connect().await;
    let mut second = agent.connect().await;
    for client in [&mut first, &mut second] {
        assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
    }
    let mut third = agent.connect().await;
    let request = third.begin("ping", Value::Null).await;
    drop(first);
    assert!(third.end(request).await.result.unwrap().is_ok());
}

#[tokio::test]
async fn puts_that_stop_half_way_hold_no_more_than_their_windows() {
    let agent = Agent::start("");
    let before = anonymous(&agent);
    let mut clients = Vec::new();
    for number in 0..7 {
        let mut client = agent.connect().await;
        for part in 0..2 {
            let path = agent.path(&format!("file-{number}-{part}"));
            let request = client.begin("file-put", json!({"path": path})).await;
            let window = vnode_protocol::frame::WINDOW as usize;
            client.send(request, Frame::Data(vec![1; window.min(MAX_PAYLOAD)])).await;
        }
        assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
        clients.push(client);
    }
    assert!(anonymous(&agent) < before + GROWTH);
}

#[tokio::test]
async fn an_idle_agent_is_not_woken() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    client.call("ping", Value::Null).await;
    drop(client);
    let switches = || {
        let path = format!("/proc/{}/status", agent.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // It settles: the end of that connection is seen to. Then, whatever time passes, it does not run.
    let mut last = switches();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = switches();
        if now == last {
            return;
        }
        last = now;
    }
    panic!("it was woken in every half second");
}

/// R-J6: a body of 64 KiB; R-F2: larger files where the channel allows them.
#[tokio::test]
async fn r_f2_a_large_file_goes_where_the_channel_allows_it() {
    use base64::Engine as _;
    let channel = |name: &str, folder: &std::path::Path, more: &str| {
        format!(
            "[[channel]]\nname = \"{name}\"\nexchange = \"unix\"\nparser = \"openstack\"\npath = \"{}/{name}\"\n{more}",
            folder.display()
        )
    };
    let agent = Agent::with(|folder| {
        let large = channel("large", folder, "request-bytes = 4194304\n");
        format!("defaults = false\n{}{large}", channel("small", folder, ""))
    });
    let ask = async |socket: &str, bytes: usize| {
        let mut content = agent.path("file").into_os_string().into_encoded_bytes();
        content.push(b',');
        content.resize(content.len() + bytes, 0xa5);
        let value = base64::engine::general_purpose::STANDARD.encode(content);
        let request = json!({"name": "injectfile", "value": value}).to_string() + "\n";
        let path = agent.path(socket);
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it answers").unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()
    };
    super::support::eventually("both sockets", || {
        agent.path("small").exists() && agent.path("large").exists()
    });
    assert_eq!(ask("small", 40 << 10).await["returncode"], "0");
    assert_eq!(ask("small", 60 << 10).await["message"], "Request is malformed");
    assert_eq!(ask("large", 3_000_000).await["returncode"], "0");
    assert_eq!(std::fs::metadata(agent.path("file")).unwrap().len(), 3_000_000);
    assert_eq!(ask("large", 4 << 20).await["message"], "Request is malformed");
}
