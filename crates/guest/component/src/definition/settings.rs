//! The extension keys, all beginning with `X-`: upstream ignores them, so a file serves under both daemons.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use super::instance::Command;

/// What a script is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Check,
    Set,
    Get,
    State,
    Rpc,
    Start,
    Stop,
}

impl Operation {
    pub const ALL: [Self; 7] =
        [Self::Check, Self::Set, Self::Get, Self::State, Self::Rpc, Self::Start, Self::Stop];

    /// The word of the instance file; of an RPC its first part.
    pub fn word(self) -> &'static str {
        match self {
            Self::Check => "Config/Check",
            Self::Set => "Config/Set",
            Self::Get => "Config/Get",
            Self::State => "State/Get",
            Self::Rpc => "RPC",
            Self::Start => "Start",
            Self::Stop => "Stop",
        }
    }

    /// Time limit where the file gives none.
    fn default_timeout(self) -> Duration {
        match self {
            Self::Get | Self::State | Self::Check | Self::Rpc => Duration::from_secs(30),
            Self::Set | Self::Start | Self::Stop => Duration::from_secs(120),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which variables a script gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnvironmentKind {
    /// Upstream's four, and no other.
    #[default]
    Plain,
    /// Also the caller as the bus knows it, and the time that is left.
    Extended,
}

/// What a script may do, beside what its user may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SandboxKind {
    /// All of it.
    #[default]
    None,
    /// Read, compute and answer: see [`vnode_action::Spec::sandbox`].
    Strict,
}

/// How a Set that failed is undone. Either way the program is given the configuration of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Abort {
    /// The program of Set is run again.
    Replay,
    Command(Command),
}

/// Limits of a component or a model; what is not set there comes from the component, then from the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    pub(crate) timeout: Option<Duration>,
    pub(crate) timeouts: BTreeMap<String, Duration>,
    pub(crate) max_output: Option<usize>,
    pub(crate) max_processes: Option<u64>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) start_required: Option<bool>,
    pub(crate) environment: Option<EnvironmentKind>,
    pub(crate) state_cache: Option<Duration>,
    pub(crate) yang: Option<Vec<PathBuf>>,
    pub(crate) modules: Option<Vec<String>>,
    pub(crate) validate: Option<(bool, bool)>,
    pub(crate) abort: Option<Abort>,
    pub(crate) sandbox: Option<SandboxKind>,
    pub(crate) writable: Option<Vec<PathBuf>>,
}

impl Settings {
    /// Bytes of output kept where the file gives no limit.
    pub const MAX_OUTPUT: usize = 16 << 20;
    /// Processes of one call where the file gives no limit.
    pub const MAX_PROCESSES: u64 = 64;
    /// Calls of one component at a time where the file gives no limit.
    pub const CONCURRENCY: usize = 8;
    const LONGEST: Duration = Duration::from_secs(86_400);

    /// Takes one `X-` key; gives whether there is such a key. Says why it cannot.
    pub(crate) fn take(&mut self, key: &str, value: &str) -> Result<bool, String> {
        let bad = |what: &str| Err(format!("`{key}` is {what}, not `{value}`"));
        match key {
            "X-Timeout" => self.timeout = Some(duration(key, value)?),
            "X-MaxOutput" => match bytes(value) {
                Some(limit) => self.max_output = Some(limit),
                None => return bad("a number of bytes, at most 1G, such as `65536`, `512K`, `4M`"),
            },
            "X-MaxProcesses" => match value.parse() {
                Ok(limit @ 1..=65_536) => self.max_processes = Some(limit),
                _ => return bad("a number from 1 to 65536"),
            },
            "X-Concurrency" => match value.parse() {
                Ok(limit @ 1..=1024) => self.concurrency = Some(limit),
                _ => return bad("a number from 1 to 1024"),
            },
            "X-User" if !value.is_empty() => self.user = Some(value.to_owned()),
            "X-Group" if !value.is_empty() => self.group = Some(value.to_owned()),
            "X-User" | "X-Group" => return bad("a name or a number"),
            "X-StartRequired" => match value.to_ascii_lowercase().as_str() {
                "true" => self.start_required = Some(true),
                "false" => self.start_required = Some(false),
                _ => return bad("`true` or `false`"),
            },
            "X-Environment" => match value {
                "extended" => self.environment = Some(EnvironmentKind::Extended),
                "plain" => self.environment = Some(EnvironmentKind::Plain),
                _ => return bad("`plain` or `extended`"),
            },
            "X-Sandbox" => match value {
                "none" => self.sandbox = Some(SandboxKind::None),
                "strict" => self.sandbox = Some(SandboxKind::Strict),
                _ => return bad("`none` or `strict`"),
            },
            "X-Writable" => {
                let folders: Vec<PathBuf> = list(value).map(PathBuf::from).collect();
                if folders.is_empty() || !folders.iter().all(|folder| may_be_writable(folder)) {
                    return bad(
                        "a list of folders from the root on, with commas between, none of them `/` or in `/tmp`, \
                         `/var/tmp`, `/dev/shm`",
                    );
                }
                self.writable = Some(folders);
            }
            "X-Abort" => match value {
                "replay" => self.abort = Some(Abort::Replay),
                command if command.starts_with('/') => {
                    self.abort = Some(Abort::Command(Command::split(command)));
                }
                _ => return bad("`replay`, or a program with its path from the root on"),
            },
            "X-Yang" => {
                let folders: Vec<PathBuf> = list(value).map(PathBuf::from).collect();
                if folders.is_empty() || folders.iter().any(|folder| !folder.is_absolute()) {
                    return bad("a list of folders from the root on, with commas between");
                }
                self.yang = Some(folders);
            }
            "X-Modules" => {
                let modules: Vec<String> = list(value).map(str::to_owned).collect();
                if modules.is_empty() || modules.iter().any(|module| module.contains('/')) {
                    return bad("a list of YANG modules, with commas between");
                }
                self.modules = Some(modules);
            }
            "X-Validate" => {
                self.validate = Some(match value {
                    "all" => (true, true),
                    "input" => (true, false),
                    "output" => (false, true),
                    "none" => (false, false),
                    _ => return bad("`all`, `input`, `output` or `none`"),
                });
            }
            "X-Cache/State/Get" => self.state_cache = Some(duration(key, value)?),
            _ => {
                let Some(operation) = key.strip_prefix("X-Timeout/") else { return Ok(false) };
                let known = Operation::ALL.iter().any(|known| known.word() == operation);
                let is_rpc = operation.starts_with("RPC/") && operation.split('/').count() == 3;
                if !known && !is_rpc {
                    return Err(format!("there is no operation `{operation}`"));
                }
                self.timeouts.insert(operation.to_owned(), duration(key, value)?);
            }
        }
        Ok(true)
    }

    /// These, and what they lack from the component's.
    pub(crate) fn over(&self, component: &Self) -> Self {
        let mut timeouts = component.timeouts.clone();
        // A model's general limit counts more than the component's special ones.
        if self.timeout.is_some() {
            timeouts.clear();
        }
        timeouts.extend(self.timeouts.clone());
        Self {
            timeout: self.timeout.or(component.timeout),
            timeouts,
            max_output: self.max_output.or(component.max_output),
            max_processes: self.max_processes.or(component.max_processes),
            concurrency: self.concurrency.or(component.concurrency),
            user: self.user.clone().or_else(|| component.user.clone()),
            group: self.group.clone().or_else(|| component.group.clone()),
            start_required: self.start_required.or(component.start_required),
            environment: self.environment.or(component.environment),
            state_cache: self.state_cache.or(component.state_cache),
            yang: self.yang.clone().or_else(|| component.yang.clone()),
            modules: self.modules.clone().or_else(|| component.modules.clone()),
            validate: self.validate.or(component.validate),
            abort: self.abort.clone().or_else(|| component.abort.clone()),
            sandbox: self.sandbox.or(component.sandbox),
            writable: self.writable.clone().or_else(|| component.writable.clone()),
        }
    }

    /// Time limit of an operation; `message` is its key in the instance file.
    pub fn timeout(&self, operation: Operation, message: &str) -> Duration {
        let special = self.timeouts.get(message).or_else(|| self.timeouts.get(operation.word()));
        special.copied().or(self.timeout).unwrap_or_else(|| operation.default_timeout())
    }

    /// Most bytes of output that are kept.
    pub fn max_output(&self) -> usize {
        self.max_output.unwrap_or(Self::MAX_OUTPUT)
    }

    /// Most processes of one call.
    pub fn max_processes(&self) -> u64 {
        self.max_processes.unwrap_or(Self::MAX_PROCESSES)
    }

    /// Most calls of the component at one time.
    pub fn concurrency(&self) -> usize {
        self.concurrency.unwrap_or(Self::CONCURRENCY)
    }

    /// Whether input and output are checked against the modules, where these are known.
    pub fn validate(&self) -> (bool, bool) {
        self.validate.unwrap_or((true, true))
    }

    pub fn sandbox(&self) -> SandboxKind {
        self.sandbox.unwrap_or_default()
    }

    pub fn environment(&self) -> EnvironmentKind {
        self.environment.unwrap_or_default()
    }
}

/// Whether a sandbox can have a folder that is written. What it has of its own anyway lies over what is in there.
fn may_be_writable(folder: &Path) -> bool {
    let plain = folder.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    let own = ["/tmp", "/var/tmp", "/dev/shm"].iter().any(|own| folder.starts_with(own));
    folder.is_absolute() && plain && !own && folder.file_name().is_some()
}

/// The entries of a list with commas between.
fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Seconds, or a number with `ms`, `s` or `m`.
fn duration(key: &str, value: &str) -> Result<Duration, String> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number = digits.parse::<u64>().ok();
    let length = number.and_then(|number| match &value[digits.len()..] {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.saturating_mul(60))),
        _ => None,
    });
    length.filter(|length| !length.is_zero() && *length <= Settings::LONGEST).ok_or_else(|| {
        format!("`{key}` is a time up to a day, such as `5`, `500ms`, `10m`, not `{value}`")
    })
}

fn bytes(value: &str) -> Option<usize> {
    let (digits, unit) = match value.as_bytes().last()? {
        b'K' => (&value[..value.len() - 1], 1 << 10),
        b'M' => (&value[..value.len() - 1], 1 << 20),
        b'G' => (&value[..value.len() - 1], 1 << 30),
        _ => (value, 1),
    };
    let limit = digits.parse::<usize>().ok()?.checked_mul(unit)?;
    (1..=1 << 30).contains(&limit).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_inherited() {
        let mut component = Settings::default();
        component.take("X-Timeout", "5").unwrap();
        component.take("X-Timeout/Config/Set", "2m").unwrap();
        let mut model = Settings::default();
        model.take("X-Timeout/RPC/toaster/make-toast", "500ms").unwrap();
        model.take("X-MaxOutput", "4K").unwrap();
        let model = model.over(&component);
        assert_eq!(model.timeout(Operation::Get, "Config/Get"), Duration::from_secs(5));
        assert_eq!(model.timeout(Operation::Set, "Config/Set"), Duration::from_secs(120));
        let toast = model.timeout(Operation::Rpc, "RPC/toaster/make-toast");
        assert_eq!(toast, Duration::from_millis(500));
        assert_eq!(model.max_output(), 4096);
        assert_eq!(model.concurrency(), Settings::CONCURRENCY);
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        let mut settings = Settings::default();
        for (key, value) in [
            ("X-Timeout", "0"),
            ("X-Timeout", "2d"),
            ("X-Timeout/Config", "2"),
            ("X-Timeout/RPC/a", "2"),
            ("X-MaxOutput", "2G"),
            ("X-MaxProcesses", "0"),
            ("X-Concurrency", "many"),
            ("X-StartRequired", "yes"),
            ("X-Environment", "all"),
            ("X-Sandbox", "loose"),
            ("X-Writable", "/"),
            ("X-Writable", "relative"),
            ("X-Writable", "/var/../tmp"),
            ("X-Writable", "/var/lib/a,/tmp/b"),
            ("X-Abort", "program"),
            ("X-Yang", "relative"),
            ("X-Yang", ","),
            ("X-Modules", "../x"),
            ("X-Validate", "yes"),
        ] {
            assert!(settings.take(key, value).is_err(), "{key}={value}");
        }
        assert_eq!(settings.take("X-Other", "1"), Ok(false));
    }
}
