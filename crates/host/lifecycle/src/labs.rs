//! Labs as a whole: up, changed, down, shown.

use vnode_driver::Phase;
use vnode_operation::OperationId;
use vnode_topology::Lab as Model;

use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::links::{self, Part};
use crate::plan::{self, Difference};
use crate::record::{LinkKind, LinkRecord, NodeRecord};
use crate::registry::{Lab, NodeEntry};
use crate::request;
use crate::runner;
use crate::state::State;
use crate::view::{ChangeView, EndView, LabView, LinkView, NodeView};
use crate::wanted::{self, Records};

/// The driver that runs a node.
fn backend_of(node: &vnode_topology::Node) -> &'static str {
    match (&node.libvirt, &node.vm) {
        (Some(_), _) => "libvirt",
        (None, Some(_)) => "qemu",
        (None, None) => "container",
    }
}

impl Host {
    /// Starts bringing a lab up.
    ///
    /// # Errors
    /// A lab of that name is there; the machine cannot do what the topology asks.
    pub async fn up(&self, request: request::Up) -> Result<OperationId> {
        let name = request.lab.name.clone();
        let _admission = self.inner.locks.allocator().await;
        self.admit(&name).await?;
        if self.inner.registry.read().contains_key(&name) {
            return Err(Error::conflict(format!("lab `{name}` is already there"))
                .hint("`vnode apply FILE` changes it, `vnode down` takes it away"));
        }
        let (_, id) = self.change(request, false).await?;
        id.ok_or_else(|| Error::usage(format!("lab `{name}` has no nodes")))
    }

    /// Starts making the lab what the topology says; only the difference. The list is what will be done
    /// (or, with `dry_run`, would be); no operation when nothing differs.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    pub async fn apply(
        &self,
        request: request::Up,
        dry_run: bool,
    ) -> Result<(Vec<ChangeView>, Option<OperationId>)> {
        let _admission = self.inner.locks.allocator().await;
        self.admit(&request.lab.name).await?;
        self.change(request, dry_run).await
    }

    /// The admission is held by the caller: from looking at the lab until its operation has begun.
    async fn change(
        &self,
        request: request::Up,
        dry_run: bool,
    ) -> Result<(Vec<ChangeView>, Option<OperationId>)> {
        let name = request.lab.name.clone();
        self.inner.damaged.check(&*self.inner.store, &name).await?;
        self.check(&request.lab)?;
        let mut images = request.lab.nodes.iter().filter_map(|node| node.image.as_deref());
        if !dry_run && images.any(|image| image == "host") {
            // Beside the making of the plan and its way to the disk.
            self.inner.catalogue.foresee_host();
        }
        let (Difference { plan, changes }, entered) = {
            let old = self.inner.registry.lab(&name, Lab::records).ok();
            let new = wanted::records(
                &self.inner.instance,
                &request.lab,
                request.file,
                old.as_ref(),
                self.inner.taken(&name)?,
                request.boot,
            )?;
            for link in new.links.values() {
                links::check(&self.inner, link)?;
            }
            wanted::check_unused(new.nodes.values(), old.as_ref())?;
            let difference = plan::difference(old.as_ref(), &new, request.boot);
            // Names, labels and the like may differ without a step.
            let wanted = !dry_run && (old.is_some() || !difference.plan.steps.is_empty());
            (difference, wanted.then(|| self.enter(&new)))
        };
        if dry_run || plan.steps.is_empty() {
            if entered.is_some() {
                self.inner.save(self.inner.lab_changes(&name).await?).await?;
                crate::timeline::start(&self.inner, &name);
            }
            return Ok((changes, None));
        }
        let before = entered.flatten();
        match self.submit(plan).await {
            Ok(id) => {
                self.set_active(&name, id);
                Ok((changes, Some(id)))
            }
            Err(error) => {
                self.leave(&name, before);
                crate::timeline::start(&self.inner, &name);
                Err(error)
            }
        }
    }

    /// What this machine cannot do is said before anything is made.
    fn check(&self, lab: &Model) -> Result<()> {
        for node in lab.nodes.iter().filter(|node| node.kind.is_run()) {
            if let Some(backend) = &node.backend
                && backend != backend_of(node)
            {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("node `{}`: no backend `{backend}` runs its kind", node.name),
                )
                .hint("containers are run by `container`, virtual machines by `qemu` or, with a `libvirt` map, by `libvirt`"));
            }
            let stage = node
                .stages
                .values()
                .flat_map(|stage| &stage.exec)
                .any(|exec| exec.target == vnode_topology::StageExecTarget::Host);
            let on_host = stage
                .then_some("a stage")
                .or_else(|| (!node.preconfig.is_empty()).then_some("`preconfig`"));
            if let Some(what) = on_host.filter(|_| !self.inner.options.host_commands) {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("node `{}`: {what} runs a command on the host", node.name),
                )
                .hint("start the daemon with `--host-commands` if you trust your topology files"));
            }
            if let Some(vnode_topology::PidMode::Container(name)) = &node.pid_mode {
                return Err(Error::usage(format!(
                    "node `{}`: `pid-mode: container:{name}` names no node of this lab",
                    node.name
                )));
            }
        }
        Ok(())
    }

    /// Starts taking a lab down, ending first whatever else changes it. An absent lab is no error: `None`.
    ///
    /// # Errors
    /// Its record cannot be read; the store cannot be written.
    pub async fn down(&self, lab: &str, request: request::Down) -> Result<Option<OperationId>> {
        if !self.inner.registry.read().contains_key(lab) {
            self.inner.damaged.check(&*self.inner.store, lab).await?;
            return Ok(None);
        }
        let _admission = self.quiet(lab, None).await?;
        // Cancelling an `up` takes the lab away already.
        let Ok(records) = self.inner.registry.lab(lab, Lab::records) else { return Ok(None) };
        self.inner.stop_following(lab);
        let last = self.inner.registry.read().len() == 1;
        let id = self.submit(plan::down(&records, last, request.graceful)).await?;
        self.set_active(lab, id);
        Ok(Some(id))
    }

    pub async fn labs(&self) -> Vec<LabView> {
        self.inner.registry.read().values().map(|lab| self.lab_view(lab)).collect()
    }

    /// One lab.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn lab(&self, name: &str) -> Result<LabView> {
        self.inner.registry.lab(name, |lab| self.lab_view(lab))
    }

    /// The topology of a lab as it is now, for `export` and `graph`.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn topology(&self, name: &str) -> Result<Model> {
        self.inner.registry.lab(name, |lab| lab.record.lab.clone())
    }

    /// All nodes, or those of one lab; no side effects, no kernel calls.
    pub async fn nodes(&self, lab: Option<&str>) -> Vec<NodeView> {
        self.inner
            .registry
            .read()
            .iter()
            .filter(|(name, _)| lab.is_none_or(|lab| lab == name.as_str()))
            .flat_map(|(_, lab)| lab.nodes.values().map(|node| self.node_view(lab, node)))
            .collect()
    }

    fn lab_view(&self, lab: &Lab) -> LabView {
        let nodes: Vec<NodeView> =
            lab.nodes.values().map(|node| self.node_view(lab, node)).collect();
        let changing = nodes
            .iter()
            .any(|node| matches!(node.state, State::Creating | State::Booting | State::Destroying));
        let failed = nodes.iter().any(|node| matches!(node.state, State::Failed | State::Unknown));
        let state = match (changing, failed) {
            (true, _) => "changing",
            (false, true) => "partly",
            (false, false) => "up",
        };
        let control = lab.record.control.as_ref();
        LabView {
            name: lab.record.name.clone(),
            state: state.to_owned(),
            nodes,
            links: lab.links.values().map(link_view).collect(),
            control_ipv4: control.and_then(|control| control.ipv4).map(|net| net.to_string()),
            control_ipv6: control.and_then(|control| control.ipv6).map(|net| net.to_string()),
            file: lab.record.file.clone(),
            created: lab.record.created.to_string(),
        }
    }

    /// The driver of a machine, with what it runs on where that is known.
    fn machine_driver(&self, record: &NodeRecord) -> String {
        if let Some(domain) = record.spec.as_ref().and_then(|spec| spec.domain.as_ref()) {
            return format!("libvirt ({})", domain.uri);
        }
        let machine = record.spec.as_ref().and_then(|spec| spec.machine.as_ref());
        match machine.and_then(|machine| self.inner.machines.runs_on(machine)) {
            Some(accelerator) => format!("qemu ({accelerator})"),
            None => "qemu".to_owned(),
        }
    }

    pub(crate) fn node_view(&self, lab: &Lab, entry: &NodeEntry) -> NodeView {
        let status = entry.instance().map(|instance| instance.status());
        let running =
            status.filter(|status| matches!(status.phase, Phase::Running | Phase::Paused));
        let health = entry.health.borrow().as_str().to_owned();
        let node = entry.with(|record| record.node.clone());
        let machine = lab.record.lab.node(&node).is_some_and(|node| node.vm.is_some());
        entry.with(|record: &NodeRecord| NodeView {
            lab: record.lab.clone(),
            node: record.node.clone(),
            vmid: record.vmid,
            kind: if machine { "vm" } else { "linux" }.to_owned(),
            driver: if machine { self.machine_driver(record) } else { "container".to_owned() },
            image: record.image.clone(),
            state: record.state,
            health,
            ipv4: record.control.as_ref().and_then(|end| end.ipv4).map(Into::into),
            ipv6: record.control.as_ref().and_then(|end| end.ipv6).map(Into::into),
            pid: running.and_then(|status| status.pid).and_then(|pid| i32::try_from(pid).ok()),
            restarts: record.restarts,
            since: record.since.to_string(),
            last_exit: record.last_exit.clone(),
            reason: record.reason.clone(),
            labels: lab
                .record
                .lab
                .node(&record.node)
                .map(|node| node.labels.clone())
                .unwrap_or_default(),
        })
    }

    /// Links with what the kernel holds beside what we set (T-78).
    ///
    /// # Errors
    /// There is no lab of that name.
    pub async fn links(&self, lab: Option<&str>) -> Result<Vec<LinkView>> {
        let records: Vec<LinkRecord> = match lab {
            Some(name) => {
                self.inner.registry.lab(name, |lab| lab.links.values().cloned().collect())?
            }
            None => {
                let labs = self.inner.registry.read();
                labs.values().flat_map(|lab| lab.links.values().cloned()).collect()
            }
        };
        let mut views = Vec::new();
        for record in records {
            views.push(self.checked(&record).await);
        }
        Ok(views)
    }

    /// A link's view with drift looked for.
    pub(crate) async fn checked(&self, record: &LinkRecord) -> LinkView {
        let mut view = link_view(record);
        for (end, shown) in record.ends.iter().zip(&mut view.ends) {
            let Ok(ns) = runner::namespace_of(&self.inner, &record.lab, &end.node) else {
                continue;
            };
            let (device, wanted) = (end.device.clone(), end.current.clone());
            let read = crate::inner::blocking(move || {
                let current = vnode_network::impair::read(&ns, &device)?;
                ns.close_sockets();
                Ok(!current.matches(&wanted))
            });
            // An end whose interface is gone holds nothing of what was set.
            shown.drift = read.await.unwrap_or(true);
        }
        view
    }

    /// `link`: `a:eth1--b:eth1`, a LAN's name, or one end `a:eth1` (then only what that end sends changes).
    ///
    /// # Errors
    /// No such link; a parameter this kernel cannot set.
    pub async fn link_set(&self, link: &str, request: request::LinkSet) -> Result<LinkView> {
        let (lab, name) = self.inner.registry.find_link(link)?;
        let plain = link.strip_prefix(&format!("{lab}/")).unwrap_or(link);
        let by_end = self
            .inner
            .registry
            .lab(&lab, |lab| lab.links[&name].ends.iter().any(|end| end.name() == plain))?;
        let from = request.from.or_else(|| by_end.then(|| plain.to_owned()));
        let part = from.map_or(Part::All, Part::From);
        links::set(&self.inner, &lab, &name, &part, &request.set).await?;
        self.shown(&lab, &name).await
    }

    /// Cuts a link.
    ///
    /// # Errors
    /// No such link.
    pub async fn link_down(&self, link: &str) -> Result<LinkView> {
        let (lab, name) = self.inner.registry.find_link(link)?;
        links::down(&self.inner, &lab, &name, &Part::All, true).await?;
        self.shown(&lab, &name).await
    }

    /// Joins a link again, with the parameters it had.
    ///
    /// # Errors
    /// No such link.
    pub async fn link_up(&self, link: &str) -> Result<LinkView> {
        let (lab, name) = self.inner.registry.find_link(link)?;
        links::down(&self.inner, &lab, &name, &Part::All, false).await?;
        self.shown(&lab, &name).await
    }

    /// Back to what the topology declares.
    ///
    /// # Errors
    /// No such link.
    pub async fn link_reset(&self, link: &str) -> Result<LinkView> {
        let (lab, name) = self.inner.registry.find_link(link)?;
        links::reset(&self.inner, &lab, &name, &Part::All).await?;
        self.shown(&lab, &name).await
    }

    async fn shown(&self, lab: &str, link: &str) -> Result<LinkView> {
        let record = self
            .inner
            .registry
            .lab(lab, |lab| lab.links.get(link).cloned())?
            .ok_or_else(|| Error::not_found(format!("no link `{link}`")))?;
        Ok(self.checked(&record).await)
    }

    /// Starts making one more node, in the lab `default` unless another is named.
    ///
    /// # Errors
    /// A node of that name with another definition is there (T-29).
    pub async fn create(&self, request: request::Create) -> Result<Option<OperationId>> {
        let name = request.lab.clone().unwrap_or_else(|| "default".to_owned());
        let _admission = self.inner.locks.allocator().await;
        self.admit(&name).await?;
        let mut model = match self.inner.registry.lab(&name, |lab| lab.record.lab.clone()) {
            Ok(model) => model,
            Err(_) => {
                let mut model = Model { name: name.clone(), ..Model::default() };
                model.mgmt.ipv4_auto = true;
                model.mgmt.ipv6_auto = true;
                model
            }
        };
        let mut node = vnode_topology::Node::linux(request.node.clone());
        if let Some(image) = request.image {
            node.image = Some(image);
        }
        if !request.command.is_empty() {
            let words = request.command.iter().map(String::as_str);
            node.cmd = Some(
                shlex::try_join(words).map_err(|_| Error::usage("the command holds a NUL byte"))?,
            );
        }
        node.env = request.env;
        node.privileged = request.privileged;
        // Alone nodes are started by hand, and stay down when they end.
        node.restart_policy = vnode_topology::RestartPolicy::No;
        check_name(&node.name)?;
        if let Some(existing) = model.node(&node.name) {
            if *existing == node {
                return Ok(None);
            }
            return Err(Error::conflict(format!(
                "node `{}` is in lab `{name}` with another definition",
                node.name
            ))
            .hint("destroy it first, or choose another name"));
        }
        model.nodes.push(node);
        let up = request::Up { lab: model, file: None, boot: request.boot };
        let (_, id) = self.change(up, false).await?;
        Ok(id)
    }

    /// Starts destroying a node, with its links and its disk; what else runs on it is ended first. An unknown
    /// node is no error (T-51): `None`.
    ///
    /// # Errors
    /// A node in state `unknown` without `force`.
    pub async fn destroy(&self, node: &str, force: bool) -> Result<Option<OperationId>> {
        let Some(entry) = self.inner.registry.find_if_any(node)? else { return Ok(None) };
        let (lab, name, state) =
            entry.with(|record| (record.lab.clone(), record.node.clone(), record.state));
        if state == State::Unknown && !force {
            return Err(Error::state(format!("the record of node `{name}` cannot be read"))
                .hint("`vnode destroy --force` removes the node and its disk all the same"));
        }
        let admission = self.quiet(&lab, Some(&name)).await?;
        let Ok(records) = self.inner.registry.lab(&lab, Lab::records) else { return Ok(None) };
        let mut model = records.lab.lab.clone();
        model.nodes.retain(|other| other.name != name);
        model.links.retain(|link| link.endpoints().all(|end| end.node != name));
        for network in &mut model.networks {
            network.members.retain(|member| member.node != name);
        }
        model.networks.retain(|network| !network.members.is_empty());
        if !model.nodes.iter().any(|node| node.kind.is_run()) {
            drop(admission);
            return self.down(&lab, request::Down::default()).await;
        }
        let up = request::Up { lab: model, file: records.lab.file.clone(), boot: false };
        let (_, id) = self.change(up, false).await?;
        Ok(id)
    }

    /// Records of a lab, for tests and tools.
    #[doc(hidden)]
    pub async fn records(&self, lab: &str) -> Result<Records> {
        self.inner.registry.lab(lab, Lab::records)
    }
}

fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '|');
    if name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric())
        && name.len() <= 128
        && name.chars().all(good)
    {
        Ok(())
    } else {
        Err(Error::usage(format!("`{name}` is no name for a node"))
            .hint("a letter or digit, then letters, digits, `-`, `.`, `_`, `|`"))
    }
}

fn link_view(record: &LinkRecord) -> LinkView {
    let kind = match &record.kind {
        LinkKind::Veth => "veth",
        LinkKind::Lan => "lan",
        LinkKind::Host { .. } => "host",
        LinkKind::Bridge { .. } => "bridge",
        LinkKind::Control { .. } => "mgmt-net",
        LinkKind::Macvlan { .. } => "macvlan",
        LinkKind::Vxlan { .. } => "vxlan",
        LinkKind::Dummy => "dummy",
    };
    LinkView {
        lab: record.lab.clone(),
        link: record.link.clone(),
        kind: kind.to_owned(),
        down: record.down,
        ends: record
            .ends
            .iter()
            .map(|end| EndView {
                node: end.node.clone(),
                interface: end.interface.clone(),
                mac: end.mac.to_string(),
                addresses: runner::addresses(end),
                declared: end.declared.clone(),
                current: end.current.clone(),
                inbound: end.inbound.clone(),
                down: end.down,
                drift: false,
            })
            .collect(),
    }
}
