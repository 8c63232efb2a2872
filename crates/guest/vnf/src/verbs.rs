//! What can be asked of the service.

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    error::{Failure, Result},
    manager::Manager,
    model::{CancelMode, Instantiation, Kind, Occurrence, State},
    operate::Ask,
    service::Answer,
};

mod attend;
mod request;
mod told;

pub(crate) use attend::Attend;
pub use request::Request;
use request::grace;
pub use told::process_status;
use told::{events, list, logs, process, show, status};

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
    // Only its beginning: one may follow events for ever.
    drop(core.busy.enter());
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
            let ask = Ask { aspect, steps, scale_in, ..by_api() };
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
            core.wait(&id).await.map(|op| json!(op))
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
        Request::Attend(terms) => attend::attend(manager, terms, from, answer).await,
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
                core.record_instance(&there.id, |instance| instance.revision = revision)?;
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
    let op = core.wait(id).await?;
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

async fn remove_instance(manager: &Manager, name: &str) -> Result<Value> {
    let core = &manager.core;
    let instance = core.instance(name)?;
    if instance.state == Instantiation::Instantiated || instance.operation.is_some() {
        return Err(Failure::conflict(format!(
            "{name} is instantiated or in an operation; terminate it first"
        )));
    }
    core.tables().instances.remove(&instance.id);
    core.logged.forget(&instance.id);
    core.commit(vec![vnode_store::Change::delete(format!("vnf/instance/{}", instance.id))]).await?;
    core.prune(&instance.id, Some(0)).await?;
    let folder = core.paths.instance(&instance.id);
    let (here, id) = (std::sync::Arc::clone(core), instance.id.clone());
    let removed = crate::onboard::blocking(move || {
        here.groups().remove(&id);
        crate::tree::remove(&folder)
    });
    let removed = removed.await?;
    removed.map_err(|error| Failure::internal("remove the instance's folder", &error))?;
    core.event("instance.removed", name, None, json!({}));
    Ok(json!({}))
}
