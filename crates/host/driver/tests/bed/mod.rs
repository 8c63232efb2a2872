//! Where the container tests run: namespaces of their own, a busybox root, and everything destroyed at the end.

// Each test target uses its own part of this.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]
// Tests build the monitor program and run peers themselves.
#![allow(clippy::disallowed_methods)]

use std::future::Future;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use vnode_driver::container::{ContainerDriver, Options};
use vnode_driver::*;

/// A folder, a driver, and the nodes made with it.
pub struct Bed {
    pub dir: tempfile::TempDir,
    pub driver: Mutex<Option<Arc<ContainerDriver>>>,
    pub instance: String,
    nodes: Mutex<Vec<(NodeSpec, PathBuf)>>,
}

/// Runs a test in namespaces of its own, or says why it cannot.
pub fn run<F: Future<Output = ()>>(body: impl FnOnce(Arc<Bed>) -> F + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    if !Path::new("/usr/bin/busybox").exists() {
        println!("skipped: no /usr/bin/busybox (package busybox-static)");
        return;
    }
    vnode_testkit::apart(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bed = Arc::new(runtime.block_on(Bed::new()));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(body(Arc::clone(&bed)));
        }));
        runtime.block_on(bed.clean());
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The monitor program of this build.
pub fn monitor_program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let own = std::env::current_exe().unwrap();
            let folder = own.parent().and_then(Path::parent).unwrap().to_owned();
            let mut build = std::process::Command::new(env!("CARGO"));
            build.args(["build", "-q", "-p", "vnode-monitor", "--manifest-path"]);
            build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../monitor/Cargo.toml"));
            build.arg("--target-dir").arg(folder.parent().unwrap());
            if folder.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success());
            folder.join("vnode-monitor")
        })
        .clone()
}

/// A root with busybox and nothing else.
pub fn busybox_root(at: &Path) {
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        std::fs::create_dir_all(at.join(folder)).unwrap();
    }
    std::fs::copy("/usr/bin/busybox", at.join("bin/busybox")).unwrap();
    for name in [
        "sh", "cat", "true", "false", "sleep", "ls", "echo", "id", "head", "reboot", "poweroff",
        "stat", "mount", "umount", "grep", "touch", "mkdir", "ln", "rm", "wc", "hostname", "tty",
        "stty", "dd", "readlink", "kill", "unshare", "chroot", "mknod", "test", "sort", "env",
        "tr", "seq", "usleep", "chmod", "sed", "basename", "ps",
    ] {
        symlink("busybox", at.join("bin").join(name)).unwrap();
    }
    std::fs::write(
        at.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/tmp:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(at.join("etc/group"), "root:x:0:\napp:x:1001:\nmore:x:1002:app\n").unwrap();
}

impl Bed {
    async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("vnode-driver-").tempdir().unwrap();
        busybox_root(&dir.path().join("image"));
        let instance = format!(
            "test-{}-{}",
            std::process::id(),
            dir.path().file_name().unwrap().to_string_lossy().replace("vnode-driver-", "")
        );
        let driver = Self::open(&instance).await;
        Self { dir, driver: Mutex::new(Some(driver)), instance, nodes: Mutex::default() }
    }

    async fn open(instance: &str) -> Arc<ContainerDriver> {
        let options = Options { monitor_program: monitor_program(), instance: instance.to_owned() };
        ContainerDriver::open(options).await.unwrap()
    }

    pub fn driver(&self) -> Arc<ContainerDriver> {
        Arc::clone(self.driver.lock().unwrap().as_ref().unwrap())
    }

    /// As the death of the daemon: the driver goes, and a new one knows nothing of the old.
    pub async fn reopen(&self) -> Arc<ContainerDriver> {
        drop(self.driver.lock().unwrap().take());
        let new = Self::open(&self.instance).await;
        *self.driver.lock().unwrap() = Some(Arc::clone(&new));
        new
    }

    pub fn path(&self, node: &str) -> PathBuf {
        self.dir.path().join(node)
    }

    /// A definition with Docker's defaults, whose first process sleeps.
    pub fn spec(&self, node: &str) -> NodeSpec {
        let spec = NodeSpec {
            layers: vec![self.dir.path().join("image")],
            process: Process {
                argv: vec!["sleep".into(), "1000".into()],
                env: vec!["PATH=/bin".into()],
                ..Process::default()
            },
            security: Security {
                capabilities: [
                    "AUDIT_WRITE",
                    "CHOWN",
                    "DAC_OVERRIDE",
                    "FOWNER",
                    "FSETID",
                    "KILL",
                    "MKNOD",
                    "NET_BIND_SERVICE",
                    "NET_RAW",
                    "SETFCAP",
                    "SETGID",
                    "SETPCAP",
                    "SETUID",
                    "SYS_CHROOT",
                ]
                .map(String::from)
                .to_vec(),
                no_new_privileges: false,
                ..Security::default()
            },
            stop_grace_ms: 1000,
            log_limit_bytes: 1 << 20,
            ..NodeSpec::bare("lab", node, 1, "0")
        };
        self.nodes.lock().unwrap().push((spec.clone(), self.path(node)));
        spec
    }

    pub fn sh(&self, node: &str, script: &str) -> NodeSpec {
        let mut spec = self.spec(node);
        spec.process.argv = vec!["sh".into(), "-c".into(), script.into()];
        spec
    }

    pub async fn create(&self, spec: &NodeSpec) -> Arc<dyn Instance> {
        self.driver().create(spec, &self.path(&spec.node)).await.unwrap()
    }

    pub async fn boot(&self, spec: &NodeSpec) -> Arc<dyn Instance> {
        let node = self.create(spec).await;
        node.boot(spec).await.unwrap();
        node
    }

    pub async fn destroy(&self, spec: &NodeSpec) {
        self.driver().destroy(spec, &self.path(&spec.node)).await.unwrap();
    }

    async fn clean(&self) {
        let driver = self.reopen().await;
        let nodes = std::mem::take(&mut *self.nodes.lock().unwrap());
        for (spec, dir) in nodes {
            if let Err(error) = driver.destroy(&spec, &dir).await {
                println!("left after the test: {error}");
            }
        }
    }
}

/// Waits for a condition.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for the end of the first process.
pub async fn exit_of(node: &Arc<dyn Instance>) -> Exit {
    let mut watch = node.watch();
    let wait = watch.wait_for(|s| s.phase == Phase::Stopped);
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("the node ends")
        .unwrap()
        .last_exit
        .unwrap()
}

/// Runs a shell script in a node: status, output, errors.
pub async fn exec(node: &Arc<dyn Instance>, script: &str) -> (i32, String, String) {
    exec_as(node, script, |_| {}).await
}

pub async fn exec_as(
    node: &Arc<dyn Instance>,
    script: &str,
    change: impl FnOnce(&mut ExecSpec),
) -> (i32, String, String) {
    let mut spec =
        ExecSpec { argv: vec!["sh".into(), "-c".into(), script.into()], ..ExecSpec::default() };
    change(&mut spec);
    let mut exec = node.exec(&spec).await.unwrap();
    exec.stdin = None;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    if let Some(mut stdout) = exec.stdout.take() {
        stdout.read_to_end(&mut out).await.unwrap();
    }
    if let Some(mut stderr) = exec.stderr.take() {
        stderr.read_to_end(&mut err).await.unwrap();
    }
    let exit = exec.wait().await.unwrap();
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (exit.shell_code(), text(out), text(err))
}
