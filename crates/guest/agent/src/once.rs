//! Early boot: what a host left for this instance is applied once, before the network comes up (R-D10).
//!
//! Sources in the order of the configuration; the first that is there is used. What it says of network and name goes
//! the way of `resetnetwork`, keys that of `guest-ssh-add-authorized-keys`: the same checks, the same atomic files.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vnode_beneath::Dir;
use vnode_netconf::Wanted;
use vnode_netconf::source::nocloud::{self, Instance};

use crate::{
    command::{
        CommandError, Form, Policy, Registry,
        openstack::resetnetwork::{
            self, apply_at_boot, from_config_drive, from_nocloud, from_xenstore,
            instance_in_xenstore,
        },
    },
    config::Boot,
    context::Context,
};

/// Where the instance whose settings were applied is noted.
const INSTANCE: &str = "var/lib/vnode-agent/instance";
/// The machine as its firmware names it.
const PRODUCT_UUID: &str = "sys/class/dmi/id/product_uuid";
/// Largest file of a source, bytes.
const FILE_BYTES: u64 = 1 << 20;

/// What a source holds.
#[derive(Debug)]
pub struct Found {
    /// As the configuration names it.
    pub source: &'static str,
    /// Which instance it is for, where it says so.
    pub instance: Option<String>,
    pub wanted: Wanted,
    /// Root's SSH keys.
    pub keys: Vec<String>,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No source is there.
    Nothing,
    /// This instance has had it.
    Already(String),
    /// What would be applied.
    Planned(String),
    /// From this source.
    Applied(&'static str),
}

/// How `--once` was asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Though the instance has had it.
    pub again: bool,
    /// Changes nothing.
    pub plan: bool,
}

/// Finds and applies.
///
/// # Errors
/// When a source cannot be used, or what it says cannot be applied; then the next start tries again.
pub async fn run(context: &Context, boot: &Boot, asked: Asked) -> Result<Outcome, CommandError> {
    if !asked.plan {
        resetnetwork::start(context).await?;
    }
    let Some(found) = find(context, boot).await? else { return Ok(Outcome::Nothing) };
    let instance = found.instance.clone().unwrap_or_else(|| of_machine(context, &found));
    let noted = match context.root().read_to_limit(INSTANCE, 4096) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(failed("read the noted instance", error)),
    };
    if noted.as_ref() == Some(&instance) && !asked.again && !asked.plan {
        return Ok(Outcome::Already(instance));
    }
    if asked.plan {
        let plan = resetnetwork::preview(context, &found.wanted)?;
        let keys = found.keys.len();
        let text = format!(
            "source {}\ninstance {instance}\nkeys for root {keys}\n{}{}",
            found.source,
            plan.summary(),
            plan.diff()
        );
        return Ok(Outcome::Planned(text));
    }
    let source = found.source;
    if found.wanted.hostname.is_some() || !found.wanted.descriptions.is_empty() {
        let report = apply_at_boot(context, found.wanted).await?;
        for warning in report.warnings {
            tracing::warn!(source, warning, "applied all the same");
        }
    }
    if !found.keys.is_empty() {
        add_keys(context, &found.keys).await?;
    }
    let root = context.root();
    root.mkdir_all("var/lib/vnode-agent", 0o700)
        .and_then(|()| root.write_atomic(INSTANCE, format!("{instance}\n").as_bytes(), 0o600))
        .map_err(|error| failed("note the instance", error))?;
    Ok(Outcome::Applied(source))
}

/// The instance where the source does not say: the machine by its firmware, else what there is to apply. Never the source:
/// on a machine made from the disk of another that would be the same.
fn of_machine(context: &Context, found: &Found) -> String {
    let firmware = context.root().read_to_limit(PRODUCT_UUID, 256).unwrap_or_default();
    let firmware = String::from_utf8_lossy(&firmware).trim().to_lowercase();
    if !firmware.is_empty() {
        return firmware;
    }
    let content = format!("{} {:?} {:?}", found.source, found.wanted, found.keys);
    let digest = Sha256::digest(content.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(action: &str, error: vnode_beneath::DirError) -> CommandError {
    CommandError::failed(format!("cannot {action}")).with_source(error)
}

async fn add_keys(context: &Context, keys: &[String]) -> Result<(), CommandError> {
    let commands = Registry::built_in().for_form(Form::Guest, &Policy::default());
    let value = json!({"username": "root", "keys": keys});
    commands.call(context, "guest-ssh-add-authorized-keys", value).await.result.map(drop)
}

/// The first source that is there.
///
/// # Errors
/// When it cannot be used.
pub async fn find(context: &Context, boot: &Boot) -> Result<Option<Found>, CommandError> {
    for source in &boot.sources {
        let found = match source.as_str() {
            "config-drive" => config_drive(context, boot)?,
            "nocloud" => no_cloud(context, boot)?,
            "xenstore" => xenstore(context).await,
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// A file of a source; `None` when it is not there.
fn file(folder: &Dir, name: &str) -> Result<Option<Vec<u8>>, CommandError> {
    match folder.read_to_limit(name, FILE_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(failed(&format!("read `{name}`"), error)),
    }
}

/// A source's folder; `None` when it is not there.
fn folder(context: &Context, path: &Path) -> Result<Option<Dir>, CommandError> {
    match context.root().open_dir(path) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(failed(&format!("open `{}`", path.display()), error)),
    }
}

fn config_drive(context: &Context, boot: &Boot) -> Result<Option<Found>, CommandError> {
    for path in &boot.config_drive {
        let Some(folder) = folder(context, &path.join("openstack/latest"))? else { continue };
        let meta_data = file(&folder, "meta_data.json")?;
        let network_data = file(&folder, "network_data.json")?;
        if meta_data.is_none() && network_data.is_none() {
            continue;
        }
        let network_data = network_data.unwrap_or_else(|| b"{}".to_vec());
        let wanted = from_config_drive(&network_data, meta_data.as_deref())?;
        let tree: Value = match &meta_data {
            Some(text) => serde_json::from_slice(text).map_err(|error| {
                CommandError::invalid("`meta_data.json` is no JSON").with_source(error)
            })?,
            None => Value::Null,
        };
        let keys = tree["public_keys"].as_object().into_iter().flat_map(|keys| keys.values());
        return Ok(Some(Found {
            source: "config-drive",
            instance: tree["uuid"].as_str().map(str::to_owned),
            wanted,
            keys: keys.filter_map(Value::as_str).map(|key| key.trim().to_owned()).collect(),
        }));
    }
    Ok(None)
}

fn no_cloud(context: &Context, boot: &Boot) -> Result<Option<Found>, CommandError> {
    let Some(folder) = folder(context, &boot.nocloud)? else { return Ok(None) };
    // The seed is what holds this file, though it may be empty.
    let Some(meta_data) = file(&folder, "meta-data")? else { return Ok(None) };
    let network =
        file(&folder, "network-config")?.unwrap_or_else(|| b"version: 1\nconfig: []\n".to_vec());
    let wanted = from_nocloud(&network, Some(&meta_data))?;
    let Instance { id, keys } = nocloud::instance(&meta_data)
        .map_err(|error| CommandError::invalid("`meta-data` cannot be used").with_source(error))?;
    Ok(Some(Found { source: "nocloud", instance: id, wanted, keys }))
}

/// Nothing when XenStore is not there or holds nothing for us: that is so on most machines.
async fn xenstore(context: &Context) -> Option<Found> {
    match from_xenstore(context).await {
        Ok(wanted) if wanted.hostname.is_some() || !wanted.descriptions.is_empty() => {
            // A machine made from this one's disk is another instance, with settings of its own.
            let instance = instance_in_xenstore(context).await;
            Some(Found { source: "xenstore", instance, wanted, keys: Vec::new() })
        }
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "no XenStore");
            None
        }
    }
}
