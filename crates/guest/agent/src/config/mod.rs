//! The configuration: TOML in `/etc/vnode/agent.toml` and, after it in the order of their names, the drop-ins
//! `/etc/vnode/agent.d/*.toml`. With no file at all there are the channels of [`Config::default`].

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{command::Policy, exchange::xenstore, limits::Limits};

mod channel;
mod keys;
mod read;
mod schema;

pub use read::Fault;
pub use schema::json_schema;

use read::{Reader, Table};

/// Where the configuration is.
pub const FILE: &str = "/etc/vnode/agent.toml";
/// Largest configuration file, bytes.
const FILE_BYTES: u64 = 1 << 20;
/// Most drop-ins.
const DROP_INS: usize = 256;

/// What the agent is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub log: Log,
    pub plugins: Plugins,
    pub boot: Boot,
    pub channels: Vec<ChannelConfig>,
    /// Tables `[command.NAME]`, read by the commands themselves.
    pub commands: BTreeMap<String, Value>,
}

/// Where the log goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub level: Option<String>,
    pub json: bool,
    pub file: Option<PathBuf>,
}

/// Command plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugins {
    pub commands: PathBuf,
    pub time_limit: Duration,
}

/// What `--once` applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    pub sources: Vec<String>,
    pub config_drive: Vec<PathBuf>,
    pub nocloud: PathBuf,
}

/// An exchange paired with a parser, and what may be asked over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelConfig {
    pub name: String,
    pub exchange: ExchangeConfig,
    pub parser: ParserConfig,
    pub policy: Policy,
    pub limits: Limits,
}

/// Where requests come from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExchangeConfig {
    Unix { path: PathBuf, users: Vec<u32> },
    Virtio { path: PathBuf },
    Isa { path: PathBuf, baud: Option<u32> },
    Vsock { port: u32, peers: Vec<u32> },
    Tls(TlsConfig),
    Stdio,
    Xenstore(xenstore::Settings),
    Plugin(ProgramConfig),
}

/// A listener for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    pub listen: std::net::SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
}

/// A plugin's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramConfig {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// The language spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParserConfig {
    Native,
    Guest,
    Openstack,
    Plugin(ProgramConfig),
}

impl ParserConfig {
    /// What clients of this language may take, where the channel does not say otherwise.
    pub fn limits(&self) -> Limits {
        let request_bytes = match self {
            Self::Openstack => crate::parser::openstack::BODY_BYTES,
            _ => Limits::default().request_bytes,
        };
        Limits { request_bytes, ..Limits::default() }
    }
}

impl Default for Config {
    /// A unix socket and a virtio port in our own language, qemu-ga's virtio port, and XenStore. What needs a
    /// device waits for it without cost.
    fn default() -> Self {
        let channel = |name: &str, exchange, parser: ParserConfig| ChannelConfig {
            name: name.to_owned(),
            exchange,
            limits: parser.limits(),
            parser,
            policy: Policy::default(),
        };
        let port =
            |name: &str| ExchangeConfig::Virtio { path: Path::new("/dev/virtio-ports").join(name) };
        let socket = PathBuf::from("/run/vnode/agent.sock");
        Self {
            log: Log::default(),
            plugins: Plugins::default(),
            boot: Boot::default(),
            channels: vec![
                channel(
                    "native",
                    ExchangeConfig::Unix { path: socket, users: Vec::new() },
                    ParserConfig::Native,
                ),
                channel("virtio", port("org.vnode.agent.0"), ParserConfig::Native),
                channel("qga", port("org.qemu.guest_agent.0"), ParserConfig::Guest),
                channel(
                    "xen",
                    ExchangeConfig::Xenstore(xenstore::Settings::default()),
                    ParserConfig::Openstack,
                ),
            ],
            commands: BTreeMap::new(),
        }
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            commands: PathBuf::from("/usr/lib/vnode/agent/commands"),
            time_limit: Duration::from_secs(60),
        }
    }
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            sources: keys::SOURCES.iter().map(|&source| source.to_owned()).collect(),
            config_drive: ["/media/configdrive", "/mnt/config"].map(PathBuf::from).to_vec(),
            nocloud: PathBuf::from("/var/lib/cloud/seed/nocloud"),
        }
    }
}

/// Reads the configuration. `file` is the one named on the command line, which must be there; else [`FILE`],
/// which need not. Drop-ins lie in the folder of the file's name with `.d` for `.toml`.
///
/// # Errors
/// All that is wrong, not only the first.
pub fn load(file: Option<&Path>) -> Result<Config, Vec<Fault>> {
    let mut texts = Vec::new();
    let main = file.unwrap_or(Path::new(FILE));
    match read_file(main) {
        Ok(text) => texts.push((main.to_owned(), text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => {}
        Err(error) => return Err(vec![whole(main, format!("cannot read it: {error}"))]),
    }
    let folder = main.with_extension("d");
    let mut names = match std::fs::read_dir(&folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .filter(
                |path| !matches!(path, Ok(path) if path.extension().is_none_or(|e| e != "toml")),
            )
            .take(DROP_INS)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| vec![whole(&folder, format!("cannot list it: {error}"))])?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(vec![whole(&folder, format!("cannot list it: {error}"))]),
    };
    names.sort();
    for path in names {
        match read_file(&path) {
            Ok(text) => texts.push((path, text)),
            Err(error) => return Err(vec![whole(&path, format!("cannot read it: {error}"))]),
        }
    }
    parse(&texts)
}

fn whole(file: &Path, text: String) -> Fault {
    Fault { file: file.to_owned(), line: 0, column: 0, text }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(std::io::Error::other(format!("larger than {FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// Puts files together, later ones over earlier ones.
///
/// # Errors
/// As [`load`].
pub fn parse(files: &[(PathBuf, String)]) -> Result<Config, Vec<Fault>> {
    let mut config = Config::default();
    let mut faults = Vec::new();
    for (file, text) in files {
        let mut reader = Reader::new(file, text);
        one(&mut config, &mut reader);
        faults.append(&mut reader.faults);
    }
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

fn one(config: &mut Config, reader: &mut Reader<'_>) {
    let (document, errors) = toml::de::DeTable::parse_recoverable(reader.text);
    if !errors.is_empty() {
        for error in errors {
            reader.fault(error.span().unwrap_or_default(), error.message());
        }
        return;
    }
    let top = Table { entries: document.get_ref(), span: 0..0 };
    reader.known(&top, keys::TOP, keys::TABLES, "the file");
    let text = |table: &Table<'_, '_>, name: &str| {
        table.get(name).and_then(|value| value.get_ref().as_str()).map(str::to_owned)
    };
    if top.get("defaults").and_then(|value| value.get_ref().as_bool()) == Some(false) {
        let defaults = Config::default().channels;
        config.channels.retain(|channel| !defaults.contains(channel));
    }
    if let Some(log) = top.get("log").and_then(|value| reader.table(value, "log")) {
        reader.known(&log, keys::LOG, &[], "[log]");
        config.log.level = text(&log, "level").or(config.log.level.take());
        config.log.file = text(&log, "file").map(PathBuf::from).or(config.log.file.take());
        if let Some(format) = text(&log, "format") {
            config.log.json = format == "json";
        }
    }
    if let Some(plugins) = top.get("plugins").and_then(|value| reader.table(value, "plugins")) {
        reader.known(&plugins, keys::PLUGINS, &[], "[plugins]");
        if let Some(folder) = text(&plugins, "commands") {
            config.plugins.commands = PathBuf::from(folder);
        }
        let limit =
            plugins.get("time-limit-seconds").and_then(|value| read::integer(value.get_ref()));
        if let Some(seconds) = limit.and_then(|seconds| u64::try_from(seconds).ok()) {
            config.plugins.time_limit = Duration::from_secs(seconds);
        }
    }
    if let Some(boot) = top.get("boot").and_then(|value| reader.table(value, "boot")) {
        reader.known(&boot, keys::BOOT, &[], "[boot]");
        if let Some(value) = boot.get("sources")
            && let Some(sources) = read::texts(value.get_ref())
        {
            for source in sources.iter().filter(|s| !keys::SOURCES.contains(&s.as_str())) {
                let known = keys::SOURCES.join(", ");
                reader.fault(value.span(), format!("`{source}` is no source; there are {known}"));
            }
            config.boot.sources = sources;
        }
        if let Some(folder) = text(&boot, "config-drive") {
            config.boot.config_drive = vec![PathBuf::from(folder)];
        }
        if let Some(folder) = text(&boot, "nocloud") {
            config.boot.nocloud = PathBuf::from(folder);
        }
    }
    if let Some(commands) = top.get("command").and_then(|value| reader.table(value, "command")) {
        for (name, value) in commands.entries {
            if reader.table(value, &format!("command.{}", name.get_ref())).is_some() {
                let settings = reader.json(value, 0);
                config.commands.insert(name.get_ref().to_string(), settings);
            }
        }
    }
    if let Some(value) = top.get("channel") {
        match value.get_ref().as_array() {
            None => reader.fault(value.span(), "channels are written as `[[channel]]`"),
            Some(channels) => {
                for item in channels {
                    if let Some(table) = reader.table(item, "[channel]") {
                        channel::read(config, reader, &table);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
