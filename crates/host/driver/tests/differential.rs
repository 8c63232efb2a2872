//! Our containers against what crun makes of the same OCI configuration.
//!
//! Inside both the same script prints what a program can find out about its confinement. The answers must be
//! equal, line by line, but for the differences written in [`EXPECTED`] with their reasons.

// The peer is run here.
#![allow(clippy::disallowed_methods)]
// A test stops at the first thing that goes wrong.
#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeSet;
use std::path::Path;

use bed::{exec, run};
use serde_json::json;
use vnode_driver::*;

/// Beginnings of lines that one of the two may have alone, and why.
const EXPECTED: [(&str, &str); 11] = [
    ("mount / ", "crun binds the folder it is given; our root is an overlay of layers"),
    (
        "mount /sys/fs/cgroup",
        "crun, on a tree with v1 controllers, shows each of them; we show the node's v2 group, as v1 groups \
         hold nothing the node may change",
    ),
    (
        "dev net",
        "crun 1.8 lets every container use /dev/net/tun; a definition of ours names the devices it wants",
    ),
    ("cgroup ", "our nodes have a cgroup namespace, in which their own group is the root"),
    ("namespace cgroup", "as above"),
    (
        "mount /proc/bus root=bus ro,",
        "ours keep nosuid, nodev and noexec of /proc; crun's lose them",
    ),
    ("mount /proc/fs root=fs ro,", "as above"),
    ("mount /proc/irq root=irq ro,", "as above"),
    ("mount /proc/sys root=sys ro,", "as above"),
    (
        "mount /proc/keys root=null ",
        "crun binds the host's /dev/null, ours the node's own, so that no file system of the host's is shown; \
         what is read there is compared by the lines `masked`",
    ),
    ("mount /proc/timer_list root=null ", "as above"),
];

const PROBE: &str = r#"
grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid)' /proc/self/status | tr '\t' ' ' | sed 's/^/status /'
sed -E 's/^[0-9]+ [0-9]+ [0-9]+:[0-9]+ //; s/ (shared|master):[0-9]+//' /proc/self/mountinfo |
while read root point rest; do
  options=${rest%% - *}; fs=${rest#*- }
  case $root in /*) root=${root##*/};; esac
  case $fs in tmpfs*|ext4*|overlay*) ;; esac
  echo "mount $point root=$root $options $fs"
done
ls -ln /dev | sed -E 's/ [A-Z][a-z]{2} +[0-9]+ +[0-9:]+ / /; s/ +/ /g; s/^/dev /' | grep -v '^dev total'
ls /dev | sed 's/^/dev name /'
for path in /proc/kcore /proc/keys /proc/timer_list /proc/latency_stats /proc/acpi /proc/scsi /sys/firmware /proc/sched_debug; do
  if [ -e $path ]; then
    if [ -d $path ]; then echo "masked $path dir $(ls -A $path | wc -l) $(touch $path/x 2>&1)"
    else echo "masked $path file $(head -c 100 $path | wc -c) $(stat -c %t:%T $path)"; fi
  fi
done
for path in /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/uevent_seqnum; do
  echo "readonly $path $( (echo 0 > $path) 2>&1)"
done
ulimit -a | sed 's/^/limit /'
ulimit -Ha | sed 's/^/hard limit /'
umask | sed 's/^/umask /'
id | sed 's/^/id /'
pwd | sed 's/^/pwd /'
hostname | sed 's/^/host /'
env | grep -v -E '^(SHLVL|_)=' | sort | sed 's/^/env /'
echo "pid $$"
echo "stdin $(readlink /proc/self/fd/0)"
for kind in pid net mnt ipc uts user cgroup; do
  [ "$(readlink /proc/self/ns/$kind)" = "$(cat /host-ns/$kind)" ] && echo "namespace $kind is the host's"
done
echo "try mount $(mount -t tmpfs none /tmp 2>&1)"
echo "try unshare $(unshare -U true 2>&1)"
echo "try mknod $(mknod /tmp/disk b 254 0 2>&1; cat /tmp/disk 2>&1 | head -c 0)"
echo "try open $(head -c 1 /tmp/disk 2>&1)"
echo "try full $(echo x 2>&1 >/dev/full)"
echo "try kmsg $(cat /dev/kmsg 2>&1)"
echo "try chroot $(chroot / true 2>&1; echo $?)"
echo "try hostname $(hostname other 2>&1)"
echo "try reboot $(reboot -f 2>&1)"
echo "sessions $(ps -o pid,sid,comm | grep -c 'init')"
"#;

/// The names in the default profile's table, which crun is given as an OCI profile.
fn profile() -> serde_json::Value {
    let table = include_str!("../src/container/seccomp/table.rs");
    let always = table.split("ALWAYS: &[i64] = &[").nth(1).unwrap().split("];").next().unwrap();
    let mut names: Vec<&str> = always
        .lines()
        .filter_map(|l| l.trim().trim_end_matches(',').strip_prefix("SYS_"))
        .collect();
    names.extend(["io_pgetevents", "chroot"]);
    let argument = |value: u64, op: &str| json!([{"index": 0, "value": value, "op": op}]);
    let mut calls = vec![
        json!({"names": names, "action": "SCMP_ACT_ALLOW"}),
        json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": argument(40, "SCMP_CMP_NE")}),
        json!({
            "names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
        }),
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}),
    ];
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff_u64] {
        calls.push(json!({
            "names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": argument(value, "SCMP_CMP_EQ")
        }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"], "syscalls": calls
    })
}

/// The OCI configuration that says the same as the definition.
fn configuration(spec: &NodeSpec, root: &Path) -> serde_json::Value {
    let caps: Vec<String> = spec.security.capabilities.iter().map(|c| format!("CAP_{c}")).collect();
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let hard = own.maximum.unwrap();
    let mount = |to: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": source, "options": options});
    let safe = ["nosuid", "noexec", "nodev"];
    let safe_ro = ["nosuid", "noexec", "nodev", "ro"];
    json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": spec.process.argv,
            "env": spec.process.env,
            "cwd": "/",
            "capabilities": {
                "bounding": caps, "effective": caps, "permitted": caps,
                "inheritable": [], "ambient": []
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": hard, "soft": 1024}],
            "noNewPrivileges": spec.security.no_new_privileges
        },
        "root": {"path": root, "readonly": spec.read_only_root},
        "hostname": spec.hostname,
        "mounts": [
            mount("/proc", "proc", "proc", &safe),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &[
                "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &[
                "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &safe),
            mount("/sys", "sysfs", "sysfs", &safe_ro),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &safe_ro),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"}
            ],
            "seccomp": profile(),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
                "/sys/firmware", "/sys/devices/virtual/powercap"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}

/// Lines by number of occurrences, so that a doubled mount is a difference too.
fn lines(text: &str) -> BTreeSet<String> {
    let mut seen = std::collections::BTreeMap::new();
    text.lines()
        .map(|line| {
            let count = seen.entry(line.to_owned()).or_insert(0);
            *count += 1;
            if *count == 1 { line.to_owned() } else { format!("{line} ({count})") }
        })
        .collect()
}

fn host_namespaces(root: &Path) {
    let folder = root.join("host-ns");
    std::fs::create_dir_all(&folder).unwrap();
    for kind in ["pid", "net", "mnt", "ipc", "uts", "user", "cgroup"] {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        std::fs::write(folder.join(kind), link.to_string_lossy().as_bytes()).unwrap();
    }
}

#[test]
fn a_node_is_confined_as_crun_confines_the_same_configuration() {
    run(|bed| async move {
        if std::process::Command::new("crun").arg("--version").output().is_err() {
            println!("skipped: no crun (package crun)");
            return;
        }
        let image = bed.dir.path().join("image");
        host_namespaces(&image);
        std::fs::write(image.join("probe"), PROBE).unwrap();
        let mut spec = bed.spec("same");
        spec.process.argv = ["sh", "/probe"].map(String::from).to_vec();
        spec.process.env = vec!["PATH=/bin".into(), "A=b c".into()];

        // crun writes in the root itself: a copy for it.
        let bundle = bed.dir.path().join("bundle");
        let root = bundle.join("rootfs");
        std::fs::create_dir_all(&bundle).unwrap();
        let mut copy = std::process::Command::new("cp");
        assert!(copy.arg("-a").arg(&image).arg(&root).status().unwrap().success());
        let text = serde_json::to_vec(&configuration(&spec, &root)).unwrap();
        std::fs::write(bundle.join("config.json"), text).unwrap();
        // It refuses a hybrid tree, so it is shown one without v2.
        let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec crun --root \"$1\" run -b \"$2\" \"$3\"";
        let output = std::process::Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(bed.dir.path().join("crun"))
            .arg(&bundle)
            .arg(&bed.instance)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let theirs = String::from_utf8_lossy(&output.stdout).into_owned();
        if !theirs.contains("status CapBnd") {
            println!(
                "skipped: crun does not run here: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            return;
        }

        let node = bed.boot(&spec).await;
        bed::exit_of(&node).await;
        let ours = std::fs::read_to_string(node.logs().current).unwrap();
        let (ours, theirs) = (lines(&ours), lines(&theirs));
        assert!(ours.len() > 80, "{ours:#?}");
        let mut unexplained = Vec::new();
        for (who, line) in ours
            .difference(&theirs)
            .map(|l| ("ours ", l))
            .chain(theirs.difference(&ours).map(|l| ("crun ", l)))
        {
            if !EXPECTED.iter().any(|(start, _)| line.starts_with(start)) {
                unexplained.push(format!("{who}: {line}"));
            }
        }
        assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    });
}

#[test]
fn an_exec_is_confined_as_the_first_process_is_and_a_privileged_one_is_not() {
    run(|bed| async move {
        let spec = bed.sh("a", "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; sleep 1000");
        let node = bed.boot(&spec).await;
        let log = node.logs().current;
        bed::eventually("it printed", || {
            std::fs::read_to_string(&log).is_ok_and(|t| t.contains("Seccomp:"))
        })
        .await;
        let first = std::fs::read_to_string(&log).unwrap();
        assert!(first.contains("Seccomp:\t2"), "{first}");
        let question = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status";
        assert_eq!(exec(&node, question).await.1, first);
        let (_, out, _) = bed::exec_as(&node, question, |s| s.privileged = true).await;
        assert!(out.contains("Seccomp:\t0"), "{out}");
        assert_ne!(out, first);
    });
}
