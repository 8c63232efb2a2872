//! Domains of libvirt in labs: its test driver, which lives in the daemon, and its own daemon with an emulated machine.

use std::path::Path;
use std::time::Duration;

use vnode_testkit::{Host, Output, eventually, needs, tools};
use vnode_tests::{node, state};

/// Emulated machines on a busy host take their time.
const LONG: Duration = Duration::from_secs(200);

/// Why no node can be a domain here, in `doctor`'s words.
fn missing(host: &Host) -> Option<String> {
    let checks = host.vnode(&["doctor"]).stdout;
    let line = checks.lines().find(|line| line.contains("libvirt")).unwrap_or("no word of libvirt");
    (!line.contains("library")).then(|| line.trim().to_owned())
}

/// `vnode up` of a lab with these nodes.
fn up(host: &Host, name: &str, nodes: &str) -> Output {
    let text = format!("name: {name}\ntopology:\n  nodes:\n{nodes}");
    let file = host.write(&format!("{name}.clab.yml"), &text).display().to_string();
    host.vnode(&["up", &file])
}

/// Waits until a node is in this state.
#[track_caller]
fn becomes(host: &Host, name: &str, wanted: &str) {
    eventually(&format!("{name} is {wanted}"), LONG, || {
        (state(host, name) == wanted).then_some(())
    });
}

/// A node without links.
fn alone(name: &str, libvirt: &str) -> String {
    format!(
        "    {name}:\n      kind: vm\n      backend: libvirt\n      network-mode: none\n      libvirt: {{{libvirt}}}\n"
    )
}

const HYPERVISOR: &str = "<node><domain type='test'><name>there</name>\
    <uuid>11111111-2222-4333-8444-555555555555</uuid><memory>65536</memory><os><type>hvm</type></os></domain>\
    <domain type='test'><name>vnode-taken-vm</name><memory>65536</memory><os><type>hvm</type></os></domain></node>";
const DOMAIN: &str = "<domain type='test'><name>of-the-user</name><memory>32768</memory><os><type>hvm</type></os></domain>";

#[test]
fn lv_10_domains_of_the_test_driver_are_nodes_of_a_lab() {
    needs!(Root, Program("nft"));
    let host = Host::new();
    let before = host.snapshot();
    let daemon = host.start_daemon(&[]);
    if let Some(why) = missing(&host) {
        println!("skipped: {why}");
        return;
    }
    let uri = format!("uri: \"test://{}\"", host.write("host.xml", HYPERVISOR).display());
    host.write("own.xml", DOMAIN);
    let nodes = alone("own", &format!("{uri}, xml: own.xml"))
        + &alone("adopted", &format!("{uri}, domain: there"));
    up(&host, "domains", &nodes).ok();
    let own = node(&host, "own");
    assert_eq!((own["kind"].as_str(), own["state"].as_str()), (Some("vm"), Some("running")));
    assert!(own["driver"].as_str().is_some_and(|d| d.starts_with("libvirt (test://")), "{own}");
    assert_eq!(state(&host, "adopted"), "running");
    // A machine too busy to answer shows none.
    let inspect = |name: &str| host.vnode(&["inspect", name]).ok().json();
    eventually("its memory is counted", LONG, || {
        (inspect("own")["stats"]["memory_bytes"] == 32 << 20).then_some(())
    });

    host.vnode(&["pause", "own"]).ok();
    assert_eq!(state(&host, "own"), "paused");
    host.vnode(&["resume", "own"]).ok();
    assert_eq!(state(&host, "own"), "running");
    host.vnode(&["reboot", "own"]).ok();
    assert_eq!(state(&host, "own"), "running");

    // What it cannot do is refused with a reason.
    let refused = |args: &[&str], reason: &str| {
        let out = host.vnode(args);
        assert!(out.code != 0 && out.all().contains(reason), "{args:?}: {}", out.all());
    };
    refused(&["exec", "own", "--", "true"], "agent");
    refused(&["snapshot", "take", "own", "s"], "running");
    host.vnode(&["halt", "own"]).ok();
    assert_eq!(state(&host, "own"), "stopped");
    host.vnode(&["snapshot", "take", "own", "s"]).ok();
    assert!(host.vnode(&["snapshot", "ls", "own"]).ok().stdout.contains('s'));
    host.vnode(&["snapshot", "restore", "own", "s"]).ok();
    host.vnode(&["snapshot", "rm", "own", "s"]).ok();
    host.vnode(&["boot", "own"]).ok();

    // The same domain in a second lab; one that nobody has; a definition that is none; a link that reaches nothing.
    let refused = |name: &str, nodes: &str, reason: &str| {
        let out = up(&host, name, nodes);
        assert!(out.code != 0 && out.all().contains(reason), "{name}: {}", out.all());
        host.vnode(&["down", name]);
    };
    let domain = |name: &str| alone("vm", &format!("{uri}, domain: {name}"));
    refused("twice", &domain("there"), "has the same domain");
    refused("nobody", &domain("nobody"), "nobody");
    host.write("broken.xml", "<domain>\n  <name>x</nome>\n</domain>\n");
    refused("broken", &alone("vm", &format!("{uri}, xml: broken.xml")), "line 2, column 10");
    refused("absent", &alone("vm", &format!("{uri}, xml: absent.xml")), "absent.xml");
    refused("taken", &alone("vm", &format!("{uri}, xml: own.xml")), "with uuid");
    host.vnode(&["down", "domains"]).ok();
    let linked = domain("there").replace("      network-mode: none\n", "");
    refused("linked", &linked, "network-mode: none");
    // a lab that fails when the domain may long have been booted takes nothing from it.
    let fails = alone("late", &format!("{uri}, xml: own.xml"))
        + "      startup-delay: 1\n      vm: {ready: agent}\n";
    refused("fails", &(domain("there") + &fails), "agent");
    // What was there is there, and runs as it did, whatever labs had it: it can be adopted again.
    up(&host, "again", &domain("there")).ok();
    let folder = inspect("vm")["folder"].as_str().map(std::path::PathBuf::from).expect("a folder");
    let kept = std::fs::read_to_string(folder.join("libvirt.json")).expect("it is kept");
    assert!(kept.contains("\"ran\":true"), "{kept}");
    host.vnode(&["down", "again"]).ok();
    host.kill9_daemon();
    drop(daemon);
    host.assert_nothing_but_files(&before);
}

/// libvirt's own daemon in the host, with `virsh`.
struct Libvirt<'a> {
    host: &'a Host,
    child: std::process::Child,
}

impl<'a> Libvirt<'a> {
    fn start(host: &'a Host) -> Self {
        host.write("libvirt.sh", tools::LIBVIRT);
        let script = host.write("libvirtd.sh", include_str!("libvirt/libvirtd.sh"));
        let log = std::fs::File::create(host.dir().join("libvirtd.out")).expect("a file");
        let child = host
            .command("unshare")
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"])
            .args(["--kill-child", "sh"])
            .arg(&script)
            .arg(host.dir())
            .arg(tools::root().expect("asked for before"))
            .stdin(std::process::Stdio::piped())
            .stdout(log.try_clone().expect("a descriptor can be duplicated"))
            .stderr(log)
            .spawn()
            .expect("sh starts");
        let made = Self { host, child };
        made.once_more();
        made
    }

    /// Starts the daemon, for the first time or after its end.
    fn once_more(&self) {
        use std::io::Write;
        let mut stdin = self.child.stdin.as_ref().expect("piped");
        writeln!(stdin, "start").expect("the script reads");
        eventually("libvirt's daemon answers", LONG, || {
            (self.virsh(&["version"]).code == 0).then_some(())
        });
    }

    fn virsh(&self, args: &[&str]) -> Output {
        let virsh = tools::path("usr/bin/virsh").expect("asked for before").display().to_string();
        let libraries = tools::library_path();
        let libraries = format!("LD_LIBRARY_PATH={}", libraries.to_string_lossy());
        let args = [&[libraries.as_str(), &virsh, "-c", "qemu:///system"], args].concat();
        self.host.run("env", &args)
    }

    fn kill(&self) {
        let all = self.host.processes();
        let daemon = all.iter().find(|p| p.argv.first().is_some_and(|a| a.ends_with("/libvirtd")));
        daemon.expect("it runs").kill();
    }
}

impl Drop for Libvirt<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.host.dir().join("libvirtd.out"));
            println!("--- libvirtd\n{}", log.unwrap_or_default());
        }
        // The child is nsenter; what it started ends with the host.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small machine, as a user has it: an interface of libvirt's own network, a console, and the agent's channel.
fn definition(image: &Path) -> String {
    format!(
        "<domain type='qemu'><name>small</name><memory unit='MiB'>448</memory><vcpu>1</vcpu>
         <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{image}/vmlinux</kernel><initrd>{image}/initrd</initrd>
         <cmdline>console=ttyS0 quiet panic=-1 random.trust_cpu=on no_timer_check</cmdline></os>
         <features><acpi/></features>
         <devices><emulator>{qemu}</emulator>
         <interface type='network'><source network='default'/><model type='virtio'/></interface>
         <serial type='pty'/><memballoon model='none'/>
         <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
         </devices></domain>",
        image = image.display(),
        qemu = vnode_testkit::find_program("qemu-system-x86_64").expect("asked for before").display(),
    )
}

#[test]
fn lv_11_a_machine_under_libvirt_stands_in_a_lab_beside_a_container() {
    needs!(
        Root,
        Program("nft"),
        Program("ping"),
        Program("qemu-system-x86_64"),
        Tool("usr/sbin/libvirtd"),
        Tool("usr/bin/virsh"),
    );
    if let Some(why) = vnode_testkit::guest::missing() {
        println!("skipped: {why}");
        return;
    }
    let host = Host::new();
    let libvirt = Libvirt::start(&host);
    let daemon = host.start_daemon(&[]);
    if let Some(why) = missing(&host) {
        println!("skipped: {why}");
        return;
    }
    assert!(host.vnode(&["doctor"]).stdout.contains("`qemu:///system` answers"));
    let image = host.dir().join("image");
    host.vnode(&["image", "build", &image.display().to_string()]).ok();
    host.write("small.xml", &definition(&image));
    let lab = "name: mixed
topology:
  nodes:
    vm:
      kind: vm
      backend: libvirt
      libvirt: {xml: small.xml}
      vm: {ready: agent}
    client:
      kind: linux
      image: host
      cmd: 'sh -c \"trap exit TERM; sleep infinity & wait\"'
  links:
    - endpoints: [\"vm:eth1\", \"client:eth1\"]
      ipv4: [10.0.0.1/24, 10.0.0.2/24]
";
    let file = host.write("mixed.clab.yml", lab).display().to_string();
    host.vnode(&["up", &file]).ok();
    assert_eq!(node(&host, "vm")["driver"], "libvirt (qemu:///system)");
    assert_eq!(libvirt.virsh(&["domstate", "vnode-mixed-vm"]).ok().stdout.trim(), "running");

    // Name and addresses are told to it as to a machine of vnode's own.
    assert_eq!(host.exec("vm", &["hostname"]).ok().stdout.trim(), "vm");
    let passes = |what: &str| {
        eventually(what, LONG, || host.ping("client", "10.0.0.1").then_some(()));
    };
    passes("the link leads to the machine");
    let motd = host.write("motd", "well met\n").display().to_string();
    host.vnode(&["cp", &motd, "vm:/motd"]).ok();
    // qemu-ga's way of a copy goes by a file of the guest's.
    host.exec("vm", &["mkdir", "-p", "/var/tmp"]).ok();
    let back = host.dir().join("back").display().to_string();
    host.vnode(&["cp", "vm:/motd", &back]).ok();
    assert!(std::fs::read_to_string(&back).is_ok_and(|text| text == "well met\n"));
    assert!(host.vnode(&["logs", "vm"]).ok().stdout.contains("vnode: up"), "its console is kept");

    // T-67: a link that is down is down for the machine, too.
    host.vnode(&["link", "down", "vm:eth1--client:eth1"]).ok();
    assert!(!host.ping("client", "10.0.0.1"));
    host.vnode(&["link", "up", "vm:eth1--client:eth1"]).ok();
    passes("the link is up again");

    // Whoever pauses it, libvirt tells.
    libvirt.virsh(&["suspend", "vnode-mixed-vm"]).ok();
    becomes(&host, "vm", "paused");
    host.vnode(&["resume", "vm"]).ok();
    assert_eq!(state(&host, "vm"), "running");

    // T-55: the daemon is killed, libvirt's too; the machine goes on, and both take it up again.
    host.kill9_daemon();
    drop(daemon);
    libvirt.kill();
    let daemon = host.start_daemon(&[]);
    assert_eq!(state(&host, "vm"), "running");
    passes("without either daemon's help");
    libvirt.once_more();
    eventually("its agent is reached again", LONG, || {
        (host.exec("vm", &["true"]).code == 0).then_some(())
    });

    host.vnode(&["down", "mixed"]).ok();
    let left = libvirt.virsh(&["list", "--all", "--name"]).ok().stdout;
    assert_eq!(left.trim(), "", "an own domain goes with its node");
    host.kill9_daemon();
    drop(daemon);
}
