//! Which modules a model has, and where they are.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::definition::Model;

/// Bytes of a file in which its first keyword is looked for.
const HEAD: u64 = 64 << 10;

/// The file of a module in one of the folders: `NAME.yang` or `NAME@REVISION.yang`.
fn file_of(folders: &[PathBuf], module: &str) -> Option<PathBuf> {
    let is_of = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let stem = name.strip_suffix(".yang").or_else(|| name.strip_suffix(".yin"));
        stem.is_some_and(|stem| stem.split('@').next() == Some(module))
    };
    // A folder that cannot be read has no modules.
    let items = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    items.map(|item| item.path()).find(|path| is_of(path))
}

fn is_submodule(folders: &[PathBuf], module: &str) -> bool {
    let Some(file) = file_of(folders, module).and_then(|path| fs::File::open(path).ok()) else {
        return false;
    };
    let mut text = String::new();
    // What is no text, libyang says better.
    if file.take(HEAD).read_to_string(&mut text).is_err() {
        return false;
    }
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let comment = if rest.starts_with("//") {
            rest.split_once('\n')
        } else if rest.starts_with("/*") {
            rest.split_once("*/")
        } else {
            return rest.starts_with("submodule");
        };
        rest = comment.map_or("", |(_, after)| after.trim_start());
    }
}

/// Which way data go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To a program.
    Input,
    /// From a program.
    Output,
}

/// A model's modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    folders: Vec<PathBuf>,
    modules: Vec<String>,
    declared: bool,
    input: bool,
    output: bool,
}

impl Subject {
    /// The modules of a model: those of its `X-Modules`, else those its component file has (`declared`), and those
    /// of its RPCs. They are looked for in the folders of its `X-Yang`, else in `folders`. `None`: none is known, or
    /// `X-Validate` is `none`.
    pub fn of(model: &Model, folders: &[PathBuf], declared: Option<&[String]>) -> Option<Self> {
        let settings = &model.settings;
        let folders = settings.yang.as_deref().unwrap_or(folders).to_vec();
        let (input, output) = settings.validate();
        if folders.is_empty() || !(input || output) {
            return None;
        }
        let declared = settings.modules.as_deref().or(declared);
        // Component files list submodules too, which come with their modules.
        let mut modules: Vec<String> = declared
            .unwrap_or_default()
            .iter()
            .filter(|module| !is_submodule(&folders, module))
            .cloned()
            .collect();
        // Nobody says that there is a module for each RPC.
        let of_rpcs = model.rpcs.iter().map(|rpc| &rpc.module);
        for module in of_rpcs {
            if !modules.contains(module) && file_of(&folders, module).is_some() {
                modules.push(module.clone());
            }
        }
        let declared = declared.is_some();
        (!modules.is_empty()).then_some(Self { folders, modules, declared, input, output })
    }

    /// One module by itself.
    pub fn module(module: &str, folders: &[PathBuf]) -> Option<Self> {
        file_of(folders, module).map(|_| Self {
            folders: folders.to_vec(),
            modules: vec![module.to_owned()],
            declared: true,
            input: true,
            output: true,
        })
    }

    /// Where the modules are.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Names of the modules.
    pub fn modules(&self) -> &[String] {
        &self.modules
    }

    /// Whether these are all modules the model has.
    pub fn is_declared(&self) -> bool {
        self.declared
    }

    /// Whether data that go this way are checked.
    pub fn checks(&self, direction: Direction) -> bool {
        match direction {
            Direction::Input => self.input,
            Direction::Output => self.output,
        }
    }
}
