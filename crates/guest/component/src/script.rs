//! One script, run for one request.

use std::{ffi::OsStr, path::Path, time::Duration};

use vnode_action::{CancellationToken, ExitStatus, Resource, Sandbox, Spec, Stdin, Stream};
use vnode_protocol::chain;

use crate::{
    definition::{Command, EnvironmentKind, Operation, SandboxKind, Settings},
    json,
    rpc_error::RpcError,
    stderr, user,
};

/// Bytes kept of what a program prints on its error output.
const MAX_STDERR: usize = 64 << 10;
/// Bytes kept of what a program prints that nobody reads: for the log.
const MAX_IGNORED: usize = 4 << 10;
/// Time between the polite signal and the last one.
const GRACE: Duration = Duration::from_secs(2);

/// Whom a script in a sandbox runs as where the file names nobody: the number that the kernel has for that.
const NOBODY: &str = "65534";

/// Who asked, as the bus knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caller {
    pub uid: Option<u32>,
    pub pid: Option<u32>,
}

/// One request for a script.
#[derive(Debug)]
pub struct Request<'a> {
    pub operation: Operation,
    /// The key in the instance file.
    pub message: &'a str,
    pub component: &'a str,
    /// Empty for Start and Stop.
    pub model: &'a str,
    pub command: &'a Command,
    pub settings: &'a Settings,
    /// JSON, for Set, Check and RPC.
    pub input: Option<String>,
    /// JSON, for an RPC.
    pub metadata: Option<&'a str>,
    pub caller: Caller,
    /// Address of the bus, for scripts that have something to tell there.
    pub bus: &'a str,
    /// Empty output is an error, as upstream.
    pub strict: bool,
}

/// Runs the script. Gives its output, which for Get and RPC is one compact JSON value.
///
/// # Errors
/// When it cannot be started, fails, takes too long, prints too much or not JSON. The error can always be sent.
pub async fn run(
    request: Request<'_>,
    cancelled: &CancellationToken,
) -> Result<String, Box<RpcError>> {
    let Request { operation, command, settings, .. } = request;
    let program = command.argv.first().map_or("", String::as_str).to_owned();
    let limit = settings.timeout(operation, request.message);
    let answers = matches!(operation, Operation::Get | Operation::State | Operation::Rpc);
    let wanted = if answers { settings.max_output() } else { MAX_IGNORED };
    let spec = spec(&request, limit, wanted)?;
    let stdin = request.input.map_or(Stdin::Null, |input| Stdin::Bytes(input.into_bytes()));
    let output = match vnode_action::run(spec.stdin(stdin), cancelled).await {
        Ok(output) => output,
        Err(vnode_action::Error::TimeLimit { output, .. }) => {
            let printed = String::from_utf8_lossy(&output.stderr).replace('\0', "\u{fffd}");
            let mut message = format!("`{program}` was ended: it took longer than {limit:?}");
            if !printed.trim().is_empty() {
                message = format!("{message}; it said: {}", printed.trim());
            }
            return Err(Box::new(RpcError::new("operation-failed", "exec-timeout", message)));
        }
        Err(vnode_action::Error::Cancelled { .. }) => {
            let message = format!("`{program}` was ended: its component is being stopped");
            return Err(Box::new(RpcError::new("operation-failed", "exec-cancelled", message)));
        }
        Err(error) => return Err(Box::new(RpcError::exec_failed(chain(&error)))),
    };
    if !output.success() {
        let how = match output.status {
            ExitStatus::Code(code) => {
                format!("`{program}` ended with exit status {code} and said nothing")
            }
            ExitStatus::Signal(signal) => format!("`{program}` was killed by signal {signal}"),
        };
        let decoded = stderr::decode(&output.stderr, &how);
        if !decoded.rest.is_empty() {
            tracing::info!(
                component = request.component,
                message = request.message,
                "{}",
                decoded.rest
            );
        }
        return Err(Box::new(decoded.error));
    }
    let told = String::from_utf8_lossy(&output.stderr);
    if !told.trim().is_empty() {
        tracing::info!(component = request.component, message = request.message, "{}", told.trim());
    }
    if !answers {
        let printed = String::from_utf8_lossy(&output.stdout);
        if !printed.trim().is_empty() {
            tracing::debug!(
                component = request.component,
                message = request.message,
                "{}",
                printed.trim()
            );
        }
        return Ok(String::new());
    }
    if output.stdout_truncated {
        let message =
            format!("`{program}` printed more than {wanted} bytes; `X-MaxOutput` allows more");
        return Err(Box::new(RpcError::new("too-big", "exec-output", message)));
    }
    let bad = |why: String| {
        Box::new(RpcError::new(
            "operation-failed",
            "exec-output",
            format!("`{program}` printed {why}"),
        ))
    };
    let text = String::from_utf8(output.stdout).map_err(|error| {
        let begin: String = String::from_utf8_lossy(error.as_bytes()).chars().take(60).collect();
        bad(format!("bytes that are not UTF-8; it begins `{}`", begin.replace('\0', "\u{fffd}")))
    })?;
    if text.contains('\0') {
        return Err(bad("a zero byte".to_owned()));
    }
    if text.trim().is_empty() && !request.strict {
        return Ok("{}".to_owned());
    }
    let text = json::compact(text).map_err(|error| bad(error.to_string()))?;
    // No tree is the empty tree.
    Ok(if text == "null" && operation != Operation::Rpc { "{}".to_owned() } else { text })
}

fn spec(request: &Request<'_>, limit: Duration, wanted: usize) -> Result<Spec, Box<RpcError>> {
    let settings = request.settings;
    let mut spec = Spec::new(&request.command.argv)
        .env("VCI_COMPONENT_NAME", request.component)
        .env("VCI_MODEL_NAME", request.model)
        .env("EPHEMERA_MESSAGE", request.message)
        .stdout(Stream::Capture { max_bytes: wanted })
        .stderr(Stream::Capture { max_bytes: MAX_STDERR })
        .time_limit(limit)
        .grace(GRACE);
    if settings.environment() == EnvironmentKind::Extended {
        spec = spec
            .env("EPHEMERA_API", "1")
            .env("EPHEMERA_DEADLINE_MS", limit.as_millis().to_string())
            .env("VNODE_COMPONENT_BUS", request.bus);
        if let Some(folders) = &settings.yang {
            let folders: Vec<_> = folders.iter().map(|folder| folder.as_os_str()).collect();
            spec = spec.env("VNODE_COMPONENT_YANG", folders.join(OsStr::new(":")));
        }
        if let Some(uid) = request.caller.uid {
            spec = spec.env("EPHEMERA_CALLER_UID", uid.to_string());
        }
        if let Some(pid) = request.caller.pid {
            spec = spec.env("EPHEMERA_CALLER_PID", pid.to_string());
        }
    }
    if let Some(metadata) = request.metadata {
        spec = spec.env("VCI_RPC_METADATA", metadata);
    }
    let mut name = settings.user.as_deref();
    if settings.sandbox() == SandboxKind::Strict {
        let writable = settings.writable.clone().unwrap_or_default();
        spec = spec.sandbox(Sandbox { writable, ..Sandbox::default() });
        // Who is root without a capability still is whom other services obey.
        name = name.or(Some(NOBODY));
    }
    let user = user::look_up(Path::new("/etc"), name, settings.group.as_deref())
        .map_err(|error| Box::new(RpcError::exec_failed(chain(&error))))?;
    if let Some(user) = user {
        spec = spec.user(user);
        // The kernel counts the user's processes, all of them; it does not count root's.
        spec = spec.limit(Resource::Nproc, settings.max_processes());
    }
    Ok(spec)
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
