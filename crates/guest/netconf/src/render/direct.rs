//! No back-end: the agent sets addresses and routes itself, and keeps what it set to set it again at the next start.

use super::{Changed, Fragment, Input, RenderError, Renderer, Step, Steps, write_resolv_conf};
use crate::address::Mac;
use crate::draft::Draft;
use crate::model::{Config, Description, Select};
use crate::view::{View, ViewError};
use serde::{Deserialize, Serialize};

/// The back-end of the agent itself.
#[derive(Debug)]
pub struct Direct;

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// Version of this file's form.
    version: u32,
    interfaces: Vec<StoredInterface>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredInterface {
    name: String,
    mac: Mac,
    config: Config,
}

impl Renderer for Direct {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let mut stored = Stored { version: 1, interfaces: Vec::new() };
        let path = file(input.state_folder);
        let mut fragments = Vec::new();
        for interface in input.interfaces {
            if interface.config.dhcp4 || interface.config.dhcp6 {
                return Err(RenderError::Unsupported {
                    backend: "direct",
                    what: "DHCP",
                    interface: interface.name.clone(),
                });
            }
            let one = StoredInterface {
                name: interface.name.clone(),
                mac: interface.mac,
                config: interface.config.clone(),
            };
            fragments.push(Fragment {
                interface: interface.name.clone(),
                path: path.clone(),
                text: Some(json(&one)),
            });
            stored.interfaces.push(one);
        }
        let lines: Vec<String> = stored.interfaces.iter().map(json).collect();
        let text = format!(
            "{{\"version\":{},\"interfaces\":[\n{}\n]}}\n",
            stored.version,
            lines.join(",\n")
        );
        draft.write(&path, text.into_bytes())?;
        write_resolv_conf(input, draft)?;
        Ok(fragments)
    }

    fn steps(&self, input: &Input<'_>, changed: Changed<'_>, draft: &Draft<'_>) -> Steps {
        let mut after = Vec::new();
        if !changed.interfaces.is_empty() {
            after.push(Step::Direct(changed.interfaces.iter().map(|i| (*i).clone()).collect()));
        }
        after.extend(super::resolvconf_steps(input, draft));
        Steps { before: Vec::new(), after }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data of ours is always JSON")
}

fn file(state_folder: &str) -> String {
    format!("{state_folder}/direct.json")
}

/// What was set last, to be set again at start; nothing when this back-end was never used.
///
/// # Errors
/// When the file cannot be read, or is not what we wrote.
pub fn stored(view: &dyn View, state_folder: &str) -> Result<Vec<Description>, ViewError> {
    let path = file(state_folder);
    let Some(content) = view.read(&path)? else { return Ok(Vec::new()) };
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| ViewError { path: path.clone(), source };
    let stored: Stored = serde_json::from_slice(&content).map_err(|e| failed(e.into()))?;
    let description = |one: StoredInterface| Description {
        id: String::new(),
        select: Select::Mac(one.mac),
        config: one.config,
    };
    Ok(stored.interfaces.into_iter().map(description).collect())
}
