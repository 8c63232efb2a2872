//! The whole operation: bind, plan, commit, apply, compare, and back again when something fails.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use vnode_beneath::Dir;

use crate::commit::{CommitError, Note, Phase, State};
use crate::effect::{apply_again, is_right, run_all, set_hostname, take_effect, undo};
use crate::error::InputError;
use crate::kernel::{self, KernelError};
use crate::model::{Config, Description, Interface, Select, Wanted};
use crate::nic::{self, bind};
use crate::plan::{Plan, plan};
use crate::render::{RenderError, Step};
use crate::settings::Settings;
use crate::system::System;
use crate::view::ViewError;

/// Time for the programs of a change; what waits and comparison take comes on top, and the host waits 60 s for it all.
const APPLY: Duration = Duration::from_secs(20);
/// Between two looks at the kernel.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// A reset that did not succeed. The text is what the client is answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResetError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    View(#[from] ViewError),
    /// It was tried, failed and was taken back.
    #[error("{why}; {back}")]
    Undone { why: String, back: String },
}

/// What a reset did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that changed.
    pub files: Vec<String>,
    /// Interfaces that were configured anew.
    pub interfaces: Vec<String>,
    /// What was left out or is odd, one sentence each.
    pub warnings: Vec<String>,
}

/// What [`recover`] found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// No change was interrupted.
    Nothing,
    /// An interrupted change was completed.
    Finished,
    /// An interrupted change was taken back.
    RolledBack,
}

/// Makes the guest what is wanted.
///
/// # Errors
/// With a text for the client. The guest is then as it was before, and the error says so where it is not.
pub async fn reset<S: System>(
    system: &S,
    root: &Dir,
    settings: &Settings,
    wanted: &Wanted,
) -> Result<Report, ResetError> {
    let point = |name: &str| system.point(name);
    let state = State::open(root, &settings.state_folder, &settings.agent)?;
    resume(system, &state, settings).await?;
    let mut warnings = wanted.warnings.clone();
    let interfaces = await_interfaces(system, settings, wanted, &mut warnings).await?;
    let names: Vec<String> = interfaces.iter().map(|i| i.name.clone()).collect();
    let mut plan = made(system, root, settings, wanted, interfaces)?;
    warnings.extend(plan.warnings.iter().cloned());
    if settings.files_only {
        plan.steps.before.clear();
        plan.steps.after.retain(|step| matches!(step, Step::Direct(_)));
    }
    let report = Report {
        files: plan.changes.iter().map(|c| c.path.clone()).collect(),
        interfaces: plan.changed.clone(),
        warnings,
    };
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    let old_name = system.hostname();
    let new_name = nic_hostname(&plan, old_name.as_deref());
    let nothing_to_run = plan.steps.before.is_empty() && plan.steps.after.is_empty();
    if plan.changes.is_empty() && nothing_to_run {
        set_hostname(system, new_name.as_ref())
            .map_err(|why| ResetError::Undone { why, back: "nothing was changed".to_owned() })?;
        return Ok(report);
    }
    let before = snapshot(system, &plan, &names)?;
    let note = Note {
        after: plan.steps.after.clone(),
        interfaces: plan.interfaces.clone(),
        changed: plan.changed.clone(),
        before,
        files_only: settings.files_only && plan.steps.after.is_empty(),
        hostname: new_name,
    };
    let prepared = state.prepare(&plan.changes, &note, &point)?;
    // What the old files say how to take down is taken down by the old files. The journal is there already: killed with the
    // network down, the next start brings it up again.
    let deadline = Instant::now() + APPLY;
    let mut outcome = run_all(system, &plan.steps.before, deadline).await;
    system.point("down");
    if outcome.is_ok() {
        outcome = state.commit(prepared, &plan.changes, &point).map_err(|error| error.to_string());
    }
    if let Err(why) = outcome {
        return Err(undo(system, &state, &note, why).await);
    }
    if let Err(why) = take_effect(system, &note, settings, deadline).await {
        return Err(undo(system, &state, &note, why).await);
    }
    state.finish(&point)?;
    Ok(report)
}

/// What [`reset`] would do, without doing it.
///
/// # Errors
/// As [`reset`], for what can be known before.
pub fn preview<S: System>(
    system: &S,
    root: &Dir,
    settings: &Settings,
    wanted: &Wanted,
) -> Result<Plan, ResetError> {
    let bound = bind(&wanted.descriptions, &system.nics()?);
    let mut warnings = wanted.warnings.clone();
    leave_out(&bound.missing, bound.interfaces.is_empty(), &mut warnings)?;
    let mut plan = made(system, root, settings, wanted, bound.interfaces)?;
    warnings.append(&mut plan.warnings);
    Ok(Plan { warnings, ..plan })
}

/// Completes or takes back a change that was interrupted. For the start of the agent, before anything else.
///
/// # Errors
/// When the journal cannot be read, or files cannot be put back.
pub async fn recover<S: System>(
    system: &S,
    root: &Dir,
    settings: &Settings,
) -> Result<Recovered, ResetError> {
    // Where nothing was ever changed, nothing is made.
    if !crate::view::View::exists(root, &settings.state_folder) {
        return Ok(Recovered::Nothing);
    }
    let state = State::open(root, &settings.state_folder, &settings.agent)?;
    resume(system, &state, settings).await
}

/// At start: [`recover`], and where nobody else configures the network, what was set last is set again.
///
/// # Errors
/// As [`recover`]; an interface that cannot be set is a warning in the log.
pub async fn start<S: System>(
    system: &S,
    root: &Dir,
    settings: &Settings,
) -> Result<Recovered, ResetError> {
    let recovered = recover(system, root, settings).await?;
    let stored = crate::render::direct::stored(root, &settings.state_folder)?;
    if !stored.is_empty() {
        for interface in bind(&stored, &system.nics()?).interfaces {
            if let Err(error) = system.apply(&interface) {
                tracing::warn!(interface = interface.name, %error, "cannot set the interface again");
            }
        }
    }
    Ok(recovered)
}

async fn resume<S: System>(
    system: &S,
    state: &State<'_>,
    settings: &Settings,
) -> Result<Recovered, ResetError> {
    let point = |name: &str| system.point(name);
    let Some((phase, note)) = state.interrupted()? else {
        // What was begun without coming as far as its journal is thrown away.
        state.roll_back(&point)?;
        return Ok(Recovered::Nothing);
    };
    match phase {
        Phase::Prepared => {
            let files = state.roll_back(&point)?;
            tracing::warn!(?files, "an interrupted network change was taken back");
            apply_again(system, &note).await;
            Ok(Recovered::RolledBack)
        }
        Phase::Committed => {
            let deadline = Instant::now() + APPLY;
            // A restart of the machine has applied it already; then there is nothing to run.
            let effect = if is_right(system, &note)? {
                set_hostname(system, note.hostname.as_ref())
            } else {
                take_effect(system, &note, settings, deadline).await
            };
            match effect {
                Ok(()) => {
                    state.finish(&point)?;
                    tracing::warn!("an interrupted network change was completed");
                    Ok(Recovered::Finished)
                }
                Err(why) => {
                    let error = undo(system, state, &note, why).await;
                    tracing::warn!(%error, "an interrupted network change failed");
                    Ok(Recovered::RolledBack)
                }
            }
        }
        Phase::Done => {
            state.finish(&point)?;
            Ok(Recovered::Finished)
        }
    }
}

/// The interfaces the descriptions are for; one that does not exist is waited for.
async fn await_interfaces<S: System>(
    system: &S,
    settings: &Settings,
    wanted: &Wanted,
    warnings: &mut Vec<String>,
) -> Result<Vec<Interface>, ResetError> {
    let deadline = Instant::now() + settings.wait();
    loop {
        let bound = bind(&wanted.descriptions, &system.nics()?);
        if bound.missing.is_empty() {
            return Ok(bound.interfaces);
        }
        if Instant::now() >= deadline {
            leave_out(&bound.missing, bound.interfaces.is_empty(), warnings)?;
            return Ok(bound.interfaces);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A description without its interface is left out, unless that leaves none.
fn leave_out(missing: &[Select], all: bool, warnings: &mut Vec<String>) -> Result<(), InputError> {
    if all && let Some(first) = missing.first() {
        return Err(nic::unknown(first));
    }
    warnings.extend(missing.iter().map(|select| format!("{}, left out", nic::unknown(select))));
    Ok(())
}

/// The plan; interfaces whose files are right and whose kernel state is not are configured anew too.
fn made<S: System>(
    system: &S,
    root: &Dir,
    settings: &Settings,
    wanted: &Wanted,
    interfaces: Vec<Interface>,
) -> Result<Plan, ResetError> {
    let name = wanted.hostname.as_deref();
    let names: Vec<String> = interfaces.iter().map(|i| i.name.clone()).collect();
    let mut wrong: Vec<String> = Vec::new();
    if let Some(state) = system.state(&names)? {
        for interface in &interfaces {
            if !kernel::differences(std::slice::from_ref(interface), &state).is_empty() {
                wrong.push(interface.name.clone());
            }
        }
    }
    Ok(plan(root, settings, interfaces, name, &wrong)?)
}

/// The new name for the kernel, with the old one, when they differ.
fn nic_hostname(plan: &Plan, old: Option<&str>) -> Option<(String, String)> {
    let new = crate::hostname::for_kernel(&plan.hostname);
    let old = old?;
    (new != old).then(|| (new.to_owned(), old.to_owned()))
}

/// What the kernel has for the interfaces that will change, in the form of a configuration.
fn snapshot<S: System>(
    system: &S,
    plan: &Plan,
    names: &[String],
) -> Result<Vec<Interface>, ResetError> {
    let Some(state) = system.state(names)? else { return Ok(Vec::new()) };
    let mut before = Vec::new();
    for interface in plan.interfaces.iter().filter(|i| plan.changed.contains(&i.name)) {
        let Some(nic) = state.nics.iter().find(|nic| nic.name == interface.name) else { continue };
        let mut config = Config::default();
        for address in state.addresses.iter().filter(|a| a.index == nic.index && a.global) {
            match address.net {
                IpNet::V4(net) => {
                    config.ip4s.push(net);
                    // One with a lease: its client goes on to look after it.
                    config.dhcp4 |= !address.permanent;
                }
                // One from a router's advertisement comes again by itself.
                IpNet::V6(net) if address.permanent => config.ip6s.push(net),
                IpNet::V6(_) => config.accept_ra = true,
            }
        }
        for route in state.routes.iter().filter(|route| route.index == nic.index) {
            if let Some(gateway) = route.gateway {
                let destination = route.destination;
                config.routes.push(crate::model::Route { destination, gateway });
            }
        }
        before.push(Interface { config, ..interface.clone() });
    }
    Ok(before)
}

/// The descriptions of one interface list, for callers that have interfaces and no source.
impl From<Vec<Description>> for Wanted {
    fn from(descriptions: Vec<Description>) -> Self {
        Self { descriptions, ..Self::default() }
    }
}
