//! Starting and stopping a function's process ourselves.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::json;
use tokio::time::timeout;
use vnode_action::{Session, Spec};

use crate::{
    confine::confinement,
    core::Core,
    error::{Failure, Result},
    model::Instance,
    script, user,
    watch::{Identity, Rule, pidfd, proc},
};

/// What all processes of a `start_command` have in their environment, and scripts have not.
fn marks(instance: &Instance) -> Vec<String> {
    vec![format!("VNF_INSTANCE_ID={}", instance.id), "VNF_EVENT=start_command".to_owned()]
}

impl Core {
    /// Starts the package's `start_command` for an operation, unless it runs.
    pub(crate) async fn start_process(
        self: &Arc<Self>,
        op: &str,
        instance: &Instance,
    ) -> Result<()> {
        let descriptor = self.descriptor(&instance.package, instance.revision)?;
        if let Some(started) = instance.started
            && proc::stat(started.pid)
                .is_some_and(|stat| stat.start == started.start && stat.alive())
        {
            return Ok(());
        }
        let failed = |error: std::io::Error| Failure::internal("start the process", &error);
        let starting = self.paths.starting(&instance.id);
        // A crash may have come between its start and its record; in another boot it runs no more.
        if std::fs::read(&starting).is_ok_and(|boot| boot == self.boot.as_bytes()) {
            let marks = marks(instance);
            let found = crate::onboard::blocking(move || crate::takeover::leader(&marks)).await?;
            if let Some(found) = found {
                return self.process_started(instance, Some(found)).await;
            }
        }
        let other = self.user(&descriptor, None)?;
        let who = other.clone().unwrap_or_else(user::own);
        let folder = self.paths.work(&instance.id, instance.revision);
        let mut argv = descriptor.start_command.clone();
        // A file of the package, as the descriptor names it.
        if let Some(program) = argv.first_mut()
            && !program.starts_with('/')
            && program.contains('/')
        {
            *program = folder.join(&*program).display().to_string();
        }
        let mut spec = Spec::new(&argv)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &who.home)
            .env("USER", &who.name)
            .env("LANG", "C.UTF-8")
            .envs(&descriptor.environment)
            .env("VNF_NAME", &instance.name)
            .folder(&folder)
            .session(Session::NewSession);
        for (name, value) in &instance.parameters {
            spec = spec.env(format!("VNF_PARAM_{name}"), value);
        }
        for mark in marks(instance) {
            if let Some((name, value)) = mark.split_once('=') {
                spec = spec.env(name, value);
            }
        }
        let groups = self.keep_limits(op, instance, &descriptor);
        let spec = groups.iter().fold(spec, Spec::enter);
        let confined = confinement(&descriptor, &self.paths.instance(&instance.id))?;
        let spec = confined.into_iter().fold(spec, Spec::confine);
        let spec = script::run_as(script::limited(spec, &descriptor.limits), other.as_ref());
        self.paths.prepare_runs(&instance.id).map_err(failed)?;
        std::fs::write(&starting, &self.boot).map_err(failed)?;
        let pid = vnode_action::spawn_detached(spec)
            .map_err(|error| Failure::internal("start the process", &error))?
            .cast_signed();
        crate::onboard::point("vnf.process.spawned")?;
        let held =
            Pid::from_raw(pid).map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK));
        let stat = proc::stat(pid);
        if let Some(Ok(held)) = held {
            tokio::spawn(reap_when_ended(held));
        }
        let identity = stat.map(|stat| Identity { pid, start: stat.start });
        self.process_started(instance, identity).await
    }

    /// Puts on record what was started.
    async fn process_started(&self, instance: &Instance, process: Option<Identity>) -> Result<()> {
        let change = self.record_instance(&instance.id, |instance| instance.started = process)?;
        self.commit(change.into_iter().collect()).await?;
        match std::fs::remove_file(self.paths.starting(&instance.id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::internal("forget the start", &error));
            }
            _ => {}
        }
        let Some(Identity { pid, .. }) = process else { return Ok(()) };
        self.event("process.started", &instance.name, None, json!({ "pid": pid }));
        // The connector tells of it; where there is none, this spares the wait.
        self.watcher.look_at(vec![pid]).await;
        Ok(())
    }

    /// Ends a function's processes: TERM, and KILL after `grace`.
    pub(crate) async fn stop_process(&self, instance: &Instance, grace: Duration) -> Result<()> {
        let descriptor = self.descriptor(&instance.package, instance.revision)?;
        let mut targets = Vec::new();
        if let Some(process) = &descriptor.process
            && let Ok(rule) = Rule::new(process)
        {
            targets = self.watcher.baseline(rule).await;
        }
        targets.extend(instance.started);
        targets.sort_unstable();
        targets.dedup();
        let held: Vec<OwnedFd> = targets
            .iter()
            .filter_map(|target| pidfd::open(target.pid, target.start).ok())
            .collect();
        for held in &held {
            // One that has ended by now is what is wanted.
            let _ = rustix::process::pidfd_send_signal(held, Signal::TERM);
        }
        let ended = async {
            for held in held {
                let Ok(held) = pidfd::watched(held) else { continue };
                // Readable, or beyond knowing: both mean not to wait for it.
                let _ = held.readable().await;
            }
        };
        let _ = timeout(grace, ended).await;
        for target in &targets {
            if let Ok(held) = pidfd::open(target.pid, target.start) {
                // As above.
                let _ = rustix::process::pidfd_send_signal(&held, Signal::KILL);
            }
        }
        if !descriptor.start_command.is_empty() {
            let marks = marks(instance);
            crate::onboard::blocking(move || script::kill_marked(&marks, Signal::KILL)).await?;
        }
        let change = self.record_instance(&instance.id, |instance| instance.started = None)?;
        self.commit(change.into_iter().collect()).await
    }
}

async fn reap_when_ended(held: OwnedFd) {
    let Ok(held) = pidfd::watched(held) else { return };
    loop {
        let Ok(mut ready) = held.readable().await else { return };
        // The watch reads how it ended while it is a zombie: let it.
        tokio::time::sleep(Duration::from_millis(5)).await;
        match script::reap(held.get_ref()) {
            Ok(None) => ready.clear_ready(),
            Ok(Some(_)) | Err(_) => return,
        }
    }
}
