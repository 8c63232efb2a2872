//! `vnode-agent check`: what a configuration means.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    agent,
    command::Registry,
    config::{ChannelConfig, Config, ExchangeConfig, ParserConfig},
};

/// As a person reads it.
#[must_use]
pub fn text(config: &Config, registry: &Registry) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to memory does not fail.
        let _ = writeln!(out, "{text}");
    };
    if config.channels.is_empty() {
        line("no channel: nobody can ask this agent anything".to_owned());
    }
    for channel in &config.channels {
        let (allowed, blocked) = commands(channel, registry);
        line(format!("channel {}", channel.name));
        line(format!("  exchange  {}", exchange(&channel.exchange)));
        line(format!("  parser    {}", parser(&channel.parser)));
        line(format!("  allowed   {}", list(&allowed)));
        line(format!("  blocked   {}", list(&blocked)));
        for name in unknown(channel, registry) {
            line(format!("  warning   no command of this form is named `{name}`"));
        }
        if let Some(warning) = mismatch(channel) {
            line(format!("  warning   {warning}"));
        }
    }
    line(format!("plugins     {}", config.plugins.commands.display()));
    line(format!("boot        {}", config.boot.sources.join(", ")));
    out
}

/// The same as data.
#[must_use]
pub fn json(config: &Config, registry: &Registry) -> Value {
    let channels: Vec<Value> = config
        .channels
        .iter()
        .map(|channel| {
            let (allowed, blocked) = commands(channel, registry);
            json!({
                "name": channel.name,
                "exchange": exchange(&channel.exchange),
                "parser": parser(&channel.parser),
                "allowed": allowed,
                "blocked": blocked,
                "unknown": unknown(channel, registry),
            })
        })
        .collect();
    json!({"channels": channels, "plugins": config.plugins.commands, "boot": config.boot.sources})
}

fn commands(channel: &ChannelConfig, registry: &Registry) -> (Vec<String>, Vec<String>) {
    let set = registry.for_form(agent::form(&channel.parser), &channel.policy);
    let names = |wanted: bool| {
        let of = set.iter().filter(move |(_, enabled)| *enabled == wanted);
        of.map(|(command, _)| command.name().to_owned()).collect()
    };
    (names(true), names(false))
}

/// Names in the lists that no command has.
fn unknown(channel: &ChannelConfig, registry: &Registry) -> Vec<String> {
    let set = registry.for_form(agent::form(&channel.parser), &channel.policy);
    let policy = &channel.policy;
    let listed = policy.allow.iter().flatten().chain(&policy.block);
    listed.filter(|name| set.get(name).is_none()).cloned().collect()
}

fn mismatch(channel: &ChannelConfig) -> Option<&'static str> {
    let messages =
        matches!(channel.exchange, ExchangeConfig::Xenstore(_) | ExchangeConfig::Plugin(_));
    let streams = matches!(channel.parser, ParserConfig::Native | ParserConfig::Guest);
    (messages && streams)
        .then_some("this exchange carries single messages, and the parser wants a stream")
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn exchange(exchange: &ExchangeConfig) -> String {
    match exchange {
        ExchangeConfig::Unix { path, users } if users.is_empty() => {
            format!("unix socket {}, for root and the agent's own user", path.display())
        }
        ExchangeConfig::Unix { path, users } => {
            let users: Vec<String> = users.iter().map(ToString::to_string).collect();
            format!("unix socket {}, for root and users {}", path.display(), users.join(", "))
        }
        ExchangeConfig::Virtio { path } => format!("virtio port {}", path.display()),
        ExchangeConfig::Isa { path, baud: None } => format!("serial line {}", path.display()),
        ExchangeConfig::Isa { path, baud: Some(baud) } => {
            format!("serial line {} at {baud} baud", path.display())
        }
        ExchangeConfig::Vsock { port, peers } => {
            let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
            format!("vsock port {port}, for context ids {}", peers.join(", "))
        }
        ExchangeConfig::Tls(tls) => {
            let who = match (&tls.client_ca, &tls.token_file) {
                (Some(_), Some(_)) => "clients with a certificate or the token",
                (Some(_), None) => "clients with a certificate",
                _ => "clients with the token",
            };
            format!("TLS on {}, for {who}", tls.listen)
        }
        ExchangeConfig::Stdio => "standard input and output".to_owned(),
        ExchangeConfig::Xenstore(settings) => match &settings.path {
            Some(path) => format!("XenStore over {}", path.display()),
            None => "XenStore".to_owned(),
        },
        ExchangeConfig::Plugin(program) => format!("plugin {}", program.program.display()),
    }
}

fn parser(parser: &ParserConfig) -> String {
    match parser {
        ParserConfig::Native => "native (vnode's own form)".to_owned(),
        ParserConfig::Guest => "guest (QEMU's guest agent)".to_owned(),
        ParserConfig::Openstack => "openstack (the OpenStack agent's JSON)".to_owned(),
        ParserConfig::Plugin(program) => format!("plugin {}", program.program.display()),
    }
}
