//! What can be asked of the service.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader as FileReader},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use vnode_event::Filter;
use vnode_vnfpkg::{By, Process};

use crate::{
    error::{Failure, Result},
    manager::Manager,
    model::{CancelMode, Instantiation, Kind, Occurrence, Package, Presence, State},
    operate::{Ask, shown},
    service::Answer,
    watch::{Identity, Rule, proc},
};

/// One request. Field names are the interface.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What this service is.
    Info,
    /// A package of `length` bytes follows. `instantiate`: and instantiates it, or updates the instance of its name.
    Push {
        length: u64,
        #[serde(default)]
        instantiate: bool,
    },
    /// Packages and instances.
    Ls,
    /// One instance, or one package.
    Show {
        name: String,
    },
    /// Makes an instance of a package and instantiates it.
    Instantiate {
        package: String,
        #[serde(default)]
        version: Option<String>,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        parameters: BTreeMap<String, String>,
        #[serde(default)]
        no_wait: bool,
    },
    Start {
        name: String,
        #[serde(default)]
        no_wait: bool,
    },
    Stop {
        name: String,
        #[serde(default = "grace")]
        grace_s: u64,
        #[serde(default)]
        no_wait: bool,
    },
    Terminate {
        name: String,
        #[serde(default = "grace")]
        grace_s: u64,
        #[serde(default)]
        no_wait: bool,
    },
    /// To another revision: the newest, or that of a version.
    Update {
        name: String,
        #[serde(default)]
        version: Option<String>,
        #[serde(default)]
        parameters: BTreeMap<String, String>,
        #[serde(default)]
        no_wait: bool,
    },
    Heal {
        name: String,
        #[serde(default)]
        cause: Option<String>,
        #[serde(default)]
        no_wait: bool,
    },
    Scale {
        name: String,
        aspect: String,
        #[serde(default = "one")]
        steps: u32,
        /// Down, not up.
        #[serde(default, rename = "in")]
        scale_in: bool,
        #[serde(default)]
        no_wait: bool,
    },
    /// New values of parameters, and the CONFIGURE scripts.
    Configure {
        name: String,
        parameters: BTreeMap<String, String>,
        #[serde(default)]
        no_wait: bool,
    },
    /// Runs the TEST scripts.
    Test {
        name: String,
    },
    /// Decides over an operation in FAILED_TEMP, by its id or its instance.
    Retry {
        operation: String,
    },
    Rollback {
        operation: String,
    },
    Fail {
        operation: String,
    },
    /// Gives up an operation that runs.
    Cancel {
        operation: String,
        #[serde(default)]
        force: bool,
    },
    /// Operations, the oldest first; of one instance.
    Operations {
        #[serde(default)]
        name: Option<String>,
    },
    Operation {
        id: String,
    },
    /// How an instance is: state, processes, health.
    Status {
        name: String,
    },
    /// The seed's question: does a process of that name run?
    Process {
        name: String,
        #[serde(default)]
        by: By,
    },
    /// What scripts have printed: of one operation, or of the newest.
    Logs {
        name: String,
        #[serde(default)]
        operation: Option<String>,
    },
    /// Events after a number; `follow`: and those to come.
    Events {
        #[serde(default)]
        after: u64,
        #[serde(default)]
        follow: bool,
        #[serde(default)]
        name: Option<String>,
    },
    /// Removes an instance that is not instantiated; `package`: all revisions of a package.
    Rm {
        name: String,
        #[serde(default)]
        package: bool,
    },
    /// For a host that sees this machine's processes start: their numbers as this machine knows them.
    LookAt {
        pids: Vec<i32>,
    },
}

impl Request {
    /// Who asked for what changes something is an event.
    fn audit(&self, manager: &Manager, uid: u32) {
        let reads = matches!(
            self,
            Self::Info
                | Self::Ls
                | Self::Show { .. }
                | Self::Operations { .. }
                | Self::Operation { .. }
                | Self::Status { .. }
                | Self::Process { .. }
                | Self::Logs { .. }
                | Self::Events { .. }
                | Self::LookAt { .. }
        );
        if reads {
            return;
        }
        let said = json!(self);
        let target = ["name", "package", "operation"].iter().find_map(|key| said[*key].as_str());
        let target = target.unwrap_or("service");
        manager.core.event("request", target, None, json!({ "verb": said["verb"], "uid": uid }));
    }
}

fn grace() -> u64 {
    10
}

fn one() -> u32 {
    1
}

/// Does what is asked.
pub(crate) async fn perform<R, W>(
    manager: &Manager,
    request: Request,
    from: &mut R,
    answer: &mut Answer<W>,
    uid: u32,
) -> Result<Value>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let core = &manager.core;
    request.audit(manager, uid);
    let by_api = || Ask { cause: "api".to_owned(), grace_s: grace(), ..Ask::default() };
    match request {
        Request::Info => Ok(json!({
            "service": "vnode-vnf", "version": env!("CARGO_PKG_VERSION"), "watch": core.watcher.mechanism(),
            "state_dir": core.paths.state, "pid": std::process::id(),
        })),
        Request::Push { length, instantiate } => {
            let onboarded = core.receive(from, length, &format!("uid {uid}")).await?;
            let mut result = json!(onboarded);
            if instantiate {
                let name = onboarded.name.clone();
                let there = core.instance(&name).ok();
                let begun = match &there {
                    Some(there) if there.state == Instantiation::Instantiated => {
                        if there.revision == onboarded.revision {
                            return Ok(result);
                        }
                        let ask = Ask {
                            revision: Some(onboarded.revision),
                            cause: "upload".to_owned(),
                            ..Ask::default()
                        };
                        core.begin(&name, Kind::ChangeVnfpkg, ask).await?
                    }
                    _ => {
                        let id =
                            ready_instance(manager, &name, Some(&onboarded.version), None).await?;
                        core.begin(
                            &id,
                            Kind::Instantiate,
                            Ask { cause: "upload".to_owned(), ..Ask::default() },
                        )
                        .await?
                    }
                };
                result["operation"] = ended(manager, &begun, false).await?;
            }
            Ok(result)
        }
        Request::Ls => Ok(list(manager)),
        Request::Show { name } => show(manager, &name),
        Request::Instantiate { package, version, name, parameters, no_wait } => {
            let id = ready_instance(manager, &package, version.as_deref(), name.as_deref()).await?;
            let begun = core.begin(&id, Kind::Instantiate, Ask { parameters, ..by_api() }).await?;
            ended(manager, &begun, no_wait).await
        }
        Request::Start { name, no_wait } => {
            let begun = core.begin(&name, Kind::Operate, Ask { start: true, ..by_api() }).await?;
            ended(manager, &begun, no_wait).await
        }
        Request::Stop { name, grace_s, no_wait } => {
            let begun = core.begin(&name, Kind::Operate, Ask { grace_s, ..by_api() }).await?;
            ended(manager, &begun, no_wait).await
        }
        Request::Terminate { name, grace_s, no_wait } => {
            let begun = core.begin(&name, Kind::Terminate, Ask { grace_s, ..by_api() }).await?;
            ended(manager, &begun, no_wait).await
        }
        Request::Update { name, version, parameters, no_wait } => {
            let instance = core.instance(&name)?;
            let revision = core.revision(&instance.package, version.as_deref())?;
            if revision == instance.revision {
                return Err(Failure::conflict(format!("{name} is at this revision already")));
            }
            let begun = core
                .begin(
                    &name,
                    Kind::ChangeVnfpkg,
                    Ask { revision: Some(revision), parameters, ..by_api() },
                )
                .await?;
            ended(manager, &begun, no_wait).await
        }
        Request::Heal { name, cause, no_wait } => {
            let mut ask = by_api();
            ask.variables.insert("VNF_HEAL_CAUSE".to_owned(), cause.unwrap_or_default());
            let begun = core.begin(&name, Kind::Heal, ask).await?;
            ended(manager, &begun, no_wait).await
        }
        Request::Scale { name, aspect, steps, scale_in, no_wait } => {
            let mut ask = Ask { aspect: aspect.clone(), steps, scale_in, ..by_api() };
            let word = if scale_in { "SCALE_IN" } else { "SCALE_OUT" };
            for (key, value) in
                [("TYPE", word.to_owned()), ("ASPECT", aspect), ("STEPS", steps.to_string())]
            {
                ask.variables.insert(format!("VNF_SCALE_{key}"), value);
            }
            let begun = core.begin(&name, Kind::Scale, ask).await?;
            ended(manager, &begun, no_wait).await
        }
        Request::Configure { name, parameters, no_wait } => {
            let begun = core.begin(&name, Kind::ModifyInfo, Ask { parameters, ..by_api() }).await?;
            ended(manager, &begun, no_wait).await
        }
        Request::Test { name } => {
            let begun = core.begin(&name, Kind::Test, by_api()).await?;
            let result = ended(manager, &begun, false).await;
            if result.is_err() {
                // A test changes no state: it does not block what comes after it.
                core.fail(&begun).await?;
            }
            result
        }
        Request::Retry { operation } => {
            let id = operation_of(manager, &operation)?;
            core.retry(&id).await?;
            ended(manager, &id, false).await
        }
        Request::Rollback { operation } => {
            let id = operation_of(manager, &operation)?;
            core.rollback(&id).await?;
            ended(manager, &id, false).await
        }
        Request::Fail { operation } => {
            let id = operation_of(manager, &operation)?;
            core.fail(&id).await.map(|op| json!(op))
        }
        Request::Cancel { operation, force } => {
            let id = operation_of(manager, &operation)?;
            core.cancel(&id, if force { CancelMode::Forceful } else { CancelMode::Graceful })
                .await?;
            core.wait(&id)
                .await
                .map(|op| json!(op))
                .ok_or_else(|| Failure::not_found("the operation is gone"))
        }
        Request::Operations { name } => {
            let id = name.map(|name| core.instance(&name)).transpose()?.map(|instance| instance.id);
            let all = core.stored_operations().await?;
            let wanted: Vec<Occurrence> = all
                .into_iter()
                .filter(|op| id.as_ref().is_none_or(|id| op.instance == *id))
                .collect();
            Ok(json!(wanted))
        }
        Request::Operation { id } => core.operation(&id).await.map(|op| json!(op)),
        Request::Status { name } => status(manager, &name),
        Request::Process { name, by } => process(manager, name, by).await,
        Request::Logs { name, operation } => {
            logs(manager, &name, operation.as_deref(), answer).await
        }
        Request::Events { after, follow, name } => {
            events(manager, after, follow, name, answer).await
        }
        Request::Rm { name, package: true } => core.remove_package(&name).await.map(|()| json!({})),
        Request::Rm { name, package: false } => remove_instance(manager, &name).await,
        Request::LookAt { pids } => {
            core.watcher.look_at(pids).await;
            Ok(json!({}))
        }
    }
}

/// The instance to instantiate: made, or left by a try that failed.
async fn ready_instance(
    manager: &Manager,
    package: &str,
    version: Option<&str>,
    name: Option<&str>,
) -> Result<String> {
    let core = &manager.core;
    let wanted = name.unwrap_or(package);
    if let Ok(there) = core.instance(wanted)
        && there.package == package
    {
        let revision = core.revision(package, version)?;
        if there.state == Instantiation::NotInstantiated
            && there.operation.is_none()
            && there.revision != revision
        {
            let change =
                core.change_instance(&there.id, |instance| instance.revision = revision)?;
            core.commit(change.into_iter().collect()).await?;
        }
        return Ok(there.id);
    }
    Ok(core.create(package, version, name).await?.id)
}

/// What became of an operation, unless nobody waits.
async fn ended(manager: &Manager, id: &str, no_wait: bool) -> Result<Value> {
    let core = &manager.core;
    if no_wait {
        return core.operation(id).await.map(|op| json!(op));
    }
    let op = core.wait(id).await.ok_or_else(|| Failure::not_found("the operation is gone"))?;
    if matches!(op.state, State::Completed | State::RolledBack) {
        return Ok(json!(op));
    }
    let error = op.error.clone().unwrap_or_default();
    let tail = if error.stderr_tail.is_empty() {
        String::new()
    } else {
        format!("\n{}", error.stderr_tail.trim_end())
    };
    let detail = format!(
        "{} of {}: {} ({}){tail}",
        op.operation,
        op.instance_name,
        error.detail,
        op.state.text()
    );
    let code = if error.code.is_empty() { "script-failed" } else { &error.code };
    Err(Failure::script(id, detail, code))
}

/// An operation by its id, or by the instance it holds.
fn operation_of(manager: &Manager, name: &str) -> Result<String> {
    if manager.core.tables().operations.contains_key(name) {
        return Ok(name.to_owned());
    }
    match manager.core.instance(name) {
        Ok(instance) => instance.operation.ok_or_else(|| {
            Failure::conflict(format!("{name} has no operation that rests or runs"))
        }),
        Err(_) => Ok(name.to_owned()),
    }
}

fn package(package: &Package) -> Value {
    json!({
        "name": package.name, "version": package.version, "revision": package.revision, "digest": package.digest,
        "tree_digest": package.tree_digest, "size": package.size, "received": package.received,
        "signature": package.signature, "warnings": package.warnings,
    })
}

fn list(manager: &Manager) -> Value {
    let tables = manager.core.tables();
    let packages: Vec<Value> = tables.packages.values().map(package).collect();
    let names: Vec<String> =
        tables.instances.values().map(|instance| instance.name.clone()).collect();
    drop(tables);
    let instances: Vec<Value> =
        names.iter().filter_map(|name| status(manager, name).ok()).collect();
    json!({ "packages": packages, "instances": instances })
}

fn show(manager: &Manager, name: &str) -> Result<Value> {
    if let Ok(mut found) = status(manager, name) {
        let instance = manager.core.instance(name)?;
        let descriptor = manager.core.descriptor(&instance.package, instance.revision)?;
        found["parameters"] = shown(&descriptor, &instance.parameters);
        found["outputs"] = json!(instance.outputs);
        found["scale"] = json!(instance.scale);
        found["created"] = json!(instance.created);
        found["work_dir"] = json!(manager.core.paths.work(&instance.id, instance.revision));
        return Ok(found);
    }
    let tables = manager.core.tables();
    let revisions: Vec<&Package> =
        tables.packages.values().filter(|package| package.name == name).collect();
    let newest = revisions.last().ok_or_else(|| {
        Failure::not_found(format!(
            "there is neither an instance nor a package `{}`",
            name.escape_debug()
        ))
    })?;
    Ok(json!({
        "name": name, "descriptor": newest.descriptor, "revisions": revisions.into_iter().map(package).collect::<Vec<_>>(),
    }))
}

fn status(manager: &Manager, name: &str) -> Result<Value> {
    let instance = manager.core.instance(name)?;
    let tables = manager.core.tables();
    let version = tables
        .packages
        .get(&(instance.package.clone(), instance.revision))
        .map(|p| p.version.clone());
    let process = tables.packages.get(&(instance.package.clone(), instance.revision));
    let process = process.and_then(|package| {
        package.descriptor.process.as_ref().map(|process| process.name.clone())
    });
    let driver = tables.drivers.get(&instance.id);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let seen = driver.map(|driver| driver.view.get());
    let state = driver.map(|driver| {
        if driver.flapping.load(relaxed) {
            "FLAPPING"
        } else if seen.as_ref().is_some_and(|seen| seen.present) {
            "PRESENT"
        } else {
            "ABSENT"
        }
    });
    let pids: Vec<i32> = seen
        .filter(|seen| seen.present)
        .map_or_else(Vec::new, |seen| seen.pids.iter().map(|p| p.pid).collect());
    let operation = instance.operation.as_ref().and_then(|id| tables.operations.get(id));
    Ok(json!({
        "id": instance.id, "name": instance.name, "package": instance.package, "version": version,
        "revision": instance.revision, "state": instance.state, "process": process, "watch": state, "pids": pids,
        "vnf_state": if instance.watch.acted == Presence::Present { "STARTED" } else { "STOPPED" },
        "healthy": driver.map(|driver| driver.healthy.load(relaxed)),
        "operation": operation.map(|op| json!({
            "id": op.id, "operation": op.operation, "state": op.state, "error": op.error,
        })),
    }))
}

/// Section 3.1's status answer.
async fn process(manager: &Manager, name: String, by: By) -> Result<Value> {
    let found = manager.core.watcher.baseline(rule(&name, by)?).await;
    Ok(described(&name, &found))
}

fn rule(name: &str, by: By) -> Result<Rule> {
    let wrong = name.is_empty() || name.len() > 255 || name.chars().any(char::is_control);
    if wrong || (name.contains('/') && !matches!(by, By::Exe | By::Pidfile)) {
        return Err(Failure::invalid(format!("`{}` is no name of a process", name.escape_debug())));
    }
    let process = Process { name: name.to_owned(), by, min_instances: 1, ..Process::default() };
    Rule::new(&process).map_err(Failure::invalid)
}

/// Whether processes of that name run, without any service: `state` is `RUNNING` or `DOWN`, `processes` tells of each.
/// Blocks for a look at `/proc`.
///
/// # Errors
/// 400 for what is no name.
pub fn process_status(name: &str, by: By) -> Result<Value> {
    let rule = rule(name, by)?;
    let failed = |error| Failure::internal("look at processes", &error);
    let own = std::process::id().cast_signed();
    let mut found = Vec::new();
    proc::Table::new()
        .and_then(|mut table| {
            table.scan(|pid, comm, _| {
                if pid != own
                    && rule.matches(pid, comm)
                    && let Some(stat) = proc::stat(pid)
                {
                    found.push(Identity { pid, start: stat.start });
                }
            })
        })
        .map_err(failed)?;
    Ok(described(name, &found))
}

fn described(name: &str, found: &[Identity]) -> Value {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as u64;
    let processes: Vec<Value> = found
        .iter()
        .filter_map(|identity| {
            let stat = proc::stat(identity.pid).filter(|stat| stat.start == identity.start)?;
            let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            Some(json!({
                "pid": identity.pid, "ppid": stat.parent, "comm": text(proc::comm(identity.pid)),
                "exe": text(proc::exe(identity.pid)), "state": char::from(stat.state).to_string(),
                "threads": stat.threads, "uid": proc::owner(identity.pid), "rss_bytes": stat.resident * page,
                "cpu_seconds": stat.ticks as f64 / ticks,
            }))
        })
        .collect();
    let state = if processes.is_empty() { "DOWN" } else { "RUNNING" };
    json!({ "name": name, "state": state, "count": processes.len(), "processes": processes })
}

async fn logs<W: AsyncWrite + Unpin>(
    manager: &Manager,
    name: &str,
    operation: Option<&str>,
    answer: &mut Answer<W>,
) -> Result<Value> {
    let instance = manager.core.instance(name)?;
    let folder = manager.core.paths.logs(&instance.id);
    let id = match operation {
        Some(id) if id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
            id.to_owned()
        }
        Some(id) => {
            return Err(Failure::invalid(format!("`{}` is no operation", id.escape_debug())));
        }
        None => {
            // Ids of operations sort by time; a health check is none.
            let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let names = names.filter_map(|entry| {
                entry.file_name().to_str()?.strip_suffix(".jsonl").map(str::to_owned)
            });
            let newest = names.filter(|name| !name.starts_with("health")).max();
            newest.ok_or_else(|| Failure::not_found(format!("no script of {name} has been run")))?
        }
    };
    let path = folder.join(format!("{id}.jsonl"));
    let file = File::open(&path)
        .map_err(|_| Failure::not_found(format!("there is no log of the operation {id}")))?;
    let mut lines = 0u64;
    for line in FileReader::new(file).lines() {
        let Ok(line) = line else { break };
        if let Ok(value) = serde_json::from_str::<Value>(&line) {
            answer.item(value).await?;
            lines += 1;
        }
    }
    Ok(json!({ "operation": id, "lines": lines }))
}

async fn events<W: AsyncWrite + Unpin>(
    manager: &Manager,
    after: u64,
    follow: bool,
    name: Option<String>,
    answer: &mut Answer<W>,
) -> Result<Value> {
    let subject_prefix = name.as_ref().map_or_else(String::new, |name| format!("vnf/{name}"));
    let filter = Filter { subject_prefix, kind_prefix: "vnf.".to_owned() };
    if follow {
        let mut subscription = manager.core.log.subscribe_to(Some(after), filter);
        loop {
            match subscription.next().await {
                Ok(event) => answer.item(json!(*event)).await?,
                Err(error) => return Err(Failure::internal("follow the events", &error)),
            }
        }
    }
    let mut last = after;
    loop {
        let page = manager.core.log.read(last, 256, &filter).await;
        let page = page.map_err(|error| Failure::internal("read the events", &error))?;
        let Some(newest) = page.last() else { return Ok(json!({ "last": last })) };
        last = newest.seq;
        for event in page {
            answer.item(json!(*event)).await?;
        }
    }
}

async fn remove_instance(manager: &Manager, name: &str) -> Result<Value> {
    let core = &manager.core;
    let instance = core.instance(name)?;
    if instance.state == Instantiation::Instantiated || instance.operation.is_some() {
        return Err(Failure::conflict(format!(
            "{name} is instantiated or in an operation; terminate it first"
        )));
    }
    core.tables().instances.remove(&instance.id);
    core.commit(vec![vnode_store::Change::delete(format!("vnf/instance/{}", instance.id))]).await?;
    core.prune(&instance.id, Some(0)).await?;
    let folder = core.paths.instance(&instance.id);
    let removed = crate::onboard::blocking(move || crate::tree::remove(&folder)).await?;
    removed.map_err(|error| Failure::internal("remove the instance's folder", &error))?;
    core.event("instance.removed", name, None, json!({}));
    Ok(json!({}))
}
