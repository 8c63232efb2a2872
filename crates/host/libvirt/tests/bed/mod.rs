//! Where the domains of the tests are nodes: namespaces of a thread's own, everything destroyed at the end.

// Each test target uses its own part of this.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vnode_driver::container::{ContainerDriver, Options as ContainerOptions};
use vnode_driver::*;
use vnode_libvirt::{LibvirtDriver, Options};
use vnode_testkit::built_program;

/// A test fails by this only when something hangs.
pub const PATIENCE: Duration = Duration::from_secs(200);

pub struct Bed {
    pub dir: tempfile::TempDir,
    driver: Arc<LibvirtDriver>,
    nodes: Mutex<u32>,
}

/// Runs a test in namespaces of its own, or says why it cannot.
pub fn run<F: Future<Output = ()>>(body: impl FnOnce(Arc<Bed>) -> F + Send + 'static) {
    if let Err(why) = vnode_libvirt::version() {
        println!("skipped: no libvirt library: {why}");
        return;
    }
    vnode_testkit::apart(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let bed = Arc::new(Bed::new().await);
            body(bed).await;
        });
    });
}

impl Bed {
    async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("vnode-libvirt-").tempdir().unwrap();
        let instance = format!("l{}", std::process::id());
        let container = ContainerDriver::open(ContainerOptions {
            monitor_program: built_program("vnode-monitor"),
            instance: instance.clone(),
        })
        .await
        .unwrap();
        let folder = dir.path().join("domains");
        let driver = Arc::new(LibvirtDriver::new(Options {
            container,
            folder,
            instance,
            host: vnode_network::Ns::current,
        }));
        Self { dir, driver, nodes: Mutex::default() }
    }

    pub fn driver(&self) -> Arc<LibvirtDriver> {
        Arc::clone(&self.driver)
    }

    pub fn folder(&self, node: &str) -> PathBuf {
        self.dir.path().join("nodes").join(node)
    }

    /// The URI of a hypervisor of libvirt's test driver, described by `host`.
    pub fn test_uri(&self, host: &str) -> String {
        let file = self.dir.path().join("host.xml");
        std::fs::write(&file, host).unwrap();
        format!("test://{}", file.display())
    }

    pub fn spec(&self, node: &str, uri: &str, source: DomainSource) -> NodeSpec {
        let mut nodes = self.nodes.lock().unwrap();
        *nodes += 1;
        let uuid = format!("00000000-0000-4000-8000-{:012}", *nodes);
        NodeSpec {
            stop_grace_ms: 10_000,
            log_limit_bytes: 1 << 20,
            domain: Some(Domain {
                uri: uri.into(),
                source,
                cpus: None,
                memory_bytes: None,
                ready: Ready::Started,
                ready_timeout_ms: PATIENCE.as_millis() as u64,
            }),
            ..NodeSpec::bare("lab", node, *nodes, &uuid)
        }
    }
}

/// Waits for a phase.
pub async fn until(instance: &dyn Instance, phase: Phase) -> Status {
    let mut watch = instance.watch();
    let waited = tokio::time::timeout(PATIENCE, watch.wait_for(|s| s.phase == phase)).await;
    *waited.unwrap_or_else(|_| panic!("never {phase:?}")).unwrap()
}
