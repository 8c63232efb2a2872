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
async fn rq_02_a_hundred_mebibytes_come_back_as_they_went_and_are_not_doubled() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let content = content(1 << 20).repeat(100);
    let path = agent.path("large");
    for _ in 0..2 {
        let request = put(&mut client, json!({"path": path}), &content).await;
        client.send(request, Frame::DataEnd).await;
        assert_eq!(client.end(request).await.ok()["bytes"], content.len());
        assert_eq!(path.metadata().unwrap().len(), content.len() as u64);
    }
    let ended = client.call("file-get", json!({"path": path})).await;
    assert!(ended.data == content);
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

/// Sends a whole file; gives what became of it.
async fn sent(
    client: &mut Client,
    value: serde_json::Value,
    content: &[u8],
) -> super::support::Ended {
    let request = put(client, value, content).await;
    client.send(request, Frame::DataEnd).await;
    client.end(request).await
}

#[tokio::test]
async fn rq_04_rq_06_another_content_than_was_meant_changes_nothing() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let path = agent.path("file");
    // Of `abc`; FIPS 180-4's example.
    let digest = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
    let value = json!({"path": path, "sha256": digest});
    assert_eq!(sent(&mut client, value.clone(), b"abc").await.ok()["bytes"], 3);
    let ended = sent(&mut client, value.clone(), b"abd").await;
    assert_eq!(ended.error()["code"], "usage", "{ended:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    let short = json!({"path": path, "sha256": "ba78"});
    assert_eq!(sent(&mut client, short, b"").await.error()["code"], "usage");
    let nothing_appended = json!({"path": path, "offset": 2});
    assert_eq!(sent(&mut client, nothing_appended, b"").await.error()["code"], "usage");
    // What was cut off goes on where it was, and nowhere else.
    let at = |offset: u64| json!({"path": path, "append": true, "offset": offset});
    assert_eq!(sent(&mut client, at(2), b"x").await.error()["code"], "failed");
    assert_eq!(sent(&mut client, at(3), b"def").await.ok()["bytes"], 3);
    assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
    assert_eq!(std::fs::read_dir(agent.folder.path()).unwrap().count(), 3, "nothing is left over");
}

#[tokio::test]
async fn rq_05_a_channel_with_folders_reaches_nothing_else() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let agent = Agent::with(|folder| {
        let inside = folder.join("files");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("mine"), "mine").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.join("out")).unwrap();
        std::os::unix::fs::symlink("mine", inside.join("in")).unwrap();
        format!(
            "defaults = false\n[[channel]]\nname = \"native\"\nexchange = \"unix\"\nparser = \"native\"\n\
             path = \"{}/agent.sock\"\nroots = [{inside:?}]\nblock = [\"exec\"]\n\
             [command.events]\nfile = \"{}/events\"\n",
            folder.display(),
            folder.display()
        )
    });
    let mut client = agent.connect().await;
    let inside = agent.path("files");
    for (path, code) in [
        (outside.path().join("secret"), "forbidden"),
        (inside.join("out/secret"), "forbidden"),
        (inside.join("../agent.toml"), "usage"),
        (inside.clone(), "forbidden"),
        ("files/mine".into(), "usage"),
    ] {
        for command in ["file-get", "file-delete"] {
            let ended = client.call(command, json!({"path": path})).await;
            assert_eq!(ended.error()["code"], code, "{command} {}: {ended:?}", path.display());
        }
        let ended = sent(&mut client, json!({"path": path, "folders": true}), b"").await;
        assert_eq!(ended.error()["code"], code, "{}: {ended:?}", path.display());
    }
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    for name in ["mine", "in"] {
        assert_eq!(client.call("file-get", json!({"path": inside.join(name)})).await.data, b"mine");
    }
    for name in ["new", "a/b/new"] {
        let value = json!({"path": inside.join(name), "folders": true, "sync": true});
        assert_eq!(sent(&mut client, value, b"new").await.ok()["bytes"], 3);
        client.call("file-delete", json!({"path": inside.join(name)})).await.ok();
    }
    // RQ-29: what is refused is on record too.
    assert_eq!(client.exec(&["true"]).await.error()["code"], "forbidden");
    let told = client.call("events", json!({})).await.progress;
    let of = |kind: &str, key: &str, value: &str| {
        let same =
            |event: &&serde_json::Value| event["kind"] == kind && event["data"][key] == value;
        told.iter().filter(same).count()
    };
    assert_eq!(of("agent.refused", "command", "exec"), 1);
    assert_eq!(of("agent.request", "target", inside.join("new").to_str().unwrap()), 2);
    assert_eq!(of("agent.request", "result", "denied"), 9);
    let text = std::fs::read_to_string(agent.path("events")).unwrap();
    assert_eq!(text.lines().count(), told.len());
    assert_eq!(agent.path("events").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn rq_29_who_ran_what_is_told_as_it_happens() {
    let agent = Agent::start("");
    let (mut client, mut watcher) = (agent.connect().await, agent.connect().await);
    let watching = watcher.begin("events", json!({"follow": true})).await;
    client.exec(&["true", "--password=x"]).await;
    let event = loop {
        let tagged = watcher.next().await.unwrap();
        if let Frame::Progress(text) = tagged.frame {
            break serde_json::from_slice::<serde_json::Value>(&text).unwrap();
        }
    };
    assert_eq!((&event["kind"], &event["seq"]), (&json!("agent.request"), &json!(1)));
    let data = &event["data"];
    assert_eq!(data["target"], "true --password=***");
    assert_eq!((&data["command"], &data["result"]), (&json!("exec"), &json!("ok")));
    assert!(data["peer"].as_str().unwrap().starts_with("uid "), "{data}");
    watcher.send(watching, Frame::Cancel).await;
    assert_eq!(watcher.end(watching).await.error()["code"], "cancelled");
    // A client that goes away has asked all the same.
    let running = client.begin("exec", json!({"argv": ["cat"], "stdin": true})).await;
    client.send(running, Frame::Stdin(b"x".to_vec())).await;
    while !matches!(client.next().await.unwrap().frame, Frame::Stdout(_)) {}
    drop(client);
    for _ in 0..1200 {
        let told = watcher.call("events", json!({"after": 1})).await;
        if let Some(event) = told.progress.first() {
            assert_eq!(event["data"]["result"], "cancelled");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it is not on record");
}
