//! guest-shutdown.

use futures_util::future::BoxFuture;
use serde_json::Value;
use vnode_action::Spec;

use super::{Args, CommandError, Guest};
use crate::context::Context;

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::later("guest-shutdown", shutdown).silent()]
}

#[derive(Clone, Copy)]
enum Mode {
    Halt,
    Powerdown,
    Reboot,
}

const MODES: [(&str, Mode); 3] =
    [("halt", Mode::Halt), ("powerdown", Mode::Powerdown), ("reboot", Mode::Reboot)];

/// How a mode is asked for: what the system has of these, in this order.
fn programs(mode: Mode) -> [&'static [&'static str]; 3] {
    const WHY: &str = "hypervisor initiated shutdown";
    match mode {
        Mode::Halt => [&["shutdown", "-h", "-H", "+0", WHY], &["systemctl", "halt"], &["halt"]],
        Mode::Powerdown => {
            [&["shutdown", "-h", "-P", "+0", WHY], &["systemctl", "poweroff"], &["poweroff"]]
        }
        Mode::Reboot => {
            [&["shutdown", "-h", "-r", "+0", WHY], &["systemctl", "reboot"], &["reboot"]]
        }
    }
}

fn shutdown(context: &Context, mut args: Args) -> BoxFuture<'_, Result<Value, CommandError>> {
    Box::pin(async move {
        let mode = args.opt_word("mode", &MODES)?;
        args.finish()?;
        for argv in programs(mode.unwrap_or(Mode::Powerdown)) {
            match context.run(Spec::new(argv)).await {
                Ok(output) if output.success() => return Ok(Value::Null),
                Ok(_) => return Err(CommandError::failed("child process has failed to shutdown")),
                Err(vnode_action::Error::NotFound { .. }) => {}
                Err(error) => {
                    return Err(
                        CommandError::failed(format!("child process: {error}")).with_source(error)
                    );
                }
            }
        }
        Err(CommandError::unsupported("there is no `shutdown`, `systemctl` or `poweroff` here"))
    })
}
