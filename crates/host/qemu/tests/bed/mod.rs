//! Where the machines of the tests run: namespaces of a thread's own, a small image built once, everything destroyed at
//! the end.

// Each test target uses its own part of this.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use vnode_action::CancellationToken;
use vnode_driver::container::{ContainerDriver, Options as ContainerOptions};
use vnode_driver::*;
use vnode_network::{End, Host, Ns, PairSpec, Place};
use vnode_qemu::build::{BuildSpec, build};
use vnode_qemu::{Options, QemuDriver};
use vnode_testkit::built_program;

/// Emulated machines on a busy host take their time; a test fails by this only when something hangs.
pub const PATIENCE: Duration = Duration::from_secs(200);

pub struct Bed {
    pub dir: tempfile::TempDir,
    pub instance: String,
    driver: Mutex<Option<Arc<QemuDriver>>>,
    nodes: Mutex<Vec<NodeSpec>>,
}

/// Why no machine can run here.
fn missing() -> Option<String> {
    let programs = ["qemu-system-x86_64", "busybox", "ldd"];
    let absent = programs.iter().find(|name| vnode_testkit::find_program(name).is_none());
    let absent = absent.map(|name| format!("the program `{name}` is not installed"));
    absent.or_else(vnode_testkit::guest::missing)
}

/// Runs a test in namespaces of its own, or says why it cannot.
pub fn run<F: Future<Output = ()>>(body: impl FnOnce(Arc<Bed>) -> F + Send + 'static) {
    if !vnode_testkit::in_guest()
        && let Some(why) = missing()
    {
        println!("skipped: {why}");
        return;
    }
    vnode_testkit::apart(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let bed = Arc::new(runtime.block_on(Bed::new()));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(body(Arc::clone(&bed)));
        }));
        runtime.block_on(bed.clean(result.is_err()));
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Bed {
    async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("vnode-qemu-").tempdir().unwrap();
        let instance = format!("q{}", std::process::id());
        let bed = Self { dir, instance, driver: Mutex::new(None), nodes: Mutex::default() };
        bed.open().await;
        bed
    }

    /// Opens the driver as a daemon that has just been started does.
    pub async fn open(&self) {
        let container = ContainerDriver::open(ContainerOptions {
            monitor_program: built_program("vnode-monitor"),
            instance: self.instance.clone(),
        })
        .await
        .unwrap();
        let folder = self.dir.path().join("machines");
        *self.driver.lock().unwrap() =
            Some(Arc::new(QemuDriver::new(Options { container, folder })));
    }

    /// As when the daemon is killed: nothing of it is asked to end.
    pub fn forget(&self) {
        *self.driver.lock().unwrap() = None;
    }

    pub fn driver(&self) -> Arc<QemuDriver> {
        Arc::clone(self.driver.lock().unwrap().as_ref().unwrap())
    }

    pub fn folder(&self, node: &str) -> PathBuf {
        self.dir.path().join("nodes").join(node)
    }

    /// The image of the tests: built when the first asks; in the guest tier, brought along.
    pub async fn image(&self) -> PathBuf {
        if vnode_testkit::in_guest() {
            return vnode_testkit::guest::IMAGE.into();
        }
        let folder = self.dir.path().join("image");
        if !folder.join(vnode_qemu::build::INITRD).exists() {
            let agent = built_program("vnode-agent");
            let packages = vnode_testkit::tools::kernel();
            let spec = BuildSpec { folder: folder.clone(), agent: Some(agent), packages };
            let cancel = CancellationToken::new();
            build(&spec, &cancel, &|_, _| {}).await.unwrap();
        }
        folder
    }

    /// A machine that boots the image of the tests.
    pub async fn spec(&self, node: &str) -> NodeSpec {
        let image = self.image().await;
        let mut nodes = self.nodes.lock().unwrap();
        let number = nodes.len() as u32 + 1;
        let uuid = format!("00000000-0000-4000-8000-{number:012}");
        let spec = NodeSpec {
            stop_grace_ms: 10_000,
            log_limit_bytes: 1 << 20,
            machine: Some(Machine {
                model: MachineModel::Q35,
                accelerator: Accelerator::Auto,
                start: Start::Kernel {
                    kernel: image.join(vnode_qemu::build::KERNEL),
                    initrd: Some(image.join(vnode_qemu::build::INITRD)),
                    append: "quiet".into(),
                },
                cpus: 1,
                // The agent of a debug build is in its root, which has half of it.
                memory_bytes: 448 << 20,
                disk: None,
                disks: Vec::new(),
                nic: NicModel::Virtio,
                queues: 1,
                seed: Seed::Nocloud,
                user_data: None,
                ready: Ready::Agent,
                ready_timeout_ms: PATIENCE.as_millis() as u64,
                vnc: false,
                watchdog: false,
                vsock: false,
            }),
            ..NodeSpec::bare("lab", node, number, &uuid)
        };
        nodes.push(spec.clone());
        spec
    }

    pub async fn create(&self, spec: &NodeSpec) -> Result<Arc<dyn Instance>> {
        self.driver().create(spec, &self.folder(&spec.node)).await
    }

    /// Destroys all nodes; shows their consoles when the test failed.
    pub async fn clean(&self, failed: bool) {
        let nodes: Vec<NodeSpec> = self.nodes.lock().unwrap().drain(..).collect();
        if self.driver.lock().unwrap().is_none() {
            self.open().await;
        }
        for spec in nodes {
            let dir = self.folder(&spec.node);
            if failed && let Ok(text) = std::fs::read(dir.join("console.log")) {
                let text = String::from_utf8_lossy(&text).into_owned();
                println!(
                    "--- console of {}\n{}",
                    spec.node,
                    &text[text.len().saturating_sub(4000)..]
                );
            }
            self.driver().destroy(&spec, &dir).await.unwrap();
            assert!(!dir.exists(), "{} is left", dir.display());
        }
    }
}

/// Joins interface `name` of a machine to one of the test's own namespace, both addressed.
pub fn link(instance: &dyn Instance, name: &str, inside: &str, outside: &str) -> Ns {
    let (node, far) = (Ns::from_fd(instance.netns().unwrap()).unwrap(), Ns::create().unwrap());
    let inside = [inside.parse().unwrap()];
    let outside = [outside.parse().unwrap()];
    let end = |ns, name, addresses| End {
        place: Place::Node(ns),
        name,
        alternative_name: None,
        mac: None,
        addresses,
        routes: &[],
        impairment: None,
        up: true,
    };
    Host::new(Ns::current().unwrap())
        .link_pair(&PairSpec {
            link: "test",
            a: end(&node, name, &inside[..]),
            b: end(&far, "far", &outside[..]),
            mtu: Some(1500),
        })
        .unwrap();
    far
}

/// Runs a command in the machine by its agent; standard output.
pub async fn exec(instance: &dyn Instance, words: &[&str]) -> (i32, String) {
    let spec = ExecSpec {
        argv: words.iter().map(|&word| word.to_owned()).collect(),
        ..ExecSpec::default()
    };
    let mut exec = instance.exec(&spec).await.unwrap();
    drop(exec.stdin.take());
    drop(exec.stderr.take());
    let mut text = String::new();
    exec.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    let exit = exec.wait().await.unwrap();
    (exit.shell_code(), text)
}

/// Waits for a phase.
pub async fn until(instance: &dyn Instance, phase: Phase) -> Status {
    let mut watch = instance.watch();
    let waited = tokio::time::timeout(PATIENCE, watch.wait_for(|s| s.phase == phase)).await;
    *waited.unwrap_or_else(|_| panic!("never {phase:?}")).unwrap()
}

/// Waits until `address` answers from a namespace; a machine on a busy host may be late with its first answers.
pub fn answers(from: &Ns, address: &str) {
    let end = std::time::Instant::now() + PATIENCE;
    while !ping(from, address, "5") {
        assert!(std::time::Instant::now() < end, "{address} does not answer");
    }
}

/// Whether nobody answers at `address` for a second.
pub fn silent(from: &Ns, address: &str) -> bool {
    !ping(from, address, "1")
}

fn ping(from: &Ns, address: &str, seconds: &str) -> bool {
    let (address, seconds) = (address.to_owned(), seconds.to_owned());
    from.run(move || {
        // The test's own program runs on this thread, which is in the namespace.
        #[allow(clippy::disallowed_methods)]
        let status = std::process::Command::new("ping")
            .args(["-c", "1", "-W", &seconds, "-q", &address])
            .stdout(std::process::Stdio::null())
            .status();
        status.unwrap().success()
    })
    .unwrap()
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}
