//! Files in both directions.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use vnode_protocol::frame::{Frame, MAX_PAYLOAD};

use super::support::{Agent, Client};

fn content(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Sends `content` as it is granted; gives the request's number.
pub(crate) async fn put(client: &mut Client, value: serde_json::Value, content: &[u8]) -> u32 {
    let request = client.begin("file-put", value).await;
    let mut window = vnode_protocol::frame::WINDOW as usize;
    let mut rest = content;
    while !rest.is_empty() {
        let piece = rest.len().min(MAX_PAYLOAD).min(window);
        if piece == 0 {
            let tagged = client.next().await.unwrap();
            let Frame::Credit(bytes) = tagged.frame else { panic!("{tagged:?}") };
            window += bytes as usize;
            continue;
        }
        window -= piece;
        client.send(request, Frame::Data(rest[..piece].to_vec())).await;
        rest = &rest[piece..];
    }
    request
}

#[tokio::test]
async fn files_go_in_and_out_unchanged() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    for bytes in [0, 1, MAX_PAYLOAD, 5_000_001] {
        let content = content(bytes);
        let path = agent.path("file");
        let value = json!({"path": path, "mode": 0o640, "sync": true});
        let request = put(&mut client, value, &content).await;
        client.send(request, Frame::DataEnd).await;
        assert_eq!(client.end(request).await.ok()["bytes"], bytes);
        assert!(std::fs::read(&path).unwrap() == content);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        let ended = client.call("file-get", json!({"path": path})).await;
        assert_eq!(ended.progress[0]["size"], bytes);
        assert_eq!(ended.progress[0]["mode"], 0o640);
        assert!(ended.data == content);
    }
    let value = json!({"path": agent.path("file"), "offset": 10, "length": 5});
    let part = client.call("file-get", value).await;
    assert_eq!(part.data, content(15)[10..]);
    // What has no size is read to its end.
    let ended = client.call("file-get", json!({"path": "/proc/self/comm"})).await;
    assert!(!ended.data.is_empty());
}

#[tokio::test]
async fn a_file_that_is_given_up_leaves_the_old_one_and_nothing_else() {
    let agent = Agent::start("");
    std::fs::create_dir(agent.path("d")).unwrap();
    std::fs::write(agent.path("d/file"), "old").unwrap();
    let mut client = agent.connect().await;
    let value = json!({"path": agent.path("d/file")});
    let request = put(&mut client, value.clone(), &content(1_000_000)).await;
    client.send(request, Frame::Cancel).await;
    assert_eq!(client.end(request).await.error()["code"], "cancelled");
    let gone = put(&mut client, value, &content(1000)).await;
    drop((client, gone));
    for _ in 0..1200 {
        let names: Vec<_> = std::fs::read_dir(agent.path("d")).unwrap().collect();
        if names.len() == 1 {
            assert_eq!(std::fs::read_to_string(agent.path("d/file")).unwrap(), "old");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("a part of a file is left");
}

#[tokio::test]
async fn append_adds_and_folders_are_made_when_asked() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let path = agent.path("a/b/log");
    let refused = put(&mut client, json!({"path": path}), b"").await;
    assert_eq!(client.end(refused).await.error()["code"], "not-found");
    for _ in 0..2 {
        let value = json!({"path": path, "append": true, "folders": true});
        let request = put(&mut client, value, b"line\n").await;
        client.send(request, Frame::DataEnd).await;
        assert_eq!(client.end(request).await.ok()["bytes"], 5);
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), "line\nline\n");
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let value = json!({"path": "/dev/full", "append": true});
    let request = put(&mut client, value, &[1; 4096]).await;
    client.send(request, Frame::DataEnd).await;
    let ended = client.end(request).await;
    assert_eq!(ended.error()["code"], "failed");
    assert!(ended.error()["causes"][0].as_str().unwrap().contains("No space"), "{ended:?}");
}
