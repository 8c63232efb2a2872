//! How a domain is started and joined to the node's interfaces; all of it blocks.

use std::sync::Arc;

use vnode_driver::{Error, NodeSpec, Result};
use vnode_network::Ns;

use crate::container::{self, LXC};
use crate::definition;
use crate::domain::Domain;
use crate::kept::Kept;
use crate::letgo::{Owner, unplug};
use crate::nic::{self, Nic, QEMU};
use crate::typed::{Connection, VirError};

/// Passes a fault point.
pub(super) fn pass(point: &str) -> Result<()> {
    let passed = vnode_operation::fault::point(point);
    passed.map_err(|error| Error::Io {
        doing: "join a domain".to_owned(),
        source: std::io::Error::other(error),
    })
}

/// One start, in three steps: [`prepare`](Self::prepare), [`begin`](Self::begin), [`join`](Self::join).
pub(super) struct Start {
    pub(super) spec: NodeSpec,
    pub(super) instance: String,
    pub(super) host: fn() -> vnode_network::Result<Ns>,
    /// As it was before.
    pub(super) kept: Kept,
    /// The definition, of a domain that is vnode's own.
    pub(super) xml: Option<String>,
    pub(super) ns: Ns,
    pub(super) nics: Vec<Nic>,
    pub(super) connection: Arc<Connection>,
}

/// A domain that runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    /// Which run it is; none of one that has ended already.
    pub(super) run: Option<u32>,
    /// It was started here.
    pub(super) by_us: bool,
}

impl Start {
    fn refused(&self, doing: &str) -> impl FnOnce(VirError) -> Error + use<> {
        let (node, doing) = (self.spec.node.clone(), doing.to_owned());
        move |error| crate::hub::refused(&node, &doing, error)
    }

    /// The node's interfaces as libvirt is told of them.
    pub(super) fn wires(&self) -> Vec<String> {
        let kind = &self.connection.kind;
        self.nics.iter().map(|nic| nic::element(nic, None, kind).write()).collect()
    }

    /// The domain, and whether it runs; `None`: somebody has undefined it.
    fn found(&self) -> Result<Option<(Domain, Option<u32>)>> {
        match self.connection.by_uuid(&self.kept.uuid) {
            Ok(domain) => {
                // One that crashed and is preserved counts: it has to go before the next can start.
                let run = domain.run();
                Ok(Some((domain, run)))
            }
            Err(error) if error.is_absent() && self.xml.is_some() => Ok(None),
            Err(error) => Err(self.refused("look for the domain")(error)),
        }
    }

    /// QEMU opens taps that are there; other drivers make their ends themselves.
    fn opens_taps(&self) -> bool {
        self.connection.kind == QEMU
    }

    /// A container's ends of interfaces are seen to from outside, in its first process' network.
    fn has_ends_inside(&self) -> bool {
        self.connection.kind == LXC && !self.nics.is_empty()
    }

    /// Takes away what an earlier boot has left in the domain and of the hypervisor's ends.
    pub(super) fn prepare(&self) -> Result<()> {
        let host = (self.host)().map_err(nic::network)?;
        if let Some((domain, run)) = self.found()? {
            let saved = domain.is_saved().map_err(self.refused("ask for its saved memory"))?;
            if saved && self.xml.is_some() && self.kept.wires != self.wires() {
                return Err(Error::Invalid {
                    node: self.spec.node.clone(),
                    what: "its memory was saved with other interfaces: put them back, or throw it away with `vnode save \
                           --discard`"
                        .to_owned(),
                });
            }
            if self.xml.is_none() {
                self.unplug(&domain, &self.kept.wires, run.is_some(), &host);
            } else if run.is_some() {
                // It ran for a shell that was lost, and its wires with it.
                domain.destroy().map_err(self.refused("power off the domain"))?;
            }
        }
        nic::clear(&host, Some(&self.ns), &self.instance, &self.spec)
    }

    /// Starts the domain if it does not run; one of vnode's own with its interfaces, held until they are joined.
    pub(super) fn begin(&self) -> Result<Begun> {
        let host = (self.host)().map_err(nic::network)?;
        if self.opens_taps() {
            nic::offer(&host, &self.nics, &self.instance, &self.spec)?;
        }
        let (domain, by_us) = match &self.xml {
            Some(text) => (self.define(text)?, true),
            None => {
                let found = self.connection.by_uuid(&self.kept.uuid);
                let domain = found.map_err(self.refused("look for the domain"))?;
                let by_us = domain.run().is_none();
                (domain, by_us)
            }
        };
        if by_us {
            self.launch(&domain)?;
        }
        // A value that is looked up knows the run of that moment only; one that has ended already has none.
        let run = self.connection.by_uuid(&self.kept.uuid).ok().and_then(|domain| domain.run());
        Ok(Begun { run, by_us })
    }

    /// Starts it; a container whose first process libvirt does not get to know, once more.
    fn launch(&self, domain: &Domain) -> Result<()> {
        let starts = || domain.start(self.held()).map_err(self.refused("start the domain"));
        starts()?;
        if !self.has_ends_inside() {
            return Ok(());
        }
        // What hinders us from looking is told when its interfaces are joined.
        if let Ok(false) = container::told(domain) {
            tracing::warn!(
                node = self.spec.node,
                "libvirt lost the container's first process: starting it again"
            );
            domain.destroy().map_err(self.refused("power off the domain"))?;
            starts()?;
        }
        Ok(())
    }

    /// Whether nothing is sent before the wires are there.
    fn held(&self) -> bool {
        self.xml.is_some() && self.opens_taps() && !self.nics.is_empty()
    }

    /// Joins the interfaces; a domain that was started for nothing is ended.
    pub(super) fn join(&self, by_us: bool, recorded: Result<()>) -> Result<()> {
        let domain = self.connection.by_uuid(&self.kept.uuid);
        let domain = domain.map_err(self.refused("look for the domain"))?;
        let joined = recorded.and_then(|()| {
            let host = (self.host)().map_err(nic::network)?;
            if self.xml.is_none() {
                return self.plug(&domain, &host);
            }
            nic::take(&host, &self.ns, &self.nics)?;
            self.settle(&domain, &host, &self.nics)?;
            match self.held() {
                true => domain.resume().map_err(self.refused("resume the domain")),
                false => Ok(()),
            }
        });
        if joined.is_err()
            && by_us
            && let Err(error) = domain.destroy()
        {
            tracing::warn!(node = self.spec.node, %error, "end a domain that was not joined");
        }
        joined
    }

    /// Joins a container again that rebooted inside: libvirt has started it anew, with new pairs. Gives its new run.
    pub(super) fn again(&self) -> Result<Option<u32>> {
        let host = (self.host)().map_err(nic::network)?;
        let domain = self.connection.by_uuid(&self.kept.uuid);
        let domain = domain.map_err(self.refused("look for the domain"))?;
        if self.xml.is_none() {
            self.pluggable(&domain, &host)?;
            // What was plugged into the run before may not be in this one.
            for (nic, wire) in self.nics.iter().zip(self.wires()) {
                if !host.has_interface(&nic.tap).map_err(nic::network)? {
                    let plugged = domain.attach(&wire);
                    plugged.map_err(self.refused("plug an interface into the domain"))?;
                }
            }
        }
        nic::take(&host, &self.ns, &self.nics)?;
        self.settle(&domain, &host, &self.nics)?;
        Ok(domain.run())
    }

    /// Gives a container's ends of these interfaces their names and addresses; a machine's guest has its own way to them.
    fn settle(&self, domain: &Domain, host: &Ns, nics: &[Nic]) -> Result<()> {
        if !self.has_ends_inside() {
            return Ok(());
        }
        let inside = container::inside(&self.spec.node, domain, host)?;
        nics.iter().try_for_each(|nic| container::settle(&inside, nic))
    }

    fn define(&self, text: &str) -> Result<Domain> {
        let whole = definition::with(text, &self.spec, &self.nics, &self.connection.kind)?;
        self.connection.define(&whole).map_err(self.refused("define the domain"))
    }

    /// A container that shares the host's network gets nothing into it; into one whose first process libvirt does not know
    /// yet, or still takes for that of the run before, it can plug nothing.
    fn pluggable(&self, domain: &Domain, host: &Ns) -> Result<()> {
        if !self.has_ends_inside() {
            return Ok(());
        }
        container::inside(&self.spec.node, domain, host).map(drop)
    }

    /// Plugs the node's interfaces into a domain that is not vnode's to define.
    fn plug(&self, domain: &Domain, host: &Ns) -> Result<()> {
        self.pluggable(domain, host)?;
        let wires = self.wires();
        let joined = self.nics.iter().zip(&wires).try_for_each(|(nic, wire)| {
            domain.attach(wire).map_err(self.refused("plug an interface into the domain"))?;
            pass("domain.plugged")?;
            let one = std::slice::from_ref(nic);
            nic::take(host, &self.ns, one)?;
            self.settle(domain, host, one)
        });
        if joined.is_err() {
            // The domain goes on without us: what it got from us goes, also what libvirt did not say it has taken.
            self.unplug(domain, &wires, true, host);
        }
        joined
    }

    fn unplug(&self, domain: &Domain, wires: &[String], runs: bool, host: &Ns) {
        let owner = Owner { host, instance: &self.instance, spec: &self.spec };
        unplug(&self.connection, domain, wires, runs, &owner);
    }
}
