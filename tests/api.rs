//! The API over its unix socket, with another client than ours.

use vnode_testkit::{Host, needs};
use vnode_tests::{get, lab, post, socket, up};

#[test]
fn openapi_metrics_and_nodes_are_served() {
    needs!(Root, Program("curl"));
    let host = Host::new();
    up(&host, &lab("one", "a:", ""));
    let out = get(&host, "/v1/nodes").ok().stdout;
    assert!(out.ends_with("200") && out.contains("\"running\""), "{out}");
    let out = get(&host, "/openapi.json").ok().stdout;
    assert!(out.contains("\"openapi\"") && out.ends_with("200"), "{out:.200}");
    let out = get(&host, "/metrics").ok().stdout;
    assert!(out.contains("# TYPE vnode_") && out.contains("# EOF"), "{out}");
    // how long locks are held is told, level by level.
    let taken = |level: &str| {
        let start = format!("vnode_lock_taken_total{{level=\"{level}\"}} ");
        let line = out.lines().find_map(|l| l.strip_prefix(&start)).unwrap_or_default();
        line.parse::<u64>().unwrap_or_default()
    };
    assert!(taken("node") > 0 && taken("allocator") > 0 && taken("host-root") > 0, "{out}");
    assert!(out.contains("vnode_lock_held_seconds_total{level=\"node\"}"), "{out}");
    let out = get(&host, "/v1/nodes/nobody").ok().stdout;
    assert!(out.ends_with("404") && out.contains("nobody"), "{out}");
    let out = get(&host, "/no/such/path").ok().stdout;
    assert!(out.ends_with("404"), "{out}");
}

#[test]
fn t89_the_socket_and_the_state_are_private() {
    needs!(Root);
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new();
    host.vnode(&["ps"]).ok();
    let socket = socket(&host);
    let open: Vec<String> = std::iter::once(host.state_dir())
        .chain(std::fs::read_dir(host.state_dir()).unwrap().map(|e| e.unwrap().path()))
        .chain(std::iter::once(host.seen(&socket)))
        .filter(|p| std::fs::symlink_metadata(p).unwrap().permissions().mode() & 0o022 != 0)
        .filter(|p| !std::fs::symlink_metadata(p).unwrap().is_symlink())
        .map(|p| p.display().to_string())
        .collect();
    assert!(open.is_empty(), "writable by others: {open:?}");
}

#[test]
fn garbage_on_the_socket_is_answered_or_closed_and_the_daemon_lives() {
    needs!(Root, Program("curl"));
    let host = Host::new();
    host.vnode(&["ps"]).ok();
    let before = host.daemon_process().map(|p| p.pid);
    for body in ["{", "[]", "{\"lab\": 5}", ""] {
        let out = post(&host, "/v1/labs", body);
        assert!(
            out.stdout.trim_end().ends_with(['0', '2', '5']) && out.stdout.contains("\n4"),
            "{body}: {}",
            out.all()
        );
    }
    assert_eq!(host.daemon_process().map(|p| p.pid), before);
}
