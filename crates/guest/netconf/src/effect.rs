//! What a change means for the running system: name, services, kernel; and the way back.

use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::commit::{Note, State};
use crate::kernel::{self, KernelError};
use crate::model::Interface;
use crate::render::{OnFailure, Program, Step};
use crate::reset::{LOOK, ResetError};
use crate::settings::Settings;
use crate::system::System;

/// Time for the programs of a roll-back.
const UNDO: Duration = Duration::from_secs(12);

pub(crate) fn set_hostname<S: System>(
    system: &S,
    names: Option<&(String, String)>,
) -> Result<(), String> {
    let Some((new, _)) = names else { return Ok(()) };
    system.set_hostname(new).map_err(|error| format!("Couldn't set hostname: {error}"))
}

/// Name, services, kernel: all of what a change means for the running system.
pub(crate) async fn take_effect<S: System>(
    system: &S,
    note: &Note,
    settings: &Settings,
    deadline: Instant,
) -> Result<(), String> {
    set_hostname(system, note.hostname.as_ref())?;
    system.point("named");
    run_all(system, &note.after, deadline).await?;
    system.point("applied");
    if note.files_only {
        return Ok(());
    }
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

pub(crate) fn is_right<S: System>(system: &S, note: &Note) -> Result<bool, ResetError> {
    let names: Vec<String> = note.interfaces.iter().map(|i| i.name.clone()).collect();
    let Some(state) = system.state(&names)? else { return Ok(true) };
    Ok(kernel::differences(&note.interfaces, &state).is_empty())
}

/// Takes a committed change back: files, services, kernel, name.
pub(crate) async fn undo<S: System>(
    system: &S,
    state: &State<'_>,
    note: &Note,
    why: String,
) -> ResetError {
    let point = |name: &str| system.point(name);
    let back = match state.roll_back(&point) {
        Ok(_) => apply_again(system, note).await,
        Err(error) => format!("the previous files could not be put back: {error}"),
    };
    ResetError::Undone { why, back }
}

/// With the previous files in place: services read them, and the kernel gets back what it had. Says how that went.
pub(crate) async fn apply_again<S: System>(system: &S, note: &Note) -> String {
    let deadline = Instant::now() + UNDO;
    if let Some((_, old)) = &note.hostname
        && let Err(error) = system.set_hostname(old)
    {
        tracing::warn!(%error, "cannot set the previous host name");
    }
    let mut trouble = None;
    for step in &note.after {
        match step {
            // Out of time: what the kernel had is put back below in any case.
            Step::Program(_) if Instant::now() >= deadline => {
                trouble.get_or_insert_with(|| "there was no time left for it".to_owned());
            }
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
            trouble.get_or_insert(vnode_protocol::chain(&error));
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
pub(crate) async fn run_all<S: System>(
    system: &S,
    steps: &[Step],
    deadline: Instant,
) -> Result<(), String> {
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
                    system.apply(interface).map_err(|error| vnode_protocol::chain(&error))?;
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
