//! `lifecycle.json`: what it means once it is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something in the life of a function for which scripts are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Event {
    Instantiate,
    Configure,
    Start,
    Stop,
    Terminate,
    Remove,
    Scale,
    ScaleIn,
    ScaleOut,
    Heal,
    Update,
    Rollback,
    Health,
    Test,
}

impl Event {
    pub const ALL: &[(&str, Event)] = &[
        ("INSTANTIATE", Event::Instantiate),
        ("CONFIGURE", Event::Configure),
        ("START", Event::Start),
        ("PROCESS_UP", Event::Start),
        ("STOP", Event::Stop),
        ("TERMINATE", Event::Terminate),
        ("PROCESS_DOWN", Event::Terminate),
        ("REMOVE", Event::Remove),
        ("SCALE", Event::Scale),
        ("SCALE_IN", Event::ScaleIn),
        ("SCALE_OUT", Event::ScaleOut),
        ("HEAL", Event::Heal),
        ("UPDATE", Event::Update),
        ("ROLLBACK", Event::Rollback),
        ("HEALTH", Event::Health),
        ("TEST", Event::Test),
    ];

    /// As the descriptor writes it; `START` for `PROCESS_UP` too.
    #[must_use]
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(_, event)| *event == self).map_or("", |(text, _)| text)
    }

    /// The event of that name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, event)| *event)
    }

    /// Whether processes that a script leaves behind stay, when the descriptor does not say.
    #[must_use]
    pub fn keeps_background(self) -> bool {
        matches!(
            self,
            Self::Instantiate | Self::Configure | Self::Start | Self::Heal | Self::Update
        )
    }
}

/// Whether START and TERMINATE react to the process, or make it come and go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Watch,
    Managed,
}

/// By what a process is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Its name, however it was started.
    #[default]
    Name,
    /// The kernel's name of 15 bytes.
    Comm,
    /// The base name of its first argument.
    Argv0,
    /// The path of its program.
    Exe,
    /// The number in a file.
    Pidfile,
    /// The unit of systemd that it is of, by its control group.
    Unit,
    /// A regular expression anywhere in the kernel's name.
    Pgrep,
}

/// What a process that ran before the function was instantiated means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlreadyRunning {
    #[default]
    Adopt,
    Start,
}

/// When a function's processes are others than they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReplace {
    #[default]
    Cycle,
    Ignore,
}

/// Where a process counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// In the namespace of process numbers that the agent lives in.
    #[default]
    Host,
    /// In those below it too.
    Container,
}

/// What a reboot of the machine means for a function that was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterReboot {
    #[default]
    Run,
    Reset,
}

/// More than `transitions` in `window_s`: hooks wait until it is quiet for `hold_s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flap {
    pub transitions: u32,
    pub window_s: u64,
    pub hold_s: u64,
}

impl Default for Flap {
    fn default() -> Self {
        Self { transitions: 6, window_s: 60, hold_s: 30 }
    }
}

/// The process whose coming and going is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub name: String,
    pub by: By,
    /// All of them occur in the command line.
    pub args: Vec<String>,
    pub user: Option<String>,
    /// A record of an earlier version has none.
    #[serde(default)]
    pub scope: Scope,
    pub min_instances: u32,
    pub appear_ms: u64,
    pub gone_ms: u64,
    pub already_running: AlreadyRunning,
    pub on_replace: OnReplace,
    pub after_reboot: AfterReboot,
    pub flap: Flap,
}

/// What a failure means for what comes after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    #[default]
    Fail,
    Continue,
}

/// One script of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Below the root of the package.
    pub path: String,
    pub args: Vec<String>,
    pub timeout_s: u64,
    pub user: Option<String>,
    pub retries: u32,
    pub retry_delay_ms: u64,
    pub on_error: OnError,
    /// Whether running it twice is as running it once, when the descriptor says so. A record of an earlier version does not.
    #[serde(default)]
    pub idempotent: Option<bool>,
}

impl Script {
    /// Whether it may be run again when nobody knows what became of it.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.idempotent == Some(true)
    }

    /// Whether it may never be run again without being told.
    #[must_use]
    pub fn runs_once(&self) -> bool {
        self.idempotent == Some(false)
    }
}

/// The scripts of an event, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub scripts: Vec<Script>,
    /// Whether processes that a script leaves behind stay.
    pub keep_background: bool,
}

/// Type of a parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterType {
    #[default]
    String,
    Integer,
    Number,
    Boolean,
}

/// A value that comes with the operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    #[serde(rename = "type")]
    pub kind: ParameterType,
    pub default: Option<String>,
    pub required: bool,
    /// Never in a log, an event or an answer.
    pub secret: bool,
    /// What a value is as a whole, in the notation of the crate `regex-lite`. A record of an earlier version has none.
    #[serde(default)]
    pub pattern: Option<String>,
}

/// Another package that must be instantiated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Require {
    /// Range of versions, as Cargo writes them.
    pub version: Option<String>,
    pub parameters: Vec<String>,
    /// It must run before this one is started, and as long as this one does.
    #[serde(default)]
    pub start_before: bool,
}

/// When the manager starts the process again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    #[default]
    Never,
    OnFailure,
    Always,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    pub policy: RestartPolicy,
    pub delay_ms: u64,
    pub max_delay_ms: u64,
    pub factor: u32,
    pub max_attempts: u32,
    pub window_s: u64,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Never,
            delay_ms: 1000,
            max_delay_ms: 60_000,
            factor: 2,
            max_attempts: 5,
            window_s: 300,
        }
    }
}

/// How health is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthKind {
    /// The scripts of the event HEALTH.
    Exec,
    /// `HOST:PORT` takes a connection.
    Tcp,
    /// `HOST:PORT/PATH` answers 200 to 399.
    Http,
    /// A unix socket takes a connection.
    Unix,
}

/// What a function that is not healthy makes us do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthAction {
    #[default]
    Report,
    Heal,
    Restart,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub kind: HealthKind,
    pub target: String,
    pub interval_s: u64,
    pub timeout_s: u64,
    pub start_period_s: u64,
    pub fail_after: u32,
    pub ok_after: u32,
    pub action: HealthAction,
}

/// Limits of the function: of each of its processes, as `setrlimit` has them, and of all together, as control groups do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Address space, bytes.
    pub memory_max: Option<u64>,
    /// Processes of the function's user.
    pub pids_max: Option<u64>,
    /// Open files.
    pub files_max: Option<u64>,
    /// Processor time of all processes, microseconds in each 100 ms. A record of an earlier version has none.
    #[serde(default)]
    pub cpu_quota_us: Option<u64>,
    /// Share of a busy disk, 1 to 10000, of which 100 is what others have. A record of an earlier version has none.
    #[serde(default)]
    pub io_weight: Option<u32>,
}

/// What scripts of a function, and what is started for it, may not, beside what their user may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// No program can have more rights than who executes it.
    pub no_new_privileges: bool,
    /// Bits of the capabilities that they have, whatever their user.
    pub capabilities: u64,
    /// Absolute; nothing below them can be written but the instance's own files.
    pub read_only_paths: Vec<String>,
    /// `/tmp` and `/var/tmp` of its own for each, gone with it.
    pub private_tmp: bool,
    /// Whether they have the network.
    pub network: bool,
}

/// How far an aspect scales.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aspect {
    pub max_steps: u32,
    /// By how many units each step changes the aspect, the first from step 0 to 1; one for all of them, or none: by one. A
    /// record of an earlier version has none.
    #[serde(default)]
    pub step_deltas: Vec<u32>,
}

impl Aspect {
    /// How many units an aspect at a step has more than at step 0.
    #[must_use]
    pub fn units(&self, step: u32) -> u64 {
        match &self.step_deltas[..] {
            [] => u64::from(step),
            [each] => u64::from(*each) * u64::from(step),
            all => all.iter().take(step as usize).map(|delta| u64::from(*delta)).sum(),
        }
    }
}

/// A digest that a file must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub algorithm: String,
    pub hex: String,
}

/// What `lifecycle.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    pub schema: u32,
    pub name: String,
    pub version: Option<String>,
    pub mode: Mode,
    pub vendor: Option<String>,
    pub description: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `None`: nothing is watched.
    pub process: Option<Process>,
    pub start_command: Vec<String>,
    pub restart: Restart,
    pub events: BTreeMap<Event, Hook>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub environment: BTreeMap<String, String>,
    pub parameters: BTreeMap<String, Parameter>,
    pub requires: BTreeMap<String, Require>,
    pub provides: Vec<String>,
    pub health: Option<Health>,
    pub limits: ResourceLimits,
    /// `None`: they are confined by their user alone. A record of an earlier version has none.
    #[serde(default)]
    pub security: Option<Security>,
    pub scaling: BTreeMap<String, Aspect>,
    /// Digests of files, and whether every file must be there.
    pub manifest: Option<(BTreeMap<String, Expected>, bool)>,
    /// The file that holds the signature over the manifest.
    pub signature: Option<String>,
    pub keep_revisions: u32,
    /// Parameters are variables under their plain names too.
    pub plain_parameters: bool,
}

impl Descriptor {
    /// The scripts of an event.
    #[must_use]
    pub fn scripts(&self, event: Event) -> &[Script] {
        self.events.get(&event).map_or(&[], |hook| &hook.scripts)
    }
}
