//! Signed image lists, as a user meets them: made by the example's script, followed, fetched, booted, updated; and
//! under vmcatcher's four names.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vnode_testkit::image::{self, ImageSpec};
use vnode_testkit::{Host, Output, built_program, eventually, needs};
use vnode_tests::{SOON, node, nodes};

const LIST: &str = "9c7b8a52-3f6e-4a0e-8d57-6b1f0c2d4e01";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[track_caller]
fn says(output: &Output, text: &str) {
    assert!(output.all().contains(text), "no `{text}` in: {}", output.all());
}

/// Signs a version of the example's list.
#[track_caller]
fn sign(host: &Host, version: &str, images: &[String]) -> String {
    let folder = host.dir().join("list").display().to_string();
    let script = repository("examples/imagelist/make-list.sh").display().to_string();
    let mut argv = vec![folder.as_str(), version];
    argv.extend(images.iter().map(String::as_str));
    host.run(&script, &argv).ok();
    folder
}

/// A root file system whose `/hello` says `text`, as an image of a list.
fn root(host: &Host, text: &str) -> String {
    let spec = ImageSpec::default().with_file("hello", text, 0o644);
    let path = image::write_tarball(&spec, &host.dir().join("root.tar"));
    format!("demo={}:TAR", path.display())
}

#[track_caller]
fn trust(host: &Host, folder: &str) {
    host.vnode(&["image", "settings", "--trust", &format!("{folder}/ca")]).ok();
}

/// The one image of the list, as the daemon shows it.
#[track_caller]
fn listed(host: &Host, identifier: &str) -> Value {
    let all = host.vnode(&["image", "listed", "--json"]).ok().json();
    let found = all.as_array().and_then(|all| all.iter().find(|i| i["identifier"] == identifier));
    found.cloned().unwrap_or_else(|| panic!("no image {identifier} in {all}"))
}

#[test]
fn a_list_is_made_followed_booted_from_and_updated() {
    needs!(Root, Program("busybox"), Program("openssl"));
    let host = Host::new();
    let folder = sign(&host, "1", &[root(&host, "one\n")]);
    trust(&host, &folder);
    let list = format!("{folder}/image.list");
    // Nobody trusted the endorser yet.
    says(&host.vnode(&["image", "subscribe", &list]).exits(1), "no endorser of this subscription");
    says(
        &host.vnode(&["image", "subscribe", &list, "--auto-endorse", "--all"]).ok(),
        "available demo",
    );
    assert_eq!(listed(&host, "demo")["cached"], true);
    says(&host.vnode(&["image", "ls"]).ok(), "list:demo");

    let file = repository("examples/imagelist/node.clab.yml").display().to_string();
    host.vnode(&["up", &file]).ok();
    assert_eq!(host.exec("a", &["cat", "/hello"]).ok().stdout, "one\n");
    let first = node(&host, "a");

    // An update is published: the name moves on, the node that runs keeps what it was made from.
    sign(&host, "2", &[root(&host, "two\n")]);
    let refreshed = host.vnode(&["image", "refresh", "--json"]).ok().json();
    assert_eq!(refreshed["available"], json!(["demo"]), "{refreshed}");
    assert_eq!(refreshed["expired"], json!(["demo"]), "{refreshed}");
    assert_eq!(listed(&host, "demo")["image"]["version"], "2");
    assert_eq!(host.exec("a", &["cat", "/hello"]).ok().stdout, "one\n");
    assert_eq!(node(&host, "a")["pid"], first["pid"]);
    host.vnode(&["down", "signed"]).ok();
    host.vnode(&["up", &file]).ok();
    assert_eq!(host.exec("a", &["cat", "/hello"]).ok().stdout, "two\n");
    host.vnode(&["down", "signed"]).ok();
    assert!(nodes(&host).is_empty());

    // Going back is refused, and changes nothing.
    sign(&host, "1", &[root(&host, "one\n")]);
    host.vnode(&["image", "refresh"]).exits(3);
    assert_eq!(listed(&host, "demo")["image"]["version"], "2");

    // A publisher of this process was told: the host's events have it.
    eventually("the events of the image", SOON, || {
        let events = host.vnode(&["events", "--json"]).ok().stdout;
        let told = events.contains("image.available") && events.contains("image.replaced");
        told.then_some(())
    });

    says(&host.vnode(&["image", "unsubscribe", LIST]).ok(), "expired demo");
    says(&host.vnode(&["up", &file]).exits(3), "no list that is followed offers the image `demo`");
}

#[test]
fn an_image_that_nobody_fetched_comes_with_the_node_that_needs_it() {
    needs!(Root, Program("busybox"), Program("openssl"));
    let host = Host::new();
    let folder = sign(&host, "1", &[root(&host, "one\n")]);
    trust(&host, &folder);
    let list = format!("{folder}/image.list");
    host.vnode(&["image", "subscribe", &list, "--auto-endorse"]).ok();
    assert_eq!(listed(&host, "demo")["cached"], false);
    let file = repository("examples/imagelist/node.clab.yml").display().to_string();
    host.vnode(&["up", &file]).ok();
    assert_eq!(host.exec("a", &["cat", "/hello"]).ok().stdout, "one\n");
    // Collected while nobody uses it, it comes back from the cache folder.
    host.vnode(&["down", "signed"]).ok();
    host.vnode(&["image", "gc"]).ok();
    host.vnode(&["up", &file]).ok();
    host.vnode(&["down", "signed"]).ok();
    // A disk is no root file system for a container.
    let disk = host.write("disk.img", "not a root file system at all\n").display().to_string();
    sign(&host, "2", &[format!("demo={disk}")]);
    host.vnode(&["image", "refresh"]).ok();
    let up = host.vnode(&["up", &file]);
    says(&up.exits(3), "is the disk of a virtual machine");
}

/// Runs one of vmcatcher's programs: this program under another name.
fn vmcatcher(host: &Host, name: &str, arguments: &[&str]) -> Output {
    let link = host.dir().join(name);
    if !link.exists() {
        symlink(built_program("vnode"), &link).expect("the test's folder takes a link");
    }
    host.run(&link.display().to_string(), arguments)
}

#[test]
fn the_four_programs_of_vmcatcher_work_as_they_did() {
    needs!(Root, Program("busybox"), Program("openssl"));
    let mut host = Host::new();
    // Where these programs look for the daemon.
    let state = host.state_dir().display().to_string();
    host.set_env("VNODE_STATE_DIR", &state);
    let disk = host.write("disk.img", "a disk of some bytes\n").display().to_string();
    let folder = sign(&host, "1", &[format!("demo={disk}")]);
    let trust = format!("{folder}/ca");
    let address = format!("file://{folder}/image.list");
    let cache = host.dir().join("cache");
    for folder in ["", "partial", "expired"] {
        std::fs::create_dir_all(cache.join(folder)).expect("the test's folder is ours");
    }
    let cache = cache.display().to_string();
    let subscribe = |arguments: &[&str]| vmcatcher(&host, "vmcatcher_subscribe", arguments);

    // W-12, W-29: an address without a list ends with 10.
    subscribe(&["-c", &trust, "-s", "file:///nowhere/image.list"]).exits(10);
    subscribe(&["-c", &trust, "-s", &address]).exits(1);
    subscribe(&["-c", &trust, "-s", &address, "-e"]).ok();
    let shown = subscribe(&["-l"]).ok();
    assert!(shown.stdout.starts_with(&format!("{LIST}\tTrue\t")), "{}", shown.stdout);
    assert!(shown.stdout.trim_end().ends_with(&address), "{}", shown.stdout);
    // Usage.
    subscribe(&[]).exits(1);
    subscribe(&["-l", "-U"]).exits(1);
    subscribe(&["-i", "-u", LIST, "-r", &address]).exits(1);
    subscribe(&["-l", "--log-config", "/nowhere"]).exits(1);
    assert!(subscribe(&["-i", "-u", LIST, "-f", "SMIME"]).ok().stdout.contains("multipart/signed"));
    assert!(subscribe(&["-i", "-u", LIST, "-f", "message"]).ok().stdout.contains("hv:imagelist"));

    let endorsers = vmcatcher(&host, "vmcatcher_endorser", &["-l"]).ok().stdout;
    assert!(endorsers.contains("'/DC=org/DC=example/OU=People/CN=Test Endorser'"), "{endorsers}");
    let links = vmcatcher(&host, "vmcatcher_endorser", &["-K"]).ok().stdout;
    assert!(links.contains(&format!("'{LIST}'\t'True'")), "{links}");
    vmcatcher(
        &host,
        "vmcatcher_endorser",
        &[
            "-C", "-e", "x", "--dn", "/CN=a", "--dn", "/CN=b", "-I", "/CN=i", "-I", "/CN=j", "-I",
            "/CN=k",
        ],
    )
    .exits(12);
    vmcatcher(&host, "vmcatcher_endorser", &["-D", "-e", "nobody"]).ok();

    assert_eq!(
        vmcatcher(&host, "vmcatcher_image", &["-l"]).ok().stdout,
        format!("demo\t2\t{LIST}\n")
    );
    vmcatcher(&host, "vmcatcher_image", &["-a", "-u", "nothing"]).ok();
    vmcatcher(&host, "vmcatcher_image", &["-a", "-u", "demo", "-s", "00"]).exits(1);
    vmcatcher(&host, "vmcatcher_image", &["-a", "-u", "demo"]).ok();
    assert_eq!(
        vmcatcher(&host, "vmcatcher_image", &["-l"]).ok().stdout,
        format!("demo\t3\t{LIST}\n")
    );

    // E-01, E-02: the events of a run, in their order, with the folders as they were given.
    let seen = host.dir().join("seen").display().to_string();
    let handler =
        format!("echo $VMCATCHER_EVENT_TYPE $VMCATCHER_RDBMS $VMCATCHER_EVENT_FILENAME >> {seen}");
    let run = |more: &[&str]| {
        let mut argv = vec!["-C", cache.as_str(), "-d", "sqlite:///old.db", "-x", &handler];
        argv.extend(more);
        vmcatcher(&host, "vmcatcher_cache", &argv).ok();
        let trace = std::fs::read_to_string(&seen).unwrap_or_default();
        drop(std::fs::remove_file(&seen));
        trace.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = run(&[]);
    let expected = [
        "ProcessPrefix sqlite:///old.db",
        "AvailablePrefix sqlite:///old.db demo",
        "AvailablePostfix sqlite:///old.db demo",
        "ProcessPostfix sqlite:///old.db",
    ];
    assert_eq!(first, expected);
    assert_eq!(run(&[]), [expected[0], expected[3]], "e02");
    assert_eq!(
        std::fs::read_to_string(format!("{cache}/demo")).expect("the image is there"),
        "a disk of some bytes\n"
    );
    assert!(
        std::fs::read_to_string(format!("{cache}/cache.index"))
            .expect("the index is there")
            .contains("\"demo\"")
    );
    vmcatcher(&host, "vmcatcher_cache", &["-C", "/nowhere"]).exits(1);

    // E-05: an older list ends with 17; E-07: an image that is not wanted goes.
    sign(&host, "2", &[format!("demo={disk}")]);
    subscribe(&["-U"]).ok();
    sign(&host, "1", &[format!("demo={disk}")]);
    subscribe(&["-U"]).exits(17);
    vmcatcher(&host, "vmcatcher_image", &["-r", "-u", "demo"]).ok();
    let gone = run(&[]);
    assert_eq!(gone.len(), 4, "{gone:?}");
    assert!(
        gone[1].starts_with("ExpirePrefix") && gone[2].starts_with("ExpirePostfix"),
        "{gone:?}"
    );
    subscribe(&["-D", "-u", LIST]).ok();
    assert_eq!(subscribe(&["-l"]).ok().stdout, "");
}

/// Points of the work on lists, and of the operation around it, at which the daemon is killed.
const POINTS: &[&str] = &[
    "image.lists.before",
    "imagelist.refresh.judged",
    "imagelist.refresh.after",
    "imagelist.download.before",
    "imagelist.download.piece",
    "imagelist.unpack.after",
    "imagelist.download.after",
    "imagelist.expire.moved",
    "imagelist.expire.after",
    "imagelist.place.moved",
    "imagelist.convert.before",
    "imagelist.convert.after",
    "imagelist.place.shelved",
    "imagelist.place.after",
    "image.lists.after",
];

#[test]
fn w20_a_daemon_killed_at_any_point_of_an_update_ends_it_with_its_next_start() {
    needs!(Root, Program("busybox"), Program("openssl"), Program("gzip"), Program("qemu-img"));
    let host = Host::new();
    // A packed disk that has to be converted: everything there is to be done is done.
    let packed = |version: &str| {
        let disk = host.write("disk.raw", &format!("version {version}\n").repeat(20_000));
        let (disk, made) = (disk.display().to_string(), host.dir().join("disk.vdi"));
        let made = made.display().to_string();
        host.run("qemu-img", &["convert", "-f", "raw", "-O", "vdi", &disk, &made]).ok();
        host.run("gzip", &["-f", &made]).ok();
        format!("demo={made}.gz")
    };
    let folder = sign(&host, "0", &[packed("0")]);
    trust(&host, &folder);
    let list = format!("{folder}/image.list");
    host.vnode(&["image", "subscribe", &list, "--auto-endorse", "--all"]).ok();
    let first = listed(&host, "demo")["image-id"].clone();
    host.kill9_daemon();
    for (number, point) in POINTS.iter().enumerate() {
        let version = (number + 1).to_string();
        sign(&host, &version, &[packed(&version)]);
        let mut daemon = host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
        let refreshed = host.vnode(&["image", "refresh"]);
        assert_ne!(refreshed.code, 0, "{point} is not passed: {}", refreshed.all());
        daemon.wait(SOON);
        // The next daemon goes on with it, and says so by having the image.
        host.vnode(&["version"]).ok();
        let mut view = listed(&host, "demo");
        if view["image"]["version"] != json!(version) || view["cached"] != true {
            // Killed before the plan was written, nothing was begun.
            host.vnode(&["image", "refresh"]).ok();
            view = listed(&host, "demo");
        }
        assert_eq!(view["image"]["version"], json!(version), "{point}");
        assert_eq!(view["cached"], true, "{point}: {view}");
        assert!(view["image-id"].is_string() && view["image-id"] != first, "{point}: {view}");
        // Nothing is left of the update before: one image in the cache, nothing half done.
        let names = |folder: &str| {
            let path = host.state_dir().join("lists/cache").join(folder);
            let entries = std::fs::read_dir(path).expect("the cache has its folders");
            let mut names: Vec<String> = entries
                .map(|e| e.expect("a folder can be read").file_name().display().to_string())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(""), ["cache.index", "demo", "expired", "partial"], "{point}");
        assert_eq!(names("partial"), Vec::<String>::new(), "{point}");
        let all = host.vnode(&["image", "ls", "--json"]).ok().json();
        let ours = all.as_array().into_iter().flatten().filter(|i| {
            i["references"].as_array().is_some_and(|r| r.contains(&json!("list:demo")))
        });
        assert_eq!(ours.count(), 1, "{point}: {all}");
        host.kill9_daemon();
    }
}

#[test]
fn a_command_outlasts_work_that_takes_longer_than_an_idle_connection() {
    needs!(Root, Program("busybox"), Program("openssl"));
    let host = Host::new();
    let disk = host.write("disk.raw", &"a slow disk\n".repeat(40_000));
    let folder = sign(&host, "1", &[format!("demo={}", disk.display())]);
    trust(&host, &folder);
    // Twelve seconds; the daemon lets go of a connection after ten.
    host.vnode(&["image", "settings", "--bandwidth", "40000"]).ok();
    let list = format!("{folder}/image.list");
    let done = host.vnode(&["image", "subscribe", &list, "--auto-endorse", "--all"]).ok();
    says(&done, "available demo");
}
