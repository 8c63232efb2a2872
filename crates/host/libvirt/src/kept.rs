//! What the driver keeps of a domain in its node's folder: enough to find, and to let go, the domain without anything else.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use vnode_driver::{Error, Exit, Result};

const FILE: &str = "libvirt.json";
/// The definition as it was when the node was made.
const XML: &str = "domain.xml";
/// The largest file that is taken for a definition, or for what is kept.
const MOST: u64 = 1 << 20;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) uri: String,
    pub(crate) uuid: String,
    /// It was there before, and stays.
    pub(crate) adopted: bool,
    /// It ran when it was adopted: then it goes on to run when the node is destroyed.
    pub(crate) ran: bool,
    /// It runs with the node's interfaces.
    pub(crate) joined: bool,
    /// The run of the domain that is the node's, from its start on: another one, started by somebody else, has no interfaces.
    pub(crate) run: Option<u32>,
    /// The node's interfaces as libvirt is told of them, written down before it is: what an adopted domain may have of ours,
    /// and what the memory that is kept goes with.
    pub(crate) wires: Vec<String>,
    /// libvirt keeps its memory: the next boot goes on from there.
    pub(crate) saved: bool,
    pub(crate) boots: u64,
    pub(crate) started_unix_ms: Option<u64>,
    pub(crate) last_exit: Option<Exit>,
}

fn io(doing: String) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { doing, source }
}

impl Kept {
    /// `None`: there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let text = match std::fs::File::open(&path) {
            Ok(file) => bounded(file).map_err(io(format!("read {}", path.display())))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(format!("read {}", path.display()))(error)),
        };
        let kept = serde_json::from_str(&text);
        kept.map(Some).map_err(|error| io(format!("read {}", path.display()))(error.into()))
    }

    /// Written whole or not at all.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let text =
            serde_json::to_string(self).map_err(|error| io(FILE.to_owned())(error.into()))?;
        replace(&dir.join(FILE), text.as_bytes())
    }
}

pub(crate) fn is_there(dir: &Path) -> bool {
    dir.join(FILE).exists()
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let written = std::fs::File::create(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
        .and_then(|()| std::fs::rename(&new, path));
    written.map_err(io(format!("write {}", path.display())))
}

fn bounded(file: std::fs::File) -> std::io::Result<String> {
    let mut text = String::new();
    file.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}

/// A definition of the user's.
pub(crate) fn read_definition(node: &str, path: &Path) -> Result<String> {
    std::fs::File::open(path).and_then(bounded).map_err(|error| Error::Invalid {
        node: node.to_owned(),
        what: format!("domain definition `{}`: {error}", path.display()),
    })
}

pub(crate) fn write_xml(dir: &Path, text: &str) -> Result<()> {
    replace(&dir.join(XML), text.as_bytes())
}

pub(crate) fn read_xml(dir: &Path) -> Result<String> {
    let path = dir.join(XML);
    std::fs::File::open(&path).and_then(bounded).map_err(io(format!("read {}", path.display())))
}
