//! Containers of libvirt's LXC driver in labs: their links, their ends from inside, and a daemon that dies while it plugs one in.

use std::io::Write;
use std::process::Stdio;

use super::*;

/// A container whose first process does what is typed on its console.
fn obeying(root: &Path) -> String {
    let text = container(root)
        .replace("while :; do sleep 0.2; done", "while read -r line; do $line; done");
    assert!(text.contains("$line"), "{text}");
    text
}

/// Types a line on a node's console, and waits until it has done what it does.
#[track_caller]
fn types(host: &Host, node: &str, line: &str, what: &str, done: impl Fn() -> bool) {
    let mut console = host
        .vnode_command(&["console", node])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("vnode starts");
    let mut stdin = console.stdin.take().expect("piped");
    writeln!(stdin, "{line}").expect("the console is there");
    eventually(what, LONG, || done().then_some(()));
    // The child leads into the host; the client is in it.
    for client in host.processes().iter().filter(|p| p.argv.iter().any(|a| a == "console")) {
        client.kill();
    }
    console.wait().expect("it has ended");
}

/// Names of the interfaces in the one container that runs.
fn interfaces_inside(host: &Host) -> Vec<String> {
    let all = host.processes();
    let first = all.iter().find(|p| p.argv.iter().any(|a| a.contains("read -r line")));
    let pid = first.expect("the container runs").inner.to_string();
    let out = host.run("nsenter", &["-t", &pid, "-n", "ip", "-o", "link"]).ok().stdout;
    let name = |line: &str| line.split([':', '@']).nth(1).unwrap_or_default().trim().to_owned();
    out.lines().map(name).collect()
}

/// Waits until the one container that runs has no interface: pairs go when the kernel has done with the node's namespace.
#[track_caller]
fn nothing_inside(host: &Host, when: &str) {
    eventually(&format!("{when}: nothing is left in the container"), LONG, || {
        (interfaces_inside(host) == ["lo"]).then_some(())
    });
}

/// The node that is adopted, and another to talk to.
const ADOPTED: &str = "    there:
      kind: vm
      backend: libvirt
      network-mode: none
      restart-policy: \"no\"
      libvirt: {uri: \"lxc:///\", domain: box}
    client:
      kind: linux
      image: host
      network-mode: none
      cmd: 'sh -c \"trap exit TERM; sleep infinity & wait\"'
";
const OWN: &str = "    own:
      kind: vm
      backend: libvirt
      network-mode: none
      restart-policy: \"no\"
      libvirt: {uri: \"lxc:///\", xml: own.xml}
";
const LINK: &str = "  links:
    - endpoints: [\"there:eth1\", \"client:eth1\"]
      ipv4: [10.0.1.1/24, 10.0.1.2/24]
";
const OWN_LINK: &str = "    - endpoints: [\"own:eth1\", \"client:eth2\"]
      ipv4: [10.0.2.1/24, 10.0.2.2/24]
";

#[test]
fn lv_13_t47_containers_of_lxc_have_links_end_from_inside_and_keep_nothing_of_a_daemon_that_died() {
    beside_a_container(obeying, |host, libvirt| {
        host.write("own.xml", &obeying(&host.dir().join("box")));
        let daemon = host.start_daemon(&[]);
        if let Some(why) = missing(host) {
            println!("skipped: {why}");
            return;
        }
        host.kill9_daemon();
        drop(daemon);

        // Killed between plugging an interface in and whatever is written down of it: the next daemon takes the lab back.
        let head = "name: wired\ntopology:\n  nodes:\n";
        let file =
            host.write("one.clab.yml", &format!("{head}{ADOPTED}{LINK}")).display().to_string();
        for point in ["domain.started", "domain.plugged", "domain.joined"] {
            let mut daemon = host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
            assert_ne!(host.vnode(&["up", &file]).code, 0, "{point}");
            daemon.wait(LONG);
            if point != "domain.started" {
                assert_eq!(interfaces(libvirt, "box"), 1, "{point}: it is plugged in");
            }
            let after = host.start_daemon(&[]);
            vnode_tests::recovered(host, point);
            assert_eq!(host.vnode(&["ps", "--json"]).ok().stdout.trim(), "[]", "{point}");
            assert_eq!(interfaces(libvirt, "box"), 0, "{point}: nothing is left in the domain");
            nothing_inside(host, point);
            eventually(&format!("{point}: nothing is left in the host"), LONG, || {
                let left = host.run("ip", &["-o", "link"]).ok().stdout;
                (!left.contains(": vn")).then_some(())
            });
            assert_eq!(libvirt.virsh(&["domstate", "box"]).ok().stdout.trim(), "running");
            host.kill9_daemon();
            drop((daemon, after));
        }

        // Nothing is doubled either: the lab comes up with one interface, under its own name and with its address.
        let daemon = host.start_daemon(&[]);
        host.vnode(&["up", &file]).ok();
        assert_eq!(interfaces(libvirt, "box"), 1);
        assert_eq!(interfaces_inside(host), ["lo", "eth1"]);
        let passes = |address: &str, what: &str| {
            eventually(what, LONG, || host.ping("client", address).then_some(()));
        };
        passes("10.0.1.1", "the link leads to the adopted container");
        host.vnode(&["down", "wired"]).ok();
        nothing_inside(host, "after the lab");

        let text = format!("{head}{ADOPTED}{OWN}{LINK}{OWN_LINK}");
        let file = host.write("two.clab.yml", &text).display().to_string();
        host.vnode(&["up", &file]).ok();
        passes("10.0.1.1", "the link leads to the adopted container again");
        passes("10.0.2.1", "the link leads to the node's own container");

        // R-7, T-47: a reboot inside is told, and the links go on with what libvirt has started anew.
        let status = |name: &str| host.vnode(&["inspect", name]).ok().json()["status"].clone();
        for (name, address) in [("own", "10.0.2.1"), ("there", "10.0.1.1")] {
            types(host, name, "busybox reboot -f", "the reboot is told", || {
                status(name)["boots"] == 2 && status(name)["last_exit"]["ended"] == "reboot"
            });
            becomes(host, name, "running");
            assert_eq!(node(host, name)["restarts"], 1, "{name}");
            passes(address, "the link leads to the container that rebooted");
        }
        // An end of the first process is the container's: stopped, and not started again.
        for name in ["own", "there"] {
            types(host, name, "exit", "the end is told", || state(host, name) == "stopped");
            assert_eq!(status(name)["last_exit"]["ended"], "poweroff", "{name}");
        }
        let events = host.vnode(&["events", "--kind", "node.exited"]).ok().stdout;
        assert_eq!(events.matches("powered off inside").count(), 2, "{events}");
        assert_eq!(events.matches("rebooted inside").count(), 2, "{events}");
        host.vnode(&["boot", "there"]).ok();
        passes("10.0.1.1", "the link leads to the container that was booted again");

        host.vnode(&["down", "wired"]).ok();
        let all = libvirt.virsh(&["list", "--all", "--name"]).ok().stdout;
        assert_eq!(all.trim(), "box", "an own domain goes with its node");
        assert_eq!(interfaces(libvirt, "box"), 0);
        host.kill9_daemon();
        drop(daemon);
    });
}
