//! What operations consist of.

use vnode_vnfpkg::{Descriptor, Event, Mode};

use super::Ask;
use crate::{
    error::{Failure, Result},
    model::{Instance, Kind, Step, Work},
};

/// What an operation consists of, and what undoes it.
pub(super) fn works(
    instance: &Instance,
    old: &Descriptor,
    descriptor: &Descriptor,
    kind: Kind,
    ask: &Ask,
) -> Result<(Vec<Step>, Vec<Step>)> {
    let here = instance.revision;
    let managed = descriptor.mode == Mode::Managed;
    let own = !descriptor.start_command.is_empty();
    let scripts_of = |descriptor: &Descriptor,
                      event: Event,
                      revision: u32,
                      only_if_started: bool|
     -> Vec<Step> {
        let scripts = descriptor.scripts(event).iter().enumerate();
        scripts
            .map(|(index, script)| {
                let work = Work::Script { event, index, revision, only_if_started };
                Step::new(work, format!("{} {}", event.text(), script.path))
            })
            .collect()
    };
    let scripts = |event| scripts_of(descriptor, event, here, false);
    let prepare = |revision| {
        vec![
            Step::new(Work::Copy { revision }, "copy the package"),
            Step::new(Work::Parameters { revision }, "write the parameters"),
        ]
    };
    let start = || {
        let mut steps = if managed { scripts(Event::Start) } else { Vec::new() };
        if own {
            steps.push(Step::new(Work::StartProcess, "start the process"));
        }
        steps
    };
    let stop = || {
        let mut steps = scripts(Event::Stop);
        if own || steps.is_empty() {
            steps.push(Step::new(Work::StopProcess { grace_s: ask.grace_s }, "stop the process"));
        }
        steps
    };
    let cannot_start = || {
        Failure::refused(
            "nothing starts it: the package has neither start_command nor, in mode managed, START scripts",
        )
    };
    Ok(match kind {
        Kind::Instantiate => {
            let mut steps = vec![Step::new(Work::Baseline, "see what runs already")];
            steps.extend(prepare(here));
            steps.extend(scripts(Event::Instantiate));
            steps.extend(scripts(Event::Configure));
            steps.extend(start());
            let mut back = if own || managed { stop() } else { Vec::new() };
            back.extend(scripts(Event::Remove));
            back.push(Step::new(Work::RemoveCopy { revision: here }, "remove the copy"));
            (steps, back)
        }
        Kind::Terminate => {
            let mut steps = if own || managed { stop() } else { scripts(Event::Stop) };
            steps.extend(scripts_of(descriptor, Event::Terminate, here, !managed));
            steps.extend(scripts(Event::Remove));
            steps.push(Step::new(Work::RemoveCopy { revision: here }, "remove the copy"));
            (steps, Vec::new())
        }
        Kind::Operate if ask.start => {
            let steps = start();
            if steps.is_empty() {
                return Err(cannot_start());
            }
            (steps, stop())
        }
        Kind::Operate => (stop(), start()),
        Kind::Heal => {
            let mut steps = scripts(Event::Heal);
            if steps.is_empty() {
                if start().is_empty() {
                    return Err(Failure::refused(
                        "the package has no HEAL scripts, and nothing starts it",
                    ));
                }
                steps = stop();
                steps.extend(start());
            }
            (steps, Vec::new())
        }
        Kind::Scale => {
            let (to, fro) = if ask.scale_in {
                (Event::ScaleIn, Event::ScaleOut)
            } else {
                (Event::ScaleOut, Event::ScaleIn)
            };
            let of = |event| {
                let own = scripts(event);
                if own.is_empty() { scripts(Event::Scale) } else { own }
            };
            (of(to), of(fro))
        }
        Kind::ModifyInfo => {
            let mut steps =
                vec![Step::new(Work::Parameters { revision: here }, "write the parameters")];
            steps.extend(scripts(Event::Configure));
            (steps, Vec::new())
        }
        Kind::ChangeVnfpkg => {
            let new = ask.revision.unwrap_or(here);
            let mut steps = prepare(new);
            let update = scripts_of(descriptor, Event::Update, new, false);
            if update.is_empty() {
                steps.extend(scripts_of(descriptor, Event::Instantiate, new, false));
            } else {
                steps.extend(update);
            }
            steps.extend(scripts_of(descriptor, Event::Configure, new, false));
            let mut back = scripts_of(old, Event::Rollback, here, false);
            back.push(Step::new(Work::RemoveCopy { revision: new }, "remove the new copy"));
            (steps, back)
        }
        Kind::Test => {
            let steps = scripts(Event::Test);
            if steps.is_empty() {
                return Err(Failure::refused("the package has no TEST scripts"));
            }
            (steps, Vec::new())
        }
    })
}
