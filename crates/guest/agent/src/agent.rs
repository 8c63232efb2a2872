//! The running agent: channels made from the configuration, kept to it when it changes, ended in order.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};
use vnode_action::CancellationToken;
use vnode_idle::Busy;

use crate::{
    channel::Channel,
    command::{Form, Registry, plugin},
    config::{ChannelConfig, Config, ExchangeConfig, Fault, ParserConfig},
    context::Context,
    exchange::{
        Exchange, ExchangePlugin, Isa, Refused, Stdio, StreamExchange, Tls, Unix, Virtio, Vsock,
        xenstore,
    },
    limits::Budget,
    parser::{
        Parser, ParserPlugin, Session,
        native::{self, Native},
        openstack, qga,
    },
};

/// How long a stop waits for what is being worked on (R-D8).
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits then for programs to be ended that are cut off.
const ENDING: Duration = Duration::from_secs(6);

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// All that is wrong in the configuration, one line each.
    #[error("the configuration is wrong:\n{}", lines(.0))]
    Config(Vec<Fault>),
    #[error("cannot open the root folder")]
    Root(#[from] vnode_beneath::DirError),
    #[error("no channel is configured; see `vnode-agent check`")]
    NoChannel,
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n")
}

/// The agent with its channels.
#[derive(Debug)]
pub struct Agent {
    file: Option<PathBuf>,
    context: Context,
    budget: Budget,
    registry: Registry,
    running: HashMap<String, RunningChannel>,
}

#[derive(Debug)]
struct RunningChannel {
    config: ChannelConfig,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Agent {
    /// Starts the channels of a configuration. `file` is where it came from, to be read again on
    /// [`Agent::reload`].
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(file: Option<PathBuf>, config: Config) -> Result<Self, AgentError> {
        let mut builder = Context::builder("/");
        for (name, options) in &config.commands {
            builder = builder.options(name.clone(), options.clone());
        }
        let mut agent = Self {
            file,
            context: builder.build()?,
            budget: Budget::default(),
            registry: Registry::built_in(),
            running: HashMap::new(),
        };
        // An earlier run that was killed may have left file systems frozen: nothing else works before they are not.
        if let Err(error) = crate::command::guest::thaw_at_start(&agent.context).await {
            tracing::error!(%error, "file systems may be frozen still");
        }
        crate::command::openstack::resetnetwork::start_beside(&agent.context);
        let context = agent.context.clone();
        tokio::spawn(async move {
            if let Err(error) = crate::command::native::end_those_left(&context).await {
                tracing::error!(%error, "programs of an agent that was killed may run still");
            }
        });
        agent.apply(config).await;
        if agent.running.is_empty() {
            return Err(AgentError::NoChannel);
        }
        Ok(agent)
    }

    /// What commands are given.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Reads the configuration again. Channels that did not change go on; a wrong configuration changes nothing.
    ///
    /// # Errors
    /// When it is wrong.
    pub async fn reload(&mut self) -> Result<(), AgentError> {
        let config = crate::config::load(self.file.as_deref()).map_err(AgentError::Config)?;
        self.context.set_options(config.commands.clone());
        self.apply(config).await;
        Ok(())
    }

    async fn apply(&mut self, config: Config) {
        self.registry = Registry::built_in();
        plugin::load(&mut self.registry, &config.plugins).await;
        let wanted: HashMap<&str, &ChannelConfig> =
            config.channels.iter().map(|channel| (channel.name.as_str(), channel)).collect();
        let gone: Vec<String> = self
            .running
            .iter()
            .filter(|(name, running)| wanted.get(name.as_str()) != Some(&&running.config))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(running) = self.running.remove(&name) {
                running.stop.cancel();
                if !running.task.is_finished()
                    && let Err(error) = running.task.await
                {
                    tracing::error!(channel = name, %error, "the channel broke");
                }
            }
        }
        for channel in config.channels {
            if self.running.contains_key(&channel.name) {
                continue;
            }
            let Some(ready) = build(&channel, &self.registry, &self.context, &self.budget) else {
                tracing::warn!(channel = channel.name, "not built into this agent");
                continue;
            };
            let stop = CancellationToken::new();
            let task = tokio::spawn(ready.run(stop.clone()));
            self.running
                .insert(channel.name.clone(), RunningChannel { config: channel, stop, task });
        }
    }

    /// Returns when a channel on standard input has ended and there is no other: then nobody can ask any more.
    pub async fn all_ended(&mut self) {
        for running in self.running.values_mut() {
            if !running.task.is_finished() {
                // A broken channel has ended too; the loss was logged with it.
                let _ = (&mut running.task).await;
            }
        }
    }

    /// Takes no more requests, lets the running ones end for at most ten seconds, and ends; with their programs, which have
    /// six.
    pub async fn stop(self) {
        let busy = self.context.state::<Busy>();
        if timeout(PATIENCE, busy.idle()).await.is_err() {
            tracing::warn!("what is still running is cut off");
        }
        for running in self.running.values() {
            running.stop.cancel();
        }
        for (name, running) in self.running {
            if !running.task.is_finished()
                && let Err(error) = running.task.await
            {
                tracing::error!(channel = name, %error, "the channel broke");
            }
        }
        if timeout(ENDING, busy.idle()).await.is_err() {
            tracing::warn!("programs that do not end are killed");
        }
        crate::command::native::over(&self.context);
    }
}

/// The form whose commands a channel's parser calls.
#[must_use]
pub fn form(parser: &ParserConfig) -> Form {
    match parser {
        ParserConfig::Guest => Form::Guest,
        ParserConfig::Openstack => Form::Openstack,
        ParserConfig::Native | ParserConfig::Plugin(_) => Form::Native,
    }
}

/// A channel as configured; `None` when a part of it is not built in.
#[must_use]
pub fn build(
    config: &ChannelConfig,
    registry: &Registry,
    context: &Context,
    budget: &Budget,
) -> Option<Channel> {
    let stream = |exchange: Box<dyn StreamExchange>| Some(Exchange::Stream(exchange));
    // Only our own form has words for it.
    let refusal = |why| match &config.parser {
        ParserConfig::Native => native::refusal(why),
        _ => Vec::new(),
    };
    let exchange = match &config.exchange {
        ExchangeConfig::Unix { path, users } => {
            stream(Box::new(Unix::new(path, users.clone()).refusing(refusal(Refused::User))))
        }
        ExchangeConfig::Virtio { path } => stream(Box::new(Virtio::new(path))),
        ExchangeConfig::Isa { path, baud } => stream(Box::new(Isa::new(path, *baud))),
        ExchangeConfig::Vsock { port, peers } => stream(Box::new(Vsock::new(*port, peers.clone()))),
        ExchangeConfig::Tls(config) => {
            stream(Box::new(Tls::new(config.clone()).refusing(refusal(Refused::Token))))
        }
        ExchangeConfig::Stdio => stream(Box::<Stdio>::default()),
        ExchangeConfig::Xenstore(settings) => xenstore::exchange(settings).map(Exchange::Message),
        ExchangeConfig::Plugin(program) => {
            Some(Exchange::Message(Box::new(ExchangePlugin::new(program.clone()))))
        }
    };
    let parser = match &config.parser {
        ParserConfig::Native => Some(Parser::Stream(Arc::new(Native))),
        ParserConfig::Guest => qga::parser().map(Parser::Stream),
        ParserConfig::Openstack => openstack::parser().map(Parser::Message),
        ParserConfig::Plugin(program) => {
            Some(Parser::Message(Arc::new(ParserPlugin::new(program.clone()))))
        }
    };
    let commands = Arc::new(registry.for_form(form(&config.parser), &config.policy));
    let session = Session {
        context: context.for_channel(&config.name, Arc::clone(&commands)),
        commands,
        limits: config.limits.clone(),
        budget: budget.clone(),
    };
    Some(Channel { exchange: exchange?, parser: parser?, session })
}

/// Where the configuration is read from.
#[must_use]
pub fn config_file(file: Option<&Path>) -> PathBuf {
    file.map_or_else(|| PathBuf::from(crate::config::FILE), Path::to_owned)
}
