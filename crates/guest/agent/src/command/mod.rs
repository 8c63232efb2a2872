//! What does the work.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use serde_json::Value;
use vnode_idle::{Busy, BusyGuard};

use crate::{
    audit,
    context::{After, Context, Resource},
};

mod error;
pub mod guest;
pub mod native;
pub mod openstack;
pub mod plugin;

pub use error::{Class, CommandError};

/// Whose command it is: names are unique within a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// openstack-guest-agents.
    Openstack,
    /// qemu-ga.
    Guest,
    /// Ours.
    Native,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Openstack => "openstack",
            Self::Guest => "guest",
            Self::Native => "native",
        })
    }
}

/// Does one thing.
pub trait Command: Send + Sync + fmt::Debug {
    /// As clients write it: `guest-ping`.
    fn name(&self) -> &str;

    fn form(&self) -> Form;

    /// Does it. The future is dropped when the request is cancelled.
    ///
    /// An OpenStack command gives a string, which is answered with return code `"0"`, or
    /// `{"returncode": ..., "message": ...}`, which is answered as it is.
    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>>;

    /// How it is run where the client speaks our own form and may send and take bytes meanwhile.
    fn streaming(&self) -> Option<&dyn native::Streaming> {
        None
    }

    /// What it changes, so that no other changes it at the same time.
    fn resource(&self) -> Option<Resource> {
        None
    }

    /// Whether it may run while file systems are frozen.
    fn while_frozen(&self) -> bool {
        false
    }

    /// Whether its success is answered (guest-shutdown: not).
    fn answers_success(&self) -> bool {
        true
    }

    /// Whether it is there without being allowed by name. `agentupdate` and what needs a library say no.
    fn on_by_default(&self) -> bool {
        true
    }
}

/// All commands there are.
#[derive(Debug, Default, Clone)]
pub struct Registry {
    commands: BTreeMap<(Form, String), Arc<dyn Command>>,
}

impl Registry {
    /// All that are built in.
    #[must_use]
    pub fn built_in() -> Self {
        let mut registry = Self::default();
        for command in native::all().into_iter().chain(openstack::all()).chain(guest::all()) {
            registry.insert(command);
        }
        registry
    }

    /// Adds a command; one of the same form and name is replaced.
    pub fn insert(&mut self, command: Box<dyn Command>) {
        self.commands.insert((command.form(), command.name().to_owned()), Arc::from(command));
    }

    /// The commands of a form, as a policy allows them.
    #[must_use]
    pub fn for_form(&self, form: Form, policy: &Policy) -> CommandSet {
        let of_form = self.commands.iter().filter(|((f, _), _)| *f == form);
        CommandSet {
            roots: policy.roots.clone(),
            commands: of_form
                .map(|((_, name), command)| {
                    let enabled = policy.allows(name, command.on_by_default());
                    (name.clone(), Entry { command: Arc::clone(command), enabled })
                })
                .collect(),
        }
    }
}

/// Which commands a channel may use: an allow list blocks everything else, the block list comes after it. And where
/// its files may lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// `None`: all that are on by default.
    pub allow: Option<Vec<String>>,
    pub block: Vec<String>,
    /// Folders that commands for files stay in; empty: all of the agent's root.
    pub roots: Vec<PathBuf>,
}

impl Policy {
    /// Whether a command of that name is on.
    #[must_use]
    pub fn allows(&self, name: &str, by_default: bool) -> bool {
        let listed = |list: &[String]| list.iter().any(|entry| entry == name);
        self.allow.as_deref().map_or(by_default, listed) && !listed(&self.block)
    }
}

#[derive(Debug, Clone)]
struct Entry {
    command: Arc<dyn Command>,
    enabled: bool,
}

/// The commands of one form that a channel knows, and which of them it may use.
#[derive(Debug, Clone, Default)]
pub struct CommandSet {
    commands: BTreeMap<String, Entry>,
    roots: Vec<PathBuf>,
}

/// State of the whole agent that all forms look at.
#[derive(Debug, Default)]
pub struct Frozen(pub std::sync::atomic::AtomicBool);

/// What became of a call.
pub struct Called {
    pub result: Result<Value, CommandError>,
    /// The command's [`Command::answers_success`]; true when there is no such command.
    pub answers_success: bool,
    /// To be done once the answer is delivered.
    pub after: Vec<After>,
    /// Keep it until then: a stop waits for it.
    pub busy: BusyGuard,
}

impl fmt::Debug for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the value: it may be a secret.
        f.debug_struct("Called").field("ok", &self.result.is_ok()).finish_non_exhaustive()
    }
}

impl CommandSet {
    /// The command of that name, if it is known, and whether the policy allows it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(&Arc<dyn Command>, bool)> {
        self.commands.get(name).map(|entry| (&entry.command, entry.enabled))
    }

    /// The folders that commands for files stay in; none: all of the agent's root.
    pub(crate) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// All commands, sorted by name, and whether the policy allows each.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<dyn Command>, bool)> {
        self.commands.values().map(|entry| (&entry.command, entry.enabled))
    }

    /// Whether a command can be called now: allowed, and not kept back by frozen file systems.
    #[must_use]
    pub fn enabled_now(&self, name: &str, context: &Context) -> bool {
        let frozen = context.state::<Frozen>().0.load(std::sync::atomic::Ordering::Relaxed);
        self.get(name).is_some_and(|(command, on)| on && (!frozen || command.while_frozen()))
    }

    /// Calls a command: looks it up, waits for the resource it changes, runs it. `context` is the channel's.
    pub async fn call(&self, context: &Context, name: &str, value: Value) -> Called {
        let busy = context.state::<Busy>().enter();
        let command = match self.look_up(context, name) {
            Ok(command) => command,
            Err(error) => {
                audit::Request::refused(context, name, &error);
                return Called {
                    result: Err(error),
                    answers_success: true,
                    after: Vec::new(),
                    busy,
                };
            }
        };
        let context = context.for_request(context.cancel());
        let _held = match command.resource() {
            Some(resource) => Some(context.lock(resource).await),
            None => None,
        };
        let audited = audit::Request::begin(&context, command.form(), name, &value);
        let result = command.run(&context, value).await;
        if let Some(audited) = audited {
            audited.ended(result.as_ref().err());
        }
        match &result {
            Ok(_) => tracing::info!(channel = context.channel(), command = name, "done"),
            Err(error) => {
                tracing::info!(channel = context.channel(), command = name, class = ?error.class(), "failed");
            }
        }
        let answers_success = command.answers_success();
        Called { result, answers_success, after: context.take_after(), busy }
    }

    /// The command, if it may be called now.
    ///
    /// # Errors
    /// When there is none, the policy does not allow it, or file systems are frozen.
    pub fn look_up(
        &self,
        context: &Context,
        name: &str,
    ) -> Result<&Arc<dyn Command>, CommandError> {
        match self.get(name) {
            None => Err(CommandError::unknown(name)),
            Some((_, false)) => Err(CommandError::disabled(name)),
            Some(_) if !self.enabled_now(name, context) => Err(CommandError::frozen(name)),
            Some((command, true)) => Ok(command),
        }
    }
}
