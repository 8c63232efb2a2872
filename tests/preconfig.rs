//! Programs of the host that are given a node's root before it boots, and what becomes of the boot when they cannot be (T-37);
//! what a daemon that dies leaves of them, and of those of its stages (T-34).

use std::process::Stdio;

use serde_json::Value;
use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{SOON, lab, node, state, up};

/// What `vnode events` has of a node's preconfig: command and result, in order.
fn told(host: &Host, name: &str) -> Vec<(String, String)> {
    let out = host.vnode(&["events", "--json", "--kind", "node.preconfig"]).ok().stdout;
    let events = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("one a line"));
    let own = events.filter(|event| {
        event["subject"].as_str().is_some_and(|subject| subject.ends_with(&format!("/{name}")))
    });
    let word =
        |event: &Value, key: &str| event["data"][key].as_str().unwrap_or_default().to_owned();
    own.map(|event| (word(&event, "command"), word(&event, "result"))).collect()
}

/// A host whose daemon runs commands of topology files.
fn trusting() -> Host {
    let mut host = Host::new();
    host.set_env("VNODE_HOST_COMMANDS", "true");
    host
}

#[test]
fn t37_what_a_preconfig_writes_is_in_the_node_before_its_first_process() {
    needs!(Root);
    let host = trusting();
    let before = host.snapshot();
    let script = host.write("prepare.sh", "echo \"$VNODE_NODE $1\" >>\"$VNODE_ROOT/prepared\"\n");
    let text = lab(
        "prepared",
        &format!(
            "a:\n  cmd: sh -c \"cat /prepared; trap exit TERM; sleep infinity & wait\"\n  preconfig:\n    \
             - sh {0} one\n    - {{command: \"sh {0} two\", required: true}}\n",
            script.display()
        ),
        "",
    );
    up(&host, &text);
    let lines = || host.exec("a", &["cat", "/prepared"]).ok().stdout;
    assert_eq!(lines(), "a one\na two\n");
    let results: Vec<String> = told(&host, "a").into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, ["done", "done"]);
    // Before each boot that is asked for; a boot of a running node is none.
    host.vnode(&["boot", "a"]).ok();
    assert_eq!(told(&host, "a").len(), 2);
    host.vnode(&["reboot", "a"]).ok();
    assert_eq!(told(&host, "a").len(), 4);
    assert_eq!(lines().lines().count(), 4);
    host.vnode(&["down", "prepared"]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn t37_a_preconfig_that_fails_keeps_a_node_down_only_when_it_is_required() {
    needs!(Root);
    let host = trusting();
    let before = host.snapshot();
    let text = lab(
        "failing",
        "a: {preconfig: [\"/no/such/program\", \"false\"]}\n\
         b: {preconfig: [\"true\", {command: \"sh -c 'echo no keys; exit 7'\", required: true}, \"touch /never\"]}\nc:",
        "",
    );
    let file = host.write("failing.clab.yml", &text).display().to_string();
    let out = host.vnode(&["up", &file]).exits(3);
    assert!(out.all().contains("node `b` is not booted"), "{}", out.all());
    assert!(out.all().contains("ended with status 7: no keys"), "{}", out.all());
    assert_eq!([state(&host, "a"), state(&host, "c")], ["running", "running"]);
    let results = |name: &str| -> Vec<String> {
        told(&host, name).into_iter().map(|(_, result)| result).collect()
    };
    assert_eq!(results("a"), ["failed", "failed"]);
    assert_eq!(results("b"), ["done", "failed"]);
    // A warning tells of those that did not matter.
    let warned = host.vnode(&["events", "--json", "--kind", "warning.given"]).ok().stdout;
    assert!(warned.contains("`false` ended with status 1"), "{warned}");
    host.vnode(&["down", "failing"]).ok();
    host.assert_nothing_but_files(&before);
}

/// Kills a daemon while a command of the file runs on the host, and sees that the next leaves none of its processes;
/// `node` is the node's definition with `COMMAND` in it.
fn killed_while_it_runs(name: &str, node: &str) {
    let host = trusting();
    let before = host.snapshot();
    let script = host.write("endless.sh", "setsid sleep 1234 &\n[ -e \"$1/go\" ] || sleep 1234\n");
    let command = format!("sh {} {}", script.display(), host.dir().display());
    let text = lab(name, &format!("a: {}", node.replace("COMMAND", &command)), "");
    let file = host.write("endless.clab.yml", &text).display().to_string();
    let sleepers = || {
        let all = host.processes().into_iter();
        all.filter(|p| p.argv.iter().any(|word| word == "1234")).count()
    };
    let mut up = host.vnode_command(&["up", &file]);
    let quiet = up.stdout(Stdio::null()).stderr(Stdio::null());
    let mut up = quiet.spawn().expect("sh starts");
    eventually("it runs", SOON, || (sleepers() == 2).then_some(()));
    host.kill9_daemon();
    up.wait().expect("a started child can be waited for");
    assert_eq!(sleepers(), 2, "nobody ends them but the next daemon");
    host.write("go", "");
    host.vnode(&["up", &file]).ok();
    assert_eq!(state(&host, "a"), "running");
    assert_eq!(sleepers(), 0);
    host.vnode(&["down", name]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn t37_an_up_killed_while_a_preconfig_runs_leaves_none_of_its_processes() {
    needs!(Root);
    killed_while_it_runs("endless", "{preconfig: [\"COMMAND\"]}");
}

#[test]
fn t34_an_up_killed_while_a_stage_runs_a_command_on_the_host_leaves_none_of_its_processes() {
    needs!(Root);
    let exec = "[{command: \"COMMAND\", target: host, phase: on-exit}]";
    killed_while_it_runs("staged", &format!("{{stages: {{create-links: {{exec: {exec}}}}}}}"));
}

#[test]
fn t37_without_leave_no_program_of_a_file_runs_on_the_host() {
    needs!(Root);
    let host = Host::new();
    let text = lab("wary", "a: {preconfig: [\"true\"]}", "");
    let file = host.write("wary.clab.yml", &text).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert!(
        out.code != 0 && out.all().contains("`preconfig` runs a command on the host"),
        "{}",
        out.all()
    );
    assert!(out.all().contains("--host-commands"), "{}", out.all());
    assert_eq!(state(&host, "a"), "absent");
}

#[test]
fn vm_t37_a_machine_whose_root_cannot_be_mounted_boots_unless_a_preconfig_is_required() {
    needs!(Root, Program("nft"));
    if let Some(why) = vnode_testkit::guest::missing() {
        println!("skipped: {why}");
        return;
    }
    let host = trusting();
    let before = host.snapshot();
    let image = host.dir().join("image");
    host.build_image(&image).ok();
    let image = image.display().to_string();
    // Without a disk there is no root to mount.
    let machine = |required: bool| {
        format!(
            "name: bare\ntopology:\n  nodes:\n    vm:\n      kind: vm\n      memory: 448MiB\n      network-mode: none\n      \
             preconfig: [{{command: \"true\", required: {required}}}]\n      \
             vm: {{kernel: {image}/vmlinux, initrd: {image}/initrd, append: quiet}}\n"
        )
    };
    let file = host.write("bare.clab.yml", &machine(false)).display().to_string();
    host.vnode(&["up", &file]).ok();
    assert_eq!(node(&host, "vm")["state"], "running");
    assert_eq!(told(&host, "vm"), [("true".to_owned(), "skipped".to_owned())]);
    host.vnode(&["down", "bare"]).ok();

    host.write("bare.clab.yml", &machine(true));
    let out = host.vnode(&["up", &file]);
    assert!(out.code != 0, "{}", out.all());
    let reason = "`true` is required before its boot, and its root cannot be mounted";
    assert!(out.all().contains(reason) && out.all().contains("no disk"), "{}", out.all());
    assert_eq!(state(&host, "vm"), "failed");
    assert_eq!(told(&host, "vm").last().map(|(_, result)| result.as_str()), Some("skipped"));
    host.vnode(&["down", "bare"]).ok();
    host.kill9_daemon();
    host.assert_nothing_but_files(&before);
}
