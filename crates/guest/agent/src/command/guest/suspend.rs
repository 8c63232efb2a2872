//! guest-suspend-disk, -ram, -hybrid: by systemd, by pm-utils, or by the kernel's own file.

use futures_util::future::BoxFuture;
use serde_json::Value;
use vnode_action::{ExitStatus, Spec};

use super::{Args, CommandError, Guest, read_text, vcpus::write_word};
use crate::context::Context;

const STATE: &str = "/sys/power/state";

/// The words of the three ways for one mode.
struct Mode {
    unit: &'static str,
    systemctl: &'static str,
    supported: &'static str,
    pm_utils: &'static str,
    /// None for the hybrid mode.
    kernel: Option<&'static str>,
}

const DISK: Mode = Mode {
    unit: "systemd-hibernate",
    systemctl: "hibernate",
    supported: "--hibernate",
    pm_utils: "pm-hibernate",
    kernel: Some("disk"),
};
const RAM: Mode = Mode {
    unit: "systemd-suspend",
    systemctl: "suspend",
    supported: "--suspend",
    pm_utils: "pm-suspend",
    kernel: Some("mem"),
};
const HYBRID: Mode = Mode {
    unit: "systemd-hybrid-sleep",
    systemctl: "hybrid-sleep",
    supported: "--suspend-hybrid",
    pm_utils: "pm-suspend-hybrid",
    kernel: None,
};

pub(super) fn commands() -> Vec<Guest> {
    vec![
        Guest::later("guest-suspend-disk", |c, args| suspend(c, args, &DISK)).silent(),
        Guest::later("guest-suspend-ram", |c, args| suspend(c, args, &RAM)).silent(),
        Guest::later("guest-suspend-hybrid", |c, args| suspend(c, args, &HYBRID)).silent(),
    ]
}

/// The exit code of a program; `None` when there is no such program, or it was killed.
async fn code(context: &Context, argv: &[&str]) -> Option<i32> {
    match context.run(Spec::new(argv)).await.ok()?.status {
        ExitStatus::Code(code) => Some(code),
        _ => None,
    }
}

fn suspend<'a>(
    context: &'a Context,
    args: Args,
    mode: &'static Mode,
) -> BoxFuture<'a, Result<Value, CommandError>> {
    Box::pin(async move {
        args.finish()?;
        let mut failure = None;
        // 1 to 3: the unit is known and not running (systemctl(1), LSB codes); 4: there is none.
        if matches!(code(context, &["systemctl", "status", mode.unit]).await, Some(1..=3)) {
            match code(context, &["systemctl", mode.systemctl]).await {
                Some(0) => return Ok(Value::Null),
                code => failure = Some(unexpected(&format!("systemctl {}", mode.systemctl), code)),
            }
        }
        if code(context, &["pm-is-supported", mode.supported]).await == Some(0) {
            match code(context, &[mode.pm_utils]).await {
                Some(0) => return Ok(Value::Null),
                code => failure = Some(unexpected(mode.pm_utils, code)),
            }
        }
        let states = read_text(context, STATE).unwrap_or_default();
        if let Some(word) = mode.kernel.filter(|word| states.split_whitespace().any(|s| s == *word))
        {
            return write_word(context, STATE, word).map(|()| Value::Null);
        }
        Err(failure.unwrap_or_else(|| {
            CommandError::unsupported("the requested suspend mode is not supported by the guest")
        }))
    })
}

fn unexpected(program: &str, code: Option<i32>) -> CommandError {
    let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    CommandError::failed(format!(
        "the helper program '{program}' returned an unexpected exit status code ({code})"
    ))
}
