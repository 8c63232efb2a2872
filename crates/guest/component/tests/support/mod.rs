//! A bus and a daemon of each test's own: Debian's dbus-daemon on a socket in a temporary folder.
#![allow(clippy::disallowed_methods, reason = "tests start the programs they test")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use vnode_component::client::Client;

/// Far above what anything here takes, on the busiest machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Debian's dbus-daemon.
pub(crate) struct Bus {
    child: Child,
    pub(crate) address: String,
}

impl Bus {
    /// Anybody may do anything.
    pub(crate) fn start(folder: &Path) -> Self {
        let config = format!(
            "<busconfig><type>vyatta-vci</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/>\
             <allow own=\"*\"/><allow user=\"*\"/></policy>\
             <limit name=\"max_replies_per_connection\">50000</limit></busconfig>",
            folder.join("bus").display()
        );
        Self::start_with(folder, &config)
    }

    pub(crate) fn start_with(folder: &Path, config: &str) -> Self {
        let file = folder.join("bus.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.arg(format!("--config-file={}", file.display()));
        command.args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"]);
        let mut child =
            dies_with_us(&mut command).stdout(Stdio::piped()).spawn().expect("dbus-daemon");
        // The address is printed when the socket listens.
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().split(',').next().unwrap().to_owned();
        assert!(address.starts_with("unix:"), "dbus-daemon did not start: {address:?}");
        Self { child, address }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kernel ends the program when the test's thread does.
fn dies_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: the call is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .map_err(std::io::Error::from)
        })
    }
}

/// A folder, a bus, and the daemon on it.
pub(crate) struct World {
    // Ended in this order.
    pub(crate) daemon: Option<Daemon>,
    pub(crate) bus: Bus,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) struct Daemon {
    pub(crate) child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl World {
    /// With these instance files, each a name and a text in which `@` is the folder for scripts.
    pub(crate) async fn start(files: &[(&str, &str)]) -> Self {
        Self::start_with(files, &[]).await
    }

    pub(crate) async fn start_with(files: &[(&str, &str)], options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = Bus::start(folder.path());
        let mut world = Self { daemon: None, bus, folder };
        fs::create_dir(world.instances()).unwrap();
        for (name, text) in files {
            world.write(name, text);
        }
        world.serve(options).await;
        world
    }

    pub(crate) fn instances(&self) -> PathBuf {
        self.folder.path().join("instances")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes an instance file, atomically.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let text = text.replace('@', &self.folder.path().display().to_string());
        let new = self.path("new-instance");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.instances().join(name)).unwrap();
    }

    /// Writes a shell script; gives its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        let text = text.replace('@', &self.folder.path().display().to_string());
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    pub(crate) async fn serve(&mut self, options: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vnode-component"));
        command.args(["serve", "-instance-dir"]).arg(self.instances());
        command.args(["--bus", &self.bus.address]).args(options).env("VNODE_LOG", "info");
        let log = fs::File::create(self.path("log")).unwrap();
        let child = dies_with_us(&mut command).stderr(log).spawn().unwrap();
        self.daemon = Some(Daemon { child });
        let client = self.client().await;
        eventually("the daemon serves", async || client.list().await.is_ok()).await;
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.bus.address).await.unwrap()
    }

    pub(crate) async fn raw(&self) -> zbus::Connection {
        zbus::connection::Builder::address(self.bus.address.as_str()).build().await.unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What a script has written.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The verbs, as a person gives them.
    pub(crate) fn component(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vnode-component"));
        command.args(arguments).env("VNODE_COMPONENT_BUS", &self.bus.address);
        command.stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.daemon.as_ref().unwrap().child.id();
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until the daemon ends; gives its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.daemon.as_mut().unwrap().child.wait().unwrap().code()
    }
}

pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < LONG, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Name and text of the error of a raw call.
pub(crate) fn refused(result: zbus::Result<zbus::Message>) -> String {
    use zbus::DBusError;
    match result.expect_err("the call should fail") {
        zbus::Error::MethodError(name, ..) => name.to_string(),
        zbus::Error::FDO(error) => error.name().to_string(),
        other => panic!("{other}"),
    }
}
