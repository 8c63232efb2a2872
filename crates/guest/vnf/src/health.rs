//! Asking a function whether it is well, and what follows when it is not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use vnode_vnfpkg::{Event, Health, HealthAction, HealthKind};

use crate::{
    core::Core,
    environment::{How, Which},
    model::{Kind, Occurrence},
    operate::Ask,
};

/// Asks again and again until told to stop.
pub(crate) async fn follow(
    core: Arc<Core>,
    id: String,
    health: Health,
    stop: CancellationToken,
    healthy: Arc<AtomicBool>,
) {
    let rounds = async {
        sleep(Duration::from_secs(health.start_period_s)).await;
        let (mut failed, mut fine) = (0u32, 0u32);
        loop {
            sleep(Duration::from_secs(health.interval_s)).await;
            let Ok(instance) = core.instance(&id) else { return };
            if instance.operation.is_some() || !instance.wanted {
                continue;
            }
            let limit = Duration::from_secs(health.timeout_s);
            let result = timeout(limit, ask(&core, &id, &health))
                .await
                .unwrap_or_else(|_| Err("no answer in time".to_owned()));
            match result {
                Ok(()) => {
                    failed = 0;
                    fine = fine.saturating_add(1);
                    if fine >= health.ok_after && !healthy.swap(true, Ordering::Relaxed) {
                        core.event("health.restored", &instance.name, None, json!({}));
                    }
                }
                Err(why) => {
                    fine = 0;
                    failed = failed.saturating_add(1);
                    if failed == health.fail_after {
                        healthy.store(false, Ordering::Relaxed);
                        core.event(
                            "health.failed",
                            &instance.name,
                            None,
                            json!({ "detail": why, "times": failed }),
                        );
                        mend(&core, &id, &health, &why).await;
                        failed = 0;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = rounds => {}
        () = stop.cancelled() => {}
    }
}

async fn mend(core: &Arc<Core>, id: &str, health: &Health, why: &str) {
    let mut ask =
        Ask { automatic: true, cause: "health".to_owned(), grace_s: 10, ..Ask::default() };
    ask.variables.insert("VNF_HEAL_CAUSE".to_owned(), why.to_owned());
    let begun = match health.action {
        HealthAction::Report => return,
        HealthAction::Heal => core.begin(id, Kind::Heal, ask).await,
        HealthAction::Restart => match core.begin(id, Kind::Operate, ask.clone()).await {
            Ok(stopping) => match core.wait(&stopping).await {
                Ok(_) => core.begin(id, Kind::Operate, Ask { start: true, ..ask }).await,
                Err(error) => Err(error),
            },
            other => other,
        },
    };
    if let Err(error) = begun {
        core.event("health.not-mended", id, None, json!({ "detail": error.detail }));
    }
}

async fn ask(core: &Arc<Core>, id: &str, health: &Health) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", health.target);
    match health.kind {
        HealthKind::Tcp => TcpStream::connect(&health.target).await.map(drop).map_err(told),
        HealthKind::Unix => UnixStream::connect(&health.target).await.map(drop).map_err(told),
        HealthKind::Http => {
            let target = health.target.strip_prefix("http://").unwrap_or(&health.target);
            let (host, path) = target.split_once('/').unwrap_or((target, ""));
            let mut stream = TcpStream::connect(host).await.map_err(told)?;
            let request =
                format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.map_err(told)?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.map_err(told)?;
            let status =
                str::from_utf8(&answer[9..]).ok().and_then(|text| text.parse::<u16>().ok());
            match status {
                Some(200..=399) if answer.starts_with(b"HTTP/1.") => Ok(()),
                _ => Err(format!("answered `{}`", String::from_utf8_lossy(&answer).escape_debug())),
            }
        }
        HealthKind::Exec => scripts(core, id).await,
    }
}

async fn scripts(core: &Arc<Core>, id: &str) -> Result<(), String> {
    let instance = core.instance(id).map_err(|error| error.detail)?;
    let descriptor =
        core.descriptor(&instance.package, instance.revision).map_err(|error| error.detail)?;
    // Not stored: a check is no operation.
    let op =
        Occurrence::automatic(format!("health-{id}"), &instance, Kind::Test, "health", json!({}));
    for (index, script) in descriptor.scripts(Event::Health).iter().enumerate() {
        let token = CancellationToken::new();
        let revision = instance.revision;
        let (op, instance) = (&op, &instance);
        let which = Which { op, instance, revision, event: Event::Health, index, attempt: 1 };
        let ran = core.run_script(&which, How::Unrecorded, &token).await;
        let outcome = ran.map_err(|error| error.detail)?;
        if !outcome.ok() {
            return Err(core.trouble(&script.path, &outcome, &descriptor, instance).detail);
        }
    }
    Ok(())
}
