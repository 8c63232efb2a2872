//! What would change: made without touching anything, shown before it is done.

use sha2::{Digest, Sha256};

use crate::detect::{self, Backend, Distribution, Family};
use crate::draft::{Content, Draft};
use crate::hostname;
use crate::model::Interface;
use crate::render::{self, Changed, Fragment, Input, RenderError, Steps};
use crate::settings::Settings;
use crate::view::{Kind, View, ViewError};

/// One file that would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute inside the guest, links followed.
    pub path: String,
    pub old: Old,
    pub new: Content,
}

/// What is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    Absent,
    File(Vec<u8>),
    Link(String),
}

impl Change {
    /// The change as `diff -u` shows it.
    pub fn diff(&self) -> String {
        let old = match &self.old {
            Old::Absent => None,
            Old::File(bytes) => Some(bytes.clone()),
            Old::Link(target) => Some(format!("link to {target}\n").into_bytes()),
        };
        let new = match &self.new {
            Content::Absent => None,
            Content::File { bytes, .. } => Some(bytes.clone()),
            Content::Link { target } => Some(format!("link to {target}\n").into_bytes()),
        };
        crate::diff::unified(&self.path, old.as_deref(), new.as_deref())
    }

    /// SHA-256 of the new content in hexadecimal; a hyphen for a file that goes, `link` for a link.
    pub fn digest(&self) -> String {
        match &self.new {
            Content::File { bytes, .. } => sha256(bytes),
            Content::Link { .. } => "link".to_owned(),
            Content::Absent => "-".to_owned(),
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a reset would do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub distribution: Distribution,
    pub backend: Backend,
    pub hostname: String,
    /// All interfaces that are configured, by name.
    pub interfaces: Vec<Interface>,
    /// Names of those whose configuration changes.
    pub changed: Vec<String>,
    /// Files that change, by path.
    pub changes: Vec<Change>,
    /// What makes the changes take effect.
    pub steps: Steps,
    /// What was left out, one sentence each.
    pub warnings: Vec<String>,
}

impl Plan {
    /// One line for each file: its SHA-256 and its path, as `sha256sum` prints them.
    pub fn summary(&self) -> String {
        self.changes.iter().map(|c| format!("{}  {}\n", c.digest(), c.path)).collect()
    }

    /// All changes as `diff -u` shows them.
    pub fn diff(&self) -> String {
        self.changes.iter().map(Change::diff).collect()
    }
}

/// Makes the plan for these interfaces, and a host name if one is given.
///
/// `restart` names interfaces that must be configured anew although their files may be right already.
///
/// # Errors
/// When the system cannot be told, the name is none, or the configuration cannot be written for its back-end.
pub fn plan(
    view: &dyn View,
    settings: &Settings,
    mut interfaces: Vec<Interface>,
    name: Option<&str>,
    restart: &[String],
) -> Result<Plan, RenderError> {
    let mut warnings = Vec::new();
    interfaces.retain(|interface| {
        let left = settings.unmanaged.contains(&interface.name);
        if left {
            warnings.push(format!("{} is left alone by the settings", interface.name));
        }
        !left
    });
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(bad) = interfaces.iter().find(|i| !crate::nic::is_plain_name(&i.name)) {
        return Err(RenderError::Name(crate::error::shown(&bad.name)));
    }
    let found = detect::distribution(view);
    let backend = settings.backend.unwrap_or_else(|| detect::backend(view, found.as_ref()));
    let distribution = match found {
        Some(distribution) => distribution,
        // Neither its name nor anything that configures its network: this is no system we know.
        None if settings.backend.is_none() && backend == Backend::Direct => {
            return Err(RenderError::UnknownSystem);
        }
        None => {
            Distribution { family: Family::Other, id: "linux".to_owned(), version: String::new() }
        }
    };
    let hostname = match name {
        Some(name) => hostname::checked(name)?.to_owned(),
        None => hostname::current(view, &distribution),
    };
    let input = Input {
        interfaces: &interfaces,
        hostname: &hostname,
        distribution: &distribution,
        form: settings.form,
        conflicts: settings.conflicts,
        agent: &settings.agent,
        state_folder: &settings.state_folder,
    };
    let mut draft = Draft::new(view);
    render::check_kinds(backend, &interfaces)?;
    let renderer = render::renderer(backend);
    let mut fragments = Vec::new();
    // Without a description only the name is of interest.
    if !interfaces.is_empty() {
        fragments = renderer.render(&input, &mut draft)?;
    }
    let rendered = real_changes(&draft)?;
    let mut changed: Vec<&Interface> = Vec::new();
    for interface in &interfaces {
        if restart.contains(&interface.name) || has_changed(interface, &fragments, &rendered) {
            changed.push(interface);
        }
    }
    let touched = rendered.iter().any(|change| change.path != crate::resolv::FILE);
    let steps = match touched || !changed.is_empty() {
        true => renderer.steps(&input, Changed { interfaces: &changed }, &draft),
        false => Steps::default(),
    };
    hostname::write(&mut draft, &distribution, &hostname)?;
    let hosts = draft.read_or_empty("/etc/hosts")?;
    let addresses = crate::hosts::own_addresses(&interfaces);
    if !addresses.is_empty() {
        draft.write("/etc/hosts", crate::hosts::render(&hosts, &addresses, &hostname))?;
    }
    let changed = changed.into_iter().map(|interface| interface.name.clone()).collect();
    let changes = real_changes(&draft)?;
    Ok(Plan { distribution, backend, hostname, interfaces, changed, changes, steps, warnings })
}

fn has_changed(interface: &Interface, fragments: &[Fragment], changes: &[Change]) -> bool {
    fragments.iter().filter(|fragment| fragment.interface == interface.name).any(|fragment| {
        let Some(change) = changes.iter().find(|change| change.path == fragment.path) else {
            return false;
        };
        match (&fragment.text, &change.old) {
            (Some(text), Old::File(old)) => {
                !old.windows(text.len()).any(|part| part == text.as_bytes())
            }
            _ => true,
        }
    })
}

/// The draft's changes without those that change nothing.
fn real_changes(draft: &Draft<'_>) -> Result<Vec<Change>, ViewError> {
    let base = draft.base();
    let mut changes = Vec::new();
    for (path, new) in draft.changes() {
        let old = match base.kind(path) {
            None => Old::Absent,
            Some(Kind::File) => Old::File(base.read(path)?.unwrap_or_default()),
            Some(Kind::Link) => Old::Link(link_target(base, path)),
            Some(Kind::Folder | Kind::Other) => {
                return Err(ViewError {
                    path: path.clone(),
                    source: "it is no regular file".into(),
                });
            }
        };
        let same = match (&old, new) {
            (Old::Absent, Content::Absent) => true,
            (Old::File(old), Content::File { bytes, .. }) => old == bytes,
            (Old::Link(old), Content::Link { target }) => old == target,
            _ => false,
        };
        if !same {
            changes.push(Change { path: path.clone(), old, new: new.clone() });
        }
    }
    Ok(changes)
}

fn link_target(view: &dyn View, path: &str) -> String {
    view.link(path).unwrap_or_default()
}
