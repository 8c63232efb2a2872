//! A machine's memory, kept and brought back, and its screen.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vnode_driver::{BoxFuture, Error, Exit, Hardware, Instance, Phase, Result, Start, Status};

use super::Vm;
use crate::blocking;
use crate::memory::{self, About};
use crate::nic;
use crate::qmp::{Qmp, QmpError};
use crate::shell::{FOLDER, INSIDE, io, machine};

/// Between two looks at a migration that tells nothing.
const LOOK: Duration = Duration::from_secs(1);
/// Time QEMU has to end when it is told to.
const QUIT: Duration = Duration::from_secs(30);
/// As fast as the disk takes it: QEMU's own limit is made for networks.
const BANDWIDTH: u64 = 64 << 30;
/// Largest picture taken from QEMU: a screen of 4096 by 4096 that does not pack at all.
const MOST_PICTURE: u64 = 64 << 20;
/// What a descriptor is called on QEMU's side.
const DESCRIPTOR: &str = "memory";

/// How a migration ended that did not succeed.
enum Broken {
    Failed(String),
    Cancelled,
}

impl Vm {
    async fn save_now(&self, cancel: &CancellationToken) -> Result<Exit> {
        if self.running().is_err() {
            // A daemon that was killed had come this far.
            let last = self.status().last_exit.filter(|_| memory::there(&self.dir));
            return last.ok_or_else(|| Error::NotRunning { node: self.node.clone() });
        }
        let spec = self.spec();
        let ns = vnode_network::Ns::from_fd(self.shell.netns()?).map_err(nic::network)?;
        let nics = blocking(move || {
            let found = nic::find(&ns);
            ns.close_sockets();
            found
        })
        .await??;
        let about = About::of(&spec, &self.accelerators, &nics)?;
        let qmp = self.qmp().await.map_err(|error| self.told(error))?;
        if memory::there(&self.dir) {
            // A daemon that was killed had saved it whole: letting it run now would part the disks from the memory.
            *self.agent.lock().await = None;
            return self.end(&qmp).await;
        }
        // One that an earlier daemon had begun to save stands in a state of its own, which `cont` leads out of.
        let told = |error| self.told(error);
        self.settle_migration(&qmp).await.map_err(told)?;
        let was_paused = self.status().phase == Phase::Paused;
        let dir = self.dir.clone();
        let file = Arc::new(blocking(move || memory::begin(&dir)).await??);
        let written = self.write_memory(&qmp, &file, cancel).await;
        let kept = match written {
            Ok(()) => {
                let (dir, file) = (self.dir.clone(), Arc::clone(&file));
                blocking(move || memory::finish(&dir, &file, &about)).await?
            }
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            // Whatever went wrong, a migration that still goes on would not let the machine run.
            if let Err(error) = self.cancel_migration(&qmp).await {
                tracing::warn!(node = %self.node, %error, "cancel the saving of a machine");
            }
            let dir = self.dir.clone();
            blocking(move || memory::remove(&dir)).await??;
            if !was_paused {
                self.command("cont", json!({})).await?;
                self.set_paused(false);
            }
            return Err(error);
        }
        *self.agent.lock().await = None;
        self.end(&qmp).await
    }

    /// Ends QEMU, whose memory and disks are on the host's disk.
    async fn end(&self, qmp: &Qmp) -> Result<Exit> {
        let mut status = self.shared.status.subscribe();
        match qmp.run("quit", json!({})).await {
            // It may be gone before its answer.
            Ok(_) | Err(QmpError::Closed | QmpError::Io(_)) => {}
            Err(error) => {
                tracing::warn!(node = %self.node, %error, "a machine that was saved does not quit");
                return self.kill_now().await;
            }
        }
        let ended = status.wait_for(|s| matches!(s.phase, Phase::Stopped | Phase::Lost));
        match tokio::time::timeout(QUIT, ended).await.map(|ended| ended.map(|status| *status)) {
            Ok(Ok(Status { last_exit: Some(exit), .. })) => Ok(exit),
            _ => self.kill_now().await,
        }
    }

    /// No migration is under way afterwards; one that has ended stays so.
    async fn cancel_migration(&self, qmp: &Qmp) -> std::result::Result<(), QmpError> {
        let status = qmp.run("query-migrate", json!({})).await?;
        if matches!(status["status"].as_str(), Some("setup" | "active" | "device" | "cancelling")) {
            qmp.run("migrate_cancel", json!({})).await?;
            while matches!(
                qmp.run("query-migrate", json!({})).await?["status"].as_str(),
                Some("setup" | "active" | "device" | "cancelling")
            ) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// No migration is under way afterwards, and none has ended: a machine that was saved half by a daemon that is gone.
    async fn settle_migration(&self, qmp: &Qmp) -> std::result::Result<(), QmpError> {
        self.cancel_migration(qmp).await?;
        if qmp.run("query-status", json!({})).await?["status"] == "postmigrate" {
            qmp.run("cont", json!({})).await?;
        }
        Ok(())
    }

    async fn write_memory(&self, qmp: &Qmp, file: &File, cancel: &CancellationToken) -> Result<()> {
        let told = |error| self.told(error);
        qmp.run("stop", json!({})).await.map_err(told)?;
        self.set_paused(true);
        self.fast(qmp).await.map_err(told)?;
        qmp.give(DESCRIPTOR, file.as_fd()).await.map_err(told)?;
        let mut events = qmp.events();
        qmp.run("migrate", json!({ "uri": format!("fd:{DESCRIPTOR}") })).await.map_err(told)?;
        let failed = |why: String| Error::Io {
            doing: format!("save the memory of `{}`", self.node),
            source: std::io::Error::other(why),
        };
        match self.migrated(qmp, &mut events, Some(cancel)).await.map_err(told)? {
            Ok(()) => Ok(()),
            Err(Broken::Failed(why)) => Err(failed(why)),
            // Whoever called this ends what still goes on.
            Err(Broken::Cancelled) => Err(failed("it was cancelled".to_owned())),
        }
    }

    async fn fast(&self, qmp: &Qmp) -> std::result::Result<(), QmpError> {
        let on = json!([{ "capability": "events", "state": true }]);
        qmp.run("migrate-set-capabilities", json!({ "capabilities": on })).await?;
        qmp.run("migrate-set-parameters", json!({ "max-bandwidth": BANDWIDTH })).await?;
        Ok(())
    }

    /// Waits until a migration, in or out, has ended.
    async fn migrated(
        &self,
        qmp: &Qmp,
        events: &mut tokio::sync::broadcast::Receiver<crate::qmp::Event>,
        cancel: Option<&CancellationToken>,
    ) -> std::result::Result<std::result::Result<(), Broken>, QmpError> {
        let never = CancellationToken::new();
        let cancel = cancel.unwrap_or(&never);
        loop {
            let status = qmp.run("query-migrate", json!({})).await?;
            match status["status"].as_str() {
                Some("completed") => return Ok(Ok(())),
                Some(state @ ("failed" | "cancelled")) => {
                    let why = status["error-desc"].as_str().unwrap_or(state);
                    return Ok(Err(Broken::Failed(why.to_owned())));
                }
                _ => {}
            }
            tokio::select! {
                // Any event is a reason to look; of a listener that is late, too.
                _ = events.recv() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = cancel.cancelled() => return Ok(Err(Broken::Cancelled)),
            }
        }
    }

    /// Fills a machine that was started to take memory in, throws the file away, and lets it go on.
    pub(super) async fn take_memory(&self, file: File) -> Result<()> {
        let qmp = self.qmp().await.map_err(|error| self.told(error))?;
        let work = async {
            self.fast(&qmp).await?;
            qmp.give(DESCRIPTOR, file.as_fd()).await?;
            let mut events = qmp.events();
            qmp.run("migrate-incoming", json!({ "uri": format!("fd:{DESCRIPTOR}") })).await?;
            self.migrated(&qmp, &mut events, None).await
        };
        let boot = |step: String| Error::Boot {
            node: self.node.clone(),
            step: format!(
                "its saved memory was not taken: {step}; `vnode save --discard` throws it away"
            ),
        };
        match work.await {
            Ok(Ok(())) => {}
            Ok(Err(Broken::Failed(why))) => return Err(boot(why)),
            Ok(Err(Broken::Cancelled)) => return Err(boot("it was cancelled".to_owned())),
            // QEMU ends when what it is given makes no sense, and says why on its console.
            Err(error) => return Err(boot(format!("{error}; {}", self.tail()))),
        }
        self.resume_now().await
    }

    /// Lets the machine run; from then on its disks differ from those that kept memory goes with.
    pub(super) async fn resume_now(&self) -> Result<()> {
        let dir = self.dir.clone();
        blocking(move || memory::remove(&dir)).await??;
        self.command("cont", json!({})).await?;
        self.set_paused(false);
        Ok(())
    }

    async fn picture(&self) -> Result<Vec<u8>> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        self.running()?;
        let spec = self.spec();
        let of = machine(&spec)?;
        if !of.vnc && matches!(of.start, Start::Kernel { .. }) {
            return Err(Error::Unsupported {
                node: self.node.clone(),
                what: "a machine that is given its kernel has no screen: write `vnc: true`"
                    .to_owned(),
            });
        }
        let name = format!("screen-{}.png", LAST.fetch_add(1, Ordering::Relaxed));
        let asked = json!({ "filename": format!("{INSIDE}/{name}"), "format": "png" });
        self.command("screendump", asked).await?;
        let dir = self.dir.join(FOLDER);
        blocking(move || take_picture(&dir, &name)).await?
    }
}

/// The picture QEMU has put into its folder, in which it may do what it likes: only a plain file is one, and not for ever.
fn take_picture(folder: &std::path::Path, name: &str) -> Result<Vec<u8>> {
    let fail = || io(format!("read the picture {}", folder.join(name).display()));
    let work = || -> std::io::Result<Vec<u8>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = File::from(rustix::fs::openat2(&folder, name, flags, Mode::empty(), within)?);
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no plain file"));
        }
        let mut bytes = Vec::new();
        file.take(MOST_PICTURE + 1).read_to_end(&mut bytes)?;
        rustix::fs::unlinkat(&folder, name, rustix::fs::AtFlags::empty())?;
        if bytes.len() as u64 > MOST_PICTURE {
            return Err(std::io::Error::other(format!("it has more than {MOST_PICTURE} bytes")));
        }
        Ok(bytes)
    };
    work().map_err(fail())
}

impl Hardware for Vm {
    fn save<'a>(&'a self, cancel: &'a CancellationToken) -> BoxFuture<'a, Result<Exit>> {
        Box::pin(self.save_now(cancel))
    }

    fn saved(&self) -> bool {
        memory::there(&self.dir)
    }

    fn forget(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let dir = self.dir.clone();
            blocking(move || memory::remove(&dir)).await?
        })
    }

    fn relink<'a>(&'a self, interface: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.running().is_err() {
                return Ok(());
            }
            let ns = vnode_network::Ns::from_fd(self.shell.netns()?).map_err(nic::network)?;
            let (dir, interface) = (self.dir.clone(), interface.to_owned());
            blocking(move || nic::rejoin(&ns, &dir, &interface)).await?
        })
    }

    fn screenshot(&self) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(self.picture())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_file_of_the_folder_is_a_picture() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link.png")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe.png"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        for name in ["link.png", "pipe.png", "none.png", "../x.png"] {
            assert!(take_picture(dir.path(), name).is_err(), "{name}");
        }
        std::fs::write(dir.path().join("a.png"), b"png").unwrap();
        assert_eq!(take_picture(dir.path(), "a.png").unwrap(), b"png");
        assert!(!dir.path().join("a.png").exists());
    }
}
