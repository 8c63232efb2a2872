//! Instances and what is done with them: SOL003's state machine over what the nodes do (`vnf.md` 4 and 6.5).

mod rules;

use std::time::Duration;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::functions::{Ask, Failure, Look, Task};
use crate::notify::Notice;
use crate::problem::Problem;
use crate::records::{Instance, Occurrence, Onboarding, Operation, Package, Phase};
use crate::service::{Edit, MOST, Nfv, State, new_id, now};
pub(crate) use rules::kept;
use rules::{completed, failed_for_now, permitted, removable, steps, task};

/// What an orchestrator may decide of an occurrence that failed for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Retry,
    Rollback,
}

fn instance(state: &State, id: Uuid) -> Result<&Instance, Problem> {
    state
        .instances
        .get(&id)
        .ok_or_else(|| Problem::not_found(format!("there is no VNF instance `{id}`")))
}

fn occurrence(state: &State, id: Uuid) -> Result<&Occurrence, Problem> {
    state
        .occurrences
        .get(&id)
        .ok_or_else(|| Problem::not_found(format!("there is no operation occurrence `{id}`")))
}

/// The package of that descriptor that may be used now.
fn usable<'s>(state: &'s State, vnfd: &str) -> Result<&'s Package, Problem> {
    let found = state.packages.values().find(|package| {
        package.product.as_ref().is_some_and(|product| product.vnfd_id.to_string() == vnfd)
    });
    match found {
        Some(package) if package.onboarding == Onboarding::Onboarded && package.enabled => {
            Ok(package)
        }
        Some(package) => Err(Problem::unprocessable(format!(
            "package `{}` of vnfdId `{vnfd}` is DISABLED",
            package.id
        ))),
        None => {
            Err(Problem::unprocessable(format!("no onboarded package has the vnfdId `{vnfd}`")))
        }
    }
}

/// A string member of the metadata or parameters that names the node.
fn node_in(map: &Map<String, Value>) -> Option<&str> {
    map.get("node").and_then(Value::as_str)
}

fn parameters(params: &Value) -> Map<String, Value> {
    params["additionalParams"].as_object().cloned().unwrap_or_default()
}

fn seconds(value: &Value) -> Option<Duration> {
    value.as_u64().map(|s| Duration::from_secs(s.min(86_400)))
}

impl Nfv {
    pub(crate) async fn create_instance(
        &self,
        vnfd: &str,
        name: String,
        description: String,
        metadata: Map<String, Value>,
    ) -> Result<Instance, Problem> {
        let mut state = self.inner.state.lock().await;
        if state.instances.len() >= MOST {
            return Err(Problem::conflict(format!("there are {MOST} instances; delete some")));
        }
        let package = usable(&state, vnfd)?;
        let product = package.product.clone().ok_or_else(|| Problem::conflict("not onboarded"))?;
        let instance = Instance {
            id: new_id(),
            name,
            description,
            metadata,
            configurable: Map::new(),
            package: package.id,
            product,
            node: None,
            instantiated: false,
            started: false,
            flavour: String::new(),
            levels: std::collections::BTreeMap::new(),
            busy: None,
        };
        self.edit(&mut state, vec![Edit::Instance(instance.clone())]).await?;
        self.inner.notifier.tell(Notice::Created { instance: instance.id });
        Ok(instance)
    }

    /// The instance and, where its node can be asked, how its function is.
    pub(crate) async fn instance(&self, id: Uuid) -> Result<(Instance, Option<Look>), Problem> {
        let instance = instance(&*self.inner.state.lock().await, id)?.clone();
        let look = match &instance.node {
            Some(node) if instance.instantiated => {
                // A node that is not there now is no reason to hide the record.
                self.inner.functions.look(node, &instance.function()).await.ok().flatten()
            }
            _ => None,
        };
        Ok((instance, look))
    }

    pub(crate) async fn instances(&self) -> Vec<Instance> {
        self.inner.state.lock().await.instances.values().cloned().collect()
    }

    pub(crate) async fn delete_instance(&self, id: Uuid) -> Result<(), Problem> {
        let found = {
            let state = self.inner.state.lock().await;
            let found = instance(&state, id)?;
            removable(found)?;
            found.clone()
        };
        if let Some(node) = found.node.clone() {
            let task = Task { node, function: found.function(), ask: Ask::Forget };
            self.inner.functions.perform(task).await.map_err(|failure| failure.problem)?;
        }
        let mut state = self.inner.state.lock().await;
        removable(instance(&state, id)?)?;
        self.edit(&mut state, vec![Edit::NoInstance(id)]).await?;
        self.inner.notifier.tell(Notice::Deleted { instance: id });
        Ok(())
    }

    pub(crate) async fn occurrence(&self, id: Uuid) -> Result<Occurrence, Problem> {
        Ok(occurrence(&*self.inner.state.lock().await, id)?.clone())
    }

    pub(crate) async fn occurrences(&self) -> Vec<Occurrence> {
        self.inner.state.lock().await.occurrences.values().cloned().collect()
    }

    /// Begins an operation: recorded, answered, done in the background.
    pub(crate) async fn begin(
        &self,
        id: Uuid,
        operation: Operation,
        params: Value,
    ) -> Result<Occurrence, Problem> {
        let wanted = {
            let state = self.inner.state.lock().await;
            let found = instance(&state, id)?;
            permitted(&state, found, operation, &params)?;
            let asked = parameters(&params);
            node_in(&asked).or_else(|| node_in(&found.metadata)).map(str::to_owned)
        };
        let placed = if operation == Operation::Instantiate {
            let placed = self.inner.functions.place(wanted.as_deref()).await;
            Some(placed.map_err(|refusal| Problem::unprocessable(refusal.to_string()))?)
        } else {
            None
        };
        let mut state = self.inner.state.lock().await;
        // Somebody else may have been quicker.
        let mut found = instance(&state, id)?.clone();
        permitted(&state, &found, operation, &params)?;
        let occurrence = Occurrence {
            id: new_id(),
            instance: id,
            operation,
            phase: Phase::Starting,
            entered: now(),
            started: now(),
            params,
            cancel_pending: false,
            error: None,
        };
        if placed.is_some() {
            found.node = placed;
        }
        found.busy = Some(occurrence.id);
        let edits = vec![Edit::Instance(found), Edit::Occurrence(occurrence.clone())];
        self.edit(&mut state, edits).await?;
        self.tell(&occurrence);
        let nfv = self.clone();
        let id = occurrence.id;
        tokio::spawn(async move { nfv.run(id, Phase::Processing, None).await });
        Ok(occurrence)
    }

    /// Retry or roll back what failed for now.
    pub(crate) async fn decide(&self, id: Uuid, decision: Decision) -> Result<(), Problem> {
        let (phase, ask) = match decision {
            Decision::Retry => (Phase::Processing, Ask::Retry),
            Decision::Rollback => (Phase::RollingBack, Ask::Rollback),
        };
        let state = self.inner.state.lock().await;
        let found = occurrence(&state, id)?;
        failed_for_now(found)?;
        if decision == Decision::Rollback && !found.operation.rolls_back(&found.params) {
            return Err(Problem::unprocessable(
                "this operation cannot be rolled back; retry it or fail it",
            ));
        }
        drop(state);
        // Out of FAILED_TEMP before the answer, so that a second decision is refused.
        self.enter(id, Phase::FailedTemp, phase).await?;
        let nfv = self.clone();
        tokio::spawn(async move { nfv.run(id, phase, Some(ask)).await });
        Ok(())
    }

    /// Gives a failed operation up.
    pub(crate) async fn give_up(&self, id: Uuid) -> Result<Occurrence, Problem> {
        let (found, task) = {
            let state = self.inner.state.lock().await;
            let found = occurrence(&state, id)?.clone();
            failed_for_now(&found)?;
            let task = task(instance(&state, found.instance)?, Ask::Fail);
            (found, task)
        };
        if let Some(task) = task
            && let Err(failure) = self.inner.functions.perform(task).await
        {
            // Failing is the way out: a node that is not there, or knows nothing of it, must not bar it.
            tracing::info!(%id, "northbound: the node was not told of the failure: {failure}");
        }
        self.end(found.id, Phase::Failed, None).await?;
        self.occurrence(id).await
    }

    pub(crate) async fn cancel(&self, id: Uuid, forceful: bool) -> Result<(), Problem> {
        let mut state = self.inner.state.lock().await;
        let mut found = occurrence(&state, id)?.clone();
        if found.phase != Phase::Starting && !found.phase.is_running() {
            return Err(Problem::conflict(format!("operation `{id}` is not going on")));
        }
        let target = instance(&state, found.instance)?;
        let (node, function) = (target.node.clone(), target.function());
        found.cancel_pending = true;
        let starting = found.phase == Phase::Starting;
        self.edit(&mut state, vec![Edit::Occurrence(found)]).await?;
        drop(state);
        if starting {
            if let Some(token) = self.running().get(&id) {
                token.cancel();
            }
        } else if let Some(node) = node {
            self.inner
                .functions
                .cancel(&node, &function, forceful)
                .await
                .map_err(|failure| failure.problem)?;
        }
        Ok(())
    }

    /// What a crash cut off: nothing was changed before PROCESSING; what was going on in a node is asked for.
    pub(crate) async fn resume(&self) -> Result<(), Problem> {
        for found in self.occurrences().await {
            match found.phase {
                Phase::Starting => self.end(found.id, Phase::RolledBack, None).await?,
                Phase::Processing | Phase::RollingBack => {
                    let nfv = self.clone();
                    let (id, phase) = (found.id, found.phase);
                    tokio::spawn(async move { nfv.run(id, phase, Some(Ask::Settle)).await });
                }
                Phase::Completed | Phase::FailedTemp | Phase::Failed | Phase::RolledBack => {}
            }
        }
        Ok(())
    }

    /// Goes through an occurrence. `ask`: other than what it began with.
    async fn run(&self, id: Uuid, phase: Phase, ask: Option<Ask>) {
        let token = CancellationToken::new();
        self.running().insert(id, token.clone());
        if let Err(problem) = self.run_to_end(id, phase, ask, &token).await {
            tracing::warn!(%id, "northbound: an operation's state cannot be kept: {}", problem.detail);
        }
        self.running().remove(&id);
    }

    async fn run_to_end(
        &self,
        id: Uuid,
        phase: Phase,
        ask: Option<Ask>,
        token: &CancellationToken,
    ) -> Result<(), Problem> {
        let (found, target) = {
            let state = self.inner.state.lock().await;
            let found = occurrence(&state, id)?.clone();
            let target = instance(&state, found.instance)?.clone();
            (found, target)
        };
        let ask = match ask {
            Some(ask) => ask,
            None => match self.ask(&found, &target).await {
                Ok(ask) => ask,
                Err(problem) => return self.end(id, Phase::RolledBack, Some(problem)).await,
            },
        };
        if found.phase == Phase::Starting {
            if token.is_cancelled() {
                return self.end(id, Phase::RolledBack, None).await;
            }
            self.enter(id, Phase::Starting, phase).await?;
        }
        let done = match task(&target, ask) {
            Some(task) => self.inner.functions.perform(task).await,
            // Only names and the like were changed: nothing to be done in a node.
            None => Ok(()),
        };
        match (done, phase) {
            (Ok(()), Phase::RollingBack) => self.end(id, Phase::RolledBack, None).await,
            (Ok(()), _) => self.end(id, Phase::Completed, None).await,
            (Err(failure), Phase::Processing)
                if failure.unchanged && found.phase == Phase::Starting =>
            {
                self.end(id, Phase::RolledBack, Some(failure.problem)).await
            }
            (Err(Failure { problem, .. }), _) => {
                self.end(id, Phase::FailedTemp, Some(problem)).await
            }
        }
    }

    /// What the occurrence asks of the node.
    async fn ask(&self, found: &Occurrence, target: &Instance) -> Result<Ask, Problem> {
        let params = &found.params;
        let parameters = parameters(params);
        Ok(match found.operation {
            Operation::Instantiate => {
                let mut all = target.configurable.clone();
                all.extend(parameters);
                all.remove("node");
                Ask::Instantiate { package: self.archive(target.package), parameters: all }
            }
            Operation::Terminate => {
                let graceful = params["terminationType"] == "GRACEFUL";
                let drain = graceful.then(|| {
                    seconds(&params["gracefulTerminationTimeout"]).unwrap_or(Duration::ZERO)
                });
                Ask::Terminate { drain, parameters }
            }
            Operation::Operate if params["changeStateTo"] == "STOPPED" => {
                let graceful = params["stopType"] != "FORCEFUL";
                let grace = graceful
                    .then(|| seconds(&params["gracefulStopTimeout"]).unwrap_or(Duration::ZERO));
                Ask::Stop { grace, parameters }
            }
            Operation::Operate => Ask::Start { parameters },
            Operation::Heal => {
                let cause = params["cause"].as_str().map(str::to_owned);
                Ask::Heal { cause, parameters }
            }
            Operation::Scale => Ask::Scale {
                out: params["type"] != "SCALE_IN",
                aspect: params["aspectId"].as_str().unwrap_or_default().to_owned(),
                steps: steps(params),
                parameters,
            },
            Operation::ModifyInfo => {
                let changed = params["vnfConfigurableProperties"].as_object();
                Ask::Configure { parameters: changed.cloned().unwrap_or_default() }
            }
            Operation::ChangeVnfpkg => {
                let state = self.inner.state.lock().await;
                let package = usable(&state, params["vnfdId"].as_str().unwrap_or_default())?.id;
                Ask::Change { package: self.archive(package), parameters }
            }
        })
    }

    async fn enter(&self, id: Uuid, from: Phase, to: Phase) -> Result<(), Problem> {
        let mut state = self.inner.state.lock().await;
        let mut found = occurrence(&state, id)?.clone();
        if found.phase != from {
            return Err(Problem::conflict(format!("operation `{id}` is no longer {from:?}")));
        }
        found.phase = to;
        found.entered = now();
        found.error = None;
        self.edit(&mut state, vec![Edit::Occurrence(found.clone())]).await?;
        self.tell(&found);
        Ok(())
    }

    /// The end of an occurrence, or its rest in FAILED_TEMP, with what it made of its instance.
    async fn end(&self, id: Uuid, phase: Phase, error: Option<Problem>) -> Result<(), Problem> {
        let mut state = self.inner.state.lock().await;
        let mut found = occurrence(&state, id)?.clone();
        let error = error.or_else(|| found.error.take().filter(|_| phase == Phase::Failed));
        found = Occurrence { phase, entered: now(), cancel_pending: false, error, ..found };
        let mut edits = Vec::new();
        if let Some(target) = state.instances.get(&found.instance) {
            let mut target = target.clone();
            if phase == Phase::Completed {
                completed(&state, &mut target, &found);
            }
            if phase.is_final() {
                target.busy = None;
            }
            edits.push(Edit::Instance(target));
        }
        edits.push(Edit::Occurrence(found.clone()));
        self.edit(&mut state, edits).await?;
        self.tell(&found);
        Ok(())
    }

    fn tell(&self, occurrence: &Occurrence) {
        self.inner.notifier.tell(Notice::Occurrence(Box::new(occurrence.clone())));
    }
}
