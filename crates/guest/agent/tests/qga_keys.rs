//! QG-31 to QG-36: the keys of a user, as QEMU's own test has them; and passwords.
#![allow(clippy::unwrap_used)] // in a test the right report

mod qga;

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use qga::Agent;
use serde_json::json;

/// An agent with one user, whose file of keys holds `keys`.
fn agent(keys: Option<&str>) -> Agent {
    let agent = Agent::new();
    let root = agent.root.path();
    for folder in ["etc", "home/alice"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nalice:x:4321:4322::/home/alice:/bin/sh\n",
    )
    .unwrap();
    if let Some(keys) = keys {
        std::fs::create_dir_all(root.join("home/alice/.ssh")).unwrap();
        std::fs::write(root.join("home/alice/.ssh/authorized_keys"), keys).unwrap();
    }
    agent
}

fn file(agent: &Agent) -> String {
    std::fs::read_to_string(agent.root.path().join("home/alice/.ssh/authorized_keys")).unwrap()
}

#[tokio::test]
async fn qg_31_an_unknown_user() {
    let mut agent = agent(None);
    let request = json!({ "username": "nobody-here", "keys": ["ssh-ed25519 AAAA x"] });
    let (class, text) = agent.refused("guest-ssh-add-authorized-keys", request).await;
    assert_eq!(class, "GenericError");
    assert!(text.starts_with("failed to lookup user 'nobody-here':"), "{text}");
}

#[tokio::test]
async fn qg_32_an_invalid_key() {
    let mut agent = agent(None);
    for key in ["not\na key", "# a comment"] {
        let request = json!({ "username": "alice", "keys": [key] });
        let (_, text) = agent.refused("guest-ssh-add-authorized-keys", request).await;
        assert!(text.starts_with("invalid OpenSSH public key: "), "{text}");
    }
}

#[tokio::test]
async fn qg_33_keys_are_added_in_order_and_once() {
    let mut agent = agent(None);
    let add = |keys: &[&str]| json!({ "username": "alice", "keys": keys });
    agent.get("guest-ssh-add-authorized-keys", add(&["key1", "key2"])).await;
    assert_eq!(file(&agent), "key1\nkey2");
    agent.get("guest-ssh-add-authorized-keys", add(&["key2", "key3"])).await;
    assert_eq!(file(&agent), "key1\nkey2\nkey3");
    let path = agent.root.path().join("home/alice/.ssh");
    for (path, mode) in [(path.clone(), 0o700), (path.join("authorized_keys"), 0o600)] {
        let data = std::fs::metadata(path).unwrap();
        assert_eq!(data.permissions().mode() & 0o7777, mode);
        assert_eq!((data.uid(), data.gid()), (4321, 4322));
    }
}

#[tokio::test]
async fn qg_34_added_with_reset() {
    let mut agent = agent(Some("key1\nkey2\n"));
    let request = json!({ "username": "alice", "keys": ["key3"], "reset": true });
    agent.get("guest-ssh-add-authorized-keys", request).await;
    assert_eq!(file(&agent), "key3");
    let request = json!({ "username": "alice", "keys": [], "reset": true });
    agent.get("guest-ssh-add-authorized-keys", request).await;
    assert_eq!(file(&agent), "");
}

#[tokio::test]
async fn qg_35_keys_are_removed_and_comments_stay() {
    let mut agent = agent(Some("key1\nkey1\n# a comment\nkey2\n"));
    let remove = |key: &str| json!({ "username": "alice", "keys": [key] });
    agent.get("guest-ssh-remove-authorized-keys", remove("key1")).await;
    assert_eq!(file(&agent), "# a comment\nkey2");
    // What is not there is removed already.
    agent.get("guest-ssh-remove-authorized-keys", remove("none")).await;
    std::fs::remove_dir_all(agent.root.path().join("home/alice/.ssh")).unwrap();
    agent.get("guest-ssh-remove-authorized-keys", remove("key2")).await;
}

#[tokio::test]
async fn qg_36_keys_are_listed_without_comments() {
    let mut agent = agent(Some("key1\n# a comment\n\nkey2 one two\n"));
    let list = agent.get("guest-ssh-get-authorized-keys", json!({ "username": "alice" })).await;
    assert_eq!(list, json!({ "keys": ["key1", "key2 one two"] }));
}

/// A user may make a link of the folder; nothing is written, nor given away, where it leads.
#[tokio::test]
async fn qg_36_a_link_in_the_place_of_the_folder_is_not_followed() {
    let mut agent = agent(None);
    let root = agent.root.path().to_owned();
    std::fs::create_dir_all(root.join("root/.ssh")).unwrap();
    std::os::unix::fs::symlink("/root/.ssh", root.join("home/alice/.ssh")).unwrap();
    let request = json!({ "username": "alice", "keys": ["evil"] });
    agent.refused("guest-ssh-add-authorized-keys", request).await;
    assert!(!root.join("root/.ssh/authorized_keys").exists());
    assert_eq!(std::fs::metadata(root.join("root/.ssh")).unwrap().uid(), 0);
}

/// Nor is one in the place of the file read through: what it leads to would be the user's in the end.
#[tokio::test]
async fn qg_36_a_link_in_the_place_of_the_file_is_not_read() {
    let mut agent = agent(None);
    let root = agent.root.path().to_owned();
    std::fs::create_dir_all(root.join("home/alice/.ssh")).unwrap();
    std::fs::write(root.join("etc/shadow"), "root:secret\n").unwrap();
    let keys = root.join("home/alice/.ssh/authorized_keys");
    std::os::unix::fs::symlink("/etc/shadow", &keys).unwrap();
    let named = json!({ "username": "alice" });
    let request = json!({ "username": "alice", "keys": ["key"] });
    agent.refused("guest-ssh-get-authorized-keys", named.clone()).await;
    agent.refused("guest-ssh-add-authorized-keys", request.clone()).await;
    agent.refused("guest-ssh-remove-authorized-keys", request.clone()).await;
    assert!(keys.is_symlink(), "nothing took its place");
    // A second name of another user's file is no better.
    std::fs::remove_file(&keys).unwrap();
    std::os::unix::fs::chown(root.join("etc/shadow"), Some(7), None).unwrap();
    std::fs::hard_link(root.join("etc/shadow"), &keys).unwrap();
    agent.refused("guest-ssh-add-authorized-keys", request.clone()).await;
    std::fs::remove_file(&keys).unwrap();
    agent.get("guest-ssh-add-authorized-keys", request).await;
    assert_eq!(std::fs::metadata(&keys).unwrap().uid(), 4321);
}

#[tokio::test]
async fn qg_36_passwords_that_cannot_be() {
    let mut agent = agent(None);
    let set = |user: &str, password: &str| json!({ "username": user, "password": password, "crypted": false });
    let (_, text) = agent.refused("guest-set-user-password", set("a:b", "eA==")).await;
    assert_eq!(text, "forbidden characters in username");
    let (_, text) = agent.refused("guest-set-user-password", set("alice", "eAp5")).await;
    assert_eq!(text, "forbidden characters in raw password");
    let (_, text) = agent.refused("guest-set-user-password", set("alice", "e!==")).await;
    assert_eq!(text, "Base64 data contains invalid characters");
    let (_, text) = agent
        .refused("guest-set-user-password", json!({ "username": "alice", "password": "eA==" }))
        .await;
    assert_eq!(text, "Parameter 'crypted' is missing");
    let (_, text) = agent.refused("guest-set-user-password", set("nobody-here", "eA==")).await;
    assert_eq!(text, "child process has failed to set user password");
}
