//! `resetnetwork` from a XenStore to the files of a guest, with interfaces of the test's own.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, whose interfaces `ip` makes

use std::path::Path;
use std::process::Command;

use rustix::thread::UnshareFlags;
use serde_json::{Value, json};
use vnode_agent::command::openstack::resetnetwork;
use vnode_agent::command::{CommandError, Form, Policy, Registry};
use vnode_agent::context::Context;
use vnode_testkit::needs;
use vnode_xenstore::memory::{Limits, Server};
use vnode_xenstore::{Access, Client, Transaction};

const HOME: &str = "/local/domain/5";

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Runs the test in a thread with a network of its own, with the interfaces of the reference input.
fn apart(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: only this thread is moved, and it holds nothing of the namespace it leaves.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        ip("link add eth0 address 42:40:8f:1e:a0:0a type veth peer name far0");
        ip("link add eth1 address 42:40:a2:87:6e:26 type veth peer name far1");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A store with a host's description in it, and a guest's root.
struct Fixture {
    folder: tempfile::TempDir,
    _server: Server,
    host: Client,
    context: Context,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("etc/network")).unwrap();
        std::fs::create_dir_all(root.join("sbin")).unwrap();
        std::fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n").unwrap();
        std::fs::write(root.join("etc/network/interfaces"), "auto lo\niface lo inet loopback\n")
            .unwrap();
        std::fs::write(root.join("sbin/ifup"), "").unwrap();
        let server = Server::new(Limits::default());
        server.introduce(5);
        for (name, domain) in [("dom0", 0), ("dom5", 5)] {
            server.listen(&folder.path().join(name), domain).unwrap();
        }
        let host = Client::connect(&Access::Socket(folder.path().join("dom0"))).await.unwrap();
        let options = json!({"xenstore": folder.path().join("dom5"), "network": {"form": "compatible", "wait-ms": 50}});
        let context = Context::builder(root).options(resetnetwork::NAME, options).build().unwrap();
        Self { folder, _server: server, host, context }
    }

    async fn write(&mut self, path: &str, value: &str) {
        let path = format!("{HOME}/vm-data/{path}");
        self.host.write(Transaction::NONE, &path, value.as_bytes()).await.unwrap();
    }

    async fn call(&self, value: Value) -> Result<Value, CommandError> {
        let commands = Registry::built_in().for_form(Form::Openstack, &Policy::default());
        commands.call(&self.context, resetnetwork::NAME, value).await.result
    }

    fn file(&self, path: &str) -> String {
        let path = self.folder.path().join("root").join(Path::new(path));
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

fn run(test: impl AsyncFnOnce(Fixture) + Send + 'static) {
    apart(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(Fixture::new().await).await });
    });
}

const PUBLIC: &str = r#"{"label": "public", "mac": "42:40:8F:1E:A0:0A", "gateway": "192.0.2.1",
    "ips": [{"ip": "192.0.2.42", "netmask": "255.255.255.0", "enabled": "1"}], "dns": ["203.0.113.5"]}"#;
const PRIVATE: &str = r#"{"label": "private", "mac": "42:40:a2:87:6e:26",
    "ips": [{"ip": "10.177.97.10", "netmask": "255.255.224.0", "enabled": "1"}]}"#;

#[test]
fn fn_1_the_hosts_description_becomes_the_guests_files() {
    needs!(Root, Program("ip"));
    run(async |mut fixture: Fixture| {
        fixture.write("hostname", "web1").await;
        fixture.write("networking/42408F1EA00A", PUBLIC).await;
        fixture.write("networking/4240a2876e26", PRIVATE).await;
        let before = fixture.file("etc/network/interfaces");
        let plan = fixture.call(json!({"dry-run": true, "diff": true})).await.unwrap();
        let plan = plan.as_str().unwrap();
        assert!(
            plan.contains("  /etc/network/interfaces\n") && plan.contains("\n+web1\n"),
            "R-A9: {plan}"
        );
        assert_eq!(fixture.file("etc/network/interfaces"), before);
        assert_eq!(fixture.call(json!("")).await.unwrap(), "");
        let interfaces = fixture.file("etc/network/interfaces");
        assert!(interfaces.contains(
            "# Label public\nauto eth0\niface eth0 inet static\n    address 192.0.2.42\n"
        ));
        assert!(
            interfaces.contains("auto eth1\niface eth1 inet static\n    address 10.177.97.10\n")
        );
        assert_eq!(fixture.file("etc/hostname"), "web1\n");
        assert_eq!(fixture.file("etc/hosts"), "192.0.2.42\tweb1\n10.177.97.10\tweb1\n");
        assert_eq!(
            fixture.call(json!({"dry-run": true})).await.unwrap(),
            "",
            "nothing is left to change"
        );
    });
}

#[test]
fn ne_01_answers_carry_the_texts() {
    needs!(Root, Program("ip"));
    run(async |mut fixture: Fixture| {
        assert_eq!(fixture.call(json!("")).await.unwrap(), "", "no description is no error");
        fixture.write("networking/a", r#"{"ips": [{}]}"#).await;
        let error = fixture.call(json!("")).await.unwrap_err();
        assert_eq!(error.message(), "No MAC found in config");
        let other = PUBLIC.replace("A0:0A", "FF:FF");
        fixture.write("networking/a", &other).await;
        let error = fixture.call(json!("")).await.unwrap_err();
        assert_eq!(error.message(), "Unknown interface MAC 42:40:8f:1e:ff:ff");
        fixture.write("networking/a", PUBLIC).await;
        fixture.write("hostname", "no name").await;
        let error = fixture.call(json!("")).await.unwrap_err();
        assert_eq!(error.message(), "Invalid hostname");
    });
}
