//! Renderers: one file for each back-end, from [`Interface`]s to the files it reads and the commands that make it
//! read them again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::detect::{Backend, Distribution};
use crate::draft::Draft;
use crate::error::InputError;
use crate::model::{Interface, Kind};
use crate::settings::{Conflicts, Form};
use crate::view::ViewError;

pub mod arch;
pub mod cloudinit;
pub mod direct;
pub mod freebsd;
pub mod ifcfg;
pub mod ifupdown;
pub mod netifrc;
pub mod netplan;
pub mod network_manager;
pub mod networkd;
pub mod suse;

/// First line of files that are ours as a whole.
pub(crate) const HEADER: &str = "# Automatically generated, do not edit\n";

/// What a renderer works from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// By name.
    pub interfaces: &'a [Interface],
    /// The guest's name.
    pub hostname: &'a str,
    pub distribution: &'a Distribution,
    /// `None`: each back-end's own.
    pub form: Option<Form>,
    pub conflicts: Conflicts,
    /// The name files of ours carry.
    pub agent: &'a str,
    /// Folder of our own state inside the guest.
    pub state_folder: &'a str,
}

impl Input<'_> {
    fn form_or(&self, default: Form) -> Form {
        self.form.unwrap_or(default)
    }

    /// The bond or bridge that an interface is part of.
    fn master_of(&self, name: &str) -> Option<&Interface> {
        let is_member = |i: &&Interface| i.config.kind.members().iter().any(|m| m == name);
        self.interfaces.iter().find(is_member)
    }

    /// The VLANs that stand on an interface.
    fn vlans_on(&self, name: &str) -> impl Iterator<Item = &Interface> {
        self.interfaces
            .iter()
            .filter(move |i| matches!(&i.config.kind, Kind::Vlan(vlan) if vlan.parent == name))
    }

    fn manages(&self, name: &str) -> bool {
        self.interfaces.iter().any(|interface| interface.name == name)
    }
}

/// A configuration that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    #[error("Couldn't figure out my OS")]
    UnknownSystem,
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    View(#[from] ViewError),
    #[error(
        "`{path}` configures {what} too, and {why}; move that part elsewhere, or remove the file"
    )]
    Conflict { path: String, what: String, why: &'static str },
    #[error("the interface name `{0}` cannot stand in a configuration file; rename the interface")]
    Name(String),
    #[error(
        "the back-end {backend} cannot do {what}, as `{interface}` wants; choose another back-end"
    )]
    Unsupported { backend: &'static str, what: &'static str, interface: String },
}

/// The part of a file that belongs to one interface: the interface has changed when the part has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub interface: String,
    pub path: String,
    /// The part; `None` when the whole file belongs to the interface.
    pub text: Option<String>,
}

/// The interfaces that must be configured anew.
#[derive(Debug, Clone, Copy)]
pub struct Changed<'a> {
    pub interfaces: &'a [&'a Interface],
}

/// One thing to do so that changed files take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Run a program.
    Program(Program),
    /// Take the interface's addresses away, but for link-local ones.
    Flush { interface: String },
    /// Set addresses and routes in the kernel ourselves.
    Direct(Vec<Interface>),
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What it reads.
    pub stdin: Vec<u8>,
    pub limit: Duration,
    pub failure: OnFailure,
}

/// What a program's failure means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// Nothing: the kernel's state is looked at afterwards.
    Ignore,
    /// The operation failed with this text, a colon and the status.
    Fail(String),
    /// One more try, and then the interface is counted among those that failed to start.
    Start(String),
}

/// What to do before and after the files change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    pub before: Vec<Step>,
    pub after: Vec<Step>,
}

/// Writes the files of one back-end.
pub trait Renderer {
    /// Writes the files into the draft, and says which part of them belongs to which interface.
    ///
    /// # Errors
    /// When the configuration cannot be said in this form, or a file that is there stands against it.
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError>;

    /// What makes the changes take effect. `draft` has both the old and the new files.
    fn steps(&self, input: &Input<'_>, changed: Changed<'_>, draft: &Draft<'_>) -> Steps;
}

/// The renderer of a back-end.
pub fn renderer(backend: Backend) -> &'static dyn Renderer {
    match backend {
        Backend::Netplan => &netplan::Netplan,
        Backend::NetworkManager => &network_manager::NetworkManager,
        Backend::Networkd => &networkd::Networkd,
        Backend::Suse => &suse::Suse,
        Backend::Ifcfg => &ifcfg::Ifcfg,
        Backend::Ifupdown => &ifupdown::Ifupdown,
        Backend::Netifrc => &netifrc::Netifrc,
        Backend::ArchNetctl => &arch::Netctl,
        Backend::ArchNetcfg => &arch::Netcfg,
        Backend::ArchLegacy => &arch::Legacy,
        Backend::RcConf => &freebsd::RcConf,
        Backend::Direct => &direct::Direct,
        Backend::CloudInit => &cloudinit::CloudInit,
    }
}

/// Whether the back-end can say what the interfaces are made of.
///
/// # Errors
/// Names the first that it cannot.
pub(crate) fn check_kinds(backend: Backend, interfaces: &[Interface]) -> Result<(), RenderError> {
    let word = match backend {
        Backend::Netplan
        | Backend::CloudInit
        | Backend::NetworkManager
        | Backend::Networkd
        | Backend::Ifcfg
        | Backend::Ifupdown => return Ok(()),
        Backend::Suse => "suse",
        Backend::Netifrc => "netifrc",
        Backend::ArchNetctl | Backend::ArchNetcfg | Backend::ArchLegacy => "arch",
        Backend::RcConf => "rc.conf",
        Backend::Direct => "direct",
    };
    interfaces.iter().try_for_each(|interface| only_plain(word, interface))
}

/// Time for one program. With the waits before and after it an operation stays below 50 s, because the host waits 60.
const PROGRAM_LIMIT: Duration = Duration::from_secs(15);

/// A program whose failure is the operation's, in the words of the OpenStack agent.
fn program<const N: usize>(argv: [&str; N], failure: &str) -> Step {
    run(argv, OnFailure::Fail(failure.to_owned()))
}

/// A program whose failure means nothing by itself.
fn attempt<const N: usize>(argv: [&str; N]) -> Step {
    run(argv, OnFailure::Ignore)
}

fn run<const N: usize>(argv: [&str; N], failure: OnFailure) -> Step {
    let argv = argv.map(str::to_owned).to_vec();
    Step::Program(Program { argv, stdin: Vec::new(), limit: PROGRAM_LIMIT, failure })
}

/// The text most back-ends fail with.
const RESTART: &str = "Couldn't restart network";

/// `# Label <label>`, where there is one.
fn label_line(interface: &Interface) -> String {
    interface.config.label.as_ref().map_or_else(String::new, |label| format!("# Label {label}\n"))
}

/// For back-ends that know devices of their own only.
fn only_plain(backend: &'static str, interface: &Interface) -> Result<(), RenderError> {
    match interface.config.kind.word() {
        None => Ok(()),
        Some(what) => {
            Err(RenderError::Unsupported { backend, what, interface: interface.name.clone() })
        }
    }
}

/// The k-th IPv4 address beside the k-th IPv6 address, for forms that have one of each in a block.
fn pairs(
    interface: &Interface,
) -> impl Iterator<Item = (Option<ipnet::Ipv4Net>, Option<ipnet::Ipv6Net>)> + '_ {
    let (v4, v6) = (&interface.config.ip4s, &interface.config.ip6s);
    (0..v4.len().max(v6.len())).map(|k| (v4.get(k).copied(), v6.get(k).copied()))
}

/// A gateway of each family, with the interface that owns it.
type GlobalGateways<'a> =
    (Option<(std::net::Ipv4Addr, &'a str)>, Option<(std::net::Ipv6Addr, &'a str)>);

/// The only default gateways of all interfaces with the interface that owns each, for forms that have one for all.
///
/// # Errors
/// When there are two for a family.
fn global_gateways(interfaces: &[Interface]) -> Result<GlobalGateways<'_>, RenderError> {
    let mut v4 = interfaces.iter().filter_map(|i| Some((i.config.gateway4?, i.name.as_str())));
    let mut v6 = interfaces.iter().filter_map(|i| Some((i.config.gateway6?, i.name.as_str())));
    let first = (v4.next(), v6.next());
    if v4.next().is_some() {
        return Err(InputError::ManyGateways { family: "IPv4" }.into());
    }
    if v6.next().is_some() {
        return Err(InputError::ManyGateways { family: "IPv6" }.into());
    }
    Ok(first)
}

/// Writes `/etc/resolv.conf` when nobody else owns it.
fn write_resolv_conf(input: &Input<'_>, draft: &mut Draft<'_>) -> Result<(), RenderError> {
    if crate::resolv::owner(draft.base()) == crate::resolv::Owner::Agent
        && let Some(text) = crate::resolv::render(input.interfaces)
    {
        draft.write(crate::resolv::FILE, text.into_bytes())?;
    }
    Ok(())
}

/// Tells `resolvconf` the servers, where it owns the file and the back-end does not speak to it.
fn resolvconf_steps(input: &Input<'_>, draft: &Draft<'_>) -> Vec<Step> {
    if crate::resolv::owner(draft.base()) != crate::resolv::Owner::Resolvconf {
        return Vec::new();
    }
    let told = |interface: &Interface| {
        let stdin = crate::resolv::for_resolvconf(interface)?.into_bytes();
        let record = format!("{}.{}", interface.name, input.agent);
        let argv = ["resolvconf", "-a", &record].map(str::to_owned).to_vec();
        let failure = OnFailure::Ignore;
        Some(Step::Program(Program { argv, stdin, limit: PROGRAM_LIMIT, failure }))
    };
    input.interfaces.iter().filter_map(told).collect()
}

/// Keeps cloud-init from writing network files again at the next boot.
fn silence_cloud_init(input: &Input<'_>, draft: &mut Draft<'_>) -> Result<(), RenderError> {
    use crate::view::View as _;
    if draft.exists("/etc/cloud/cloud.cfg.d") {
        let path = format!("/etc/cloud/cloud.cfg.d/99-{}-network.cfg", input.agent);
        draft.write(&path, format!("{HEADER}network:\n  config: disabled\n").into_bytes())?;
    }
    Ok(())
}
