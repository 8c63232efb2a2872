//! What a topology file says of a node is what the node has: the container driver's words, one lab for all.

use vnode_testkit::{Host, needs};
use vnode_tests::up;

#[test]
fn what_the_file_says_of_a_node_is_what_the_node_has() {
    needs!(Root);
    let host = Host::new();
    let data = host.write("data/file", "from the host\n");
    let data = data.parent().expect("a folder").display().to_string();
    let text = format!(
        "name: all\ntopology:\n  nodes:\n    plain: {{cmd: sleep infinity}}\n    a:\n      hostname: other\n      \
         env: {{WORD: value}}\n      binds: [\"{data}:/srv:ro\"]\n      tmpfs: [\"/scratch:size=1m\"]\n      \
         sysctls: {{net.ipv4.ip_forward: 1}}\n      user: \"65534:65534\"\n      entrypoint: sh -c\n      \
         cmd: \"'sleep infinity # the first'\"\n      devices: [\"/dev/null:/dev/nil\"]\n      cap-add: [SYS_TIME]\n      \
         shm-size: 1mb\n      dns: {{servers: [192.0.2.53], search: [example.test]}}\n"
    );
    up(&host, &text);
    let see = |name: &str, script: &str| {
        let args = ["exec", "--user", "0:0", name, "--", "sh", "-c", script];
        host.vnode(&args).ok().stdout.trim().to_owned()
    };
    assert_eq!(see("a", "hostname; echo $WORD; cat /srv/file"), "other\nvalue\nfrom the host");
    assert_ne!(host.exec("a", &["touch", "/srv/new"]).code, 0, "it is read-only");
    assert_eq!(see("a", "stat -f -c '%T %b*%S' /scratch"), "tmpfs 256*4096");
    assert_eq!(see("a", "stat -f -c %b /dev/shm"), (1_000_000_u32.div_ceil(4096)).to_string());
    assert_eq!(see("a", "cat /proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(see("plain", "cat /proc/sys/net/ipv4/ip_forward"), "0", "the node's alone");
    let first = "tr '\\0' ' ' </proc/1/cmdline; grep -c '^Uid:.65534.65534' /proc/1/status";
    assert_eq!(see("a", first), "sh -c sleep infinity # the first 1");
    assert_eq!(see("a", "stat -c %t:%T /dev/nil"), "1:3");
    let resolver = see("a", "cat /etc/resolv.conf");
    assert!(resolver.contains("nameserver 192.0.2.53"), "{resolver}");
    assert!(resolver.contains("search example.test"), "{resolver}");
    // Unprivileged by default: a filter of system calls, and of capabilities what the file adds.
    let bounding = |name: &str| {
        let line = see(name, "grep ^CapBnd: /proc/1/status | cut -f2");
        u64::from_str_radix(&line, 16).expect("a mask")
    };
    const SYS_ADMIN: u64 = 1 << 21;
    const SYS_TIME: u64 = 1 << 25;
    assert_eq!(bounding("plain") & (SYS_ADMIN | SYS_TIME), 0);
    assert_eq!(bounding("a"), bounding("plain") | SYS_TIME);
    assert_eq!(see("plain", "grep ^Seccomp: /proc/1/status | cut -f2"), "2");
    // Other nodes are known by their names, this one by both of its own.
    assert!(host.exec("plain", &["getent", "hosts", "a"]).ok().stdout.contains('a'));
    host.vnode(&["down", "all"]).ok();
}
