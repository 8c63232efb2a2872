//! How a domain begins and ends.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use vnode_driver::{Error, Exit, Instance, NodeSpec, Phase, Ready, Result};
use vnode_network::Ns;

use super::Node;
use super::ends::{exit, now};
use super::start::{Start, pass};
use crate::container::LXC;
use crate::domain::Domain;
use crate::hub::{is_local, refused};
use crate::kept;
use crate::nic::{self, Nic};
use crate::typed::Connection;
use crate::{agent, blocking};

/// Between two looks for what has yet to start in the guest.
const RETRY: Duration = Duration::from_millis(200);

impl Node {
    pub(super) async fn boot_now(&self, spec: &NodeSpec) -> Result<()> {
        if self.running().is_ok() {
            return Err(Error::Running { node: self.node.clone() });
        }
        *self.agent.lock().await = None;
        let connection = self.hub.connection().await?;
        let ns = Ns::from_fd(self.shell.netns()?).map_err(nic::network)?;
        let (instance, node) = (self.instance.clone(), spec.clone());
        let nics = blocking(move || nic::find(&ns, &instance, &node)).await??;
        self.can_be_linked(&connection, &nics)?;
        let started = self.start(spec, &connection, &nics).await;
        if let Err(error) = started.and_then(|()| pass("domain.joined")) {
            self.clear(spec).await;
            return Err(error);
        }
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec.clone());
        self.change(|kept, status| {
            kept.joined = true;
            kept.boots += 1;
            kept.started_unix_ms = Some(now());
            status.phase = Phase::Running;
        });
        // Events of before it was ours were not taken for its own.
        self.learn().await?;
        if !self.kept().adopted
            && let Err(error) = self.take_console().await
        {
            tracing::debug!(node = %self.node, %error, "no console is kept");
        }
        if let Err(error) = self.ready(spec, &nics).await {
            // What never became ready is not left running behind a failed boot; what ran before goes on.
            let kept = self.kept();
            if !(kept.adopted && kept.ran)
                && let Err(error) = self.kill_now().await
            {
                tracing::warn!(node = %self.node, %error, "end a domain that did not become ready");
            }
            return Err(error);
        }
        Ok(())
    }

    /// Links reach a domain of this machine that has a hypervisor's interfaces.
    fn can_be_linked(&self, connection: &Connection, nics: &[Nic]) -> Result<()> {
        if nics.is_empty() {
            return Ok(());
        }
        let why = if connection.kind == "TEST" || connection.kind == "Test" {
            "libvirt's test driver has domains without interfaces"
        } else if !is_local(&self.hub.uri) {
            "links do not reach a domain of another machine"
        } else {
            return Ok(());
        };
        self.unsupported(&format!("{why}: write `network-mode: none`, and leave its links out"))
    }

    /// Removes what a boot that failed, or one before it, left of the hypervisor's ends.
    async fn clear(&self, spec: &NodeSpec) {
        let (instance, node, ns) = (self.instance.clone(), spec.clone(), self.shell.netns());
        let host = self.host;
        let cleared = blocking(move || {
            let ns = Ns::from_fd(ns?).map_err(nic::network)?;
            let host = host().map_err(nic::network)?;
            nic::clear(&host, Some(&ns), &instance, &node)
        });
        if let Err(error) = cleared.await.and_then(|cleared| cleared) {
            tracing::warn!(node = %self.node, %error, "clear after a boot that failed");
        }
    }

    /// Starts the domain, or takes the one that runs, and joins its interfaces. What it is about to have of the node, and
    /// which run has it, is written down before.
    async fn start(
        &self,
        spec: &NodeSpec,
        connection: &Arc<Connection>,
        nics: &[Nic],
    ) -> Result<()> {
        let start = Arc::new(self.beginning(spec, connection, nics)?);
        let ready = Arc::clone(&start);
        blocking(move || ready.prepare()).await??;
        let wires = start.wires();
        self.keep(|kept| kept.wires = wires)?;
        let begin = Arc::clone(&start);
        let begun = blocking(move || begin.begin()).await??;
        let recorded = pass("domain.started").and_then(|()| {
            self.keep(|kept| {
                // One that somebody else had started goes on without the node, as one that ran when it was adopted.
                kept.ran |= kept.adopted && !begun.by_us && kept.run != begun.run;
                kept.run = begun.run;
                kept.saved = false;
            })
        });
        blocking(move || start.join(begun.by_us, recorded)).await?
    }

    fn beginning(
        &self,
        spec: &NodeSpec,
        connection: &Arc<Connection>,
        nics: &[Nic],
    ) -> Result<Start> {
        let kept = self.kept();
        Ok(Start {
            spec: spec.clone(),
            instance: self.instance.clone(),
            host: self.host,
            xml: if kept.adopted { None } else { Some(kept::read_xml(&self.dir)?) },
            kept,
            ns: Ns::from_fd(self.shell.netns()?).map_err(nic::network)?,
            nics: nics.to_vec(),
            connection: Arc::clone(connection),
        })
    }

    /// Takes up a container that rebooted inside: libvirt has ended it and started it again, as another run with other
    /// interfaces. A machine goes through a reboot as it is.
    pub(super) async fn take_up_again(&self) -> Result<()> {
        let connection = self.hub.connection().await?;
        if connection.kind != LXC || !self.kept().joined {
            return Ok(());
        }
        let ns = Ns::from_fd(self.shell.netns()?).map_err(nic::network)?;
        let (instance, node) = (self.instance.clone(), self.spec());
        let nics = blocking(move || nic::find(&ns, &instance, &node)).await??;
        let again = self.beginning(&self.spec(), &connection, &nics)?;
        let run = blocking(move || again.again()).await??;
        self.keep(|kept| kept.run = run)?;
        if !self.kept().adopted {
            // The console was the other run's.
            self.console.lock().unwrap_or_else(PoisonError::into_inner).own = None;
            if let Err(error) = self.take_console().await {
                tracing::debug!(node = %self.node, %error, "no console is kept");
            }
        }
        Ok(())
    }

    /// Waits for what the definition calls booted.
    async fn ready(&self, spec: &NodeSpec, nics: &[Nic]) -> Result<()> {
        let Some(domain) = &spec.domain else { return Ok(()) };
        let limit = Duration::from_millis(domain.ready_timeout_ms);
        let mut ended = self.status.subscribe();
        let uuid = self.uuid();
        let mut last = String::new();
        let work = async {
            match domain.ready {
                Ready::Started => Ok(()),
                Ready::Agent => loop {
                    match agent::answers(&self.hub, &uuid).await {
                        Ok(()) => return Ok(()),
                        // A definition without the agent's channel, or a hypervisor without agents.
                        Err(error) if error.is_unsupported() => {
                            let doing = "reach an agent in the guest";
                            return Err(refused(&self.node, doing, error));
                        }
                        Err(error) => last = format!(": {}", error.message),
                    }
                    tokio::time::sleep(RETRY).await;
                },
                Ready::Reachable => {
                    let Some(address) = vnode_driver::nic::control_address(nics) else {
                        return self.unsupported("`ready: reachable` needs the control network");
                    };
                    while !vnode_driver::nic::answers(address).await {
                        tokio::time::sleep(RETRY).await;
                    }
                    Ok(())
                }
            }
        };
        let gone = async {
            // The sender is this node's own: it does not go away.
            let _ = ended.wait_for(|s| matches!(s.phase, Phase::Stopped | Phase::Lost)).await;
        };
        tokio::select! {
            done = timeout(limit, work) => done.unwrap_or_else(|_| Err(Error::Timeout {
                node: self.node.clone(),
                what: format!("the start of what its boot waits for{last}"),
                after_ms: domain.ready_timeout_ms,
            })),
            () = gone => Err(Error::Boot {
                node: self.node.clone(),
                step: "the domain ended before it was ready: look at `vnode logs`".to_owned(),
            }),
        }
    }

    fn last_exit(&self) -> Result<Exit> {
        let last = self.status.borrow().last_exit;
        last.ok_or_else(|| Error::NotRunning { node: self.node.clone() })
    }

    pub(super) async fn halt_now(&self, grace: Duration) -> Result<Exit> {
        if self.running().is_err() {
            return self.last_exit();
        }
        if grace.is_zero() {
            return self.kill_now().await;
        }
        let end = Instant::now() + grace;
        let asked = timeout_at(end, async {
            if self.status().phase == Phase::Paused {
                self.domain("resume the domain", Domain::resume).await?;
            }
            self.domain("shut down the domain", Domain::shutdown).await
        });
        match asked.await {
            Ok(Ok(())) => {
                let mut status = self.status.subscribe();
                let wait = status.wait_for(|s| matches!(s.phase, Phase::Stopped | Phase::Lost));
                if let Ok(Ok(_)) = timeout_at(end, wait).await {
                    return self.last_exit();
                }
            }
            Ok(Err(error)) => tracing::debug!(node = %self.node, %error, "ask a domain to end"),
            Err(_) => {}
        }
        // T-46: it was given its time.
        self.kill_now().await
    }

    pub(super) async fn kill_now(&self) -> Result<Exit> {
        if self.running().is_err() {
            return self.last_exit();
        }
        let killed = self.domain("power off the domain", |domain| {
            // It may have ended by itself in this moment.
            if domain.run().is_none() { Ok(false) } else { domain.destroy().map(|()| true) }
        });
        if killed.await? {
            // The event says the same, and may come later.
            self.stopped(exit(Some(super::ends::DESTROYED)), false);
        } else {
            self.learn().await?;
        }
        self.last_exit()
    }
}
