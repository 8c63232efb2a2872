//! Commands that are executables in a folder (docs/reference/agent-plugins.md).

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;
use vnode_action::{CancellationToken, Output, Spec, Stdin};

use super::{Class, Command, CommandError, Form, Registry};
use crate::{
    config::Plugins,
    context::{Context, Resource},
};

/// How long a plugin may take to say what it does.
const DESCRIBE: Duration = Duration::from_secs(10);
/// Most that a plugin may print, bytes.
const OUTPUT_BYTES: usize = 1 << 20;
/// Most plugins.
const PLUGINS: usize = 64;

#[derive(Debug, Deserialize)]
struct Description {
    commands: Vec<Described>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Described {
    name: String,
    #[serde(default)]
    form: PluginForm,
    resource: Option<PluginResource>,
    #[serde(default)]
    while_frozen: bool,
    #[serde(default = "yes")]
    on_by_default: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PluginForm {
    #[default]
    Openstack,
    Guest,
    Native,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PluginResource {
    Network,
    Accounts,
    Files,
    FileSystems,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Value(Value),
    Error(Failure),
}

#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(default)]
    class: String,
    #[serde(default)]
    message: String,
    code: Option<String>,
}

/// A command of a plugin.
#[derive(Debug)]
struct Plugin {
    program: PathBuf,
    described: Described,
    time_limit: Duration,
}

/// Adds the commands of all plugins in the folder. One that does not work is told in the log and left out: the rest
/// of the agent serves all the same.
pub async fn load(registry: &mut Registry, plugins: &Plugins) {
    let entries = match std::fs::read_dir(&plugins.commands) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::error!(folder = %plugins.commands.display(), %error, "cannot list plugins");
            return;
        }
    };
    let mut programs: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).take(PLUGINS).collect();
    programs.sort();
    for program in programs {
        let loaded = match may_run(&program) {
            Ok(false) => continue,
            Ok(true) => describe(&program).await,
            Err(reason) => Err(CommandError::failed(reason)),
        };
        match loaded {
            Ok(commands) => {
                for described in commands {
                    let name = described.name.clone();
                    tracing::debug!(plugin = %program.display(), command = name, "loaded");
                    registry.insert(Box::new(Plugin {
                        program: program.clone(),
                        described,
                        time_limit: plugins.time_limit,
                    }));
                }
            }
            Err(error) => {
                tracing::error!(plugin = %program.display(), %error, "this plugin is left out");
            }
        }
    }
}

/// Whether it is a program; an error when others could have written it.
fn may_run(program: &Path) -> Result<bool, String> {
    let data = program.metadata().map_err(|error| error.to_string())?;
    let rights = data.permissions().mode();
    if !data.is_file() || rights & 0o111 == 0 {
        return Ok(false);
    }
    let ours = rustix::process::getuid().as_raw();
    if data.uid() != 0 && data.uid() != ours || rights & 0o022 != 0 {
        return Err("it must belong to root and be writable by nobody else".to_owned());
    }
    Ok(true)
}

/// How every plugin is started.
pub(crate) fn spec(program: &Path) -> Spec {
    Spec::new([program])
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .env("VNODE_AGENT_VERSION", env!("CARGO_PKG_VERSION"))
        .folder("/")
}

async fn describe(program: &Path) -> Result<Vec<Described>, CommandError> {
    let spec = spec(program).arg("describe").capture(OUTPUT_BYTES).time_limit(DESCRIBE);
    let output = vnode_action::run(spec, &CancellationToken::new()).await;
    let output = output.map_err(|error| CommandError::failed(error.to_string()))?;
    let description: Description = understood(&output)?;
    Ok(description.commands)
}

fn understood<T: serde::de::DeserializeOwned>(output: &Output) -> Result<T, CommandError> {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default().trim();
    if !output.success() {
        let text = format!("the plugin ended with {}: {said}", output.status);
        return Err(CommandError::failed(text));
    }
    if output.stdout_truncated {
        let text = format!("the plugin printed more than {OUTPUT_BYTES} bytes");
        return Err(CommandError::failed(text));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| {
        CommandError::failed("the plugin's answer is not understood").with_source(error)
    })
}

impl Command for Plugin {
    fn name(&self) -> &str {
        &self.described.name
    }

    fn form(&self) -> Form {
        match self.described.form {
            PluginForm::Openstack => Form::Openstack,
            PluginForm::Guest => Form::Guest,
            PluginForm::Native => Form::Native,
        }
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        Box::pin(async move {
            let spec = spec(&self.program)
                .arg("run")
                .arg(&self.described.name)
                .env("VNODE_CHANNEL", context.channel())
                .stdin(Stdin::Bytes(value.to_string().into_bytes()))
                .capture(OUTPUT_BYTES)
                .time_limit(self.time_limit);
            let output = context.run(spec).await.map_err(|error| {
                let class = match &error {
                    vnode_action::Error::TimeLimit { .. } => Class::TimedOut,
                    vnode_action::Error::Cancelled { .. } => Class::Cancelled,
                    _ => Class::Failed,
                };
                CommandError::new(class, error.to_string()).with_source(error)
            })?;
            match understood(&output)? {
                Answer::Value(value) => Ok(value),
                Answer::Error(failure) => {
                    let class = match failure.class.as_str() {
                        "unknown" => Class::Unknown,
                        "invalid" => Class::Invalid,
                        "not-found" => Class::NotFound,
                        "denied" => Class::Denied,
                        "unsupported" => Class::Unsupported,
                        "timed-out" => Class::TimedOut,
                        _ => Class::Failed,
                    };
                    let error = CommandError::new(class, failure.message);
                    Err(match failure.code {
                        Some(code) => error.with_code(code),
                        None => error,
                    })
                }
            }
        })
    }

    fn resource(&self) -> Option<Resource> {
        self.described.resource.map(|resource| match resource {
            PluginResource::Network => Resource::Network,
            PluginResource::Accounts => Resource::Accounts,
            PluginResource::Files => Resource::Files,
            PluginResource::FileSystems => Resource::FileSystems,
        })
    }

    fn while_frozen(&self) -> bool {
        self.described.while_frozen
    }

    fn on_by_default(&self) -> bool {
        self.described.on_by_default
    }
}
