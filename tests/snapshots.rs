//! Snapshots of a stopped node's disk, by command line.

use vnode_testkit::{Host, needs};

#[test]
fn t21_a_snapshot_by_command_is_taken_restored_and_removed() {
    needs!(Root);
    let host = Host::new();
    host.vnode(&["create", "solo", "--", "sleep", "infinity"]).ok();
    host.vnode(&["boot", "solo"]).ok();
    host.exec("solo", &["sh", "-c", "echo before >/root/note"]).ok();
    let out = host.vnode(&["snapshot", "take", "solo", "clean"]).exits(1);
    assert!(out.all().contains("solo") && out.all().contains("running"), "{}", out.all());
    host.vnode(&["halt", "solo", "--time", "0"]).ok();
    host.vnode(&["snapshot", "take", "solo", "clean"]).ok();
    let out = host.vnode(&["snapshot", "take", "solo", "clean"]).exits(1);
    assert!(out.all().contains("`clean`"), "{}", out.all());
    let list = host.vnode(&["snapshot", "ls", "solo", "--json"]).ok().json();
    assert_eq!(list[0]["name"], "clean", "the second try took nothing away: {list}");

    host.vnode(&["boot", "solo"]).ok();
    host.exec(
        "solo",
        &["sh", "-c", "echo after >/root/note; rm /etc/hostname.bak 2>/dev/null; touch /root/new"],
    )
    .ok();
    host.vnode(&["halt", "solo", "--time", "0"]).ok();
    host.vnode(&["snapshot", "restore", "solo", "clean"]).ok();
    host.vnode(&["boot", "solo"]).ok();
    let found = host.exec("solo", &["sh", "-c", "cat /root/note; ls /root"]).ok();
    assert_eq!(found.stdout, "before\nnote\n");

    host.vnode(&["snapshot", "rm", "solo", "clean"]).ok();
    host.vnode(&["snapshot", "rm", "solo", "clean"]).ok();
    assert_eq!(
        host.vnode(&["snapshot", "ls", "solo", "--json"]).ok().json(),
        serde_json::json!([])
    );
    host.vnode(&["halt", "solo", "--time", "0"]).ok();
    let out = host.vnode(&["snapshot", "restore", "solo", "clean"]).exits(1);
    assert!(out.all().contains("no snapshot `clean`"), "{}", out.all());
}
