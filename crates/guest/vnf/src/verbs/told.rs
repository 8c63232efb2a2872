//! Answers that tell how things are.

use std::{
    fs::File,
    io::{BufRead, BufReader as FileReader},
};

use serde_json::{Value, json};
use tokio::io::AsyncWrite;
use vnode_event::Filter;
use vnode_vnfpkg::{By, Process};

use crate::{
    error::{Failure, Result},
    manager::Manager,
    model::{Package, Presence},
    operate::shown,
    service::Answer,
    watch::{Candidate, Identity, Rule, proc},
};

fn package(package: &Package) -> Value {
    json!({
        "name": package.name, "version": package.version, "revision": package.revision, "digest": package.digest,
        "tree_digest": package.tree_digest, "size": package.size, "received": package.received,
        "signature": package.signature, "warnings": package.warnings,
    })
}

pub(super) fn list(manager: &Manager) -> Value {
    let tables = manager.core.tables();
    let packages: Vec<Value> = tables.packages.values().map(package).collect();
    let names: Vec<String> =
        tables.instances.values().map(|instance| instance.name.clone()).collect();
    drop(tables);
    let instances: Vec<Value> =
        names.iter().filter_map(|name| status(manager, name).ok()).collect();
    json!({ "packages": packages, "instances": instances })
}

pub(super) fn show(manager: &Manager, name: &str) -> Result<Value> {
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

pub(super) fn status(manager: &Manager, name: &str) -> Result<Value> {
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
pub(super) async fn process(manager: &Manager, name: String, by: By) -> Result<Value> {
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
                let candidate = Candidate::new(pid, comm);
                if pid != own && rule.matches(&candidate) {
                    found.extend(candidate.identity());
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

pub(super) async fn logs<W: AsyncWrite + Unpin>(
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

pub(super) async fn events<W: AsyncWrite + Unpin>(
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
