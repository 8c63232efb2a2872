//! Steps about one node.

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use vnode_driver::{Instance, NodeSpec, Phase};
use vnode_network::Ns;
use vnode_network::control::Control;
use vnode_operation::StepContext;

use crate::error::{Error, Kind, Result};
use crate::inner::{Inner, blocking, driver_error, network_error};
use crate::record::ControlEnd;
use crate::registry::{Lab, NodeEntry, lock};
use crate::state::{Event, State};
use crate::{follow, resolve};

use super::define::{self, Defined};
use super::on_host::Purpose;
use super::preconfig::Preconfig;
use super::{control, lan, on_host, stage};

/// Time a container has to boot where its definition says nothing: its first process runs, or the boot has failed.
const CONTAINER: Duration = Duration::from_secs(30);
/// Time a machine's boot has beside its `ready-timeout`: QEMU, its disks and its files are made ready first.
const MACHINE: Duration = Duration::from_secs(120);
/// Time the end of a boot has that was given up.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(200);

/// Folder, monitor and namespace; nothing is started.
pub(super) async fn create(
    inner: &Arc<Inner>,
    lab: &str,
    name: &str,
    operation: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    let _slot = entry.slot.lock().await;
    if entry.instance().is_some() && entry.with(|record| record.made) {
        return Ok(());
    }
    let Defined { mut spec, image_id, image: _held } =
        define::define(inner, lab, &entry, operation).await?;
    spec.mark = inner.owner(lab, operation).mark(&format!("node {name}"));
    entry.update(|record| record.image_id = Some(image_id));
    let instance = match entry.instance() {
        // A daemon that died had come this far: the monitor was found, the record was not yet whole.
        // A machine found so is known by its shell only: made again, it is the same one.
        Some(found) if spec.machine.is_none() && spec.domain.is_none() => found,
        Some(_) | None => {
            let dir = inner.node_dir(lab, name);
            inner.driver.create(&spec, &dir).await.map_err(driver_error)?
        }
    };
    entry.update(|record| {
        record.made = true;
        record.spec = Some(spec);
    });
    // What the monitor says counts: the node may be made anew after a restart of the machine, or found
    // running where an earlier daemon had died.
    entry.settle(State::from(instance.status().phase));
    entry.set_instance(Some(instance));
    follow::watch(inner, &entry);
    inner.tell("node.created", &entry.subject(), Some(operation), json!({}));
    Ok(())
}

/// The definition a node was made with; of one that never was whole, what suffices to find and remove whatever it left.
pub(crate) fn definition(entry: &NodeEntry) -> NodeSpec {
    let record = entry.record();
    record.spec.clone().unwrap_or_else(|| resolve::skeleton(&record))
}

/// What becomes of a destroyed node's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Gone too.
    Forget,
    /// The same operation makes the node again.
    Again,
    /// The operation's end decides.
    Keep,
}

/// Inverse of `create`, and the end of every node. Needs nothing but the record, or `control` where the record says of the
/// control network what shall be.
pub(super) async fn destroy(
    inner: &Arc<Inner>,
    lab: &str,
    name: &str,
    operation: &str,
    after: After,
    control: Option<&ControlEnd>,
) -> Result<()> {
    let Ok(entry) = inner.registry.node(lab, name) else { return Ok(()) };
    lock(&entry.tasks).cancel();
    entry.set_asked(true);
    let _slot = entry.slot.lock().await;
    if after != After::Keep {
        // Every state can be left by destroy; it cannot be refused.
        let _ = entry.step(Event::Destroy);
    }
    if let Some(control) = control.cloned().or_else(|| entry.with(|record| record.control.clone()))
        && inner.registry.lab(lab, |lab| lab.record.control.is_some())?
        && entry.with(|record| record.made)
    {
        let owner = inner.owner(lab, operation);
        let network = inner.network.clone();
        let port = control::port(&control);
        let forwards = control::forwards(&control)?;
        blocking(move || {
            let handle = Control::open(&network, &owner);
            handle.remove_forwards(&forwards)?;
            handle.forget_nodes(&[port])
        })
        .await?;
    }
    let spec = definition(&entry);
    let runs_on_host = |lab: &Lab| lab.record.lab.node(name).is_some_and(stage::has_host_commands);
    if inner.registry.lab(lab, runs_on_host)? {
        on_host::end(inner, &spec, Purpose::Stage).await?;
    }
    let dir = inner.node_dir(lab, name);
    inner.driver.destroy(&spec, &dir).await.map_err(driver_error)?;
    entry.set_instance(None);
    entry.update(|record| {
        record.made = false;
        record.spec = None;
        record.image_id = None;
    });
    define::remove_own_files(inner, lab, name)?;
    if after == After::Forget {
        super::remove_folder(&define::volumes(inner, lab, name))?;
    }
    match after {
        After::Keep => return Ok(()),
        After::Again => entry.update(|record| record.state = State::Creating),
        After::Forget => {
            inner.registry.lab_mut(lab, |lab| lab.nodes.remove(name))?;
        }
    }
    inner.tell("node.destroyed", &entry.subject(), Some(operation), json!({}));
    Ok(())
}

pub(super) fn namespace(instance: &dyn Instance) -> Result<Ns> {
    let ns = match instance.take_route() {
        Some(route) => Ns::of_socket(route),
        None => Ns::from_fd(instance.netns().map_err(driver_error)?),
    };
    ns.map_err(network_error)
}

/// Starts the first process. A node that runs already is left alone (T-42).
pub(super) async fn boot(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    name: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    let (delay, before) = inner.registry.lab(lab, |lab| {
        let node = lab.record.lab.node(name);
        let before = node.and_then(|node| Preconfig::of(&lab.record.lab, node));
        (node.map_or(0, |node| node.startup_delay_s), before)
    })?;
    let begin = async {
        if delay > 0 {
            tokio::time::sleep(Duration::from_secs(u64::from(delay))).await;
        }
        let slot = entry.slot.lock().await;
        let is_machine = |spec: &NodeSpec| spec.machine.is_some() || spec.domain.is_some();
        let turn = match entry.with(|record| record.spec.as_ref().is_some_and(is_machine)) {
            // It fails only when closed, which nobody does.
            true => inner.starting_machines.acquire().await.ok(),
            false => None,
        };
        (slot, turn)
    };
    // Held to the end of this function.
    let _begun = tokio::select! {
        begun = begin => begun,
        () = context.cancellation().cancelled() => {
            return Err(Error::state(format!("boot of node `{name}` was cancelled")));
        }
    };
    if let Some(before) = before {
        before.run(inner, context, &entry).await?;
    }
    let operation = context.operation().to_string();
    start(inner, &entry, &operation).await
}

/// Starts the first process of a node whose slot is held; one that takes longer than its definition gives it is ended.
pub(crate) async fn start(
    inner: &Arc<Inner>,
    entry: &Arc<NodeEntry>,
    operation: &str,
) -> Result<()> {
    let instance = entry.live()?;
    let phase = instance.status().phase;
    if matches!(phase, Phase::Running | Phase::Paused) {
        entry.update(|record| record.wanted = true);
        entry.settle(State::from(phase));
        return Ok(());
    }
    let spec = entry.with(|record| record.spec.clone()).ok_or_else(|| {
        Error::state(format!("node `{}` was never made whole", entry.with(|r| r.node.clone())))
    })?;
    let dir = inner.node_dir(&spec.lab, &spec.node);
    if entry.with(|record| record.state) == State::Mounted {
        // T-38, T-39: a mounted root is let go first; the disk stays.
        inner.driver.unmount(&spec, &dir).await.map_err(driver_error)?;
    }
    entry
        .step(Event::Boot)
        .map_err(|refused| Error::state(format!("node `{}`: {refused}", spec.node)))?;
    entry.set_asked(false);
    entry.signs.over(false);
    let boot = async {
        lan::serve(inner, &spec.lab, &spec.node).await?;
        forward(inner, entry, true).await?;
        boot_in_time(inner, entry, &*instance, &spec).await
    };
    match boot.await {
        Ok(()) => {
            // The process may have ended already; then the watcher has moved the state on.
            let _ = entry.step(Event::Booted);
            entry.update(|record| record.wanted = true);
            inner.tell("node.booted", &entry.subject(), Some(operation), json!({}));
            follow::health(inner, entry);
            follow::guests(inner, entry);
            Ok(())
        }
        Err(error) => {
            entry.fail(&error.chain());
            inner.tell(
                "node.failed",
                &entry.subject(),
                Some(operation),
                json!({ "reason": error.chain() }),
            );
            // What is told is why it does not run.
            if let Err(left) = forward(inner, entry, false).await {
                tracing::warn!(node = spec.node, "ports of a failed boot: {}", left.chain());
            }
            Err(error)
        }
    }
}

/// Boots it, and ends what has begun when that takes longer than the node has for it.
async fn boot_in_time(
    inner: &Arc<Inner>,
    entry: &NodeEntry,
    instance: &dyn Instance,
    spec: &NodeSpec,
) -> Result<()> {
    let machine = spec.machine.as_ref().map(|machine| machine.ready_timeout_ms);
    let limit = match machine.or_else(|| Some(spec.domain.as_ref()?.ready_timeout_ms)) {
        // Its driver has limits of its own, which come first: they say what was waited for.
        Some(own) => MACHINE + Duration::from_millis(own),
        None => {
            let own = inner.registry.lab(&spec.lab, |lab| {
                lab.record.lab.node(&spec.node).and_then(|node| node.boot_timeout_s)
            })?;
            own.map_or(CONTAINER, |seconds| Duration::from_secs(seconds.into()))
        }
    };
    let mut booting = pin!(instance.boot(spec));
    if let Ok(booted) = tokio::time::timeout(limit, &mut booting).await {
        return booted.map_err(driver_error);
    }
    let error = Error::new(
        Kind::Deadline,
        format!("boot of node `{}` took longer than {} s", spec.node, limit.as_secs()),
    );
    // It would come up when nobody expects it any more, and its end is nothing that a restart policy is for.
    entry.set_asked(true);
    let ended = async {
        end_boot(instance, booting).await?;
        // It may have come up just then.
        instance.kill().await.map(drop).map_err(driver_error)
    };
    Err(match tokio::time::timeout(GIVE_UP, ended).await {
        Ok(Ok(())) if machine.is_none() && spec.domain.is_none() => {
            error.hint("`boot-timeout` of the node gives it more time")
        }
        Ok(Ok(())) => error.hint("`ready-timeout` of the node gives it more time"),
        Ok(Err(left)) => error.because(left),
        Err(_) => error.hint(
            "what has begun does not end, and is ended as soon as its monitor answers; `vnode destroy` takes node and monitor away",
        ),
    })
}

/// Ends what a boot under way has begun, and waits for the boot's own end. Left to itself it would go on: a machine's on a
/// disk that is taken away.
pub(super) async fn end_boot<T>(
    instance: &dyn Instance,
    mut booting: Pin<&mut impl Future<Output = T>>,
) -> Result<()> {
    while tokio::time::timeout(LOOK, &mut booting).await.is_err() {
        instance.kill().await.map_err(driver_error)?;
    }
    Ok(())
}

/// Inverse of `boot` for a node that goes on to exist.
pub(super) async fn unboot(inner: &Arc<Inner>, lab: &str, name: &str) -> Result<()> {
    let Ok(entry) = inner.registry.node(lab, name) else { return Ok(()) };
    if entry.with(|record| record.is_adopted()) {
        // It may have run before it was ours; the inverse of `create` lets it go as it was found.
        return Ok(());
    }
    let _slot = entry.slot.lock().await;
    stop(inner, &entry, Some(Duration::ZERO), "").await
}

pub(super) async fn halt(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    name: &str,
    grace_ms: Option<u64>,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    let operation = context.operation().to_string();
    let work = async {
        let _slot = entry.slot.lock().await;
        entry.update(|record| record.wanted = false);
        stop(inner, &entry, grace_ms.map(Duration::from_millis), &operation).await
    };
    tokio::select! {
        result = work => result,
        () = context.cancellation().cancelled() => {
            // The node was asked and may yet end; nothing more is done to it.
            let phase = entry.instance().map(|instance| instance.status().phase);
            if matches!(phase, Some(Phase::Running)) {
                entry.set_asked(false);
                entry.settle(State::Running);
                entry.update(|record| record.wanted = true);
            }
            Err(Error::state(format!("halt of node `{name}` was cancelled")))
        }
    }
}

/// Ends the first process of a node whose slot is held; success when there is none.
pub(crate) async fn stop(
    inner: &Arc<Inner>,
    entry: &Arc<NodeEntry>,
    grace: Option<Duration>,
    operation: &str,
) -> Result<()> {
    let Some(instance) = entry.instance() else { return Ok(()) };
    if !matches!(instance.status().phase, Phase::Running | Phase::Paused) {
        return Ok(());
    }
    let grace = grace.unwrap_or_else(|| {
        Duration::from_millis(
            entry.with(|record| record.spec.as_ref().map_or(10_000, |spec| spec.stop_grace_ms)),
        )
    });
    // Whatever state it is in, a running process can be ended.
    let _ = entry.step(Event::Halt);
    entry.set_asked(true);
    let result = if grace.is_zero() { instance.kill().await } else { instance.halt(grace).await };
    let exit = result.map_err(driver_error)?;
    follow::exited(inner, entry, &exit, operation);
    forward(inner, entry, false).await
}

/// Ports of the host lead to a node from its boot to its halt (T-79).
pub(super) async fn forward(inner: &Arc<Inner>, entry: &NodeEntry, on: bool) -> Result<()> {
    let Some(end) = entry.with(|record| record.control.clone()) else { return Ok(()) };
    if end.forwards.is_empty() {
        return Ok(());
    }
    let owner = inner.owner(&entry.with(|record| record.lab.clone()), "");
    let network = inner.network.clone();
    let forwards = control::forwards(&end)?;
    blocking(move || {
        let control = Control::open(&network, &owner);
        if on { control.add_forwards(&forwards) } else { control.remove_forwards(&forwards) }
    })
    .await
}

/// Changes the limits of a node and nothing else of it: it stands on the image that it was made from, whatever that image's
/// name leads to by now.
pub(super) async fn limits(
    inner: &Arc<Inner>,
    lab: &str,
    name: &str,
    operation: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    let _slot = entry.slot.lock().await;
    let limits = define::define(inner, lab, &entry, operation).await?.spec.limits;
    // One that lost its monitor has them from its next boot on.
    if let Some(instance) = entry.instance() {
        instance.set_limits(&limits).await.map_err(driver_error)?;
    }
    entry.update(|record| {
        if let Some(spec) = &mut record.spec {
            spec.limits = limits;
        }
    });
    Ok(())
}

/// Where a node keeps its disk; for `inspect`.
pub(crate) fn folder(inner: &Inner, entry: &NodeEntry) -> PathBuf {
    entry.with(|record| inner.node_dir(&record.lab, &record.node))
}
