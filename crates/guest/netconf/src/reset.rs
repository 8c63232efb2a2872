//! The whole operation: bind, plan, commit, apply, compare, and back again when something fails.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use vnode_beneath::Dir;

use crate::commit::{CommitError, Note, Phase, State};
use crate::error::InputError;
use crate::kernel::{self, KernelError};
use crate::model::{Config, Description, Interface, Select, Wanted};
use crate::nic::{self, bind};
use crate::plan::{Plan, plan};
use crate::render::{OnFailure, Program, RenderError, Step};
use crate::settings::Settings;
use crate::system::System;
use crate::view::ViewError;

/// Time for the programs of a change; what waits and comparison take comes on top, and the host waits 60 s for it all.
const APPLY: Duration = Duration::from_secs(20);
/// Time for the programs of a roll-back.
const UNDO: Duration = Duration::from_secs(12);
/// Between two looks at the kernel.
const LOOK: Duration = Duration::from_millis(50);

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
    let plan = made(system, root, settings, wanted, interfaces)?;
    warnings.extend(plan.warnings.iter().cloned());
    let report = Report {
        files: plan.changes.iter().map(|c| c.path.clone()).collect(),
        interfaces: plan.changed.clone(),
        warnings,
    };
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
        hostname: new_name,
    };
    // What the old files say how to take down is taken down by the old files.
    let deadline = Instant::now() + APPLY;
    let mut outcome = run_all(system, &plan.steps.before, deadline).await;
    if outcome.is_ok() {
        outcome = state.commit(&plan.changes, &note, &point).map_err(|error| error.to_string());
    }
    if let Err(why) = outcome {
        let back = if plan.steps.before.is_empty() {
            "nothing was changed".to_owned()
        } else {
            apply_again(system, &note).await
        };
        return Err(ResetError::Undone { why, back });
    }
    if let Err(why) = take_effect(system, &note, settings, deadline).await {
        return Err(undo(system, &state, &note, why).await);
    }
    state.finish(&point)?;
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
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

fn set_hostname<S: System>(system: &S, names: Option<&(String, String)>) -> Result<(), String> {
    let Some((new, _)) = names else { return Ok(()) };
    system.set_hostname(new).map_err(|error| format!("Couldn't set hostname: {error}"))
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

/// Name, services, kernel: all of what a change means for the running system.
async fn take_effect<S: System>(
    system: &S,
    note: &Note,
    settings: &Settings,
    deadline: Instant,
) -> Result<(), String> {
    set_hostname(system, note.hostname.as_ref())?;
    system.point("named");
    run_all(system, &note.after, deadline).await?;
    system.point("applied");
    settle(system, note, settings).await
}

/// Waits until the kernel has what is wanted. Addresses of before that nobody took away are taken away.
async fn settle<S: System>(system: &S, note: &Note, settings: &Settings) -> Result<(), String> {
    let names: Vec<String> = note.interfaces.iter().map(|i| i.name.clone()).collect();
    let deadline = Instant::now() + settings.settle();
    let text = |error: KernelError| error.to_string();
    // Services that only know their own interfaces leave what they did not set.
    if let Some(state) = system.state(&names).map_err(text)? {
        for interface in note.interfaces.iter().filter(|i| note.changed.contains(&i.name)) {
            let surplus = state.surplus(interface);
            if !surplus.is_empty() {
                let keep: Vec<IpNet> = interface.config.addresses().collect();
                system.flush(&interface.name, &keep).map_err(text)?;
            }
        }
    }
    loop {
        let Some(state) = system.state(&names).map_err(text)? else { return Ok(()) };
        let missing = kernel::differences(&note.interfaces, &state);
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let more = missing.len().saturating_sub(4);
            let mut text = missing[..missing.len().min(4)].join(", ");
            if more > 0 {
                text += &format!(", and {more} more");
            }
            return Err(format!("the network did not come to the wanted state: {text}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn is_right<S: System>(system: &S, note: &Note) -> Result<bool, ResetError> {
    let names: Vec<String> = note.interfaces.iter().map(|i| i.name.clone()).collect();
    let Some(state) = system.state(&names)? else { return Ok(true) };
    Ok(kernel::differences(&note.interfaces, &state).is_empty())
}

/// Takes a committed change back: files, services, kernel, name.
async fn undo<S: System>(system: &S, state: &State<'_>, note: &Note, why: String) -> ResetError {
    let point = |name: &str| system.point(name);
    let back = match state.roll_back(&point) {
        Ok(_) => apply_again(system, note).await,
        Err(error) => format!("the previous files could not be put back: {error}"),
    };
    ResetError::Undone { why, back }
}

/// With the previous files in place: services read them, and the kernel gets back what it had. Says how that went.
async fn apply_again<S: System>(system: &S, note: &Note) -> String {
    let deadline = Instant::now() + UNDO;
    if let Some((_, old)) = &note.hostname
        && let Err(error) = system.set_hostname(old)
    {
        tracing::warn!(%error, "cannot set the previous host name");
    }
    let mut trouble = None;
    for step in &note.after {
        match step {
            Step::Program(_) => {
                if let Err(why) = run_all(system, std::slice::from_ref(step), deadline).await {
                    trouble.get_or_insert(why);
                }
            }
            Step::Flush { interface } => {
                if let Err(error) = system.flush(interface, &[]) {
                    trouble.get_or_insert(error.to_string());
                }
            }
            // The new description; what was before follows below.
            Step::Direct(_) => {}
        }
    }
    // Whatever the services made of it: the addresses and routes of before, so that the guest can be entered.
    for interface in &note.before {
        if let Err(error) = put_back(system, interface) {
            trouble.get_or_insert(full(&error));
        }
    }
    match trouble {
        None => "the previous configuration is back in place".to_owned(),
        Some(why) => {
            format!("the previous configuration is back in place, but applying it said: {why}")
        }
    }
}

fn put_back<S: System>(system: &S, before: &Interface) -> Result<(), KernelError> {
    if !before.up {
        return system.flush(&before.name, &[]);
    }
    let Some(state) = system.state(std::slice::from_ref(&before.name))? else { return Ok(()) };
    let missing = kernel::differences(std::slice::from_ref(before), &state);
    if missing.is_empty() && state.surplus(before).is_empty() {
        return Ok(());
    }
    system.apply(before)
}

/// Runs steps in order until one fails for good.
async fn run_all<S: System>(system: &S, steps: &[Step], deadline: Instant) -> Result<(), String> {
    let mut not_started: Vec<&str> = Vec::new();
    for step in steps {
        match step {
            Step::Program(program) => match &program.failure {
                OnFailure::Ignore => {
                    if let Err(why) = run_one(system, program, deadline).await {
                        tracing::warn!(program = program.argv[0], %why, "network program");
                    }
                }
                OnFailure::Fail(text) => match run_one(system, program, deadline).await {
                    Ok(0) => {}
                    Ok(status) => return Err(format!("{text}: {status}")),
                    Err(why) => return Err(format!("{text}: {why}")),
                },
                OnFailure::Start(interface) => {
                    let mut started = false;
                    for _ in 0..2 {
                        started = matches!(run_one(system, program, deadline).await, Ok(0));
                        if started {
                            break;
                        }
                    }
                    if !started && !not_started.contains(&interface.as_str()) {
                        not_started.push(interface);
                    }
                }
            },
            Step::Flush { interface } => {
                system.flush(interface, &[]).map_err(|error| error.to_string())?;
            }
            Step::Direct(interfaces) => {
                for interface in interfaces {
                    system.apply(interface).map_err(|error| full(&error))?;
                }
            }
        }
    }
    match not_started[..] {
        [] => Ok(()),
        _ => Err(format!("Failed to start {}", not_started.join(", "))),
    }
}

async fn run_one<S: System>(
    system: &S,
    program: &Program,
    deadline: Instant,
) -> Result<i32, String> {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let program = Program { limit: program.limit.min(left), ..program.clone() };
    system.run(&program).await
}

fn full(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The descriptions of one interface list, for callers that have interfaces and no source.
impl From<Vec<Description>> for Wanted {
    fn from(descriptions: Vec<Description>) -> Self {
        Self { descriptions, ..Self::default() }
    }
}
