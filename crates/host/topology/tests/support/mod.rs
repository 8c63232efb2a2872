//! A small world and short ways to read a file in tests.
#![allow(dead_code, unreachable_pub, reason = "each test target uses a part of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use vnode_topology::{Input, Lab, Parsed, Rejected, World, parse};

/// A world of the test's own making.
#[derive(Debug, Default)]
pub struct Given {
    pub env: BTreeMap<String, String>,
    pub files: BTreeMap<PathBuf, String>,
    pub git: Option<(String, String)>,
    pub host: Option<String>,
}

impl Given {
    pub fn env(pairs: &[(&str, &str)]) -> Self {
        let env = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { env, ..Self::default() }
    }
}

impl World for Given {
    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
    fn all_env(&self) -> Vec<(String, String)> {
        self.env.clone().into_iter().collect()
    }
    fn git_branch(&self) -> Option<String> {
        self.git.as_ref().map(|(branch, _)| branch.clone())
    }
    fn git_hash(&self) -> Option<String> {
        self.git.as_ref().map(|(_, hash)| hash.clone())
    }
    fn host_name(&self) -> Option<String> {
        self.host.clone()
    }
    fn read(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

pub fn read_in(text: &str, world: &dyn World) -> Result<Parsed, Rejected> {
    parse(Input { text, file: "lab.clab.yml", folder: Path::new("/labs/one") }, world)
}

pub fn read(text: &str) -> Result<Parsed, Rejected> {
    read_in(text, &Given::default())
}

/// A lab from a file without errors or warnings.
pub fn lab(text: &str) -> Lab {
    let parsed = read(text).unwrap_or_else(|rejected| panic!("{rejected}"));
    assert!(parsed.warnings.is_empty(), "{:?}", texts(&parsed.warnings));
    parsed.lab
}

/// `line: text` of each error of a file that must have some.
pub fn errors(text: &str) -> Vec<String> {
    texts(&read(text).expect_err("the file has errors").errors)
}

pub fn warnings(text: &str) -> Vec<String> {
    texts(&read(text).unwrap_or_else(|rejected| panic!("{rejected}")).warnings)
}

pub fn texts(list: &[vnode_topology::Diagnostic]) -> Vec<String> {
    list.iter().map(|d| format!("{}: {}", d.line(), d.text)).collect()
}
