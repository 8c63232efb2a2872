//! Scripts in a sandbox, asked over a real bus.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![allow(clippy::disallowed_methods, reason = "tests start the programs they test")]

mod support;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use serde_json::{Value, json};
use support::World;
use vnode_component::client::Error;

/// Says as JSON what it can do.
const SCRIPT: &str = r#"#!/bin/sh
write() { if (echo x >"$1") 2>/dev/null; then echo true; else echo false; fi; }
printf '{"user":%s,"etc":%s,"open":%s,"closed":%s,"tmp":%s,"others":%s,"interfaces":"%s","capabilities":"%s"}' \
  "$(id -u)" "$(write /etc/vnode-sandbox-test)" "$(write "$1/open/file")" "$(write "$1/closed/file")" \
  "$(write /tmp/file)" "$(ls /tmp | grep -vc '^file$')" "$(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' \n')" \
  "$(grep CapEff /proc/self/status | tr -d 'CapEff:\t\n')"
"#;

#[tokio::test]
async fn w19_a_strict_script_reads_and_answers_and_no_more() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    // Not in `/tmp`, which a sandbox has of its own.
    let place = tempfile::tempdir_in("/run").unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let script = place.path().join("script");
    fs::write(&script, SCRIPT).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    for name in ["open", "closed"] {
        let folder = place.path().join(name);
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(65534), Some(65534)).unwrap();
    }
    let run = format!("{} {}", script.display(), place.path().display());
    let text = format!(
        "[Component]\nName=a.b\nX-Sandbox=strict\nX-Writable={0}/open\n[Model a.b.v1]\nState/Get={run}\n\
         [Model a.b.root]\nX-User=root\nState/Get={run}\n[Model a.b.lost]\nX-Writable={0}/none\nState/Get={run}\n\
         Config/Set={run}\n",
        place.path().display()
    );
    let world = World::start(&[("a.instance", &text)]).await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    let asked = client.state("a.b.v1").await;
    if let Err(Error::Failed(error)) = &asked
        && error.message.contains("CAP_SYS_ADMIN")
        && error.message.contains("not permitted")
    {
        println!("skipped: {}", error.message);
        return;
    }
    let confined = |user: u32| {
        json!({ "user": user, "etc": false, "open": true, "closed": false, "tmp": true, "others": 0,
            "interfaces": "lo", "capabilities": "0000000000000000" })
    };
    let as_json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(as_json(&asked.unwrap()), confined(65534));
    // Who says so is root, without its powers. Its folder belongs to another: it may not even write there.
    let mut root = confined(0);
    root["open"] = json!(false);
    assert_eq!(as_json(&client.state("a.b.root").await.unwrap()), root);
    assert!(!Path::new("/etc/vnode-sandbox-test").exists());
    assert!(place.path().join("open/file").exists());
    // A sandbox that cannot be made is an error; the script does not run without it.
    let Err(Error::Failed(error)) = client.set("a.b.lost", "{}").await else { panic!() };
    assert!(error.message.contains("sandbox"), "{}", error.message);
}
