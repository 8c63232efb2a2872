//! A `[[channel]]` table.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    ChannelConfig, Config, ExchangeConfig, ParserConfig, ProgramConfig, TlsConfig, keys,
    read::{Reader, Table, integer, integers, texts},
};
use crate::{
    command::{Form, Policy, Registry},
    exchange::xenstore,
    limits::Limits,
};

/// Reads one and puts it into the configuration, in the place of one with the same name. One that names only
/// what it changes keeps the rest of the channel it replaces.
pub(super) fn read(config: &mut Config, reader: &mut Reader<'_>, table: &Table<'_, '_>) {
    let before = reader.faults.len();
    reader.known(table, keys::CHANNEL, &[], "[[channel]]");
    let Some(name) = text(table, "name").filter(|name| !name.is_empty()) else {
        reader.fault(table.span.clone(), "a channel needs a `name`");
        return;
    };
    let place = config.channels.iter().position(|channel| channel.name == name);
    if table.get("enabled").and_then(|value| value.get_ref().as_bool()) == Some(false) {
        if let Some(place) = place {
            config.channels.remove(place);
        }
        return;
    }
    let earlier = place.map(|place| config.channels[place].clone());
    let exchange = exchange(reader, table, earlier.as_ref());
    let parser = parser(reader, table, earlier.as_ref());
    let (Some(exchange), Some(parser)) = (exchange, parser) else { return };
    let earlier_policy = earlier.as_ref().map(|channel| channel.policy.clone()).unwrap_or_default();
    let policy = Policy {
        allow: list(table, "allow").or(earlier_policy.allow),
        block: list(table, "block").unwrap_or(earlier_policy.block),
        roots: list(table, "roots")
            .map_or(earlier_policy.roots, |roots| roots.into_iter().map(PathBuf::from).collect()),
    };
    if let Some(wrong) = policy.roots.iter().find(|root| !is_plain(root)) {
        let text = format!("`{}` is no absolute path of a folder", wrong.display());
        reader.fault(table.get("roots").map_or(0..0, |value| value.span()), text);
    }
    if parser == ParserConfig::Openstack && !policy.roots.is_empty() {
        let text = "`roots` bounds no command of the parser `openstack`; leave it out, or `block` commands";
        reader.fault(table.get("roots").map_or(0..0, |value| value.span()), text);
    }
    commands_exist(table, &parser);
    let mut limits = match earlier {
        Some(channel) if channel.parser == parser => channel.limits,
        _ => parser.limits(),
    };
    set_limits(&mut limits, table);
    if reader.faults.len() > before {
        return;
    }
    let channel = ChannelConfig { name, exchange, parser, policy, limits };
    match place {
        Some(place) => config.channels[place] = channel,
        None => config.channels.push(channel),
    }
}

fn is_plain(root: &Path) -> bool {
    use std::path::Component;
    root.has_root()
        && root.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

fn text(table: &Table<'_, '_>, name: &str) -> Option<String> {
    table.get(name).and_then(|value| value.get_ref().as_str()).map(str::to_owned)
}

fn list(table: &Table<'_, '_>, name: &str) -> Option<Vec<String>> {
    table.get(name).and_then(|value| texts(value.get_ref()))
}

fn number<T: TryFrom<i64>>(table: &Table<'_, '_>, name: &str) -> Option<T> {
    table.get(name).and_then(|value| integer(value.get_ref())).and_then(|n| T::try_from(n).ok())
}

fn numbers(table: &Table<'_, '_>, name: &str) -> Option<Vec<u32>> {
    let numbers = table.get(name).and_then(|value| integers(value.get_ref()))?;
    numbers.into_iter().map(|number| u32::try_from(number).ok()).collect()
}

fn set_limits(limits: &mut Limits, table: &Table<'_, '_>) {
    if let Some(bytes) = number(table, "request-bytes") {
        limits.request_bytes = bytes;
    }
    if let Some(bytes) = number(table, "response-bytes") {
        limits.response_bytes = bytes;
    }
    if let Some(connections) = number(table, "connections") {
        limits.connections = connections;
    }
    if let Some(seconds) = number(table, "stall-seconds") {
        limits.stall = Duration::from_secs(seconds);
    }
}

fn exchange(
    reader: &mut Reader<'_>,
    table: &Table<'_, '_>,
    earlier: Option<&ChannelConfig>,
) -> Option<ExchangeConfig> {
    let Some(word) = text(table, "exchange") else {
        let own = keys::CHANNEL.iter().filter(|key| !key.of.is_empty());
        for key in own {
            if let Some(value) = table.get(key.name) {
                let text = format!("`{}` needs the channel's `exchange` beside it", key.name);
                reader.fault(value.span(), text);
            }
        }
        if earlier.is_none() {
            reader.fault(table.span.clone(), "a new channel needs an `exchange`");
        }
        return earlier.map(|channel| channel.exchange.clone());
    };
    for key in keys::CHANNEL.iter().filter(|key| !key.of.is_empty() && !key.of.contains(&&*word)) {
        if let Some(value) = table.get(key.name) {
            let text = format!("`{}` is of no use with exchange `{word}`", key.name);
            reader.fault(value.span(), text);
        }
    }
    let mut needed = |name: &str| {
        let value = text(table, name).filter(|text| !text.is_empty());
        if value.is_none() {
            reader.fault(table.span.clone(), format!("exchange `{word}` needs `{name}`"));
        }
        value
    };
    match word.as_str() {
        "unix" => Some(ExchangeConfig::Unix {
            path: needed("path")?.into(),
            users: numbers(table, "users").unwrap_or_default(),
        }),
        "virtio" => Some(ExchangeConfig::Virtio { path: needed("path")?.into() }),
        "isa" => {
            Some(ExchangeConfig::Isa { path: needed("path")?.into(), baud: number(table, "baud") })
        }
        "vsock" => match number(table, "port") {
            Some(port) => Some(ExchangeConfig::Vsock {
                port,
                peers: numbers(table, "peers").unwrap_or_else(|| vec![2]),
            }),
            None => {
                reader.fault(table.span.clone(), "exchange `vsock` needs `port`");
                None
            }
        },
        "tls" => {
            let (listen, certificate, key) =
                (needed("listen")?, needed("certificate")?, needed("key")?);
            let client_ca = text(table, "client-ca").map(PathBuf::from);
            let token_file = text(table, "token-file").map(PathBuf::from);
            if client_ca.is_none() && token_file.is_none() {
                let text = "exchange `tls` needs `client-ca` or `token-file`: who may connect";
                reader.fault(table.span.clone(), text);
            }
            match listen.parse() {
                Ok(listen) => Some(ExchangeConfig::Tls(TlsConfig {
                    listen,
                    certificate: certificate.into(),
                    key: key.into(),
                    client_ca,
                    token_file,
                })),
                Err(_) => {
                    let text = format!("`{listen}` is no address with a port: write `[::]:4433`");
                    reader.fault(table.get("listen").map_or(0..0, |value| value.span()), text);
                    None
                }
            }
        }
        "stdio" => Some(ExchangeConfig::Stdio),
        "xenstore" => Some(ExchangeConfig::Xenstore(xenstore::Settings {
            path: text(table, "path").map(PathBuf::from),
            base: text(table, "base"),
            poll: number(table, "poll-seconds").map(Duration::from_secs),
            keep: number(table, "keep-seconds").map(Duration::from_secs),
            publish: table.get("publish").and_then(|value| value.get_ref().as_bool()) == Some(true),
            ..xenstore::Settings::default()
        })),
        "plugin" => Some(ExchangeConfig::Plugin(ProgramConfig {
            program: needed("program")?.into(),
            arguments: list(table, "arguments").unwrap_or_default(),
        })),
        // Another word was named as a fault by the table of keys.
        _ => None,
    }
}

fn parser(
    reader: &mut Reader<'_>,
    table: &Table<'_, '_>,
    earlier: Option<&ChannelConfig>,
) -> Option<ParserConfig> {
    let word = text(table, "parser");
    if word.as_deref() != Some("plugin")
        && let Some(value) = table.get("parser-program").or(table.get("parser-arguments"))
    {
        reader.fault(value.span(), "a parser's program goes with `parser = \"plugin\"`");
    }
    match word.as_deref() {
        None if earlier.is_none() => {
            reader.fault(table.span.clone(), "a new channel needs a `parser`");
            None
        }
        None => earlier.map(|channel| channel.parser.clone()),
        Some("native") => Some(ParserConfig::Native),
        Some("guest") => Some(ParserConfig::Guest),
        Some("openstack") => Some(ParserConfig::Openstack),
        Some("plugin") => match text(table, "parser-program") {
            Some(program) => Some(ParserConfig::Plugin(ProgramConfig {
                program: program.into(),
                arguments: list(table, "parser-arguments").unwrap_or_default(),
            })),
            None => {
                reader.fault(table.span.clone(), "parser `plugin` needs `parser-program`");
                None
            }
        },
        // Another word was named as a fault by the table of keys.
        Some(_) => None,
    }
}

/// A command that is allowed or blocked by a name nobody has is a slip; plugins may bring others.
fn commands_exist(table: &Table<'_, '_>, parser: &ParserConfig) {
    let form = match parser {
        ParserConfig::Native => Form::Native,
        ParserConfig::Guest => Form::Guest,
        ParserConfig::Openstack => Form::Openstack,
        ParserConfig::Plugin(_) => return,
    };
    let set = Registry::built_in().for_form(form, &Policy::default());
    let known: BTreeSet<&str> = set.iter().map(|(command, _)| command.name()).collect();
    for name in ["allow", "block"] {
        let Some(value) = table.get(name) else { continue };
        for entry in value.get_ref().as_array().into_iter().flatten() {
            if let Some(word) = entry.get_ref().as_str()
                && !known.contains(word)
            {
                tracing::warn!(command = word, list = name, "no built-in command has this name");
            }
        }
    }
}
