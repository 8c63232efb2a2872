//! Beginning operations, and deciding over those that failed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use vnode_operation::{Plan, Recovery, Step as PlanStep};
use vnode_vnfpkg::{Code, Descriptor, Problem};

use crate::{
    core::{Core, put_instance},
    error::{Failure, Result},
    model::{Instance, Instantiation, Kind, Occurrence, Progress, State, WatchState, Work},
    script::GRACE,
};

mod decide;
mod order;
pub(crate) mod scale;
mod works;

use scale::Way;
use works::works;

/// The kind of our plans: the engine finds its runner by it.
pub(crate) const PLAN: &str = "vnf";

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) automatic: bool,
    pub(crate) cause: String,
    /// START or STOP, of OPERATE.
    pub(crate) start: bool,
    /// The new revision, of CHANGE_VNFPKG.
    pub(crate) revision: Option<u32>,
    pub(crate) aspect: String,
    pub(crate) steps: u32,
    pub(crate) scale_in: bool,
    pub(crate) grace_s: u64,
}

impl Core {
    /// The revision of a package: by version, or the newest.
    pub(crate) fn revision(&self, package: &str, version: Option<&str>) -> Result<u32> {
        let tables = self.tables();
        let mut found = tables
            .packages
            .values()
            .filter(|p| p.name == package && version.is_none_or(|v| p.version == v));
        let newest = found.by_ref().map(|package| package.revision).max();
        newest.ok_or_else(|| {
            let version =
                version.map_or_else(String::new, |version| format!(" in version {version}"));
            Failure::not_found(format!(
                "there is no package `{}`{version}; `vnf push` brings one",
                package.escape_debug()
            ))
        })
    }

    /// Makes an instance, not instantiated.
    pub(crate) async fn create(
        &self,
        package: &str,
        version: Option<&str>,
        name: Option<&str>,
    ) -> Result<Instance> {
        let revision = self.revision(package, version)?;
        let name = name.unwrap_or(package);
        if !is_instance_name(name) {
            return Err(Failure::invalid(
                "an instance is named with 1 to 64 letters, digits, `-`, `_` and `.`",
            ));
        }
        let instance = Instance {
            id: uuid::Uuid::now_v7().to_string(),
            name: name.to_owned(),
            package: package.to_owned(),
            revision,
            state: Instantiation::NotInstantiated,
            created: Timestamp::now(),
            parameters: BTreeMap::new(),
            scale: BTreeMap::new(),
            outputs: BTreeMap::new(),
            operation: None,
            watch: WatchState::default(),
            started: None,
            wanted: false,
            runs: 0,
        };
        let change = put_instance(&instance)?;
        {
            let mut tables = self.tables();
            if tables.instances.values().any(|other| other.name == name) {
                return Err(Failure::conflict(format!(
                    "there is an instance `{name}`; choose another with --name"
                )));
            }
            tables.instances.insert(instance.id.clone(), instance.clone());
        }
        // What is begun for it takes it along.
        if let Err(error) = self.commit_lazily(vec![change]).await {
            self.tables().instances.remove(&instance.id);
            return Err(error);
        }
        self.event(
            "instance.created",
            name,
            None,
            json!({ "package": package, "revision": revision }),
        );
        Ok(instance)
    }

    /// Begins an operation; gives its id. It goes on by itself.
    pub(crate) async fn begin(self: &Arc<Self>, id: &str, kind: Kind, ask: Ask) -> Result<String> {
        let instance = self.instance(id)?;
        let descriptor =
            self.descriptor(&instance.package, ask.revision.unwrap_or(instance.revision))?;
        self.allowed(&instance, kind, &descriptor)?;
        let old = self.descriptor(&instance.package, instance.revision)?;
        let parameters = values(&descriptor, &instance, &ask, kind)?;
        let (steps, back) = works(&instance, &old, &descriptor, kind, &ask)?;
        let way = (kind == Kind::Scale).then(|| Way::asked(&instance, &descriptor, &ask));
        let way = way.transpose()?;
        let mut variables = ask.variables.clone();
        variables.extend(way.iter().flat_map(Way::variables));
        self.in_order(&instance, &descriptor, kind, &ask).await?;
        let op = Occurrence {
            id: uuid::Uuid::now_v7().to_string(),
            instance: instance.id.clone(),
            instance_name: instance.name.clone(),
            operation: kind,
            state: State::Processing,
            entered: Timestamp::now(),
            started: Timestamp::now(),
            automatic: ask.automatic,
            cause: ask.cause.clone(),
            params: json!({
                "start": ask.start, "revision": ask.revision, "aspect": ask.aspect, "steps": ask.steps,
                "scaleIn": ask.scale_in, "delta": way.map(|way| way.delta()), "parameters": shown(&descriptor, &parameters),
            }),
            steps,
            back,
            error: None,
            warnings: Vec::new(),
            cancel: None,
            outputs: BTreeMap::new(),
            variables,
            run: None,
        };
        {
            let mut tables = self.tables();
            let tables = &mut *tables;
            let instance = tables
                .instances
                .get_mut(&instance.id)
                .ok_or_else(|| Failure::not_found("it is gone"))?;
            if let Some(other) = &instance.operation {
                return Err(busy(&instance.name, tables.operations.get(other)));
            }
            instance.operation = Some(op.id.clone());
            instance.parameters = parameters;
            if kind == Kind::Operate {
                instance.wanted = ask.start;
            }
            tables.operations.insert(op.id.clone(), op.clone());
        }
        self.tell(&op, State::Starting);
        if matches!(kind, Kind::Terminate | Kind::ChangeVnfpkg) {
            // From here it is we who say when the scripts run.
            self.unwatch(&instance.id).await;
        }
        if let Err(error) = self.submit(&op.id, false).await {
            self.forget(&op.id, &instance.id);
            self.watch_again(&instance.id).await;
            return Err(error);
        }
        Ok(op.id)
    }

    /// An operation that was never begun.
    fn forget(&self, id: &str, instance: &str) {
        let mut tables = self.tables();
        tables.operations.remove(id);
        if let Some(instance) = tables.instances.get_mut(instance) {
            instance.operation = None;
        }
    }

    /// Hands what is left of an operation to the engine.
    async fn submit(self: &Arc<Self>, id: &str, back: bool) -> Result<()> {
        let op = self.operation(id).await?;
        self.tables().left.interrupted.remove(id);
        let mut plan = Plan::new(PLAN, format!("vnf/{}", op.instance_name));
        // The runner says what can be gone on with: see `takeover`.
        plan.recovery = Recovery::GoOn;
        plan.data = json!({ "operation": op.id, "back": back });
        let steps = if back { &op.back } else { &op.steps };
        let mut needs = Vec::new();
        let mut looked = false;
        for (index, step) in steps.iter().enumerate() {
            if matches!(step.progress, Progress::Done | Progress::Skipped) {
                continue;
            }
            let (looks, copies) =
                (matches!(step.work, Work::Baseline), matches!(step.work, Work::Copy { .. }));
            let (kind, deadline) = match &step.work {
                Work::Script { event, index, revision, .. } => {
                    let instance = self.instance(&op.instance)?;
                    let descriptor = self.descriptor(&instance.package, *revision)?;
                    let script = descriptor.scripts(*event).get(*index).cloned();
                    // The script's own limit comes first; this one is for what hangs in us.
                    let each = script.map_or(0, |s| {
                        (s.timeout_s + GRACE.as_secs() + 60 + s.retry_delay_ms / 1000)
                            * u64::from(s.retries + 1)
                    });
                    ("vnf.script", Duration::from_secs(each + 60))
                }
                Work::Copy { .. } => ("vnf.copy", Duration::from_secs(3600)),
                Work::StopProcess { grace_s } => ("vnf.process", Duration::from_secs(grace_s + 60)),
                Work::StartProcess => ("vnf.process", Duration::from_secs(60)),
                _ => ("vnf.prepare", Duration::from_secs(600)),
            };
            let step =
                PlanStep::new(kind, &step.name).deadline(deadline).waits().data(json!(index));
            // The copy and the look at what runs already wait for different things.
            let beside = looked && copies;
            let id = plan.push(if beside { step } else { step.needs(needs.drain(..)) });
            needs.push(id);
            looked = looks;
        }
        let engine =
            self.engine.get().ok_or_else(|| Failure::conflict("the service is starting"))?;
        let run = engine
            .submit(plan)
            .await
            .map_err(|error| Failure::internal("begin the operation", &error))?;
        self.change_operation(id, |op| op.run = Some(run.to_string()));
        Ok(())
    }

    fn allowed(&self, instance: &Instance, kind: Kind, descriptor: &Descriptor) -> Result<()> {
        let name = &instance.name;
        if let Some(other) = &instance.operation {
            return Err(busy(name, self.tables().operations.get(other)));
        }
        let there = instance.state == Instantiation::Instantiated;
        match kind {
            Kind::Instantiate if there => {
                return Err(Failure::conflict(format!("{name} is instantiated already")));
            }
            Kind::Instantiate => self.dependencies(descriptor)?,
            _ if !there => {
                return Err(Failure::conflict(format!(
                    "{name} is not instantiated; `vnf instantiate` does it"
                )));
            }
            _ => {}
        }
        Ok(())
    }

    fn dependencies(&self, descriptor: &Descriptor) -> Result<()> {
        let tables = self.tables();
        for (wanted, require) in &descriptor.requires {
            let range =
                require.version.as_deref().and_then(|range| semver::VersionReq::parse(range).ok());
            let there = tables.instances.values().any(|other| {
                let package = tables.packages.get(&(other.package.clone(), other.revision));
                other.state == Instantiation::Instantiated
                    && package.is_some_and(|package| {
                        let version = semver::Version::parse(&package.version).ok();
                        (package.name == *wanted
                            || package.descriptor.kind.as_ref() == Some(wanted))
                            && range
                                .as_ref()
                                .is_none_or(|range| version.is_some_and(|v| range.matches(&v)))
                    })
            });
            if !there {
                let what = format!("{wanted} is required, and no instance of it is there");
                return Err(Problem::new(Code::Dependency, what)
                    .pointer(format!("/requires/{wanted}"))
                    .into());
            }
        }
        Ok(())
    }

    /// Tells of an operation's state.
    pub(crate) fn tell(&self, op: &Occurrence, state: State) {
        let mut data = json!({
            "operation": op.operation, "state": state, "automatic": op.automatic, "cause": op.cause,
            "instance": op.instance,
        });
        if let Some(error) = &op.error
            && state == op.state
        {
            data["error"] = json!(error);
        }
        self.event("operation", &op.instance_name, Some(&op.id), data);
    }
}

fn busy(name: &str, op: Option<&Occurrence>) -> Failure {
    let what = match op {
        Some(op) if op.state == State::FailedTemp => {
            format!(
                "{name}: {} has failed; retry it, roll it back or fail it first ({})",
                op.operation, op.id
            )
        }
        Some(op) => format!("{name}: {} runs ({})", op.operation, op.id),
        None => format!("{name}: an operation runs"),
    };
    Failure { operation: op.map(|op| op.id.clone()), ..Failure::conflict(what) }
}

pub(crate) fn is_instance_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('.')
}

/// The parameters an operation works with: given, kept, defaults.
fn values(
    descriptor: &Descriptor,
    instance: &Instance,
    ask: &Ask,
    kind: Kind,
) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for name in ask.parameters.keys() {
        if !descriptor.parameters.contains_key(name) {
            return Err(Failure::invalid(format!(
                "the package has no parameter `{}`",
                name.escape_debug()
            )));
        }
    }
    for (name, parameter) in &descriptor.parameters {
        let value = ask
            .parameters
            .get(name)
            .or_else(|| instance.parameters.get(name))
            .or(parameter.default.as_ref());
        let Some(value) = value else {
            if parameter.required && matches!(kind, Kind::Instantiate | Kind::ChangeVnfpkg) {
                return Err(Failure::invalid(format!(
                    "the parameter `{name}` is required; give it with --param {name}=VALUE"
                )));
            }
            continue;
        };
        // As the end of a sentence, without the value.
        parameter.fits(value).map_err(|what| {
            Failure::invalid(format!("the parameter `{name}` {what}; give another {name}=VALUE"))
        })?;
        values.insert(name.clone(), value.clone());
    }
    Ok(values)
}

/// Parameters without secrets.
pub(crate) fn shown(descriptor: &Descriptor, values: &BTreeMap<String, String>) -> Value {
    let secret =
        |name: &String| descriptor.parameters.get(name).is_some_and(|parameter| parameter.secret);
    values
        .iter()
        .map(|(name, value)| {
            (name.clone(), if secret(name) { "***".into() } else { Value::from(value.clone()) })
        })
        .collect()
}
