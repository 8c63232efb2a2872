//! Which modules a model has, and where they are.

use std::path::PathBuf;

use super::library;
use crate::definition::Model;

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
        let mut modules = declared.unwrap_or_default().to_vec();
        // Nobody says that there is a module for each RPC.
        let of_rpcs = model.rpcs.iter().map(|rpc| &rpc.module);
        for module in of_rpcs {
            if !modules.contains(module) && library::is_there(&folders, module) {
                modules.push(module.clone());
            }
        }
        let declared = declared.is_some();
        (!modules.is_empty()).then_some(Self { folders, modules, declared, input, output })
    }

    /// One module by itself.
    pub fn module(module: &str, folders: &[PathBuf]) -> Option<Self> {
        library::is_there(folders, module).then(|| Self {
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
