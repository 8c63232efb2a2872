//! Roots that nodes are made from: tarballs, OCI layouts, archives, a registry with a mirror; good ones and bad.

use vnode_testkit::image::{self, ImageSpec};
use vnode_testkit::{Host, Output, Registry, needs};
use vnode_tests::{nodes, up};

/// Brings up one node from an image with a file `/hello`.
fn up_from(host: &Host, reference: &str) -> Output {
    let text = format!(
        "name: one\ntopology:\n  nodes:\n    a: {{kind: linux, image: \"{reference}\", cmd: /bin/sleep 1000}}\n"
    );
    let file = host.write("one.clab.yml", &text).display().to_string();
    host.vnode(&["up", &file])
}

fn hello() -> ImageSpec {
    ImageSpec::default().with_file("hello", "from the image\n", 0o644)
}

#[track_caller]
fn says_hello(host: &Host) {
    assert_eq!(host.exec("a", &["cat", "/hello"]).ok().stdout, "from the image\n");
    host.vnode(&["down", "one"]).ok();
    assert!(nodes(host).is_empty());
}

#[test]
fn a_node_runs_on_a_tarball() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    let tar = image::write_tarball(&hello(), &host.dir().join("root.tar"));
    up_from(&host, &format!("tar:{}", tar.display())).ok();
    says_hello(&host);
}

#[test]
fn a_node_runs_on_an_oci_layout_and_its_archive() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    let built = image::build(&hello());
    let dir = host.dir().join("layout");
    image::write_oci_layout(&built, "hello:1", &dir);
    up_from(&host, &format!("oci:{}", dir.display())).ok();
    says_hello(&host);
    let archive = host.dir().join("layout.tar");
    image::write_oci_archive(&built, "hello:1", &archive);
    up_from(&host, &format!("oci:{}", archive.display())).ok();
    says_hello(&host);
}

#[test]
fn a_node_runs_on_what_docker_save_writes() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    let archive = host.dir().join("save.tar");
    image::write_docker_archive(&image::build(&hello()), "hello:1", &archive);
    up_from(&host, &format!("docker-archive:{}", archive.display())).ok();
    says_hello(&host);
}

#[test]
fn t11_two_nodes_of_one_registry_image_fetch_it_once() {
    needs!(Root, Program("busybox"), Program("docker-registry"));
    let host = Host::new();
    let registry = Registry::start(&host);
    let built = image::build(&hello());
    registry.push("test/hello", "1", &built);
    let reference = format!("{}/test/hello:1", registry.address);
    let text = format!(
        "name: one\ntopology:\n  defaults: {{kind: linux, image: \"{reference}\", cmd: /bin/sleep 1000}}\n  nodes:\n    a:\n    b:\n    c:\n"
    );
    let file = host.write("one.clab.yml", &text).display().to_string();
    host.vnode(&["up", &file]).ok();
    assert_eq!(registry.downloads(&built.layer), 1, "{}", registry.log());
    says_hello(&host);
    // The next lab finds it in the catalogue.
    host.vnode(&["up", &file]).ok();
    assert_eq!(registry.downloads(&built.layer), 1);
    says_hello(&host);
}

#[test]
fn t14_a_blob_with_the_wrong_digest_is_refused_and_leaves_nothing() {
    needs!(Root, Program("busybox"), Program("docker-registry"));
    let host = Host::new();
    let registry = Registry::start(&host);
    let built = image::build(&hello());
    registry.push("test/hello", "1", &built);
    let good = std::fs::read(registry.blob_path(&built.layer)).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(registry.blob_path(&built.layer), &bad).unwrap();
    let reference = format!("{}/test/hello:1", registry.address);
    let out = up_from(&host, &reference);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("digest"), "{}", out.all());
    assert!(!host.vnode(&["image", "ls"]).ok().stdout.contains("test/hello"));
    host.vnode(&["down", "one"]).ok();
    // Mended at the source, it is fetched anew.
    std::fs::write(registry.blob_path(&built.layer), &good).unwrap();
    up_from(&host, &reference).ok();
    says_hello(&host);
}

#[test]
fn images_are_listed_removed_and_kept_while_in_use() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    let tar = image::write_tarball(&hello(), &host.dir().join("root.tar")).display().to_string();
    host.vnode(&["image", "import", &tar, "--name", "mine:1"]).ok();
    up_from(&host, "mine:1").ok();
    assert!(host.vnode(&["image", "ls"]).ok().stdout.contains("mine:1"));
    let out = host.vnode(&["image", "rm", "mine:1"]);
    assert_ne!(out.code, 0, "in use");
    assert!(out.all().contains("one/a") || out.all().contains("use"), "{}", out.all());
    says_hello(&host);
    host.vnode(&["image", "rm", "mine:1"]).ok();
    assert!(!host.vnode(&["image", "ls"]).ok().stdout.contains("mine:1"));
}

#[test]
fn other_limits_leave_a_node_on_the_image_that_it_was_made_from() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    let import = |what: &str| {
        let spec = ImageSpec::default().with_file("version", what, 0o644);
        let tar = image::write_tarball(&spec, &host.dir().join(format!("{what}.tar")))
            .display()
            .to_string();
        host.vnode(&["image", "import", &tar, "--name", "mine:1"]).ok();
    };
    import("first");
    let text = |resources: &str| {
        format!(
            "name: kept\ntopology:\n  nodes:\n    a: {{kind: linux, image: 'mine:1'{resources}}}\n"
        )
    };
    let file = up(&host, &text(""));
    let image = || host.vnode(&["inspect", "a"]).ok().json()["image_id"].clone();
    let first = image();
    assert!(first.is_string(), "{first}");
    // The name leads elsewhere now; the node's disk does not.
    import("second");
    host.write("kept.clab.yml", &text(", resources: {cpu-weight: 50}"));
    let out = host.vnode(&["apply", &file]);
    assert!(out.code == 0 || out.all().contains("cgroup"), "{}", out.all());
    assert_eq!(image(), first);
    host.vnode(&["image", "gc", "--unused", "0"]).ok();
    host.vnode(&["reboot", "a"]).ok();
    assert_eq!(host.exec("a", &["cat", "/version"]).ok().stdout, "first");
    host.vnode(&["down", &file]).ok();
}

/// A tarball of one bad entry.
fn bad_tar(kind: &str) -> Vec<u8> {
    // Written by hand: a tar library would refuse to make these.
    let mut header = [0_u8; 512];
    let (name, link, flag): (&[u8], &[u8], u8) = match kind {
        "traversal" => (b"../../escape", b"", b'0'),
        "absolute link" => (b"etc", b"/etc", b'2'),
        "hard link out" => (b"x", b"../../../etc/passwd", b'1'),
        other => panic!("no {other}"),
    };
    header[..name.len()].copy_from_slice(name);
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(b"00000000000\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = flag;
    header[157..157 + link.len()].copy_from_slice(link);
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    [header.to_vec(), vec![0; 1024]].concat()
}

#[test]
fn malformed_tarballs_are_refused_and_leave_nothing() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    host.vnode(&["ps"]).ok();
    let good = image::root_tar(&hello());
    let cases = [
        ("traversal", bad_tar("traversal")),
        ("hard link out", bad_tar("hard link out")),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("noise", (0..20_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
    ];
    for (name, bytes) in cases {
        let path = host.dir().join("bad.tar");
        std::fs::write(&path, bytes).unwrap();
        let out = host.vnode(&["image", "import", &path.display().to_string(), "--name", "bad:1"]);
        assert_ne!(out.code, 0, "{name}");
        assert!(!out.stderr.trim().is_empty(), "{name} has a message");
        assert!(
            !host.vnode(&["image", "ls"]).ok().stdout.contains("bad:1"),
            "{name} is not in the catalogue"
        );
        assert!(
            !host.dir().join("escape").exists()
                && !host.dir().parent().unwrap().join("escape").exists()
        );
    }
}

#[test]
fn a_link_out_of_the_tarball_stays_inside_the_node() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    // `etc` itself is a link to /etc, then a file is written through it: it must land in the node's own root.
    let mut bytes = bad_tar("absolute link");
    bytes.truncate(512);
    let mut rest =
        image::root_tar(&ImageSpec { busybox: false, ..ImageSpec::default() }.with_file(
            "etc/vnode-test-owned",
            "x",
            0o644,
        ));
    bytes.append(&mut rest);
    let path = host.dir().join("link.tar");
    std::fs::write(&path, bytes).unwrap();
    host.vnode(&["image", "import", &path.display().to_string(), "--name", "link:1"]);
    assert!(!std::path::Path::new("/etc/vnode-test-owned").exists());
}

#[test]
fn t12_twenty_creates_at_once_of_one_image_are_one_download() {
    needs!(Root, Program("busybox"), Program("docker-registry"));
    let host = Host::new();
    let registry = Registry::start(&host);
    let built = image::build(&hello());
    registry.push("test/hello", "1", &built);
    let reference = format!("{}/test/hello:1", registry.address);
    // Twenty commands, each an operation of its own in a lab of its own.
    let running: Vec<_> = (0..20)
        .map(|i| {
            let node = format!("lab{i}/n{i}");
            let args =
                ["create", &node, "--boot", "--image", &reference, "--", "/bin/sleep", "1000"];
            let mut command = host.vnode_command(&args);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            command.spawn().expect("sh starts")
        })
        .collect();
    for child in running {
        let out = child.wait_with_output().expect("a started child can be waited for");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    assert_eq!(registry.downloads(&built.layer), 1, "{}", registry.log());
    for i in 0..20 {
        let text = host.exec(&format!("n{i}"), &["cat", "/hello"]).ok().stdout;
        assert_eq!(text, "from the image\n");
    }
}

#[test]
fn t17_nodes_of_one_image_have_disks_of_their_own() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    let tar = image::write_tarball(&hello(), &host.dir().join("root.tar"));
    let reference = format!("tar:{}", tar.display());
    let running: Vec<_> = (0..4)
        .map(|i| {
            let node = format!("lab{i}/n{i}");
            let args =
                ["create", &node, "--boot", "--image", &reference, "--", "/bin/sleep", "1000"];
            let mut command = host.vnode_command(&args);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            command.spawn().expect("sh starts")
        })
        .collect();
    for child in running {
        let out = child.wait_with_output().expect("a started child can be waited for");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    for i in 0..4 {
        let script = format!("echo own {i} >/hello; echo {i} >/only-{i}");
        host.exec(&format!("n{i}"), &["sh", "-c", &script]).ok();
    }
    for i in 0..4 {
        let script = "cat /hello; ls -d /only-*";
        let text = host.exec(&format!("n{i}"), &["sh", "-c", script]).ok().stdout;
        assert_eq!(text, format!("own {i}\n/only-{i}\n"));
    }
    // And the image is as it was: the next node begins anew.
    let args = ["create", "fresh", "--boot", "--image", &reference, "--", "/bin/sleep", "1000"];
    host.vnode(&args).ok();
    let text = host.exec("fresh", &["sh", "-c", "cat /hello; ls -d /only-*"]).stdout;
    assert_eq!(text, "from the image\n");
}

#[test]
fn t85_nothing_waits_for_a_download_that_stands_still() {
    needs!(Root, Program("busybox"), Program("ping"), Program("curl"));
    let host = Host::new();
    // A registry that takes the connection and never answers.
    let port = host.free_port().to_string();
    let mut silent = host.command("busybox");
    let mut silent = silent
        .args(["nc", "-l", "-l", "-p", &port, "-e", "sleep", "1000"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("sh starts");
    vnode_testkit::eventually("it listens", vnode_tests::SOON, || {
        host.run("ss", &["-tln"]).stdout.contains(&format!(":{port} ")).then_some(())
    });
    let reference = format!("127.0.0.1:{port}/never/comes:1");
    let args = ["create", "stuck/late", "--boot", "--image", &reference, "--", "/bin/sh"];
    let mut late = host.vnode_command(&args);
    let late = late
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("sh starts");
    let running = vnode_testkit::eventually("the download goes on", vnode_tests::SOON, || {
        let all = host.vnode(&["op", "ls", "--json"]).ok().json();
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|o| o["state"] == "running")
    });
    let began = std::time::Instant::now();
    // it is listed from the first moment on, as what it is.
    assert_eq!(vnode_tests::state(&host, "late"), "creating");
    // Meanwhile fifty others come, work and go, and every question is answered.
    let file = vnode_tests::up(&host, &vnode_tests::star("star", 50));
    assert!(host.ping("n1", &vnode_tests::star_address(50)));
    assert!(nodes(&host).len() >= 50);
    host.vnode(&["down", &file]).ok();
    let id = running["id"].as_str().expect("an operation has an id").to_owned();
    let all = host.vnode(&["op", "ls", "--json"]).ok().json();
    let still = all
        .as_array()
        .expect("a list")
        .iter()
        .any(|o| o["id"] == id.as_str() && o["state"] == "running");
    assert!(still, "it was under way all the while: {all}");
    let stood_still = began.elapsed().as_secs_f64();
    host.vnode(&["op", "cancel", &id]).ok();
    let out = late.wait_with_output().expect("a started child can be waited for");
    assert!(!out.status.success());
    host.vnode(&["destroy", "late"]).ok();
    assert!(nodes(&host).is_empty());
    // A lock that is let go of tells how long it was held: none of everybody's was over the download.
    for (level, _, longest) in vnode_tests::locks_held(&host) {
        assert!(longest < stood_still / 2.0, "{level}: {longest} s of {stood_still}");
    }
    silent.kill().expect("it runs");
    silent.wait().expect("a started child can be waited for");
}

#[test]
fn t13_a_replaced_image_is_for_new_nodes_and_the_old_ones_keep_theirs() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    let tar = host.dir().join("root.tar");
    let reference = format!("tar:{}", tar.display());
    let create = |name: &str| {
        let args = ["create", name, "--boot", "--image", &reference, "--", "/bin/sleep", "1000"];
        host.vnode(&args).ok();
    };
    let hello = |name: &str| host.exec(name, &["cat", "/hello"]).ok().stdout;
    image::write_tarball(&ImageSpec::default().with_file("hello", "first\n", 0o644), &tar);
    create("one");
    image::write_tarball(&ImageSpec::default().with_file("hello", "the second\n", 0o644), &tar);
    create("two");
    assert_eq!((hello("one").as_str(), hello("two").as_str()), ("first\n", "the second\n"));
    host.vnode(&["halt", "one", "--time", "0"]).ok();
    host.vnode(&["boot", "one"]).ok();
    assert_eq!(hello("one"), "first\n", "also after a boot");
}

#[test]
fn t15_an_apply_with_an_image_that_cannot_be_had_leaves_the_node_as_it_is() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    let tar = image::write_tarball(&hello(), &host.dir().join("root.tar"));
    up_from(&host, &format!("tar:{}", tar.display())).ok();
    host.exec("a", &["sh", "-c", "echo kept >/file"]).ok();
    let pid = vnode_tests::pid(&host, "a");
    let file = host.dir().join("one.clab.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("root.tar", "no-such.tar")).unwrap();
    let out = host.vnode(&["apply", &file.display().to_string()]);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("no-such.tar"), "{}", out.all());
    assert_eq!(vnode_tests::pid(&host, "a"), pid, "it runs on");
    assert_eq!(host.exec("a", &["cat", "/file", "/hello"]).ok().stdout, "kept\nfrom the image\n");
    // And with the image there, the same command does it.
    std::fs::copy(&tar, host.dir().join("no-such.tar")).unwrap();
    host.vnode(&["apply", &file.display().to_string()]).ok();
    assert_eq!(host.exec("a", &["cat", "/hello"]).ok().stdout, "from the image\n");
}
