//! `resetnetwork`: the guest's name, interfaces and routes become what the host wrote below `vm-data`.
//!
//! The work is `vnode-netconf`'s. The request's value is ignored, as the OpenStack agent does, unless it is
//! `{"dry-run": true}`: then the answer lists what would change (SHA-256 and path of each file, and with
//! `"diff": true` the changes themselves), and nothing is done.

use std::path::PathBuf;

use futures_util::{FutureExt as _, future::BoxFuture};
use serde::Deserialize;
use serde_json::Value;
use vnode_action::CancellationToken;
use vnode_netconf::{
    Interface, RealSystem, Recovered, Report, ResetError, Settings, System, Wanted,
    kernel::{KernelError, State},
    render::Program,
    source::{configdrive, nocloud, vmdata},
};
use vnode_xenstore::{Access, Client, Errno, Transaction};

use crate::{
    command::{Command, CommandError, Form},
    context::{Context, Resource},
};

/// The command, and its table `[command.resetnetwork]`.
pub const NAME: &str = "resetnetwork";
const NETWORKING: &str = "vm-data/networking";
const HOSTNAME: &str = "vm-data/hostname";

/// `[command.resetnetwork]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// XenStore's socket or device; looked for when not given.
    pub xenstore: Option<PathBuf>,
    /// Where `vm-data` is, when it is not at the guest's home.
    pub base: Option<String>,
    /// Back-end, form, folders, waits.
    pub network: Settings,
}

impl Options {
    /// A node's path, from the domain's own folder unless another is named.
    fn at(&self, path: &str) -> String {
        match &self.base {
            Some(base) => format!("{}/{path}", base.trim_end_matches('/')),
            None => path.to_owned(),
        }
    }
}

/// The command.
#[derive(Debug)]
pub(super) struct ResetNetwork;

impl Command for ResetNetwork {
    fn name(&self) -> &str {
        NAME
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        async move {
            let wanted = from_xenstore(context).await?;
            let asks = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
            if asks("dry-run") {
                let plan = preview(context, &wanted)?;
                let diff = if asks("diff") { plan.diff() } else { String::new() };
                return Ok(Value::from(plan.summary() + &diff));
            }
            apply(context, wanted).await.map(|_| Value::from(""))
        }
        .boxed()
    }

    fn resource(&self) -> Option<Resource> {
        Some(Resource::Network)
    }
}

/// What the host wrote below `vm-data` in XenStore. Nothing there is no error.
///
/// # Errors
/// When XenStore cannot be reached, or what is there cannot be used.
pub async fn from_xenstore(context: &Context) -> Result<Wanted, CommandError> {
    let options: Options = context.options(NAME)?;
    let mut client = connect(&options).await?;
    let at = |path: &str| options.at(path);
    let hostname = match client.read(Transaction::NONE, &at(HOSTNAME)).await {
        Ok(name) => Some(String::from_utf8_lossy(&name).into_owned()),
        Err(error) if error.errno() == Some(Errno::NoEntry) => None,
        Err(error) => return Err(store(error)),
    };
    let names = match client.list(Transaction::NONE, &at(NETWORKING)).await {
        Ok(names) => names,
        Err(error) if error.errno() == Some(Errno::NoEntry) => Vec::new(),
        Err(error) => return Err(store(error)),
    };
    let mut nodes: Vec<(String, Vec<u8>)> = Vec::new();
    for name in names {
        let path = format!("{}/{name}", at(NETWORKING));
        match client.read(Transaction::NONE, &path).await {
            Ok(content) => nodes.push((name, content)),
            // The host takes an interface away meanwhile.
            Err(error) if error.errno() == Some(Errno::NoEntry) => {}
            Err(error) => return Err(store(error)),
        }
    }
    let nodes = nodes.iter().map(|(name, content)| (name.as_str(), content.as_slice()));
    vmdata::read(nodes, hostname.as_deref()).map_err(|error| invalid(error.into()))
}

/// Which machine XenStore is of: the toolstack's `vm`, which has its UUID, else its `name`.
pub async fn instance_in_xenstore(context: &Context) -> Option<String> {
    let options: Options = context.options(NAME).ok()?;
    let mut client = connect(&options).await.ok()?;
    for node in ["vm", "name"] {
        if let Ok(value) = client.read(Transaction::NONE, &options.at(node)).await {
            let value = String::from_utf8_lossy(&value).trim().to_owned();
            if !value.is_empty() {
                return Some(value);
            }
        }
    }
    None
}

async fn connect(options: &Options) -> Result<Client, CommandError> {
    let access = match &options.xenstore {
        Some(path) => Ok(Access::at(path)),
        None => Access::from_environment(),
    };
    Client::connect(&access.map_err(store)?).await.map_err(store)
}

/// What a config drive's `network_data.json` and `meta_data.json` ask for.
///
/// # Errors
/// When a text cannot be used.
pub fn from_config_drive(
    network_data: &[u8],
    meta_data: Option<&[u8]>,
) -> Result<Wanted, CommandError> {
    configdrive::read(network_data, meta_data).map_err(|error| invalid(error.into()))
}

/// What a NoCloud seed's `network-config` and `meta-data` ask for.
///
/// # Errors
/// When a text cannot be used.
pub fn from_nocloud(
    network_config: &[u8],
    meta_data: Option<&[u8]>,
) -> Result<Wanted, CommandError> {
    nocloud::read(network_config, meta_data).map_err(|error| invalid(error.into()))
}

/// Makes the guest what is wanted: files, services, kernel, name. Goes on to its end when the request is cancelled,
/// because half a network is worse than none.
///
/// # Errors
/// With the text for the client; the guest is then as it was.
pub async fn apply(context: &Context, wanted: Wanted) -> Result<Report, CommandError> {
    let options: Options = context.options(NAME)?;
    with_settings(context, wanted, options.network).await
}

/// [`apply`] for early boot: files and name. Who configures the network starts later and reads them; where nobody does,
/// the kernel is set now.
///
/// # Errors
/// As [`apply`].
pub async fn apply_at_boot(context: &Context, wanted: Wanted) -> Result<Report, CommandError> {
    let options: Options = context.options(NAME)?;
    with_settings(context, wanted, Settings { files_only: true, ..options.network }).await
}

async fn with_settings(
    context: &Context,
    wanted: Wanted,
    settings: Settings,
) -> Result<Report, CommandError> {
    // Not the request's token: programs of this operation end by their own limits.
    let context = context.for_request(&CancellationToken::new());
    let work = async move {
        let system = AgentSystem { context: context.clone() };
        vnode_netconf::reset(&system, context.root(), &settings, &wanted).await
    };
    match tokio::spawn(work).await {
        Ok(result) => result.map_err(failed),
        Err(error) => Err(CommandError::failed("the network reset ended early").with_source(error)),
    }
}

/// What [`apply`] would do.
///
/// # Errors
/// As [`apply`], for what can be known before.
pub fn preview(context: &Context, wanted: &Wanted) -> Result<vnode_netconf::Plan, CommandError> {
    let options: Options = context.options(NAME)?;
    let system = AgentSystem { context: context.clone() };
    vnode_netconf::preview(&system, context.root(), &options.network, wanted).map_err(failed)
}

/// For the start of the agent: an interrupted reset is completed or taken back, and where nobody else configures the
/// network, what was set last is set again.
///
/// # Errors
/// When the journal cannot be read, or files cannot be put back.
pub async fn start(context: &Context) -> Result<Recovered, CommandError> {
    let options: Options = context.options(NAME)?;
    let system = AgentSystem { context: context.clone() };
    vnode_netconf::start(&system, context.root(), &options.network).await.map_err(failed)
}

/// [`start`] beside the channels, which must not wait for the network. A request for it waits until this has ended.
pub fn start_beside(context: &Context) {
    let context = context.for_request(&CancellationToken::new());
    tokio::spawn(async move {
        let _held = context.lock(Resource::Network).await;
        if let Err(error) = start(&context).await {
            tracing::error!(%error, "an interrupted network change could not be looked after");
        }
    });
}

fn store(error: vnode_xenstore::Error) -> CommandError {
    CommandError::failed(format!("cannot read the description: {error}")).with_source(error)
}

fn invalid(error: ResetError) -> CommandError {
    CommandError::invalid(error.to_string()).with_source(error)
}

fn failed(error: ResetError) -> CommandError {
    match error {
        ResetError::Input(_) => invalid(error),
        other => CommandError::failed(other.to_string()).with_source(other),
    }
}

/// The running system, through the context: with another root than `/` only files are written.
#[derive(Debug)]
struct AgentSystem {
    context: Context,
}

impl System for AgentSystem {
    async fn run(&self, program: &Program) -> Result<i32, String> {
        if !self.context.is_live() {
            return Ok(0);
        }
        let output = self.context.run(vnode_netconf::program_spec(program)).await;
        vnode_netconf::program_status(output)
    }

    fn state(&self, names: &[String]) -> Result<Option<State>, KernelError> {
        if self.context.is_live() { RealSystem.state(names) } else { Ok(None) }
    }

    fn apply(&self, interface: &Interface) -> Result<(), KernelError> {
        if self.context.is_live() { RealSystem.apply(interface) } else { Ok(()) }
    }

    fn flush(&self, name: &str, keep: &[ipnet::IpNet]) -> Result<(), KernelError> {
        if self.context.is_live() { RealSystem.flush(name, keep) } else { Ok(()) }
    }

    fn hostname(&self) -> Option<String> {
        if self.context.is_live() { RealSystem.hostname() } else { None }
    }
}
