//! What must run before another: `requires.NAME.start_before`.
//!
//! What an instance needs is started before it, and what needs an instance is stopped before it. Packages do not require
//! each other in a circle: such are not taken in.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use vnode_vnfpkg::{Descriptor, Event, Mode};

use super::Ask;
use crate::{
    core::{Core, Tables},
    error::{Failure, Result},
    model::{Instance, Instantiation, Kind, State},
    script::GRACE,
};

/// What such operations are told to be for.
const CAUSE: &str = "dependency";

/// Whether we can start it.
fn startable(descriptor: &Descriptor) -> bool {
    !descriptor.start_command.is_empty()
        || descriptor.mode == Mode::Managed && !descriptor.scripts(Event::Start).is_empty()
}

fn descriptor_of<'a>(tables: &'a Tables, instance: &Instance) -> Option<&'a Descriptor> {
    let package = tables.packages.get(&(instance.package.clone(), instance.revision));
    package.map(|package| &package.descriptor)
}

/// Whether it runs: as was asked for where we start it, unless that has failed; as is seen where we do not.
fn runs(tables: &Tables, instance: &Instance) -> bool {
    let op = instance.operation.as_ref().and_then(|op| tables.operations.get(op));
    let failed =
        op.is_some_and(|op| op.operation == Kind::Operate && op.state == State::FailedTemp);
    instance.state == Instantiation::Instantiated
        && descriptor_of(tables, instance).is_some_and(|descriptor| match startable(descriptor) {
            true => instance.wanted && !failed,
            false => tables.drivers.get(&instance.id).is_some_and(|d| d.view.get().present),
        })
}

fn is(tables: &Tables, instance: &Instance, wanted: &str) -> bool {
    instance.package == wanted
        || descriptor_of(tables, instance).is_some_and(|d| d.kind.as_deref() == Some(wanted))
}

impl Core {
    /// Starts or stops others first, where an operation starts or stops an instance.
    pub(super) fn in_order<'a>(
        self: &'a Arc<Self>,
        instance: &'a Instance,
        descriptor: &'a Descriptor,
        kind: Kind,
        ask: &'a Ask,
    ) -> BoxFuture<'a, Result<()>> {
        let starts = match kind {
            Kind::Instantiate => startable(descriptor),
            Kind::Operate => ask.start,
            _ => false,
        };
        // What stops by itself to start again takes nothing with it.
        let stops = (kind == Kind::Terminate || kind == Kind::Operate && !ask.start)
            && (!ask.automatic || ask.cause == CAUSE);
        Box::pin(async move {
            if starts {
                for (id, wanted) in self.to_start(descriptor) {
                    let id = id.ok_or_else(|| {
                        let name = &instance.name;
                        Failure::refused(format!(
                            "{wanted} must run before {name}, and nothing starts it"
                        ))
                    })?;
                    // One before it may have needed the same.
                    if !self.is_so(&id, true) {
                        self.change(&id, true).await?;
                    }
                }
            }
            if stops {
                for id in self.to_stop(instance) {
                    if !self.is_so(&id, false) {
                        self.change(&id, false).await?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Of each package that must run before this one and of which no instance does: one that can be started.
    fn to_start(&self, descriptor: &Descriptor) -> Vec<(Option<String>, String)> {
        let tables = self.tables();
        let mut all = Vec::new();
        for (wanted, _) in descriptor.requires.iter().filter(|(_, require)| require.start_before) {
            let of_it = || tables.instances.values().filter(|other| is(&tables, other, wanted));
            if of_it().any(|other| runs(&tables, other)) {
                continue;
            }
            let can = of_it().find(|other| {
                other.state == Instantiation::Instantiated
                    && descriptor_of(&tables, other).is_some_and(startable)
            });
            all.push((can.map(|other| other.id.clone()), wanted.clone()));
        }
        all
    }

    /// What runs and may not without this instance.
    fn to_stop(&self, instance: &Instance) -> Vec<String> {
        let tables = self.tables();
        let needs = |other: &&Instance| {
            let required = descriptor_of(&tables, other).into_iter().flat_map(|d| &d.requires);
            let mut required = required.filter(|(_, require)| require.start_before);
            required.any(|(wanted, _)| {
                let mut rest = tables.instances.values().filter(|rest| rest.id != instance.id);
                is(&tables, instance, wanted)
                    && !rest.any(|rest| is(&tables, rest, wanted) && runs(&tables, rest))
            })
        };
        let others = tables.instances.values().filter(|other| other.id != instance.id);
        let others = others.filter(|other| runs(&tables, other)).filter(needs);
        others.map(|other| other.id.clone()).collect()
    }

    /// Whether it runs, or does not, and nothing changes it.
    fn is_so(&self, id: &str, started: bool) -> bool {
        let tables = self.tables();
        tables.instances.get(id).is_some_and(|instance| match started {
            true => runs(&tables, instance) && instance.operation.is_none(),
            false => !runs(&tables, instance),
        })
    }

    async fn change(self: &Arc<Self>, id: &str, start: bool) -> Result<()> {
        let ask = Ask {
            start,
            automatic: true,
            cause: CAUSE.to_owned(),
            grace_s: GRACE.as_secs(),
            ..Ask::default()
        };
        let begun = self.begin(id, Kind::Operate, ask).await?;
        let op = self.wait(&begun).await?;
        if op.state == State::Completed {
            return Ok(());
        }
        let verb = if start { "started" } else { "stopped" };
        let error = op.error.unwrap_or_default().detail;
        let what = format!("{} must be {verb} first: {error}", op.instance_name);
        Err(Failure { operation: Some(begun), ..Failure::conflict(what) })
    }
}
