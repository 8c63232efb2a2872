//! ping, info, time, shutdown.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use rustix::time::{ClockId, Timespec};
use serde::Deserialize;
use serde_json::{Value, json};
use vnode_action::Spec;

use super::{failed, read};
use crate::{
    command::{Command, CommandError, Form},
    context::Context,
};

/// Answers.
#[derive(Debug)]
pub(super) struct Ping;

impl Command for Ping {
    fn name(&self) -> &str {
        "ping"
    }

    fn form(&self) -> Form {
        Form::Native
    }

    fn run<'a>(&'a self, _: &'a Context, _: Value) -> BoxFuture<'a, Result<Value, CommandError>> {
        Box::pin(async { Ok(json!({})) })
    }

    fn while_frozen(&self) -> bool {
        true
    }
}

/// Tells who we are and what may be asked.
#[derive(Debug)]
pub(super) struct Info;

impl Command for Info {
    fn name(&self) -> &str {
        "info"
    }

    fn form(&self) -> Form {
        Form::Native
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        _: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        Box::pin(async {
            let commands: Vec<Value> = context
                .commands()
                .iter()
                .map(|(command, _)| {
                    let name = command.name();
                    let enabled = context.commands().enabled_now(name, context);
                    json!({"name": name, "enabled": enabled, "stream": command.streaming().is_some()})
                })
                .collect();
            let uname = rustix::system::uname();
            Ok(json!({
                "agent": "vnode-agent",
                "version": env!("CARGO_PKG_VERSION"),
                "protocol": 1,
                "channel": context.channel(),
                "host_name": uname.nodename().to_string_lossy(),
                "kernel": uname.release().to_string_lossy(),
                "machine": uname.machine().to_string_lossy(),
                "commands": commands,
            }))
        })
    }

    fn while_frozen(&self) -> bool {
        true
    }
}

/// Tells the time, or sets it.
#[derive(Debug)]
pub(super) struct Time;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TimeValue {
    /// Nanoseconds since 1970.
    set_ns: Option<u64>,
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Command for Time {
    fn name(&self) -> &str {
        "time"
    }

    fn form(&self) -> Form {
        Form::Native
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        Box::pin(async {
            let value: TimeValue = read(if value.is_null() { json!({}) } else { value })?;
            if let Some(ns) = value.set_ns {
                let wrong = |_| CommandError::invalid("`set_ns` is beyond what a clock holds");
                let time = Timespec {
                    tv_sec: i64::try_from(ns / 1_000_000_000).map_err(wrong)?,
                    tv_nsec: i64::try_from(ns % 1_000_000_000).map_err(wrong)?,
                };
                rustix::time::clock_settime(ClockId::Realtime, time)
                    .map_err(|error| failed("set the clock", error))?;
            }
            let now = u64::try_from(since_1970(context.now()).as_nanos()).unwrap_or(u64::MAX);
            Ok(json!({ "ns": now }))
        })
    }

    fn while_frozen(&self) -> bool {
        true
    }
}

/// Ends the machine, after the answer.
#[derive(Debug)]
pub(super) struct Shutdown;

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Poweroff,
    Reboot,
    Halt,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ShutdownValue {
    mode: Mode,
}

impl Command for Shutdown {
    fn name(&self) -> &str {
        "shutdown"
    }

    fn form(&self) -> Form {
        Form::Native
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        Box::pin(async move {
            let value: ShutdownValue = read(if value.is_null() { json!({}) } else { value })?;
            // shutdown(8) warns users and is what init systems share; the others are busybox's.
            let (options, plain): (&[&str], &str) = match value.mode {
                Mode::Poweroff => (&["-h", "-P", "+0"], "poweroff"),
                Mode::Reboot => (&["-r", "+0"], "reboot"),
                Mode::Halt => (&["-h", "-H", "+0"], "halt"),
            };
            let there = |name: &str| {
                ["usr/sbin", "sbin", "usr/bin", "bin"]
                    .iter()
                    .find(|folder| context.root().stat(format!("{folder}/{name}")).is_ok())
                    .map(|folder| format!("/{folder}/{name}"))
            };
            let argv: Vec<String> = match (there("shutdown"), there(plain)) {
                (Some(program), _) => {
                    [program].into_iter().chain(options.iter().map(|&o| o.to_owned())).collect()
                }
                (None, Some(program)) => vec![program],
                (None, None) => {
                    let text = format!("neither `shutdown` nor `{plain}` is there");
                    return Err(CommandError::unsupported(text));
                }
            };
            // Of the agent, not of the request: the client may be gone by then.
            let late = context.clone();
            context.after_reply(async move {
                let spec = Spec::new(argv).capture(4096).time_limit(Duration::from_secs(60));
                match late.run_detached(spec).await {
                    Ok(output) if output.success() => {}
                    Ok(output) => tracing::error!(status = %output.status, "shutting down failed"),
                    Err(error) => tracing::error!(%error, "cannot shut down"),
                }
            });
            Ok(json!({}))
        })
    }
}
