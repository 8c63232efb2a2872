//! What operators of network functions ask for.

use serde_json::json;

use super::support::Agent;

#[tokio::test]
async fn rq_01_rq_07_a_process_is_there_and_a_file_is_taken_away() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    let found = client.call("process", json!({"name": own.trim(), "by": "comm"})).await;
    assert_eq!(found.ok()["state"], "RUNNING");
    let none = client.call("process", json!({"name": "no-process-has-it"})).await;
    assert_eq!((&none.ok()["state"], &none.ok()["count"]), (&json!("DOWN"), &json!(0)));
    assert_eq!(client.call("process", json!({"name": "a/b"})).await.error()["code"], "usage");
    let path = agent.path("gone");
    std::fs::write(&path, "x").unwrap();
    assert_eq!(client.call("file-delete", json!({"path": path})).await.ok(), &json!({}));
    assert!(!path.exists());
    assert_eq!(
        client.call("file-delete", json!({"path": path})).await.error()["code"],
        "not-found"
    );
    assert_eq!(client.call("file-delete", json!({"path": "x"})).await.error()["code"], "usage");
    // A folder goes when nothing is in it.
    let folder = agent.path("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "x").unwrap();
    let full = client.call("file-delete", json!({"path": folder})).await;
    assert_eq!(full.error()["code"], "failed", "{full:?}");
    assert!(full.error()["causes"].to_string().contains("not empty"), "{full:?}");
    std::fs::remove_file(folder.join("file")).unwrap();
    assert_eq!(client.call("file-delete", json!({"path": folder})).await.ok(), &json!({}));
    assert!(!folder.exists());
    let push = client.call("vnf", json!({"verb": "push", "length": 1})).await;
    assert_eq!(push.error()["code"], "unsupported");
    assert_eq!(client.call("vnf", json!({"verb": "nonsense"})).await.error()["code"], "usage");
}
