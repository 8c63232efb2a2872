//! How a domain begins and ends.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use vnode_driver::{Error, Exit, Instance, NodeSpec, Phase, Ready, Result};
use vnode_network::Ns;

use super::Node;
use super::ends::{exit, now};
use crate::domain::Domain;
use crate::hub::{is_local, refused};
use crate::kept::{self, Kept};
use crate::nic::{self, Nic, QEMU};
use crate::typed::Connection;
use crate::{agent, blocking, definition};

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
        let started = self.start(spec, &connection, nics.clone()).await;
        let (plugged, run) = match started {
            Ok(started) => started,
            Err(error) => {
                self.clear(spec).await;
                return Err(error);
            }
        };
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec.clone());
        self.change(|kept, status| {
            kept.joined = true;
            kept.plugged = plugged;
            kept.run = run;
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

    /// Starts the domain, or takes the one that runs, and joins its interfaces; what was plugged into it, and which run it is.
    async fn start(
        &self,
        spec: &NodeSpec,
        connection: &Arc<Connection>,
        nics: Vec<Nic>,
    ) -> Result<(Vec<String>, Option<u32>)> {
        let work = Start {
            spec: spec.clone(),
            instance: self.instance.clone(),
            host: self.host,
            kept: self.kept(),
            xml: if self.kept().adopted { None } else { Some(kept::read_xml(&self.dir)?) },
            ns: Ns::from_fd(self.shell.netns()?).map_err(nic::network)?,
            nics,
            connection: Arc::clone(connection),
        };
        blocking(move || {
            let plugged = work.run()?;
            // One that has ended already has none, and is asked for next.
            Ok((plugged, work.connection.by_uuid(&work.kept.uuid).ok().and_then(|d| d.run())))
        })
        .await?
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
            self.stopped(exit(Some(super::ends::DESTROYED)));
        } else {
            self.learn().await?;
        }
        self.last_exit()
    }
}

/// What starts a domain; it blocks.
struct Start {
    spec: NodeSpec,
    instance: String,
    host: fn() -> vnode_network::Result<Ns>,
    kept: Kept,
    /// The definition, of a domain that is vnode's own.
    xml: Option<String>,
    ns: Ns,
    nics: Vec<Nic>,
    connection: Arc<Connection>,
}

impl Start {
    fn refused(&self, doing: &str) -> impl FnOnce(crate::typed::VirError) -> Error + use<> {
        let (node, doing) = (self.spec.node.clone(), doing.to_owned());
        move |error| crate::hub::refused(&node, &doing, error)
    }

    fn run(&self) -> Result<Vec<String>> {
        let host = (self.host)().map_err(nic::network)?;
        let found = self.connection.by_uuid(&self.kept.uuid);
        let domain = match (found, &self.xml) {
            (Ok(domain), _) => domain,
            // Somebody has undefined it.
            (Err(error), Some(_)) if error.is_absent() => self.define(&[])?,
            (Err(error), _) => return Err(self.refused("look for the domain")(error)),
        };
        // One that crashed and is preserved counts: it has to go before the next can start.
        let active = domain.run().is_some();
        if self.xml.is_some() && active {
            // It ran for a shell that was lost, and its wires with it.
            domain.destroy().map_err(self.refused("power off the domain"))?;
        }
        nic::clear(&host, Some(&self.ns), &self.instance, &self.spec)?;
        let by_us = self.connection.kind == QEMU;
        if by_us {
            nic::offer(&host, &self.nics, &self.instance, &self.spec)?;
        }
        if self.xml.is_some() {
            let domain = self.define(&self.nics)?;
            // Nothing is sent before the wires are there.
            let held = by_us && !self.nics.is_empty();
            domain.start(held).map_err(self.refused("start the domain"))?;
            let joined = nic::take(&host, &self.ns, &self.nics).and_then(|()| match held {
                true => domain.resume().map_err(self.refused("resume the domain")),
                false => Ok(()),
            });
            return self.or_end(&domain, true, joined).map(|()| Vec::new());
        }
        if !active {
            domain.start(false).map_err(self.refused("start the domain"))?;
        }
        let plugged = self.plug(&domain, &host);
        self.or_end(&domain, !active, plugged)
    }

    fn define(&self, nics: &[Nic]) -> Result<Domain> {
        let text = self.xml.as_deref().unwrap_or_default();
        let whole = definition::with(text, &self.spec, nics, &self.connection.kind)?;
        self.connection.define(&whole).map_err(self.refused("define the domain"))
    }

    /// Plugs the node's interfaces into a domain that is not vnode's to define.
    fn plug(&self, domain: &Domain, host: &Ns) -> Result<Vec<String>> {
        let mut plugged: Vec<String> = Vec::new();
        let mut join = |nic: &Nic| -> Result<()> {
            let text = nic::element(nic, None, &self.connection.kind).write();
            domain.attach(&text).map_err(self.refused("plug an interface into the domain"))?;
            plugged.push(text);
            nic::take(host, &self.ns, std::slice::from_ref(nic))
        };
        let Err(error) = self.nics.iter().try_for_each(&mut join) else { return Ok(plugged) };
        // The domain goes on without us: what it got from us goes.
        for text in &plugged {
            if let Err(error) = domain.detach(text) {
                tracing::warn!(node = self.spec.node, %error, "unplug after a failed boot");
            }
        }
        Err(error)
    }

    /// Ends a domain that was started here and could not be joined.
    fn or_end<T>(&self, domain: &Domain, ours: bool, result: Result<T>) -> Result<T> {
        if result.is_err()
            && ours
            && let Err(error) = domain.destroy()
        {
            tracing::warn!(node = self.spec.node, %error, "end a domain that was not joined");
        }
        result
    }
}
