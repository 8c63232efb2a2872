//! One node: the libvnode verbs, and what is done inside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use vnode_driver::{Console, Exec, ExecSpec, Instance, Phase, Reader, Stats, WindowSize};
use vnode_network::capture::{Capture, CaptureSpec};
use vnode_operation::OperationId;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::inner::{blocking, driver_error, network_error};
use crate::record::LinkKind;
use crate::registry::NodeEntry;
use crate::request;
use crate::runner;
use crate::state::{Event, State};
use crate::view::{NodeView, StatsView};
use crate::work::Work;

/// What a node uses. Some drivers wait for the answer of somebody else, so it is asked off the runtime's threads.
async fn counters(instance: Arc<dyn Instance>) -> Result<Stats> {
    blocking(move || Ok(instance.stats())).await?.map_err(driver_error)
}

impl Host {
    /// One node by `NODE` (unique on the host) or `LAB/NODE`.
    ///
    /// # Errors
    /// There is none, or several.
    pub async fn node(&self, node: &str) -> Result<NodeView> {
        let entry = self.inner.registry.find(node)?;
        let lab = entry.with(|record| record.lab.clone());
        self.inner.registry.lab(&lab, |lab| self.node_view(lab, &entry))
    }

    /// The node with its interfaces, resolved definition and limits, as JSON.
    ///
    /// # Errors
    /// There is none, or several.
    pub async fn inspect(&self, node: &str) -> Result<serde_json::Value> {
        let entry = self.inner.registry.find(node)?;
        let view = self.node(node).await?;
        let record = entry.record();
        let mut value = json!({
            "node": view,
            "definition": record.spec,
            "control": record.control,
            "image_id": record.image_id,
            "folder": runner::folder(&self.inner, &entry),
        });
        if let Some(instance) = entry.instance() {
            let fd = instance.netns().map_err(driver_error)?;
            let interfaces = blocking(move || {
                let ns = vnode_network::Ns::from_fd(fd)?;
                let list = vnode_network::state::interfaces(&ns);
                ns.close_sockets();
                list
            })
            .await?;
            value["interfaces"] = serde_json::to_value(interfaces)
                .map_err(|source| Error::failed("cannot show the interfaces").because(source))?;
            value["status"] = json!(instance.status());
            value["stats"] = json!(counters(Arc::clone(&instance)).await?);
            if let Some(hardware) = instance.hardware() {
                value["saved"] = json!(hardware.saved());
            }
            value["limits"] = json!(instance.limits().map_err(driver_error)?);
        }
        Ok(value)
    }

    pub(crate) fn subject(entry: &NodeEntry) -> (String, String, String) {
        let (lab, node) = entry.with(|record| (record.lab.clone(), record.node.clone()));
        let subject = format!("lab/{lab}/node/{node}");
        (lab, node, subject)
    }

    pub(crate) fn refuse_unknown(entry: &NodeEntry) -> Result<()> {
        if entry.with(|record| record.state) == State::Unknown {
            return Err(Error::state("the node's record cannot be read")
                .hint("`vnode destroy --force` removes it"));
        }
        Ok(())
    }

    /// Starts booting a node; one that runs is left alone (T-42).
    ///
    /// # Errors
    /// There is none.
    pub async fn boot(&self, node: &str) -> Result<OperationId> {
        let entry = self.inner.registry.find(node)?;
        Self::refuse_unknown(&entry)?;
        let (lab, node, subject) = Self::subject(&entry);
        let mut steps = Vec::new();
        if !self.is_wired(&entry, &lab, &node).await? {
            // Its monitor went, or it never came to be, or an earlier boot failed on the way: everything is made
            // again around its disk.
            steps.push(Work::HostPrepare);
            steps.push(Work::ControlEnsure { lab: lab.clone() });
            steps.push(Work::NodeCreate { lab: lab.clone(), node: node.clone(), keep: true });
            steps.push(Work::NodeControl { lab: lab.clone(), node: node.clone() });
            steps.extend(self.wires(&lab, &node)?);
        }
        steps.push(Work::NodeBoot { lab: lab.clone(), node: node.clone() });
        self.submit_steps("node.boot", subject, &steps).await
    }

    /// Whether a node has every interface that it should have; one that runs is not looked at.
    async fn is_wired(&self, entry: &NodeEntry, lab: &str, node: &str) -> Result<bool> {
        let Some(instance) = entry.instance() else { return Ok(false) };
        let has_network = entry.with(|record| {
            record.spec.as_ref().is_none_or(|spec| spec.network != vnode_driver::NetworkMode::Host)
        });
        if !has_network || matches!(instance.status().phase, Phase::Running | Phase::Paused) {
            return Ok(true);
        }
        let mut wanted: Vec<String> = self.inner.registry.lab(lab, |lab| {
            let whole = |end: &&crate::record::EndRecord| {
                lab.nodes.get(&end.node).is_some_and(|node| node.instance().is_some())
            };
            let links = lab.links.values().filter(|link| link.ends.iter().all(|end| whole(&end)));
            let ends = links.flat_map(|link| &link.ends).filter(|end| end.node == node);
            ends.map(|end| end.device.clone()).collect()
        })?;
        if entry.with(|record| record.control.is_some()) {
            wanted.push(crate::wanted::CONTROL_INTERFACE.to_owned());
        }
        let fd = instance.netns().map_err(driver_error)?;
        blocking(move || {
            let ns = vnode_network::Ns::from_fd(fd)?;
            let found =
                wanted.iter().try_fold(true, |all, name| Ok(all && ns.has_interface(name)?));
            ns.close_sockets();
            found
        })
        .await
    }

    /// The steps that make a node's links again.
    fn wires(&self, lab_name: &str, node: &str) -> Result<Vec<Work>> {
        self.inner.registry.lab(lab_name, |lab| {
            let mut steps = Vec::new();
            for (name, link) in &lab.links {
                for (index, end) in link.ends.iter().enumerate().filter(|(_, end)| end.node == node)
                {
                    let _ = end;
                    if link.kind == LinkKind::Lan {
                        steps.push(Work::LanEnsure { lab: lab_name.to_owned(), lan: name.clone() });
                        steps.push(Work::LanJoin {
                            lab: lab_name.to_owned(),
                            lan: name.clone(),
                            end: index,
                        });
                    } else if link.ends.iter().all(|end| {
                        end.node == node
                            || lab
                                .nodes
                                .get(&end.node)
                                .is_some_and(|other| other.instance().is_some())
                    }) {
                        let work =
                            Work::LinkCreate { lab: lab_name.to_owned(), link: name.clone() };
                        if !steps.contains(&work) {
                            steps.push(work);
                        }
                    }
                }
            }
            steps
        })
    }

    /// Starts halting a node. `grace`: time between asking and killing; the node's own when absent. A node that is not
    /// there does not run: `None`.
    ///
    /// # Errors
    /// Its name is several nodes'.
    pub async fn halt(&self, node: &str, grace: Option<Duration>) -> Result<Option<OperationId>> {
        let Some(entry) = self.inner.registry.find_if_any(node)? else { return Ok(None) };
        Self::refuse_unknown(&entry)?;
        let (lab, node, subject) = Self::subject(&entry);
        let grace_ms = grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
        let steps = [Work::NodeHalt { lab, node, grace_ms }];
        self.submit_steps("node.halt", subject, &steps).await.map(Some)
    }

    /// Starts rebooting a node. `hard` kills instead of asking. Namespace, links and vmid stay (T-50).
    ///
    /// # Errors
    /// There is none.
    pub async fn reboot(&self, node: &str, hard: bool) -> Result<OperationId> {
        let entry = self.inner.registry.find(node)?;
        Self::refuse_unknown(&entry)?;
        if entry.instance().is_none() {
            return self.boot(node).await;
        }
        let (lab, node, subject) = Self::subject(&entry);
        let steps = [
            Work::NodeHalt { lab: lab.clone(), node: node.clone(), grace_ms: hard.then_some(0) },
            Work::NodeBoot { lab, node },
        ];
        self.submit_steps("node.reboot", subject, &steps).await
    }

    /// Freezes every process of a node.
    ///
    /// # Errors
    /// It does not run.
    pub async fn pause(&self, node: &str) -> Result<()> {
        self.freeze(node, true).await
    }

    /// Inverse of [`pause`](Self::pause).
    ///
    /// # Errors
    /// It does not run.
    pub async fn resume(&self, node: &str) -> Result<()> {
        self.freeze(node, false).await
    }

    async fn freeze(&self, node: &str, pause: bool) -> Result<()> {
        let entry = self.inner.registry.find(node)?;
        let _slot = entry.slot.lock().await;
        let instance = entry.live()?;
        let (result, event, kind) = if pause {
            (instance.pause().await, Event::Pause, "node.paused")
        } else {
            (instance.resume().await, Event::Resume, "node.resumed")
        };
        result.map_err(driver_error)?;
        entry.step(event).map_err(|refused| Error::state(refused.to_string()))?;
        self.inner.tell(kind, &entry.subject(), None, json!({}));
        self.inner.save_node(&entry).await;
        Ok(())
    }

    /// Starts keeping a machine's memory with its disk; then it ends, and the next boot goes on from there.
    ///
    /// # Errors
    /// There is none, or it is no machine.
    pub async fn save(&self, node: &str) -> Result<OperationId> {
        let entry = self.machine(node)?;
        let (lab, node, subject) = Self::subject(&entry);
        let mut plan = vnode_operation::Plan::new("node.save", subject);
        plan.recovery = vnode_operation::Recovery::GoOn;
        plan.push(crate::plan::step(&Work::NodeSave { lab, node }));
        self.submit(plan).await
    }

    /// Starts booting a machine from the memory that was saved.
    ///
    /// # Errors
    /// There is none, it is no machine, or nothing was saved.
    pub async fn restore_saved(&self, node: &str) -> Result<OperationId> {
        let entry = self.machine(node)?;
        let saved = entry.live()?.hardware().is_some_and(vnode_driver::Hardware::saved);
        if !saved {
            return Err(Error::state(format!("the memory of node `{node}` was not saved"))
                .hint("`vnode boot` starts it from its disk"));
        }
        self.boot(node).await
    }

    /// Throws a machine's saved memory away; idempotent.
    ///
    /// # Errors
    /// There is none, or it is no machine.
    pub async fn forget_saved(&self, node: &str) -> Result<()> {
        let entry = self.machine(node)?;
        let _slot = entry.slot.lock().await;
        let instance = entry.live()?;
        let hardware = instance.hardware().ok_or_else(|| runner::no_machine(node))?;
        hardware.forget().await.map_err(driver_error)
    }

    /// A running machine's screen as a PNG.
    ///
    /// # Errors
    /// There is none, it is no machine, does not run or has no screen.
    pub async fn screenshot(&self, node: &str) -> Result<Vec<u8>> {
        let instance = self.machine(node)?.live()?;
        let hardware = instance.hardware().ok_or_else(|| runner::no_machine(node))?;
        hardware.screenshot().await.map_err(driver_error)
    }

    fn machine(&self, node: &str) -> Result<Arc<NodeEntry>> {
        let entry = self.inner.registry.find(node)?;
        Self::refuse_unknown(&entry)?;
        if entry.live()?.hardware().is_none() {
            return Err(runner::no_machine(node));
        }
        Ok(entry)
    }

    /// Runs a program in a running node.
    ///
    /// # Errors
    /// The node does not run; the program is not there.
    pub async fn exec(&self, node: &str, request: request::Exec) -> Result<Exec> {
        let entry = self.inner.registry.find(node)?;
        if request.through != request::Through::Node {
            return self.exec_by_agent(&entry, request).await;
        }
        if request.attach.is_some() {
            return Err(Error::usage(
                "only programs of a node's agent can be attached to: `through` must say so",
            ));
        }
        let spec = ExecSpec {
            argv: request.argv,
            env: request.env,
            cwd: request.cwd,
            user: request.user,
            tty: request.terminal.map(|(rows, cols)| WindowSize { rows, cols }),
            privileged: request.privileged,
        };
        entry.live()?.exec(&spec).await.map_err(driver_error)
    }

    /// Both directions of a node's console.
    ///
    /// # Errors
    /// The node is not there.
    pub async fn console(&self, node: &str) -> Result<Console> {
        self.inner.registry.find(node)?.live()?.console().await.map_err(driver_error)
    }

    /// Sets the size of a node's console.
    ///
    /// # Errors
    /// The node is not there.
    pub async fn console_resize(&self, node: &str, rows: u16, cols: u16) -> Result<()> {
        let instance = self.inner.registry.find(node)?.live()?;
        instance.resize_console(WindowSize { rows, cols }).await.map_err(driver_error)
    }

    /// What the node's console printed, at most the last `tail_bytes`; with `follow` what it prints from
    /// then on too, until the node is destroyed.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn logs(&self, node: &str, follow: bool, tail_bytes: Option<u64>) -> Result<Reader> {
        let entry = self.inner.registry.find(node)?;
        if follow {
            // The console's scrollback, then what comes: one stream, nothing polled.
            return Ok(entry.live()?.console().await.map_err(driver_error)?.output);
        }
        let paths = entry.live()?.logs();
        let open = |path: PathBuf| async move {
            match tokio::fs::File::open(&path).await {
                Ok(file) => Ok(Some(file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(source) => {
                    Err(Error::failed(format!("cannot read `{}`", path.display())).because(source))
                }
            }
        };
        let previous = open(paths.previous).await?;
        let current = open(paths.current).await?;
        let mut sizes = [0_u64; 2];
        for (size, file) in sizes.iter_mut().zip([&previous, &current]) {
            if let Some(file) = file {
                *size = file.metadata().await.map_or(0, |data| data.len());
            }
        }
        let mut skip = tail_bytes.map_or(0, |tail| (sizes[0] + sizes[1]).saturating_sub(tail));
        let mut streams: Vec<Reader> = Vec::new();
        for (file, size) in [previous, current].into_iter().zip(sizes) {
            let Some(mut file) = file else { continue };
            let here = skip.min(size);
            skip -= here;
            tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(here))
                .await
                .map_err(|source| Error::failed("cannot read the console log").because(source))?;
            streams.push(Box::pin(file.take(size - here)));
        }
        let mut streams = streams.into_iter();
        Ok(match (streams.next(), streams.next()) {
            (Some(first), Some(second)) => Box::pin(first.chain(second)),
            (Some(only), None) => only,
            (None, _) => Box::pin(tokio::io::empty()),
        })
    }

    /// A pcap stream of an interface of a node; ends when dropped.
    ///
    /// # Errors
    /// There is no such interface.
    pub async fn capture(&self, node: &str, interface: &str, snap_length: u32) -> Result<Reader> {
        let entry = self.inner.registry.find(node)?;
        let fd = entry.live()?.netns().map_err(driver_error)?;
        // The user's name may be the long one.
        let name = vnode_network::interface_name(interface).map_err(network_error)?.kernel;
        let capture = blocking(move || {
            let ns = vnode_network::Ns::from_fd(fd)?;
            if !ns.has_interface(&name)? {
                return Ok(None);
            }
            Capture::open(&ns, &CaptureSpec { interface: name, snaplen: snap_length }).map(Some)
        })
        .await?
        .ok_or_else(|| {
            Error::not_found(format!("node `{node}` has no interface `{interface}`"))
                .hint(format!("`vnode exec {node} -- ip link` lists those it has"))
        })?;
        Ok(Box::pin(crate::pump::reader(capture)))
    }

    /// Resource use of a node.
    ///
    /// # Errors
    /// The node is not there.
    pub async fn stats(&self, node: &str) -> Result<StatsView> {
        let stats = counters(self.inner.registry.find(node)?.live()?).await?;
        let vnode_driver::Stats { cpu_usec, memory_bytes, pids } = stats;
        Ok(StatsView { cpu_usec, memory_bytes, pids })
    }

    /// The watcher of a node's state: the state now, for `state`.
    ///
    /// # Errors
    /// There is none.
    pub async fn state(&self, node: &str) -> Result<State> {
        let entry: Arc<NodeEntry> = self.inner.registry.find(node)?;
        Ok(entry.with(|record| record.state))
    }
}
