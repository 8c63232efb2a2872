//! The rows of the table.

pub(crate) mod agent;
pub(crate) mod component;
pub(crate) mod exec;
pub(crate) mod imagelist;
pub(crate) mod node;
pub(crate) mod scale;
pub(crate) mod star;
pub(crate) mod vm;
pub(crate) mod vnf;

use std::path::PathBuf;

use serde_json::json;
use vnode_testkit::Host;

/// crun refuses a hybrid cgroup tree: its shell unmounts the v2 part, in a mount namespace of its own.
const CRUN_PRELUDE: &str = "umount /sys/fs/cgroup/unified 2>/dev/null";

/// A star whose nodes have no control network: what the floor and Mininet build, no more.
fn star(name: &str, n: usize) -> String {
    let nodes: String = (1..=n).map(|i| format!("    n{i}:\n")).collect();
    let members: String = (1..=n)
        .map(|i| format!("        - {{node: n{i}, interface: eth1, ipv4: {}/16}}\n", address(i)))
        .collect();
    format!(
        "name: {name}\ntopology:\n  defaults: {{kind: linux, image: host, cmd: sleep infinity, network-mode: none, restart-policy: \"no\"}}\n  \
         nodes:\n{nodes}  networks:\n    lan0:\n      mtu: 1500\n      members:\n{members}"
    )
}

/// Address of the `i`-th node of a star.
fn address(i: usize) -> String {
    format!("10.0.{}.{}", i / 250, i % 250 + 1)
}

/// A bundle of crun's whose root is the machine's own under an overlay, as ours is.
fn crun_bundle(host: &Host, name: &str, argv: &[&str]) -> PathBuf {
    let dir = host.dir().join(name);
    for part in ["upper", "work", "rootfs"] {
        std::fs::create_dir_all(dir.join(part)).expect("the host's directory is writable");
    }
    let options = format!("lowerdir=/,upperdir={0}/upper,workdir={0}/work", dir.display());
    host.run(
        "mount",
        &["-t", "overlay", "overlay", "-o", &options, &dir.join("rootfs").display().to_string()],
    )
    .ok();
    let caps = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"]);
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
    let config = json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "hostname": "c",
        "process": {
            "user": { "uid": 0, "gid": 0 }, "args": argv, "cwd": "/", "env": ["PATH=/usr/bin:/bin"], "noNewPrivileges": true,
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
        ],
        "linux": { "namespaces": namespaces },
    });
    std::fs::write(dir.join("config.json"), config.to_string())
        .expect("the host's directory is writable");
    dir
}
