//! Domains of libvirt in labs: its test driver, which lives in the daemon, and its own daemon with an emulated machine and
//! a container.

#[path = "libvirt/lxc.rs"]
mod lxc;

use std::path::Path;
use std::time::Duration;

use vnode_testkit::{Host, Output, eventually, needs, tools};
use vnode_tests::{node, state};

/// Emulated machines on a busy host take their time; less than a test has, so that it says what it waited for.
const LONG: Duration = Duration::from_secs(90);

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
    uri: &'static str,
    child: std::process::Child,
}

impl<'a> Libvirt<'a> {
    fn start(host: &'a Host, uri: &'static str) -> Self {
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
        let made = Self { host, uri, child };
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
        let args = [&[libraries.as_str(), &virsh, "-c", self.uri], args].concat();
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

/// How many interfaces a domain has now.
fn interfaces(libvirt: &Libvirt<'_>, domain: &str) -> usize {
    libvirt.virsh(&["dumpxml", domain]).ok().stdout.matches("<interface").count()
}

/// A small machine, as a user has it: an interface of libvirt's own network, a console, a screen,
/// and the agent's channel.
fn definition(image: &Path) -> String {
    format!(
        "<domain type='qemu'><name>small</name><memory unit='MiB'>448</memory><vcpu>1</vcpu>
         <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{image}/vmlinux</kernel><initrd>{image}/initrd</initrd>
         <cmdline>console=ttyS0 quiet panic=-1 random.trust_cpu=on no_timer_check</cmdline></os>
         <features><acpi/></features>
         <devices><emulator>{qemu}</emulator>
         <interface type='network'><source network='default'/><model type='virtio'/></interface>
         <serial type='pty'/><memballoon model='none'/><video><model type='vga'/></video>
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
    let libvirt = Libvirt::start(&host, "qemu:///system");
    let daemon = host.start_daemon(&[]);
    if let Some(why) = missing(&host) {
        println!("skipped: {why}");
        return;
    }
    assert!(host.vnode(&["doctor"]).stdout.contains("`qemu:///system` answers"));
    let image = host.dir().join("image");
    host.build_image(&image).ok();
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

    // Its memory is kept by libvirt, and it goes on from there, on the same link.
    let boot_id = || host.exec("vm", &["cat", "/proc/sys/kernel/random/boot_id"]).ok().stdout;
    let before = boot_id();
    let picture = host.dir().join("screen.png").display().to_string();
    host.vnode(&["screenshot", "vm", &picture]).ok();
    assert!(std::fs::read(&picture).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG\r\n")));
    host.vnode(&["save", "vm"]).ok();
    assert_eq!(state(&host, "vm"), "stopped");
    host.vnode(&["restore", "vm"]).ok();
    passes("the link leads to the machine that was saved");
    assert_eq!(boot_id(), before);

    host.vnode(&["down", "mixed"]).ok();
    let left = libvirt.virsh(&["list", "--all", "--name"]).ok().stdout;
    assert_eq!(left.trim(), "", "an own domain goes with its node");

    // The same machine, as a user's domain that runs: it gets an interface, and is left without.
    let own =
        "<interface type='network'><source network='default'/><model type='virtio'/></interface>";
    let file = host.write("users.xml", &definition(&image).replace(own, "")).display().to_string();
    libvirt.virsh(&["define", &file]).ok();
    libvirt.virsh(&["start", "small"]).ok();
    let lab = lab
        .replace("name: mixed", "name: adopted")
        .replace("{xml: small.xml}", "{domain: small}")
        .replace("backend: libvirt\n", "backend: libvirt\n      network-mode: none\n");
    let file = host.write("adopted.clab.yml", &lab).display().to_string();
    host.vnode(&["up", &file]).ok();
    assert_eq!(interfaces(&libvirt, "small"), 1);
    // Nobody tells it its address: that is its owner's business.
    eventually("the guest has found its interface", LONG, || {
        (host.exec("vm", &["ip", "link", "set", "eth0", "up"]).code == 0).then_some(())
    });
    host.exec("vm", &["ip", "addr", "add", "10.0.0.1/24", "dev", "eth0"]).ok();
    passes("the link leads to the adopted machine");
    let out = host.vnode(&["save", "vm"]);
    assert!(out.code != 0 && out.all().contains("adopted"), "{}", out.all());
    host.vnode(&["down", "adopted"]).ok();
    assert_eq!(libvirt.virsh(&["domstate", "small"]).ok().stdout.trim(), "running");
    eventually("the guest lets go of the interface", LONG, || {
        (interfaces(&libvirt, "small") == 0).then_some(())
    });
    libvirt.virsh(&["destroy", "small"]).ok();
    host.kill9_daemon();
    drop(daemon);
}

/// A container of the user's. Its first process prints a line, and goes on.
fn container(root: &Path) -> String {
    let program = "echo up; while :; do sleep 0.2; done";
    format!(
        "<domain type='lxc'><name>box</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
         <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>{program}</initarg></os>
         <features><privnet/></features>
         <devices><emulator>/usr/lib/libvirt/libvirt_lxc</emulator>
         <filesystem type='mount'><source dir='{root}'/><target dir='/'/></filesystem>
         <console type='pty'/></devices></domain>",
        root = root.display(),
    )
}

/// A root with busybox and nothing else.
fn busybox(root: &Path) {
    for folder in ["bin", "dev", "proc", "sys", "etc"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    let busybox = vnode_testkit::find_program("busybox").expect("asked for before");
    std::fs::copy(busybox, root.join("bin/busybox")).expect("it is copied");
    for name in ["sh", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("a link");
    }
}

/// Runs a test beside libvirt's LXC driver, with a container `box` of this definition that runs; its root is a folder of the
/// host's by that name.
fn beside_a_container(definition: fn(&Path) -> String, test: impl FnOnce(&Host, &Libvirt<'_>)) {
    needs!(
        Root,
        Program("nft"),
        Program("busybox"),
        Tool("usr/sbin/libvirtd"),
        Tool("usr/bin/virsh"),
        Tool("usr/lib/libvirt/libvirt_lxc"),
    );
    let host = Host::new();
    let libvirt = Libvirt::start(&host, "lxc:///");
    let root = host.dir().join("box");
    busybox(&root);
    let file = host.write("box.xml", &definition(&root)).display().to_string();
    libvirt.virsh(&["define", &file]).ok();
    let started = libvirt.virsh(&["start", "box"]);
    if started.code != 0 {
        println!("skipped: libvirt starts no container here: {}", started.all().trim());
        return;
    }
    test(&host, &libvirt);
}

#[test]
fn lv_12_a_container_of_libvirts_lxc_driver_is_adopted_and_stays_as_it_was() {
    beside_a_container(container, |host, libvirt| {
        let daemon = host.start_daemon(&[]);
        if let Some(why) = missing(host) {
            println!("skipped: {why}");
            return;
        }
        up(host, "boxes", &alone("box", "uri: \"lxc:///\", domain: box")).ok();
        assert_eq!(node(host, "box")["driver"], "libvirt (lxc:///)");
        host.vnode(&["pause", "box"]).ok();
        assert_eq!(state(host, "box"), "paused");
        host.vnode(&["resume", "box"]).ok();

        // Its console is lent to one at a time: it is given back though nothing more is printed.
        let reads = || {
            let process = host.daemon_process().expect("it runs");
            let names = std::fs::read_dir(process.proc("task")).into_iter().flatten().flatten();
            let names =
                names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
            names.filter(|name| name.trim() == "libvirt-console").count()
        };
        for _ in 0..2 {
            let mut console = host
                .vnode_command(&["console", "box"])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("vnode starts");
            eventually("the console is read", LONG, || (reads() == 1).then_some(()));
            // The child leads into the host; the client is in it.
            for client in host.processes().iter().filter(|p| p.argv.iter().any(|a| a == "console"))
            {
                client.kill();
            }
            console.wait().expect("it has ended");
            eventually("the console is given back", LONG, || (reads() == 0).then_some(()));
        }

        // What it has not is refused in libvirt's words.
        for verb in ["save", "screenshot"] {
            let out = host.vnode(&[verb, "box"]);
            assert!(out.code != 0, "{verb}: {}", out.all());
        }
        assert_eq!(state(host, "box"), "running");

        // T-55: the daemon is killed; the container goes on, and the next daemon takes it up.
        host.kill9_daemon();
        drop(daemon);
        let daemon = host.start_daemon(&[]);
        assert_eq!(state(host, "box"), "running");

        // Somebody cuts its power: that is an end that was not asked for, and it is started again.
        libvirt.virsh(&["destroy", "box"]).ok();
        eventually("it is started again", LONG, || {
            let status = host.vnode(&["inspect", "box"]).ok().json()["status"].clone();
            (status["boots"] == 2 && status["last_exit"]["ended"] == "killed").then_some(())
        });
        becomes(host, "box", "running");
        host.vnode(&["halt", "--time", "1", "box"]).ok();
        assert_eq!(state(host, "box"), "stopped");
        assert_eq!(libvirt.virsh(&["domstate", "box"]).ok().stdout.trim(), "shut off");
        host.vnode(&["boot", "box"]).ok();

        // It ran when it was adopted, and goes on.
        host.vnode(&["down", "boxes"]).ok();
        assert_eq!(libvirt.virsh(&["domstate", "box"]).ok().stdout.trim(), "running");
        libvirt.virsh(&["destroy", "box"]).ok();
        host.kill9_daemon();
        drop(daemon);
    });
}
