//! What is seen and taken of nodes from outside, whether they run or not: files, use of resources, events, images.

use vnode_testkit::{Host, needs};
use vnode_tests::{lab, node, state, up};

#[test]
fn cp_reaches_the_files_of_a_node_that_does_not_run() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("files", "a:\nb:", ""));
    host.exec("a", &["sh", "-c", "mkdir /root/d; echo kept > /root/d/file"]).ok();
    host.vnode(&["halt", "a"]).ok();
    let out = host.dir().join("out");
    host.vnode(&["cp", "a:/root/d", &out.display().to_string()]).ok();
    assert_eq!(std::fs::read_to_string(out.join("file")).unwrap(), "kept\n");
    let file = host.write("given", "from outside\n").display().to_string();
    host.vnode(&["cp", &file, "a:/root/d/"]).ok();
    assert_eq!(state(&host, "a"), "stopped", "nothing stays mounted");
    let missing = host.vnode(&["cp", "a:/no/such", "-"]);
    assert!(missing.code != 0 && missing.all().contains("/no/such"), "{}", missing.all());
    assert_eq!(state(&host, "a"), "stopped");
    host.vnode(&["boot", "a"]).ok();
    let seen = host.exec("a", &["cat", "/root/d/given", "/root/d/file"]).ok().stdout;
    assert_eq!(seen, "from outside\nkept\n");
    // What a user has mounted stays mounted.
    host.vnode(&["halt", "b"]).ok();
    host.vnode(&["mount", "b"]).ok();
    host.vnode(&["cp", &file, "b:/root/"]).ok();
    assert_eq!(state(&host, "b"), "mounted");
    host.vnode(&["unmount", "b"]).ok();
    host.vnode(&["down", "files"]).ok();
}

#[test]
fn the_hosts_root_is_listed_among_the_images_with_its_nodes() {
    needs!(Root);
    let host = Host::new();
    let empty = host.vnode(&["image", "ls", "--json"]).ok().json();
    assert_eq!((&empty[0]["id"], &empty[0]["nodes"]), (&"host".into(), &serde_json::json!([])));
    up(&host, &lab("one", "a:", ""));
    let images = host.vnode(&["image", "ls", "--json"]).ok().json();
    assert_eq!(images[0]["nodes"], serde_json::json!(["one/a"]), "{images}");
    let table = host.vnode(&["image", "ls"]).ok().stdout;
    assert!(table.lines().nth(1).is_some_and(|line| line.starts_with("host ")), "{table}");
    host.vnode(&["down", "one"]).ok();
}

#[test]
fn an_image_that_cannot_be_had_names_the_node() {
    needs!(Root);
    let host = Host::new();
    let nodes = "good:\nbad: {image: 'localhost:1/no/such:1', image-pull-policy: never}";
    let file = host.write("partly.clab.yml", &lab("partly", nodes, "")).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("of node `bad`"), "{}", out.all());
    assert_eq!(node(&host, "bad")["state"], "failed");
    assert_eq!(node(&host, "good")["state"], "running");
    host.vnode(&["down", "partly"]).ok();
}

#[test]
fn events_end_without_follow_and_a_nodes_use_is_told() {
    needs!(Root, Program("curl"));
    let host = Host::new();
    up(&host, &lab("told", "a:", ""));
    let socket = host.state_dir().join("vnode.sock").display().to_string();
    let get = |path: &str| {
        let url = format!("http://vnode{path}");
        host.run("curl", &["-sSf", "--max-time", "60", "--unix-socket", &socket, &url]).ok().stdout
    };
    // An end by the time limit would be an error of curl's.
    assert!(get("/v1/events").contains("lab/told"));
    let stats: serde_json::Value = serde_json::from_str(&get("/v1/nodes/a/stats")).unwrap();
    assert!(stats["pids"].as_u64().is_none_or(|pids| pids >= 1), "{stats}");
    host.vnode(&["down", "told"]).ok();
}
