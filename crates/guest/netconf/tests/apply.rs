//! Real interfaces in network namespaces of the tests' own: set directly, and by ifupdown.
#![allow(clippy::unwrap_used, reason = "fixtures fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "fixtures start `ip` themselves")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::read;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;
use serde_json::{Value, json};
use vnode_beneath::{Dir, Scope};
use vnode_netconf::kernel::{self, KernelError};
use vnode_netconf::render::Program;
use vnode_netconf::{
    Backend, Nic, RealSystem, Recovered, Report, Settings, System, Wanted, program_spec,
    program_status, reset, start,
};
use vnode_testkit::{needs, tools};

const MAC: &str = "02:00:00:00:00:0a";

/// Runs the test in a thread with network, mount and host name of its own. They go with it.
fn apart(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let new = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWUTS;
        // SAFETY: only this thread is moved, and it holds nothing of the namespaces it leaves.
        unsafe { rustix::thread::unshare_unsafe(new) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        // /sys and /proc/sys show the namespace of who mounted them, or of who reads.
        ip("link set lo up");
        ip(&format!("link add eth0 address {MAC} type veth peer name far0"));
        ip("link set far0 up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) -> String {
    let out = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "ip {arguments}: {said}");
    String::from_utf8(out.stdout).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn run(
    system: &impl System,
    root: &Dir,
    settings: &Settings,
    wanted: &Wanted,
) -> Result<Report, String> {
    let result = runtime().block_on(reset(system, root, settings, wanted));
    result.map_err(|error| error.to_string())
}

fn description(ip: &str, gateway: &str) -> Value {
    json!({"label": "public", "mac": MAC, "gateway": gateway, "gateway_v6": "fe80::def",
        "ips": [{"ip": ip, "netmask": "255.255.255.0", "enabled": "1"},
                {"ip": "192.0.2.43", "netmask": "255.255.255.0", "enabled": "1"}],
        "ip6s": [{"ip": "2001:db8::42", "netmask": 64, "enabled": "1"}],
        "routes": [{"route": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "192.0.2.1"},
                   {"route": "2001:db8:1::", "netmask": "48", "gateway": "2001:db8::1"}]})
}

fn wanted(ip: &str, gateway: &str) -> Wanted {
    Wanted { hostname: Some("web1".to_owned()), ..read(&[description(ip, gateway)]).unwrap() }
}

/// A guest that nobody configures.
fn bare() -> (tempfile::TempDir, Dir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    std::fs::write(folder.path().join("etc/os-release"), "ID=buildroot\n").unwrap();
    let root = Dir::open_ambient(folder.path(), Scope::InRoot).unwrap();
    (folder, root)
}

fn addresses() -> String {
    ip("-o addr show dev eth0 scope global")
}

fn routes() -> String {
    ip("route show dev eth0") + &ip("-6 route show dev eth0")
}

#[test]
fn direct_sets_the_kernel_and_only_what_changes() {
    needs!(Root, Program("ip"));
    apart(|| {
        let (_folder, root) = bare();
        let settings = Settings { settle_ms: 3_000, ..Settings::default() };
        let report =
            run(&RealSystem, &root, &settings, &wanted("192.0.2.42", "192.0.2.1")).unwrap();
        assert_eq!(report.interfaces, ["eth0"]);
        let have = addresses();
        for address in ["192.0.2.42/24", "192.0.2.43/24", "2001:db8::42/64"] {
            assert!(have.contains(address), "{have}");
        }
        let have = routes();
        for route in [
            "default via 192.0.2.1",
            "10.0.0.0/8 via 192.0.2.1",
            "default via fe80::def",
            "2001:db8:1::/48 via 2001:db8::1",
        ] {
            assert!(have.contains(route), "{route} in {have}");
        }
        assert_eq!(rustix::system::uname().nodename().to_str().unwrap(), "web1");
        // Said again, nothing happens; changed, what was before goes.
        let again = run(&RealSystem, &root, &settings, &wanted("192.0.2.42", "192.0.2.1")).unwrap();
        assert_eq!(again, Report::default(), "NE-2");
        run(&RealSystem, &root, &settings, &wanted("192.0.2.99", "192.0.2.254")).unwrap();
        let have = addresses() + &routes();
        assert!(
            have.contains("192.0.2.99/24") && have.contains("default via 192.0.2.254"),
            "{have}"
        );
        assert!(
            !have.contains("192.0.2.42/24") && !have.contains("default via 192.0.2.1 "),
            "{have}"
        );
        // Somebody took it away: it is set again although no file changes.
        ip("addr flush dev eth0 scope global");
        let report =
            run(&RealSystem, &root, &settings, &wanted("192.0.2.99", "192.0.2.254")).unwrap();
        assert_eq!((report.files.len(), report.interfaces.len()), (0, 1));
        assert!(addresses().contains("192.0.2.99/24"));
        // And at the agent's next start.
        ip("addr flush dev eth0 scope global");
        runtime().block_on(start(&RealSystem, &root, &settings)).unwrap();
        assert!(addresses().contains("192.0.2.99/24"));
    });
}

#[test]
fn a_gateway_off_the_link_is_reached() {
    needs!(Root, Program("ip"));
    apart(|| {
        let (_folder, root) = bare();
        let node = json!({"mac": MAC, "gateway": "198.51.100.1",
            "ips": [{"ip": "192.0.2.7", "netmask": "255.255.255.255", "enabled": 1}]});
        run(&RealSystem, &root, &Settings::default(), &read(&[node]).unwrap()).unwrap();
        assert!(routes().contains("default via 198.51.100.1 proto static onlink"), "{}", routes());
    });
}

#[test]
fn direct_a_refused_route_takes_all_back() {
    needs!(Root, Program("ip"));
    apart(|| {
        let (folder, root) = bare();
        let settings = Settings { settle_ms: 1_000, ..Settings::default() };
        run(&RealSystem, &root, &settings, &wanted("192.0.2.42", "192.0.2.1")).unwrap();
        let before = (addresses(), routes());
        let state = folder.path().join("var/lib/vnode-agent/network/direct.json");
        let file = std::fs::read(&state).unwrap();
        // A gateway that is no machine: the kernel refuses it.
        let mut node = description("192.0.2.99", "192.0.2.1");
        node["routes"] =
            json!([{"route": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "224.0.0.1"}]);
        let wanted = Wanted { hostname: Some("web2".to_owned()), ..read(&[node]).unwrap() };
        let error = run(&RealSystem, &root, &settings, &wanted).unwrap_err();
        assert!(error.contains("10.0.0.0/8") && error.contains("back in place"), "{error}");
        let sorted = |text: &str| {
            let mut lines: Vec<String> =
                text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&addresses()), sorted(&before.0));
        assert_eq!(sorted(&routes()), sorted(&before.1));
        assert_eq!(std::fs::read(&state).unwrap(), file);
        assert_eq!(rustix::system::uname().nodename().to_str().unwrap(), "web1");
    });
}

/// An interface that comes while it is waited for.
struct Late(AtomicUsize);

impl System for Late {
    async fn run(&self, program: &Program) -> Result<i32, String> {
        RealSystem.run(program).await
    }

    fn nics(&self) -> Result<Vec<Nic>, KernelError> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 2 {
            ip("link add eth7 address 02:00:00:00:00:07 type veth peer name far7");
        }
        kernel::nics()
    }
}

#[test]
fn ne_06_a_late_interface_is_waited_for_and_a_missing_one_left_out() {
    needs!(Root, Program("ip"));
    apart(|| {
        let (_folder, root) = bare();
        let late = json!({"mac": "02:00:00:00:00:07", "ips": [{"ip": "192.0.2.7", "netmask": 24, "enabled": 1}]});
        let both = [description("192.0.2.42", "192.0.2.1"), late.clone()];
        let settings = Settings { wait_ms: 10_000, ..Settings::default() };
        let report =
            run(&Late(AtomicUsize::new(0)), &root, &settings, &read(&both).unwrap()).unwrap();
        assert_eq!(report.interfaces, ["eth0", "eth7"]);
        let settings = Settings { wait_ms: 60, ..Settings::default() };
        ip("link del eth7");
        let report = run(&RealSystem, &root, &settings, &read(&both).unwrap()).unwrap();
        assert!(
            report.warnings[0].contains("Unknown interface MAC 02:00:00:00:00:07"),
            "{report:?}"
        );
        let error = run(&RealSystem, &root, &settings, &read(&[late]).unwrap()).unwrap_err();
        assert_eq!(error, "Unknown interface MAC 02:00:00:00:00:07");
    });
}

#[test]
fn ne_07_the_kernel_tells_what_stands_on_what() {
    needs!(Root, Program("ip"), LinkKind("bridge"));
    apart(|| {
        ip(&format!("link add br0 address {MAC} type bridge"));
        // Of this mode, it has the address of what it stands on.
        ip("link add link eth0 name mv0 type macvlan mode passthru");
        let nics = kernel::nics().unwrap();
        let candidates: Vec<&str> =
            nics.iter().filter(|n| n.is_candidate()).map(|n| n.name.as_str()).collect();
        assert_eq!(
            candidates,
            ["eth0", "far0"].iter().rev().copied().collect::<Vec<_>>(),
            "{nics:?}"
        );
        let bound = vnode_netconf::bind(&wanted("192.0.2.42", "192.0.2.1").descriptions, &nics);
        assert_eq!(bound.interfaces[0].name, "eth0");
    });
}

/// The real ifup and ifdown, unpacked, and what was asked of them.
#[derive(Default)]
struct Unpacked {
    ran: Mutex<Vec<String>>,
    /// Status that `ifup` has, instead of being run.
    ifup: Option<i32>,
}

impl System for Unpacked {
    async fn run(&self, program: &Program) -> Result<i32, String> {
        let name = program.argv[0].clone();
        let first = {
            let mut ran = self.ran.lock().unwrap();
            ran.push(program.argv.join(" "));
            ran.iter().filter(|line| line.starts_with("ifup")).count() == 1
        };
        if let Some(status) = self.ifup
            && name == "ifup"
            && first
        {
            return Ok(status);
        }
        let mut program = program.clone();
        program.argv[0] = tools::path(&format!("sbin/{name}"))?.to_str().unwrap().to_owned();
        let spec = program_spec(&program).env("LD_LIBRARY_PATH", tools::library_path());
        program_status(vnode_action::run(spec, &vnode_action::CancellationToken::new()).await)
    }
}

/// The machine's own root, with an `/etc` and a `/run` on which nothing stays: ifupdown knows no other place.
fn debian(folder: &Path) -> (Dir, Settings) {
    mount("tmpfs", folder, "tmpfs", MountFlags::empty(), None).unwrap();
    for name in ["upper", "work"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    let at = folder.display();
    let options =
        std::ffi::CString::new(format!("lowerdir=/etc,upperdir={at}/upper,workdir={at}/work"))
            .unwrap();
    mount("overlay", "/etc", "overlay", MountFlags::empty(), Some(options.as_c_str())).unwrap();
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).unwrap();
    std::fs::create_dir_all("/run/network").unwrap();
    std::fs::create_dir_all("/etc/network").unwrap();
    // None of the machine's own hooks.
    mount("tmpfs", "/etc/network", "tmpfs", MountFlags::empty(), None).unwrap();
    for hooks in ["if-pre-up.d", "if-up.d", "if-down.d", "if-post-down.d"] {
        std::fs::create_dir(format!("/etc/network/{hooks}")).unwrap();
    }
    let old = "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n    address 192.0.2.200/24\n    gateway 192.0.2.1\n";
    std::fs::write("/etc/network/interfaces", old).unwrap();
    (Dir::open_ambient("/", Scope::InRoot).unwrap(), ifupdown())
}

fn ifupdown() -> Settings {
    Settings {
        backend: Some(Backend::Ifupdown),
        state_folder: "/run/vnode-test/network".to_owned(),
        settle_ms: 5_000,
        ..Settings::default()
    }
}

#[test]
fn ifupdown_takes_the_old_down_and_the_new_up() {
    needs!(Root, Program("ip"), Program("run-parts"), Tool("sbin/ifup"));
    // Outside, so that it goes after what is mounted on it.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    apart(move || {
        let (root, settings) = debian(&path);
        let system = Unpacked::default();
        let up = Program {
            argv: vec!["ifup".to_owned(), "eth0".to_owned()],
            stdin: Vec::new(),
            limit: std::time::Duration::from_secs(20),
            failure: vnode_netconf::render::OnFailure::Ignore,
        };
        assert_eq!(runtime().block_on(system.run(&up)), Ok(0));
        assert!(addresses().contains("192.0.2.200/24"));
        system.ran.lock().unwrap().clear();
        run(&system, &root, &settings, &wanted("192.0.2.42", "192.0.2.1")).unwrap();
        let have = addresses() + &routes();
        assert!(!have.contains("192.0.2.200"), "{have}");
        for part in [
            "192.0.2.42/24",
            "192.0.2.43/24",
            "2001:db8::42/64",
            "default via 192.0.2.1",
            "10.0.0.0/8 via 192.0.2.1",
            "2001:db8:1::/48",
        ] {
            assert!(have.contains(part), "{part} in {have}");
        }
        assert_eq!(*system.ran.lock().unwrap(), ["ifdown -f eth0", "ifup eth0"]);
        // NE-2
        system.ran.lock().unwrap().clear();
        let again = run(&system, &root, &settings, &wanted("192.0.2.42", "192.0.2.1")).unwrap();
        assert_eq!(again, Report::default());
        assert!(system.ran.lock().unwrap().is_empty());
    });
}

#[test]
fn r_d10_before_the_network_comes_up_only_files_are_written() {
    needs!(Root, Program("ip"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    apart(move || {
        let (root, settings) = debian(&path);
        let settings = Settings { files_only: true, ..settings };
        let system = Unpacked { ifup: Some(1), ..Unpacked::default() };
        run(&system, &root, &settings, &wanted("192.0.2.42", "192.0.2.1")).unwrap();
        assert!(system.ran.lock().unwrap().is_empty());
        assert!(std::fs::read_to_string("/etc/network/interfaces").unwrap().contains("192.0.2.42"));
        assert_eq!(rustix::system::uname().nodename().to_str().unwrap(), "web1");
        assert_eq!(addresses(), "");
        // Where nobody will read files, it is done now.
        let (_folder, root) = bare();
        let settings = Settings { files_only: true, ..Settings::default() };
        run(&RealSystem, &root, &settings, &wanted("192.0.2.42", "192.0.2.1")).unwrap();
        assert!(addresses().contains("192.0.2.42/24"));
    });
}

#[test]
fn r_w3_a_failed_ifup_brings_the_old_network_back() {
    needs!(Root, Program("ip"), Program("run-parts"), Tool("sbin/ifup"));
    // It says that it failed; or it says nothing and does nothing, and the kernel's state tells.
    for (status, text) in
        [(7, "Couldn't restart network: 7; "), (0, "has no address 192.0.2.42/24")]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        apart(move || {
            let (root, settings) = debian(&path);
            let settings = Settings { settle_ms: 200, ..settings };
            ip("addr add 192.0.2.200/24 dev eth0");
            ip("link set eth0 up");
            ip("route add default via 192.0.2.1 dev eth0");
            let old = std::fs::read("/etc/network/interfaces").unwrap();
            let name = rustix::system::uname().nodename().to_owned();
            let system = Unpacked { ifup: Some(status), ..Unpacked::default() };
            let error =
                run(&system, &root, &settings, &wanted("192.0.2.42", "192.0.2.1")).unwrap_err();
            assert!(error.contains(text) && error.contains("back in place"), "{error}");
            assert_eq!(std::fs::read("/etc/network/interfaces").unwrap(), old);
            let have = addresses() + &routes();
            assert!(
                have.contains("192.0.2.200/24") && have.contains("default via 192.0.2.1"),
                "{have}"
            );
            assert!(!have.contains("192.0.2.42"), "{have}");
            assert_eq!(rustix::system::uname().nodename(), name.as_c_str());
            assert!(!Path::new("/run/vnode-test/network/transaction").exists());
        });
    }
}

const ROOT: &str = "NETCONF_TEST_ROOT";
const POINT: &str = "NETCONF_TEST_POINT";
const GATEWAY: &str = "NETCONF_TEST_GATEWAY";
const IFUPDOWN: &str = "NETCONF_TEST_IFUPDOWN";

/// Kills this process at a point by its name.
struct Killed(String);

impl System for Killed {
    async fn run(&self, program: &Program) -> Result<i32, String> {
        Unpacked::default().run(program).await
    }

    fn point(&self, name: &str) {
        if name == self.0 {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
    }
}

/// The child of the test below, in the namespaces of the thread that started it.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let root = Dir::open_ambient(root, Scope::InRoot).unwrap();
    let system = Killed(std::env::var(POINT).unwrap());
    let mut node = description("192.0.2.99", "192.0.2.1");
    node["routes"] = json!([{"route": "10.0.0.0", "netmask": "255.0.0.0",
        "gateway": std::env::var(GATEWAY).unwrap()}]);
    let wanted = Wanted { hostname: Some("web2".to_owned()), ..read(&[node]).unwrap() };
    let settings = match std::env::var_os(IFUPDOWN) {
        Some(_) => ifupdown(),
        None => Settings::default(),
    };
    run(&system, &root, &settings, &wanted).unwrap();
}

#[test]
fn ne_04_killed_with_the_network_down_the_next_start_brings_it_up() {
    needs!(Root, Program("ip"), Program("run-parts"), Tool("sbin/ifup"));
    for (point, address) in
        [("down", "192.0.2.200/24"), ("staged", "192.0.2.200/24"), ("committed", "192.0.2.99/24")]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        apart(move || {
            let (root, settings) = debian(&path);
            ip("addr add 192.0.2.200/24 dev eth0");
            ip("link set eth0 up");
            ip("route add default via 192.0.2.1 dev eth0");
            let out = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child", "--nocapture"])
                .env(ROOT, "/")
                .env(POINT, point)
                .env(GATEWAY, "192.0.2.1")
                .env(IFUPDOWN, "1")
                .output()
                .unwrap();
            let signal = std::os::unix::process::ExitStatusExt::signal(&out.status);
            assert_eq!(signal, Some(9), "{point}: {}", String::from_utf8_lossy(&out.stderr));
            assert!(!addresses().contains("192.0.2.200"), "ifdown did its work");
            runtime().block_on(start(&Unpacked::default(), &root, &settings)).unwrap();
            let have = addresses() + &routes();
            assert!(have.contains(address), "{point}: {have}");
            assert!(have.contains("default via 192.0.2.1"), "{point}: {have}");
            let file = std::fs::read_to_string("/etc/network/interfaces").unwrap();
            assert!(file.contains(address), "{point}: {file}");
        });
    }
}

#[test]
fn ne_04_killed_between_files_and_kernel_the_next_start_finishes_or_takes_back() {
    needs!(Root, Program("ip"));
    // With a next hop the kernel takes, and with one it refuses when it is tried again at start.
    for (point, gateway, finished) in [
        ("prepared", "192.0.2.1", false),
        ("down", "192.0.2.1", false),
        ("renamed", "192.0.2.1", false),
        ("committed", "192.0.2.1", true),
        ("named", "192.0.2.1", true),
        ("applied", "192.0.2.1", true),
        ("done", "192.0.2.1", true),
        ("committed", "224.0.0.1", false),
    ] {
        apart(move || {
            let (folder, root) = bare();
            let settings = Settings { settle_ms: 1_000, ..Settings::default() };
            run(&RealSystem, &root, &settings, &wanted("192.0.2.42", "192.0.2.1")).unwrap();
            let stored = folder.path().join("var/lib/vnode-agent/network/direct.json");
            let before = std::fs::read(&stored).unwrap();
            let out = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child", "--nocapture"])
                .env(ROOT, folder.path())
                .env(POINT, point)
                .env(GATEWAY, gateway)
                .output()
                .unwrap();
            let signal = std::os::unix::process::ExitStatusExt::signal(&out.status);
            assert_eq!(signal, Some(9), "{point}: {}", String::from_utf8_lossy(&out.stderr));
            let recovered = runtime().block_on(start(&RealSystem, &root, &settings)).unwrap();
            let expected = if finished { Recovered::Finished } else { Recovered::RolledBack };
            assert_eq!(recovered, expected, "{point} {gateway}");
            assert_eq!(std::fs::read(&stored).unwrap() == before, !finished, "{point}");
            let have = addresses() + &routes();
            let (there, gone) = match finished {
                true => ("192.0.2.99/24", "192.0.2.42/24"),
                false => ("192.0.2.42/24", "192.0.2.99/24"),
            };
            assert!(have.contains(there) && !have.contains(gone), "{point} {gateway}: {have}");
            assert!(have.contains("default via 192.0.2.1"), "it can be entered: {have}");
            let name = rustix::system::uname();
            let expected = if finished { c"web2" } else { c"web1" };
            assert_eq!(name.nodename(), expected, "{point} {gateway}");
            assert!(!folder.path().join("var/lib/vnode-agent/network/transaction").exists());
        });
    }
}

/// A system whose programs all end with 7, or whose name cannot be set.
#[derive(Default)]
struct Refusing {
    name: bool,
    ran: Mutex<Vec<String>>,
}

impl System for Refusing {
    async fn run(&self, program: &Program) -> Result<i32, String> {
        self.ran.lock().unwrap().push(program.argv.join(" "));
        Ok(7)
    }

    fn nics(&self) -> Result<Vec<Nic>, KernelError> {
        Ok(vec![Nic::plain(1, "eth0", MAC.parse().unwrap(), true)])
    }

    fn state(&self, _: &[String]) -> Result<Option<kernel::State>, KernelError> {
        Ok(None)
    }

    fn flush(&self, _: &str, _: &[ipnet::IpNet]) -> Result<(), KernelError> {
        Ok(())
    }

    fn apply(&self, _: &vnode_netconf::Interface) -> Result<(), KernelError> {
        Ok(())
    }

    fn hostname(&self) -> Option<String> {
        Some("before".to_owned())
    }

    fn set_hostname(&self, _: &str) -> std::io::Result<()> {
        if self.name { Err(std::io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }
}

/// The last rows of the specification's table: what the system refuses.
#[test]
fn ne_01_what_the_system_refuses_is_told_as_before() {
    use vnode_netconf::Form;
    let networkless = |backend, files: &[(&str, &str)], system: &Refusing| {
        let (folder, root) = bare();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let form = Some(Form::Compatible);
        let settings = Settings { backend: Some(backend), form, ..Settings::default() };
        let node = description("192.0.2.42", "192.0.2.1");
        let wanted = Wanted { hostname: Some("web1".to_owned()), ..read(&[node]).unwrap() };
        run(system, &root, &settings, &wanted).unwrap_err()
    };
    for (backend, files, text) in [
        (Backend::Ifupdown, &[][..], "Couldn't restart network: 7; "),
        (Backend::Ifcfg, &[("etc/init.d/network", "")], "Couldn't restart network: 7; "),
        (Backend::Suse, &[("etc/init.d/network", "")], "Couldn't restart network: 7; "),
        (Backend::Netifrc, &[], "Couldn't restart network eth0: 7; "),
        (Backend::RcConf, &[("etc/rc.conf", "")], "Couldn't restart IPv4 networking: 7; "),
        (Backend::ArchNetcfg, &[("etc/rc.conf", "")], "Failed to start eth0; "),
        (Backend::ArchNetctl, &[], "Failed to start eth0; "),
    ] {
        let error = networkless(backend, files, &Refusing::default());
        assert!(error.starts_with(text), "{backend:?}: {error}");
    }
    let nameless = Refusing { name: true, ..Refusing::default() };
    let error = networkless(Backend::Ifupdown, &[], &nameless);
    assert!(error.starts_with("Couldn't set hostname: permission denied; "), "{error}");
}
