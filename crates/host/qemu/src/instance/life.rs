//! How a machine begins and ends.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};
use vnode_driver::{Error, Exit, Instance, NodeSpec, Phase, Ready, Result, guest};
use vnode_guest::Shutdown;

use super::{RETRY_AGENT, Vm};
use crate::nic::{self, Nic};
use crate::qmp::QmpError;
use crate::shell::{self, FOLDER, io, machine};
use crate::{blocking, command, disk, exit, files, memory, seed};

/// QEMU's control socket is there within this of its start, however busy the host.
const START: Duration = Duration::from_secs(60);
/// Between two looks at what cannot be waited for: a socket QEMU has yet to make.
const RETRY: Duration = Duration::from_millis(10);
/// Time the agent gets to take a request to power off before the power button is pressed.
const AGENT_SHUTDOWN: Duration = Duration::from_secs(2);
/// Bytes of the console an error shows.
const TAIL: u64 = 2048;

impl Vm {
    pub(super) async fn boot_now(&self, spec: &NodeSpec) -> Result<()> {
        if self.running().is_ok() {
            return Err(Error::Running { node: self.node.clone() });
        }
        files::refuse(&self.node, &self.dir)?;
        *self.qmp.lock().await = None;
        *self.agent.lock().await = None;
        let multiqueue = machine(spec)?.queues > 1;
        let nics = nic::prepare(&*self.shell, shell::user(spec)?, multiqueue).await?;
        let (node, dir, of_seed) = (spec.clone(), self.dir.clone(), nics.clone());
        let written = blocking(move || {
            shell::make_folders(&node, &dir)?;
            disk::ensure(&node, &dir)?;
            for name in command::SOCKETS.iter().chain([&exit::TRACE]) {
                let path = dir.join(FOLDER).join(name);
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(io(format!("remove {}", path.display()))(e));
                    }
                    _ => {}
                }
            }
            nic::remember(&dir, &of_seed)?;
            seed::write(&node, &dir, &of_seed)
        });
        written.await??;
        let mut whole = shell::whole(spec, &self.dir, &self.layer, &self.accelerators, &nics)?;
        let memory = if memory::there(&self.dir) {
            let about = memory::About::of(spec, &self.accelerators, &nics)?;
            memory::open(spec, &self.dir, &about)?
        } else {
            // What a save that was cut off has left is of no use, and may be large.
            let dir = self.dir.clone();
            blocking(move || memory::remove(&dir)).await??;
            None
        };
        if memory.is_some() {
            // It stands still until its memory is there and the file is gone.
            whole.process.argv.extend(["-S", "-incoming", "defer"].map(str::to_owned));
        }
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec.clone());
        self.shell.boot(&whole).await?;
        let ready = async {
            self.started().await?;
            if let Some(memory) = memory {
                self.take_memory(memory).await?;
            }
            self.ready(spec, &nics).await
        };
        if let Err(error) = ready.await {
            // What never became ready is not left running behind a failed boot.
            if let Err(error) = self.shell.kill().await {
                tracing::warn!(node = %self.node, %error, "end a machine that did not become ready");
            }
            return Err(error);
        }
        Ok(())
    }

    /// Waits until QEMU serves its control socket: then it has taken its whole command line.
    async fn started(&self) -> Result<()> {
        let end = Instant::now() + START;
        loop {
            if self.running().is_err() {
                return Err(Error::Boot {
                    node: self.node.clone(),
                    step: format!("QEMU ended at once: {}", self.tail()),
                });
            }
            match self.qmp().await {
                Ok(_) => return Ok(()),
                Err(QmpError::Io(_)) if Instant::now() < end => tokio::time::sleep(RETRY).await,
                Err(error) => {
                    let step = format!("its QEMU cannot be spoken to: {error}; {}", self.tail());
                    return Err(Error::Boot { node: self.node.clone(), step });
                }
            }
        }
    }

    /// Waits for what the definition calls booted.
    async fn ready(&self, spec: &NodeSpec, nics: &[Nic]) -> Result<()> {
        let machine = machine(spec)?;
        let limit = Duration::from_millis(machine.ready_timeout_ms);
        let end = Instant::now() + limit;
        let mut ended = self.shared.status.subscribe();
        let work = async {
            match machine.ready {
                Ready::Started => Ok(()),
                Ready::Agent => loop {
                    if let Ok(guest) = self.agent().await
                        && guest.ping().await.is_ok()
                    {
                        return Ok(());
                    }
                    tokio::time::sleep(RETRY_AGENT).await;
                },
                Ready::Reachable => {
                    let address =
                        vnode_driver::nic::control_address(nics).ok_or_else(|| Error::Invalid {
                            node: self.node.clone(),
                            what:
                                "it is to be reachable, and has no address on the control network"
                                    .to_owned(),
                        })?;
                    while !vnode_driver::nic::answers(address).await {
                        tokio::time::sleep(RETRY_AGENT).await;
                    }
                    Ok(())
                }
            }
        };
        tokio::select! {
            done = timeout_at(end, work) => done.unwrap_or_else(|_| {
                let what = match machine.ready {
                    Ready::Started => "start",
                    Ready::Agent => "the answer of its agent",
                    Ready::Reachable => "an answer from its address",
                };
                Err(Error::Boot {
                    node: self.node.clone(),
                    step: format!(
                        "waiting for {what} was given up after {} s; its console: {}",
                        limit.as_secs(),
                        self.tail()
                    ),
                })
            }),
            _ = ended.wait_for(|s| matches!(s.phase, Phase::Stopped | Phase::Lost)) => {
                Err(Error::Boot {
                    node: self.node.clone(),
                    step: format!("it ended before it was ready; its console: {}", self.tail()),
                })
            }
        }
    }

    /// The end of the console's log, in one line.
    pub(super) fn tail(&self) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let mut bytes = Vec::new();
        let read = std::fs::File::open(self.shell.logs().current).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            file.take(TAIL).read_to_end(&mut bytes)
        });
        if read.is_err() || bytes.is_empty() {
            return "nothing was printed".to_owned();
        }
        let text: String = String::from_utf8_lossy(&bytes)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ")
    }

    pub(super) async fn halt_now(&self, grace: Duration) -> Result<Exit> {
        if self.running().is_err() || grace.is_zero() {
            return self.shell.kill().await.map(|exit| exit::classify(&self.dir, exit));
        }
        let end = Instant::now() + grace;
        let asked = timeout_at(end, async {
            if self.status().phase == Phase::Paused {
                self.resume_now().await?;
            }
            let agent = async {
                let guest = self.agent().await?;
                let off = guest.shutdown(Shutdown::Poweroff).await;
                off.map_err(|e| guest::failed(&self.node, e))
            };
            match timeout(AGENT_SHUTDOWN.min(grace), agent).await {
                Ok(Ok(())) => Ok(()),
                // No agent, or one that does not: the power button.
                Ok(Err(_)) | Err(_) => self.command("system_powerdown", json!({})).await.map(drop),
            }
        });
        match asked.await {
            Ok(Ok(())) => {
                let mut status = self.shared.status.subscribe();
                let wait = status.wait_for(|s| matches!(s.phase, Phase::Stopped | Phase::Lost));
                if let Ok(Ok(status)) = timeout_at(end, wait).await
                    && let Some(exit) = status.last_exit
                {
                    return Ok(exit);
                }
            }
            Ok(Err(error)) => tracing::debug!(node = %self.node, %error, "ask a machine to end"),
            Err(_) => {}
        }
        // T-46: it was given its time.
        self.kill_now().await
    }

    pub(super) async fn kill_now(&self) -> Result<Exit> {
        let exit = self.shell.kill().await?;
        self.shared.show(self.shell.status());
        Ok(exit::classify(&self.dir, exit))
    }
}
